//! The catalog: an ordered view of the posts that live longer than a moment.
//!
//! It holds nothing that the log cannot rebuild, and is rebuilt at every start:
//! what an earlier process left on disk is never read, only removed. A fixed
//! number of entries is kept in [`memory`]; the backlog beyond that goes to
//! [`disk`], so that memory does not grow with it. Measured with 100,000 posts,
//! one at a time: memory takes 200 octets and well under a microsecond each,
//! sled 60 µs of processor time and, as its buffers outrun the disk, 2 KB. Posts that
//! are over and only kept have an eighth of it at most: nobody waits for them.
//!
//! When the disk part fails it is given up for good and [`Broken`] is answered
//! once: the caller then fills the catalog again from the log, all in memory.

mod disk;
mod listing;
mod memory;

use super::record::ALIGN;
use super::state::{Phase, State};
use crate::post::{MessageId, PostId, Timestamp};
use crate::tenant::Tenant;
use disk::OnDisk;
pub(super) use listing::{Filter, Listing};
use memory::InMemory;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The catalog has lost entries because its engine failed.
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

/// Where a post's chronicle stands, in few octets, because every waiting post has
/// one in memory. Segments are given up from the oldest on, so what
/// stands behind a post's own record outlives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot([u32; 2]);

impl Spot {
    /// The record at this octet of a segment.
    pub fn at(segment: u64, offset: u64) -> Spot {
        let short = |number: u64| u32::try_from(number).unwrap_or_default();
        Spot([short(segment), short(offset / ALIGN as u64)])
    }

    /// Segment and offset, unless nothing has happened yet.
    pub fn place(self) -> Option<(u64, u64)> {
        let Spot([segment, offset]) = self;
        (segment > 0).then(|| (u64::from(segment), u64::from(offset) * ALIGN as u64))
    }
}

/// What is known of a living post without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub place: Place,
    pub history: Spot,
    /// Hash of its ordering key; 0 without one.
    pub key: u64,
    pub lane: u32,
    pub priority: u8,
    /// The end that its message gave it.
    pub expires_at: Option<Timestamp>,
    /// An older post with its key comes first.
    pub is_blocked: bool,
    pub state: State,
}

/// What may end the time of a waiting post: two orders of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its age: the order is that of when that began.
    Age,
    /// What its message says.
    Own,
}

/// Where a post stands within one order of the catalog.
pub(super) enum Turn {
    /// Among those to be sent.
    Due(u32, Rank),
    /// Nowhere: it comes when an older one has ended.
    Blocked,
    /// Among the dead letters and the delivered, by when they are forgotten.
    Letter(Timestamp, PostId),
    /// Among the held, by since when they are.
    Held(Timestamp, PostId),
}

/// The smallest id, for ranges.
pub(super) const LEAST: PostId = PostId { message: MessageId(0), number: 0 };
/// The greatest id, for ranges.
pub(super) const GREATEST: PostId = PostId { message: MessageId(u64::MAX), number: u16::MAX };

/// Posts of a lane with the same ordering key: the lane and the hash of the key.
pub(super) type Line = (u32, u64);

/// The order of posts within a lane: priority, due time, id.
pub(super) type Rank = (u8, Timestamp, PostId);

impl Entry {
    pub fn rank(&self, id: PostId) -> Rank {
        (self.priority, self.state.due_at, id)
    }

    /// Where it stands in the order of those that end so, if it does.
    pub fn end(&self, end: End) -> Option<Timestamp> {
        match end {
            End::Age => Some(self.state.ages_from),
            // One that began anew has forgotten an end that was over.
            End::Own => self.expires_at.filter(|end| !self.state.is_anew || *end > self.state.ages_from),
        }
    }

    /// Its places in those orders, each with the number of the order.
    pub fn ends(&self, id: PostId) -> impl Iterator<Item = Rank> + use<> {
        let ends = [End::Age, End::Own].map(|end| self.end(end).map(|at| (end as u8, at, id)));
        ends.into_iter().flatten()
    }

