//! The embedded backend: a log of segments on one machine's disk.
//!
//! The log is the truth, the catalog a view of it, the index what the process
//! knows. Opening reads the last segment, begins a new one (on a full disk it goes
//! on in the last) and is then ready; the older segments are read in the background
//! while mail is accepted. Of two processes on one directory the second is refused.
//!
//! Compared with the contract in [`super`]: claims never run out, because the
//! only process that could hold one is this one.

use super::appender::Appender;
use super::catalog::{self, Catalog};
use super::disk::{Directory, Disk, Reserve};
use super::index::Index;
use super::job::Job;
use super::keeper::{self, Keeper};
use super::log::{Writer, name_of, number_in};
use super::replay::tail;
use super::segment::{Header, Segment, UNKNOWN_END};
use super::shared::Shared;
use super::{
    Attempt, Claim, Claimed, Committed, Content, Counts, Doorbell, Health, Later, Listed, Noted, Order,
    Query, Settlement, Spool, SpoolError,
};
use crate::post::{Admission, Destination, MessageId, PostId};
use bytes::Bytes;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Delay after which a post is read again that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Where and how to keep posts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The spool's directory, made with mode 0700 when missing.
    pub directory: PathBuf,
    /// Octets of a segment file.
    pub segment: u64,
    /// Longest wait of a group for company, while many clients are at work.
    pub flush_interval: Duration,
    /// With less free room than this no mail is taken.
    pub reserve: Reserve,
    /// Waiting posts that are indexed in memory, at 200 octets each; the backlog
    /// beyond is indexed on disk.
    pub indexed_in_memory: usize,
    /// How long dead letters are kept.
    pub retain_failed: Duration,
}

impl Options {
    /// The defaults for a spool in `directory`.
    pub fn at(directory: PathBuf) -> Options {
        Options {
            directory,
            segment: 64 << 20,
            flush_interval: Duration::from_millis(2),
            reserve: Reserve { octets: 40 << 20, percent: 5 },
            indexed_in_memory: 150_000,
            retain_failed: Duration::from_secs(14 * 24 * 60 * 60),
        }
    }
}

/// Why a spool could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    InUse(PathBuf),
    /// The operating system refused something.
    Io(PathBuf, io::Error),
    /// The first segment could not be written.
    Spool(SpoolError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse(path) => {
                write!(
                    f,
                    "the spool {} is in use by another process; stop it or choose another data_dir",
                    path.display()
                )
            }
            OpenError::Io(path, error) => write!(f, "cannot open the spool {}: {error}", path.display()),
            OpenError::Spool(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The threads of an open spool.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    stop_keeper: Sender<()>,
}

/// An open spool; see the module.
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    newest: MessageId,
    threads: Mutex<Option<Threads>>,
    _lock: Option<File>,
}

