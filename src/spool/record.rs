//! What stands in a segment of the log: the octets of one record.
//!
//! ```text
//! head    magic u32 | kind u8, version u8, flags u16 | meta length u32 | total length u32
//!         | checksum u32 | salt u32                               (24 octets, little endian)
//! meta    postcard encoding of the kind's struct, then, if the version says that they
//!         are there, of its seals, then, if the flags say so, of the events that it
//!         caused, a table of its posts, and the 16 octets of a fingerprint
//! blobs   the message and the bodies, back to back
//! filling zeros up to a multiple of 8, so that a scan knows where records can begin
//! ```
//!
//! The checksum is CRC32C over the segment's number, the head and the meta: a
//! record of the segment file's former life is not valid in this one. The salt is
//! that of the spool, made with its first segment, and nobody outside knows it: octets
//! of a message that look like records are told apart without a look at what they claim
//! to hold. Each blob has its own checksum in the meta, so a body is checked without reading its
//! neighbours. A record is valid whole or not at all; nothing is repaired.

use super::seals::Seals;
use super::state::{Life, State};
use super::table::{self, Parts};
use super::{Earlier, v1, v2, v4};
use crate::clock::Jump;
use crate::event::Event;
use crate::post::{Admission, Fingerprint, MessageId, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Octets before the meta.
pub(super) const HEAD: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// Begins every record.
const MAGIC: u32 = 0x7067_7231;
/// Format of the metas; a newer one is refused by name, not guessed at. A new one raises the
/// digit of the segment as well, and begins in a fresh segment.
const VERSION: u8 = 5;
/// The same with seals.
const SEALED: u8 = 6;
/// Flag: events follow in the meta.
const HAS_EVENTS: u8 = 1;
/// Flag: a fingerprint ends the meta. Who does not know of it reads all the rest.
const HAS_FINGERPRINT: u8 = 2;
/// Flag: before that it says where each post stands, see [`super::table`].
const HAS_TABLE: u8 = 4;

/// One record without its blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// All posts of a message, or those of it that were alive when it was moved.
    Accepted(Accepted<'a>),
    /// Which posts are over, and what changed the state of others.
    Settled(Vec<(PostId, Outcome)>),
    /// The spool was closed in order: nothing was under way.
    Closed,
    /// A process goes on in the segment of an earlier one, after so many unclean
    /// starts.
    Opened { epoch: u32 },
    /// A post that lives on, after an attempt or on another way.
    Lives(PostId, Cow<'a, Life>),
    /// Nothing but its events.
    Published,
}

/// The posts of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted<'a> {
    pub message: MessageId,
    pub accepted_at: Timestamp,
    pub tenant: Tenant,
    pub idempotency_key: Option<String>,
    /// Stands at the end of the meta.
    #[serde(skip)]
    pub fingerprint: Option<Fingerprint>,
    pub blobs: Vec<BlobHead>,
    pub posts: Cow<'a, [Post]>,
    /// Empty for a fresh message; else one for each post, `None` for an ended one.
    pub lives: Vec<Option<Life>>,
}

/// Length and CRC32C of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobHead {
    pub length: u32,
    pub checksum: u32,
}

/// What became of one post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// It is over.
    Ended,
    /// It lives on in this state; nothing else changed.
    Stands(State),
    /// It lives on in this state after an attempt that ended for this reason: what
    /// format 1 said, never written any more.
    Lived { state: State, reason: String },
}

