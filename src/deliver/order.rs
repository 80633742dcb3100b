//! A claimed post on its way to a worker, and the news of how that ended.
//!
//! No order is ever lost: one that ends without a report (a panic) tells the
//! dispatcher so itself.

use super::berth::Berth;
use super::lanes::LaneId;
use super::retry::{self, Feedback, Judged, Measure, Outcome, Standing, Trouble, Verdict};
use super::shop::Shop;
use super::terms::Terms;
use super::tray::Tray;
use super::work::Done;
use super::{dialogue, record, tally, told};
use crate::clock;
use crate::event::Event;
use crate::event::posts::Way;
use crate::metrics::LaneMetrics;
use crate::post::{Destination, Timestamp, Trust};
use crate::protocol_log::Transcript;
use crate::spool::{Attempt, Claim};
use http::Version;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// News for the dispatcher.
pub(super) enum Report {
    /// An attempt ended.
    Ended(Box<Ended>),
    /// A post was not tried after all.
    Untried(LaneId, Box<Claim>),
    /// Posts of the stock are not to be tried now.
    Returned(LaneId, Vec<Claim>),
    /// A worker left.
    Left(LaneId),
    /// What work led to that took a while.
    Late(Done),
}

/// How an attempt ended.
pub(super) struct Ended {
    pub lane: LaneId,
    pub claim: Claim,
    /// Whether there was an attempt; a post may also be given up without.
    pub has_begun: bool,
    pub verdict: Verdict,
    pub feedback: Feedback,
    pub measure: Measure,
    /// What it was, for those who ask.
    pub attempt: Attempt,
    /// Why a post was not taken, when the receiver said so in plain text.
    pub said: Option<String>,
    /// From the request to the response, if there was one.
    pub took: Option<Duration>,
    /// What was spoken, if something was.
    pub version: Option<Version>,
    /// That of the order.
    pub permit: u64,
    pub next: Next,
    /// What is told of it.
    pub event: Option<Event>,
}

/// What the worker of an attempt that ended does next.
pub(super) enum Next {
    /// It leaves.
    Leaves,
    /// It waits there for its next order.
    Rests(oneshot::Sender<Order>),
    /// It makes the attempt of a post of the stock.
    Draws,
}

/// The same for the worker itself.
pub(super) enum Onward {
    Leave,
    Rest(oneshot::Receiver<Order>),
    Carry(Order),
}

/// Whether a worker may go on with the connection that it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Goes,
    Ends,
}

/// A worker is there as long as this is.
pub(super) struct Presence(pub LaneId, pub mpsc::UnboundedSender<Report>);

impl Drop for Presence {
    fn drop(&mut self) {
        // Without a dispatcher nobody counts.
        let _ = self.1.send(Report::Left(self.0));
    }
}

/// A claimed post on its way to a worker.
pub(super) struct Order {
    pub id: LaneId,
    pub lane: Arc<Destination>,
    pub claim: Option<Claim>,
    pub terms: Arc<Terms>,
    permit: u64,
    has_begun: bool,
    began: (Timestamp, Instant),
    /// How long the answer took, and what was spoken.
    pub seen: (Option<Duration>, Option<Version>),
    /// What the receiver said against the post, in plain text.
    pub said: Option<String>,
    /// What it was sent over, when anybody wants to know.
    pub way: Option<Box<Way>>,
    /// Whether the outcome is that of another origin, to which a redirect led.
    pub is_elsewhere: bool,
    /// The lane's counters; it has them from the first worker that counts.
    tally: Arc<OnceLock<Arc<LaneMetrics>>>,
    tray: Arc<Tray>,
    pub reports: mpsc::UnboundedSender<Report>,
    pub shop: Arc<Shop>,
}

impl Order {
    pub(super) fn new(
        berth: &Berth,
        claim: Claim,
        reports: mpsc::UnboundedSender<Report>,
        shop: Arc<Shop>,
    ) -> Order {
        let (lane, terms, began) =
            (Arc::clone(&berth.name), Arc::clone(&berth.terms), (clock::wall(), Instant::now()));
        let (id, tally) = (berth.id, Arc::clone(&berth.tally));
        let (permit, claim, seen) = (berth.permit, Some(claim), (None, None));
        let (said, way, is_elsewhere, has_begun) = (None, None, false, true);
        let tray = Arc::clone(&berth.tray);
        Order {
            id,
            lane,
            claim,
            terms,
            permit,
            has_begun,
            began,
            seen,
            said,
            way,
            is_elsewhere,
            tally,
            tray,
            reports,
            shop,
        }
    }

    /// One like this, which begins now, of the next post in stock, if it can be one for
    /// this connection.
    fn draw(&self, trust: Trust) -> Option<Order> {
        let claim = Some(self.tray.take_fitting(trust)?);
        claim.iter().for_each(|claim| self.shop.first_attempts.begin(claim.post.id));
        Some(Order {
            id: self.id,
            lane: Arc::clone(&self.lane),
            claim,
            terms: Arc::clone(&self.terms),
            permit: self.permit,
            has_begun: true,
            began: (clock::wall(), Instant::now()),
            seen: (None, None),
            said: None,
            way: None,
            is_elsewhere: false,
            tally: Arc::clone(&self.tally),
            tray: Arc::clone(&self.tray),
            reports: self.reports.clone(),
            shop: Arc::clone(&self.shop),
        })
    }

