//! Keys of the API: who may ask and steer over HTTP, and how it is found out.
//!
//! A key is random, so its SHA-256 digest is enough to know it by, and says nothing
//! about it. Whatever is shown is hashed and compared with every digest to its end:
//! neither an unknown key nor one that is nearly right is answered sooner or
//! otherwise.
//!
//! Ten keys that nobody knows within a minute are too many for an address (an IPv6
//! address counts as its /64): no other is looked at there for a while. Those that have
//! been shown from it before stay good, or a program with an old key would keep out
//! whoever shares its address, behind a proxy everybody. Who shows no key guesses none.

use super::failures::Failures;
use super::guard::customer;
use crate::clock::Clock;
use crate::tenant::Tenant;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most unknown keys from an address within [`WINDOW`].
const MOST: usize = 10;
/// How long an unknown key counts.
const WINDOW: Duration = Duration::from_secs(60);
/// Pairs of address and key that are remembered to have been right.
const ROOM: usize = 10_000;

/// What a key allows; each allows what stands before it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looking at its tenant's posts, destinations, webhooks and events.
    Read,
    /// Handing in posts, messages and events.
    Inject,
    /// Everything that concerns its tenant.
    Operator,
    /// Everything, of all tenants.
    Admin,
}

/// Every role, the least first.
const ROLES: [Role; 4] = [Role::Read, Role::Inject, Role::Operator, Role::Admin];

impl Role {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Inject => "inject",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Role, Self::Err> {
        let role = ROLES.into_iter().find(|role| role.as_str() == text);
        role.ok_or("write read, inject, operator or admin")
    }
}

/// What a key is known by: its SHA-256, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// That of a key.
    pub fn of(key: &[u8]) -> KeyDigest {
        KeyDigest(Sha256::digest(key).into())
    }

    /// Compares to the end, wherever they differ.
    fn is(&self, other: &KeyDigest) -> bool {
        let differences = self.0.iter().zip(other.0).fold(0, |found, (one, other)| found | (one ^ other));
        std::hint::black_box(differences) == 0
    }
}

impl FromStr for KeyDigest {
    type Err = &'static str;

    /// The error says what is wrong, never what was written: it may be a key.
    fn from_str(text: &str) -> Result<KeyDigest, Self::Err> {
        let wrong = "is no digest, which is sha256: and 64 hexadecimal digits; make one with: postgate key";
        let digits = text.strip_prefix("sha256:").ok_or(wrong)?;
        let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| wrong)?;
        octets.try_into().map(KeyDigest).map_err(|_| wrong)
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What it is called in the log.
    pub name: Arc<str>,
    /// What it is known by.
    pub digest: KeyDigest,
    /// What it allows.
    pub role: Role,
    /// Whose it is; nothing for [`Role::Admin`], which is everybody's.
    pub tenant: Option<Tenant>,
}

/// Why a caller is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It shows no key that is known.
    Key,
    /// Too many from its address were not known; none is looked at for this long.
    Address(Duration),
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys {
    all: Vec<ApiKey>,
    memory: Arc<Memory>,
}

/// What outlives a change of keys.
#[derive(Debug)]
struct Memory {
    tried: Mutex<Tried>,
    clock: Clock,
}

#[derive(Debug)]
struct Tried {
    failures: Failures<IpAddr>,
    /// Keys that were right, and where.
    familiar: HashSet<(IpAddr, KeyDigest)>,
}

