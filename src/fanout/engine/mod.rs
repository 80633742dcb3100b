//! From the journal to batches: one pass for all webhooks.
//!
//! Webhooks that want the same in the same form are a group and share each batch. Groups
//! that have read as far read on together; one that is behind, because it was stopped or
//! is told again, reads by itself until it has caught up. What is open is in memory and in
//! the journal, which is held from the oldest event that somebody is still to be told of.
//!
//! A batch is a post in the spool like any other, and says how far its webhook has been
//! told: so both are kept in one. What was read without being wanted is noted now and
//! then. A webhook whose batches pile up is told no more until most of them have gone:
//! its position stays, and the journal holds what is behind it, as long as it has room.

mod backlog;
mod housekeeping;
mod membership;
mod opening;
mod replay;
mod standing;

pub use replay::{Fanout, NotReplayed, Replayed, Requests};
pub use standing::prepare;

use super::batches::{Full, Press};
use super::group::{Group, Wish};
use super::shelf::Shelf;
use super::told::Told;
use crate::clock::{self, Ids};
use crate::journal::{Journal, Position};
use crate::post::{Admission, WebhookId};
use crate::spool::{Spool, SpoolError};
use crate::subscribers::Subscribers;
use replay::Again;
use standing::Standing;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Events that are read at a time.
const PORTION: usize = 512;
/// Octets of all events that are open at most; then the oldest batch is closed.
const OPEN: usize = 64 << 20;
/// Time until a spool or journal that failed is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What it works with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The webhooks.
    pub shelf: Arc<Shelf>,
    /// Where the events are.
    pub journal: Journal,
    /// Where the batches go.
    pub spool: Spooled,
    /// Where the ids of batches come from; the same as those of messages.
    pub ids: Arc<Ids>,
    /// How webhooks fared.
    pub subscribers: Subscribers,
    /// The name of this gateway.
    pub hostname: String,
    /// How long events of a webhook that was given up are held.
    pub retain_held: Duration,
}

/// A spool that has nothing to show.
#[derive(Clone)]
pub struct Spooled(pub Arc<dyn Spool>);

impl std::fmt::Debug for Spooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spool")
    }
}

