//! What reports say, and what they never hold.

use super::*;
use crate::post::Notice;
use mail_parser::{MessageParser, MimeHeaders as _};

const MESSAGE: &[u8] =
    b"From: a@app.example\r\nSubject: =?utf-8?q?=C3=BC?=\r\nMessage-ID: <1@app.example>\r\n\
    X-XsHttp-Authorization: Bearer canary\r\nX-Postgate-Url: https://shop.example/?token=canary\r\n\r\n\
    one\r\n.\r\nQUIT\r\n";

fn post() -> Post {
    let text = r#"{"id":{"message":1,"number":2},"accepted_at":1769860800000,"destination":{"tenant":"default",
        "scheme":"Https","host":"shop.example","port":443},"method":"POST","path":"/in",
        "headers":[],"body":{"number":0,"start":0,"length":0},"sender":"a@app.example",
        "recipient":"orders@hooks.example","priority":0,"tags":[],"trust":"Wire","has_links":false}"#;
    serde_json::from_str(text).unwrap()
}

fn failure<'a>(post: &'a Post, message: &'a [u8]) -> Failure<'a> {
    Failure {
        post,
        url: Some("https://shop.example/in"),
        recipient: &post.recipient,
        attempts: 3,
        status: Some(404),
        reason: "404 Not Found",
        excerpt: "no such order\r\n\r\n.\r\nask\u{1b}[2J the shop",
        last_at: Timestamp(1_769_860_900_000),
        message,
    }
}

fn written(failure: &Failure<'_>) -> String {
    let reporter = Reporter {
        hostname: "gateway.example",
        from: "MAILER-DAEMON@gateway.example",
        id: "0000000000000007",
        at: Timestamp(1_769_861_000_000),
    };
    let report = String::from_utf8(compose(reporter, failure)).unwrap();
    for line in report.split("\r\n") {
        assert!(line.len() <= LINE && !line.contains(['\r', '\n', '\0']), "{line:?}");
    }
    report
}

/// Content type and text of each part.
fn parts(report: &str) -> Vec<(String, String)> {
    let parsed = MessageParser::default().parse(report).unwrap();
    let part = |id: &u32| {
        let part = parsed.part(*id).unwrap();
        let kind = part.content_type().unwrap();
        let kind = format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap());
        let text = match part.message() {
            Some(message) => String::from_utf8_lossy(message.raw_message()).into_owned(),
            None => String::from_utf8_lossy(part.contents()).into_owned(),
        };
        (kind, text)
    };
    let root = parsed.part(0).unwrap();
    let ids = root.sub_parts().unwrap().to_vec();
    ids.iter().map(part).collect()
}

#[test]
fn a_report_is_one_for_people_and_for_programs() {
    let mut post = post();
    post.notice = Notice {
        envelope_id: Some("QQ 314".to_owned()),
        original_recipient: Some("rfc822;orders@shop.example".to_owned()),
        ..Notice::default()
    };
    let report = written(&failure(&post, MESSAGE));
    let (header, _) = report.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        header,
        "Date: Sat, 31 Jan 2026 12:03:20 +0000\r\n\
         From: Mail Delivery System <MAILER-DAEMON@gateway.example>\r\nTo: <a@app.example>\r\n\
         Subject: Undelivered: the receiver of your message did not take it\r\n\
         Message-ID: <0000000000000007@gateway.example>\r\nAuto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\nIn-Reply-To: <1@app.example>\r\nReferences: <1@app.example>\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"=_0000000000000007\""
    );
    let parts = parts(&report);
    let kinds: Vec<_> = parts.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    let words = &parts[0].1;
    for said in [
        "orders@hooks.example",
        "https://shop.example/in",
        "after 3 attempts",
        "404 Not Found",
        "    | no such order\r\n    | .\r\n    | ask [2J the shop\r\n",
        "its id there is 0000000000000001-2",
    ] {
        assert!(words.contains(said), "{said}\n{words}");
    }
    assert_eq!(
        parts[1].1.trim_end(),
        "Reporting-MTA: dns; gateway.example\r\nOriginal-Envelope-Id: QQ 314\r\n\
         Arrival-Date: Sat, 31 Jan 2026 12:00:00 +0000\r\n\r\n\
         Original-Recipient: rfc822; orders@shop.example\r\nFinal-Recipient: rfc822; orders@hooks.example\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: http; 404 Not Found\r\n\
         Last-Attempt-Date: Sat, 31 Jan 2026 12:01:40 +0000"
    );
    assert_eq!(
        parts[2].1.trim_end(),
        "From: a@app.example\r\nSubject: =?utf-8?q?=C3=BC?=\r\nMessage-ID: <1@app.example>"
    );
    assert!(!report.contains("canary"), "{report}");
}

