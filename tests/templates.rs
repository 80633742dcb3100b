//! Templates from outside: `fixtures/templates/<mail>.posts` is what every preset
//! makes of `<mail>.eml`. `UPDATE=1` writes them anew; read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use postgate::compose::{
    Composition, HeaderControl, Options, Payload, Receipt, Route, Templates, compose, target,
};
use postgate::envelope::{Client, Envelope, Recipient, Refusal};
use postgate::post::{MessageId, Post, Timestamp};
use postgate::tenant::Tenant;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RECEIPT: Receipt =
    Receipt { message: MessageId(0x52a0_0000_0000_0002), received_at: Timestamp(1_769_860_800_123) };

const RECIPIENT: &str = "night@hooks.example";

const VARS: [(&str, &str); 3] = [("chat_id", "-100123"), ("topic", "printers"), ("routing_key", "R0123")];

/// What one value may be at most: the template, where its value is, so many of a unit.
type Limit = (&'static str, &'static str, usize, fn(&str) -> usize);

const LIMITS: &[Limit] = &[
    ("slack", "/text", 3000, characters),
    ("slack", "/blocks/0/text/text", 150, characters),
    ("slack", "/blocks/1/elements/0/text", 3000, characters),
    ("slack", "/blocks/2/text/text", 3000, characters),
    ("discord", "/embeds/0/title", 256, utf16),
    ("discord", "/embeds/0/description", 4096, utf16),
    ("discord", "/embeds/0/author/name", 256, utf16),
    ("discord", "/embeds/0/fields/0/value", 1024, utf16),
    ("discord", "/embeds/0/footer/text", 2048, utf16),
    ("telegram", "/text", 4096, utf16),
    ("ntfy", "/message", 4096, octets),
    ("ntfy", "/title", 250, octets),
    ("pagerduty", "/payload/summary", 1024, characters),
    ("pagerduty", "/dedup_key", 255, characters),
];

/// Octets of a whole body at most.
const LARGEST: &[(&str, usize)] =
    &[("teams", 28 * 1024), ("pagerduty", 512 * 1024), ("slack", 64 * 1024), ("discord", 64 * 1024)];

fn characters(text: &str) -> usize {
    text.chars().count()
}

fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

fn octets(text: &str) -> usize {
    text.len()
}

fn composed(
    templates: Templates,
    name: &str,
    control: HeaderControl,
    mail: &[u8],
) -> Result<Composition, Refusal> {
    let url = "https://chat.example/".parse().unwrap();
    let mut route = Route::new(RECIPIENT.parse().unwrap(), url);
    route.payload = Payload::Template(name.into());
    route.vars = VARS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    route.header_control = control;
    let options = Options { routes: vec![route], templates: Arc::new(templates), ..Options::default() };
    let client = Client {
        address: Some("192.0.2.7".parse().unwrap()),
        helo: "printer".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let recipient = Recipient::new(RECIPIENT, target(&options, RECIPIENT)?);
    let envelope = Envelope::new(client, "", vec![recipient]);
    compose(&options, &envelope, RECEIPT, Bytes::copy_from_slice(mail))
}

fn field<'p>(post: &'p Post, name: &str) -> Option<&'p str> {
    let field = post.headers.iter().find(|field| field.name == name)?;
    std::str::from_utf8(&field.value).ok()
}

/// Mark, type and body of the only post.
fn product(composition: &Composition) -> (Option<&str>, &str, &str) {
    let post = &composition.admission.posts[0];
    let blob = &composition.admission.blobs[usize::from(post.body.number)];
    let body = &blob[post.body.start as usize..][..post.body.length as usize];
    let mark = field(post, "Postgate-Template");
    (mark, field(post, "Content-Type").unwrap(), std::str::from_utf8(body).unwrap())
}

