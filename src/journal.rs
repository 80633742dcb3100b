//! The journal: all events, in one order, in append-only files.
//!
//! Events have positions that count from 1 and are never used again. What `append`
//! has kept survives a power cut, together with the mark of the last event: so it is
//! known for certain which ones are here. A torn tail is cut; damage elsewhere loses the
//! events that were hit, is counted and announced; so does a file that can be read no more. A failed sync is final for its file.
//!
//! Readers ask for what is behind a position; the last events are answered from memory.
//! Files end by age and size, from the oldest on, but never one that somebody holds.
//! Nothing is made on the disk before the first event.

mod carry;
mod frame;
mod recent;
mod retention;
mod segment;
#[cfg(test)]
mod tests;

use crate::event::{Event, Mark};
use recent::Recent;
use retention::Need;
use segment::{Segment, first_in};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// A place in the journal: that of an event, from 1. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where and how long events are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The journal's directory, made with mode 0700 for the first event.
    pub directory: PathBuf,
    /// How long events are kept at least, if there is room.
    pub keep: Duration,
    /// Octets after which the oldest events end before that.
    pub max_octets: u64,
    /// Octets after which a new file is begun.
    pub segment: u64,
}

impl Options {
    /// The defaults for a journal in `directory`.
    pub fn at(directory: PathBuf) -> Options {
        let keep = Duration::from_secs(7 * 24 * 60 * 60);
        Options { directory, keep, max_octets: 1 << 30, segment: 16 << 20 }
    }
}

/// An open journal; clones are the same. See the module.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.0.options.directory.display())
    }
}

struct Shared {
    options: Options,
    /// By the position of their first event.
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    tail: Mutex<Tail>,
    recent: Mutex<Recent>,
    last: watch::Sender<Position>,
    /// What each follower still needs: all behind its position.
    held: Mutex<BTreeMap<String, Need>>,
    damages: AtomicU64,
    failures: AtomicU64,
}

/// The end of the journal; only who has it appends.
struct Tail {
    /// The file that is written; none when the last one failed, or there is none yet.
    active: Option<Arc<Segment>>,
    /// Position of the next event.
    next: u64,
    mark: Mark,
}

impl Journal {
    /// Opens the journal, and cuts a torn tail. Blocks.
    pub fn open(options: Options) -> io::Result<Journal> {
        let mut segments = found(&options)?;
        let damages = AtomicU64::new(0);
        let mut tail = Tail { active: None, next: 1, mark: Mark::default() };
        while let Some((first, segment)) = segments.pop_last() {
            // What was written but not synced must be durable before it is believed.
            segment.file.sync_data()?;
            let index = segment.look(&damages)?;
            tail.next = tail.next.max(index.next);
            if index.end == 0 {
                // Begun and not written, or nothing in it can be read.
                fs::remove_file(&segment.path)?;
                continue;
            }
            segment.file.set_len(index.end)?;
            tail.mark = index.mark;
            let segment = Arc::new(segment);
            // A later file was begun because this one failed, and is gone.
            let is_whole = index.next == tail.next && frame::is_current(&segment.file)?;
            tail.active = is_whole.then(|| Arc::clone(&segment));
            let mut segments: BTreeMap<_, _> =
                segments.into_iter().map(|(first, segment)| (first, Arc::new(segment))).collect();
            segments.insert(first, segment);
            return Ok(Journal::on(options, segments, tail, damages));
        }
        Ok(Journal::on(options, BTreeMap::new(), tail, damages))
    }

    fn on(
        options: Options,
        segments: BTreeMap<u64, Arc<Segment>>,
        tail: Tail,
        damages: AtomicU64,
    ) -> Journal {
        let mut recent = Recent::default();
        recent.push(tail.next, Vec::new());
        Journal(Arc::new(Shared {
            options,
            segments: RwLock::new(segments),
            last: watch::Sender::new(Position(tail.next - 1)),
            tail: Mutex::new(tail),
            recent: Mutex::new(recent),
            held: Mutex::default(),
            damages,
            failures: AtomicU64::new(0),
        }))
    }

    /// Position of the last event.
    pub fn last(&self) -> Position {
        *self.0.last.borrow()
    }

