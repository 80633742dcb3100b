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
use super::profile::{Bounce, Profile};
use super::retry::{self, Feedback, Judged, Measure, Outcome, Schedule, Standing, Trouble, Verdict};
use super::room::Room;
use super::sign::SigningKey;
use super::terms::{Book, Terms};
use super::{Options, dialogue, record, relay, request};
use crate::clock::{self, Ids};
use crate::first_attempts::FirstAttempts;
use crate::post::{Destination, Scheme, Timestamp};
use crate::protocol_log::{ProtocolLog, Transcript};
use crate::spool::{Attempt, Claim, Spool, SpoolError};
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode, Version};
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
    pub connector: Arc<Connector>,
    pub log: ProtocolLog,
    pub bounce: Option<Arc<Bounce>>,
    pub ids: Arc<Ids>,
    pub first_attempts: FirstAttempts,
    pub signing_keys: HashMap<String, Arc<SigningKey>>,
    pub profiles: HashMap<String, Arc<Profile>>,
    pub credentials: Arc<Credentials>,
    pub cdn_loop: HeaderValue,
    room: Arc<Room>,
    started_at: Timestamp,
    started: Instant,
}

impl Shop {
    pub(super) fn new(spool: Arc<dyn Spool>, options: &Options, log: ProtocolLog) -> Shop {
        Shop {
            spool,
            book: options.book.clone(),
            connector: Arc::new(Connector::new(options.egress.clone())),
            log,
            bounce: options.bounce.clone(),
            ids: Arc::clone(&options.ids),
            first_attempts: options.first_attempts.clone(),
            signing_keys: options.signing_keys.clone(),
            profiles: options.profiles.clone(),
            credentials: Arc::default(),
            cdn_loop: request::cdn_loop(&options.instance),
            room: Arc::new(Room::new()),
            started_at: clock::wall(),
            started: Instant::now(),
        }
    }

    /// The same with other options. Under the same rules connections go on.
    pub(super) fn renewed(&self, options: &Options, old: &Options) -> Shop {
        let connector = match options.egress == old.egress {
            true => Arc::clone(&self.connector),
            false => Arc::new(Connector::new(options.egress.clone())),
        };
        Shop {
            spool: Arc::clone(&self.spool),
            book: options.book.clone(),
            connector,
            log: self.log.clone(),
            bounce: options.bounce.clone(),
            ids: Arc::clone(&self.ids),
            first_attempts: self.first_attempts.clone(),
            signing_keys: options.signing_keys.clone(),
            profiles: options.profiles.clone(),
            credentials: Arc::clone(&self.credentials),
            cdn_loop: request::cdn_loop(&options.instance),
            room: Arc::clone(&self.room),
            ..*self
        }
    }

    /// The time by a clock that does not jump.
    pub(super) fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// Whether the time of a post is over.
    pub(super) fn is_over(&self, claim: &Claim, schedule: &Schedule) -> bool {
        self.now() >= schedule.ends_at(&claim.post, claim.ages_from)
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
    pub measure: Measure,
    /// What it was, for those who ask.
    pub attempt: Attempt,
    /// Why the post was not taken, when the receiver said so in plain text.
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
struct Presence(Arc<Destination>, mpsc::UnboundedSender<Report>);

impl Drop for Presence {
    fn drop(&mut self) {
        // Without a dispatcher nobody counts.
        let _ = self.1.send(Report::Left(Arc::clone(&self.0)));
    }
}

/// A claimed post on its way to a worker.
pub(super) struct Order {
    lane: Arc<Destination>,
    claim: Option<Claim>,
    terms: Arc<Terms>,
    permit: u64,
    began: (Timestamp, Instant),
    /// How long the answer took, and what was spoken.
    seen: (Option<Duration>, Option<Version>),
    said: Option<String>,
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
        let (lane, terms, began) = (Arc::clone(lane), Arc::clone(terms), (clock::wall(), Instant::now()));
        Order {
            lane,
            claim: Some(claim),
            terms,
            permit,
            began,
            seen: (None, None),
            said: None,
            reports,
            shop,
        }
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
        let Terms { schedule, verdicts, .. } = &*self.terms;
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
        let (lane, permit, (took, version)) = (Arc::clone(&self.lane), self.permit, self.seen);
        let said = self.said.clone();
        let ended =
            Ended { lane, claim, verdict, feedback, measure, attempt, said, took, version, permit, next };
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
pub(super) async fn work(mut order: Order) {
    // Goes last, after the connection.
    let _presence = Presence(Arc::clone(&order.lane), order.reports.clone());
    let mut worker = Worker {
        shop: Arc::clone(&order.shop),
        terms: Arc::clone(&order.terms),
        lane: Arc::clone(&order.lane),
        host: None,
        courier: Courier::default(),
        said: None,
        log: order.shop.log.transcript('H'),
    };
    loop {
        let Some(claim) = order.claim.clone() else { return };
        (worker.shop, worker.terms) = (Arc::clone(&order.shop), Arc::clone(&order.terms));
        let outcome = worker.attempt(&claim).await;
        order.seen = (worker.courier.took(), worker.courier.version());
        order.said = worker.said.take();
        if !worker.courier.keeps_link(&worker.terms) {
            worker.courier.close();
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
    courier: Courier,
    /// What the receiver of the last post said against it.
    said: Option<String>,
    log: Transcript,
}

impl Worker {
    async fn attempt(&mut self, claim: &Claim) -> Outcome {
        self.courier.begin();
        if self.lane.scheme == Scheme::Smtp {
            return relay::attempt(&self.shop, &self.terms, claim, &mut self.log).await;
        }
        match self.exchange(claim).await {
            Ok(response) => {
                self.said = response.plain_text();
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
        if self.shop.is_over(claim, &self.terms.schedule) {
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
        let (post, attempt, terms) = (claim.post.id, claim.attempt, &*self.terms);
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

pub(super) fn unread(error: SpoolError) -> Trouble {
    match error {
        SpoolError::Damaged(place) => Trouble::Damaged(place),
        other => Trouble::Unreadable(other.to_string()),
    }
}
