//! Marks that only this process can make: HMAC-SHA-256 under a key that it drew
//! at its start and tells nobody.
//!
//! A mark stands for a secret without being one: passwords are compared by their
//! marks, which takes the same time wherever they differ. Who can read the key can
//! read the memory of the process, through which passwords come in the clear.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// What a mark is made with; without one, nothing is to be protected.
pub(super) struct Seal {
    /// As long as a block of SHA-256.
    key: Zeroizing<[u8; 64]>,
}

/// A mark; equal only when made of the same parts.
pub(super) type Mark = [u8; 32];

impl Default for Seal {
    fn default() -> Seal {
        Seal { key: Zeroizing::new([0; 64]) }
    }
}

impl Seal {
    /// A seal nobody knows. The error is the system's: it has no randomness.
    pub(super) fn draw() -> Result<Seal, getrandom::Error> {
        let mut seal = Seal::default();
        getrandom::fill(&mut *seal.key)?;
        Ok(seal)
    }

    /// The mark of `parts`, which keeps them apart.
    pub(super) fn mark(&self, parts: &[&[u8]]) -> Mark {
        self.mac(parts).finalize().into_bytes().into()
    }

    /// Whether `mark` is that of `parts`, in constant time.
    pub(super) fn is_mark(&self, mark: &Mark, parts: &[&[u8]]) -> bool {
        self.mac(parts).verify_slice(mark).is_ok()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&(*self.key).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_of_one_seal_and_of_these_parts() {
        let seal = Seal::draw().unwrap();
        let mark = seal.mark(&[b"ab", b"c"]);
        assert!(seal.is_mark(&mark, &[b"ab", b"c"]));
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[]] {
            assert!(!seal.is_mark(&mark, other), "{other:?}");
        }
        assert!(!Seal::draw().unwrap().is_mark(&mark, &[b"ab", b"c"]));
        assert_eq!(format!("{seal:?}"), "Seal(***)");
    }
}
