//! Signatures: what a receiver can check a request by.
//!
//! A rule: the request as it is about to be sent, its time and a nonce go in,
//! headers come out. Each attempt is signed anew; the id stays, the time does not.
//! What is signed are the octets that are sent: a body is compressed before.
//!
//! While keys are exchanged, every secret of a key signs, as far as receivers of
//! the scheme can stand it: Standard Webhooks and RFC 9421 have room for several
//! signatures in one header, the latter with a key id each. Receivers of `hmac-hex`
//! compare the whole header, so further signatures go into headers of their own,
//! `<header>-2` and so on. draft-cavage, the secret parameter and other products'
//! own schemes have room for one: a receiver learns of the next key by its id, or
//! changes at the same time.
//!
//! Standard Webhooks 1.0.0, draft-cavage-http-signatures-12, RFC 9421, RFC 9530.

mod form;
mod message;
mod pkcs1;
mod postal;
#[cfg(test)]
mod rsa_tests;
mod secret;
mod sns;
#[cfg(test)]
mod tests;
mod vendor;
#[cfg(test)]
mod vendor_tests;

use crate::post::{Destination, Timestamp};
use crate::url_pattern::UrlPattern;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use pkcs1::{Hash, RsaKey};
use postal::Postal;
use ring::hmac;
use secret::{Private, Webhook};
use sns::Sns;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A key that signs requests, by its name in the configuration; cheap to clone.
#[derive(Clone)]
pub struct SigningKey {
    /// What routes and destinations call it.
    pub name: String,
    settings: Arc<KeySettings>,
    signer: Arc<Signer>,
}

/// A signing key as configured.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// What routes and destinations call it.
    pub name: String,
    /// How it signs.
    pub scheme: Scheme,
    /// The first signs, further ones too while they are exchanged: `whsec_…` and
    /// `whsk_…`, plain text, or a private key in PEM, as the scheme wants.
    pub secrets: Zeroizing<Vec<String>>,
    /// Name of the header (`hmac-hex`), by default `X-Postgate-Signature`.
    pub header: Option<String>,
    /// What stands before the signature in it, such as `sha256=` (`hmac-hex`).
    pub prefix: Option<String>,
    /// What a receiver finds the public key by (`http-signature`, `postal`); of
    /// several keys their ids in turn, a comma between.
    pub key_id: Option<String>,
    /// Where a receiver finds the certificate (`sns`), an `https` URL.
    pub certificate_url: Option<String>,
    /// `1`, with SHA-1, or `2`, with SHA-256 (`sns`); by default `1`, as SNS does.
    pub signature_version: Option<String>,
    /// Name of the parameter, by default `SecretKey` (`secret-parameter`).
    pub parameter: Option<String>,
    /// The only origins whose posts are signed; empty for any.
    pub origins: Vec<UrlPattern>,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks 1.0: HMAC-SHA256 or Ed25519.
    #[default]
    StandardWebhooks,
    /// One header with the hexadecimal HMAC-SHA256 of the body.
    HmacHex,
    /// An RSA key: draft-cavage-http-signatures; an Ed25519 key: RFC 9421.
    HttpSignature,
    /// Postal's: an RSA key signs the body, in headers of their own.
    Postal,
    /// A fixed parameter in a form body.
    SecretParameter,
    /// Mailgun's: HMAC-SHA256 of a time and a token, all three in a form body.
    Mailgun,
    /// SendGrid's: ECDSA P-256 over a time and the body, in two headers.
    SendGrid,
    /// That of Amazon SNS: an RSA key signs within the notification.
    Sns,
}

/// A request as it is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// The id of the post. Never holds a dot, which would blur what is signed.
    pub id: &'a str,
    /// The time of the attempt.
    pub at: Timestamp,
    /// Not used before.
    pub nonce: [u8; 16],
    /// In capitals.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// All headers but those of the signature, `Host` among them.
    pub headers: &'a HeaderMap,
    /// The octets that are sent.
    pub body: &'a [u8],
}

/// The headers that a signature adds; each replaces all of its name.
pub type Signature = Vec<(HeaderName, HeaderValue)>;

/// What a key is made of.
enum Signer {
    Webhook(Vec<Webhook>),
    Hex { keys: Vec<(HeaderName, hmac::Key)>, prefix: String },
    Message(Private),
    Postal(Postal),
    Parameter { name: String, value: Zeroizing<String> },
    Mailgun(hmac::Key),
    SendGrid(secret::Ecdsa),
    Sns(Sns),
}

