//! Moving all that a spool holds to the other backend: posts with all that is known of them,
//! idempotency keys, facts. Events go to the journal first.
//!
//! Both places say which move they are part of before anything is copied, and no gateway works
//! on either until it is done: a marker in the directory, a row in the database. What is moved
//! stays where it was until all of it has arrived, durably. One step then says so, the row of
//! the database or the marker of the directory, and only behind it the other place is emptied.
//! A move that was interrupted is told by its marker, and goes on with what is missing.

pub(super) mod cargo;
mod marker;

use super::disk::{Directory, Disk as _};
use super::embedded::{self, Embedded};
use super::inspect::Inspection;
use super::options::lock;
use super::postgres::depot::{Begun, Depot};
use super::{Census, Query, Spool as _, SpoolError, catalog, postgres};
use crate::event::{Event, Mark};
use cargo::{Cargo, OCTETS, POSTS};
use marker::Marker;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out of the directory.
    ToDatabase,
    /// Out of the database.
    ToDirectory,
}

/// Why not all is where it should be. It can be tried again.
#[derive(Debug)]
pub enum MoveError {
    /// There is nothing in that directory.
    Nothing(PathBuf),
    /// There is something already where all is to go.
    Occupied(String),
    /// Posts are on their way in the other direction.
    OtherWay(PathBuf),
    /// The database takes part in a move of another directory.
    Elsewhere(String),
    /// So many places of the embedded spool are damaged, and it stays where it is.
    Damaged(PathBuf, usize),
    /// The directory cannot be used.
    Directory(embedded::OpenError),
    /// The database cannot be used.
    Database(postgres::OpenError),
    /// Something could not be read or written.
    Io(io::Error),
    /// A spool refuses.
    Spool(SpoolError),
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MoveError::Nothing(path) => write!(f, "there is no spool in {} to be moved", path.display()),
            MoveError::Occupied(what) => f.write_str(what),
            MoveError::OtherWay(path) => write!(
                f,
                "a move between {} and the database is half done in the other direction; name the other \
                 backend under [spool], and finish that first",
                path.display()
            ),
            MoveError::Elsewhere(place) => write!(
                f,
                "[spool] url: the database takes part in a move of {place} that is half done; finish that one \
                 there"
            ),
            MoveError::Damaged(path, places) => write!(
                f,
                "{} is damaged ({places} places, `postgate spool check` names them), and all of it stays there; \
                 have it delivered with backend = \"embedded\", which sets aside what cannot be read",
                path.display()
            ),
            MoveError::Directory(error) => error.fmt(f),
            MoveError::Database(error) => write!(f, "[spool] {error}"),
            MoveError::Io(error) => error.fmt(f),
            MoveError::Spool(error) => write!(f, "{error}; when that is mended, run it again: it goes on"),
        }
    }
}

impl std::error::Error for MoveError {}

impl From<SpoolError> for MoveError {
    fn from(error: SpoolError) -> MoveError {
        MoveError::Spool(error)
    }
}

impl From<io::Error> for MoveError {
    fn from(error: io::Error) -> MoveError {
        MoveError::Io(error)
    }
}

impl From<embedded::OpenError> for MoveError {
    fn from(error: embedded::OpenError) -> MoveError {
        MoveError::Directory(error)
    }
}

impl From<postgres::OpenError> for MoveError {
    fn from(error: postgres::OpenError) -> MoveError {
        MoveError::Database(error)
    }
}

/// Both places of a move.
pub struct Places {
    /// The spool in a directory.
    pub directory: embedded::Options,
    /// The one in a database.
    pub database: postgres::Options,
}

/// Whether a move of the spool in this directory is under way or was interrupted.
pub(super) fn is_half_done(directory: &Path) -> bool {
    Marker::is_there(directory)
}

/// A move that keeps gateways out of both places until it is dropped, and behind that until it
/// is done.
pub struct Move {
    options: embedded::Options,
    depot: Depot,
    marker: Marker,
    begun: Begun,
    _lock: File,
}

impl Move {
    /// Begins one, or goes on with one that was interrupted.
    pub async fn begin(places: Places, way: Way) -> Result<Move, MoveError> {
        let Places { directory: options, database } = places;
        let lock = locked(&options.directory, way)?;
        let depot = Depot::open(database).await?;
        match begun(&options.directory, &depot, way).await {
            Ok((marker, begun)) => Ok(Move { options, depot, marker, begun, _lock: lock }),
            Err(error) => {
                depot.close().await;
                Err(error)
            }
        }
    }

