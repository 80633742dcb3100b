//! A worker: the task of one connection, and the attempts made on it.
//!
//! A worker gets one post at a time from the dispatcher, sends it, judges what
//! came back and reports. It goes on with what its lane has in stock, or rests with
//! its connection open until the next order or until `keep_alive` is over. Reports carry the way to hand over the next post,
//! so the dispatcher keeps no list of workers.

use super::connection::Response;
use super::courier::{Courier, Errand};
use super::order::{Fit, Onward, Order, Presence};
use super::request::Unsignable;
use super::retry::{Outcome, Trouble};
use super::shape::Outfit;
use super::shop::Shop;
use super::terms::Terms;
use super::{batches, relay, traced};
use crate::post::{Destination, Scheme, Trace};
use crate::protocol_log::Transcript;
use crate::spool::{Claim, SpoolError};
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// Works until there is no connection to keep and no order left.
pub(super) async fn work(mut order: Order) {
    // Goes last, after the connection.
    let _presence = Presence(order.id, order.reports.clone());
    let mut worker = Worker {
        shop: Arc::clone(&order.shop),
        terms: Arc::clone(&order.terms),
        lane: Arc::clone(&order.lane),
        host: None,
        courier: Courier::default(),
        said: None,
        trace: None,
        log: order.shop.log.transcript('H'),
    };
    loop {
        let Some(claim) = order.claim.clone() else { return };
        (worker.shop, worker.terms) = (Arc::clone(&order.shop), Arc::clone(&order.terms));
        let span = traced::begin(&worker.shop.tracer, &claim);
        worker.trace = span.as_ref().map(|span| span.context);
        let outcome = worker.attempt(&claim).await;
        traced::end(&worker.shop.tracer, span, &outcome);
        order.seen = (worker.courier.took(), worker.courier.version());
        order.said = worker.said.take();
        let is_wanted = worker.shop.wanted.is_wanted();
        order.way = worker.courier.way().filter(|_| is_wanted).map(Box::new);
        order.is_elsewhere = worker.courier.is_elsewhere();
        let fit = if worker.courier.keeps_link(&worker.terms) { Fit::Goes } else { Fit::Ends };
        if fit == Fit::Ends {
            worker.courier.close();
        }
        let next = match order.finish(&outcome, &mut worker.log, fit) {
            Onward::Carry(next) => Some(next),
            Onward::Rest(receiver) => worker.rest(receiver).await,
            Onward::Leave => None,
        };
        let Some(next) = next else { return };
        order = next;
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
    /// The span of the attempt, when somebody traces.
    trace: Option<Trace>,
    log: Transcript,
}

impl Worker {
    async fn attempt(&mut self, claim: &Claim) -> Outcome {
        self.courier.begin();
        if self.lane.scheme == Scheme::Smtp {
            return self.hand_to_relay(claim).await;
        }
        self.said = None;
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

    /// Hands a report to the relay that is configured now, wherever it was bound for.
    async fn hand_to_relay(&mut self, claim: &Claim) -> Outcome {
        let is_over = self.shop.is_over(claim, &self.terms.schedule);
        let relay = relay::Errand { claim, terms: &self.terms, is_over };
        match relay.run(&self.shop, &self.lane, &mut self.log).await {
            Ok(reply) => Outcome::Replied { code: reply.code, text: reply.text },
            Err(trouble) => Outcome::Broken(trouble),
        }
    }

    async fn exchange(&mut self, claim: &Claim) -> Result<Response, Trouble> {
        if self.shop.is_over(claim, &self.terms.schedule) {
            return Err(Trouble::Expired);
        }
        let shop = Arc::clone(&self.shop);
        let subscriber = shop.subscriber(&self.lane)?;
        let dressed = subscriber.as_deref().map(|subscriber| batches::dressed(claim, subscriber));
        let claim = dressed.as_ref().unwrap_or(claim);
        // From here to the end of the attempt its secrets are in the open.
        let claim = &Claim { post: shop.spool.unsealed(&claim.post).map_err(unread)?, ..claim.clone() };
        let proof = shop.proof(&claim.post, &self.terms).await?;
        let _room = shop.room.take(claim.post.body.length).await;
        let body = self.shop.spool.body(claim).await.map_err(unread)?;
        let host = self.host()?;
        let with = Outfit { host, trace: self.trace, subscriber };
        let mut request = shop.shape(claim, &self.terms, with, body).await?;
        if let Some(Unsignable(why)) = request.extensions().get() {
            tracing::warn!(post = %claim.post.id, "sent without a signature: {why}");
            self.log.note(format_args!("{} is sent without a signature: {why}", claim.post.id));
        }
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
        request: &Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response, Trouble> {
        let (post, trust, attempt, terms) = (claim.post.id, claim.post.trust, claim.attempt, &*self.terms);
        let errand = Errand { post, trust, attempt, request, terms, deadline };
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
        SpoolError::Sealed => Trouble::Sealed(error.to_string()),
        // It was deleted since it was claimed.
        SpoolError::Unknown => Trouble::Untried("the post is over".to_owned()),
        other => Trouble::Unreadable(other.to_string()),
    }
}
