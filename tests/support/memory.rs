//! A spool in memory: the contract of the trait without a disk.
//!
//! It keeps every rule of `postgate::spool` but durability, in the plainest way
//! there is: one map, looked through from end to end. Time is tokio's, so a
//! paused clock drives it. It remembers every settlement for tests to read.

use bytes::Bytes;
use postgate::clock;
use postgate::event::{Event, Mark};
use postgate::post::{Admission, Blob, Destination, MessageId, Post, PostId, Timestamp};
use postgate::spool::{
    Attempt, Census, Claim, Claimed, Committed, Content, Counts, Doorbell, Earlier, Health, Later, Listed,
    Noted, Order, Page, PostState, Query, Settlement, Spool, SpoolError,
};
use postgate::tenant::Tenant;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// How long a message's idempotency key is remembered.
const KEY_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long dead letters, held and delivered posts are said to be kept; they are kept for ever.
const RETAIN_FAILED: Duration = Duration::from_secs(14 * 24 * 3600);
const RETAIN_HELD: Duration = Duration::from_secs(30 * 24 * 3600);
const RETAIN_DELIVERED: Duration = Duration::from_secs(24 * 3600);

/// What a call does before it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    None,
    /// It lets others go first.
    One,
}

/// The spool; see the module.
pub struct MemorySpool {
    kept: Mutex<Kept>,
    doorbell: Arc<Doorbell>,
    health: watch::Sender<Health>,
    changes: watch::Sender<u64>,
    told: watch::Sender<u64>,
    started: (Instant, Timestamp),
}

#[derive(Default)]
struct Kept {
    notes: BTreeMap<String, Noted>,
    greatest_version: u64,
    entries: BTreeMap<PostId, Entry>,
    messages: HashMap<MessageId, ()>,
    keys: HashMap<(Tenant, String), (Earlier, Instant)>,
    next_fence: u64,
    broken: Option<SpoolError>,
    damaged: Vec<PostId>,
    /// Why nothing may be sent.
    overtaken: Option<SpoolError>,
    explosive: Vec<PostId>,
    explosive_claim: Option<Pause>,
    claims_gate: Option<Arc<Semaphore>>,
    orders_gate: Option<Arc<Semaphore>>,
    /// How many orders came.
    orders: usize,
    events: VecDeque<(Mark, Vec<Event>)>,
    /// How often events were told.
    told: u64,
}

struct Entry {
    post: Arc<Post>,
    body: Bytes,
    lean_body: Option<Bytes>,
    message: Bytes,
    /// When it is due; of a held one, since when it is; of a dead letter, when it failed.
    due_at: Instant,
    tried: u32,
    ended: u32,
    fence: u64,
    state: State,
    is_claimed: bool,
    /// What is done to it when it is settled.
    orders: Vec<Order>,
    ages_from: Timestamp,
    attempts: Vec<Attempt>,
    settlements: Vec<Settlement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Held,
    Failed,
    Delivered,
    /// Delivered and kept.
    Shelved,
    Deleted,
}

impl MemorySpool {
    /// An empty spool.
    pub fn new() -> Arc<MemorySpool> {
        Arc::new(MemorySpool {
            kept: Mutex::default(),
            doorbell: Arc::default(),
            health: watch::Sender::new(Health::Open),
            changes: watch::Sender::new(0),
            told: watch::Sender::new(0),
            started: (Instant::now(), clock::wall()),
        })
    }

    /// Every settlement of a post so far, in order.
    pub fn settlements(&self, id: PostId) -> Vec<Settlement> {
        self.kept().entries.get(&id).map(|entry| entry.settlements.clone()).unwrap_or_default()
    }

    /// Waits until `count` settlements of a post were noted, and returns them.
    pub async fn settled(&self, id: PostId, count: usize) -> Vec<Settlement> {
        let mut changes = self.changes.subscribe();
        let enough = changes.wait_for(|_| self.settlements(id).len() >= count);
        super::within_deadline(&format!("{count} settlements of {id}"), enough).await.unwrap();
        self.settlements(id)
    }

    /// Waits until `count` posts are delivered.
    pub async fn delivered(&self, count: usize) {
        let mut changes = self.changes.subscribe();
        let number = || {
            let kept = self.kept();
            let is_delivered = |entry: &&Entry| matches!(entry.state, State::Delivered | State::Shelved);
            kept.entries.values().filter(is_delivered).count()
        };
        let enough = changes.wait_for(|_| number() >= count);
        super::within_deadline(&format!("{count} delivered posts"), enough).await.unwrap();
    }

