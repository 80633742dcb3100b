//! Batches of webhooks: what they are sent with, and what is noted of how that went.
//!
//! A post says no more of its webhook than which one it is; all else is looked up at each
//! attempt. What is not there any more is not sent.

use super::pace::Rate;
use super::retry::{Outcome, Trouble, Verdict};
use super::shop::Shop;
use super::terms::{Book, Terms};
use crate::clock;
use crate::post::{Destination, Post};
use crate::spool::Claim;
use crate::subscribers::{Gate, PATIENCE, Subscriber, Subscribers};
use std::sync::Arc;
use std::time::Duration;

/// Batches live longer than it takes until their webhook is disabled, so that nothing of
/// what it then holds has expired; and for weeks where one takes little.
const LEAST_AGE: Duration = PATIENCE.saturating_add(Duration::from_hours(25 * 24));

impl Shop {
    /// The webhook whose lane this is, if it is one's and gets its batches now.
    pub(super) fn subscriber(&self, lane: &Destination) -> Result<Option<Arc<Subscriber>>, Trouble> {
        let Some(id) = &lane.webhook else { return Ok(None) };
        let known = self.subscribers.find(id).ok_or(Trouble::Unsubscribed)?;
        match known.gate {
            Gate::Closed => Err(Trouble::Closed),
            // Whoever changed it sends those on that wait.
            Gate::Open if *known.destination != *lane => Err(Trouble::Moved),
            Gate::Open => Ok(Some(known)),
        }
    }

    /// Notes how an attempt at a batch ended.
    pub(super) fn note_fare(&self, post: &Post, outcome: &Outcome, verdict: &Verdict) {
        let Some(id) = &post.destination.webhook else { return };
        let is_untried = matches!(
            outcome,
            Outcome::Broken(Trouble::Unsubscribed | Trouble::Closed | Trouble::Moved | Trouble::Untried(_))
        );
        if is_untried || matches!(verdict, Verdict::Leaner { .. }) {
            return;
        }
        let at = clock::wall();
        self.subscribers.note(id, |fare| match verdict {
            Verdict::Delivered => fare.taken(at),
            _ => {
                fare.refused(at);
                fare.owed(post.accepted_at);
                fare.is_gone |= matches!(outcome, Outcome::Answered { status, .. } if status.as_u16() == 410);
            }
        });
    }
}

/// A claimed batch as it is sent: with the path, the headers and the profile of its
/// webhook, which the spool does not know.
pub(super) fn dressed(claim: &Claim, subscriber: &Subscriber) -> Claim {
    let mut claim = claim.clone();
    let post = Arc::make_mut(&mut claim.post);
    post.path.clone_from(&subscriber.path);
    post.headers.extend_from_slice(&subscriber.headers);
    post.auth.clone_from(&subscriber.auth);
    claim
}

/// The terms of a lane: those of its origin, and what its webhook says of itself.
pub(super) fn terms(book: &Book, subscribers: &Subscribers, lane: &Destination) -> Arc<Terms> {
    let mut terms = book.terms(lane);
    let Some(id) = &lane.webhook else { return terms };
    let own = Arc::make_mut(&mut terms);
    own.schedule.max_age = own.schedule.max_age.max(LEAST_AGE);
    if let Some(subscriber) = subscribers.find(id) {
        if let Some((count, per)) = subscriber.rate {
            own.rates = own.rates.iter().copied().chain([Rate { count, per }]).collect();
        }
        if let Some(most) = subscriber.max_connections {
            own.limits.max_connections = own.limits.max_connections.min(most);
            own.limits.max_streams = own.limits.max_streams.min(most);
        }
    }
    terms
}

/// Adds what tells which batch a request is, and proves who sent it.
pub(super) fn sign(
    subscriber: Option<&Subscriber>,
    unsigned: super::sign::Unsigned<'_>,
) -> Result<http::HeaderMap, Trouble> {
    match subscriber {
        Some(subscriber) => subscriber.sign(&unsigned).map_err(Trouble::Credentials),
        None => Ok(http::HeaderMap::new()),
    }
}
