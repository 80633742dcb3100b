//! What the journal promises, on real files that are torn, damaged and refused.

use super::*;
use crate::event::EventId;
use crate::post::Timestamp;
use crate::tenant::Tenant;
use bytes::Bytes;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

fn event(number: u64) -> Event {
    Event {
        id: EventId::new(Timestamp(number), u128::from(number)),
        name: "post.delivered".parse().unwrap(),
        at: Timestamp(number),
        tenant: Tenant::default(),
        data: Bytes::from(format!("{{\"number\":{number}}}")),
    }
}

fn mark(number: u64) -> Mark {
    Mark { log: 7, place: (1, number) }
}

fn small(directory: &Path) -> Options {
    Options { segment: 4096, ..Options::at(directory.join("journal")) }
}

fn open(directory: &Path) -> Journal {
    Journal::open(small(directory)).unwrap()
}

/// Appends the events with these numbers, three at a time.
async fn fill(journal: &Journal, numbers: std::ops::RangeInclusive<u64>) {
    let numbers: Vec<_> = numbers.collect();
    for few in numbers.chunks(3) {
        let events = few.iter().copied().map(event).collect();
        journal.append(mark(*few.last().unwrap()), events).await.unwrap();
    }
}

/// All that can be read behind a position, checked against where it stands.
async fn read(journal: &Journal, after: u64) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), Position(after));
    loop {
        let some = journal.read(after, 7).await.unwrap();
        let Some((last, _)) = some.last() else { return found };
        assert!(some.len() <= 7 && some[0].0 > after);
        after = *last;
        for (position, read) in some {
            assert_eq!(*read, event(position.0));
            found.push(position.0);
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn events_are_read_back_in_order_by_this_process_and_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    assert!(!directory.path().join("journal").exists(), "made for nothing");
    assert_eq!((journal.last(), journal.mark()), (Position(0), Mark::default()));
    assert_eq!(read(&journal, 0).await, [] as [u64; 0]);
    let mut watch = journal.watch();
    fill(&journal, 1..=200).await;
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow(), Position(200));
    let again = open(directory.path());
    assert!(files(directory.path()).len() > 3);
    for journal in [&journal, &again] {
        assert_eq!((journal.last(), journal.mark()), (Position(200), mark(200)));
        for after in [0, 1, 57, 198, 199, 200, 300] {
            assert_eq!(read(journal, after).await, Vec::from_iter(after + 1..=200), "behind {after}");
        }
    }
    fill(&again, 201..=300).await;
    for journal in [again, open(directory.path())] {
        assert_eq!(read(&journal, 150).await, Vec::from_iter(151..=300));
    }
    for path in files(directory.path()) {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let folder = directory.path().join("journal");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Journal::open(small(directory.path())).is_err(), "others may look in");
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1..=8).await;
    let file = files(directory.path()).pop().unwrap();
    let octets = fs::read(&file).unwrap();
    let mut found = BTreeMap::<u64, usize>::new();
    for length in (0..octets.len()).rev() {
        fs::write(&file, &octets[..length]).unwrap();
        let journal = open(directory.path());
        let last = journal.last();
        // The mark is that of what is there.
        assert_eq!(journal.mark(), if last.0 == 0 { Mark::default() } else { mark(last.0) });
        assert_eq!(read(&journal, 0).await, Vec::from_iter(1..=last.0));
        assert_eq!(journal.damages(), 0);
        *found.entry(last.0).or_default() += 1;
    }
    assert_eq!(Vec::from_iter(found.into_keys()), [0, 3, 6]);
    let journal = open(directory.path());
    fill(&journal, 1..=2).await;
    assert_eq!(read(&open(directory.path()), 0).await, [1, 2]);
}

#[tokio::test]
async fn damage_loses_only_the_events_that_it_hit() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1..=200).await;
    let files = files(directory.path());
    let mut octets = fs::read(&files[1]).unwrap();
    octets[1000] ^= 1;
    fs::write(&files[1], &octets).unwrap();
    let journal = open(directory.path());
    let found = read(&journal, 0).await;
    let lost: Vec<_> = (1..=200).filter(|number| !found.contains(number)).collect();
    assert!(lost.len() == 3 && lost[2] - lost[0] == 2 && found.len() == 197, "{lost:?}");
    assert_eq!(journal.damages(), 1);
    // A reader that stood just before goes on behind.
    assert_eq!(read(&journal, lost[0] - 1).await[0], lost[2] + 1);
    // Numbers are not used again when the last file is lost.
    fs::write(files.last().unwrap(), b"nothing of a journal").unwrap();
    let first = first_in(files.last().unwrap().file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!(open(directory.path()).last(), Position(first - 1));
}

#[tokio::test]
async fn a_journal_of_a_later_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1..=3).await;
    let file = files(directory.path()).remove(0);
    let mut octets = fs::read(&file).unwrap();
    octets[2] += 1;
    fs::write(&file, &octets).unwrap();
    let Err(error) = Journal::open(small(directory.path())) else { panic!("opened") };
    assert!(error.to_string().contains("format 2, written by a newer version"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), octets);
}

#[tokio::test]
async fn files_end_by_age_and_size_but_not_while_they_are_held() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { max_octets: 9000, ..small(directory.path()) };
    let journal = Journal::open(options.clone()).unwrap();
    fill(&journal, 1..=200).await;
    let now = SystemTime::now();
    journal.hold(Position(60));
    journal.0.tidy(now).unwrap();
    // The last events are still in memory, but for another process.
    let first = read(&open(directory.path()), 0).await[0];
    assert!((2..=61).contains(&first), "{first}");
    journal.hold(Position(200));
    journal.0.tidy(now).unwrap();
    let left = read(&open(directory.path()), 0).await;
    assert!(left[0] > 100 && left.last() == Some(&200), "{left:?}");
    // Long after, all have ended, and their numbers and the mark are kept.
    for _ in 0..2 {
        journal.0.tidy(now + options.keep + Duration::from_secs(60)).unwrap();
        assert_eq!(files(directory.path()).len(), 1);
        let journal = Journal::open(options.clone()).unwrap();
        assert_eq!((journal.last(), journal.mark()), (Position(200), mark(200)));
        assert_eq!(read(&journal, 0).await, [] as [u64; 0]);
    }
    fill(&journal, 201..=202).await;
    assert_eq!(read(&open(directory.path()), 0).await, [201, 202]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_waits_and_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    // A file where the directory is to be.
    fs::write(directory.path().join("journal"), "").unwrap();
    let (stop, stopped) = watch::channel(false);
    let next = |after: Mark| async move {
        match after.place.1 {
            0 => Ok((mark(2), vec![event(1), event(2)])),
            2 => Ok((mark(3), vec![event(3)])),
            3 => std::future::pending().await,
            place => Err(place),
        }
    };
    let carrying = tokio::spawn(journal.clone().carry(next, stopped));
    while journal.failures() < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(journal.last(), Position(0));
    fs::remove_file(directory.path().join("journal")).unwrap();
    journal.watch().wait_for(|last| last.0 == 3).await.unwrap();
    stop.send_replace(true);
    carrying.await.unwrap();
    assert_eq!(read(&open(directory.path()), 0).await, [1, 2, 3]);
}
