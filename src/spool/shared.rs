//! What the threads of an embedded spool share: the index, the readable
//! segments, and the news for those outside.
//!
//! Only the log's writer changes what is durable; the keeper and the callers
//! read. The index lock is held for memory and catalog work, never across a
//! read or write of the log.

use super::catalog::{Entry, Place, Spot};
use super::disk::Disk;
use super::feed::Feed;
use super::index::{Index, Known};
use super::later::chronicle_in;
use super::readers::Readers;
use super::recent::{self, Message, Recent};
use super::record::Accepted;
use super::segment::{self, Found, Segment};
use super::state::{Chronicle, as_sent};
use super::{Content, Doorbell, Health, SpoolError};
use crate::clock::Clock;
use crate::event::Event;
use crate::post::{Blob, Destination, Post, PostId, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// How long an idempotency key is remembered.
pub(super) const NOTES: Duration = Duration::from_secs(24 * 60 * 60);

/// Lines looked at without letting others to the index.
const LINES: usize = 256;

/// Ended posts, and what is told of that. The writer knows as long as there are any.
#[derive(Default)]
pub(super) struct Riding {
    pub ids: Vec<PostId>,
    pub events: Vec<Event>,
}

/// See the module.
pub(super) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub clock: Clock,
    pub epoch: u32,
    /// Of the segments that this process writes to.
    pub salt: u32,
    pub options: super::embedded::Options,
    pub doorbell: Arc<Doorbell>,
    pub health: watch::Sender<Health>,
    /// Turns true when every older segment has been read.
    pub recovered: watch::Sender<bool>,
    /// Damaged places and missing posts met so far.
    pub damages: AtomicU64,
    /// Dead letters and held posts that were forgotten; not the delivered.
    pub forgotten: AtomicU64,
    /// The writer has no spare segment.
    pub wants_spare: AtomicBool,
    /// Who reads the log for claims.
    pub readers: Arc<Readers>,
    /// Ended posts on their way to the log.
    pub riding: Mutex<Riding>,
    /// Octets of what ended and cannot be written now.
    pub unwritten: AtomicU64,
    /// Events on their way to who asks for them.
    pub feed: Feed,
    segments: RwLock<BTreeMap<u64, Segment>>,
    recent: Mutex<Recent>,
    index: Mutex<Index>,
    /// Whoever does the catalog's chores.
    pub at_chores: Mutex<()>,
}

impl Shared {
    pub fn new(
        disk: Arc<dyn Disk>,
        options: super::embedded::Options,
        (epoch, salt): (u32, Option<u32>),
        segments: Vec<Segment>,
        index: Index,
    ) -> Shared {
        Shared {
            disk,
            clock: Clock::start(),
            epoch,
            salt: salt.unwrap_or_else(|| fastrand::u32(..)),
            options,
            doorbell: Arc::default(),
            health: watch::Sender::new(Health::Open),
            recovered: watch::Sender::new(false),
            damages: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            wants_spare: AtomicBool::new(false),
            readers: Arc::default(),
            riding: Mutex::default(),
            unwritten: AtomicU64::new(0),
            feed: Feed::default(),
            segments: RwLock::new(
                segments.into_iter().map(|segment| (segment.header.number, segment)).collect(),
            ),
            recent: Mutex::default(),
            index: Mutex::new(index),
            at_chores: Mutex::new(()),
        }
    }

    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the log has been read: the first post of each line may be claimed.
    pub fn complete_lines(&self) {
        loop {
            let mut index = self.index();
            let are_complete = index.complete_lines(LINES);
            let rung = index.rung();
            drop(index);
            self.ring(rung);
            if are_complete {
                return;
            }
        }
    }

