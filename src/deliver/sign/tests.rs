//! Vectors, and signatures that are verified by the other half of each key.

use super::*;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

const SEED: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

const NOW: (Timestamp, &[u8; 16]) = (Timestamp(1_614_265_330_999), &[7; 16]);

fn settings(scheme: Scheme, secrets: &[&str]) -> KeySettings {
    KeySettings {
        name: "main".to_owned(),
        scheme,
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>().into(),
        header: None,
        prefix: None,
        key_id: None,
        certificate_url: None,
        signature_version: None,
        parameter: None,
        origins: Vec::new(),
    }
}

fn key(settings: KeySettings) -> SigningKey {
    SigningKey::new(settings).unwrap()
}

fn message(key_id: &str, secrets: &[&str]) -> SigningKey {
    key(KeySettings { key_id: Some(key_id.to_owned()), ..settings(Scheme::HttpSignature, secrets) })
}

fn headers(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("shop.example:8443"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    headers.insert("postgate-id", HeaderValue::from_static("52a0000000000002"));
    headers
}

fn unsigned<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Unsigned<'a> {
    Unsigned {
        id: "52a0000000000002",
        at: Timestamp(1_614_265_330_999),
        nonce: [7; 16],
        method: "POST",
        target: "/hook?a=b%20c",
        headers,
        body,
    }
}

/// The header called `name`.
fn of<'a>(signature: &'a Signature, name: &str) -> &'a str {
    let found: Vec<_> = signature.iter().filter(|(field, _)| field == name).collect();
    assert_eq!(found.len(), 1, "{name}: {signature:?}");
    found[0].1.to_str().unwrap()
}

fn decoded(text: &str) -> Vec<u8> {
    data_encoding::BASE64.decode(text.as_bytes()).unwrap()
}

#[test]
fn the_vectors_of_standard_webhooks() {
    for (secret, id, at, body, expected) in [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ] {
        let headers = HeaderMap::new();
        let unsigned = Unsigned { id, at: Timestamp(at * 1000 + 999), ..unsigned(&headers, body.as_bytes()) };
        let signature = key(settings(Scheme::StandardWebhooks, &[secret])).sign(&unsigned).unwrap();
        assert_eq!(of(&signature, "webhook-id"), id);
        assert_eq!(of(&signature, "webhook-timestamp"), at.to_string());
        assert_eq!(of(&signature, "webhook-signature"), expected);
    }
}

#[test]
fn each_secret_of_a_webhook_signs() {
    let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let headers = HeaderMap::new();
    let sign = |secrets: &[&str]| {
        let signature = key(settings(Scheme::StandardWebhooks, secrets)).sign(&unsigned(&headers, b"body"));
        of(&signature.unwrap(), "webhook-signature").to_owned()
    };
    assert_eq!(sign(&[new, old]), format!("{} {}", sign(&[new]), sign(&[old])));
    // The first key pair of RFC 8032 section 7.1, as a seed and with its public half.
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let public = data_encoding::HEXLOWER.decode(public.as_bytes()).unwrap();
    let both = [decoded(&SEED[5..]), public.clone()].concat();
    let both = format!("whsk_{}", data_encoding::BASE64.encode(&both));
    let signed = sign(&[SEED]);
    assert_eq!(sign(&[&both]), signed);
    let octets = decoded(signed.strip_prefix("v1a,").unwrap());
    let text = b"52a0000000000002.1614265330.body";
    UnparsedPublicKey::new(&ED25519, public).verify(text, &octets).unwrap();
    assert_eq!(sign(&[new, SEED]), format!("{} {signed}", sign(&[new])));
}

#[test]
fn hexadecimal_signatures_have_a_header_each() {
    // RFC 4231, test case 2.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let headers = HeaderMap::new();
    let body = b"what do ya want for nothing?";
    let plain = key(settings(Scheme::HmacHex, &["Jefe"])).sign(&unsigned(&headers, body)).unwrap();
    assert_eq!(plain.len(), 1);
    assert_eq!(of(&plain, "x-postgate-signature"), expected);
    let named = KeySettings {
        header: Some("X-Mailtura-Signature".to_owned()),
        prefix: Some("sha256=".to_owned()),
        ..settings(Scheme::HmacHex, &["Jefe", "older"])
    };
    let named = key(named).sign(&unsigned(&headers, body)).unwrap();
    assert_eq!(of(&named, "x-mailtura-signature"), format!("sha256={expected}"));
    let second = of(&named, "x-mailtura-signature-2");
    assert!(second.starts_with("sha256=") && second.len() == 71 && !second.contains(expected));
}