    /// Moves all that is left. Events that are behind `mark` are handed to `keep`, which makes them
    /// durable with the mark behind them; `progress` hears how many posts were moved, and of how
    /// many. Answers which posts there are now.
    pub async fn finish(
        self,
        told: (Mark, impl AsyncFn(Mark, Vec<Event>) -> io::Result<()>),
        progress: impl Fn(u64, u64),
    ) -> Result<Census, MoveError> {
        let moved = match self.marker.way {
            Way::ToDatabase => self.to_database(told, progress).await,
            Way::ToDirectory => self.to_directory(told, progress).await,
        };
        self.depot.close().await;
        moved
    }

    async fn to_database(
        &self,
        told: (Mark, impl AsyncFn(Mark, Vec<Event>) -> io::Result<()>),
        progress: impl Fn(u64, u64),
    ) -> Result<Census, MoveError> {
        let (depot, token, directory) = (&self.depot, &self.marker.token, &self.options.directory);
        if self.begun != Begun::Ended {
            let spool = open(&self.options).await?;
            hand_over(told, async |mark| Ok(spool.has_events(mark)), |mark| spool.events(mark)).await?;
            let (facts, posts) = (spool.notes("").await?, spool.census(Query::default()).await?);
            close(spool).await?;
            depot.take_facts(&facts).await?;
            let copied = copy_out(directory, depot, posts.values().sum(), progress).await;
            if matches!(copied, Err(MoveError::Damaged(..))) {
                depot.give_up(token).await?;
                Marker::remove(directory)?;
            }
            copied?;
            depot.end(token).await?;
        }
        remove_if_there(&directory.join("log"))?;
        remove_if_there(&catalog::directory_in(directory))?;
        // Before the marker: else the spool might be back after a power cut, and nothing said of it.
        Directory::at(directory)?.sync_names()?;
        Marker::remove(directory)?;
        Ok(depot.census().await?)
    }

    async fn to_directory(
        &self,
        told: (Mark, impl AsyncFn(Mark, Vec<Event>) -> io::Result<()>),
        progress: impl Fn(u64, u64),
    ) -> Result<Census, MoveError> {
        let (depot, token, directory) = (&self.depot, &self.marker.token, &self.options.directory);
        let spool = open(&self.options).await?;
        if !self.marker.has_arrived && self.begun != Begun::Ended {
            hand_over(told, async |mark| depot.has_events(mark).await, |mark| depot.events(mark)).await?;
            let (facts, forgotten) = depot.facts().await?;
            spool.adopt_facts(facts, forgotten)?;
            copy_in(depot, &spool, progress).await?;
        }
        let posts = spool.census(Query::default()).await?;
        close(spool).await?;
        // What the database has once it said that the move has ended is not of this move.
        if self.begun != Begun::Ended {
            self.marker.arrived().write(directory)?;
            depot.clear(token).await?;
        }
        Marker::remove(directory)?;
        Ok(posts)
    }
}

/// Keeps gateways out of the directory.
fn locked(directory: &Path, way: Way) -> Result<File, MoveError> {
    if way == Way::ToDirectory {
        Directory::at(directory)?;
    } else if !directory.exists() {
        return Err(MoveError::Nothing(directory.to_owned()));
    }
    Ok(lock(directory)?)
}

/// The move that this one is or goes on with, and how far it has come in the database.
async fn begun(directory: &Path, depot: &Depot, way: Way) -> Result<(Marker, Begun), MoveError> {
    let found = Marker::read(directory)?;
    if found.as_ref().is_some_and(|marker| marker.way != way) {
        return Err(MoveError::OtherWay(directory.to_owned()));
    }
    let begun = match &found {
        Some(marker) => depot.find(&marker.token).await?,
        None => Begun::Nothing,
    };
    if begun == Begun::Nothing
        && let Some(place) = depot.half_done().await?
    {
        return Err(MoveError::Elsewhere(place));
    }
    let log = directory.join("log");
    match (way, &found) {
        (Way::ToDatabase, None) if !log.exists() => return Err(MoveError::Nothing(directory.to_owned())),
        (Way::ToDatabase, _) if begun == Begun::Nothing && !depot.is_empty().await? => {
            let text = "[spool] url: the database holds a spool already; name another one, or drop its tables \
                        if nobody wants what is in it";
            return Err(MoveError::Occupied(text.to_owned()));
        }
        (Way::ToDirectory, None) if log.exists() => {
            let text = format!("there is a spool in {} already; move it away", directory.display());
            return Err(MoveError::Occupied(text));
        }
        _ => {}
    }
    let marker = match found {
        Some(marker) => marker,
        None => {
            let marker = Marker::new(way);
            marker.write(directory)?;
            marker
        }
    };
    if begun == Begun::Nothing {
        depot.begin(&marker.token, &directory.display().to_string()).await?;
    }
    Ok((marker, begun))
}

