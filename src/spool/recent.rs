//! Messages of the log as they are read, and the last ones that were: the posts of
//! one message are mostly wanted one soon after another, and each needs all of it.

use super::SpoolError;
use super::catalog::Place;
use super::record::Accepted;
use super::replay::blob_place;
use super::segment::Segment;
use super::shared::{damaged, piece};
use super::spill::filled;
use crate::post::Blob;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Posts of the messages that are kept.
const POSTS: usize = 4096;
/// Bodies up to so many octets are read along with their posts.
pub(super) const SMALL: u32 = 64 * 1024;

/// A message in the log.
pub(super) struct Message {
    pub segment: Segment,
    pub accepted: Arc<Accepted<'static>>,
    /// Octets of its meta.
    pub meta: usize,
    /// What was read of it, from its beginning on.
    pub octets: Vec<u8>,
}

impl Message {
    /// One of its blobs, checked.
    pub fn blob(&self, number: u16, place: Place) -> Result<Bytes, SpoolError> {
        read_blob(&self.segment, &self.accepted, (self.meta, &self.octets), number, place)
    }

    /// A body, checked.
    pub fn body(&self, body: Blob, place: Place) -> Result<Bytes, SpoolError> {
        let blob = self.blob(body.number, place)?;
        piece(&blob, body).ok_or_else(|| damaged(place, "a body beyond its end"))
    }

    /// A body that costs little, if it can be read.
    pub fn small_body(&self, body: Blob, place: Place) -> Option<Bytes> {
        let blob = self.accepted.blobs.get(usize::from(body.number))?;
        if blob.length <= SMALL { self.body(body, place).ok() } else { None }
    }
}

/// The messages of several posts that were read last, by segment and offset.
#[derive(Default)]
pub(super) struct Recent {
    read: VecDeque<((u64, u64), Arc<Accepted<'static>>, usize)>,
    posts: usize,
}

impl Recent {
    /// The message at this place, with the length of its meta.
    pub fn find(&self, at: (u64, u64)) -> Option<(Arc<Accepted<'static>>, usize)> {
        let found = self.read.iter().rev().find(|read| read.0 == at);
        found.map(|(_, accepted, meta)| (Arc::clone(accepted), *meta))
    }

    /// Keeps a message, unless it is a single post.
    pub fn keep(&mut self, at: (u64, u64), accepted: &Arc<Accepted<'static>>, meta: usize) {
        if accepted.posts.len() < 2 || accepted.posts.len() > POSTS {
            return;
        }
        self.posts += accepted.posts.len();
        self.read.push_back((at, Arc::clone(accepted), meta));
        while self.posts > POSTS {
            let Some((_, oldest, _)) = self.read.pop_front() else { return };
            self.posts -= oldest.posts.len();
        }
    }
}

/// One blob of a message, checked; taken from what was read of it, if it is there.
pub(super) fn read_blob(
    segment: &Segment,
    accepted: &Accepted<'_>,
    (meta, known): (usize, &[u8]),
    number: u16,
    place: Place,
) -> Result<Bytes, SpoolError> {
    let (offset, head) =
        blob_place(accepted, meta, number).ok_or_else(|| damaged(place, "a missing body"))?;
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
