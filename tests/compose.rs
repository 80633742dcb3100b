//! The products of composing, as text: `fixtures/eml` is the specification.
//!
//! `<case>.eml` is a message. With `<case>.envelope`, a recipient a line, it has
//! `<case>.request` beside it: the HTTP requests it becomes; or `<case>.refused`:
//! the reply. Without, it has `<case>.json` and `<case>.body`: the request of a
//! route with that payload. Lines that begin with `*` say what is no part of a
//! request: remarks for the log, and what a post carries besides.
//! `UPDATE=1` writes them anew; read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use data_encoding::BASE64;
use postgate::compose::{
    Attachments, Composition, Fallback, HeaderControl, LinkKey, Links, Mode, Options, Order, Payload,
    Receipt, Route, Sync, Templates, attachment, compose, target,
};
use postgate::envelope::{Client, Envelope, Recipient, Refusal};
use postgate::post::{Blob, Field, MessageId, Post, Timestamp};
use postgate::tenant::Tenant;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

const RECEIPT: Receipt =
    Receipt { message: MessageId(0x52a0_0000_0000_0002), received_at: Timestamp(1_769_860_800_123) };

/// Formats of other products that are one document each.
const DOCUMENTS: [&str; 6] = ["cloudmailin", "postal", "postal-raw", "postmark", "ses-sns", "smtp2http"];

fn route(recipient: &str, payload: Payload) -> Route {
    Route {
        payload,
        ..Route::new(recipient.parse().unwrap(), "https://shop.example/inbound".parse().unwrap())
    }
}

/// Formats that have a place for attachments.
const WITH_ATTACHMENTS: [&str; 10] = [
    "json",
    "multipart",
    "cloudmailin",
    "cloudmailin-multipart",
    "template",
    "sendgrid",
    "mailgun",
    "postmark",
    "postal",
    "smtp2http",
];

const FILES: &str =
    "{% for file in attachments %}{{ file.filename }}: {{ file.url or file.content }}\n{% endfor %}";

/// Each format with addresses, without attachments, and with a second body.
fn routes_by_attachments() -> Vec<Route> {
    let url = Attachments::Url { inline_limit: 16 };
    let mut routes = Vec::new();
    for format in WITH_ATTACHMENTS {
        let payload = if format == "template" { "template:files" } else { format };
        for (detail, attachments, host) in [
            ("url", url, "shop.example"),
            ("omit", Attachments::Omit, "lean.example"),
            ("lean", Attachments::Inline, "lean.example"),
            ("lean-url", url, "lean.example"),
        ] {
            routes.push(Route {
                attachments,
                url: format!("https://{host}/inbound").parse().unwrap(),
                ..route(&format!("{format}+{detail}@hooks.example"), payload.parse().unwrap())
            });
        }
    }
    routes
}

fn links() -> Links {
    Links {
        key: LinkKey::new(&[7; LinkKey::LENGTH]),
        base: "https://gateway.example/mail".to_owned(),
        life: Duration::from_hours(96),
        fallback: [("https://lean.example".parse().unwrap(), true)].into(),
    }
}

fn options() -> Options {
    let fixed = Field { name: "X-Source".to_owned(), value: b"mail".to_vec() };
    let steered = Route {
        header_control: HeaderControl::On,
        headers: vec![fixed],
        method: "PUT".to_owned(),
        url: "https://user:secret@shop.example/steered".parse().unwrap(),
        ..route("steered+*@hooks.example", Payload::Json)
    };
    let steered_plain =
        Route { header_control: HeaderControl::On, ..route("fifo@hooks.example", Payload::Body) };
    let patient = Mode::Sync(Sync { timeout: Duration::from_secs(3), fallback: Fallback::Refuse });
    let documents = DOCUMENTS
        .iter()
        .map(|format| route(&format!("{format}+*@hooks.example"), format.parse().unwrap()))
        .collect::<Vec<_>>();
    let routes = vec![
        route("json@hooks.example", Payload::Json),
        route("body@hooks.example", Payload::Body),
        route("raw@hooks.example", Payload::Raw),
        route("auto@hooks.example", Payload::Auto),
        route("orders+*@hooks.example", Payload::Json),
        steered,
        Route { order: Order::Fifo, sign_with: Some("main".to_owned()), mode: patient, ..steered_plain },
    ];
    let routes = [routes, documents, routes_by_attachments()].concat();
    let mut templates = Templates::default();
    templates.add("files.txt.j2", FILES).unwrap();
    let (signing_keys, profiles) = (vec!["main".to_owned(), "other".to_owned()], vec!["crm".to_owned()]);
    let options = Options { signing_keys, profiles, templates: templates.into(), ..Options::default() };
    let options = Options { links: Some(links().into()), ..options };
    Options { gateway_domains: vec!["postgate.local".to_owned()], routes, ..options }
}

