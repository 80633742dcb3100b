//! Pages of logs that are made up: of two days, with sessions whose lines are mixed.

use super::super::news::{NEWS, News, news};
use super::super::pace::FIRST;
use super::*;
use crate::post::{MessageId, PostId, Timestamp};
use std::fs::{self, OpenOptions};
use std::io::Write as _;

const DAY: Duration = Duration::from_secs(24 * 3600);
const LIMITS: Limits =
    Limits { dialogues: 1000, read: 1 << 40, kept: 1 << 30, time: Duration::from_secs(600) };

/// Sessions of three lines each, whose lines are mixed with those of the next three.
fn sessions(day: &str, count: usize) -> String {
    let mut lines = Vec::new();
    for at in 0..count + 6 {
        for (back, text) in
            [(0, "* connected from 192.0.2.1:1"), (3, "< EHLO a.example"), (6, "* closed after a while")]
        {
            if let Some(number) = at.checked_sub(back).filter(|number| *number < count) {
                lines.push(format!("{day}T00:00:00.000Z S{number:05} {text}\n"));
            }
        }
    }
    lines.concat()
}

fn file(directory: &Path, day: &str, text: &str) {
    fs::write(directory.join(format!("protocol-{day}.log")), text).unwrap();
}

/// All pages, one after another: names and numbers of lines.
fn all(directory: &Path, wanted: &Wanted, limits: Limits, mut start: Start) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    loop {
        let page = page(directory, wanted, &start, limits).unwrap();
        let begun: Vec<_> = page.dialogues.iter().filter(|one| one.has_begin).collect();
        assert!(begun.len() <= limits.dialogues);
        let told = |one: &Dialogue| (one.place.day.clone(), one.name.clone(), one.lines.len() + one.left_out);
        found.extend(begun.into_iter().map(told));
        match (page.next, &start) {
            (None, _) => return found,
            (Some(next), Start::Day(_) | Start::Within(_)) => start = Start::Within(next),
            (Some(next), _) => start = Start::Place(next),
        }
    }
}

#[test]
fn every_dialogue_is_on_one_page_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let days = [("2026-01-30", 4_000), ("2026-01-31", 12_000)];
    days.iter().for_each(|(day, count)| file(directory.path(), day, &sessions(day, *count)));
    fs::write(directory.path().join("other.log"), sessions("2026-02-01", 9)).unwrap();
    let expected = |days: &[(&str, usize)]| -> Vec<_> {
        let of = |(day, count): &(&str, usize)| {
            let day = (*day).to_owned();
            (0..*count).rev().map(move |number| (day.clone(), format!("S{number:05}"), 3)).collect::<Vec<_>>()
        };
        days.iter().rev().flat_map(of).collect()
    };
    let everything = Wanted::default();
    for limits in [
        LIMITS,
        // A stretch a page.
        Limits { dialogues: usize::MAX, read: 1, ..LIMITS },
        Limits { dialogues: usize::MAX, time: Duration::ZERO, ..LIMITS },
    ] {
        assert!(all(directory.path(), &everything, limits, Start::Newest) == expected(&days), "{limits:?}");
    }
    let one = Start::Day("2026-01-30".to_owned());
    assert!(all(directory.path(), &everything, LIMITS, one) == expected(&days[..1]));
    let none = Start::Day("2026-01-01".to_owned());
    assert_eq!(all(directory.path(), &everything, LIMITS, none), []);
    let wanted = Wanted { session: Some("S00007".to_owned()), ..Wanted::default() };
    for limits in [LIMITS, Limits { read: 1, ..LIMITS }, Limits { time: Duration::ZERO, ..LIMITS }] {
        let found = all(directory.path(), &wanted, limits, Start::Newest);
        let days: Vec<_> = found.iter().map(|(day, _, lines)| (day.as_str(), *lines)).collect();
        assert_eq!(days, [("2026-01-31", 3), ("2026-01-30", 3)], "{limits:?}");
    }
    assert_eq!(super::days(directory.path()).unwrap(), ["2026-01-31", "2026-01-30"]);
}

