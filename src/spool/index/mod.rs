//! Which posts live, where they wait and who has them: the state of a spool
//! between its log and its callers.
//!
//! A post is in exactly one of three places: *fresh* in memory, in the
//! [`Catalog`], or *in flight*. Fresh are posts just accepted, up to a fixed
//! number; they usually leave without having touched the catalog. Everything
//! that waits longer, or finds no room, goes to the catalog, so memory does not
//! grow with the backlog. The index knows no files and no clock: positions and
//! times are arguments, and it is changed only by what the log has made durable.

mod ages;
mod ahead;
mod anew;
mod chores;
mod claims;
mod keys;
mod lines;
mod looks;
mod shelf;

pub(super) use ahead::Known;
pub(super) use looks::{Newest, Seen};

use super::Order;
use super::catalog::{Catalog, Entry, Line, Place, Rank, Spot};
use super::state::{Phase, State};
use super::tally::Tallies;
use crate::clock::Jump;
use crate::post::{Destination, Post, PostId, Table, Timestamp};
use ages::Ages;
use ahead::Ahead;
use bytes::Bytes;
use shelf::entry_of;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Posts kept in memory while they wait to be claimed for the first time.
const FRESH: usize = 4096;
/// Octets of their bodies that are kept with them.
const FRESH_OCTETS: usize = 6 << 20;
/// Priorities of a lane, 0 to 9.
const PRIORITIES: u8 = 10;

/// A post that waits in memory.
struct Fresh {
    post: Arc<Post>,
    body: Option<Bytes>,
    entry: Entry,
}

/// The posts of a destination.
#[derive(Default)]
struct Lane {
    /// Boxed: a tree has room for several, and mostly there is one.
    fresh: BTreeMap<Rank, Box<Fresh>>,
    /// Waiting posts in the catalog that can be claimed when they are due.
    cataloged: usize,
    /// Priorities of those in the catalog, and maybe others: one bit each.
    priorities: u16,
    /// Waiting posts behind others with their ordering key.
    blocked: usize,
    in_flight: usize,
    held: usize,
    letters: usize,
    /// Delivered posts that are kept.
    shelved: usize,
    /// Those of them that are batches, the oldest first; of very many only the newest.
    listed: VecDeque<PostId>,
    /// Posts that were read ahead.
    known: usize,
    /// Others are being read.
    is_reading: bool,
    /// Of those that wait or are in flight.
    ages: Ages,
}

impl Lane {
    fn is_idle(&self) -> bool {
        let others = self.cataloged + self.blocked + self.in_flight + self.held + self.letters;
        self.fresh.is_empty() && others + self.shelved == 0
    }

    /// The priorities that posts in the catalog may have.
    fn priorities(&self) -> impl Iterator<Item = u8> + use<> {
        let priorities = self.priorities;
        (0..PRIORITIES).filter(move |priority| priorities & (1 << priority) != 0)
    }
}

/// A claimed post.
pub(super) struct InFlight {
    pub entry: Entry,
    pub fence: u64,
    pub body: Option<Bytes>,
    /// What is to be done to it when its attempt has ended.
    pub orders: Vec<Order>,
}

/// What became of a post.
pub(super) struct Change {
    pub state: State,
    /// Where its chronicle stands, if that is new.
    pub history: Option<Spot>,
    /// Where it goes, if elsewhere.
    pub destination: Option<Arc<Destination>>,
}

/// Which posts of a lane are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Those that are due.
    Due,
    /// Those whose time is over.
    Expired {
        /// They age for so long.
        max_age: Duration,
    },
}

/// What a claim took out.
pub(super) struct Taken {
    pub id: PostId,
    pub entry: Entry,
    pub fence: u64,
    /// Absent for a post that must be read from the log.
    pub post: Option<Arc<Post>>,
}

/// See the module.
pub(super) struct Index {
    catalog: Catalog,
    /// The catalog was lost and must be filled from the log again.
    pub broken: bool,
    numbers: Table<Arc<Destination>, u32>,
    lanes: BTreeMap<u32, (Arc<Destination>, Lane)>,
    next_lane: u32,
    /// Where each fresh post is.
    fresh: Table<PostId, (u32, Rank)>,
    fresh_octets: usize,
    ahead: Ahead,
    in_flight: Table<PostId, InFlight>,
    /// The lines of which a post is in flight.
    busy: Table<Line, PostId>,
    /// Lines up to this one are complete: the first of each may be claimed. While
    /// the log is read an older post may still turn up.
    complete: Option<Line>,
    /// Lanes that have a post to be sent because another one ended.
    rung: Vec<(Arc<Destination>, Timestamp)>,
    next_fence: u64,
    /// Posts that ended and may still be found in the log, while it is read anew.
    ended: Option<HashSet<PostId>>,
    /// What each segment keeps alive.
    pub tallies: Tallies,
}

