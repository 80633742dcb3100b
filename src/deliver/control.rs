//! How others look at delivery and steer it: requests to the dispatcher, each
//! with the place for its answer.

use super::latencies::Latencies;
use super::look::{Choice, Look};
use crate::post::{Destination, PostId, Timestamp};
use crate::spool::{Counts, Order, Query, SpoolError};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A handle to the dispatcher; cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

/// Where the dispatcher takes what it is asked.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// Which destinations are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Of this origin, or of all that fit.
    pub origins: UrlPattern,
    /// Of this tenant; nothing means all.
    pub tenant: Option<Tenant>,
}

/// One request and the place for its answer.
#[derive(Debug)]
pub(super) enum Request {
    Post(Box<Query>, Order, oneshot::Sender<Result<Ordered, SpoolError>>),
    Pause(Which, String, oneshot::Sender<Result<u64, SpoolError>>),
    Resume(Which, oneshot::Sender<Result<u64, SpoolError>>),
    Flush(Which, oneshot::Sender<Result<Ordered, SpoolError>>),
    BackOff(Which, String, oneshot::Sender<Result<u64, SpoolError>>),
    Recover(Which, oneshot::Sender<Result<u64, SpoolError>>),
    Stocked(Vec<(Arc<Destination>, PostId)>, oneshot::Sender<Result<HashSet<PostId>, SpoolError>>),
    Destinations(Which, Choice, oneshot::Sender<Result<Look, SpoolError>>),
    Pulse(oneshot::Sender<Result<(), SpoolError>>),
}

/// What an order to posts came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// How many it meant.
    pub count: u64,
    /// Those of them that are due but wait for the end of a pause, by its origins.
    pub paused: Vec<(UrlPattern, u64)>,
}

/// How a destination does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub destination: Arc<Destination>,
    /// Whether posts go out.
    pub state: State,
    /// How many posts it has in which state.
    pub counts: Counts,
    /// Attempts under way.
    pub in_flight: usize,
    /// Attempts that may be under way now.
    pub window: usize,
    /// The most there may ever be.
    pub max_connections: usize,
    /// Open connections, idle ones included.
    pub connections: usize,
    /// Version of HTTP that was spoken last, such as `HTTP/2`.
    pub version: Option<&'static str>,
    /// Each rate with what is used of it now.
    pub rates: Vec<(super::pace::Rate, u32)>,
    /// When the last attempt ended, and its status line or error.
    pub last: Option<(Timestamp, String)>,
    /// The last attempt that was not delivered.
    pub last_error: Option<(Timestamp, String)>,
    /// Whether its certificate does not count.
    pub insecure: bool,
    /// How long it took to answer lately; nothing before its first answer.
    pub latencies: Option<Arc<Latencies>>,
}

/// Whether posts go out to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// They do.
    Active,
    /// They do, and a backlog is sent at a controlled pace.
    Recovering,
    /// One probe at a time; the next one after this time.
    Backoff {
        /// Until the next probe.
        next_probe: Duration,
        /// What is wrong.
        reason: String,
    },
    /// It asked for a pause (`Retry-After`).
    Deferring {
        /// How long still.
        left: Duration,
        /// What it said.
        reason: String,
    },
    /// Its rate is used up.
    Throttled {
        /// Until the next attempt.
        left: Duration,
    },
    /// Somebody paused it.
    Paused {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
    },
}

impl Control {
    /// A handle and where its requests come out.
    pub fn new() -> (Control, Requests) {
        let (requests, taken) = mpsc::channel(64);
        (Control { requests }, Requests(taken))
    }

    /// Does something to posts; answers how many they were.
    pub async fn order(&self, which: Query, order: Order) -> Result<Ordered, SpoolError> {
        self.ask(|answer| Request::Post(Box::new(which), order, answer)).await
    }

    /// Begins no attempt any more, also after a restart; answers how many
    /// destinations with posts are meant. Destinations that appear later are, too.
    pub async fn pause(&self, which: Which, reason: String) -> Result<u64, SpoolError> {
        self.ask(|answer| Request::Pause(which, reason, answer)).await
    }

    /// Ends pauses of origins that are meant; answers how many.
    pub async fn resume(&self, which: Which) -> Result<u64, SpoolError> {
        self.ask(|answer| Request::Resume(which, answer)).await
    }

    /// Tries all posts at once, forgetting a backoff.
    pub async fn flush(&self, which: Which) -> Result<Ordered, SpoolError> {
        self.ask(|answer| Request::Flush(which, answer)).await
    }

    /// Sends probes only, the first after an interval, until one is answered, also after a
    /// restart; answers how many destinations were not in backoff before. It means those
    /// that have posts, held and failed ones too, connections or a rest now.
    pub async fn back_off(&self, which: Which, reason: String) -> Result<u64, SpoolError> {
        self.ask(|answer| Request::BackOff(which, reason, answer)).await
    }

    /// Ends backoffs as a probe that is answered does; answers how many. What a destination
    /// asked for itself (`Retry-After`) goes on.
    pub async fn recover(&self, which: Which) -> Result<u64, SpoolError> {
        self.ask(|answer| Request::Recover(which, answer)).await
    }

    /// Which of these posts are claimed, and nobody sends them yet.
    pub async fn stocked(
        &self,
        posts: Vec<(Arc<Destination>, PostId)>,
    ) -> Result<HashSet<PostId>, SpoolError> {
        self.ask(|answer| Request::Stocked(posts, answer)).await
    }

    /// How destinations do, by their names.
    pub async fn destinations(&self, which: Which) -> Result<Vec<Status>, SpoolError> {
        Ok(self.look(which, Choice::ALL).await?.chosen)
    }

    /// How destinations do together, and each of those that are chosen.
    pub async fn look(&self, which: Which, choice: Choice) -> Result<Look, SpoolError> {
        self.ask(|answer| Request::Destinations(which, choice, answer)).await
    }

    /// Waits until the dispatcher has taken this up: so long it has not hung.
    pub async fn pulse(&self) -> Result<(), SpoolError> {
        self.ask(Request::Pulse).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, SpoolError>>) -> Request,
    ) -> Result<T, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| SpoolError::Closed)?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }
}

impl Requests {
    /// The next request; nothing when nobody can ask any more.
    pub(super) async fn next(&mut self) -> Option<Request> {
        self.0.recv().await
    }
}
