//! Who can log in, and how it is found out.
//!
//! Nothing tells an unknown user from a wrong password: the refusal is the same
//! and so is the work. For every cost among the configured hashes exactly one hash
//! is computed, the user's own or a decoy, so a login takes the sum of all costs,
//! whoever it is about; two are worked on at a time, the others wait.
//!
//! Only who is right is quicker: once a password was found right, a mark of it
//! (see [`Seal`]) is kept with its user, and who shows the same password again is
//! recognised without a hash. An application that logs in for every mail therefore
//! costs one hash, not one a mail. A mark is of one password of one user, lives in
//! memory, and ends with the [`Logins`], which are built anew whenever users
//! change; failures are remembered beyond that. Plain passwords are marked from the beginning.
//!
//! Passwords are compared as octets, names too; EXTERNAL compares names without
//! case, because the names in certificates have none.

use super::guard::{Attempt, Guard};
use super::hashes::PasswordHash;
use super::seal::{Mark, Seal};
use crate::clock::{self, Clock};
use crate::envelope::{Login, Refusal, Tls};
use crate::network::Network;
use crate::smtp::auth::Secret;
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many logins are hashed at a time: each takes a processor, and memory.
const AT_A_TIME: usize = 2;

/// A user of the gateway: an application with credentials of its own.
#[derive(Clone, Debug)]
pub struct User {
    /// What it logs in as.
    pub name: String,
    /// How it proves who it is.
    pub secret: UserSecret,
    /// Whose mail it hands in.
    pub tenant: Tenant,
    /// The only URLs that it may name; empty is any.
    pub may_post_to: Vec<UrlPattern>,
    /// The only networks that it may log in from; empty is any.
    pub networks: Vec<Network>,
}

impl User {
    /// Whether it may log in from this address; a socket in the file system has none.
    pub(super) fn is_welcome_from(&self, address: Option<IpAddr>) -> bool {
        let is_inside = |address| self.networks.iter().any(|network| network.contains(address));
        self.networks.is_empty() || address.is_some_and(is_inside)
    }
}

/// How a user proves who it is.
#[derive(Clone, Debug)]
pub enum UserSecret {
    /// The password itself: the only kind that CRAM-MD5 can use.
    Password(Secret),
    /// A hash of it in PHC or modular crypt format: argon2id or bcrypt.
    Hash(Secret),
    /// A client certificate alone.
    Certificate,
}

/// Why nobody can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginsError {
    /// Something is wrong with this user, and what.
    User(String, String),
    /// The system has no randomness, with its reason.
    Randomness(String),
}

impl fmt::Display for LoginsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoginsError::User(name, reason) => write!(f, "user {name:?} {reason}"),
            LoginsError::Randomness(reason) => write!(f, "the system has no randomness: {reason}"),
        }
    }
}

impl std::error::Error for LoginsError {}

/// All users.
#[derive(Debug)]
pub struct Logins {
    users: HashMap<String, Known>,
    /// One hash of each cost.
    decoys: Vec<Arc<PasswordHash>>,
    memory: Arc<Memory>,
}

/// What outlives a change of users: what they have tried, and what was drawn.
#[derive(Debug)]
struct Memory {
    seal: Seal,
    guard: Mutex<Guard>,
    clock: Clock,
    turns: Arc<Semaphore>,
    challenges: AtomicU64,
}

#[derive(Debug)]
struct Known {
    user: User,
    hash: Option<Arc<PasswordHash>>,
    /// Of the password that was found right.
    mark: OnceLock<Mark>,
}

impl Default for Logins {
    /// Nobody.
    fn default() -> Logins {
        let memory = Arc::new(Memory::sealed(Seal::default()));
        Logins { users: HashMap::new(), decoys: Vec::new(), memory }
    }
}

impl Memory {
    fn sealed(seal: Seal) -> Memory {
        Memory {
            seal,
            guard: Mutex::default(),
            clock: Clock::start(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            challenges: AtomicU64::new(0),
        }
    }
}

impl Logins {
    /// These users; nobody has failed yet.
    pub fn new(users: Vec<User>) -> Result<Logins, LoginsError> {
        let seal = Seal::draw().map_err(|error| LoginsError::Randomness(error.to_string()))?;
        Logins::with(users, Arc::new(Memory::sealed(seal)))
    }

