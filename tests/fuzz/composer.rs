//! Target: the composer, from a message to every payload.
//!
//! An input is recipients, a line each, an empty line and the message. The
//! recipients that are refused are left out; the routes of strangers are always
//! among them, because they take everything.

use super::engine::Target;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use postgate::compose::{Composition, HeaderControl, Options, Payload, Receipt, Route, compose, target};
use postgate::envelope::{Client, Envelope, Recipient, Refusal};
use postgate::post::{Field, MessageId, Post, Timestamp};
use postgate::tenant::Tenant;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const RECEIPT: Receipt =
    Receipt { message: MessageId(0x52a0_0000_0000_0002), received_at: Timestamp(1_769_860_800_123) };
/// Routes whose mail is never refused.
const STRANGERS: [&str; 4] =
    ["json@hooks.example", "body@hooks.example", "raw@hooks.example", "auto@hooks.example"];
/// A recipient with two routes.
const FAN: &str = "fan@hooks.example";
/// Request headers that only the engine may write.
const FRAMING: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
/// Request headers by which the gateway says what it did.
const MARKS: [&str; 3] = ["Postgate-Ambiguous", "Postgate-Parse", "Postgate-Repaired"];

/// The composer, and what a control breaks of its work.
pub struct ComposerTarget {
    pub tamper: fn(&mut Composition),
    options: Options,
}

impl ComposerTarget {
    pub fn new(tamper: fn(&mut Composition)) -> ComposerTarget {
        let route = |recipient: &str, payload| Route {
            payload,
            ..Route::new(recipient.parse().unwrap(), "https://shop.example/inbound".parse().unwrap())
        };
        let payloads = [Payload::Json, Payload::Body, Payload::Raw, Payload::Auto];
        let mut routes: Vec<_> = STRANGERS.iter().zip(payloads).map(|(name, how)| route(name, how)).collect();
        routes.push(Route {
            header_control: HeaderControl::On,
            headers: vec![Field { name: "X-Source".to_owned(), value: b"mail".to_vec() }],
            ..route("steered+*@hooks.example", Payload::Auto)
        });
        routes.push(route(FAN, Payload::Json));
        routes.push(route(FAN, Payload::Raw));
        let gateway_domains = vec!["postgate.local".to_owned()];
        ComposerTarget { tamper, options: Options { gateway_domains, routes, ..Options::default() } }
    }

    fn compose(&self, recipients: &[&str], raw: &Bytes) -> Result<Composition, Refusal> {
        let known = recipients.iter().filter_map(|path| {
            let target = target(&self.options, path).ok()?;
            Some(Recipient::new(*path, target))
        });
        let client = Client {
            address: Some("192.0.2.7".parse().unwrap()),
            helo: "app.example".to_owned(),
            tls: None,
            login: Some("erp".to_owned()),
            tenant: Tenant::default(),
            session: "S0001".to_owned(),
        };
        let envelope = Envelope::new(client, "app@example.com", known.collect());
        let is_fan = |path: &&str| path.eq_ignore_ascii_case(FAN);
        let paths = envelope.recipients.iter().map(|one| one.forward_path.as_str());
        let paths: Vec<_> = paths.flat_map(|path| vec![path; if is_fan(&path) { 2 } else { 1 }]).collect();
        let mut composition = compose(&self.options, &envelope, RECEIPT, raw.clone())?;
        (self.tamper)(&mut composition);
        assert_eq!(composition.admission.posts.len(), paths.len(), "not one post a route of a recipient");
        assert!(composition.recipients.is_sorted() && composition.recipients.len() == paths.len());
        for (post, path) in composition.admission.posts.iter().zip(paths) {
            // Credentials in a URL are taken out of what is shown.
            let has_credentials = post.headers.iter().any(|field| field.name == "Authorization");
            assert!(post.recipient == path || has_credentials, "posts in another order");
            check_post(post, body(&composition, post), raw);
        }
        check_room(&composition, raw);
        Ok(composition)
    }
}

