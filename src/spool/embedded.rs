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
use super::chores;
use super::claims;
use super::disk::{Directory, Disk};
use super::feed;
use super::index::{Index, Wanted};
use super::job::{Ended, Job, Shelf};
use super::keeper::{self, Keeper};
use super::log::Writer;
use super::looks;
use super::moving;
use super::notes::Notes;
use super::options::lock;
pub use super::options::{OpenError, Options};
use super::readers::unpanicked;
use super::recent::SMALL;
use super::replay::{found_segments, tail};
use super::shared::Shared;
use super::{
    Attempt, Census, Claim, Claimed, Committed, Content, Counts, Doorbell, Earlier, Health, Later, Noted,
    Order, Page, Query, Settlement, Spool, SpoolError, Usage, usage,
};
use crate::event::{Event, Mark};
use crate::post::{Admission, Destination, MessageId, Post, PostId};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The threads of an open spool.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    stop_keeper: Sender<()>,
}

/// An open spool; see the module.
pub struct Embedded {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Sender<Job>,
    pub(super) notes: Arc<Notes>,
    newest: MessageId,
    threads: Mutex<Option<Threads>>,
    _lock: Option<File>,
}

impl Embedded {
    /// Opens the spool in `options.directory`, making it when missing.
    pub fn open(options: Options) -> Result<Embedded, OpenError> {
        let path = options.directory.clone();
        let refused = |error| OpenError::Io(path.clone(), error);
        let lock = keep_out_of(&path)?;
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
        let (mut segments, void) = found_segments(&*disk).map_err(refused)?;
        let tail = tail(&mut segments).map_err(refused)?;
        let notes = Arc::new(Notes::open(Arc::clone(&disk)).map_err(refused)?);
        // Only now: a spool of a newer version must stay as it is.
        void.iter().try_for_each(|name| disk.remove(name)).map_err(refused)?;
        let older = keeper::extents(&segments, tail.sealed.1);
        let (bell, rung) = sync_channel(1);
        let catalog = Catalog::open(&catalog::directory_in(&path), options.indexed_in_memory);
        let index = Index::new(catalog.ringing(bell));
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
        let doing = Arc::downgrade(&shared);
        thread("spool-catalog").spawn(move || chores::do_when_rung(&doing, &rung)).map_err(refused)?;
        let threads = Mutex::new(Some(Threads { writer, keeper, stop_keeper }));
        Ok(Embedded { shared, jobs, notes, newest, threads, _lock: None })
    }

    /// The greatest message id found on opening.
    pub fn newest(&self) -> MessageId {
        self.newest
    }

    /// Dead letters and held posts that were forgotten since opening, because their
    /// retention time was over.
    pub fn forgotten(&self) -> u64 {
        self.shared.forgotten.load(Ordering::Relaxed)
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
        self.shared.feed.close();
        drop(threads.stop_keeper);
        // A thread that panicked has said so already.
        let _ = threads.keeper.join();
        let cut_off = Settlement::cut_off();
        let claims = self.shared.index().claims();
        let end = |(id, fence)| Ended { id, fence, settlement: cut_off.clone(), shelf: Shelf::None };
        let done = claims.into_iter().map(end).collect();
        let (noted, _) = oneshot::channel();
        // A writer that has ended fails what follows as well.
        let _ = self.jobs.send(Job::Settle { done, events: Vec::new(), ack: noted });
        let (ack, closed) = channel();
        self.jobs.send(Job::Close { ack }).map_err(|_| SpoolError::Closed)?;
        let closed = closed.recv().map_err(|_| SpoolError::Closed)?;
        let _ = threads.writer.join();
        closed
    }

    /// Ends posts that were delivered; the log hears of it, and of what is told, with
    /// its next group.
    fn end(&self, ids: &[PostId], events: Vec<Event>) {
        let mut riding = self.shared.riding.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = riding.ids.is_empty();
        riding.ids.extend(ids);
        riding.events.extend(events);
        drop(riding);
        // Only now: whoever misses it in the index finds it riding.
        let rung = {
            let mut index = self.shared.index();
            ids.iter().for_each(|id| index.end(*id));
            index.rung()
        };
        self.shared.ring(rung);
        if is_first {
            // A closed spool sends the post again: a repeat, not a loss.
            let _ = self.jobs.send(Job::Ride);
        }
    }
}

