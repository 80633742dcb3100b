//! What is counted and measured, for Prometheus (OpenMetrics 1.0 text).
//!
//! One [`Metrics`] value is handed down; there are no globals. Whoever counts keeps
//! the counters: a post costs a few additions, neither a look-up nor an allocation.
//! What others know anyway is a [`Scene`], made when somebody looks.
//!
//! Labels are bounded: states and outcomes are closed lists, and of destinations
//! the first [`MOST_DESTINATIONS`] have names, all further ones are `other`
//! together. A label holds an origin and a tenant, never a path, a query, a secret
//! or an address of mail.

mod checks;
mod history;
mod injections;
mod lane;
mod machine;
mod recorder;
mod scene;
mod traffic;

pub use checks::CheckResult;
pub use history::{SERIES, Span, Step};
pub use injections::InjectionResult;
pub use lane::{LaneMetrics, Outcome};
pub use recorder::Past;
pub use scene::{AccountingScene, JournalScene, LaneScene, Scene};
pub use traffic::{Flow, Here, Meter, Turnstile, Volume};

use crate::post::Destination;
use lane::{AttemptBuckets, Labels};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use recorder::Recorder;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Destinations that have names of their own among the labels.
pub const MOST_DESTINATIONS: usize = 200;

/// The type of what [`Metrics::text`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the buckets from acceptance to delivery, in seconds.
const DELIVERY_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 21_600.0, 86_400.0];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lanes: Mutex<HashMap<Labels, Arc<LaneMetrics>>>,
    attempts: Family<lane::AttemptLabels, Counter>,
    attempt_seconds: Family<Labels, Histogram, AttemptBuckets>,
    /// From acceptance to delivery.
    delivery_seconds: Histogram,
    posts_delivered: Counter,
    posts_deferred: Counter,
    posts_failed: Counter,
    posts_held: Counter,
    posts_accepted: Counter,
    /// Connections to destinations that were opened.
    pub connections_opened: Counter,
    /// Attempts that were made on a connection that was open already.
    pub connections_reused: Counter,
    /// Seconds of processor time of the dispatcher: what planning costs.
    pub dispatcher_seconds: Counter<f64, AtomicU64>,
    /// Waits because a rate was used up.
    pub throttle_waits: Counter,
    /// Times that a destination went into backoff.
    pub breaker_openings: Counter,
    /// Access tokens that were asked for.
    pub token_refreshes: Counter,
    /// Attempts that the egress rules forbade.
    pub egress_denials: Counter,
    /// Reports to senders that were admitted.
    pub reports_made: Counter,
    /// Reports that the relay took.
    pub reports_delivered: Counter,
    /// Reports that were given up.
    pub reports_failed: Counter,
    /// Failures without a report, because the message has no sender.
    pub reports_dropped: Counter,
    /// Connections of clients that were taken.
    pub smtp_connections: Counter,
    /// Messages that were accepted.
    pub smtp_messages: Counter,
    /// Senders, recipients and messages that were refused.
    pub smtp_refusals: Counter,
    checks: Family<checks::CheckLabels, Counter>,
    injections: Family<injections::InjectionLabels, Counter>,
    /// What was taken.
    pub incoming: Meter,
    /// What was delivered.
    pub outgoing: Meter,
    recorder: Recorder,
    /// Connections of clients that are open.
    pub clients: Turnstile,
    /// Connections to destinations that are open.
    pub connections: Turnstile,
}

/// What became of a post after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The receiver took it.
    Delivered,
    /// It is tried again.
    Deferred,
    /// It was given up.
    Failed,
    /// It waits until it is released.
    Held,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut list = List(Registry::with_prefix("postgate"));
        let buckets = Family::new_with_constructor(AttemptBuckets);
        list.add_with(
            Unit::Seconds,
            "process_start_time",
            "Start, since the Unix epoch",
            machine::start_time(),
        );
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        list.0.register("build", "What runs", prometheus_client::metrics::info::Info::new(version));
        Metrics {
            lanes: Mutex::default(),
            posts_accepted: list.add("posts_accepted", "Posts that were kept"),
            posts_delivered: list.add("posts_delivered", "Posts that were delivered"),
            posts_deferred: list.add("posts_deferred", "Attempts after which a post waits for another"),
            posts_failed: list.add("posts_failed", "Posts that were given up"),
            posts_held: list.add("posts_held", "Posts that an attempt ended held"),
            attempts: list.add("attempts", "Attempts that ended, by status or trouble"),
            attempt_seconds: list.add_with(Unit::Seconds, "attempt", "Duration of an attempt", buckets),
            delivery_seconds: list.add_with(
                Unit::Seconds,
                "delivery",
                "From the acceptance of a post to its delivery",
                Histogram::new(DELIVERY_SECONDS),
            ),
            connections_opened: list
                .add("connections_opened", "Connections to destinations that were opened"),
            connections_reused: list
                .add("connections_reused", "Attempts on a connection that was open already"),
            dispatcher_seconds: list.add_with(
                Unit::Seconds,
                "dispatcher",
                "Processor time in which it was decided what to send, and when",
                Counter::default(),
            ),
            throttle_waits: list.add("throttle_waits", "Waits because a rate was used up"),
            breaker_openings: list.add("breaker_openings", "Times that a destination went into backoff"),
            token_refreshes: list.add("oauth_token_refreshes", "OAuth 2.0 tokens that were asked for"),
            egress_denials: list.add("egress_denials", "Attempts that the egress rules forbade"),
            reports_made: list.add("reports_made", "Reports of failures to senders that were made"),
            reports_delivered: list.add("reports_delivered", "Reports that the relay took"),
            reports_failed: list.add("reports_failed", "Reports that were given up"),
            reports_dropped: list.add("reports_dropped", "Failures without a report, for want of a sender"),
            smtp_connections: list.add("smtp_connections", "Connections of clients that were taken"),
            smtp_messages: list.add("smtp_messages", "Messages that were accepted"),
            checks: list.add("recipient_checks", "Checks of recipients, by what came of them"),
            injections: list.add("injections", "Requests that handed something in, by what came of them"),
            smtp_refusals: list.add("smtp_refusals", "Senders, recipients and messages that were refused"),
            registry: list.0,
            incoming: Meter::default(),
            outgoing: Meter::default(),
            recorder: Recorder::default(),
            clients: Turnstile::default(),
            connections: Turnstile::default(),
        }
    }
}

