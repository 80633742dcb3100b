//! Where webhooks are: those of the configuration, which nobody changes here, and those
//! that were made through the API, each sealed in a note of the spool.
//!
//! A note's version is the webhook's: who changes one can say which he has seen.

use super::live::{Live, follow};
use super::webhook::{GivenUp, Webhook};
use crate::clock;
use crate::event::Wanted;
use crate::journal::{Journal, Position};
use crate::post::Timestamp;
use crate::seal::SealKey;
use crate::spool::{Noted, Spool, SpoolError};
use crate::subscribers::{Fare, Subscribers};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// How the keys of their notes begin.
const KEYS: &str = "webhook/";
/// Most webhooks of one tenant: all notes are one file.
const MOST: usize = 1000;
/// Most octets of one, sealed.
const LARGEST: usize = 16 * 1024;
/// Most octets of all together: each change writes the file anew.
const ALL: usize = 8 << 20;
/// How the ids of those begin that are made through the API.
const IDS: &str = "wh_";
/// Digits of an id: those of a ULID.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// How often a change is tried when others change the same.
const TRIES: usize = 5;

/// Why a webhook could not be had or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShelfError {
    /// There is none of this id, or it is another tenant's.
    Unknown,
    /// It stands in the configuration.
    Fixed,
    /// It is no longer what the caller has seen.
    Changed,
    /// The tenant has as many as it may have.
    TooMany,
    /// It is larger than one may be.
    TooLarge,
    /// All webhooks together are as large as they may be.
    Crowded,
    /// There is no key to seal it with, or it was sealed with another.
    Sealed,
    /// The spool cannot keep or tell it.
    Spool(SpoolError),
}

impl fmt::Display for ShelfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShelfError::Unknown => f.write_str("no such webhook"),
            ShelfError::Fixed => {
                f.write_str("this webhook stands in the configuration; change it there, and reload")
            }
            ShelfError::Changed => f.write_str("the webhook was changed meanwhile; look again"),
            ShelfError::TooMany => write!(f, "a tenant has at most {MOST} webhooks; delete one"),
            ShelfError::TooLarge => {
                write!(
                    f,
                    "a webhook takes at most {LARGEST} octets with all that is set; shorten what is long"
                )
            }
            ShelfError::Crowded => {
                write!(f, "the webhooks of all tenants take {ALL} octets, and more are not kept; delete some")
            }
            ShelfError::Sealed => f.write_str(
                "the key that webhooks are sealed with is missing or another: data_dir/webhook-key",
            ),
            ShelfError::Spool(error) => error.fmt(f),
        }
    }
}

impl From<SpoolError> for ShelfError {
    fn from(error: SpoolError) -> ShelfError {
        match error {
            SpoolError::Changed => ShelfError::Changed,
            error => ShelfError::Spool(error),
        }
    }
}

/// A webhook as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The webhook.
    pub webhook: Webhook,
    /// Grows with every change; nothing for one of the configuration.
    pub version: Option<u64>,
}

/// A new id of this time; 80 bits of `dice` tell it from others.
pub fn new_id(at: Timestamp, dice: u128) -> String {
    let number = u128::from(at.0) << 80 | dice & ((1 << 80) - 1);
    let digit =
        |place: u32| DIGITS.get((number >> (5 * place) & 31) as usize).map_or('0', |it| char::from(*it));
    IDS.chars().chain((0..26).rev().map(digit)).collect()
}

/// Whether a text from outside can be the key of a note.
fn is_id(text: &str) -> bool {
    text.strip_prefix(IDS).is_some_and(|ulid| ulid.len() == 26 && ulid.bytes().all(|it| DIGITS.contains(&it)))
}

/// See the module.
pub struct Shelf {
    spool: Arc<dyn Spool>,
    key: Option<Arc<SealKey>>,
    fixed: RwLock<Arc<[Webhook]>>,
    live: Live,
    journal: Journal,
}

impl Shelf {
    /// The webhooks in this spool; without a key none can be made. Delivery is told of
    /// them, and events are wanted as long as there is one that gets any. What each is owed
    /// begins and ends at a place of the journal.
    pub fn new(
        spool: Arc<dyn Spool>,
        key: Option<Arc<SealKey>>,
        (subscribers, wanted): (Subscribers, Wanted),
        journal: Journal,
    ) -> Shelf {
        let live = Live::new(subscribers, wanted);
        Shelf { spool, key, fixed: RwLock::new(Arc::from([])), live, journal }
    }

