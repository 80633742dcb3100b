//! What stands in the rows of the catalog on disk. All integers are big endian, so that
//! keys sort:
//!
//! ```text
//! posts   lane turn due message number            → the rest of an Entry
//! ids     message number                          → lane turn due, state
//! orders  x due message number                    one that is over
//!         h since message number                  a held post
//!         o lane key message number               one of its line
//! notes   hash of tenant and idempotency key      → Noted
//! ```
//!
//! A turn is the priority of a post that can be sent when it is due; others have one that
//! is none.

use super::run::{Ends, Layout, NEVER};
use super::{Entry, Line, Noted, Place, Spot, Turn};
use crate::post::{Fingerprint, MessageId, PostId, Timestamp};
use crate::spool::state::{Phase, State};
use crate::spool::{Earlier, PostState};

/// The first turn that is no priority.
pub(super) const NO_PRIORITY: u8 = 0xf0;
/// Octets of the key of a post.
const POST: usize = 23;
/// Octets of an id.
const ID: usize = 10;
/// Octets of a row of orders.
const ORDER: usize = 23;

/// Posts by lane, in the order in which they are sent.
pub(super) const POSTS: Layout = Layout { key: POST, row: POST + 55, ends: ends_of_post };
/// Where each of them stands there.
pub(super) const IDS: Layout = Layout { key: ID, row: ID + 14, ends: |_| NEVER };
/// Other orders of posts.
pub(super) const ORDERS: Layout = Layout { key: ORDER, row: ORDER, ends: |_| NEVER };
/// Idempotency keys.
pub(super) const NOTES: Layout = Layout { key: 16, row: 16 + 55, ends: ends_of_note };

/// Octets that are read from the front.
struct Octets<'a>(&'a [u8]);

impl Octets<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take::<1>().map(|[octet]| octet)
    }

    fn short(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn spot(&mut self) -> Option<Spot> {
        Some(Spot([self.short()?, self.short()?]))
    }

    fn id(&mut self) -> Option<PostId> {
        let message = MessageId(self.long()?);
        Some(PostId { message, number: self.take().map(u16::from_be_bytes)? })
    }
}

/// The key of this id; keys that begin so are those before and behind it.
pub(super) fn id_key(id: PostId) -> [u8; ID] {
    let mut key = [0; ID];
    let (message, number) = key.split_at_mut(8);
    message.copy_from_slice(&id.message.0.to_be_bytes());
    number.copy_from_slice(&id.number.to_be_bytes());
    key
}

/// The beginning of the keys of posts of a lane with this turn that are due then.
pub(super) fn due_key(lane: u32, turn: u8, at: Timestamp) -> Vec<u8> {
    let mut key = Vec::with_capacity(POSTS.row);
    key.extend_from_slice(&lane.to_be_bytes());
    key.push(turn);
    key.extend_from_slice(&at.0.to_be_bytes());
    key
}

fn turn_of(id: PostId, entry: &Entry) -> u8 {
    match entry.turn(id) {
        Turn::Due(..) => entry.priority.min(NO_PRIORITY - 1),
        Turn::Blocked => NO_PRIORITY,
        Turn::Letter(..) => NO_PRIORITY + 1,
        Turn::Held(..) => NO_PRIORITY + 2,
    }
}

/// The turns that posts in a state may have: the first one, and the one behind them.
pub(super) fn turns_of(state: PostState) -> (u8, u8) {
    match state {
        PostState::Queued | PostState::Deferred | PostState::Sending => (0, NO_PRIORITY + 1),
        PostState::Failed | PostState::Delivered => (NO_PRIORITY + 1, NO_PRIORITY + 2),
        PostState::Held => (NO_PRIORITY + 2, NO_PRIORITY + 3),
    }
}

/// The key of a post.
pub(super) fn post_key(id: PostId, entry: &Entry) -> Vec<u8> {
    let mut key = due_key(entry.lane, turn_of(id, entry), entry.state.due_at);
    key.extend_from_slice(&id_key(id));
    key
}

/// The row of a post.
pub(super) fn post_row(id: PostId, entry: &Entry) -> Box<[u8]> {
    let (mut row, state) = (post_key(id, entry), &entry.state);
    let Spot([segment, offset]) = Spot::at(entry.place.segment, entry.place.offset);
    let Spot([its, own]) = entry.history;
    row.extend_from_slice(&entry.expires_at.map_or(u64::MAX, |at| at.0).to_be_bytes());
    row.extend_from_slice(&state.ages_from.0.to_be_bytes());
    row.extend_from_slice(&entry.key.to_be_bytes());
    for word in [segment, offset, entry.place.share, its, own, state.ended, state.tried] {
        row.extend_from_slice(&word.to_be_bytes());
    }
    let marks = [entry.is_blocked, state.is_anew, state.is_rerouted, state.is_lean];
    let marks = marks.iter().fold(0, |marks, mark| marks << 1 | u8::from(*mark));
    row.extend_from_slice(&[entry.priority, state.phase as u8, marks]);
    row.into()
}

