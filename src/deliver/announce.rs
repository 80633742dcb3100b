//! What operators are told about destinations: that one is in backoff, is back, is
//! paused or goes on, each with its reason and with the number of posts that wait.
//!
//! Counting them is the spool's work and is done for many at once.

use super::caught::caught;
use super::control::Which;
use super::dispatch::{Dispatcher, Done, Touched};
use super::lane::Change;
use super::retry::{Measure, Verdict};
use crate::post::Destination;
use crate::spool::{Attempt, Counts};
use crate::url_pattern::UrlPattern;
use std::sync::Arc;

/// One change.
pub(super) enum News {
    /// A destination is left alone but for probes.
    Backoff(Arc<Destination>, Arc<str>),
    /// It refuses us, and probably a secret is to be mended.
    Refusal(Arc<Destination>, Arc<str>),
    /// It answers again.
    Recovered(Arc<Destination>),
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
        lane: &Arc<Destination>,
        attempt: &Attempt,
        verdict: &Verdict,
        change: Change,
        measure: Measure,
    ) {
        let reason: Arc<str> = Arc::from(attempt.reason.as_str());
        let ended_at = attempt.started_at.after(attempt.duration);
        let berth = self.berth(lane);
        berth.note(ended_at, Arc::clone(&reason), *verdict == Verdict::Delivered);
        let announced = berth.announced.take();
        match measure {
            Measure::Nothing => {}
            Measure::Announce => {
                berth.announced = Some(Arc::clone(&reason));
                if announced.as_ref() != Some(&reason) {
                    self.news.push(News::Refusal(Arc::clone(lane), Arc::clone(&reason)));
                }
            }
            Measure::Pause if self.pauses.of(lane).is_none() => {
                self.pause(Which::only(lane), reason.to_string(), None, &mut Touched::new());
            }
            Measure::Pause => {}
        }
        match change {
            Change::IsAway => {
                self.shop.metrics.breaker_openings.inc();
                self.news.push(News::Backoff(Arc::clone(lane), reason));
            }
            Change::IsBack => self.news.push(News::Recovered(Arc::clone(lane))),
            Change::None => {}
        }
    }

    /// Tells what is new, once what was told before is done.
    pub(super) fn announce(&mut self) {
        if self.is_announcing || self.news.is_empty() {
            return;
        }
        self.is_announcing = true;
        let news = std::mem::take(&mut self.news);
        let spool = Arc::clone(&self.shop.spool);
        self.tasks.spawn(async move {
            let counts = caught(async { spool.counts().await }).await.unwrap_or_default();
            news.iter().for_each(|news| news.tell(&counts));
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
            News::Recovered(to) => {
                tracing::info!(tenant = to.tenant.as_str(), queued, "{to} answers again");
            }
            News::Paused(which, reason) => {
                tracing::warn!(queued, "{} is paused: {reason}", which.origins);
            }
            News::Resumed(which) => tracing::info!(queued, "{} goes on", which.origins),
        }
    }

    fn is_about(&self, destination: &Destination) -> bool {
        match self {
            News::Backoff(to, _) | News::Refusal(to, _) | News::Recovered(to) => **to == *destination,
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