impl Embedded {
    /// Asks the writer, before the first poll: dropping the future does not undo it.
    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, SpoolError>>) -> Job,
    ) -> Later<'_, T> {
        let (ack, answered) = oneshot::channel();
        let sent = self.jobs.send(job(ack));
        Box::pin(async move {
            sent.map_err(|_| SpoolError::Closed)?;
            answered.await.map_err(|_| SpoolError::Closed)?
        })
    }

    /// Does what blocks on a thread made for that.
    fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, SpoolError> + Send + 'static,
    ) -> Later<'_, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&shared));
            done.await.map_err(|_| SpoolError::Closed)?
        })
    }

    /// The same, when it is known which posts there are.
    fn when_recovered<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, SpoolError> + Send + 'static,
    ) -> Later<'_, T> {
        let mut recovered = self.shared.recovered.subscribe();
        Box::pin(async move {
            recovered.wait_for(|recovered| *recovered).await.map_err(|_| SpoolError::Closed)?;
            self.off_the_runtime(work).await
        })
    }
}

/// Keeps every other process out of the directory of a spool, which is made when missing, for
/// as long as the file is open.
pub fn keep_out_of(directory: &Path) -> Result<File, OpenError> {
    Directory::at(directory).map_err(|error| OpenError::Io(directory.to_owned(), error))?;
    let lock = lock(directory)?;
    if moving::is_half_done(directory) {
        return Err(OpenError::HalfMoved(directory.to_owned()));
    }
    Ok(lock)
}

