//! Who gets the next connection when all lanes together want more than there may be.
//!
//! Places are workers: connections, idle ones included, and attempts that have none
//! yet. As long as there are enough, lanes take what they want. When there are not,
//! lanes wait in a ring; each gets in its turn a *credit* of a few posts (deficit
//! round robin), to be sent over as few places as its *share* of all is: a lane with
//! a million posts, or one whose attempts all hang, keeps nobody waiting longer than
//! one with a single post. Idle connections make room, the one idle longest first.
//! An eighth of the places is for lanes that have none: attempts that hang cannot
//! take them all before somebody else has come.
//!
//! No turn begins while the lanes that have theirs hold [`STOCKED`] claimed posts that no
//! worker has taken up. Of fast destinations a few hundred lanes are all that the machine can
//! work off; thousands at a time would take no less long, and more memory.

use std::collections::{BTreeMap, VecDeque};

/// Posts that a lane may send before others that wait have their turn.
pub const CREDIT: usize = 16;

/// Which part of the places is kept for lanes that have none.
const KEPT: usize = 8;

/// Posts of all lanes that wait for workers before the next turn has to wait.
const STOCKED: usize = 4096;

/// Workers that leave at a time at most: others may go on meanwhile.
const LEAVING: usize = 64;

/// Resting workers of which one is looked for at most.
const LOOKED_AT: usize = 64;

/// The places of all lanes, which `L` names.
#[derive(Debug)]
pub struct Turns<L> {
    most: usize,
    /// Workers that live.
    workers: usize,
    /// Places of posts that are being claimed.
    reserved: usize,
    /// Workers that were told to leave and have not yet.
    leaving: usize,
    /// Lanes with attempts under way or in the ring.
    wanting: usize,
    /// Claimed posts that wait for workers.
    stocked: usize,
    /// Resting workers by the time they began to rest.
    resting: BTreeMap<u64, L>,
    rests: u64,
    ring: VecDeque<L>,
}

/// What one lane has of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stake {
    /// Whether it waits in the ring.
    pub is_queued: bool,
    /// Posts it may still send in its turn.
    pub credit: usize,
    /// Whether it counts among those that want.
    is_wanting: bool,
    /// Its posts that wait for workers, as they are counted.
    stocked: usize,
}

impl Stake {
    /// Takes up to so many posts from what it may still send in its turn, for places
    /// that it has already; says how many.
    pub fn spend(&mut self, posts: usize) -> usize {
        let spent = posts.min(self.credit);
        self.credit -= spent;
        spent
    }
}

impl<L: Clone> Turns<L> {
    /// So many places, at least one.
    pub fn new(most: usize) -> Turns<L> {
        Turns {
            most: most.max(1),
            workers: 0,
            reserved: 0,
            leaving: 0,
            wanting: 0,
            stocked: 0,
            resting: BTreeMap::new(),
            rests: 0,
            ring: VecDeque::new(),
        }
    }

