//! What is told of posts that end without another attempt: those that somebody deletes
//! or hands back, and those that were held until their time was over.
//!
//! It is kept in one with the end itself, or not at all. What has failed or was
//! delivered has been told of.

use super::index::Seen;
use super::looks::{list, read};
use super::shared::Shared;
use super::{Attempt, Listed, Order, PostState};
use crate::event::Event;
use crate::event::posts::{self, News, Tried};
use crate::post::{PostId, Timestamp};

/// What is told of a post.
pub(super) type Obituary = (PostId, Event);

impl<'a> From<&'a Attempt> for Tried<'a> {
    fn from(attempt: &'a Attempt) -> Tried<'a> {
        Tried {
            number: attempt.number,
            took: attempt.duration,
            status: attempt.status,
            error: &attempt.reason,
            response: &attempt.excerpt,
        }
    }
}

/// What is told of posts that an order is about to end, if anybody wants to know. Blocks.
pub(super) fn of_order(shared: &Shared, order: &Order, seen: Vec<Seen>) -> Vec<Obituary> {
    reason_of(order).map_or_else(Vec::new, |reason| of_all(shared, seen, reason))
}

/// Why posts end that an order ends.
pub(super) fn reason_of(order: &Order) -> Option<&'static str> {
    match order {
        Order::Delete => Some("deleted"),
        Order::HandBack => Some("handed-back"),
        Order::Hold | Order::Release | Order::Retry | Order::Reroute { .. } => None,
    }
}

/// What is told of those among these posts that were held and are to be forgotten. Blocks.
pub(super) fn of_forgotten(shared: &Shared, ids: &[PostId]) -> Vec<Obituary> {
    let held: Vec<_> = ids.iter().filter_map(|id| shared.index().see(*id)).collect();
    of_all(shared, held, "expired")
}

fn of_all(shared: &Shared, seen: Vec<Seen>, reason: &'static str) -> Vec<Obituary> {
    if !shared.options.wanted.is_wanted() {
        return Vec::new();
    }
    let living = seen.into_iter().filter(|seen| !is_over(seen.state));
    living.filter_map(|seen| of(shared, seen, reason)).collect()
}

/// Whether the end of a post in this state was told of when it came there.
fn is_over(state: PostState) -> bool {
    matches!(state, PostState::Failed | PostState::Delivered)
}

/// Nothing of a post that cannot be read any more, or is none of those that are told of.
fn of(shared: &Shared, seen: Seen, reason: &'static str) -> Option<Obituary> {
    let post = read(shared, &seen).ok()?.filter(|post| posts::is_told(post))?;
    let listed = list(shared, seen, post);
    of_listed(&listed, reason, crate::clock::wall())
}

/// What is told of a post that ends now; nothing where its end was told of, or never is.
pub(super) fn of_listed(listed: &Listed, reason: &'static str, now: Timestamp) -> Option<Obituary> {
    if is_over(listed.state) || !posts::is_told(&listed.post) {
        return None;
    }
    let last = listed.last.as_ref().map(Tried::from);
    let news = News::Failed { attempts: listed.ended, last, reason };
    let event = posts::event(&listed.post, &news, now, fastrand::u128(..));
    Some((listed.post.id, event))
}
