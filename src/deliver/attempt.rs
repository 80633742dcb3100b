//! A worker: the task of one connection, and the attempts made on it.
//!
//! A worker gets one post at a time from the dispatcher, sends it, judges what
//! came back, reports, and rests with its connection open until the next one or
//! until `keep_alive` is over. Reports carry the way to hand over the next post,
//! so the dispatcher keeps no list of workers.
//!
//! No order is ever lost: an [`Order`] that ends without a report (a panic) tells
//! the dispatcher so itself.

use super::connection::{Failure, Link, Response};
use super::egress::Connector;
use super::retry::{self, Feedback, Outcome, Schedule, Trouble, Verdict};
use super::room::Room;
use super::terms::Terms;
use super::{Options, dialogue, request};
use crate::clock;
use crate::post::{Destination, Timestamp};
use crate::protocol_log::{ProtocolLog, Transcript};
use crate::spool::{Claim, Spool, SpoolError};
use bytes::Bytes;
use http::Version;
use http::header::{HeaderValue, RETRY_AFTER};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// What all workers use.
pub(super) struct Shop {
    pub spool: Arc<dyn Spool>,
    pub connector: Connector,
    pub log: ProtocolLog,
    room: Arc<Room>,
    started_at: Timestamp,
    started: Instant,
}

impl Shop {
    pub(super) fn new(spool: Arc<dyn Spool>, options: &Options, log: ProtocolLog) -> Shop {
        let (started_at, started) = (clock::wall(), Instant::now());
        let connector = Connector::new(options.egress.clone());
        Shop { spool, connector, log, room: Arc::new(Room::new()), started_at, started }
    }

    /// The same with other options.
    pub(super) fn renewed(&self, options: &Options) -> Shop {
        let (spool, log, room) = (Arc::clone(&self.spool), self.log.clone(), Arc::clone(&self.room));
        let connector = Connector::new(options.egress.clone());
        Shop { spool, connector, log, room, started_at: self.started_at, started: self.started }
    }

    /// The time by a clock that does not jump.
    pub(super) fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// Whether the time of a post is over.
    pub(super) fn is_over(&self, claim: &Claim, schedule: &Schedule) -> bool {
        self.now() >= schedule.ends_at(&claim.post)
    }
}

/// News for the dispatcher.
pub(super) enum Report {
    /// An attempt ended.
    Ended(Box<Ended>),
    /// A worker left.
    Left(Arc<Destination>),
}

/// How an attempt ended.
pub(super) struct Ended {
    pub lane: Arc<Destination>,
    pub claim: Claim,
    pub verdict: Verdict,
    pub feedback: Feedback,
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
struct Presence(Arc<Destination>, mpsc::UnboundedSender<Report>);

impl Drop for Presence {
    fn drop(&mut self) {
        // Without a dispatcher nobody counts.
        let _ = self.1.send(Report::Left(Arc::clone(&self.0)));
    }
}

/// What was seen of an exchange.
#[derive(Clone, Copy, Default)]
struct Seen {
    took: Option<Duration>,
    version: Option<Version>,
}

/// A claimed post on its way to a worker.
pub(super) struct Order {
    lane: Arc<Destination>,
    claim: Option<Claim>,
    terms: Arc<Terms>,
    permit: u64,
    seen: Seen,
    reports: mpsc::UnboundedSender<Report>,
    shop: Arc<Shop>,
}

impl Order {
    pub(super) fn new(
        lane: &Arc<Destination>,
        claim: Claim,
        terms: &Arc<Terms>,
        permit: u64,
        reports: mpsc::UnboundedSender<Report>,
        shop: Arc<Shop>,
    ) -> Order {
        let (lane, terms) = (Arc::clone(lane), Arc::clone(terms));
        Order { lane, claim: Some(claim), terms, permit, seen: Seen::default(), reports, shop }
    }

