//! First attempts that a client waits for.
//!
//! The door registers interest in a post before it is committed, delivery tells
//! what became of its first attempt, or at once that there will be none soon. The
//! two know nothing of each other. Nobody waits most of the time, and then asking
//! costs one atomic load.
//!
//! Invariants: whoever waits is told once at most. A failure that was told is
//! answered for by who heard of it, who may weigh it with those of other posts
//! first, or turns out to be nobody's: no post ends without that somebody knows.

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

/// What who waits makes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It counts as trouble: the client cannot hear of it.
    Trouble,
    /// The client hears of it for sure, and this becomes of the post.
    Tell(AfterFailure),
    /// The client may hear of it: what becomes of the post is said later.
    Weigh,
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
    on_failure: OnFailure,
    /// The attempt is under way.
    has_begun: bool,
    ear: oneshot::Sender<News>,
}

/// A first attempt, and of one that failed where it is answered for.
type News = (FirstAttempt, Option<oneshot::Sender<AfterFailure>>);

/// A place to hear of one first attempt; dropping it ends the wait.
#[derive(Debug)]
pub struct Hearing {
    all: FirstAttempts,
    id: PostId,
    news: oneshot::Receiver<News>,
    answer: Option<oneshot::Sender<AfterFailure>>,
}

/// Where it is said who answers for a failure.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<AfterFailure>);

impl Answer {
    /// What becomes of the post; nothing when nobody answers for its failure.
    pub async fn given(self) -> Option<AfterFailure> {
        self.0.await.ok()
    }
}

