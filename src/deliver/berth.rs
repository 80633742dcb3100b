//! A lane with all that the engine has for it: its terms, its workers, its timer,
//! and what is told about it.

use super::control::{State, Status};
use super::lane::{Carrier, Condition, Lane};
use super::lanes::LaneId;
use super::latencies::Latencies;
use super::order::Order;
use super::pauses::Pause;
use super::terms::{Terms, TlsTrust};
use super::tray::Tray;
use super::turns::{Stake, Turns};
use crate::metrics::LaneMetrics;
use crate::post::{Destination, Timestamp, Trust};
use crate::spool::{Claim, Counts};
use http::Version;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// See the module.
pub(super) struct Berth {
    pub lane: Lane,
    pub id: LaneId,
    pub name: Arc<Destination>,
    /// Whether it is to be asked what it wants.
    pub is_touched: bool,
    pub terms: Arc<Terms>,
    /// Under which terms and rules its workers connect: one that began under others
    /// is not used again.
    pub permit: u64,
    pub stake: Stake,
    /// Posts of the claim under way that begin at once.
    pub claiming: usize,
    /// Posts of it that wait for a worker.
    pub stocking: usize,
    /// Whether an order came that may mean what is being claimed.
    pub is_ordered: bool,
    /// Orders under way for single posts of it: nothing is claimed meanwhile, so that
    /// none of them comes too late.
    pub halts: usize,
    /// What its workers take when they are free.
    pub tray: Arc<Tray>,
    pub timer: Option<Instant>,
    /// Its workers, resting ones included.
    pub workers: usize,
    resting: Vec<Resting>,
    version: Option<Version>,
    last: Option<(Timestamp, Arc<str>)>,
    last_error: Option<(Timestamp, Arc<str>)>,
    /// Why somebody wanted it in backoff last.
    ordered: Option<Arc<str>>,
    /// From its first answer on.
    latencies: Option<Arc<Latencies>>,
    /// What was announced, until something else happens.
    pub announced: Option<Arc<str>>,
    /// Its counters, from the end of its first attempt on.
    pub tally: Arc<OnceLock<Arc<LaneMetrics>>>,
}

/// A worker that waits for its next order.
pub(super) struct Resting {
    /// When it began to, in the order of all.
    pub rest: u64,
    /// For whose URLs its connection was opened.
    pub trust: Trust,
    pub worker: oneshot::Sender<Order>,
}

impl Berth {
    pub(super) fn new(name: Arc<Destination>, terms: Arc<Terms>, permit: u64, now: Instant) -> Berth {
        Berth {
            lane: Lane::new(terms.limits, &terms.rates, now.into_std()),
            id: LaneId::default(),
            name,
            is_touched: false,
            terms,
            permit,
            stake: Stake::default(),
            claiming: 0,
            stocking: 0,
            is_ordered: false,
            halts: 0,
            tray: Arc::default(),
            timer: None,
            workers: 0,
            resting: Vec::new(),
            version: None,
            last: None,
            last_error: None,
            ordered: None,
            latencies: None,
            announced: None,
            tally: Arc::default(),
        }
    }

    /// Serves on other terms from now on.
    pub(super) fn change(&mut self, terms: Arc<Terms>, now: Instant) {
        self.lane.change(terms.limits, &terms.rates, now.into_std());
        self.terms = terms;
    }

    /// Takes the stock back; nobody takes from the old tray any more.
    pub(super) fn clear(&mut self, now: Instant) -> Vec<Claim> {
        let claims = std::mem::take(&mut self.tray).empty();
        if !claims.is_empty() {
            self.lane.give_back(claims.len(), now.into_std());
        }
        claims
    }

    /// Attempts under way or about to be.
    pub(super) fn busy(&self) -> usize {
        self.lane.in_flight() + self.claiming
    }

    /// Posts that wait for a worker or are about to.
    pub(super) fn stocked(&self) -> usize {
        self.lane.stock().left() + self.stocking
    }

    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    pub(super) fn rest(&mut self, worker: Resting) {
        self.resting.push(worker);
    }

    /// The worker that rested last, so that the others may leave; one whose connection
    /// may carry the post, if there is one: others open a new one.
    pub(super) fn rouse(
        &mut self,
        turns: &mut Turns<LaneId>,
        trust: Trust,
    ) -> Option<oneshot::Sender<Order>> {
        let fitting = self.resting.iter().rposition(|resting| resting.trust == trust);
        let last = self.resting.len().checked_sub(1)?;
        let Resting { rest, worker, .. } = self.resting.remove(fitting.unwrap_or(last));
        turns.rouse(rest);
        Some(worker)
    }

