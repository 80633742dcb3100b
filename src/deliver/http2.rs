//! One HTTP/2 connection (RFC 9113) that the workers of a lane share.
//!
//! It is a task of its own: many attempts wait on it, and none drives it. Each
//! attempt is a stream. A stream that the receiver did not look at (refused, or
//! above the last one of a GOAWAY) may be sent again at once; of all others that
//! end without an answer nothing is known. While streams wait and nothing comes
//! in, a PING asks whether anybody is there; without an answer the connection is
//! given up, and its streams with it.
//!
//! Server push is off, header lists and frames without content are bounded.

use super::connection::{Failure, Patience, Place, RESPONSE_HEAD, Response, timed_out};
use super::egress::Connected;
use super::retry::Trouble;
use super::watched::{Watch, Watched};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, Reason, RecvStream, SendStream};
use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{Request, StatusCode, Uri, Version};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

/// Octets of responses under way on a connection, and on one of its streams.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
/// Streams before the receiver has said how many it takes.
const FIRST_STREAMS: usize = 1;
/// Silence after which streams that wait make us ask whether anybody is there, as
/// a part of the time they wait for a response; the answer has as long again.
const SILENCE: u32 = 4;

/// Header fields of HTTP/1.1 connections (RFC 9113 section 8.2.2).
static OF_CONNECTIONS: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// See the module.
pub(super) struct Trunk {
    sender: SendRequest<Bytes>,
    watch: Arc<Watch>,
    waiting: Arc<AtomicUsize>,
    closed: watch::Receiver<bool>,
    pub place: Place,
}

impl Trunk {
    /// Begins HTTP/2 on a fresh connection, which lives until nobody has the
    /// trunk any more and its streams have ended. Responses take up to `response`.
    pub(super) async fn open(connected: Connected, response: Duration) -> Result<Arc<Trunk>, Trouble> {
        let (watched, watch) = Watched::frames(connected.stream);
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(FIRST_STREAMS)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_window_size(STREAM_WINDOW)
            .max_header_list_size(u32::try_from(RESPONSE_HEAD).unwrap_or(u32::MAX));
        let (sender, connection) =
            builder.handshake(watched).await.map_err(|error| broken(&error, &watch))?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let (closing, closed) = watch::channel(false);
        let limit = response / SILENCE;
        let silence = Silence { watch: Arc::clone(&watch), waiting: Arc::clone(&waiting), limit };
        tokio::spawn(async move {
            run(connection, silence).await;
            // Nobody listens any more: fine.
            let _ = closing.send(true);
        });
        Ok(Arc::new(Trunk { sender, watch, waiting, closed, place: connected.place }))
    }

    /// Whether another stream could begin; `most` is 0 for any number.
    pub(super) fn is_open(&self, most: u32) -> bool {
        !*self.closed.borrow() && self.watch.parting().is_none() && (most == 0 || self.posts() < most)
    }

    /// Counts another stream, if it may begin.
    pub(super) fn begin(&self, most: u32) -> bool {
        let count = |posts: u32| (most == 0 || posts < most).then(|| posts.saturating_add(1));
        let posts = &self.watch.requests;
        self.is_open(0) && posts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// Streams begun so far.
    pub(super) fn posts(&self) -> u32 {
        self.watch.requests.load(Ordering::Relaxed)
    }

    pub(super) async fn closed(&self) {
        // An error means that the task has ended: closed as well.
        let _ = self.closed.clone().wait_for(|is_closed| *is_closed).await;
    }

    pub(super) async fn send(
        &self,
        request: &Request<Bytes>,
        patience: Patience,
    ) -> Result<Response, Failure> {
        let _waiting = Waiting::new(&self.waiting);
        let (request, body) = self.translate(request).map_err(Failure::unknown)?;
        let mut sender = self.sender.clone();
        let sent = sender.send_request(request, body.is_empty());
        let (head, stream) = sent.map_err(|error| self.failure(&error, None))?;
        let id = head.stream_id().as_u32();
        let mut head = pin!(head);
        let mut upload = pin!(async {
            // Until the receiver takes another stream.
            if sender.ready().await.is_ok() {
                upload(stream, body).await;
            }
        });
        let end = timeout_at(patience.deadline, async {
            tokio::select! {
                biased;
                head = &mut head => return Some((head, false)),
                () = &mut upload => {}
            }
            timeout(patience.response, &mut head).await.ok().map(|head| (head, true))
        });
        let (head, is_written) = match end.await {
            Ok(Some((Ok(head), is_written))) => (head, is_written),
            Ok(Some((Err(error), _))) => return Err(self.failure(&error, Some(id))),
            Ok(None) => return Err(Failure::unknown(timed_out(patience, true))),
            Err(_) => return Err(Failure::unknown(timed_out(patience, false))),
        };
        let (head, body) = head.into_parts();
        let status = head.status;
        let mut response = Response::begin(status, Version::HTTP_2, head.headers);
        let read = timeout_at(patience.deadline, read(body, &mut response, patience));
        if is_written {
            // The status counts, however much of the body comes.
            let _ = read.await;
        } else {
            beside(upload, read, status, patience).await;
        }
        Ok(response)
    }

    /// The request in the words of HTTP/2, and its body.
    fn translate(&self, request: &Request<Bytes>) -> Result<(Request<()>, Bytes), Trouble> {
        let (mut head, body) = request.clone().into_parts();
        let unsendable = || Trouble::Unsendable("the host is not valid in HTTP".to_owned());
        let host = head.headers.get(HOST).ok_or_else(unsendable)?;
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| unsendable())?);
        uri.scheme = Some(if self.place.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        head.uri = Uri::from_parts(uri).map_err(|_| unsendable())?;
        for name in &OF_CONNECTIONS {
            head.headers.remove(name);
        }
        Ok((Request::from_parts(head, ()), body))
    }

