//! Filling the catalog anew when it was lost.

use super::super::catalog::Entry;
use super::super::tally::Tallies;
use super::Index;
use crate::post::PostId;
use std::collections::HashSet;

impl Index {
    /// Begins to fill an emptied catalog: what is in memory counts, all else is
    /// to be restored, but for posts that `ended` and of which the log has not heard.
    pub fn begin_anew(&mut self, ended: HashSet<PostId>) {
        self.broken = false;
        self.ended = Some(ended);
        self.tallies = Tallies::default();
        self.complete = None;
        self.catalog.empty();
        for (_, lane) in self.lanes.values_mut() {
            (lane.cataloged, lane.blocked, lane.held) = (0, 0, 0);
            (lane.letters, lane.shelved) = (0, 0);
            lane.ages.clear();
            lane.fresh.keys().for_each(|rank| lane.ages.add(rank.2));
        }
        for (id, claimed) in &self.in_flight {
            if let Some((_, lane)) = self.lanes.get_mut(&claimed.entry.lane) {
                lane.ages.add(*id);
            }
        }
        let fresh = self.lanes.values().flat_map(|(_, lane)| lane.fresh.values().map(|fresh| fresh.entry));
        let living: Vec<Entry> = fresh.chain(self.in_flight.values().map(|claimed| claimed.entry)).collect();
        living.iter().for_each(|entry| self.tallies.add(entry));
        for (line, id) in self.busy.clone() {
            let lined_up = self.catalog.line_up(line, id);
            self.intact(lined_up);
        }
    }

    /// Whether the tallies count every living post.
    pub fn is_whole(&self) -> bool {
        !self.broken && self.ended.is_none()
    }

    /// All is restored.
    pub fn end_anew(&mut self) {
        self.ended = None;
    }
}
