//! Messages of the log as they are read, and the last ones that were: the posts of
//! one message are mostly wanted one soon after another.

use super::SpoolError;
use super::catalog::Place;
use super::record::BlobHead;
use super::replay::blob_place;
use super::segment::Segment;
use super::shared::{damaged, piece};
use super::spill::filled;
use super::table::Parts;
use crate::post::{Blob, Post, PostId, Table};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Octets of the messages that are kept.
const OCTETS: usize = 8 << 20;
/// Bodies up to so many octets are read along with their posts.
pub(super) const SMALL: u32 = 64 * 1024;

/// A message in the log.
pub(super) struct Message {
    pub segment: Segment,
    pub parts: Arc<Parts>,
    /// What was read of it, from its beginning on.
    pub octets: Vec<u8>,
}

impl Message {
    /// One of its posts.
    pub fn post(&self, id: PostId, place: Place) -> Result<Arc<Post>, SpoolError> {
        self.parts.post(id).ok_or_else(|| damaged(place, "another post"))
    }

    /// One of its blobs, checked.
    pub fn blob(&self, number: u16, place: Place) -> Result<Bytes, SpoolError> {
        read_blob(&self.segment, &self.parts.blobs, (self.parts.meta, &self.octets), number, place)
    }

    /// A body, checked.
    pub fn body(&self, body: Blob, place: Place) -> Result<Bytes, SpoolError> {
        let blob = self.blob(body.number, place)?;
        piece(&blob, body).ok_or_else(|| damaged(place, "a body beyond its end"))
    }

    /// A body that costs little, if it can be read.
    pub fn small_body(&self, body: Blob, place: Place) -> Option<Bytes> {
        let blob = self.parts.blobs.get(usize::from(body.number))?;
        if blob.length <= SMALL { self.body(body, place).ok() } else { None }
    }
}

/// The messages of several posts that were read last, by segment and offset.
#[derive(Default)]
pub(super) struct Recent {
    read: Table<(u64, u64), Arc<Parts>>,
    order: VecDeque<(u64, u64)>,
    octets: usize,
}

impl Recent {
    /// The message at this place.
    pub fn find(&self, at: (u64, u64)) -> Option<Arc<Parts>> {
        self.read.get(&at).cloned()
    }

    /// Keeps a message, unless it is a single post or very large.
    pub fn keep(&mut self, at: (u64, u64), parts: &Arc<Parts>) {
        if !parts.is_shared() || parts.octets() > OCTETS || self.read.contains_key(&at) {
            return;
        }
        self.octets += parts.octets();
        self.read.insert(at, Arc::clone(parts));
        self.order.push_back(at);
        while self.octets > OCTETS {
            let Some(oldest) = self.order.pop_front().and_then(|oldest| self.read.remove(&oldest)) else {
                return;
            };
            self.octets -= oldest.octets();
        }
    }
}

/// One blob of a message, checked; taken from what was read of it, if it is there.
pub(super) fn read_blob(
    segment: &Segment,
    blobs: &[BlobHead],
    (meta, known): (usize, &[u8]),
    number: u16,
    place: Place,
) -> Result<Bytes, SpoolError> {
    let (offset, head) = blob_place(blobs, meta, number).ok_or_else(|| damaged(place, "a missing body"))?;
    let length = head.length as usize;
    let known = usize::try_from(offset).ok().and_then(|from| known.get(from..from + length));
    let read = |buffer: &mut [u8]| segment.file.read(buffer, place.offset + offset);
    let octets = match known {
        Some(octets) => Bytes::copy_from_slice(octets),
        None => filled(length, read).map_err(|error| SpoolError::Failed(error.to_string()))?,
    };
    if crc32c::crc32c(&octets) != head.checksum {
        return Err(damaged(place, "a wrong checksum of a body"));
    }
    Ok(octets)
}
