//! The part of the catalog that is on disk: rows in sorted runs, see [`super::runs`].
//!
//! Nothing is ever read back from an earlier process. A row that cannot be read as it was
//! written is a failure, and the last answer.

use super::merge::Merge;
use super::rows::{self, NO_PRIORITY, Standing, id_key};
use super::run::Run;
use super::runs::{Row, Runs, end_all};
use super::{End, Entry, Filter, Line, Listing, Noted, Rank, Turn};
use crate::post::{PostId, Timestamp};
use crate::tenant::Tenant;
use std::cmp::Reverse;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rows of each kind that stay in memory, at most.
const ROOM: usize = 16 * 1024;
/// Part of what the catalog keeps in memory that may be rows beside it.
const PART: usize = 8;
/// Entries that a listing looks at in one go.
const LOOKS: usize = 4000;
/// Lanes that are listed one by one at most, and posts of them.
const LANES: usize = 64;
const OF_LANES: usize = 2000;
/// How long after a merge that could not be written the next one is tried.
const REST: Duration = Duration::from_secs(10);
/// Expired idempotency keys of a run that are dropped in one go.
const STALE: usize = 500;
/// Rows that ended while they were merged, up to which they end while others wait.
const FEW: usize = 1000;

/// See the module.
pub(super) struct OnDisk {
    directory: PathBuf,
    posts: Runs,
    ids: Runs,
    orders: Runs,
    notes: Runs,
    /// Keys of strangers become hashes that they cannot foresee.
    seeds: [RandomState; 2],
    /// There may be something to merge.
    is_ripe: bool,
    /// Nothing is merged before.
    rests_until: Option<Instant>,
}