#[test]
fn a_page_says_how_far_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let text = sessions("2026-01-31", 6_000);
    file(directory.path(), "2026-01-31", &text);
    let nobody = Wanted { peer: Some("192.0.2.9".to_owned()), ..Wanted::default() };
    let first = page(directory.path(), &nobody, &Start::Newest, Limits { read: 1, ..LIMITS }).unwrap();
    assert_eq!((first.dialogues.len(), first.read), (0, FIRST));
    assert_eq!(first.next.unwrap().octet, text.len() as u64 - FIRST);
    assert_eq!(first.until.as_deref(), Some("2026-01-31T00:00:00.000Z"));
    // Where a look ends with a file, it goes on in the one before, or not at all.
    let last = |name: &str| {
        let begin = Start::Place(format!("{name}.{FIRST}").parse().unwrap());
        page(directory.path(), &nobody, &begin, Limits { read: 1, ..LIMITS }).unwrap().next
    };
    assert_eq!(last("2026-01-31"), None);
    file(directory.path(), "2026-01-30", "");
    assert_eq!(last("2026-01-31").unwrap().day, "2026-01-30");
    let whole = page(directory.path(), &nobody, &Start::Newest, LIMITS).unwrap();
    assert_eq!((whole.read, whole.next), (text.len() as u64, None));
    assert_eq!(whole.end.unwrap().octet, text.len() as u64);
    // No more than there is room for, and it goes on with the next one.
    let small = Limits { kept: 100, ..LIMITS };
    let cut = page(directory.path(), &Wanted::default(), &Start::Newest, small).unwrap();
    assert_eq!((cut.dialogues[0].name.as_str(), cut.dialogues[0].left_out), ("S05999", 2));
    assert_eq!(cut.dialogues.len(), 1);
    let next = page(directory.path(), &Wanted::default(), &Start::Place(cut.next.unwrap()), small).unwrap();
    assert_eq!(next.dialogues[0].name, "S05998");
}

#[test]
fn who_goes_on_is_on_the_first_page_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let day = "2026-01-31";
    let text = sessions(day, 9_000).replacen("S00000 < EHLO", "S00000 * EHLO", 1);
    let last = format!("{day}T00:00:01.000Z S00000 < NOOP\n");
    file(directory.path(), day, &format!("{text}{last}"));
    let limits = Limits { dialogues: 2, ..LIMITS };
    let first = page(directory.path(), &Wanted::default(), &Start::Newest, limits).unwrap();
    let told: Vec<_> = first.dialogues.iter().map(|one| (one.name.as_str(), one.has_begin)).collect();
    let goes_on = told.iter().position(|one| *one == ("S00000", false)).unwrap();
    assert!(goes_on < told.len() - 2, "{told:?}");
    assert_eq!(told[told.len() - 2..], [("S08999", true), ("S08998", true)]);
}

