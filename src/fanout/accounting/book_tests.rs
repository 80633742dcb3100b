//! Files of records over days, crashes and what others do to them; times are told.

use super::super::accounts::Packing;
use super::super::{Fields, Filter, Naming, Privacy, RECORD_TYPES};
use super::*;
use crate::event::EventId;
use crate::tenant::Tenant;
use std::time::{Duration, UNIX_EPOCH};

/// 2026-01-31T00:00:00Z
const DAY: u64 = 1_769_817_600_000;
const HOUR: u64 = 3_600_000;

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        Scene(tempfile::tempdir().unwrap())
    }

    fn terms(&self, name: &str, layout: Layout) -> Terms {
        let path = self.0.path().join(name);
        Terms {
            naming: Naming::of(&path).unwrap(),
            path,
            layout,
            types: RECORD_TYPES.iter().map(|(_, kind)| *kind).collect(),
            fields: Fields::select(&["reason"]).unwrap(),
            privacy: Privacy::Retain,
            filter: Filter::default(),
            max_octets: 200,
            rotate: Duration::from_hours(24),
            keep: Duration::from_hours(48),
            packing: Packing::Gzip,
        }
    }

    /// The book of a process that begins.
    fn book(&self, terms: &Terms) -> Book {
        let notes = self.0.path().join("notes");
        let none = Bookmark { path: terms.path.clone(), position: Position(0), file: None };
        let noted = Bookmark::all(&notes).unwrap().pop().unwrap_or(none);
        Book::new(Arc::new(terms.clone()), notes, noted)
    }

    /// Every file with its text.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: PathBuf| {
            let octets = fs::read(&path).unwrap();
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                String::from_utf8_lossy(&octets).into_owned(),
            )
        };
        let mut files: Vec<_> = entries.filter(|path| path.is_file()).map(text).collect();
        files.sort();
        files
    }

    fn are(&self, expected: &[(&str, &[u64])]) {
        let text = |numbers: &[u64]| numbers.iter().map(|number| line(*number)).collect::<String>();
        let expected: Vec<_> =
            expected.iter().map(|(name, numbers)| ((*name).to_owned(), text(numbers))).collect();
        assert_eq!(self.files(), expected);
    }
}

fn line(number: u64) -> String {
    format!("{{\"type\":\"b\",\"reason\":\"{number}\"}}\n")
}

/// Events at these positions.
fn events(positions: std::ops::RangeInclusive<u64>) -> Vec<(Position, Arc<Event>)> {
    let event = |number| Event {
        id: EventId::new(Timestamp(number), 0),
        name: "post.failed".parse().unwrap(),
        at: Timestamp(number),
        tenant: Tenant::default(),
        data: format!("{{\"reason\":\"{number}\"}}").into(),
    };
    positions.map(|number| (Position(number), Arc::new(event(number)))).collect()
}

fn write(book: &mut Book, positions: std::ops::RangeInclusive<u64>, at: u64) {
    // Others tell the age of a file by when it was written.
    book.look(Timestamp(at)).unwrap();
    book.take(&events(positions), Timestamp(at)).unwrap();
    let written = UNIX_EPOCH + Duration::from_millis(at);
    book.open.as_ref().unwrap().file.set_modified(written).unwrap();
}

#[test]
fn another_file_begins_with_the_day_and_when_one_is_full() {
    let scene = Scene::new();
    let mut book = scene.book(&scene.terms("a-%Y-%m-%d.x", Layout::Ndjson));
    write(&mut book, 1..=2, DAY + HOUR);
    assert_eq!(book.turns_at(), Some(Timestamp(DAY + 24 * HOUR)));
    write(&mut book, 3..=3, DAY + 24 * HOUR - 1);
    write(&mut book, 4..=4, DAY + 24 * HOUR);
    // A clock that goes back begins nothing.
    write(&mut book, 5..=5, DAY + HOUR);
    scene.are(&[("a-2026-01-31.x", &[1, 2, 3]), ("a-2026-02-01.x", &[4, 5])]);
    write(&mut book, 6..=18, DAY + 25 * HOUR);
    let all: Vec<_> = scene.files();
    assert_eq!(all.iter().map(|(_, text)| text.as_str()).collect::<String>().len(), {
        (1..=18).map(|number| line(number).len()).sum::<usize>()
    });
    assert!(all.iter().all(|(_, text)| text.len() <= 200), "{all:?}");
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a-2026-01-31.x", "a-2026-02-01-0001.x", "a-2026-02-01-0002.x", "a-2026-02-01.x"]);
}