    /// Another number of places from now on; who is there may stay.
    pub fn change(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Free places for a lane with so many attempts under way.
    fn free(&self, in_flight: usize) -> usize {
        let free = self.most.saturating_sub(self.workers + self.reserved);
        let kept = if self.most > 1 { self.most.div_ceil(KEPT) } else { 0 };
        let first = if in_flight == 0 { free.min(1) } else { 0 };
        free.saturating_sub(kept).max(first)
    }

    /// The places of a lane when all that want have as many.
    fn share(&self) -> usize {
        (self.most / self.wanting.max(1)).max(1)
    }

    /// How many of `wanted` posts a lane may claim now, which has `resting` workers
    /// and `in_flight` attempts. In its turn it may take what is free, else, when
    /// others wait, only what it has already.
    pub fn grant(&self, wanted: usize, stake: &Stake, turn: Turn, resting: usize, in_flight: usize) -> usize {
        if turn == Turn::Other && self.ring.is_empty() {
            return wanted.min(resting + self.free(in_flight));
        }
        let fair = wanted.min(stake.credit).min(self.share().saturating_sub(in_flight));
        match turn {
            Turn::Own => fair.min(resting + self.free(in_flight)),
            Turn::Other => fair.min(resting),
        }
    }

    /// Notes that a lane claims so many posts.
    pub fn reserve(&mut self, posts: usize, stake: &mut Stake) {
        self.reserved += posts;
        stake.credit = stake.credit.saturating_sub(posts);
    }

    /// Notes the answer to a claim of so many.
    pub fn release(&mut self, posts: usize) {
        self.reserved = self.reserved.saturating_sub(posts);
    }

    /// Puts a lane that was not granted all it wanted at the end of the ring, unless
    /// it has its share.
    pub fn queue(&mut self, lane: &L, stake: &mut Stake, in_flight: usize) {
        if !stake.is_queued && in_flight < self.share() {
            stake.is_queued = true;
            self.ring.push_back(lane.clone());
        }
    }

    /// Counts the lane among those that want, or no longer, and its posts that wait for
    /// workers.
    pub fn count(&mut self, stake: &mut Stake, in_flight: usize, stocked: usize) {
        self.stocked = (self.stocked + stocked).saturating_sub(stake.stocked);
        stake.stocked = stocked;
        let is_wanting = stake.is_queued || in_flight > 0;
        if is_wanting != stake.is_wanting {
            stake.is_wanting = is_wanting;
            self.wanting = if is_wanting { self.wanting + 1 } else { self.wanting.saturating_sub(1) };
        }
    }

    /// The lane whose turn it is.
    pub fn first(&self) -> Option<&L> {
        self.ring.front()
    }

    /// Takes the first lane out of the ring: its turn begins with new credit.
    pub fn begin_turn(&mut self, stake: &mut Stake) {
        self.ring.pop_front();
        stake.is_queued = false;
        stake.credit = CREDIT;
    }

    /// Whether there is a place for a lane with `resting` workers and `in_flight`
    /// attempts.
    pub fn has_place(&self, resting: usize, in_flight: usize) -> bool {
        resting + self.free(in_flight) > 0
    }

    /// Whether posts that wait for workers are enough.
    pub fn are_stocked(&self) -> bool {
        self.stocked >= STOCKED
    }

    /// Lets the next lane of the ring be the first.
    pub fn pass(&mut self) {
        self.ring.rotate_left(usize::from(!self.ring.is_empty()));
    }

    /// How many lanes wait in the ring.
    pub fn waiting(&self) -> usize {
        self.ring.len()
    }

    /// The lane whose worker rests longest, and when it began to, if one must leave
    /// so that there is a place for each lane that waits. Those that `is_idle` denies have
    /// their next post.
    pub fn evict(&mut self, is_idle: impl Fn(&L) -> bool) -> Option<(u64, L)> {
        if self.leaving >= self.ring.len().min(LEAVING) {
            return None;
        }
        let rest = *self.resting.iter().take(LOOKED_AT).find(|(_, lane)| is_idle(lane))?.0;
        self.leaving += 1;
        self.resting.remove_entry(&rest)
    }

    /// Notes a new worker.
    pub fn hire(&mut self) {
        self.workers += 1;
    }

    /// Whether there is no worker.
    pub fn are_deserted(&self) -> bool {
        self.workers == 0
    }

    /// Notes that a worker has left.
    pub fn leave(&mut self) {
        self.workers = self.workers.saturating_sub(1);
        self.leaving = self.leaving.saturating_sub(1);
    }

    /// Notes that a worker of a lane rests; it is known by the number returned,
    /// which grows.
    pub fn rest(&mut self, lane: &L) -> u64 {
        self.rests += 1;
        self.resting.insert(self.rests, lane.clone());
        self.rests
    }

    /// Notes that a resting worker works again or leaves.
    pub fn rouse(&mut self, rest: u64) {
        self.resting.remove(&rest);
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The lane's own.
    Own,
    /// That of others, if any wait.
    Other,
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
