//! The files of records that a configuration asks for: who writes them, and how that goes.
//!
//! As long as there is one, events are wanted, and the journal keeps what is not written.
//! A file goes on behind its bookmark. One that is new begins with what happens from now
//! on, but takes the place of those that are no longer asked for: so a path can change,
//! and no record is lost. What is wrong with a file stops that file alone.

use super::bookmark::Bookmark;
use super::follower::{Follower, Turn};
use super::{Fields, Filter, Naming, Privacy, RecordType};
use crate::event::{Want, Wanted};
use crate::journal::{Journal, Position};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long writers may take to end: longer than a disk that works.
const ENDING: Duration = Duration::from_secs(10);

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One object of JSON a line.
    #[default]
    Ndjson,
    /// RFC 4180, a line of names first in each file.
    Csv,
}

/// What becomes of a file that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// It stays as it is.
    #[default]
    Plain,
    /// It is compressed (RFC 1952).
    Gzip,
}

/// What one file holds, and how long.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where it is, with the date in its name as the configuration has it.
    pub path: PathBuf,
    /// What it is called.
    pub naming: Naming,
    /// How records are written.
    pub layout: Layout,
    /// Which types.
    pub types: Vec<RecordType>,
    /// Which columns.
    pub fields: Fields,
    /// Who may know addresses.
    pub privacy: Privacy,
    /// Of what.
    pub filter: Filter,
    /// Octets after which another file begins.
    pub max_octets: u64,
    /// Time after which another file begins.
    pub rotate: Duration,
    /// How long files that have ended are kept.
    pub keep: Duration,
    /// What becomes of them meanwhile.
    pub packing: Packing,
}

/// How the writing of a file goes.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// As the configuration has it.
    pub path: PathBuf,
    /// The file that is written; none before it could be opened.
    pub file: Option<PathBuf>,
    /// The last event that is written, or is none to be written.
    pub position: Position,
    /// Events behind that.
    pub behind: u64,
    /// Events since then that the journal let go before they were written.
    pub lost: u64,
    /// Records that were written since the configuration is in force.
    pub records: u64,
    /// Times since then that it could not be written.
    pub failures: u64,
    /// Why it cannot be written now.
    pub trouble: Option<String>,
}

/// What came of ending a file by hand.
#[derive(Debug)]
pub struct Turned {
    /// As the configuration has it.
    pub path: PathBuf,
    /// Where the file is that ended, before it is compressed; none if there was no record in
    /// it. The error says why it goes on.
    pub ended: io::Result<Option<PathBuf>>,
}

/// A handle to all of them; clones are the same.
#[derive(Clone)]
pub struct Accounts(Arc<Shared>);

struct Shared {
    journal: Journal,
    wanted: Wanted,
    /// Where bookmarks are.
    directory: PathBuf,
    current: Mutex<Current>,
    /// Who has files ended: one after another.
    turning: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    _want: Option<Want>,
    writers: Vec<Writer>,
    /// What was asked for before, and could be again.
    left: Vec<PathBuf>,
}

struct Writer {
    path: PathBuf,
    standing: Arc<Mutex<Standing>>,
    stop: watch::Sender<bool>,
    turns: mpsc::Sender<Turn>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({})", self.0.directory.display())
    }
}

impl Accounts {
    /// None yet; bookmarks are in `directory`, which is made for the first one.
    pub fn new(journal: Journal, wanted: Wanted, directory: PathBuf) -> Accounts {
        Accounts(Arc::new(Shared {
            journal,
            wanted,
            directory,
            current: Mutex::default(),
            turning: tokio::sync::Mutex::default(),
        }))
    }

    /// Ends those there are and begins these, also those that are the same: their files
    /// are opened anew. How far the others are is known until they are forgotten. No two
    /// calls at a time.
    pub async fn renew(&self, terms: Vec<Terms>) {
        let want = (!terms.is_empty()).then(|| self.0.wanted.want());
        let left = self.end_writers().await;
        let shared = Arc::clone(&self.0);
        let paths: Vec<_> = terms.iter().map(|terms| terms.path.clone()).collect();
        let begun = tokio::task::spawn_blocking(move || shared.bookmarks(&paths)).await;
        // They were not even looked at; what is there is written again.
        let bookmarks = begun.unwrap_or_default();
        let begin = |terms: Terms| {
            let bookmark = bookmarks.iter().find(|bookmark| bookmark.path == terms.path).cloned();
            self.begin(terms, bookmark)
        };
        let writers: Vec<_> = terms.into_iter().map(begin).collect();
        let mut current = self.0.current();
        let left = std::mem::take(&mut current.left).into_iter().chain(left).collect();
        *current = Current { _want: want, writers, left };
    }