    /// Puts those of another configuration in the place of those that were. One that was
    /// given up is tried again.
    pub fn fix(&self, fixed: Vec<Webhook>) {
        let mut known = self.fixed.write().unwrap_or_else(PoisonError::into_inner);
        for gone in known.iter().filter(|gone| !fixed.iter().any(|webhook| webhook.id == gone.id)) {
            self.live.remove(&gone.id);
        }
        let now = self.now();
        let follow = |webhook: Webhook| {
            let before = known.iter().find(|known| known.id == webhook.id);
            let mut webhook = before.map_or(webhook.clone(), |before| webhook.after(before));
            follow(before, &mut webhook, now);
            self.live.put(&Placed { webhook: webhook.clone(), version: None });
            webhook
        };
        *known = fixed.into_iter().map(follow).collect();
    }

    /// Takes in those that an earlier process left. What waits for one that cannot be
    /// opened is held: it has not been deleted.
    pub async fn recall(&self) -> Result<(), ShelfError> {
        for (key, noted) in self.spool.notes(KEYS).await? {
            self.live.weigh(key.strip_prefix(KEYS).unwrap_or_default(), noted.value.len());
            let placed = self.open(&key, &noted).unwrap_or_else(|error| {
                tracing::error!("{key}: {error}; its events are held");
                let id = key.strip_prefix(KEYS).unwrap_or_default();
                Placed { webhook: Webhook::sealed(id, clock::wall()), version: Some(noted.version) }
            });
            self.live.put(&placed);
        }
        Ok(())
    }

    /// The time, and the last event.
    fn now(&self) -> (Timestamp, Position) {
        (clock::wall(), self.journal.last())
    }

    /// All of all tenants, as they are in force.
    pub fn in_force(&self) -> Vec<Placed> {
        self.live.all()
    }