    /// All readable segments, the oldest first.
    pub fn segments(&self) -> Vec<Segment> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn segment(&self, number: u64) -> Option<Segment> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub fn add_segment(&self, segment: Segment) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment.header.number, segment);
    }

    pub fn drop_segment(&self, number: u64) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Publishes a new state of health; says so once when it changes.
    pub fn be(&self, health: Health) {
        self.health.send_if_modified(|current| {
            if *current == health {
                return false;
            }
            match &health {
                Health::Open => tracing::info!("the spool takes posts again"),
                Health::Full => {
                    tracing::error!("the spool's disk is too full; mail is refused, deliveries go on")
                }
                Health::Failed(reason) => tracing::error!(%reason, "the spool cannot write; mail is refused"),
            }
            *current = health;
            true
        });
    }

    /// Tells the listener which lanes to look at.
    pub fn ring(&self, rung: Vec<(Arc<Destination>, Timestamp)>) {
        if rung.is_empty() {
            return;
        }
        let now = self.clock.now();
        for (lane, due_at) in rung {
            self.doorbell.ring(&lane, due_at.since(now));
        }
    }

    /// A living post as it is sent now, read from the log.
    pub fn read_post(&self, id: PostId, entry: &Entry) -> Result<Arc<Post>, SpoolError> {
        self.while_it_moves(id, entry, |entry| {
            let read = self.read_accepted(entry.place)?;
            self.post_in(&read, id, entry)
        })
    }

    /// The same of a claimed post; its body stays with the claim unless it is large.
    pub fn read_claimed(&self, id: PostId, entry: &Entry, fence: u64) -> Result<Arc<Post>, SpoolError> {
        let (post, body) = self.while_it_moves(id, entry, |entry| {
            let read = self.read_accepted(entry.place)?;
            let post = self.post_in(&read, id, entry)?;
            // Who wants to send it is told what is wrong with it.
            let body = read.small_body(post.body, entry.place);
            Ok((post, body))
        })?;
        if let Some(body) = body {
            self.index().give_body(id, fence, body);
        }
        Ok(post)
    }

    /// A waiting post as it was accepted, for the time when it is claimed.
    pub fn read_known(&self, id: PostId, entry: &Entry) -> Result<Known, SpoolError> {
        let read = self.read_accepted(entry.place)?;
        let post = read.post(id, entry.place)?;
        let body = read.small_body(post.body, entry.place);
        Ok(Known { post, body })
    }

    fn post_in(&self, read: &Message, id: PostId, entry: &Entry) -> Result<Arc<Post>, SpoolError> {
        let post = read.post(id, entry.place)?;
        let route =
            if entry.state.is_rerouted { self.read_chronicle(id, entry.history)?.route } else { None };
        Ok(as_sent(post, &entry.state, route))
    }

    /// What a post is made of, checked.
    pub fn read_content(&self, id: PostId, entry: &Entry) -> Result<Content, SpoolError> {
        self.while_it_moves(id, entry, |entry| {
            let read = self.read_accepted(entry.place)?;
            if read.parts.blobs.is_empty() {
                // It is over, and only listed.
                return Err(SpoolError::Unknown);
            }
            let post = as_sent(read.post(id, entry.place)?, &entry.state, None);
            let (message, body) = (read.blob(0, entry.place)?, post.body);
            let blob = match body.number {
                0 => message.clone(),
                number => read.blob(number, entry.place)?,
            };
            let body = piece(&blob, body).ok_or_else(|| damaged(entry.place, "a body beyond its end"))?;
            Ok(Content { post, body, message })
        })
    }

    /// A body as it stands in the log, checked.
    pub fn read_body(&self, id: PostId, body: Blob, entry: &Entry) -> Result<Bytes, SpoolError> {
        self.while_it_moves(id, entry, |entry| self.read_accepted(entry.place)?.body(body, entry.place))
    }

    /// What happened to a living post.
    pub fn chronicle(&self, id: PostId, entry: &Entry) -> Result<Chronicle, SpoolError> {
        self.while_it_moves(id, entry, |entry| self.read_chronicle(id, entry.history))
    }

    /// Reads what may be copied to the end of the log meanwhile.
    fn while_it_moves<T>(
        &self,
        id: PostId,
        entry: &Entry,
        read: impl Fn(&Entry) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let mut entry = *entry;
        loop {
            let answer = read(&entry);
            let now = self.index().find(id).unwrap_or(entry);
            let is_where_it_was = (now.place, now.history) == (entry.place, entry.history);
            if !matches!(answer, Err(SpoolError::Damaged(_))) || is_where_it_was {
                return answer;
            }
            (entry.place, entry.history) = (now.place, now.history);
        }
    }

    /// The chronicle of a post that stands at this spot.
    fn read_chronicle(&self, id: PostId, history: Spot) -> Result<Chronicle, SpoolError> {
        let Some((segment, offset)) = history.place() else { return Ok(Chronicle::default()) };
        let place = Place { segment, offset, share: 0 };
        let (_, found, _) = self.read_record(place)?;
        chronicle_in(found.record, id).ok_or_else(|| damaged(place, "another post's chronicle"))
    }

    /// All blobs of a record, checked.
    pub fn read_blobs(
        &self,
        accepted: &Accepted<'_>,
        meta: usize,
        place: Place,
    ) -> Result<Vec<Bytes>, SpoolError> {
        let segment = self.segment(place.segment).ok_or_else(|| damaged(place, "no such segment"))?;
        let numbers = 0..u16::try_from(accepted.blobs.len()).unwrap_or(u16::MAX);
        numbers
            .map(|number| recent::read_blob(&segment, &accepted.blobs, (meta, &[]), number, place))
            .collect()
    }

    fn read_accepted(&self, place: Place) -> Result<Message, SpoolError> {
        let segment = self.segment(place.segment).ok_or_else(|| damaged(place, "no such segment"))?;
        let at = (place.segment, place.offset);
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).find(at);
        if let Some(parts) = recent {
            return Ok(Message { segment, parts, octets: Vec::new() });
        }
        let read = segment::read_message(&*segment.file, place.segment, place.offset);
        let read = read.map_err(|error| SpoolError::Failed(error.to_string()))?;
        let (parts, octets) = read.ok_or_else(|| damaged(place, "no message"))?;
        let parts = Arc::new(parts);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).keep(at, &parts);
        Ok(Message { segment, parts, octets })
    }

    pub fn read_record(&self, place: Place) -> Result<(Segment, Found, Vec<u8>), SpoolError> {
        let segment = self.segment(place.segment).ok_or_else(|| damaged(place, "no such segment"))?;
        let read = segment::read_record(&*segment.file, place.segment, place.offset);
        let found = read.map_err(|error| SpoolError::Failed(error.to_string()))?;
        let (found, octets) = found.ok_or_else(|| damaged(place, "no whole record"))?;
        Ok((segment, found, octets))
    }
}

/// The octets that a body reference means. A small part of a large blob is
/// copied: it may be kept for long, and must not keep the rest with it.
pub(super) fn piece(blob: &Bytes, body: Blob) -> Option<Bytes> {
    let (start, end) = (body.start as usize, body.start as usize + body.length as usize);
    let octets = blob.get(start..end)?;
    Some(if octets.len() < blob.len() / 2 { Bytes::copy_from_slice(octets) } else { blob.slice_ref(octets) })
}

pub(super) fn damaged(place: Place, what: &str) -> SpoolError {
    SpoolError::Damaged(format!("segment {:016x} at {}: {what}", place.segment, place.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_does_not_keep_its_blob() {
        let blob = Bytes::from(vec![7; 1000]);
        let body = |start, length| Blob { number: 0, start, length };
        let small = piece(&blob, body(990, 10)).unwrap();
        assert!(small.len() == 10 && blob.is_unique());
        let large = piece(&blob, body(100, 900)).unwrap();
        assert!(large.len() == 900 && !blob.is_unique());
        assert_eq!(piece(&blob, body(991, 10)), None);
    }
}
