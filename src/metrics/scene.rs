//! How things stand when somebody looks: what the spool and the dispatcher know
//! anyway and nobody counts.

use super::lane::Labels;
use super::{List, Metrics};
use crate::post::Destination;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// What the spool does with new posts, of a closed list.
    pub spool: &'static str,
    /// Damaged places and missing posts that it met since it was opened.
    pub damages: u64,
    /// Posts in each state, of a closed list.
    pub posts: Vec<(&'static str, u64)>,
    /// Of the journal, where there is one.
    pub journal: Option<JournalScene>,
    /// Events that were let go because too much waited for webhooks, where they are shown.
    pub lost_events: Option<u64>,
    /// Files of records.
    pub accounting: Vec<AccountingScene>,
    /// Destinations with posts, connections or a grudge.
    pub lanes: Vec<LaneScene>,
}

/// How the journal stands.
#[derive(Clone, Copy, Debug)]
pub struct JournalScene {
    /// Events that it was ever given.
    pub events: u64,
    /// Damaged places that it met since it was opened.
    pub damages: u64,
    /// Times since then that it could not be written.
    pub failures: u64,
}

/// How one file of records stands.
#[derive(Clone, Debug)]
pub struct AccountingScene {
    /// Its path in the configuration.
    pub path: String,
    /// Records that were written since the configuration is in force.
    pub records: u64,
    /// Events that are still to be looked at.
    pub behind: u64,
    /// Times that it could not be written.
    pub failures: u64,
    /// Events that the journal let go before they were written.
    pub lost: u64,
}

/// How one destination stands.
#[derive(Clone, Debug)]
pub struct LaneScene {
    /// Which.
    pub destination: Arc<Destination>,
    /// What it does, of a closed list.
    pub state: &'static str,
    /// Posts that wait.
    pub waiting: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Open connections, idle ones included.
    pub connections: u64,
    /// Attempts that may be under way now.
    pub window: u64,
}

/// What a destination can do, so that those are shown which none does.
const LANE_STATES: [&str; 6] = ["active", "recovering", "backoff", "deferring", "throttled", "paused"];

/// What a spool can do with new posts.
const SPOOL_STATES: [&str; 3] = ["open", "full", "failed"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl Scene {
    pub(super) fn register(&self, list: &mut List, metrics: &Metrics) {
        let spool: Family<StateLabel, Gauge> = list.add("spool_state", "1 for what the spool does");
        for state in SPOOL_STATES {
            spool.get_or_create(&StateLabel { state }).set(i64::from(state == self.spool));
        }
        list.add::<Counter>("spool_damages", "Damaged places in the spool, and missing posts")
            .inc_by(self.damages);
        if let Some(JournalScene { events, damages, failures }) = self.journal {
            list.add::<Counter>("journal_events", "Events that the journal was ever given").inc_by(events);
            list.add::<Counter>("journal_damages", "Damaged places in the journal").inc_by(damages);
            list.add::<Counter>("journal_failures", "Times that the journal could not be written")
                .inc_by(failures);
        }
        if let Some(lost) = self.lost_events {
            list.add::<Gauge>("webhook_lost_events", "Events let go because too much waited for webhooks")
                .set(gauge(lost));
        }
        self.register_accounting(list);
        let posts: Family<StateLabel, Gauge> = list.add("queue_posts", "Posts in the spool");
        for (state, number) in &self.posts {
            posts.get_or_create(&StateLabel { state }).set(gauge(*number));
        }
        list.add::<Gauge>("lanes", "Destinations with posts or connections").set(gauge(self.lanes.len()));
        let in_flight: u64 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        list.add::<Gauge>("attempts_in_flight", "Attempts under way").set(gauge(in_flight));
        let connections: u64 = self.lanes.iter().map(|lane| lane.connections).sum();
        list.add::<Gauge>("connections_open", "Open connections to destinations").set(gauge(connections));
        let states: Family<StateLabel, Gauge> = list.add("destinations", "Destinations in each state");
        for state in LANE_STATES {
            let number = self.lanes.iter().filter(|lane| lane.state == state).count();
            states.get_or_create(&StateLabel { state }).set(gauge(number));
        }
        self.register_lanes(list, metrics);
    }

    fn register_accounting(&self, list: &mut List) {
        if self.accounting.is_empty() {
            return;
        }
        let records: Family<PathLabel, Counter> =
            list.add("accounting_records", "Records that were written since the configuration is in force");
        let behind: Family<PathLabel, Gauge> =
            list.add("accounting_behind_events", "Events that accounting has not come to");
        let failures: Family<PathLabel, Counter> =
            list.add("accounting_failures", "Times that a file of records could not be written");
        let lost: Family<PathLabel, Gauge> =
            list.add("accounting_lost_events", "Events that the journal let go before they were written");
        for file in &self.accounting {
            let label = PathLabel { path: file.path.clone() };
            records.get_or_create(&label).inc_by(file.records);
            behind.get_or_create(&label).set(gauge(file.behind));
            failures.get_or_create(&label).inc_by(file.failures);
            lost.get_or_create(&label).set(gauge(file.lost));
        }
    }

    /// Destinations without a name of their own are added up.
    fn register_lanes(&self, list: &mut List, metrics: &Metrics) {
        let waiting: Family<Labels, Gauge> = list.add("destination_waiting_posts", "Posts that wait");
        let window: Family<Labels, Gauge> =
            list.add("destination_window_attempts", "Attempts that may be under way at a time");
        for lane in &self.lanes {
            let labels = metrics.labels(&lane.destination);
            waiting.get_or_create(&labels).inc_by(gauge(lane.waiting));
            window.get_or_create(&labels).inc_by(gauge(lane.window));
        }
    }
}

/// As gauges count, saturating.
fn gauge(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