/// The post of a row.
pub(super) fn post_in(row: &[u8]) -> Option<(PostId, Entry)> {
    let mut octets = Octets(row);
    let (lane, _, due_at) = (octets.short()?, octets.octet()?, Timestamp(octets.long()?));
    let (id, expires_at) = (octets.id()?, octets.long()?);
    let (ages_from, key, place) = (Timestamp(octets.long()?), octets.long()?, octets.spot()?);
    let (share, history) = (octets.short()?, octets.spot()?);
    let (ended, tried, priority) = (octets.short()?, octets.short()?, octets.octet()?);
    let phases = [Phase::Waiting, Phase::DeadLetter, Phase::Held, Phase::Shelved];
    let phase = *phases.get(usize::from(octets.octet()?))?;
    let marks = octets.octet()?;
    let [is_blocked, is_anew, is_rerouted, is_lean] = [8, 4, 2, 1].map(|mark| marks & mark != 0);
    let (segment, offset) = place.place().unwrap_or_default();
    let state = State { ended, tried, phase, is_anew, is_rerouted, is_lean, due_at, ages_from };
    let expires_at = (expires_at != u64::MAX).then_some(Timestamp(expires_at));
    let place = Place { segment, offset, share };
    Some((id, Entry { place, history, key, lane, priority, expires_at, is_blocked, state }))
}

/// When the time of a waiting post is over: its age begins, and its own end.
fn ends_of_post(row: &[u8]) -> Ends {
    let is_due = row.get(4).is_some_and(|turn| *turn < NO_PRIORITY);
    let ends = |row: &[u8]| {
        let mut octets = Octets(row.get(POST..)?);
        let (own, age) = (octets.long()?, octets.long()?);
        let is_anew = row.last()? & 4 != 0;
        // One that began anew has forgotten an end that was over.
        Some([age, if is_anew && own <= age { u64::MAX } else { own }])
    };
    if is_due { ends(row).unwrap_or(NEVER) } else { NEVER }
}

/// The row that says where a post stands.
pub(super) fn id_row(id: PostId, entry: &Entry) -> Box<[u8]> {
    let key = due_key(entry.lane, turn_of(id, entry), entry.state.due_at);
    [&id_key(id)[..], &key, &[entry.state.seen() as u8]].concat().into()
}

/// What a row says of where a post stands.
pub(super) struct Standing {
    pub id: PostId,
    pub lane: u32,
    /// Its state as others see it.
    pub seen: u8,
    /// Its key among the posts.
    pub key: Vec<u8>,
}

/// What such a row says.
pub(super) fn standing_in(row: &[u8]) -> Option<Standing> {
    let (id, rest) = row.split_at_checked(ID)?;
    let (place, seen) = rest.split_at_checked(POST - ID)?;
    let (lane, seen) = (Octets(place).short()?, *seen.first()?);
    Some(Standing { id: Octets(id).id()?, lane, seen, key: [place, id].concat() })
}

/// The beginning of the rows of those that are over, or held, by when or since when.
pub(super) fn timed_key(order: u8, at: Timestamp) -> Vec<u8> {
    [&[order][..], &at.0.to_be_bytes()].concat()
}

/// The row of one of them.
pub(super) fn timed_row(order: u8, at: Timestamp, id: PostId) -> Box<[u8]> {
    let mut row = timed_key(order, at);
    row.extend_from_slice(&id_key(id));
    row.resize(ORDER, 0);
    row.into()
}

/// Whose row it is.
pub(super) fn timed_in(row: &[u8]) -> Option<PostId> {
    Octets(row.get(9..)?).id()
}

/// The row of a post in its line.
pub(super) fn line_row((lane, key): Line, id: PostId) -> Box<[u8]> {
    [b"o", &lane.to_be_bytes()[..], &key.to_be_bytes(), &id_key(id)].concat().into()
}

/// Which line a row is of, and which post.
pub(super) fn line_in(row: &[u8]) -> Option<(Line, PostId)> {
    let mut octets = Octets(row.get(1..)?);
    Some(((octets.short()?, octets.long()?), octets.id()?))
}

/// The row of what is noted under this key.
pub(super) fn note_row(key: [u8; 16], Noted { earlier, expires_at, place }: &Noted) -> Box<[u8]> {
    let mut row = key.to_vec();
    row.extend_from_slice(&expires_at.0.to_be_bytes());
    row.extend_from_slice(&earlier.message.0.to_be_bytes());
    row.extend_from_slice(&earlier.posts.to_be_bytes());
    row.push(u8::from(earlier.fingerprint.is_some()));
    row.extend_from_slice(&earlier.fingerprint.map_or([0; Fingerprint::LENGTH], |fingerprint| fingerprint.0));
    row.extend_from_slice(&place.segment.to_be_bytes());
    row.extend_from_slice(&place.offset.to_be_bytes());
    row.extend_from_slice(&place.share.to_be_bytes());
    row.into()
}

/// What is noted in a row.
pub(super) fn note_in(row: &[u8]) -> Option<Noted> {
    let mut octets = Octets(row.get(16..)?);
    let (expires_at, message) = (Timestamp(octets.long()?), MessageId(octets.long()?));
    let (posts, is_known) = (octets.take().map(u16::from_be_bytes)?, octets.octet()? != 0);
    let fingerprint = Some(Fingerprint(octets.take()?)).filter(|_| is_known);
    let place = Place { segment: octets.long()?, offset: octets.long()?, share: octets.short()? };
    Some(Noted { earlier: Earlier { message, posts, fingerprint }, expires_at, place })
}

fn ends_of_note(row: &[u8]) -> Ends {
    let end = row.get(16..).and_then(|rest| Octets(rest).long());
    [end.unwrap_or(u64::MAX), u64::MAX]
}
