//! What is sent and recorded of events: every kind in every format, beside its golden
//! text in `fixtures/events`; filters, accounting, signatures and proofs. `UPDATE=1`
//! rewrites the golden texts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use postgate::event::{Event, EventId};
use postgate::fanout::accounting::{self, Fields, Privacy, RECORD_TYPES};
use postgate::fanout::group::Wish;
use postgate::fanout::verify::{self, Answer, Draw, Way};
use postgate::fanout::webhook::{OVERLAP, Settings, Status, Unsent, Webhook};
use postgate::fanout::{FORMATS, Format, Sharing, Style, Told, bodies, headers, sample};
use postgate::post::Timestamp;
use postgate::tenant::Tenant;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

const NOON: Timestamp = Timestamp(1_769_860_800_123);
const HOST: &str = "gateway.example";

/// An event of each kind, and one whose data are not on one line.
fn samples() -> Vec<Told> {
    let tenant = Tenant::new("shop \"east\"");
    let mut told: Vec<_> = sample::kinds()
        .enumerate()
        .map(|(index, (name, _))| {
            let dice = u128::try_from(index).unwrap();
            Told::of(sample::event(&name.parse().unwrap(), &tenant, NOON, dice))
        })
        .collect();
    told.push(event("order.shipped", "{\n \"order\": 18,\r\n \"note\": \"a, \\\"b\\\" & c\\nd\"\n}"));
    told
}

fn event(name: &str, data: &'static str) -> Told {
    let (id, tenant) = (EventId::new(NOON, 99), Tenant::default());
    Told::of(Event { id, name: name.parse().unwrap(), at: NOON, tenant, data: Bytes::from(data) })
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/events").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} is not what is written; UPDATE=1 rewrites it:\n{text}", path.display());
}

#[test]
fn every_kind_of_event_is_written_in_every_format() {
    let told = samples();
    let told: Vec<_> = told.iter().collect();
    for (name, format) in FORMATS {
        for (sharing, suffix) in [(Sharing::Batched, ""), (Sharing::Alone, "-alone")] {
            if sharing == Sharing::Alone && format != Format::CloudEvents {
                continue;
            }
            let made = bodies(format, &told, Style { hostname: HOST, sharing });
            let held: usize = made.iter().map(|body| body.events).sum();
            assert_eq!(held, told.len(), "{name}");
            let mut text = String::new();
            for body in &made {
                text.push_str(&format!("Content-Type: {}\n", body.content_type));
                for (header, value) in headers(format, "52a0000000000002", HOST) {
                    text.push_str(&format!("{header}: {value}\n"));
                }
                let octets = std::str::from_utf8(&body.octets).unwrap();
                if body.content_type.contains("json") && !body.content_type.contains("ndjson") {
                    serde_json::from_str::<Value>(octets).unwrap();
                }
                text.push_str(&format!("\n{octets}\n\n"));
            }
            golden(&format!("{name}{suffix}.txt"), &text);
            assert_eq!(bodies(format, &[], Style { hostname: HOST, sharing }), []);
        }
    }
}

#[test]
fn a_line_of_ndjson_is_one_event_whatever_its_data_look_like() {
    let told = samples();
    let told: Vec<_> = told.iter().collect();
    let style = Style { hostname: HOST, sharing: Sharing::Batched };
    let body = bodies(Format::Ndjson, &told, style).remove(0);
    let lines: Vec<Value> = body
        .octets
        .split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), told.len());
    assert_eq!(lines[0]["tenant"], "shop \"east\"");
    assert_eq!(lines[0]["timestamp"], "2026-01-31T12:00:00.123Z");
    assert_eq!(lines.last().unwrap()["data"]["note"], "a, \"b\" & c\nd");
    let one = bodies(Format::Single, &told[..1], style).remove(0);
    assert_eq!(one.octets.as_ptr(), told[0].json().as_ptr(), "written once");
}

