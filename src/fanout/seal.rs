//! What a spool keeps of webhooks is sealed: URLs, headers and secrets of theirs are
//! nobody's business who reads a disk or a backup of it.
//!
//! AES-256-GCM (NIST SP 800-38D) under a key that is kept outside of the spool, with a
//! nonce drawn for each sealing. What is sealed for one name opens for no other.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;

/// What seals and opens.
pub struct SealKey(LessSafeKey);

impl SealKey {
    /// Octets of a key.
    pub const LENGTH: usize = 32;

    /// The key of these octets; none where the machine's cryptography does not work.
    pub fn new(octets: &[u8; SealKey::LENGTH]) -> Option<SealKey> {
        UnboundKey::new(&AES_256_GCM, octets).ok().map(|key| SealKey(LessSafeKey::new(key)))
    }

    /// The sealed text: the nonce, then the octets and their tag.
    pub(super) fn seal(&self, name: &str, nonce: [u8; NONCE_LEN], text: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = text.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::from(name.as_bytes()), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// The text, if it was sealed for this name with this key.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut text).ok()?;
        Some(opened.to_vec())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_name_and_key_alone() {
        let key = |octet| SealKey::new(&[octet; SealKey::LENGTH]).unwrap();
        let sealed = key(1).seal("a", [7; NONCE_LEN], b"secret").unwrap();
        assert!(!sealed.windows(6).any(|octets| octets == b"secret"));
        assert_eq!(key(1).open("a", &sealed).unwrap(), b"secret");
        assert_eq!(key(1).open("b", &sealed), None);
        assert_eq!(key(2).open("a", &sealed), None);
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(key(1).open("a", &bent), None);
        assert_eq!(key(1).open("a", &sealed[..5]), None);
        assert_eq!(format!("{:?}", key(1)), "SealKey(***)");
    }
}
