//! Signatures over parts of an HTTP message.
//!
//! RSA keys sign as SMTPeter does (draft-cavage-http-signatures-12, `Digest` of
//! RFC 3230), Ed25519 keys as RFC 9421 with `Content-Digest` (RFC 9530). Both
//! cover method, path, query, host and body, so that a signed request cannot be
//! sent elsewhere, and what names this one, so that it is known when it comes
//! again.

use super::secret::{Private, sha256};
use super::{Signature, Unsigned, value};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::signature::{Ed25519KeyPair, RsaKeyPair};
use std::time::{Duration, UNIX_EPOCH};

const DATE: HeaderName = http::header::DATE;
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const NONCE: HeaderName = HeaderName::from_static("x-nonce");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// What SMTPeter signs, in its order. `x-copernica-id` is there when it is a fixed
/// header of the destination.
const SIGNED: [&str; 7] =
    ["host", "date", "content-length", "content-type", "x-copernica-id", "digest", "x-nonce"];

/// What tells our signatures from those of others that a request may have.
const TAG: &str = "postgate";

/// The headers of a signature with private keys.
pub(super) fn sign(keys: &Private, request: &Unsigned<'_>) -> Option<Signature> {
    match keys {
        Private::Rsa(id, pair) => cavage(pair, id, request),
        Private::Ed25519(pairs) => rfc9421(pairs, request),
    }
}

fn cavage(pair: &RsaKeyPair, key_id: &str, request: &Unsigned<'_>) -> Option<Signature> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(request.at.0));
    let mut signature = vec![
        (DATE, value(&date)?),
        (DIGEST, value(&format!("SHA-256={}", sha256(request.body)))?),
        (NONCE, value(&HEXLOWER.encode(&request.nonce))?),
    ];
    let mut names = "(request-target)".to_owned();
    let mut text =
        format!("(request-target): {} {}", request.method.to_lowercase(), request.target).into_bytes();
    for name in SIGNED {
        let Some(octets) = field(request.headers, &signature, name) else { continue };
        names.extend([" ", name]);
        text.extend_from_slice(format!("\n{name}: ").as_bytes());
        text.extend_from_slice(&octets);
    }
    let signed = Private::rsa(pair, &text)?;
    let parameters =
        format!("keyId=\"{key_id}\",algorithm=\"rsa-sha256\",headers=\"{names}\",signature=\"{signed}\"");
    signature.push((SIGNATURE, value(&parameters)?));
    Some(signature)
}

fn rfc9421(pairs: &[(String, Ed25519KeyPair)], request: &Unsigned<'_>) -> Option<Signature> {
    let mut signature = vec![(CONTENT_DIGEST, value(&format!("sha-256=:{}:", sha256(request.body)))?)];
    let (names, base) = base(request, &signature)?;
    let created = request.at.0 / 1000;
    let (mut inputs, mut signatures) = (Vec::new(), Vec::new());
    for (index, (id, pair)) in pairs.iter().enumerate() {
        let parameters = format!("({names});created={created};keyid=\"{id}\";alg=\"ed25519\";tag=\"{TAG}\"");
        let text = [&base, format!("\"@signature-params\": {parameters}").as_bytes()].concat();
        let label = index + 1;
        inputs.push(format!("sig{label}={parameters}"));
        signatures.push(format!("sig{label}=:{}:", Private::ed25519(pair, &text)));
    }
    signature.push((SIGNATURE_INPUT, value(&inputs.join(", "))?));
    signature.push((SIGNATURE, value(&signatures.join(", "))?));
    Some(signature)
}

/// The components that are signed, and their lines of the signature base.
fn base(request: &Unsigned<'_>, set: &Signature) -> Option<(String, Vec<u8>)> {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let mut components = vec![
        ("@method", request.method.as_bytes().to_vec()),
        ("@authority", field(request.headers, set, "host")?),
        ("@path", path.as_bytes().to_vec()),
        ("@query", format!("?{query}").into_bytes()),
    ];
    for name in ["content-digest", "content-type", "content-encoding", "postgate-id"] {
        components.extend(field(request.headers, set, name).map(|octets| (name, octets)));
    }
    let mut lines = Vec::new();
    for (name, octets) in &components {
        lines.extend_from_slice(format!("\"{name}\": ").as_bytes());
        lines.extend_from_slice(octets);
        lines.push(b'\n');
    }
    let names: Vec<_> = components.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    Some((names.join(" "), lines))
}

/// The values of a field as they are signed: without blanks around, joined by a
/// comma. Those that the signature sets stand before the request's own.
fn field(headers: &HeaderMap, set: &Signature, name: &str) -> Option<Vec<u8>> {
    let set: Vec<_> = set.iter().filter(|(field, _)| field == name).map(|(_, value)| value).collect();
    let values: Vec<&HeaderValue> = if set.is_empty() { headers.get_all(name).iter().collect() } else { set };
    let trimmed: Vec<_> = values.iter().map(|value| value.as_bytes().trim_ascii()).collect();
    (!trimmed.is_empty()).then(|| trimmed.join(b", ".as_slice()))
}