    /// Why a stream has no answer; `id` when it got as far as having one.
    fn failure(&self, error: &h2::Error, id: Option<u32>) -> Failure {
        let is_refused =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        let last = self.watch.last_stream();
        let is_unseen = id.map_or(error.is_io() || error.is_go_away(), |id| id > last);
        let wants_http1 = error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED);
        let is_untaken = is_refused || is_unseen || wants_http1;
        Failure { trouble: broken(error, &self.watch), is_untaken, wants_http1 }
    }
}

/// Writes a body as the receiver's windows allow; ends early when it wants none.
async fn upload(mut stream: SendStream<Bytes>, mut body: Bytes) {
    stream.reserve_capacity(body.len());
    while !body.is_empty() {
        let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(Ok(granted)) = granted else { break };
        let piece = body.split_to(granted.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            break;
        }
    }
}

/// Reads while the upload goes on: some answer in part before they have it all. One
/// that is taken already goes on to its end, which a receiver that wants no more brings
/// about (RFC 9110 section 7.5, RFC 9113 section 8.1).
async fn beside<T>(
    upload: impl Future<Output = ()>,
    read: impl Future<Output = T>,
    status: StatusCode,
    patience: Patience,
) {
    let (mut upload, mut read) = (pin!(upload), pin!(read));
    tokio::select! {
        biased;
        _ = &mut read => {
            if status.is_success() && timeout_at(patience.deadline, upload).await.is_err() {
                tracing::warn!("a receiver took a post and left some of it unread");
            }
        }
        () = &mut upload => drop(read.await),
    }
}

/// Reads a body as far as it is wanted. Dropping the rest resets the stream.
async fn read(mut body: RecvStream, response: &mut Response, patience: Patience) {
    while let Some(Ok(piece)) = body.data().await {
        // Fails when the stream is over: then nothing is to be released.
        let _ = body.flow_control().release_capacity(piece.len());
        if !response.take(&piece, patience.readers) {
            return;
        }
    }
}

/// Counts a stream as waiting for as long as it lives.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Waiting {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What tells whether a connection hangs.
struct Silence {
    watch: Arc<Watch>,
    waiting: Arc<AtomicUsize>,
    limit: Duration,
}

impl Silence {
    /// Resolves when streams wait and nothing has come in for so long.
    async fn begins(&self) {
        loop {
            let mark = self.watch.mark();
            sleep(self.limit).await;
            if self.waiting.load(Ordering::Relaxed) > 0 && !self.watch.has_heard_since(mark) {
                return;
            }
        }
    }
}

/// Drives a connection to its end, or until nobody is at the other one.
async fn run(mut connection: Connection<Watched, Bytes>, silence: Silence) {
    let Some(mut pings) = connection.ping_pong() else { return };
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            // How it ended is told to its streams.
            _ = &mut connection => return,
            () = silence.begins() => {}
        }
        tokio::select! {
            _ = &mut connection => return,
            pong = timeout(silence.limit, pings.ping(Ping::opaque())) => {
                if !matches!(pong, Ok(Ok(_))) {
                    let nobody = Trouble::TimedOut("waiting for the answer to a PING", silence.limit);
                    return silence.watch.blame(nobody);
                }
            }
        }
    }
}

/// The reason of a broken stream or connection in words.
fn broken(error: &h2::Error, watch: &Watch) -> Trouble {
    if let Some(fault) = watch.fault() {
        return fault;
    }
    Trouble::Broken(match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => {
            format!("the receiver reset the stream: {reason:?}")
        }
        Some(reason) if error.is_go_away() && error.is_remote() => {
            format!("the receiver closed the connection: {reason:?}")
        }
        Some(reason) => format!("the connection broke HTTP/2: {reason:?}"),
        None if error.is_io() => match watch.parting() {
            Some(code) if code != 0 => {
                format!("the receiver closed the connection: {:?}", Reason::from(code))
            }
            _ if watch.has_heard() => "connection closed before the response".to_owned(),
            _ => "the receiver closed the connection unanswered; unless it speaks HTTP/2, \
                  set http2 = \"auto\" or \"off\""
                .to_owned(),
        },
        None => return Trouble::Unsendable(format!("as HTTP/2: {error}")),
    })
}
