//! Section 2.2: commands out of order, out of place and out of time.

use crate::authority::Authority;
use crate::front::Front;
use crate::support::DEADLINE;
use crate::support::collector::{Answer, Collector};
use crate::support::program::{CONFIG, Gateway, eventually};
use postgate::smtp::{Options, TlsUse};
use rustix::net::sockopt::set_socket_linger;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

#[tokio::test]
async fn what_waits_behind_the_end_of_a_group_ends_the_session() {
    let mut options = Options {
        tls: TlsUse::StartTls,
        certificates: Some(Authority::new().certificates()),
        ..Options::default()
    };
    options.limits.new_per_minute = usize::MAX;
    let front = Front::start(options).await;
    let envelope = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
    for (sent, codes) in [
        ("EHLO a\r\nNOOP\r\n".to_owned(), &["554 5.5.0 "][..]),
        ("EHLO a\r\nE".to_owned(), &["554 5.5.0 "]),
        ("STARTTLS\r\nNOOP\r\n".to_owned(), &["554 5.5.0 "]),
        ("STARTTLS\r\n\x16\x03".to_owned(), &["554 5.5.0 "]),
        ("AUTH PLAIN\r\nAGEAYg==\r\n".to_owned(), &["554 5.5.0 "]),
        ("AUTH PLAIN AGEAYg==\r\nNOOP\r\n".to_owned(), &["554 5.5.0 "]),
        (format!("{envelope}DATA\r\nx\r\n.\r\n"), &["250 ", "250 ", "554 5.5.0 "]),
        (format!("{envelope}DATA\r\nx"), &["250 ", "250 ", "554 5.5.0 "]),
        ("QUIT\r\nNOOP\r\n".to_owned(), &["221 "]),
        // Refused, but for a reason of its own, and nothing behind it is a command.
        (format!("{envelope}BDAT 6 LAST\r\nNOOP\r\n"), &["250 ", "250 ", "502 "]),
        (format!("RCPT TO:<c@d>\r\nDATA\r\n{envelope}"), &["503 ", "503 "]),
    ] {
        let mut client = front.guest().await;
        client.ask("EHLO a", "250").await;
        client.send(&sent).await;
        for code in codes {
            client.expect(code).await;
        }
        assert_eq!(client.reply().await, "", "{sent:?}");
    }
    let mut client = front.guest().await;
    client.ask("EHLO a", "250").await;
    client.send("NOOP\r\nVRFY a\r\nEXPN b\r\nNOOP\r\nRSET\r\n").await;
    for code in ["250 ", "252 ", "502 ", "250 ", "250 "] {
        client.expect(code).await;
    }
    assert_eq!(front.count(), 0);
    front.stop().await;
}

#[tokio::test]
async fn a_group_of_a_hundred_recipients_is_answered_in_order() {
    let front = Front::start(Options::default()).await;
    let mut client = front.guest().await;
    client.ask("EHLO a", "250").await;
    let recipients: String = (0..100).map(|number| format!("RCPT TO:<r{number}@b>\r\n")).collect();
    client.send(&format!("MAIL FROM:<a@b>\r\n{recipients}DATA\r\n")).await;
    client.expect("250 2.1.0 ").await;
    for number in 0..100 {
        client.expect(&format!("250 2.1.5 recipient <r{number}@b> OK")).await;
    }
    client.expect("354").await;
    client.ask("x\r\n.", "250").await;
    assert_eq!((front.count(), front.kept.recipients().len()), (1, 100));
    front.stop().await;
}

/// What a client says, each group when the one before it was answered.
fn session(url: &str, subject: &str) -> [(String, &'static str); 3] {
    [
        ("EHLO a\r\n".to_owned(), "250 "),
        (format!("MAIL FROM:<a@b>\r\nRCPT TO:<{url}>\r\nDATA\r\n"), "354 "),
        (format!("X-XsHttp-Content-Type: text/plain\r\n\r\n{subject}\r\n..\r\n.\r\n"), "250 "),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Fin,
    Reset,
}

/// Says the first `length` octets of a session and is gone.
fn say_and_go(gateway: &Gateway, groups: &[(String, &str)], length: usize, ending: Ending) {
    let mut stream = TcpStream::connect(gateway.smtp).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    assert!(replies.next().unwrap().starts_with("220 "));
    let mut left = length;
    for (text, code) in groups {
        let piece = &text[..left.min(text.len())];
        left -= piece.len();
        stream.write_all(piece.as_bytes()).unwrap();
        if left == 0 {
            break;
        }
        assert!(replies.any(|line| line.starts_with(code)));
    }
    if ending == Ending::Reset {
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
}

fn descriptors(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.child.id())).unwrap().count()
}

#[test]
fn a_client_may_go_at_any_octet() {
    let directory = tempfile::TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let config = CONFIG.replace("[limits]", "[limits]\nconnections_per_address = 2000");
    let mut gateway = Gateway::start(directory.path(), &config);
    let url = receiver.recipient("/hook");
    let whole = |subject: &str| session(&url, subject).iter().map(|(text, _)| text.len()).sum::<usize>();
    say_and_go(&gateway, &session(&url, "first"), whole("first"), Ending::Fin);
    receiver.received(1);
    let before = descriptors(&gateway);
    for ending in [Ending::Fin, Ending::Reset] {
        for length in 0..whole("cut") {
            say_and_go(&gateway, &session(&url, "cut"), length, ending);
        }
    }
    // Also when it does not wait for the reply to a whole message.
    say_and_go(&gateway, &session(&url, "last"), whole("last"), Ending::Fin);
    eventually("the descriptors to be closed", DEADLINE, || (descriptors(&gateway) <= before).then_some(()));
    receiver.received(2);
    assert_eq!(gateway.end("-TERM"), 0);
    let bodies: Vec<_> = receiver
        .arrivals()
        .into_iter()
        .map(|(arrival, _)| String::from_utf8(arrival.body).unwrap())
        .collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert!(bodies[0].starts_with("first") && bodies[1].starts_with("last"), "{bodies:?}");
    let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}
