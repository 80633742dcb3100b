//! Section 2.8, and the responses of 2.6: receivers that hang, flood, lie and break off.

use crate::authority::{Authority, Issued};
use crate::content::{memory, processor_time};
use crate::support::DEADLINE;
use crate::support::collector::{Answer, Collector};
use crate::support::hostile::{Act, Hostile, Sender, honest, response, timed, write};
use crate::support::program::{CONFIG, Client, eventually};
use rcgen::{CertificateParams, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIB: usize = 1 << 20;
/// Between two octets of a receiver that trickles.
const PACE: Duration = Duration::from_millis(50);

/// Short limits, and one attempt a post for as long as a test lasts.
fn impatient() -> String {
    CONFIG.replace(
        r#"retry = ["20ms", "50ms", "100ms"]"#,
        "retry = [\"1h\"]\nconnect_timeout = \"1s\"\nresponse_timeout = \"1500ms\"\ntotal_timeout = \"2s\"",
    )
}

/// One attempt a post, and the usual limits.
fn once() -> String {
    CONFIG.replace(r#"retry = ["20ms", "50ms", "100ms"]"#, r#"retry = ["1h"]"#)
}

/// What a receiver does behind a request, and how the verdict begins.
type Row = (&'static str, Vec<Act>, &'static str);

/// Makes a receiver of each row, posts to them all at once and looks at the verdicts.
fn judge(sender: &Sender, rows: Vec<Row>) -> Vec<Hostile> {
    let of = |(what, acts, verdict): Row| {
        let receiver = Hostile::start([vec![Act::Request], acts].concat());
        (what, receiver, verdict)
    };
    let rows: Vec<_> = rows.into_iter().map(of).collect();
    let posts: Vec<_> = rows.iter().map(|(_, receiver, _)| sender.post(&receiver.recipient())).collect();
    for ((what, _, expected), post) in rows.iter().zip(&posts) {
        let verdict = sender.verdict(post, 1);
        assert!(is_like(&verdict, expected), "{what}: {verdict}");
    }
    rows.into_iter().map(|(_, receiver, _)| receiver).collect()
}

/// Whether a verdict is `delivered`, or the kind and the reason are these: a star
/// stands for the time that a post waits.
fn is_like(verdict: &str, expected: &str) -> bool {
    match expected.split_once('*') {
        None => verdict.starts_with(expected),
        Some((kind, reason)) => {
            let said = verdict.strip_prefix(kind).and_then(|rest| rest.split_once(": "));
            said.is_some_and(|(_, said)| said.starts_with(reason))
        }
    }
}

const DELIVERED: &str = "delivered in ";
const TIMED_OUT: &str = "deferred for *timed out ";
const BROKEN: &str = "deferred for *connection ";
const NOT_HTTP: &str = "deferred for *the response is not HTTP: ";

#[test]
fn d1_silence_in_every_phase_is_cut_off_and_delays_nobody_else() {
    let sender = Sender::start(&impatient());
    let healthy = Hostile::start(honest(100));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n";
    let deaf = Hostile::deaf();
    let silent = Hostile::start(vec![Act::Hang]);
    // A record of the handshake that announces more than ever comes.
    let stuck = Hostile::start(vec![Act::Read(1), write("\x16\x03\x03\x02\0\x02"), Act::Hang]);
    let reads_slowly = Hostile::start(vec![Act::Read(100), Act::Hang]);
    let large = format!("X-XsHttp-Content-Type: text/plain\r\n\r\n{}\r\n", "x\r\n".repeat(5 * MIB));
    let large = sender.send(&reads_slowly.recipient(), &large).id().to_owned();
    let others = [deaf.recipient(), silent.recipient_over_tls(), stuck.recipient_over_tls()]
        .map(|recipient| sender.post(&recipient));
    let rows = vec![
        ("no answer", vec![Act::Hang], TIMED_OUT),
        ("half a status line", vec![write("HTTP/1.1 2"), Act::Hang], TIMED_OUT),
        ("half a head", vec![write(head), Act::Hang], TIMED_OUT),
        (
            "an early response and no other",
            vec![write("HTTP/1.1 100 Continue\r\n\r\n"), Act::Hang],
            TIMED_OUT,
        ),
        ("a head by drops", vec![Act::Trickle(head.repeat(9).into_bytes(), PACE), Act::Hang], TIMED_OUT),
        ("no body", vec![write(&format!("{head}\r\n")), Act::Hang], DELIVERED),
        (
            "a body by drops",
            vec![write(&format!("{head}\r\n")), Act::Trickle(vec![b'x'; 9], PACE), Act::Hang],
            DELIVERED,
        ),
        (
            "no last chunk",
            vec![write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), Act::Hang],
            DELIVERED,
        ),
    ];
    let (_, waited) = timed(|| {
        let posts: Vec<_> = (0..20).map(|_| sender.post(&healthy.recipient())).collect();
        posts.iter().for_each(|post| assert!(sender.verdict(post, 1).starts_with(DELIVERED)));
    });
    let _receivers = judge(&sender, rows);
    for post in others.iter().chain([&large]) {
        let verdict = sender.verdict(post, 1);
        assert!(is_like(&verdict, TIMED_OUT), "{verdict}");
    }
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[test]
fn d1_places_that_hung_are_free_again() {
    let config = impatient().replace("[delivery]", "[delivery]\nmax_connections = 2\nbreaker = 100");
    let sender = Sender::start(&config);
    let receiver =
        Hostile::scripts(vec![vec![Act::Request, Act::Hang]; 4].into_iter().chain([honest(9)]).collect());
    let posts: Vec<_> = (0..6).map(|_| sender.post(&receiver.recipient())).collect();
    let verdicts: Vec<_> = posts.iter().map(|post| sender.verdict(post, 1)).collect();
    let hung = verdicts.iter().filter(|verdict| is_like(verdict, TIMED_OUT)).count();
    assert_eq!(hung, 4, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| verdict.starts_with(DELIVERED)).count(), 2, "{verdicts:?}");
}

/// A gigabyte of zeros, or what becomes of them in a gzip member.
fn bomb() -> Vec<u8> {
    // Each of these deflate blocks is a run of the longest matches there are.
    let mut octets = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03".to_vec();
    octets.extend(std::iter::repeat_n(0, MIB));
    octets
}

#[test]
fn d2_of_a_response_a_bounded_piece_is_read_and_nothing_unpacked() {
    let sender = Sender::start(&impatient());
    let process = format!("/proc/{}", sender.gateway.child.id());
    sender.post(&Hostile::start(honest(1)).recipient());
    let (before, time) = (memory(&process, "VmRSS:"), processor_time(&process));
    let (giant, piece) = (10_usize << 30, vec![b'x'; 64 << 10]);
    let head = |status: &str, headers: &str| write(&format!("HTTP/1.1 {status}\r\n{headers}\r\n"));
    let chunk = [b"10000\r\n".as_slice(), &piece, b"\r\n"].concat();
    let flood = |headers: &str| vec![head("200 OK", headers), Act::Flood(piece.clone(), giant)];
    let packed = |headers: &str| vec![head("200 OK", headers), Act::Write(bomb()), Act::Hang];
    let receivers = judge(
        &sender,
        vec![
            ("10 GB", flood(&format!("Content-Length: {giant}\r\n")), DELIVERED),
            ("a body without end", flood(""), DELIVERED),
            (
                "chunks without end",
                vec![head("200 OK", "Transfer-Encoding: chunked\r\n"), Act::Flood(chunk, giant)],
                DELIVERED,
            ),
            (
                "a packed bomb",
                packed(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb().len())),
                DELIVERED,
            ),
            ("one that is not declared", packed(""), DELIVERED),
            ("one of another kind", packed("Content-Encoding: br\r\n"), DELIVERED),
            (
                "a refusal without end",
                vec![head("404 Not Found", ""), Act::Flood(piece.clone(), giant)],
                "failed: 404 Not Found",
            ),
            (
                "trouble without end",
                vec![head("500 x", ""), Act::Flood(piece.clone(), giant)],
                "deferred for *500 Internal",
            ),
        ],
    );
    for receiver in &receivers {
        let heard = receiver
            .until("the end", |heard| heard.len() == 1 && (heard[0].ended.is_some() || heard[0].written > 0));
        // What is in the buffers of both ends does not count.
        assert!(heard[0].written < 16 * MIB, "{}", heard[0].written);
        let request = &receiver.requests()[0].1;
        assert_eq!(request.only("Accept-Encoding"), "identity");
    }
    let (more, spent) = (memory(&process, "VmRSS:").saturating_sub(before), processor_time(&process) - time);
    assert!(more < 32 * MIB, "{} KiB", more / 1024);
    assert!(spent < Duration::from_secs(5), "{spent:?}");
}