    /// Other users instead; who has failed has done so for them as well.
    pub fn renewed(&self, users: Vec<User>) -> Result<Logins, LoginsError> {
        Logins::with(users, Arc::clone(&self.memory))
    }

    /// From now on, `most` failures within `window` are too many for an address,
    /// or for a name.
    pub fn limit_failures(&self, most: usize, window: Duration) {
        self.lock().limit(most, window);
    }

    fn with(users: Vec<User>, memory: Arc<Memory>) -> Result<Logins, LoginsError> {
        let mut logins = Logins { users: HashMap::new(), decoys: Vec::new(), memory };
        for user in users {
            let name = user.name.clone();
            logins.add(user).map_err(|reason| LoginsError::User(name, reason))?;
        }
        Ok(logins)
    }

    fn add(&mut self, user: User) -> Result<(), String> {
        let mut known = Known { user, hash: None, mark: OnceLock::new() };
        match &known.user.secret {
            UserSecret::Password(password) if password.reveal().is_empty() => {
                return Err("has an empty password".to_owned());
            }
            UserSecret::Password(password) => {
                let mark = self.memory.seal.mark(&parts(&known.user.name, password));
                known.mark = OnceLock::from(mark);
            }
            UserSecret::Hash(text) => {
                let hash: Arc<PasswordHash> = Arc::new(text.reveal().parse()?);
                if self.decoys.iter().all(|decoy| decoy.cost() != hash.cost()) {
                    self.decoys.push(Arc::clone(&hash));
                }
                known.hash = Some(hash);
            }
            UserSecret::Certificate => {}
        }
        match self.users.insert(known.user.name.clone(), known) {
            None => Ok(()),
            Some(_) => Err("is there twice".to_owned()),
        }
    }

