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
/// Begins the file; its last digit is the format. The checksum of the facts follows, then
/// they: in this format it covers the facts alone. In every later one, whose digit is higher,
/// it covers magic and facts; else one damaged digit would be taken for a newer version's,
/// and refuse all of the spool.
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
            Some(Read::Whole(book)) => book,
            Some(Read::Mended(book)) => {
                tracing::error!("the first octets of the spool's notes are damaged: all facts are whole");
                book
            }
            Some(Read::Damaged) => {
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

    /// Takes over all facts of another spool, with their versions, and the greatest version of
    /// those that it forgot. Blocks until that is durable.
    pub fn take_over(&self, facts: Vec<(String, Noted)>, forgotten: u64) -> Result<(), SpoolError> {
        let facts = facts.into_iter().map(|(key, noted)| (key, (noted.version, noted.value))).collect();
        let book = Book { facts, forgotten };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&book).map_err(|error| refusal(&error))?;
        *self.books() = Books { kept: book.clone(), wanted: book, changes: Vec::new() };
        Ok(())
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

/// What damage to the notes on this disk means, if there is any.
pub(super) fn damage(disk: &dyn Disk) -> io::Result<Option<&'static str>> {
    let read = octets(disk)?.map(|octets| decode(&octets)).transpose()?;
    Ok(match read {
        None | Some(Read::Whole(_)) => None,
        Some(Read::Mended(_)) => Some("its first octets are damaged; all that it says is whole"),
        Some(Read::Damaged) => Some("pauses, used rates, webhooks and keys are lost"),
    })
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

/// What can be read of the file.
enum Read {
    Whole(Book),
    /// The facts are as they were written, and what stands before them is not.
    Mended(Book),
    Damaged,
}

/// The facts, if they are whole.
fn decode(octets: &[u8]) -> Result<Read, Newer> {
    let Some((magic, (checksum, facts))) = octets
        .split_first_chunk::<8>()
        .and_then(|(magic, rest)| Some((magic, rest.split_first_chunk::<4>()?)))
    else {
        return Ok(Read::Damaged);
    };
    let is_sum = |sum: u32| sum.to_le_bytes() == *checksum;
    let format = Newer::told(magic, MAGIC);
    if let Some(Err(newer)) = format
        && is_sum(crc32c::crc32c_append(crc32c::crc32c(magic), facts))
    {
        return Err(newer);
    }
    let book = is_sum(crc32c::crc32c(facts)).then(|| postcard::from_bytes(facts).ok()).flatten();
    Ok(match (book, magic == MAGIC) {
        (Some(book), true) => Read::Whole(book),
        (Some(book), false) => Read::Mended(book),
        (None, _) => Read::Damaged,
    })
}
