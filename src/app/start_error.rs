//! Why a gateway did not start, in words that say what to do about it.
//!
//! What somebody meets who starts it for the first time has a remedy: an address that is
//! taken or forbidden, a directory that cannot be written. The rest names its cause.

use crate::intake::LoginsError;
use crate::smtp::{Address, TlsError};
use crate::spool::embedded::OpenError;
use crate::spool::moving::MoveError;
use crate::spool::postgres;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(Address, io::Error),
    /// The address of the API cannot be listened on.
    Api(SocketAddr, io::Error),
    /// The protocol log's directory cannot be used.
    Log(PathBuf, io::Error),
    /// The spool cannot be opened.
    Spool(OpenError),
    /// The spool in the database cannot be opened.
    Database(postgres::OpenError),
    /// The spool is to be in a database, and the one in this directory holds posts to be sent.
    Left(PathBuf, u64),
    /// The spool cannot be moved from one backend to the other.
    Move(MoveError),
    /// The journal cannot be opened.
    Journal(PathBuf, io::Error),
    /// The key of attachments' addresses is there and cannot be read.
    LinkKey(PathBuf, io::Error),
    /// A route that the configuration's own checks let through is not one.
    Route(String),
    /// A user cannot log in as configured.
    Logins(LoginsError),
    /// Certificates or keys cannot be used.
    Tls(TlsError),
    /// What the configuration names could not be read to its end.
    Read(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}{}", at(address, error))
            }
            StartError::Api(address, error) => {
                write!(f, "[api] cannot listen on {address}: {error}{}", at(&Address::Tcp(*address), error))
            }
            StartError::Log(path, error) => {
                let remedy = within(error);
                write!(f, "cannot write the protocol log in {}: {error}{remedy}", path.display())
            }
            StartError::Spool(error) => error.fmt(f),
            StartError::Database(error) => write!(f, "[spool] {error}"),
            StartError::Left(path, posts) => write!(
                f,
                "[spool] {} holds posts that are still to be sent: {posts}; `postgate spool migrate` moves them to \
                 the database",
                path.display()
            ),
            StartError::Move(error) => error.fmt(f),
            StartError::Journal(path, error) => {
                write!(f, "cannot open the journal {}: {error}", path.display())
            }
            StartError::LinkKey(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "cannot read {path}: {error}; make it readable, or remove it: addresses of attachments \
                     that were given out are then void"
                )
            }
            StartError::Route(text) => f.write_str(text),
            StartError::Logins(error) => error.fmt(f),
            StartError::Tls(error) => write!(f, "[tls] {error}"),
            StartError::Read(error) => write!(f, "the configuration cannot be read: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What to do about an address that cannot be listened on.
fn at(address: &Address, error: &io::Error) -> &'static str {
    match (address, error.kind()) {
        (Address::Unix(_), ErrorKind::PermissionDenied) => {
            "; the user that runs the gateway must be able to write in its directory"
        }
        (Address::Tcp(_), ErrorKind::AddrInUse) => {
            "; another program has it, and maybe another gateway (`ss -ltnp` names it): end that one, or choose \
             another port"
        }
        (Address::Tcp(_), ErrorKind::PermissionDenied) => {
            "; ports below 1024 are for root alone: choose one above, or run the gateway with the capability \
             CAP_NET_BIND_SERVICE"
        }
        (Address::Tcp(_), ErrorKind::AddrNotAvailable) => {
            "; no interface of this machine has it: 0.0.0.0 and [::] stand for all there are"
        }
        _ => "",
    }
}

/// What to do about a directory that cannot be written.
fn within(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; give it to the user that runs the gateway, or choose another data_dir in [server]"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; a file is in the way: choose another data_dir in [server]"
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull => "; choose another data_dir in [server]",
        _ => "",
    }
}