    /// Forgets how far the files are that were not asked for last; not to be undone.
    pub async fn forget_others(&self) {
        let (paths, left) = {
            let mut current = self.0.current();
            let paths: Vec<_> = current.writers.iter().map(|writer| writer.path.clone()).collect();
            (paths, std::mem::take(&mut current.left))
        };
        for path in left.iter().filter(|path| !paths.contains(path)) {
            self.0.journal.let_go(&follower(path));
        }
        let shared = Arc::clone(&self.0);
        // What it died of has been printed.
        let _ = tokio::task::spawn_blocking(move || shared.forget_others(&paths)).await;
    }

    /// Ends all: what is written is durable then.
    pub async fn end(&self) {
        self.end_writers().await;
    }

    /// Ends each file now, behind the records of what the journal has, and begins the next;
    /// what came of it, in the order of the configuration. Of two calls at a time the second
    /// finds what the first has left.
    pub async fn turn(&self) -> Vec<Turned> {
        let begin = |writer: &Writer| {
            let (turn, turned) = oneshot::channel();
            // One that has ended, or still has the order before, drops it: that is the answer.
            let _ = writer.turns.try_send(turn);
            (writer.path.clone(), turned)
        };
        let _turn = self.0.turning.lock().await;
        let begun: Vec<_> = self.0.current().writers.iter().map(begin).collect();
        let (mut all, deadline) = (Vec::new(), Instant::now() + ENDING);
        for (path, turned) in begun {
            let ended = match timeout_at(deadline, turned).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(_)) => {
                    Err(io::Error::other("its writer ends, or still has an order before; try again"))
                }
                Err(_) => Err(io::Error::other("its disk does not answer")),
            };
            all.push(Turned { path, ended });
        }
        all
    }

    /// How each goes, in the order of the configuration.
    pub fn standings(&self) -> Vec<Standing> {
        let (first, last) = (self.0.journal.first(), self.0.journal.last().0);
        let standing = |writer: &Writer| {
            let standing = standing(&writer.standing).clone();
            let behind = last.saturating_sub(standing.position.0);
            let lost = standing.lost + missing(standing.position, first);
            Standing { behind, lost, ..standing }
        };
        self.0.current().writers.iter().map(standing).collect()
    }

    fn begin(&self, terms: Terms, bookmark: Option<Bookmark>) -> Writer {
        let path = terms.path.clone();
        let bookmark = bookmark.unwrap_or(Bookmark { path: path.clone(), position: Position(0), file: None });
        self.0.journal.hold_within(&follower(&path), bookmark.position);
        let standing = Standing { path: path.clone(), position: bookmark.position, ..Standing::default() };
        let standing = Arc::new(Mutex::new(standing));
        let (stop, stopped) = watch::channel(false);
        let (journal, directory) = (self.0.journal.clone(), self.0.directory.clone());
        let follower =
            Follower::new((journal, follower(&path)), (terms, directory, bookmark), Arc::clone(&standing));
        let (turns, taken) = mpsc::channel(1);
        Writer { path, standing, stop, turns, task: tokio::spawn(follower.follow(stopped, taken)) }
    }

    /// Ends the writers, and answers what they wrote.
    async fn end_writers(&self) -> Vec<PathBuf> {
        let writers = std::mem::take(&mut self.0.current().writers);
        for writer in &writers {
            writer.stop.send_replace(true);
        }
        let (mut paths, deadline) = (Vec::new(), Instant::now() + ENDING);
        for mut writer in writers {
            if timeout_at(deadline, &mut writer.task).await.is_err() {
                tracing::error!(path = %writer.path.display(), "the disk of this accounting file does not answer");
                writer.task.abort();
            }
            paths.push(writer.path);
        }
        paths
    }
}