    /// Tells when one is others than it was.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.live.watch()
    }

    /// Whether anybody wants events.
    pub fn is_wanted(&self) -> bool {
        self.live.is_wanted()
    }

    /// Events that were let go because too much waited for those who wanted them.
    pub fn lost(&self) -> u64 {
        self.live.subscribers.lost()
    }

    /// Disables one whose receiver took nothing since then, for this reason; its events
    /// are held.
    pub async fn give_up(&self, id: &str, since: Timestamp, why: &str) -> Result<Placed, ShelfError> {
        let given_up = GivenUp { at: clock::wall(), since, why: why.to_owned() };
        let give_up = |webhook: &mut Webhook| {
            (webhook.settings.enabled, webhook.given_up) = (false, Some(given_up.clone()));
        };
        self.change_any(id, give_up).await
    }

    /// Changes one, also of the configuration: that only until another is in force.
    async fn change_any(&self, id: &str, change: impl Fn(&mut Webhook)) -> Result<Placed, ShelfError> {
        if let Some(placed) = self.change_fixed(id, &change) {
            return Ok(placed);
        }
        let change = |webhook: &mut Webhook| -> Result<(), ShelfError> {
            change(webhook);
            Ok(())
        };
        self.change((id, None), None, change).await
    }

    fn change_fixed(&self, id: &str, change: impl Fn(&mut Webhook)) -> Option<Placed> {
        // From the copy to the change nobody else changes any.
        let mut fixed = self.fixed.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = fixed.to_vec();
        let webhook = known.iter_mut().find(|webhook| webhook.id == id)?;
        let before = webhook.clone();
        change(webhook);
        follow(Some(&before), webhook, self.now());
        let placed = Placed { webhook: webhook.clone(), version: None };
        self.live.put(&placed);
        *fixed = Arc::from(known);
        Some(placed)
    }

    fn fixed(&self) -> Arc<[Webhook]> {
        Arc::clone(&self.fixed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of a tenant, or of all: those of the configuration first, the others as they
    /// were made. One that cannot be opened is left out, and said.
    pub async fn all(&self, tenant: Option<&Tenant>) -> Result<Vec<Placed>, ShelfError> {
        let fixed = self.fixed();
        let fixed =
            fixed.iter().map(|webhook| self.fared(Placed { webhook: webhook.clone(), version: None }));
        let notes = self.spool.notes(KEYS).await?;
        let kept = notes.iter().filter_map(|(key, noted)| match self.open(key, noted) {
            Ok(placed) => Some(placed),
            Err(error) => {
                tracing::warn!("{key}: {error}");
                None
            }
        });
        let is_meant = |placed: &Placed| tenant.is_none_or(|tenant| placed.webhook.tenant == *tenant);
        Ok(fixed.chain(kept).filter(is_meant).collect())
    }

    /// The one of this id, if it is this tenant's.
    pub async fn one(&self, id: &str, tenant: Option<&Tenant>) -> Result<Placed, ShelfError> {
        let is_meant = |webhook: &Webhook| tenant.is_none_or(|tenant| webhook.tenant == *tenant);
        if let Some(webhook) = self.fixed().iter().find(|webhook| webhook.id == id) {
            let placed = self.fared(Placed { webhook: webhook.clone(), version: None });
            return if is_meant(webhook) { Ok(placed) } else { Err(ShelfError::Unknown) };
        }
        if !is_id(id) {
            return Err(ShelfError::Unknown);
        }
        let key = key(id);
        let noted = self.spool.note(&key).await?.ok_or(ShelfError::Unknown)?;
        Ok(self.open(&key, &noted)?)
            .and_then(|placed| if is_meant(&placed.webhook) { Ok(placed) } else { Err(ShelfError::Unknown) })
    }

    /// Keeps a new one, durably.
    pub async fn add(&self, webhook: Webhook) -> Result<Placed, ShelfError> {
        if self.live.count(&webhook.tenant) >= MOST {
            return Err(ShelfError::TooMany);
        }
        let mut webhook = webhook;
        follow(None, &mut webhook, self.now());
        self.put(webhook, Some(0)).await
    }

    /// Changes one, durably; with `expect` only the version that is named.
    pub async fn change<E: From<ShelfError>>(
        &self,
        (id, tenant): (&str, Option<&Tenant>),
        expect: Option<u64>,
        change: impl Fn(&mut Webhook) -> Result<(), E>,
    ) -> Result<Placed, E> {
        for _ in 0..TRIES {
            let before = self.one(id, tenant).await?;
            let mut webhook = before.webhook.clone();
            let version = before.version.ok_or(ShelfError::Fixed)?;
            if expect.is_some_and(|expect| expect != version) {
                return Err(ShelfError::Changed.into());
            }
            change(&mut webhook)?;
            follow(Some(&before.webhook), &mut webhook, self.now());
            match self.put(webhook, Some(version)).await {
                Err(ShelfError::Changed) if expect.is_none() => {}
                ended => return Ok(ended?),
            }
        }
        Err(ShelfError::Changed.into())
    }

    /// Forgets one, durably; with `expect` only the version that is named.
    pub async fn remove(
        &self,
        (id, tenant): (&str, Option<&Tenant>),
        expect: Option<u64>,
    ) -> Result<(), ShelfError> {
        let placed = self.one(id, tenant).await?;
        let version = placed.version.ok_or(ShelfError::Fixed)?;
        if expect.is_some_and(|expect| expect != version) {
            return Err(ShelfError::Changed);
        }
        self.spool.set_note(&key(id), None, expect).await?;
        self.live.remove(id);
        Ok(())
    }

    async fn put(&self, webhook: Webhook, expect: Option<u64>) -> Result<Placed, ShelfError> {
        let key = key(&webhook.id);
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|_| ShelfError::Sealed)?;
        let text = serde_json::to_vec(&webhook).map(Zeroizing::new).map_err(|_| ShelfError::Sealed)?;
        let sealed = self.key.as_ref().and_then(|seal| seal.seal(&key, nonce, &text));
        let sealed = Bytes::from(sealed.ok_or(ShelfError::Sealed)?);
        let octets = sealed.len();
        self.check_room(&webhook.id, octets)?;
        let version = self.spool.set_note(&key, Some(sealed), expect).await?;
        self.live.weigh(&webhook.id, octets);
        let placed = Placed { webhook, version: Some(version) };
        self.live.put(&placed);
        Ok(placed)
    }

    /// Notes how one fared: in memory at once, and on the disk together with all others, so
    /// that to test many costs no write for each.
    pub fn note(&self, webhook: &Webhook, change: impl FnOnce(&mut Fare)) {
        let id = webhook.lane_id();
        // It may have been deleted meanwhile.
        if self.live.subscribers.find(&id).is_some() {
            self.live.subscribers.note(&id, change);
        }
    }

    /// The same with what delivery has told of it since.
    fn fared(&self, mut placed: Placed) -> Placed {
        let webhook = &mut placed.webhook;
        let fare = self.live.subscribers.fare(&webhook.lane_id());
        let (taken, refused) = (&mut webhook.last_success_at, &mut webhook.last_failure_at);
        *taken = (*taken).max(fare.last_success_at).max(fare.test_success_at);
        *refused = (*refused).max(fare.last_failure_at).max(fare.test_failure_at);
        webhook.lost = fare.lost;
        placed
    }

    /// Whether a note may have so many octets.
    fn check_room(&self, id: &str, octets: usize) -> Result<(), ShelfError> {
        match octets {
            _ if octets > LARGEST => Err(ShelfError::TooLarge),
            _ if self.live.octets_beside(id) + octets > ALL => Err(ShelfError::Crowded),
            _ => Ok(()),
        }
    }

    fn open(&self, key: &str, noted: &Noted) -> Result<Placed, ShelfError> {
        let text = self.key.as_ref().and_then(|seal| seal.open(key, &noted.value));
        let webhook = text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(ShelfError::Sealed)?;
        Ok(self.fared(Placed { webhook, version: Some(noted.version) }))
    }
}

fn key(id: &str) -> String {
    format!("{KEYS}{id}")
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({} fixed)", self.fixed().len())
    }
}