impl Embedded {
    /// Opens the spool in `options.directory`, making it when missing.
    pub fn open(options: Options) -> Result<Embedded, OpenError> {
        let path = options.directory.clone();
        let refused = |error| OpenError::Io(path.clone(), error);
        Directory::at(&path).map_err(refused)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io(path, error)),
        }
        let disk = Directory::at(&path.join("log")).map_err(refused)?;
        let mut spool = Embedded::open_on(Arc::new(disk), options)?;
        spool._lock = Some(lock);
        Ok(spool)
    }

    /// Opens a spool whose log is on `disk`; the catalog stays in
    /// `options.directory`. Does not guard against a second process.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Embedded, OpenError> {
        let path = options.directory.clone();
        let refused = |error| OpenError::Io(path.clone(), error);
        let mut segments = found_segments(&*disk).map_err(refused)?;
        segments.sort_by_key(|segment| segment.header.number);
        let tail = tail(&mut segments).map_err(refused)?;
        let older = keeper::extents(&segments, tail.sealed.1);
        let index = Index::new(Catalog::open(&catalog::directory_in(&path), options.indexed_in_memory));
        let shared = Arc::new(Shared::new(disk, options, (tail.epoch, tail.salt), segments, index));
        let (jobs, waiting) = channel();
        let newest = tail.newest;
        let mut appender = Appender::behind(Arc::clone(&shared), tail.sealed);
        appender.start(tail.left, newest).map_err(OpenError::Spool)?;
        let writer = Writer::new(Arc::clone(&shared), waiting, appender, newest);
        let keeper = Keeper::new(Arc::clone(&shared), jobs.clone());
        // Before the first mail, and before the keeper has read the older segments.
        keeper.watch_room();
        let (stop_keeper, stop) = channel();
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = thread("spool-writer").spawn(move || writer.run()).map_err(refused)?;
        let keeper = thread("spool-keeper").spawn(move || keeper.run(&older, &stop)).map_err(refused)?;
        let threads = Mutex::new(Some(Threads { writer, keeper, stop_keeper }));
        Ok(Embedded { shared, jobs, newest, threads, _lock: None })
    }

    /// The greatest message id found on opening.
    pub fn newest(&self) -> MessageId {
        self.newest
    }

    /// Damaged places met since opening.
    pub fn damages(&self) -> u64 {
        self.shared.damages.load(Ordering::Relaxed)
    }

    /// Waits until every older segment has been read.
    pub async fn recovered(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.recovered.subscribe().wait_for(|recovered| *recovered).await;
    }

    /// Writes what is left and ends in order. An attempt that is still under way
    /// counts as made, and its post is due at once. Blocks.
    pub fn close(&self) -> Result<(), SpoolError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return Err(SpoolError::Closed) };
        drop(threads.stop_keeper);
        // A thread that panicked has said so already.
        let _ = threads.keeper.join();
        let last = Attempt::because("the gateway stopped");
        let cut_off = Settlement::Again { after: Duration::ZERO, last };
        let claims = self.shared.index().claims();
        let done = claims.into_iter().map(|(id, fence)| (id, fence, cut_off.clone())).collect();
        let (noted, _) = oneshot::channel();
        // A writer that has ended fails what follows as well.
        let _ = self.jobs.send(Job::Settle { done, ack: noted });
        let (ack, closed) = channel();
        self.jobs.send(Job::Close { ack }).map_err(|_| SpoolError::Closed)?;
        let closed = closed.recv().map_err(|_| SpoolError::Closed)?;
        let _ = threads.writer.join();
        closed
    }

    /// Ends posts that were delivered; the log hears of it with its next group.
    fn end(&self, claim: &Claim) {
        let mut riding = self.shared.riding.lock().unwrap_or_else(PoisonError::into_inner);
        riding.push(claim.post.id);
        let is_first = riding.len() == 1;
        drop(riding);
        // Only now: whoever misses it in the index finds it riding.
        self.shared.index().end(claim.post.id);
        if is_first {
            // A closed spool sends the post again: a repeat, not a loss.
            let _ = self.jobs.send(Job::Ride);
        }
    }
}

impl Spool for Embedded {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        match &*self.shared.health.borrow() {
            Health::Open => {}
            Health::Full => return Box::pin(async { Err(SpoolError::Full) }),
            Health::Failed(reason) => {
                let failed = SpoolError::Failed(reason.clone());
                return Box::pin(async { Err(failed) });
            }
        }
        let must_know_keys = admission.idempotency_key.is_some();
        let (ack, committed) = oneshot::channel();
        let job = Job::Commit { admission, ack };
        if !must_know_keys {
            // Sent before the first poll: dropping the future does not undo it.
            let sent = self.jobs.send(job);
            return Box::pin(async move {
                sent.map_err(|_| SpoolError::Closed)?;
                committed.await.map_err(|_| SpoolError::Closed)?
            });
        }
        let (jobs, mut recovered) = (self.jobs.clone(), self.shared.recovered.subscribe());
        Box::pin(async move {
            recovered.wait_for(|recovered| *recovered).await.map_err(|_| SpoolError::Closed)?;
            jobs.send(job).map_err(|_| SpoolError::Closed)?;
            committed.await.map_err(|_| SpoolError::Closed)?
        })
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        let now = self.shared.clock.now();
        let mut index = self.shared.index();
        let lanes = index.lanes().into_iter();
        let due =
            lanes.filter_map(|lane| index.next_due(&lane).map(|due_at| (lane, due_at.since(now)))).collect();
        Box::pin(async move { Ok(due) })
    }

    fn claim<'a>(&'a self, lane: &'a Arc<Destination>, max: usize) -> Later<'a, Claimed> {
        let now = self.shared.clock.now();
        let (taken, next) = {
            let mut index = self.shared.index();
            let taken = index.claim(lane, max, now, self.shared.epoch);
            (taken, index.next_due(lane).map(|due_at| due_at.since(now)))
        };
        let must_read = taken.iter().any(|taken| taken.post.is_none());
        let shared = Arc::clone(&self.shared);
        let jobs = self.jobs.clone();
        let claims = move || {
            let claim = |taken: super::index::Taken| {
                let read = taken.post.map_or_else(|| shared.find_post(taken.id, taken.entry.place), Ok);
                let post =
                    read.inspect_err(|error| put_aside(&jobs, &shared, taken.id, taken.fence, error)).ok()?;
                Some(Claim {
                    post,
                    attempt: taken.tried,
                    ended: taken.entry.state.ended,
                    held: Duration::ZERO,
                    fence: taken.fence,
                })
            };
            taken.into_iter().filter_map(claim).collect()
        };
        Box::pin(async move {
            let claims = if must_read {
                tokio::task::spawn_blocking(claims).await.map_err(|_| SpoolError::Closed)?
            } else {
                claims()
            };
            Ok(Claimed { claims, next })
        })
    }

    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes> {
        let id = claim.post.id;
        let (kept, entry) = {
            let mut index = self.shared.index();
            let kept = index.held(id, claim.fence).and_then(|held| held.body.clone());
            (kept, index.find(id))
        };
        if let Some(body) = kept {
            return Box::pin(async move { Ok(body) });
        }
        let shared = Arc::clone(&self.shared);
        let body = claim.post.body;
        Box::pin(async move {
            let entry = entry.ok_or_else(|| SpoolError::Failed("the post is over".to_owned()))?;
            let read = move || match shared.read_body(body, entry.place) {
                // Its record may just have been moved.
                Err(SpoolError::Damaged(_)) => {
                    let place = shared.index().find(id).map_or(entry.place, |entry| entry.place);
                    shared.read_body(body, place)
                }
                read => read,
            };
            tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Closed)?
        })
    }

    fn settle(&self, done: Vec<(Claim, Settlement)>) -> Later<'_, ()> {
        let mut others = Vec::new();
        for (claim, settlement) in done {
            match settlement {
                Settlement::Delivered => self.end(&claim),
                settlement => others.push((claim.post.id, claim.fence, settlement)),
            }
        }
        if others.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let (ack, settled) = oneshot::channel();
        let sent = self.jobs.send(Job::Settle { done: others, ack });
        Box::pin(async move {
            sent.map_err(|_| SpoolError::Closed)?;
            settled.await.map_err(|_| SpoolError::Closed)?
        })
    }

    fn order(&self, _which: Query, _order: Order) -> Later<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    fn page(&self, _which: Query, _before: Option<PostId>, _most: usize) -> Later<'_, Vec<Listed>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn attempts(&self, _id: PostId) -> Later<'_, Vec<Attempt>> {
        Box::pin(async { Err(SpoolError::Unknown) })
    }

    fn content(&self, _id: PostId) -> Later<'_, Content> {
        Box::pin(async { Err(SpoolError::Unknown) })
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn note<'a>(&'a self, _key: &'a str) -> Later<'a, Option<Noted>> {
        Box::pin(async { Ok(None) })
    }

    fn set_note<'a>(&'a self, _key: &'a str, _value: Option<Bytes>, _expect: Option<u64>) -> Later<'a, u64> {
        Box::pin(async { Ok(1) })
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.shared.doorbell)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

