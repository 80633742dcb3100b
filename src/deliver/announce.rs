//! What operators are told about destinations: that one is in backoff, is back, is
//! paused or goes on, each with its reason and with the number of posts that wait.
//!
//! Counting them is the spool's work and is done for many at once.

use super::caught::caught;
use super::control::Which;
use super::dispatch::Dispatcher;
use super::lane::Change;
use super::lanes::LaneId;
use super::retry::{Measure, Verdict};
use super::work::Done;
use crate::clock;
use crate::event::destinations::{self, Turn};
use crate::event::{Event, Wanted};
use crate::post::Destination;
use crate::spool::{Attempt, Counts};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One change.
pub(super) enum News {
    /// A destination is left alone but for probes, for this reason.
    Backoff(Arc<Destination>, Arc<str>),
    /// It refuses us, and probably a secret is to be mended.
    Refusal(Arc<Destination>, Arc<str>),
    /// It answers again; or somebody wants its posts sent, and this says so.
    Recovered(Arc<Destination>, Option<Arc<str>>),
    /// Somebody, or a rule, paused it.
    Paused(Which, String),
    /// The pause is over.
    Resumed(Which),
}

impl Dispatcher {
    /// Notes what an attempt says about its destination. A refusal is told once,
    /// until something else happens.
    pub(super) fn learn(
        &mut self,
        lane: LaneId,
        attempt: &Attempt,
        verdict: &Verdict,
        change: Change,
        measure: Measure,
    ) {
        let reason = self.reason(&attempt.reason);
        let ended_at = attempt.started_at.after(attempt.duration);
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        berth.note(ended_at, Arc::clone(&reason), *verdict == Verdict::Delivered);
        if attempt.status.is_some() {
            berth.clock(attempt.duration);
        }
        let announced = berth.announced.take();
        if (change, measure) == (Change::None, Measure::Nothing) {
            return;
        }
        let lane = Arc::clone(&berth.name);
        match measure {
            Measure::Nothing => {}
            Measure::Announce => {
                berth.announced = Some(Arc::clone(&reason));
                if announced.as_ref() != Some(&reason) {
                    self.news.push(News::Refusal(Arc::clone(&lane), Arc::clone(&reason)));
                }
            }
            Measure::Pause if self.pauses.of(&lane).is_none() => {
                self.pause(Which::only(&lane), reason.to_string(), None);
            }
            Measure::Pause => {}
        }
        match change {
            Change::IsAway => {
                self.shop.metrics.breaker_openings.inc();
                self.news.push(News::Backoff(lane, reason));
            }
            Change::IsBack => self.news.push(News::Recovered(lane, None)),
            Change::None => {}
        }
    }

    /// A reason to be kept: attempts that end one after another mostly have the same.
    fn reason(&mut self, text: &str) -> Arc<str> {
        if *self.last_reason != *text {
            self.last_reason = Arc::from(text);
        }
        Arc::clone(&self.last_reason)
    }

    /// Tells what is new, once what was told before is done.
    pub(super) fn announce(&mut self) {
        if self.is_announcing || self.news.is_empty() {
            return;
        }
        self.is_announcing = true;
        let news = std::mem::take(&mut self.news);
        let shop = Arc::clone(&self.shop);
        self.tasks.spawn(async move {
            let counts = caught(async { shop.spool.counts().await }).await.unwrap_or_default();
            news.iter().for_each(|news| news.tell(&counts));
            let events = news.iter().flat_map(|news| news.events(&shop.wanted, &counts));
            shop.publish(events.collect()).await;
            Done::Announced
        });
    }
}

impl News {
    fn tell(&self, counts: &[(Arc<Destination>, Counts)]) {
        let queued = counts.iter().filter(|(destination, _)| self.is_about(destination));
        let queued: u64 = queued.map(|(_, counts)| counts.waiting).sum();
        match self {
            News::Backoff(to, reason) => tracing::warn!(
                tenant = to.tenant.as_str(),
                queued,
                "{to} is in backoff: {reason}; one probe at a time until it answers"
            ),
            News::Refusal(to, reason) => tracing::warn!(
                tenant = to.tenant.as_str(),
                queued,
                "{to} refuses us: {reason}; its posts are kept and tried again"
            ),
            News::Recovered(to, None) => {
                tracing::info!(tenant = to.tenant.as_str(), queued, "{to} answers again");
            }
            News::Recovered(to, Some(reason)) => {
                tracing::info!(tenant = to.tenant.as_str(), queued, "{to} is out of backoff: {reason}");
            }
            News::Paused(which, reason) => {
                tracing::warn!(queued, "{} is paused: {reason}", which.origins);
            }
            News::Resumed(which) => tracing::info!(queued, "{} goes on", which.origins),
        }
    }

    /// The same as events, one for each tenant that it concerns.
    fn events(&self, wanted: &Wanted, counts: &[(Arc<Destination>, Counts)]) -> Vec<Event> {
        let (turn, reason) = match self {
            // What happens to a webhook is told of it, not of its origin.
            News::Backoff(to, _) | News::Recovered(to, _) if to.webhook.is_some() => return Vec::new(),
            News::Backoff(_, reason) => (Turn::Backoff, Some(&**reason)),
            News::Recovered(_, reason) => (Turn::Recovered, reason.as_deref()),
            News::Paused(_, reason) => (Turn::Paused, Some(reason.as_str())),
            News::Resumed(_) => (Turn::Resumed, None),
            // No state has changed.
            News::Refusal(..) => return Vec::new(),
        };
        if !wanted.is_wanted() {
            return Vec::new();
        }
        let (origins, of) = match self {
            News::Backoff(to, _) | News::Refusal(to, _) | News::Recovered(to, _) => {
                (to.to_string(), Some(&to.tenant))
            }
            News::Paused(which, _) | News::Resumed(which) => {
                (which.origins.to_string(), which.tenant.as_ref())
            }
        };
        let mut tenants: BTreeMap<Tenant, u64> = of.map(|tenant| (tenant.clone(), 0)).into_iter().collect();
        for (destination, counts) in counts.iter().filter(|(destination, _)| self.is_about(destination)) {
            *tenants.entry(destination.tenant.clone()).or_default() += counts.waiting;
        }
        if tenants.is_empty() {
            tenants.insert(Tenant::default(), 0);
        }
        let told = tenants.iter().map(|(tenant, queued)| {
            let (of, state) = ((origins.as_str(), tenant), (reason, *queued));
            destinations::event(turn, of, state, clock::wall(), fastrand::u128(..))
        });
        told.collect()
    }

    fn is_about(&self, destination: &Destination) -> bool {
        match self {
            News::Backoff(to, _) | News::Refusal(to, _) | News::Recovered(to, _) => **to == *destination,
            News::Paused(which, _) | News::Resumed(which) => which.means(destination),
        }
    }
}

impl Which {
    /// A destination alone.
    pub(super) fn only(destination: &Destination) -> Which {
        Which { origins: UrlPattern::of(destination), tenant: Some(destination.tenant.clone()) }
    }

    /// Whether a destination is meant.
    pub fn means(&self, destination: &Destination) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == destination.tenant)
            && self.origins.matches(destination)
    }
}