    pub fn turn(&self, id: PostId) -> Turn {
        match self.state.phase {
            Phase::Waiting if self.is_blocked => Turn::Blocked,
            Phase::Waiting => Turn::Due(self.lane, self.rank(id)),
            Phase::DeadLetter | Phase::Shelved => Turn::Letter(self.state.due_at, id),
            Phase::Held => Turn::Held(self.state.due_at, id),
        }
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub message: MessageId,
    pub expires_at: Timestamp,
    pub place: Place,
}

/// Which part of memory is for posts that are over at most.
const LETTERS: usize = 8;

/// See the module.
pub(super) struct Catalog {
    memory: InMemory,
    /// Entries that memory may hold.
    capacity: usize,
    directory: PathBuf,
    /// Opened when memory is full for the first time.
    disk: Option<OnDisk>,
}

impl Catalog {
    /// An empty catalog that keeps `capacity` entries in memory and the others
    /// in `directory`; whatever stood there is removed.
    pub fn open(directory: &Path, capacity: usize) -> Catalog {
        if let Err(error) = disk::clear(directory) {
            tracing::warn!(%error, directory = %directory.display(), "the old catalog cannot be removed");
        }
        Catalog { memory: InMemory::default(), capacity, directory: directory.to_owned(), disk: None }
    }

    /// Takes in a post that it does not hold.
    pub fn insert(&mut self, id: PostId, entry: &Entry) -> Result<(), Broken> {
        let is_over = matches!(entry.turn(id), Turn::Letter(..));
        let is_crowded = is_over && self.memory.letters() >= self.capacity / LETTERS;
        let disk = if is_crowded { self.disk() } else { self.disk_for_more() };
        match disk {
            Some(disk) => {
                let inserted = disk.insert(id, entry);
                self.checked(inserted)
            }
            None => {
                self.memory.insert(id, *entry);
                Ok(())
            }
        }
    }

    /// Takes out a post.
    pub fn remove(&mut self, id: PostId, entry: &Entry) -> Result<(), Broken> {
        if !self.memory.remove(id)
            && let Some(disk) = &mut self.disk
        {
            let removed = disk.remove(id, entry);
            return self.checked(removed);
        }
        Ok(())
    }

    /// The post with this id, if the catalog holds it.
    pub fn entry(&mut self, id: PostId) -> Result<Option<Entry>, Broken> {
        if let Some(entry) = self.memory.entry(id) {
            return Ok(Some(entry));
        }
        let entry = self.disk.as_ref().map_or(Ok(None), |disk| disk.entry(id));
        self.checked(entry)
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
        let mut ranks = self.memory.waiting(lane, priority, until, max);
        let more = self.disk.as_ref().map_or(Ok(Vec::new()), |disk| disk.waiting(lane, priority, until, max));
        ranks.extend(self.checked(more)?);
        ranks.sort_unstable();
        ranks.truncate(max);
        Ok(ranks)
    }

    /// Up to `max` waiting posts of a lane whose time ends so by `until`, the first to
    /// end first, by their ranks.
    pub fn ending(&mut self, lane: u32, end: End, until: Timestamp, max: usize) -> Result<Vec<Rank>, Broken> {
        let mut ends = self.memory.ending(lane, end, until, max);
        let more = self.disk.as_ref().map_or(Ok(Vec::new()), |disk| disk.ending(lane, end, until, max));
        ends.extend(self.checked(more)?);
        ends.sort_unstable();
        ends.truncate(max);
        let mut ranks = Vec::with_capacity(ends.len());
        for (_, _, id) in ends {
            ranks.extend(self.entry(id)?.map(|entry| entry.rank(id)));
        }
        Ok(ranks)
    }

    /// Up to `max` posts that are over, to be forgotten by `until`, and posts that are
    /// held since `since` or longer.
    pub fn stale(&mut self, until: Timestamp, since: Timestamp, max: usize) -> Result<Vec<PostId>, Broken> {
        let mut stale = self.memory.stale(until, since, max);
        let more = self.disk.as_ref().map_or(Ok(Vec::new()), |disk| disk.stale(until, since, max));
        stale.extend(self.checked(more)?);
        Ok(stale)
    }

    /// The newest `most` posts older than `before` that fit, the newest first; ends early
    /// rather than look at very many.
    pub fn newest(&mut self, filter: &Filter, before: PostId, most: usize) -> Result<Listing, Broken> {
        let Listing { mut found, mut reached } = self.memory.newest(filter, before, most);
        let more =
            self.disk.as_ref().map_or(Ok(Listing::default()), |disk| disk.newest(filter, before, most));
        let more = self.checked(more)?;
        found.extend(more.found);
        // Only as far as both have looked.
        reached = reached.max(more.reached);
        found.retain(|(id, _)| reached.is_none_or(|reached| *id >= reached));
        found.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        if found.len() > most {
            found.truncate(most);
            reached = found.last().map(|(id, _)| *id);
        }
        Ok(Listing { found, reached })
    }

