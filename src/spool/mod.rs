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
//! - The number of an attempt is one more than that of the last one that was settled;
//!   a claim that goes `Back` is none. After a crash an attempt that was under way is
//!   made again under its number: nobody knows whether it began.
//! - A post that is kept after it was delivered is over: it can be looked at, and
//!   counts nowhere.
//! - Within a lane, due posts come by priority, then by due time, then by id.
//! - Posts of a lane with the same ordering key are claimed one at a time and by
//!   id: none before each one before it was delivered, failed or deleted, durably:
//!   a crash repeats the last one at most. While one waits or is held, those behind
//!   it wait too, and are not part of `next`.
//! - Events are published by what caused them: they are durable when it is, in one
//!   with it, and not when it is refused or was there already. [`Spool::events`] hands
//!   them out in one order, each once; those that were not passed before a crash again.
//! - No point in time crosses the trait, only durations: two machines disagree
//!   about now.
//!
//! The spool does not know what a retry schedule, a throttle or HTTP is.

mod adopt;
mod appender;
mod catalog;
mod chores;
mod claims;
pub mod disk;
mod doorbell;
mod earlier;
pub mod embedded;
mod feed;
mod filling;
mod group;
mod health;
mod index;
#[cfg(test)]
mod index_tests;
pub mod inspect;
mod job;
mod keeper;
mod later;
mod log;
mod looks;
pub mod moving;
mod notes;
mod obituary;
mod options;
mod outcomes;
pub mod postgres;
mod query;
mod readers;
mod recent;
mod record;
mod replay;
pub mod sealing;
mod seals;
mod segment;
mod settlement;
mod shared;
pub mod spill;
mod state;
mod table;
mod tally;
mod usage;
mod v1;
mod v2;
mod v4;

use crate::event::{Event, Mark};
use crate::post::{Admission, Destination, Post, PostId, Timestamp, Trust};
use crate::tenant::Tenant;
use bytes::Bytes;
pub use doorbell::Doorbell;
pub use earlier::{Committed, Earlier};
pub use health::{Health, SpoolError};
pub use query::{Glob, Query};
use serde::{Deserialize, Serialize};
pub use settlement::Settlement;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
pub use usage::Usage;

/// What a spool answers later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, SpoolError>> + Send + 'a>>;

/// A durable store of posts; see the module for the rules.
pub trait Spool: Send + Sync {
    /// Keeps all posts of a message, or the news that its idempotency key was
    /// seen within 24 hours. Resolves when that is durable.
    fn commit(&self, admission: Admission) -> Later<'_, Committed>;

    /// What an idempotency key of a tenant stands for, if it was seen within 24 hours by a
    /// commit that is durable.
    fn earlier<'a>(&'a self, tenant: &'a Tenant, key: &'a str) -> Later<'a, Option<Earlier>>;

    /// Every lane that holds posts to be sent, with the time until its next one
    /// is due (zero when one is).
    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>>;

    /// Takes up to `max` due posts of a lane.
    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed>;

    /// Takes up to `max` posts of a lane whose time is over, due or not: those that
    /// have aged for `max_age`, and those with an end of their own that is past.
    fn claim_expired<'a>(
        &'a self,
        lane: &'a Arc<Destination>,
        max_age: Duration,
        max: usize,
    ) -> Later<'a, Claimed>;

    /// The body of a claimed post, the lean one when that is sent. [`SpoolError::Damaged`] when its octets are
    /// not those that were committed.
    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes>;

    /// Whether claimed posts may be sent now: another process may have taken them over. Asked
    /// when nothing is left to do but to send.
    fn may_send(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    /// A post as it is sent, with what is sealed of it. [`SpoolError::Sealed`] when it does
    /// not open.
    fn unsealed(&self, post: &Arc<Post>) -> Result<Arc<Post>, SpoolError> {
        Ok(Arc::clone(post))
    }

    /// Says how claimed posts ended. Resolves when that is noted; `Delivered`
    /// becomes durable with the next group, the others before this resolves, and so
    /// does `Delivered` of a post with an ordering key. The events are published with
    /// it, unless nothing is changed by it: in one with the last of the claims, so that
    /// claims with events of their own are settled on their own; but in one with all of
    /// them where each is `Delivered`, has no ordering key and is not kept.
    fn settle(&self, done: Vec<(Claim, Settlement)>, events: Vec<Event>) -> Later<'_, ()>;

    /// Whether a post is kept for a while after it was delivered.
    fn keeps(&self, post: &Post) -> bool {
        post.has_links
    }

    /// Publishes events that no post caused. Resolves when they are durable; what is
    /// refused is not published. Works on a full disk like `settle`, as long as there
    /// is room at all.
    fn publish(&self, events: Vec<Event>) -> Later<'_, ()>;

    /// The next events behind a mark, and the mark behind them; waits for some. Who asks
    /// has all before that mark durably: the spool may forget them. For one caller at a
    /// time, which begins with the last mark that it has kept, or else with none.
    fn events(&self, after: Mark) -> Later<'_, (Mark, Vec<Event>)>;

    /// Does something to all living posts that are meant; answers how many they
    /// were. A claimed post is changed when its attempt has ended, but for
    /// what ends it, which does so at once. Where events are wanted, those that end are
    /// told of in one with that.
    fn order(&self, which: Query, order: Order) -> Later<'_, u64>;

    /// Living posts that are meant, newest first: up to `most`, older than `before`. Ends
    /// early rather than look for long; what it answers says where to go on.
    fn search(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Page>;

    /// The same, however long it takes.
    fn page(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Vec<Listed>> {
        Box::pin(looks::all(self, which, before, most))
    }

    /// How many living posts in which state are meant.
    fn census(&self, which: Query) -> Later<'_, Census>;

    /// Every attempt of a living post that was settled, the oldest first; of very
    /// many the oldest are left out.
    fn attempts(&self, id: PostId) -> Later<'_, Vec<Attempt>>;

    /// The body of a living post, and the raw message that it was made from.
    fn content(&self, id: PostId) -> Later<'_, Content>;

    /// How many posts of which kind each lane holds.
    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>>;

    /// A small durable fact: pauses, used rates, webhooks.
    fn note<'a>(&'a self, key: &'a str) -> Later<'a, Option<Noted>>;

    /// The facts whose keys begin so, by key.
    fn notes<'a>(&'a self, beginning: &'a str) -> Later<'a, Vec<(String, Noted)>>;

    /// Sets or (`None`) forgets a fact, durably; answers its version. With `expect`
    /// only when its version is that one (0: when there is none), else
    /// [`SpoolError::Changed`].
    fn set_note<'a>(&'a self, key: &'a str, value: Option<Bytes>, expect: Option<u64>) -> Later<'a, u64>;

    /// Rings when a lane has something to send.
    fn doorbell(&self) -> Arc<Doorbell>;

    /// Whether `commit` can succeed now: the door answers without asking.
    fn health(&self) -> watch::Receiver<Health>;

    /// Damaged places and missing posts met since opening, where a backend can have any.
    fn damages(&self) -> u64 {
        0
    }

    /// What it takes of its disk, where it has one of its own.
    fn usage(&self) -> Later<'_, Option<Usage>> {
        Box::pin(async { Ok(None) })
    }
}

/// One claimed post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The post.
    pub post: Arc<Post>,
    /// Which attempt this is, from 1: that many less one were settled since the post
    /// was accepted.
    pub attempt: u32,
    /// How many attempts ended before this one: what `max_attempts` counts.
    pub ended: u32,
    /// When its age begins: when it was accepted, might first be sent or began anew,
    /// whichever was last, and later by the time for which it was held.
    pub ages_from: Timestamp,
    /// Proof that this claim is the newest of its post.
    pub fence: u64,
}