    /// Ends it without an attempt: the time of its post is over.
    pub(super) fn give_up(mut self) {
        self.has_begun = false;
        let mut log = self.shop.log.transcript('H');
        self.finish(&Outcome::Broken(Trouble::Expired), &mut log, Fit::Ends);
    }

    /// Judges the outcome and reports it; says how the worker goes on. The verdict
    /// goes to the log as well.
    pub(super) fn finish(mut self, outcome: &Outcome, log: &mut Transcript, fit: Fit) -> Onward {
        match self.claim.take() {
            Some(claim) => self.report(claim, outcome, Some(log), fit),
            None => Onward::Leave,
        }
    }

    fn report(&mut self, claim: Claim, outcome: &Outcome, log: Option<&mut Transcript>, fit: Fit) -> Onward {
        if let Outcome::Broken(trouble @ Trouble::Untried(_)) = outcome {
            self.put_back(claim, trouble, log);
            return Onward::Leave;
        }
        let now = self.shop.now();
        let judged = self.judge(&claim, outcome, now);
        let attempt = record::of(&claim, self.began, outcome, &judged.verdict);
        let end = told::End {
            outcome,
            judged: &judged,
            attempt: self.has_begun.then_some(&attempt),
            way: self.way.take().map(|way| *way),
        };
        let event = told::event(&self.shop, &claim, &end);
        self.shop.note_fare(&claim.post, outcome, &judged.verdict);
        let age = now.since(claim.post.accepted_at);
        let counters = self.tally.get_or_init(|| self.shop.metrics.lane(&self.lane));
        let post = (age, claim.post.body.length);
        tally::count(&self.shop.metrics, counters, (outcome, &judged.verdict), attempt.duration, post);
        if let Some(log) = log.filter(|log| log.is_on()) {
            dialogue::note_verdict(log, claim.post.id, claim.post.accepted_at, now, &judged.verdict);
            if judged.verdict != Verdict::Delivered {
                log.trouble();
                log.flush();
            }
        }
        let is_trouble = matches!(judged.feedback, Feedback::Trouble { .. });
        let must_pause = is_trouble || judged.measure == Measure::Pause;
        let stock = if must_pause { self.tray.empty() } else { Vec::new() };
        let (next, onward) = match fit {
            Fit::Ends => (Next::Leaves, Onward::Leave),
            Fit::Goes if must_pause => rest(),
            Fit::Goes => self.onward(claim.post.trust),
        };
        let Judged { verdict, feedback, measure, .. } = judged;
        let (lane, permit, (took, version)) = (self.id, self.permit, self.seen);
        let ended = Ended {
            lane,
            claim,
            has_begun: self.has_begun,
            verdict,
            feedback,
            measure,
            attempt,
            said: self.said.take(),
            took,
            version,
            permit,
            next,
            event,
        };
        // Without a dispatcher nobody settles: the post is sent again after a restart.
        let _ = self.reports.send(Report::Ended(Box::new(ended)));
        if !stock.is_empty() {
            // Behind the reason for it.
            let _ = self.reports.send(Report::Returned(self.id, stock));
        }
        onward
    }

    /// What the outcome of an attempt means.
    fn judge(&self, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Judged {
        let Terms { schedule, verdicts, .. } = &*self.terms;
        let ends_at = schedule.ends_at(&claim.post, claim.ages_from);
        let has_lean_body = claim.post.lean_body.is_some();
        let standing = Standing { ended: claim.ended, ends_at, now, has_lean_body };
        let mut judged = retry::decide(schedule, verdicts, standing, outcome, fastrand::f64());
        if self.is_elsewhere && matches!(judged.feedback, Feedback::Trouble { .. }) {
            // Whoever redirects has answered.
            judged.feedback = Feedback::Answered;
        }
        judged
    }

    /// What comes next: what is in stock.
    fn onward(&self, trust: Trust) -> (Next, Onward) {
        self.draw(trust).map_or_else(rest, |order| (Next::Draws, Onward::Carry(order)))
    }

    fn put_back(&self, claim: Claim, why: &Trouble, log: Option<&mut Transcript>) {
        if let Some(log) = log {
            log.note(format_args!("{} not tried: {why}", claim.post.id));
        }
        // Without a dispatcher it is claimed again after a restart.
        let _ = self.reports.send(Report::Untried(self.id, Box::new(claim)));
    }
}

fn rest() -> (Next, Onward) {
    let (sender, receiver) = oneshot::channel();
    (Next::Rests(sender), Onward::Rest(receiver))
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.report(claim, &Outcome::Broken(Trouble::Crashed), None, Fit::Ends);
        }
    }
}
