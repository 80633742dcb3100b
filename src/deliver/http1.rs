//! One HTTP/1.1 connection (RFC 9112), driven by the task that uses it.
//!
//! hyper's connection future is polled together with whatever waits for it, so a
//! connection costs no task of its own. It is used again only after a response
//! was read to its end and nothing came behind it.

use super::connection::{Failure, Patience, Place, RESPONSE_HEAD, Response, timed_out};
use super::egress::Connected;
use super::retry::Trouble;
use super::watched::{Mark, Watch, Watched};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

type Driver = http1::Connection<TokioIo<Watched>, Full<Bytes>>;

/// Besides two round trips, the time within which the news arrives that a connection
/// was being closed when a request was written.
const GRACE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
    watch: Arc<Watch>,
    pub place: Place,
    /// Requests begun so far.
    pub posts: u32,
}

impl Http1 {
    /// Begins HTTP on a fresh connection.
    pub(super) async fn open(connected: Connected) -> Result<Http1, Trouble> {
        let (watched, watch) = Watched::octets(connected.stream);
        // Names go out as `Content-Type`: some receivers compare them as text.
        let handshake = http1::Builder::new()
            .title_case_headers(true)
            .max_buf_size(RESPONSE_HEAD)
            .handshake(TokioIo::new(watched))
            .await;
        let (sender, driver) = handshake.map_err(|error| broken(&error, &watch))?;
        Ok(Http1 { sender, driver: Some(Box::pin(driver)), watch, place: connected.place, posts: 0 })
    }

    pub(super) fn begin(&mut self, most: u32) -> bool {
        let may = self.is_reusable(most);
        self.posts += u32::from(may);
        may
    }

    pub(super) fn is_reusable(&self, most: u32) -> bool {
        self.driver.is_some() && !self.sender.is_closed() && (most == 0 || self.posts < most)
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Patience,
    ) -> Result<Response, Failure> {
        let mark = self.watch.mark();
        let octets = request.body().size_hint().lower();
        // A head, and the beginning of a body; hyper would read interim responses for ever.
        self.watch.allow(2 * RESPONSE_HEAD as u64);
        let head = self.exchange(request, octets, mark, patience).await;
        self.watch.allow(u64::MAX);
        let (head, body) = match head {
            Ok(response) => response.into_parts(),
            Err(failure) => {
                self.driver = None;
                return Err(failure);
            }
        };
        let is_plain = head.status != StatusCode::SWITCHING_PROTOCOLS && !has_two_lengths(&head.headers);
        let mut response = Response::begin(head.status, Version::HTTP_11, head.headers);
        let is_whole = self.read(body, &mut response, patience).await;
        if !is_whole || !is_plain || !self.is_quiet().await {
            self.driver = None;
        }
        Ok(response)
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        octets: u64,
        mark: Mark,
        patience: Patience,
    ) -> Result<http::Response<Incoming>, Failure> {
        let (is_reused, begun) = (self.posts > 1, Instant::now());
        let Http1 { sender, driver, watch, place, .. } = self;
        let mut exchange = pin!(drive(driver, async {
            sender.ready().await?;
            sender.send_request(request).await
        }));
        loop {
            let until = watch.patience(mark, octets, patience.response);
            // While the request is being written, that is looked at now and then.
            let until = until.unwrap_or_else(|| Instant::now() + patience.response).min(patience.deadline);
            match timeout_at(until, &mut exchange).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    // RFC 9112 section 9.3.1: closed as we wrote. Whoever had the time to
                    // read the request may have worked on it.
                    let was_closing = watch.has_refused() || begun.elapsed() <= 2 * place.distance + GRACE;
                    let is_untaken = is_reused && was_closing && !watch.has_heard_since(mark);
                    return Err(Failure { is_untaken, ..Failure::unknown(broken(&error, watch)) });
                }
                Err(_) => {}
            }
            let ends_at = watch.patience(mark, octets, patience.response);
            let now = Instant::now();
            if now >= patience.deadline || ends_at.is_some_and(|at| now >= at) {
                return Err(Failure::unknown(timed_out(patience, ends_at.is_some())));
            }
        }
    }

    /// Reads a body; says whether all of it came.
    async fn read(&mut self, mut body: Incoming, response: &mut Response, patience: Patience) -> bool {
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                if !response.take(frame.data_ref().map_or(&[], Bytes::as_ref), patience.readers) {
                    return false;
                }
            }
            true
        };
        timeout_at(patience.deadline, drive(&mut self.driver, read)).await.unwrap_or(false)
    }

    /// Whether nothing came behind the response: it would be taken for the answer
    /// to the next request.
    async fn is_quiet(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        std::future::poll_fn(|context| Poll::Ready(driver.as_mut().poll(context).is_pending())).await
    }

    pub(super) async fn closed(&mut self) {
        if let Some(driver) = &mut self.driver {
            // How it ended does not matter: nothing was under way.
            let _ = driver.await;
            self.driver = None;
        }
    }
}

/// Whether a response may end in another place for somebody else (RFC 9112
/// section 6.1).
fn has_two_lengths(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
}

/// Polls a connection and what waits for it as one.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = pin!(waiting);
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = waiting.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        let Some(running) = driver else { return Poll::Pending };
        if running.as_mut().poll(context).is_ready() {
            *driver = None;
        }
        waiting.as_mut().poll(context)
    })
    .await
}

fn broken(error: &hyper::Error, watch: &Watch) -> Trouble {
    if let Some(fault) = watch.fault() {
        return fault;
    }
    if error.is_parse() {
        return Trouble::Malformed(error.to_string());
    }
    let reset = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    };
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) if reset(error) => Trouble::Broken("connection reset before the response".to_owned()),
        Some(error) => Trouble::Broken(format!("connection failed: {error}")),
        None => Trouble::Broken("connection closed before the response".to_owned()),
    }
}
