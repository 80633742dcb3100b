//! Notes: small durable facts with a version, such as pauses and used rates.
//!
//! All of them are one file, written anew beside the old one and put in its place:
//! after a power cut there is one or the other, and a full disk loses neither.
//! Changes that come while the file is written share the next writing. Few and
//! small: who wants to keep much, or change it often, wants the log.

use super::disk::Disk;
use super::segment::Newer;
use super::{Noted, SpoolError, appender::refusal};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Name of the file.
pub(super) const NAME: &str = "notes";
/// Name of the file that takes its place.
const NEXT: &str = "notes.new";
/// Name of one that cannot be read.
const DAMAGED: &str = "damaged-notes";
/// Begins the file; its last digit is the format.
const MAGIC: &[u8; 8] = b"pgnotes1";

/// All facts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Book {
    facts: BTreeMap<String, (u64, Bytes)>,
    /// The greatest version of a forgotten one: no version comes twice.
    forgotten: u64,
}

/// How a change ended.
type Ended = Arc<OnceLock<Result<(), SpoolError>>>;

#[derive(Default)]
struct Books {
    /// As on the disk.
    kept: Book,
    /// With the changes that are on their way.
    wanted: Book,
    changes: Vec<Ended>,
}

/// See the module.
pub(super) struct Notes {
    disk: Arc<dyn Disk>,
    books: Mutex<Books>,
    /// Held by who writes.
    turn: Mutex<()>,
}

impl Notes {
    /// The notes on this disk. Unreadable ones are moved aside, and those of a newer version
    /// refused.
    pub fn open(disk: Arc<dyn Disk>) -> io::Result<Notes> {
        let octets = octets(&*disk)?;
        if octets.is_some() {
            // What was written but not synced must be durable before it is believed.
            disk.open(NAME)?.sync()?;
        }
        let kept = match octets.map(|octets| decode(&octets)).transpose()? {
            None => Book::default(),
            Some(Some(book)) => book,
            Some(None) => {
                tracing::error!(
                    set_aside_as = DAMAGED,
                    "the spool's notes are damaged: pauses, used rates and webhooks are lost"
                );
                disk.rename(NAME, DAMAGED)?;
                Book::default()
            }
        };
        let books = Books { wanted: kept.clone(), kept, changes: Vec::new() };
        Ok(Notes { disk, books: Mutex::new(books), turn: Mutex::default() })
    }

    /// A fact as it is on the disk.
    pub fn note(&self, key: &str) -> Option<Noted> {
        let books = self.books();
        let (version, value) = books.kept.facts.get(key)?;
        Some(Noted { version: *version, value: value.clone() })
    }

    /// The facts whose keys begin so, as they are on the disk.
    pub fn beginning(&self, beginning: &str) -> Vec<(String, Noted)> {
        let books = self.books();
        let from = books.kept.facts.range(beginning.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(beginning))
            .map(|(key, (version, value))| (key.clone(), Noted { version: *version, value: value.clone() }))
            .collect()
    }

    /// Sets or forgets a fact and answers its version. Blocks until it is durable, or
    /// until what another set instead can be read: who looks again finds that.
    pub fn set(&self, key: &str, value: Option<Bytes>, expect: Option<u64>) -> Result<u64, SpoolError> {
        let ended = Ended::default();
        let changed = {
            let mut books = self.books();
            let changed = books.wanted.change(key, value, expect);
            books.changes.extend(changed.is_ok().then(|| Arc::clone(&ended)));
            changed
        };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.get().is_none() && !self.books().changes.is_empty() {
            self.write();
        }
        let version = changed?;
        ended.get().cloned().unwrap_or(Err(SpoolError::Closed)).map(|()| version)
    }

    /// Writes all changes made so far and tells how that ended.
    fn write(&self) {
        let (book, mut changes) = {
            let mut books = self.books();
            (books.wanted.clone(), std::mem::take(&mut books.changes))
        };
        let written = self.replace(&book).map_err(|error| refusal(&error));
        let mut books = self.books();
        match &written {
            Ok(()) => books.kept = book,
            Err(_) => {
                // What was changed meanwhile was built on what is not kept.
                changes.append(&mut books.changes);
                books.wanted = books.kept.clone();
            }
        }
        for change in changes {
            let _ = change.set(written.clone());
        }
    }

    fn replace(&self, book: &Book) -> io::Result<()> {
        let octets = encode(book).map_err(io::Error::other)?;
        let written = self.disk.create(NEXT, 0).and_then(|file| {
            file.write(&mut [IoSlice::new(&octets)], 0)?;
            file.sync()
        });
        written.inspect_err(|_| drop(self.disk.remove(NEXT)))?;
        self.disk.rename(NEXT, NAME)?;
        self.disk.sync_names()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn change(&mut self, key: &str, value: Option<Bytes>, expect: Option<u64>) -> Result<u64, SpoolError> {
        let known = self.facts.get(key).map_or(0, |(version, _)| *version);
        if expect.is_some_and(|expect| expect != known) {
            return Err(SpoolError::Changed);
        }
        let version = known.max(self.forgotten) + 1;
        match value {
            Some(value) => {
                let version = if known > 0 { known + 1 } else { version };
                self.facts.insert(key.to_owned(), (version, value));
                Ok(version)
            }
            None => {
                self.facts.remove(key);
                self.forgotten = self.forgotten.max(known);
                Ok(0)
            }
        }
    }
}

/// Whether the notes on this disk can be read, if there are any.
pub(super) fn are_whole(disk: &dyn Disk) -> io::Result<bool> {
    octets(disk)?.map_or(Ok(true), |octets| Ok(decode(&octets)?.is_some()))
}

/// The file, if there is one.
fn octets(disk: &dyn Disk) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut octets = vec![0; usize::try_from(file.length()?).unwrap_or(usize::MAX)];
    file.read(&mut octets, 0)?;
    Ok(Some(octets))
}

fn encode(book: &Book) -> Result<Vec<u8>, postcard::Error> {
    let facts = postcard::to_stdvec(book)?;
    Ok([MAGIC, crc32c::crc32c(&facts).to_le_bytes().as_slice(), &facts].concat())
}

/// The facts, if they are whole. As with segments, another format keeps the checksum.
fn decode(octets: &[u8]) -> Result<Option<Book>, Newer> {
    let read = || {
        let (checksum, facts) = octets.get(MAGIC.len()..)?.split_first_chunk::<4>()?;
        let format = Newer::told(octets, MAGIC)?;
        (crc32c::crc32c(facts).to_le_bytes() == *checksum).then_some(format.map(|()| facts))
    };
    Ok(read().transpose()?.and_then(|facts| postcard::from_bytes(facts).ok()))
}
