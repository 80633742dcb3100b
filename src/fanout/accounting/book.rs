//! A file of records as its writer sees it. All of it blocks.
//!
//! The file that is written has the name of the present; it is told from others that
//! come to stand there, and opened anew when it was moved away. It ends by time and size,
//! and when its records would no longer look like those before: a line of names is true
//! for all of its file. A file in which there is no record is not kept.
//!
//! What could not be written whole is taken away again, and written later. What is
//! behind the last bookmark was not durable when the process ended: it is taken away,
//! and written again from where the bookmark is.

use super::super::Told;
use super::accounts::{Layout, Terms};
use super::bookmark::{Bookmark, Identity, make_directory};
use super::ended::Ended;
use super::naming::{Kin, period};
use super::{csv_line, json_line, type_of};
use crate::event::Event;
use crate::journal::Position;
use crate::post::Timestamp;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than the longest record has.
const TAIL: u64 = 2 << 20;

/// See the module.
pub(super) struct Book {
    terms: Arc<Terms>,
    /// Where bookmarks are.
    directory: PathBuf,
    /// The last event that is written.
    position: Position,
    /// What is durable.
    noted: Bookmark,
    open: Option<Open>,
    /// The latest time it was told. A clock that is set back a little begins no file anew;
    /// one that goes back by more than a file's time was ahead.
    seen_at: Timestamp,
    records: u64,
    has_ended: bool,
}

/// What others have done to a file.
enum Seen {
    /// Nothing.
    There,
    /// Its records were taken out of it.
    Cut,
    /// It is not there, or has not even its line of names.
    Elsewhere,
}

/// The file that is written.
struct Open {
    file: File,
    identity: Identity,
    path: PathBuf,
    period: Range<u64>,
    length: u64,
    /// Octets of its line of names.
    head: u64,
}

impl Book {
    /// One that goes on behind a bookmark.
    pub(super) fn new(terms: Arc<Terms>, directory: PathBuf, bookmark: Bookmark) -> Book {
        Book {
            terms,
            directory,
            position: bookmark.position,
            noted: bookmark,
            open: None,
            seen_at: Timestamp(0),
            records: 0,
            has_ended: true,
        }
    }

    /// One that goes on behind the bookmark that is kept; without one everything is written
    /// again.
    pub(super) fn again(terms: Arc<Terms>, directory: PathBuf) -> Book {
        let kept = Bookmark::of(&directory, &terms.path);
        let none = || Bookmark { path: terms.path.clone(), position: Position(0), file: None };
        let bookmark = kept.unwrap_or_else(none);
        Book::new(terms, directory, bookmark)
    }

    /// The last event that is written, or is none to be written. It goes back when a file
    /// has to be written again.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The last one of which that survives a power cut.
    pub(super) fn noted(&self) -> Position {
        self.noted.position
    }

    /// Records that were written.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The file that is written.
    pub(super) fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    /// When another one begins, if nothing else comes.
    pub(super) fn turns_at(&self) -> Option<Timestamp> {
        self.open.as_ref().map(|open| Timestamp(open.period.end))
    }

    /// Writes the records of these events, the first of which is behind the position.
    pub(super) fn take(&mut self, events: &[(Position, Arc<Event>)], now: Timestamp) -> io::Result<()> {
        let (mut chunk, mut count, mut upto) = (String::new(), 0, self.position);
        for (position, event) in events {
            if let Some(line) = self.line(event) {
                if self.is_full(chunk.len(), line.len()) {
                    self.append(&chunk, count, upto)?;
                    (chunk, count) = (String::new(), 0);
                    self.turn(now)?;
                }
                chunk.push_str(&line);
                count += 1;
            }
            upto = *position;
        }
        self.append(&chunk, count, upto)
    }

