//! RSA signatures as other products make them (RSASSA-PKCS1-v1_5, RFC 8017 section
//! 8.2): with SHA-1 too, because their receivers check that one.
//!
//! Nothing of our own is signed so: SHA-1 is broken where somebody chooses both of
//! two texts. Keys may be as short as such products made them.

use data_encoding::BASE64;
use ring::digest;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// What is signed of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// What these products began with.
    Sha1,
    /// What they came to.
    Sha256,
}

impl Hash {
    /// Takes a text piece by piece.
    pub(super) fn context(self) -> digest::Context {
        digest::Context::new(match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
        })
    }

    /// What stands before the digest (RFC 8017 section 9.2, note 1).
    fn prefix(self) -> &'static [u8] {
        match self {
            Hash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
            Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        }
    }
}

/// A private RSA key.
pub(super) struct RsaKey(RsaPrivateKey);

impl RsaKey {
    /// Reads one in PEM. The error does not show it.
    pub(super) fn read(secret: &str) -> Result<RsaKey, String> {
        let expected = "expected a private key in PEM, RSA of 1024 to 4096 bits";
        let key = match PrivateKeyDer::from_pem_slice(secret.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs1(key)) => RsaPrivateKey::from_pkcs1_der(key.secret_pkcs1_der()).ok(),
            Ok(PrivateKeyDer::Pkcs8(key)) => RsaPrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
            Ok(_) => None,
            Err(_) => return Err(format!("a secret is no private key; {expected}")),
        };
        match key.filter(|key| (128..=512).contains(&key.size())) {
            Some(key) => Ok(RsaKey(key)),
            None => Err(format!("a private key is of a kind that cannot sign here; {expected}")),
        }
    }

    /// The signature over what the context has taken, in base64.
    pub(super) fn sign(&self, hash: Hash, text: digest::Context) -> Option<String> {
        let digest = text.finish();
        let digest = digest.as_ref();
        let padding = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: hash.prefix().into() };
        // The result is no matter of chance: randomness only hides how long it takes.
        self.0.sign(padding, digest).ok().map(|signature| BASE64.encode(&signature))
    }
}
