//! Section 2.6: mail that wants more of the HTTP request than it may have.

use crate::support::hostile::{Act, Hostile, Request, Sender, honest, response, write};
use crate::support::program::{CONFIG, Client, Reply};
use data_encoding::BASE64;
use serde_json::Value;
use std::time::Duration;

/// A gateway, and a receiver that is right.
struct Stage {
    receiver: Hostile,
    sender: Sender,
}

impl Stage {
    fn start() -> Stage {
        Stage { receiver: Hostile::start(honest(1000)), sender: Sender::start(CONFIG) }
    }

    /// Hands in a message with these header lines.
    fn steer(&self, headers: &str) -> Reply {
        self.sender.send(&self.receiver.recipient(), &format!("{headers}\r\nhello\r\n"))
    }

    /// The request that becomes of them.
    fn request(&self, headers: &str) -> Request {
        let post = self.steer(headers).id().to_owned();
        let verdict = self.sender.verdict(&post, 1);
        assert!(verdict.starts_with("delivered "), "{headers:?}: {verdict}");
        let requests = self.receiver.requests();
        requests.into_iter().find(|(_, request)| request.only("Postgate-Id") == post).unwrap().1
    }

    /// These header lines must be refused, by a text that names the header.
    fn refuses(&self, headers: &str, name: &str) {
        let before = self.receiver.requests().len();
        let reply = self.steer(headers);
        let begin = format!("550 5.6.0 {name}");
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with(&begin)), "{headers:?}: {reply:?}");
        assert_eq!(self.receiver.requests().len(), before);
    }
}

#[test]
fn h1_a_folded_value_is_one_line() {
    let stage = Stage::start();
    for (value, expected) in [
        ("a\r\n\tb", "a b"),
        ("a\r\n b", "a b"),
        ("\r\n a", "a"),
        ("a\r\n b\r\n\tc", "a b c"),
        ("=?utf-8?Q?a?=\r\n =?utf-8?Q?b?=", "ab"),
    ] {
        let request = stage.request(&format!("X-XsHttp-Foo: {value}\r\n"));
        assert_eq!(request.only("Foo"), expected, "{value:?}");
    }
}

#[test]
fn h2_a_value_that_decodes_to_a_control_character_is_refused() {
    let stage = Stage::start();
    for octet in [0_u8, 1, b'\n', b'\r', 0x1b, 0x7f] {
        let encoded = BASE64.encode(&[b"a".as_slice(), &[octet], b"X-Evil: 1"].concat());
        for value in [format!("=?utf-8?Q?a={octet:02X}X-Evil:_1?="), format!("=?utf-8?B?{encoded}?=")] {
            for name in ["X-XsHttp-Foo", "X-XsHttp-Content-Type", "X-Postgate-Tag", "X-Postgate-Url"] {
                // For a URL all white space is removed, and what is left is no URL.
                let url = if name == "X-Postgate-Url" { "http://h.example/\u{1}" } else { "" };
                stage.refuses(&format!("{name}: {url}{value}\r\n"), name);
            }
        }
    }
    for raw in ["a\0b", "a\u{1b}b", "a\rb"] {
        stage.refuses(&format!("X-XsHttp-Foo: {raw}\r\n"), "X-XsHttp-Foo");
    }
    // Nothing but RFC 2047 is undone.
    for value in ["a%0D%0AX-Evil: 1", r"a\r\nX-Evil: 1", "a&#13;&#10;X-Evil: 1"] {
        let request = stage.request(&format!("X-XsHttp-Foo: {value}\r\n"));
        assert_eq!(request.only("Foo"), value);
        assert!(request.all("X-Evil").is_empty());
    }
}

#[test]
fn h3_framing_and_connection_are_not_the_mails_to_set() {
    let stage = Stage::start();
    for name in [
        "Content-Length",
        "content-length",
        "CONTENT-LENGTH",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "TE",
        "Upgrade",
        "Expect",
        "Trailer",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Proxy-X",
        "Keep-Alive",
        ":authority",
        ":path",
        "",
        " Host",
        "Ho st",
        "Host\0",
        "H\u{f6}st",
    ] {
        let headers = format!("X-XsHttp-{name}: 5\r\n");
        let reply = stage.steer(&headers);
        // What is no field at all ends the header section, and is body.
        let is_body = matches!(name, " Host" | "Ho st" | "Host\0" | "H\u{f6}st");
        if is_body && reply.is_accepted() {
            continue;
        }
        assert!(
            matches!(&reply, Reply::Said(line) if line.starts_with("550 5.6.0 X-XsHttp-")),
            "{name}: {reply:?}"
        );
    }
    let request = stage.request("X-XsHttp-Content-Type: text/plain\r\n");
    assert_eq!(request.only("Host"), stage.receiver.address.to_string());
    for (_, request) in stage.receiver.requests() {
        assert_eq!(request.only("Content-Length"), request.body.len().to_string());
        assert!(request.all("Transfer-Encoding").is_empty() && request.all("Expect").is_empty());
    }
}

