//! What is noted of a verdict, and who hears of it.
//!
//! Whoever waits for a first attempt is told before it is noted: what the spool
//! keeps of a failed post depends on whether its client answers for it. The senders
//! of all others get a report, when somebody sends them.

use super::bounce;
use super::retry::Verdict;
use crate::first_attempts::{AfterFailure, FirstAttempt, FirstAttempts};
use crate::spool::{Attempt, Claim, Settlement};

/// How an attempt is settled.
pub(super) struct Conclusion {
    /// For the spool.
    pub settlement: Settlement,
    /// Whether its sender is to have a report before that.
    pub is_reported: bool,
}

/// Tells who waits, and says what is to be noted. `said` is the receiver's reason in
/// its own words.
pub(super) fn conclude(
    first_attempts: &FirstAttempts,
    claim: &Claim,
    verdict: Verdict,
    attempt: Attempt,
    said: Option<String>,
) -> Conclusion {
    let told = first_attempts.tell(claim.post.id, || match &verdict {
        Verdict::Delivered => FirstAttempt::Delivered(attempt.status.unwrap_or(200)),
        Verdict::Failed { reason } => {
            let text = said.unwrap_or_else(|| reason.clone());
            FirstAttempt::Failed { status: attempt.status, text }
        }
        Verdict::Deferred { .. } | Verdict::Held { .. } => FirstAttempt::Trouble,
    });
    let settlement = match (verdict, told) {
        // The client knows: nothing is left behind.
        (Verdict::Delivered, _) | (Verdict::Failed { .. }, Some(AfterFailure::Leave)) => {
            Settlement::Delivered
        }
        (Verdict::Deferred { after, .. }, _) => Settlement::Again { after, last: attempt },
        (Verdict::Held { .. }, _) => Settlement::Held { last: attempt },
        (Verdict::Failed { .. }, _) => Settlement::Failed { last: attempt },
    };
    let is_reported = told.is_none() && bounce::is_due(claim, &settlement);
    Conclusion { settlement, is_reported }
}
