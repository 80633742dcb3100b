//! What stands in a segment of the log: the octets of one record.
//!
//! ```text
//! head    magic u32 | kind u8, version u8, 0 u16 | meta length u32 | total length u32
//!         | checksum u32 | salt u32                               (24 octets, little endian)
//! meta    postcard encoding of the kind's struct
//! blobs   the message and the bodies, back to back
//! filling zeros up to a multiple of 8, so that a scan knows where records can begin
//! ```
//!
//! The checksum is CRC32C over the segment's number, the head and the meta: a
//! record of the segment file's former life is not valid in this one. The salt is
//! that of the spool, made with its first segment, and nobody outside knows it: octets of a message that look
//! like records are told apart without a look at what they claim to hold. Each blob
//! has its own checksum in the meta, so a body is checked without reading its
//! neighbours. A record is valid whole or not at all; nothing is repaired.

use super::Settlement;
use crate::post::{Admission, MessageId, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Octets before the meta.
pub(super) const HEAD: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// Begins every record.
const MAGIC: u32 = 0x7067_7231;
/// Format of the metas; a newer one is refused by name, not guessed at.
const VERSION: u8 = 1;
/// A reason is cut to this many octets before it is kept.
const REASON: usize = 256;

/// One record without its blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// All posts of a message, or those of it that were alive when it was moved.
    Accepted(Accepted<'a>),
    /// How attempts ended.
    Settled(Vec<(PostId, Outcome)>),
    /// The spool was closed in order: nothing was under way.
    Closed,
    /// A process goes on in the segment of an earlier one; what follows was
    /// written in this epoch.
    Opened { epoch: u32 },
}

/// The posts of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted<'a> {
    pub message: MessageId,
    pub accepted_at: Timestamp,
    pub tenant: Tenant,
    pub idempotency_key: Option<String>,
    pub blobs: Vec<BlobHead>,
    pub posts: Cow<'a, [Post]>,
    /// Empty for a fresh message; else one for each post, `None` for an ended one.
    pub states: Vec<Option<State>>,
}

/// Length and CRC32C of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobHead {
    pub length: u32,
    pub checksum: u32,
}

/// Where a living post stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Attempts that were settled.
    pub ended: u32,
    /// Attempts that may have been made, at least `ended`.
    pub tried: u32,
    /// The unclean start it was last written in: each one since may have been
    /// the end of an attempt nobody could settle.
    pub epoch: u32,
    /// Waiting to be sent, or kept as a dead letter.
    pub phase: Phase,
    /// When to send it, or when to forget it.
    pub due_at: Timestamp,
}

impl State {
    /// The state of a post that was just accepted.
    pub fn fresh(due_at: Timestamp, epoch: u32) -> State {
        State { ended: 0, tried: 0, epoch, phase: Phase::Waiting, due_at }
    }
}

/// Whether a living post is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    Waiting,
    DeadLetter,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The post is over.
    Ended,
    /// It lives on in this state, for this reason.
    Lives { state: State, reason: String },
}

impl Outcome {
    /// What to write of a settlement at `now`; `tried` counts its attempt.
    pub fn of(
        settlement: &Settlement,
        tried: u32,
        ended: u32,
        epoch: u32,
        now: Timestamp,
        retain: Duration,
    ) -> Outcome {
        let lives = |phase, due_at, reason: &str| {
            let cut = reason.char_indices().take_while(|(at, char)| at + char.len_utf8() <= REASON);
            let state = State { ended: ended + 1, tried, epoch, phase, due_at };
            Outcome::Lives { state, reason: cut.map(|(_, char)| char).collect() }
        };
        match settlement {
            Settlement::Delivered => Outcome::Ended,
            Settlement::Again { after, last } => lives(Phase::Waiting, now.after(*after), &last.reason),
            Settlement::Failed { last } | Settlement::Held { last } => {
                lives(Phase::DeadLetter, now.after(retain), &last.reason)
            }
            Settlement::Back => lives(Phase::Waiting, now, ""),
        }
    }
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
            blobs: admission.blobs.iter().map(head).collect(),
            posts: Cow::Borrowed(&admission.posts),
            states: Vec::new(),
        }
    }

    /// Octets of all blobs together.
    pub fn blob_octets(&self) -> usize {
        self.blobs.iter().map(|blob| blob.length as usize).sum()
    }

    /// The state of post number `at` of this record, had it been read at its start.
    pub fn state(&self, at: usize, epoch: u32) -> Option<State> {
        let post = self.posts.get(at)?;
        match self.states.get(at) {
            Some(state) => *state,
            None => Some(State::fresh(post.not_before_at.unwrap_or(post.accepted_at), epoch)),
        }
    }
}

