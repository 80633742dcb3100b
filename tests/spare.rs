//! The spare segment is made by one thread and used by another: it must never be
//! made again in the file that is a segment by now, or what was acknowledged
//! would be written over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::spool::Spool;
use postgate::spool::disk::{Directory, Disk, DiskFile, Room};
use postgate::spool::embedded::{Embedded, Options};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A disk on which making a spare takes until the gate is opened.
struct Slow {
    inner: Directory,
    is_open: Mutex<bool>,
    gate: Condvar,
    begun: AtomicUsize,
    /// A spare is there, or being made.
    has_spare: AtomicBool,
    made_twice: AtomicBool,
    /// How often the keeper has looked at the room.
    rounds: AtomicUsize,
}

impl Slow {
    fn at(path: &Path) -> Arc<Slow> {
        Arc::new(Slow {
            inner: Directory::at(path).unwrap(),
            is_open: Mutex::default(),
            gate: Condvar::new(),
            begun: AtomicUsize::default(),
            has_spare: AtomicBool::default(),
            made_twice: AtomicBool::default(),
            rounds: AtomicUsize::default(),
        })
    }
}

impl Disk for Slow {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(name)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        if name == "spare" {
            self.made_twice.fetch_or(self.has_spare.swap(true, SeqCst), SeqCst);
            self.begun.fetch_add(1, SeqCst);
            drop(self.gate.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
        self.inner.create(name, length)
    }

    fn reserve(&self, name: &str, length: u64) -> io::Result<()> {
        self.inner.reserve(name, length)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if from == "spare" {
            self.has_spare.store(false, SeqCst);
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner.sync_names()
    }

    fn room(&self) -> io::Result<Room> {
        self.rounds.fetch_add(1, SeqCst);
        self.inner.room()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_spare_is_made_once_however_long_it_takes() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Slow::at(&directory.path().join("log"));
    let options = Options { segment: 256 * 1024, ..Options::at(directory.path().to_owned()) };
    let spool = Embedded::open_on(Arc::clone(&disk) as Arc<dyn Disk>, options).unwrap();
    let lane = support::destination("192.0.2.1:80".parse().unwrap());
    let commit = async |number| {
        let admission = support::admission(support::post(number, &lane), &[b'x'; 100_000]);
        spool.commit(admission).await.unwrap();
    };
    commit(1).await;
    commit(2).await;
    until("making a spare", || disk.begun.load(SeqCst) == 1).await;
    // The segments that are made meanwhile get half full as well.
    for number in 3..10 {
        commit(number).await;
    }
    *disk.is_open.lock().unwrap() = true;
    disk.gate.notify_all();
    let rounds = disk.rounds.load(SeqCst);
    until("a few rounds of the keeper", || disk.rounds.load(SeqCst) > rounds + 2).await;
    for number in 10..20 {
        commit(number).await;
    }
    until("using the spare", || disk.begun.load(SeqCst) > 1).await;
    assert!(!disk.made_twice.load(SeqCst), "a spare was made where one was");
}