impl Index {
    pub fn new(catalog: Catalog) -> Index {
        Index {
            catalog,
            broken: false,
            numbers: Table::default(),
            lanes: BTreeMap::new(),
            next_lane: 0,
            fresh: Table::default(),
            fresh_octets: 0,
            ahead: Ahead::default(),
            in_flight: Table::default(),
            busy: Table::default(),
            complete: None,
            rung: Vec::new(),
            next_fence: 0,
            ended: None,
            tallies: Tallies::default(),
        }
    }

    /// Takes in a post whose record has just become durable, accepted at this time.
    pub fn admit(&mut self, post: Post, body: Bytes, place: Place, (at, jump): (Timestamp, Jump)) {
        let (id, destination) = (post.id, Arc::clone(&post.destination));
        let lane = self.lane_number(&destination);
        let state = State::fresh(&post, at, jump);
        let entry = entry_of(&post, lane, place, Spot::default(), (state, jump));
        self.tallies.add(&entry);
        if entry.key != 0 {
            self.file(id, entry);
            return;
        }
        self.rung.push((destination, state.due_at));
        let part = self.part(lane);
        if self.fresh.len() >= FRESH / part || state.due_at > at {
            self.file(id, entry);
            return;
        }
        let body = (self.fresh_octets + body.len() <= FRESH_OCTETS / part).then_some(body);
        self.fresh_octets += body.as_ref().map_or(0, Bytes::len);
        let rank = entry.rank(id);
        self.fresh.insert(id, (lane, rank));
        if let Some((_, lane)) = self.lanes.get_mut(&lane) {
            lane.fresh.insert(rank, Box::new(Fresh { post: Arc::new(post), body, entry }));
            lane.ages.add(id);
        }
    }

    /// Takes in a post found in the log that goes to `destination`, unless it is known.
    pub fn restore(
        &mut self,
        post: &Post,
        destination: &Arc<Destination>,
        place: Place,
        history: Spot,
        (state, jump): (State, Jump),
    ) {
        let has_ended = self.ended.as_ref().is_some_and(|ended| ended.contains(&post.id));
        if !has_ended && !self.fresh.contains_key(&post.id) && !self.in_flight.contains_key(&post.id) {
            let lane = self.lane_number(destination);
            let entry = entry_of(post, lane, place, history, (state, jump));
            self.tallies.add(&entry);
            self.file(post.id, entry);
            self.relist(post, &entry);
            if entry.key == 0 && state.phase == Phase::Waiting {
                self.rung.push((Arc::clone(destination), state.due_at));
            }
        }
    }

    /// The lanes that hold posts.
    pub fn lanes(&self) -> Vec<Arc<Destination>> {
        self.numbers.keys().cloned().collect()
    }

    /// The claim with this fence, if it is the newest of its post.
    pub fn claimed(&self, id: PostId, fence: u64) -> Option<&InFlight> {
        self.in_flight.get(&id).filter(|claimed| claimed.fence == fence)
    }

    /// A living post's entry, in the state in which it would be found if its attempt
    /// never ended.
    pub fn standing(&mut self, id: PostId, now: Timestamp) -> Option<Entry> {
        let mut entry = self.find(id)?;
        if let Some(claimed) = self.in_flight.get(&id) {
            entry.state = entry.state.ordered_all(&claimed.orders, now);
        }
        Some(entry)
    }

    /// An order has become durable: the post is changed now, or when its attempt
    /// has ended.
    pub fn enact(&mut self, id: PostId, order: &Order, change: Change) {
        let Some(claimed) = self.in_flight.get_mut(&id) else { return self.put_back(id, change) };
        claimed.entry.history = change.history.unwrap_or(claimed.entry.history);
        order.put_off(&mut claimed.orders);
    }

