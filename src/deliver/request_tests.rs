//! What of a post, its destination's terms and a signature goes into a request.

use super::request::{Dress, Unsignable, build, cdn_loop};
use super::retry::Trouble;
use super::sign::{KeySettings, Scheme, SigningKey};
use super::terms::Compress;
use crate::post::{Field, Post, Timestamp, Trace};
use crate::spool::Claim;
use crate::subscribers::{Gate, Subscriber};
use bytes::Bytes;
use http::{HeaderValue, Request};
use std::io::Read;
use std::sync::Arc;

fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
    let field =
        |(name, value): &(&str, &str)| Field { name: (*name).to_owned(), value: value.as_bytes().to_vec() };
    pairs.iter().map(field).collect()
}

fn claim(headers: &[(&str, &str)]) -> Claim {
    let text = r#"{"id":{"message":5953671129837633538,"number":0},"accepted_at":1769860800000,"destination":
        {"tenant":"default","scheme":"Http","host":"a.example","port":80},"method":"POST",
        "path":"/hook","headers":[],"body":{"number":0,"start":0,"length":0},"sender":"","recipient":"",
        "priority":0,"tags":[],"trust":"Wire","has_links":false}"#;
    let post: Post = serde_json::from_str(text).unwrap();
    let post = Arc::new(Post { headers: fields(headers), ..post });
    Claim { post, attempt: 3, ended: 2, ages_from: Timestamp::default(), fence: 1 }
}

fn dress() -> Dress {
    Dress {
        trace: None,
        host: HeaderValue::from_static("a.example"),
        cdn_loop: cdn_loop("gateway.example"),
        fixed: Arc::default(),
        compress: Compress::No,
        key: None,
        subscriber: None,
        at: Timestamp(1_614_265_330_000),
        nonce: [0; 16],
    }
}

fn key(scheme: Scheme, secret: &str) -> Option<Arc<SigningKey>> {
    let key = SigningKey::new(KeySettings {
        name: "main".to_owned(),
        scheme,
        secrets: vec![secret.to_owned()].into(),
        header: Some("X-Shop".to_owned()),
        prefix: None,
        key_id: Some("main".to_owned()),
        certificate_url: None,
        signature_version: None,
        parameter: None,
        origins: Vec::new(),
    });
    Some(Arc::new(key.unwrap()))
}

const WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn built(claim: &Claim, dress: &Dress, body: &str) -> Request<Bytes> {
    build(claim, dress, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

/// The header lines in the order to be sent.
fn lines(request: &Request<Bytes>) -> Vec<String> {
    let line =
        |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    request.headers().iter().map(line).collect()
}

fn body(request: Request<Bytes>) -> Bytes {
    request.into_body()
}

#[test]
fn headers_stand_in_their_order() {
    let mut claim = claim(&[("Content-Type", "text/plain"), ("X-Twice", "1"), ("X-Twice", "2")]);
    Arc::make_mut(&mut claim.post).trace = Some(Trace { trace: [1; 16], span: [2; 8] });
    let fixed = fields(&[("X-Fixed", "yes")]).into();
    let dress = Dress { fixed, key: key(Scheme::StandardWebhooks, WEBHOOK), ..dress() };
    let request = built(&claim, &dress, "body");
    let agent = concat!("user-agent: Postgate/", env!("CARGO_PKG_VERSION"));
    let traceparent = format!("traceparent: 00-{}-{}-01", "01".repeat(16), "02".repeat(8));
    let expected = [
        "host: a.example",
        "content-type: text/plain",
        "content-length: 4",
        agent,
        "postgate-id: 529fb05943788002",
        "postgate-attempt: 3",
        "idempotency-key: 529fb05943788002",
        "cdn-loop: postgate; id=gateway.example",
        traceparent.as_str(),
        "x-fixed: yes",
        "x-twice: 1",
        "x-twice: 2",
        "accept-encoding: identity",
        "webhook-id: 529fb05943788002",
        "webhook-timestamp: 1614265330",
    ];
    let lines = lines(&request);
    assert_eq!(lines.get(..expected.len()).unwrap(), expected);
    assert_eq!(lines.len(), expected.len() + 1);
}

#[test]
fn nothing_of_the_gateway_or_the_connection_comes_from_a_post_or_a_destination() {
    let spoofed = [
        ("Host", "evil"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "evil"),
        ("Keep-Alive", "evil"),
        ("TE", "evil"),
        ("Trailer", "evil"),
        ("Upgrade", "evil"),
        ("Expect", "100-continue"),
        ("Proxy-Connection", "evil"),
        ("Postgate-Id", "evil"),
        ("Postgate-Attempt", "99"),
        ("Idempotency-Key", "evil"),
        ("CDN-Loop", "evil"),
        ("traceparent", "evil"),
    ];
    let mut claim = claim(&spoofed);
    Arc::make_mut(&mut claim.post).trace = Some(Trace { trace: [1; 16], span: [2; 8] });
    for dress in [dress(), Dress { fixed: fields(&spoofed).into(), ..dress() }] {
        let request = built(&claim, &dress, "");
        let lines = lines(&request);
        for (name, value) in spoofed {
            let name = name.to_ascii_lowercase();
            assert!(!lines.contains(&format!("{name}: {value}")), "{name}");
            assert!(request.headers().get_all(&name).iter().count() <= 1, "{name} twice");
        }
    }
}

#[test]
fn a_signature_replaces_what_has_its_names() {
    let own = [
        ("webhook-id", "evil"),
        ("webhook-signature", "evil"),
        ("webhook-signature", "evil"),
        ("X-Shop", "evil"),
    ];
    for (key, names) in [
        (key(Scheme::StandardWebhooks, WEBHOOK), vec!["webhook-id", "webhook-signature"]),
        (key(Scheme::HmacHex, "secret"), vec!["x-shop"]),
    ] {
        let request = built(&claim(&own), &Dress { key, ..dress() }, "body");
        for name in names {
            let values: Vec<_> = request.headers().get_all(name).iter().collect();
            assert!(values.len() == 1 && values.first().unwrap() != &"evil", "{name}: {values:?}");
        }
    }
}

#[test]
fn what_the_owner_of_a_webhook_sets_is_a_secret_whatever_its_name_says() {
    let own = fields(&[("X-Own", "s3cret")]);
    let claim = claim(&[("Content-Type", "text/plain"), ("X-Own", "s3cret"), ("X-Plain", "1")]);
    let subscriber = Subscriber {
        destination: Arc::clone(&claim.post.destination),
        trust: claim.post.trust,
        path: "/".to_owned(),
        headers: own,
        auth: None,
        keys: Vec::new(),
        overlap: None,
        rate: None,
        max_connections: None,
        gate: Gate::Open,
    };
    let dress = Dress { subscriber: Some(Arc::new(subscriber)), ..dress() };
    let request = built(&claim, &dress, "body");
    let veiled = request.headers().iter().filter(|(_, value)| value.is_sensitive());
    assert_eq!(veiled.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-own"]);
}

#[test]
fn what_a_destination_fixes_stands_before_what_a_post_says() {
    let post = [("Content-Type", "text/plain"), ("User-Agent", "shop/2"), ("X-A", "post"), ("X-B", "post")];
    let fixed = [("x-a", "1"), ("X-A", "2"), ("user-agent", "fixed/1"), ("Content-Type", "text/fixed")];
    let plain = built(&claim(&post), &dress(), "");
    assert_eq!(plain.headers().get("user-agent").unwrap(), "shop/2");
    let request = built(&claim(&post), &Dress { fixed: fields(&fixed).into(), ..dress() }, "");
    let all = |name: &str| -> Vec<_> {
        request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    };
    assert_eq!(all("x-a"), ["1", "2"]);
    assert_eq!(all("x-b"), ["post"]);
    assert_eq!(all("user-agent"), ["fixed/1"]);
    assert_eq!(all("content-type"), ["text/fixed"]);
}

#[test]
fn bodies_are_amended_then_compressed_then_signed() {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let dress = Dress { compress: Compress::Gzip, key: key(Scheme::SecretParameter, "s3cret"), ..dress() };
    let request = built(&claim(&form), &dress, "a=1");
    assert_eq!(request.headers().get("content-encoding").unwrap(), "gzip");
    let length = request.headers().get("content-length").unwrap().to_str().unwrap().to_owned();
    let packed = body(request);
    assert_eq!(packed.len().to_string(), length);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
    assert_eq!(text, "a=1&SecretKey=s3cret");

    let dress = Dress { key: key(Scheme::HmacHex, "Jefe"), ..dress };
    let request = built(&claim(&form), &dress, "a=1");
    let signature = request.headers().get("x-shop").unwrap().clone();
    assert!(signature.is_sensitive(), "its name does not speak of a secret");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"Jefe");
    let signed = ring::hmac::sign(&key, &body(request));
    assert_eq!(signature.to_str().unwrap(), data_encoding::HEXLOWER.encode(signed.as_ref()), "as it is sent");
}

#[test]
fn what_is_compressed_already_or_empty_stays_as_it_is() {
    for compress in [Compress::Gzip, Compress::Zstd] {
        let dress = Dress { compress, ..dress() };
        let request = built(&claim(&[("Content-Encoding", "br")]), &dress, "packed");
        assert_eq!(request.headers().get("content-encoding").unwrap(), "br");
        assert_eq!(body(request), "packed");
        let request = built(&claim(&[]), &dress, "");
        assert!(!request.headers().contains_key("content-encoding"));
        assert_eq!(request.headers().get("content-length").unwrap(), "0");
        assert!(built(&claim(&[]), &dress, "x").headers().contains_key("content-encoding"));
    }
}

#[test]
fn a_body_that_a_key_cannot_sign_is_not_sent() {
    let dress = Dress { key: key(Scheme::SecretParameter, "s3cret"), ..dress() };
    let error =
        build(&claim(&[("Content-Type", "application/json")]), &dress, Bytes::from("{}")).unwrap_err();
    let Trouble::Unsendable(text) = error else { panic!("{error:?}") };
    assert!(text.ends_with("this post is application/json; sign it with another scheme"), "{text}");
}

#[test]
fn what_stands_in_for_a_form_is_sent_without_a_signature_and_says_so() {
    for scheme in [Scheme::SecretParameter, Scheme::Mailgun] {
        let dress = Dress { key: key(scheme, "s3cret"), compress: Compress::Gzip, ..dress() };
        for (mark, kind, is_signed) in [
            ("Postgate-Parse", "message/rfc822", false),
            ("Postgate-Template", "application/json", false),
            ("Postgate-Event", "application/json", false),
            ("Postgate-Event", "application/x-www-form-urlencoded", true),
        ] {
            let request = built(&claim(&[("Content-Type", kind), (mark, "x")]), &dress, "a=b");
            let none = request.headers().get("postgate-signature");
            assert_eq!(
                none.map(HeaderValue::as_bytes),
                (!is_signed).then_some(&b"none"[..]),
                "{mark} {kind}"
            );
            assert_eq!(request.extensions().get::<Unsignable>().is_none(), is_signed, "{mark} {kind}");
            let mut body = String::new();
            flate2::read::GzDecoder::new(&request.into_body()[..]).read_to_string(&mut body).unwrap();
            assert_eq!(body == "a=b", !is_signed, "{mark} {kind}: {body}");
        }
    }
}

#[test]
fn a_gateway_names_itself_in_loops_as_a_token() {
    for (instance, expected) in [
        ("gateway.example", "postgate; id=gateway.example"),
        ("a b;\"c\r\n", "postgate; id=abc"),
        ("", "postgate"),
    ] {
        assert_eq!(cdn_loop(instance), expected);
    }
}
