//! Reports about mail that was sent, and the events they become:
//! `fixtures/eml/reports` is the specification.
//!
//! `<case>.eml` is a message to a route with `reports = true`; `<case>.events`
//! beside it holds the marks of its request and the body, an event a block. A case
//! without one is posted as if there were no such route. `UPDATE=1` writes the
//! events anew; read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use postgate::compose::{Composition, Options, Receipt, Reports, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Post, Timestamp};
use postgate::tenant::Tenant;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const RECEIPT: Receipt =
    Receipt { message: MessageId(0x52a0_0000_0000_0002), received_at: Timestamp(1_769_860_800_123) };

fn composed(recipient: &str, sender: &str, raw: impl Into<Bytes>) -> Composition {
    let route = |name: &str, reports| Route {
        reports,
        ..Route::new(format!("{name}@h.example").parse().unwrap(), "https://shop.example/in".parse().unwrap())
    };
    let routes = vec![
        route("mail", Reports::AsMail),
        route("events", Reports::AsEvents),
        route("both", Reports::AsBoth),
    ];
    let options = Options { routes, ..Options::default() };
    let client = Client {
        address: None,
        helo: "mx.example".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let path = format!("{recipient}@h.example");
    let recipient = Recipient::new(path.as_str(), target(&options, &path).unwrap());
    let envelope = Envelope::new(client, sender, vec![recipient]);
    compose(&options, &envelope, RECEIPT, raw.into()).unwrap()
}

fn body<'a>(composition: &'a Composition, post: &Post) -> &'a [u8] {
    let blob = &composition.admission.blobs[usize::from(post.body.number)];
    &blob[post.body.start as usize..][..post.body.length as usize]
}

fn field<'p>(post: &'p Post, name: &str) -> Option<&'p str> {
    let field = post.headers.iter().find(|field| field.name == name)?;
    Some(std::str::from_utf8(&field.value).unwrap())
}

/// The request of the only post as its golden shows it; `None` when it is no event.
fn events(composition: &Composition) -> Option<String> {
    let [post] = composition.admission.posts.as_slice() else { panic!("not one post") };
    let marks = format!(
        "Content-Type: {}\nPostgate-Event: {}\nPostgate-Events: {}\n",
        field(post, "Content-Type").unwrap(),
        field(post, "Postgate-Event")?,
        field(post, "Postgate-Events")?
    );
    let body: Value = serde_json::from_slice(body(composition, post)).unwrap();
    Some(format!("{marks}\n{}\n", serde_json::to_string_pretty(&body).unwrap()))
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml/reports")
}

fn fixtures() -> Vec<PathBuf> {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut mails: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "eml")).collect();
    mails.sort();
    mails
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(directory().join(name).with_extension("eml")).unwrap()
}

#[test]
fn every_report_becomes_its_golden_events() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for mail in fixtures() {
        let raw = Bytes::from(fs::read(&mail).unwrap());
        let sender = if raw.starts_with(b"From: Ann") { "ann@example.net" } else { "" };
        let composition = composed("events", sender, raw.clone());
        let golden = mail.with_extension("events");
        let found = events(&composition);
        if std::env::var_os("UPDATE").is_some()
            && let Some(found) = &found
        {
            fs::write(&golden, found).unwrap();
        }
        count += usize::from(found.is_some());
        if found != fs::read_to_string(&golden).ok() {
            wrong.push(format!("{}:\n{}", golden.display(), found.clone().unwrap_or_default()));
        }
        let usual = composed("mail", sender, raw);
        let usual = body(&usual, &usual.admission.posts[0]);
        if found.is_none() {
            let body = body(&composition, &composition.admission.posts[0]);
            assert_eq!(
                String::from_utf8_lossy(body).replace("events@", "mail@"),
                String::from_utf8_lossy(usual)
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
    assert!(count >= 20, "{count}");
}

#[test]
fn besides_means_a_post_of_each_kind() {
    let both = composed("both", "", fixture("postfix-bounced"));
    let [mail, event] = both.admission.posts.as_slice() else { panic!("not two posts") };
    assert_eq!(
        (mail.id.to_string(), event.id.to_string()),
        ("52a0000000000002-1".to_owned(), "52a0000000000002-2".to_owned())
    );
    assert_eq!(
        (field(mail, "Postgate-Event"), field(event, "Postgate-Event")),
        (None, Some("email.bounced"))
    );
    assert_eq!(both.recipients, [0, 0]);
    let mail: Value = serde_json::from_slice(body(&both, mail)).unwrap();
    assert_eq!(mail["subject"], "Undelivered Mail Returned to Sender");
    assert_eq!(mail["envelope"]["recipients"], serde_json::json!(["both@h.example"]));
    let event: Value = serde_json::from_slice(body(&both, event)).unwrap();
    assert_eq!(event["id"], "evt_52a0000000000002-2");
    let usual = composed("both", "", fixture("out-of-office"));
    assert_eq!(usual.admission.posts.len(), 1);
    assert_eq!(usual.admission.posts[0].id.to_string(), "52a0000000000002");
}

#[test]
fn routes_that_do_not_ask_get_mail() {
    let usual = composed("mail", "", fixture("postfix-bounced"));
    assert_eq!(field(&usual.admission.posts[0], "Postgate-Event"), None);
}

/// Reports made to exhaust: posted in some form, in linear time.
#[test]
fn floods_are_posted() {
    let report = |kind: &str, content: &str| {
        format!(
            "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/{kind}\r\n\r\n{content}\r\n--b--\r\n"
        )
    };
    let recipients =
        |count: usize| "Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\n\r\n".repeat(count);
    let posted = |raw: String| {
        let composition = composed("events", "", raw);
        let events = field(&composition.admission.posts[0], "Postgate-Events").map(str::to_owned);
        events.map_or(0, |count| count.parse::<usize>().unwrap())
    };
    assert_eq!(posted(report("delivery-status", &recipients(1000))), 1000);
    assert_eq!(posted(report("delivery-status", &recipients(2_000))), 0);
    assert_eq!(posted(report("delivery-status", &"\r\n".repeat(20_000))), 0);
    assert_eq!(posted(report("delivery-status", &"no field\r\n".repeat(10_000))), 0);
    assert_eq!(posted(report("feedback-report", &"Original-Rcpt-To: a@b.example\r\n".repeat(999))), 999);
    assert_eq!(posted(report("disposition-notification", &"Disposition: ;".repeat(10_000))), 0);
    let plain = |lines: String| format!("\r\nThis is the mail system at host x.\r\n{lines}");
    let addresses = |count| (0..count).map(|at| format!("<a{at}@b.example>:\r\n")).collect::<String>();
    assert_eq!(posted(plain(addresses(900))), 900);
    assert_eq!(posted(plain(addresses(10_000))), 0);
    assert_eq!(posted(plain("x@\r\n".repeat(10_000))), 0);
}
