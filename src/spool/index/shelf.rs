//! Putting posts into the catalog and taking them out, counted by lane.

use super::super::catalog::Entry;
use super::{Fresh, Index, PRIORITIES};
use crate::post::PostId;

impl Index {
    /// Writes a post into the catalog, and into its line.
    pub(super) fn file(&mut self, id: PostId, mut entry: Entry) {
        let is_in_line = entry.key != 0 && entry.state.phase.is_in_line();
        entry.is_blocked = is_in_line;
        self.shelve(id, &entry);
        if is_in_line {
            self.line_up(id, &entry);
        }
    }

    /// Puts an entry into the catalog and counts it.
    pub(super) fn shelve(&mut self, id: PostId, entry: &Entry) {
        if let Some((_, lane)) = self.lanes.get_mut(&entry.lane) {
            *lane.number_of(entry) += 1;
            lane.priorities |= 1 << entry.priority.min(PRIORITIES - 1);
        }
        self.catalog(id, entry);
    }

    /// Takes an entry out of the catalog.
    pub(super) fn unshelve(&mut self, id: PostId, entry: &Entry) {
        if let Some((_, lane)) = self.lanes.get_mut(&entry.lane) {
            let number = lane.number_of(entry);
            *number = number.saturating_sub(1);
            if lane.cataloged == 0 {
                lane.priorities = 0;
            }
        }
        self.uncatalog(id, entry);
    }

    /// Takes a post out of wherever it is.
    pub(super) fn take(&mut self, id: PostId) -> Option<Entry> {
        if let Some(claimed) = self.in_flight.remove(&id) {
            let entry = claimed.entry;
            if let Some((_, lane)) = self.lanes.get_mut(&entry.lane) {
                lane.in_flight = lane.in_flight.saturating_sub(1);
            }
            if entry.key != 0 {
                self.busy.remove(&(entry.lane, entry.key));
            }
            self.fresh_octets -= claimed.body.map_or(0, |body| body.len()).min(self.fresh_octets);
            return Some(entry);
        }
        if let Some(fresh) = self.take_fresh(id) {
            self.fresh_octets -= fresh.body.map_or(0, |body| body.len()).min(self.fresh_octets);
            return Some(fresh.entry);
        }
        let entry = self.cataloged(id)?;
        self.unshelve(id, &entry);
        self.take_known(id);
        Some(entry)
    }

    pub(super) fn take_fresh(&mut self, id: PostId) -> Option<Box<Fresh>> {
        let (lane, rank) = self.fresh.remove(&id)?;
        self.lanes.get_mut(&lane)?.1.fresh.remove(&rank)
    }

    pub(super) fn cataloged(&mut self, id: PostId) -> Option<Entry> {
        let entry = self.catalog.entry(id);
        self.intact(entry).flatten()
    }

    pub(super) fn catalog(&mut self, id: PostId, entry: &Entry) {
        let inserted = self.catalog.insert(id, entry);
        self.intact(inserted);
    }

    pub(super) fn uncatalog(&mut self, id: PostId, entry: &Entry) {
        let removed = self.catalog.remove(id, entry);
        self.intact(removed);
    }
}
