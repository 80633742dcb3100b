//! First attempts that a client waits for.
//!
//! The door registers interest in a post before it is committed, delivery tells
//! what became of its first attempt, or at once that there will be none soon. The
//! two know nothing of each other. Nobody waits most of the time, and then asking
//! costs one atomic load.
//!
//! Invariants: whoever waits is told once at most. A failure that was told is
//! heard, or the telling says that nobody did: no post ends without that somebody
//! knows.

use crate::post::{Destination, PostId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// What became of a first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAttempt {
    /// The receiver took the post, and answered with this status.
    Delivered(u16),
    /// It is given up.
    Failed {
        /// Status of the response, when there was one.
        status: Option<u16>,
        /// Why, in the receiver's words or ours; untrusted.
        text: String,
    },
    /// It did not end the post, or was not made; others will be.
    Trouble,
}

/// What is to become of a post whose failure the client hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It leaves: the client knows all there is to know.
    Leave,
    /// It stays, as a dead letter.
    Stay,
}

/// All first attempts that are waited for; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct FirstAttempts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many wait, to be read without the lock.
    count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    posts: HashMap<PostId, Waiter>,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiter {
    lane: Arc<Destination>,
    /// What becomes of the post when it fails; nothing when the client cannot be
    /// told of a failure.
    after_failure: Option<AfterFailure>,
    /// The attempt is under way.
    has_begun: bool,
    told: oneshot::Sender<FirstAttempt>,
}

/// A place to hear of one first attempt; dropping it ends the wait.
#[derive(Debug)]
pub struct Hearing {
    all: FirstAttempts,
    id: PostId,
    told: oneshot::Receiver<FirstAttempt>,
}

impl FirstAttempts {
    /// Waits from now on for a post that is not committed yet. Without
    /// `after_failure` a failure is not told: it counts as trouble.
    pub fn hear(&self, id: PostId, lane: &Arc<Destination>, after_failure: Option<AfterFailure>) -> Hearing {
        let (sender, told) = oneshot::channel();
        let mut waiting = self.waiting();
        // When closed the sender is dropped here, which tells that there is nothing to hear.
        if !waiting.is_closed {
            let waiter = Waiter { lane: Arc::clone(lane), after_failure, has_begun: false, told: sender };
            waiting.posts.insert(id, waiter);
            self.count(&waiting);
        }
        Hearing { all: self.clone(), id, told }
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// Tells what became of an attempt at a post; the first time counts. Of a
    /// failure that the client answers for, the answer says what becomes of the
    /// post; nothing when nobody has heard of it.
    pub fn tell(&self, id: PostId, attempt: impl FnOnce() -> FirstAttempt) -> Option<AfterFailure> {
        if self.is_idle() {
            return None;
        }
        let mut waiting = self.waiting();
        let waiter = waiting.posts.remove(&id)?;
        self.count(&waiting);
        drop(waiting);
        let (attempt, after_failure) = match (attempt(), waiter.after_failure) {
            (FirstAttempt::Failed { .. }, None) => (FirstAttempt::Trouble, None),
            (failed @ FirstAttempt::Failed { .. }, after_failure) => (failed, after_failure),
            (attempt, _) => (attempt, None),
        };
        waiter.told.send(attempt).ok()?;
        after_failure
    }

    /// Notes that the attempt is under way: it will be told of.
    pub fn begin(&self, id: PostId) {
        if !self.is_idle()
            && let Some(waiter) = self.waiting().posts.get_mut(&id)
        {
            waiter.has_begun = true;
        }
    }

    /// Tells all who wait for posts of a lane that there will be no attempt soon;
    /// those whose attempt is under way wait for that.
    pub fn tell_lane(&self, lane: &Destination) {
        if self.is_idle() {
            return;
        }
        let mut waiting = self.waiting();
        // Dropping the sender tells it.
        waiting.posts.retain(|_, waiter| waiter.has_begun || *waiter.lane != *lane);
        self.count(&waiting);
    }

    /// Tells all who wait, now or later, that there are no attempts any more.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.posts.clear();
        self.count(&waiting);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, waiting: &Waiting) {
        self.0.count.store(waiting.posts.len(), Ordering::Relaxed);
    }
}