    /// Tells whenever there are more events.
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.0.last.subscribe()
    }

    /// How far its events had been handed over.
    pub fn mark(&self) -> Mark {
        self.0.tail().mark
    }

    /// Damaged places met since opening.
    pub fn damages(&self) -> u64 {
        self.0.damages.load(Ordering::Relaxed)
    }

    /// Times since opening that events could not be written, and were tried again.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Keeps these events, and the mark behind them; resolves when they are durable.
    /// After an error none of them is here.
    pub async fn append(&self, mark: Mark, events: Vec<Event>) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let appended = tokio::task::spawn_blocking(move || shared.append(mark, events)).await;
        appended.unwrap_or_else(|died| Err(io::Error::other(died)))
    }

    /// Up to `most` events behind a position, the oldest first; fewer when they are
    /// large, none when there are none yet. Positions that are missing have ended or
    /// were damaged.
    pub async fn read(&self, after: Position, most: usize) -> io::Result<Vec<(Position, Arc<Event>)>> {
        let from = after.0.saturating_add(1);
        let recent = self.0.recent().read(from, most);
        if let Some(events) = recent {
            return Ok(events);
        }
        let shared = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || shared.read(from, most)).await;
        read.unwrap_or_else(|died| Err(io::Error::other(died)))
    }
}

impl Shared {
    fn append(&self, mark: Mark, events: Vec<Event>) -> io::Result<()> {
        let mut tail = self.tail();
        let mut octets = Vec::with_capacity(frame::room(&events));
        let frames = frame::encode(tail.next, mark, &events, &mut octets)?;
        let segment = match tail.active.take() {
            Some(active) if active.ends().0 + octets.len() as u64 <= self.options.segment => active,
            _ => self.begin(&tail)?,
        };
        let (end, next) = (segment.ends().0, tail.next + events.len() as u64);
        if let Err(error) = segment.file.write_all_at(&octets, end) {
            segment.file.set_len(end)?;
            tail.active = Some(segment);
            return Err(error);
        }
        // A second sync may succeed without having written what the first one lost:
        // another file is begun, and what this one has behind its end is void.
        segment.file.sync_data().inspect_err(|_| drop(segment.file.set_len(end)))?;
        segment.note((end, tail.next), &frames, mark);
        tail.active = Some(segment);
        self.recent().push(tail.next, events);
        (tail.next, tail.mark) = (next, mark);
        drop(tail);
        self.last.send_if_modified(|last| std::mem::replace(last, Position(next - 1)).0 != next - 1);
        Ok(())
    }

    /// Begins a file. Its first frame holds the mark, which outlives the files before.
    fn begin(&self, tail: &Tail) -> io::Result<Arc<Segment>> {
        let directory = &self.options.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // One of this name has no event.
        Segment::remove(directory, tail.next)?;
        let mut octets = Vec::new();
        let frames = frame::encode(tail.next, tail.mark, &[], &mut octets)?;
        let segment = Segment::create(directory, tail.next)?;
        let written = segment.file.write_all_at(&octets, 0).and_then(|()| segment.file.sync_data());
        let named = written.and_then(|()| File::open(directory)?.sync_all());
        named.inspect_err(|_| drop(fs::remove_file(&segment.path)))?;
        segment.note((0, tail.next), &frames, tail.mark);
        let segment = Arc::new(segment);
        self.segments.write().unwrap_or_else(PoisonError::into_inner).insert(tail.next, Arc::clone(&segment));
        Ok(segment)
    }

    fn read(&self, from: u64, most: usize) -> io::Result<Vec<(Position, Arc<Event>)>> {
        let segments = self.segments();
        let before = segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let mut behind = segments.range(before..).peekable();
        while let Some((_, segment)) = behind.next() {
            // What stands behind the beginning of the next one is void.
            let until = behind.peek().map_or(u64::MAX, |(first, _)| **first);
            let found = match segment.read((from, until), most, &self.damages) {
                Err(error) if segment.is_given_up(from, &error, &self.damages) => continue,
                found => found?,
            };
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn segments(&self) -> BTreeMap<u64, Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Need>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of an earlier process.
fn found(options: &Options) -> io::Result<BTreeMap<u64, Segment>> {
    let directory = &options.directory;
    let entry = match directory.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entry => entry?,
    };
    if !entry.is_dir() || entry.mode() & 0o077 != 0 {
        let text = format!("{} is no directory of mode 700", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(first) = name.and_then(first_in) {
            segments.insert(first, Segment::open(path, first)?);
        }
    }
    Ok(segments)
}
