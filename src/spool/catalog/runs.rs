//! Rows in order, more than memory has room for: those that came last in memory, the
//! others in few sorted runs on disk.
//!
//! What came last becomes a run when there is much of it, and few such runs become one on
//! disk, along with those that are no larger than all behind them: so there are few, and a
//! row is written once more when their number doubles. Nothing is written for a row that
//! goes: it lives no more, and is left out by the next merge. Merging is a [`Merge`], for
//! a thread that holds nothing else up; rows that go meanwhile are remembered and ended
//! in what comes of it.

use super::merge::{Making, Merge};
use super::run::{Cursor, Ends, Layout, NEVER, Run, Way, visit};
use std::collections::BTreeSet;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

/// Runs in memory that make one on disk.
const PIECES: usize = 4;
/// A run of which not even this part lives is written anew.
const SPARSE: usize = 4;
/// Runs in memory from which on whoever adds rows should let them be merged first.
const BEHIND: usize = 4 * PIECES;

/// A row of its layout's length.
pub(super) type Row = Box<[u8]>;

/// See the module.
pub(super) struct Runs {
    layout: Layout,
    /// Rows that may come last.
    room: usize,
    fresh: BTreeSet<Row>,
    /// The least ends among them, at most.
    fresh_ends: Ends,
    /// The oldest first.
    runs: Vec<Run>,
    merging: Option<Merging>,
    /// Runs of which nothing lives any more, for who has the time to remove them.
    spent: Vec<Run>,
}

/// Runs that are becoming one.
struct Merging {
    first: usize,
    number: usize,
    /// Keys of rows that went meanwhile.
    gone: Vec<Row>,
}

impl Runs {
    /// No rows; as many as `room` stay in memory.
    pub fn new(layout: Layout, room: usize) -> Runs {
        Runs {
            layout,
            room,
            fresh: BTreeSet::new(),
            fresh_ends: NEVER,
            runs: Vec::new(),
            merging: None,
            spent: Vec::new(),
        }
    }

    /// Takes in a row whose key is not there; whether that is reason to merge.
    pub fn insert(&mut self, row: Row) -> io::Result<bool> {
        debug_assert_eq!(row.len(), self.layout.row, "all rows are alike");
        let ([one, other], [own, its]) = (self.fresh_ends, (self.layout.ends)(&row));
        self.fresh_ends = [one.min(own), other.min(its)];
        self.fresh.insert(row);
        if self.fresh.len() <= self.room {
            return Ok(false);
        }
        let mut making = Making::in_memory(self.layout);
        std::mem::take(&mut self.fresh).iter().try_for_each(|row| making.push(row))?;
        self.runs.push(making.finish()?);
        self.fresh_ends = NEVER;
        Ok(true)
    }

    /// Takes out what has this key; whether that is reason to merge.
    pub fn remove(&mut self, key: &[u8]) -> io::Result<bool> {
        if let Some(row) = self.fresh_row(key).cloned() {
            self.fresh.remove(&row);
        }
        let mut is_ripe = false;
        for (number, run) in self.runs.iter_mut().enumerate() {
            let Some(at) = run.find(key)? else { continue };
            let was_sparse = is_sparse(run);
            run.live.end(at);
            is_ripe |= run.live.count() == 0 || is_sparse(run) && !was_sparse;
            if let Some(merging) = self.merging.as_mut().filter(|merging| merging.takes(number)) {
                merging.gone.push(key.into());
            }
        }
        Ok(is_ripe)
    }

    /// The row with this key.
    pub fn row(&self, key: &[u8]) -> io::Result<Option<Row>> {
        if let Some(row) = self.fresh_row(key) {
            return Ok(Some(row.clone()));
        }
        for run in self.runs.iter().rev() {
            if let Some(at) = run.find(key)? {
                return run.row(at).map(Some);
            }
        }
        Ok(None)
    }

    fn fresh_row(&self, key: &[u8]) -> Option<&Row> {
        let from = self.fresh.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
        from.into_iter().next().filter(|row| row.starts_with(key))
    }

    /// The first `max` rows from one key to before another.
    pub fn first(&self, (from, to): (&[u8], &[u8]), max: usize) -> io::Result<Vec<Row>> {
        if from >= to || max == 0 {
            return Ok(Vec::new());
        }
        let fresh = self.fresh.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let mut found: Vec<Row> = fresh.take(max).cloned().collect();
        let cursors = self.runs.iter().map(|run| Cursor::from(run, from)).collect::<io::Result<_>>()?;
        let mut left = max;
        visit(cursors, Way::Up, |row| {
            if self.layout.key(row) >= to {
                return Ok(ControlFlow::Break(()));
            }
            found.push(row.into());
            Ok(one_less(&mut left))
        })?;
        found.sort_unstable();
        found.truncate(max);
        Ok(found)
    }