#[test]
fn the_whole_message_comes_back_when_asked_for_and_fit_to_be_sent() {
    let mut post = post();
    post.notice.returns = Returns::Full;
    let last = |message: &[u8]| parts(&written(&failure(&post, message))).pop().unwrap();
    let (kind, text) = last(MESSAGE);
    assert_eq!(kind, "message/rfc822");
    assert!(text.contains("\r\n\r\none\r\n.\r\nQUIT\r\n") && !text.contains("canary"), "{text}");
    let (kind, text) = last(b"A: 1\n\nlone\nends\rand\0more\n");
    assert_eq!((kind.as_str(), text.trim_end()), ("message/rfc822", "A: 1\r\n\r\nlone\r\nends and more"));
    let large = [b"A: 1\r\n\r\n".to_vec(), b"x\r\n".repeat(MOST_RETURNED / 3)].concat();
    let long = [b"A: 1\r\n\r\n".to_vec(), b"x".repeat(LINE + 1)].concat();
    for message in [&large[..], &long, "A: 1\r\n\r\n\u{fc}".as_bytes(), b"A: 1\r\n\r\n\xfc"] {
        let (kind, text) = last(message);
        assert_eq!((kind.as_str(), text.trim_end()), ("text/rfc822-headers", "A: 1"));
    }
}

#[test]
fn what_is_beyond_ascii_is_encoded_unless_the_sender_is_so_too() {
    let mut post = post();
    post.recipient = "b\u{fc}ro@hooks.example".to_owned();
    let message = "Subject: \u{fc}\r\nX: \u{1f600}\r\n\r\n".as_bytes();
    let report = written(&failure(&post, message));
    assert!(report.is_ascii(), "{report}");
    let found = parts(&report);
    assert!(found[0].1.contains("b\u{fc}ro@hooks.example"), "{}", found[0].1);
    assert!(found[1].1.contains("Final-Recipient: utf-8; b\\x{FC}ro@hooks.example\r\n"), "{}", found[1].1);
    assert_eq!(found[2].1, "Subject: \u{fc}\r\nX: \u{1f600}\r\n");
    post.sender = "\u{fc}@app.example".to_owned();
    let report = written(&failure(&post, message));
    assert!(report.contains("\r\nTo: <\u{fc}@app.example>\r\n"), "{report}");
    let kinds: Vec<_> = parts(&report).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert!(report.contains("Final-Recipient: utf-8; b\u{fc}ro@hooks.example\r\n"), "{report}");
}

#[test]
fn nothing_from_elsewhere_makes_a_field_or_a_part() {
    let mut post = post();
    post.sender = "a@b\r\nBcc: evil@x".to_owned();
    post.recipient = "x\r\nAction: delivered".to_owned();
    post.notice.envelope_id = Some("1\r\n\r\nFinal-Recipient: rfc822; y".to_owned());
    let message = b"Message-ID: <1>\r\n Bcc: evil@x\r\n\r\n";
    let failure = Failure { reason: "no\r\n--=_0000000000000007--", ..failure(&post, message) };
    let report = written(&failure);
    for line in ["Bcc: evil@x", "Action: delivered", "Final-Recipient: rfc822; y", "--=_0000000000000007--"] {
        assert!(
            report.lines().filter(|found| *found == line).count() <= usize::from(line.starts_with("--")),
            "{line}"
        );
    }
    assert_eq!(parts(&report).len(), 3);
}

#[test]
fn only_what_people_sent_is_reported() {
    let mut wanted = post();
    assert!(is_wanted(&wanted));
    wanted.notice.on_failure = OnFailure::Silent;
    assert!(!is_wanted(&wanted));
    assert!(!is_wanted(&Post { sender: String::new(), ..post() }));
    for (message, expected) in [
        ("Subject: x\r\n\r\n", true),
        ("", true),
        ("Auto-Submitted: no\r\n\r\n", true),
        ("Auto-Submitted: No (really)\r\n\r\n", true),
        ("Auto-Submitted: auto-replied\r\n\r\n", false),
        ("auto-submitted: auto-generated; type=x\r\n\r\n", false),
        ("Content-Type: multipart/report; report-type=delivery-status\r\n\r\n", false),
        ("Content-Type: Multipart/Report\r\n\r\n", false),
        ("Content-Type: multipart/mixed\r\n\r\n", true),
    ] {
        assert_eq!(is_reportable(message.as_bytes()), expected, "{message}");
    }
}

#[test]
fn every_failure_has_a_status() {
    for (status, reason, expected) in [
        (Some(404), "404 Not Found", (1, 1)),
        (Some(410), "410 Gone", (1, 1)),
        (Some(413), "413 Content Too Large", (3, 4)),
        (Some(451), "451 Unavailable For Legal Reasons", (7, 1)),
        (Some(422), "422 Unprocessable Entity", (6, 0)),
        (Some(302), "302 Found", (3, 0)),
        (Some(500), "expired: 500 Internal Server Error", (4, 7)),
        (None, "given up after 3 attempts: no connection", (4, 7)),
        (None, "loopback addresses are not allowed", (4, 0)),
    ] {
        assert_eq!(failure_status(status, reason), expected, "{reason}");
    }
}