impl Spool for Embedded {
    fn commit(&self, admission: Admission) -> Later<'_, Committed> {
        if let Some(refusal) = self.shared.health.borrow().refusal() {
            return Box::pin(async { Err(refusal) });
        }
        let must_know_keys = admission.idempotency_key.is_some();
        if !must_know_keys {
            return self.ask(|ack| Job::Commit { admission, ack });
        }
        let mut recovered = self.shared.recovered.subscribe();
        Box::pin(async move {
            recovered.wait_for(|recovered| *recovered).await.map_err(|_| SpoolError::Closed)?;
            self.ask(|ack| Job::Commit { admission, ack }).await
        })
    }

    fn earlier<'a>(&'a self, tenant: &'a Tenant, key: &'a str) -> Later<'a, Option<Earlier>> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.when_recovered(move |shared| {
            let noted = shared.index().noted(&tenant, &key, shared.clock.now());
            Ok(noted.map(|noted| noted.earlier))
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
        Box::pin(claims::claim(Arc::clone(&self.shared), self.jobs.clone(), lane, Wanted::Due, max))
    }

    fn claim_expired<'a>(
        &'a self,
        lane: &'a Arc<Destination>,
        max_age: Duration,
        max: usize,
    ) -> Later<'a, Claimed> {
        let wanted = Wanted::Expired { max_age };
        Box::pin(claims::claim(Arc::clone(&self.shared), self.jobs.clone(), lane, wanted, max))
    }

    fn body<'a>(&'a self, claim: &'a Claim) -> Later<'a, Bytes> {
        let id = claim.post.id;
        let (kept, entry) = {
            let mut index = self.shared.index();
            let kept = index.claimed(id, claim.fence).and_then(|claimed| claimed.body.clone());
            (kept, index.find(id))
        };
        if let Some(body) = kept {
            return Box::pin(async move { Ok(body) });
        }
        let body = claim.post.body;
        let read = move |shared: &Shared| {
            let entry = entry.ok_or(SpoolError::Unknown)?;
            shared.read_body(id, body, &entry)
        };
        if body.length > SMALL {
            // Others must not wait for it.
            return self.off_the_runtime(read);
        }
        let (shared, (answer, answered)) = (Arc::clone(&self.shared), oneshot::channel());
        // Whoever does not wait for it any more does not want it.
        self.shared.readers.read(move || drop(answer.send(unpanicked(|| read(&shared)))));
        Box::pin(async move { answered.await.map_err(|_| SpoolError::Closed)? })
    }

    fn settle(&self, done: Vec<(Claim, Settlement)>, mut events: Vec<Event>) -> Later<'_, ()> {
        // The next of an ordered line waits until it is durable that this one is over.
        let rides = |(claim, settlement): &(Claim, Settlement)| {
            let post = &*claim.post;
            *settlement == Settlement::Delivered && !self.keeps(post) && post.ordering_key.is_none()
        };
        // Events go with one record: that of the others, if there are any.
        let ride_alone = events.is_empty() || done.iter().all(rides);
        let (riding, others): (Vec<_>, Vec<_>) = done.into_iter().partition(|one| ride_alone && rides(one));
        if !riding.is_empty() {
            let ids: Vec<_> = riding.iter().map(|(claim, _)| claim.post.id).collect();
            self.end(&ids, std::mem::take(&mut events));
        }
        if others.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let ended = |(Claim { post, fence, .. }, settlement): (Claim, Settlement)| {
            let id = post.id;
            let shelf = match settlement {
                _ if self.keeps(&post) => Shelf::Kept(post),
                Settlement::Listed { .. } => Shelf::Listed(post),
                _ => Shelf::None,
            };
            Ended { id, fence, settlement, shelf }
        };
        let done = others.into_iter().map(ended).collect();
        self.ask(|ack| Job::Settle { done, events, ack })
    }

    fn keeps(&self, post: &Post) -> bool {
        post.has_links || self.shared.options.keep_bodies
    }

    fn publish(&self, events: Vec<Event>) -> Later<'_, ()> {
        if events.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        self.ask(|ack| Job::Publish { events, ack })
    }

    fn events(&self, after: Mark) -> Later<'_, (Mark, Vec<Event>)> {
        Box::pin(feed::events(Arc::clone(&self.shared), after))
    }

    fn order(&self, which: Query, order: Order) -> Later<'_, u64> {
        let jobs = self.jobs.clone();
        self.when_recovered(move |shared| looks::order(shared, &jobs, &which, &order))
    }

    fn search(&self, which: Query, before: Option<PostId>, most: usize) -> Later<'_, Page> {
        self.when_recovered(move |shared| looks::search(shared, &which, before, most))
    }

    fn census(&self, which: Query) -> Later<'_, Census> {
        self.when_recovered(move |shared| looks::census(shared, &which))
    }

    fn attempts(&self, id: PostId) -> Later<'_, Vec<Attempt>> {
        self.when_recovered(move |shared| looks::attempts(shared, id))
    }

    fn content(&self, id: PostId) -> Later<'_, Content> {
        self.when_recovered(move |shared| looks::content(shared, id))
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        let counts = self.shared.index().counts();
        Box::pin(async move { Ok(counts) })
    }

    fn note<'a>(&'a self, key: &'a str) -> Later<'a, Option<Noted>> {
        Box::pin(async move { Ok(self.notes.note(key)) })
    }

    fn notes<'a>(&'a self, beginning: &'a str) -> Later<'a, Vec<(String, Noted)>> {
        Box::pin(async move { Ok(self.notes.beginning(beginning)) })
    }

    fn set_note<'a>(&'a self, key: &'a str, value: Option<Bytes>, expect: Option<u64>) -> Later<'a, u64> {
        let (notes, key) = (Arc::clone(&self.notes), key.to_owned());
        self.off_the_runtime(move |_| notes.set(&key, value, expect))
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.shared.doorbell)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn damages(&self) -> u64 {
        self.shared.damages.load(Ordering::Relaxed)
    }

    fn usage(&self) -> Later<'_, Option<Usage>> {
        self.off_the_runtime(|shared| usage::of(shared).map(Some))
    }
}
