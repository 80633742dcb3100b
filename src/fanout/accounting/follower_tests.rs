//! Followers that are behind, cannot write, or die; what a file that is to end waits for.

use super::super::accounts::Accounts;
use super::super::accounts::tests::event;
use super::super::{Fields, Filter, Naming, Privacy, RECORD_TYPES};
use super::*;
use crate::event::{Event, Mark, Wanted};
use crate::journal::{self, Position};
use std::fs;
use std::path::Path;

fn terms(path: &Path) -> Terms {
    Terms {
        naming: Naming::of(path).unwrap(),
        path: path.to_owned(),
        layout: super::super::accounts::Layout::Ndjson,
        types: RECORD_TYPES.into_iter().map(|(_, kind)| kind).collect(),
        fields: Fields::all(),
        privacy: Privacy::Retain,
        filter: Filter::default(),
        max_octets: 1 << 20,
        rotate: Duration::from_hours(24),
        keep: Duration::from_hours(48),
        packing: super::super::accounts::Packing::Plain,
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_holds_no_more_than_the_journal_has_room_for() {
    const ROOM: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("journal");
    let options =
        journal::Options { max_octets: ROOM, segment: 64 << 10, ..journal::Options::at(place.clone()) };
    let journal = Journal::open(options).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let next = |_| std::future::pending::<Result<(Mark, Vec<Event>), String>>();
    tokio::spawn(journal.clone().carry(next, stopped));
    // There is a file where its directory is to be.
    let blocked = directory.path().join("log");
    fs::write(&blocked, "").unwrap();
    let accounts = Accounts::new(journal.clone(), Wanted::default(), directory.path().join("notes"));
    accounts.renew(vec![terms(&blocked.join("acct"))]).await;
    // More than stays in memory.
    let data = format!("{{\"more\":\"{}\"}}", "x".repeat(40_000));
    let event = |number| Event { data: data.clone().into(), ..event(number) };
    for number in 0..200 {
        journal.append(Mark::default(), vec![event(number)]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    sleep(2 * TIDY).await;
    let octets: u64 = fs::read_dir(&place).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
    assert!(octets <= ROOM, "{octets}");
    let before = accounts.standings().remove(0);
    assert!(before.trouble.is_some() && before.lost > 0, "{before:?}");
    fs::remove_file(&blocked).unwrap();
    sleep(Duration::from_secs(10)).await;
    let after = accounts.standings().remove(0);
    assert_eq!((after.trouble, after.lost, after.behind), (None, before.lost, 0));
    assert_eq!(after.records + after.lost, 200);
    accounts.end().await;
}

#[tokio::test]
async fn several_may_say_at_once_that_a_file_ends() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
    let accounts = Accounts::new(journal.clone(), Wanted::default(), directory.path().join("notes"));
    accounts.renew(vec![terms(&directory.path().join("a"))]).await;
    journal.append(Mark::default(), vec![event(1)]).await.unwrap();
    let (first, second, third) = tokio::join!(accounts.turn(), accounts.turn(), accounts.turn());
    let ended = [first, second, third].map(|mut turned| turned.remove(0).ended.unwrap().is_some());
    assert_eq!(ended, [true, false, false]);
    accounts.end().await;
}

#[tokio::test]
async fn a_file_that_is_to_end_and_is_far_behind_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
    let most = MOST as u64;
    journal.append(Mark::default(), (1..=2 * most + 7).map(event).collect()).await.unwrap();
    let path = directory.path().join("a");
    let bookmark = Bookmark { path: path.clone(), position: Position(0), file: None };
    let terms = (terms(&path), directory.path().to_owned(), bookmark);
    let mut follower = Follower::new((journal, "a".to_owned()), terms, Arc::default());
    let over = Instant::now() - Duration::from_millis(1);
    for left in [most + 7, 7, 0, 0] {
        assert_eq!(follower.catch_up(over).await.unwrap(), left);
    }
}

#[tokio::test]
async fn a_writer_that_died_is_followed_by_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
    let terms = terms(&path);
    let bookmark = Bookmark { path, position: Position(7), file: None };
    bookmark.keep(directory.path()).unwrap();
    let terms = (terms, directory.path().to_owned(), bookmark);
    let mut follower = Follower::new((journal, "a".to_owned()), terms, Arc::default());
    assert!(follower.with_book::<()>(|_| panic!("it dies")).await.is_err());
    assert_eq!(follower.with_book(|book| Ok(book.position())).await.unwrap(), Position(7));
}