/// What a preset makes, which is JSON within the limits of its receiver.
fn made(name: &str, mail: &[u8]) -> String {
    let composition = composed(Templates::default(), name, HeaderControl::Off, mail).unwrap();
    let (mark, content_type, body) = product(&composition);
    assert_eq!((mark, content_type), (None, "application/json"), "{name}: {:?}", composition.remarks);
    assert!(composition.remarks.is_empty());
    let json: Value = serde_json::from_str(body).unwrap();
    for (_, at, most, count) in LIMITS.iter().filter(|(of, ..)| *of == name) {
        let count = json.pointer(at).and_then(Value::as_str).map_or(0, count);
        assert!(count <= *most, "{name}{at}: {count} instead of {most}");
    }
    for (_, most) in LARGEST.iter().filter(|(of, _)| *of == name) {
        assert!(body.len() <= *most, "{name}: {} octets", body.len());
    }
    // Receivers refuse what is empty.
    for at in [
        "/text",
        "/message",
        "/title",
        "/blocks/0/text/text",
        "/embeds/0/title",
        "/payload/summary",
        "/0/labels/alertname",
    ] {
        let text = json.pointer(at).and_then(Value::as_str);
        assert!(text.is_none_or(|text| !text.trim().is_empty()), "{name}{at}");
    }
    body.to_owned()
}

fn names() -> Vec<String> {
    Templates::default().list().map(|(name, ..)| name.to_owned()).collect()
}

