//! What the threads of an embedded spool share: the index, the readable
//! segments, and the news for those outside.
//!
//! Only the log's writer changes what is durable; the keeper and the callers
//! read. The index lock is held for memory and catalog work, never across a
//! read or write of the log.

use super::catalog::Place;
use super::disk::Disk;
use super::index::Index;
use super::record::{Accepted, Record, post_of};
use super::replay::blob_place;
use super::segment::{self, Found, Segment};
use super::spill::filled;
use super::{Doorbell, Health, SpoolError};
use crate::clock::Clock;
use crate::post::{Blob, Post, PostId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// How long an idempotency key is remembered.
pub(super) const NOTES: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Damaged places met so far.
    pub damages: AtomicU64,
    /// The writer has no spare segment.
    pub wants_spare: AtomicBool,
    /// Ended posts on their way to the log, and whether the writer knows.
    pub riding: Mutex<Vec<PostId>>,
    segments: RwLock<BTreeMap<u64, Segment>>,
    index: Mutex<Index>,
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
            wants_spare: AtomicBool::new(false),
            riding: Mutex::default(),
            segments: RwLock::new(
                segments.into_iter().map(|segment| (segment.header.number, segment)).collect(),
            ),
            index: Mutex::new(index),
        }
    }

    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The post `id` as it stands in the log.
    pub fn read_post(&self, id: PostId, place: Place) -> Result<Arc<Post>, SpoolError> {
        let (_, accepted, _) = self.read_accepted(place)?;
        post_of(&accepted, id).ok_or_else(|| damaged(place, "another post"))
    }

    /// The same for a post whose record may be moved meanwhile.
    pub fn find_post(&self, id: PostId, mut place: Place) -> Result<Arc<Post>, SpoolError> {
        loop {
            let read = self.read_post(id, place);
            let now = self.index().find(id).map_or(place, |entry| entry.place);
            if !matches!(read, Err(SpoolError::Damaged(_))) || now == place {
                return read;
            }
            place = now;
        }
    }

    /// A body as it stands in the log, checked.
    pub fn read_body(&self, body: Blob, place: Place) -> Result<Bytes, SpoolError> {
        let (segment, accepted, meta) = self.read_accepted(place)?;
        let blob = read_blob(&segment, &accepted, meta, body.number, place)?;
        piece(&blob, body).ok_or_else(|| damaged(place, "a body beyond its end"))
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
        numbers.map(|number| read_blob(&segment, accepted, meta, number, place)).collect()
    }

    fn read_accepted(&self, place: Place) -> Result<(Segment, Accepted<'static>, usize), SpoolError> {
        let segment = self.segment(place.segment).ok_or_else(|| damaged(place, "no such segment"))?;
        let read = segment::read_record(&*segment.file, place.segment, place.offset);
        match read.map_err(|error| SpoolError::Failed(error.to_string()))? {
            Some(Found { record: Record::Accepted(accepted), meta, .. }) => Ok((segment, accepted, meta)),
            _ => Err(damaged(place, "no whole record")),
        }
    }
}

fn read_blob(
    segment: &Segment,
    accepted: &Accepted<'_>,
    meta: usize,
    number: u16,
    place: Place,
) -> Result<Bytes, SpoolError> {
    let (offset, head) =
        blob_place(accepted, meta, number).ok_or_else(|| damaged(place, "a missing body"))?;
    let read = |buffer: &mut [u8]| segment.file.read(buffer, place.offset + offset);
    let octets = filled(head.length as usize, read).map_err(|error| SpoolError::Failed(error.to_string()))?;
    if crc32c::crc32c(&octets) != head.checksum {
        return Err(damaged(place, "a wrong checksum of a body"));
    }
    Ok(octets)
}

/// The octets that a body reference means. A small part of a large blob is
/// copied: it may be kept for long, and must not keep the rest with it.
pub(super) fn piece(blob: &Bytes, body: Blob) -> Option<Bytes> {
    let (start, end) = (body.start as usize, body.start as usize + body.length as usize);
    let octets = blob.get(start..end)?;
    Some(if octets.len() < blob.len() / 2 { Bytes::copy_from_slice(octets) } else { blob.slice_ref(octets) })
}

fn damaged(place: Place, what: &str) -> SpoolError {
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