#[test]
fn rsa_keys_sign_as_smtpeter_does() {
    for pem in [
        include_str!("../../../tests/verifiers/keys/rsa.pkcs1.pem"),
        include_str!("../../../tests/verifiers/keys/rsa.pkcs8.pem"),
    ] {
        let mut headers = headers("text/plain");
        headers.insert("x-copernica-id", HeaderValue::from_static("environment-1"));
        let signature =
            message("k._domainkey.example", &[pem]).sign(&unsigned(&headers, b"payload")).unwrap();
        let digest = "SHA-256=I58dy6XwWuyGJ70byXQm+8MAlvtLEFQvhGm51MAZKEQ=";
        let digest = digest.replace("I58dy6XwWuyGJ70byXQm+8MAlvtLEFQvhGm51MAZKEQ=", &sha256_of(b"payload"));
        assert_eq!(of(&signature, "digest"), digest);
        assert_eq!(of(&signature, "date"), "Thu, 25 Feb 2021 15:02:10 GMT");
        let nonce = "07".repeat(16);
        assert_eq!(of(&signature, "x-nonce"), nonce);
        let start = "keyId=\"k._domainkey.example\",algorithm=\"rsa-sha256\",headers=\"(request-target) host date \
                     content-length content-type x-copernica-id digest x-nonce\",signature=\"";
        let signed = of(&signature, "signature").strip_prefix(start).unwrap().strip_suffix('"').unwrap();
        let text = format!(
            "(request-target): post /hook?a=b%20c\nhost: shop.example:8443\ndate: Thu, 25 Feb 2021 15:02:10 GMT\n\
             content-length: 7\ncontent-type: text/plain\nx-copernica-id: environment-1\ndigest: {digest}\n\
             x-nonce: {nonce}"
        );
        let public = include_bytes!("../../../tests/verifiers/keys/rsa.public.der");
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        public.verify(text.as_bytes(), &decoded(signed)).unwrap();
        assert!(public.verify(text.replace("/hook", "/other").as_bytes(), &decoded(signed)).is_err());
    }
}

fn sha256_of(body: &[u8]) -> String {
    use sha2::Digest as _;
    data_encoding::BASE64.encode(&sha2::Sha256::digest(body))
}

#[test]
fn a_header_that_is_not_there_is_not_signed() {
    let mut headers = headers("text/plain");
    headers.remove(CONTENT_TYPE);
    let signature = message("k", &[include_str!("../../../tests/verifiers/keys/rsa.pkcs8.pem")])
        .sign(&unsigned(&headers, b""))
        .unwrap();
    let signed = of(&signature, "signature");
    assert!(
        signed.contains("headers=\"(request-target) host date content-length digest x-nonce\""),
        "{signed}"
    );
}

#[test]
fn ed25519_keys_sign_as_rfc_9421_says() {
    let pem = include_str!("../../../tests/verifiers/keys/ed25519.pem");
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
    let der: rustls::pki_types::PrivatePkcs8KeyDer<'_> = der.unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).unwrap();
    for (target, query) in [("/hook?a=b%20c", "?a=b%20c"), ("/hook", "?"), ("/hook?", "?")] {
        let headers = headers("application/json");
        let request = Unsigned { target, ..unsigned(&headers, b"payload") };
        let signature = message("main", &[pem]).sign(&request).unwrap();
        let digest = format!("sha-256=:{}:", sha256_of(b"payload"));
        assert_eq!(of(&signature, "content-digest"), digest);
        let parameters = "(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"content-type\" \
                          \"postgate-id\");created=1614265330;keyid=\"main\";alg=\"ed25519\";tag=\"postgate\"";
        assert_eq!(of(&signature, "signature-input"), format!("sig1={parameters}"));
        let text = format!(
            "\"@method\": POST\n\"@authority\": shop.example:8443\n\"@path\": /hook\n\"@query\": {query}\n\
             \"content-digest\": {digest}\n\"content-type\": application/json\n\
             \"postgate-id\": 52a0000000000002\n\"@signature-params\": {parameters}"
        );
        let signed = of(&signature, "signature").strip_prefix("sig1=:").unwrap().strip_suffix(':').unwrap();
        let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        public.verify(text.as_bytes(), &decoded(signed)).unwrap();
    }
    let headers = headers("application/json");
    let both = message("new, old", &[pem, pem]).sign(&unsigned(&headers, b"payload")).unwrap();
    let (inputs, signatures) = (of(&both, "signature-input"), of(&both, "signature"));
    assert!(inputs.contains("keyid=\"new\"") && inputs.contains(", sig2=("), "{inputs}");
    assert!(inputs.contains("keyid=\"old\"") && signatures.contains(":, sig2=:"), "{inputs} {signatures}");
}

