//! What the catalog knows of a post, and the orders in which it is asked for.

use crate::post::{MessageId, PostId, Timestamp};
use crate::spool::record::ALIGN;
use crate::spool::state::{Phase, State};
use serde::{Deserialize, Serialize};

/// Where the record of a post is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::spool) struct Place {
    /// Segment number.
    pub segment: u64,
    /// Octet of the segment at which the record begins.
    pub offset: u64,
    /// Octets of the record that are this post's share: what it keeps alive.
    pub share: u32,
}

/// Where a post's chronicle stands, in few octets, because every waiting post has
/// one in memory. Segments are given up from the oldest on, so what
/// stands behind a post's own record outlives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::spool) struct Spot(pub(super) [u32; 2]);

impl Spot {
    /// The record at this octet of a segment.
    pub fn at(segment: u64, offset: u64) -> Spot {
        let short = |number: u64| u32::try_from(number).unwrap_or_default();
        Spot([short(segment), short(offset / ALIGN as u64)])
    }

    /// Segment and offset, unless nothing has happened yet.
    pub fn place(self) -> Option<(u64, u64)> {
        let Spot([segment, offset]) = self;
        (segment > 0).then(|| (u64::from(segment), u64::from(offset) * ALIGN as u64))
    }
}

/// What is known of a living post without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::spool) struct Entry {
    pub place: Place,
    pub history: Spot,
    /// Hash of its ordering key; 0 without one.
    pub key: u64,
    pub lane: u32,
    pub priority: u8,
    /// The end that its message gave it.
    pub expires_at: Option<Timestamp>,
    /// An older post with its key comes first.
    pub is_blocked: bool,
    pub state: State,
}

/// What may end the time of a waiting post: two orders of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) enum End {
    /// Its age: the order is that of when that began.
    Age,
    /// What its message says.
    Own,
}

/// Where a post stands within one order of the catalog.
pub(in crate::spool) enum Turn {
    /// Among those to be sent.
    Due(u32, Rank),
    /// Nowhere: it comes when an older one has ended.
    Blocked,
    /// Among the dead letters and the delivered, by when they are forgotten.
    Letter(Timestamp, PostId),
    /// Among the held, by since when they are.
    Held(Timestamp, PostId),
}

/// The smallest id, for ranges.
pub(in crate::spool) const LEAST: PostId = PostId { message: MessageId(0), number: 0 };
/// The greatest id, for ranges.
pub(in crate::spool) const GREATEST: PostId = PostId { message: MessageId(u64::MAX), number: u16::MAX };

/// Posts of a lane with the same ordering key: the lane and the hash of the key.
pub(in crate::spool) type Line = (u32, u64);

/// The order of posts within a lane: priority, due time, id.
pub(in crate::spool) type Rank = (u8, Timestamp, PostId);

impl Entry {
    pub fn rank(&self, id: PostId) -> Rank {
        (self.priority, self.state.due_at, id)
    }

    /// Where it stands in the order of those that end so, if it does.
    pub fn end(&self, end: End) -> Option<Timestamp> {
        match end {
            End::Age => Some(self.state.ages_from),
            // One that began anew has forgotten an end that was over.
            End::Own => self.expires_at.filter(|end| !self.state.is_anew || *end > self.state.ages_from),
        }
    }

    /// Its places in those orders, each with the number of the order.
    pub fn ends(&self, id: PostId) -> impl Iterator<Item = Rank> + use<> {
        let ends = [End::Age, End::Own].map(|end| self.end(end).map(|at| (end as u8, at, id)));
        ends.into_iter().flatten()
    }

    pub fn turn(&self, id: PostId) -> Turn {
        match self.state.phase {
            Phase::Waiting if self.is_blocked => Turn::Blocked,
            Phase::Waiting => Turn::Due(self.lane, self.rank(id)),
            Phase::DeadLetter | Phase::Shelved => Turn::Letter(self.state.due_at, id),
            Phase::Held => Turn::Held(self.state.due_at, id),
        }
    }
}
