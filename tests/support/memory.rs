//! A spool in memory: the contract of the trait without a disk.
//!
//! It keeps every rule of `postgate::spool` but durability, in the plainest way
//! there is: one map, looked through from end to end. Time is tokio's, so a
//! paused clock drives it. It remembers every settlement for tests to read.

use bytes::Bytes;
use postgate::clock;
use postgate::post::{Admission, Destination, MessageId, Post, PostId};
use postgate::spool::{
    Attempt, Claim, Claimed, Committed, Content, Counts, Doorbell, Health, Later, Listed, Noted, Order,
    Query, Settlement, Spool, SpoolError,
};
use postgate::tenant::Tenant;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a message's idempotency key is remembered.
const KEY_AGE: Duration = Duration::from_secs(24 * 3600);

/// The spool; see the module.
pub struct MemorySpool {
    kept: Mutex<Kept>,
    doorbell: Arc<Doorbell>,
    health: watch::Sender<Health>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<PostId, Entry>,
    messages: HashMap<MessageId, ()>,
    keys: HashMap<(Tenant, String), (MessageId, Instant)>,
    next_fence: u64,
    broken: Option<SpoolError>,
    damaged: Vec<PostId>,
    explosive: Vec<PostId>,
}

struct Entry {
    post: Arc<Post>,
    body: Bytes,
    due_at: Instant,
    attempt: u32,
    ended: u32,
    fence: u64,
    state: State,
    settlements: Vec<Settlement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Claimed,
    Delivered,
    Failed,
}

impl MemorySpool {
    /// An empty spool.
    pub fn new() -> Arc<MemorySpool> {
        Arc::new(MemorySpool {
            kept: Mutex::default(),
            doorbell: Arc::default(),
            health: watch::Sender::new(Health::Open),
            changes: watch::Sender::new(0),
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
            kept.entries.values().filter(|entry| entry.state == State::Delivered).count()
        };
        let enough = changes.wait_for(|_| number() >= count);
        super::within_deadline(&format!("{count} delivered posts"), enough).await.unwrap();
    }

    /// From now on every call fails so, until this is called with `None`.
    pub fn break_with(&self, error: Option<SpoolError>) {
        self.kept().broken = error;
    }

    /// The body of a post can no longer be read.
    pub fn damage(&self, id: PostId) {
        self.kept().damaged.push(id);
    }

    /// Reading the body of a post panics, once.
    pub fn mine(&self, id: PostId) {
        self.kept().explosive.push(id);
    }

    /// How many settlements there were so far, of all posts.
    pub fn attempts(&self) -> usize {
        self.kept().entries.values().map(|entry| entry.settlements.len()).sum()
    }

    /// Waits until there were `count` settlements.
    pub async fn attempted(&self, count: usize) {
        let mut changes = self.changes.subscribe();
        let enough = changes.wait_for(|_| self.attempts() >= count);
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
            match kept.keys.get(&key) {
                Some((earlier, at)) if *earlier != admission.message && *at + KEY_AGE > now => {
                    return Ok(Committed::Repeated(*earlier));
                }
                _ => kept.keys.insert(key, (admission.message, now)),
            };
        }
        if kept.messages.insert(admission.message, ()).is_some() {
            return Ok(Committed::Kept);
        }
        for post in admission.posts {
            let start = post.body.start as usize;
            let blob = &admission.blobs[usize::from(post.body.number)];
            let body = blob.slice(start..start + post.body.length as usize);
            let after = post.not_before_at.map_or(Duration::ZERO, |at| at.since(clock::wall()));
            self.doorbell.ring(&post.destination, after);
            kept.entries.insert(post.id, Entry::new(post, body, now + after));
        }
        Ok(Committed::Kept)
    }