#[test]
fn what_is_added_is_told_once_and_with_its_dialogue() {
    let directory = tempfile::tempdir().unwrap();
    let line = |day: &str, text: &str| format!("{day}T00:00:00.000Z {text}\n");
    assert_eq!(news(directory.path(), &Wanted::default(), None).unwrap(), News::default());
    let (friday, saturday) = ("2026-01-30", "2026-01-31");
    file(directory.path(), friday, &line(friday, "S0001 * connected from 192.0.2.1:1"));
    let wanted = Wanted { peer: Some("192.0.2.1".to_owned()), ..Wanted::default() };
    let begin = news(directory.path(), &wanted, None).unwrap();
    assert_eq!((begin.lines.len(), begin.skipped), (0, 0));
    let more = |day: &str, text: &str| {
        let path = directory.path().join(format!("protocol-{day}.log"));
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    more(friday, &line(friday, "S0002 * connected from 192.0.2.2:1"));
    more(friday, &line(friday, "S0001 < QUIT"));
    // A line that is not whole yet.
    more(friday, "2026-01-30T00:00:00.000Z S0001 >");
    let first = news(directory.path(), &wanted, begin.end).unwrap();
    assert_eq!(first.lines, [line(friday, "S0001 < QUIT").trim_end()]);
    let none = news(directory.path(), &wanted, first.end.clone()).unwrap();
    assert_eq!((none.lines.len(), &none.end), (0, &first.end));
    more(friday, " 221 bye\n");
    more(saturday, &line(saturday, "S0003 * connected from 192.0.2.1:3"));
    let second = news(directory.path(), &wanted, none.end).unwrap();
    assert_eq!(second.lines, [line(friday, "S0001 > 221 bye").trim_end()]);
    let third = news(directory.path(), &wanted, second.end).unwrap();
    assert_eq!(third.lines, [line(saturday, "S0003 * connected from 192.0.2.1:3").trim_end()]);
    more(
        saturday,
        &line(saturday, &format!("S0004 * connected from 192.0.2.1:{}", "1".repeat(NEWS as usize))),
    );
    let much = news(directory.path(), &wanted, third.end).unwrap();
    assert!(much.skipped > 0 && much.end.unwrap().octet > NEWS, "{}", much.skipped);
}

#[test]
fn places_are_read_as_they_are_written() {
    let place: Place = "2026-01-31.4711".parse().unwrap();
    assert_eq!(place.to_string(), "2026-01-31.4711");
    for text in ["", "2026-01-31", "2026-01-31.", "2026-01-31.-1", "../../x.1", "2026-01-3.1"] {
        assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
    }
}

#[test]
fn what_was_written_before_a_post_came_is_not_looked_through() {
    let directory = tempfile::tempdir().unwrap();
    let day = "2026-01-31";
    let given_at: Timestamp = "2026-01-31T12:00:00.000Z".parse().unwrap();
    let id = PostId { message: MessageId(given_at.0 << MessageId::COUNTER_BITS), number: 1 };
    let wanted = Wanted { post: Some(id), ..Wanted::default() };
    // A session of a whole morning, with much of others behind its first line.
    let first = format!("{day}T00:00:00.000Z S77777 * connected from 192.0.2.7:1\n");
    let others = sessions(day, 3_000).replace("a.example", &"a".repeat(8_000));
    let queued =
        format!("{day}T12:00:00.002Z S77777 > 250 2.0.0 Message received and queued as {}.\n", id.message);
    let more = sessions(day, 9_000).replace("T00:00:00", "T12:00:01").replace(" S", " S1");
    let tried = |number: u32| {
        let stamp = format!("{day}T12:00:0{number}.000Z");
        format!(
            "{stamp} H0001 * {id} attempt {number}: connected to a.example\n{stamp} H0001 > POST / HTTP/1.1\n"
        )
    };
    let text = [first, others, queued, tried(0), more.clone(), tried(2)].concat();
    file(directory.path(), day, &text);
    file(directory.path(), "2026-01-30", &sessions("2026-01-30", 9_000));
    let told = |start: &Start, limits: Limits| {
        let page = page(directory.path(), &wanted, start, limits).unwrap();
        let names: Vec<_> = page.dialogues.iter().map(|one| (one.name.clone(), one.has_begin)).collect();
        (names, page.next, page.read)
    };
    let (attempt, session) = (("H0001".to_owned(), true), ("S77777".to_owned(), false));
    let (names, next, read) = told(&Start::Newest, LIMITS);
    assert_eq!((names, next), (vec![attempt.clone(), attempt.clone(), session.clone()], None));
    assert!(more.len() as u64 <= read && read < text.len() as u64 - FIRST, "{read}");
    // In pages, nothing is lost either.
    let (names, next, _) = told(&Start::Newest, Limits { dialogues: 1, ..LIMITS });
    assert_eq!(names, std::slice::from_ref(&attempt));
    let (names, next, _) = told(&Start::Place(next.unwrap()), LIMITS);
    assert_eq!((names, next), (vec![attempt, session], None));
    // Without a line that names it, a day before the id is the end.
    let never =
        PostId { message: MessageId(given_at.after(DAY * 3).0 << MessageId::COUNTER_BITS), number: 1 };
    let wanted = Wanted { post: Some(never), ..Wanted::default() };
    assert_eq!(page(directory.path(), &wanted, &Start::Newest, LIMITS).unwrap().read, FIRST);
}

#[test]
fn a_session_that_goes_over_pages_is_told_where_the_post_came_and_where_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let day = "2026-01-31";
    let given_at: Timestamp = "2026-01-31T00:00:00.000Z".parse().unwrap();
    let id = PostId { message: MessageId(given_at.0 << MessageId::COUNTER_BITS), number: 0 };
    let said = |text: &str| format!("{day}T00:00:00.000Z S77777 {text}\n");
    let noise = sessions(day, 1_000);
    assert!(TAIL > 5 * noise.len() as u64 && 5 * noise.len() as u64 > 3 * FIRST);
    let between = format!("{noise}{}", said("< NOOP")).repeat(5);
    let queued = said(&format!("> 250 2.0.0 Message received and queued as {id}."));
    file(directory.path(), day, &[said("* connected from 192.0.2.7:1"), between, queued].concat());
    let wanted = Wanted { post: Some(id), ..Wanted::default() };
    let (mut told, mut start) = (Vec::new(), Start::Newest);
    loop {
        let page = page(directory.path(), &wanted, &start, Limits { read: 1, ..LIMITS }).unwrap();
        told.extend(page.dialogues.iter().map(|one| (one.name.clone(), one.has_begin)));
        match page.next {
            Some(next) => start = Start::Place(next),
            None => break,
        }
    }
    assert_eq!(told, [("S77777".to_owned(), false), ("S77777".to_owned(), true)]);
}
