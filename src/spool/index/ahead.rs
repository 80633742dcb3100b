//! Posts that were read from the log before they are claimed: as many of a lane as
//! it has under way, so that a backlog is sent without a wait for the disk.
//!
//! What is kept is what was accepted, and never changes. A post is kept only while
//! it waits in the catalog; of too many the oldest go.

use super::super::catalog::Entry;
use super::{Index, Lane};
use crate::post::{Destination, Post, PostId, Table, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Posts of one lane that are read ahead at most.
const OF_A_LANE: usize = 64;
/// Posts that are kept.
const POSTS: usize = 2048;
/// Octets of their bodies.
const OCTETS: usize = 4 << 20;
/// Posts in flight from which on nothing is read ahead: they are of so many lanes that it
/// would go before it is claimed, and be read twice.
const CROWD: usize = 2 * POSTS;

/// A post as it stands in the log, with its body unless that is large.
pub(in crate::spool) struct Known {
    pub post: Arc<Post>,
    pub body: Option<Bytes>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Ahead {
    known: Table<PostId, (u64, u32, Known)>,
    order: BTreeMap<u64, PostId>,
    octets: usize,
    next: u64,
}

impl Index {
    /// The posts of a lane that will be claimed next and have to be read, if it is
    /// time for that. They are handed in with [`Index::keep_known`].
    pub fn next_unread(&mut self, destination: &Destination, now: Timestamp) -> Vec<(PostId, Entry)> {
        let Some(number) = self.numbers.get(destination).copied() else { return Vec::new() };
        let Some((_, lane)) = self.lanes.get(&number) else { return Vec::new() };
        let wanted = lane.in_flight.min(OF_A_LANE);
        let is_crowded = self.in_flight.len() > CROWD;
        if is_crowded || lane.is_reading || lane.cataloged == 0 || lane.known > wanted / 2 {
            return Vec::new();
        }
        let mut found = Vec::with_capacity(wanted);
        for ((_, _, id), entry) in self.due(number, wanted, now) {
            // Of one that goes elsewhere, or goes leaner, what was accepted is not all.
            let entry = entry.filter(|entry| entry.state.is_as_accepted());
            let unknown = entry.filter(|_| !self.ahead.known.contains_key(&id));
            found.extend(unknown.map(|entry| (id, entry)));
        }
        if let Some((_, lane)) = self.lanes.get_mut(&number) {
            lane.is_reading = !found.is_empty();
        }
        found
    }

    /// Takes in what was read; of posts that have left meanwhile it is dropped.
    pub fn keep_known(&mut self, destination: &Destination, read: Vec<(PostId, Known)>) {
        let Some(number) = self.numbers.get(destination).copied() else { return };
        for (id, known) in read {
            let is_claimed = self.in_flight.contains_key(&id) || self.fresh.contains_key(&id);
            let is_so = |entry: Entry| entry.lane == number && entry.state.is_as_accepted();
            if !is_claimed && self.cataloged(id).is_some_and(is_so) {
                self.ahead.insert(id, number, known).into_iter().for_each(|(_, lane)| self.forget(lane));
                self.of(number, |lane| lane.known += 1);
            }
        }
        self.of(number, |lane| lane.is_reading = false);
        while self.ahead.is_full() {
            let Some(id) = self.ahead.oldest() else { break };
            self.take_known(id);
        }
    }

    /// Takes out what is known of a post.
    pub(super) fn take_known(&mut self, id: PostId) -> Option<Known> {
        let (known, lane) = self.ahead.remove(id)?;
        self.forget(lane);
        Some(known)
    }

    fn forget(&mut self, lane: u32) {
        self.of(lane, |lane| lane.known = lane.known.saturating_sub(1));
    }

    fn of(&mut self, lane: u32, change: impl FnOnce(&mut Lane)) {
        if let Some((_, lane)) = self.lanes.get_mut(&lane) {
            change(lane);
        }
    }

    /// Gives a claimed post the body that was read with it.
    pub fn give_body(&mut self, id: PostId, fence: u64, body: Bytes) {
        let claimed = self.in_flight.get_mut(&id).filter(|claimed| claimed.fence == fence);
        if let Some(claimed) = claimed.filter(|claimed| claimed.body.is_none()) {
            self.fresh_octets += body.len();
            claimed.body = Some(body);
        }
    }
}

impl Ahead {
    /// Keeps a post; answers what was known of it before.
    fn insert(&mut self, id: PostId, lane: u32, known: Known) -> Option<(Known, u32)> {
        let earlier = self.remove(id);
        self.next += 1;
        self.octets += known.body.as_ref().map_or(0, Bytes::len);
        self.order.insert(self.next, id);
        self.known.insert(id, (self.next, lane, known));
        earlier
    }

    fn remove(&mut self, id: PostId) -> Option<(Known, u32)> {
        let (number, lane, known) = self.known.remove(&id)?;
        self.order.remove(&number);
        self.octets -= known.body.as_ref().map_or(0, Bytes::len);
        Some((known, lane))
    }

    fn is_full(&self) -> bool {
        self.known.len() > POSTS || self.octets > OCTETS
    }

    fn oldest(&self) -> Option<PostId> {
        self.order.first_key_value().map(|(_, id)| *id)
    }
}
