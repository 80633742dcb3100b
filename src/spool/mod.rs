//! The spool: where posts are kept durably until their outcome is final.
//!
//! [`Spool`] is the contract, one conformance suite (`tests/spool.rs`) holds
//! every backend to it:
//!
//! - `commit` answers `Ok` only when all posts of the message survive a power
//!   cut. It keeps all of them or none, is idempotent by message id, and is not
//!   undone by dropping its future.
//! - A claimed post is given to nobody else until it is settled. A claim
//!   carries a fence: settling with an old fence changes nothing, except that
//!   `Delivered` always ends the post.
//! - Attempt numbers of one post rise with every claim, also across crashes;
//!   they may skip.
//! - Within a lane, due posts come by priority, then by due time, then by id.
//! - No point in time crosses the trait, only durations: two machines disagree
//!   about now.
//!
//! The spool does not know what a retry schedule, a throttle or HTTP is.

mod appender;
mod catalog;
pub mod disk;
pub mod embedded;
mod filling;
mod group;
mod index;
#[cfg(test)]
mod index_tests;
mod job;
mod keeper;
mod log;
mod record;
mod replay;
mod segment;
mod shared;
pub mod spill;
mod tally;

use crate::post::{Admission, Destination, MessageId, Post};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What a spool answers later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, SpoolError>> + Send + 'a>>;

/// A durable store of posts; see the module for the rules.
pub trait Spool: Send + Sync {
    /// Keeps all posts of a message, or the news that its idempotency key was
    /// seen within 24 hours. Resolves when that is durable.
    fn commit(&self, admission: Admission) -> Later<'_, Committed>;

    /// Every lane that holds posts to be sent, with the time until its next one
    /// is due (zero when one is).
    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>>;

    /// Takes up to `max` due posts of a lane.
    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed>;

    /// The body of a claimed post. [`SpoolError::Damaged`] when its octets are
    /// not those that were committed.
    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes>;

    /// Says how claimed posts ended. Resolves when that is noted; `Delivered`
    /// becomes durable with the next group, the others before this resolves.
    fn settle(&self, done: Vec<(Claim, Settlement)>) -> Later<'_, ()>;

    /// Rings when a lane has something to send.
    fn doorbell(&self) -> Arc<Doorbell>;

    /// Whether `commit` can succeed now: the door answers without asking.
    fn health(&self) -> watch::Receiver<Health>;
}

/// The answer to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The posts are kept.
    Kept,
    /// Nothing was kept: this earlier message had the same idempotency key.
    Repeated(MessageId),
}

/// One claimed post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The post.
    pub post: Arc<Post>,
    /// Which attempt this is, from 1; rises with every claim of the post.
    pub attempt: u32,
    /// How many attempts ended before this one: what `max_attempts` counts.
    pub ended: u32,
    /// Proof that this claim is the newest of its post.
    pub fence: u64,
}

/// What `claim` found.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The posts taken, in the order to be sent.
    pub claims: Vec<Claim>,
    /// Time until the lane's next post is due (zero when one is), if it has any
    /// left that is not claimed.
    pub next: Option<Duration>,
}

/// How an attempt ended, for the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver took it: the post ends and leaves nothing behind.
    Delivered,
    /// To be claimed again after a delay.
    Again {
        /// The delay, from now.
        after: Duration,
        /// Status or error, for those who ask why.
        reason: String,
    },
    /// Given up: kept as a dead letter for the retention time.
    Failed {
        /// Status or error that ended it.
        reason: String,
    },
}

/// Whether a spool takes new posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Open,
    /// Its disk is too full; settling still works.
    Full,
    /// It cannot write at all; the reason is for the operator.
    Failed(String),
}

/// Why a spool could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolError {
    /// No room for new posts.
    Full,
    /// Writing or reading failed; the reason is for the operator.
    Failed(String),
    /// What was read is not what was written; says where.
    Damaged(String),
    /// The spool has been closed.
    Closed,
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full => f.write_str("the spool's disk is full"),
            SpoolError::Failed(reason) => write!(f, "spool failure: {reason}"),
            SpoolError::Damaged(place) => write!(f, "damaged spool record: {place}"),
            SpoolError::Closed => f.write_str("the spool is closed"),
        }
    }
}

impl std::error::Error for SpoolError {}

/// Tells one listener which lanes to look at; rings of the same lane merge, so
/// a busy spool costs it one wake-up a look, not one a post.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: Mutex<HashMap<Arc<Destination>, Duration>>,
    notify: Notify,
}

impl Doorbell {
    /// Says that `lane` has a post due `after` a delay from now.
    pub fn ring(&self, lane: &Arc<Destination>, after: Duration) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match rung.get_mut(lane) {
            Some(soonest) => *soonest = after.min(*soonest),
            None => {
                rung.insert(Arc::clone(lane), after);
            }
        }
        drop(rung);
        self.notify.notify_one();
    }

    /// Waits for rings and takes them; cancel-safe.
    pub async fn wait(&self) -> Vec<(Arc<Destination>, Duration)> {
        loop {
            let rung = std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
            if !rung.is_empty() {
                return rung.into_iter().collect();
            }
            self.notify.notified().await;
        }
    }
}
