//! What is told of attempts that ended, as events; where they ended, so that it costs
//! the dispatcher nothing.

use super::retry::{self, Judged, Outcome, Verdict};
use super::shop::Shop;
use crate::clock;
use crate::event::Event;
use crate::event::posts::{self, News, Tried, Way};
use crate::spool::{Attempt, Claim, Listed, PostState, Query, SpoolError};

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
    let last = end.attempt.map(tried);
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

/// Tells of posts that an order is about to delete; what has failed or was delivered
/// has been told of.
pub(super) async fn delete(shop: &Shop, which: &Query) -> Result<(), SpoolError> {
    let mut before = None;
    loop {
        let page = shop.spool.page(which.clone(), before, PAGE).await?;
        let is_over = |state| matches!(state, PostState::Failed | PostState::Delivered);
        let gone = page.iter().filter(|listed| !is_over(listed.state) && posts::is_told(&listed.post));
        let event = |listed: &Listed| {
            let last = listed.last.as_ref().map(tried);
            let news = News::Failed { attempts: listed.ended, last, reason: "deleted" };
            posts::event(&listed.post, &news, clock::wall(), fastrand::u128(..))
        };
        shop.publish(gone.map(event).collect()).await;
        before = page.last().map(|last| last.post.id);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// Posts that are looked at in one call.
const PAGE: usize = 1000;

fn tried(attempt: &Attempt) -> Tried<'_> {
    Tried {
        number: attempt.number,
        took: attempt.duration,
        status: attempt.status,
        error: &attempt.reason,
        response: &attempt.excerpt,
    }
}
