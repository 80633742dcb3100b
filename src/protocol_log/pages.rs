//! The log a page at a time, the newest dialogue first, and what is added to it.
//!
//! A day may have gigabytes. A page is looked for from a [`Place`] towards the past, a
//! stretch of a file after another, until it is full, or so much was read, or so much time
//! passed, that whoever asked has to say that it goes on: the page says how far it came, and
//! where the next one begins. What cannot have anything of it is leapt over. Each dialogue
//! is on the page where it begins, with what follows within [`TAIL`] octets behind that
//! page. Where one post is wanted, nothing is read that was written before it came. All of
//! this blocks.

use super::horizon::Horizon;
use super::pace::Pace;
use super::parts::{Part, Wanted, first_stamp, parts};
use super::search::{day, files};
use super::traces::Traces;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How far the lines of a dialogue are followed beyond the stretch where it begins.
pub(super) const TAIL: u64 = 1 << 20;

/// An octet of a day's file, written `2026-01-31.4711`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) day: String,
    pub(super) octet: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.day, self.octet)
    }
}

/// What is no place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Place, NoPlace> {
        let (day, octet) = text.split_once('.').ok_or(NoPlace)?;
        let octet = octet.parse().map_err(|_| NoPlace)?;
        if is_day(day) { Ok(Place { day: day.to_owned(), octet }) } else { Err(NoPlace) }
    }
}

/// Whether a text is written as a day is: `2026-01-31`.
pub fn is_day(text: &str) -> bool {
    let is_right =
        |(at, octet): (usize, u8)| if at == 4 || at == 7 { octet == b'-' } else { octet.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(is_right)
}

/// From where a page is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The newest line.
    Newest,
    /// The last line of a day, and no other day.
    Day(String),
    /// Where a page said that the next one begins.
    Place(Place),
    /// The same, of pages of one day.
    Within(Place),
}

/// How much is done for a page.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Dialogues.
    pub dialogues: usize,
    /// Octets of files that are read, as far as a stretch more.
    pub read: u64,
    /// Octets of lines that are kept.
    pub kept: usize,
    /// Time for all of it.
    pub time: Duration,
}

/// A dialogue, as lines of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// Where it begins.
    pub place: Place,
    /// The name in its lines.
    pub name: String,
    /// Whether it really begins there, or in an earlier file or too long before.
    pub has_begin: bool,
    /// Its lines.
    pub lines: Vec<String>,
    /// Lines at its end for which there was no room.
    pub left_out: usize,
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub dialogues: Vec<Dialogue>,
    /// Where the next one begins; nothing when there is no more.
    pub next: Option<Place>,
    /// Behind the last line that there is.
    pub end: Option<Place>,
    /// Octets that were looked at for it.
    pub read: u64,
    /// When the oldest line of these was written.
    pub until: Option<String>,
}

/// The days of which there are files, the newest first.
pub fn days(directory: &Path) -> io::Result<Vec<String>> {
    Ok(files(directory)?.iter().rev().map(|path| day(path).to_owned()).collect())
}

/// A page of what is wanted.
pub fn page(directory: &Path, wanted: &Wanted, start: &Start, limits: Limits) -> io::Result<Page> {
    let begun_at = Instant::now();
    let mut files = files(directory)?;
    let end = match files.last() {
        Some(newest) => Some(Place { day: day(newest).to_owned(), octet: length(newest)? }),
        None => None,
    };
    let mut place = match start {
        Start::Newest => end.clone(),
        Start::Day(day) => Some(Place { day: day.clone(), octet: u64::MAX }),
        Start::Place(place) | Start::Within(place) => Some(place.clone()),
    };
    if let (Start::Day(only) | Start::Within(Place { day: only, .. }), files) = (start, &mut files) {
        files.retain(|path| day(path) == only);
    }
    let mut looking = Looking {
        wanted,
        traces: Traces::of(wanted),
        limits,
        begun_at,
        pace: Pace::begin(),
        is_over: false,
        horizon: wanted.post.map(Horizon::of),
        found: Vec::new(),
        room: limits.kept,
        read: 0,
        until: None,
        unbegun: None,
    };
    let mut next = None;
    while let Some(from) = place.take() {
        // What was removed meanwhile is passed over.
        let Some(path) = files.iter().rev().find(|path| day(path) <= from.day.as_str()) else { break };
        let octet = if day(path) == from.day { from.octet } else { u64::MAX };
        let file = Place { day: day(path).to_owned(), octet };
        match looking.look(path, &file)? {
            Ended::Full(place) => next = Some(place),
            Ended::Begin if looking.is_over => next = earlier(&files, path),
            Ended::Begin => place = earlier(&files, path),
            Ended::Behind => {}
        }
    }
    let dialogues = looking.ordered(start, next.as_ref());
    Ok(Page { dialogues, next, end, read: looking.read, until: looking.until })
}

