//! One HTTP/1.1 connection (RFC 9112), driven by the task that uses it.
//!
//! A request is written and its response read at the same time: a receiver may
//! refuse what it has not read to the end. A connection costs no task and, between two
//! posts, no memory but its own. It is used again only after a request was written
//! whole, its response was read to the end and nothing came behind it, also none while
//! it rested: that would be taken for the answer to the next request.

use super::connection::{Failure, Patience, Place, RESPONSE_HEAD, Readers, Response, timed_out};
use super::egress::{Connected, Stream};
use super::message::{self, Body, Head, Piece};
use super::retry::Trouble;
use super::tls;
use bytes::buf::Chain;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, StatusCode, Version};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// Besides two round trips, the time within which the news arrives that a connection
/// was being closed when a request was written.
const GRACE: Duration = Duration::from_millis(50);
/// Octets read at a time.
const READ: usize = 8 * 1024;

/// See the module.
pub(super) struct Http1 {
    stream: Box<dyn Stream>,
    /// What came in and was not looked at.
    unread: BytesMut,
    is_open: bool,
    pub place: Place,
    /// Requests begun so far.
    pub posts: u32,
}

/// A request on its way, and what came back.
struct Exchange {
    unsent: Chain<Bytes, Bytes>,
    /// Whether there is nothing more to write.
    is_over: bool,
    /// Why not all was written.
    fault: Option<io::Error>,
    /// Octets that came in and were not asked about.
    news: usize,
    has_heard: bool,
    /// Octets of interim responses.
    interim: usize,
}

impl Exchange {
    /// Whether the receiver has had all of it.
    fn is_written(&self) -> bool {
        self.is_over && self.fault.is_none()
    }
}

impl Http1 {
    /// Begins HTTP on a fresh connection.
    pub(super) fn open(connected: Connected) -> Http1 {
        let Connected { stream, place, .. } = connected;
        Http1 { stream, unread: BytesMut::new(), is_open: true, place, posts: 0 }
    }

    pub(super) fn begin(&mut self, most: u32) -> bool {
        // Whatever comes on a fresh connection shows when a response is read.
        self.is_open &= self.posts == 0 || self.is_quiet(&mut Context::from_waker(Waker::noop()));
        let may = self.is_reusable(most);
        self.posts += u32::from(may);
        may
    }

    pub(super) fn is_reusable(&self, most: u32) -> bool {
        self.is_open && (most == 0 || self.posts < most)
    }

    pub(super) async fn send(
        &mut self,
        request: &Request<Bytes>,
        patience: Patience,
    ) -> Result<Response, Failure> {
        let begun = Instant::now();
        let unsent = message::request_head(request).chain(request.body().clone());
        let mut exchange =
            Exchange { unsent, is_over: false, fault: None, news: 0, has_heard: false, interim: 0 };
        // Until all is over.
        self.is_open = false;
        let head = self.head(&mut exchange, patience).await;
        let Head { status, headers, mut body, is_kept } = head.map_err(|trouble| {
            // RFC 9112 section 9.3.1: closed as we wrote. Whoever had the time to read
            // the request may have worked on it, or on what it had of it.
            let was_closing = begun.elapsed() <= 2 * self.place.distance + GRACE;
            let is_broken = matches!(trouble, Trouble::Broken(_) | Trouble::Tls(_));
            let is_untaken = is_broken && self.posts > 1 && was_closing && !exchange.has_heard;
            Failure { is_untaken, ..Failure::unknown(trouble) }
        })?;
        let mut response = Response::begin(status, Version::HTTP_11, headers);
        let read = poll_fn(|context| {
            self.go_on(context, &mut exchange);
            self.poll_body(context, &mut body, &mut response, patience.readers)
        });
        let is_whole = timeout_at(patience.deadline, read).await.unwrap_or(false);
        if status.is_success() && !exchange.is_over {
            self.finish(&mut exchange, patience).await;
        }
        self.is_open = is_whole
            && is_kept
            && exchange.is_written()
            && poll_fn(|context| Poll::Ready(self.is_quiet(context))).await;
        self.unread = BytesMut::new();
        Ok(response)
    }

    /// Writes the rest of a request that is taken already: whoever answers before it has
    /// read all of it still wants all of it (RFC 9110 section 7.5).
    async fn finish(&mut self, exchange: &mut Exchange, patience: Patience) {
        let rest = poll_fn(|context| {
            self.go_on(context, exchange);
            if exchange.is_over { Poll::Ready(()) } else { Poll::Pending }
        });
        // If it never reads the rest, it has said that it needs none.
        let _ = timeout_at(patience.deadline, rest).await;
        if !exchange.is_written() {
            let unsent = exchange.unsent.remaining();
            tracing::warn!("a receiver took a post and left {unsent} octets of it unread");
        }
    }

