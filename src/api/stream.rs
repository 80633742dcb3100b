//! `GET /events/stream`: events as they happen, as Server-Sent Events (HTML Living
//! Standard, section 9.2).
//!
//! The id of each is its position in the journal, so who comes back with
//! `Last-Event-ID` misses nothing that is still kept. Nothing waits for a client: what
//! it does not take now is read again from the journal when it does. A stream ends when
//! the gateway stops, and when keys change: its client comes back and is asked for its
//! own again.

use super::Current;
use super::ask::Asked;
use super::caller::Caller;
use super::desk::Desk;
use super::events::Choice;
use super::presence::Presence;
use super::problem::Problem;
use crate::event::Want;
use crate::fanout;
use crate::journal::{Journal, Position};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Frame;
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

/// Most streams at a time, of all callers.
pub(super) const MOST: usize = 32;

/// Events that are read at a time.
const PORTION: usize = 100;

/// Octets of them, if there is more than one.
const OCTETS: usize = 64 * 1024;

/// Longest silence: who is behind a proxy would be cut off.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of `GET /events/stream`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    r#type: Option<String>,
}

/// `GET /events/stream`
pub(super) async fn stream(
    State(desk): State<Desk>,
    caller: Caller,
    headers: HeaderMap,
    Extension(presence): Extension<Presence>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Problem> {
    let choice = Choice::of(&caller, filter.r#type.as_deref())?;
    let journal = desk.journal()?.clone();
    let last = journal.last();
    let after = match headers.get("last-event-id") {
        None => last,
        // What was never here was of another journal.
        Some(text) => position(text)?.min(last),
    };
    let crowded = |_| Problem::too_many(format!("there are {MOST} streams already"), KEEP_ALIVE);
    let place = Arc::clone(&desk.streams).try_acquire_owned().map_err(crowded)?;
    let mut current = desk.options.current.clone();
    // A change is one from now on: what the desk holds has never been looked at.
    current.mark_unchanged();
    let teller = Teller {
        news: journal.watch(),
        journal,
        choice,
        after,
        has_begun: false,
        silent_until: Instant::now(),
        current,
        stop: desk.stop.clone(),
        presence,
        _place: place,
        _want: desk.options.wanted.want(),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // What nginx calls it; others look at the type.
        (http::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, headers, Body::new(Telling::Idle(Box::new(teller)))).into_response())
}

fn position(text: &HeaderValue) -> Result<Position, Problem> {
    let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Position).ok_or_else(|| {
        Problem::bad_request("Last-Event-ID is not one of this stream; leave it out to begin with what comes")
    })
}

/// What one stream tells.
struct Teller {
    journal: Journal,
    choice: Choice,
    /// What was told, or was not to be.
    after: Position,
    has_begun: bool,
    silent_until: Instant,
    news: watch::Receiver<Position>,
    current: watch::Receiver<Arc<Current>>,
    stop: watch::Receiver<bool>,
    presence: Presence,
    _place: OwnedSemaphorePermit,
    _want: Want,
}

impl Teller {
    /// What comes next; nothing when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(self.sign_of_life());
        }
        loop {
            self.news.borrow_and_update();
            let told = self.tell().await?;
            if !told.is_empty() {
                self.silent_until = Instant::now() + KEEP_ALIVE;
                return Some(told.into());
            }
            if Instant::now() >= self.silent_until {
                return Some(self.sign_of_life());
            }
            if self.journal.last() > self.after {
                continue;
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = sleep_until(self.silent_until) => {}
                // Whoever could change keys may be gone: then they stay.
                Ok(()) = self.current.changed() => return None,
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = self.presence.ended() => return None,
            }
        }
    }

    /// A comment, and how far the stream is: who comes back need not look at what was
    /// not for it.
    fn sign_of_life(&mut self) -> Bytes {
        self.silent_until = Instant::now() + KEEP_ALIVE;
        Bytes::from(format!(":\nid: {}\n\n", self.after))
    }

    /// The next events that are wanted, none if there are none among those that were
    /// looked at; nothing when they cannot be read.
    async fn tell(&mut self) -> Option<Vec<u8>> {
        let unread = |error| tracing::error!("the journal cannot be read: {error}");
        let events = self.journal.read(self.after, PORTION).await.map_err(unread).ok()?;
        let mut text = Vec::new();
        for (position, event) in events {
            if text.len() > OCTETS {
                break;
            }
            self.after = position;
            if self.choice.takes(&event) {
                let told = fanout::Told::of((*event).clone());
                text.extend_from_slice(format!("id: {position}\ndata: ").as_bytes());
                text.extend_from_slice(told.json());
                text.extend_from_slice(b"\n\n");
            }
        }
        Some(text)
    }
}

/// Who told, and what; nothing at the end.
type Told = (Box<Teller>, Option<Bytes>);

/// The body of a stream: made when it is asked for.
enum Telling {
    Idle(Box<Teller>),
    Busy(Pin<Box<dyn Future<Output = Told> + Send>>),
    Over,
}

impl hyper::body::Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            *self = match std::mem::replace(&mut *self, Telling::Over) {
                Telling::Over => return Poll::Ready(None),
                Telling::Idle(mut teller) => Telling::Busy(Box::pin(async move {
                    let next = teller.next().await;
                    (teller, next)
                })),
                Telling::Busy(mut busy) => {
                    let polled = busy.as_mut().poll(context);
                    if polled.is_pending() {
                        *self = Telling::Busy(busy);
                    }
                    let (teller, Some(next)) = ready!(polled) else { return Poll::Ready(None) };
                    *self = Telling::Idle(teller);
                    return Poll::Ready(Some(Ok(Frame::data(next))));
                }
            };
        }
    }
}
