//! A worker: the task of one connection, and the attempts made on it.
//!
//! A worker gets one post at a time from the dispatcher, sends it, judges what
//! came back, reports, and rests with its connection open until the next one or
//! until `keep_alive` is over. Reports carry the way to hand over the next post,
//! so the dispatcher keeps no list of workers.
//!
//! No order is ever lost: an [`Order`] that ends without a report (a panic) tells
//! the dispatcher so itself.

use super::connection::Response;
use super::courier::{Courier, Errand};
use super::credentials::Credentials;
use super::egress::Connector;
use super::profile::Profile;
use super::retry::{self, Feedback, Judged, Measure, Outcome, Standing, Trouble, Verdict};
use super::room::Room;
use super::sign::SigningKey;
use super::terms::{Book, Terms};
use super::{Options, dialogue, record, request};
use crate::clock;
use crate::post::{Destination, Timestamp};
use crate::protocol_log::{ProtocolLog, Transcript};
use crate::spool::{Attempt, Claim, Spool, SpoolError};
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::Full;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// What all workers use.
pub(super) struct Shop {
    pub spool: Arc<dyn Spool>,
    pub book: Book,
    pub connector: Connector,
    pub log: ProtocolLog,
    pub signing_keys: HashMap<String, Arc<SigningKey>>,
    pub profiles: HashMap<String, Arc<Profile>>,
    pub credentials: Credentials,
    pub cdn_loop: HeaderValue,
    room: Room,
    started_at: Timestamp,
    started: Instant,
}

impl Shop {
    pub(super) fn new(spool: Arc<dyn Spool>, options: Options, log: ProtocolLog) -> Shop {
        Shop {
            spool,
            book: options.book,
            connector: Connector::new(options.egress),
            log,
            signing_keys: options.signing_keys,
            profiles: options.profiles,
            credentials: Credentials::default(),
            cdn_loop: request::cdn_loop(&options.instance),
            room: Room::new(),
            started_at: clock::wall(),
            started: Instant::now(),
        }
    }

    /// The time by a clock that does not jump.
    fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }
}

/// News for the dispatcher.
pub(super) enum Report {
    /// An attempt ended.
    Ended {
        lane: Arc<Destination>,
        claim: Claim,
        verdict: Verdict,
        feedback: Feedback,
        measure: Measure,
        /// What it was, for those who ask.
        attempt: Attempt,
        /// Where the worker waits for its next order, if it does.
        next: Option<oneshot::Sender<Order>>,
    },
    /// A resting worker left.
    Left(Arc<Destination>),
}

/// A claimed post on its way to a worker.
pub(super) struct Order {
    lane: Arc<Destination>,
    claim: Option<Claim>,
    began: (Timestamp, Instant),
    reports: mpsc::UnboundedSender<Report>,
    shop: Arc<Shop>,
}

