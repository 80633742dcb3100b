//! The log's writer: one thread that makes groups of records durable.
//!
//! It takes all that waits, writes it with one `pwritev`, calls `fdatasync`
//! once and answers all. Only it appends, and only it changes the index from
//! what became durable, so the order of the log is the order of events.
//! News of delivered posts rides with the next group, at the latest after
//! [`RIDE`]: losing it means a repeat under the same id, never a loss. That of posts
//! in an order does not wait.

use super::appender::Appender;
use super::feed::octets;
use super::filling::Filling;
use super::group::{Group, Staged};
use super::job::{CloseAck, Job, Moved, News, SettleAck};
use super::outcomes::room_of;
use super::record::Record;
use super::shared::Shared;
use super::{Committed, Health, SpoolError};
use crate::event::Event;
use crate::post::{Admission, MessageId, Post, PostId};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest time that news of a delivered post waits for a group to ride with.
const RIDE: Duration = Duration::from_millis(5);
/// Pause before outcomes that could not be written are tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Jobs of one group.
const GROUP_JOBS: usize = 1024;
/// Octets after which a group is written before more is taken.
const GROUP_OCTETS: u64 = 8 << 20;

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    jobs: Receiver<Job>,
    pub(super) tail: Appender,
    pub(super) newest: MessageId,
    /// News to be written with the next group, and whose they are.
    pub(super) settled: Vec<(PostId, News)>,
    /// Whose news are among them: the first verdict on an attempt stands.
    pub(super) unwritten: HashSet<PostId>,
    pub(super) acks: Vec<SettleAck>,
    /// What is told with the news, beside what they tell themselves.
    pub(super) told: Vec<Event>,
    rides_until: Option<Instant>,
    pub(super) group: Group,
    filling: Filling,
    closing: Option<CloseAck>,
    /// Nobody is left to ask for anything.
    is_abandoned: bool,
}

impl Writer {
    /// A writer that goes on at the end of the log.
    pub fn new(shared: Arc<Shared>, jobs: Receiver<Job>, tail: Appender, newest: MessageId) -> Writer {
        Writer {
            filling: Filling::new(shared.options.flush_interval),
            group: Group::new(shared.salt, shared.clock),
            tail,
            shared,
            jobs,
            newest,
            settled: Vec::new(),
            unwritten: HashSet::new(),
            acks: Vec::new(),
            told: Vec::new(),
            rides_until: None,
            closing: None,
            is_abandoned: false,
        }
    }

    /// Works until the spool is closed or dropped.
    pub fn run(mut self) {
        while self.collect() {
            self.finish_group();
            // The first reading of the log must not meet a second one.
            if self.shared.index().broken && *self.shared.recovered.borrow() {
                self.rebuild();
            }
            if let Some(ack) = self.closing.take() {
                let closed = self.write_closed();
                // Whoever closed may have stopped waiting.
                let _ = ack.send(closed);
                return;
            }
        }
    }