    /// The last `max` rows before a key, the last first.
    pub fn last(&self, before: &[u8], max: usize) -> io::Result<Vec<Row>> {
        let fresh = self.fresh.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(before)));
        let mut found: Vec<Row> = fresh.rev().take(max).cloned().collect();
        let cursors = self.runs.iter().map(|run| Cursor::before(run, before)).collect::<io::Result<_>>()?;
        let mut left = max;
        visit(cursors, Way::Down, |row| {
            found.push(row.into());
            Ok(one_less(&mut left))
        })?;
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(max);
        Ok(found)
    }

    /// Up to `max` rows of each run from one key to before another, of which this end
    /// comes by `until`.
    pub fn ending(
        &mut self,
        (from, to): (&[u8], &[u8]),
        (which, until): (usize, u64),
        max: usize,
    ) -> io::Result<Vec<Row>> {
        let comes = |ends: Ends| ends.get(which).is_some_and(|end| *end <= until);
        let mut found = Vec::new();
        if comes(self.fresh_ends) && from < to {
            let fresh = self.fresh.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
            found.extend(fresh.filter(|row| comes((self.layout.ends)(row))).take(max).cloned());
        }
        for run in &mut self.runs {
            found.extend(run.ending((from, to), (which, until), max)?);
        }
        Ok(found)
    }

    /// Whether so much waits to be merged that who adds rows should wait.
    pub fn is_behind(&self) -> bool {
        self.in_memory() > BEHIND
    }

    fn in_memory(&self) -> usize {
        self.runs.iter().filter(|run| run.is_in_memory()).count()
    }

    /// What is to be merged now, if anything is; in files of this directory.
    pub fn merge(&mut self, directory: &Path) -> Option<Merge> {
        if self.merging.is_some() {
            return None;
        }
        self.spent.extend(self.runs.extract_if(.., |run| run.live.count() == 0));
        let (first, number) = self.due()?;
        let runs = self.runs.get(first..first + number)?.to_vec();
        self.merging = Some(Merging { first, number, gone: Vec::new() });
        Some(Merge { runs, layout: self.layout, directory: directory.to_owned() })
    }

    /// Which runs should become one: the first and their number. When there are enough in
    /// memory they, and those before them that are no larger than all behind them.
    fn due(&self) -> Option<(usize, usize)> {
        let in_memory = self.in_memory();
        if in_memory < PIECES {
            return self.runs.iter().position(is_sparse).map(|number| (number, 1));
        }
        let (mut first, mut rows) = (self.runs.len(), 0);
        for (number, run) in self.runs.iter().enumerate().rev() {
            if !run.is_in_memory() && run.live.count() > rows {
                break;
            }
            (first, rows) = (number, rows + run.live.count());
        }
        Some((first, self.runs.len() - first))
    }

    /// Keys of rows that went since the last time while they were merged.
    pub fn gone(&mut self) -> Vec<Row> {
        self.merging.as_mut().map(|merging| std::mem::take(&mut merging.gone)).unwrap_or_default()
    }

    /// Takes in what came of a merge, and of which has ended what went meanwhile.
    pub fn merged(&mut self, run: Run) {
        if let Some(Merging { first, number, .. }) = self.merging.take() {
            self.spent.extend(self.runs.splice(first..first + number, [run]));
        }
    }

    /// Leaves the runs that were to be merged as they are.
    pub fn put_off(&mut self) {
        self.merging = None;
    }

    /// What is left of runs, to be dropped: a large file takes its time.
    pub fn spent(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.spent)
    }
}

impl Merging {
    fn takes(&self, run: usize) -> bool {
        (self.first..self.first + self.number).contains(&run)
    }
}

fn is_sparse(run: &Run) -> bool {
    run.live.count() * SPARSE < run.count
}

fn one_less(left: &mut usize) -> ControlFlow<()> {
    *left = left.saturating_sub(1);
    if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Ends these rows of a run.
pub(super) fn end_all(run: &mut Run, keys: &[Row]) -> io::Result<()> {
    for key in keys {
        if let Some(at) = run.find(key)? {
            run.live.end(at);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
