//! What events say, word by word.

use super::*;
use crate::post::{Batch, Blob, Destination, Notice, Sealed, Trust};
use crate::tenant::Tenant;
use std::sync::Arc;

const COMMON: &str = concat!(
    r#""postId":"52a0000000000002-1","messageId":"52a0000000000002","tenant":"shop","#,
    r#""destination":"https://shop.example","url":"https://shop.example/in?token=***","#,
    r#""tag":"bill","tags":["bill","b"],"sender":"app@example.com","recipient":"orders@hooks.example","#,
    r#""xsMessageId":"m-1","xsMailingId":"l-1""#,
);

fn post() -> Post {
    let destination = Destination {
        tenant: Tenant::new("shop"),
        scheme: Scheme::Https,
        host: "shop.example".to_owned(),
        port: 443,
        webhook: None,
    };
    Post {
        id: PostId { message: MessageId(0x52a0_0000_0000_0002), number: 1 },
        accepted_at: Timestamp(1_769_860_800_000),
        destination: Arc::new(destination),
        method: "POST".to_owned(),
        path: "/in?token=canary".to_owned(),
        headers: Vec::new(),
        body: Blob { number: 0, start: 0, length: 5 },
        idempotency_key: None,
        sender: "app@example.com".to_owned(),
        recipient: "orders@hooks.example".to_owned(),
        not_before_at: None,
        expires_at: None,
        priority: 5,
        tags: vec!["bill".to_owned(), "b".to_owned()],
        xs_message_id: Some("m-1".to_owned()),
        xs_mailing_id: Some("l-1".to_owned()),
        ordering_key: None,
        sign_with: None,
        auth: None,
        trace: None,
        notice: Notice::default(),
        trust: Trust::Operator,
        has_links: false,
        lean_body: None,
        batch: None,
        sealed: Sealed::default(),
    }
}

fn client(session: &str, login: Option<&str>) -> Client {
    Client {
        address: "192.0.2.7".parse().ok(),
        helo: "app".to_owned(),
        tls: None,
        login: login.map(str::to_owned),
        tenant: Tenant::new("shop"),
        session: session.to_owned(),
    }
}

const fn tried<'a>(status: Option<u16>, error: &'a str, response: &'a str) -> Tried<'a> {
    Tried { number: 2, took: Duration::from_millis(12), status, error, response }
}

#[test]
fn every_kind_has_its_fields() {
    let (erp, nobody) = (client("S3f2a", Some("erp")), client("", None));
    let way = Way { address: "192.0.2.80".parse().ok(), version: "HTTP/2", reuse: Reuse::Reused };
    let (queued, remarks) = (Duration::from_secs(2), ["a part is damaged".to_owned()]);
    for (news, name, expected) in [
        (
            News::Received { size: 2048, source: Source::Smtp, client: &erp, remarks: &remarks },
            "post.received",
            r#""size":2048,"source":"smtp","user":"erp","session":"S3f2a","remarks":["a part is damaged"],"remoteIp":"192.0.2.7""#,
        ),
        (
            News::Received { size: 1, source: Source::Api, client: &nobody, remarks: &[] },
            "post.received",
            r#""size":1,"source":"api","remoteIp":"192.0.2.7""#,
        ),
        (
            News::Delivered { last: tried(Some(204), "204 No Content", ""), queued, way: Some(way) },
            "post.delivered",
            concat!(
                r#""size":5,"attempt":2,"status":204,"durationMs":12,"queuedMs":2000,"#,
                r#""remoteIp":"192.0.2.80","httpVersion":"HTTP/2","reused":true"#,
            ),
        ),
        (
            News::Delivered { last: tried(Some(200), "200 OK", ""), queued, way: None },
            "post.delivered",
            r#""size":5,"attempt":2,"status":200,"durationMs":12,"queuedMs":2000"#,
        ),
        (
            News::Deferred { last: tried(Some(503), "503", "busy"), next_at: Timestamp(1_769_860_805_120) },
            "post.deferred",
            concat!(
                r#""attempt":2,"status":503,"response":"busy","durationMs":12,"queuedMs":123,"#,
                r#""nextAttemptAt":"2026-01-31T12:00:05.120Z""#,
            ),
        ),
        (
            News::Deferred { last: tried(None, "TLS: expired", ""), next_at: Timestamp(0) },
            "post.deferred",
            concat!(
                r#""attempt":2,"error":"TLS: expired","durationMs":12,"queuedMs":123,"#,
                r#""nextAttemptAt":"1970-01-01T00:00:00.000Z""#,
            ),
        ),
        (
            News::Failed { attempts: 2, last: Some(tried(Some(410), "", "gone")), reason: "gone" },
            "post.failed",
            r#""attempts":2,"reason":"gone","status":410,"response":"gone","durationMs":12,"queuedMs":123"#,
        ),
        (
            News::Failed { attempts: 0, last: None, reason: "deleted" },
            "post.failed",
            r#""attempts":0,"reason":"deleted","queuedMs":123"#,
        ),
    ] {
        let event = event(&post(), &news, Timestamp(1_769_860_800_123), 7);
        assert_eq!(event.name.as_str(), name);
        assert_eq!(std::str::from_utf8(&event.data).unwrap(), format!("{{{COMMON},{expected}}}"));
    }
}

#[test]
fn what_nobody_said_is_left_out_and_reports_are_not_told() {
    let mut bare = post();
    (bare.tags, bare.xs_message_id, bare.xs_mailing_id) = (Vec::new(), None, None);
    assert!(is_told(&bare));
    let batch = Some(Batch { events: 1, reached: 1 });
    assert!(!is_told(&Post { batch, ..bare.clone() }), "it tells of others");
    let news = News::Failed { attempts: 0, last: None, reason: "deleted" };
    let data = event(&bare, &news, Timestamp(0), 0).data;
    let data = std::str::from_utf8(&data).unwrap();
    assert!(data.contains(r#""tags":[],"sender""#) && !data.contains("xs"), "{data}");
    let destination = Destination { scheme: Scheme::Smtp, ..(*bare.destination).clone() };
    bare.destination = Arc::new(destination);
    assert!(!is_told(&bare));
}
