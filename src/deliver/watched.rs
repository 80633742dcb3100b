//! A stream of HTTP/2 that remembers what went over it, for those who wait on it.
//!
//! A failed TLS session tells its reason only to whoever reads next. The frames that
//! come in are counted: receivers that send nothing but control frames keep us busy
//! for nothing, and the last stream that a GOAWAY names is what decides about sending
//! again (RFC 9113 sections 6.8 and 10.5). Nothing is changed on the way.

use super::egress::Stream;
use super::frames::{Frames, Goaway};
use super::retry::Trouble;
use super::tls;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happened on a connection so far.
pub(super) struct Watch {
    received: AtomicU64,
    written: AtomicU64,
    fault: OnceLock<Trouble>,
    /// Requests that were begun on it.
    pub requests: AtomicU32,
    goaway: Mutex<Option<Goaway>>,
}

/// A moment in the life of a connection.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    received: u64,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            received: AtomicU64::new(0),
            written: AtomicU64::new(0),
            fault: OnceLock::new(),
            requests: AtomicU32::new(0),
            goaway: Mutex::new(None),
        }
    }

    /// Now.
    pub(super) fn mark(&self) -> Mark {
        Mark { received: self.received.load(Ordering::Relaxed) }
    }

    /// Whether anything came in since.
    pub(super) fn has_heard_since(&self, mark: Mark) -> bool {
        self.received.load(Ordering::Relaxed) != mark.received
    }

    /// Whether anything came in at all.
    pub(super) fn has_heard(&self) -> bool {
        self.received.load(Ordering::Relaxed) > 0
    }

    /// The last stream that the receiver looks at: any, while it has not said.
    pub(super) fn last_stream(&self) -> u32 {
        self.goaway().map_or(u32::MAX, |goaway| goaway.last_stream)
    }

    /// The reason it gave for wanting no more streams, when it wants none.
    pub(super) fn parting(&self) -> Option<u32> {
        self.goaway().map(|goaway| goaway.code)
    }

    fn goaway(&self) -> Option<Goaway> {
        *self.goaway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection ended, when that is known better than who used it can say.
    pub(super) fn fault(&self) -> Option<Trouble> {
        self.fault.get().cloned()
    }

    /// Notes why it ends. The first reason counts: what follows follows from it.
    pub(super) fn blame(&self, trouble: Trouble) {
        let _ = self.fault.set(trouble);
    }

    fn note_write(&self, octets: usize) {
        self.written.fetch_add(octets as u64, Ordering::Relaxed);
    }

    fn note_fault(&self, error: &io::Error) {
        if let Some(fault) = tls::fault(error) {
            self.blame(Trouble::Tls(fault));
        }
    }
}

/// See the module.
pub(super) struct Watched {
    stream: Box<dyn Stream>,
    watch: Arc<Watch>,
    frames: Frames,
}

impl Watched {
    /// Watches a stream of frames.
    pub(super) fn frames(stream: Box<dyn Stream>) -> (Watched, Arc<Watch>) {
        let watch = Arc::new(Watch::new());
        (Watched { stream, watch: Arc::clone(&watch), frames: Frames::default() }, watch)
    }

    fn take(&mut self, octets: &[u8]) -> io::Result<()> {
        let count = octets.len() as u64;
        let received = self.watch.received.fetch_add(count, Ordering::Relaxed) + count;
        // An alert or a message of a handshake (RFC 8446 section 5.1) begins no HTTP.
        if received == count && matches!(octets, [21 | 22, 3, ..]) {
            return Err(self.end("the receiver speaks TLS; is it https:// there?"));
        }
        let frames = &mut self.frames;
        frames.take(octets);
        if !frames.is_http2() {
            return Err(self.end("the receiver does not speak HTTP/2; set http2 = \"auto\" or \"off\""));
        }
        if let Some(goaway) = frames.goaway() {
            *self.watch.goaway.lock().unwrap_or_else(PoisonError::into_inner) = Some(goaway);
        }
        let requests = self.watch.requests.load(Ordering::Relaxed);
        if frames.is_flood(requests, self.watch.written.load(Ordering::Relaxed)) {
            return Err(self.end("the receiver floods the connection with frames that hold nothing"));
        }
        Ok(())
    }

    /// Ends the connection for a reason.
    fn end(&self, reason: &'static str) -> io::Error {
        self.watch.blame(Trouble::Broken(reason.to_owned()));
        io::Error::other(reason)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(context, buffer)) {
            self.watch.note_fault(&error);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(self.take(buffer.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, octets));
        self.note(context, &written);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        Poll::Ready(flushed.inspect_err(|error| self.watch.note_fault(error)))
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
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.note(context, &written);
        Poll::Ready(written)
    }
}

impl Watched {
    fn note(&mut self, context: &mut Context<'_>, written: &io::Result<usize>) {
        match written {
            Ok(octets) => self.watch.note_write(*octets),
            Err(error) => {
                self.watch.note_fault(error);
                self.hear_out(context);
            }
        }
    }

    /// Reads why a receiver closed the connection before it had answered at all: who
    /// cannot write any more does not read either.
    fn hear_out(&mut self, context: &mut Context<'_>) {
        if self.watch.has_heard() {
            return;
        }
        let mut octets = [0; 512];
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            // The reason is noted where it is found.
            Poll::Ready(Ok(())) => drop(self.take(buffer.filled())),
            Poll::Ready(Err(error)) => self.watch.note_fault(&error),
            Poll::Pending => {}
        }
    }
}