/// Hands over all events that are behind a mark.
async fn hand_over<N: Future<Output = Result<(Mark, Vec<Event>), SpoolError>>>(
    (mut mark, keep): (Mark, impl AsyncFn(Mark, Vec<Event>) -> io::Result<()>),
    has_events: impl AsyncFn(Mark) -> Result<bool, SpoolError>,
    next: impl Fn(Mark) -> N,
) -> Result<(), MoveError> {
    while has_events(mark).await? {
        let (behind, events) = next(mark).await?;
        keep(behind, events).await?;
        mark = behind;
    }
    Ok(())
}

/// Opens the embedded spool, whose lock is held. It forgets no post of which somebody has to
/// hear.
async fn open(options: &embedded::Options) -> Result<Embedded, MoveError> {
    let options = embedded::Options { retain_held: Duration::MAX, ..options.clone() };
    let opened = off(move || {
        let path = options.directory.join("log");
        let refused = |error| embedded::OpenError::Io(path.clone(), error);
        let disk = Directory::at(&path).map_err(refused)?;
        Ok(Embedded::open_on(Arc::new(disk), options)?)
    });
    let spool = opened.await?;
    spool.recovered().await;
    Ok(spool)
}

async fn close(spool: Embedded) -> Result<(), MoveError> {
    off(move || Ok(spool.close()?)).await
}

/// Copies what lives in the directory into the database.
async fn copy_out(
    directory: &Path,
    depot: &Depot,
    of: u64,
    progress: impl Fn(u64, u64),
) -> Result<(), MoveError> {
    let (sender, mut pieces) = mpsc::channel(1);
    let own = directory.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&own, &sender));
    let mut done = 0;
    while let Some(piece) = pieces.recv().await {
        depot.take_in(&piece).await?;
        done += piece.iter().map(|cargo| cargo.living().count() as u64).sum::<u64>();
        progress(done, of);
    }
    let living = reading.await.map_err(io::Error::other)??;
    let arrived: u64 = depot.census().await?.values().sum();
    // A dead letter whose time is over is forgotten here first.
    if arrived < living {
        return Err(io::Error::other(format!("{living} posts were read, and {arrived} arrived")).into());
    }
    Ok(())
}

/// Reads what lives in the directory, piece by piece; how many posts that were.
fn read(directory: &Path, pieces: &mpsc::Sender<Vec<Cargo>>) -> Result<u64, MoveError> {
    let damaged = |places| MoveError::Damaged(directory.to_owned(), places);
    let gone = |_| MoveError::Spool(SpoolError::Closed);
    let (mut piece, mut octets, mut posts) = (Vec::new(), 0, 0);
    let findings = Inspection::alone(directory)?.read_all(|message| {
        let cargo = message.cargo().map_err(|_| damaged(1))?;
        octets += cargo.octets();
        posts += cargo.living().count();
        piece.push(cargo);
        if posts < POSTS && octets < OCTETS {
            return Ok(());
        }
        (octets, posts) = (0, 0);
        pieces.blocking_send(std::mem::take(&mut piece)).map_err(gone)
    })?;
    let damages = findings.damages.len() + findings.missing.len();
    if damages > 0 {
        return Err(damaged(damages));
    }
    pieces.blocking_send(piece).map_err(gone)?;
    Ok(findings.posts.values().sum())
}

/// Copies what lives in the database into the directory.
async fn copy_in(depot: &Depot, spool: &Embedded, progress: impl Fn(u64, u64)) -> Result<(), MoveError> {
    let of = depot.census().await?.values().sum();
    let (mut after, mut done) = (Vec::new(), 0);
    while let Some((last, cargos)) = depot.take_out(&after).await? {
        done += cargos.iter().map(|cargo| cargo.living().count() as u64).sum::<u64>();
        spool.adopt(cargos).await?;
        after = last;
        progress(done, of);
    }
    let mut after = Default::default();
    while let Some((last, cargos)) = depot.keys(&after).await? {
        spool.adopt(cargos).await?;
        after = last;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Does what blocks on a thread made for that.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MoveError> + Send + 'static,
) -> Result<T, MoveError> {
    let died = |died| Err(MoveError::Io(io::Error::other(died)));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(died)
}
