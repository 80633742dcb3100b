//! Tables of controls: what each may say, at its limits and one past them.

use super::*;
use crate::compose::{Limits, mail};

const NOON: Timestamp = Timestamp(1_769_860_800_000);

fn controls(header: &str) -> Result<Controls, String> {
    let section = mail::read(header.as_bytes(), &Limits::default());
    read(&section.fields, NOON).map_err(|refusal| refusal.to_string())
}

fn shown(controls: &Controls) -> String {
    let shown = controls
        .headers
        .iter()
        .map(|field| format!("{}={}", field.name, String::from_utf8_lossy(&field.value)));
    shown.collect::<Vec<_>>().join("|")
}

#[test]
fn request_headers_are_set_in_order_with_repeats() {
    for (header, expected) in [
        ("X-XsHttp-Authorization: Bearer a,b", "Authorization=Bearer a,b"),
        ("x-xshttp-X-Api-Key: 1\r\nSubject: x\r\nX-XSHTTP-x-api-key:2", "X-Api-Key=1|x-api-key=2"),
        ("X-XsHttp-A:\r\n second line", "A=second line"),
        ("X-XsHttp-A: b\r\n\tc", "A=b c"),
        ("X-XsHttp-A: =?utf-8?Q?Bearer_x?=\r\n =?utf-8?B?eXo=?=", "A=Bearer xyz"),
        ("X-XsHttp-A: ü", "A=ü"),
        ("X-XsHttp-A:", "A="),
        ("X-XsHttp-User-Agent: mine", "User-Agent=mine"),
        ("X-XsHttp-Content-Type: text/csv\r\nX-XsHttp-Idempotency-Key: k", ""),
        ("X-Other: 1\r\nXX-XsHttp-A: 1", ""),
    ] {
        assert_eq!(controls(header).map(|controls| shown(&controls)), Ok(expected.to_owned()), "{header}");
    }
    let read = controls("X-XsHttp-content-type: text/csv\r\nX-XsHttp-Idempotency-Key: k").unwrap();
    assert_eq!((read.content_type.as_deref(), read.receivers_key.as_deref()), (Some("text/csv"), Some("k")));
    assert_eq!(read.idempotency_key, None);
}

#[test]
fn what_belongs_to_the_connection_or_the_gateway_cannot_be_set() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "UPGRADE",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Expect",
        "CDN-Loop",
        "Proxy-Authorization",
        "Proxy-Connection",
        "webhook-id",
        "Webhook-Signature",
        "Postgate-Id",
        "postgate-parse",
    ] {
        let refused = format!("550 5.6.0 X-XsHttp-{name}: this request header cannot be set");
        assert_eq!(controls(&format!("X-XsHttp-{name}: x")), Err(refused));
    }
}

#[test]
fn the_gateways_own_controls_are_read() {
    let read = controls(
        "x-postgate-url: https://h/\r\n a b\r\nX-Postgate-Method: put\r\nX-POSTGATE-PAYLOAD: raw\r\n\
         X-Postgate-Idempotency-Key: order-17\r\nX-Postgate-Not-Before: 15m\r\n\
         X-Postgate-Expires: 2026-01-31T14:00:00+01:00\r\nX-Postgate-Priority: 0\r\n\
         X-Postgate-Tag: =?utf-8?Q?gr=C3=BCn?=\r\nX-Postgate-Tag: b, c\r\n\
         X-Postgate-Ordering-Key: =?utf-8?Q?_17_?=\r\nX-Postgate-Mode: SYNC\r\n\
         X-Postgate-Sign-With: main\r\nX-Postgate-Auth: crm\r\n\
         X-xsMessageId: m1\r\nX-XSMAILINGID: l1",
    );
    let expected = Controls {
        url: Some("https://h/ab".to_owned()),
        method: Some("PUT"),
        payload: Some(Payload::Raw),
        idempotency_key: Some("order-17".to_owned()),
        not_before_at: Some(Timestamp(NOON.0 + 900_000)),
        expires_at: Some(Timestamp(NOON.0 + 3_600_000)),
        priority: Some(0),
        tags: vec!["grün".to_owned(), "b, c".to_owned()],
        ordering_key: Some("17".to_owned()),
        mode: Some(Mode::Sync(Sync::default())),
        sign_with: Some("main".to_owned()),
        auth: Some("crm".to_owned()),
        xs_message_id: Some("m1".to_owned()),
        xs_mailing_id: Some("l1".to_owned()),
        ..Controls::default()
    };
    assert_eq!(read, Ok(expected));
}

