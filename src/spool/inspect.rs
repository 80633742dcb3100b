//! A look at a spool that nobody has open: every record is read and checked, and
//! nothing is changed, so that a copy or a disk that fails can be looked at as well.

use super::catalog::Spot;
use super::disk::{Directory, Disk, DiskFile};
use super::later::{Later, Word, chronicle_in};
use super::log::{name_of, number_in};
use super::moving::cargo::Cargo;
use super::notes;
use super::options::{OpenError, lock_if_there};
use super::record::{Accepted, BlobHead};
use super::replay::{blob_place, salts, segment_in};
use super::segment::{self, Extent, FIRST, Found, Header, Newer, Scan, UNKNOWN_END, refuse_newer};
use super::shared;
use super::spill::filled;
use super::state::{Chronicle, Life, Phase, as_sent};
use super::{Attempt, Census, Listed, PostState};
use crate::post::{Blob, MessageId, Post, PostId};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a look at a spool found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Segments, the files of the log.
    pub segments: usize,
    /// Octets of whole records in them.
    pub octets: u64,
    /// Whole records.
    pub records: u64,
    /// Living posts by their state; those of which an attempt was under way wait.
    pub posts: Census,
    /// What is no record where one should be, in the order of the log.
    pub damages: Vec<Damage>,
    /// Posts of which the log speaks and whose messages are gone from it, by their ids; none
    /// while a segment cannot be read.
    pub missing: Vec<PostId>,
    /// Files with damaged octets that earlier processes set aside.
    pub set_aside: Vec<String>,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Name of the file, in the directory `log` of the spool.
    pub file: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
    /// What it means.
    pub meaning: String,
}

impl Findings {
    fn damage(&mut self, file: &str, (offset, octets): (u64, u64), meaning: impl Into<String>) {
        self.damages.push(Damage { file: file.to_owned(), offset, octets, meaning: meaning.into() });
    }
}

/// A spool that nobody else has open: no gateway can open it either while this lives.
pub struct Inspection {
    disk: Directory,
    directory: PathBuf,
    names: Vec<String>,
    headers: BTreeMap<u64, Header>,
    findings: Findings,
    later: Later,
    _lock: Option<File>,
}

impl Inspection {
    /// The spool in `directory`. Refused while a process has it open, where there is none,
    /// and where a newer version has written.
    pub fn of(directory: &Path) -> Result<Inspection, OpenError> {
        let lock = lock_if_there(directory)?;
        Ok(Inspection { _lock: lock, ..Inspection::alone(directory)? })
    }

    /// The same for who keeps others out of the directory.
    pub fn alone(directory: &Path) -> Result<Inspection, OpenError> {
        let refused = |error| OpenError::Io(directory.to_owned(), error);
        let disk = Directory::to_look_at(&directory.join("log"));
        let names = disk.list().map_err(refused)?;
        let mut inspection = Inspection {
            disk,
            directory: directory.to_owned(),
            names,
            headers: BTreeMap::new(),
            findings: Findings::default(),
            later: Later::default(),
            _lock: None,
        };
        inspection.headers = inspection.headers().map_err(refused)?;
        if let Some(meaning) = notes::damage(&inspection.disk).map_err(refused)? {
            inspection.findings.damage(notes::NAME, (0, 0), meaning);
        }
        Ok(inspection)
    }