fn body<'a>(composition: &'a Composition, post: &Post) -> &'a [u8] {
    let blob = composition.admission.blobs.get(usize::from(post.body.number)).expect("a body without blob");
    let end = post.body.start as usize + post.body.length as usize;
    blob.get(post.body.start as usize..end).expect("a body beyond its blob")
}

fn check_room(composition: &Composition, raw: &Bytes) {
    let blobs = &composition.admission.blobs;
    assert_eq!(&blobs[0], raw, "the message is not kept as it is");
    assert!(blobs.len() <= composition.admission.posts.len() + 1, "blobs that nobody needs");
    for blob in &blobs[1..] {
        assert!(blob.len() <= 4 * raw.len() + (1 << 20), "{} octets from {}", blob.len(), raw.len());
    }
    assert!(composition.remarks.iter().all(|remark| !remark.contains(char::is_control)));
}

fn check_post(post: &Post, body: &[u8], raw: &[u8]) {
    assert!(["POST", "PUT", "PATCH", "GET", "DELETE"].contains(&post.method.as_str()));
    assert!(post.path.starts_with('/') && post.path.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
    http::uri::PathAndQuery::try_from(post.path.as_str()).expect("a path that HTTP does not take");
    for field in &post.headers {
        http::HeaderName::from_bytes(field.name.as_bytes()).expect("no header name");
        http::HeaderValue::from_bytes(&field.value).expect("no header value");
        let name = field.name.to_ascii_lowercase();
        assert!(!FRAMING.contains(&name.as_str()), "a message sets {name}");
        let is_own = name.starts_with("postgate-") && !MARKS.contains(&field.name.as_str());
        assert!(!is_own, "a message forges {name}");
    }
    let content_types =
        post.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("Content-Type")).count();
    assert_eq!(content_types, 1, "not one Content-Type");
    let is_whole = post.headers.iter().any(|field| field.name == "Postgate-Parse");
    if is_whole || post.recipient == "raw@hooks.example" {
        assert!(body == raw, "the raw payload is not the message");
    } else if post.recipient == "json@hooks.example" {
        check_json(body, post, raw.len());
    }
}

fn check_json(body: &[u8], post: &Post, octets: usize) {
    let text = std::str::from_utf8(body).expect("json is UTF-8");
    assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "json that a page would read");
    assert!(text.bytes().all(|byte| byte >= 0x20), "json with control characters");
    let json: Value = serde_json::from_str(text).expect("json parses");
    assert_eq!(json["id"], Value::from(post.id.to_string()));
    assert_eq!(json["envelope"]["to"], Value::from(post.recipient.as_str()));
    assert_eq!(json["size"], Value::from(octets));
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(22), "keys come and go");
    for header in json["headers"].as_array().unwrap() {
        let name = header[0].as_str().unwrap().to_ascii_lowercase();
        assert!(!name.starts_with("x-postgate-") && !name.starts_with("x-xshttp-"), "a control is shown");
    }
    let mut attached = 0;
    for attachment in json["attachments"].as_array().unwrap() {
        let content = BASE64.decode(attachment["content"].as_str().unwrap().as_bytes()).expect("base64");
        assert_eq!(attachment["size"], Value::from(content.len()), "another size");
        assert_eq!(attachment["sha256"], Value::from(HEXLOWER.encode(&Sha256::digest(&content))));
        attached += content.len();
    }
    assert!(attached <= octets, "more is attached than was sent");
}

/// What kind of product it was: types, marks, remarks and the shape of the document.
fn hash(composition: &Result<Composition, Refusal>, state: &mut DefaultHasher) {
    let composition = match composition {
        Ok(composition) => composition,
        Err(refusal) => return refusal.to_string().get(..24).hash(state),
    };
    composition.remarks.hash(state);
    for post in &composition.admission.posts {
        for field in &post.headers {
            (field.name.len(), field.value.get(..12)).hash(state);
        }
        (post.body.number, post.body.length.checked_ilog2()).hash(state);
        if let Ok(Value::Object(json)) = serde_json::from_slice(body(composition, post)) {
            let shape = |value: &Value| match value {
                Value::Array(items) => items.len().min(4),
                Value::String(text) => 5 + text.len().checked_ilog2().unwrap_or(0) as usize,
                other => usize::from(other.is_null()),
            };
            json.values().map(shape).collect::<Vec<_>>().hash(state);
        }
    }
}