    /// Ends it without an attempt: the time of its post is over.
    pub(super) fn give_up(self) {
        let mut log = self.shop.log.transcript('H');
        self.finish(&Outcome::Broken(Trouble::Expired), &mut log, None);
    }

    /// Judges the outcome and reports it. The verdict goes to the log as well.
    fn finish(mut self, outcome: &Outcome, log: &mut Transcript, next: Option<oneshot::Sender<Order>>) {
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
        let now = self.shop.now();
        let (verdict, feedback) =
            retry::decide(&self.terms.schedule, &claim.post, claim.ended, outcome, now, fastrand::f64());
        if let Some(log) = log.filter(|log| log.is_on()) {
            dialogue::note_verdict(log, claim.post.id, claim.post.accepted_at, now, &verdict);
            if verdict != Verdict::Delivered {
                log.trouble();
                log.flush();
            }
        }
        let (lane, Seen { took, version }) = (Arc::clone(&self.lane), self.seen);
        let ended = Ended { lane, claim, verdict, feedback, took, version, permit: self.permit, next };
        // Without a dispatcher nobody settles: the post is sent again after a restart.
        let _ = self.reports.send(Report::Ended(Box::new(ended)));
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.report(claim, &Outcome::Broken(Trouble::Crashed), None, None);
        }
    }
}

/// Works until there is no connection to keep and no order left.
pub(super) async fn work(shop: Arc<Shop>, mut order: Order) {
    let lane = Arc::clone(&order.lane);
    // Goes last, after the connection.
    let _presence = Presence(Arc::clone(&lane), order.reports.clone());
    let (terms, log) = (Arc::clone(&order.terms), shop.log.transcript('H'));
    let mut worker = Worker { shop, terms, lane, host: None, link: None, log, seen: Seen::default() };
    loop {
        let Some(claim) = order.claim.clone() else { return };
        let outcome = worker.attempt(&claim).await;
        order.seen = worker.seen;
        if !worker.keeps_link() {
            worker.link = None;
            order.finish(&outcome, &mut worker.log, None);
            return;
        }
        let (sender, receiver) = oneshot::channel();
        order.finish(&outcome, &mut worker.log, Some(sender));
        match worker.rest(receiver).await {
            Some(next) => order = next,
            None => return,
        }
    }
}

/// How long an idle worker keeps lines of the protocol log to itself.
const LOG_DELAY: Duration = Duration::from_millis(50);

struct Worker {
    shop: Arc<Shop>,
    lane: Arc<Destination>,
    terms: Arc<Terms>,
    host: Option<HeaderValue>,
    link: Option<Link>,
    log: Transcript,
    seen: Seen,
}

impl Worker {
    async fn attempt(&mut self, claim: &Claim) -> Outcome {
        self.seen = Seen::default();
        match self.exchange(claim).await {
            Ok(response) => {
                let retry_after = response.headers.get(RETRY_AFTER);
                let retry_after =
                    retry_after.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                Outcome::Answered { status: response.status, retry_after }
            }
            Err(trouble) => {
                self.link = None;
                Outcome::Broken(trouble)
            }
        }
    }

    async fn exchange(&mut self, claim: &Claim) -> Result<Response, Trouble> {
        if self.shop.is_over(claim, &self.terms.schedule) {
            return Err(Trouble::Expired);
        }
        let shop = Arc::clone(&self.shop);
        let _room = shop.room.take(claim.post.body.length).await;
        let body = self.shop.spool.body(claim).await.map_err(unread)?;
        let deadline = Instant::now() + self.terms.total_timeout;
        if self.link.as_ref().is_some_and(Link::is_reusable) {
            match self.send(claim, &body, deadline).await {
                Err(failure) if failure.is_unanswered => {
                    self.log.note("connection was closed meanwhile, once more on a fresh one");
                }
                result => return result.map_err(|failure| failure.trouble),
            }
        }
        self.connect(claim, deadline).await?;
        self.send(claim, &body, deadline).await.map_err(|failure| failure.trouble)
    }

