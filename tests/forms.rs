//! Formats that are forms, octet for octet: `fixtures/forms/<case>.<payload>` is
//! the type and body of the request that `<case>.eml` becomes. An urlencoded body
//! has a line for each field there; octets that are not UTF-8 are shown as U+FFFD.
//! `UPDATE=1` writes them anew; read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use postgate::compose::{Options, Receipt, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient};
use postgate::post::{MessageId, Timestamp};
use postgate::tenant::Tenant;
use std::fs;
use std::path::Path;

const RECEIPT: Receipt =
    Receipt { message: MessageId(0x52a0_0000_0000_0002), received_at: Timestamp(1_769_860_800_123) };

const CASES: [&str; 4] = ["plain", "rich", "names", "empty"];

const PAYLOADS: [&str; 6] =
    ["multipart", "sendgrid", "sendgrid-raw", "mailgun", "mailgun-mime", "cloudmailin-multipart"];

/// `Content-Type` and body of the post that a message becomes.
fn formed(payload: &str, raw: &[u8]) -> (String, Bytes) {
    let url = "https://shop.example/inbound".parse().unwrap();
    let route =
        Route { payload: payload.parse().unwrap(), ..Route::new("in@hooks.example".parse().unwrap(), url) };
    let options = Options { routes: vec![route], ..Options::default() };
    let client = Client {
        address: Some("192.0.2.7".parse().unwrap()),
        helo: "app.example".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let recipient = Recipient::new("in@hooks.example", target(&options, "in@hooks.example").unwrap());
    let envelope = Envelope::new(client, "bounce@app.example", vec![recipient]);
    let raw = Bytes::copy_from_slice(raw);
    let admission = compose(&options, &envelope, RECEIPT, raw).unwrap().admission;
    let post = &admission.posts[0];
    let header = |name: &str| post.headers.iter().find(|field| field.name == name);
    assert!(header("Postgate-Parse").is_none(), "{payload} is not what was posted");
    let content_type = String::from_utf8(header("Content-Type").unwrap().value.clone()).unwrap();
    (content_type, admission.blobs[usize::from(post.body.number)].clone())
}

#[test]
fn every_message_becomes_its_golden_forms() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/forms");
    let mut wrong = Vec::new();
    for case in CASES {
        let raw = fs::read(directory.join(format!("{case}.eml"))).unwrap();
        for payload in PAYLOADS {
            let (content_type, body) = formed(payload, &raw);
            let body = String::from_utf8_lossy(&body).into_owned();
            let is_parted = content_type.starts_with("multipart/");
            let body = if is_parted { body } else { body.replace('&', "\n&") };
            let product = format!("{content_type}\n\n{body}");
            let golden = directory.join(format!("{case}.{payload}"));
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&golden, &product).unwrap();
            }
            if fs::read(&golden).unwrap_or_default() != product.as_bytes() {
                wrong.push(format!("{}:\n{product}", golden.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn contents_are_octets_and_stand_once() {
    let image: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let raw = format!(
        "Content-Type: image/png; name=i.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        data_encoding::BASE64.encode(&image)
    );
    for payload in ["multipart", "sendgrid", "mailgun", "cloudmailin-multipart"] {
        let (_, body) = formed(payload, raw.as_bytes());
        let found: Vec<_> = memchr::memmem::find_iter(&body, &image).collect();
        assert_eq!(found.len(), 1, "{payload}");
        assert!(body[..found[0]].ends_with(b"filename=\"i.png\"\r\nContent-Type: image/png\r\n\r\n"));
        assert!(body[found[0] + image.len()..].starts_with(b"\r\n--postgate-52a0000000000002"));
        assert!(body.len() < image.len() + 4096, "{payload}: {}", body.len());
    }
    for (payload, field) in [("sendgrid-raw", "email"), ("mailgun-mime", "body-mime")] {
        let (content_type, body) = formed(payload, raw.as_bytes());
        assert!(content_type.starts_with("multipart/form-data; "), "{payload}: {content_type}");
        let part = format!("name=\"{field}\"\r\n\r\n{raw}\r\n--postgate-52a0000000000002");
        assert!(memchr::memmem::find(&body, part.as_bytes()).is_some(), "{payload}");
    }
}