    /// The user called `name`.
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|known| &known.user)
    }

    /// Whether anybody has a password.
    pub(super) fn know_passwords(&self) -> bool {
        self.users.values().any(|known| !matches!(known.user.secret, UserSecret::Certificate))
    }

    /// Whether anybody has a password that is not hashed.
    pub(super) fn know_plain_passwords(&self) -> bool {
        self.users.values().any(|known| matches!(known.user.secret, UserSecret::Password(_)))
    }

    /// A challenge nobody can guess and nobody got before.
    pub(super) fn challenge(&self, hostname: &str) -> String {
        let number = self.memory.challenges.fetch_add(1, Ordering::Relaxed);
        let mark = self.memory.seal.mark(&[b"challenge", &number.to_be_bytes()]);
        let random = HEXLOWER.encode(mark.get(..16).unwrap_or_default());
        format!("<{random}.{}@{hostname}>", clock::wall().0)
    }

    /// Who shows `password` for `name`; what is wrong is never said.
    pub(super) async fn by_password(
        &self,
        address: Option<IpAddr>,
        name: &str,
        password: Secret,
    ) -> Result<Login, Refusal> {
        let attempt = self.attempt(address, name);
        if let Some(login) = self.recognise(attempt, address, name, &password)? {
            return Ok(login);
        }
        let turn = Arc::clone(&self.memory.turns).acquire_owned().await;
        // While it waited others may have failed, or the same have been let in.
        if let Some(login) = self.recognise(attempt, address, name, &password)? {
            return Ok(login);
        }
        let own = self.users.get(name).and_then(|known| known.hash.clone());
        let mark = self.memory.seal.mark(&parts(name, &password));
        let decoys = self.decoys.clone();
        // The turn is over when the failure is counted, or when the work is done
        // although nobody waits for it any more.
        let hash = move || (is_right(own.as_deref(), &decoys, &password), turn);
        let (is_right, _turn) = if self.decoys.is_empty() { hash() } else { on_a_thread(hash).await? };
        let known = self.users.get(name).filter(|_| is_right);
        if let Some(known) = known {
            // Of two passwords that bcrypt cannot tell apart the first is kept.
            let _ = known.mark.set(mark);
        }
        self.conclude(attempt, known.filter(|known| known.user.is_welcome_from(address)))
    }

    /// Who answers `challenge` with this digest (RFC 2195), in lower case.
    pub(super) fn by_digest(
        &self,
        address: Option<IpAddr>,
        name: &str,
        challenge: &str,
        digest: &Secret,
    ) -> Result<Login, Refusal> {
        let attempt = self.attempt(address, name);
        self.lock().admit(attempt, self.memory.clock.now())?;
        let known = self.users.get(name);
        let password = known.and_then(|known| match &known.user.secret {
            UserSecret::Password(password) => Some(password.reveal()),
            _ => None,
        });
        // Nobody's password is none: it makes a digest all the same.
        let is_right = is_digest(password.unwrap_or_default(), challenge, digest) & password.is_some();
        self.conclude(attempt, known.filter(|known| is_right && known.user.is_welcome_from(address)))
    }

    /// Whom a verified certificate makes its holder: the user called `wanted`
    /// when the client asks for one, else the first user that has one of its
    /// names. Nobody can guess here, so nobody is counted.
    pub(super) fn by_certificate(
        &self,
        address: Option<IpAddr>,
        tls: &Tls,
        wanted: Option<&str>,
    ) -> Result<Login, Refusal> {
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let mut names = tls.names.iter().filter(|name| wanted.is_none_or(|it| same(it, name)));
        let known = names.find_map(|name| self.named(name));
        known.filter(|known| known.user.is_welcome_from(address)).map(Known::login).ok_or_else(denied)
    }

    /// Whether a certificate with these names makes its holder anybody.
    pub(super) fn know_any_of(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.named(name).is_some())
    }

    fn named(&self, name: &str) -> Option<&Known> {
        // The very name before one in another case.
        let exact = self.users.get(name);
        exact.or_else(|| self.users.values().find(|known| same(&known.user.name, name)))
    }

    fn attempt(&self, address: Option<IpAddr>, name: &str) -> Attempt {
        // A mark, because names may be long and many.
        Attempt::new(address, self.memory.seal.mark(&[b"name", name.as_bytes()]))
    }

    /// Who has shown the same before, if it may try at all. From where it may not
    /// log in nobody is recognised: how quick a refusal is would tell that the
    /// password is right.
    fn recognise(
        &self,
        attempt: Attempt,
        address: Option<IpAddr>,
        name: &str,
        password: &Secret,
    ) -> Result<Option<Login>, Refusal> {
        let mut guard = self.lock();
        guard.admit(attempt, self.memory.clock.now())?;
        let known = self.users.get(name).filter(|known| known.user.is_welcome_from(address));
        let mark = known.and_then(|known| known.mark.get()).copied().unwrap_or_default();
        let is_right = self.memory.seal.is_mark(&mark, &parts(name, password));
        Ok(known.filter(|_| is_right).map(|known| {
            guard.succeed(attempt);
            known.login()
        }))
    }

    fn conclude(&self, attempt: Attempt, known: Option<&Known>) -> Result<Login, Refusal> {
        let mut guard = self.lock();
        match known {
            Some(known) => {
                guard.succeed(attempt);
                Ok(known.login())
            }
            None => {
                guard.fail(attempt, self.memory.clock.now());
                Err(denied())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Guard> {
        self.memory.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn login(&self) -> Login {
        Login { name: self.user.name.clone(), tenant: self.user.tenant.clone() }
    }
}

/// The one answer to whatever is wrong.
fn denied() -> Refusal {
    Refusal::new(535, (7, 8), "authentication failed")
}

/// What the mark of a password is made of.
fn parts<'a>(name: &'a str, password: &'a Secret) -> [&'a [u8]; 3] {
    [b"password", name.as_bytes(), password.reveal().as_bytes()]
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Computes one hash of each cost, whoever asks; only the user's own counts.
fn is_right(own: Option<&PasswordHash>, decoys: &[Arc<PasswordHash>], password: &Secret) -> bool {
    let mut is_right = false;
    for decoy in decoys {
        let own = own.filter(|own| own.cost() == decoy.cost());
        let is_of = own.unwrap_or(decoy).is_of(password.reveal());
        is_right |= is_of && own.is_some();
    }
    is_right
}

fn is_digest(password: &str, challenge: &str, digest: &Secret) -> bool {
    let octets = HEXLOWER.decode(digest.reveal().as_bytes()).unwrap_or_default();
    // HMAC takes keys of any length.
    let Ok(mac) = Hmac::<Md5>::new_from_slice(password.as_bytes()) else { return false };
    mac.chain_update(challenge).verify_slice(&octets).is_ok()
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::new(454, (7, 0), "the password could not be looked at, try again later"))
}
