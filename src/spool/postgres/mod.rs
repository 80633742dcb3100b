//! The PostgreSQL backend: a spool in a database that others keep, with as many copies of
//! it as they like.
//!
//! The rows are the truth, and nothing of them is remembered here: what a post's next state
//! is, is computed where its row is locked, by the rules that the embedded backend has too.
//! Time is the clock of the database. Posts are committed in groups (`commits`); what only
//! costs a repeat when it is lost, claims and news of deliveries, does not wait for the disk.
//!
//! A database that is away is waited for, and asked the same again on a new connection: an
//! outcome that is not known is no outcome. When that takes too long mail is refused until
//! the database has written something durably again.
//!
//! One process works on a database (`hold`): a second one is refused. On opening it takes all
//! posts over that another one had claimed. Before each post is sent this one is asked whether
//! it still may.

mod changes;
mod claims;
mod commits;
pub(super) mod depot;
mod events;
mod freight;
mod hands;
mod hold;
mod hosts;
mod lines;
mod link;
mod looks;
mod notes;
mod open;
mod orders;
mod risks;
mod row;
mod schema;
mod settles;
mod sweep;

use super::{
    Attempt, Census, Claim, Claimed, Committed, Content, Counts, Doorbell, Earlier, Health, Later, Noted,
    Order, Page, Query, Settlement, Spool, SpoolError,
};
use crate::event::{Event, Mark};
use crate::post::{Admission, Destination, MessageId, Post, PostId};
use crate::tenant::Tenant;
use bytes::Bytes;
use commits::Commit;
use hands::Hands;
use hold::Hold;
use link::{Links, Trouble};
pub use open::{OpenError, Options, check, holds_password};
pub use risks::Risk;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long a commit, a claim or a look waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the first try may take, and any of them; it is doubled with each, for the server may
/// wait for its standby.
const TRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// Between the first two tries, and between any; it is doubled with each.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Octets of messages that wait to be committed, beyond which none is taken.
const WAITING: usize = 64 << 20;

/// Changes nothing, and is written: its commit waits for what was committed before.
const WRITE: &str = "UPDATE postgate_spool SET log = log";

/// An open spool; see the module.
pub struct Postgres {
    shared: Arc<Shared>,
    newest: MessageId,
    jobs: mpsc::UnboundedSender<Commit>,
    /// Ends with the spool.
    _tasks: JoinSet<()>,
}

/// What its tasks share.
struct Shared {
    options: Options,
    /// For what must survive.
    durable: Links,
    /// For what may be done again.
    quick: Links,
    hold: Hold,
    doorbell: Arc<Doorbell>,
    health: watch::Sender<Health>,
    /// Which spool marks of events are of.
    log: u32,
    hands: Hands,
    /// Events became durable.
    told: Notify,
    /// Octets of messages that wait to be committed.
    waiting: AtomicUsize,
    damages: AtomicU64,
}

impl Shared {
    /// Does something until it has an answer that counts, or patience is over.
    async fn insist<T, F: Future<Output = Result<T, Trouble>>>(
        &self,
        patience: Duration,
        work: impl Fn() -> F,
    ) -> Result<T, SpoolError> {
        let (begun, mut limit, mut pause, mut told) = (Instant::now(), TRY.0, PAUSE.0, String::new());
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let text = match timeout(limit.min(left), work()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Trouble::Refused(error))) => return Err(error),
                Ok(Err(Trouble::Lost(text))) => text,
                Err(_) => "it does not answer".to_owned(),
            };
            if begun.elapsed() + pause >= patience {
                let error = SpoolError::from(Trouble::Lost(text));
                self.health.send_replace(Health::Failed(error.to_string()));
                return Err(error);
            }
            if text != told {
                tracing::warn!(error = text, "the database is away; it is asked again");
                told = text;
            }
            sleep(pause).await;
            (limit, pause) = ((limit * 2).min(TRY.1), (pause * 2).min(PAUSE.1));
        }
    }

    /// Resolves when all that was committed before is as durable as what was waited for.
    async fn make_safe(&self) -> Result<(), Trouble> {
        let link = self.durable.take().await?;
        link.execute(WRITE, &[]).await?;
        link.put_back();
        Ok(())
    }

    /// Says that lanes have something to send.
    fn ring(&self, rung: &[(Arc<Destination>, Duration)]) {
        rung.iter().for_each(|(lane, after)| self.doorbell.ring(lane, *after));
    }
}

impl Postgres {
    /// The greatest message id found on opening.
    pub fn newest(&self) -> MessageId {
        self.newest
    }

    /// Ends in order, and lets another process begin at once. An attempt that is still under
    /// way counts as made, and its post is due at once. What is not noted soon is done as
    /// after a crash.
    pub async fn close(&self) {
        self.shared.hold.leave(settles::cut_off(&self.shared)).await;
    }

