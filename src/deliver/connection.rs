//! One HTTP/1.1 connection, driven by the task that uses it.
//!
//! hyper's connection future is polled together with whatever waits for it, so a
//! connection costs no task of its own. It is used again only after a response
//! was read to its end; of a longer response than [`RESPONSE`] the status counts
//! and the connection is closed. Responses are never decompressed, redirects
//! never followed (RFC 9112, RFC 9110).

use super::egress::{Connected, Stream};
use super::retry::Trouble;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

/// Octets of a response body that are read.
const RESPONSE: usize = 64 * 1024;
/// Octets a response head may have.
const RESPONSE_HEAD: usize = 64 * 1024;

type Driver = http1::Connection<TokioIo<Watched>, Full<Bytes>>;

/// A connection on which HTTP is spoken.
pub(super) struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
    has_answered: Arc<AtomicBool>,
    /// The other end.
    pub peer: SocketAddr,
    /// TLS version, when there is TLS.
    pub tls: Option<&'static str>,
    /// Posts sent so far.
    pub posts: u32,
}

/// A response, as far as it was read.
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Octets of its body that were read.
    pub length: usize,
}

/// Why there is no response.
pub(super) struct Failure {
    pub trouble: Trouble,
    /// Whether the connection broke before a single octet came back, so that it
    /// may have been closed long ago.
    pub is_unanswered: bool,
}

impl Link {
    /// Begins HTTP on a fresh connection.
    pub(super) async fn open(connected: Connected) -> Result<Link, Trouble> {
        let has_answered = Arc::new(AtomicBool::new(false));
        let watched = Watched { stream: connected.stream, has_answered: Arc::clone(&has_answered) };
        // Names go out as `Content-Type`: some receivers compare them as text.
        let handshake = http1::Builder::new()
            .title_case_headers(true)
            .max_buf_size(RESPONSE_HEAD)
            .handshake(TokioIo::new(watched))
            .await;
        let (sender, driver) = handshake.map_err(|error| broken(&error))?;
        let driver = Some(Box::pin(driver));
        Ok(Link { sender, driver, has_answered, peer: connected.peer, tls: connected.tls, posts: 0 })
    }

    /// Sends a request and reads the response: its head within `limit`, all of
    /// it until `deadline`.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        self.posts += 1;
        self.has_answered.store(false, Ordering::Relaxed);
        let limit = limit.min(deadline.saturating_duration_since(Instant::now()));
        let Link { sender, driver, .. } = self;
        let exchange = drive(driver, async {
            sender.ready().await?;
            sender.send_request(request).await
        });
        let response = match timeout(limit, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let is_unanswered = !self.has_answered.load(Ordering::Relaxed);
                self.driver = None;
                return Err(Failure { trouble: broken(&error), is_unanswered });
            }
            Err(_) => {
                self.driver = None;
                let trouble = Trouble::TimedOut("waiting for the response head", limit);
                return Err(Failure { trouble, is_unanswered: false });
            }
        };
        let (head, body) = response.into_parts();
        let (length, is_whole) = self.read(body, deadline).await;
        if !is_whole || head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.driver = None;
        }
        Ok(Response { status: head.status, headers: head.headers, length })
    }

    /// Reads a body and throws it away; says how much came, and whether all.
    async fn read(&mut self, mut body: Incoming, deadline: Instant) -> (usize, bool) {
        let mut length = 0;
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                length += frame.data_ref().map_or(0, Bytes::len);
                if length > RESPONSE {
                    return false;
                }
            }
            true
        };
        let is_whole = timeout_at(deadline, drive(&mut self.driver, read)).await.unwrap_or(false);
        (length, is_whole)
    }

    /// Whether another request may be sent.
    pub(super) fn is_reusable(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
    }

    /// Waits until the connection is closed by the other end, or speaks unasked.
    pub(super) async fn closed(&mut self) {
        if let Some(driver) = &mut self.driver {
            // How it ended does not matter: nothing was under way.
            let _ = driver.await;
            self.driver = None;
        }
    }
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

fn broken(error: &hyper::Error) -> Trouble {
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

/// A stream that notes when something came back.
struct Watched {
    stream: Box<dyn Stream>,
    has_answered: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