    /// From now on every call fails so, until this is called with `None`.
    pub fn break_with(&self, error: Option<SpoolError>) {
        self.kept().broken = error;
    }

    /// Another process may have what is claimed: nothing may be sent.
    pub fn overtake(&self, error: SpoolError) {
        self.kept().overtaken = Some(error);
    }

    /// The body of a post can no longer be read.
    pub fn damage(&self, id: PostId) {
        self.kept().damaged.push(id);
    }

    /// Reading the body of a post panics, once.
    pub fn mine(&self, id: PostId) {
        self.kept().explosive.push(id);
    }

    /// The next claim panics.
    pub fn mine_claim(&self, pause: Pause) {
        self.kept().explosive_claim = Some(pause);
    }

    /// What is claimed from now on is answered when the gate lets it through.
    pub fn delay_claims(&self, gate: &Arc<Semaphore>) {
        self.kept().claims_gate = Some(Arc::clone(gate));
    }

    /// What is ordered from now on is done when the gate lets it through.
    pub fn delay_orders(&self, gate: &Arc<Semaphore>) {
        self.kept().orders_gate = Some(Arc::clone(gate));
    }

    /// Waits until so many orders have come.
    pub async fn ordered(&self, count: usize) {
        let mut changes = self.changes.subscribe();
        let _ = changes.wait_for(|_| self.kept().orders >= count).await;
    }

    /// How many posts of a lane are claimed.
    pub fn claimed(&self, lane: &Destination) -> usize {
        let kept = self.kept();
        kept.entries.values().filter(|entry| entry.is_claimed && *entry.post.destination == *lane).count()
    }

    /// How many attempts were settled so far, of all posts.
    pub fn attempts(&self) -> usize {
        self.count(|settlement| *settlement != Settlement::Back)
    }

    /// How often posts were given back.
    pub fn returned(&self) -> usize {
        self.count(|settlement| *settlement == Settlement::Back)
    }

    fn count(&self, is_meant: impl Fn(&Settlement) -> bool) -> usize {
        let settlements = |entry: &Entry| entry.settlements.iter().filter(|end| is_meant(end)).count();
        self.kept().entries.values().map(settlements).sum()
    }

    /// Waits until there were `count` settlements, those that were given back included.
    pub async fn attempted(&self, count: usize) {
        let mut changes = self.changes.subscribe();
        let enough = changes.wait_for(|_| self.attempts() + self.returned() >= count);
        super::within_deadline(&format!("{count} attempts"), enough).await.unwrap();
    }

    /// Changes what the door sees.
    pub fn set_health(&self, health: Health) {
        self.health.send_replace(health);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    fn usable(&self) -> Result<MutexGuard<'_, Kept>, SpoolError> {
        let kept = self.kept();
        match &kept.broken {
            Some(error) => Err(error.clone()),
            None => Ok(kept),
        }
    }

    fn keep(&self, admission: Admission) -> Result<Committed, SpoolError> {
        let mut kept = self.usable()?;
        let now = Instant::now();
        if let Some(key) = admission.idempotency_key {
            let key = (admission.tenant, key);
            let own = Earlier::of(admission.message, &admission.posts, admission.fingerprint);
            match kept.keys.get(&key) {
                Some((earlier, at)) if earlier.message != own.message && *at + KEY_AGE > now => {
                    return Ok(Committed::Repeated(*earlier));
                }
                _ => kept.keys.insert(key, (own, now)),
            };
        }
        if kept.messages.insert(admission.message, ()).is_some() {
            return Ok(Committed::Kept);
        }
        for post in admission.posts {
            let piece = |body: Blob| {
                let start = body.start as usize;
                admission.blobs[usize::from(body.number)].slice(start..start + body.length as usize)
            };
            let (body, lean_body) = (piece(post.body), post.lean_body.map(piece));
            let after = post.not_before_at.map_or(Duration::ZERO, |at| at.since(clock::wall()));
            self.doorbell.ring(&post.destination, after);
            let message = admission.blobs[0].clone();
            kept.entries.insert(post.id, Entry::new(post, (body, lean_body, message), now + after));
        }
        self.tell(&mut kept, admission.events);
        Ok(Committed::Kept)
    }

    fn tell(&self, kept: &mut Kept, events: Vec<Event>) {
        if !events.is_empty() {
            kept.told += 1;
            let mark = Mark { log: 0, place: (0, kept.told) };
            kept.events.push_back((mark, events));
            self.told.send_replace(kept.told);
        }
    }