#[test]
fn h4_what_is_the_gateways_own_is_there_once_and_true() {
    let stage = Stage::start();
    for name in [
        "webhook-id",
        "Webhook-Timestamp",
        "WEBHOOK-SIGNATURE",
        "Postgate-Id",
        "Postgate-Attempt",
        "Postgate-Parse",
        "Postgate-Repaired",
        "CDN-Loop",
        "cdn-loop",
    ] {
        stage.refuses(&format!("X-XsHttp-{name}: forged\r\n"), &format!("X-XsHttp-{name}"));
    }
    // The mail's own where it is its own business, but never two.
    let fields = [("Idempotency-Key", "mine"), ("User-Agent", "shop/2"), ("Accept-Encoding", "gzip")];
    let headers: String =
        fields.iter().map(|(name, value)| format!("X-XsHttp-{name}: {value}\r\n")).collect();
    let request = stage.request(&headers);
    for (name, value) in fields {
        assert_eq!(request.only(name), value);
    }
    for name in ["Postgate-Id", "Postgate-Attempt", "CDN-Loop", "Host", "Content-Length", "Content-Type"] {
        request.only(name);
    }
}

#[test]
fn h5_methods_are_five() {
    let stage = Stage::start();
    let via_header = |method: &str| {
        let url = format!("http://{}/hook", stage.receiver.address);
        let message = format!("X-Postgate-Url: {url}\r\nX-Postgate-Method: {method}\r\n\r\nhello\r\n");
        stage.sender.send("post@postgate.local", &message)
    };
    let long = "P".repeat(10_000);
    for method in [
        "CONNECT",
        "TRACE",
        "OPTIONS",
        "HEAD",
        "PRI",
        "GET /x HTTP/1.1",
        "GET\u{b}",
        "",
        "*",
        "p\u{f6}st",
        &long,
    ] {
        let reply = via_header(method);
        let refusal = "550 5.6.0 X-Postgate-Method: ";
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with(refusal)), "{method:?}: {reply:?}");
        let recipient = format!("{method}@http://{}/hook", stage.receiver.address);
        let mut client = Client::connect(stage.sender.gateway.smtp).unwrap();
        let refused = client.envelope(&[recipient]);
        assert!(
            matches!(&refused, Err(Reply::Said(line)) if line.starts_with('5')) || method == long,
            "{method:?}: {refused:?}"
        );
    }
    for method in ["get", "Post", "PUT", "paTch", "delete"] {
        let post = via_header(method).id().to_owned();
        assert!(stage.sender.verdict(&post, 1).starts_with("delivered "));
        let (_, request) = stage.receiver.requests().pop().unwrap();
        let line = format!("{} /hook HTTP/1.1\r\n", method.to_ascii_uppercase());
        assert!(request.head.starts_with(&line), "{}", request.head);
    }
}

#[test]
fn h6_steering_has_limits() {
    let stage = Stage::start();
    let lines = |count: usize, length: usize| -> String {
        // A header line may be long, but not longer than the message's section.
        (0..count).map(|number| format!("X-XsHttp-A{number:04}: {}\r\n", "v".repeat(length))).collect()
    };
    let request = stage.request(&lines(100, 10));
    assert_eq!(request.head.matches("vvvvvvvvvv").count(), 100);
    stage.refuses(&lines(101, 10), "X-XsHttp-A0100: more than 100 request headers");
    stage.refuses(&lines(990, 1), "X-XsHttp-A0100: more than 100 request headers");
    assert_eq!(stage.request(&lines(1, 8 * 1024)).only("A0000").len(), 8 * 1024);
    for (count, length, last) in [(1, 8 * 1024 + 1, "A0000"), (1, 64 * 1024, "A0000"), (5, 8000, "A0004")] {
        stage.refuses(
            &lines(count, length),
            &format!("X-XsHttp-{last}: more than 8192 octets, or 32768 in all"),
        );
    }
}

#[test]
fn h7_repeats_are_kept_in_order_or_refused() {
    let stage = Stage::start();
    let request = stage.request("X-XsHttp-A: 1\r\nX-XsHttp-B: 2\r\nX-XsHttp-a: 3\r\nX-XsHttp-A: 1\r\n");
    assert_eq!(request.all("A"), ["1", "3", "1"]);
    for name in ["X-XsHttp-Content-Type", "X-XsHttp-Idempotency-Key", "X-Postgate-Idempotency-Key"] {
        stage.refuses(&format!("{name}: a/b\r\n{name}: a/b\r\n"), &format!("{name}: given twice"));
    }
}

