//! The end of the log: the segment being written, and going on to the next.
//!
//! A failed write or sync is final for its segment. The next segment is begun
//! at once, its header says where the good records ended, and nothing is written to the failed file
//! again: a second `fdatasync` may succeed without having written what the first
//! one lost.

use super::disk::DiskFile;
use super::segment::{FIRST, Header, Segment};
use super::shared::Shared;
use super::{SpoolError, log::name_of};
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

    /// Makes the first segment of this process, so that a disk that cannot be
    /// written is known at once: the `unused` one of the process before, or a
    /// new one, or, on a full disk, the room that is kept for it.
    pub fn start(&mut self, unused: Option<Segment>, newest: MessageId) -> Result<(), SpoolError> {
        if let Some(Segment { name, file, .. }) = unused {
            return self.begin(name, Kind::Written, Ok(file), newest).map_err(|error| refusal(&error));
        }
        let made = self.rotate(0, newest);
        made.or_else(|error| self.use_reserve(newest).map_err(|_| error))
    }

    /// Begins the next segment, with room for at least `needed` octets.
    pub fn rotate(&mut self, needed: u64, newest: MessageId) -> Result<(), SpoolError> {
        self.seal();
        let length = FIRST + needed;
        let disk = Arc::clone(&self.shared.disk);
        let name = name_of(self.sealed.0 + 1);
        if needed >= BULK {
            let made = disk.reserve(&name, length.max(self.shared.options.segment));
            let file = made.and_then(|()| disk.open(&name));
            return self.begin(name, Kind::Bulk, file, newest).map_err(|error| refusal(&error));
        }
        let file = if self.spare.is_some_and(|spare| spare >= length) {
            self.spare = None;
            disk.rename(SPARE, &name).and_then(|()| disk.sync_names()).and_then(|()| disk.open(&name))
        } else {
            disk.create(&name, length.max(SMALL.min(self.shared.options.segment)))
        };
        self.begin(name, Kind::Written, file, newest).map_err(|error| refusal(&error))
    }

    /// Begins the next segment in the room kept for a full disk.
    pub fn use_reserve(&mut self, newest: MessageId) -> Result<(), SpoolError> {
        self.seal();
        let disk = Arc::clone(&self.shared.disk);
        let name = name_of(self.sealed.0 + 1);
        let renamed = disk.rename(RESERVE, &name).and_then(|()| disk.sync_names());
        let file = renamed.and_then(|()| disk.open(&name));
        self.begin(name, Kind::Written, file, newest).map_err(|error| refusal(&error))
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
        file: io::Result<Arc<dyn DiskFile>>,
        newest: MessageId,
    ) -> io::Result<()> {
        let file = file?;
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