    /// Reads every record, and hands over each message of which posts live, the newest
    /// first; ends early when that fails. What stands behind the last whole record is not
    /// looked at: nobody knows whether it was ever accepted.
    pub fn read<E: From<OpenError>>(
        self,
        mut each: impl FnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<Findings, E> {
        self.read_all(|message| if message.words.is_empty() { Ok(()) } else { each(message) })
    }

    /// The same, and each message that has an idempotency key.
    pub(super) fn read_all<E: From<OpenError>>(
        mut self,
        mut each: impl FnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<Findings, E> {
        let headers = std::mem::take(&mut self.headers);
        let mut next = None;
        for header in headers.values().rev() {
            self.take_in(header, next, &mut each)?;
            next = Some(header);
        }
        let Inspection { mut findings, names, later, .. } = self;
        findings.missing = later.orphans();
        findings.damages.sort_by(|one, other| (&one.file, one.offset).cmp(&(&other.file, other.offset)));
        findings.set_aside = names.into_iter().filter(|name| name.starts_with("damaged-")).collect();
        findings.set_aside.sort();
        Ok(findings)
    }

    /// The segments by their numbers; only their headers, for there may be more than
    /// files that can be open.
    fn headers(&mut self) -> io::Result<BTreeMap<u64, Header>> {
        let (mut headers, mut others) = (BTreeMap::new(), BTreeMap::new());
        let salts = salts(&self.disk, &self.names);
        for name in &self.names {
            let Some(number) = number_in(name) else { continue };
            let found = segment_in(&self.disk, name, number, &salts).and_then(|segment| {
                segment.as_ref().map_or(Ok(()), refuse_newer)?;
                Ok(segment)
            });
            match judged(found)? {
                Ok(Some(segment)) => drop(headers.insert(number, segment.header)),
                Ok(None) => drop(others.insert(number, None)),
                Err(error) => drop(others.insert(number, Some(error))),
            }
        }
        let last = headers.last_key_value().map_or(0, |(number, _)| *number);
        let numbers: Vec<_> = headers.keys().chain(others.keys()).copied().collect();
        for (number, error) in &others {
            let name = name_of(*number);
            match error {
                Some(error) => self.unread(&name, 0, format!("it cannot be read: {error}")),
                // The next one, begun and never written to.
                None if *number > last && is_unused(&*self.disk.open(&name)?)? => {}
                None => {
                    let length = self.disk.open(&name)?.length()?;
                    self.findings.damage(&name, (0, length), "neither its header nor any record is whole");
                }
            }
        }
        let lost = |number: &u64| {
            *number > 0 && !numbers.contains(number) && numbers.iter().any(|other| other < number)
        };
        // The oldest are given up first: none can be missing between two others.
        for number in headers.keys().map(|number| number.saturating_sub(1)).filter(|number| lost(number)) {
            self.findings.damage(&name_of(number), (0, 0), "it is missing, and maybe some before it");
        }
        self.findings.segments = headers.len();
        Ok(headers)
    }

    /// Takes in the records of a segment, whose successor is `next`.
    fn take_in<E: From<OpenError>>(
        &mut self,
        header: &Header,
        next: Option<&Header>,
        each: &mut impl FnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = name_of(header.number);
        let extent = next.map_or(Extent::Open, |next| header.extent(next));
        let (mut places, mut octets) = (Vec::new(), 0);
        let scanned = self.disk.open(&name).and_then(|file| {
            let length = file.length()?;
            let scan = segment::scan_for(&*file, header, extent, |found| {
                places.push(found.offset);
                octets += found.total as u64;
            })?;
            Ok((scan, length, file))
        });
        let (found, length, file) =
            match judged(scanned).map_err(|error| OpenError::Io(self.directory.clone(), error))? {
                Ok(found) => found,
                Err(error) => {
                    self.unread(&name, 0, format!("it cannot be read: {error}"));
                    return Ok(());
                }
            };
        self.tell_of(header, &found, (extent, length));
        self.findings.records += places.len() as u64;
        self.findings.octets += octets;
        for offset in places.into_iter().rev() {
            let read = segment::read_record(&*file, header.number, offset);
            let Found { record, meta, .. } = match read {
                Ok(Some((found, _))) => found,
                unread => {
                    let why = unread.err().map_or("it is another by now".to_owned(), |why| why.to_string());
                    self.unread(&name, offset, format!("it cannot be read again: {why}"));
                    continue;
                }
            };
            let spot = Spot::at(header.number, offset);
            let Some(accepted) = self.later.hear(record, spot) else { continue };
            let posts = 0..accepted.posts.len();
            let word = |at| Some((at, self.later.last_word(&accepted, at, spot)?));
            let words: Vec<_> = posts.filter_map(word).collect();
            for (_, word) in &words {
                *self.findings.posts.entry(word.state.seen()).or_default() += 1;
            }
            if !words.is_empty() || accepted.idempotency_key.is_some() {
                each(&Message { disk: &self.disk, file: &*file, offset, meta, accepted, words })?;
            }
        }
        Ok(())
    }

    /// Notes what cannot be read, which says nothing of what it holds.
    fn unread(&mut self, name: &str, offset: u64, meaning: String) {
        self.later.miss_segment();
        self.findings.damage(name, (offset, 0), meaning);
    }

    /// Notes what is wrong with a segment of this length.
    fn tell_of(&mut self, header: &Header, found: &Scan, (extent, length): (Extent, u64)) {
        let name = name_of(header.number);
        if header.previous_end == UNKNOWN_END {
            self.findings.damage(&name, (0, FIRST), "the header is lost; its records prove themselves");
        }
        for gap in &found.gaps {
            let octets = gap.end - gap.start;
            self.findings.damage(
                &name,
                (gap.start, octets),
                "what stood there is lost; all around it is whole",
            );
        }
        if let Extent::Known(end) = extent
            && length < end
        {
            self.findings.damage(
                &name,
                (length, end - length),
                "the file ends there; what stood behind is lost",
            );
        }
    }
}

/// A message of which posts live.
pub struct Message<'a> {
    disk: &'a dyn Disk,
    file: &'a dyn DiskFile,
    offset: u64,
    meta: usize,
    accepted: Accepted<'static>,
    words: Vec<(usize, Word)>,
}

/// A living post, and what became of it so far, the oldest attempt first.
pub type Living = (Listed, Vec<Attempt>);

impl Message<'_> {
    /// Its id.
    pub fn id(&self) -> MessageId {
        self.accepted.message
    }