/// What is shown, in the order in which it was added.
struct List(Registry);

impl List {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// The unit is the last word of the name.
    fn add_with<M: Metric + Clone>(&mut self, unit: Unit, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl Metrics {
    /// The counters of a destination; those without a name of their own share
    /// theirs.
    pub fn lane(&self, destination: &Destination) -> Arc<LaneMetrics> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let named = Labels::of(destination);
        let has_name = lanes.contains_key(&named) || lanes.len() < MOST_DESTINATIONS;
        let labels = if has_name { named } else { Labels::others() };
        let lane = lanes.entry(labels).or_insert_with_key(|labels| {
            Arc::new(LaneMetrics::new(labels, &self.attempts, &self.attempt_seconds))
        });
        Arc::clone(lane)
    }

    /// How a destination is labelled, without giving it a name.
    fn labels(&self, destination: &Destination) -> Labels {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let named = Labels::of(destination);
        if lanes.contains_key(&named) { named } else { Labels::others() }
    }

    /// Notes that so many posts of a message were kept; octets are the message's.
    pub fn accept(&self, posts: usize, octets: usize) {
        let posts = posts as u64;
        self.posts_accepted.inc_by(posts);
        self.incoming.count(Volume { posts, messages: 1, octets: octets as u64 });
    }

    /// Notes what became of a post, so long after it was accepted; octets are those of
    /// its body.
    pub fn settle(&self, verdict: Verdict, age: Duration, octets: u32) {
        if verdict == Verdict::Delivered {
            self.delivery_seconds.observe(age.as_secs_f64());
            self.outgoing.count(Volume { posts: 1, messages: 1, octets: u64::from(octets) });
        }
        let counter = match verdict {
            Verdict::Delivered => &self.posts_delivered,
            Verdict::Deferred => &self.posts_deferred,
            Verdict::Failed => &self.posts_failed,
            Verdict::Held => &self.posts_held,
        };
        counter.inc();
    }

    /// Everything as text, with how things stand now.
    pub fn text(&self, scene: &Scene) -> String {
        let mut out = String::new();
        let mut now = List(Registry::with_prefix("postgate"));
        scene.register(&mut now, self);
        machine::register(&mut now);
        // Writing to a String cannot fail.
        let _ = text::encode_registry(&mut out, &self.registry);
        let _ = text::encode_registry(&mut out, &now.0);
        let _ = text::encode_eof(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Scheme;
    use crate::tenant::Tenant;

    fn destination(number: usize) -> Destination {
        Destination {
            tenant: Tenant::new("a\"b\\c"),
            scheme: Scheme::Https,
            host: format!("h{number}.example"),
            port: 443,
            webhook: None,
        }
    }

    #[test]
    fn destinations_beyond_the_cap_share_a_name() {
        let metrics = Metrics::default();
        let most = MOST_DESTINATIONS;
        for number in 0..most + 50 {
            metrics.lane(&destination(number)).attempt(Outcome::Status(200), Duration::ZERO);
        }
        metrics.lane(&destination(0)).attempt(Outcome::Denied, Duration::ZERO);
        let lanes: Vec<_> = (most - 1..most + 2)
            .map(|number| {
                let destination = Arc::new(destination(number));
                LaneScene {
                    destination,
                    state: "active",
                    waiting: 7,
                    in_flight: 0,
                    connections: 1,
                    window: 5,
                }
            })
            .collect();
        let posts = vec![("held", 3)];
        let text = metrics.text(&Scene { spool: "open", damages: 2, posts, lanes, ..Scene::default() });
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(lines("postgate_attempts_total{"), most + 2);
        for line in [
            r#"postgate_attempts_total{destination="other",tenant="other",outcome="2xx"} 50"#,
            r#"postgate_attempts_total{destination="https://h0.example",tenant="a\"b\\c",outcome="denied"} 1"#,
            r#"postgate_destination_waiting_posts{destination="other",tenant="other"} 14"#,
            r#"postgate_spool_state{state="open"} 1"#,
            r#"postgate_queue_posts{state="held"} 3"#,
            "postgate_spool_damages_total 2",
            "postgate_connections_open 3",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_attempt_costs_next_to_nothing() {
        let metrics = Metrics::default();
        let lane = metrics.lane(&destination(1));
        let began = std::time::Instant::now();
        for _ in 0..10_000 {
            lane.attempt(Outcome::Status(200), Duration::from_millis(3));
            metrics.settle(Verdict::Delivered, Duration::from_millis(9), 100);
        }
        // Without optimization, on a busy machine.
        assert!(began.elapsed() < 10_000 * Duration::from_micros(20), "{:?}", began.elapsed());
    }
}