    /// Waits for something to write and stages all that waits; false when
    /// nobody can ask any more and nothing is left.
    fn collect(&mut self) -> bool {
        let first = match self.rides_until {
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        let mut next = match first {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => {
                self.rides_until = None;
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
                // One last group takes along what rides.
                let is_over = std::mem::replace(&mut self.is_abandoned, true);
                if is_over || self.rides_until.take().is_none() {
                    return false;
                }
                None
            }
        };
        let started = Instant::now();
        let mut before = None;
        for _ in 0..GROUP_JOBS {
            let Some(job) = next else { break };
            self.stage(job);
            if self.group.octets() >= GROUP_OCTETS || self.closing.is_some() {
                break;
            }
            next = self.jobs.try_recv().ok();
            if next.is_none()
                && let Some(wait) = self.filling.wait(self.group.len(), started.elapsed())
            {
                before = before.or(Some(self.group.len()));
                next = self.jobs.recv_timeout(wait).ok();
            }
        }
        self.filling.conclude(before, self.group.len());
        true
    }

    fn stage(&mut self, job: Job) {
        match job {
            Job::Commit { admission, ack } => self.stage_commit(admission, ack),
            Job::Settle { done, events, ack } => self.stage_settlements(done, events, ack),
            Job::Publish { events, ack } => self.stage_events(events, ack),
            Job::Ride => self.rides_until = self.rides_until.or_else(|| Some(Instant::now() + RIDE)),
            Job::Move { moved, ack } => self.stage_move(moved, ack),
            // Nobody may wait for it any more.
            Job::Adopt { cargos, ack } => drop(ack.send(self.adopt(cargos))),
            Job::Spare { length } => self.tail.take_spare(length),
            Job::Forget(ids, told) => self.stage_forgotten(ids, told),
            Job::Order { ids, order, told, ack } => {
                let done = self.carry_out(&ids, &order, told);
                // Whoever ordered it may have stopped waiting.
                let _ = ack.send(done);
            }
            Job::Close { ack } => self.closing = Some(ack),
        }
    }

    fn stage_commit(&mut self, admission: Admission, ack: oneshot::Sender<Result<Committed, SpoolError>>) {
        if let Some(earlier) = self.earlier(&admission) {
            self.group.answer(ack, earlier);
            return;
        }
        if admission.idempotency_key.is_some() && self.shared.index().broken {
            let _ = ack.send(Err(SpoolError::Failed("the catalog is being filled".to_owned())));
            return;
        }
        let octets = admission.blobs.iter().map(Bytes::len).sum::<usize>() + octets(&admission.events);
        let Some(segment) = self.room_for(octets as u64, admission.posts.len()) else {
            // Nobody waits for the answer of a session that has gone.
            let _ = ack.send(Err(self.trouble()));
            return;
        };
        self.newest = self.newest.max(admission.message);
        let accepted_at = self.shared.clock.now();
        match self.group.push_commit(admission, accepted_at, segment, ack) {
            Ok(()) => {}
            Err(ack) => {
                drop(ack.send(Err(SpoolError::Failed("a message too large for the spool".to_owned()))))
            }
        }
    }

    fn stage_events(&mut self, events: Vec<Event>, ack: SettleAck) {
        match self.room_for(octets(&events) as u64, 0) {
            Some(at) => self.group.push_events(events, at, ack),
            // Nobody waits for the answer of a request that has gone.
            None => drop(ack.send(Err(self.trouble()))),
        }
    }

    /// What a repeated commit is answered: the id was seen, or the key was.
    fn earlier(&self, admission: &Admission) -> Option<Committed> {
        let is_kept = |post: &Post| self.shared.index().find(post.id).is_some();
        if admission.message <= self.newest
            && (self.group.holds(admission.message) || admission.posts.first().is_some_and(is_kept))
        {
            return Some(Committed::Kept);
        }
        let key = admission.idempotency_key.as_deref()?;
        if let Some(earlier) = self.group.noted(&admission.tenant, key) {
            return Some(Committed::Repeated(earlier));
        }
        let noted = self.shared.index().noted(&admission.tenant, key, self.shared.clock.now());
        noted.map(|noted| Committed::Repeated(noted.earlier))
    }

    fn stage_move(&mut self, mut moved: Moved, ack: oneshot::Sender<()>) {
        let place = (moved.from.segment, moved.from.offset);
        let ids: Vec<PostId> = moved.accepted.posts.iter().map(|post| post.id).collect();
        // Who cannot be read now is moved later.
        let Ok((lives, _)) = self.lives(&ids, place) else { return };
        let chronicles: u64 = lives.iter().flatten().map(|life| life.chronicle.octets()).sum();
        let octets = moved.blobs.iter().map(Bytes::len).sum::<usize>() as u64 + chronicles;
        let Some(segment) = self.room_for(octets, ids.len()) else { return };
        // Once more: making room can change them.
        let Ok((lives, histories)) = self.lives(&ids, place) else { return };
        (moved.accepted.lives, moved.histories) = (lives, histories);
        if moved.accepted.is_note() {
            if moved.accepted.idempotency_key.is_none() {
                // It ended meanwhile.
                let _ = ack.send(());
                return;
            }
            // For a day nobody reads more than the key.
            moved.accepted.blobs.clear();
            moved.blobs.clear();
        }
        self.group.push_move(moved, segment, ack);
    }

    /// The active segment and the offset at which the next record would begin;
    /// makes room for one of about this size first.
    fn room_for(&mut self, blobs: u64, posts: usize) -> Option<(u64, u64)> {
        // Head and metas are small but not fixed: a generous guess rotates early.
        let needed = blobs + 4096 + self.group.largest_meta() * 2 + posts as u64 * 8192;
        if !self.tail.has_room(self.group.octets() + needed) {
            self.finish_group();
        }
        if !self.tail.has_room(self.group.octets() + needed) {
            let rotated = self.tail.rotate(needed, self.newest);
            rotated.inspect_err(|error| self.announce(error)).ok()?;
        }
        let (segment, end) = self.tail.place()?;
        Some((segment, end + self.group.octets()))
    }

    /// Writes, syncs and publishes what is staged, and the outcomes that ride.
    pub(super) fn finish_group(&mut self) {
        let is_due = self.rides_until.is_none() || !self.acks.is_empty() || self.closing.is_some();
        if self.group.is_empty() && !is_due {
            return;
        }
        self.rides_until = None;
        let riding = std::mem::take(&mut *self.shared.riding.lock().unwrap_or_else(PoisonError::into_inner));
        self.settled.extend(riding.ids.into_iter().map(|id| (id, News::Ended)));
        self.told.extend(riding.events);
        let room = room_of(&self.settled, &self.told);
        if !self.group.is_empty() && !self.tail.has_room(self.group.octets() + room) {
            let written = self.append(&mut [], &mut Vec::new()).map(|_| ());
            self.conclude_group(written);
        }
        if self.group.is_empty() && self.settled.is_empty() {
            self.answer_settled(Ok(()));
            return;
        }
        let (mut settled, mut told) = (std::mem::take(&mut self.settled), std::mem::take(&mut self.told));
        // A group that is staged here has its place and room already.
        let roomy = self.tail.make_room(room, self.newest);
        let written = roomy.and_then(|()| self.append(&mut settled, &mut told));
        let answer = written.as_ref().map(|_| ()).map_err(Clone::clone);
        let is_left = if written.is_ok() { 0 } else { room };
        self.shared.unwritten.store(is_left, Ordering::Relaxed);
        match written {
            Ok(spots) => {
                self.unwritten.clear();
                self.publish(settled, spots, None);
            }
            Err(_) => {
                self.unwritten = settled.iter().map(|(id, _)| *id).collect();
                // The verdicts stand; they are written with the next group.
                (self.settled, self.told) = (settled, told);
                self.rides_until = Some(Instant::now() + PAUSE);
            }
        }
        self.conclude_group(answer.clone());
        self.answer_settled(answer);
    }

    pub(super) fn conclude_group(&mut self, written: Result<(), SpoolError>) {
        match written {
            Ok(()) => self.group.publish(&self.shared),
            Err(error) => {
                self.announce(&error);
                self.group.refuse(&error);
            }
        }
    }

    fn answer_settled(&mut self, answer: Result<(), SpoolError>) {
        for ack in self.acks.drain(..) {
            // The dispatcher need not wait.
            let _ = ack.send(answer.clone());
        }
    }

    /// Fills the catalog again after its engine failed.
    fn rebuild(&mut self) {
        tracing::warn!("filling the catalog from the log");
        {
            let mut index = self.shared.index();
            let riding = self.shared.riding.lock().unwrap_or_else(PoisonError::into_inner);
            let unwritten = self.settled.iter().filter(|(_, news)| matches!(news, News::Ended));
            index.begin_anew(riding.ids.iter().chain(unwritten.map(|(id, _)| id)).copied().collect());
        }
        let extents = super::keeper::extents(&self.shared.segments(), self.tail.end());
        super::replay::replay(&self.shared, &extents);
        self.shared.index().end_anew();
        self.shared.complete_lines();
    }

    fn write_closed(&mut self) -> Result<(), SpoolError> {
        if !self.settled.is_empty() {
            self.rides_until = None;
            self.finish_group();
        }
        if !self.settled.is_empty() {
            return Err(self.trouble());
        }
        if let Some((segment, _)) = self.tail.place() {
            self.group.push_record(&Record::Closed, &[], segment);
        }
        self.tail.append(&mut self.group.parts(), self.newest)
    }

    fn announce(&self, error: &SpoolError) {
        self.shared.be(match error {
            SpoolError::Full => Health::Full,
            error => Health::Failed(error.to_string()),
        });
    }

    pub(super) fn trouble(&self) -> SpoolError {
        let refusal = self.shared.health.borrow().refusal();
        refusal.unwrap_or_else(|| SpoolError::Failed("no segment to write to".to_owned()))
    }
}

/// The file name of a segment.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// The number in a segment's file name.
pub(super) fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Staged {
    /// Whether it is the commit of this message.
    pub fn is_of(&self, message: MessageId) -> bool {
        matches!(self, Staged::Commit { admission, .. } if admission.message == message)
    }
}