impl Order {
    pub(super) fn new(
        lane: &Arc<Destination>,
        claim: Claim,
        reports: &mpsc::UnboundedSender<Report>,
        shop: &Arc<Shop>,
    ) -> Order {
        let (lane, reports, shop) = (Arc::clone(lane), reports.clone(), Arc::clone(shop));
        Order { lane, claim: Some(claim), began: (clock::wall(), Instant::now()), reports, shop }
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
        let Terms { schedule, verdicts, .. } = &self.shop.book.terms(&self.lane);
        let ends_at = schedule.ends_at(&claim.post, claim.ages_from);
        let standing = Standing { ended: claim.ended, ends_at, now };
        let judged = retry::decide(schedule, verdicts, standing, outcome, fastrand::f64());
        let attempt = record::of(&claim, self.began, outcome, &judged.verdict);
        let Judged { verdict, feedback, measure } = judged;
        if let Some(log) = log.filter(|log| log.is_on()) {
            dialogue::note_verdict(log, claim.post.id, claim.post.accepted_at, now, &verdict);
            if verdict != Verdict::Delivered {
                log.trouble();
                log.flush();
            }
        }
        let lane = Arc::clone(&self.lane);
        let report = Report::Ended { lane, claim, verdict, feedback, measure, attempt, next };
        // Without a dispatcher nobody settles: the post is sent again after a restart.
        let _ = self.reports.send(report);
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
    let reports = order.reports.clone();
    let transcript = shop.log.transcript('H');
    let terms = shop.book.terms(&lane);
    let mut worker = Worker {
        shop,
        terms,
        lane: Arc::clone(&lane),
        host: None,
        courier: Courier::default(),
        log: transcript,
    };
    loop {
        let Some(claim) = order.claim.clone() else { return };
        let outcome = worker.attempt(&claim).await;
        if !worker.courier.keeps_link(&worker.terms) {
            worker.courier.close();
            order.finish(&outcome, &mut worker.log, None);
            return;
        }
        let (sender, receiver) = oneshot::channel();
        order.finish(&outcome, &mut worker.log, Some(sender));
        match worker.rest(receiver).await {
            Some(next) => order = next,
            None => break,
        }
    }
    drop(worker);
    let _ = reports.send(Report::Left(lane));
}

/// How long an idle worker keeps lines of the protocol log to itself.
const LOG_DELAY: Duration = Duration::from_millis(50);

struct Worker {
    shop: Arc<Shop>,
    lane: Arc<Destination>,
    terms: Terms,
    host: Option<HeaderValue>,
    courier: Courier,
    log: Transcript,
}

impl Worker {
    async fn attempt(&mut self, claim: &Claim) -> Outcome {
        match self.exchange(claim).await {
            Ok(response) => {
                let retry_after = response.headers.get(RETRY_AFTER);
                let retry_after =
                    retry_after.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                let (status, text) = (response.status, response.text());
                Outcome::Answered { status, retry_after, text, remark: response.remark }
            }
            Err(trouble) => Outcome::Broken(trouble),
        }
    }

    async fn exchange(&mut self, claim: &Claim) -> Result<Response, Trouble> {
        if self.shop.now() >= self.terms.schedule.ends_at(&claim.post, claim.ages_from) {
            return Err(Trouble::Expired);
        }
        let shop = Arc::clone(&self.shop);
        let proof = shop.proof(&claim.post, &self.terms).await?;
        let _room = shop.room.take(claim.post.body.length).await;
        let body = self.shop.spool.body(claim).await.map_err(unread)?;
        let host = self.host()?;
        let mut request = shop.shape(claim, &self.terms, host, body).await?;
        if let Some((_, (name, value))) = &proof {
            request.headers_mut().insert(name, value.clone());
        }
        let deadline = Instant::now() + self.terms.total_timeout;
        let response = self.deliver(claim, &request, deadline).await?;
        let is_refused = matches!(response.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        if let Some((profile, (_, used))) = proof.filter(|_| is_refused)
            && let Some((name, value)) = shop.credentials.other(&profile, shop.ways(), &used).await?
        {
            self.log.note(format_args!("{}, once more with a new token", response.status));
            request.headers_mut().insert(name, value);
            return self.deliver(claim, &request, deadline).await;
        }
        Ok(response)
    }

    /// Sends a request and brings the answer.
    async fn deliver(
        &mut self,
        claim: &Claim,
        request: &Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response, Trouble> {
        let (post, attempt, terms) = (claim.post.id, claim.attempt, &self.terms);
        let errand = Errand { post, attempt, request, terms, deadline };
        self.courier.carry(&self.shop, &self.lane, &errand, &mut self.log).await
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
        self.courier.close();
        // An order may have been put into the channel in the same moment.
        next.close();
        next.try_recv().ok()
    }

    async fn wait(&mut self, next: &mut oneshot::Receiver<Order>, limit: Duration) -> Rest {
        tokio::select! {
            biased;
            order = next => Rest::Order(order.ok()),
            () = self.courier.closed() => Rest::Closed,
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