fn envelope(options: &Options, recipients: &[&str]) -> Result<Envelope, Refusal> {
    let client = Client {
        address: Some("192.0.2.7".parse().unwrap()),
        helo: "app.example".to_owned(),
        tls: None,
        login: Some("erp".to_owned()),
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let recipient = |path: &&str| Ok(Recipient::new(*path, target(options, path)?));
    let recipients = recipients.iter().map(recipient).collect::<Result<_, Refusal>>()?;
    Ok(Envelope::new(client, "app@example.com", recipients))
}

fn composed(recipients: &[&str], raw: &Bytes) -> Result<Composition, Refusal> {
    // Made once: thousands of messages are composed.
    static OPTIONS: LazyLock<Options> = LazyLock::new(options);
    let composition = compose(&OPTIONS, &envelope(&OPTIONS, recipients)?, RECEIPT, raw.clone())?;
    check(&composition, recipients.len(), raw);
    Ok(composition)
}

/// What holds for every message, whatever is in it.
fn check(composition: &Composition, recipients: usize, raw: &Bytes) {
    let admission = &composition.admission;
    assert_eq!(admission.posts.len(), recipients);
    assert_eq!(&admission.blobs[0], raw);
    for post in &admission.posts {
        assert_eq!(body(composition, post.body).len(), post.body.length as usize);
        if let Some(lean) = post.lean_body {
            assert_eq!(body(composition, lean).len(), lean.length as usize);
        }
        assert!(post.path.starts_with('/'));
        for field in &post.headers {
            http::HeaderName::from_bytes(field.name.as_bytes()).unwrap();
            http::HeaderValue::from_bytes(&field.value).unwrap();
        }
    }
}

fn body(composition: &Composition, piece: Blob) -> &[u8] {
    let blob = &composition.admission.blobs[usize::from(piece.number)];
    &blob[piece.start as usize..][..piece.length as usize]
}

/// A request as people read it, with what the spool keeps beside it.
fn shown(composition: &Composition, post: &Post) -> String {
    let at = composition.admission.posts.iter().position(|one| one.id == post.id);
    let wait = composition.waits.iter().find(|(waiting, _)| Some(*waiting) == at);
    let mut text = format!("* post {} to {}, blob {}\n", post.id, post.destination, post.body.number);
    let notes = [
        ("idempotency key", post.idempotency_key.clone()),
        ("recipient", Some(post.recipient.clone())),
        ("not before", post.not_before_at.map(|at| at.0.to_string())),
        ("expires", post.expires_at.map(|at| at.0.to_string())),
        (
            "priority",
            Some(post.priority).filter(|priority| *priority != 5).map(|priority| priority.to_string()),
        ),
        ("tags", Some(post.tags.join(", ")).filter(|tags| !tags.is_empty())),
        ("ordering key", post.ordering_key.as_ref().map(|key| format!("{key:?}"))),
        ("sign with", post.sign_with.clone()),
        ("auth", post.auth.clone()),
        ("waits", wait.map(|(_, sync)| format!("{:?}, then {:?}", sync.timeout, sync.fallback))),
        ("names addresses", post.has_links.then(|| "kept after its delivery".to_owned())),
        ("X-xsMessageId", post.xs_message_id.clone()),
        ("X-xsMailingId", post.xs_mailing_id.clone()),
    ];
    for (name, value) in notes {
        if let Some(value) = value {
            writeln!(text, "* {name}: {value}").unwrap();
        }
    }
    writeln!(text, "{} {} HTTP/1.1", post.method, post.path).unwrap();
    for field in &post.headers {
        writeln!(text, "{}: {}", field.name, String::from_utf8_lossy(&field.value)).unwrap();
    }
    let text = text + &written(body(composition, post.body), post);
    match post.lean_body {
        Some(lean) => {
            text + &format!("* when that is too large, blob {}\n", lean.number)
                + &written(body(composition, lean), post)
        }
        None => text,
    }
}

fn written(body: &[u8], post: &Post) -> String {
    match std::str::from_utf8(body) {
        Ok(body) if body.starts_with("{\"id\":\"52a0") || is_document(post) => {
            format!("\n{}\n", indented(body))
        }
        Ok(body) => format!("\n{body}"),
        Err(_) => format!("* not UTF-8, here in base64\n\n{}\n", BASE64.encode(body)),
    }
}

fn is_document(post: &Post) -> bool {
    DOCUMENTS.contains(&post.recipient.split('+').next().unwrap_or_default())
}

/// A document with a line for each key or element; nothing else is changed.
fn indented(json: &str) -> String {
    let (mut text, mut depth, mut is_string, mut is_escaped) = (String::new(), 0_usize, false, false);
    let mut chars = json.chars().peekable();
    while let Some(char) = chars.next() {
        is_string ^= char == '"' && !is_escaped;
        is_escaped = is_string && char == '\\' && !is_escaped;
        let is_empty = matches!((char, chars.peek()), ('[', Some(']')) | ('{', Some('}')));
        match char {
            '{' | '[' if !is_string && is_empty => text.extend([char, chars.next().unwrap()]),
            '{' | '[' if !is_string => {
                depth += 1;
                text.push(char);
                text.push_str(&format!("\n{}", "  ".repeat(depth)));
            }
            '}' | ']' if !is_string => {
                depth -= 1;
                text.push_str(&format!("\n{}{char}", "  ".repeat(depth)));
            }
            ',' if !is_string => text.push_str(&format!(",\n{}", "  ".repeat(depth))),
            ':' if !is_string => text.push_str(": "),
            char => text.push(char),
        }
    }
    text
}

fn product(recipients: &[&str], raw: &Bytes) -> Result<String, String> {
    let composition = composed(recipients, raw).map_err(|refusal| format!("{refusal}\n"))?;
    let remarks = composition.remarks.iter().map(|remark| format!("* {remark}\n"));
    let posts: Vec<_> = composition.admission.posts.iter().map(|post| shown(&composition, post)).collect();
    Ok(remarks.collect::<String>() + &posts.join("\n"))
}

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut mails: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "eml")).collect();
    mails.sort();
    mails
}