    /// Puts a post into the line of those with its ordering key.
    pub fn line_up(&mut self, line: Line, id: PostId) -> Result<(), Broken> {
        match self.disk_for_more() {
            Some(disk) => {
                let lined_up = disk.line_up(line, id);
                self.checked(lined_up)
            }
            None => {
                self.memory.line_up(line, id);
                Ok(())
            }
        }
    }

    /// Takes a post out of its line, where it may stand twice: it lines up again when
    /// its state changes, and memory may have been full only once.
    pub fn step_out(&mut self, line: Line, id: PostId) -> Result<(), Broken> {
        self.memory.step_out(line, id);
        let stepped_out = self.disk.as_ref().map_or(Ok(()), |disk| disk.step_out(line, id));
        self.checked(stepped_out)
    }

    /// The first of the line at or behind this place, with its line.
    pub fn first_from(&mut self, line: Line, id: PostId) -> Result<Option<(Line, PostId)>, Broken> {
        let first = self.memory.first_from(line, id);
        let other = self.disk.as_ref().map_or(Ok(None), |disk| disk.first_from(line, id));
        Ok(first.into_iter().chain(self.checked(other)?).min())
    }

    /// Remembers what an idempotency key stands for.
    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: Noted) -> Result<(), Broken> {
        let is_known = self.memory.noted(tenant, key).is_some();
        match self.disk_for_more() {
            Some(disk) if !is_known => {
                let kept = disk.note(tenant, key, &noted);
                self.checked(kept)
            }
            _ => {
                self.memory.note(tenant, key, noted);
                Ok(())
            }
        }
    }

    /// What an idempotency key stands for.
    pub fn noted(&mut self, tenant: &Tenant, key: &str) -> Result<Option<Noted>, Broken> {
        if let Some(noted) = self.memory.noted(tenant, key) {
            return Ok(Some(noted));
        }
        let noted = self.disk.as_ref().map_or(Ok(None), |disk| disk.noted(tenant, key));
        self.checked(noted)
    }

    /// Forgets idempotency keys that expired before `now`.
    pub fn drop_stale_notes(&mut self, now: Timestamp) -> Result<(), Broken> {
        self.memory.drop_stale_notes(now);
        let dropped = self.disk.as_ref().map_or(Ok(()), |disk| disk.drop_stale_notes(now));
        self.checked(dropped)
    }

    /// Drops what came in since it failed; all of that is in the log, too.
    pub fn empty(&mut self) {
        self.memory = InMemory::default();
    }

    /// Waits until the disk part has written its buffers: who adds much in a row
    /// must, or they grow without bound.
    pub fn catch_up(&mut self) -> Result<(), Broken> {
        let written = self.disk.as_ref().map_or(Ok(()), OnDisk::catch_up);
        self.checked(written)
    }

    /// The disk part, if the next entry belongs there.
    fn disk_for_more(&mut self) -> Option<&mut OnDisk> {
        if self.memory.len() < self.capacity { None } else { self.disk() }
    }

    /// The disk part, unless it failed.
    fn disk(&mut self) -> Option<&mut OnDisk> {
        if self.capacity == usize::MAX {
            return None;
        }
        if self.disk.is_none() {
            match OnDisk::open(&self.directory) {
                Ok(disk) => self.disk = Some(disk),
                Err(reason) => self.do_without_disk(&reason),
            }
        }
        self.disk.as_mut()
    }

    /// The answer of the disk part; a failure is its last.
    fn checked<T>(&mut self, answer: Result<T, String>) -> Result<T, Broken> {
        answer.map_err(|reason| {
            self.do_without_disk(&reason);
            self.memory = InMemory::default();
            Broken
        })
    }

    fn do_without_disk(&mut self, reason: &str) {
        tracing::error!(%reason, "the catalog on disk failed; the backlog is indexed in memory from now on");
        self.disk = None;
        self.capacity = usize::MAX;
    }
}

/// Where the catalog of a spool is.
pub(super) fn directory_in(spool: &Path) -> PathBuf {
    spool.join("catalog")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
