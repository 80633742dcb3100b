//! Which posts live, where they wait and who has them: the state of a spool
//! between its log and its callers.
//!
//! A post is in exactly one of three places: *fresh* in memory, in the
//! [`Catalog`], or *claimed*. Fresh are posts just accepted, up to a fixed
//! number; they usually leave without having touched the catalog. Everything
//! that waits longer, or finds no room, goes to the catalog, so memory does not
//! grow with the backlog. The index knows no files and no clock: positions and
//! times are arguments, and it is changed only by what the log has made durable.

use super::catalog::{Catalog, Entry, GREATEST, LEAST, Noted, Place, Rank};
use super::record::{Phase, State};
use super::tally::Tallies;
use crate::post::{Destination, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

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

#[derive(Default)]
struct Lane {
    fresh: BTreeMap<Rank, Fresh>,
    /// Waiting posts in the catalog.
    cataloged: usize,
    claimed: usize,
}

/// A claimed post.
pub(super) struct Held {
    pub entry: Entry,
    pub fence: u64,
    /// Attempts made, this one included.
    pub tried: u32,
    pub body: Option<Bytes>,
}

/// What a claim took out.
pub(super) struct Taken {
    pub id: PostId,
    pub entry: Entry,
    pub fence: u64,
    pub tried: u32,
    /// Absent for a post that must be read from the log.
    pub post: Option<Arc<Post>>,
}

/// See the module.
pub(super) struct Index {
    catalog: Catalog,
    /// The catalog was lost and must be filled from the log again.
    pub broken: bool,
    numbers: HashMap<Arc<Destination>, u32>,
    lanes: BTreeMap<u32, (Arc<Destination>, Lane)>,
    next_lane: u32,
    /// Where each fresh post is.
    fresh: HashMap<PostId, (u32, Rank)>,
    fresh_octets: usize,
    claimed: HashMap<PostId, Held>,
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
            numbers: HashMap::new(),
            lanes: BTreeMap::new(),
            next_lane: 0,
            fresh: HashMap::new(),
            fresh_octets: 0,
            claimed: HashMap::new(),
            next_fence: 0,
            ended: None,
            tallies: Tallies::default(),
        }
    }

    /// Takes in a post whose record has just become durable. Answers when it is due.
    pub fn admit(&mut self, post: Post, body: Bytes, place: Place, state: State) -> Timestamp {
        let (id, destination) = (post.id, Arc::clone(&post.destination));
        let lane = self.lane_number(&destination);
        let entry = Entry { place, lane, priority: post.priority, state };
        self.tallies.add(&entry);
        if self.fresh.len() >= FRESH || state.due_at > post.accepted_at {
            self.file(id, entry);
            return state.due_at;
        }
        let body = (self.fresh_octets + body.len() <= FRESH_OCTETS).then_some(body);
        self.fresh_octets += body.as_ref().map_or(0, Bytes::len);
        let rank = entry.rank(id);
        self.fresh.insert(id, (lane, rank));
        if let Some((_, lane)) = self.lanes.get_mut(&lane) {
            lane.fresh.insert(rank, Fresh { post: Arc::new(post), body, entry });
        }
        state.due_at
    }

    /// Takes in a post found in the log, unless it is known.
    pub fn restore(&mut self, post: &Post, place: Place, state: State) {
        let has_ended = self.ended.as_ref().is_some_and(|ended| ended.contains(&post.id));
        let is_known = has_ended || self.fresh.contains_key(&post.id) || self.claimed.contains_key(&post.id);
        if !is_known {
            let lane = self.lane_number(&post.destination);
            let entry = Entry { place, lane, priority: post.priority, state };
            self.tallies.add(&entry);
            self.file(post.id, entry);
        }
    }

    /// Takes up to `max` posts of a lane that are due at `now`.
    pub fn claim(
        &mut self,
        destination: &Arc<Destination>,
        max: usize,
        now: Timestamp,
        epoch: u32,
    ) -> Vec<Taken> {
        let Some(number) = self.numbers.get(destination).copied() else { return Vec::new() };
        let mut ranks = self.due(number, max, now);
        ranks.sort_unstable();
        ranks.truncate(max);
        let mut taken = Vec::with_capacity(ranks.len());
        for rank in ranks {
            let id = rank.2;
            let found = match self.take_fresh(id) {
                Some(fresh) => Some((fresh.entry, Some(fresh.post), fresh.body)),
                None => self.cataloged(id).map(|entry| {
                    self.uncatalog(id, &entry);
                    (entry, None, None)
                }),
            };
            let Some((entry, post, body)) = found else { continue };
            self.next_fence += 1;
            // Each unclean start since may have cut an attempt short.
            let tried = entry.state.tried + epoch.saturating_sub(entry.state.epoch) + 1;
            self.claimed.insert(id, Held { entry, fence: self.next_fence, tried, body });
            taken.push(Taken { id, entry, fence: self.next_fence, tried, post });
        }
        if let Some((_, lane)) = self.lanes.get_mut(&number) {
            lane.claimed += taken.len();
            lane.cataloged -= taken.iter().filter(|taken| taken.post.is_none()).count().min(lane.cataloged);
        }
        taken
    }

    /// Ranks of up to `max` due posts each from memory and catalog.
    fn due(&mut self, number: u32, max: usize, now: Timestamp) -> Vec<Rank> {
        let Some((_, lane)) = self.lanes.get(&number) else { return Vec::new() };
        let in_memory =
            |priority| lane.fresh.range((priority, Timestamp(0), LEAST)..=(priority, now, GREATEST));
        let mut ranks: Vec<Rank> =
            (0..PRIORITIES).flat_map(in_memory).take(max).map(|(rank, _)| *rank).collect();
        let cataloged = lane.cataloged;
        let mut found = 0;
        for priority in 0..PRIORITIES {
            if cataloged == 0 || found >= max {
                break;
            }
            let more = self.catalog.waiting(number, priority, now, max - found);
            let more = self.intact(more).unwrap_or_default();
            found += more.len();
            ranks.extend(more);
        }
        ranks
    }

    /// When the next waiting post of a lane is due.
    pub fn next_due(&mut self, destination: &Destination) -> Option<Timestamp> {
        let number = self.numbers.get(destination).copied()?;
        let (_, lane) = self.lanes.get(&number)?;
        let first =
            |priority| lane.fresh.range((priority, Timestamp(0), LEAST)..).next().map(|(rank, _)| *rank);
        let in_priority = |priority| first(priority).filter(|rank| rank.0 == priority).map(|rank| rank.1);
        let mut next = (0..PRIORITIES).filter_map(in_priority).min();
        if lane.cataloged > 0 {
            for priority in 0..PRIORITIES {
                let first = self.catalog.waiting(number, priority, Timestamp(u64::MAX - 1), 1);
                let due = self.intact(first).unwrap_or_default().first().map(|rank| rank.1);
                next = next.into_iter().chain(due).min();
            }
        }
        next
    }

    /// The lanes that hold posts to be sent.
    pub fn lanes(&self) -> Vec<Arc<Destination>> {
        self.numbers.keys().cloned().collect()
    }

    /// The claim with this fence, if it is the newest of its post.
    pub fn held(&mut self, id: PostId, fence: u64) -> Option<&mut Held> {
        self.claimed.get_mut(&id).filter(|held| held.fence == fence)
    }

    /// All claims, by post and fence.
    pub fn claims(&self) -> Vec<(PostId, u64)> {
        self.claimed.iter().map(|(id, held)| (*id, held.fence)).collect()
    }

    /// A living post's entry, wherever it is.
    pub fn find(&mut self, id: PostId) -> Option<Entry> {
        if let Some(held) = self.claimed.get(&id) {
            return Some(held.entry);
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
            self.drop_idle(entry.lane);
        }
    }

    /// Puts a claimed post back, in a new state.
    pub fn put_back(&mut self, id: PostId, state: State) {
        if let Some(mut entry) = self.take(id) {
            entry.state = state;
            self.file(id, entry);
        }
    }

    /// Notes that a post's record has been moved, with the state it has now.
    pub fn relocate(&mut self, id: PostId, place: Place) {
        let Some(mut entry) = self.find(id) else { return };
        self.tallies.remove(&entry);
        entry.place = place;
        self.tallies.add(&entry);
        if let Some(held) = self.claimed.get_mut(&id) {
            held.entry.place = place;
        } else if let Some((lane, rank)) = self.fresh.get(&id) {
            if let Some(fresh) = self.lanes.get_mut(lane).and_then(|(_, lane)| lane.fresh.get_mut(rank)) {
                fresh.entry.place = place;
            }
        } else {
            self.uncatalog(id, &entry);
            self.catalog(id, &entry);
        }
    }

    /// The destination whose lane an entry is in.
    pub fn destination(&self, entry: &Entry) -> Option<&Arc<Destination>> {
        self.lanes.get(&entry.lane).map(|(destination, _)| destination)
    }

    /// Remembers an idempotency key.
    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: Noted) {
        self.tallies.note(noted.place.segment, noted.expires_at);
        let kept = self.catalog.note(tenant, key, noted);
        self.intact(kept);
    }

    /// What an idempotency key stands for at `now`.
    pub fn noted(&mut self, tenant: &Tenant, key: &str, now: Timestamp) -> Option<Noted> {
        let noted = self.catalog.noted(tenant, key);
        self.intact(noted).flatten().filter(|noted| noted.expires_at > now)
    }

    /// Dead letters whose time is over, up to `max`; forgets expired keys too.
    pub fn stale(&mut self, now: Timestamp, max: usize) -> Vec<PostId> {
        let dropped = self.catalog.drop_stale_notes(now);
        self.intact(dropped);
        let letters = self.catalog.stale_letters(now, max);
        self.intact(letters).unwrap_or_default()
    }

    /// Waits until the catalog has written what it buffers.
    pub fn catch_up(&mut self) {
        let written = self.catalog.catch_up();
        self.intact(written);
    }

    /// Begins to fill an emptied catalog: what is in memory counts, all else is
    /// to be restored, but for posts that `ended` and of which the log has not heard.
    pub fn begin_anew(&mut self, ended: HashSet<PostId>) {
        self.broken = false;
        self.ended = Some(ended);
        self.tallies = Tallies::default();
        self.catalog.empty();
        for (_, lane) in self.lanes.values_mut() {
            lane.cataloged = 0;
        }
        let fresh = self.lanes.values().flat_map(|(_, lane)| lane.fresh.values().map(|fresh| fresh.entry));
        let living: Vec<Entry> = fresh.chain(self.claimed.values().map(|held| held.entry)).collect();
        living.iter().for_each(|entry| self.tallies.add(entry));
    }

    /// Whether the tallies count every living post.
    pub fn is_whole(&self) -> bool {
        !self.broken && self.ended.is_none()
    }

    /// All is restored.
    pub fn end_anew(&mut self) {
        self.ended = None;
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
        let is_idle = |lane: &Lane| lane.fresh.is_empty() && lane.cataloged == 0 && lane.claimed == 0;
        if self.lanes.get(&number).is_some_and(|(_, lane)| is_idle(lane))
            && let Some((destination, _)) = self.lanes.remove(&number)
        {
            self.numbers.remove(&destination);
        }
    }

    /// Writes a post into the catalog.
    fn file(&mut self, id: PostId, entry: Entry) {
        if entry.state.phase == Phase::Waiting
            && let Some((_, lane)) = self.lanes.get_mut(&entry.lane)
        {
            lane.cataloged += 1;
        }
        self.catalog(id, &entry);
        self.drop_idle(entry.lane);
    }

    /// Takes a post out of wherever it is.
    fn take(&mut self, id: PostId) -> Option<Entry> {
        if let Some(held) = self.claimed.remove(&id) {
            if let Some((_, lane)) = self.lanes.get_mut(&held.entry.lane) {
                lane.claimed = lane.claimed.saturating_sub(1);
            }
            self.fresh_octets -= held.body.map_or(0, |body| body.len()).min(self.fresh_octets);
            return Some(held.entry);
        }
        if let Some(fresh) = self.take_fresh(id) {
            self.fresh_octets -= fresh.body.map_or(0, |body| body.len()).min(self.fresh_octets);
            return Some(fresh.entry);
        }
        let entry = self.cataloged(id)?;
        if entry.state.phase == Phase::Waiting
            && let Some((_, lane)) = self.lanes.get_mut(&entry.lane)
        {
            lane.cataloged = lane.cataloged.saturating_sub(1);
        }
        self.uncatalog(id, &entry);
        Some(entry)
    }

    fn take_fresh(&mut self, id: PostId) -> Option<Fresh> {
        let (lane, rank) = self.fresh.remove(&id)?;
        self.lanes.get_mut(&lane)?.1.fresh.remove(&rank)
    }

    fn cataloged(&mut self, id: PostId) -> Option<Entry> {
        let entry = self.catalog.entry(id);
        self.intact(entry).flatten()
    }

    fn catalog(&mut self, id: PostId, entry: &Entry) {
        let inserted = self.catalog.insert(id, entry);
        self.intact(inserted);
    }

    fn uncatalog(&mut self, id: PostId, entry: &Entry) {
        let removed = self.catalog.remove(id, entry);
        self.intact(removed);
    }

    /// The answer of the catalog, or the note that it has to be filled anew.
    fn intact<T>(&mut self, answer: Result<T, super::catalog::Broken>) -> Option<T> {
        self.broken |= answer.is_err();
        answer.ok()
    }
}