/// Behind the end of the file before this one.
fn earlier(files: &[PathBuf], path: &Path) -> Option<Place> {
    let older = files.iter().rev().find(|other| day(other) < day(path))?;
    Some(Place { day: day(older).to_owned(), octet: u64::MAX })
}

/// How the look through a file ended.
enum Ended {
    /// There is no more room, or no more time; it goes on there.
    Full(Place),
    /// At its beginning.
    Begin,
    /// What is before is too old.
    Behind,
}

struct Looking<'a> {
    wanted: &'a Wanted,
    traces: Traces,
    limits: Limits,
    begun_at: Instant,
    pace: Pace,
    /// Whether there is no time, or no more may be read.
    is_over: bool,
    /// How far back it goes, where one post is wanted.
    horizon: Option<Horizon>,
    found: Vec<Dialogue>,
    /// Octets of lines that still may be kept.
    room: usize,
    read: u64,
    until: Option<String>,
    /// What the newest stretch has of dialogues that begin before it, and where the last line
    /// of each is; of a post, what each stretch has, as there may be no further page.
    unbegun: Option<Vec<(u64, Dialogue)>>,
}

impl Looking<'_> {
    /// Looks for what begins before a place, stretch after stretch.
    fn look(&mut self, path: &Path, from: &Place) -> io::Result<Ended> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let place = |octet| Place { day: from.day.clone(), octet };
        let mut before = from.octet.min(length);
        while before > 0 {
            let looked_at = Instant::now();
            let begin = before.saturating_sub(self.pace.size);
            let (octets, first) = stretch(&mut file, begin, (before + TAIL).min(length))?;
            let last = self.traces.last(&octets);
            if let Some(last) = last.filter(|_| self.pace.is_leaping) {
                // Nothing begins behind the line that names it.
                let rest = octets.get(last..).unwrap_or_default();
                let end = memchr::memchr(b'\n', rest).map_or(octets.len(), |at| last + at + 1);
                let landed = before.min(first + end as u64);
                self.read += before - landed;
                before = landed;
                self.pace.land();
                continue;
            }
            self.read += before - begin;
            self.until = first_stamp(&octets).map(str::to_owned).or(self.until.take());
            let own = usize::try_from(before.saturating_sub(first)).unwrap_or(usize::MAX);
            let own = octets.get(..own).unwrap_or(&octets);
            let is_behind = self.horizon.as_ref().is_some_and(|horizon| horizon.is_behind(own));
            match last {
                Some(_) => {
                    if let Some(octet) = self.sift(&octets, first, begin..before, &from.day) {
                        return Ok(Ended::Full(place(octet)));
                    }
                }
                // The newest stretch has nothing of it.
                None if self.horizon.is_none() => drop(self.unbegun.get_or_insert_default()),
                None => {}
            }
            if is_behind {
                return Ok(Ended::Behind);
            }
            before = begin;
            self.pace.is_leaping = last.is_none();
            let left = self.limits.time.saturating_sub(self.begun_at.elapsed());
            let has_time = self.pace.goes_on(octets.len() as u64, looked_at.elapsed(), left);
            self.is_over = !has_time || self.read >= self.limits.read;
            if self.is_over && before > 0 {
                return Ok(Ended::Full(place(before)));
            }
        }
        Ok(Ended::Begin)
    }

    /// Takes what is wanted of a stretch; where the next page begins, if this one is full.
    fn sift(&mut self, octets: &[u8], first: u64, own: Range<u64>, day: &str) -> Option<u64> {
        let mut all = parts(octets, first);
        all.retain(|part| part.begins_at() < own.end && self.wanted.has(part));
        self.horizon.iter_mut().for_each(|horizon| all.iter().for_each(|part| horizon.look(part)));
        let (begun, mut rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|part| part.has_begin || own.start == 0);
        // What names the post behind this stretch was told with that.
        rest.retain(|part| self.wanted.post.is_none_or(|id| part.names(id, own.end)));
        self.keep(&rest, day);
        for part in begun.iter().rev() {
            let is_full = self.found.len() >= self.limits.dialogues;
            match take(part, day, &mut self.room).filter(|_| !is_full) {
                Some(dialogue) => self.found.push(dialogue),
                None => return Some(part.begins_at() + 1),
            }
        }
        None
    }

    /// Keeps what goes on in a stretch and did not begin there.
    fn keep(&mut self, rest: &[Part<'_>], day: &str) {
        if self.unbegun.is_some() && self.horizon.is_none() {
            return;
        }
        let kept = self.unbegun.get_or_insert_default();
        let mut room = self.limits.kept / 2;
        kept.iter().for_each(|(_, one)| room = room.saturating_sub(one.lines.iter().map(String::len).sum()));
        for part in rest {
            let last = part.lines.last().map_or(0, |(at, _)| *at);
            if kept.iter().any(|(_, one)| one.name == part.name) {
                continue;
            }
            let Some(dialogue) = take(part, day, &mut room) else { return };
            kept.push((last, dialogue));
        }
    }

    /// The newest first; on the first page, before them, those that began too long ago, and
    /// went on after the oldest of the page had begun. Of a post that is what brought it, which
    /// was there before its attempts.
    fn ordered(&mut self, start: &Start, next: Option<&Place>) -> Vec<Dialogue> {
        let mut found = std::mem::take(&mut self.found);
        if self.horizon.is_some() {
            let mut begun = self.unbegun.take().unwrap_or_default();
            // What goes on before the next page is there on it.
            begun.retain(|(_, one)| {
                next.is_none_or(|next| one.place >= *next)
                    && !found.iter().any(|other| other.name == one.name)
            });
            found.extend(begun.into_iter().map(|(_, one)| one));
            return found;
        }
        let goes_on = match start {
            Start::Newest | Start::Day(_) => self.unbegun.take().unwrap_or_default(),
            Start::Place(_) | Start::Within(_) => Vec::new(),
        };
        let is_old = |day: &str, last: u64| {
            found.last().is_some_and(|oldest| oldest.place.day == day && last < oldest.place.octet)
        };
        let is_found = |name: &str| found.iter().any(|other| other.name == name);
        let goes_on =
            goes_on.into_iter().filter(|(last, one)| !is_old(&one.place.day, *last) && !is_found(&one.name));
        let mut all: Vec<_> = goes_on.map(|(_, one)| one).collect();
        all.extend(found);
        all
    }
}

