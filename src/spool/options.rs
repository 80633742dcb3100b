//! What an embedded spool is told when it is opened, and why it may refuse.

use super::SpoolError;
use super::disk::Reserve;
use crate::event::Wanted;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Waiting posts that are indexed in memory, at 250 octets each; the backlog
    /// beyond is indexed on disk.
    pub indexed_in_memory: usize,
    /// How long dead letters are kept.
    pub retain_failed: Duration,
    /// How long held posts are kept.
    pub retain_held: Duration,
    /// How long delivered posts are kept that are kept at all.
    pub retain_delivered: Duration,
    /// Whether all of them are, not only those with links.
    pub keep_bodies: bool,
    /// Whether anybody wants to be told of posts that end here.
    pub wanted: Wanted,
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
            retain_held: Duration::from_secs(30 * 24 * 60 * 60),
            retain_delivered: Duration::from_secs(24 * 60 * 60),
            keep_bodies: false,
            wanted: Wanted::default(),
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
    /// Posts are being moved into it or out of it.
    HalfMoved(PathBuf),
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
            OpenError::HalfMoved(path) => write!(
                f,
                "posts were being moved between {} and a database, and not all are where they belong; \
                 `postgate spool migrate` goes on",
                path.display()
            ),
            OpenError::Spool(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Keeps others out of a spool's directory for as long as the file is open.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    locked(directory, file.map_err(|error| OpenError::Io(directory.to_owned(), error))?)
}

/// The same where nothing may be written; a copy may be without the file.
pub(super) fn lock_if_there(directory: &Path) -> Result<Option<File>, OpenError> {
    match File::open(directory.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Io(directory.to_owned(), error)),
        Ok(file) => locked(directory, file).map(Some),
    }
}

fn locked(directory: &Path, file: File) -> Result<File, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(directory.to_owned(), error)),
    }
}