    /// The message as it was received; of no octets where there was none.
    pub fn received(&self) -> Blob {
        let length = self.accepted.blobs.first().map_or(0, |blob| blob.length);
        Blob { number: 0, start: 0, length }
    }

    /// All of its posts as they were accepted, whatever became of them.
    pub fn accepted(&self) -> &[Post] {
        &self.accepted.posts
    }

    /// Those of its posts that live, each read when it is asked for; held ones are
    /// forgotten after `retain_held`.
    pub fn posts(
        &self,
        retain_held: Duration,
    ) -> impl Iterator<Item = (PostId, PostState, io::Result<Living>)> {
        self.words.iter().filter_map(move |(at, word)| {
            let post = self.accepted.posts.get(*at)?;
            Some((post.id, word.state.seen(), self.living(post, word, retain_held)))
        })
    }

    /// All that lives of it, and its key, as another spool takes it in.
    pub(super) fn cargo(&self) -> io::Result<Cargo> {
        let mut accepted = self.accepted.clone();
        accepted.lives = vec![None; accepted.posts.len()];
        for (at, Word { state, history, .. }) in &self.words {
            let (Some(post), Some(life)) = (accepted.posts.get(*at), accepted.lives.get_mut(*at)) else {
                continue;
            };
            *life = Some(Life { state: *state, chronicle: self.chronicle(post.id, *history)? });
        }
        if self.words.is_empty() {
            // Only the key counts.
            accepted.blobs.clear();
        }
        let whole = |(at, head): (usize, &BlobHead)| {
            let number = u16::try_from(at).map_err(io::Error::other)?;
            self.octets(Blob { number, start: 0, length: head.length })
        };
        let blobs = accepted.blobs.iter().enumerate().map(whole).collect::<io::Result<_>>()?;
        Ok(Cargo { accepted, blobs })
    }

    /// What happened to a post.
    fn chronicle(&self, id: PostId, history: Spot) -> io::Result<Chronicle> {
        let Some((segment, offset)) = history.place() else { return Ok(Chronicle::default()) };
        let read = segment::read_record(&*self.disk.open(&name_of(segment))?, segment, offset)?;
        let chronicle = read.and_then(|(found, _)| chronicle_in(found.record, id));
        Ok(chronicle.ok_or(io::ErrorKind::InvalidData)?)
    }

    fn living(
        &self,
        post: &Post,
        Word { state, history, .. }: &Word,
        retain_held: Duration,
    ) -> io::Result<Living> {
        let Chronicle { attempts, route } = self.chronicle(post.id, *history)?;
        let post = as_sent(Arc::new(post.clone()), state, route.filter(|_| state.is_rerouted));
        let due_at = if state.phase == Phase::Held { state.due_at.after(retain_held) } else { state.due_at };
        let last = attempts.last().cloned();
        Ok((Listed { post, state: state.seen(), ended: state.ended, due_at, last }, attempts))
    }

    /// A piece of it as it stands in the log. An error also where it is not any more what
    /// was checked before: a disk that fails reads well once.
    pub fn octets(&self, piece: Blob) -> io::Result<Bytes> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let place = blob_place(&self.accepted.blobs, self.meta, piece.number);
        let (start, head) = place.ok_or_else(|| wrong("there is no such piece"))?;
        let read = |buffer: &mut [u8]| self.file.read(buffer, self.offset + start);
        let blob = filled(head.length as usize, read)?;
        if crc32c::crc32c(&blob) != head.checksum {
            return Err(wrong("its checksum is wrong, read again"));
        }
        shared::piece(&blob, piece).ok_or_else(|| wrong("it goes beyond its end"))
    }
}

/// What is wrong with a file is a finding; that a newer version has written is not.
fn judged<T>(read: io::Result<T>) -> io::Result<io::Result<T>> {
    match read {
        Err(error) if error.get_ref().is_some_and(|why| why.is::<Newer>()) => Err(error),
        read => Ok(read),
    }
}

/// Whether a file without a record holds nothing of this spool's: all zeros, or what a
/// segment that was given up had in it.
fn is_unused(file: &dyn DiskFile) -> io::Result<bool> {
    if Header::read(file)?.is_some() {
        return Ok(true);
    }
    let (length, mut at, mut octets) = (file.length()?, 0, vec![0; 1 << 16]);
    while at < length {
        let step = usize::try_from(length - at).unwrap_or(usize::MAX).min(octets.len());
        let piece = octets.get_mut(..step).unwrap_or_default();
        file.read(piece, at)?;
        if piece.iter().any(|octet| *octet != 0) {
            return Ok(false);
        }
        at += step as u64;
    }
    Ok(true)
}
