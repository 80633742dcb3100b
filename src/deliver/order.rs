//! A claimed post on its way to a worker, and the news of how that ended.
//!
//! No order is ever lost: one that ends without a report (a panic) tells the
//! dispatcher so itself.

use super::berth::Berth;
use super::retry::{self, Feedback, Judged, Measure, Outcome, Standing, Trouble, Verdict};
use super::shop::Shop;
use super::terms::Terms;
use super::{dialogue, record, tally};
use crate::clock;
use crate::metrics::LaneMetrics;
use crate::post::{Destination, Timestamp};
use crate::protocol_log::Transcript;
use crate::spool::{Attempt, Claim};
use http::Version;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// News for the dispatcher.
pub(super) enum Report {
    /// An attempt ended.
    Ended(Box<Ended>),
    /// A post was not tried after all.
    Untried(Arc<Destination>, Box<Claim>),
    /// A worker left.
    Left(Arc<Destination>),
}

/// How an attempt ended.
pub(super) struct Ended {
    pub lane: Arc<Destination>,
    pub claim: Claim,
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
    /// Where the worker waits for its next order, if it does.
    pub next: Option<oneshot::Sender<Order>>,
}

/// A worker is there as long as this is.
pub(super) struct Presence(pub Arc<Destination>, pub mpsc::UnboundedSender<Report>);

impl Drop for Presence {
    fn drop(&mut self) {
        // Without a dispatcher nobody counts.
        let _ = self.1.send(Report::Left(Arc::clone(&self.0)));
    }
}

/// A claimed post on its way to a worker.
pub(super) struct Order {
    pub lane: Arc<Destination>,
    pub claim: Option<Claim>,
    pub terms: Arc<Terms>,
    permit: u64,
    began: (Timestamp, Instant),
    /// How long the answer took, and what was spoken.
    pub seen: (Option<Duration>, Option<Version>),
    /// What the receiver said against the post, in plain text.
    pub said: Option<String>,
    /// Whether the outcome is that of another origin, to which a redirect led.
    pub is_elsewhere: bool,
    tally: Arc<LaneMetrics>,
    pub reports: mpsc::UnboundedSender<Report>,
    pub shop: Arc<Shop>,
}

impl Order {
    pub(super) fn new(
        lane: &Arc<Destination>,
        claim: Claim,
        berth: &mut Berth,
        reports: mpsc::UnboundedSender<Report>,
        shop: Arc<Shop>,
    ) -> Order {
        let (lane, terms, began) =
            (Arc::clone(lane), Arc::clone(&berth.terms), (clock::wall(), Instant::now()));
        let tally = Arc::clone(berth.tally.get_or_insert_with(|| shop.metrics.lane(&lane)));
        let (permit, claim, seen) = (berth.permit, Some(claim), (None, None));
        let (said, is_elsewhere) = (None, false);
        Order { lane, claim, terms, permit, began, seen, said, is_elsewhere, tally, reports, shop }
    }

    /// Ends it without an attempt: the time of its post is over.
    pub(super) fn give_up(self) {
        let mut log = self.shop.log.transcript('H');
        self.finish(&Outcome::Broken(Trouble::Expired), &mut log, None);
    }

    /// Judges the outcome and reports it. The verdict goes to the log as well.
    pub(super) fn finish(
        mut self,
        outcome: &Outcome,
        log: &mut Transcript,
        next: Option<oneshot::Sender<Order>>,
    ) {
        if let Some(claim) = self.claim.take() {
            self.report(claim, outcome, Some(log), next);
        }
    }

    fn report(
        &self,
        claim: Claim,
        outcome: &Outcome,
        log: Option<&mut Transcript>,
        next: Option<oneshot::Sender<Order>>,
    ) {
        if let Outcome::Broken(trouble @ Trouble::Untried(_)) = outcome {
            return self.put_back(claim, trouble, log);
        }
        let now = self.shop.now();
        let Terms { schedule, verdicts, .. } = &*self.terms;
        let ends_at = schedule.ends_at(&claim.post, claim.ages_from);
        let standing = Standing { ended: claim.ended, ends_at, now };
        let judged = retry::decide(schedule, verdicts, standing, outcome, fastrand::f64());
        let attempt = record::of(&claim, self.began, outcome, &judged.verdict);
        let Judged { verdict, mut feedback, measure } = judged;
        if self.is_elsewhere && matches!(feedback, Feedback::Trouble { .. }) {
            // Whoever redirects has answered.
            feedback = Feedback::Answered;
        }
        let age = now.since(claim.post.accepted_at);
        tally::count(&self.shop.metrics, &self.tally, (outcome, &verdict), attempt.duration, age);
        if let Some(log) = log.filter(|log| log.is_on()) {
            dialogue::note_verdict(log, claim.post.id, claim.post.accepted_at, now, &verdict);
            if verdict != Verdict::Delivered {
                log.trouble();
                log.flush();
            }
        }
        let (lane, permit, (took, version)) = (Arc::clone(&self.lane), self.permit, self.seen);
        let said = self.said.clone();
        let ended =
            Ended { lane, claim, verdict, feedback, measure, attempt, said, took, version, permit, next };
        // Without a dispatcher nobody settles: the post is sent again after a restart.
        let _ = self.reports.send(Report::Ended(Box::new(ended)));
    }

    fn put_back(&self, claim: Claim, why: &Trouble, log: Option<&mut Transcript>) {
        if let Some(log) = log {
            log.note(format_args!("{} not tried: {why}", claim.post.id));
        }
        // Without a dispatcher it is claimed again after a restart.
        let _ = self.reports.send(Report::Untried(Arc::clone(&self.lane), Box::new(claim)));
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.report(claim, &Outcome::Broken(Trouble::Crashed), None, None);
        }
    }
}