/// Runs that nobody needs any more.
pub(in crate::spool) struct Spent(#[expect(dead_code, reason = "dropped, and nothing else")] Vec<Run>);

/// A merge of rows of one kind.
pub(in crate::spool) struct Chore {
    kind: usize,
    merge: Merge,
    made: Option<Run>,
}

impl Chore {
    /// Does it, or puts it off when there is no room to write; needs nobody else meanwhile.
    /// Blocks.
    pub fn carry_out(&mut self) -> io::Result<()> {
        match self.merge.carry_out()? {
            Ok(run) => self.made = Some(run),
            Err(reason) => tracing::warn!(%reason, "the catalog cannot be merged now; it is tried again"),
        }
        Ok(())
    }

    /// Ends rows that went meanwhile.
    pub fn end_all(&mut self, gone: &[Row]) -> io::Result<()> {
        self.made.as_mut().map_or(Ok(()), |run| end_all(run, gone))
    }
}

impl OnDisk {
    /// Nothing, in `directory`, which must not be there; beside a memory of so many entries.
    pub fn open(directory: &Path, capacity: usize) -> Result<OnDisk, String> {
        let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
        made.map_err(|error| error.to_string())?;
        let room = (capacity / PART).min(ROOM);
        Ok(OnDisk {
            directory: directory.to_owned(),
            posts: Runs::new(rows::POSTS, room),
            ids: Runs::new(rows::IDS, room),
            orders: Runs::new(rows::ORDERS, room),
            notes: Runs::new(rows::NOTES, room),
            seeds: Default::default(),
            is_ripe: false,
            rests_until: None,
        })
    }

    pub fn insert(&mut self, id: PostId, entry: &Entry) -> io::Result<()> {
        self.is_ripe |= self.posts.insert(rows::post_row(id, entry))?;
        self.is_ripe |= self.ids.insert(rows::id_row(id, entry))?;
        if let Some(row) = timed_row(id, entry) {
            self.is_ripe |= self.orders.insert(row)?;
        }
        Ok(())
    }

    pub fn remove(&mut self, id: PostId, entry: &Entry) -> io::Result<()> {
        self.is_ripe |= self.posts.remove(&rows::post_key(id, entry))?;
        self.is_ripe |= self.ids.remove(&id_key(id))?;
        if let Some(row) = timed_row(id, entry) {
            self.is_ripe |= self.orders.remove(&row)?;
        }
        Ok(())
    }

    pub fn entry(&self, id: PostId) -> io::Result<Option<Entry>> {
        let row = self.ids.row(&id_key(id))?;
        let standing = row.map(|row| rows::standing_in(&row).ok_or_else(unreadable)).transpose()?;
        standing.map(|standing| self.entry_at(&standing)).transpose()
    }

    fn entry_at(&self, standing: &Standing) -> io::Result<Entry> {
        let row = self.posts.row(&standing.key)?.ok_or_else(unreadable)?;
        Ok(post_in(&row)?.1)
    }

    pub fn waiting(
        &self,
        lane: u32,
        priority: u8,
        until: Timestamp,
        max: usize,
    ) -> io::Result<Vec<(Rank, Entry)>> {
        let from = rows::due_key(lane, priority, Timestamp(0));
        let behind = rows::due_key(lane, priority, Timestamp(until.0.saturating_add(1)));
        let found = self.posts.first((&from, &behind), max)?;
        found.iter().map(|row| post_in(row).map(|(id, entry)| (entry.rank(id), entry))).collect()
    }

    pub fn ending(
        &mut self,
        lane: u32,
        end: End,
        until: Timestamp,
        max: usize,
    ) -> io::Result<Vec<(PostId, Entry)>> {
        let from = rows::due_key(lane, 0, Timestamp(0));
        let behind = rows::due_key(lane, NO_PRIORITY, Timestamp(0));
        let found = self.posts.ending((&from, &behind), (end as usize, until.0), max)?;
        found.iter().map(|row| post_in(row)).collect()
    }

    pub fn stale(&self, until: Timestamp, since: Timestamp, max: usize) -> io::Result<Vec<PostId>> {
        let by = |order: u8, at: Timestamp| {
            let behind = rows::timed_key(order, Timestamp(at.0.saturating_add(1)));
            self.orders.first((&[order], &behind), max)
        };
        let found = by(b'x', until)?.into_iter().chain(by(b'h', since)?);
        found.map(|row| rows::timed_in(&row).ok_or_else(unreadable)).collect()
    }

    pub fn newest(&self, filter: &Filter, before: PostId, most: usize) -> io::Result<Listing> {
        if let Some(mut found) = self.few(filter)? {
            found.retain(|(id, entry)| *id < before && filter.fits(entry));
            found.sort_unstable_by_key(|(id, _)| Reverse(*id));
            let reached = found.get(most).and(found.get(most.saturating_sub(1))).map(|(id, _)| *id);
            found.truncate(most);
            return Ok(Listing { found, reached });
        }
        let rows = self.ids.last(&id_key(before), LOOKS)?;
        let mut found = Vec::new();
        for (looked, row) in rows.iter().enumerate() {
            let standing = rows::standing_in(row).ok_or_else(unreadable)?;
            if filter.fits_row(standing.lane, standing.seen) {
                found.push((standing.id, self.entry_at(&standing)?));
            }
            if found.len() >= most || looked + 1 == LOOKS {
                return Ok(Listing { found, reached: Some(standing.id) });
            }
        }
        Ok(Listing { found, reached: None })
    }

    /// All posts of the lanes and states that are meant, if they are few.
    fn few(&self, filter: &Filter) -> io::Result<Option<Vec<(PostId, Entry)>>> {
        let Some(lanes) = filter.lanes.as_ref().filter(|lanes| lanes.len() <= LANES) else { return Ok(None) };
        let mut found = Vec::new();
        for (lane, states) in lanes {
            let mut turns: Vec<_> = states.iter().map(|state| rows::turns_of(*state)).collect();
            turns.dedup();
            for (from, behind) in turns {
                let from = rows::due_key(*lane, from, Timestamp(0));
                let behind = rows::due_key(*lane, behind, Timestamp(0));
                let rows = self.posts.first((&from, &behind), OF_LANES + 1 - found.len())?;
                found.extend(rows.iter().map(|row| post_in(row)).collect::<io::Result<Vec<_>>>()?);
                if found.len() > OF_LANES {
                    return Ok(None);
                }
            }
        }
        Ok(Some(found))
    }

    pub fn line_up(&mut self, line: Line, id: PostId) -> io::Result<()> {
        let row = rows::line_row(line, id);
        // It may stand there already.
        self.is_ripe |= self.orders.remove(&row)?;
        self.is_ripe |= self.orders.insert(row)?;
        Ok(())
    }

    pub fn step_out(&mut self, line: Line, id: PostId) -> io::Result<()> {
        self.is_ripe |= self.orders.remove(&rows::line_row(line, id))?;
        Ok(())
    }

    pub fn first_from(&self, line: Line, id: PostId) -> io::Result<Option<(Line, PostId)>> {
        let first = self.orders.first((&rows::line_row(line, id), b"p"), 1)?;
        first.first().map(|row| rows::line_in(row).ok_or_else(unreadable)).transpose()
    }

    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: &Noted) -> io::Result<()> {
        let key = self.note_key(tenant, key);
        self.is_ripe |= self.notes.remove(&key)?;
        self.is_ripe |= self.notes.insert(rows::note_row(key, noted))?;
        Ok(())
    }

    pub fn noted(&self, tenant: &Tenant, key: &str) -> io::Result<Option<Noted>> {
        let row = self.notes.row(&self.note_key(tenant, key))?;
        row.map(|row| rows::note_in(&row).ok_or_else(unreadable)).transpose()
    }

    /// Whether there may be more of them.
    pub fn drop_stale_notes(&mut self, now: Timestamp) -> io::Result<bool> {
        let stale = self.notes.ending((&[], &[u8::MAX; 17]), (0, now.0), STALE)?;
        for row in &stale {
            self.is_ripe |= self.notes.remove(rows::NOTES.key(row))?;
        }
        Ok(stale.len() >= STALE)
    }

    fn note_key(&self, tenant: &Tenant, key: &str) -> [u8; 16] {
        let [one, other] = &self.seeds;
        let [one, other] = [one, other].map(|seed| u128::from(seed.hash_one((tenant.as_str(), key))));
        (one << 64 | other).to_be_bytes()
    }

    /// Whether there may be something to merge since this was asked last.
    pub fn is_ripe(&mut self) -> bool {
        std::mem::take(&mut self.is_ripe)
    }

    /// Whether who adds much should wait until it is merged.
    pub fn is_behind(&self) -> bool {
        [&self.posts, &self.ids, &self.orders, &self.notes].into_iter().any(Runs::is_behind)
    }

    fn kinds(&mut self) -> [&mut Runs; 4] {
        [&mut self.posts, &mut self.ids, &mut self.orders, &mut self.notes]
    }

    /// Something to merge, if there is.
    pub fn chore(&mut self) -> Option<Chore> {
        if self.rests_until.is_some_and(|end| Instant::now() < end) {
            return None;
        }
        let directory = self.directory.clone();
        let mut kinds = self.kinds().into_iter().enumerate();
        kinds.find_map(|(kind, runs)| Some(Chore { kind, merge: runs.merge(&directory)?, made: None }))
    }

    /// Takes in what was merged, unless many rows went meanwhile: those are handed back, to
    /// be ended without others waiting for that.
    pub fn finish(&mut self, mut chore: Chore) -> io::Result<Option<(Chore, Vec<Row>)>> {
        let Some(runs) = self.kinds().into_iter().nth(chore.kind) else { return Ok(None) };
        if chore.made.is_none() {
            runs.put_off();
            self.rests_until = Some(Instant::now() + REST);
            return Ok(None);
        }
        let gone = runs.gone();
        if gone.len() > FEW {
            return Ok(Some((chore, gone)));
        }
        chore.end_all(&gone)?;
        chore.made.into_iter().for_each(|run| runs.merged(run));
        Ok(None)
    }

    /// What is to be dropped without others waiting for that.
    pub fn spent(&mut self) -> Spent {
        Spent(self.kinds().into_iter().flat_map(Runs::spent).collect())
    }
}

/// The row of one that is over or held.
fn timed_row(id: PostId, entry: &Entry) -> Option<Row> {
    match entry.turn(id) {
        Turn::Due(..) | Turn::Blocked => None,
        Turn::Letter(at, id) => Some(rows::timed_row(b'x', at, id)),
        Turn::Held(at, id) => Some(rows::timed_row(b'h', at, id)),
    }
}

fn post_in(row: &[u8]) -> io::Result<(PostId, Entry)> {
    rows::post_in(row).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::other("a row is not what it was")
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