impl FirstAttempts {
    /// Waits from now on for a post that is not committed yet.
    pub fn hear(&self, id: PostId, lane: &Arc<Destination>, on_failure: OnFailure) -> Hearing {
        let (ear, news) = oneshot::channel();
        let mut waiting = self.waiting();
        // When closed the sender is dropped here, which tells that there is nothing to hear.
        if !waiting.is_closed {
            let waiter = Waiter { lane: Arc::clone(lane), on_failure, has_begun: false, ear };
            waiting.posts.insert(id, waiter);
            self.count(&waiting);
        }
        Hearing { all: self.clone(), id, news, answer: None }
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// Tells what became of an attempt at a post; the first time counts. Nobody
    /// answers for a failure that nobody has heard of.
    pub fn tell(&self, id: PostId, attempt: impl FnOnce() -> FirstAttempt) -> Option<Answer> {
        if self.is_idle() {
            return None;
        }
        let mut waiting = self.waiting();
        let waiter = waiting.posts.remove(&id)?;
        self.count(&waiting);
        drop(waiting);
        let (sender, answer) = oneshot::channel();
        let (news, answer) = match (attempt(), waiter.on_failure) {
            (FirstAttempt::Failed { .. }, OnFailure::Trouble) => ((FirstAttempt::Trouble, None), None),
            (failed @ FirstAttempt::Failed { .. }, OnFailure::Weigh) => {
                ((failed, Some(sender)), Some(Answer(answer)))
            }
            (failed @ FirstAttempt::Failed { .. }, OnFailure::Tell(after)) => {
                // Its other end is here.
                let _ = sender.send(after);
                ((failed, None), Some(Answer(answer)))
            }
            (attempt, _) => ((attempt, None), None),
        };
        waiter.ear.send(news).ok()?;
        answer
    }

    /// Notes that the attempt is under way: it will be told of.
    pub fn begin(&self, id: PostId) {
        if !self.is_idle()
            && let Some(waiter) = self.waiting().posts.get_mut(&id)
        {
            waiter.has_begun = true;
        }
    }

    /// Notes that the attempt has ended, and that another one is to be told of instead.
    pub fn begin_anew(&self, id: PostId) {
        if self.is_idle() {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.is_closed {
            // None begins any more. Dropping the sender tells it.
            waiting.posts.remove(&id);
        } else if let Some(waiter) = waiting.posts.get_mut(&id) {
            waiter.has_begun = false;
        }
        self.count(&waiting);
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

    /// Tells all who wait, now or later, that no attempt begins any more; those
    /// whose attempt is under way wait for that.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.posts.retain(|_, waiter| waiter.has_begun);
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
        let mut waiting = self.0.waiting();
        waiting.posts.clear();
        self.0.count(&waiting);
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
        let news = timeout_at(deadline, &mut self.news).await.ok()?;
        Some(self.take(news.unwrap_or((FirstAttempt::Trouble, None))))
    }

    /// Waits no longer; what was told until now.
    pub fn end(&mut self) -> Option<FirstAttempt> {
        self.news.close();
        let news = self.news.try_recv().ok()?;
        Some(self.take(news))
    }

    /// Answers for the failure that was heard of, unless that was settled before;
    /// whether it is answered for.
    pub fn answer(self, after_failure: AfterFailure) -> bool {
        let mut hearing = self;
        hearing.answer.take().is_none_or(|answer| answer.send(after_failure).is_ok())
    }

    fn take(&mut self, (attempt, answer): News) -> FirstAttempt {
        self.answer = answer;
        attempt
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
    use crate::post::{MessageId, Scheme};
    use crate::tenant::Tenant;

    fn lane(host: &str) -> Arc<Destination> {
        Arc::new(Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 443,
            webhook: None,
        })
    }

    fn id(number: u16) -> PostId {
        PostId { message: MessageId(1), number }
    }

    fn failed() -> FirstAttempt {
        FirstAttempt::Failed { status: Some(404), text: "no".to_owned() }
    }

    #[tokio::test]
    async fn the_first_news_counts_and_a_failure_is_somebodys_who_answers_for_it() {
        use AfterFailure::{Leave, Stay};
        let all = FirstAttempts::default();
        assert!(all.is_idle());
        assert!(all.tell(id(1), || panic!("nobody waits")).is_none());
        for (on_failure, attempt, heard, said, answered) in [
            (OnFailure::Tell(Leave), failed(), failed(), None, Some(Some(Leave))),
            (OnFailure::Tell(Stay), failed(), failed(), None, Some(Some(Stay))),
            (OnFailure::Weigh, failed(), failed(), Some(Leave), Some(Some(Leave))),
            (OnFailure::Weigh, failed(), failed(), None, Some(None)),
            (OnFailure::Trouble, failed(), FirstAttempt::Trouble, None, None),
            (OnFailure::Tell(Leave), FirstAttempt::Delivered(202), FirstAttempt::Delivered(202), None, None),
            (OnFailure::Weigh, FirstAttempt::Trouble, FirstAttempt::Trouble, None, None),
        ] {
            let mut hearing = all.hear(id(1), &lane("a"), on_failure);
            assert!(!all.is_idle());
            assert!(all.tell(id(2), failed).is_none());
            let answer = all.tell(id(1), || attempt);
            assert!(all.tell(id(1), failed).is_none());
            assert_eq!(hearing.end(), Some(heard));
            assert!(all.is_idle());
            match said {
                Some(after_failure) => assert!(hearing.answer(after_failure)),
                None => drop(hearing),
            }
            let given = match answer {
                Some(answer) => Some(answer.given().await),
                None => None,
            };
            assert_eq!(given, answered);
        }
        let mut hearing = all.hear(id(1), &lane("a"), OnFailure::Weigh);
        assert_eq!(hearing.end(), None);
        assert!(all.tell(id(1), failed).is_none(), "whoever has left answers for nothing");
        let mut hearing = all.hear(id(1), &lane("a"), OnFailure::Weigh);
        drop(all.tell(id(1), failed));
        assert_eq!(hearing.end(), Some(failed()));
        assert!(!hearing.answer(Leave), "who told it is gone");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_does_not_come() {
        let all = FirstAttempts::default();
        let soon = Instant::now() + std::time::Duration::from_secs(600);
        let (mut one, mut other) = (
            all.hear(id(1), &lane("a"), OnFailure::Trouble),
            all.hear(id(2), &lane("b"), OnFailure::Trouble),
        );
        let mut begun = all.hear(id(4), &lane("a"), OnFailure::Trouble);
        all.begin(id(4));
        all.begin(id(5));
        all.tell_lane(&lane("a"));
        assert_eq!(begun.until(Instant::now()).await, None);
        let (mut anew, mut last) = (
            all.hear(id(6), &lane("a"), OnFailure::Trouble),
            all.hear(id(7), &lane("a"), OnFailure::Trouble),
        );
        (6..=7).for_each(|number| all.begin(id(number)));
        all.begin_anew(id(6));
        all.tell_lane(&lane("a"));
        assert_eq!(anew.until(soon).await, Some(FirstAttempt::Trouble), "it had another one before it");
        assert_eq!(one.until(soon).await, Some(FirstAttempt::Trouble));
        assert_eq!(other.until(Instant::now()).await, None);
        all.close();
        assert_eq!(other.until(soon).await, Some(FirstAttempt::Trouble));
        assert_eq!(begun.until(Instant::now()).await, None);
        all.begin_anew(id(7));
        assert_eq!(last.until(Instant::now()).await, Some(FirstAttempt::Trouble));
        drop(Closing(all.clone()));
        assert_eq!(begun.until(soon).await, Some(FirstAttempt::Trouble));
        drop(one);
        let mut late = all.hear(id(3), &lane("a"), OnFailure::Trouble);
        assert_eq!(late.until(soon).await, Some(FirstAttempt::Trouble));
        assert!(all.is_idle());
    }
}