#[test]
fn a_secret_parameter_goes_behind_the_others_of_a_form() {
    let form = "application/x-www-form-urlencoded";
    let named =
        KeySettings { parameter: Some("Key".to_owned()), ..settings(Scheme::SecretParameter, &["a b&c=ü"]) };
    let (usual, named) = (key(settings(Scheme::SecretParameter, &["s3cret"])), key(named));
    for (key, content_type, body, expected) in [
        (&usual, form, "a=1&b=2", Ok("a=1&b=2&SecretKey=s3cret")),
        (&usual, form, "", Ok("SecretKey=s3cret")),
        (&usual, form, "a=1&", Ok("a=1&SecretKey=s3cret")),
        (&usual, "Application/X-WWW-Form-URLencoded ; charset=utf-8", "a=1", Ok("a=1&SecretKey=s3cret")),
        (&named, form, "a=1", Ok("a=1&Key=a+b%26c%3D%C3%BC")),
        (&usual, "application/json", "{}", Err("this post is application/json; sign it with another scheme")),
        (&usual, "", "", Err("this post is of no type; sign it with another scheme")),
    ] {
        let amended = key.amend(&headers(content_type), Bytes::from(body), NOW);
        let expected = expected
            .map(Bytes::from)
            .map_err(|why| format!("signing key \"main\" adds a parameter to forms, and {why}"));
        assert_eq!(amended, expected, "{content_type} {body}");
    }
    let mut compressed = headers(form);
    compressed.insert("content-encoding", HeaderValue::from_static("gzip"));
    assert!(usual.amend(&compressed, Bytes::new(), NOW).unwrap_err().contains("compressed already"));
    assert!(usual.sign(&unsigned(&compressed, b"")).unwrap().is_empty());
    let webhook = key(settings(Scheme::StandardWebhooks, &[SEED]));
    assert_eq!(webhook.amend(&headers("application/json"), Bytes::from("{}"), NOW).unwrap(), "{}");
}

#[test]
fn what_is_wrong_with_a_key_is_said_without_showing_it() {
    let hmac = |header: &str| KeySettings {
        header: Some(header.to_owned()),
        ..settings(Scheme::HmacHex, &["canary"])
    };
    let signature = |key_id: Option<&str>, secrets: &[&str]| KeySettings {
        key_id: key_id.map(str::to_owned),
        ..settings(Scheme::HttpSignature, secrets)
    };
    let rsa = include_str!("../../../tests/verifiers/keys/rsa.pkcs8.pem");
    let ed25519 = include_str!("../../../tests/verifiers/keys/ed25519.pem");
    let webhook = |secret| settings(Scheme::StandardWebhooks, &[secret]);
    for (settings, expected) in [
        (settings(Scheme::StandardWebhooks, &[]), "at least one secret"),
        (webhook("canary"), "begins with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)"),
        (webhook("whsec_canary!"), "what follows whsec_ is not base64"),
        (webhook("whsec_Y2FuYXJ5"), "holds 6 octets; it must hold 24 to 64"),
        (webhook("whsk_Y2FuYXJ5"), "holds 6 octets; it must hold 32 (a seed) or 64"),
        (hmac("Content-Length"), "header cannot carry a signature"),
        (hmac("Postgate-Id"), "header cannot carry a signature"),
        (hmac("a b"), "header cannot carry a signature"),
        (KeySettings { prefix: Some("a\r\nb".to_owned()), ..hmac("X-A") }, "prefix can hold visible ASCII"),
        (settings(Scheme::HmacHex, &[""]), "a secret is empty"),
        (signature(None, &[rsa]), "http-signature needs a key_id"),
        (signature(Some("a\"b"), &[rsa]), "key_id cannot be empty or hold quotes"),
        (signature(Some("k"), &["canary"]), "a secret is no private key; expected a private key in PEM"),
        (signature(Some("k,l"), &[rsa, rsa]), "room for one signature of an RSA key"),
        (
            signature(Some("k"), &[ed25519, ed25519]),
            "key_id must hold one id a secret, a comma between: 2, not 1",
        ),
        (signature(Some("k,"), &[ed25519, ed25519]), "key_id cannot be empty"),
        (signature(Some("k,l"), &[ed25519, rsa]), "room for one signature of an RSA key"),
        (settings(Scheme::SecretParameter, &["canary", "b"]), "room for one secret"),
    ] {
        let error = SigningKey::new(settings).unwrap_err();
        assert!(error.contains(expected) && !error.to_lowercase().contains("canary"), "{error}");
    }
}

#[test]
fn keys_show_their_names_alone_and_compare_by_what_they_are() {
    let make = |secret: &str| key(settings(Scheme::HmacHex, &[secret]));
    assert_eq!(format!("{:?}", make("canary")), "SigningKey(main)");
    assert!(make("a") == make("a") && make("a") != make("b"));
}
