//! Other products' signatures, checked the way their receivers do.

use super::*;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

const AT: Timestamp = Timestamp(1_614_265_330_999);

fn key(scheme: Scheme, secrets: &[&str]) -> Result<SigningKey, String> {
    SigningKey::new(KeySettings {
        name: "main".to_owned(),
        scheme,
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>().into(),
        ..KeySettings::default()
    })
}

fn headers(content_type: &str) -> HeaderMap {
    let content_type = HeaderValue::from_str(content_type).unwrap();
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, content_type)])
}

/// A body as Mailgun's key makes it, in text.
fn amended(content_type: &str, body: &'static str, nonce: u8) -> Result<String, String> {
    let key = key(Scheme::Mailgun, &["key-canary"]).unwrap();
    let amended = key.amend(&headers(content_type), Bytes::from(body), (AT, &[nonce; 16]))?;
    Ok(String::from_utf8(amended.to_vec()).unwrap())
}

/// What Mailgun's receivers compute.
fn expected(token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"key-canary");
    HEXLOWER.encode(hmac::sign(&key, format!("1614265330{token}").as_bytes()).as_ref())
}

#[test]
fn mailguns_fields_go_behind_the_others_of_a_form() {
    let urlencoded = "application/x-www-form-urlencoded";
    let form = amended(urlencoded, "a=1", 7).unwrap();
    let (token, signature) =
        form.strip_prefix("a=1&timestamp=1614265330&token=").unwrap().split_once("&signature=").unwrap();
    assert_eq!((token.len(), signature), (50, expected(token).as_str()));
    assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let again = amended(urlencoded, "a=1", 8).unwrap();
    assert!(!again.contains(token) && !again.contains("canary"), "{again}");
    let part = |name: &str, value: &str| {
        format!("--b-1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    for content_type in ["multipart/form-data; boundary=b-1", "Multipart/Form-Data; x=y; Boundary=\"b-1\""] {
        let form = amended(content_type, "--b-1\r\nX: y\r\n\r\n1\r\n--b-1--\r\n", 7).unwrap();
        let fields = [("timestamp", "1614265330"), ("token", token), ("signature", signature)];
        let parts: String = fields.iter().map(|(name, value)| part(name, value)).collect();
        assert_eq!(form, format!("--b-1\r\nX: y\r\n\r\n1\r\n{parts}--b-1--\r\n"));
    }
}

#[test]
fn mailguns_key_signs_forms_alone() {
    let whole = "--b\r\n\r\n--b--";
    for (content_type, body, why) in [
        ("application/json", "{}", "this post is application/json; sign it with another scheme"),
        ("multipart/form-data; boundary=b", "--b\r\n\r\n", "this form has no end"),
        ("multipart/form-data; boundary=c", whole, "this form has no end"),
        ("multipart/form-data", whole, "this form has no end"),
    ] {
        let error = amended(content_type, body, 7).unwrap_err();
        assert!(
            error.starts_with("signing key \"main\" adds fields to forms, and ") && error.contains(why),
            "{error}"
        );
    }
    let key = key(Scheme::Mailgun, &["key-canary"]).unwrap();
    assert!(!key.is_in_body());
    let mut compressed = headers("application/x-www-form-urlencoded");
    compressed.insert("content-encoding", HeaderValue::from_static("gzip"));
    let error = key.amend(&compressed, Bytes::new(), (AT, &[7; 16])).unwrap_err();
    assert!(error.contains("compressed already"), "{error}");
}

#[test]
fn sendgrids_signature_is_over_the_time_and_the_body() {
    let public = include_bytes!("../../../tests/verifiers/keys/p256.public.point");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public);
    for pem in [
        include_str!("../../../tests/verifiers/keys/p256.pkcs8.pem"),
        include_str!("../../../tests/verifiers/keys/p256.sec1.pem"),
    ] {
        let headers = headers("multipart/form-data; boundary=b");
        let request = Unsigned {
            id: "52a0000000000002",
            at: AT,
            nonce: [7; 16],
            method: "POST",
            target: "/hook",
            headers: &headers,
            body: b"payload",
        };
        let key = key(Scheme::SendGrid, &[pem]).unwrap();
        let signed = key.sign(&request).unwrap();
        let names: Vec<_> = signed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"]
        );
        assert_eq!(signed[1].1, "1614265330");
        let signature = data_encoding::BASE64.decode(signed[0].1.as_bytes()).unwrap();
        public.verify(b"1614265330payload", &signature).unwrap();
        assert!(public.verify(b"1614265331payload", &signature).is_err());
        let body = key.amend(&headers, Bytes::from("x"), (AT, &[7; 16]));
        assert_eq!(body.unwrap(), "x");
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said_without_showing_it() {
    let p384 = include_str!("../../../tests/verifiers/keys/p384.pem");
    for (scheme, secrets, expected) in [
        (Scheme::Mailgun, ["canary", "b"].as_slice(), "mailgun has room for one secret"),
        (Scheme::Mailgun, &[" "], "a secret is empty"),
        (Scheme::SendGrid, &["canary", "b"], "sendgrid has room for one secret"),
        (
            Scheme::SendGrid,
            &["canary"],
            "a secret is no private key; expected a private key in PEM, ECDSA P-256",
        ),
        (
            Scheme::SendGrid,
            &[include_str!("../../../tests/verifiers/keys/ed25519.pem")],
            "cannot sign here; expected a private key in PEM, ECDSA P-256",
        ),
        (Scheme::SendGrid, &[p384], "cannot sign here; expected a private key in PEM, ECDSA P-256"),
    ] {
        let error = key(scheme, secrets).unwrap_err();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
}
