//! Delivery: everything between a post that is due and its verdict.
//!
//! One task, the dispatcher, owns all lanes. It does no I/O and never waits for
//! one thing: it takes what woke it (rings of the spool, reports of workers,
//! answers to claims, a timer, the stop), tells the lanes concerned, asks each
//! what it wants now, and starts that. Workers make the attempts (`attempt`).
//! Claims and settlements that do not answer at once go on as tasks of their
//! own, so a slow spool delays no lane but those it is asked about.
//!
//! Waiting posts cost nothing here: they stay in the spool. A lane without
//! posts, attempts, connections or a grudge is forgotten.

mod attempt;
mod compress;
mod connection;
#[allow(dead_code, reason = "the dispatcher is to answer")]
pub mod control;
mod courier;
mod credentials;
mod dialogue;
mod egress;
mod frames;
mod http1;
mod http2;
pub mod lane;
pub mod pace;
pub mod profile;
mod proxy;
mod record;
mod redirect;
mod request;
#[cfg(test)]
mod request_tests;
mod resolver;
pub mod retry;
#[cfg(test)]
mod retry_tests;
mod road;
mod room;
pub mod ruling;
mod shape;
pub mod sign;
pub mod target;
pub mod terms;
pub mod tls;
mod tls_words;
mod watched;

use crate::post::Destination;
use crate::protocol_log::ProtocolLog;
use crate::spool::{Attempt, Claim, Claimed, Settlement, Spool, SpoolError};
use attempt::{Order, Report, Shop};
use control::Requests;
use lane::{Lane, Plan};
use profile::{Bounce, Profile};
use retry::{Measure, Verdict};
use sign::SigningKey;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use target::Egress;
use terms::Book;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the engine needs to know.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Limits, timeouts, the schedule and all else that each destination is served by.
    pub book: Book,
    /// Where posts may go.
    pub egress: Egress,
    /// Who reports to senders what was given up, if somebody does.
    pub bounce: Option<Arc<Bounce>>,
    /// The keys that routes may name.
    pub signing_keys: HashMap<String, Arc<SigningKey>>,
    /// The auth profiles that routes may name.
    pub profiles: HashMap<String, Arc<Profile>>,
    /// What this gateway calls itself in `CDN-Loop`: the same after a restart, and
    /// another than any other gateway's.
    pub instance: String,
}

/// Time until a spool that failed is asked again.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// Reports taken in one look.
const LOOK: usize = 256;

