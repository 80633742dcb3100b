//! Why a move is refused, or could not be finished.

use super::super::{SpoolError, embedded, postgres};
use std::fmt;
use std::io;
use std::path::PathBuf;

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
    /// Something in the database cannot be read, and all of it stays there.
    Unreadable(String),
    /// The directory is this user's.
    Owned(PathBuf, u32),
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
            MoveError::Unreadable(what) => write!(
                f,
                "the database holds what cannot be read ({what}), and all of it stays there; a gateway with \
                 backend = \"postgres\" keeps that as a dead letter: delete it there, and run this again"
            ),
            MoveError::Owned(path, user) => write!(
                f,
                "{} belongs to user {user}, as whom the gateway runs; run this as that user, or it could not \
                 open what was moved",
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