#[test]
fn a_file_that_is_ended_early_has_a_number_and_the_next_goes_on() {
    for (name, ended) in [("a.x", "a-2026-01-31-000N.x"), ("a-%Y-%m-%d.x", "a-2026-01-31-000N.x")] {
        let scene = Scene::new();
        let terms = scene.terms(name, Layout::Ndjson);
        let mut book = scene.book(&terms);
        let live = name.replace("%Y-%m-%d", "2026-01-31");
        let ended = |number: u64| scene.0.path().join(ended.replace('N', &number.to_string()));
        assert_eq!(book.turn_early(Timestamp(DAY)).unwrap(), None);
        for number in 1..=2 {
            write(&mut book, number..=number, DAY + HOUR);
            assert_eq!(book.turn_early(Timestamp(DAY + HOUR)).unwrap(), Some(ended(number)));
            assert_eq!(book.turn_early(Timestamp(DAY + HOUR)).unwrap(), None);
            assert_eq!(fs::read_to_string(ended(number)).unwrap(), line(number));
        }
        // What comes next is in the next, also after a kill.
        drop(book);
        let mut book = scene.book(&terms);
        write(&mut book, 3..=3, DAY + HOUR);
        assert_eq!(fs::read_to_string(scene.0.path().join(live)).unwrap(), line(3));
        assert_eq!(fs::read_to_string(ended(2)).unwrap(), line(2));
    }
}

#[test]
fn a_name_without_a_date_is_that_of_the_present() {
    let scene = Scene::new();
    let terms = scene.terms("a.x", Layout::Ndjson);
    let mut book = scene.book(&terms);
    write(&mut book, 1..=1, DAY);
    write(&mut book, 2..=2, DAY + 24 * HOUR);
    scene.are(&[("a-2026-01-31-0001.x", &[1]), ("a.x", &[2])]);
    // A day in which nothing happened leaves nothing.
    book.look(Timestamp(DAY + 48 * HOUR)).unwrap();
    book.look(Timestamp(DAY + 72 * HOUR)).unwrap();
    scene.are(&[("a-2026-01-31-0001.x", &[1]), ("a-2026-02-01-0002.x", &[2]), ("a.x", &[])]);
    // Nor does the process have to be there at midnight.
    write(&mut book, 3..=3, DAY + 73 * HOUR);
    book.note().unwrap();
    let mut book = scene.book(&terms);
    write(&mut book, 4..=4, DAY + 97 * HOUR);
    let names: Vec<_> = scene.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a-2026-01-31-0001.x", "a-2026-02-01-0002.x", "a-2026-02-03-0003.x", "a.x"]);
}

#[test]
fn what_was_not_noted_is_taken_away_and_written_again() {
    let terms = |scene: &Scene| scene.terms("a.x", Layout::Ndjson);
    for torn in ["", "{\"type\":\"b\",\"rea", "\n", "{\"type\":\"b\",\"reason\":\"4\"}\n{"] {
        let scene = Scene::new();
        let mut book = scene.book(&terms(&scene));
        write(&mut book, 1..=2, DAY);
        book.note().unwrap();
        write(&mut book, 3..=3, DAY);
        drop(book);
        let path = scene.0.path().join("a.x");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + torn).unwrap();
        let mut book = scene.book(&terms(&scene));
        book.look(Timestamp(DAY)).unwrap();
        assert_eq!((book.position(), book.noted()), (Position(2), Position(2)));
        write(&mut book, 3..=4, DAY);
        scene.are(&[("a.x", &[1, 2, 3, 4])]);
        // A file that nobody knows loses what is no line, and no more.
        let other = scene.0.path().join("b");
        fs::rename(&path, &other).unwrap();
        fs::write(&path, line(9) + torn).unwrap();
        book.look(Timestamp(DAY)).unwrap();
        assert_eq!(book.position(), Position(4));
        write(&mut book, 5..=5, DAY);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.starts_with(&line(9)) && kept.ends_with(&line(5)), "{kept}");
        assert!(!kept.contains("rea{") && !kept.contains("{{"), "{kept}");
    }
}

#[test]
fn what_was_not_noted_is_taken_away_from_a_file_that_is_no_longer_written() {
    for (name, hours, moved, old) in [
        ("a-%Y-%m-%d.x", 24, None, "a-2026-01-31.x"),
        ("a.x", 24, None, "a-2026-01-31-0001.x"),
        ("a.x", 1, Some("a.x.1"), "a.x.1"),
    ] {
        let scene = Scene::new();
        let terms = scene.terms(name, Layout::Ndjson);
        let mut book = scene.book(&terms);
        write(&mut book, 1..=2, DAY);
        book.note().unwrap();
        write(&mut book, 3..=3, DAY);
        let path = book.path().unwrap().to_owned();
        drop(book);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "{\"type\":\"b\",\"rea").unwrap();
        let written = UNIX_EPOCH + Duration::from_millis(DAY);
        File::open(&path).unwrap().set_modified(written).unwrap();
        if let Some(moved) = moved {
            fs::rename(&path, scene.0.path().join(moved)).unwrap();
        }
        let mut book = scene.book(&terms);
        write(&mut book, 3..=4, DAY + hours * HOUR);
        let mut expected = [line(1) + &line(2), line(3) + &line(4)];
        let files = scene.files();
        let mut texts: Vec<_> = files.iter().map(|(_, text)| text.clone()).collect();
        texts.sort();
        expected.sort();
        assert_eq!(texts, expected, "{name}");
        assert!(files.contains(&(old.to_owned(), line(1) + &line(2))), "{files:?}");
    }
}