/// Delivers what the spool holds until `stop` turns true and the attempts under
/// way have ended and are settled; the caller sets the deadline.
pub async fn run(
    spool: Arc<dyn Spool>,
    options: watch::Receiver<Arc<Options>>,
    _requests: Requests,
    log: ProtocolLog,
    mut stop: watch::Receiver<bool>,
) {
    let options = Options::clone(&options.borrow());
    let (reports, mut news) = mpsc::unbounded_channel();
    let shop = Arc::new(Shop::new(spool, options, log));
    let doorbell = shop.spool.doorbell();
    let mut dispatcher = Dispatcher::new(shop, reports);
    let waiting = tokio::select! {
        waiting = dispatcher.waiting() => waiting,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    dispatcher.wake(Wake::Rung(waiting));
    let mut look = Vec::with_capacity(LOOK);
    while !dispatcher.is_done() {
        let timer = dispatcher.next_timer();
        let wake = tokio::select! {
            _ = news.recv_many(&mut look, LOOK) => Wake::News(std::mem::take(&mut look)),
            rung = doorbell.wait() => Wake::Rung(rung),
            Some(done) = dispatcher.tasks.join_next() => Wake::Done(done.ok().flatten()),
            () = sleep_until(timer) => Wake::Timer,
            // A stop whose sender is gone is one as well.
            _ = stop.wait_for(|stop| *stop), if !dispatcher.is_stopping => Wake::Stop,
        };
        dispatcher.wake(wake);
    }
}

/// What woke the dispatcher.
enum Wake {
    News(Vec<Report>),
    Rung(Vec<(Arc<Destination>, Duration)>),
    /// A task ended: a claim was answered, or a settlement noted.
    Done(Option<Answer>),
    Timer,
    Stop,
}

/// The spool's answer to a claim of a lane.
type Answer = (Arc<Destination>, Result<Claimed, SpoolError>);

struct Dispatcher {
    shop: Arc<Shop>,
    reports: mpsc::UnboundedSender<Report>,
    lanes: HashMap<Arc<Destination>, Berth>,
    timers: BTreeSet<(Instant, Arc<Destination>)>,
    /// Claims and settlements that did not answer at once.
    tasks: JoinSet<Option<Answer>>,
    in_flight: usize,
    is_stopping: bool,
}

/// A lane with its resting workers and its timer.
struct Berth {
    lane: Lane,
    resting: Vec<oneshot::Sender<Order>>,
    timer: Option<Instant>,
}

impl Dispatcher {
    fn new(shop: Arc<Shop>, reports: mpsc::UnboundedSender<Report>) -> Dispatcher {
        Dispatcher {
            shop,
            reports,
            lanes: HashMap::new(),
            timers: BTreeSet::new(),
            tasks: JoinSet::new(),
            in_flight: 0,
            is_stopping: false,
        }
    }

    /// What waits in the spool at the start.
    async fn waiting(&self) -> Vec<(Arc<Destination>, Duration)> {
        loop {
            match self.shop.spool.lanes().await {
                Ok(lanes) => return lanes,
                Err(SpoolError::Closed) => return Vec::new(),
                Err(error) => tracing::error!("cannot list what is to be delivered: {error}"),
            }
            tokio::time::sleep(SPOOL_PAUSE).await;
        }
    }

    fn is_done(&self) -> bool {
        self.is_stopping && self.in_flight == 0 && self.tasks.is_empty()
    }

    fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes one piece of news and lets every lane concerned do what it wants.
    fn wake(&mut self, wake: Wake) {
        let now = Instant::now();
        let mut touched = HashSet::new();
        match wake {
            Wake::News(reports) => self.take_reports(reports, now, &mut touched),
            Wake::Rung(rung) => {
                for (lane, after) in rung {
                    self.berth(&lane).lane.expect((now + after).into_std());
                    touched.insert(lane);
                }
            }
            Wake::Done(Some((lane, claimed))) => {
                self.take_claims(&lane, claimed, now);
                touched.insert(lane);
            }
            Wake::Done(None) => {}
            Wake::Timer => touched.extend(self.due_timers(now)),
            Wake::Stop => self.stop(),
        }
        for lane in touched {
            self.pursue(&lane, now);
        }
    }

    fn berth(&mut self, lane: &Arc<Destination>) -> &mut Berth {
        let limits = self.shop.book.terms(lane).limits;
        self.lanes.entry(Arc::clone(lane)).or_insert_with(|| Berth {
            lane: Lane::new(limits),
            resting: Vec::new(),
            timer: None,
        })
    }

    /// Notes how attempts ended, and settles them in one call.
    fn take_reports(&mut self, reports: Vec<Report>, now: Instant, touched: &mut HashSet<Arc<Destination>>) {
        let mut settled = Vec::with_capacity(reports.len());
        for report in reports {
            match report {
                Report::Left(lane) => {
                    touched.insert(lane);
                }
                Report::Ended { lane, claim, verdict, feedback, measure, attempt, next } => {
                    self.in_flight -= 1;
                    let shop = Arc::clone(&self.shop);
                    let is_stopping = self.is_stopping;
                    let berth = self.berth(&lane);
                    let schedule = &shop.book.terms(&lane).schedule;
                    berth.lane.end_attempt(feedback, schedule, now.into_std(), fastrand::f64());
                    berth.resting.extend(next.filter(|_| !is_stopping));
                    if measure != Measure::Nothing {
                        tracing::warn!("{lane}: {}", attempt.reason);
                    }
                    settled.push((claim, settlement(verdict, attempt)));
                    touched.insert(lane);
                }
            }
        }
        if !settled.is_empty() {
            self.settle(settled, now);
        }
    }

    /// Tells the spool, again and again if it fails: what it does not note it
    /// would keep claimed for ever.
    fn settle(&mut self, settled: Vec<(Claim, Settlement)>, now: Instant) {
        let spool = Arc::clone(&self.shop.spool);
        self.start(
            Box::pin(async move {
                loop {
                    match spool.settle(settled.clone()).await {
                        Ok(()) | Err(SpoolError::Closed) => return None,
                        Err(error) => tracing::error!("cannot note {} verdicts: {error}", settled.len()),
                    }
                    tokio::time::sleep(SPOOL_PAUSE).await;
                }
            }),
            now,
        );
    }

    fn claim(&mut self, lane: Arc<Destination>, most: usize, now: Instant) {
        let spool = Arc::clone(&self.shop.spool);
        self.start(
            Box::pin(async move {
                let claimed = spool.claim(&lane, most).await;
                Some((lane, claimed))
            }),
            now,
        );
    }

    /// Does now what needs no waiting, and leaves the rest to a task.
    fn start(&mut self, mut work: Pin<Box<dyn Future<Output = Option<Answer>> + Send>>, now: Instant) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match work.as_mut().poll(&mut context) {
            Poll::Ready(Some((lane, claimed))) => self.take_claims(&lane, claimed, now),
            Poll::Ready(None) => {}
            Poll::Pending => {
                self.tasks.spawn(work);
            }
        }
    }

    fn take_claims(&mut self, lane: &Arc<Destination>, claimed: Result<Claimed, SpoolError>, now: Instant) {
        let Claimed { claims, next } = claimed.unwrap_or_else(|error| {
            tracing::error!("cannot claim posts for {lane}: {error}");
            Claimed { claims: Vec::new(), next: Some(SPOOL_PAUSE) }
        });
        if self.is_stopping {
            return self.give_back(claims, now);
        }
        self.berth(lane).lane.end_claim(claims.len(), next, now.into_std());
        self.in_flight += claims.len();
        for claim in claims {
            let order = Order::new(lane, claim, &self.reports, &self.shop);
            self.hand_over(lane, order);
        }
    }

    /// Gives an order to the worker that rested last, so that the others may
    /// leave, or to a new one.
    fn hand_over(&mut self, lane: &Arc<Destination>, mut order: Order) {
        let berth = self.berth(lane);
        while let Some(worker) = berth.resting.pop() {
            match worker.send(order) {
                Ok(()) => return,
                Err(back) => order = back,
            }
        }
        tokio::spawn(attempt::work(Arc::clone(&self.shop), order));
    }

    /// Returns posts that were claimed when nothing new was to begin.
    fn give_back(&mut self, claims: Vec<Claim>, now: Instant) {
        if claims.is_empty() {
            return;
        }
        let again = || Settlement::Back;
        self.settle(claims.into_iter().map(|claim| (claim, again())).collect(), now);
    }

    fn due_timers(&mut self, now: Instant) -> Vec<Arc<Destination>> {
        let mut due = Vec::new();
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, lane)) = self.timers.pop_first() else { break };
            if let Some(berth) = self.lanes.get_mut(&lane) {
                berth.timer = None;
            }
            due.push(lane);
        }
        due
    }

    /// Lets resting workers go; those that work leave when they have ended.
    fn stop(&mut self) {
        self.is_stopping = true;
        for berth in self.lanes.values_mut() {
            berth.resting.clear();
        }
    }

    /// Does what a lane wants now.
    fn pursue(&mut self, lane: &Arc<Destination>, now: Instant) {
        while !self.is_stopping {
            let Some(berth) = self.lanes.get_mut(lane) else { return };
            match berth.lane.plan(now.into_std()) {
                Plan::Send(most) => {
                    berth.lane.begin_claim();
                    self.claim(Arc::clone(lane), most, now);
                }
                Plan::WaitUntil(at) => return self.set_timer(lane, at.into()),
                Plan::Idle => return self.forget_if_spent(lane, now),
            }
        }
    }

    /// Sees to it that the lane is asked again at `at`, or before.
    fn set_timer(&mut self, lane: &Arc<Destination>, at: Instant) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        if berth.timer.is_some_and(|set| set <= at) {
            return;
        }
        if let Some(set) = berth.timer.replace(at) {
            self.timers.remove(&(set, Arc::clone(lane)));
        }
        self.timers.insert((at, Arc::clone(lane)));
    }

    fn forget_if_spent(&mut self, lane: &Arc<Destination>, now: Instant) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        berth.resting.retain(|worker| !worker.is_closed());
        if berth.resting.is_empty() && berth.lane.is_spent(now.into_std()) {
            if let Some(set) = berth.timer {
                self.timers.remove(&(set, Arc::clone(lane)));
            }
            self.lanes.remove(lane);
        }
    }
}

fn settlement(verdict: Verdict, last: Attempt) -> Settlement {
    match verdict {
        Verdict::Delivered => Settlement::Delivered,
        Verdict::Deferred { after, .. } => Settlement::Again { after, last },
        Verdict::Held { .. } => Settlement::Held { last },
        Verdict::Failed { .. } => Settlement::Failed { last },
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
