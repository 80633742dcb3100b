//! Claims of an embedded spool: posts that were taken, as they are to be sent.
//!
//! What is not in memory is read from the log, on threads made for that. Behind
//! the answer the posts are read that a lane will ask for next, so that one with a
//! backlog is mostly answered at once. While much that ended cannot be written nothing
//! is claimed: it would be sent again after a crash, and memory would grow.

use super::catalog::{End, Entry};
use super::index::{Known, Taken, Wanted};
use super::job::{Ended, Job, Shelf};
use super::readers::unpanicked;
use super::shared::Shared;
use super::state::as_sent;
use super::{Attempt, Claim, Claimed, Settlement, SpoolError};
use crate::post::{Destination, PostId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::oneshot;

/// Delay after which a post is asked for again that could not be read, or claimed.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Octets of what ended and is not written from which on nothing is claimed.
const UNWRITTEN: u64 = 16 << 20;

/// Takes up to `max` posts of a lane.
pub(super) async fn claim(
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    lane: &Arc<Destination>,
    wanted: Wanted,
    max: usize,
) -> Result<Claimed, SpoolError> {
    if shared.unwritten.load(Ordering::Relaxed) > UNWRITTEN {
        return Ok(Claimed { claims: Vec::new(), next: Some(READ_AGAIN) });
    }
    let now = shared.clock.now();
    let (taken, next, behind) = {
        let mut index = shared.index();
        let taken = index.claim(lane, wanted, max, now);
        let next = index.next_due(lane).map(|due_at| due_at.since(now));
        (taken, next, index.next_unread(lane, now))
    };
    let must_read = taken.iter().any(|taken| taken.post.is_none());
    let reader = Arc::clone(&shared);
    let (answer, answered) = oneshot::channel();
    let claims = move || {
        let claims: Vec<_> = taken.into_iter().filter_map(|taken| claim_of(&shared, &jobs, taken)).collect();
        // Who does not wait for them any more is gone for good.
        let _ = answer.send(claims);
    };
    if must_read {
        reader.readers.read(claims);
    } else {
        claims();
    }
    if !behind.is_empty() {
        let (lane, shared) = (Arc::clone(lane), Arc::clone(&reader));
        reader.readers.read(move || read_ahead(&shared, &lane, &behind));
    }
    Ok(Claimed { claims: answered.await.map_err(|_| SpoolError::Closed)?, next })
}

/// Reads posts that will be claimed soon. What is wrong with one is announced when
/// it is.
fn read_ahead(shared: &Shared, lane: &Destination, wanted: &[(PostId, Entry)]) {
    let read =
        |(id, entry): &(PostId, Entry)| Some((*id, unpanicked(|| shared.read_known(*id, entry)).ok()?));
    let read: Vec<(PostId, Known)> = wanted.iter().filter_map(read).collect();
    shared.index().keep_known(lane, read);
}

/// The claim of a post that was taken; nothing when it cannot be read.
fn claim_of(shared: &Shared, jobs: &Sender<Job>, taken: Taken) -> Option<Claim> {
    let Taken { id, entry, fence, post } = taken;
    let read = match post {
        Some(post) => Ok(as_sent(post, &entry.state, None)),
        None => unpanicked(|| shared.read_claimed(id, &entry, fence)),
    };
    let mut post = read.inspect_err(|error| put_aside(jobs, shared, id, fence, error)).ok()?;
    // By the spool's clock, which claims are judged by: that of the day may have been set.
    if let (Some(said), Some(expires_at)) = (post.expires_at, entry.end(End::Own))
        && said != expires_at
    {
        Arc::make_mut(&mut post).expires_at = Some(expires_at);
    }
    let (attempt, ended, ages_from) = (entry.state.next_attempt(), entry.state.ended, entry.state.ages_from);
    Some(Claim { post, attempt, ended, ages_from, fence })
}

/// Makes a dead letter of a post that cannot be read any more; one that cannot
/// be read now is tried again.
fn put_aside(jobs: &Sender<Job>, shared: &Shared, id: PostId, fence: u64, error: &SpoolError) {
    let last = Attempt::because(error.to_string());
    let settlement = if matches!(error, SpoolError::Damaged(_)) {
        shared.damages.fetch_add(1, Ordering::Relaxed);
        tracing::error!(post = %id, %error, "a post cannot be read back; it is kept as a dead letter");
        Settlement::Failed { last }
    } else {
        tracing::warn!(post = %id, %error, "a post cannot be read now; it will be tried again");
        Settlement::Again { after: READ_AGAIN, last }
    };
    let (ack, _) = oneshot::channel();
    // Fails only when the spool is closing; the next start meets it again.
    let done = vec![Ended { id, fence, settlement, shelf: Shelf::None }];
    let _ = jobs.send(Job::Settle { done, events: Vec::new(), ack });
}