impl<'a> Accepted<'a> {
    /// The record of a fresh message.
    pub fn fresh(admission: &'a Admission, accepted_at: Timestamp) -> Accepted<'a> {
        let head = |blob: &Bytes| BlobHead {
            length: u32::try_from(blob.len()).unwrap_or(u32::MAX),
            checksum: crc32c::crc32c(blob),
        };
        Accepted {
            message: admission.message,
            accepted_at,
            tenant: admission.tenant.clone(),
            idempotency_key: admission.idempotency_key.clone(),
            fingerprint: admission.fingerprint,
            blobs: admission.blobs.iter().map(head).collect(),
            posts: Cow::Borrowed(&admission.posts),
            lives: Vec::new(),
        }
    }

    /// What is remembered of it for its idempotency key.
    pub fn earlier(&self) -> Earlier {
        Earlier::of(self.message, &self.posts, self.fingerprint)
    }

    /// The record of what is left of a post that is over: no body.
    pub fn remains(post: &'a Post, life: &Life, jump: Jump) -> Accepted<'a> {
        Accepted {
            message: post.id.message,
            accepted_at: jump.undone(post.accepted_at),
            tenant: post.destination.tenant.clone(),
            idempotency_key: None,
            fingerprint: None,
            blobs: Vec::new(),
            posts: Cow::Borrowed(std::slice::from_ref(post)),
            lives: vec![Some(life.clone())],
        }
    }

    /// Whether it was moved for its idempotency key alone: no post of it lives.
    pub fn is_note(&self) -> bool {
        !self.lives.is_empty() && self.lives.iter().all(Option::is_none)
    }

    /// How many the room of the record is shared among: all its posts, or those of a moved
    /// one that lived; one when it is kept for its idempotency key alone.
    pub fn shares(&self) -> usize {
        let living = self.lives.iter().flatten().count();
        if self.lives.is_empty() { self.posts.len() } else { living }.max(1)
    }

    /// Octets of all blobs together.
    pub fn blob_octets(&self) -> usize {
        self.blobs.iter().map(|blob| blob.length as usize).sum()
    }

    /// Post number `at` of this record, had it been read at its start: its state, and
    /// its life when the record was moved.
    pub fn state(&self, at: usize, jump: Jump) -> Option<(State, Option<&Life>)> {
        let post = self.posts.get(at)?;
        match self.lives.get(at) {
            Some(life) => life.as_ref().map(|life| (life.state, Some(life))),
            None => Some((State::fresh(post, self.accepted_at, jump), None)),
        }
    }
}

impl Record<'_> {
    /// The same by another clock. In the log it goes by that of the day, for no other is
    /// known to the next process, and in memory by that of the spool; what posts and attempts
    /// say of times goes by that of the day in both.
    pub fn by(mut self, clock: impl Fn(Timestamp) -> Timestamp) -> Self {
        match &mut self {
            Record::Accepted(accepted) => {
                accepted.accepted_at = clock(accepted.accepted_at);
                let lives = accepted.lives.iter_mut().flatten();
                lives.for_each(|life| life.state = life.state.by(&clock));
            }
            Record::Settled(list) => list.iter_mut().for_each(|(_, outcome)| match outcome {
                Outcome::Stands(state) | Outcome::Lived { state, .. } => *state = state.by(&clock),
                Outcome::Ended => {}
            }),
            Record::Lives(_, life) => {
                let state = life.state.by(&clock);
                life.to_mut().state = state;
            }
            Record::Closed | Record::Opened { .. } | Record::Published => {}
        }
        self
    }
}

/// Octets a record occupies: `length` rounded up.
pub(super) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// Appends head and meta of a record whose blobs follow, with the events that it
/// caused, for a segment of this number and salt; answers the octets that head, meta and blobs take together, without the filling.
pub(super) fn encode(
    (record, events): (&Record<'_>, &[Event]),
    (segment, salt): (u64, u32),
    out: &mut Vec<u8>,
) -> Result<usize, postcard::Error> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let table = table::write(record, out)?;
    let seals = Seals::of(record);
    if let Some(seals) = &seals {
        postcard::to_io(seals, &mut *out)?;
    }
    // With seals it is read whole: they stand behind its posts.
    let table = table.filter(|_| seals.is_none());
    if !events.is_empty() {
        postcard::to_io(events, &mut *out)?;
    }
    let fingerprint = match record {
        Record::Accepted(accepted) => accepted.fingerprint,
        _ => None,
    };
    out.extend(table.iter().flatten());
    out.extend(fingerprint.iter().flat_map(|fingerprint| fingerprint.0));
    let flags = if events.is_empty() { 0 } else { HAS_EVENTS }
        | if fingerprint.is_none() { 0 } else { HAS_FINGERPRINT }
        | if table.is_none() { 0 } else { HAS_TABLE };
    let (kind, blobs) = match record {
        Record::Accepted(accepted) => (1, accepted.blob_octets()),
        Record::Settled(_) => (2, 0),
        Record::Closed => (3, 0),
        Record::Opened { .. } => (4, 0),
        Record::Lives(..) => (5, 0),
        Record::Published => (6, 0),
    };
    let meta = out.len() - start - HEAD;
    let total = HEAD + meta + blobs;
    let too_long = |_| postcard::Error::SerializeBufferFull;
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC.to_le_bytes());
    let version = if seals.is_some() { SEALED } else { VERSION };
    head.extend_from_slice(&[kind, version, flags, 0]);
    head.extend_from_slice(&u32::try_from(meta).map_err(too_long)?.to_le_bytes());
    head.extend_from_slice(&u32::try_from(total).map_err(too_long)?.to_le_bytes());
    let body = out.get(start + HEAD..).unwrap_or_default();
    let checksum = checksum(segment, &head, body);
    head.extend_from_slice(&checksum.to_le_bytes());
    head.extend_from_slice(&salt.to_le_bytes());
    if let Some(place) = out.get_mut(start..start + HEAD) {
        place.copy_from_slice(&head);
    }
    Ok(total)
}

