//! The journal of a gateway: opened with the spool, filled from it.

use super::{StartError, options};
use crate::config::Config;
use crate::journal::Journal;
use crate::spool::Spool;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// Opens the journal, which reads what an earlier process left, off the runtime.
pub(super) async fn open(config: &Config) -> Result<Journal, StartError> {
    let options = options::journal(config);
    let directory = options.directory.clone();
    let opened = tokio::task::spawn_blocking(move || Journal::open(options)).await;
    let opened = opened.unwrap_or_else(|died| Err(io::Error::other(died)));
    opened.map_err(|error| StartError::Journal(directory, error))
}

/// Brings the events of the spool into the journal until `stopped` turns true. What
/// comes later does so after the next start.
pub(super) async fn carry(journal: Journal, spool: Arc<dyn Spool>, stopped: watch::Receiver<bool>) {
    let spool = &spool;
    journal.carry(|after| spool.events(after), stopped).await;
}
