//! What an attempt was, for those who ask why.

use super::retry::{self, Outcome, Verdict};
use crate::post::Timestamp;
use crate::spool::{Attempt, Claim};
use tokio::time::Instant;

/// Octets of the reason of an attempt.
const REASON: usize = 256;
/// Octets that are kept of a response's text.
const EXCERPT: usize = 1024;

/// The record of an attempt that `began` then.
pub(super) fn of(
    claim: &Claim,
    (started_at, started): (Timestamp, Instant),
    outcome: &Outcome,
    verdict: &Verdict,
) -> Attempt {
    let (status, text) = match outcome {
        Outcome::Answered { status, text, .. } => (Some(status.as_u16()), text.as_str()),
        Outcome::Replied { .. } | Outcome::Broken(_) => (None, ""),
    };
    let usual;
    let reason = match verdict {
        Verdict::Deferred { reason, .. }
        | Verdict::Leaner { reason }
        | Verdict::Held { reason }
        | Verdict::Failed { reason } => reason,
        Verdict::Delivered => {
            usual = retry::reason(outcome);
            &usual
        }
    };
    Attempt {
        number: claim.attempt,
        started_at,
        duration: started.elapsed(),
        status,
        reason: retry::line(reason, REASON),
        excerpt: retry::line(text, EXCERPT),
    }
}