#[test]
fn a_clock_that_was_far_ahead_is_not_waited_for() {
    let scene = Scene::new();
    let mut book = scene.book(&scene.terms("a-%Y-%m-%d.x", Layout::Ndjson));
    write(&mut book, 1..=1, DAY + HOUR);
    write(&mut book, 2..=2, DAY + 240 * HOUR);
    write(&mut book, 3..=3, DAY + 2 * HOUR);
    write(&mut book, 4..=4, DAY + 24 * HOUR);
    scene.are(&[("a-2026-01-31.x", &[1, 3]), ("a-2026-02-01.x", &[4]), ("a-2026-02-10.x", &[2])]);
}

#[test]
fn a_file_whose_records_look_otherwise_ends() {
    let scene = Scene::new();
    for (layout, fields, position) in [
        (Layout::Ndjson, "reason", 1),
        (Layout::Csv, "reason", 2),
        (Layout::Csv, "rcpt", 3),
        (Layout::Ndjson, "rcpt", 4),
    ] {
        let terms = Terms { fields: Fields::select(&[fields]).unwrap(), ..scene.terms("a.x", layout) };
        let mut book = scene.book(&terms);
        write(&mut book, position..=position, DAY);
        book.note().unwrap();
    }
    let texts: Vec<_> = scene.files().into_iter().map(|(_, text)| text).collect();
    let json = line(1);
    assert_eq!(texts, [&json, "type,reason\r\nb,2\r\n", "type,rcpt\r\nb,\r\n", "{\"type\":\"b\"}\n"]);
}

#[test]
fn what_is_no_file_is_refused() {
    let scene = Scene::new();
    let path = scene.0.path().join("a.x");
    let mut book = scene.book(&scene.terms("a.x", Layout::Ndjson));
    std::os::unix::fs::symlink(scene.0.path().join("elsewhere"), &path).unwrap();
    assert!(book.look(Timestamp(DAY)).is_err());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(book.look(Timestamp(DAY)).is_err());
    assert_eq!(book.position(), Position(0));
    fs::remove_dir(&path).unwrap();
    write(&mut book, 1..=1, DAY);
    scene.are(&[("a.x", &[1])]);
}

#[test]
fn files_that_have_ended_are_packed_once_and_go_when_their_time_is_over() {
    let scene = Scene::new();
    let terms = scene.terms("a.x", Layout::Ndjson);
    let mut book = scene.book(&terms);
    for day in 0..3 {
        write(&mut book, day + 1..=day + 1, DAY + day * 24 * HOUR);
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let at = |hours| UNIX_EPOCH + Duration::from_millis(DAY + hours * HOUR);
    let mut settle_by = |clocks: [u64; 2]| {
        let ended = book.ended().unwrap().unwrap();
        ended.settle(clocks.map(at), &is_over).unwrap();
        let names: Vec<_> = scene.files().into_iter().map(|(name, _)| name).collect();
        names.join(" ")
    };
    let mut settle = |hours| settle_by([hours, hours]);
    let plain = scene.0.path().join("a-2026-01-31-0001.x");
    let first = fs::read(&plain).unwrap();
    assert_eq!(settle(47), "a-2026-01-31-0001.x.gz a-2026-02-01-0002.x.gz a.x");
    // It was packed, and the process ended before the plain one was removed.
    fs::write(&plain, &first).unwrap();
    let unfinished = scene.0.path().join("a-2026-02-01-0002.x.gz.new");
    fs::write(&unfinished, "").unwrap();
    assert_eq!(settle(47), "a-2026-01-31-0001.x.gz a-2026-02-01-0002.x.gz a.x");
    // Another file of that name is not put in its place.
    fs::write(&plain, line(7)).unwrap();
    File::open(&plain).unwrap().set_modified(at(0)).unwrap();
    assert_eq!(settle(47).split(' ').count(), 4);
    assert!(!settle(49).contains("a-2026-01-31-0001"));
    assert!(settle(49).contains("a-2026-02-01-0002"));
    // A clock that jumps ahead removes nothing; nor does one that began behind keep all.
    let kept = settle(49);
    assert_eq!(settle_by([24 * 365 * 20, 49]), kept);
    assert_eq!(settle_by([49, 0]), kept);
    assert_eq!(settle_by([24 * 365 * 20, 24 * 365 * 20]), "a.x");
}
