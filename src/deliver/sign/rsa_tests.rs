//! Signatures of Postal and SNS, verified by the other half of the key.

use super::*;
use http::header::CONTENT_TYPE;
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::{Value, json};

const PKCS1: &str = include_str!("../../../tests/verifiers/keys/rsa.pkcs1.pem");
const PKCS8: &str = include_str!("../../../tests/verifiers/keys/rsa.pkcs8.pem");
const PUBLIC: &[u8] = include_bytes!("../../../tests/verifiers/keys/rsa.public.der");

const AT: (Timestamp, &[u8; 16]) = (Timestamp(0), &[7; 16]);

fn settings(scheme: Scheme, secret: &str) -> KeySettings {
    KeySettings {
        name: "main".to_owned(),
        scheme,
        secrets: vec![secret.to_owned()].into(),
        ..KeySettings::default()
    }
}

fn is_signed(algorithm: &'static dyn VerificationAlgorithm, text: &[u8], signature: &str) -> bool {
    let signature = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
    UnparsedPublicKey::new(algorithm, PUBLIC).verify(text, &signature).is_ok()
}

#[test]
fn postal_signs_the_body_twice() {
    for secret in [PKCS1, PKCS8] {
        let settings = KeySettings { key_id: Some("k1".to_owned()), ..settings(Scheme::Postal, secret) };
        let headers = HeaderMap::new();
        let request = Unsigned {
            id: "52a0000000000002",
            at: Timestamp(0),
            nonce: [7; 16],
            method: "POST",
            target: "/",
            headers: &headers,
            body: b"{\"id\":1}",
        };
        let signature = SigningKey::new(settings).unwrap().sign(&request).unwrap();
        let [kid, sha1, sha256] = signature.as_slice() else { panic!("{signature:?}") };
        assert_eq!((kid.0.as_str(), kid.1.as_bytes()), ("x-postal-signature-kid", &b"k1"[..]));
        for ((name, value), expected, algorithm) in [
            (sha1, "x-postal-signature", &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
            (sha256, "x-postal-signature-256", &RSA_PKCS1_2048_8192_SHA256),
        ] {
            assert_eq!(name, expected);
            assert!(is_signed(algorithm, request.body, value.to_str().unwrap()));
            assert!(!is_signed(algorithm, b"{\"id\":2}", value.to_str().unwrap()));
        }
    }
}

fn sns(version: Option<&str>) -> SigningKey {
    let settings = KeySettings {
        certificate_url: Some("https://sns.example/a.pem".to_owned()),
        signature_version: version.map(str::to_owned),
        ..settings(Scheme::Sns, PKCS8)
    };
    SigningKey::new(settings).unwrap()
}

fn notification(subject: Option<&str>) -> Value {
    let mut notification = json!({
        "Type": "Notification", "MessageId": "m1", "TopicArn": "arn:t", "Subject": subject,
        "Message": "{\"a\":\"<ü>\\r\\n\"}", "Timestamp": "2026-01-31T12:00:00.123Z", "SignatureVersion": "1",
        "Signature": "", "SigningCertURL": "", "UnsubscribeURL": "",
    });
    if subject.is_none() {
        notification.as_object_mut().unwrap().shift_remove("Subject");
    }
    notification
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert("x-amz-sns-message-type", HeaderValue::from_static("Notification"));
    headers
}

#[test]
fn sns_signs_within_the_notification() {
    let sha1: &'static dyn VerificationAlgorithm = &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY;
    for (version, shown, algorithm) in
        [(None, "1", sha1), (Some("1"), "1", sha1), (Some("2"), "2", &RSA_PKCS1_2048_8192_SHA256)]
    {
        for (subject, line) in [(Some("S"), "Subject\nS\n"), (None, "")] {
            let body = notification(subject);
            let amended = sns(version).amend(&headers(), body.to_string().into(), AT).unwrap();
            let mut amended: Value = serde_json::from_slice(&amended).unwrap();
            let signature = amended["Signature"].take();
            let text = format!(
                "Message\n{{\"a\":\"<ü>\\r\\n\"}}\nMessageId\nm1\n{line}Timestamp\n2026-01-31T12:00:00.123Z\n\
                 TopicArn\narn:t\nType\nNotification\n"
            );
            assert!(is_signed(algorithm, text.as_bytes(), signature.as_str().unwrap()));
            assert_eq!(amended["SignatureVersion"], shown);
            assert_eq!(amended["SigningCertURL"], "https://sns.example/a.pem");
            let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&amended), keys(&body));
            assert_eq!(amended["Message"], body["Message"]);
        }
    }
}

#[test]
fn other_posts_are_not_signed_as_notifications() {
    for (headers, body) in [(HeaderMap::new(), "{}"), (headers(), "{}"), (headers(), "")] {
        let error = sns(None).amend(&headers, Bytes::from(body), AT).unwrap_err();
        assert!(error.contains("payload = \"ses-sns\""), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said() {
    let url = |url: &str| KeySettings {
        certificate_url: Some(url.to_owned()),
        signature_version: Some("3".to_owned()),
        ..settings(Scheme::Sns, PKCS8)
    };
    let id = |secret| KeySettings { key_id: Some("k".to_owned()), ..settings(Scheme::Postal, secret) };
    let ed25519 = include_str!("../../../tests/verifiers/keys/ed25519.pem");
    for (settings, expected) in [
        (settings(Scheme::Postal, PKCS8), "postal needs a key_id"),
        (id("canary"), "a secret is no private key"),
        (id(ed25519), "expected a private key in PEM, RSA of 1024 to 4096 bits"),
        (settings(Scheme::Sns, PKCS8), "certificate_url must say"),
        (url("http://sns.example/a.pem"), "certificate_url must say"),
        (url("https://sns.example/a.pem"), "signature_version is \"1\" or \"2\""),
        (
            KeySettings { secrets: vec![String::new(); 2].into(), ..id(PKCS8) },
            "postal has room for one secret",
        ),
    ] {
        let error = SigningKey::new(settings).unwrap_err();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
}