impl Shared {
    /// Where each of these files goes on. Blocks.
    fn bookmarks(&self, paths: &[PathBuf]) -> Vec<Bookmark> {
        let known = Bookmark::all(&self.directory).unwrap_or_else(|error| {
            let directory = self.directory.display();
            tracing::error!(%directory, %error, "it cannot be read how far accounting has come; records are written again");
            Vec::new()
        });
        let last = self.journal.last();
        // All that is still there.
        let all = Position(self.journal.first().0.saturating_sub(1));
        let (own, others): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|bookmark| paths.contains(&bookmark.path));
        let succeeded = others.iter().map(|bookmark| bookmark.position).min();
        let bookmark = |path: &PathBuf| {
            let own = own.iter().find(|bookmark| bookmark.path == *path).cloned();
            let is_damaged = || Bookmark::is_there(&self.directory, path);
            let begin = || if is_damaged() { all } else { succeeded.unwrap_or(last) };
            let own = own.unwrap_or_else(|| Bookmark { path: path.clone(), position: begin(), file: None });
            // Positions of another journal mean nothing in this one.
            let position = if own.position > last { all } else { own.position };
            Bookmark { position, ..own }
        };
        let bookmarks: Vec<_> = paths.iter().map(bookmark).collect();
        if let Err(error) = bookmarks.iter().try_for_each(|bookmark| bookmark.keep(&self.directory)) {
            tracing::warn!(directory = %self.directory.display(), %error, "it cannot be kept how far accounting has come; it is tried again");
        }
        bookmarks
    }

    /// Forgets all but these. Blocks.
    fn forget_others(&self, paths: &[PathBuf]) {
        // What is not kept yet may be where one of the others was.
        if !paths.iter().all(|path| Bookmark::is_there(&self.directory, path)) {
            return;
        }
        let forget = |known: Vec<Bookmark>| {
            let mut others = known.iter().filter(|bookmark| !paths.contains(&bookmark.path));
            others.try_for_each(|other| other.remove(&self.directory))
        };
        if let Err(error) = Bookmark::all(&self.directory).and_then(forget) {
            tracing::warn!(directory = %self.directory.display(), %error, "it cannot be forgotten how far accounting had come");
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file is called among those who follow the journal.
fn follower(path: &std::path::Path) -> String {
    format!("accounting {}", path.display())
}

/// Events between one position and another, which is the next one that there is.
pub(super) fn missing(position: Position, next: Position) -> u64 {
    next.0.saturating_sub(position.0 + 1)
}

pub(super) fn standing(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{Event, EventId, Mark};
    use crate::journal;
    use crate::post::Timestamp;
    use crate::tenant::Tenant;

    /// An event that nothing tells from others but its number.
    pub(in super::super) fn event(number: u64) -> Event {
        Event {
            id: EventId::new(Timestamp(number), 0),
            name: "post.failed".parse().unwrap(),
            at: Timestamp(number),
            tenant: Tenant::default(),
            data: "{}".into(),
        }
    }

    fn noted(path: &str, position: u64) -> Bookmark {
        Bookmark { path: path.into(), position: Position(position), file: None }
    }

    #[tokio::test]
    async fn a_file_goes_on_where_it_was_and_a_new_one_takes_the_place_of_those_that_go() {
        for (before, paths, expected) in [
            (&[][..], &["a"][..], &[10][..]),
            (&[("a", 3)], &["a", "b"], &[3, 10]),
            (&[("a", 3), ("b", 5)], &["c"], &[3]),
            (&[("a", 3), ("b", 5)], &["b", "c"], &[5, 3]),
            (&[("a", 3)], &[], &[]),
            // Of another journal.
            (&[("a", 11)], &["a"], &[0]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
            journal.append(Mark::default(), (1..=10).map(event).collect()).await.unwrap();
            let notes = directory.path().join("notes");
            before.iter().for_each(|(path, position)| noted(path, *position).keep(&notes).unwrap());
            let accounts = Accounts::new(journal, Wanted::default(), notes.clone());
            let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
            let found = accounts.0.bookmarks(&paths);
            assert_eq!(found.iter().map(|it| it.position.0).collect::<Vec<_>>(), expected, "{before:?}");
            // Whoever is asked for again before it is forgotten goes on where it was.
            let good = before.iter().filter(|(_, position)| *position <= 10);
            let again: Vec<_> = good.map(|(path, position)| noted(path, *position)).collect();
            let all: Vec<_> = again.iter().map(|bookmark| bookmark.path.clone()).collect();
            assert_eq!(accounts.0.bookmarks(&all), again);
            // So it is for the next process, and the others are forgotten.
            accounts.0.forget_others(&paths);
            assert_eq!(Bookmark::all(&notes).unwrap().len(), paths.len());
            assert_eq!(accounts.0.bookmarks(&paths), found);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_of_a_file_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
        journal.append(Mark::default(), vec![event(1)]).await.unwrap();
        let notes = directory.path().join("notes");
        noted("a", 1).keep(&notes).unwrap();
        let file = std::fs::read_dir(&notes).unwrap().next().unwrap().unwrap().path();
        std::fs::write(file, "{").unwrap();
        let accounts = Accounts::new(journal, Wanted::default(), notes);
        assert_eq!(accounts.0.bookmarks(&["a".into()]), [noted("a", 0)]);
    }
}