    /// Does something whether or not anybody waits for it.
    fn off<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SpoolError>> + Send + 'static,
    ) -> Later<'static, T> {
        let task = tokio::spawn(work);
        Box::pin(async move { task.await.map_err(|_| SpoolError::Closed)? })
    }

    /// Asks the database until patience is over.
    fn ask<T: Send + 'static, F>(
        &self,
        work: impl Fn(Arc<Shared>) -> F + Send + Sync + 'static,
    ) -> Later<'static, T>
    where
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.off(async move { shared.insist(PATIENCE, || work(Arc::clone(&shared))).await })
    }
}

impl Spool for Postgres {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        if let Some(refusal) = self.shared.health.borrow().refusal() {
            return Box::pin(async { Err(refusal) });
        }
        let octets = admission.all_octets();
        if self.shared.waiting.fetch_add(octets, Ordering::Relaxed) > WAITING {
            self.shared.waiting.fetch_sub(octets, Ordering::Relaxed);
            let late = "too much waits for the database".to_owned();
            return Box::pin(async { Err(SpoolError::Failed(late)) });
        }
        let (ack, answered) = oneshot::channel();
        // Only a closed spool takes no more, and drops the answer.
        let _ = self.jobs.send(Commit { admission: Arc::new(admission), octets, ack });
        Box::pin(async move { answered.await.map_err(|_| SpoolError::Closed)? })
    }

    fn earlier<'a>(&'a self, tenant: &'a Tenant, key: &'a str) -> Later<'a, Option<Earlier>> {
        let (tenant, key) = (tenant.clone(), Arc::<str>::from(key));
        self.ask(move |shared| commits::earlier(shared, tenant.clone(), Arc::clone(&key)))
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        self.ask(claims::lanes)
    }

    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed> {
        self.off(claims::claim(Arc::clone(&self.shared), row::lane_of(lane), None, max))
    }

    fn claim_expired<'a>(
        &'a self,
        lane: &'a Arc<Destination>,
        max_age: Duration,
        max: usize,
    ) -> Later<'a, Claimed> {
        self.off(claims::claim(Arc::clone(&self.shared), row::lane_of(lane), Some(max_age), max))
    }

    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes> {
        let (id, body) = (claim.post.id, claim.post.body);
        self.ask(move |shared| looks::body(shared, id, body))
    }

    fn may_send(&self) -> Result<(), SpoolError> {
        Ok(self.shared.hold.stands()?)
    }

    fn settle(&self, done: Vec<(Claim, Settlement)>, events: Vec<Event>) -> Later<'_, ()> {
        let (shared, done, events) = (Arc::clone(&self.shared), Arc::new(done), Arc::new(events));
        self.off(async move {
            // A verdict is not given up.
            let work = || settles::settle(Arc::clone(&shared), Arc::clone(&done), Arc::clone(&events));
            shared.insist(Duration::MAX, work).await?;
            done.iter().for_each(|(claim, _)| shared.hands.drop(claim.post.id, claim.fence));
            Ok(())
        })
    }

    fn keeps(&self, post: &Post) -> bool {
        self.shared.options.keeps(post)
    }

    fn publish(&self, events: Vec<Event>) -> Later<'_, ()> {
        if events.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let events = Arc::new(events);
        self.ask(move |shared| events::publish(shared, Arc::clone(&events)))
    }

    fn events(&self, after: Mark) -> Later<'_, (Mark, Vec<Event>)> {
        Box::pin(events::events(Arc::clone(&self.shared), after))
    }

    fn order(&self, which: Query, order: Order) -> Later<'_, u64> {
        let shared = Arc::clone(&self.shared);
        self.off(orders::order(shared, which, Arc::new(order)))
    }

    fn search(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Page> {
        let which = Arc::new(which);
        self.ask(move |shared| looks::search(shared, Arc::clone(&which), before, most))
    }

    fn census(&self, which: Query) -> Later<'_, Census> {
        let which = Arc::new(which);
        self.ask(move |shared| looks::census(shared, Arc::clone(&which)))
    }

    fn attempts(&self, id: PostId) -> Later<'_, Vec<Attempt>> {
        self.ask(move |shared| looks::attempts(shared, id))
    }

    fn content(&self, id: PostId) -> Later<'_, Content> {
        self.ask(move |shared| looks::content(shared, id))
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        self.ask(looks::counts)
    }

    fn note<'a>(&'a self, key: &'a str) -> Later<'a, Option<Noted>> {
        let key = Arc::<str>::from(key);
        self.ask(move |shared| notes::note(shared, Arc::clone(&key)))
    }

    fn notes<'a>(&'a self, beginning: &'a str) -> Later<'a, Vec<(String, Noted)>> {
        let beginning = Arc::<str>::from(beginning);
        self.ask(move |shared| notes::beginning(shared, Arc::clone(&beginning)))
    }

    fn set_note<'a>(&'a self, key: &'a str, value: Option<Bytes>, expect: Option<u64>) -> Later<'a, u64> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        self.off(async move { notes::set(&shared, &key, value, expect).await })
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.shared.doorbell)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn damages(&self) -> u64 {
        self.shared.damages.load(Ordering::Relaxed)
    }
}