/// Closes when it is dropped: whoever tells is gone.
#[derive(Debug)]
pub struct Closing(pub FirstAttempts);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Hearing {
    /// Which post it is about.
    pub fn id(&self) -> PostId {
        self.id
    }

    /// What became of the attempt; nothing when that is not known by then. It can
    /// still be heard later.
    pub async fn until(&mut self, deadline: Instant) -> Option<FirstAttempt> {
        match timeout_at(deadline, &mut self.told).await {
            Ok(told) => Some(told.unwrap_or(FirstAttempt::Trouble)),
            Err(_) => None,
        }
    }

    /// Waits no longer; what was told until now.
    pub fn end(mut self) -> Option<FirstAttempt> {
        self.told.close();
        self.told.try_recv().ok()
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut waiting = self.all.waiting();
        waiting.posts.remove(&self.id);
        self.all.count(&waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{MessageId, Scheme, Trust};
    use crate::tenant::Tenant;

    fn lane(host: &str) -> Arc<Destination> {
        Arc::new(Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 443,
            trust: Trust::Wire,
        })
    }

    fn id(number: u16) -> PostId {
        PostId { message: MessageId(1), number }
    }

    fn failed() -> FirstAttempt {
        FirstAttempt::Failed { status: Some(404), text: "no".to_owned() }
    }

    #[test]
    fn the_first_news_counts_and_only_a_failure_that_is_heard_is_answered_for() {
        let all = FirstAttempts::default();
        assert!(all.is_idle());
        assert_eq!(all.tell(id(1), || panic!("nobody waits")), None);
        for (after_failure, told, heard, answered) in [
            (Some(AfterFailure::Leave), failed(), failed(), Some(AfterFailure::Leave)),
            (Some(AfterFailure::Stay), failed(), failed(), Some(AfterFailure::Stay)),
            (None, failed(), FirstAttempt::Trouble, None),
            (Some(AfterFailure::Leave), FirstAttempt::Delivered(202), FirstAttempt::Delivered(202), None),
            (Some(AfterFailure::Leave), FirstAttempt::Trouble, FirstAttempt::Trouble, None),
        ] {
            let hearing = all.hear(id(1), &lane("a"), after_failure);
            assert!(!all.is_idle());
            assert_eq!(all.tell(id(2), failed), None);
            assert_eq!(all.tell(id(1), || told.clone()), answered);
            assert_eq!(all.tell(id(1), failed), None);
            assert_eq!(hearing.end(), Some(heard));
            assert!(all.is_idle());
        }
        let hearing = all.hear(id(1), &lane("a"), Some(AfterFailure::Leave));
        assert_eq!(hearing.end(), None);
        assert_eq!(all.tell(id(1), failed), None, "whoever has left answers for nothing");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_does_not_come() {
        let all = FirstAttempts::default();
        let soon = Instant::now() + std::time::Duration::from_secs(600);
        let (mut one, mut other) = (all.hear(id(1), &lane("a"), None), all.hear(id(2), &lane("b"), None));
        let mut begun = all.hear(id(4), &lane("a"), None);
        all.begin(id(4));
        all.begin(id(5));
        all.tell_lane(&lane("a"));
        assert_eq!(begun.until(Instant::now()).await, None);
        assert_eq!(one.until(soon).await, Some(FirstAttempt::Trouble));
        assert_eq!(other.until(Instant::now()).await, None);
        drop(Closing(all.clone()));
        assert_eq!(other.until(soon).await, Some(FirstAttempt::Trouble));
        drop((one, begun));
        let mut late = all.hear(id(3), &lane("a"), None);
        assert_eq!(late.until(soon).await, Some(FirstAttempt::Trouble));
        assert!(all.is_idle());
    }
}