fn checksum(segment: u64, head: &[u8], meta: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&segment.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, head), meta)
}

/// The head of a record, read but not yet believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Octets of the meta.
    pub meta: usize,
    /// Octets of head, meta and blobs.
    pub total: usize,
    /// That of its segment, if it is a record.
    pub salt: u32,
    /// It caused events.
    pub has_events: bool,
    has_fingerprint: bool,
    has_table: bool,
    version: u8,
    checksum: u32,
}

/// What the octets of a record hold.
pub(super) enum Read {
    Whole(Record<'static>),
    /// A record of a format that is not known yet.
    Newer(u8),
}

impl Head {
    /// Reads a head at the start of `octets`; `None` when no record begins here.
    pub fn read(octets: &[u8]) -> Option<Head> {
        let word = |at: usize| Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?));
        let (meta, total) = (word(8)? as usize, word(12)? as usize);
        let version = *octets.get(5)?;
        let is_whole = word(0)? == MAGIC && version > 0 && HEAD + meta <= total;
        let has = |flag: u8| Some(version >= 4 && octets.get(6)? & flag != 0);
        let (has_events, has_fingerprint) = (has(HAS_EVENTS)?, has(HAS_FINGERPRINT)?);
        let (has_table, salt, checksum) = (has(HAS_TABLE)?, word(20)?, word(16)?);
        is_whole.then_some(Head {
            meta,
            total,
            salt,
            has_events,
            has_fingerprint,
            has_table,
            version,
            checksum,
        })
    }

    /// Whether a record could begin with these octets.
    pub fn begins(octets: &[u8]) -> bool {
        octets.starts_with(&MAGIC.to_le_bytes())
    }

    /// The meta behind the head at the start of `octets`, if its checksum is that of
    /// this segment.
    fn checked<'a>(&self, segment: u64, octets: &'a [u8]) -> Option<&'a [u8]> {
        let head = octets.get(..HEAD - 8)?;
        let meta = octets.get(HEAD..HEAD + self.meta)?;
        (checksum(segment, head, meta) == self.checksum).then_some(meta)
    }

    /// The message whose head and meta stand at the start of `octets`, if it says where
    /// its posts are.
    pub fn parts(&self, segment: u64, octets: &[u8]) -> Option<Parts> {
        if !self.has_table || self.version != VERSION {
            return None;
        }
        let behind = if self.has_fingerprint { Fingerprint::LENGTH } else { 0 };
        Parts::written(self.checked(segment, octets)?, behind)
    }

    /// The record whose head and meta stand at the start of `octets`, if its
    /// checksum is that of this segment.
    pub fn decode(&self, segment: u64, octets: &[u8]) -> Option<Read> {
        let meta = self.checked(segment, octets)?;
        match self.version {
            1 => v1::decode(meta).map(Read::Whole),
            2 => v2::decode(meta).map(Read::Whole),
            3 | 4 => v4::decode(meta).map(Read::Whole),
            VERSION | SEALED => {
                let (mut record, _) = self.split(meta)?;
                if let (Record::Accepted(accepted), true) = (&mut record, self.has_fingerprint) {
                    accepted.fingerprint = meta.last_chunk().copied().map(Fingerprint);
                }
                Some(Read::Whole(record))
            }
            newer => Some(Read::Newer(newer)),
        }
    }

    /// The record of this format, with its seals, and what stands behind them.
    fn split<'m>(&self, meta: &'m [u8]) -> Option<(Record<'static>, &'m [u8])> {
        let (mut record, mut rest) = postcard::take_from_bytes::<Record<'static>>(meta).ok()?;
        if self.version == SEALED {
            let (seals, behind) = postcard::take_from_bytes::<Seals>(rest).ok()?;
            seals.put(&mut record);
            rest = behind;
        }
        Some((record, rest))
    }
}

/// The events of a whole record, which stands at the start of `octets`.
pub(super) fn events_in(octets: &[u8]) -> Option<Vec<Event>> {
    let head = Head::read(octets).filter(|head| head.has_events)?;
    let meta = octets.get(HEAD..HEAD + head.meta)?;
    if head.version == 4 {
        return v4::events(meta);
    }
    let (_, events) = head.split(meta)?;
    postcard::from_bytes(events).ok()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