    /// The record of an event, if it is to be written.
    fn line(&self, event: &Arc<Event>) -> Option<String> {
        let Terms { layout, types, fields, privacy, filter, .. } = &*self.terms;
        type_of(&event.name).filter(|kind| types.contains(kind))?;
        let told = Told::of(Arc::clone(event));
        filter.lets_through(&told).then(|| match layout {
            Layout::Ndjson => json_line(&told, fields, privacy),
            Layout::Csv => {
                let mut line = String::new();
                csv_line(&mut line, &told, fields, privacy);
                line
            }
        })
    }

    fn is_full(&self, waiting: usize, more: usize) -> bool {
        let Some(open) = &self.open else { return false };
        let length = open.length + waiting as u64;
        length > open.head && length + more as u64 > self.terms.max_octets
    }

    fn append(&mut self, chunk: &str, records: u64, upto: Position) -> io::Result<()> {
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = open.file.write_all(chunk.as_bytes()) {
            if open.file.set_len(open.length).is_err() {
                // It is written again from where it is known what stands there.
                self.open = None;
            }
            return Err(error);
        }
        open.length += chunk.len() as u64;
        self.records += records;
        self.position = upto;
        Ok(())
    }

    /// Sees to it that the right file is open.
    pub(super) fn look(&mut self, now: Timestamp) -> io::Result<()> {
        self.see(now);
        match self.open.as_mut().map(Open::seen).transpose()? {
            None => self.begin(),
            Some(Seen::Elsewhere) => {
                self.note()?;
                self.open = None;
                self.begin()
            }
            // Or what comes next would be taken for what the bookmark knows.
            Some(Seen::Cut) => self.note(),
            Some(Seen::There) if !self.is_of_now() => self.turn(now).map(drop),
            Some(Seen::There) => Ok(()),
        }
    }

    /// Makes durable what is written, and how far that is.
    pub(super) fn note(&mut self) -> io::Result<()> {
        let file = self.open.as_ref().map(|open| (open.identity, open.length)).or(self.noted.file);
        let bookmark = Bookmark { path: self.terms.path.clone(), position: self.position, file };
        if bookmark == self.noted {
            return Ok(());
        }
        if let Some(Err(error)) = self.open.as_ref().map(|open| open.file.sync_data()) {
            // A second one may succeed without having written what the first one lost.
            self.open = None;
            return Err(error);
        }
        bookmark.keep(&self.directory)?;
        self.noted = bookmark;
        Ok(())
    }

    /// Whether a file has ended since the last look at those.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The files that have ended; none while it is unknown which one is written.
    pub(super) fn ended(&mut self) -> io::Result<Option<Ended>> {
        let ended = self.open.as_ref().map(|open| Ended::find(&self.terms, &open.path)).transpose()?;
        self.has_ended &= ended.is_none();
        Ok(ended)
    }

    /// Ends the file though it is of now, if there is a record in it; where it is then.
    pub(super) fn turn_early(&mut self, now: Timestamp) -> io::Result<Option<PathBuf>> {
        self.look(now)?;
        self.turn(now)
    }

    /// Ends the file, and begins the next one; its new name, if it gets one.
    fn turn(&mut self, now: Timestamp) -> io::Result<Option<PathBuf>> {
        self.see(now);
        self.note()?;
        let mut ended = None;
        if let Some(open) = self.open.take() {
            let next = self.terms.naming.live(Timestamp(self.period().start));
            match (open.length > open.head, next == open.path) {
                (true, true) => ended = Some(self.end(&open.path, Timestamp(open.period.start))?),
                (true, false) => self.has_ended = true,
                (false, true) => {}
                (false, false) => fs::remove_file(&open.path)?,
            }
        }
        self.begin().map(|()| ended)
    }

    fn see(&mut self, now: Timestamp) {
        let usual = u64::try_from(self.terms.rotate.as_millis()).unwrap_or(u64::MAX);
        if now > self.seen_at || self.seen_at.0 - now.0 > usual {
            self.seen_at = now;
        }
    }