    fn take(&self, lane: &Arc<Destination>, max: usize) -> Result<Claimed, SpoolError> {
        let mut kept = self.usable()?;
        let now = Instant::now();
        let mut waiting: Vec<_> = kept.entries.values().filter(|entry| entry.waits_in(lane)).collect();
        waiting.sort_by_key(|entry| (entry.due_at > now, entry.post.priority, entry.due_at, entry.post.id));
        let due: Vec<_> = waiting.iter().take_while(|entry| entry.due_at <= now).take(max).collect();
        let ids: Vec<_> = due.iter().map(|entry| entry.post.id).collect();
        let left = waiting.iter().skip(ids.len()).map(|entry| entry.due_at.duration_since(now));
        let next = left.min();
        let claims = ids.into_iter().filter_map(|id| {
            kept.next_fence += 1;
            let fence = kept.next_fence;
            kept.entries.get_mut(&id).map(|entry| entry.claim(fence))
        });
        Ok(Claimed { claims: claims.collect(), next })
    }

    fn end(&self, done: Vec<(Claim, Settlement)>) -> Result<(), SpoolError> {
        let mut kept = self.usable()?;
        for (claim, settlement) in done {
            let Some(entry) = kept.entries.get_mut(&claim.post.id) else { continue };
            let is_newest = entry.fence == claim.fence && entry.state == State::Claimed;
            if is_newest || settlement == Settlement::Delivered && entry.state != State::Delivered {
                entry.end(settlement, &self.doorbell);
            }
        }
        drop(kept);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }
}

impl Entry {
    fn new(post: Post, body: Bytes, due_at: Instant) -> Entry {
        Entry {
            post: Arc::new(post),
            body,
            due_at,
            attempt: 0,
            ended: 0,
            fence: 0,
            state: State::Waiting,
            settlements: Vec::new(),
        }
    }

    fn waits_in(&self, lane: &Arc<Destination>) -> bool {
        self.state == State::Waiting && self.post.destination == *lane
    }

    fn claim(&mut self, fence: u64) -> Claim {
        self.state = State::Claimed;
        self.attempt += 1;
        self.fence = fence;
        Claim {
            post: Arc::clone(&self.post),
            attempt: self.attempt,
            ended: self.ended,
            held: Duration::ZERO,
            fence,
        }
    }

    fn end(&mut self, settlement: Settlement, doorbell: &Doorbell) {
        self.ended += 1;
        self.state = match &settlement {
            Settlement::Delivered => State::Delivered,
            Settlement::Failed { .. } | Settlement::Held { .. } => State::Failed,
            Settlement::Back => State::Waiting,
            Settlement::Again { after, .. } => {
                self.due_at = Instant::now() + *after;
                doorbell.ring(&self.post.destination, *after);
                State::Waiting
            }
        };
        self.settlements.push(settlement);
    }
}

impl Spool for MemorySpool {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        // Not put off to the first poll: dropping the future does not undo it.
        let kept = self.keep(admission);
        Box::pin(async move { kept })
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        Box::pin(async move {
            let kept = self.usable()?;
            let now = Instant::now();
            let mut lanes = HashMap::new();
            for entry in kept.entries.values().filter(|entry| entry.state == State::Waiting) {
                let after = entry.due_at.saturating_duration_since(now);
                let soonest = lanes.entry(Arc::clone(&entry.post.destination)).or_insert(after);
                *soonest = after.min(*soonest);
            }
            Ok(lanes.into_iter().collect())
        })
    }

    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed> {
        Box::pin(async move { self.take(lane, max) })
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

    fn settle(&self, done: Vec<(Claim, Settlement)>) -> Later<'_, ()> {
        Box::pin(async move { self.end(done) })
    }

    fn order(&self, _which: Query, _order: Order) -> Later<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    fn page(&self, _which: Query, _before: Option<PostId>, _most: usize) -> Later<'_, Vec<Listed>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn attempts(&self, _id: PostId) -> Later<'_, Vec<Attempt>> {
        Box::pin(async { Err(SpoolError::Unknown) })
    }

    fn content(&self, _id: PostId) -> Later<'_, Content> {
        Box::pin(async { Err(SpoolError::Unknown) })
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn note<'a>(&'a self, _key: &'a str) -> Later<'a, Option<Noted>> {
        Box::pin(async { Ok(None) })
    }

    fn set_note<'a>(&'a self, _key: &'a str, _value: Option<Bytes>, _expect: Option<u64>) -> Later<'a, u64> {
        Box::pin(async { Ok(1) })
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}
