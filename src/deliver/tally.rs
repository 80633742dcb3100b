//! What is counted of an attempt, in the words of the metrics.

use super::retry::{Outcome, Trouble, Verdict};
use crate::metrics::{self, LaneMetrics, Metrics};
use std::time::Duration;

/// Counts an attempt that took so long, and its post, which is of such an age and
/// size.
pub(super) fn count(
    metrics: &Metrics,
    lane: &LaneMetrics,
    (outcome, verdict): (&Outcome, &Verdict),
    duration: Duration,
    (age, octets): (Duration, u32),
) {
    let kind = kind(outcome);
    if kind == metrics::Outcome::Denied {
        metrics.egress_denials.inc();
    }
    lane.attempt(kind, duration);
    metrics.settle(fate(verdict), age, octets);
}

fn kind(outcome: &Outcome) -> metrics::Outcome {
    match outcome {
        Outcome::Answered { status, .. } => metrics::Outcome::Status(status.as_u16()),
        // The classes of SMTP's replies mean the same.
        Outcome::Replied { code, .. } => metrics::Outcome::Status(*code),
        Outcome::Broken(trouble) => match trouble {
            Trouble::Denied(_) => metrics::Outcome::Denied,
            Trouble::Resolve(_) | Trouble::Unresolved(_) => metrics::Outcome::Unresolved,
            Trouble::Connect(_) | Trouble::Proxy(_) => metrics::Outcome::Unconnected,
            Trouble::Tls(_) => metrics::Outcome::Tls,
            Trouble::TimedOut(..) => metrics::Outcome::TimedOut,
            Trouble::Broken(_) | Trouble::Malformed(_) => metrics::Outcome::Broken,
            Trouble::Untried(_)
            | Trouble::Withheld(_)
            | Trouble::Unsubscribed
            | Trouble::Closed
            | Trouble::Moved
            | Trouble::Credentials(_)
            | Trouble::Unsendable(_)
            | Trouble::Damaged(_)
            | Trouble::Sealed(_)
            | Trouble::Unreadable(_)
            | Trouble::Expired
            | Trouble::Crashed => metrics::Outcome::Unsent,
        },
    }
}

fn fate(verdict: &Verdict) -> metrics::Verdict {
    match verdict {
        Verdict::Delivered => metrics::Verdict::Delivered,
        Verdict::Deferred { .. } | Verdict::Leaner { .. } => metrics::Verdict::Deferred,
        Verdict::Failed { .. } => metrics::Verdict::Failed,
        Verdict::Held { .. } => metrics::Verdict::Held,
    }
}