    async fn connect(&mut self, claim: &Claim, deadline: Instant) -> Result<(), Trouble> {
        self.link = None;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.terms.connect_timeout.min(left);
        match self.shop.connector.connect(&self.lane, limit).await {
            Ok(connected) => {
                self.link = Some(Link::open(connected).await?);
                Ok(())
            }
            Err(trouble) => {
                let (id, attempt, to) = (claim.post.id, claim.attempt, &self.lane);
                self.log.note(format_args!("{id} attempt {attempt}: no connection to {to}"));
                Err(trouble)
            }
        }
    }

    async fn send(&mut self, claim: &Claim, body: &Bytes, deadline: Instant) -> Result<Response, Failure> {
        let failed = |trouble| Failure { trouble, is_unanswered: false };
        let host = self.host().map_err(failed)?;
        let build = || request::build(claim, &host, body.clone());
        let request = build().map_err(failed)?;
        let Some(link) = &mut self.link else { return Err(failed(Trouble::Crashed)) };
        if self.log.is_on() {
            dialogue::note_connection(&mut self.log, claim.post.id, claim.attempt, &self.lane, link);
            dialogue::note_request(&mut self.log, &request);
        }
        let begun = Instant::now();
        let result = link.send(request, self.terms.response_timeout, deadline).await;
        let took = result.is_ok().then(|| begun.elapsed());
        self.seen = Seen { took, version: Some(Version::HTTP_11) };
        if self.log.is_on() {
            let is_taken = result.as_ref().is_ok_and(|response| response.status.is_success());
            if let (false, Ok(again)) = (is_taken, build()) {
                dialogue::note_request_headers(&mut self.log, &again);
            }
            if let Ok(response) = &result {
                dialogue::note_response(&mut self.log, response);
            }
        }
        result
    }

    /// The `Host` header, made once a worker.
    fn host(&mut self) -> Result<HeaderValue, Trouble> {
        if self.host.is_none() {
            let host = HeaderValue::try_from(self.lane.authority());
            let host = host.map_err(|_| Trouble::Unsendable("the host is not valid in HTTP".to_owned()))?;
            self.host = Some(host);
        }
        self.host.clone().ok_or(Trouble::Crashed)
    }

    fn keeps_link(&self) -> bool {
        let most = self.terms.max_posts_per_connection;
        self.link.as_ref().is_some_and(|link| link.is_reusable() && (most == 0 || link.posts < most))
    }

    /// Waits for the next order while the connection is worth keeping. A busy
    /// worker hands its log over in larger pieces, an idle one soon.
    async fn rest(&mut self, mut next: oneshot::Receiver<Order>) -> Option<Order> {
        let keep_alive = self.terms.keep_alive;
        let soon = keep_alive.min(LOG_DELAY);
        let mut rest = self.wait(&mut next, soon).await;
        if matches!(rest, Rest::Quiet) {
            self.log.flush();
            rest = self.wait(&mut next, keep_alive - soon).await;
        }
        if let Rest::Order(order) = rest {
            return order;
        }
        self.link = None;
        // An order may have been put into the channel in the same moment.
        next.close();
        next.try_recv().ok()
    }

    async fn wait(&mut self, next: &mut oneshot::Receiver<Order>, limit: Duration) -> Rest {
        let Some(link) = &mut self.link else { return Rest::Closed };
        tokio::select! {
            biased;
            order = next => Rest::Order(order.ok()),
            () = link.closed() => Rest::Closed,
            () = sleep(limit) => Rest::Quiet,
        }
    }
}

/// How a rest ended.
enum Rest {
    /// With an order, or with a dispatcher that has none any more.
    Order(Option<Order>),
    /// The other end closed the connection.
    Closed,
    /// Nothing happened.
    Quiet,
}

fn unread(error: SpoolError) -> Trouble {
    match error {
        SpoolError::Damaged(place) => Trouble::Damaged(place),
        other => Trouble::Unreadable(other.to_string()),
    }
}
