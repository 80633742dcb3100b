//! Lines: posts of a lane with the same ordering key go one after another.
//!
//! A line holds every post with its key that waits, is held or is in flight, by
//! id. Only its first one may be claimed, and only while none of the line is in
//! flight; all others are *blocked*: in the catalog, but not among those to be
//! sent. So a claim costs the same however long the line is. A dead letter has
//! left its line. While the log is read nothing of a line is claimed: an older
//! post may still turn up.

use super::super::catalog::{Entry, GREATEST, LEAST, Line};
use super::super::state::Phase;
use super::Index;
use crate::post::PostId;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The last line there can be.
const LAST: Line = (u32::MAX, u64::MAX);

/// What stands for an ordering key; never 0. Two keys that meet wait for each
/// other, no more.
pub(super) fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish().max(1)
}

impl Index {
    /// Puts a post that was filed as blocked into its line.
    pub(super) fn line_up(&mut self, id: PostId, entry: &Entry) {
        let line = (entry.lane, entry.key);
        let first = self.first_of(line).filter(|first| *first > id);
        let lined_up = self.catalog.line_up(line, id);
        self.intact(lined_up);
        if let Some(first) = first {
            self.block(first);
        }
        self.offer(line);
    }

    /// Takes a post out of its line, if it has one: the next one's time has come.
    pub(super) fn leave_line(&mut self, id: PostId, entry: &Entry) {
        if entry.key != 0 {
            let line = (entry.lane, entry.key);
            let stepped_out = self.catalog.step_out(line, id);
            self.intact(stepped_out);
            self.offer(line);
        }
    }

    /// Lets the first of a line be claimed, if it can be.
    fn offer(&mut self, line: Line) {
        if self.complete.is_none_or(|complete| line > complete) || self.busy.contains_key(&line) {
            return;
        }
        let Some(first) = self.first_of(line) else { return };
        let Some(mut entry) = self.cataloged(first) else { return };
        if entry.state.phase == Phase::Waiting {
            if entry.is_blocked {
                self.unshelve(first, &entry);
                entry.is_blocked = false;
                self.shelve(first, &entry);
            }
            self.ring(entry.lane, entry.state.due_at);
        }
    }

    /// Takes back what `offer` did.
    fn block(&mut self, id: PostId) {
        let offered = self.cataloged(id).filter(|entry| !entry.is_blocked);
        if let Some(mut entry) = offered {
            self.unshelve(id, &entry);
            entry.is_blocked = true;
            self.shelve(id, &entry);
        }
    }

    /// Says that up to `max` more lines are complete; whether all are.
    pub fn complete_lines(&mut self, max: usize) -> bool {
        for _ in 0..max {
            let (lane, key) = self.complete.unwrap_or((0, 0));
            let next = self.catalog.first_from((lane, key), GREATEST);
            // Who lost its catalog begins again when it is filled.
            let Some(next) = self.intact(next) else { return true };
            match next {
                Some((line, _)) => {
                    self.complete = Some(line);
                    self.offer(line);
                }
                None => {
                    self.complete = Some(LAST);
                    return true;
                }
            }
        }
        false
    }

    fn first_of(&mut self, line: Line) -> Option<PostId> {
        let first = self.catalog.first_from(line, LEAST);
        self.intact(first).flatten().filter(|(found, _)| *found == line).map(|(_, id)| id)
    }
}
