//! Opening a spool in a database, and why that may be refused.

use super::hands::{self, Hands};
use super::link::{Commits, Link, Links, Trouble};
use super::{Postgres, Shared, changes, commits, schema, sweep};
use crate::event::Wanted;
use crate::post::Post;
use crate::spool::{Health, SpoolError};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

/// Tasks that commit, each on its own connection.
const COMMITTERS: usize = 2;
/// The oldest server that has all that is asked of it.
const OLDEST: i32 = 130_000;

/// Where and how to keep posts.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host,host/database` or `key=value` words; several hosts are
    /// tried in turn until one is found that takes writes.
    pub url: String,
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
    /// The defaults for a spool in this database.
    pub fn at(url: String) -> Options {
        Options {
            url,
            retain_failed: Duration::from_secs(14 * 24 * 60 * 60),
            retain_held: Duration::from_secs(30 * 24 * 60 * 60),
            retain_delivered: Duration::from_secs(24 * 60 * 60),
            keep_bodies: false,
            wanted: Wanted::default(),
        }
    }

    /// Whether a post is kept for a while after it was delivered.
    pub(super) fn keeps(&self, post: &Post) -> bool {
        post.has_links || self.keep_bodies
    }
}

/// Why a spool could not be opened. No password is told.
#[derive(Debug)]
pub enum OpenError {
    /// The URL is none of a database.
    Url(String),
    /// The database is away, or refuses.
    Database(SpoolError),
    /// The server is too old.
    Old(String),
    /// Its tables were made by a later version.
    Newer {
        /// The version of the tables.
        found: i32,
        /// The last that this process knows.
        known: i32,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Url(why) => {
                write!(f, "the URL of the database: {why}; write postgres://user:password@host/database")
            }
            OpenError::Database(error) => write!(f, "cannot open the spool in the database: {error}"),
            OpenError::Old(found) => write!(f, "the database is PostgreSQL {found}; 13 or newer is needed"),
            OpenError::Newer { found, known } => write!(
                f,
                "the tables of the spool have version {found}, and this program knows {known}: \
                 a newer version of it made them; start that one"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Trouble> for OpenError {
    fn from(trouble: Trouble) -> OpenError {
        OpenError::Database(trouble.into())
    }
}

impl Postgres {
    /// Opens the spool in `options.url`, making its tables when they are missing; takes over
    /// what was claimed.
    pub async fn open(options: Options) -> Result<Postgres, OpenError> {
        let mut config: Config =
            options.url.parse().map_err(|error: tokio_postgres::Error| OpenError::Url(error.to_string()))?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite).application_name("postgate");
        config.connect_timeout(Duration::from_secs(5));
        let link = Link::open(&config, Commits::Durably).await?;
        let version = link
            .query(
                "SELECT current_setting('server_version_num')::int4, current_setting('server_version')",
                &[],
            )
            .await?;
        if let Some(old) = version.first().filter(|row| row.get::<_, i32>(0) < OLDEST) {
            return Err(OpenError::Old(old.get(1)));
        }
        schema::migrate(&link).await?;
        let log = link.query("SELECT log FROM postgate_spool", &[]).await?;
        let log = log.first().map_or(0, |row| row.get::<_, i32>(0).cast_unsigned());
        changes::take_over(&link).await?;
        let shared = Arc::new(Shared {
            options,
            durable: Links::new(config.clone(), Commits::Durably),
            quick: Links::new(config, Commits::Quickly),
            doorbell: Arc::default(),
            health: watch::Sender::new(Health::Open),
            log,
            hands: Hands::default(),
            told: Notify::new(),
            waiting: AtomicUsize::new(0),
            damages: AtomicU64::new(0),
        });
        let (jobs, waiting) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        for _ in 0..COMMITTERS {
            tasks.spawn(commits::run(Arc::clone(&shared), Arc::clone(&waiting)));
        }
        tasks.spawn(sweep::recover(Arc::clone(&shared)));
        tasks.spawn(sweep::run(Arc::clone(&shared)));
        tasks.spawn(hands::watch(Arc::clone(&shared)));
        Ok(Postgres { shared, jobs, _tasks: tasks })
    }
}
