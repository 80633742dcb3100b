//! Delivery: everything between a post that is due and its verdict.
//!
//! One task, the dispatcher, owns all lanes. It does no I/O and never waits for
//! one thing: it takes what woke it (rings of the spool, reports of workers,
//! answers to claims, a timer, the stop), tells the lanes concerned, asks each
//! what it wants now, and starts that. Workers make the attempts (`attempt`).
//! Claims and settlements are made by tasks, all that begin together by one; those
//! that do not answer at once go on as tasks of their own, so a slow spool delays no
//! lane but those it is asked about.
//!
//! Waiting posts cost nothing here: they stay in the spool. A lane without
//! posts, attempts, connections or a grudge is forgotten.

mod announce;
mod ask;
mod attempt;
mod batches;
mod begin;
mod berth;
mod bounce;
pub mod breaker;
mod caught;
pub mod charge;
pub mod collector;
mod compress;
mod conclusion;
mod connection;
pub mod control;
mod courier;
mod credentials;
mod dialogue;
mod dispatch;
mod egress;
mod ending;
mod frames;
mod http1;
mod http2;
pub mod inquiry;
pub mod lane;
mod lanes;
pub mod latencies;
pub mod look;
mod message;
mod notes;
mod order;
pub mod pace;
pub mod pauses;
pub mod plan;
pub mod profile;
mod proxy;
mod record;
mod redirect;
mod relay;
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
mod shop;
pub mod sign;
mod steering;
pub mod stock;
mod tally;
pub mod target;
pub mod terms;
pub mod tls;
mod tls_words;
mod told;
mod traced;
mod tray;
pub mod turns;
mod watched;
pub mod window;
mod work;

use crate::clock::{self, Ids};
use crate::event::Wanted;
use crate::first_attempts::{self, FirstAttempts};
use crate::metrics::Metrics;
use crate::post::Destination;
use crate::protocol_log::ProtocolLog;
use crate::spool::{Doorbell, Spool, SpoolError};
use crate::subscribers::Subscribers;
use crate::trace::Tracer;
use control::{Request, Requests};
use dispatch::Dispatcher;
use notes::Notary;
use order::Report;
use profile::{Bounce, Profile};
use shop::Shop;
use sign::SigningKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use target::Egress;
use terms::Book;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use work::{Done, SPOOL_PAUSE, lost};

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits, timeouts, the schedule and all else that each destination is served by.
    pub book: Book,
    /// Where posts may go.
    pub egress: Egress,
    /// Who reports to senders what was given up, if somebody does.
    pub bounce: Option<Arc<Bounce>>,
    /// Who waits for first attempts.
    pub first_attempts: FirstAttempts,
    /// Where the ids of reports come from; the same as those of messages.
    pub ids: Arc<Ids>,
    /// The keys that routes may name.
    pub signing_keys: HashMap<String, Arc<SigningKey>>,
    /// The auth profiles that routes may name.
    pub profiles: HashMap<String, Arc<Profile>>,
    /// Where spans of attempts go.
    pub tracer: Tracer,
    /// What this gateway calls itself in `CDN-Loop`: the same after a restart, and
    /// another than any other gateway's.
    pub instance: String,
    /// Connections and attempts of all destinations together, at least one.
    pub total_connections: usize,
    /// Whether anybody wants events.
    pub wanted: Wanted,
    /// The webhooks whose batches are delivered.
    pub subscribers: Subscribers,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            book: Book::default(),
            egress: Egress::default(),
            bounce: None,
            first_attempts: FirstAttempts::default(),
            ids: Arc::default(),
            signing_keys: HashMap::new(),
            profiles: HashMap::new(),
            tracer: Tracer::off(),
            instance: String::new(),
            total_connections: 2000,
            wanted: Wanted::default(),
            subscribers: Subscribers::default(),
            metrics: Arc::default(),
        }
    }
}

/// Reports, and ends of tasks, taken in one look.
const LOOK: usize = 256;

