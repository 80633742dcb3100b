//! Section 2.1: one message that is taken for two.

use crate::authority::{Authority, HOSTNAME, connect};
use crate::front::{Front, Peer, within};
use crate::support::collector::{Answer, Collector};
use crate::support::program::{CONFIG, Gateway, send};
use postgate::smtp::{BareNewline, Options, TlsUse};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Rows S1 to S6: what one program or another has taken for the end of the data.
const SEQUENCES: [&str; 12] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r\n",
    "\r.\r",
    "\r.\n",
    "\n.\r",
    "\r\n.\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
];
const OUTER: &str = "Subject: x\r\n\r\nouter";
const INNER: &str = "MAIL FROM:<smuggled@ex>\r\nRCPT TO:<c@ex>\r\nDATA\r\n\r\ninner\r\n.\r\n";

/// Hands over one message in pieces; all that is answered to it until the end.
async fn answers<S: AsyncRead + AsyncWrite + Unpin>(mut client: Peer<S>, pieces: &[&str]) -> String {
    client.expect("220").await;
    client.ask("EHLO a", "250").await;
    client.send("MAIL FROM:<a@ex>\r\nRCPT TO:<b@ex>\r\nDATA\r\n").await;
    for code in ["250", "250", "354"] {
        client.expect(code).await;
    }
    for piece in pieces {
        client.send(piece).await;
        // The other side reads what there is before anything else comes.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    client.0.shutdown().await.unwrap();
    let mut text = Vec::new();
    // Whoever said goodbye within TLS need not be answered.
    within(client.0.read_to_end(&mut text)).await.unwrap_or_default();
    String::from_utf8(text).unwrap()
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The body with a sequence in it, cut in two at every octet of the sequence.
fn cuts(sequence: &str) -> impl Iterator<Item = [String; 2]> {
    let whole = format!("{OUTER}{sequence}{INNER}");
    let (first, last) = (OUTER.len() - 1, OUTER.len() + sequence.len() + 1);
    (first..=last).map(move |at| {
        let (before, behind) = whole.split_at(at);
        [before.to_owned(), behind.to_owned()]
    })
}

fn options(bare_newline: BareNewline) -> Options {
    let mut options = Options { bare_newline, ..Options::default() };
    options.limits.new_per_minute = usize::MAX;
    options
}

/// How many messages are stored of the one that `pieces` are.
async fn stored(front: &Front, config: Option<&Arc<ClientConfig>>, pieces: &[String; 2]) -> (usize, String) {
    let before = front.count();
    let pieces = pieces.each_ref().map(String::as_str);
    let stream = tcp(front.address).await;
    let text = match config {
        None => answers(Peer::new(stream), &pieces).await,
        Some(config) => {
            let stream = connect(config, HOSTNAME, stream).await.unwrap();
            answers(Peer::new(stream), &pieces).await
        }
    };
    (front.count() - before, text)
}

/// What every sequence must come to in this mode, wherever it is cut.
async fn none_is_smuggled(bare_newline: BareNewline, authority: Option<&Authority>, expected: (usize, &str)) {
    let mut options = options(bare_newline);
    if let Some(authority) = authority {
        options.tls = TlsUse::Implicit;
        options.certificates = Some(authority.certificates());
    }
    let config = authority.map(|authority| Arc::new(authority.client(&[])));
    let front = Front::start(options).await;
    for sequence in SEQUENCES {
        for pieces in cuts(sequence) {
            let (count, text) = stored(&front, config.as_ref(), &pieces).await;
            let is_one_reply = text.lines().count() == 1 && text.starts_with(expected.1);
            assert!(count == expected.0 && is_one_reply, "{bare_newline:?} {pieces:?}: {count}, {text:?}");
        }
    }
    front.stop().await;
}

const REFUSED: (usize, &str) = (0, "554 5.6.0 ");
const NORMALIZED: (usize, &str) = (1, "250 2.0.0 ");

#[tokio::test]
async fn every_sequence_is_refused_wherever_it_is_cut() {
    none_is_smuggled(BareNewline::Refuse, None, REFUSED).await;
}

#[tokio::test]
async fn every_sequence_is_refused_wherever_it_is_cut_under_tls() {
    none_is_smuggled(BareNewline::Refuse, Some(&Authority::new()), REFUSED).await;
}

#[tokio::test]
async fn every_sequence_is_content_of_one_message_wherever_it_is_cut() {
    none_is_smuggled(BareNewline::Normalize, None, NORMALIZED).await;
}

#[tokio::test]
async fn every_sequence_is_content_of_one_message_wherever_it_is_cut_under_tls() {
    none_is_smuggled(BareNewline::Normalize, Some(&Authority::new()), NORMALIZED).await;
}

/// A receiver with the flaw: whatever looks like the end of a line is one, and a
/// NUL is nothing. Counts what it stores.
async fn naive(listener: TcpListener, count: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 naive\r\n").await.unwrap();
        let (mut line, mut is_data) = (Vec::new(), false);
        while let Ok(octet) = stream.read_u8().await {
            match octet {
                b'\r' | b'\n' => {}
                0 => continue,
                _ => {
                    line.push(octet);
                    continue;
                }
            }
            let reply: &[u8] = match (&line[..], is_data) {
                (b"", false) | (_, true) if line != b"." => b"",
                (b".", true) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    is_data = false;
                    b"250 stored\r\n"
                }
                (b"DATA", _) => {
                    is_data = true;
                    b"354 go on\r\n"
                }
                _ => b"250 ok\r\n",
            };
            stream.write_all(reply).await.unwrap();
            line.clear();
        }
    }
}

