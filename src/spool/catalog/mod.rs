//! The catalog: an ordered view of the posts that live longer than a moment.
//!
//! It holds nothing that the log cannot rebuild, and is rebuilt at every start:
//! what an earlier process left on disk is never read, only removed. A fixed
//! number of entries is kept in [`memory`]; the backlog beyond that goes to
//! [`disk`], so that memory does not grow with it. Memory takes 200 octets of each, the
//! disk a hundred and a few more of memory. Posts that are over and only kept have an
//! eighth of it at most: nobody waits for them.
//!
//! The disk part is merged by [`Chore`]s, which whoever rings for has carried out.
//!
//! When the disk part fails it is given up for good and [`Broken`] is answered
//! once: the caller then fills the catalog again from the log, all in memory.

mod disk;
mod entry;
mod listing;
mod live;
mod memory;
mod merge;
mod rows;
mod run;
mod runs;

use super::Earlier;
use crate::post::{PostId, Timestamp};
use crate::tenant::Tenant;
use disk::OnDisk;
pub(super) use disk::{Chore, Spent};
pub(super) use entry::{End, Entry, GREATEST, LEAST, Line, Place, Rank, Spot, Turn};
pub(super) use listing::{Filter, Listing};
use memory::InMemory;
use runs::Row;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

/// The catalog has lost entries because its engine failed.
#[derive(Debug)]
pub(super) struct Broken;

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub earlier: Earlier,
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
    /// Rung when there is a chore.
    bell: Option<SyncSender<()>>,
}

impl Catalog {
    /// An empty catalog that keeps `capacity` entries in memory and the others
    /// in `directory`; whatever stood there is removed.
    pub fn open(directory: &Path, capacity: usize) -> Catalog {
        if let Err(error) = disk::clear(directory) {
            tracing::warn!(%error, directory = %directory.display(), "the old catalog cannot be removed");
        }
        let (memory, directory) = (InMemory::default(), directory.to_owned());
        Catalog { memory, capacity, directory, disk: None, bell: None }
    }

    /// The same, which rings when there is a chore.
    pub fn ringing(self, bell: SyncSender<()>) -> Catalog {
        Catalog { bell: Some(bell), ..self }
    }

    /// Takes in a post that it does not hold.
    pub fn insert(&mut self, id: PostId, entry: &Entry) -> Result<(), Broken> {
        let is_over = matches!(entry.turn(id), Turn::Letter(..));
        let is_crowded = is_over && self.memory.letters() >= self.capacity / LETTERS;
        let disk = if is_crowded { self.disk() } else { self.disk_for_more() };
        match disk {
            Some(disk) => {
                let inserted = disk.insert(id, entry);
                self.changed(inserted)
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
            return self.changed(removed);
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
    ) -> Result<Vec<(Rank, Entry)>, Broken> {
        let mut found: Vec<_> = self.memory.waiting(lane, priority, until, max).collect();
        if let Some(disk) = &self.disk {
            let more = disk.waiting(lane, priority, until, max);
            found.extend(self.checked(more)?);
            found.sort_unstable_by_key(|(rank, _)| *rank);
            found.truncate(max);
        }
        Ok(found)
    }

    /// Up to `max` waiting posts of a lane whose time ends so by `until`, with their ranks.
    pub fn ending(
        &mut self,
        lane: u32,
        end: End,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<(Rank, Entry)>, Broken> {
        let mut found: Vec<_> = self.memory.ending(lane, end, until, max).collect();
        let more = self.disk.as_mut().map_or(Ok(Vec::new()), |disk| disk.ending(lane, end, until, max));
        found.extend(self.checked(more)?);
        found.sort_unstable_by_key(|(id, entry)| (entry.end(end), *id));
        found.truncate(max);
        Ok(found.into_iter().map(|(id, entry)| (entry.rank(id), entry)).collect())
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
                self.changed(lined_up)
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
        let stepped_out = self.disk.as_mut().map_or(Ok(()), |disk| disk.step_out(line, id));
        self.changed(stepped_out)
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
                self.changed(kept)
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

    /// Forgets idempotency keys that expired before `now`, some at a time; whether there
    /// may be more.
    pub fn drop_stale_notes(&mut self, now: Timestamp) -> Result<bool, Broken> {
        self.memory.drop_stale_notes(now);
        let dropped = self.disk.as_mut().map_or(Ok(false), |disk| disk.drop_stale_notes(now));
        self.changed(dropped)
    }

    /// Drops what came in since it failed; all of that is in the log, too.
    pub fn empty(&mut self) {
        self.memory = InMemory::default();
    }

    /// Whether who adds much in a row should have the chores done first.
    pub fn is_behind(&self) -> bool {
        self.disk.as_ref().is_some_and(OnDisk::is_behind)
    }

    /// Something to be done without holding up others, if there is; one at a time.
    pub fn chore(&mut self) -> Option<Chore> {
        self.disk.as_mut().and_then(OnDisk::chore)
    }

    /// Takes in what was done, or why it could not be. Hands it back with rows that are to
    /// be ended in it first, if those are many.
    pub fn finish(&mut self, done: io::Result<Chore>) -> Result<Option<(Chore, Vec<Row>)>, Broken> {
        let Some(disk) = &mut self.disk else { return Ok(None) };
        let finished = done.and_then(|chore| disk.finish(chore));
        self.checked(finished)
    }

    /// What is to be dropped without others waiting for that.
    pub fn spent(&mut self) -> Option<Spent> {
        self.disk.as_mut().map(OnDisk::spent)
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
            match OnDisk::open(&self.directory, self.capacity) {
                Ok(disk) => self.disk = Some(disk),
                Err(reason) => self.do_without_disk(&reason),
            }
        }
        self.disk.as_mut()
    }

    /// The answer of the disk part; a failure is its last.
    fn checked<T>(&mut self, answer: io::Result<T>) -> Result<T, Broken> {
        answer.map_err(|error| {
            self.do_without_disk(&error.to_string());
            self.memory = InMemory::default();
            Broken
        })
    }

    /// The same of a change, which may call for a chore.
    fn changed<T>(&mut self, answer: io::Result<T>) -> Result<T, Broken> {
        if let (Some(disk), Some(bell)) = (&mut self.disk, &self.bell)
            && disk.is_ripe()
        {
            // One that rings already is heard.
            let _ = bell.try_send(());
        }
        self.checked(answer)
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
