//! The catalog: an ordered map on disk for what lives longer than a moment.
//!
//! It holds nothing that the log cannot rebuild, and is rebuilt at every start:
//! sled 0.34 loses what it acknowledged when the power goes, so what an earlier
//! process left in its directory is never read, only removed. What it gives is
//! that memory does not grow with the backlog. A sled that fails, also by
//! panicking, is given up for a map in memory and [`Broken`] is answered once:
//! the caller then fills the map again from the log.
//!
//! Keys, all integers big endian so that they sort:
//!
//! ```text
//! d lane priority due message number   a waiting post            → nothing
//! x due message number                 a dead letter             → nothing
//! p message number                     any post in the catalog   → Entry
//! k tenant 0 key                       an idempotency key        → Noted
//! ```

use super::record::{Phase, State};
use crate::post::{MessageId, PostId, Timestamp};
use crate::tenant::Tenant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Octets sled may keep in memory; the least it works well with.
const CACHE: u64 = 4 << 20;

/// The catalog has been emptied because its engine failed.
#[derive(Debug)]
pub(super) struct Broken;

/// Where the record of a post is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Segment number.
    pub segment: u64,
    /// Octet of the segment at which the record begins.
    pub offset: u64,
    /// Octets of the record that are this post's share: what it keeps alive.
    pub share: u32,
}

/// What is known of a living post without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub place: Place,
    pub lane: u32,
    pub priority: u8,
    pub state: State,
}

/// The order of posts within a lane: priority, due time, id.
pub(super) type Rank = (u8, Timestamp, PostId);

impl Entry {
    pub fn rank(&self, id: PostId) -> Rank {
        (self.priority, self.state.due_at, id)
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub message: MessageId,
    pub expires_at: Timestamp,
    pub place: Place,
}

/// A change of one key.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// Changes that become visible together.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, id: PostId, entry: &Entry) {
        self.0.push((order_key(id, entry), Some(Vec::new())));
        self.0.push((post_key(id), postcard::to_stdvec(entry).ok()));
    }

    pub fn remove(&mut self, id: PostId, entry: &Entry) {
        self.0.push((order_key(id, entry), None));
        self.0.push((post_key(id), None));
    }

    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: Option<&Noted>) {
        let value = noted.and_then(|noted| postcard::to_stdvec(noted).ok());
        self.0.push((note_key(tenant, key), value));
    }
}

