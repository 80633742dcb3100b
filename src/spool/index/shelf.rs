//! Putting posts into the catalog and taking them out, counted by lane.

use super::super::catalog::{Entry, Place, Spot};
use super::super::state::{Phase, State};
use super::{Fresh, Index, Lane, PRIORITIES, lines};
use crate::clock::Jump;
use crate::post::{Post, PostId};

/// Batches of a webhook that are listed when they are over; older ones are forgotten.
const LISTED: usize = 1000;

/// A lane with as many posts in memory has many. Half of the room is for those that have
/// few: a destination that takes nothing does not send all others to the log.
const MANY: usize = 64;

impl Index {
    /// Into how many parts the room in memory is divided, of which a lane may fill one.
    pub(super) fn part(&self, lane: u32) -> usize {
        let has_many = self.lanes.get(&lane).is_some_and(|(_, lane)| lane.fresh.len() >= MANY);
        if has_many { 2 } else { 1 }
    }

    /// Writes a post into the catalog, and into its line.
    pub(super) fn file(&mut self, id: PostId, mut entry: Entry) {
        let is_in_line = entry.key != 0 && entry.state.phase.is_in_line();
        entry.is_blocked = is_in_line;
        self.shelve(id, &entry);
        if is_in_line {
            self.line_up(id, &entry);
        }
    }

    /// Notes that what is left of a batch is listed; answers which one is not any more.
    pub fn list(&mut self, id: PostId, lane: u32) -> Option<PostId> {
        let (_, lane) = self.lanes.get_mut(&lane)?;
        lane.listed.push_back(id);
        if lane.listed.len() > LISTED { lane.listed.pop_front() } else { None }
    }

    /// The same of one that is found in the log, where the newest come first.
    pub(super) fn relist(&mut self, post: &Post, entry: &Entry) {
        let is_listed = post.batch.is_some() && entry.state.phase == Phase::Shelved;
        if let Some((_, lane)) = self.lanes.get_mut(&entry.lane)
            && is_listed
            && lane.listed.len() < LISTED
        {
            lane.listed.push_front(post.id);
        }
    }

    /// Puts an entry into the catalog and counts it.
    pub(super) fn shelve(&mut self, id: PostId, entry: &Entry) {
        if let Some((_, lane)) = self.lanes.get_mut(&entry.lane) {
            *lane.number_of(entry) += 1;
            if entry.state.phase == Phase::Waiting {
                lane.ages.add(id);
            }
            lane.priorities |= 1 << entry.priority.min(PRIORITIES - 1);
        }
        self.catalog(id, entry);
    }

    /// Takes an entry out of the catalog.
    pub(super) fn unshelve(&mut self, id: PostId, entry: &Entry) {
        if let Some((_, lane)) = self.lanes.get_mut(&entry.lane) {
            let number = lane.number_of(entry);
            *number = number.saturating_sub(1);
            if entry.state.phase == Phase::Waiting {
                lane.ages.remove(id);
            }
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
                lane.ages.remove(id);
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
        let (_, lane) = self.lanes.get_mut(&lane)?;
        lane.ages.remove(id);
        lane.fresh.remove(&rank)
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

impl Lane {
    /// The number of those that an entry in the catalog counts among.
    fn number_of(&mut self, entry: &Entry) -> &mut usize {
        match entry.state.phase {
            Phase::Waiting if entry.is_blocked => &mut self.blocked,
            Phase::Waiting => &mut self.cataloged,
            Phase::Held => &mut self.held,
            Phase::DeadLetter => &mut self.letters,
            Phase::Shelved => &mut self.shelved,
        }
    }
}

/// What is known of a post without reading it.
pub(super) fn entry_of(
    post: &Post,
    lane: u32,
    place: Place,
    history: Spot,
    (state, jump): (State, Jump),
) -> Entry {
    let key = post.ordering_key.as_deref().map_or(0, lines::hash);
    let (priority, expires_at) = (post.priority, post.expires_at.map(|at| jump.undone(at)));
    Entry { place, history, key, lane, priority, expires_at, is_blocked: false, state }
}
