//! Where webhooks are: those of the configuration, which nobody changes here, and those
//! that were made through the API, each sealed in a note of the spool.
//!
//! A note's version is the webhook's: who changes one can say which he has seen.

use super::SealKey;
use super::webhook::Webhook;
use crate::post::Timestamp;
use crate::spool::{Noted, Spool, SpoolError};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// How the keys of their notes begin.
const KEYS: &str = "webhook/";
/// Most webhooks of one tenant: all notes are one file.
const MOST: usize = 1000;
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
    key: Option<SealKey>,
    fixed: RwLock<Arc<[Webhook]>>,
}

impl Shelf {
    /// The webhooks in this spool; without a key none can be made.
    pub fn new(spool: Arc<dyn Spool>, key: Option<SealKey>) -> Shelf {
        Shelf { spool, key, fixed: RwLock::new(Arc::from([])) }
    }

    /// Puts those of another configuration in the place of those that were.
    pub fn fix(&self, fixed: Vec<Webhook>) {
        *self.fixed.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(fixed);
    }

    fn fixed(&self) -> Arc<[Webhook]> {
        Arc::clone(&self.fixed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of a tenant, or of all: those of the configuration first, the others as they
    /// were made. One that cannot be opened is left out, and said.
    pub async fn all(&self, tenant: Option<&Tenant>) -> Result<Vec<Placed>, ShelfError> {
        let fixed = self.fixed();
        let fixed = fixed.iter().map(|webhook| Placed { webhook: webhook.clone(), version: None });
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
            let placed = Placed { webhook: webhook.clone(), version: None };
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
        let others = self.all(Some(&webhook.tenant)).await?;
        if others.iter().filter(|placed| placed.version.is_some()).count() >= MOST {
            return Err(ShelfError::TooMany);
        }
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
            let Placed { mut webhook, version } = self.one(id, tenant).await?;
            let version = version.ok_or(ShelfError::Fixed)?;
            if expect.is_some_and(|expect| expect != version) {
                return Err(ShelfError::Changed.into());
            }
            change(&mut webhook)?;
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
        Ok(())
    }

    async fn put(&self, webhook: Webhook, expect: Option<u64>) -> Result<Placed, ShelfError> {
        let key = key(&webhook.id);
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|_| ShelfError::Sealed)?;
        let text = serde_json::to_vec(&webhook).map_err(|_| ShelfError::Sealed)?;
        let sealed = self.key.as_ref().and_then(|seal| seal.seal(&key, nonce, &text));
        let sealed = Bytes::from(sealed.ok_or(ShelfError::Sealed)?);
        let version = self.spool.set_note(&key, Some(sealed), expect).await?;
        Ok(Placed { webhook, version: Some(version) })
    }

    fn open(&self, key: &str, noted: &Noted) -> Result<Placed, ShelfError> {
        let text = self.key.as_ref().and_then(|seal| seal.open(key, &noted.value));
        let webhook = text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(ShelfError::Sealed)?;
        Ok(Placed { webhook, version: Some(noted.version) })
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
