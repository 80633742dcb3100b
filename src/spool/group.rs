//! One group of the log while it is put together: octets to be written, and
//! what is to happen when they are durable.

use super::catalog::{Noted, Place};
use super::feed::octets;
use super::job::{Moved, SettleAck};
use super::record::{Accepted, HEAD, Record, encode, padded};
use super::replay::share;
use super::shared::{NOTES, Shared, piece};
use super::{Committed, Earlier, SpoolError};
use crate::clock::{Clock, Jump};
use crate::event::Event;
use crate::post::{Admission, MessageId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::io::IoSlice;
use std::ops::Range;
use tokio::sync::oneshot;

/// Octets of heads that are kept from group to group.
const HEADS: usize = 1 << 20;

/// Answers a commit.
type CommitAck = oneshot::Sender<Result<Committed, SpoolError>>;

/// A piece of what is written.
enum Part {
    /// Octets of `Group::heads`.
    Head(Range<usize>),
    Blob(Bytes),
    /// Zeros up to where the next record may begin.
    Filling(usize),
}

/// What takes effect when the group is durable.
pub(super) enum Staged {
    Commit {
        admission: Admission,
        accepted_at: Timestamp,
        place: Place,
        ack: CommitAck,
    },
    Publish {
        events: Vec<Event>,
        at: (u64, u64),
        ack: SettleAck,
    },
    Move {
        moved: Moved,
        place: Place,
        ack: oneshot::Sender<()>,
    },
    /// A repeat: answered when what it repeats is durable.
    Repeat {
        answer: Committed,
        ack: CommitAck,
    },
}

/// See the module.
pub(super) struct Group {
    heads: Vec<u8>,
    parts: Vec<Part>,
    octets: u64,
    staged: Vec<Staged>,
    largest_meta: u64,
    /// That of the segments of this process.
    salt: u32,
    /// That of the spool.
    clock: Clock,
}

impl Group {
    /// An empty group for segments with this salt, of records whose times are by this clock.
    pub fn new(salt: u32, clock: Clock) -> Group {
        Group {
            heads: Vec::new(),
            parts: Vec::new(),
            octets: 0,
            staged: Vec::new(),
            largest_meta: 0,
            salt,
            clock,
        }
    }

    /// Octets to be written.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Messages and answers staged.
    pub fn len(&self) -> usize {
        self.staged.len()
    }

    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Octets of the longest head and meta so far, without events: a guess at the next
    /// one's.
    pub fn largest_meta(&self) -> u64 {
        self.largest_meta
    }

    /// Whether the group holds this message.
    pub fn holds(&self, message: MessageId) -> bool {
        self.staged.iter().any(|staged| staged.is_of(message))
    }

    /// The message in this group with this idempotency key.
    pub fn noted(&self, tenant: &Tenant, key: &str) -> Option<Earlier> {
        self.staged.iter().find_map(|staged| match staged {
            Staged::Commit { admission, .. } => {
                let is_same =
                    admission.tenant == *tenant && admission.idempotency_key.as_deref() == Some(key);
                is_same.then(|| earlier(admission))
            }
            _ => None,
        })
    }

    /// Stages an answer to be given with the group's.
    pub fn answer(&mut self, ack: CommitAck, answer: Committed) {
        self.staged.push(Staged::Repeat { answer, ack });
    }

    /// Stages a message at this segment and offset; gives the acknowledgement
    /// back when its record cannot be written.
    pub fn push_commit(
        &mut self,
        admission: Admission,
        accepted_at: Timestamp,
        (segment, offset): (u64, u64),
        ack: CommitAck,
    ) -> Result<(), CommitAck> {
        let record = Record::Accepted(Accepted::fresh(&admission, accepted_at));
        let Some(total) = self.push_head((&record, &admission.events), segment) else { return Err(ack) };
        self.push_blobs(&admission.blobs, total);
        let place = Place { segment, offset, share: share(total, admission.posts.len()) };
        self.staged.push(Staged::Commit { admission, accepted_at, place, ack });
        Ok(())
    }

    /// Stages a copy of a record; it is dropped when nothing in it lives.
    pub fn push_move(&mut self, moved: Moved, (segment, offset): (u64, u64), ack: oneshot::Sender<()>) {
        let record = Record::Accepted(moved.accepted);
        // What it caused was told where it stood first.
        let total = self.push_head((&record, &[]), segment);
        let Record::Accepted(accepted) = record else { return };
        if let Some(total) = total {
            self.push_blobs(&moved.blobs, total);
            let place = Place { segment, offset, share: share(total, accepted.shares()) };
            self.staged.push(Staged::Move { moved: Moved { accepted, ..moved }, place, ack });
        }
    }

    /// Stages events of their own at this segment and offset.
    pub fn push_events(&mut self, events: Vec<Event>, at: (u64, u64), ack: SettleAck) {
        if self.push_record(&Record::Published, &events, at.0) {
            self.staged.push(Staged::Publish { events, at, ack });
        } else {
            drop(ack.send(Err(SpoolError::Failed("events too large for the spool".to_owned()))));
        }
    }

    /// Takes the events out that the group makes durable, with where they stand.
    pub fn told(&mut self) -> Vec<((u64, u64), Vec<Event>)> {
        let told = self.staged.iter_mut().filter_map(|staged| match staged {
            Staged::Commit { admission, place, .. } => {
                Some(((place.segment, place.offset), std::mem::take(&mut admission.events)))
            }
            Staged::Publish { events, at, .. } => Some((*at, std::mem::take(events))),
            Staged::Move { .. } | Staged::Repeat { .. } => None,
        });
        told.collect()
    }

    /// Appends a record without blobs and the events that it caused; false when it cannot be written.
    pub fn push_record(&mut self, record: &Record<'_>, events: &[Event], segment: u64) -> bool {
        let total = self.push_head((record, events), segment);
        total.inspect(|total| self.push_blobs(&[], *total)).is_some()
    }

    /// Appends a record with its blobs; the octets that it takes, without the filling, or nothing when it cannot be written.
    pub fn push_whole(&mut self, record: &Record<'_>, blobs: &[Bytes], segment: u64) -> Option<usize> {
        let total = self.push_head((record, &[]), segment);
        total.inspect(|total| self.push_blobs(blobs, *total))
    }

    /// What to write.
    pub fn parts(&self) -> Vec<IoSlice<'_>> {
        static ZEROS: [u8; super::record::ALIGN] = [0; super::record::ALIGN];
        let octets = self.parts.iter().map(|part| match part {
            Part::Head(range) => self.heads.get(range.clone()).unwrap_or_default(),
            Part::Filling(length) => ZEROS.get(..*length).unwrap_or_default(),
            Part::Blob(blob) => blob,
        });
        octets.filter(|octets| !octets.is_empty()).map(IoSlice::new).collect()
    }

    /// The group is durable: posts become due, callers are answered.
    pub fn publish(&mut self, shared: &Shared) {
        let (mut index, jump) = (shared.index(), shared.clock.jump());
        for staged in &mut self.staged {
            match staged {
                Staged::Commit { admission, accepted_at, place, .. } => {
                    if let Some(key) = &admission.idempotency_key {
                        let expires_at = accepted_at.after(NOTES);
                        let noted = Noted { earlier: earlier(admission), expires_at, place: *place };
                        index.note(&admission.tenant, key, noted, 0);
                    }
                    let blobs = std::mem::take(&mut admission.blobs);
                    for post in std::mem::take(&mut admission.posts) {
                        let blob = blobs.get(usize::from(post.body.number));
                        let body = blob.and_then(|blob| piece(blob, post.body)).unwrap_or_default();
                        index.admit(post, body, *place, (*accepted_at, jump));
                    }
                }
                Staged::Move { moved, place, .. } => publish_move(&mut index, moved, *place),
                Staged::Publish { .. } | Staged::Repeat { .. } => {}
            }
        }
        let rung = index.rung();
        drop(index);
        shared.ring(rung);
        self.answer_all(Ok);
    }

    /// The group could not be written.
    pub fn refuse(&mut self, error: &SpoolError) {
        self.answer_all(|_| Err(error.clone()));
    }

    fn answer_all(&mut self, answer: impl Fn(Committed) -> Result<Committed, SpoolError>) {
        // Before the answers: whoever gets one lets the next large message in.
        self.heads.clear();
        // What large events took is not kept for ever.
        self.heads.shrink_to(HEADS);
        self.parts.clear();
        for staged in self.staged.drain(..) {
            // A caller that has gone does not undo a commit.
            match staged {
                Staged::Commit { ack, .. } => drop(ack.send(answer(Committed::Kept))),
                Staged::Repeat { ack, answer: repeated } => drop(ack.send(answer(repeated))),
                Staged::Publish { ack, .. } => drop(ack.send(answer(Committed::Kept).map(drop))),
                Staged::Move { ack, .. } => drop(answer(Committed::Kept).map(|_| ack.send(()))),
            }
        }
        self.octets = 0;
    }

    fn push_head(&mut self, (record, events): (&Record<'_>, &[Event]), segment: u64) -> Option<usize> {
        let (start, jump) = (self.heads.len(), self.clock.jump());
        let by_day = (jump != Jump::default()).then(|| record.clone().by(|at| jump.done(at)));
        let record = by_day.as_ref().unwrap_or(record);
        match encode((record, events), (segment, self.salt), &mut self.heads) {
            Ok(total) => {
                // Who asks knows of the events.
                let meta = (self.heads.len() - start).saturating_sub(octets(events));
                self.largest_meta = self.largest_meta.max(meta as u64);
                self.parts.push(Part::Head(start..self.heads.len()));
                Some(total)
            }
            Err(_) => {
                self.heads.truncate(start);
                None
            }
        }
    }

    fn push_blobs(&mut self, blobs: &[Bytes], total: usize) {
        self.parts.extend(blobs.iter().cloned().map(Part::Blob));
        self.parts.push(Part::Filling(padded(total) - total));
        self.octets += padded(total) as u64;
        debug_assert!(total >= HEAD, "a record is at least its head");
    }
}

fn earlier(admission: &Admission) -> Earlier {
    Earlier::of(admission.message, &admission.posts, admission.fingerprint)
}

fn publish_move(index: &mut super::index::Index, moved: &Moved, place: Place) {
    let lives = moved.accepted.lives.iter().zip(&moved.histories);
    let living = moved.accepted.posts.iter().zip(lives).filter(|(_, (life, _))| life.is_some());
    for (post, (_, history)) in living {
        index.relocate(post.id, place, *history);
    }
    index.remember(&moved.accepted, place);
}