#[test]
fn accounting_has_power_mtas_columns() {
    let told = samples();
    let accounted: Vec<_> = told.iter().filter(|told| accounting::record_type(told).is_some()).collect();
    let lines: String =
        accounted.iter().map(|told| accounting::json_line(told, &Fields::all(), &Privacy::Retain)).collect();
    golden("accounting.ndjson", &lines);
    golden("accounting.csv", &accounting::csv(&accounted, &Fields::all(), &Privacy::Retain));
    for (name, letters) in [
        ("post.received", Some("r")),
        ("destination.backoff", Some("tq")),
        ("email.delayed", Some("rs")),
        ("destination.resumed", None),
        ("order.paid", None),
    ] {
        let kind = accounting::type_of(&name.parse().unwrap());
        let known = RECORD_TYPES.iter().find(|(_, known)| Some(*known) == kind).map(|(letters, _)| *letters);
        assert_eq!(known, letters, "{name}");
    }
}

#[test]
fn columns_are_chosen_by_name() {
    let told = event("post.failed", r#"{"recipient":"a@b.example","status":410,"reason":"gone"}"#);
    for (names, expected) in [
        (&["rcpt", "httpStatus"][..], "type,rcpt,httpStatus\r\nb,a@b.example,410\r\n"),
        (&["dsnStatus", "bounceCat", "type"], "type,dsnStatus,bounceCat\r\nb,5.1.1,inactive-mailbox\r\n"),
        (&["rcpt", "dsnDiag", "!rcpt"], "type,dsnDiag\r\nb,http;410 Gone\r\n"),
        (&[], "type\r\nb\r\n"),
    ] {
        let fields = Fields::select(names).unwrap();
        assert_eq!(accounting::csv(&[&told], &fields, &Privacy::Retain), expected);
    }
    assert_eq!(Fields::select(&["*"]).unwrap().names(), Fields::all().names());
    assert!(!Fields::select(&["*", "!url"]).unwrap().names().contains("url"));
    assert_eq!(Fields::select(&["rcpt", "colour"]).unwrap_err(), "colour");
}

#[test]
fn a_record_is_a_line_and_no_formula_whatever_others_wrote() {
    let fields = Fields::select(&["rcpt", "reason"]).unwrap();
    for (recipient, reason, cells) in [
        ("a@b.example", "no, \"thanks\"", "a@b.example,\"no, \"\"thanks\"\"\""),
        ("=1+2@b.example", "@SUM(A1)", "'=1+2@b.example,'@SUM(A1)"),
        ("+49123@sms.example", "-5", "+49123@sms.example,-5"),
        ("a@b.example", "+cmd|' /C calc'!A0", "a@b.example,'+cmd|' /C calc'!A0"),
        ("a@b.example", "\t=1", "a@b.example,' =1"),
        ("a@b.example", "one\r\ntwo\u{1b}[2J\u{0}\u{9b}", "a@b.example,one  two [2J  "),
    ] {
        let data = json!({"recipient": recipient, "reason": reason}).to_string();
        let event = Event { data: Bytes::from(data), ..event("email.bounced", "{}").event().clone() };
        let line = accounting::csv(&[&Told::of(event)], &fields, &Privacy::Retain);
        assert_eq!(line, format!("type,rcpt,reason\r\nrb,{cells}\r\n"));
    }
}

#[test]
fn addresses_are_shown_to_whom_they_may_be() {
    let fields = Fields::select(&["orig", "rcpt"]).unwrap();
    let key = Privacy::hmac_sha256("k");
    let data = r#"{"sender":"Jane@shop.example","recipient":"post@https://a.example/x"}"#;
    let told = event("post.received", data);
    // printf %s jane@shop.example | openssl dgst -sha256 -hmac k
    let digest = "ec3e6267cc4d620ed300841a57f5098752714734ba5e1e2629b3e46d8dc00091";
    for (privacy, sender) in [
        (&Privacy::Retain, "Jane@shop.example".to_owned()),
        (&Privacy::Redact, "***@shop.example".to_owned()),
        (&key, format!("{digest}@shop.example")),
    ] {
        let line = accounting::csv(&[&told], &fields, privacy);
        let line = line.lines().nth(1).unwrap();
        assert_eq!(line, format!("r,{sender},post@https://a.example/x"));
    }
    // Whatever strangers or tenants put into an event, in whatever column it is shown.
    let names = [
        "xsMailingId xsMessageId status remoteMta reportingMta feedbackType session sourceIp userAgent",
        "source size destination httpVersion attempt durationMs url postId tag reason diagnosticCode",
    ];
    let names = names.iter().flat_map(|names| names.split(' '));
    let all: HashMap<_, _> = names.map(|name| (name, "Jane@shop.example")).collect();
    let filled = |name, data: Value| {
        Told::of(Event { data: data.to_string().into(), ..event(name, "{}").event().clone() })
    };
    for name in ["email.bounced", "email.delayed", "email.complained"] {
        let told = filled(name, json!(all));
        let line = accounting::csv(&[&told], &Fields::all(), &Privacy::Redact);
        assert!(!line.contains("Jane") && line.contains("***@shop.example"), "{line}");
    }
    // An event is no longer as a record than a reader can bear.
    let many = json!({ "reason": "a@b.c ".repeat(40_000), "tag": "\u{e4}".repeat(10_000) });
    let line = accounting::json_line(&filled("email.bounced", many), &Fields::all(), &key);
    assert!(line.len() < 64 << 10 && line.matches("...\"").count() == 2, "{}", line.len());
    let bounce = event("email.bounced", r#"{"recipient":"","sender":"<>"}"#);
    assert!(accounting::csv(&[&bounce], &fields, &Privacy::Redact).ends_with("rb,<>,\r\n"));
}

fn webhook(settings: Value) -> Webhook {
    let id = "wh_01ARYZ6S410000000000000000".to_owned();
    let settings = serde_json::from_value::<Settings>(settings).unwrap();
    Webhook::new((id, Tenant::default()), NOON, settings, "0123456789abcdef0123456789abcdef".to_owned())
}

#[test]
fn a_webhook_wants_what_its_owner_names() {
    let url = "https://r.example/x";
    let told = event(
        "post.failed",
        r#"{"tag":["bill","vip"],"destination":"https://a.shop.example","recipient":"Orders+1@Shop.example"}"#,
    );
    let bare = event("destination.paused", "{}");
    for (settings, wants, wants_bare) in [
        (json!({ "events": ["*"] }), true, true),
        (json!({ "events": ["post.*"] }), true, false),
        (json!({ "events": ["post.failed", "destination.*"] }), true, true),
        (json!({ "events": ["post.delivered"] }), false, false),
        (json!({ "events": ["*"], "filter": { "tag": "bill" } }), true, false),
        (json!({ "events": ["*"], "filter": { "tag": ["x", "v*"] } }), true, false),
        (json!({ "events": ["*"], "filter": { "tag": "b" } }), false, false),
        (json!({ "events": ["*"], "filter": { "destination": "https://*.shop.example" } }), true, false),
        (json!({ "events": ["*"], "filter": { "destination": "http://*.shop.example" } }), false, false),
        (json!({ "events": ["*"], "filter": { "recipient": "orders+*@shop.EXAMPLE" } }), true, false),
        (json!({ "events": ["*"], "filter": { "recipient": "*@other.example" } }), false, false),
        (json!({ "events": ["*"], "filter": { "recipient": "*", "tag": "x" } }), false, false),
    ] {
        let mut with_url = settings.clone();
        with_url["url"] = json!(url);
        let webhook = webhook(with_url);
        assert_eq!(webhook.settings.check(), Ok(()), "{settings}");
        let wish = Wish::of(&webhook).unwrap();
        assert_eq!((wish.wants(&told), wish.wants(&bare)), (wants, wants_bare), "{settings}");
    }
    let foreign = Webhook { tenant: Tenant::new("b"), ..webhook(json!({ "url": url, "events": ["*"] })) };
    assert!(!Wish::of(&foreign).unwrap().wants(&told));
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_by_its_field() {
    let good = json!({ "url": "https://r.example/x", "events": ["delivered", "post.*"] });
    assert_eq!(webhook(good.clone()).settings.check(), Ok(()));
    let eleven: Value = (0..11).map(|index| (format!("X-{index}"), json!("v"))).collect();
    for (field, value) in [
        ("url", json!("ftp://r.example/")),
        ("url", json!("https://user:pass@r.example/")),
        ("url", json!("")),
        ("events", json!([])),
        ("events", json!(["po*"])),
        ("events", json!(["nothing"])),
        ("description", json!("a\nb")),
        ("batch", json!({ "max_events": 0 })),
        ("batch", json!({ "max_events": 10_001 })),
        ("batch", json!({ "max_bytes": "10" })),
        ("batch", json!({ "max_bytes": "1GiB" })),
        ("batch", json!({ "max_wait": "2h" })),
        ("headers", eleven),
        ("headers", json!({ "Host": "x" })),
        ("headers", json!({ "webhook-id": "x" })),
        ("headers", json!({ "X-A": "a\r\nb" })),
        ("headers", json!({ "X-A": "a", "x-a": "b" })),
        ("headers", json!({ "X A": "b" })),
        ("headers", json!({ "X-A": "b".repeat(3000) })),
        ("auth", json!("")),
        ("rate", json!("fast")),
        ("max_connections", json!(0)),
        ("filter", json!({ "destination": "shop" })),
        ("filter", json!({ "tag": [""] })),
        ("secret", json!("")),
        ("secret", json!("whsec_c2hvcnQ=")),
        ("secret", json!("whsec_!")),
        ("signature_header", json!("Content-Length")),
    ] {
        let mut settings = good.clone();
        settings[field] = value.clone();
        if field == "signature_header" {
            settings["secret"] = json!("long enough");
        }
        let wrong = webhook(settings).settings.check();
        assert_eq!(wrong.map_err(|wrong| wrong.field), Err(field), "{value}");
    }
    assert!(serde_json::from_value::<Settings>(json!({ "uri": "x" })).is_err());
}

fn signed(webhook: &Webhook, at: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    let unsent = Unsent { id, at, nonce: [0; 16], method: "POST", target: "/x", body };
    webhook.sign(&mut headers, unsent).unwrap();
    headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn requests_are_signed_as_receivers_expect() {
    let at = Timestamp(1_649_367_553_000);
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let url = "https://r.example/x";
    let plain = webhook(json!({ "url": url, "events": ["*"], "secret": secret }));
    let headers = signed(&plain, at);
    assert_eq!(text(&headers, "webhook-id"), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
    assert_eq!(text(&headers, "webhook-timestamp"), "1649367553");
    assert_eq!(text(&headers, "webhook-signature"), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    assert_eq!(text(&headers, "x-postgate-signature").len(), 64);
    let until = at.after(OVERLAP);
    let old_secret = Some(("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into(), until));
    let rotated = Webhook { old_secret, ..plain };
    for (at, signatures) in [(at, 2), (Timestamp(until.0 - 1), 2), (until, 1)] {
        let headers = signed(&rotated, at);
        assert_eq!(text(&headers, "webhook-signature").split(' ').count(), signatures);
        assert_eq!(headers.contains_key("x-postgate-signature-2"), signatures == 2);
    }
    let mailtura = json!({ "url": url, "events": ["sent"], "secret": "your-secret",
                           "signature_header": "X-Mailtura-Signature" });
    let headers = signed(&webhook(mailtura), at);
    // openssl dgst -sha256 -hmac your-secret
    let expected = "9a63a2cf2b5c43b443a3c31a6552032b";
    assert!(text(&headers, "x-mailtura-signature").starts_with(expected), "{headers:?}");
    assert!(!headers.contains_key("webhook-signature") && headers.contains_key("webhook-id"));
}

#[test]
fn a_webhook_stands_as_it_fared() {
    let active = Webhook {
        verified: Some((NOON, "dns".to_owned())),
        ..webhook(json!({ "url": "https://r.example", "events": ["*"] }))
    };
    let later = NOON.after(Duration::from_secs(1));
    let failed =
        |success, failure| Webhook { last_success_at: success, last_failure_at: failure, ..active.clone() };
    assert_eq!(active.status(), Status::Active);
    assert_eq!(failed(None, Some(NOON)).status(), Status::Failing);
    assert_eq!(failed(Some(NOON), Some(later)).status(), Status::Failing);
    assert_eq!(failed(Some(later), Some(NOON)).status(), Status::Active);
    let unverified = Webhook { verified: None, ..active.clone() };
    assert_eq!(unverified.status(), Status::Unverified);
    let mut disabled = active;
    disabled.settings.enabled = false;
    assert_eq!(disabled.status(), Status::Disabled);
    assert!(!format!("{disabled:?} {:?}", disabled.settings).contains("r.example"));
}

#[test]
fn only_the_right_answer_is_a_proof() {
    let draw = Draw { at: NOON, nonce: [7; 16] };
    let settings = json!({ "url": "https://r.example/in/hook?k=1", "events": ["post.failed"], "rate": "2/s",
                           "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" });
    let webhook = webhook(settings);
    let ask = |way| verify::ask(way, &webhook, draw, HOST).unwrap();
    let paths: Vec<_> = ask(Way::File).into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/postgate-0123456789abcdef.txt", "/in/postgate-0123456789abcdef.txt"]);
    assert_eq!(verify::record_name(&webhook).unwrap(), "_postgate.r.example");
    let proof = "postgate-verification=0123456789abcdef0123456789abcdef";
    let challenge = "07".repeat(16);
    let granted: &[(&str, &str)] =
        &[("webhook-allowed-origin", "GATEWAY.example"), ("webhook-allowed-rate", "120")];
    for (way, status, headers, body, is_proof) in [
        (Way::File, 200, &[][..], format!("{proof}\r\n"), true),
        (Way::File, 404, &[], proof.to_owned(), false),
        (Way::File, 200, &[], "postgate-verification=0".to_owned(), false),
        (Way::File, 200, &[], format!("<html>{proof}</html>"), false),
        (Way::Challenge, 200, &[], challenge.clone(), true),
        (Way::Challenge, 200, &[], format!("{{\"challenge\":\"{challenge}\"}}"), true),
        (Way::Challenge, 500, &[], challenge.clone(), false),
        (Way::Challenge, 200, &[], "ok".to_owned(), false),
        (Way::Challenge, 200, &[], String::new(), false),
        (Way::Options, 405, granted, String::new(), true),
        (
            Way::Options,
            200,
            &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")],
            String::new(),
            true,
        ),
        (Way::Options, 200, &[], String::new(), false),
        (Way::Options, 200, &[("webhook-allowed-origin", "other.example")], String::new(), false),
        (Way::Options, 200, &[("webhook-allowed-origin", "*")], String::new(), false),
        (
            Way::Options,
            200,
            &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "119")],
            String::new(),
            false,
        ),
        (Way::Post, 204, &[], String::new(), true),
        (Way::Post, 302, &[], String::new(), false),
        (Way::Post, 500, &[], String::new(), false),
    ] {
        let fields = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let (headers, body) = (fields.collect::<HeaderMap>(), body.as_bytes());
        let asked = ask(way).remove(0);
        let judged = verify::judge(way, &webhook, &asked, Answer { status, headers: &headers, body });
        assert_eq!(judged.is_ok(), is_proof, "{way:?} {status} {headers:?} {judged:?}");
    }
    for (texts, is_proof) in
        [(&[proof][..], true), (&["v=spf1", proof], true), (&["v=spf1"], false), (&[], false)]
    {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(verify::judge_record(&webhook, "_postgate.r.example", &texts).is_ok(), is_proof);
    }
}

#[test]
fn a_challenge_and_a_test_are_signed_and_permission_is_asked_for() {
    let draw = Draw { at: NOON, nonce: [7; 16] };
    let settings = json!({ "url": "https://r.example/hook?k=1", "events": ["post.*"], "rate": "2/s",
        "format": "sparkpost", "headers": { "X-Own": "yes" },
        "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" });
    let webhook = webhook(settings);
    for way in [Way::Challenge, Way::Post] {
        let asked = verify::ask(way, &webhook, draw, HOST).unwrap().remove(0);
        assert_eq!((asked.method, asked.path.as_str()), ("POST", "/hook?k=1"));
        for name in ["webhook-id", "webhook-signature", "x-postgate-signature", "x-own", "content-type"] {
            assert!(asked.headers.contains_key(name), "{way:?} {name}");
        }
        assert_eq!(asked.headers.contains_key("x-messagesystems-batch-id"), way == Way::Post);
    }
    let asked = verify::ask(Way::Options, &webhook, draw, HOST).unwrap().remove(0);
    assert_eq!((asked.method, text(&asked.headers, "webhook-request-origin")), ("OPTIONS", HOST));
    assert_eq!(text(&asked.headers, "webhook-request-rate"), "120");
    assert!(asked.body.is_empty() && !asked.headers.contains_key("webhook-signature"));
    let name = "email.clicked".parse().unwrap();
    let test = verify::test(&webhook, &name, draw, HOST).unwrap();
    let body: Value = serde_json::from_slice(&test.body).unwrap();
    assert_eq!(body[0]["msys"]["track_event"]["type"], "click");
}