/// Tells all webhooks of all events until `stopped` turns true.
pub async fn run(options: Options, mut requests: Requests, mut stopped: watch::Receiver<bool>) {
    let mut engine = Engine::new(options);
    let work = async {
        if engine.recall().await.is_ok() {
            // It ends with the spool.
            let _ = engine.work(&mut requests).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    engine.note_standing().await;
}

/// See the module.
struct Engine {
    options: Options,
    groups: Vec<Group>,
    /// What is to be told again.
    again: Vec<Again>,
    /// How each webhook stands, and how far it has been told if it is in no group.
    standing: BTreeMap<WebhookId, Standing>,
    /// Webhooks whose batches pile up.
    stalled: HashSet<WebhookId>,
    /// Webhooks that are closed and told nevertheless: the journal needs the room.
    pressed: HashSet<WebhookId>,
    /// Up to here all must be told, whatever waits for them.
    haste: u64,
    /// When it was last told that events are let go.
    overrun_at: HashMap<WebhookId, Instant>,
    /// Webhooks that were closed and are open, and since when what failed is sent again.
    opening: HashMap<WebhookId, Option<Instant>>,
    /// Batches that wait for each.
    piles: HashMap<WebhookId, u64>,
    /// Where was read last: those that are behind take turns.
    served: u64,
    /// Before that nobody looks after the house.
    tick_at: Instant,
    /// When time was last added up, and what is not handed on of it.
    passed_at: Instant,
    passed: Duration,
    /// What was noted last, and when.
    noted: (Vec<u8>, Instant),
    /// It is known how far each webhook has been told.
    is_recalled: bool,
    /// Some may be told again that were not.
    must_follow: bool,
    /// There may be groups that want the same.
    has_alike: bool,
    /// There may be batches that wait, also of webhooks that are gone.
    has_lanes: bool,
}

impl Engine {
    fn new(options: Options) -> Engine {
        let now = Instant::now();
        Engine {
            options,
            groups: Vec::new(),
            again: Vec::new(),
            standing: BTreeMap::new(),
            stalled: HashSet::new(),
            pressed: HashSet::new(),
            haste: 0,
            overrun_at: HashMap::new(),
            opening: HashMap::new(),
            piles: HashMap::new(),
            served: 0,
            tick_at: now,
            passed_at: now,
            passed: Duration::ZERO,
            noted: (Vec::new(), now),
            is_recalled: false,
            must_follow: true,
            has_alike: false,
            has_lanes: true,
        }
    }

    async fn work(&mut self, requests: &mut Requests) -> Result<(), SpoolError> {
        let (mut changes, mut news) = (self.options.shelf.watch(), self.options.journal.watch());
        loop {
            if changes.has_changed().unwrap_or_default() || self.must_follow {
                changes.mark_unchanged();
                self.must_follow = false;
                self.follow().await?;
            }
            news.mark_unchanged();
            let has_read = self.read_on().await?;
            self.close_due().await?;
            if self.tick_at <= Instant::now() && !self.is_idle() {
                self.look_after().await?;
            }
            while let Some(request) = requests.next_now() {
                self.begin_again(request).await;
            }
            if has_read {
                tokio::task::yield_now().await;
                continue;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                // Their senders live as long as this does.
                _ = news.changed() => {}
                _ = changes.changed() => changes.mark_changed(),
                request = requests.next() => self.begin_again(request).await,
                () = until(wake_at) => {}
            }
        }
    }

    /// Whether there is nobody to be told of anything, and nothing to be looked after.
    fn is_idle(&self) -> bool {
        self.groups.is_empty() && self.standing.is_empty() && self.again.is_empty() && !self.has_lanes
    }

    fn wake_at(&self) -> Option<Instant> {
        let now = clock::wall();
        let due = self.groups.iter().filter_map(Group::due_at).min();
        let due = due.map(|at| Instant::now() + at.since(now));
        due.into_iter().chain((!self.is_idle()).then_some(self.tick_at)).min()
    }

    /// Reads the next events of those who are behind; whether there were any.
    async fn read_on(&mut self) -> Result<bool, SpoolError> {
        let last = self.options.journal.last().0;
        let behind: Vec<u64> = self.cursors().filter(|read| *read < last).collect();
        let turn = behind.iter().copied().filter(|read| *read > self.served).min();
        let Some(cursor) = turn.or_else(|| behind.iter().copied().min()) else { return Ok(false) };
        self.served = cursor;
        let found = match self.options.journal.read(Position(cursor), PORTION).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be read; it is tried again");
                sleep(PAUSE).await;
                return Ok(false);
            }
        };
        // What is missing has ended, or was damaged.
        let reached = found.last().map_or(last, |(position, _)| position.0);
        let told: Vec<_> =
            found.into_iter().map(|(position, event)| (position.0, Arc::new(Told::of(event)))).collect();
        let full = self.tell(cursor, &told, reached);
        self.keep(full).await?;
        Ok(true)
    }

    fn cursors(&self) -> impl Iterator<Item = u64> {
        let groups = self.groups.iter().map(|group| group.read);
        groups.chain(self.again.iter().map(|again| again.group.read))
    }

    /// Shows events to the groups that have read up to there; answers what is full.
    fn tell(&mut self, cursor: u64, told: &[(u64, Arc<Told>)], reached: u64) -> Vec<Full> {
        let now = clock::wall();
        let mut all = self.tell_again(cursor, told, reached);
        let is_here = |group: &&mut Group| group.read == cursor;
        let mut here: Vec<_> = self.groups.iter_mut().filter(is_here).collect();
        for (position, told) in told {
            let mut full = Vec::new();
            for group in &mut here {
                let mut closed = Vec::new();
                group.take(*position, told, now, &mut closed);
                full.extend(closed.into_iter().map(|closed| Full::of(group, closed)));
            }
            if self.has_alike && !full.is_empty() {
                close_alike(here.iter_mut().map(|group| &mut **group), &mut full);
            }
            all.extend(full);
        }
        for group in here {
            group.read = reached;
            let closed = if group.wish.is_single() { group.close() } else { None };
            all.extend(closed.map(|closed| Full::of(group, closed)));
        }
        all.extend(self.close_crowd());
        self.join_groups();
        all
    }

    /// The same for what is told again.
    fn tell_again(&mut self, cursor: u64, told: &[(u64, Arc<Told>)], reached: u64) -> Vec<Full> {
        let mut all = Vec::new();
        for Again { group, end, .. } in self.again.iter_mut().filter(|again| again.group.read == cursor) {
            let mut full = Vec::new();
            for (position, told) in told.iter().filter(|(position, _)| position <= end) {
                group.take(*position, told, clock::wall(), &mut full);
            }
            group.read = reached;
            all.extend(full.into_iter().map(|closed| Full::of(group, closed)));
        }
        all.extend(self.again.iter_mut().filter_map(Again::rest));
        self.limit_again(&mut all);
        all
    }

    /// Closes the oldest batches while too much is open.
    fn close_crowd(&mut self) -> Vec<Full> {
        let mut full = Vec::new();
        let mut open: usize = self.groups.iter().map(Group::octets).sum();
        while open > OPEN {
            let oldest =
                self.groups.iter_mut().filter(|group| !group.is_empty()).min_by_key(|group| group.due_at());
            let Some(group) = oldest else { break };
            open -= group.octets();
            let closed = group.close();
            full.extend(closed.map(|closed| Full::of(group, closed)));
        }
        full
    }

    /// Closes and keeps what has waited long enough.
    async fn close_due(&mut self) -> Result<(), SpoolError> {
        let now = clock::wall();
        let mut full = Vec::new();
        for group in self.groups.iter_mut().filter(|group| group.is_due(now)) {
            full.extend(group.close().map(|closed| Full::of(group, closed)));
        }
        if self.has_alike && !full.is_empty() {
            close_alike(self.groups.iter_mut(), &mut full);
        }
        self.join_groups();
        self.keep(full).await
    }

    /// Makes posts of batches, durably.
    async fn keep(&mut self, mut full: Vec<Full>) -> Result<(), SpoolError> {
        if full.is_empty() {
            self.end_again();
            return Ok(());
        }
        let lost = self.excess(&mut full);
        let mut press = Press::new(&self.options.ids, &self.options.hostname, clock::wall());
        full.iter().for_each(|full| press.add(full));
        for admission in press.finish() {
            for post in &admission.posts {
                if let Some(id) = &post.destination.webhook {
                    *self.piles.entry(id.clone()).or_default() += 1;
                    self.standing.entry(id.clone()).or_default().backlog.add(post.body.length.into());
                }
            }
            self.commit(admission).await?;
        }
        self.groups.iter_mut().for_each(Group::keep);
        if !lost.is_empty() {
            lost.iter().for_each(|(id, events)| self.lose(id, *events));
            // Before any batch says that more has been told.
            self.note_loss().await?;
        }
        self.end_again();
        self.stall();
        Ok(())
    }

    /// Commits, again and again if that fails: until then the journal holds the events.
    async fn commit(&self, admission: Admission) -> Result<(), SpoolError> {
        let mut has_failed = false;
        loop {
            match self.options.spool.0.commit(admission.clone()).await {
                Ok(_) => return Ok(()),
                Err(SpoolError::Closed) => return Err(SpoolError::Closed),
                Err(error) if !has_failed => {
                    tracing::warn!(%error, "batches of events cannot be kept; the journal holds them, it is tried again and again");
                    has_failed = true;
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }
}

/// Closes what others have open that want the same as those that have just closed: they
/// go on together.
fn close_alike<'a>(groups: impl Iterator<Item = &'a mut Group>, full: &mut Vec<Full>) {
    let place = |wish: &Arc<Wish>, read: u64| (Arc::clone(wish), read);
    let closed: HashSet<_> = full.iter().map(|full| place(&full.wish, full.closed.reached)).collect();
    for group in groups.filter(|group| !group.is_empty()) {
        if closed.contains(&place(&group.wish, group.read)) {
            full.extend(group.close().map(|closed| Full::of(group, closed)));
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