/// Headers that no signature may stand in: they frame a request or name it.
const TAKEN: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
    "idempotency-key",
    "cdn-loop",
];

impl SigningKey {
    /// Reads the secrets; the error names what is wrong with one, and the remedy,
    /// without showing it.
    pub fn new(settings: KeySettings) -> Result<SigningKey, String> {
        if settings.secrets.is_empty() {
            return Err("a signing key needs at least one secret".to_owned());
        }
        let signer = match settings.scheme {
            Scheme::StandardWebhooks => Signer::Webhook(secret::webhook(&settings.secrets)?),
            Scheme::HmacHex => Signer::Hex {
                keys: hex_keys(&settings)?,
                prefix: visible("prefix", settings.prefix.as_deref().unwrap_or_default())?.to_owned(),
            },
            Scheme::HttpSignature => {
                let ids = key_ids(settings.key_id.as_deref(), settings.secrets.len())?;
                Signer::Message(secret::private(&settings.secrets, ids)?)
            }
            Scheme::Postal => Signer::Postal(postal(&settings)?),
            Scheme::SecretParameter => parameter(&settings)?,
            Scheme::Mailgun => Signer::Mailgun(vendor::mailgun_key(only("mailgun", &settings)?)?),
            Scheme::SendGrid => Signer::SendGrid(secret::ecdsa(only("sendgrid", &settings)?)?),
            Scheme::Sns => Signer::Sns(sns(&settings)?),
        };
        Ok(SigningKey { name: settings.name.clone(), settings: Arc::new(settings), signer: Arc::new(signer) })
    }

    /// Whether posts to a destination may be signed with it.
    pub fn is_for(&self, destination: &Destination) -> bool {
        UrlPattern::any_matches(&self.settings.origins, destination)
    }

    /// The body with what the key adds to it, for a post of this `Content-Type`,
    /// at the time of the attempt and with its nonce; most keys add nothing. The
    /// error says why this body cannot take it.
    pub fn amend(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        (at, nonce): (Timestamp, &[u8; 16]),
    ) -> Result<Bytes, String> {
        match &*self.signer {
            Signer::Parameter { name, value } => form::append(headers, &body, name, value)
                .map_err(|why| format!("signing key {:?} adds a parameter to forms, and {why}", self.name)),
            Signer::Mailgun(key) => vendor::mailgun(key, headers, &body, at, nonce)
                .map_err(|why| format!("signing key {:?} adds fields to forms, and {why}", self.name)),
            Signer::Sns(key) => key
                .amend(headers, &body)
                .map_err(|why| format!("signing key {:?} signs notifications of SNS, and {why}", self.name)),
            _ => Ok(body),
        }
    }

    /// Whether it puts a secret into the body itself, which a signature is not.
    pub fn is_in_body(&self) -> bool {
        matches!(*self.signer, Signer::Parameter { .. })
    }

    /// The headers that prove who sent a request. The error is a fault of the key.
    pub fn sign(&self, request: &Unsigned<'_>) -> Result<Signature, String> {
        let signed = match &*self.signer {
            Signer::Webhook(secrets) => webhook(secrets, request),
            Signer::Hex { keys, prefix } => {
                keys.iter().map(|(name, key)| hex(name, prefix, key, request)).collect()
            }
            Signer::Message(keys) => message::sign(keys, request),
            Signer::Postal(key) => key.sign(request),
            Signer::SendGrid(key) => vendor::sendgrid(key, request),
            Signer::Parameter { .. } | Signer::Mailgun(_) | Signer::Sns(_) => Some(Signature::new()),
        };
        signed.ok_or_else(|| format!("signing key {:?} cannot sign this request", self.name))
    }
}

/// Standard Webhooks: all signatures in one header, a space between.
fn webhook(secrets: &[Webhook], request: &Unsigned<'_>) -> Option<Signature> {
    let at = (request.at.0 / 1000).to_string();
    let head = format!("{}.{at}.", request.id);
    let signatures: Vec<_> =
        secrets.iter().map(|secret| secret.sign(head.as_bytes(), request.body)).collect();
    Some(vec![
        (HeaderName::from_static("webhook-id"), value(request.id)?),
        (HeaderName::from_static("webhook-timestamp"), value(&at)?),
        (HeaderName::from_static("webhook-signature"), value(&signatures.join(" "))?),
    ])
}