#[tokio::test]
async fn the_control_is_found_to_store_two() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let naive = tokio::spawn(naive(listener, Arc::clone(&count)));
    for sequence in SEQUENCES {
        for pieces in cuts(sequence) {
            let before = count.load(Ordering::Relaxed);
            let pieces = pieces.each_ref().map(String::as_str);
            let text = answers(Peer::new(tcp(address).await), &pieces).await;
            assert_eq!(count.load(Ordering::Relaxed) - before, 2, "{pieces:?}: {text:?}");
        }
    }
    naive.abort();
}

#[tokio::test]
async fn what_is_smuggled_in_a_message_that_is_too_large_is_never_a_command() {
    for bare_newline in [BareNewline::Refuse, BareNewline::Normalize] {
        let mut options = options(bare_newline);
        options.limits.message = 5_000;
        let front = Front::start(options).await;
        for sequence in SEQUENCES {
            // So far within the limit, and so far beyond.
            for length in [10, 4_900, 5_001, 200_000] {
                let body = format!("{OUTER}{}{sequence}{}", "y".repeat(length), "z".repeat(6_000));
                let text = answers(Peer::new(tcp(front.address).await), &[&body, INNER]).await;
                assert!(
                    text.starts_with("552 5.3.4 ") && text.lines().count() == 1,
                    "{sequence:?}: {text:?}"
                );
            }
        }
        assert_eq!(front.count(), 0);
        front.stop().await;
    }
}

#[test]
fn what_is_posted_is_not_taken_for_the_end_of_anything() {
    let directory = tempfile::TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let gateway = Gateway::start(directory.path(), CONFIG);
    let bodies = [
        "a\r\n.\r\nb",
        "a\n.\nb",
        "\r\n\r\nPOST /injected HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
        "0\r\n\r\nGET /injected HTTP/1.1\r\n\r\nx",
        "\0\r.\r\n0",
    ];
    for (number, body) in bodies.iter().enumerate() {
        let message = format!(
            "X-XsHttp-Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            data_encoding::BASE64.encode(body.as_bytes())
        );
        let reply = send(gateway.smtp, &[receiver.recipient("/hook")], &message);
        assert!(reply.is_accepted(), "{reply:?}");
        let arrival = receiver.received(number + 1).pop().unwrap();
        assert_eq!(arrival.body.escape_ascii().to_string(), body.as_bytes().escape_ascii().to_string());
    }
    let paths: Vec<_> = receiver.received(bodies.len()).into_iter().map(|arrival| arrival.path).collect();
    assert_eq!(paths, ["/hook"; 5]);
}
