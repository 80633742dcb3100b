//! The end of the log: the segment being written, and going on to the next.
//!
//! A failed write or sync is final for its segment. The next segment is begun
//! at once, its header says where the good records ended, and nothing is written to the failed file
//! again: a second `fdatasync` may succeed without having written what the first
//! one lost.
//!
//! Every process begins a segment of its own, if the disk has room for one. If
//! not, it goes on behind the last record of an earlier process. That is sound
//! because of three things: no header of a successor says yet where that segment
//! ends; nothing behind its last record is a record, and what is written from there
//! on in order makes none of it; and the first thing written is the new epoch.

use super::disk::DiskFile;
use super::group::Group;
use super::record::Record;
use super::replay::Left;
use super::segment::{FIRST, Header, Segment};
use super::shared::Shared;
use super::{Health, SpoolError, log::name_of};
use crate::post::MessageId;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Length of a segment that is made because no spare was ready.
const SMALL: u64 = 4 << 20;
/// Records from this length on are not worth a segment that is written over
/// before: what that saves at a sync is nothing beside writing them twice.
const BULK: u64 = 4 << 20;
/// Name of the segment prepared for the next rotation.
pub(super) const SPARE: &str = "spare";
/// Name of the file whose room is kept for settling on a full disk.
pub(super) const RESERVE: &str = "reserve";

/// The segment being written.
struct Active {
    segment: Segment,
    length: u64,
    end: u64,
    kind: Kind,
}

/// How the room of a segment was made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is written over already.
    Written,
    /// It is only set apart, for large records.
    Bulk,
}

/// See the module.
pub(super) struct Appender {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Number and good end of the segment before the next one.
    sealed: (u64, u64),
    /// Length of the spare segment, when there is one.
    spare: Option<u64>,
    /// A spare is being made. A second one would be made in the same file, which
    /// by then may be the segment that is written.
    awaits_spare: bool,
}

impl Appender {
    /// Goes on behind segment `sealed.0`, which ended at `sealed.1`.
    pub fn behind(shared: Arc<Shared>, sealed: (u64, u64)) -> Appender {
        Appender { shared, active: None, sealed, spare: None, awaits_spare: false }
    }

    /// A spare segment of this length is ready.
    pub fn take_spare(&mut self, length: u64) {
        self.spare = Some(length);
        self.awaits_spare = false;
    }

    /// Number of the segment being written, and where the next record begins.
    pub fn place(&self) -> Option<(u64, u64)> {
        self.active.as_ref().map(|active| (active.segment.header.number, active.end))
    }

    /// Where the good records of the last segment end.
    pub fn end(&self) -> u64 {
        self.active.as_ref().map_or(self.sealed.1, |active| active.end)
    }

