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

/// An event of so many octets.
fn large(number: u64, octets: usize) -> Event {
    Event { data: Bytes::from(format!("{{\"{}\":{number}}}", "x".repeat(octets))), ..event(number) }
}

#[tokio::test]
async fn large_events_have_frames_of_their_own_and_become_durable_together() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment: 16 << 20, ..small(directory.path()) };
    let open = || Journal::open(options.clone()).unwrap();
    let sizes = [100, 200 << 10, 100 << 10, 100, 256 << 10, 256 << 10, 100];
    let events: Vec<_> = (2..).zip(sizes).map(|(number, octets)| large(number, octets)).collect();
    let journal = open();
    journal.append(mark(1), vec![event(1)]).await.unwrap();
    let length = || files(directory.path())[0].metadata().unwrap().len() as usize;
    let begun = length();
    journal.append(mark(8), events.clone()).await.unwrap();
    let ended = length();
    journal.append(mark(9), vec![event(9)]).await.unwrap();
    for journal in [&journal, &open()] {
        assert_eq!((journal.last(), journal.mark(), journal.damages()), (Position(9), mark(9), 0));
        let (mut found, mut after) = (Vec::new(), Position(1));
        while after < Position(9) {
            let some = journal.read(after, 3).await.unwrap();
            after = some.last().unwrap().0;
            found.extend(some.into_iter().map(|(_, event)| Event::clone(&event)));
        }
        assert_eq!((found.len(), &found[..7], &found[7]), (8, &events[..], &event(9)));
    }
    // Wherever the run is torn, none of it was ever there.
    let file = files(directory.path()).pop().unwrap();
    let octets = fs::read(&file).unwrap();
    for length in (begun..ended).step_by((ended - begun) / 40).chain([ended - 1]) {
        fs::write(&file, &octets[..length]).unwrap();
        let journal = open();
        assert_eq!(
            (journal.last(), journal.mark(), journal.damages()),
            (Position(1), mark(1), 0),
            "{length}"
        );
    }
    let frames = octets.windows(4).filter(|four| four == &[0xf5, b'j', 2, 0xff]).count();
    assert_eq!(frames, 1 + 1 + 4 + 1);
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
    assert!(error.to_string().contains("format 3, written by a newer version"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), octets);
}

#[tokio::test]
async fn a_journal_of_an_earlier_format_is_read_and_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    fill(&journal, 1..=3).await;
    drop(journal);
    let file = files(directory.path()).remove(0);
    let mut octets = fs::read(&file).unwrap();
    let (mut at, mut length) = (0, 0);
    while at < octets.len() {
        assert_eq!(octets[at + 2], 2);
        octets[at + 2] = 1;
        length = 24 + u32::from_le_bytes(octets[at + 4..at + 8].try_into().unwrap()) as usize;
        let checksum = crc32c::crc32c(&octets[at..at + 20]);
        let checksum = crc32c::crc32c_append(checksum, &octets[at + 24..at + length]);
        octets[at + 20..at + 24].copy_from_slice(&checksum.to_le_bytes());
        at += length;
    }
    assert!(length > 24);
    fs::write(&file, &octets).unwrap();
    let journal = open(directory.path());
    fill(&journal, 4..=6).await;
    assert_eq!((read(&journal, 0).await, journal.damages()), (vec![1, 2, 3, 4, 5, 6], 0));
    assert_eq!(read(&open(directory.path()), 0).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(fs::read(&file).unwrap(), octets);
    assert_eq!(files(directory.path()).len(), 2);
}

#[tokio::test]
async fn files_end_by_age_and_size_but_not_while_they_are_held() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { max_octets: 9000, ..small(directory.path()) };
    let journal = Journal::open(options.clone()).unwrap();
    fill(&journal, 1..=200).await;
    let now = SystemTime::now();
    journal.hold("fast", Position(200));
    journal.hold("slow", Position(60));
    journal.0.tidy(now).unwrap();
    // The last events are still in memory, but for another process.
    let first = read(&open(directory.path()), 0).await[0];
    assert!((2..=61).contains(&first), "{first}");
    // Who holds no more than there is room for holds what is old, and not what is too much.
    journal.hold_within("slow", Position(60));
    journal.hold_within("lost", Position(0));
    assert_eq!(journal.first(), Position(first));
    let haste = journal.haste();
    journal.0.tidy(now).unwrap();
    let first = journal.first().0;
    assert!(first > 100 && first <= haste.0, "{first} {haste}");
    assert_eq!(read(&open(directory.path()), 0).await[0], first);
    journal.0.tidy(now + options.keep + Duration::from_secs(60)).unwrap();
    assert_eq!(read(&open(directory.path()), 0).await[0], first);
    ["slow", "lost"].iter().for_each(|follower| journal.let_go(follower));
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

#[tokio::test]
async fn without_room_one_file_after_another_ends_but_not_what_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    fill(&journal, 1..=200).await;
    let begun = files(directory.path());
    journal.hold("x", Position(60));
    // Of what it may take.
    journal.hold_within("y", Position(60));
    let mut left = Vec::new();
    for _ in 0..begun.len() {
        journal.0.shed(SystemTime::now()).unwrap();
        left.push(files(directory.path()).len());
    }
    assert_eq!(left[0], begun.len() - 1, "one at a time");
    let first = read(&open(directory.path()), 0).await[0];
    assert!((2..=61).contains(&first), "{first}");
    journal.hold("x", Position(200));
    (0..begun.len()).for_each(|_| journal.0.shed(SystemTime::now()).unwrap());
    assert_eq!(journal.first(), Position(first), "there may be room later");
    journal.let_go("y");
    (0..begun.len()).for_each(|_| journal.0.shed(SystemTime::now()).unwrap());
    assert_eq!(files(directory.path()), begun[begun.len() - 1..], "the last one knows the position");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_passed_over_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1..=200).await;
    let journal = open(directory.path());
    assert_eq!(read(&journal, 0).await.len(), 200);
    let exchange = |file: File| {
        let mut segments = journal.0.segments.write().unwrap();
        let (first, segment) = segments.pop_first().unwrap();
        let mut segment = Arc::into_inner(segment).unwrap();
        let before = std::mem::replace(&mut segment.file, file);
        segments.insert(first, Arc::new(segment));
        before
    };
    // There is nothing at the beginning of a process's memory.
    let unreadable = || File::open("/proc/self/mem").unwrap();
    let failures = async |from: u64| {
        let mut failures = 0;
        while journal.read(Position(from), 7).await.is_err() {
            failures += 1;
        }
        failures
    };
    let file = exchange(unreadable());
    for _ in 0..5 {
        journal.read(Position(1), 7).await.unwrap_err();
    }
    exchange(file);
    assert_eq!(failures(1).await, 0);
    exchange(unreadable());
    // Neither those before a success count, nor those of others.
    for from in [1, 0] {
        let failures = failures(from).await;
        assert!((6..100).contains(&failures), "{failures}");
    }
    let second = *journal.0.segments.read().unwrap().keys().nth(1).unwrap();
    assert_eq!(read(&journal, 0).await, Vec::from_iter(second..=200));
    assert_eq!(journal.damages(), 1, "it is counted once");
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
