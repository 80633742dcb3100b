//! What the dispatcher makes of attempts that ended: the lane learns, the verdict
//! is noted, and who is to hear of it does.

use super::berth::Resting;
use super::bounce;
use super::conclusion::{self, Conclusion};
use super::dispatch::{Dispatcher, Done, Touched};
use super::lane::{self, Change, Condition};
use super::order::{Ended, Next, Report};
use super::retry::{Feedback, Verdict};
use super::shop::Settled;
use crate::event::Event;
use crate::first_attempts::FirstAttempt;
use crate::post::Destination;
use crate::spool::{Claim, Settlement};
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Notes how attempts ended, and settles them in one call.
    pub(super) fn take_reports(&mut self, reports: Vec<Report>, now: Instant, touched: &mut Touched) {
        let (mut settled, mut reported) = (Settled::default(), Vec::new());
        settled.done.reserve(reports.len());
        for report in reports {
            match report {
                Report::Left(lane) => {
                    if let Some(berth) = self.lanes.get_mut(&lane) {
                        berth.leave(&mut self.turns);
                    }
                    touched.insert(lane);
                }
                Report::Untried(lane, claim) => {
                    self.put_back(&lane, &claim, now);
                    settled.done.push((*claim, Settlement::Back));
                    touched.insert(lane);
                }
                Report::Returned(lane, claims) => {
                    self.berth(&lane).lane.give_back(claims.len(), now.into_std());
                    settled.done.extend(Settled::back(claims).done);
                    touched.insert(lane);
                }
                Report::Ended(mut ended) => {
                    touched.insert(Arc::clone(&ended.lane));
                    let event = ended.event.take();
                    match self.end_attempt(*ended, now) {
                        (claim, Conclusion::Settled(settlement)) => {
                            self.settle_or_add(&mut settled, (claim, settlement), event);
                        }
                        (claim, Conclusion::Failed(last)) if bounce::is_due(&self.shop, &claim) => {
                            reported.push((claim, last, event));
                        }
                        (claim, Conclusion::Failed(last)) => {
                            let failed = (claim, Settlement::Failed { last });
                            self.settle_or_add(&mut settled, failed, event);
                        }
                        (claim, Conclusion::Asked(answer, last)) => {
                            let shop = Arc::clone(&self.shop);
                            let settle = conclusion::settle_as_answered(shop, (claim, event), answer, last);
                            self.tasks.spawn(settle);
                        }
                    }
                }
            }
        }
        if !settled.done.is_empty() {
            self.settle(settled);
        }
        if !reported.is_empty() {
            let shop = Arc::clone(&self.shop);
            self.tasks.spawn(bounce::report_and_settle(shop, reported));
        }
    }

    /// Settles at once what something is told of, and adds the rest to what is settled
    /// in one call.
    fn settle_or_add(&mut self, rest: &mut Settled, done: (Claim, Settlement), event: Option<Event>) {
        match event {
            Some(event) => self.settle(Settled { done: vec![done], events: vec![event] }),
            None => rest.done.push(done),
        }
    }

    /// Notes that a post was not tried; whoever waits for its first attempt has
    /// waited for one.
    fn put_back(&mut self, lane: &Arc<Destination>, claim: &Claim, now: Instant) {
        self.in_flight -= 1;
        let nothing = lane::Ended { feedback: Feedback::Nothing, took: None, is_over: false };
        let berth = self.berth(lane);
        berth.lane.end_attempt(nothing, &berth.terms.schedule, now.into_std(), 0.5);
        self.shop.first_attempts.tell(claim.post.id, || FirstAttempt::Trouble);
    }

    fn end_attempt(&mut self, ended: Ended, now: Instant) -> (Claim, Conclusion) {
        self.in_flight -= 1;
        let Ended { lane, claim, has_begun, verdict, feedback, measure, .. } = ended;
        let (attempt, said, took, version) = (ended.attempt, ended.said, ended.took, ended.version);
        let (permit, next) = (ended.permit, ended.next);
        let is_stopping = self.is_stopping;
        let berth = self.berth(&lane);
        if let Some(version) = version {
            berth.speak(version);
        }
        let change = if has_begun {
            let is_over = matches!(verdict, Verdict::Failed { .. });
            let ended = lane::Ended { feedback, took, is_over };
            berth.lane.end_attempt(ended, &berth.terms.schedule, now.into_std(), fastrand::f64())
        } else {
            berth.lane.give_up();
            Change::None
        };
        let is_fit = !is_stopping && berth.permit == permit;
        match next {
            Next::Draws => {
                berth.lane.draw(1, now.into_std());
                self.in_flight += 1;
            }
            Next::Rests(worker) if is_fit => {
                let (rest, trust) = (self.turns.rest(&lane), claim.post.trust);
                self.berth(&lane).rest(Resting { rest, trust, worker });
            }
            Next::Rests(_) | Next::Leaves => {}
        }
        let is_held = matches!(feedback, Feedback::Trouble { retry_after: Some(_) });
        if is_held || change != Change::None {
            self.notary.resent(&lane);
        }
        self.learn(&lane, &attempt, &verdict, change, measure);
        let conclusion = conclusion::conclude(&self.shop.first_attempts, &claim, verdict, attempt, said);
        if self.shop.bounce.is_some() {
            bounce::count(&self.shop.metrics, &claim.post, &conclusion);
        }
        (claim, conclusion)
    }

    /// Tells those who wait for first attempts of a lane that will not send soon.
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

    /// Tells the spool, again and again if it fails: what it does not note it
    /// would keep claimed for ever.
    pub(super) fn settle(&mut self, settled: Settled) {
        let shop = Arc::clone(&self.shop);
        let settle = async move {
            shop.settle(settled).await;
            Done::Nothing
        };
        self.start(Box::pin(settle));
    }
}