    fn is_of_now(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.period.contains(&self.seen_at.0))
    }

    fn period(&self) -> Range<u64> {
        period(self.seen_at, self.terms.rotate)
    }

    /// Opens the file of the present.
    fn begin(&mut self) -> io::Result<()> {
        self.go_back()?;
        let (period, head) = (self.period(), self.head());
        let path = self.terms.naming.live(Timestamp(period.start));
        let file = open(&path)?;
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        let mut length = whole(&file, metadata.len())?;
        if length < metadata.len() {
            file.set_len(length)?;
        }
        let modified = milliseconds(metadata.mtime());
        let is_old = modified < period.start && length > head.len() as u64;
        if is_old || length > 0 && !self.fits(&file, &head)? {
            self.end(&path, Timestamp(super::naming::period(Timestamp(modified), self.terms.rotate).start))?;
            return self.begin();
        }
        if length == 0 {
            (&file).write_all(head.as_bytes())?;
            length = head.len() as u64;
            sync_names(self.terms.naming.directory())?;
        }
        self.open = Some(Open { file, identity, path, period, length, head: head.len() as u64 });
        self.note()
    }

    /// Goes back to the bookmark, and takes away what is behind it in its file, which may
    /// have ended, or was moved within its directory.
    fn go_back(&mut self) -> io::Result<()> {
        self.position = self.noted.position;
        let Some((known, durable)) = self.noted.file else { return Ok(()) };
        let naming = &self.terms.naming;
        let entries = match fs::read_dir(naming.directory()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let is_kin = name.to_str().and_then(|name| naming.kin(name)) == Some(Kin::Plain);
            let path = naming.directory().join(&name);
            let found = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            let is_it = found.is_file() && Identity::of(&found) == known;
            if is_it && found.len() > durable && (is_kin || known.is_certain()) {
                let file = open(&path)?;
                file.set_len(durable)?;
                // It is as old as before.
                file.set_modified(found.modified()?)?;
                file.sync_all()?;
            }
        }
        Ok(())
    }

    /// The line of names, where there is one.
    fn head(&self) -> String {
        match self.terms.layout {
            Layout::Csv => self.terms.fields.names(),
            Layout::Ndjson => String::new(),
        }
    }

    /// Whether the records of a file look like those that are written now.
    fn fits(&self, file: &File, head: &str) -> io::Result<bool> {
        let expected = if head.is_empty() { "{" } else { head };
        let mut begin = vec![0; expected.len()];
        match file.read_exact_at(&mut begin, 0) {
            Ok(()) => Ok(begin == expected.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a file the name of one that has ended; answers that.
    fn end(&mut self, path: &Path, began_at: Timestamp) -> io::Result<PathBuf> {
        let naming = &self.terms.naming;
        let mut names = Vec::new();
        for entry in fs::read_dir(naming.directory())? {
            names.extend(entry?.file_name().into_string());
        }
        let ended = naming.ended(began_at, naming.next_number(names.iter().map(String::as_str)));
        fs::rename(path, &ended)?;
        sync_names(naming.directory())?;
        self.has_ended = true;
        Ok(ended)
    }
}

impl Open {
    /// What has become of it at its path.
    fn seen(&mut self) -> io::Result<Seen> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if Identity::of(&found) == self.identity => {
                if found.len() >= self.length {
                    return Ok(Seen::There);
                }
                self.length = found.len();
                Ok(if self.length < self.head { Seen::Elsewhere } else { Seen::Cut })
            }
            Ok(_) => Ok(Seen::Elsewhere),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::Elsewhere),
            Err(error) => Err(error),
        }
    }
}

/// Opens a file of records, and makes it if it is not there. What is no file is refused:
/// to open a pipe would wait for its reader.
fn open(path: &Path) -> io::Result<File> {
    path.parent().map_or(Ok(()), make_directory)?;
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("this is no file of its own; remove it, or name another one")),
    }
}

/// Octets of a file up to the end of its last whole line.
fn whole(file: &File, length: u64) -> io::Result<u64> {
    let from = length.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from)?;
    let end = tail.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    Ok(from + end as u64)
}

fn sync_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Seconds since the epoch as milliseconds.
fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