/// Compares a product with the golden beside its message; says so if they differ.
fn compare(golden: &Path, product: &str) -> Option<String> {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(golden, product).unwrap();
    }
    let expected = fs::read(golden).unwrap_or_default();
    (expected != product.as_bytes()).then(|| {
        format!("{}:\n{product}\nexpected:\n{}", golden.display(), String::from_utf8_lossy(&expected))
    })
}

#[test]
fn every_message_becomes_its_golden_requests() {
    let mut wrong = Vec::new();
    let mails = fixtures();
    assert!(mails.len() >= 40);
    for mail in mails {
        let raw = Bytes::from(fs::read(&mail).unwrap());
        if let Ok(envelope) = fs::read_to_string(mail.with_extension("envelope")) {
            let recipients: Vec<_> = envelope.lines().collect();
            let (extension, other, text) = match product(&recipients, &raw) {
                Ok(requests) => ("request", "refused", requests),
                Err(refusal) => ("refused", "request", refusal),
            };
            wrong.extend(compare(&mail.with_extension(extension), &text));
            assert!(!mail.with_extension(other).exists(), "{} has two goldens", mail.display());
        } else {
            for payload in ["json", "body"] {
                let text = product(&[&format!("{payload}@hooks.example")], &raw).unwrap();
                wrong.extend(compare(&mail.with_extension(payload), &text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

/// What stands in a document and what its addresses give are the same.
#[test]
fn attachments_are_fetched_as_they_were_composed() {
    let file = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml").join(name));
    let mut count = 0;
    for mail in fixtures() {
        let raw = Bytes::from(fs::read(&mail).unwrap());
        let Ok(composition) = composed(&["json@hooks.example"], &raw) else { continue };
        let post = &composition.admission.posts[0];
        let Ok(document) = serde_json::from_slice::<serde_json::Value>(body(&composition, post.body)) else {
            continue;
        };
        let all = document["attachments"].as_array().unwrap();
        for (at, shown) in all.iter().enumerate() {
            let file = attachment(&raw, at + 1).unwrap();
            assert_eq!(shown["sha256"], file.sha256, "{}", mail.display());
            assert_eq!(shown["content"], BASE64.encode(&file.octets), "{}", mail.display());
            count += 1;
        }
        for nothing in [0, all.len() + 1, usize::MAX] {
            assert_eq!(attachment(&raw, nothing), None, "{}", mail.display());
        }
    }
    assert!(count > 40, "{count}");
    let raw = Bytes::from(file("attachments.eml").unwrap());
    let files: Vec<_> = (1..=4).map(|number| attachment(&raw, number).unwrap()).collect();
    let names: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.content_type.as_str())).collect();
    let expected = [
        ("logo.png", "image/png"),
        ("Größe.csv", "text/csv"),
        ("a.bin", "application/octet-stream"),
        ("empty.txt", "text/plain"),
    ];
    assert_eq!(names, expected);
}

const ROUTES: [&str; 4] =
    ["json@hooks.example", "body@hooks.example", "raw@hooks.example", "auto@hooks.example"];
const DIRECT: [&str; 2] = ["post@https://shop.example/", "steered+x@hooks.example"];

/// What a gateway of any configuration must do with any octets: routes without
/// header control take all of them but loops, the others may refuse.
fn endure(raw: Vec<u8>) -> Composition {
    let raw = Bytes::from(raw);
    let _ = composed(&DIRECT, &raw);
    match composed(&ROUTES, &raw) {
        Err(refusal) if (refusal.subject, refusal.detail) == (4, 6) => {
            composed(&ROUTES, &Bytes::new()).unwrap()
        }
        result => result.unwrap(),
    }
}

/// A small generator of the same numbers in every run (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    /// A place in, or at the end of, `octets`.
    fn place(&mut self, octets: &[u8]) -> usize {
        self.below(octets.len() + 1)
    }
}

const NASTY: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b"--",
    b"\r\n--b\r\n",
    b"=",
    b"=?utf-8?B?",
    b"=?utf-8?Q?=?=",
    b"?=",
    b";",
    b"*0*=",
    b"\"",
    b"\\",
    b"(",
    b"<",
    b":",
    b" ",
    b"\xff",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"; format=flowed; delsp=yes",
    b"X-XsHttp-Content-Type: application/json\r\n",
];

fn mutate(octets: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.place(octets);
    let until = at + dice.below(octets.len() - at + 1).min(200);
    match dice.below(6) {
        0 => octets.truncate(at),
        1 => drop(octets.drain(at..until)),
        2 => {
            let copy = octets[at..until].to_vec();
            octets.splice(at..at, copy);
        }
        3 => {
            let from = dice.place(other);
            let piece = other[from..].iter().take(200).copied();
            octets.splice(at..at, piece.collect::<Vec<_>>());
        }
        4 if at < octets.len() => octets[at] ^= 1 << dice.below(8),
        _ => drop(octets.splice(at..at, NASTY[dice.below(NASTY.len())].iter().copied())),
    }
}

#[test]
fn no_octets_break_it() {
    let rounds = std::env::var("ROUNDS").map_or(30, |rounds| rounds.parse().unwrap());
    let mails: Vec<_> = fixtures().iter().map(|mail| fs::read(mail).unwrap()).collect();
    let mut dice = Dice(17);
    for mail in &mails {
        for _ in 0..rounds {
            let mut octets = mail.clone();
            for _ in 0..=dice.below(8) {
                mutate(&mut octets, &mails[dice.below(mails.len())], &mut dice);
            }
            endure(octets);
        }
    }
}

/// Mail made to exhaust parsers; each takes minutes where something is quadratic.
#[test]
fn floods_are_posted_whole_or_read_in_time() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let nested: String =
        (0..20_000).map(|at| format!("Content-Type: multipart/mixed; boundary=b{at}\n\n--b{at}\n")).collect();
    let header = |line: &str, count: usize| line.repeat(count) + "\r\nbody\r\n";
    let whole = |raw: String| {
        let posts = endure(raw.into_bytes()).admission.posts;
        posts.iter().take(2).all(|post| {
            post.body.number == 0 && post.headers.iter().any(|field| field.name == "Postgate-Parse")
        })
    };
    assert!(whole(nested));
    assert!(whole(format!("{multipart}{}", "--b\r\n".repeat(200_000))));
    assert!(whole(header("X: y\r\n", 1001)));
    assert!(whole(header(&format!("X: {}\r\n", "y".repeat(90_000)), 3)));
    assert!(whole(format!("Content-Type: text/plain{}\r\n\r\n", "; name*0*=a".repeat(100_000))));
    assert!(!whole("Content-Type: message/rfc822\r\n\r\n".repeat(10_000)));
    assert!(!whole(format!("Content-Type: text/plain{}\r\n\r\n", "; name*0*=a".repeat(20_000))));
    assert!(!whole(format!("Subject: {}\r\n\r\n", "=?utf-8?Q?a".repeat(20_000))));
    assert!(!whole(format!("From: {}\r\n\r\n", "=?utf-8?Q?a".repeat(20_000))));
    assert!(!whole(format!("To: {}\r\n\r\n", "a@b,".repeat(50_000))));
    assert!(!whole(format!("To: {}\r\n\r\n", "(".repeat(200_000))));
    assert!(!whole(format!("Content-Type: text/plain; format=flowed\r\n\r\n{}", "> \r\n".repeat(50_000))));
    assert!(!whole(format!("X: y\r\n\r\n{}", "\r\n>\r\n".repeat(50_000))));
    assert!(!whole(format!("X: y\r\n\r\n{}", "=\r\n".repeat(50_000))));
}

#[test]
fn what_json_would_blow_up_is_posted_whole() {
    let raw = Bytes::from(format!("\r\n{}", "<".repeat(2_000_000)));
    let composition = composed(&["json@hooks.example"], &raw).unwrap();
    assert_eq!(composition.admission.blobs.len(), 1);
    assert_eq!(
        composition.remarks,
        ["posted whole: in its format it would take more than four times the memory"]
    );
}

#[test]
fn the_room_for_all_posts_is_bounded() {
    let mut options = options();
    let raw = Bytes::from("\r\n".to_owned() + &"x".repeat(100_000));
    let many: Vec<_> = std::iter::repeat_n("json@hooks.example", 5).collect();
    let envelope = envelope(&options, &many).unwrap();
    let length = |composition: Composition| composition.admission.blobs[1..].iter().map(Bytes::len).sum();
    let all: usize = length(compose(&options, &envelope, RECEIPT, raw.clone()).unwrap());
    options.limits.composed_octets = all;
    assert!(compose(&options, &envelope, RECEIPT, raw.clone()).is_ok());
    options.limits.composed_octets = all - 1;
    let refusal = compose(&options, &envelope, RECEIPT, raw).unwrap_err();
    assert!(refusal.to_string().starts_with("552 5.3.4 "), "{refusal}");
}

#[test]
fn large_pages_are_posted_in_their_format() {
    let page = "<p>word word</p>\r\n".repeat(8 << 20 >> 4);
    let raw = Bytes::from(format!("Content-Type: text/html\r\n\r\n{page}"));
    let composition = composed(&["ses-sns+x@hooks.example", "json@hooks.example"], &raw).unwrap();
    assert!(composition.remarks.is_empty(), "{:?}", composition.remarks);
    let posts = &composition.admission.posts;
    assert!(posts.iter().all(|post| post.body.number > 0 && (post.body.length as usize) < 3 * raw.len()));
    let json = String::from_utf8_lossy(body(&composition, posts.last().unwrap().body));
    assert_eq!(json.matches("\\n[…]\\n\",").count(), 2);
}

#[test]
fn a_large_mail_goes_to_ten_routes() {
    let raw = Bytes::from(format!("\r\n{}", "x".repeat(25 << 20)));
    let posts = composed(&["json@hooks.example"; 10], &raw).unwrap().admission.posts;
    assert!(posts.iter().all(|post| post.body.length as usize > raw.len()));
}

#[test]
fn bodies_that_are_the_same_are_kept_once() {
    let mut options = options();
    for format in ["cloudmailin", "sendgrid", "json"] {
        let another = route("cloudmailin+*@hooks.example", format.parse().unwrap());
        options.routes.extend([another.clone(), another]);
    }
    let envelope = envelope(&options, &["cloudmailin+x@hooks.example"]).unwrap();
    let admission = compose(&options, &envelope, RECEIPT, Bytes::from("x")).unwrap().admission;
    // Only documents of type json name their post.
    let numbers: Vec<_> = admission.posts.iter().map(|post| post.body.number).collect();
    assert_eq!(numbers, [1, 1, 1, 2, 2, 3, 4]);
}

#[test]
fn a_route_that_is_gone_is_temporary() {
    let mut options = options();
    let envelope = envelope(&options, &["json@hooks.example"]).unwrap();
    options.routes.clear();
    let refusal = compose(&options, &envelope, RECEIPT, Bytes::from("x")).unwrap_err();
    assert!(refusal.to_string().starts_with("451 4.3.0 "), "{refusal}");
}
