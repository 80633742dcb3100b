//! How files of records are called, and when the next one begins: a rule.
//!
//! The last part of a path may have the date and the time, in UTC, at which its file
//! began: `acct-%Y-%m-%d.ndjson`. Where the next file would be called the same, the one
//! that ends gets a number, and without a date in its name that of its day:
//! `acct-2026-01-31-0001.ndjson`. Numbers grow. So whoever looks for files that are
//! complete finds all but one.

use crate::post::Timestamp;
use regex::Regex;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a date may have: the letter behind `%`, and where it stands in RFC 3339.
const PARTS: [(char, std::ops::Range<usize>); 6] =
    [('Y', 0..4), ('m', 5..7), ('d', 8..10), ('H', 11..13), ('M', 14..16), ('S', 17..19)];

/// Digits of a number; one that has one more still is a number.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=18;

/// The characters of a name; nothing stands for a digit.
type Shape = Vec<Option<char>>;

/// What is added to the name of a file that is compressed.
pub(super) const PACKED: &str = ".gz";
/// What is added while it is written.
pub(super) const UNFINISHED: &str = ".gz.new";

/// The name of a family of files.
#[derive(Clone, Debug)]
pub struct Naming {
    directory: PathBuf,
    /// Up to the last full stop, and from there.
    name: [Vec<Piece>; 2],
    has_date: bool,
    ours: Regex,
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Part(std::ops::Range<usize>),
}

/// What a file of a directory is to its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kin {
    /// One that was written, or is.
    Plain,
    /// One that is compressed.
    Packed,
    /// One that was not compressed to its end.
    Unfinished,
}

impl Naming {
    /// The names that a path stands for; the error says what to write instead.
    pub fn of(path: &Path) -> Result<Naming, String> {
        let (Some(name), Some(directory)) = (path.file_name().and_then(OsStr::to_str), path.parent()) else {
            return Err("this is no file; write a path such as \"log/acct-%Y-%m-%d.ndjson\"".to_owned());
        };
        if directory.to_string_lossy().contains('%') {
            return Err("a date can stand in the name of the file alone, not in its directory".to_owned());
        }
        let at = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
        let (stem, extension) = name.split_at(at);
        if extension.eq_ignore_ascii_case(PACKED) {
            return Err("the name ends in .gz, which is for compressed files; leave that out".to_owned());
        }
        let name = [pieces(stem)?, pieces(extension)?];
        let has_date = name.iter().flatten().any(|piece| matches!(piece, Piece::Part(_)));
        let [stem, extension] = name.each_ref().map(|pieces| expression(pieces));
        let date = if has_date { "" } else { "-\\d{4}-\\d{2}-\\d{2}" };
        let (least, most) = (DIGITS.start(), DIGITS.end());
        let ours = format!("^{stem}(?:{date}-(\\d{{{least},{most}}}))?{extension}(\\.gz|\\.gz\\.new)?$");
        let ours = Regex::new(&ours).map_err(|error| error.to_string())?;
        Ok(Naming { directory: directory.to_owned(), name, has_date, ours })
    }

    /// The same below a directory, if they are not somewhere for certain.
    pub fn below(self, directory: &Path) -> Naming {
        Naming { directory: directory.join(&self.directory), ..self }
    }

    /// Whether a file with this name could be one of these, in the same directory.
    pub fn claims(&self, name: &OsStr) -> bool {
        name.to_str().is_some_and(|name| self.kin(name).is_some())
    }

    /// Whether a file of one could be taken for one of the other, in the same directory, on
    /// whatever days.
    pub fn meets(&self, other: &Naming) -> bool {
        let others = other.shapes();
        self.shapes().iter().any(|one| others.iter().any(|other| is_like(one, other)))
    }

    /// The shapes of all its names.
    fn shapes(&self) -> Vec<Shape> {
        let [stem, extension] = self.name.each_ref().map(|pieces| shape(pieces));
        let day: &[usize] = if self.has_date { &[] } else { &[4, 2, 2] };
        let number = |digits: usize| {
            let parts = day.iter().copied().chain([digits]);
            parts.flat_map(|digits| std::iter::once(Some('-')).chain(std::iter::repeat_n(None, digits)))
        };
        let numbers = std::iter::once(Shape::new()).chain(DIGITS.map(|digits| number(digits).collect()));
        let all = numbers.flat_map(|number| {
            ["", PACKED, UNFINISHED].map(|end| {
                let end = end.chars().map(Some);
                stem.iter().chain(&number).chain(&extension).copied().chain(end).collect()
            })
        });
        all.collect()
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Path {
        match self.directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.directory,
        }
    }