impl Default for Memory {
    fn default() -> Memory {
        let mut failures = Failures::default();
        failures.limit(MOST, WINDOW);
        Memory { tried: Mutex::new(Tried { failures, familiar: HashSet::new() }), clock: Clock::start() }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// These keys; nobody has failed yet.
    pub fn new(all: Vec<ApiKey>) -> Keys {
        Keys { all, memory: Arc::default() }
    }

    /// Other keys instead; who has failed has done so for them as well.
    pub fn renewed(&self, all: Vec<ApiKey>) -> Keys {
        Keys { all, memory: Arc::clone(&self.memory) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The key that somebody at `address` shows, if any.
    pub fn find(&self, address: IpAddr, shown: Option<&[u8]>) -> Result<&ApiKey, Unknown> {
        let digest = KeyDigest::of(shown.unwrap_or_default());
        // All of them, whichever it is.
        let found =
            self.all.iter().fold(None, |found, key| if key.digest.is(&digest) { Some(key) } else { found });
        let Some(_) = shown else { return Err(Unknown::Key) };
        let (address, now) = (customer(address), self.memory.clock.now());
        let mut tried = self.memory.lock();
        if let Some(key) = found.filter(|_| tried.familiar.contains(&(address, digest))) {
            return Ok(key);
        }
        if let Some(wait) = tried.failures.wait(address, now) {
            return Err(Unknown::Address(wait));
        }
        let Some(key) = found else {
            tried.failures.count(address, now);
            return Err(Unknown::Key);
        };
        // Only who has a key can fill it.
        if tried.familiar.len() >= ROOM {
            tried.familiar.clear();
        }
        tried.familiar.insert((address, digest));
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, role: Role) -> ApiKey {
        ApiKey { name: name.into(), digest: KeyDigest::of(name.as_bytes()), role, tenant: None }
    }

    fn name(keys: &Keys, address: &str, shown: &str) -> Result<String, Unknown> {
        keys.find(address.parse().unwrap(), Some(shown.as_bytes())).map(|key| key.name.to_string())
    }

    #[test]
    fn digests_are_read_and_written_and_never_shown() {
        let text = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        let digest: KeyDigest = text.parse().unwrap();
        assert_eq!((digest, digest.to_string()), (KeyDigest::of(b"foo"), text.to_owned()));
        assert_eq!(text.to_uppercase().replace("SHA", "sha").parse(), Ok(digest));
        assert_eq!(format!("{digest:?}"), "***");
        let short = &text[..70];
        for wrong in ["", "foo", "sha256:", "sha256:zz", short, &text.replace("256", "512"), &text[7..]] {
            let error = wrong.parse::<KeyDigest>().unwrap_err();
            let secret = wrong.trim_start_matches("sha256:");
            assert!(error.contains("postgate key") && (secret.is_empty() || !error.contains(secret)));
        }
    }

    #[test]
    fn a_role_allows_what_stands_before_it() {
        assert!(Role::Admin > Role::Operator && Role::Operator > Role::Inject && Role::Inject > Role::Read);
    }

    #[test]
    fn who_guesses_is_not_listened_to_and_keeps_out_nobody_who_was_there_before() {
        let keys = Keys::new(vec![key("ci", Role::Inject), key("ops", Role::Admin)]);
        let (here, there) = ("192.0.2.1", "192.0.2.2");
        assert_eq!(name(&keys, here, "ops").as_deref(), Ok("ops"));
        for number in 0..30 {
            assert_eq!(keys.find(here.parse().unwrap(), None), Err(Unknown::Key), "{number}");
        }
        for number in 0..10 {
            assert_eq!(name(&keys, here, &format!("guess {number}")), Err(Unknown::Key));
        }
        for shown in ["guess", "", "ci"] {
            let Err(Unknown::Address(wait)) = name(&keys, here, shown) else { panic!("{shown}") };
            assert!(wait > Duration::from_secs(50) && wait <= WINDOW, "{wait:?}");
        }
        assert_eq!(name(&keys, here, "ops").as_deref(), Ok("ops"));
        assert_eq!(name(&keys, there, "ci").as_deref(), Ok("ci"));
        let renewed = keys.renewed(vec![key("new", Role::Read)]);
        assert!(matches!(name(&renewed, here, "ops"), Err(Unknown::Address(_))), "it is gone");
        assert!(matches!(name(&renewed, here, "new"), Err(Unknown::Address(_))));
        assert_eq!(name(&renewed, there, "new").as_deref(), Ok("new"));
        assert_eq!(name(&renewed, there, "ci"), Err(Unknown::Key));
    }
}