/// Delivers what the spool holds until `stop` turns true and the attempts under
/// way have ended and are settled; the caller sets the deadline. Other `options`
/// hold from the moment they come.
pub async fn run(
    spool: Arc<dyn Spool>,
    mut options: watch::Receiver<Arc<Options>>,
    requests: Requests,
    log: ProtocolLog,
    mut stop: watch::Receiver<bool>,
) {
    let begin = Arc::clone(&options.borrow_and_update());
    // However this ends, nobody waits in vain.
    let _closing = first_attempts::Closing(begin.first_attempts.clone());
    let (reports, news) = mpsc::unbounded_channel();
    let (notary, jobs) = Notary::new();
    let shop = Arc::new(Shop::new(Arc::clone(&spool), &begin, log));
    let doorbell = spool.doorbell();
    let mut dispatcher = Dispatcher::new(shop, &begin, notary, reports);
    let writer = tokio::spawn(jobs.write(Arc::clone(&spool)));
    let waiting = async {
        dispatcher.recall().await;
        waiting(&*spool).await
    };
    let waiting = tokio::select! {
        waiting = waiting => waiting,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let webhooks = begin.subscribers.watch();
    let mut ears =
        Ears { doorbell, news, options, in_force: begin, requests: Some(requests), webhooks, stop };
    dispatcher.wake(Wake::Rung(waiting));
    while !dispatcher.is_done() {
        let mut wake = ears.listen(&mut dispatcher).await;
        if let Wake::News(news) = &mut wake {
            ears.hear_out(&mut dispatcher, news).await;
        }
        let begun = clock::worked();
        dispatcher.wake(wake);
        let worked = clock::worked().saturating_sub(begun);
        dispatcher.shop.metrics.dispatcher_seconds.inc_by(worked.as_secs_f64());
    }
    drop(dispatcher);
    // It ends with what it was given; a panic there is no reason for one here.
    let _ = writer.await;
}

/// What waits in the spool at the start.
async fn waiting(spool: &dyn Spool) -> Vec<(Arc<Destination>, Duration)> {
    loop {
        match spool.lanes().await {
            Ok(lanes) => return lanes,
            Err(SpoolError::Closed) => return Vec::new(),
            Err(error) => tracing::error!("cannot list what is to be delivered: {error}"),
        }
        tokio::time::sleep(SPOOL_PAUSE).await;
    }
}

/// All that can wake the dispatcher from outside.
struct Ears {
    doorbell: Arc<Doorbell>,
    news: mpsc::UnboundedReceiver<Report>,
    options: watch::Receiver<Arc<Options>>,
    in_force: Arc<Options>,
    /// Nothing when nobody can ask any more.
    requests: Option<Requests>,
    webhooks: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
}

impl Ears {
    /// Adds what is reported and done before anything else is to be done: under
    /// load, one look is for many of them.
    async fn hear_out(&mut self, dispatcher: &mut Dispatcher, news: &mut News) {
        tokio::task::yield_now().await;
        news.reports.extend(std::iter::from_fn(|| self.news.try_recv().ok()).take(LOOK));
        let done = std::iter::from_fn(|| dispatcher.tasks.try_join_next()).take(LOOK);
        news.done.extend(done.map(|done| done.unwrap_or_else(lost)));
    }

    async fn listen(&mut self, dispatcher: &mut Dispatcher) -> Wake {
        let timer = dispatcher.next_timer();
        let is_stopping = dispatcher.is_stopping;
        tokio::select! {
            Some(report) = self.news.recv() => Wake::News(News { reports: vec![report], ..News::default() }),
            rung = self.doorbell.wait() => Wake::Rung(rung),
            Some(done) = dispatcher.tasks.join_next() => {
                Wake::News(News { done: vec![done.unwrap_or_else(lost)], ..News::default() })
            }
            () = sleep_until(timer) => Wake::Timer,
            request = next(&mut self.requests) => match request {
                Some(request) => Wake::Asked(Box::new(request)),
                None => {
                    self.requests = None;
                    Wake::Timer
                }
            },
            Ok(()) = self.webhooks.changed() => Wake::Subscribed,
            Ok(()) = self.options.changed() => {
                let new = Arc::clone(&self.options.borrow_and_update());
                let old = std::mem::replace(&mut self.in_force, Arc::clone(&new));
                Wake::Changed { old, new }
            }
            // A stop whose sender is gone is one as well.
            _ = self.stop.wait_for(|stop| *stop), if !is_stopping => Wake::Stop,
        }
    }
}

async fn next(requests: &mut Option<Requests>) -> Option<Request> {
    match requests {
        Some(requests) => requests.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What workers report, and what tasks led to.
#[derive(Default)]
struct News {
    reports: Vec<Report>,
    done: Vec<Done>,
}

/// What woke the dispatcher.
enum Wake {
    News(News),
    Rung(Vec<(Arc<Destination>, Duration)>),
    Timer,
    Asked(Box<Request>),
    Changed {
        old: Arc<Options>,
        new: Arc<Options>,
    },
    /// A webhook is others than it was.
    Subscribed,
    Stop,
}

impl Dispatcher {
    /// Takes one piece of news and lets every lane concerned do what it wants.
    fn wake(&mut self, wake: Wake) {
        let now = Instant::now();
        match wake {
            Wake::News(News { reports, done }) => {
                self.take_reports(reports, now);
                done.into_iter().for_each(|done| self.finish(done, now));
            }
            Wake::Rung(rung) => self.take_rings(rung, now),
            Wake::Timer => {}
            Wake::Asked(request) => self.take_request(*request, now),
            Wake::Changed { old, new } => self.change(&new, &old, now),
            Wake::Subscribed => self.renew_webhooks(now),
            Wake::Stop => self.stop(now),
        }
        self.take_timers(now);
        self.settle_down(now);
    }
}
