//! Where each post of a message stands in its record, so that one is read without the
//! others: the posts of a mail to a hundred recipients are wanted one at a time.
//!
//! ```text
//! start u32, end u32 of each post | their number and one u32      (little endian)
//! ```
//!
//! It stands behind all else in the meta but the fingerprint, and counts from its start.
//! Who does not know of it reads all the rest; messages of one post have none.

use super::record::{Accepted, BlobHead, Record};
use crate::post::{MessageId, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use std::ops::Range;
use std::sync::Arc;

/// The number of `Accepted` among the kinds of records, and what stands before its posts.
type Before<T, K, B> = (u32, MessageId, Timestamp, T, K, B);

/// Writes a record; answers its table, if it has one.
pub(super) fn write(record: &Record<'_>, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, postcard::Error> {
    let accepted = match record {
        Record::Accepted(accepted) if accepted.posts.len() > 1 => accepted,
        record => return postcard::to_io(record, out).map(|_| None),
    };
    let origin = out.len();
    let Accepted { message, accepted_at, tenant, idempotency_key, blobs, .. } = accepted;
    let before: Before<_, _, _> = (0, *message, *accepted_at, tenant, idempotency_key, blobs);
    postcard::to_io(&before, &mut *out)?;
    postcard::to_io(&accepted.posts.len(), &mut *out)?;
    let mut table = Vec::with_capacity((accepted.posts.len() + 2) * 4);
    let mark = |table: &mut Vec<u8>, number: usize| {
        let number = u32::try_from(number).map_err(|_| postcard::Error::SerializeBufferFull)?;
        table.extend_from_slice(&number.to_le_bytes());
        Ok::<_, postcard::Error>(())
    };
    mark(&mut table, out.len() - origin)?;
    for post in accepted.posts.iter() {
        postcard::to_io(post, &mut *out)?;
        mark(&mut table, out.len() - origin)?;
    }
    postcard::to_io(&accepted.lives, &mut *out)?;
    mark(&mut table, accepted.posts.len() + 1)?;
    Ok(Some(table))
}

/// A message as it was read, of which each post can be had.
#[derive(Debug)]
pub(super) struct Parts {
    pub blobs: Vec<BlobHead>,
    /// Octets of its meta.
    pub meta: usize,
    posts: Posts,
}

#[derive(Debug)]
enum Posts {
    Decoded(Vec<Post>),
    /// The meta, and where they stand in it.
    Written(Vec<u8>, Vec<Range<usize>>),
}

impl Parts {
    /// A message whose posts were all decoded.
    pub fn decoded(accepted: Accepted<'static>, meta: usize) -> Parts {
        Parts { blobs: accepted.blobs, meta, posts: Posts::Decoded(accepted.posts.into_owned()) }
    }

    /// The message of this meta, whose table ends so many octets before its end.
    pub fn written(meta: &[u8], behind: usize) -> Option<Parts> {
        let mut words = meta.get(..meta.len().checked_sub(behind)?)?.rchunks_exact(4).map(word);
        let number = words.next()?;
        let mut ends: Vec<usize> = words.take(number).collect();
        ends.reverse();
        let posts = ends.iter().zip(ends.iter().skip(1)).map(|(start, end)| *start..*end).collect();
        type Head = Before<Tenant, Option<String>, Vec<BlobHead>>;
        let ((_, _, _, _, _, blobs), _) = postcard::take_from_bytes::<Head>(meta).ok()?;
        Some(Parts { blobs, meta: meta.len(), posts: Posts::Written(meta.to_vec(), posts) })
    }

    /// One of its posts.
    pub fn post(&self, id: PostId) -> Option<Arc<Post>> {
        let (meta, places) = match &self.posts {
            Posts::Decoded(posts) => return posts.iter().find(|post| post.id == id).cloned().map(Arc::new),
            Posts::Written(meta, places) => (meta, places),
        };
        let at = |place: &Range<usize>| meta.get(place.clone());
        let is_it = |place: &&Range<usize>| {
            at(place)
                .and_then(|octets| postcard::take_from_bytes::<PostId>(octets).ok())
                .is_some_and(|own| own.0 == id)
        };
        // Mostly each has its number's place.
        let likely = places.get(usize::from(id.number).saturating_sub(1)).filter(is_it);
        let place = likely.or_else(|| places.iter().find(is_it))?;
        postcard::from_bytes(at(place)?).ok().map(Arc::new)
    }

    /// Whether it has several posts.
    pub fn is_shared(&self) -> bool {
        match &self.posts {
            Posts::Decoded(posts) => posts.len() > 1,
            Posts::Written(_, places) => places.len() > 1,
        }
    }

    /// Octets that it takes in memory, about.
    pub fn octets(&self) -> usize {
        let posts = match &self.posts {
            Posts::Decoded(posts) => posts.len() * DECODED,
            Posts::Written(meta, places) => meta.len() + places.len() * size_of::<Range<usize>>(),
        };
        posts + self.blobs.len() * size_of::<BlobHead>()
    }
}

/// Octets of a post in memory, about.
const DECODED: usize = 2048;

fn word(octets: &[u8]) -> usize {
    octets.try_into().map_or(0, |octets| u32::from_le_bytes(octets) as usize)
}

#[cfg(test)]
mod tests {
    use super::super::index_tests::{lane, post};
    use super::super::record::{Head, Read, encode};
    use super::*;
    use crate::post::Fingerprint;
    use std::borrow::Cow;

    fn accepted(numbers: &[u16], fingerprint: Option<Fingerprint>) -> Accepted<'static> {
        let lane = lane();
        let posts = numbers.iter().map(|number| Post { path: format!("/{number}"), ..post(*number, &lane) });
        Accepted {
            message: MessageId(7),
            accepted_at: Timestamp(7),
            tenant: Tenant::default(),
            idempotency_key: fingerprint.map(|_| "key".to_owned()),
            fingerprint,
            blobs: vec![BlobHead { length: 300, checksum: 5 }; 200],
            posts: Cow::Owned(posts.collect()),
            lives: vec![None; if numbers.len() == 3 { 3 } else { 0 }],
        }
    }

    #[test]
    fn each_post_of_a_message_is_read_on_its_own() {
        let fingerprint = Some(Fingerprint([9; Fingerprint::LENGTH]));
        let many: Vec<u16> = (1..=300).collect();
        for (numbers, fingerprint) in [(&many[..], None), (&[1, 2], fingerprint), (&[4, 2, 900], None)] {
            let accepted = accepted(numbers, fingerprint);
            let (record, mut octets) = (Record::Accepted(accepted.clone()), Vec::new());
            encode((&record, &[]), (5, 0), &mut octets).unwrap();
            let head = Head::read(&octets).unwrap();
            assert!(octets[24..].starts_with(&postcard::to_stdvec(&record).unwrap()), "as without a table");
            let Some(Read::Whole(read)) = head.decode(5, &octets) else { panic!("unreadable") };
            assert_eq!(read, record);
            let parts = head.parts(5, &octets).unwrap();
            assert!(parts.is_shared() && parts.blobs == accepted.blobs);
            for post in accepted.posts.iter() {
                assert_eq!(parts.post(post.id).as_deref(), Some(post));
            }
            assert_eq!(parts.post(PostId { message: MessageId(7), number: 700 }), None);
            assert_eq!(parts.post(PostId { message: MessageId(8), number: 1 }), None);
            assert!(head.parts(6, &octets).is_none(), "a former life");
        }
        let mut octets = Vec::new();
        encode((&Record::Accepted(accepted(&[0], None)), &[]), (5, 0), &mut octets).unwrap();
        assert!(Head::read(&octets).unwrap().parts(5, &octets).is_none());
    }
}