    fn take(&self, lane: &Arc<Destination>, max: usize) -> Result<Claimed, SpoolError> {
        let now = Instant::now();
        self.take_those(lane, max, |entry| entry.due_at <= now)
    }

    fn take_those(
        &self,
        lane: &Arc<Destination>,
        max: usize,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Claimed, SpoolError> {
        let mut kept = self.usable()?;
        let now = Instant::now();
        let mut waiting: Vec<_> = kept.claimable(lane);
        waiting.sort_by_key(|entry| (entry.post.priority, entry.due_at, entry.post.id));
        let wanted: Vec<_> = waiting.iter().filter(|entry| is_wanted(entry)).take(max).collect();
        let ids: Vec<_> = wanted.iter().map(|entry| entry.post.id).collect();
        let left = waiting.iter().filter(|entry| !ids.contains(&entry.post.id));
        let next = left.map(|entry| entry.due_at.saturating_duration_since(now)).min();
        let claims = ids.into_iter().filter_map(|id| {
            kept.next_fence += 1;
            let fence = kept.next_fence;
            kept.entries.get_mut(&id).map(|entry| entry.claim(fence))
        });
        Ok(Claimed { claims: claims.collect(), next })
    }

    fn end(&self, done: Vec<(Claim, Settlement)>, events: Vec<Event>) -> Result<(), SpoolError> {
        let mut kept = self.usable()?;
        let now = self.wall();
        let mut is_meant = false;
        for (claim, settlement) in done {
            let Some(entry) = kept.entries.get_mut(&claim.post.id).filter(|entry| entry.is_alive()) else {
                continue;
            };
            let is_newest = entry.fence == claim.fence && entry.is_claimed;
            let is_delivered = settlement.is_delivered() && entry.state != State::Shelved;
            if is_newest || is_delivered {
                is_meant = true;
                entry.end(settlement, now);
                self.ring(&kept, claim.post.id);
            }
        }
        if is_meant {
            self.tell(&mut kept, events);
        }
        drop(kept);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Rings for a post that changed, and for those that it may have blocked.
    fn ring(&self, kept: &Kept, id: PostId) {
        let now = Instant::now();
        let Some(changed) = kept.entries.get(&id) else { return };
        let key = &changed.post.ordering_key;
        let blocked = kept.entries.values().filter(|entry| key.is_some() && entry.post.ordering_key == *key);
        for entry in blocked.chain([changed]) {
            let waits = entry.due_at.saturating_duration_since(now);
            if entry.state == State::Waiting && !entry.is_claimed && !kept.is_blocked(entry) {
                self.doorbell.ring(&entry.post.destination, waits);
            }
        }
    }

    /// The time by tokio's clock.
    fn wall(&self) -> Timestamp {
        self.started.1.after(self.started.0.elapsed())
    }

    fn list(&self, entry: &Entry) -> Listed {
        let retained = match entry.state {
            State::Held => RETAIN_HELD,
            State::Failed => RETAIN_FAILED,
            State::Shelved => RETAIN_DELIVERED,
            _ => Duration::ZERO,
        };
        Listed {
            post: Arc::clone(&entry.post),
            state: entry.seen().expect("it lives"),
            ended: entry.ended,
            due_at: self.started.1.after((entry.due_at + retained).saturating_duration_since(self.started.0)),
            last: entry.attempts.last().cloned(),
        }
    }
}

impl Kept {
    /// Those behind the mark; the others are forgotten.
    fn next_events(&mut self, after: Mark) -> Option<(Mark, Vec<Event>)> {
        self.events.retain(|(mark, _)| mark.place > after.place);
        self.events.front().cloned()
    }

    fn claimable(&self, lane: &Arc<Destination>) -> Vec<&Entry> {
        let waits = |entry: &&Entry| {
            entry.state == State::Waiting
                && !entry.is_claimed
                && entry.post.destination == *lane
                && !self.is_blocked(entry)
        };
        self.entries.values().filter(waits).collect()
    }

    /// Whether another post with its ordering key comes first.
    fn is_blocked(&self, entry: &Entry) -> bool {
        let is_before = |other: &Entry| {
            let is_in_line = matches!(other.state, State::Waiting | State::Held);
            other.post.destination == entry.post.destination
                && other.post.ordering_key == entry.post.ordering_key
                && (is_in_line && other.post.id < entry.post.id || other.is_claimed)
        };
        let mut others = self.entries.values().filter(|other| other.post.id != entry.post.id);
        entry.post.ordering_key.is_some() && others.any(is_before)
    }

    fn meant(&self, which: &Query) -> Vec<PostId> {
        let fits = |entry: &&Entry| {
            let post = &entry.post;
            let seen = entry.seen();
            seen.is_some()
                && which.id.is_none_or(|id| id == post.id)
                && which.means(&post.destination)
                && which.state.is_none_or(|state| seen == Some(state))
                && which.fits(post)
        };
        self.entries.values().rev().filter(fits).map(|entry| entry.post.id).collect()
    }
}

impl Entry {
    fn new(post: Post, (body, lean_body, message): (Bytes, Option<Bytes>, Bytes), due_at: Instant) -> Entry {
        Entry {
            ages_from: post.not_before_at.unwrap_or_default().max(post.accepted_at),
            post: Arc::new(post),
            body,
            lean_body,
            message,
            due_at,
            tried: 0,
            ended: 0,
            fence: 0,
            state: State::Waiting,
            is_claimed: false,
            orders: Vec::new(),
            attempts: Vec::new(),
            settlements: Vec::new(),
        }
    }

    fn is_alive(&self) -> bool {
        self.seen().is_some()
    }

    fn seen(&self) -> Option<PostState> {
        Some(match self.state {
            State::Delivered | State::Deleted => return None,
            _ if self.is_claimed => PostState::Sending,
            State::Waiting if self.ended == 0 => PostState::Queued,
            State::Waiting => PostState::Deferred,
            State::Held => PostState::Held,
            State::Failed => PostState::Failed,
            State::Shelved => PostState::Delivered,
        })
    }

    fn claim(&mut self, fence: u64) -> Claim {
        self.is_claimed = true;
        self.fence = fence;
        Claim {
            post: Arc::clone(&self.post),
            attempt: self.tried + 1,
            ended: self.ended,
            ages_from: self.ages_from,
            fence,
        }
    }

    fn end(&mut self, settlement: Settlement, now: Timestamp) {
        self.is_claimed = false;
        let (state, after) = match &settlement {
            settled if settled.is_delivered() && self.post.has_links => (State::Shelved, Duration::ZERO),
            Settlement::Listed { .. } => (State::Shelved, Duration::ZERO),
            Settlement::Delivered => (State::Delivered, Duration::ZERO),
            Settlement::Dropped => (State::Deleted, Duration::ZERO),
            Settlement::Leaner { .. } => (State::Waiting, Duration::ZERO),
            Settlement::Failed { .. } => (State::Failed, Duration::ZERO),
            Settlement::Held { .. } => (State::Held, Duration::ZERO),
            Settlement::Back => (State::Waiting, Duration::ZERO),
            Settlement::Again { after, .. } => (State::Waiting, *after),
        };
        self.state = state;
        if settlement.attempt().is_some() || state == State::Shelved {
            self.ended += 1;
            self.tried += 1;
            self.due_at = Instant::now() + after;
        }
        let number = self.tried;
        self.attempts.extend(settlement.attempt().map(|last| Attempt { number, ..last.clone() }));
        if matches!(settlement, Settlement::Leaner { .. })
            && let Some(lean_body) = self.lean_body.take()
        {
            self.body = lean_body;
            let post = Arc::make_mut(&mut self.post);
            post.body = post.lean_body.take().unwrap();
            post.has_links = true;
        }
        self.settlements.push(settlement);
        for order in std::mem::take(&mut self.orders) {
            self.change(&order, now);
        }
    }

    /// Does what is ordered, now or when the attempt has ended; whether it is meant.
    fn order(&mut self, order: &Order, now: Timestamp) -> bool {
        if !self.is_claimed || order.ends() {
            return self.change(order, now);
        }
        let is_held = self.orders.iter().fold(false, |_, order| *order == Order::Hold);
        let is_meant = match order {
            Order::Hold => !is_held,
            Order::Release => is_held,
            _ => true,
        };
        if is_meant {
            self.orders.push(order.clone());
        }
        is_meant
    }

    fn change(&mut self, order: &Order, now: Timestamp) -> bool {
        let present = Instant::now();
        match (order, self.state) {
            (Order::Delete | Order::HandBack, _) => (self.state, self.is_claimed) = (State::Deleted, false),
            (Order::Hold, State::Waiting) => (self.state, self.due_at) = (State::Held, present),
            (Order::Release | Order::Retry, State::Held) => {
                self.ages_from = self.ages_from.after(present - self.due_at);
                (self.state, self.due_at) = (State::Waiting, present);
            }
            (Order::Retry, State::Waiting) => self.due_at = self.due_at.min(present),
            (Order::Retry, State::Failed) => {
                (self.state, self.due_at) = (State::Waiting, present);
                (self.ended, self.ages_from) = (0, now);
                if self.post.expires_at.is_some_and(|end| end <= now) {
                    Arc::make_mut(&mut self.post).expires_at = None;
                }
            }
            (
                Order::Reroute { destination, trust, path, sealed },
                State::Waiting | State::Held | State::Failed,
            ) => {
                self.change(&Order::Retry, now);
                Arc::make_mut(&mut self.post)
                    .reroute((Arc::clone(destination), *trust), (path.clone(), sealed.clone()));
            }
            _ => return false,
        }
        true
    }
}

impl Spool for MemorySpool {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        // Not put off to the first poll: dropping the future does not undo it.
        let kept = self.keep(admission);
        Box::pin(async move { kept })
    }

    fn earlier<'a>(&'a self, tenant: &'a Tenant, key: &'a str) -> Later<'a, Option<Earlier>> {
        Box::pin(async move {
            let (kept, name) = (self.usable()?, (tenant.clone(), key.to_owned()));
            let known = kept.keys.get(&name).filter(|(_, at)| *at + KEY_AGE > Instant::now());
            Ok(known.map(|(earlier, _)| *earlier))
        })
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        Box::pin(async move {
            let kept = self.usable()?;
            let now = Instant::now();
            let mut lanes = HashMap::new();
            let waits = |entry: &&Entry| {
                entry.state == State::Waiting && !entry.is_claimed && !kept.is_blocked(entry)
            };
            for entry in kept.entries.values().filter(waits) {
                let after = entry.due_at.saturating_duration_since(now);
                let soonest = lanes.entry(Arc::clone(&entry.post.destination)).or_insert(after);
                *soonest = after.min(*soonest);
            }
            Ok(lanes.into_iter().collect())
        })
    }

    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed> {
        Box::pin(async move {
            let mined = self.kept().explosive_claim.take();
            if mined == Some(Pause::One) {
                tokio::task::yield_now().await;
            }
            assert_eq!(mined, None, "a mine in a claim");
            let claimed = self.take(lane, max);
            let gate = self.kept().claims_gate.clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            claimed
        })
    }

    fn claim_expired<'a>(
        &'a self,
        lane: &'a Arc<Destination>,
        max_age: Duration,
        max: usize,
    ) -> Later<'a, Claimed> {
        Box::pin(async move {
            let now = self.wall();
            let is_over = |entry: &Entry| {
                entry.ages_from.after(max_age) <= now || entry.post.expires_at.is_some_and(|end| end <= now)
            };
            self.take_those(lane, max, is_over)
        })
    }

    fn may_send(&self) -> Result<(), SpoolError> {
        self.kept().overtaken.clone().map_or(Ok(()), Err)
    }

    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes> {
        Box::pin(async move {
            let mut kept = self.usable()?;
            let id = claim.post.id;
            if let Some(place) = kept.explosive.iter().position(|mined| *mined == id) {
                kept.explosive.remove(place);
                drop(kept);
                panic!("a mine in the body of {id}");
            }
            match kept.entries.get(&id) {
                Some(entry) if !kept.damaged.contains(&id) => Ok(entry.body.clone()),
                _ => Err(SpoolError::Damaged(format!("body of {id}"))),
            }
        })
    }

    fn settle(&self, done: Vec<(Claim, Settlement)>, events: Vec<Event>) -> Later<'_, ()> {
        Box::pin(async move { self.end(done, events) })
    }

    fn publish(&self, events: Vec<Event>) -> Later<'_, ()> {
        let published = self.usable().map(|mut kept| self.tell(&mut kept, events));
        Box::pin(async move { published })
    }

    fn events(&self, after: Mark) -> Later<'_, (Mark, Vec<Event>)> {
        let mut told = self.told.subscribe();
        Box::pin(async move {
            loop {
                told.borrow_and_update();
                if let Some(next) = self.kept().next_events(after) {
                    return Ok(next);
                }
                told.changed().await.map_err(|_| SpoolError::Closed)?;
            }
        })
    }

    fn order(&self, which: Query, order: Order) -> Later<'_, u64> {
        Box::pin(async move {
            let gate = {
                let mut kept = self.kept();
                kept.orders += 1;
                kept.orders_gate.clone()
            };
            self.changes.send_modify(|changes| *changes += 1);
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            let mut kept = self.usable()?;
            let now = self.wall();
            let mut meant = 0;
            for id in kept.meant(&which) {
                meant += u64::from(kept.entries.get_mut(&id).is_some_and(|entry| entry.order(&order, now)));
                self.ring(&kept, id);
            }
            drop(kept);
            self.changes.send_modify(|changes| *changes += 1);
            Ok(meant)
        })
    }

    fn search(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Page> {
        Box::pin(async move {
            let kept = self.usable()?;
            let older = |id: &PostId| before.is_none_or(|before| *id < before);
            let ids = kept.meant(&which).into_iter().filter(older).take(most);
            let posts: Vec<_> = ids.map(|id| self.list(&kept.entries[&id])).collect();
            let next = posts.last().map(|last| last.post.id).filter(|_| posts.len() == most);
            Ok(Page { posts, next })
        })
    }

    fn census(&self, which: Query) -> Later<'_, Census> {
        Box::pin(async move {
            let kept = self.usable()?;
            let mut census = Census::new();
            for id in kept.meant(&which) {
                *census.entry(self.list(&kept.entries[&id]).state).or_default() += 1;
            }
            Ok(census)
        })
    }

    fn attempts(&self, id: PostId) -> Later<'_, Vec<Attempt>> {
        Box::pin(async move {
            let kept = self.usable()?;
            let entry = kept.entries.get(&id).filter(|entry| entry.is_alive()).ok_or(SpoolError::Unknown)?;
            Ok(entry.attempts.clone())
        })
    }

    fn content(&self, id: PostId) -> Later<'_, Content> {
        Box::pin(async move {
            let kept = self.usable()?;
            let entry = kept.entries.get(&id).filter(|entry| entry.is_alive()).ok_or(SpoolError::Unknown)?;
            let (body, message) = (entry.body.clone(), entry.message.clone());
            Ok(Content { post: Arc::clone(&entry.post), body, message })
        })
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        Box::pin(async move {
            let kept = self.usable()?;
            let mut lanes: HashMap<Arc<Destination>, Counts> = HashMap::new();
            for entry in kept.entries.values() {
                let Some(seen) = entry.seen().filter(|seen| *seen != PostState::Delivered) else { continue };
                let counts = lanes.entry(Arc::clone(&entry.post.destination)).or_default();
                if matches!(seen, PostState::Queued | PostState::Deferred | PostState::Sending) {
                    let oldest = counts.oldest_at.into_iter().chain([entry.post.accepted_at]).min();
                    counts.oldest_at = oldest;
                }
                *match seen {
                    PostState::Queued | PostState::Deferred => &mut counts.waiting,
                    PostState::Sending => &mut counts.sending,
                    PostState::Held => &mut counts.held,
                    PostState::Failed => &mut counts.failed,
                    PostState::Delivered => unreachable!("it counts nowhere"),
                } += 1;
            }
            Ok(lanes.into_iter().collect())
        })
    }

    fn note<'a>(&'a self, key: &'a str) -> Later<'a, Option<Noted>> {
        Box::pin(async move { Ok(self.usable()?.notes.get(key).cloned()) })
    }

    fn notes<'a>(&'a self, beginning: &'a str) -> Later<'a, Vec<(String, Noted)>> {
        Box::pin(async move {
            let kept = self.usable()?;
            let meant = kept.notes.iter().filter(|(key, _)| key.starts_with(beginning));
            let mut meant: Vec<_> = meant.map(|(key, noted)| (key.clone(), noted.clone())).collect();
            meant.sort_by(|one, other| one.0.cmp(&other.0));
            Ok(meant)
        })
    }

    fn set_note<'a>(&'a self, key: &'a str, value: Option<Bytes>, expect: Option<u64>) -> Later<'a, u64> {
        Box::pin(async move {
            let mut kept = self.usable()?;
            let known = kept.notes.get(key).map_or(0, |noted| noted.version);
            if expect.is_some_and(|expect| expect != known) {
                return Err(SpoolError::Changed);
            }
            let Some(value) = value else {
                kept.notes.remove(key);
                kept.greatest_version = kept.greatest_version.max(known);
                return Ok(0);
            };
            let version = if known > 0 { known } else { kept.greatest_version } + 1;
            kept.notes.insert(key.to_owned(), Noted { version, value });
            Ok(version)
        })
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}
