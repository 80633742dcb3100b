//! Postal's signatures: RSA over the body, once with SHA-1 and once with SHA-256, in
//! headers of their own beside the id of the key.

use super::pkcs1::{Hash, RsaKey};
use super::{Signature, Unsigned, value};
use http::HeaderName;

const KEY_ID: HeaderName = HeaderName::from_static("x-postal-signature-kid");
const SHA1: HeaderName = HeaderName::from_static("x-postal-signature");
const SHA256: HeaderName = HeaderName::from_static("x-postal-signature-256");

/// A key and the id that receivers find its public half by.
pub(super) struct Postal {
    /// What signs.
    pub key: RsaKey,
    /// Visible ASCII.
    pub id: String,
}

impl Postal {
    pub(super) fn sign(&self, request: &Unsigned<'_>) -> Option<Signature> {
        let signed = |hash: Hash| {
            let mut text = hash.context();
            text.update(request.body);
            self.key.sign(hash, text).and_then(|signature| value(&signature))
        };
        Some(vec![(KEY_ID, value(&self.id)?), (SHA1, signed(Hash::Sha1)?), (SHA256, signed(Hash::Sha256)?)])
    }
}
