//! One file of the journal: where its events stand, and reading them.
//!
//! The file is named by the position of its first event. A sparse index says where some
//! frames begin; that of a file of an earlier process is made when it is first read.

use super::Position;
use super::frame::{Frame, Frames, refuse_newer};
use crate::event::{Event, Mark};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Octets between places that the index knows.
const SPARSE: u64 = 64 << 10;
/// Octets of events that are read at a time, if there is more than one frame of them.
const PORTION: usize = 1 << 20;

/// Readings that fail before those who read go on behind the file.
const TRIES: u32 = 10;

/// One file.
pub(super) struct Segment {
    /// Position of its first event.
    pub first: u64,
    pub path: PathBuf,
    pub file: File,
    index: Mutex<Option<Index>>,
    /// Readings that failed since one did not, by the position that was asked for.
    failures: Mutex<BTreeMap<u64, u32>>,
}

/// Where the events of a file stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Position and offset of some frames.
    places: Vec<(u64, u64)>,
    /// Where the last frame ends.
    pub end: u64,
    /// Position behind its last event.
    pub next: u64,
    /// Of the last frame.
    pub mark: Mark,
}

impl Index {
    /// A frame stands there.
    pub fn note(&mut self, at: u64, end: u64, frame: (u64, u64, Mark)) {
        let (first, next, mark) = frame;
        if self.places.last().is_none_or(|(_, last)| at >= last + SPARSE) {
            self.places.push((first, at));
        }
        (self.end, self.next, self.mark) = (end, next, mark);
    }

    /// The last place that is known at or before a position.
    fn place(&self, position: u64) -> u64 {
        let behind = self.places.partition_point(|(first, _)| *first <= position);
        self.places.get(behind.saturating_sub(1)).map_or(0, |(_, at)| *at)
    }
}

impl Segment {
    /// Makes the file whose first event will have this position.
    pub fn create(directory: &Path, first: u64) -> io::Result<Segment> {
        let path = directory.join(name_of(first));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let index = Index { next: first, ..Index::default() };
        Ok(Segment { first, path, file, index: Mutex::new(Some(index)), failures: Mutex::default() })
    }

    /// Removes the file that begins there, if there is one.
    pub fn remove(directory: &Path, first: u64) -> io::Result<()> {
        match fs::remove_file(directory.join(name_of(first))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Opens a file of an earlier process.
    pub fn open(path: PathBuf, first: u64) -> io::Result<Segment> {
        // Whoever put a link in its place means another file.
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(&path)?;
        refuse_newer(&file)?;
        Ok(Segment { first, path, file, index: Mutex::default(), failures: Mutex::default() })
    }

    /// Where its frames end, and the position behind them, as far as it is known.
    pub fn ends(&self) -> (u64, u64) {
        self.index().as_ref().map_or((0, self.first), |index| (index.end, index.next))
    }

    /// A run of frames was appended, from an offset and a position on, each so long and of
    /// so many events.
    pub fn note(&self, (mut at, mut first): (u64, u64), frames: &[(u64, u64)], mark: Mark) {
        let mut index = self.index();
        let index = index.get_or_insert_default();
        for (octets, events) in frames {
            index.note(at, at + octets, (first, first + events, mark));
            (at, first) = (at + octets, first + events);
        }
    }

    /// Where its events stand; reads all of the file at first. Damage is counted once.
    pub fn look(&self, damages: &AtomicU64) -> io::Result<Index> {
        let mut known = self.index();
        if let Some(index) = &*known {
            return Ok(index.clone());
        }
        let mut index = Index { next: self.first, ..Index::default() };
        let mut frames = Frames::new(&self.file, 0, self.file.metadata()?.len());
        let mut whole = (0, index.end, index.next, index.mark);
        while let Some((at, Frame { first, mark, events, goes_on })) = frames.next()? {
            index.note(at, frames.good, (first, first + events.len() as u64, mark));
            if !goes_on {
                whole = (index.places.len(), index.end, index.next, index.mark);
            }
        }
        // A run that does not end was never there.
        index.places.truncate(whole.0);
        (index.end, index.next, index.mark) = (whole.1, whole.2, whole.3);
        for (start, end) in &frames.gaps {
            damages.fetch_add(1, Ordering::Relaxed);
            let octets = end - start;
            tracing::error!(file = %self.path.display(), offset = start, octets, "damaged octets in the journal; events in them are lost");
        }
        *known = Some(index.clone());
        Ok(index)
    }

    /// Events from a position on, up to `most` and before `until`.
    pub fn read(
        &self,
        (from, until): (u64, u64),
        most: usize,
        damages: &AtomicU64,
    ) -> io::Result<Vec<(Position, Arc<Event>)>> {
        let index = self.look(damages)?;
        let mut frames = Frames::new(&self.file, index.place(from), index.end);
        let (mut found, mut octets) = (Vec::new(), 0);
        while octets < PORTION && found.len() < most {
            let Some((_, Frame { first, events, .. })) = frames.next()? else { break };
            for (position, event) in (first..until).zip(events).filter(|(position, _)| *position >= from) {
                octets += event.data.len();
                found.push((Position(position), Arc::new(event)));
            }
        }
        found.truncate(most);
        self.failures().remove(&from);
        Ok(found)
    }

    /// Whether it could not be read from there once too often, this time counted: what
    /// comes behind it must not wait for ever. That is damage, and counted once.
    pub fn is_given_up(&self, from: u64, error: &io::Error, damages: &AtomicU64) -> bool {
        let mut places = self.failures();
        let is_known = places.values().any(|failures| *failures >= TRIES);
        let failures = places.entry(from).or_default();
        *failures = failures.saturating_add(1);
        if *failures == TRIES && !is_known {
            damages.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, file = %self.path.display(), "a file of the journal cannot be read; events in it are lost");
        }
        *failures >= TRIES
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Option<Index>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the file whose first event has this position.
fn name_of(first: u64) -> String {
    format!("{first:016x}.journal")
}

/// The position in a file's name.
pub(super) fn first_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}
