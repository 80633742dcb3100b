//! Hashes of passwords: argon2id (RFC 9106) as a PHC string, and bcrypt as other
//! programs have written it for twenty years.
//!
//! Whoever can write the configuration decides how long a login takes; what would
//! take absurdly long, or more memory than a gateway should spend on a stranger's
//! guess, is refused when it is read. bcrypt looks at 72 octets of a password
//! and no further: that is its definition, and hashes made elsewhere rely on it.

use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;
use std::str::FromStr;

/// Most memory of an argon2id hash, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
/// Most memory times passes of an argon2id hash, in KiB: about a second.
const MAX_WORK: u64 = 1024 * 1024;
/// Most lanes of an argon2id hash.
const MAX_LANES: u32 = 64;
/// Most rounds of bcrypt, as a power of two: several seconds.
const MAX_ROUNDS: u32 = 16;
/// Fewest rounds that bcrypt is defined for.
const MIN_ROUNDS: u32 = 4;
/// Rounds of a hash that is made here.
const ROUNDS: u32 = 12;

/// A hash that a password can be compared with.
#[derive(Clone)]
pub struct PasswordHash(Kind);

#[derive(Clone)]
enum Kind {
    Argon2id(Box<phc::PasswordHash>, Cost),
    Bcrypt(String, Cost),
}

/// How much work comparing with a hash is: equal costs take equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    Argon2id { memory: u32, passes: u32, lanes: u32 },
    Bcrypt { rounds: u32 },
}

/// Why no hash was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashError {
    /// bcrypt would ignore what is behind its 71st octet.
    TooLong,
    /// The system has no randomness or no memory.
    System(String),
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashError::TooLong => f.write_str("bcrypt takes no more than 71 octets of a password"),
            HashError::System(reason) => write!(f, "the password cannot be hashed: {reason}"),
        }
    }
}

impl std::error::Error for HashError {}

impl PasswordHash {
    /// A new argon2id hash of `password`: 19 MiB, two passes, one lane, as OWASP
    /// recommends. Blocks for some 20 ms.
    pub fn argon2id(password: &str) -> Result<String, HashError> {
        let system = |error: argon2::password_hash::Error| HashError::System(error.to_string());
        let mut salt = [0; argon2::RECOMMENDED_SALT_LEN];
        getrandom::fill(&mut salt).map_err(|error| HashError::System(error.to_string()))?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
        let hash = hasher.hash_password_with_salt(password.as_bytes(), &salt).map_err(system)?;
        Ok(hash.to_string())
    }

    /// A new bcrypt hash of `password` with 2^12 rounds. Blocks for some 200 ms.
    pub fn bcrypt(password: &str) -> Result<String, HashError> {
        bcrypt::non_truncating_hash(password, ROUNDS).map_err(|error| match error {
            bcrypt::BcryptError::Truncation(_) => HashError::TooLong,
            error => HashError::System(error.to_string()),
        })
    }

