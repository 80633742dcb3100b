//! The part of the catalog that is on disk: sled 0.34.
//!
//! sled loses what it acknowledged when the power goes, which is why nothing is
//! ever read back from an earlier process. It may also panic; every call is
//! caught and answered as a failure.
//!
//! Keys, all integers big endian so that they sort:
//!
//! ```text
//! d lane priority due message number   a waiting post       → nothing
//! e lane end at message number         the same, by its ends → nothing
//! x due message number                 one that is over     → nothing
//! h since message number               a held post          → nothing
//! o lane key message number            one of its line      → nothing
//! l lane state message number          any post, to list it → nothing
//! p message number                     any post             → Entry
//! k tenant 0 key                       an idempotency key   → Noted
//! ```

use super::{End, Entry, Filter, Line, Listing, Noted, Rank, Turn};
use crate::post::{MessageId, PostId, Timestamp};
use crate::spool::PostState;
use crate::tenant::Tenant;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Octets sled may keep in memory.
const CACHE: u64 = 4 << 20;

/// Keys that are read at most to list lanes one by one; more are found faster among all
/// posts.
const FEW: usize = 10_000;

/// Entries that a listing of all posts looks at in one go.
const LOOKS: usize = 2000;

/// An open database.
pub(super) struct OnDisk {
    tree: sled::Db,
}

impl OnDisk {
    /// An empty database in `directory`, which must not be there.
    pub fn open(directory: &Path) -> Result<OnDisk, String> {
        let config = sled::Config::default().path(directory).cache_capacity(CACHE).flush_every_ms(None);
        let tree = caught(|| config.open())?;
        if tree.was_recovered() {
            return Err("an old catalog could not be removed".to_owned());
        }
        Ok(OnDisk { tree })
    }

    pub fn insert(&self, id: PostId, entry: &Entry) -> Result<(), String> {
        let value = postcard::to_stdvec(entry).map_err(|error| error.to_string())?;
        let mut batch = sled::Batch::default();
        turn_keys(id, entry).into_iter().for_each(|key| batch.insert(key, Vec::new()));
        batch.insert(list_key(entry.lane, entry.state.seen(), id), Vec::new());
        batch.insert(post_key(id), value);
        caught(|| self.tree.apply_batch(batch))
    }