    /// Writes a request and reads the head of the final response.
    async fn head(&mut self, exchange: &mut Exchange, patience: Patience) -> Result<Head, Trouble> {
        let early = poll_fn(|context| match self.poll_head(context, exchange) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending if exchange.is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match timeout_at(patience.deadline, early).await {
            Ok(Some(head)) => return head,
            Ok(None) => {}
            Err(_) => return Err(timed_out(patience, false)),
        }
        let until = patience.deadline.min(Instant::now() + patience.response);
        let head = timeout_at(until, poll_fn(|context| self.poll_head(context, exchange))).await;
        head.unwrap_or_else(|_| Err(timed_out(patience, true)))
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<Head, Trouble>> {
        self.go_on(context, exchange);
        loop {
            if let Some(head) = self.take_head(exchange)? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_read(context)) {
                Ok(octets) if octets > 0 => (exchange.news, exchange.has_heard) = (octets, true),
                end => {
                    let trouble = self.broken(exchange.fault.as_ref(), end.err().as_ref());
                    return Poll::Ready(Err(trouble));
                }
            }
        }
    }

    /// The head of the final response, if it is there.
    fn take_head(&mut self, exchange: &mut Exchange) -> Result<Option<Head>, Trouble> {
        // An alert or a message of a handshake (RFC 8446 section 5.1) begins no HTTP.
        if matches!(&*self.unread, [21 | 22, 3, ..]) {
            return Err(Trouble::Broken("the receiver speaks TLS; is it https:// there?".to_owned()));
        }
        while !self.unread.is_empty() {
            let before = self.unread.len();
            let head = message::take_head(&mut self.unread, exchange.news).map_err(Trouble::Malformed)?;
            let Some(head) = head else { return Ok(None) };
            let is_final = !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS;
            if is_final {
                return Ok(Some(head));
            }
            exchange.news = self.unread.len();
            exchange.interim += before - self.unread.len();
            if exchange.interim > RESPONSE_HEAD {
                return Err(Trouble::Malformed("interim responses without end".to_owned()));
            }
        }
        Ok(None)
    }

    /// Reads a body; says whether all of it came.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Body,
        response: &mut Response,
        readers: Readers,
    ) -> Poll<bool> {
        loop {
            match body.take(&mut self.unread) {
                Ok(Piece::Octets(octets)) if response.take(&octets, readers) => {}
                Ok(Piece::Nothing) => match ready!(self.poll_read(context)) {
                    Ok(octets) if octets > 0 => {}
                    _ => return Poll::Ready(false),
                },
                Ok(Piece::End) => return Poll::Ready(true),
                Ok(Piece::Octets(_)) | Err(_) => return Poll::Ready(false),
            }
        }
    }

    /// Writes as much of a request as is taken: some answer in part before they have
    /// it all.
    fn go_on(&mut self, context: &mut Context<'_>, exchange: &mut Exchange) {
        if !exchange.is_over
            && let Poll::Ready(written) = self.poll_write(context, &mut exchange.unsent)
        {
            // Whoever does not read any more may have said why.
            (exchange.is_over, exchange.fault) = (true, written.err());
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        unsent: &mut Chain<Bytes, Bytes>,
    ) -> Poll<io::Result<()>> {
        while unsent.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = unsent.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            unsent.advance(written);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Reads some octets; none at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // While nothing comes in, nothing is kept for it.
        let mut room = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Whether nothing came behind the response, and the connection has not ended.
    fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        self.unread.is_empty() && self.poll_read(context).is_pending()
    }

    pub(super) async fn closed(&mut self) {
        if self.is_open {
            // What it was does not matter: nothing was under way.
            let _ = poll_fn(|context| self.poll_read(context)).await;
            self.is_open = false;
        }
    }

    /// Why there is no response, after errors of writing and reading.
    fn broken(&self, writing: Option<&io::Error>, reading: Option<&io::Error>) -> Trouble {
        if let Some(fault) = reading.and_then(tls::fault).or_else(|| writing.and_then(tls::fault)) {
            return Trouble::Tls(fault);
        }
        let is_reset = |error: &&io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        };
        if [writing, reading].into_iter().flatten().any(|error| is_reset(&error)) {
            return Trouble::Broken("connection reset before the response".to_owned());
        }
        if let Err(malformed) = message::look_at(&self.unread) {
            return Trouble::Malformed(malformed);
        }
        Trouble::Broken(match writing.or(reading) {
            Some(error) => format!("connection failed: {error}"),
            None => "connection closed before the response".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::connection::Link;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// A connection on which one request was answered, and its other end.
    async fn kept() -> (Link, tokio::io::DuplexStream) {
        let (stream, mut other) = duplex(1024);
        let here = std::sync::Arc::default();
        let place = Place { peer: "here".to_owned(), tls: None, distance: Duration::ZERO, _here: here };
        let connected = Connected { stream: Box::new(stream), is_http2: false, place };
        let mut link = Link::One(Http1::open(connected));
        assert!(link.begin(0));
        let deadline = Instant::now() + Duration::from_secs(10);
        let (response, total) = (Duration::from_secs(10), Duration::from_secs(10));
        let patience = Patience { response, deadline, total, readers: Readers::People };
        other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let request = Request::post("/").body(Bytes::new()).unwrap();
        assert!(link.send(&request, patience).await.is_ok());
        let mut head = [0; 64];
        assert!(other.read(&mut head).await.unwrap() > 0);
        (link, other)
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_unasked_ends_a_connection_that_rested() {
        for (stray, may_begin) in
            [(Some(&b""[..]), true), (Some(b"HTTP/1.1 200 OK\r\n\r\n"), false), (None, false)]
        {
            let (mut link, mut other) = kept().await;
            match stray {
                Some(octets) => other.write_all(octets).await.unwrap(),
                None => drop(other),
            }
            assert_eq!(link.begin(0), may_begin, "{stray:?}");
            assert_eq!(link.is_reusable(0), may_begin, "{stray:?}");
        }
    }
}
