//! What is noted of a verdict, and who hears of it.
//!
//! Whoever waits for a first attempt is told before it is noted: what the spool
//! keeps of a failed post depends on whether its client answers for it. The senders
//! of all others get a report, when somebody sends them.

use super::bounce;
use super::retry::Verdict;
use super::shop::{Settled, Shop};
use super::work::Done;
use crate::event::Event;
use crate::first_attempts::{AfterFailure, Answer, FirstAttempt};
use crate::spool::{Attempt, Claim, Settlement};
use std::sync::Arc;

/// How an attempt is settled.
pub(super) enum Conclusion {
    /// So.
    Settled(Settlement),
    /// As a failure, after the report to its sender.
    Failed(Attempt),
    /// As is said by who has heard of the failure.
    Asked(Answer, Attempt),
}

/// Tells who waits, and says what is to be noted. `said` is the receiver's reason in
/// its own words.
pub(super) fn conclude(
    shop: &Shop,
    claim: &Claim,
    verdict: Verdict,
    attempt: Attempt,
    said: Option<String>,
) -> Conclusion {
    let news = || match &verdict {
        Verdict::Delivered => FirstAttempt::Delivered(attempt.status.unwrap_or(200)),
        Verdict::Failed { reason } => {
            let text = said.unwrap_or_else(|| reason.clone());
            FirstAttempt::Failed { status: attempt.status, text }
        }
        Verdict::Deferred { .. } | Verdict::Leaner { .. } | Verdict::Held { .. } => FirstAttempt::Trouble,
    };
    let asked = match &verdict {
        // Who waits hears of the next attempt, which is made at once if the lane lets it.
        Verdict::Leaner { .. } => {
            shop.first_attempts.begin_anew(claim.post.id);
            None
        }
        _ => shop.first_attempts.tell(claim.post.id, news),
    };
    match (verdict, asked) {
        (Verdict::Delivered, _) if claim.post.batch.is_some() || shop.spool.keeps(&claim.post) => {
            Conclusion::Settled(Settlement::Listed { last: attempt })
        }
        (Verdict::Delivered, _) => Conclusion::Settled(Settlement::Delivered),
        (Verdict::Deferred { after, .. }, _) => {
            Conclusion::Settled(Settlement::Again { after, last: attempt })
        }
        (Verdict::Leaner { .. }, _) => Conclusion::Settled(Settlement::Leaner { last: attempt }),
        (Verdict::Held { .. }, _) => Conclusion::Settled(Settlement::Held { last: attempt }),
        (Verdict::Failed { .. }, Some(answer)) => Conclusion::Asked(answer, attempt),
        (Verdict::Failed { .. }, None) => Conclusion::Failed(attempt),
    }
}

/// Settles a failure as it is answered for.
pub(super) async fn settle_as_answered(
    shop: Arc<Shop>,
    (claim, event): (Claim, Option<Event>),
    answer: Answer,
    last: Attempt,
) -> Done {
    let settlement = match answer.given().await {
        // The client knows: nothing is left behind.
        Some(AfterFailure::Leave) => Settlement::Dropped,
        Some(AfterFailure::Stay) => Settlement::Failed { last },
        None => return bounce::report_and_settle(shop, vec![(claim, last, event)]).await,
    };
    shop.settle(Settled::one(claim, settlement, event)).await;
    Done::Nothing
}
