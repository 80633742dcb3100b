//! What a database may be set up to lose although it was acknowledged.
//!
//! `synchronous_commit` is none of it: each connection sets that for itself. Whether there
//! are standbys at all is the operator's choice; where there are some, one of them must have
//! what was acknowledged, or it is lost when that one takes over.

use super::OpenError;
use super::link::Link;
use std::fmt;

/// What may be lost, and by what; named so in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// The server does not write to its disk before it answers: `fsync`.
    Fsync,
    /// The server does not mend pages that a power cut left half written: `full-page-writes`.
    FullPageWrites,
    /// No standby has for sure what was acknowledged: `asynchronous-standbys`.
    AsynchronousStandbys,
}

impl Risk {
    /// Each.
    pub const ALL: [Risk; 3] = [Risk::Fsync, Risk::FullPageWrites, Risk::AsynchronousStandbys];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Risk::Fsync => "fsync",
            Risk::FullPageWrites => "full-page-writes",
            Risk::AsynchronousStandbys => "asynchronous-standbys",
        }
    }
}

impl fmt::Display for Risk {
    /// Cause and remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Risk::Fsync => "fsync is off, and a power cut loses what was acknowledged; set it on",
            Risk::FullPageWrites => {
                "full_page_writes is off, and a power cut may tear what was acknowledged; set it on"
            }
            Risk::AsynchronousStandbys => {
                "it has standbys of which none is waited for, and one that takes over may lack what was \
                 acknowledged; set synchronous_standby_names"
            }
        })
    }
}

/// The risks that this database runs.
pub(super) async fn of(link: &Link) -> Result<Vec<Risk>, OpenError> {
    let rows = link.query(SETTINGS, &[]).await?;
    let runs = |at: usize| rows.first().is_none_or(|row| row.get::<_, bool>(at));
    Ok(Risk::ALL.into_iter().enumerate().filter(|(at, _)| runs(*at)).map(|(_, risk)| risk).collect())
}

/// In the order of [`Risk::ALL`]. Who may not see what a standby is sees that there is one; a
/// backup is none.
const SETTINGS: &str = "SELECT current_setting('fsync') <> 'on', current_setting('full_page_writes') <> 'on', \
    current_setting('synchronous_standby_names') = '' AND EXISTS (SELECT FROM pg_stat_replication \
    WHERE application_name IS DISTINCT FROM 'pg_basebackup')";