#[test]
fn bad_values_are_refused_by_name() {
    for (header, reason) in [
        ("X-Postgate-Method: CONNECT", "expected one of POST, PUT, PATCH, GET, DELETE"),
        ("X-Postgate-Method: GET /x HTTP/1.1", "expected one of POST, PUT, PATCH, GET, DELETE"),
        ("X-Postgate-Idempotency-Key: schlüssel", "expected printable ASCII"),
        ("X-Postgate-Idempotency-Key:", "no value"),
        ("X-Postgate-Not-Before: soon", "expected a time as 2026-01-31T12:00:00Z or a duration as 15m"),
        ("X-Postgate-Expires: 2026-01-31T12:00:00Z", "that is over before the post may be sent"),
        ("X-Postgate-Expires: 0s", "that is over before the post may be sent"),
        ("X-Postgate-Priority: 10", "expected 0 (first) to 9 (last)"),
        ("X-Postgate-Priority: -1", "expected 0 (first) to 9 (last)"),
        ("X-Postgate-Tag:", "no value"),
        ("X-Postgate-Tag: =?utf-8?Q?a=0D=0Ab?=", "the value holds a control character"),
        ("X-xsMessageId: =?utf-8?Q?a=00?=", "the value holds a control character"),
        ("X-Postgate-Ordering-Key: =?utf-8?Q?_?=", "no value"),
        ("X-Postgate-Mode: later", "expected sync or async"),
        ("X-Postgate-: x", "this gateway has no such control"),
        ("X-XsHttp-: x", "that is no name of an HTTP header"),
        ("X-XsHttp-A: =?utf-8?Q?a=0D=0AX:_y?=", "the value holds a control character"),
        ("X-XsHttp-A: =?utf-8?Q?a=00b?=", "the value holds a control character"),
        ("X-XsHttp-A: a\rb", "the value holds a control character"),
        ("X-XsHttp-Content-Type:", "expected printable ASCII"),
    ] {
        let name = header.split(':').next().unwrap();
        assert_eq!(controls(header), Err(format!("550 5.6.0 {name}: {reason}")), "{header}");
    }
    assert_eq!(
        controls("X-Postgate-Not-Before: 2h\r\nX-Postgate-Expires: 1h"),
        Err("550 5.6.0 X-Postgate-Expires: that is over before the post may be sent".to_owned())
    );
    for name in ["X-XsHttp-Content-Type", "X-Postgate-Url", "X-Postgate-Priority", "X-xsMessageId"] {
        let twice = format!("{name}: 1\r\n{}: 1", name.to_lowercase());
        let refused = format!("550 5.6.0 {}: given twice", name.to_lowercase());
        assert_eq!(controls(&twice), Err(refused));
    }
}

#[test]
fn limits_hold_at_and_not_one_past() {
    let fields = |count: usize| "X-XsHttp-A: 1\r\n".repeat(count);
    let value = |octets: usize| format!("X-XsHttp-A: {}\r\n", "x".repeat(octets));
    let tags = |count: usize| "X-Postgate-Tag: t\r\n".repeat(count);
    let id = |octets: usize| format!("X-xsMessageId: {}", "x".repeat(octets));
    for (fits, too_much) in [
        (fields(MAX_HEADERS), fields(MAX_HEADERS + 1)),
        (value(MAX_VALUE), value(MAX_VALUE + 1)),
        (value(MAX_VALUE - 1).repeat(4), format!("{}{}", value(MAX_VALUE - 1).repeat(3), value(MAX_VALUE))),
        (tags(MAX_TAGS), tags(MAX_TAGS + 1)),
        (id(MAX_TEXT), id(MAX_TEXT + 1)),
    ] {
        assert!(controls(&fits).is_ok());
        assert!(controls(&too_much).unwrap_err().contains("more than"));
    }
}

#[test]
fn what_is_secret_in_controls_is_told_and_left_out() {
    for (header, shown) in [
        ("Subject: x\r\nX-Postgate-Tag: t\r\n\r\nX-XsHttp-Cookie: in the body\r\n", None),
        ("X-XsHttp-X-Kind: order\r\nAuthorization: of the mail\r\n\r\n", None),
        ("X-Postgate-Url: https://h/?a=b\r\n\r\n", None),
        ("X-XsHttp-X-Signature: 1\r\nX-XsHttp-Idempotency-Key: 2\r\n\r\n", None),
        (
            "X-Postgate-Ordering-Key: authors:17\r\nX-Postgate-Tag: key:blue\r\nX-Postgate-Tag: monkey:5\r\n\r\n",
            None,
        ),
        (
            "A: 1\r\nx-xshttp-authorization:\r\n Bearer\r\n\tcanary\r\nB: 2\r\nX-XsHttp-X-Api-Key: canary\r\n\r\nx",
            Some("A: 1\r\nx-xshttp-authorization: ***\r\nB: 2\r\nX-XsHttp-X-Api-Key: ***\r\n\r\nx"),
        ),
        ("X-Postgate-Url: https://u:canary@h/\n\nx", Some("X-Postgate-Url: ***\n\nx")),
        ("X-Postgate-Url: https://h/?tok\r\n en=canary\r\n", Some("X-Postgate-Url: ***\r\n")),
    ] {
        let section = mail::read(header.as_bytes(), &Limits::default());
        assert_eq!(section.fields.iter().any(holds_secret), shown.is_some(), "{header}");
        assert_eq!(without_secrets(&Bytes::from(header)), shown.unwrap_or(header));
    }
    let linking = "X-XsHttp-Referer: http://u:canary@h/\r\nX-Postgate-Tag: http://h/?token=canary\r\n\r\nx";
    let shown = "X-XsHttp-Referer: ***\r\nX-Postgate-Tag: ***\r\n\r\nx";
    assert_eq!(without_secrets(&Bytes::from(linking)), shown);
}
