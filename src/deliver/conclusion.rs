//! What is noted of a verdict, and who hears of it.
//!
//! Whoever waits for a first attempt is told before it is noted: what the spool
//! keeps of a failed post depends on whether its client answers for it. The senders
//! of all others get a report, when somebody sends them.

use super::bounce;
use super::dispatch::{Dispatcher, Done, SPOOL_PAUSE};
use super::lane::Condition;
use super::retry::Verdict;
use crate::first_attempts::{AfterFailure, FirstAttempt, FirstAttempts};
use crate::post::Destination;
use crate::spool::{Attempt, Claim, Settlement, Spool, SpoolError};
use std::sync::Arc;
use tokio::time::Instant;

/// How an attempt is settled.
pub(super) struct Conclusion {
    pub claim: Claim,
    /// For the spool.
    pub settlement: Settlement,
    /// Whether its sender is to have a report before that.
    pub is_reported: bool,
}

impl Dispatcher {
    /// Tells who waits, and says what is to be noted. `said` is the receiver's
    /// reason in its own words.
    pub(super) fn conclude(
        &self,
        claim: Claim,
        verdict: Verdict,
        attempt: Attempt,
        said: Option<String>,
    ) -> Conclusion {
        let told = tell(&self.shop.first_attempts, &claim, (&verdict, &attempt), said);
        let settlement = match (verdict, told) {
            // The client knows: nothing is left behind.
            (Verdict::Delivered, _) | (Verdict::Failed { .. }, Some(AfterFailure::Leave)) => {
                Settlement::Delivered
            }
            (Verdict::Deferred { after, .. }, _) => Settlement::Again { after, last: attempt },
            (Verdict::Held { .. }, _) => Settlement::Held { last: attempt },
            (Verdict::Failed { .. }, _) => Settlement::Failed { last: attempt },
        };
        let is_reported = self.shop.bounce.is_some() && told.is_none() && bounce::is_due(&claim, &settlement);
        Conclusion { claim, settlement, is_reported }
    }

    /// Tells those who wait for a lane that will not send soon.
    pub(super) fn tell_waiting(&self, lane: &Arc<Destination>, now: Instant) {
        let first_attempts = &self.shop.first_attempts;
        if first_attempts.is_idle() {
            return;
        }
        let condition = self.lanes.get(lane).map(|berth| berth.lane.condition(now.into_std()));
        if matches!(condition, Some(Condition::Backoff(_) | Condition::Held(_) | Condition::Paused)) {
            first_attempts.tell_lane(lane);
        }
    }

    /// Settles posts in a task of its own when the spool does not answer at once.
    pub(super) fn settle(&mut self, settled: Vec<(Claim, Settlement)>, now: Instant) {
        let spool = Arc::clone(&self.shop.spool);
        let settle = async move {
            settle(&*spool, settled).await;
            Done::Nothing
        };
        self.start(Box::pin(settle), now);
    }

    /// Settles posts that failed, each when the report to its sender is kept.
    pub(super) fn report(&mut self, failed: Vec<(Claim, Settlement)>, now: Instant) {
        let shop = Arc::clone(&self.shop);
        let report = async move {
            for (claim, settlement) in failed {
                if let (Some(bounce), Settlement::Failed { last }) = (&shop.bounce, &settlement) {
                    bounce::report(&*shop.spool, (bounce, &shop.ids), &claim, last).await;
                }
                settle(&*shop.spool, vec![(claim, settlement)]).await;
            }
            Done::Nothing
        };
        self.start(Box::pin(report), now);
    }
}

fn tell(
    first_attempts: &FirstAttempts,
    claim: &Claim,
    (verdict, attempt): (&Verdict, &Attempt),
    said: Option<String>,
) -> Option<AfterFailure> {
    first_attempts.tell(claim.post.id, || match verdict {
        Verdict::Delivered => FirstAttempt::Delivered(attempt.status.unwrap_or(200)),
        Verdict::Failed { reason } => {
            FirstAttempt::Failed { status: attempt.status, text: said.unwrap_or_else(|| reason.clone()) }
        }
        Verdict::Deferred { .. } | Verdict::Held { .. } => FirstAttempt::Trouble,
    })
}

/// Tells the spool, again and again if it fails: what it does not note it would keep
/// claimed for ever.
async fn settle(spool: &dyn Spool, settled: Vec<(Claim, Settlement)>) {
    loop {
        match spool.settle(settled.clone()).await {
            Ok(()) | Err(SpoolError::Closed) => return,
            Err(error) => tracing::error!("cannot note {} verdicts: {error}", settled.len()),
        }
        tokio::time::sleep(SPOOL_PAUSE).await;
    }
}