impl Target for ComposerTarget {
    const NAME: &'static str = "composer";
    const LONGEST: usize = 64 << 10;

    fn seeds(&self) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml");
        let mut mails: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        mails.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
        mails.sort();
        let input = |mail: &std::path::PathBuf| {
            let envelope = fs::read(mail.with_extension("envelope")).unwrap_or_default();
            [&envelope[..], b"\n", &fs::read(mail).unwrap()].concat()
        };
        mails.iter().map(input).collect()
    }

    fn dictionary(&self) -> &[&[u8]] {
        &[
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"\r\n\r\n",
            b"--",
            b"\r\n--b\r\n",
            b"\r\n--b--\r\n",
            b"=",
            b"=?utf-8?B?",
            b"=?utf-8?Q?=?=",
            b"=?iso-2022-jp?B?GyRC?=",
            b"?=",
            b";",
            b"*0*=",
            b"*1=",
            b"utf-8''%0d%0a",
            b"\"",
            b"\\",
            b"(",
            b"<",
            b">",
            b":",
            b" ",
            b"\t",
            b"\xff",
            b"\xe2\x80\xa8",
            b"=0D=0A",
            b"=00",
            b"=\r\n",
            b"> ",
            b"-- \r\n",
            b"fan@hooks.example\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: text/html; charset=utf-16\r\n",
            b"Content-Type: application/json\r\n",
            b"Content-Type: application/x-www-form-urlencoded\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"; format=flowed; delsp=yes",
            b"; charset=utf-7",
            b"Content-Disposition: attachment; filename=\"../x\"\r\n",
            b"Content-ID: <x>\r\n",
            b"X-XsHttp-Content-Type: application/json\r\n",
            b"X-XsHttp-Content-Length: 3\r\n",
            b"X-XsHttp-Foo: bar\r\n",
            b"X-Postgate-Payload: raw\r\n",
            b"X-Postgate-Payload: json\r\n",
            b"X-Postgate-Url: https://a.example/\r\n",
            b"X-Postgate-Tag: t\r\n",
            b"X-Postgate-Expires: 3600\r\n",
            b"X-Postgate-Priority: 9\r\n",
            b"X-Postgate-Idempotency-Key: k\r\n",
            b"X-xsMessageId: 7\r\n",
            b"Date: Thu, 1 Jan 1970 00:00:00 +9999\r\n",
            b"From: a <b@c>, d: e@f;\r\n",
            b"Subject: x\r\n",
            b"References: <a> <b>\r\n",
            b"{\"a\":\"b\r\nc\"}",
            b"{",
            b"\"",
            b"steered+x@hooks.example\n",
            b"post@https://shop.example/\n",
            b"post@postgate.local\n",
        ]
    }

    fn check(&self, input: &[u8]) -> u64 {
        let split =
            input.windows(2).position(|pair| pair == b"\n\n").map(|at| (&input[..at], &input[at + 2..]));
        let (lines, raw) = match input.strip_prefix(b"\n") {
            Some(raw) => (&b""[..], raw),
            None => split.unwrap_or((b"", input)),
        };
        let raw = Bytes::copy_from_slice(raw);
        let written = String::from_utf8_lossy(lines);
        let steered: Vec<_> = written.lines().take(10).collect();
        let mut kind = DefaultHasher::new();
        let strangers = self.compose(&STRANGERS, &raw);
        let is_loop = |refusal: &Refusal| (refusal.subject, refusal.detail) == (4, 6);
        assert!(strangers.as_ref().err().is_none_or(is_loop), "a stranger's mail is refused");
        hash(&strangers, &mut kind);
        let first = self.compose(&steered, &raw);
        let again = self.compose(&steered, &raw);
        let same = match (&first, &again) {
            (Ok(one), Ok(other)) => one.admission == other.admission && one.remarks == other.remarks,
            (Err(one), Err(other)) => one == other,
            _ => false,
        };
        assert!(same, "another product the second time");
        hash(&first, &mut kind);
        kind.finish()
    }
}
