//! The spool that the configuration names: opened, shared by all parts, closed.
//!
//! Whichever it is, the data directory is this process's alone, and large messages are
//! received into it. With posts left in it by the embedded spool no other one is opened:
//! nobody would send them.

use super::StartError;
use crate::config::{Backend, Config};
use crate::event::Wanted;
use crate::post::MessageId;
use crate::spool::disk::Reserve;
use crate::spool::embedded::{self, Embedded, OpenError, keep_out_of};
use crate::spool::inspect::Inspection;
use crate::spool::postgres::{self, Postgres};
use crate::spool::{PostState, Spool};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// An open spool.
pub(super) enum Store {
    /// In the data directory.
    Embedded(Arc<Embedded>),
    /// In a database.
    Postgres {
        /// That one.
        spool: Arc<Postgres>,
        /// Keeps other processes out of the data directory.
        _lock: File,
    },
}

impl Store {
    /// Opens the spool, which reads what an earlier process left, off the runtime.
    pub async fn open(config: &Config, wanted: &Wanted) -> Result<Store, StartError> {
        let options = embedded(config, wanted.clone());
        if config.spool.backend == Backend::Embedded {
            let spool = off(move || Embedded::open(options).map_err(StartError::Spool)).await?;
            return Ok(Store::Embedded(Arc::new(spool)));
        }
        let lock = off(move || emptied(&options.directory)).await?;
        let spool = Postgres::open(database(config, wanted.clone())).await.map_err(StartError::Database)?;
        Ok(Store::Postgres { spool: Arc::new(spool), _lock: lock })
    }

    /// The spool as all parts see it.
    pub fn spool(&self) -> Arc<dyn Spool> {
        match self {
            Store::Embedded(spool) => Arc::clone(spool) as Arc<dyn Spool>,
            Store::Postgres { spool, .. } => Arc::clone(spool) as Arc<dyn Spool>,
        }
    }

    /// The greatest message id found on opening.
    pub fn newest(&self) -> MessageId {
        match self {
            Store::Embedded(spool) => spool.newest(),
            Store::Postgres { spool, .. } => spool.newest(),
        }
    }

    /// Writes what is left and ends in order. Blocks.
    pub fn close(self) -> Result<(), OpenError> {
        match self {
            Store::Embedded(spool) => spool.close().map_err(OpenError::Spool),
            Store::Postgres { spool, .. } => {
                Handle::current().block_on(spool.close());
                Ok(())
            }
        }
    }
}

/// Looks whether the spool could be opened, without changing it; says where it is.
pub(super) async fn check(config: &Config) -> Result<String, StartError> {
    if config.spool.backend == Backend::Embedded {
        return Ok(embedded(config, Wanted::default()).directory.display().to_string());
    }
    let version = postgres::check(&database(config, Wanted::default())).await;
    version.map(|version| format!("a database of PostgreSQL {version}")).map_err(StartError::Database)
}

/// Keeps others out of the directory of an embedded spool that is not used, unless posts of it
/// are still to be sent.
fn emptied(directory: &Path) -> Result<File, StartError> {
    let lock = keep_out_of(directory).map_err(StartError::Spool)?;
    if directory.join("log").exists() {
        let findings = Inspection::alone(directory).and_then(|inspection| inspection.read(|_| Ok(())));
        let mut posts = findings.map_err(StartError::Spool)?.posts;
        posts.remove(&PostState::Delivered);
        let failed = posts.remove(&PostState::Failed).unwrap_or_default();
        let left = posts.into_values().sum();
        if left > 0 {
            return Err(StartError::Left(directory.to_owned(), left));
        }
        if failed > 0 {
            tracing::warn!(
                posts = failed, directory = %directory.display(),
                "posts that failed are left in the embedded spool, where nobody retries or forgets them; \
                 `postgate spool export --with-secrets` writes them out"
            );
        }
    }
    Ok(lock)
}

async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let died = |died| Err(StartError::Read(io::Error::other(died)));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(died)
}

/// For the spool in the data directory.
pub(super) fn embedded(config: &Config, wanted: Wanted) -> embedded::Options {
    // Room for one and a half messages keeps a full disk from being met in the
    // middle of one.
    let least_room = config.limits.message_size.0.saturating_mul(3) / 2;
    let defaults = embedded::Options::at(config.server.data_dir.join("spool"));
    let reserve = Reserve { octets: least_room.max(defaults.reserve.octets), ..defaults.reserve };
    embedded::Options {
        flush_interval: config.spool.flush_interval,
        reserve,
        retain_failed: config.retention.failed,
        retain_held: config.retention.held,
        retain_delivered: config.retention.delivered,
        keep_bodies: config.retention.keep_bodies,
        wanted,
        ..defaults
    }
}

/// For the spool in a database.
pub(super) fn database(config: &Config, wanted: Wanted) -> postgres::Options {
    let spool = &config.spool;
    let url = spool.url.as_ref().map(|url| url.value.reveal().to_owned()).unwrap_or_default();
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    postgres::Options {
        node: if spool.node.is_empty() { machine() } else { spool.node.clone() },
        accepted_risks: spool.accept_risks.clone(),
        retain_failed: config.retention.failed,
        retain_held: config.retention.held,
        retain_delivered: config.retention.delivered,
        keep_bodies: config.retention.keep_bodies,
        wanted,
        ..postgres::Options::at(url)
    }
}