#[test]
fn h8_a_type_that_the_mail_names_is_of_the_body_that_it_wrote() {
    let stage = Stage::start();
    let forged = "X-XsHttp-Content-Type: multipart/form-data; boundary=b\r\n";
    let body = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--";
    let reply = stage.sender.send(&stage.receiver.recipient(), &format!("{forged}\r\n{body}\r\n"));
    stage.sender.verdict(reply.id(), 1);
    let (_, request) = stage.receiver.requests().pop().unwrap();
    assert_eq!(request.only("Content-Type"), "multipart/form-data; boundary=b");
    assert_eq!(String::from_utf8_lossy(&request.body), body);
    // Forms have a boundary of the gateway's own, whatever was asked for, which
    // stands where it was put and nowhere else.
    for payload in ["multipart", "sendgrid"] {
        let request = stage.request(&format!("{forged}X-Postgate-Payload: {payload}\r\n"));
        let content_type = request.only("Content-Type");
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=postgate-").unwrap();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let fields = body.matches("Content-Disposition: form-data").count();
        assert_eq!(body.matches(&format!("--postgate-{boundary}")).count(), fields + 1, "{body}");
    }
    // What else it writes has the type that was asked for, once.
    for payload in ["json", "raw"] {
        let reply = stage.steer(&format!("{forged}X-Postgate-Payload: {payload}\r\n"));
        assert!(stage.sender.verdict(reply.id(), 1).starts_with("delivered "));
        let (_, request) = stage.receiver.requests().pop().unwrap();
        assert_eq!(request.only("Content-Type"), "multipart/form-data; boundary=b");
    }
}

#[test]
fn h9_strangers_steer_no_route() {
    let elsewhere = Hostile::start(honest(9));
    let receiver = Hostile::start(honest(9));
    let route = |name: &str, more: &str| {
        let url = format!("http://{}/fixed", receiver.address);
        format!("[[route]]\nrecipient = \"{name}@h.example\"\nurl = \"{url}\"\n{more}")
    };
    let config = format!("{CONFIG}\n{}{}", route("closed", ""), route("open", "header_control = true\n"));
    let sender = Sender::start(&config);
    let controls = format!(
        "X-XsHttp-X-Evil: canary\r\nX-XsHttp-Authorization: canary\r\nX-XsHttp-Content-Length: 0\r\n\
         X-XsHttp-Bad: =?utf-8?Q?=0D=0A?=\r\nX-Postgate-Url: http://{}/\r\nX-Postgate-Method: delete\r\n\
         X-Postgate-Payload: raw\r\nX-Postgate-Not-Before: 3h\r\nX-Postgate-Tag: canary\r\n",
        elsewhere.address
    );
    let reply = sender.send("closed@h.example", &format!("{controls}Subject: s\r\n\r\nhello\r\n"));
    assert!(sender.verdict(reply.id(), 1).starts_with("delivered "));
    let (_, request) = receiver.requests().pop().unwrap();
    assert!(request.head.starts_with("POST /fixed HTTP/1.1\r\n"), "{}", request.head);
    assert!(!request.head.contains("canary"), "{}", request.head);
    assert_eq!(request.only("Content-Type"), "application/json");
    let json: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(json["subject"], "s");
    assert!(!String::from_utf8_lossy(&request.body).contains("canary"), "{json}");
    assert!(elsewhere.heard().is_empty());
    // Where they may, they do.
    let reply = sender.send("open@h.example", "X-XsHttp-X-Good: canary\r\n\r\nhello\r\n");
    assert!(sender.verdict(reply.id(), 1).starts_with("delivered "));
    assert_eq!(receiver.requests().pop().unwrap().1.only("X-Good"), "canary");
}

#[test]
fn h10_a_body_has_its_length_and_a_response_its_end() {
    let stage = Stage::start();
    for length in [0, 1, 1000, 100_000, 3_000_000] {
        let body = "x".repeat(length);
        let message = format!("X-XsHttp-Content-Type: text/plain\r\n\r\n{body}\r\n");
        let reply = stage.sender.send(&stage.receiver.recipient(), &message);
        assert!(stage.sender.verdict(reply.id(), 1).starts_with("delivered "));
        let requests = stage.receiver.requests();
        let (_, request) =
            requests.iter().find(|(_, request)| request.only("Postgate-Id") == reply.id()).unwrap();
        assert_eq!(request.only("Content-Length"), length.to_string());
        assert!(request.all("Transfer-Encoding").is_empty());
        assert_eq!(request.body.len(), length);
    }
    // A request goes out only when the response before it is over.
    let config = CONFIG.replace("[delivery]", "[delivery]\nmax_connections = 1");
    let sender = Sender::start(&config);
    let slow = write("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
    let receiver = Hostile::start(vec![
        Act::Request,
        slow,
        Act::Trickle(vec![b'x'; 299], Duration::from_millis(1)),
        Act::Silent,
        write("x"),
        Act::Request,
        response("200 OK", ""),
    ]);
    let posts: Vec<_> = (0..2).map(|_| sender.post(&receiver.recipient())).collect();
    posts.iter().for_each(|post| assert!(sender.verdict(post, 1).starts_with("delivered ")));
    let on: Vec<_> = receiver.requests().iter().map(|(connection, _)| *connection).collect();
    assert_eq!(on, [0, 0], "{:?}", receiver.heard());
}
