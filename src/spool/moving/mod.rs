//! Moving all that a spool holds to the other backend: posts with all that is known of them,
//! idempotency keys, facts. Events go to the journal first.
//!
//! Both places say which move they are part of before anything is copied, and no gateway works
//! on either until it is done: a marker in the directory, a row in the database. What is moved
//! stays where it was until all of it has arrived, durably. One step then says so, the row of
//! the database or the marker of the directory, and only behind it the other place is emptied.
//! A move that was interrupted is told by its marker, and goes on with what is missing.

pub(super) mod cargo;
mod error;
mod marker;

use super::disk::{Directory, Disk as _};
use super::embedded::{self, Embedded};
use super::inspect::Inspection;
use super::options::lock;
use super::postgres::depot::{Begun, Depot};
use super::{Census, Query, Spool as _, SpoolError, catalog, postgres};
use crate::event::{Event, Mark};
use cargo::{Cargo, OCTETS, POSTS};
pub use error::MoveError;
use marker::Marker;
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
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
            // Whoever opens a spool sets aside what is damaged.
            let own = directory.clone();
            let whole = off(move || is_whole(&own)).await;
            self.give_up_damaged(&whole).await?;
            whole?;
            let spool = open(&self.options).await?;
            hand_over(told, async |mark| Ok(spool.has_events(mark)), |mark| spool.events(mark)).await?;
            let (facts, posts) = (spool.notes("").await?, spool.census(Query::default()).await?);
            close(spool).await?;
            depot.take_facts(&facts).await?;
            let copied = copy_out(directory, depot, posts.values().sum(), progress).await;
            self.give_up_damaged(&copied).await?;
            copied?;
            depot.end(token).await?;
        }
        self.empty_directory()?;
        Ok(depot.census().await?)
    }

    /// Lets the gateway have the directory again, if it is damaged: nothing was taken out of it.
    async fn give_up_damaged(&self, moved: &Result<(), MoveError>) -> Result<(), MoveError> {
        if matches!(moved, Err(MoveError::Damaged(..))) {
            self.depot.give_up(&self.marker.token).await?;
            Marker::remove(&self.options.directory)?;
        }
        Ok(())
    }

    /// Removes the spool from the directory, and then the marker. What was set aside as damaged is
    /// left to who looks after it.
    fn empty_directory(&self) -> io::Result<()> {
        let directory = &self.options.directory;
        let log = directory.join("log");
        for entry in fs::read_dir(&log).into_iter().flatten() {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(b"damaged-") {
                fs::rename(log.join(&name), directory.join(&name))?;
            }
        }
        remove_if_there(&log)?;
        remove_if_there(&catalog::directory_in(directory))?;
        // Before the marker: else the spool might be back after a power cut, and nothing said of it.
        Directory::at(directory)?.sync_names()?;
        Marker::remove(directory)
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
            if let Err(error) = copy_in(depot, &spool, progress).await {
                close(spool).await?;
                if let MoveError::Spool(SpoolError::Damaged(what)) = error {
                    // All is in the database still.
                    depot.call_off(token).await?;
                    self.empty_directory()?;
                    return Err(MoveError::Unreadable(what));
                }
                return Err(error);
            }
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

/// Keeps gateways out of the directory, which is that of the one who runs this.
fn locked(directory: &Path, way: Way) -> Result<File, MoveError> {
    let there = directory.ancestors().find_map(|path| fs::metadata(path).ok());
    if let Some(owner) = there.map(|there| there.uid()).filter(|owner| *owner != geteuid().as_raw()) {
        return Err(MoveError::Owned(directory.to_owned(), owner));
    }
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
        // Before anything is in the directory the database knows of it.
        (Way::ToDirectory, Some(marker))
            if begun == Begun::Nothing && (marker.has_arrived || log.exists()) =>
        {
            let text = format!(
                "[spool] url: the database knows nothing of the move that is half done in {}; name the one \
                 that it began with",
                directory.display()
            );
            return Err(MoveError::Occupied(text));
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

/// Whether nothing in the directory is damaged.
fn is_whole(directory: &Path) -> Result<(), MoveError> {
    let findings = Inspection::alone(directory)?.read(|_| Ok::<_, MoveError>(()))?;
    match findings.damages.len() {
        0 => Ok(()),
        places => Err(MoveError::Damaged(directory.to_owned(), places)),
    }
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
        // Many have a key, and no post that lives.
        if posts.max(piece.len()) < POSTS && octets < OCTETS {
            return Ok(());
        }
        (octets, posts) = (0, 0);
        pieces.blocking_send(std::mem::take(&mut piece)).map_err(gone)
    })?;
    if !findings.damages.is_empty() {
        return Err(damaged(findings.damages.len()));
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
