//! The keeper: a thread that looks after a spool beside its writer.
//!
//! It reads the older segments at start while mail is already accepted, keeps a
//! spare segment ready, watches the room on the disk, uses segments again when
//! nothing in them lives, and copies stragglers forward when the disk holds much
//! more than lives. Segments are given up strictly from the oldest on: the news
//! that a post ended stands behind the post, so it can never be lost before it. One
//! with events stays until they were passed. Stragglers are copied one record at a
//! time, each with a group of the writer's: that is the throttle, as mail never waits
//! for more than one of them.

use super::appender::{RESERVE, SPARE};
use super::catalog::Place;
use super::job::{Job, Moved};
use super::obituary;
use super::record::{Accepted, Record};
use super::segment::{self, Extent, Segment, UNKNOWN_END};
use super::shared::Shared;
use super::{Health, SpoolError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often it looks.
const ROUND: Duration = Duration::from_millis(100);
/// How often it forgets what has expired.
const TIDY: Duration = Duration::from_secs(30);
/// Dead letters forgotten in one go, and held posts.
const STALE: usize = 1000;
/// Segments beyond twice what lives before stragglers are copied.
const SLACK: u64 = 4;

/// See the module.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    tidied: Option<Instant>,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, jobs: Sender<Job>) -> Keeper {
        Keeper { shared, jobs, tidied: None }
    }

    /// Reads the older segments, then works until `stop` is dropped.
    pub fn run(mut self, older: &[(Segment, Extent)], stop: &Receiver<()>) {
        let told = super::replay::replay(&self.shared, older);
        self.shared.feed.begin(told);
        self.shared.complete_lines();
        self.shared.recovered.send_replace(true);
        let mut has_failed = false;
        loop {
            self.watch_room();
            // Both: on a full disk giving up is what makes the room to provide from.
            let provided = self.provide();
            let kept = self.give_up_segments().and(provided);
            if let (Err(error), false) = (&kept, has_failed) {
                tracing::warn!(%error, "the spool's housekeeping failed; it is tried again and again");
            }
            has_failed = kept.is_err();
            if self.shared.index().broken {
                // The writer fills the catalog, and may have nothing to wake up for.
                self.hand_over(Job::Ride);
            }
            if self.tidied.is_none_or(|tidied| tidied.elapsed() > TIDY) {
                self.tidy();
            }
            match stop.recv_timeout(ROUND) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    /// Opens or closes the door by the room that is left.
    pub fn watch_room(&self) {
        let Ok(room) = self.shared.disk.room() else { return };
        let is_failed = matches!(*self.shared.health.borrow(), Health::Failed(_));
        if room.is_within(&self.shared.options.reserve) {
            self.shared.be(Health::Full);
        } else if !is_failed || self.can_write() {
            self.shared.be(Health::Open);
        }
    }

    /// Whether the disk takes a durable write again after a failure.
    fn can_write(&self) -> bool {
        let probe = || {
            self.shared.disk.create("probe", 4096)?;
            self.shared.disk.remove("probe")
        };
        probe().is_ok()
    }

    /// Makes the reserve, and a spare segment when the writer will need one.
    fn provide(&self) -> io::Result<()> {
        let is_open = *self.shared.health.borrow() == Health::Open;
        if !is_open {
            return Ok(());
        }
        let segment = self.shared.options.segment;
        if !self.shared.disk.list()?.iter().any(|name| name == RESERVE) {
            self.shared.disk.reserve(RESERVE, segment)?;
        }
        if self.shared.wants_spare.load(Ordering::Relaxed) {
            self.shared.disk.create(SPARE, segment)?;
            self.hand_over_spare(segment);
        }
        Ok(())
    }

    /// Uses or removes segments in which nothing lives, the oldest first.
    fn give_up_segments(&self) -> io::Result<()> {
        let segments = self.shared.segments();
        let mut octets: u64 = segments.iter().map(|segment| segment.file.length().unwrap_or(0)).sum();
        let Some((_active, older)) = segments.split_last() else { return Ok(()) };
        for segment in older {
            let number = segment.header.number;
            if self.shared.feed.needs(number) {
                return Ok(());
            }
            let (tally, living) = {
                let index = self.shared.index();
                if !index.is_whole() {
                    return Ok(());
                }
                (index.tallies.of(number), index.tallies.octets(self.shared.clock.now()))
            };
            let is_crowded = octets > 2 * living + SLACK * self.shared.options.segment;
            let lives = tally.posts > 0 || tally.notes_until > self.shared.clock.now();
            if lives && (!is_crowded || !self.copy_forward(segment)?) {
                return Ok(());
            }
            octets -= segment.file.length().unwrap_or(0);
            self.give_up(segment)?;
        }
        Ok(())
    }

    /// A segment counts until its file is gone for good: the news in the next
    /// one that its posts ended must not go before it.
    fn give_up(&self, segment: &Segment) -> io::Result<()> {
        let disk = &self.shared.disk;
        let is_whole = segment.file.length()? == self.shared.options.segment;
        let is_spare = is_whole && self.shared.wants_spare.load(Ordering::Relaxed);
        let gone = if is_spare { disk.rename(&segment.name, SPARE) } else { disk.remove(&segment.name) };
        match gone {
            // Done in an earlier round, which could not sync it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            gone => gone?,
        }
        disk.sync_names()?;
        self.shared.drop_segment(segment.header.number);
        self.shared.index().tallies.forget(segment.header.number);
        if is_spare {
            self.hand_over_spare(self.shared.options.segment);
        }
        Ok(())
    }

    /// Copies what lives in a segment to the end of the log; true when nothing
    /// is left in it.
    fn copy_forward(&self, segment: &Segment) -> io::Result<bool> {
        let number = segment.header.number;
        let end = self.shared.segment(number + 1).map(|next| next.header.previous_end);
        let extent = end.filter(|end| *end != UNKNOWN_END).map_or(Extent::Open, Extent::Known);
        let scan = segment::scan(&*segment.file, &segment.header, extent)?;
        for found in scan.records {
            let jump = self.shared.clock.jump();
            let Record::Accepted(accepted) = found.record.by(|at| jump.undone(at)) else { continue };
            let from = Place { segment: number, offset: found.offset, share: 0 };
            if !self.is_needed(&accepted, from) {
                continue;
            }
            match self.shared.read_blobs(&accepted, found.meta, from) {
                Ok(blobs) => {
                    let (ack, moved) = tokio::sync::oneshot::channel();
                    let moved_record = Moved { accepted, blobs, from, histories: Vec::new() };
                    self.hand_over(Job::Move { moved: moved_record, ack });
                    if moved.blocking_recv().is_err() {
                        return Ok(false);
                    }
                }
                // It stays where it is, and is announced when it is to be sent.
                Err(SpoolError::Damaged(_)) => return Ok(false),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let index = self.shared.index();
        Ok(index.is_whole() && index.tallies.of(number).posts == 0)
    }

    fn is_needed(&self, accepted: &Accepted<'_>, from: Place) -> bool {
        let now = self.shared.clock.now();
        let mut index = self.shared.index();
        let key = accepted.idempotency_key.as_deref();
        let noted = key.and_then(|key| index.noted(&accepted.tenant, key, now));
        let is_here = |place: Place| (place.segment, place.offset) == (from.segment, from.offset);
        noted.is_some_and(|noted| is_here(noted.place))
            || accepted.posts.iter().any(|post| index.find(post.id).is_some_and(|entry| is_here(entry.place)))
    }

    fn tidy(&mut self) {
        let now = self.shared.clock.now();
        let held_since = now.before(self.shared.options.retain_held);
        // Others come in between.
        while self.shared.index().drop_stale_notes(now) {}
        let stale = self.shared.index().stale(now, held_since, STALE);
        // Where there were so many there may be more.
        self.tidied = (stale.len() < STALE).then(Instant::now);
        if !stale.is_empty() {
            let told = obituary::of_forgotten(&self.shared, &stale);
            self.hand_over(Job::Forget(stale, told));
        }
    }

    /// Only now is the wish fulfilled: one that fails is tried again.
    fn hand_over_spare(&self, length: u64) {
        self.shared.wants_spare.store(false, Ordering::Relaxed);
        self.hand_over(Job::Spare { length });
    }

    fn hand_over(&self, job: Job) {
        // Fails only when the writer has ended, and this thread will be next.
        let _ = self.jobs.send(job);
    }
}

/// Where the records of each segment end: its successor knows; the last one's
/// end is given.
pub(super) fn extents(segments: &[Segment], last_end: u64) -> Vec<(Segment, Extent)> {
    let next = segments.iter().skip(1).map(Some).chain([None]);
    let extent = |(segment, next): (&Segment, Option<&Segment>)| {
        let known = next.map(|next| segment.header.extent(&next.header));
        (segment.clone(), known.unwrap_or(Extent::Known(last_end)))
    };
    segments.iter().zip(next).map(extent).collect()
}