    /// All claims, by post and fence.
    pub fn claims(&self) -> Vec<(PostId, u64)> {
        self.in_flight.iter().map(|(id, claimed)| (*id, claimed.fence)).collect()
    }

    /// A living post's entry, wherever it is.
    pub fn find(&mut self, id: PostId) -> Option<Entry> {
        if let Some(claimed) = self.in_flight.get(&id) {
            return Some(claimed.entry);
        }
        if let Some((lane, rank)) = self.fresh.get(&id) {
            return self.lanes.get(lane)?.1.fresh.get(rank).map(|fresh| fresh.entry);
        }
        self.cataloged(id)
    }

    /// Ends a post for good.
    pub fn end(&mut self, id: PostId) {
        self.ended.iter_mut().for_each(|ended| ended.extend([id]));
        if let Some(entry) = self.take(id) {
            self.tallies.remove(&entry);
            self.leave_line(id, &entry);
            self.drop_idle(entry.lane);
        }
    }

    /// Puts a post back, or elsewhere, in a new state.
    pub fn put_back(&mut self, id: PostId, change: Change) {
        let Some(mut entry) = self.take(id) else { return };
        let old = entry;
        entry.state = change.state;
        entry.history = change.history.unwrap_or(entry.history);
        if let Some(destination) = change.destination {
            entry.lane = self.lane_number(&destination);
        }
        if entry.lane != old.lane || !entry.state.phase.is_in_line() {
            self.leave_line(id, &old);
        }
        self.file(id, entry);
        if entry.key == 0 && entry.state.phase == Phase::Waiting {
            self.ring(entry.lane, entry.state.due_at);
        }
        self.drop_idle(old.lane);
    }

    /// Notes that a post's record has been moved, with the chronicle it has now.
    pub fn relocate(&mut self, id: PostId, place: Place, history: Spot) {
        let Some(mut entry) = self.find(id) else { return };
        self.tallies.remove(&entry);
        let old = entry;
        entry.place = place;
        // Another attempt may have ended meanwhile.
        if entry.history == history && history.place().is_some() {
            entry.history = Spot::at(place.segment, place.offset);
        }
        self.tallies.add(&entry);
        if let Some(claimed) = self.in_flight.get_mut(&id) {
            claimed.entry = entry;
        } else if let Some((lane, rank)) = self.fresh.get(&id) {
            if let Some(fresh) = self.lanes.get_mut(lane).and_then(|(_, lane)| lane.fresh.get_mut(rank)) {
                fresh.entry = entry;
            }
        } else {
            self.uncatalog(id, &old);
            self.catalog(id, &entry);
        }
    }

    /// Posts that are over and whose time is, too, and those held since `since` or longer, up to
    /// `max` of each.
    pub fn stale(&mut self, now: Timestamp, since: Timestamp, max: usize) -> Vec<PostId> {
        let stale = self.catalog.stale(now, since, max);
        self.intact(stale).unwrap_or_default()
    }

    fn lane_number(&mut self, destination: &Arc<Destination>) -> u32 {
        if let Some(number) = self.numbers.get(destination) {
            return *number;
        }
        self.next_lane = self.next_lane.wrapping_add(1);
        self.numbers.insert(Arc::clone(destination), self.next_lane);
        self.lanes.insert(self.next_lane, (Arc::clone(destination), Lane::default()));
        self.next_lane
    }

    fn drop_idle(&mut self, number: u32) {
        if self.lanes.get(&number).is_some_and(|(_, lane)| lane.is_idle())
            && let Some((destination, _)) = self.lanes.remove(&number)
        {
            self.numbers.remove(&destination);
        }
    }

    /// Lanes to look at, each with when something in it is due, since the last time.
    pub fn rung(&mut self) -> Vec<(Arc<Destination>, Timestamp)> {
        std::mem::take(&mut self.rung)
    }

    fn ring(&mut self, lane: u32, due_at: Timestamp) {
        let lane = self.lanes.get(&lane).map(|(destination, _)| (Arc::clone(destination), due_at));
        self.rung.extend(lane);
    }

    /// The answer of the catalog, or the note that it has to be filled anew.
    fn intact<T>(&mut self, answer: Result<T, super::catalog::Broken>) -> Option<T> {
        if answer.is_err() {
            self.broken = true;
            // Its lines are lost with it.
            self.complete = None;
        }
        answer.ok()
    }
}
