//! Signatures that other products' receivers check.
//!
//! Mailgun signs no content: a time and a token that is used once prove who knows
//! the key, as fields of the form itself. SendGrid signs the time and the body.

use super::secret::Ecdsa;
use super::{Signature, Unsigned, form, value};
use crate::post::Timestamp;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName};
use ring::{digest, hmac};

/// Digits of Mailgun's token.
const TOKEN: usize = 50;

const SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-email-event-webhook-signature");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-twilio-email-event-webhook-timestamp");

/// Mailgun's "HTTP webhook signing key".
pub(super) fn mailgun_key(secret: &str) -> Result<hmac::Key, String> {
    match secret.trim() {
        "" => Err("a secret is empty".to_owned()),
        secret => Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
    }
}

/// The form with `timestamp` (seconds), `token` and `signature`, the hexadecimal
/// HMAC-SHA256 of the two.
pub(super) fn mailgun(
    key: &hmac::Key,
    headers: &HeaderMap,
    body: &Bytes,
    at: Timestamp,
    nonce: &[u8; 16],
) -> Result<Bytes, String> {
    let timestamp = (at.0 / 1000).to_string();
    // A nonce has 32 digits; its digest is as good and long enough.
    let mut token = HEXLOWER.encode(digest::digest(&digest::SHA256, nonce).as_ref());
    token.truncate(TOKEN);
    let signature = hmac::sign(key, format!("{timestamp}{token}").as_bytes());
    let signature = HEXLOWER.encode(signature.as_ref());
    let fields = [("timestamp", timestamp.as_str()), ("token", &token), ("signature", &signature)];
    form::append_all(headers, body, &fields)
}

/// ECDSA over the time in seconds and the body, in base64.
pub(super) fn sendgrid(key: &Ecdsa, request: &Unsigned<'_>) -> Option<Signature> {
    let timestamp = (request.at.0 / 1000).to_string();
    let signature = key.sign(&[timestamp.as_bytes(), request.body].concat())?;
    Some(vec![(SIGNATURE, value(&signature)?), (TIMESTAMP, value(&timestamp)?)])
}
