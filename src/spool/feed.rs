//! The feed: events that are durable in the log and on their way to who asks for them.
//!
//! It knows where they stand, in the order of the log, and keeps a bounded part of
//! them in memory; the others are read back when it is their turn. A segment with
//! events that were not passed is not given up. Who never asks pays nothing where no
//! events are made, and else the places: events wait for who asks later.

use super::record::events_in;
use super::shared::{Shared, damaged};
use super::{SpoolError, catalog::Place};
use crate::event::{Event, Mark};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Octets of events that are kept in memory.
const KEPT: usize = 4 << 20;
/// Octets that are handed out at a time, if there is more than one record of them.
const PORTION: usize = 256 << 10;
/// Records that are read back together, if they are no more than that.
const TOGETHER: usize = 512;

/// Readings in one segment that fail before its events that cannot be read are lost.
const TRIES: u32 = 10;

/// Where a record with events stands: its segment and its offset.
type At = (u64, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Feed {
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(At, Option<Vec<Event>>)>,
    /// Octets of those that are in memory.
    kept: usize,
    /// What stands up to here was passed.
    passed: At,
    /// The segment that could not be read last, and how often.
    unreadable: (u64, u32),
    /// The older segments have been read.
    is_whole: bool,
    is_closed: bool,
}

/// What is next.
enum Next {
    Events(Mark, Vec<Event>),
    /// They must be read first.
    Unread(Vec<At>),
    Nothing,
}

impl Feed {
    /// Events became durable there, the older ones first.
    pub fn tell(&self, told: Vec<(At, Vec<Event>)>) {
        let mut told = told.into_iter().filter(|(_, events)| !events.is_empty()).peekable();
        if told.peek().is_none() {
            return;
        }
        let mut queue = self.queue();
        for (at, events) in told {
            let octets = octets(&events);
            let fits = queue.kept + octets <= KEPT;
            queue.kept += if fits { octets } else { 0 };
            queue.waiting.push_back((at, fits.then_some(events)));
        }
        drop(queue);
        self.news.notify_one();
    }

    /// The older segments have events there, given from the newest to the oldest.
    pub fn begin(&self, older: Vec<At>) {
        let mut queue = self.queue();
        let passed = queue.passed;
        for at in older.into_iter().filter(|at| *at > passed) {
            queue.waiting.push_front((at, None));
        }
        queue.is_whole = true;
        drop(queue);
        self.news.notify_one();
    }

    /// Whether what stands there was passed.
    pub fn is_passed(&self, at: At) -> bool {
        at <= self.queue().passed
    }

    /// Whether events in this segment, or before it, were not passed.
    pub fn needs(&self, segment: u64) -> bool {
        self.queue().waiting.front().is_some_and(|((number, _), _)| *number <= segment)
    }

    /// There will be no more.
    pub fn close(&self) {
        self.queue().is_closed = true;
        self.news.notify_one();
    }

    fn next(&self, log: u32) -> Option<Next> {
        let queue = self.queue();
        if queue.is_closed {
            return None;
        }
        if !queue.is_whole {
            return Some(Next::Nothing);
        }
        let (mut taken, mut size, mut last) = (Vec::new(), 0, None);
        for (at, events) in &queue.waiting {
            match events {
                _ if size >= PORTION => break,
                Some(events) => {
                    size += octets(events);
                    taken.extend_from_slice(events);
                    last = Some(*at);
                }
                None if last.is_none() => {
                    let unread = queue.waiting.iter().take_while(|(_, events)| events.is_none());
                    return Some(Next::Unread(unread.take(TOGETHER).map(|(at, _)| *at).collect()));
                }
                None => break,
            }
        }
        Some(last.map_or(Next::Nothing, |place| Next::Events(Mark { log, place }, taken)))
    }

    /// Whether there are any that were not passed.
    pub fn waits(&self) -> bool {
        !self.queue().waiting.is_empty()
    }

    /// What stands up to there was passed.
    pub fn pass(&self, at: At) {
        let mut queue = self.queue();
        queue.passed = queue.passed.max(at);
        while queue.waiting.front().is_some_and(|(waiting, _)| *waiting <= at) {
            if let Some((_, Some(events))) = queue.waiting.pop_front() {
                queue.kept = queue.kept.saturating_sub(octets(&events));
            }
        }
    }

    /// Whether a segment could not be read once too often, this time counted: the events
    /// behind it must not wait for ever.
    fn is_given_up(&self, segment: u64) -> bool {
        let mut queue = self.queue();
        let (known, tries) = queue.unreadable;
        let tries = if known == segment { tries.saturating_add(1) } else { 1 };
        queue.unreadable = (segment, tries);
        tries >= TRIES
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next events behind a mark, when there are some. Cancel-safe.
pub(super) async fn events(shared: Arc<Shared>, after: Mark) -> Result<(Mark, Vec<Event>), SpoolError> {
    if after.log == shared.salt {
        shared.feed.pass(after.place);
    }
    loop {
        match shared.feed.next(shared.salt).ok_or(SpoolError::Closed)? {
            Next::Events(mark, events) => return Ok((mark, events)),
            Next::Nothing => shared.feed.news.notified().await,
            Next::Unread(places) => {
                let (own, Some(at)) = (Arc::clone(&shared), places.first().copied()) else { continue };
                let read = tokio::task::spawn_blocking(move || own.read_portion(&places)).await;
                match read.map_err(|_| SpoolError::Closed)? {
                    Ok((place, events)) => return Ok((Mark { log: shared.salt, place }, events)),
                    Err(error)
                        if matches!(error, SpoolError::Damaged(_)) || shared.feed.is_given_up(at.0) =>
                    {
                        shared.damages.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(%error, "events cannot be read back; they are lost");
                        shared.feed.pass(at);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl Shared {
    /// The events of the first of these records, and of those behind it that can be read
    /// and are no more than a portion together; with the place of the last.
    fn read_portion(&self, places: &[At]) -> Result<(At, Vec<Event>), SpoolError> {
        let mut portion: Option<(At, Vec<Event>)> = None;
        for place in places {
            match (self.read_events(*place), &mut portion) {
                (Ok(events), None) => portion = Some((*place, events)),
                (Ok(events), Some((last, all))) => {
                    *last = *place;
                    all.extend(events);
                }
                (Err(error), None) => return Err(error),
                // It is the first the next time.
                (Err(_), Some(_)) => break,
            }
            if portion.as_ref().is_some_and(|(_, events)| octets(events) >= PORTION) {
                break;
            }
        }
        portion.ok_or(SpoolError::Closed)
    }

    /// The events of the record there.
    fn read_events(&self, (segment, offset): At) -> Result<Vec<Event>, SpoolError> {
        let place = Place { segment, offset, share: 0 };
        let (_, _, octets) = self.read_record(place)?;
        events_in(&octets).ok_or_else(|| damaged(place, "no events"))
    }
}

/// About how much these take, in the log and in memory.
pub(super) fn octets(events: &[Event]) -> usize {
    events.iter().map(|event| event.data.len() + event.name.as_str().len() + 128).sum()
}
