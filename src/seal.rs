//! The key that secrets are sealed with before a spool gets them.
//!
//! What opens to nobody else is sealed with AES-256-GCM (NIST SP 800-38D): webhooks,
//! and the few words of a post that are secret. The message around them, which may repeat
//! them anywhere, is veiled with ChaCha20 (RFC 8439): as long as before, so that a piece
//! of it can be had alone. Nothing proves that a veiled octet is the one that was
//! written; the checksums of the log tell damage, and malice has the whole disk.
//!
//! The key itself serves few texts, each with a nonce that was drawn; posts are without
//! number, so each message has keys of its own, made of a salt (HMAC-SHA-256). Salts and
//! nonces are arguments.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::fmt;
use zeroize::Zeroizing;

/// What makes the keys of one message others than those of all others.
pub type Salt = [u8; 16];

/// What seals and opens.
pub struct SealKey(Zeroizing<[u8; SealKey::LENGTH]>);

impl SealKey {
    /// Octets of a key.
    pub const LENGTH: usize = 32;

    /// The key of these octets.
    pub fn new(octets: &[u8; SealKey::LENGTH]) -> SealKey {
        SealKey(Zeroizing::new(*octets))
    }

    /// The sealed text: the nonce, then the octets and their tag. None where the machine's
    /// cryptography does not work.
    pub fn seal(&self, name: &str, nonce: [u8; NONCE_LEN], text: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut octets = Zeroizing::new(text.to_vec());
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self.cipher()?.seal_in_place_separate_tag(unique, Aad::from(name.as_bytes()), &mut octets);
        sealed.extend_from_slice(&octets);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(sealed)
    }

    /// The text, if it was sealed for this name with this key.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(name.as_bytes()), &mut text);
        let length = opened.ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// The keys of the message with this salt.
    pub fn of_message(&self, salt: Salt) -> MessageKey {
        let texts = SealKey(self.derived(b"texts", salt));
        MessageKey { salt, texts, veil: self.derived(b"veil", salt) }
    }

    /// The keys of the message that something was sealed for.
    pub fn of_sealed(&self, sealed: &[u8]) -> Option<MessageKey> {
        sealed.first_chunk().map(|salt| self.of_message(*salt))
    }

    fn derived(&self, purpose: &[u8], salt: Salt) -> Zeroizing<[u8; SealKey::LENGTH]> {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0));
        mac.update(&salt);
        mac.update(purpose);
        let mut key = Zeroizing::new([0; SealKey::LENGTH]);
        key.copy_from_slice(mac.sign().as_ref());
        key
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &*self.0).ok().map(LessSafeKey::new)
    }
}

/// The keys of one message.
pub struct MessageKey {
    salt: Salt,
    texts: SealKey,
    veil: Zeroizing<[u8; SealKey::LENGTH]>,
}

impl MessageKey {
    /// The sealed text behind its salt; `number` is not used for another of this message.
    pub fn seal(&self, name: &str, number: u64, text: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(number.to_le_bytes()).for_each(|(octet, digit)| *octet = digit);
        let sealed = self.texts.seal(name, nonce, text)?;
        Some([&self.salt[..], &sealed].concat())
    }

    /// The text, if it was sealed for this name and message.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.texts.open(name, sealed.strip_prefix(&self.salt)?)
    }

    /// Veils what stands from `start` on in this blob of the message, or takes the veil
    /// off it.
    pub fn veil(&self, (blob, start): (u16, u32), octets: &mut [u8]) {
        let [low, high] = blob.to_le_bytes();
        let nonce = [low, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut cipher = ChaCha20::new(&(*self.veil).into(), &nonce.into());
        cipher.seek(start);
        cipher.apply_keystream(octets);
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(octet: u8) -> SealKey {
        SealKey::new(&[octet; SealKey::LENGTH])
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_key_alone() {
        let sealed = key(1).seal("a", [7; NONCE_LEN], b"secret").unwrap();
        assert!(!sealed.windows(6).any(|octets| octets == b"secret"));
        assert_eq!(**key(1).open("a", &sealed).unwrap(), b"secret"[..]);
        assert_eq!(key(1).open("b", &sealed), None);
        assert_eq!(key(2).open("a", &sealed), None);
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(key(1).open("a", &bent), None);
        assert_eq!(key(1).open("a", &sealed[..5]), None);
        assert_eq!(format!("{:?} {:?}", key(1), key(1).of_message([1; 16])), "SealKey(***) MessageKey(***)");
    }

    #[test]
    fn each_message_has_keys_of_its_own() {
        let one = key(1).of_message([1; 16]);
        let sealed = one.seal("a", 3, b"secret").unwrap();
        assert_eq!(**key(1).of_sealed(&sealed).unwrap().open("a", &sealed).unwrap(), b"secret"[..]);
        assert_ne!(one.seal("a", 4, b"secret").unwrap()[28..], sealed[28..], "another nonce");
        for (key, salt, name) in [(2, 1, "a"), (1, 2, "a"), (1, 1, "b")] {
            assert_eq!(self::key(key).of_message([salt; 16]).open(name, &sealed), None);
        }
        assert!(key(1).of_sealed(&sealed[..15]).is_none());
    }

    #[test]
    fn a_piece_is_unveiled_without_the_rest() {
        let whole: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let veiled = |key: SealKey, salt, blob| {
            let mut octets = whole.clone();
            key.of_message([salt; 16]).veil((blob, 0), &mut octets);
            octets
        };
        let own = veiled(key(1), 1, 1);
        for other in [veiled(key(2), 1, 1), veiled(key(1), 2, 1), veiled(key(1), 1, 2), whole.clone()] {
            assert!(own.iter().zip(&other).filter(|(own, other)| own == other).count() < 50);
        }
        for (start, end) in [(0, 1000), (0, 1), (63, 65), (64, 1000), (777, 778), (1000, 1000)] {
            let mut piece = own[start..end].to_vec();
            key(1).of_message([1; 16]).veil((1, start as u32), &mut piece);
            assert_eq!(piece, whole[start..end], "{start}..{end}");
        }
    }
}
