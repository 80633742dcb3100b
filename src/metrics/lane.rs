//! What is counted at one destination: how its attempts ended, and how long they took.

use crate::post::Destination;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What destinations without a name of their own are called together.
const OTHERS: &str = "other";

/// Upper ends of the buckets for attempts, in seconds.
const ATTEMPT_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a response of this status.
    Status(u16),
    /// The egress rules forbade it.
    Denied,
    /// The name could not be resolved.
    Unresolved,
    /// No connection.
    Unconnected,
    /// No trusted TLS session.
    Tls,
    /// Something took too long.
    TimedOut,
    /// The connection broke, or what came back was not HTTP.
    Broken,
    /// Nothing was sent, by a fault of the gateway or of the post.
    Unsent,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Status(..=299) => "2xx",
            Outcome::Status(300..=399) => "3xx",
            Outcome::Status(400..=499) => "4xx",
            Outcome::Status(500..) => "5xx",
            Outcome::Denied => "denied",
            Outcome::Unresolved => "dns",
            Outcome::Unconnected => "connect",
            Outcome::Tls => "tls",
            Outcome::TimedOut => "timeout",
            Outcome::Broken => "broken",
            Outcome::Unsent => "unsent",
        }
    }
}

/// Of which destination something is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    destination: String,
    tenant: String,
}

impl Labels {
    pub(super) fn of(destination: &Destination) -> Labels {
        Labels { destination: destination.to_string(), tenant: destination.tenant.to_string() }
    }

    pub(super) fn others() -> Labels {
        Labels { destination: OTHERS.to_owned(), tenant: OTHERS.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    destination: String,
    tenant: String,
    outcome: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct AttemptBuckets;

impl MetricConstructor<Histogram> for AttemptBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(ATTEMPT_SECONDS)
    }
}

/// The counters of one destination, for its lane to keep.
#[derive(Debug)]
pub struct LaneMetrics {
    labels: Labels,
    attempts: Family<AttemptLabels, Counter>,
    /// Made when they are needed: few outcomes ever happen at one destination.
    outcomes: Mutex<Vec<(&'static str, Counter)>>,
    seconds: Histogram,
}

impl LaneMetrics {
    /// The counters under this name, as part of those of all destinations.
    pub(super) fn new(
        labels: &Labels,
        attempts: &Family<AttemptLabels, Counter>,
        seconds: &Family<Labels, Histogram, AttemptBuckets>,
    ) -> LaneMetrics {
        LaneMetrics {
            labels: labels.clone(),
            attempts: attempts.clone(),
            outcomes: Mutex::default(),
            seconds: seconds.get_or_create_owned(labels),
        }
    }

    /// Notes how an attempt ended and how long it took.
    pub fn attempt(&self, outcome: Outcome, duration: Duration) {
        self.seconds.observe(duration.as_secs_f64());
        let word = outcome.word();
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = outcomes.iter().find(|(known, _)| *known == word) {
            counter.inc();
            return;
        }
        let Labels { destination, tenant } = self.labels.clone();
        let counter =
            self.attempts.get_or_create_owned(&AttemptLabels { destination, tenant, outcome: word });
        counter.inc();
        outcomes.push((word, counter));
    }
}
