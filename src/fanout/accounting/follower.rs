//! Follows the journal, and has the records of its events written.
//!
//! Events that come together are written together, and what is written is durable within
//! a second. What cannot be written is tried again and again; the journal keeps it
//! meanwhile as long as it has room, and posts know nothing of it. What it then lets go
//! is counted.

use super::accounts::{Standing, Terms, missing, standing};
use super::book::Book;
use super::bookmark::Bookmark;
use super::ended::Ended;
use crate::clock::{self, Clock};
use crate::journal::Journal;
use crate::post::Timestamp;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

/// Most events that are written at a time.
const MOST: usize = 1000;
/// Between two writings, so that events come together.
const GATHER: Duration = Duration::from_millis(100);
/// How long what is written need not be durable.
const NOTE: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a file that is to end waits for the records of what the journal has.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How often files that have ended are looked at, and at least that of the present.
const TIDY: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Follower {
    journal: Journal,
    name: String,
    terms: Arc<Terms>,
    /// Where bookmarks are.
    directory: PathBuf,
    /// Elsewhere while somebody writes in it, and gone when he died.
    book: Option<Book>,
    /// Never jumps.
    clock: Clock,
    standing: Arc<Mutex<Standing>>,
    noted_at: Instant,
    tidied_at: Option<Instant>,
    tidying: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// An order to end the file now: who waits for the place where it is then, if there was a
/// record in it.
pub(super) type Turn = oneshot::Sender<io::Result<Option<PathBuf>>>;

/// What is next.
enum Next {
    /// There is more.
    Go,
    /// Nothing before this time, or before there are more events.
    Wait(Duration),
    /// Nothing before this time.
    Pause(Duration),
}

impl Follower {
    /// Of a journal under a name, in these terms from a bookmark on.
    pub(super) fn new(
        (journal, name): (Journal, String),
        (terms, directory, bookmark): (Terms, PathBuf, Bookmark),
        standing: Arc<Mutex<Standing>>,
    ) -> Follower {
        let terms = Arc::new(terms);
        Follower {
            journal,
            name,
            book: Some(Book::new(Arc::clone(&terms), directory.clone(), bookmark)),
            terms,
            directory,
            clock: Clock::start(),
            standing,
            noted_at: Instant::now(),
            tidied_at: None,
            tidying: None,
            is_over: Arc::default(),
        }
    }

    /// Writes until `stopped` turns true, and ends files when it is told to; what is written
    /// is durable then.
    pub(super) async fn follow(
        mut self,
        mut stopped: watch::Receiver<bool>,
        mut turns: mpsc::Receiver<Turn>,
    ) {
        let mut news = self.journal.watch();
        loop {
            // What comes from here on is news.
            news.mark_unchanged();
            let next = match self.step().await {
                Ok(next) => self.succeed(next),
                Err(error) => self.fail(&error),
            };
            if let Ok(turn) = turns.try_recv() {
                self.turn(turn).await;
            }
            let (least, most) = match next {
                Next::Go if !*stopped.borrow() => continue,
                Next::Go => break,
                Next::Wait(most) => (GATHER.min(most), most),
                Next::Pause(pause) => (pause, pause),
            };
            let waited = async {
                tokio::join!(sleep(least), async {
                    tokio::select! {
                        _ = news.changed() => {}
                        () = sleep(most) => {}
                    }
                });
            };
            let turn = tokio::select! {
                // Whoever has let go of the sender wants no more either.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(turn) = turns.recv() => turn,
                () = waited => continue,
            };
            self.turn(turn).await;
        }
        self.is_over.store(true, Ordering::Relaxed);
        if let Err(error) = self.with_book(Book::note).await {
            self.fail(&error);
        }
        if let Some(tidying) = self.tidying.take() {
            // What it died of has been printed.
            let _ = tidying.await;
        }
    }

    /// Writes what there is, as much as is written at a time.
    async fn step(&mut self) -> io::Result<Next> {
        let now = clock::wall();
        self.with_book(move |book| book.look(now)).await?;
        self.tidy().await?;
        let position = self.book()?.position();
        let events = self.journal.read(position, MOST).await?;
        let is_all = events.is_empty();
        if !is_all {
            let lost = events.first().map_or(0, |(next, _)| missing(position, *next));
            self.with_book(move |book| book.take(&events, now)).await?;
            standing(&self.standing).lost += lost;
        }
        if self.noted_at.elapsed() >= NOTE || is_all {
            self.note_in_time().await?;
        }
        let book = self.book()?;
        if !is_all {
            return Ok(if self.journal.last() > book.position() { Next::Go } else { Next::Wait(GATHER) });
        }
        let is_done = book.noted() == book.position() && !book.has_ended();
        let turns = book.turns_at().map_or(TIDY, |at| Duration::from_millis(at.0.saturating_sub(now.0)));
        Ok(Next::Wait(if is_done { turns.min(TIDY) } else { NOTE }))
    }

    /// Ends the file, and tells who wants it. One that is far behind goes on: it would end
    /// before records that belong into it.
    async fn turn(&mut self, turn: Turn) {
        let turned = match self.catch_up(Instant::now() + CATCH_UP).await {
            Ok(0) => {
                let now = clock::wall();
                self.with_book(move |book| book.turn_early(now)).await
            }
            Ok(behind) => {
                let text = format!("{behind} events that come before are not written yet; try again");
                // Nobody need wait for the answer, nor for the next.
                let _ = turn.send(Err(io::Error::other(text)));
                return;
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &turned {
            self.fail(error);
        }
        let _ = turn.send(turned);
    }

    /// Writes what the journal has now, as far as that is done by the deadline; how many
    /// events are left then.
    async fn catch_up(&mut self, deadline: Instant) -> io::Result<u64> {
        let upto = self.journal.last();
        while let Next::Go = self.step().await? {
            if self.book()?.position() >= upto || Instant::now() > deadline {
                break;
            }
        }
        Ok(upto.0.saturating_sub(self.book()?.position().0))
    }

    /// Notes how far it is, but not more often than it must.
    async fn note_in_time(&mut self) -> io::Result<()> {
        if self.noted_at.elapsed() < NOTE {
            return Ok(());
        }
        self.noted_at = Instant::now();
        self.with_book(Book::note).await?;
        self.journal.hold_within(&self.name, self.book()?.noted());
        Ok(())
    }

    /// Has files that have ended looked at, beside everything else.
    async fn tidy(&mut self) -> io::Result<()> {
        let is_time = self.tidied_at.is_none_or(|at| at.elapsed() >= TIDY);
        let is_busy = self.tidying.as_ref().is_some_and(|tidying| !tidying.is_finished());
        if is_busy || !is_time && !self.book()?.has_ended() {
            return Ok(());
        }
        self.tidied_at = Some(Instant::now());
        if let Some(ended) = self.with_book(Book::ended).await? {
            let is_over = Arc::clone(&self.is_over);
            let clocks = [clock::wall(), self.clock.now()];
            self.tidying = Some(spawn_blocking(move || settle(ended, clocks, &is_over)));
        }
        Ok(())
    }

    fn book(&self) -> io::Result<&Book> {
        self.book.as_ref().ok_or_else(died)
    }

    /// Does something with the book, off the runtime. Where the last writer died, there is
    /// a new one from the bookmark on.
    async fn with_book<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Book) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (book, terms, directory) = (self.book.take(), Arc::clone(&self.terms), self.directory.clone());
        let worked = spawn_blocking(move || {
            let mut book = book.unwrap_or_else(|| Book::again(terms, directory));
            let done = work(&mut book);
            (book, done)
        });
        // What it died of has been printed.
        let (book, done) = worked.await.map_err(|_| died())?;
        self.book = Some(book);
        done
    }

    fn succeed(&mut self, next: Next) -> Next {
        self.tell(|standing| {
            if standing.trouble.take().is_some() {
                tracing::info!(path = %standing.path.display(), "records are written again");
            }
        });
        next
    }

    fn fail(&mut self, error: &io::Error) -> Next {
        self.tell(|standing| {
            standing.failures += 1;
            let trouble = error.to_string();
            if standing.trouble.as_ref() != Some(&trouble) {
                tracing::error!(path = %standing.path.display(), %error, "records cannot be written; it is tried again and again, the journal keeps them");
            }
            standing.trouble = Some(trouble);
        });
        Next::Pause(PAUSE)
    }

    /// Says how it goes.
    fn tell(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = standing(&self.standing);
        if let Some(book) = &self.book {
            standing.file = book.path().map(PathBuf::from);
            standing.position = book.position();
            standing.records = book.records();
        }
        change(&mut standing);
    }
}

fn died() -> io::Error {
    io::Error::other("its writer died; it begins again at its bookmark")
}

fn settle(ended: Ended, clocks: [Timestamp; 2], is_over: &AtomicBool) {
    let clocks = clocks.map(|at| UNIX_EPOCH + Duration::from_millis(at.0));
    if let Err(error) = ended.settle(clocks, is_over) {
        tracing::warn!(%error, "a file of records that has ended cannot be compressed or removed; it is tried again");
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