/// Octets a record occupies: `length` rounded up.
pub(super) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// Appends head and meta of a record whose blobs follow, for a segment of this
/// number and salt; answers the octets that head, meta and blobs take together, without the filling.
pub(super) fn encode(
    record: &Record<'_>,
    (segment, salt): (u64, u32),
    out: &mut Vec<u8>,
) -> Result<usize, postcard::Error> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    postcard::to_io(record, &mut *out)?;
    let (kind, blobs) = match record {
        Record::Accepted(accepted) => (1, accepted.blob_octets()),
        Record::Settled(_) => (2, 0),
        Record::Closed => (3, 0),
        Record::Opened { .. } => (4, 0),
    };
    let meta = out.len() - start - HEAD;
    let total = HEAD + meta + blobs;
    let too_long = |_| postcard::Error::SerializeBufferFull;
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC.to_le_bytes());
    head.extend_from_slice(&[kind, VERSION, 0, 0]);
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
    checksum: u32,
}

impl Head {
    /// Reads a head at the start of `octets`; `None` when no record begins here.
    pub fn read(octets: &[u8]) -> Option<Head> {
        let word = |at: usize| Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?));
        let (meta, total) = (word(8)? as usize, word(12)? as usize);
        let is_whole = word(0)? == MAGIC && octets.get(5) == Some(&VERSION) && HEAD + meta <= total;
        is_whole.then_some(Head { meta, total, salt: word(20)?, checksum: word(16)? })
    }

    /// Whether a record could begin with these octets.
    pub fn begins(octets: &[u8]) -> bool {
        octets.starts_with(&MAGIC.to_le_bytes())
    }

    /// The record whose head and meta stand at the start of `octets`, if its
    /// checksum is that of this segment.
    pub fn decode(&self, segment: u64, octets: &[u8]) -> Option<Record<'static>> {
        let head = octets.get(..HEAD - 8)?;
        let meta = octets.get(HEAD..HEAD + self.meta)?;
        if checksum(segment, head, meta) != self.checksum {
            return None;
        }
        postcard::from_bytes(meta).ok()
    }
}

/// A post of an accepted record on its own.
pub(super) fn post_of(accepted: &Accepted<'_>, id: PostId) -> Option<Arc<Post>> {
    accepted.posts.iter().find(|post| post.id == id).map(|post| Arc::new(post.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Attempt;

    fn settled() -> Record<'static> {
        let id = PostId { message: MessageId(7), number: 1 };
        let state = State { ended: 1, tried: 2, epoch: 3, phase: Phase::Waiting, due_at: Timestamp(9) };
        Record::Settled(vec![(id, Outcome::Lives { state, reason: "503".to_owned() }), (id, Outcome::Ended)])
    }

    #[test]
    fn a_record_is_read_back_only_whole_and_in_its_own_segment() {
        let mut octets = Vec::new();
        let total = encode(&settled(), (5, 0x5a17), &mut octets).unwrap();
        assert_eq!(total, octets.len());
        let head = Head::read(&octets).unwrap();
        assert_eq!((head.total, head.salt), (total, 0x5a17));
        assert_eq!(head.decode(5, &octets), Some(settled()));
        assert_eq!(head.decode(6, &octets), None, "a former life");
        for at in 0..octets.len() {
            if (20..24).contains(&at) {
                continue;
            }
            let mut broken = octets.clone();
            broken[at] ^= 1;
            let read = Head::read(&broken).and_then(|head| head.decode(5, &broken));
            assert_eq!(read, None, "octet {at} flipped");
        }
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let reason = "é".repeat(REASON);
        let again = Settlement::Again { after: Duration::ZERO, last: Attempt::because(reason) };
        let Outcome::Lives { reason, .. } = Outcome::of(&again, 1, 0, 0, Timestamp(0), Duration::ZERO) else {
            panic!("ended")
        };
        assert_eq!(reason.len(), REASON);
    }
}