/// A part with as many of its lines as there is room for, and its first one at least;
/// nothing when there is no room at all.
fn take(part: &Part<'_>, day: &str, room: &mut usize) -> Option<Dialogue> {
    if *room == 0 {
        return None;
    }
    let mut lines = Vec::new();
    for (_, line) in &part.lines {
        if line.len() > *room && !lines.is_empty() {
            *room = 0;
            break;
        }
        *room = room.saturating_sub(line.len());
        lines.push((*line).to_owned());
    }
    Some(Dialogue {
        place: Place { day: day.to_owned(), octet: part.begins_at() },
        name: part.name.to_owned(),
        has_begin: part.has_begin,
        left_out: part.lines.len() - lines.len(),
        lines,
    })
}

/// The lines that begin in a stretch, and where the first one does; a line that is cut at
/// its beginning is not among them.
pub(super) fn stretch(file: &mut File, begin: u64, end: u64) -> io::Result<(Vec<u8>, u64)> {
    // The octet before says whether a line begins at `begin`.
    let from = begin.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let length = end.saturating_sub(from);
    let mut octets = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut octets)?;
    if begin == 0 {
        return Ok((octets, 0));
    }
    let cut = octets.iter().position(|octet| *octet == b'\n').map_or(octets.len(), |at| at + 1);
    octets.drain(..cut);
    Ok((octets, from + cut as u64))
}

pub(super) fn length(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
