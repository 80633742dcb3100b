//! What the dispatcher makes of attempts that ended: the lane learns, the verdict
//! is noted, and who is to hear of it does.

use super::berth::Resting;
use super::bounce;
use super::conclusion::{self, Conclusion};
use super::dispatch::Dispatcher;
use super::lane::{self, Change, Condition};
use super::lanes::LaneId;
use super::order::{Ended, Next, Report};
use super::retry::{Feedback, Verdict};
use super::shop::Settled;
use super::work::Done;
use crate::event::Event;
use crate::first_attempts::FirstAttempt;
use crate::spool::{Claim, Settlement};
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Notes how attempts ended, and settles them in one call.
    pub(super) fn take_reports(&mut self, reports: Vec<Report>, now: Instant) {
        let (mut settled, mut told, mut reported) = (Settled::default(), Settled::default(), Vec::new());
        settled.done.reserve(reports.len());
        for report in reports {
            match report {
                Report::Left(lane) => {
                    if let Some(berth) = self.lanes.at_mut(lane) {
                        berth.leave(&mut self.turns);
                        self.touched.add(berth);
                    }
                }
                Report::Late(done) => {
                    self.late -= 1;
                    self.finish(done, now);
                }
                Report::Untried(lane, claim) => {
                    self.put_back(lane, &claim, now);
                    settled.done.push((*claim, Settlement::Back));
                }
                Report::Returned(lane, claims) => {
                    if let Some(berth) = self.lanes.at_mut(lane) {
                        berth.lane.give_back(claims.len(), now.into_std());
                        self.touched.add(berth);
                    }
                    settled.done.extend(Settled::back(claims).done);
                }
                Report::Ended(mut ended) => {
                    let event = ended.event.take();
                    match self.end_attempt(ended, now) {
                        (claim, Conclusion::Settled(settlement)) => {
                            self.settle_or_add((&mut settled, &mut told), (claim, settlement), event);
                        }
                        (claim, Conclusion::Failed(last)) if bounce::is_due(&self.shop, &claim) => {
                            reported.push((claim, last, event));
                        }
                        (claim, Conclusion::Failed(last)) => {
                            let failed = (claim, Settlement::Failed { last });
                            self.settle_or_add((&mut settled, &mut told), failed, event);
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
        for settled in [settled, told].into_iter().filter(|settled| !settled.done.is_empty()) {
            self.settle(settled);
        }
        if !reported.is_empty() {
            let shop = Arc::clone(&self.shop);
            self.tasks.spawn(bounce::report_and_settle(shop, reported));
        }
    }

    /// Adds what nothing is told of to the rest, and what only ends and is told of to what
    /// is told; each is settled in one call. Any other is settled at once.
    fn settle_or_add(
        &mut self,
        (rest, told): (&mut Settled, &mut Settled),
        done: (Claim, Settlement),
        event: Option<Event>,
    ) {
        let only_ends = |(claim, settlement): &(Claim, Settlement)| {
            let post = &*claim.post;
            *settlement == Settlement::Delivered
                && post.ordering_key.is_none()
                && !self.shop.spool.keeps(post)
        };
        match event {
            None => rest.done.push(done),
            Some(event) if only_ends(&done) => {
                told.done.push(done);
                told.events.push(event);
            }
            Some(event) => self.settle(Settled { done: vec![done], events: vec![event] }),
        }
    }

    /// Notes that a post was not tried; whoever waits for its first attempt has
    /// waited for one.
    fn put_back(&mut self, lane: LaneId, claim: &Claim, now: Instant) {
        self.in_flight -= 1;
        let nothing = lane::Ended { feedback: Feedback::Nothing, took: None, is_over: false };
        if let Some(berth) = self.lanes.at_mut(lane) {
            berth.lane.end_attempt(nothing, &berth.terms.schedule, now.into_std(), 0.5);
            self.touched.add(berth);
        }
        self.shop.first_attempts.tell(claim.post.id, || FirstAttempt::Trouble);
    }

    fn end_attempt(&mut self, ended: Box<Ended>, now: Instant) -> (Claim, Conclusion) {
        self.in_flight -= 1;
        let Ended { lane, claim, verdict, measure, attempt, said, feedback, next, .. } = *ended;
        let (has_begun, took, version, permit) = (ended.has_begun, ended.took, ended.version, ended.permit);
        let mut change = Change::None;
        if let Some(berth) = self.lanes.at_mut(lane) {
            if let Some(version) = version {
                berth.speak(version);
            }
            if has_begun {
                let is_over = matches!(verdict, Verdict::Failed { .. });
                let ended = lane::Ended { feedback, took, is_over };
                let schedule = &berth.terms.schedule;
                change = berth.lane.end_attempt(ended, schedule, now.into_std(), fastrand::f64());
            } else {
                berth.lane.give_up();
            }
            match next {
                Next::Draws => {
                    berth.lane.draw(1, now.into_std());
                    self.in_flight += 1;
                }
                Next::Rests(worker) if !self.is_stopping && berth.permit == permit => {
                    let (rest, trust) = (self.turns.rest(&lane), claim.post.trust);
                    berth.rest(Resting { rest, trust, worker });
                }
                Next::Rests(_) | Next::Leaves => {}
            }
            let is_held = matches!(feedback, Feedback::Trouble { retry_after: Some(_) });
            if is_held || change != Change::None {
                self.notary.resent(&berth.name);
            }
            self.touched.add(berth);
        }
        self.learn(lane, &attempt, &verdict, change, measure);
        let conclusion = conclusion::conclude(&self.shop, &claim, verdict, attempt, said);
        if self.shop.bounce.is_some() {
            bounce::count(&self.shop.metrics, &claim.post, &conclusion);
        }
        (claim, conclusion)
    }

    /// Tells those who wait for first attempts of a lane that will not send soon.
    pub(super) fn tell_waiting(&self, lane: LaneId, now: Instant) {
        let first_attempts = &self.shop.first_attempts;
        if first_attempts.is_idle() {
            return;
        }
        let Some(berth) = self.lanes.at(lane) else { return };
        let condition = berth.lane.condition(now.into_std());
        if matches!(condition, Condition::Backoff(_) | Condition::Held(_) | Condition::Paused) {
            first_attempts.tell_lane(&berth.name);
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