    /// Lets the worker go that began to rest then.
    pub(super) fn dismiss(&mut self, rest: u64) {
        self.resting.retain(|resting| resting.rest != rest);
    }

    /// Lets all resting workers go.
    pub(super) fn dismiss_all(&mut self, turns: &mut Turns<LaneId>) {
        for resting in self.resting.drain(..) {
            turns.rouse(resting.rest);
        }
    }

    /// Notes that a worker has left.
    pub(super) fn leave(&mut self, turns: &mut Turns<LaneId>) {
        self.workers = self.workers.saturating_sub(1);
        turns.leave();
        self.resting.retain(|resting| {
            let is_here = !resting.worker.is_closed();
            if !is_here {
                turns.rouse(resting.rest);
            }
            is_here
        });
    }

    /// Sends probes only, because somebody wants it; whether it did not before.
    pub(super) fn back_off(&mut self, reason: Arc<str>, now: Instant) -> bool {
        let is_new = self.lane.back_off(&self.terms.schedule, now.into_std(), fastrand::f64());
        if is_new {
            self.ordered = Some(reason);
        }
        is_new
    }

    /// Why somebody wants it in backoff, if it is in one for that.
    pub(super) fn ordered(&self) -> Option<&Arc<str>> {
        self.ordered.as_ref().filter(|_| self.lane.breaker().is_ordered())
    }

    /// Notes how an attempt ended, for those who ask.
    pub(super) fn note(&mut self, at: Timestamp, reason: Arc<str>, was_delivered: bool) {
        if !was_delivered {
            self.last_error = Some((at, Arc::clone(&reason)));
        }
        self.last = Some((at, reason));
    }

    /// Notes how long an answer took.
    pub(super) fn clock(&mut self, took: Duration) {
        self.latencies.get_or_insert_default().note(took);
    }

    /// The last attempt that was not delivered: when it ended and why.
    pub(super) fn last_error(&self) -> Option<(Timestamp, String)> {
        self.last_error.as_ref().map(|(at, text)| (*at, text.to_string()))
    }

    /// Notes which HTTP is spoken.
    pub(super) fn speak(&mut self, version: Version) {
        self.version = Some(version);
        self.lane.ride(if version == Version::HTTP_2 { Carrier::Streams } else { Carrier::Connections });
    }

    /// How it does.
    pub(super) fn status(&self, pause: Option<&Pause>, now: Instant) -> Status {
        let is_shared = self.version == Some(Version::HTTP_2);
        Status {
            destination: Arc::clone(&self.name),
            state: self.state(pause, now),
            // Claimed, but nobody sends them yet.
            counts: Counts { waiting: self.lane.stock().left() as u64, ..Counts::default() },
            in_flight: self.lane.in_flight(),
            window: self.lane.window(),
            max_connections: self.lane.most(),
            connections: if is_shared { self.workers.min(1) } else { self.workers },
            version: self.version.map(name),
            rates: self.lane.usage(now.into_std()),
            last: self.last.as_ref().map(|(at, text)| (*at, text.to_string())),
            last_error: self.last_error(),
            insecure: self.terms.tls.trust == TlsTrust::Anyone,
            latencies: self.latencies.clone(),
        }
    }

    fn state(&self, pause: Option<&Pause>, now: Instant) -> State {
        let left = |at: std::time::Instant| Instant::from(at).saturating_duration_since(now);
        if let Some(pause) = pause {
            return State::Paused { since: pause.since, reason: pause.reason.clone() };
        }
        let said = || self.last_error().map(|(_, text)| text);
        let reason = || self.ordered().map(|text| text.to_string()).or_else(said).unwrap_or_default();
        match self.lane.condition(now.into_std()) {
            Condition::Open | Condition::Paused => State::Active,
            Condition::Recovering => State::Recovering,
            Condition::Held(at) => State::Deferring { left: left(at), reason: reason() },
            Condition::Throttled(at) => State::Throttled { left: left(at) },
            Condition::Backoff(at) => State::Backoff { next_probe: left(at), reason: reason() },
        }
    }
}

fn name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
