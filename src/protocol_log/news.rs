//! What is added to the log, as far as it is wanted, from a place on.
//!
//! As much is read as can be shown: of more, the newest. All of this blocks.

use super::pages::{Place, length, stretch};
use super::parts::{Wanted, parts};
use super::search::{day, files};
use std::fs::File;
use std::io;
use std::path::Path;

/// How far the beginnings of dialogues are looked for whose new lines are wanted.
const CONTEXT: u64 = 1 << 20;
/// Octets of new lines at a time.
pub(super) const NEWS: u64 = 256 << 10;

/// Lines that were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// In the order of the log.
    pub lines: Vec<String>,
    /// Behind the last line that was looked at.
    pub end: Option<Place>,
    /// Octets that were passed over, as there were too many.
    pub skipped: u64,
}

/// What was added of what is wanted behind a place; from the end on, if there is none.
pub fn news(directory: &Path, wanted: &Wanted, behind: Option<Place>) -> io::Result<News> {
    let files = files(directory)?;
    let Some(newest) = files.last() else { return Ok(News::default()) };
    let Some(behind) = behind else {
        let end = Some(Place { day: day(newest).to_owned(), octet: length(newest)? });
        return Ok(News { end, ..News::default() });
    };
    let next = |found: &str| files.iter().find(|path| day(path) > found);
    let (path, octet) = match files.iter().find(|path| day(path) == behind.day) {
        Some(path) => (path, behind.octet),
        None => (next(&behind.day).unwrap_or(newest), 0),
    };
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = octet.min(length).max(length.saturating_sub(NEWS));
    // Whose lines they are does not matter where all are wanted.
    let context = if *wanted == Wanted::default() { 0 } else { CONTEXT };
    let (octets, first) = stretch(&mut file, from.saturating_sub(context), length)?;
    let whole = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let octets = octets.get(..whole).unwrap_or_default();
    let all = parts(octets, first);
    let wanted = all.iter().filter(|part| wanted.has(part)).flat_map(|part| &part.lines);
    let mut lines: Vec<_> = wanted.filter(|(at, _)| *at >= from).collect();
    lines.sort_unstable_by_key(|(at, _)| *at);
    let end = (first + whole as u64).max(octet.min(length));
    let at_end = end >= length;
    let end = match next(day(path)).filter(|_| at_end) {
        Some(next) => Place { day: day(next).to_owned(), octet: 0 },
        None => Place { day: day(path).to_owned(), octet: end },
    };
    let lines = lines.into_iter().map(|(_, line)| (*line).to_owned()).collect();
    Ok(News { lines, end: Some(end), skipped: from - octet.min(from) })
}