/// Makes a dead letter of a post that cannot be read any more; one that cannot
/// be read now is tried again.
fn put_aside(jobs: &Sender<Job>, shared: &Shared, id: PostId, fence: u64, error: &SpoolError) {
    let last = Attempt::because(error.to_string());
    let settlement = if matches!(error, SpoolError::Damaged(_)) {
        shared.damages.fetch_add(1, Ordering::Relaxed);
        tracing::error!(post = %id, %error, "a post cannot be read back; it is kept as a dead letter");
        Settlement::Failed { last }
    } else {
        tracing::warn!(post = %id, %error, "a post cannot be read now; it will be tried again");
        Settlement::Again { after: READ_AGAIN, last }
    };
    let (ack, _) = oneshot::channel();
    // Fails only when the spool is closing; the next start meets it again.
    let _ = jobs.send(Job::Settle { done: vec![(id, fence, settlement)], ack });
}

/// All segments on the disk; files that never became one are removed.
fn found_segments(disk: &dyn Disk) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for name in disk.list()? {
        let Some(number) = number_in(&name) else { continue };
        let file = disk.open(&name)?;
        match Header::read(&*file)? {
            Some(header) if header.number == number => segments.push(Segment { header, name, file }),
            // A file renamed to be the next segment, whose header was not
            // written: what it held before had been given up.
            Some(_) => disk.remove(&name)?,
            None => segments.extend(headless(disk, name, number, file)?),
        }
    }
    Ok(segments)
}

/// A segment whose header is damaged still has records that prove themselves.
fn headless(
    disk: &dyn Disk,
    name: String,
    number: u64,
    file: Arc<dyn super::disk::DiskFile>,
) -> io::Result<Option<Segment>> {
    debug_assert_eq!(name, name_of(number), "the number is from the name");
    let header = Header { number, epoch: 0, salt: None, previous_end: UNKNOWN_END, newest: 0 };
    let scan = super::segment::scan(&*file, &header, super::segment::Extent::Open)?;
    if scan.records.is_empty() {
        disk.remove(&name)?;
        return Ok(None);
    }
    tracing::error!(segment = %name, records = scan.records.len(), "a spool segment lost its header; its records are used");
    Ok(Some(Segment { header, name, file }))
}