#[test]
fn presets_make_of_mail_what_is_written_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/templates");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mails: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "eml")).collect();
    assert!(mails.len() >= 4);
    let mut different = Vec::new();
    for mail in mails {
        let raw = fs::read(&mail).unwrap();
        let mut posts = String::new();
        for name in names() {
            writeln!(posts, "== {name}\n{}", made(&name, &raw)).unwrap();
        }
        let golden = mail.with_extension("posts");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &posts).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != posts {
            different.push(format!("{}:\n{posts}", golden.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn presets_keep_the_limits_of_their_receivers_whatever_a_mail_is_full_of() {
    for piece in ["x", "&", "<@everyone> ", "😀", "\u{1}", "\r\n", "é\u{2028}", "\"\\", "]]> </script>"] {
        let octets = if piece.len() == 1 { 1 << 20 } else { 1 << 16 };
        let text = piece.repeat(octets / piece.len());
        let line = piece.replace("\r\n", " ").repeat(3000 / piece.len());
        let mail = format!(
            "From: \"{0}\" <a@b.example>\r\nSubject: {0}\r\nMessage-ID: <{0}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--b\r\n\
             Content-Type: text/csv; name=\"{0}\"\r\n\r\n1,2\r\n--b--\r\n",
            line.replace('"', "'")
        );
        for name in names() {
            made(&name, mail.as_bytes());
        }
    }
}

#[test]
fn nobody_is_called_and_no_markup_is_smuggled() {
    let mail = b"Subject: <!channel> @everyone\r\n\r\n<!here> <@U1> @everyone\r\n";
    let slack: Value = serde_json::from_str(&made("slack", mail)).unwrap();
    for at in ["/text", "/blocks/2/text/text"] {
        assert!(!slack.pointer(at).unwrap().as_str().unwrap().contains('<'), "{slack}");
    }
    let discord: Value = serde_json::from_str(&made("discord", mail)).unwrap();
    assert_eq!(discord["allowed_mentions"]["parse"], Value::Array(Vec::new()));
    let telegram: Value = serde_json::from_str(&made("telegram", mail)).unwrap();
    assert_eq!(telegram.get("parse_mode"), None);
}

#[test]
fn urgency_becomes_priority() {
    for (fields, ntfy, gotify, severity) in [
        ("X-Priority: 1 (Highest)\r\n", 5, 10, "critical"),
        ("X-Priority: 2\r\n", 4, 8, "critical"),
        ("Importance: high\r\n", 4, 8, "critical"),
        ("X-Priority: 3\r\n", 3, 5, "error"),
        ("", 3, 5, "error"),
        ("X-Priority: 4\r\n", 2, 3, "error"),
        ("importance: Low\r\n", 2, 3, "error"),
        ("X-Priority: 5\r\n", 1, 1, "error"),
    ] {
        let mail = format!("{fields}Subject: a\r\n\r\nb");
        let json = |name| -> Value { serde_json::from_str(&made(name, mail.as_bytes())).unwrap() };
        assert_eq!(json("ntfy")["priority"], ntfy, "{fields}");
        assert_eq!(json("gotify")["priority"], gotify, "{fields}");
        assert_eq!(json("pagerduty")["payload"]["severity"], severity, "{fields}");
    }
}

const MAIL: &[u8] = b"From: \"B & C\" <b@c.example>\r\nSubject: a \"b\" <c> & d=\xc3\xbc\r\nX-A: 1\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\
    Content-Type: text/csv; name=a.csv\r\n\r\n1,2\r\n--b--\r\n";

#[test]
fn an_own_template_makes_what_its_name_says() {
    for (ending, source, content_type, expected) in [
        (
            "json",
            r#"{"a": "{{ subject }}"}"#,
            "application/json",
            r#"{"a": "a \"b\" \u003cc\u003e \u0026 d=ü"}"#,
        ),
        (
            "json",
            r#"{"a": {{ subject|tojson }}}"#,
            "application/json",
            r#"{"a": "a \"b\" \u003cc\u003e \u0026 d=ü"}"#,
        ),
        ("json", "[{{ sender }}, {{ size }}, {{ tags }}]", "application/json", "[null, 197, []]"),
        ("json", "{{ from }}", "application/json", r#"[{"name":"B \u0026 C","address":"b@c.example"}]"#),
        ("json", "{{ (from|tojson)|truncate(2, end='')|tojson }}", "application/json", r#""[{""#),
        (
            "json",
            r#""{{ headers|header("x-a") }}{{ headers|header("x-b") }}""#,
            "application/json",
            r#""1null""#,
        ),
        (
            "json",
            r#""{{ subject|urlencode }}""#,
            "application/json",
            r#""a%20%22b%22%20%3Cc%3E%20%26%20d%3D%C3%BC""#,
        ),
        (
            "txt",
            "{{ subject }}\n{{ vars.topic }}",
            "text/plain; charset=utf-8",
            "a \"b\" <c> & d=ü\nprinters",
        ),
        (
            "html",
            "<p>{{ subject }}</p>",
            "text/html; charset=utf-8",
            "<p>a &quot;b&quot; &lt;c&gt; &amp; d=ü</p>",
        ),
        ("xml", "<a>{{ text }}</a>", "application/xml; charset=utf-8", "<a>hello</a>"),
        (
            "form",
            "a={{ subject }}&b={{ vars.chat_id|urlencode }}",
            "application/x-www-form-urlencoded",
            "a=a%20%22b%22%20%3Cc%3E%20%26%20d%3D%C3%BC&b=-100123",
        ),
        (
            "form",
            "payload=%7B%22text%22%3A{{ subject|tojson }}%7D",
            "application/x-www-form-urlencoded",
            "payload=%7B%22text%22%3A%22a+%5C%22b%5C%22+%5Cu003cc%5Cu003e+%5Cu0026+d%3D%C3%BC%22%7D",
        ),
        (
            "txt",
            "{% for a in attachments %}{{ a.filename }} {{ a.size }} {{ a.content }}{% endfor %}",
            "text/plain; charset=utf-8",
            "a.csv 3 MSwy",
        ),
        (
            "json",
            "{% set a = attachments[0] %}[\"{{ a.content }}\",{{ a.content|tojson }},{{ a|tojson }}]",
            "application/json",
            "[\"MSwy\",\"MSwy\",{\"content\":\"MSwy\",\"content_id\":null,\"content_type\":\"text/csv\",\
             \"disposition\":null,\"filename\":\"a.csv\",\"sha256\":\
             \"17f8af97ad4a7f7639a4c9171d5185cbafb85462877a4746c21bdb0a4f940ca0\",\"size\":3,\"url\":null}]",
        ),
        (
            "txt",
            "{% set a = attachments[0].content %}{{ a|length }} {{ a|truncate(3) }} {{ a ~ '!' }} {{ a|lower }} \
             {{ 'y' if a else 'n' }} {{ attachments|map(attribute='content')|list|tojson }}",
            "text/plain; charset=utf-8",
            "4 MS… MSwy! mswy y [\"MSwy\"]",
        ),
        (
            "txt",
            "{% if text %}{{ text }}{% endif %}{% if not html %}!{% endif %}",
            "text/plain; charset=utf-8",
            "hello!",
        ),
        ("json", "[\"{{ text }}\",{{ text|tojson }}]", "application/json", "[\"hello\",\"hello\"]"),
        (
            "txt",
            "{{ attachments[0].content[:2] }}{{ 'S' in attachments[0].content }}{{ attachments[0].content == 'MSwy' }}",
            "text/plain; charset=utf-8",
            "MSTrueTrue",
        ),
        ("html", "<i>{{ attachments[0].content }}</i>", "text/html; charset=utf-8", "<i>MSwy</i>"),
        (
            "form",
            "a={{ attachments[0].content ~ '=' }}&b={{ attachments[0].content }}",
            "application/x-www-form-urlencoded",
            "a=MSwy%3D&b=MSwy",
        ),
        (
            "txt",
            "{{ id }} {{ received_at }} {{ envelope.helo }} {{ envelope.recipients|length }} {{ raw_url }}",
            "text/plain; charset=utf-8",
            "52a0000000000002 2026-01-31T12:00:00.123Z printer 1 None",
        ),
        (
            "txt",
            "{{ message_id }}{{ date }}{{ to }}{{ cc }}{{ bcc }}{{ reply_to }}{{ in_reply_to }}{{ references }}",
            "text/plain; charset=utf-8",
            "NoneNone[][][][][][]",
        ),
        (
            "txt",
            "{{ html }} {{ text_reply }} {{ vars.other|default('x') }}",
            "text/plain; charset=utf-8",
            "None hello x",
        ),
        (
            "txt",
            "{% set text = text|truncate(2) %}{% if size == 0 %}{% set to = 1 %}{% endif %}{{ text }}{{ to }}",
            "text/plain; charset=utf-8",
            "h…[]",
        ),
    ] {
        let mut templates = Templates::default();
        templates.add(&format!("own.{ending}.j2"), source).unwrap();
        let composition = composed(templates, "own", HeaderControl::Off, MAIL).unwrap();
        let found = product(&composition);
        assert_eq!(found, (None, content_type, expected), "{source}: {:?}", composition.remarks);
    }
}

#[test]
fn a_template_that_fails_loses_no_mail_and_says_where() {
    let long = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
    let large = "\n{% for a in range(10000) %}{{ 'x' * 10000 }}{% endfor %}";
    for (source, reason) in [
        ("{}\n{{ vars.room|tojson }}", "own.json.j2:2: undefined value: vars.room|tojson"),
        ("{{ subjct }}", "own.json.j2:1: undefined value: subjct"),
        ("{% if subjct %}{% endif %}", "own.json.j2:1: undefined value: subjct"),
        ("{{ attachments[0]['content'] }}", "own.json.j2:1: undefined value"),
        (
            "{\"a\": {{ subject }}}",
            "own.json.j2: what it makes is no JSON: expected value at line 1 column 7",
        ),
        ("", "own.json.j2: what it makes is no JSON: EOF while parsing a value at line 1 column 0"),
        (long, "own.json.j2:1: more than 1000000 steps"),
        (large, "own.json.j2: more than there is room for"),
        ("{{ subject|truncate(3, unit='words') }}", "own.json.j2:1: invalid operation: unit is one of"),
    ] {
        let mut templates = Templates::default();
        templates.add("own.json.j2", source).unwrap();
        let composition = composed(templates, "own", HeaderControl::Off, MAIL).unwrap();
        let (mark, content_type, body) = product(&composition);
        assert_eq!((mark, content_type), (Some("failed"), "application/json"), "{source}");
        let json: Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["subject"], "a \"b\" <c> & d=ü");
        let remark = composition.remarks.join("\n");
        let expected = format!("template own failed, posted as json: {reason}");
        assert!(remark.starts_with(&expected), "{source}: {remark}");
    }
}

#[test]
fn a_message_may_name_a_template_that_is_there() {
    let mail = |payload: &str| format!("X-Postgate-Payload: {payload}\r\nSubject: a\r\n\r\nb");
    let composed =
        |payload| composed(Templates::default(), "slack", HeaderControl::On, mail(payload).as_bytes());
    let composition = composed("template:ntfy").unwrap();
    assert!(product(&composition).2.contains("\"topic\""));
    let refusal = composed("template:slakc").unwrap_err();
    assert_eq!(refusal.to_string(), "550 5.6.0 X-Postgate-Payload: no template has this name");
}