    /// Whether so many octets can be appended.
    pub fn has_room(&self, octets: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.end + octets <= active.length)
    }

    /// Appends these parts and makes them durable.
    pub fn append(&mut self, parts: &mut [IoSlice<'_>], newest: MessageId) -> Result<(), SpoolError> {
        let Some(active) = &mut self.active else { return Err(SpoolError::Failed("no segment".to_owned())) };
        let octets: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if active.end + octets > active.length {
            return Err(SpoolError::Failed("a group longer than its segment".to_owned()));
        }
        let file = Arc::clone(&active.segment.file);
        let end = active.end;
        if let Err(error) = file.write(parts, end).and_then(|()| file.sync()) {
            // What is refused now must not come back with the next start: a
            // successor says where this segment ends, or else the file itself.
            self.seal();
            if self.rotate(0, newest).or_else(|_| self.use_reserve(newest)).is_err() {
                // Nothing is left to try when this fails as well.
                let _ = file.truncate(end);
            }
            return Err(refusal(&error));
        }
        active.end += octets;
        if active.kind == Kind::Written
            && active.end > active.length / 2
            && self.spare.is_none()
            && !self.awaits_spare
        {
            self.awaits_spare = true;
            self.shared.wants_spare.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Finds the first segment to write to, so that a disk that cannot be written
    /// is known at once. On a full disk that is what an earlier process `left`,
    /// or else the reserve; without either the process begins without a segment,
    /// for the deliveries that make room again.
    pub fn start(&mut self, left: Left, newest: MessageId) -> Result<(), SpoolError> {
        match left {
            Left::Unused(Segment { name, file, .. }) => {
                return self.begin(name, Kind::Written, file, newest).map_err(|error| refusal(&error));
            }
            Left::Behind(segment) => {
                let length = segment.file.length().map_err(|error| refusal(&error))?;
                self.active = Some(Active { segment, length, end: self.sealed.1, kind: Kind::Written });
            }
            Left::Nothing => {}
        }
        let Err(error) = self.rotate(0, newest) else { return Ok(()) };
        self.go_on(newest);
        if self.active.is_some() || self.use_reserve(newest).is_ok() {
            return Ok(());
        }
        if error != SpoolError::Full || self.sealed.0 == 0 {
            return Err(error);
        }
        self.shared.be(Health::Full);
        Ok(())
    }

    /// Goes on behind the records of an earlier process. Its epoch is durable
    /// before the first attempt, or those of the next one would have its numbers.
    fn go_on(&mut self, newest: MessageId) {
        let Some((number, _)) = self.place() else { return };
        let mut group = Group::new(self.shared.salt, self.shared.clock);
        group.push_record(&Record::Opened { epoch: self.shared.epoch }, &[], number);
        if !self.has_room(group.octets()) {
            self.seal();
            return;
        }
        if let Err(error) = self.append(&mut group.parts(), newest) {
            tracing::warn!(%error, "the last spool segment cannot be written to any more");
        }
    }

    /// Begins the next segment, with room for at least `needed` octets. Without
    /// that room the active one stays: nothing has said yet where it ends.
    pub fn rotate(&mut self, needed: u64, newest: MessageId) -> Result<(), SpoolError> {
        let name = name_of(self.number() + 1);
        let kind = if needed >= BULK { Kind::Bulk } else { Kind::Written };
        let begun = self.file(&name, kind, FIRST + needed).and_then(|file| {
            self.seal();
            self.begin(name, kind, file, newest)
        });
        begun.map_err(|error| refusal(&error))
    }

    /// The file of the next segment, of at least `length` octets.
    fn file(&mut self, name: &str, kind: Kind, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        let disk = Arc::clone(&self.shared.disk);
        let segment = self.shared.options.segment;
        if kind == Kind::Bulk {
            return disk.reserve(name, length.max(segment)).and_then(|()| disk.open(name));
        }
        if self.spare.is_some_and(|spare| spare >= length) {
            self.spare = None;
            disk.rename(SPARE, name).and_then(|()| disk.sync_names()).and_then(|()| disk.open(name))
        } else {
            disk.create(name, length.max(SMALL.min(segment)))
        }
    }

    /// Begins the next segment in the room kept for a full disk.
    pub fn use_reserve(&mut self, newest: MessageId) -> Result<(), SpoolError> {
        let disk = Arc::clone(&self.shared.disk);
        let name = name_of(self.number() + 1);
        let renamed = disk.rename(RESERVE, &name).and_then(|()| disk.sync_names());
        let begun = renamed.and_then(|()| disk.open(&name)).and_then(|file| {
            self.seal();
            self.begin(name, Kind::Written, file, newest)
        });
        begun.map_err(|error| refusal(&error))
    }

    /// Begins a segment with room for `octets` when the active one has none, if
    /// need be in the reserve.
    pub fn make_room(&mut self, octets: u64, newest: MessageId) -> Result<(), SpoolError> {
        if self.has_room(octets) {
            return Ok(());
        }
        self.rotate(octets, newest).or_else(|error| self.use_reserve(newest).map_err(|_| error))?;
        if self.has_room(octets) { Ok(()) } else { Err(SpoolError::Full) }
    }

    /// Number of the active segment, or of the one before the next.
    fn number(&self) -> u64 {
        self.active.as_ref().map_or(self.sealed.0, |active| active.segment.header.number)
    }

    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            self.sealed = (active.segment.header.number, active.end);
        }
    }

    fn begin(
        &mut self,
        name: String,
        kind: Kind,
        file: Arc<dyn DiskFile>,
        newest: MessageId,
    ) -> io::Result<()> {
        let (number, previous_end) = (self.sealed.0 + 1, self.sealed.1);
        let Shared { epoch, salt, .. } = *self.shared;
        let header = Header { number, epoch, salt: Some(salt), previous_end, newest: newest.0 };
        let length = file.length()?;
        header.write(&*file)?;
        let segment = Segment { header, name, file };
        self.shared.add_segment(segment.clone());
        self.active = Some(Active { segment, length, end: FIRST, kind });
        Ok(())
    }
}

/// What an error of the disk means for those who wait.
pub(super) fn refusal(error: &io::Error) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Failed(error.to_string()),
    }
}