/// What one attempt was, for those who ask why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one, from 1; a spool sets it to that of the claim.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Status of the response, when there was one.
    pub status: Option<u16>,
    /// Status line or error, in one line of at most 256 octets.
    pub reason: String,
    /// The beginning of the response's text, at most 1 KiB.
    pub excerpt: String,
}

impl Attempt {
    /// An attempt of which nothing is known but why it ended so.
    pub fn because(reason: impl Into<String>) -> Attempt {
        Attempt { reason: reason.into(), ..Attempt::default() }
    }
}

/// Where a living post stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PostState {
    /// It waits for its first attempt.
    Queued,
    /// It waits for another one.
    Deferred,
    /// An attempt is under way.
    Sending,
    /// It waits until it is released.
    Held,
    /// It was given up: a dead letter.
    Failed,
    /// It was delivered, and is kept for a while: nothing but [`Order::Delete`] means it.
    Delivered,
}

/// What is done to posts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Those that wait are held.
    Hold,
    /// Those that are held wait again, due at once.
    Release,
    /// Those that wait, are held or have failed are due at once. A dead letter
    /// begins anew: its age and the number of its attempts count from now, and an
    /// `expires_at` that is over is void.
    Retry,
    /// They end, and leave nothing behind.
    Delete,
    /// The same, because their client was told to bring them again.
    HandBack,
    /// They go elsewhere from now on, as with `Retry`.
    Reroute {
        /// Where to.
        destination: Arc<Destination>,
        /// Who says so.
        trust: Trust,
        /// Path and query there, as they are shown.
        path: String,
        /// The same sealed, if that is not all of it.
        sealed: Option<Bytes>,
    },
}

impl Order {
    /// Whether what it means is over, attempts under way or not.
    pub fn ends(&self) -> bool {
        matches!(self, Order::Delete | Order::HandBack)
    }
}

/// A living post as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The post.
    pub post: Arc<Post>,
    /// Where it stands.
    pub state: PostState,
    /// Attempts that were settled.
    pub ended: u32,
    /// When it is due (waiting) or forgotten (held, failed, delivered).
    pub due_at: Timestamp,
    /// The last attempt that was settled.
    pub last: Option<Attempt>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that were found, newest first.
    pub posts: Vec<Listed>,
    /// Go on with what is older than this; nothing when there can be no more.
    pub next: Option<PostId>,
}

/// How many posts are in each state.
pub type Census = BTreeMap<PostState, u64>;

/// What a post is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The post, wherever it is sent by now.
    pub post: Arc<Post>,
    /// The body that is sent.
    pub body: Bytes,
    /// The message as it was received.
    pub message: Bytes,
}

/// How many posts of a lane are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queued or deferred.
    pub waiting: u64,
    /// Under way.
    pub sending: u64,
    /// Held.
    pub held: u64,
    /// Dead letters.
    pub failed: u64,
    /// When the oldest of those that wait or are under way was accepted, or a little earlier:
    /// by no more than its age.
    pub oldest_at: Option<Timestamp>,
}

/// A small durable fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Grows with every change, from 1.
    pub version: u64,
    /// What was set.
    pub value: Bytes,
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
