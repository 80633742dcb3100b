//! What all workers use, as long as the options are the same.

use super::Options;
use super::caught::caught;
use super::credentials::Credentials;
use super::egress::Connector;
use super::profile::{Bounce, Profile};
use super::request;
use super::retry::Schedule;
use super::room::Room;
use super::sign::SigningKey;
use super::terms::Book;
use super::work::SPOOL_PAUSE;
use crate::clock::{Clock, Ids};
use crate::event::{Event, Wanted};
use crate::first_attempts::FirstAttempts;
use crate::metrics::Metrics;
use crate::post::Timestamp;
use crate::protocol_log::ProtocolLog;
use crate::spool::{Claim, Settlement, Spool, SpoolError};
use crate::subscribers::Subscribers;
use crate::trace::Tracer;
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// How posts that were claimed ended, and what is told of it: of one post, of none, or of
/// several that only end, as a spool keeps events in one with these.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub done: Vec<(Claim, Settlement)>,
    pub events: Vec<Event>,
}

impl Settled {
    /// That of one post.
    pub(super) fn one(claim: Claim, settlement: Settlement, event: Option<Event>) -> Settled {
        Settled { done: vec![(claim, settlement)], events: event.into_iter().collect() }
    }

    /// Posts that were not tried after all.
    pub(super) fn back(claims: impl IntoIterator<Item = Claim>) -> Settled {
        let done = claims.into_iter().map(|claim| (claim, Settlement::Back)).collect();
        Settled { done, events: Vec::new() }
    }
}

/// See the module.
pub(super) struct Shop {
    pub spool: Arc<dyn Spool>,
    pub book: Book,
    pub connector: Arc<Connector>,
    pub log: ProtocolLog,
    pub metrics: Arc<Metrics>,
    pub first_attempts: FirstAttempts,
    pub bounce: Option<Arc<Bounce>>,
    pub ids: Arc<Ids>,
    pub signing_keys: HashMap<String, Arc<SigningKey>>,
    pub profiles: HashMap<String, Arc<Profile>>,
    pub credentials: Arc<Credentials>,
    pub tracer: Tracer,
    pub cdn_loop: HeaderValue,
    pub room: Arc<Room>,
    pub wanted: Wanted,
    pub subscribers: Subscribers,
    started_at: Timestamp,
    started: Instant,
}

impl Shop {
    pub(super) fn new(spool: Arc<dyn Spool>, options: &Options, log: ProtocolLog) -> Shop {
        Shop {
            spool,
            book: options.book.clone(),
            connector: Arc::new(Connector::new(options.egress.clone(), Arc::clone(&options.metrics))),
            log,
            metrics: Arc::clone(&options.metrics),
            first_attempts: options.first_attempts.clone(),
            bounce: options.bounce.clone(),
            ids: Arc::clone(&options.ids),
            signing_keys: options.signing_keys.clone(),
            profiles: options.profiles.clone(),
            credentials: Arc::default(),
            tracer: options.tracer.clone(),
            cdn_loop: request::cdn_loop(&options.instance),
            room: Arc::new(Room::new()),
            wanted: options.wanted.clone(),
            subscribers: options.subscribers.clone(),
            started_at: Clock::start().now(),
            started: Instant::now(),
        }
    }

    /// The same with other options. Under the same rules connections go on; secrets
    /// that are not configured any more are forgotten.
    pub(super) fn renewed(&self, options: &Options, old: &Options) -> Shop {
        let connector = match options.egress == old.egress {
            true => Arc::clone(&self.connector),
            false => Arc::new(Connector::new(options.egress.clone(), Arc::clone(&options.metrics))),
        };
        connector.tls().forget();
        self.credentials.keep(&options.profiles);
        Shop {
            spool: Arc::clone(&self.spool),
            book: options.book.clone(),
            connector,
            log: self.log.clone(),
            metrics: Arc::clone(&options.metrics),
            first_attempts: self.first_attempts.clone(),
            bounce: options.bounce.clone(),
            ids: Arc::clone(&self.ids),
            signing_keys: options.signing_keys.clone(),
            profiles: options.profiles.clone(),
            credentials: Arc::clone(&self.credentials),
            tracer: options.tracer.clone(),
            cdn_loop: request::cdn_loop(&options.instance),
            room: Arc::clone(&self.room),
            wanted: options.wanted.clone(),
            subscribers: options.subscribers.clone(),
            ..*self
        }
    }

    /// The time by a clock that does not jump.
    pub(super) fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// Tells the spool, again and again if it fails: what it does not note it
    /// would keep claimed for ever.
    pub(super) async fn settle(&self, settled: Settled) {
        let Settled { done, events } = settled;
        loop {
            match caught(async { self.spool.settle(done.clone(), events.clone()).await }).await {
                Ok(()) | Err(SpoolError::Closed) => return,
                Err(error) => tracing::error!("cannot note {} verdicts: {error}", done.len()),
            }
            sleep(SPOOL_PAUSE).await;
        }
    }

    /// Publishes events that no verdict caused, again and again if that fails.
    pub(super) async fn publish(&self, events: Vec<Event>) {
        while !events.is_empty() {
            match caught(async { self.spool.publish(events.clone()).await }).await {
                Ok(()) | Err(SpoolError::Closed) => return,
                Err(error) => tracing::error!("cannot publish {} events: {error}", events.len()),
            }
            sleep(SPOOL_PAUSE).await;
        }
    }

    /// Takes out those whose time is over.
    pub(super) fn take_over(&self, claims: &mut Vec<Claim>, schedule: &Schedule) -> Vec<Claim> {
        let now = self.now();
        claims.extract_if(.., |claim| now >= schedule.ends_at(&claim.post, claim.ages_from)).collect()
    }

    /// Whether the time of a post is over.
    pub(super) fn is_over(&self, claim: &Claim, schedule: &Schedule) -> bool {
        self.now() >= schedule.ends_at(&claim.post, claim.ages_from)
    }
}
