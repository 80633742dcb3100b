//! What is told of attempts that ended, as events; where they ended, so that it costs
//! the dispatcher nothing.

use super::retry::{self, Judged, Outcome, Verdict};
use super::shop::Shop;
use crate::clock;
use crate::event::Event;
use crate::event::posts::{self, News, Tried, Way};
use crate::spool::{Attempt, Claim};

/// How an attempt ended.
pub(super) struct End<'a> {
    pub outcome: &'a Outcome,
    pub judged: &'a Judged,
    /// Nothing when the post is given up without one.
    pub attempt: Option<&'a Attempt>,
    pub way: Option<Way>,
}

/// The event of a post that was claimed and whose attempt ended so, if anybody wants
/// events; nothing of one that is held.
pub(super) fn event(shop: &Shop, claim: &Claim, end: &End<'_>) -> Option<Event> {
    if !shop.wanted.is_wanted() || !posts::is_told(&claim.post) {
        return None;
    }
    let at = clock::wall();
    let last = end.attempt.map(Tried::from);
    let news = match (&end.judged.verdict, last) {
        (Verdict::Delivered, Some(last)) => {
            let queued = end.attempt.map(|attempt| attempt.started_at.since(claim.post.accepted_at));
            News::Delivered { last, queued: queued.unwrap_or_default(), way: end.way }
        }
        (Verdict::Deferred { after, .. }, Some(last)) => News::Deferred { last, next_at: at.after(*after) },
        (Verdict::Leaner { .. }, Some(last)) => News::Deferred { last, next_at: at },
        (Verdict::Failed { .. }, last) => News::Failed {
            attempts: if last.is_some() { claim.attempt } else { claim.attempt.saturating_sub(1) },
            last,
            reason: retry::cause(end.judged.fate, end.outcome),
        },
        _ => return None,
    };
    Some(posts::event(&claim.post, &news, at, fastrand::u128(..)))
}