fn hex(
    name: &HeaderName,
    prefix: &str,
    key: &hmac::Key,
    request: &Unsigned<'_>,
) -> Option<(HeaderName, HeaderValue)> {
    let signature = HEXLOWER.encode(hmac::sign(key, request.body).as_ref());
    let mut value = value(&format!("{prefix}{signature}"))?;
    // Its name need not speak of a signature, so the protocol log would show it.
    value.set_sensitive(true);
    Some((name.clone(), value))
}

/// The keys with the header that each signs in.
fn hex_keys(settings: &KeySettings) -> Result<Vec<(HeaderName, hmac::Key)>, String> {
    let first = settings.header.as_deref().unwrap_or("X-Postgate-Signature");
    let mut keys = Vec::with_capacity(settings.secrets.len());
    for (index, secret) in settings.secrets.iter().enumerate() {
        let name = if index == 0 { first.to_owned() } else { format!("{first}-{}", index + 1) };
        let name = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|name| !TAKEN.contains(&name.as_str()) && !name.as_str().starts_with("postgate-"))
            .ok_or("header cannot carry a signature; use one such as \"X-Postgate-Signature\"")?;
        if secret.is_empty() {
            return Err("a secret is empty".to_owned());
        }
        keys.push((name, hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())));
    }
    Ok(keys)
}

/// The id of each of so many keys.
fn key_ids(text: Option<&str>, keys: usize) -> Result<Vec<String>, String> {
    let text = text.ok_or("http-signature needs a key_id, by which receivers find the public key")?;
    let ids: Vec<_> = visible("key_id", text)?.split(',').map(str::trim).collect();
    if ids.len() != keys {
        return Err(format!("key_id must hold one id a secret, a comma between: {keys}, not {}", ids.len()));
    }
    if ids.iter().any(|id| id.is_empty() || id.contains(['"', '\\'])) {
        return Err("key_id cannot be empty or hold quotes or backslashes".to_owned());
    }
    Ok(ids.into_iter().map(str::to_owned).collect())
}

/// The secret of a scheme that has room for one.
fn only<'a>(scheme: &str, settings: &'a KeySettings) -> Result<&'a str, String> {
    match settings.secrets.as_slice() {
        [secret] => Ok(secret),
        _ => Err(format!(
            "{scheme} has room for one secret; receivers change to the next one at the same time"
        )),
    }
}

fn postal(settings: &KeySettings) -> Result<Postal, String> {
    let id = settings.key_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or("postal needs a key_id, by which receivers tell keys apart")?;
    let key = RsaKey::read(only("postal", settings)?)?;
    Ok(Postal { key, id: visible("key_id", id)?.to_owned() })
}

fn sns(settings: &KeySettings) -> Result<Sns, String> {
    let url = settings.certificate_url.as_deref().filter(|url| url.starts_with("https://"));
    let url = url.ok_or("certificate_url must say where receivers find the certificate: https://….pem")?;
    let hash = match settings.signature_version.as_deref() {
        None | Some("1") => Hash::Sha1,
        Some("2") => Hash::Sha256,
        Some(_) => return Err("signature_version is \"1\" or \"2\"".to_owned()),
    };
    let certificate_url = visible("certificate_url", url)?.to_owned();
    Ok(Sns { key: RsaKey::read(only("sns", settings)?)?, hash, certificate_url })
}

fn parameter(settings: &KeySettings) -> Result<Signer, String> {
    let secret = only("secret-parameter", settings)?;
    let name = settings.parameter.as_deref().unwrap_or("SecretKey");
    if name.is_empty() || secret.is_empty() {
        return Err("neither the parameter nor its secret can be empty".to_owned());
    }
    Ok(Signer::Parameter { name: name.to_owned(), value: secret.to_owned().into() })
}

/// A text that can stand in a header as it is.
fn visible<'a>(key: &str, text: &'a str) -> Result<&'a str, String> {
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Ok(text),
        false => Err(format!("{key} can hold visible ASCII characters only")),
    }
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

impl PartialEq for SigningKey {
    /// Keys are equal when they were configured alike.
    fn eq(&self, other: &SigningKey) -> bool {
        self.settings == other.settings
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.name)
    }
}
