//! `GET /events/stream`: events as they happen, as Server-Sent Events (HTML Living
//! Standard, section 9.2).
//!
//! The id of each is its position in the journal, so who comes back with
//! `Last-Event-ID` misses nothing that is still kept. Nothing waits for a client: what
//! it does not take now is read again from the journal when it does. A stream ends when
//! the gateway stops, and when keys change: its client comes back and is asked for its
//! own again. What happens before it does is kept for it.

use super::Current;
use super::ask::Asked;
use super::caller::{Admission, Caller};
use super::choice::{About, Choice, PATTERNS};
use super::desk::Desk;
use super::grace::Grace;
use super::presence::Presence;
use super::problem::Problem;
use super::seats::Seat;
use crate::event::Want;
use crate::intake::Role;
use crate::journal::{Journal, Position};
use crate::tenant::Tenant;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Frame;
use schemars::JsonSchema;
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Events that are read at a time.
const PORTION: usize = 100;

/// Octets of them, if there is more than one.
const OCTETS: usize = 64 * 1024;

/// Longest silence: who is behind a proxy would be cut off.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Time until events are looked for again that are there, but cannot be read.
const AGAIN: Duration = Duration::from_secs(1);

/// The query of `GET /events/stream`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Names such as `post.delivered`, `post.*` or `*`, with commas between.
    #[schemars(extend("pattern" = PATTERNS))]
    r#type: Option<String>,
    /// One of their tags, with `*` for any text.
    #[schemars(length(min = 1, max = 256))]
    tag: Option<String>,
    /// An origin, or a pattern such as `https://*.shop.example`.
    destination: Option<String>,
    /// With `*` for any text.
    #[schemars(length(min = 1, max = 256))]
    recipient: Option<String>,
}

/// `GET /events/stream`
pub(super) async fn stream(
    State(desk): State<Desk>,
    caller: Caller,
    headers: HeaderMap,
    Extension(presence): Extension<Presence>,
    Extension(Admission(admitted)): Extension<Admission>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Problem> {
    let Filter { r#type: names, tag, destination, recipient } = filter;
    let choice = Choice::of(&caller, names.as_deref(), About { tag, destination, recipient })?;
    let journal = desk.journal()?.clone();
    let last = journal.last();
    let after = match headers.get("last-event-id") {
        None => last,
        // What was never here was of another journal.
        Some(text) => position(text)?.min(last),
    };
    let crowded = || Problem::too_many("there are as many streams already as may be", KEEP_ALIVE);
    let seat = desk.streams.take(whose(&caller).as_ref()).ok_or_else(crowded)?;
    let mut current = desk.options.current.clone();
    // What the desk holds has never been looked at: a change is one since the caller was
    // let in.
    if !Arc::ptr_eq(&current.borrow_and_update(), &admitted) {
        current.mark_changed();
    }
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
        _seat: seat,
        want: Some(desk.options.wanted.want()),
        grace: Arc::clone(&desk.grace),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // What nginx calls it; others look at the type.
        (http::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, headers, Body::new(Telling::Idle(Box::new(teller)))).into_response())
}

/// On whose account a stream is; nothing: on that of those who are there for all.
fn whose(caller: &Caller) -> Option<Tenant> {
    (caller.role != Role::Admin).then(|| caller.tenant.clone().unwrap_or_default())
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
    _seat: Seat,
    want: Option<Want>,
    grace: Arc<Grace>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(want) = self.want.take() {
            self.grace.begin(want);
        }
    }
}

impl Teller {
    /// What comes next; nothing when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(self.sign_of_life());
        }
        loop {
            // Also of one that always has something to tell.
            if self.current.has_changed().unwrap_or(false) || *self.stop.borrow() {
                return None;
            }
            self.news.borrow_and_update();
            let before = self.after;
            let told = self.tell().await?;
            if !told.is_empty() {
                self.silent_until = Instant::now() + KEEP_ALIVE;
                return Some(told.into());
            }
            if Instant::now() >= self.silent_until {
                return Some(self.sign_of_life());
            }
            let is_behind = self.journal.last() > self.after;
            if is_behind && self.after > before {
                continue;
            }
            // What cannot be read now may be later.
            let again = if is_behind { Instant::now() + AGAIN } else { self.silent_until };
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = sleep_until(again.min(self.silent_until)) => {}
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
            if let Some(told) = self.choice.told(&event) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventId, Mark, Wanted};
    use crate::journal::Options;
    use crate::post::Timestamp;
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt as _;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test(start_paused = true)]
    async fn an_end_of_the_journal_that_cannot_be_read_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("journal");
        let options = || Options::at(place.clone());
        let (id, at) = (EventId::new(Timestamp(1), 1), Timestamp(1));
        let (name, data) = ("a.b".parse().unwrap(), Bytes::from_static(b"{}"));
        let event = Event { id, name, at, tenant: Tenant::default(), data };
        let mark = Mark { log: 1, place: (1, 1) };
        Journal::open(options()).unwrap().append(mark, vec![event]).await.unwrap();
        let journal = Journal::open(options()).unwrap();
        for file in fs::read_dir(&place).unwrap() {
            let file = OpenOptions::new().write(true).open(file.unwrap().path()).unwrap();
            file.write_all_at(&[0; 8], file.metadata().unwrap().len() - 8).unwrap();
        }
        assert!(journal.last().0 == 1 && journal.read(Position(0), 1).await.unwrap().is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let caller = Caller { role: Role::Admin, tenant: None, key: None, address: [127, 0, 0, 1].into() };
        let (_changing, current) = watch::channel(Arc::default());
        let (_stopping, stop) = watch::channel(false);
        let mut teller = Teller {
            news: journal.watch(),
            journal,
            choice: Choice::of(&caller, None, About::default()).unwrap(),
            after: Position(0),
            has_begun: false,
            silent_until: Instant::now(),
            current,
            stop,
            presence: Presence::of(&client),
            _seat: crate::api::seats::Seats::default().take(None).unwrap(),
            want: Some(Wanted::default().want()),
            grace: Arc::default(),
        };
        // Who looks again and again without a pause lets no time pass.
        let begun = Instant::now();
        for passed in 0..3 {
            assert_eq!(teller.next().await.unwrap(), ":\nid: 0\n\n");
            assert_eq!(begun.elapsed().as_secs(), passed * KEEP_ALIVE.as_secs());
        }
    }
}
