//! Where posts are kept.

use crate::config::Secret;
use crate::spool::postgres::Risk;
use std::time::Duration;

/// `[spool]`: how posts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Where they are kept.
    pub backend: Backend,
    /// The database, for those that are kept in one.
    pub url: Option<Secret>,
    /// What this gateway is called there; empty: as its machine.
    pub node: String,
    /// What the database may be set up to lose.
    pub accept_risks: Vec<Risk>,
    /// Longest wait for a group commit to fill.
    pub flush_interval: Duration,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool {
            backend: Backend::Embedded,
            url: None,
            node: String::new(),
            accept_risks: Vec::new(),
            flush_interval: Duration::from_millis(2),
        }
    }
}

/// Where posts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In files of the data directory.
    Embedded,
    /// In a database.
    Postgres,
}