#[test]
fn d3_what_is_no_http_is_no_answer() {
    let sender = Sender::start(&impatient());
    let many: String = (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(MIB));
    let with = |headers: &str| vec![write(&format!("HTTP/1.1 200 OK\r\n{headers}\r\nok")), Act::Hang];
    let receivers = judge(
        &sender,
        vec![
            ("10,000 headers", with(&many), NOT_HTTP),
            ("a header of a megabyte", with(&long), NOT_HTTP),
            (
                "headers without end",
                vec![write("HTTP/1.1 200 OK\r\n"), Act::Flood(b"X: y\r\n".to_vec(), MIB * 64)],
                NOT_HTTP,
            ),
            ("two lengths", with("Content-Length: 2\r\nContent-Length: 3\r\n"), NOT_HTTP),
            ("two lengths in one", with("Content-Length: 2, 3\r\n"), NOT_HTTP),
            ("a negative length", with("Content-Length: -2\r\n"), NOT_HTTP),
            ("a signed length", with("Content-Length: +2\r\n"), NOT_HTTP),
            ("a length beyond all", with("Content-Length: 99999999999999999999999\r\n"), NOT_HTTP),
            ("a blank in a name", with("Content Length: 2\r\n"), NOT_HTTP),
            ("a blank before a colon", with("Content-Length : 2\r\n"), NOT_HTTP),
            ("a NUL in a value", with("X: a\0b\r\n"), NOT_HTTP),
            ("another protocol", vec![write("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Act::Hang], NOT_HTTP),
            ("HTTP/0.9", vec![write("<html>hello</html>\r\n\r\n"), Act::Close], NOT_HTTP),
            ("a version to come", vec![write("HTTP/3.0 200 OK\r\n\r\n"), Act::Hang], NOT_HTTP),
            ("no status", vec![write("HTTP/1.1 OK\r\n\r\n"), Act::Hang], NOT_HTTP),
            ("a status of four digits", vec![write("HTTP/1.1 2000 OK\r\n\r\n"), Act::Hang], NOT_HTTP),
            // The status decides, whatever the body's framing is worth.
            ("a bad chunk size", with("Transfer-Encoding: chunked\r\n\r\nzz\r\n"), DELIVERED),
            (
                "a chunk size beyond all",
                with("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
                DELIVERED,
            ),
            ("a negative chunk size", with("Transfer-Encoding: chunked\r\n\r\n-2\r\n"), DELIVERED),
            (
                "a chunk extension without end",
                vec![
                    write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;"),
                    Act::Flood(vec![b'x'; 4096], MIB * 64),
                ],
                DELIVERED,
            ),
            (
                "trailers without end",
                vec![
                    write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
                    Act::Flood(b"X: y\r\n".to_vec(), MIB * 64),
                ],
                DELIVERED,
            ),
        ],
    );
    for receiver in &receivers {
        let heard = receiver.heard();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].written < 16 * MIB, "{}", heard[0].written);
    }
}

#[test]
fn d3_a_connection_whose_framing_is_doubtful_is_not_used_again() {
    let config = once().replace("[delivery]", "[delivery]\nmax_connections = 1");
    let sender = Sender::start(&config);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (what, text) in [
        (
            "a length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two responses", ok.repeat(2).as_str()),
        ("octets behind it", format!("{ok}x").as_str()),
        ("a body where none can be", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
        ("more than was said", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay"),
        ("a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        ("an old version", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        // Whoever used it again would find itself without an answer.
        let receiver = Hostile::scripts(vec![vec![Act::Request, write(text), Act::Request], honest(9)]);
        let first = sender.post(&receiver.recipient());
        let verdict = sender.verdict(&first, 1);
        assert_eq!(verdict.starts_with(DELIVERED), !text.contains(" 101 "), "{what}: {verdict}");
        let second = sender.post(&receiver.recipient());
        assert!(sender.verdict(&second, 1).starts_with(DELIVERED), "{what}");
        let on: Vec<_> = receiver.requests().iter().map(|(connection, _)| *connection).collect();
        assert_eq!(on, [0, 1], "{what}");
    }
}

#[test]
fn d4_a_response_cut_off_anywhere_is_none_until_its_head_is_whole() {
    let sender = Sender::start(&CONFIG.replace(r#"["20ms", "50ms", "100ms"]"#, r#"["1ms"]"#));
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let head = text.len() - "ok".len();
    for last in [Act::Reset, Act::Close] {
        let cut = |length: usize| vec![Act::Request, write(&text[..length]), last.clone()];
        let receiver = Hostile::scripts((0..text.len()).map(cut).collect());
        let post = sender.post(&receiver.recipient());
        for count in 1..=head {
            let verdict = sender.verdict(&post, count);
            assert!(is_like(&verdict, BROKEN), "{last:?} behind {} octets: {verdict}", count - 1);
        }
        // D5: the status line decides.
        assert!(sender.verdict(&post, head + 1).starts_with(DELIVERED));
        assert!(sender.verdict(&sender.post(&receiver.recipient()), 1).starts_with(DELIVERED));
        let requests = receiver.requests();
        assert_eq!(requests.len(), head + 2, "each on a connection of its own, and none twice");
        for (number, (connection, request)) in requests[..=head].iter().enumerate() {
            assert_eq!(*connection, number);
            assert_eq!(request.only("Postgate-Attempt"), (number + 1).to_string());
            assert_eq!(request.only("Idempotency-Key"), post);
            assert_eq!(request.body, b"hello");
        }
    }
}

#[test]
fn d4_a_request_cut_off_anywhere_is_repeated_under_the_same_key() {
    let sender = Sender::start(&CONFIG.replace(r#"["20ms", "50ms", "100ms"]"#, r#"["1ms"]"#));
    let cuts = [0, 1, 10, 100, 250];
    let scripts = cuts.iter().flat_map(|count| {
        [Act::Reset, Act::Close]
            .map(|last| [vec![Act::Read(*count); usize::from(*count > 0)], vec![last]].concat())
    });
    let receiver = Hostile::scripts(scripts.chain([honest(9)]).collect());
    let post = sender.post(&receiver.recipient());
    for count in 1..=2 * cuts.len() {
        let verdict = sender.verdict(&post, count);
        assert!(is_like(&verdict, BROKEN), "{count}: {verdict}");
    }
    assert!(sender.verdict(&post, 2 * cuts.len() + 1).starts_with(DELIVERED));
    let (_, request) = receiver.requests().pop().unwrap();
    assert_eq!(request.only("Idempotency-Key"), post);
    assert_eq!(request.only("Postgate-Attempt"), (2 * cuts.len() + 1).to_string());
}

#[test]
fn d4_a_kept_connection_that_is_closed_as_we_write_costs_no_attempt() {
    for last in [Act::Reset, Act::Close] {
        let sender = Sender::start(&once().replace("[delivery]", "[delivery]\nmax_connections = 1"));
        let stale = vec![Act::Request, response("200 OK", ""), Act::Unread, last];
        let receiver = Hostile::scripts(vec![stale, honest(1)]);
        for _ in 0..2 {
            let post = sender.post(&receiver.recipient());
            assert!(sender.verdict(&post, 1).starts_with(DELIVERED));
        }
        let requests = receiver.requests();
        assert_eq!((requests.len(), requests[1].0), (2, 1));
        assert_eq!(requests[1].1.only("Postgate-Attempt"), "1");
    }
    // An answer that began is none that may be asked for again.
    let sender = Sender::start(&once().replace("[delivery]", "[delivery]\nmax_connections = 1"));
    let begun = vec![Act::Request, response("200 OK", ""), Act::Request, write("HTTP/1.1 2"), Act::Reset];
    let receiver = Hostile::scripts(vec![begun, honest(1)]);
    let posts: Vec<_> = (0..2).map(|_| sender.post(&receiver.recipient())).collect();
    assert!(sender.verdict(&posts[0], 1).starts_with(DELIVERED));
    let verdict = sender.verdict(&posts[1], 1);
    assert!(is_like(&verdict, BROKEN), "{verdict}");
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn d4_a_request_that_was_worked_on_is_repeated_by_another_attempt_alone() {
    for last in [Act::Reset, Act::Close] {
        let sender = Sender::start(&CONFIG.replace("[delivery]", "[delivery]\nmax_connections = 1"));
        let work = Act::Work(Duration::from_millis(300));
        let busy = vec![Act::Request, response("200 OK", ""), Act::Request, work, last];
        let receiver = Hostile::scripts(vec![busy, honest(1)]);
        let posts = [(); 2].map(|()| {
            let post = sender.post(&receiver.recipient());
            (sender.verdict(&post, 1), post)
        });
        assert!(posts[0].0.starts_with(DELIVERED));
        assert!(is_like(&posts[1].0, BROKEN), "{}", posts[1].0);
        assert!(sender.verdict(&posts[1].1, 2).starts_with(DELIVERED));
        let requests = receiver.requests();
        let attempts: Vec<_> = requests.iter().map(|(_, request)| request.only("Postgate-Attempt")).collect();
        assert_eq!(attempts, ["1", "1", "2"]);
    }
}

#[test]
fn d5_a_status_line_is_an_answer_whatever_becomes_of_the_body() {
    let sender = Sender::start(&impatient());
    let with = |headers: &str, last: Act| vec![write(&format!("HTTP/1.1 200 OK\r\n{headers}\r\nhalf")), last];
    judge(
        &sender,
        vec![
            ("reset within the body", with("Content-Length: 10\r\n", Act::Reset), DELIVERED),
            ("end within the body", with("Content-Length: 10\r\n", Act::Close), DELIVERED),
            ("silence within the body", with("Content-Length: 10\r\n", Act::Hang), DELIVERED),
            ("reset within a chunk", with("Transfer-Encoding: chunked\r\n\r\n9\r\n", Act::Reset), DELIVERED),
            ("no length", with("", Act::Close), DELIVERED),
            (
                "a refusal that breaks off",
                vec![write("HTTP/1.1 410 Gone\r\nContent-Length: 10\r\n\r\nhalf"), Act::Reset],
                "failed: 410 Gone",
            ),
        ],
    );
}

/// `Retry-After` and for how many seconds a post is then put off, at least and most.
const RETRY_AFTER: &[(&str, u64, u64)] = &[
    ("7200", 7200, 7200),
    ("1000000000000", 86_399, 3 * 86_400),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 86_399, 3 * 86_400),
    // Past, or not understood: the own schedule.
    ("Thu, 01 Jan 1970 00:00:00 GMT", 3240, 3960),
    ("0", 3240, 3960),
    ("-7200", 3240, 3960),
    ("soon", 3240, 3960),
    ("7200, 1", 3240, 3960),
    ("", 3240, 3960),
];

#[test]
fn d6_retry_after_is_for_the_whole_destination_and_bounded() {
    let sender = Sender::start(&once().replace("[delivery]", "[delivery]\nmax_connections = 1"));
    for (status, honoured) in
        [("429 Too Many Requests", true), ("503 Service Unavailable", true), ("500 x", false)]
    {
        let receivers: Vec<_> = RETRY_AFTER
            .iter()
            .map(|(text, ..)| {
                Hostile::start(vec![Act::Request, response(status, &format!("Retry-After: {text}\r\n"))])
            })
            .collect();
        let posts: Vec<_> = receivers.iter().map(|receiver| sender.post(&receiver.recipient())).collect();
        for (post, (text, least, most)) in posts.iter().zip(RETRY_AFTER) {
            let verdict = sender.verdict(post, 1);
            let span =
                verdict.strip_prefix("deferred for ").and_then(|rest| rest.split_once(": ")).unwrap().0;
            let seconds: u64 = match span.split_once(' ').unwrap() {
                (number, "ms") => number.parse::<u64>().unwrap() / 1000,
                (number, _) => number.parse().unwrap(),
            };
            let range = if honoured { *least..=*most } else { 3240..=3960 };
            assert!(range.contains(&seconds), "{status}, {text:?}: {verdict}");
        }
    }
}

#[test]
fn d6_a_destination_that_asks_for_time_is_left_alone() {
    let sender = Sender::start(&once().replace("[delivery]", "[delivery]\nmax_connections = 1"));
    let busy = Hostile::scripts(vec![
        vec![Act::Request, response("503 Service Unavailable", "Retry-After: 1\r\n")],
        honest(9),
    ]);
    let first = sender.post(&busy.recipient());
    assert!(sender.verdict(&first, 1).starts_with("deferred for 1 s: 503 "));
    let (second, waited) = timed(|| {
        let second = sender.post(&busy.recipient());
        sender.verdict(&second, 1)
    });
    assert!(second.starts_with(DELIVERED), "{second}");
    assert!(waited > Duration::from_millis(700), "{waited:?}");
}

#[test]
fn d7_every_status_has_its_meaning() {
    let sender = Sender::start(&once());
    let failed = [400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451];
    let rows: Vec<_> = [
        &failed[..],
        &[200, 201, 202, 204, 299, 300, 301, 302, 303, 304, 307, 308, 401, 403, 407, 408, 425, 429],
        &[402, 418, 499, 500, 501, 502, 503, 504, 511, 599, 999],
    ]
    .concat()
    .into_iter()
    .map(|status: u16| {
        let kind = match status {
            200..=299 => "delivered in ".to_owned(),
            300..=399 => format!("failed: {status}"),
            _ if failed.contains(&status) => format!("failed: {status}"),
            _ => format!("deferred for *{status}"),
        };
        (status, kind, Hostile::start(vec![Act::Request, response(&format!("{status} x"), "")]))
    })
    .collect();
    let posts: Vec<_> = rows.iter().map(|(_, _, receiver)| sender.post(&receiver.recipient())).collect();
    for ((status, kind, receiver), post) in rows.iter().zip(&posts) {
        let verdict = sender.verdict(post, 1);
        assert!(is_like(&verdict, kind), "{status}: {verdict}");
        assert_eq!(receiver.requests().len(), 1, "{status}");
    }
}

fn server(versions: &[&'static SupportedProtocolVersion], issued: &Issued) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let key = PrivateKeyDer::try_from(issued.key.clone()).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![issued.certificate.clone()], key).unwrap())
}

/// For the address that all receivers have.
fn for_loopback(params: &mut CertificateParams) {
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
}

fn self_signed() -> Issued {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    Issued { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der() }
}

/// A ServerHello of TLS 1.0, with a cipher of its time (RFC 2246 section 7.4.1.3).
fn hello_of_tls_1_0() -> Vec<u8> {
    let body = [b"\x03\x01".as_slice(), &[7; 32], b"\0\0\x2f\0"].concat();
    let head = [2, 0, 0, u8::try_from(body.len()).unwrap()];
    let length = u8::try_from(head.len() + body.len()).unwrap();
    [b"\x16\x03\x01\0".as_slice(), &[length], &head, &body].concat()
}

#[test]
fn d8_certificates_that_prove_nothing_are_refused_by_their_name() {
    let (authority, unknown) = (Authority::new(), Authority::new());
    let roots = authority.own_file();
    let sender = Sender::with(&impatient(), |command| {
        command.env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
    });
    let dated = |year: i32, change: fn(&mut CertificateParams, i32)| {
        authority.issue_with("dated", &[], |params| {
            for_loopback(params);
            change(params, year);
        })
    };
    let expired = dated(2020, |params, year| params.not_after = rcgen::date_time_ymd(year, 1, 1));
    let early = dated(2090, |params, year| params.not_before = rcgen::date_time_ymd(year, 1, 1));
    let elsewhere = authority.issue("elsewhere", &["other.example"]);
    let nobodys = unknown.issue_with("nobody's", &[], for_loopback);
    let good = authority.issue_with("good", &[], for_loopback);
    let all = rustls::ALL_VERSIONS;
    let encrypted =
        |issued: &Issued| vec![Act::Encrypt(server(all, issued)), Act::Request, response("200 OK", "")];
    let rows = [
        ("good", encrypted(&good), DELIVERED),
        (
            "good, of TLS 1.2",
            vec![
                Act::Encrypt(server(&[&rustls::version::TLS12], &good)),
                Act::Request,
                response("200 OK", ""),
            ],
            DELIVERED,
        ),
        ("self-signed", encrypted(&self_signed()), "deferred for *TLS: "),
        ("expired", encrypted(&expired), "deferred for *TLS: the certificate has expired"),
        ("not yet valid", encrypted(&early), "deferred for *TLS: "),
        ("of another name", encrypted(&elsewhere), "deferred for *TLS: the certificate is "),
        ("of nobody", encrypted(&nobodys), "deferred for *TLS: the certificate is not trusted"),
        (
            "of TLS 1.0",
            vec![Act::Read(50), Act::Write(hello_of_tls_1_0()), Act::Request],
            "deferred for *TLS: ",
        ),
        (
            "no TLS at all",
            vec![write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Act::Request],
            "deferred for *TLS: ",
        ),
    ]
    .map(|(what, script, verdict)| (what, Hostile::start(script), verdict));
    let posts: Vec<_> =
        rows.iter().map(|(_, receiver, _)| sender.post(&receiver.recipient_over_tls())).collect();
    for ((what, receiver, expected), post) in rows.iter().zip(&posts) {
        let verdict = sender.verdict(post, 1);
        assert!(is_like(&verdict, expected), "{what}: {verdict}");
        let count = usize::from(*expected == DELIVERED);
        assert_eq!(receiver.requests().len(), count, "{what}: no request before the handshake is over");
    }
}

#[test]
fn d10_what_responses_want_remembered_is_forgotten() {
    let sender = Sender::start(&once().replace("[delivery]", "[delivery]\nmax_connections = 1"));
    let elsewhere = Hostile::start(honest(9));
    let wishes = format!(
        "Set-Cookie: session=canary\r\nStrict-Transport-Security: max-age=31536000\r\n\
         Alt-Svc: http/1.1=\"{}\"; ma=86400\r\nLocation: http://{0}/\r\nRefresh: 0; url=http://{0}/\r\n\
         Content-Location: http://{0}/\r\nLink: <http://{0}/>; rel=preload\r\n",
        elsewhere.address
    );
    let receiver = Hostile::start(vec![Act::Request, response("200 OK", &wishes)]);
    for _ in 0..3 {
        let post = sender.post(&receiver.recipient());
        assert!(sender.verdict(&post, 1).starts_with(DELIVERED));
    }
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(_, request)| !request.head.to_ascii_lowercase().contains("cookie")));
    assert!(elsewhere.heard().is_empty());
    assert!(!sender.log().contains("canary"));
}

#[test]
fn d11_a_dead_destination_with_a_long_queue_delays_nobody_else() {
    let sender = Sender::start(&CONFIG.replace("[delivery]", "[delivery]\nconnect_timeout = \"1s\""));
    let healthy = Collector::start(|_| Answer::Status(200));
    let dead = [Hostile::start(vec![Act::Request, Act::Hang]), Hostile::start(vec![Act::Close])];
    let message = b"X-XsHttp-Content-Type: text/plain\r\n\r\nhello\r\n";
    let hand_in = |recipients: &[String]| {
        let reply = Client::connect(sender.gateway.smtp).unwrap().send(recipients, message);
        assert!(reply.is_accepted(), "{reply:?}");
    };
    let serve = |count: usize| {
        let recipient = [healthy.recipient("/")];
        timed(|| {
            (0..100).for_each(|_| hand_in(&recipient));
            healthy.received(count);
        })
    };
    let alone = serve(100);
    for receiver in &dead {
        (0..3).for_each(|_| hand_in(&vec![receiver.recipient(); 1000]));
    }
    let among = serve(200);
    // Benchmarks measure how little it is; here it must not be the time of a queue.
    assert!(
        among.1 < alone.1 * 5 + Duration::from_secs(2),
        "{:?} alone, {:?} among the dead",
        alone.1,
        among.1
    );
}

#[test]
fn d12_what_becomes_due_at_once_goes_at_the_rate_that_is_allowed() {
    const RATE: usize = 50;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let receiver =
        Collector::start(move |_| Answer::Status(if away.load(Ordering::SeqCst) { 503 } else { 200 }));
    let terms = format!("[[destination]]\nmatch = \"http://{}\"\nrate = \"{RATE}/s\"\n", receiver.address);
    let sender = Sender::start(&format!("{CONFIG}\n{terms}"));
    let recipients = vec![receiver.recipient("/"); 3 * RATE];
    let message = b"X-XsHttp-Content-Type: text/plain\r\n\r\nhello\r\n";
    assert!(Client::connect(sender.gateway.smtp).unwrap().send(&recipients, message).is_accepted());
    receiver.received(10);
    is_away.store(false, Ordering::SeqCst);
    let taken = || receiver.arrivals().iter().filter(|(_, answer)| *answer == Answer::Status(200)).count();
    eventually("all posts", DEADLINE, || (taken() == 3 * RATE).then_some(()));
    let times: Vec<_> = receiver.arrivals().iter().map(|(arrival, _)| arrival.at).collect();
    for (at, begin) in times.iter().enumerate() {
        let within =
            times[at..].iter().take_while(|time| **time - *begin < Duration::from_millis(900)).count();
        // Requests may be on their way for a while, so they come in other steps than they begin.
        assert!(within <= RATE + RATE / 5, "{within} attempts within 900 ms");
    }
}

#[test]
fn h11_the_first_final_response_counts() {
    let sender = Sender::start(&impatient());
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let no = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    judge(
        &sender,
        vec![
            ("early ones", vec![write(&format!("{early}{ok}"))], DELIVERED),
            (
                "early ones by and by",
                vec![Act::Trickle(b"HTTP/1.1 100 x\r\n\r\n".to_vec(), Duration::from_millis(1)), write(no)],
                "failed: 404",
            ),
            ("two", vec![write(&format!("{ok}{no}"))], DELIVERED),
            ("two, the other way round", vec![write(&format!("{no}{ok}"))], "failed: 404"),
            ("octets behind it", vec![write(&format!("{ok}junk"))], DELIVERED),
            ("no status line", vec![write("hello\r\n\r\n"), Act::Close], NOT_HTTP),
            (
                "a switch nobody asked for",
                vec![write("HTTP/1.1 101 x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n")],
                "deferred for *",
            ),
            (
                "early ones without end",
                vec![Act::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), usize::MAX)],
                NOT_HTTP,
            ),
        ],
    );
}

#[test]
fn a_receiver_that_is_right_is_served() {
    // What all of the above would pass by accident if nothing ever arrived.
    let sender = Sender::start(&impatient());
    let receivers = judge(&sender, vec![("right", vec![response("200 OK", "")], DELIVERED)]);
    assert_eq!(receivers[0].requests()[0].1.body, b"hello");
}
