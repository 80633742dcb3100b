//! A look at a spool that nobody has open: every record is read and checked, and
//! nothing is changed, so that a copy or a disk that fails can be looked at as well.

use super::disk::{Directory, Disk, DiskFile};
use super::log::{name_of, number_in};
use super::notes;
use super::options::{OpenError, lock_if_there};
use super::record::{Outcome, Record};
use super::replay::{salts, segment_in};
use super::segment::{self, Extent, FIRST, Header, Newer, Scan, UNKNOWN_END, refuse_newer};
use super::{Census, PostState};
use crate::post::PostId;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

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

/// Reads every record of the spool in `directory`. Refused while a process has it open,
/// where there is none, and where a newer version has written. What stands behind the
/// last whole record is not looked at: nobody knows whether it was ever accepted.
pub fn inspect(directory: &Path) -> Result<Findings, OpenError> {
    let refused = |error| OpenError::Io(directory.to_owned(), error);
    let log = directory.join("log");
    let _lock = lock_if_there(directory)?;
    let disk = Directory::to_look_at(&log);
    let names = disk.list().map_err(refused)?;
    let mut look = Look { disk: &disk, findings: Findings::default(), living: Living::default() };
    let headers = look.headers(&names).map_err(refused)?;
    let mut next = None;
    for header in headers.values().rev() {
        look.take_in(header, next).map_err(refused)?;
        next = Some(header);
    }
    let Look { mut findings, living, .. } = look;
    findings.posts = living.posts;
    if !notes::are_whole(&disk).map_err(refused)? {
        findings.damage(notes::NAME, (0, 0), "pauses, used rates, webhooks and keys are lost");
    }
    findings.damages.sort_by(|one, other| (&one.file, one.offset).cmp(&(&other.file, other.offset)));
    findings.set_aside = names.into_iter().filter(|name| name.starts_with("damaged-")).collect();
    findings.set_aside.sort();
    Ok(findings)
}

impl Findings {
    fn damage(&mut self, file: &str, (offset, octets): (u64, u64), meaning: impl Into<String>) {
        self.damages.push(Damage { file: file.to_owned(), offset, octets, meaning: meaning.into() });
    }
}

/// A look at the log, under way.
struct Look<'a> {
    disk: &'a dyn Disk,
    findings: Findings,
    living: Living,
}

impl Look<'_> {
    /// The segments by their numbers; only their headers, for there may be more than
    /// files that can be open.
    fn headers(&mut self, names: &[String]) -> io::Result<BTreeMap<u64, Header>> {
        let (mut headers, mut others) = (BTreeMap::new(), BTreeMap::new());
        let salts = salts(self.disk, names);
        for name in names {
            let Some(number) = number_in(name) else { continue };
            let found = segment_in(self.disk, name, number, &salts).and_then(|segment| {
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
                Some(error) => self.findings.damage(&name, (0, 0), format!("it cannot be read: {error}")),
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
    fn take_in(&mut self, header: &Header, next: Option<&Header>) -> io::Result<()> {
        let name = name_of(header.number);
        if header.previous_end == UNKNOWN_END {
            self.findings.damage(&name, (0, FIRST), "the header is lost; its records prove themselves");
        }
        let extent = next.map_or(Extent::Open, |next| header.extent(next));
        let scanned = self.disk.open(&name).and_then(|file| {
            let length = file.length()?;
            Ok((segment::scan(&*file, header, extent)?, length))
        });
        let (found, length) = match judged(scanned)? {
            Ok(found) => found,
            Err(error) => {
                self.findings.damage(&name, (0, 0), format!("it cannot be read: {error}"));
                return Ok(());
            }
        };
        let Scan { records, gaps, .. } = &found;
        for gap in gaps {
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
        self.findings.records += records.len() as u64;
        self.findings.octets += records.iter().map(|found| found.total as u64).sum::<u64>();
        records.iter().rev().for_each(|found| self.living.hear(&found.record));
        Ok(())
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

/// Which posts live, heard from the newest record to the oldest: the first that is said
/// of a post is its last word, as when a spool is opened.
#[derive(Default)]
struct Living {
    ended: HashSet<PostId>,
    words: HashMap<PostId, PostState>,
    posts: Census,
}

impl Living {
    fn hear(&mut self, record: &Record<'_>) {
        match record {
            Record::Closed | Record::Opened { .. } | Record::Published => {}
            Record::Settled(list) => list.iter().rev().for_each(|(id, outcome)| match outcome {
                Outcome::Ended => self.end(*id),
                Outcome::Stands(state) | Outcome::Lived { state, .. } => self.stands(*id, state.seen()),
            }),
            Record::Lives(id, life) => self.stands(*id, life.state.seen()),
            Record::Accepted(accepted) => {
                for (at, post) in accepted.posts.iter().enumerate() {
                    let was_moved = !accepted.lives.is_empty();
                    if self.ended.contains(&post.id) {
                        // The original of a moved record may still stand further back.
                        if !was_moved {
                            self.ended.remove(&post.id);
                        }
                        continue;
                    }
                    let Some((state, _)) = accepted.state(at) else { continue };
                    let state = self.words.remove(&post.id).unwrap_or(state.seen());
                    *self.posts.entry(state).or_default() += 1;
                    if was_moved {
                        self.ended.insert(post.id);
                    }
                }
            }
        }
    }

    fn end(&mut self, id: PostId) {
        if !self.words.contains_key(&id) {
            self.ended.insert(id);
        }
    }

    fn stands(&mut self, id: PostId, state: PostState) {
        if !self.ended.contains(&id) {
            self.words.entry(id).or_insert(state);
        }
    }
}