    /// The file that is written from this time on.
    pub(super) fn live(&self, began_at: Timestamp) -> PathBuf {
        let [stem, extension] = self.written(began_at);
        self.directory.join(stem + &extension)
    }

    /// What a file that began then is called once it has ended, as the one with this
    /// number.
    pub(super) fn ended(&self, began_at: Timestamp, number: u64) -> PathBuf {
        let [mut stem, extension] = self.written(began_at);
        if !self.has_date {
            let at = began_at.to_string();
            // Writing to a string cannot fail.
            let _ = write!(stem, "-{}", at.get(..10).unwrap_or(&at));
        }
        self.directory.join(format!("{stem}-{number:04}{extension}"))
    }

    /// The number for a file that ends, where files with these names are.
    pub(super) fn next_number<'a>(&self, names: impl Iterator<Item = &'a str>) -> u64 {
        let number = |name| self.ours.captures(name)?.get(1)?.as_str().parse::<u64>().ok();
        names.filter_map(number).max().unwrap_or(0) + 1
    }

    /// What a file with this name is to these, if it is one of them.
    pub(super) fn kin(&self, name: &str) -> Option<Kin> {
        self.ours.captures(name).map(|found| match found.get(2).map(|end| end.as_str()) {
            None => Kin::Plain,
            Some(PACKED) => Kin::Packed,
            Some(_) => Kin::Unfinished,
        })
    }

    fn written(&self, at: Timestamp) -> [String; 2] {
        let at = at.to_string();
        self.name.each_ref().map(|pieces| {
            let written = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Part(part) => at.get(part.clone()).unwrap_or_default(),
            });
            written.collect()
        })
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('%') {
        let letter = behind.chars().next();
        let part = PARTS.iter().find(|(known, _)| Some(*known) == letter);
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(match part {
            Some((_, part)) => Piece::Part(part.clone()),
            None if letter == Some('%') => Piece::Text("%".to_owned()),
            None => {
                return Err(
                    "behind % stands Y, m, d, H, M or S, for the date and time in UTC; write %% for %"
                        .to_owned(),
                );
            }
        });
        rest = behind.get(1..).unwrap_or_default();
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// What fits every name that the pieces stand for.
fn expression(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| match piece {
        Piece::Text(text) => regex::escape(text),
        Piece::Part(part) => format!("\\d{{{}}}", part.len()),
    };
    pieces.iter().map(one).collect()
}

/// The shape of what the pieces stand for.
fn shape(pieces: &[Piece]) -> Shape {
    let one = |piece: &Piece| -> Shape {
        match piece {
            Piece::Text(text) => text.chars().map(Some).collect(),
            Piece::Part(part) => vec![None; part.len()],
        }
    };
    pieces.iter().flat_map(one).collect()
}

/// Whether a name has both shapes.
fn is_like(one: &[Option<char>], other: &[Option<char>]) -> bool {
    let is_same = |(one, other): (&Option<char>, &Option<char>)| match (one, other) {
        (Some(one), Some(other)) => one == other,
        (Some(char), None) | (None, Some(char)) => char.is_numeric(),
        (None, None) => true,
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// When that time's file begins and ends: times are counted from the epoch, so that days
/// are those of UTC. A time that is no more than a millisecond is one.
pub(super) fn period(at: Timestamp, rotate: Duration) -> std::ops::Range<u64> {
    let length = u64::try_from(rotate.as_millis()).unwrap_or(u64::MAX).max(1);
    let start = at.0 - at.0 % length;
    start..start.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:34:56.789Z
    const AT: Timestamp = Timestamp(1_769_862_896_789);

    fn shown(path: PathBuf) -> String {
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn files_are_called_by_their_dates_or_numbers() {
        for (path, live, ended) in [
            ("log/acct-%Y-%m-%d.ndjson", "log/acct-2026-01-31.ndjson", "log/acct-2026-01-31-0007.ndjson"),
            ("/a/acct.csv", "/a/acct.csv", "/a/acct-2026-01-31-0007.csv"),
            ("acct", "acct", "acct-2026-01-31-0007"),
            ("%%a.b.%H%M%S.x", "%a.b.123456.x", "%a.b.123456-0007.x"),
            (".acct", ".acct", ".acct-2026-01-31-0007"),
        ] {
            let naming = Naming::of(Path::new(path)).unwrap();
            assert_eq!(
                (shown(naming.live(AT)), shown(naming.ended(AT, 7))),
                (live.to_owned(), ended.to_owned())
            );
            let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
            let (live, ended) = (name(live), name(ended));
            let names = [format!("{ended}.gz"), live.clone(), "other".to_owned()];
            assert_eq!(naming.next_number(names.iter().map(String::as_str)), 8, "{path}");
            assert_eq!(naming.next_number([live.as_str()].into_iter()), 1, "{path}");
            for (name, kin) in [
                (live.clone(), Some(Kin::Plain)),
                (ended.clone(), Some(Kin::Plain)),
                (format!("{ended}.gz"), Some(Kin::Packed)),
                (format!("{live}.gz"), Some(Kin::Packed)),
                (format!("{live}.gz.new"), Some(Kin::Unfinished)),
                (format!("{live}.bak"), None),
                (format!("x{live}"), None),
                (live.replacen(|char: char| char.is_alphabetic(), "\u{e4}", 1), None),
            ] {
                assert_eq!(naming.kin(&name), kin, "{name} of {path}");
            }
        }
        for path in ["", "/", "a/..", "log/%Y/acct", "acct-%y", "acct-%", "acct.gz", "acct-%\u{e4}"] {
            assert!(Naming::of(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn families_meet_where_a_file_could_be_of_both() {
        for (one, other, meet) in [
            ("a.x", "a.x", true),
            ("a.x", "a-%Y-%m-%d.x", true),
            ("a-%Y.x", "a-2026.x", true),
            ("a.x", "a-2026-01-31-0001.x", true),
            ("a.x", "a.x.gz.new", true),
            ("a.x", "a-2026.x", false),
            ("a.x", "a-%Y-%m.x", false),
            ("a.x", "b.x", false),
            ("a-%Y-%m-%d.x", "a-%Y-%m-%d.y", false),
            // On some days.
            ("a-%d-31.x", "a-30-%d.x", true),
            ("a-%d.x", "a-%H.x", true),
            ("a-20%m.x", "a-%Y.x", true),
            ("a-%Y.x", "a-%Y-%m.x", false),
            ("a-%Y.x", "a-%Y-%H%M.x", true),
            ("a-%d-1.x", "a-2-%d.x", false),
        ] {
            let [one_is, other_is] = [one, other].map(|name| Naming::of(Path::new(name)).unwrap());
            assert_eq!((one_is.meets(&other_is), other_is.meets(&one_is)), (meet, meet), "{one} {other}");
        }
        // What is of nobody's family has no number in it.
        let naming = Naming::of(Path::new("a.x")).unwrap();
        for (name, next) in [
            ("a-2026.x", 1),
            ("a-2026-01-31.x", 1),
            ("a-2026-01-31-0001.x", 2),
            ("a-2026-01-31-18446744073709551615.x", 1),
        ] {
            assert_eq!(naming.next_number([name].into_iter()), next, "{name}");
        }
    }

    #[test]
    fn periods_are_those_of_utc() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond().try_into().unwrap();
        for (time, hours, start, end) in [
            ("2026-01-31T12:34:56.789Z", 24, "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("2026-01-31T00:00:00Z", 24, "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("2026-01-30T23:59:59.999Z", 24, "2026-01-30T00:00:00Z", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:34:56Z", 1, "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z"),
            ("1970-01-01T00:00:00Z", 6, "1970-01-01T00:00:00Z", "1970-01-01T06:00:00Z"),
        ] {
            assert_eq!(
                period(Timestamp(at(time)), Duration::from_hours(hours)),
                at(start)..at(end),
                "{time}"
            );
        }
        assert_eq!(period(Timestamp(5), Duration::ZERO), 5..6);
        assert_eq!(period(Timestamp(5), Duration::MAX), 0..u64::MAX);
    }
}