    /// Whether it is a hash of `password`. Blocks as long as its cost says.
    pub fn is_of(&self, password: &str) -> bool {
        match &self.0 {
            Kind::Argon2id(hash, _) => {
                Argon2::default().verify_password(password.as_bytes(), &**hash).is_ok()
            }
            Kind::Bcrypt(hash, _) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }

    pub(super) fn cost(&self) -> Cost {
        match &self.0 {
            Kind::Argon2id(_, cost) | Kind::Bcrypt(_, cost) => *cost,
        }
    }
}

impl fmt::Debug for PasswordHash {
    /// Without the hash: it can be guessed at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?})", self.cost())
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    /// Reads `$argon2id$…`, `$2a$…`, `$2b$…` or `$2y$…`. The error says what is
    /// wrong, never what was written.
    fn from_str(text: &str) -> Result<PasswordHash, String> {
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
        if is_bcrypt {
            bcrypt_hash(text)
        } else if text.starts_with("$argon2id$") {
            argon2id_hash(text)
        } else {
            Err("is neither an argon2id nor a bcrypt hash; make one with: postgate password".to_owned())
        }
    }
}

fn bcrypt_hash(text: &str) -> Result<PasswordHash, String> {
    let parts: bcrypt::HashParts =
        text.parse().map_err(|_| "is no complete bcrypt hash; it has 60 characters")?;
    match parts.get_cost() {
        rounds @ MIN_ROUNDS..=MAX_ROUNDS => {
            Ok(PasswordHash(Kind::Bcrypt(text.to_owned(), Cost::Bcrypt { rounds })))
        }
        rounds => Err(format!("has a bcrypt cost of {rounds}; it must be {MIN_ROUNDS} to {MAX_ROUNDS}")),
    }
}

fn argon2id_hash(text: &str) -> Result<PasswordHash, String> {
    let bad = "is no complete argon2id hash; make one with: postgate password";
    let hash = phc::PasswordHash::new(text).map_err(|_| bad)?;
    let params = Params::try_from(&hash).map_err(|_| bad)?;
    let is_known = hash.version.is_none_or(|version| Version::try_from(version).is_ok());
    if !is_known || hash.hash.is_none() || hash.salt.as_ref().is_none_or(|salt| salt.len() < 8) {
        return Err(bad.to_owned());
    }
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if memory > MAX_MEMORY || u64::from(memory) * u64::from(passes) > MAX_WORK || lanes > MAX_LANES {
        return Err(format!(
            "asks for too much work at each login (m={memory},t={passes},p={lanes}); at most m={MAX_MEMORY}, \
             m times t={MAX_WORK} and p={MAX_LANES} are taken"
        ));
    }
    let cost = Cost::Argon2id { memory, passes, lanes };
    Ok(PasswordHash(Kind::Argon2id(Box::new(hash), cost)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON2ID: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$KyVdWCKC3mgzrkQZ8Lwdm6w6e5t4+D7E7rXjV6hJ3EQ";
    const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn hashes_know_their_password_only() {
        for hash in [PasswordHash::argon2id("pâss word").unwrap(), PasswordHash::bcrypt("pâss word").unwrap()]
        {
            let hash: PasswordHash = hash.parse().unwrap();
            assert!(hash.is_of("pâss word"), "{hash:?}");
            assert!(!hash.is_of("pâss wore"), "{hash:?}");
            assert!(!hash.is_of(""), "{hash:?}");
        }
        assert_ne!(PasswordHash::argon2id("x"), PasswordHash::argon2id("x"));
        assert_eq!(PasswordHash::bcrypt(&"x".repeat(72)), Err(HashError::TooLong));
    }

    #[test]
    fn hashes_of_other_programs_are_understood() {
        // Vectors of OpenBSD's bcrypt as in crypt_blowfish 1.3, and of the argon2 command.
        for (hash, password) in [
            (BCRYPT, "U*U"),
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2b$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a", "U*U*U"),
            (
                "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "password",
            ),
            (
                "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
                "password",
            ),
        ] {
            let parsed: PasswordHash = hash.parse().unwrap();
            assert!(parsed.is_of(password), "{hash}");
            assert!(!parsed.is_of("other"), "{hash}");
        }
    }

    #[test]
    fn equal_costs_are_equal_and_shown_without_the_hash() {
        let cost = |hash: &str| hash.parse::<PasswordHash>().unwrap().cost();
        assert_eq!(cost(ARGON2ID), Cost::Argon2id { memory: 8, passes: 1, lanes: 1 });
        assert_eq!(cost(BCRYPT), Cost::Bcrypt { rounds: 5 });
        let shown = format!("{:?}", BCRYPT.parse::<PasswordHash>().unwrap());
        assert_eq!(shown, "PasswordHash(Bcrypt { rounds: 5 })");
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        let with = |from: &str, to: &str| ARGON2ID.replace(from, to);
        for (text, reason) in [
            ("secret".to_owned(), "neither an argon2id nor a bcrypt hash"),
            (String::new(), "neither"),
            ("$6$salt$hash".to_owned(), "neither"),
            (with("argon2id", "argon2i"), "neither"),
            ("$argon2id$".to_owned(), "no complete argon2id hash"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ".to_owned(), "no complete argon2id hash"),
            (with("v=19", "v=18"), "no complete argon2id hash"),
            (with("c29tZXNhbHRzb21lc2FsdA", "c29tZQ"), "no complete argon2id hash"),
            (with("m=8,", "m=4,"), "no complete argon2id hash"),
            (with("m=8,", "m=262145,"), "too much work"),
            (with("m=8,t=1,", "m=262144,t=5,"), "too much work"),
            (with("m=8,t=1,", "m=8,t=4294967295,"), "too much work"),
            (with("m=8,t=1,p=1", "m=1024,t=1,p=65"), "too much work"),
            (BCRYPT.replace("$05$", "$17$"), "a bcrypt cost of 17; it must be 4 to 16"),
            (BCRYPT.replace("$05$", "$03$"), "a bcrypt cost of 3"),
            (BCRYPT.replace("$2y$", "$2x$"), "neither"),
            (BCRYPT[..59].to_owned(), "60 characters"),
            (format!("{}é", &BCRYPT[..58]), "60 characters"),
        ] {
            let error = text.parse::<PasswordHash>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(&text), "{error}");
        }
        for text in [with("m=8,", "m=262144,"), BCRYPT.replace("$05$", "$16$")] {
            assert!(text.parse::<PasswordHash>().is_ok(), "{text}");
        }
    }
}