/// The map and its engine.
pub(super) enum Catalog {
    /// On disk; the tree keeps the database open.
    Sled { tree: sled::Db },
    /// In memory, after sled failed.
    Memory(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Catalog {
    /// An empty catalog in `directory`; whatever stood there is removed. When
    /// sled cannot be opened the catalog is in memory, and says so.
    pub fn open(directory: &Path) -> Catalog {
        match open_sled(directory) {
            Ok(tree) => Catalog::Sled { tree },
            Err(reason) => {
                tracing::error!(%reason, directory = %directory.display(), "no catalog on disk; deferred posts are indexed in memory");
                Catalog::Memory(BTreeMap::new())
            }
        }
    }

    /// Applies changes all at once.
    pub fn apply(&mut self, changes: Changes) -> Result<(), Broken> {
        self.work(|engine| match engine {
            Catalog::Sled { tree } => {
                let mut batch = sled::Batch::default();
                for (key, value) in changes.0 {
                    match value {
                        Some(value) => batch.insert(key, value),
                        None => batch.remove(key),
                    }
                }
                tree.apply_batch(batch)
            }
            Catalog::Memory(map) => {
                for (key, value) in changes.0 {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
                Ok(())
            }
        })
    }

    /// The post with this id, if the catalog holds it.
    pub fn entry(&mut self, id: PostId) -> Result<Option<Entry>, Broken> {
        let value = self.value(&post_key(id))?;
        Ok(value.and_then(|value| postcard::from_bytes(&value).ok()))
    }

    /// What an idempotency key stands for.
    pub fn noted(&mut self, tenant: &Tenant, key: &str) -> Result<Option<Noted>, Broken> {
        let value = self.value(&note_key(tenant, key))?;
        Ok(value.and_then(|value| postcard::from_bytes(&value).ok()))
    }

    /// Up to `max` waiting posts of a lane with this priority that are due by
    /// `until`, in their order.
    pub fn waiting(
        &mut self,
        lane: u32,
        priority: u8,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<Rank>, Broken> {
        let mut start = vec![b'd'];
        start.extend_from_slice(&lane.to_be_bytes());
        start.push(priority);
        let end = [start.as_slice(), &until.0.saturating_add(1).to_be_bytes()].concat();
        let keys = self.keys(start, end, max)?;
        Ok(keys.iter().filter_map(|key| Some((priority, time_at(key, 6)?, id_at(key, 14)?))).collect())
    }

    /// Up to `max` dead letters whose time is over by `until`.
    pub fn stale_letters(&mut self, until: Timestamp, max: usize) -> Result<Vec<PostId>, Broken> {
        let end = [b"x".as_slice(), &until.0.saturating_add(1).to_be_bytes()].concat();
        let keys = self.keys(b"x".to_vec(), end, max)?;
        Ok(keys.iter().filter_map(|key| id_at(key, 9)).collect())
    }

    /// Forgets idempotency keys that expired before `now`.
    pub fn drop_stale_notes(&mut self, now: Timestamp) -> Result<(), Broken> {
        let stale = self.work(|engine| {
            let is_stale = |value: &[u8]| {
                postcard::from_bytes::<Noted>(value).map_or(true, |noted| noted.expires_at <= now)
            };
            match engine {
                Catalog::Sled { tree } => {
                    let pairs = tree.scan_prefix(b"k");
                    let stale = pairs.filter(|pair| pair.as_ref().map_or(true, |(_, value)| is_stale(value)));
                    stale.map(|pair| pair.map(|(key, _)| key.to_vec())).collect::<Result<Vec<_>, _>>()
                }
                Catalog::Memory(map) => {
                    let pairs = map.range(b"k".to_vec()..b"l".to_vec());
                    Ok(pairs.filter(|(_, value)| is_stale(value)).map(|(key, _)| key.clone()).collect())
                }
            }
        })?;
        self.apply(Changes(stale.into_iter().map(|key| (key, None)).collect()))
    }

    fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.work(|engine| match engine {
            Catalog::Sled { tree } => Ok(tree.get(key)?.map(|value| value.to_vec())),
            Catalog::Memory(map) => Ok(map.get(key).cloned()),
        })
    }

    fn keys(&mut self, start: Vec<u8>, end: Vec<u8>, max: usize) -> Result<Vec<Vec<u8>>, Broken> {
        self.work(|engine| match engine {
            Catalog::Sled { tree } => {
                tree.range(start..end).keys().take(max).map(|key| key.map(|key| key.to_vec())).collect()
            }
            Catalog::Memory(map) => Ok(map.range(start..end).take(max).map(|(key, _)| key.clone()).collect()),
        })
    }

    /// Runs one operation; an engine that fails or panics is replaced by an
    /// empty map.
    fn work<T>(&mut self, operation: impl FnOnce(&mut Catalog) -> sled::Result<T>) -> Result<T, Broken> {
        let outcome = catch_unwind(AssertUnwindSafe(|| operation(self)));
        let reason = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        tracing::error!(%reason, "the catalog failed; deferred posts are indexed in memory from now on");
        let broken = std::mem::replace(self, Catalog::Memory(BTreeMap::new()));
        // Its destructor may panic as well, for the same reason.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        Err(Broken)
    }
}

/// Moves aside nothing and trusts nothing: an old catalog is removed.
fn open_sled(directory: &Path) -> Result<sled::Db, String> {
    clear(directory).map_err(|error| error.to_string())?;
    let config = sled::Config::default().path(directory).cache_capacity(CACHE).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked on opening".to_owned()),
    }
}

fn clear(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(entry) if entry.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where the catalog of a spool is.
pub(super) fn directory_in(spool: &Path) -> PathBuf {
    spool.join("catalog")
}

fn order_key(id: PostId, entry: &Entry) -> Vec<u8> {
    let due = entry.state.due_at.0.to_be_bytes();
    let mut key = match entry.state.phase {
        Phase::Waiting => {
            let mut key = vec![b'd'];
            key.extend_from_slice(&entry.lane.to_be_bytes());
            key.push(entry.priority);
            key
        }
        Phase::DeadLetter => vec![b'x'],
    };
    key.extend_from_slice(&due);
    push_id(&mut key, id);
    key
}

fn post_key(id: PostId) -> Vec<u8> {
    let mut key = vec![b'p'];
    push_id(&mut key, id);
    key
}

fn note_key(tenant: &Tenant, key: &str) -> Vec<u8> {
    [b"k", tenant.as_str().as_bytes(), b"\0", key.as_bytes()].concat()
}

fn push_id(key: &mut Vec<u8>, id: PostId) {
    key.extend_from_slice(&id.message.0.to_be_bytes());
    key.extend_from_slice(&id.number.to_be_bytes());
}

fn time_at(key: &[u8], at: usize) -> Option<Timestamp> {
    Some(Timestamp(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?)))
}

fn id_at(key: &[u8], at: usize) -> Option<PostId> {
    let message = MessageId(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
    let number = u16::from_be_bytes(key.get(at + 8..at + 10)?.try_into().ok()?);
    Some(PostId { message, number })
}