    pub fn remove(&self, id: PostId, entry: &Entry) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        turn_keys(id, entry).into_iter().for_each(|key| batch.remove(key));
        batch.remove(list_key(entry.lane, entry.state.seen(), id));
        batch.remove(post_key(id));
        caught(|| self.tree.apply_batch(batch))
    }

    pub fn entry(&self, id: PostId) -> Result<Option<Entry>, String> {
        self.value(&post_key(id))
    }

    pub fn waiting(
        &self,
        lane: u32,
        priority: u8,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<Rank>, String> {
        self.first(b'd', lane, priority, until, max)
    }

    pub fn ending(&self, lane: u32, end: End, until: Timestamp, max: usize) -> Result<Vec<Rank>, String> {
        self.first(b'e', lane, end as u8, until, max)
    }

    /// The first keys of a lane's part of an order.
    fn first(
        &self,
        order: u8,
        lane: u32,
        part: u8,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<Rank>, String> {
        let start = [&[order][..], &lane.to_be_bytes(), &[part]].concat();
        let end = [start.as_slice(), &until.0.saturating_add(1).to_be_bytes()].concat();
        let keys = self.keys(start, end, max)?;
        Ok(keys.iter().filter_map(|key| Some((part, time_at(key, 6)?, id_at(key, 14)?))).collect())
    }

    pub fn stale(&self, until: Timestamp, since: Timestamp, max: usize) -> Result<Vec<PostId>, String> {
        let behind =
            |prefix: u8, at: Timestamp| [&[prefix][..], &at.0.saturating_add(1).to_be_bytes()].concat();
        let mut keys = self.keys(b"x".to_vec(), behind(b'x', until), max)?;
        keys.extend(self.keys(b"h".to_vec(), behind(b'h', since), max)?);
        Ok(keys.iter().filter_map(|key| id_at(key, 9)).collect())
    }

    pub fn newest(&self, filter: &Filter, before: PostId, most: usize) -> Result<Listing, String> {
        let lists = |lanes: &HashMap<u32, Vec<PostState>>| lanes.values().map(Vec::len).sum::<usize>();
        let few = |lanes: &&HashMap<u32, Vec<PostState>>| lists(lanes).saturating_mul(most) <= FEW;
        let Some(lanes) = filter.lanes.as_ref().filter(few) else {
            let older = self.tree.range(vec![b'p']..post_key(before)).rev();
            let read = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                let read = |(key, value): (sled::IVec, sled::IVec)| {
                    Some((id_at(&key, 1)?, postcard::from_bytes(&value).ok()?))
                };
                pair.map(read).transpose()
            };
            return caught(|| Listing::of(older.filter_map(read), filter, (most, LOOKS)));
        };
        let mut ids = Vec::new();
        for (lane, states) in lanes {
            for state in states {
                let first = list_key(*lane, *state, super::LEAST);
                let range = self.tree.range(first..list_key(*lane, *state, before)).keys().rev().take(most);
                let keys: Vec<_> = caught(|| range.collect())?;
                ids.extend(keys.iter().filter_map(|key: &sled::IVec| id_at(key, 6)));
            }
        }
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.truncate(most);
        let reached = ids.last().copied().filter(|_| ids.len() == most);
        let entries = ids.into_iter().map(|id| Ok(self.entry(id)?.map(|entry| (id, entry))));
        let found: Result<_, String> = entries.filter_map(Result::transpose).collect();
        Ok(Listing { found: found?, reached })
    }

    pub fn line_up(&self, line: Line, id: PostId) -> Result<(), String> {
        caught(|| self.tree.insert(line_key(line, id), Vec::new())).map(|_| ())
    }

    pub fn step_out(&self, line: Line, id: PostId) -> Result<(), String> {
        caught(|| self.tree.remove(line_key(line, id))).map(|_| ())
    }

    pub fn first_from(&self, line: Line, id: PostId) -> Result<Option<(Line, PostId)>, String> {
        let keys = self.keys(line_key(line, id), vec![b'o' + 1], 1)?;
        let read = |key: &sled::IVec| {
            let lane = u32::from_be_bytes(key.get(1..5)?.try_into().ok()?);
            Some(((lane, time_at(key, 5)?.0), id_at(key, 13)?))
        };
        Ok(keys.first().and_then(read))
    }

    pub fn note(&self, tenant: &Tenant, key: &str, noted: &Noted) -> Result<(), String> {
        let value = postcard::to_stdvec(noted).map_err(|error| error.to_string())?;
        caught(|| self.tree.insert(note_key(tenant, key), value)).map(|_| ())
    }

    pub fn noted(&self, tenant: &Tenant, key: &str) -> Result<Option<Noted>, String> {
        self.value(&note_key(tenant, key))
    }

    pub fn drop_stale_notes(&self, now: Timestamp) -> Result<(), String> {
        caught(|| {
            for pair in self.tree.scan_prefix(b"k") {
                let (key, value) = pair?;
                if postcard::from_bytes::<Noted>(&value).map_or(true, |noted| noted.expires_at <= now) {
                    self.tree.remove(key)?;
                }
            }
            Ok(())
        })
    }

    pub fn catch_up(&self) -> Result<(), String> {
        caught(|| self.tree.flush()).map(|_| ())
    }

    fn value<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, String> {
        let value = caught(|| self.tree.get(key))?;
        Ok(value.and_then(|value| postcard::from_bytes(&value).ok()))
    }

    fn keys(&self, start: Vec<u8>, end: Vec<u8>, max: usize) -> Result<Vec<sled::IVec>, String> {
        caught(|| self.tree.range(start..end).keys().take(max).collect())
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // Nothing of it is wanted any more; a panic on the way out helps nobody.
        let _ = caught(|| self.tree.clear());
    }
}

/// The answer of sled, or why there is none.
fn caught<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Removes what an earlier process left.
pub(super) fn clear(path: &Path) -> io::Result<()> {
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

fn turn_keys(id: PostId, entry: &Entry) -> Vec<Vec<u8>> {
    let ordered = |order: u8, lane: u32, (part, at, id): Rank| {
        timed([&[order][..], &lane.to_be_bytes(), &[part]].concat(), at, id)
    };
    match entry.turn(id) {
        Turn::Due(lane, rank) => {
            let ends = entry.ends(id).map(|end| ordered(b'e', lane, end));
            ends.chain([ordered(b'd', lane, rank)]).collect()
        }
        Turn::Blocked => Vec::new(),
        Turn::Letter(at, _) => vec![timed(vec![b'x'], at, id)],
        Turn::Held(at, _) => vec![timed(vec![b'h'], at, id)],
    }
}

fn timed(mut key: Vec<u8>, at: Timestamp, id: PostId) -> Vec<u8> {
    key.extend_from_slice(&at.0.to_be_bytes());
    push_id(&mut key, id);
    key
}

fn list_key(lane: u32, state: PostState, id: PostId) -> Vec<u8> {
    let mut key = vec![b'l'];
    key.extend_from_slice(&lane.to_be_bytes());
    key.push(state as u8);
    push_id(&mut key, id);
    key
}

fn line_key((lane, hash): Line, id: PostId) -> Vec<u8> {
    let mut key = vec![b'o'];
    key.extend_from_slice(&lane.to_be_bytes());
    key.extend_from_slice(&hash.to_be_bytes());
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
