//! Opening a spool in a database, and why that may be refused.

use super::hands::{self, Hands};
use super::hosts::Hosts;
use super::link::{Commits, Link, Links, Trouble};
use super::risks::{self, Risk};
use super::row::id_of;
use super::{Postgres, Shared, changes, commits, depot, events, hold, schema, sweep};
use crate::event::Wanted;
use crate::post::{MessageId, Post};
use crate::spool::{Health, SpoolError};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Tasks that commit, each on its own connection.
const COMMITTERS: usize = 2;
/// The oldest server that has all that is asked of it.
const OLDEST: i32 = 130_000;
/// Between two tries.
const SOON: Duration = Duration::from_secs(1);
/// Longest time that opening takes, the wait for a process that died included.
const LONGEST: Duration = Duration::from_secs(60);

/// Where and how to keep posts.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host,host/database` or `key=value` words; several hosts are
    /// tried in turn until one is found that takes writes.
    pub url: String,
    /// What this process is called where others look who works on the database.
    pub node: String,
    /// How long it must be silent before another one takes its place.
    pub lease: Duration,
    /// What the database may be set up to lose.
    pub accepted_risks: Vec<Risk>,
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
            node: String::new(),
            lease: Duration::from_secs(5),
            accepted_risks: Vec::new(),
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
    /// The URL is none of a database; it is not repeated, for it may hold a password.
    Url(&'static str),
    /// The database is away.
    Away(String),
    /// The database refuses.
    Database(SpoolError),
    /// The database did not answer, as one does that waits for a standby.
    Late,
    /// Another process works on it.
    InUse {
        /// What that one is called.
        node: String,
        /// Its version.
        version: String,
    },
    /// It may lose what it has acknowledged, and nobody said that this is meant.
    Risky(Vec<Risk>),
    /// The server is too old.
    Old(String),
    /// Posts are being moved between it and a directory.
    HalfMoved(String),
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
            OpenError::Away(why) => write!(f, "the database of the spool cannot be reached: {why}"),
            OpenError::Database(error) => write!(f, "cannot open the spool in the database: {error}"),
            OpenError::Late => f.write_str(
                "the database of the spool does not answer; if it waits for a standby, bring that back, or \
                 take it out of synchronous_standby_names",
            ),
            OpenError::InUse { node, version } => write!(
                f,
                "the gateway {node:?} (version {version}) works on the database of the spool; stop it, or give \
                 this one another database"
            ),
            OpenError::Risky(risks) => {
                f.write_str("the database of the spool is not safe")?;
                risks.iter().try_for_each(|risk| {
                    write!(f, ": {risk}, or write accept_risks = [{:?}] under [spool]", risk.name())
                })
            }
            OpenError::Old(found) => write!(f, "the database is PostgreSQL {found}; 13 or newer is needed"),
            OpenError::HalfMoved(directory) => write!(
                f,
                "posts were being moved between the database of the spool and {directory}, and not all are where \
                 they belong; `postgate spool migrate` goes on"
            ),
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
        match trouble {
            Trouble::Lost(why) => OpenError::Away(why),
            Trouble::Refused(error) => OpenError::Database(error),
        }
    }
}

/// Whether a URL of a database holds a password.
pub fn holds_password(url: &str) -> Result<bool, OpenError> {
    Hosts::of(url).map(|hosts| hosts.have_password())
}

/// Looks whether a spool could be opened in a database, and changes nothing; answers the
/// version of the server.
pub async fn check(options: &Options) -> Result<String, OpenError> {
    let hosts = Hosts::of(&options.url)?;
    in_time(async { look(&hosts.link(Commits::Quickly).await?, options).await }).await
}

/// The version of a server on which nothing is wrong.
async fn look(link: &Link, options: &Options) -> Result<String, OpenError> {
    let version = "SELECT current_setting('server_version_num')::int4, current_setting('server_version')";
    let version = link.query(version, &[]).await?;
    let (number, name) = version.first().map_or((0, String::new()), |row| (row.get(0), row.get(1)));
    if number < OLDEST {
        return Err(OpenError::Old(name));
    }
    let mut risks = risks::of(link).await?;
    risks.retain(|risk| !options.accepted_risks.contains(risk));
    if risks.is_empty() { Ok(name) } else { Err(OpenError::Risky(risks)) }
}

pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    timeout(LONGEST, work).await.unwrap_or(Err(OpenError::Late))
}

impl Postgres {
    /// Opens the spool in `options.url`, making its tables when they are missing; takes over
    /// what was claimed. Where another process worked that said no farewell, this waits until
    /// it has been silent for its lease; for a database that is away it waits for a minute.
    pub async fn open(options: Options) -> Result<Postgres, OpenError> {
        let hosts = Arc::new(Hosts::of(&options.url)?);
        in_time(async {
            loop {
                match Postgres::open_in(&hosts, options.clone()).await {
                    Err(OpenError::Away(error)) => {
                        tracing::warn!(
                            error,
                            "the database of the spool cannot be reached; it is tried again"
                        );
                        sleep(SOON).await;
                    }
                    opened => return opened,
                }
            }
        })
        .await
    }

    async fn open_in(hosts: &Arc<Hosts>, options: Options) -> Result<Postgres, OpenError> {
        let (shared, newest) = gather(hosts, options).await?;
        if let Some(directory) = depot::half_done(&shared).await? {
            shared.hold.leave(async { Ok(()) }).await;
            return Err(OpenError::HalfMoved(directory));
        }
        let (jobs, waiting) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        for _ in 0..COMMITTERS {
            tasks.spawn(commits::run(Arc::clone(&shared), Arc::clone(&waiting)));
        }
        tasks.spawn(hold::keep(Arc::clone(&shared)));
        tasks.spawn(sweep::recover(Arc::clone(&shared)));
        tasks.spawn(sweep::ring(Arc::clone(&shared)));
        tasks.spawn(sweep::run(Arc::clone(&shared)));
        tasks.spawn(hands::watch(Arc::clone(&shared)));
        Ok(Postgres { shared, newest, jobs, _tasks: tasks })
    }
}

/// Takes the database for this process, and what was claimed; answers what its tasks share, and the
/// greatest message id.
pub(super) async fn gather(
    hosts: &Arc<Hosts>,
    options: Options,
) -> Result<(Arc<Shared>, MessageId), OpenError> {
    let link = hosts.link(Commits::Durably).await?;
    look(&link, &options).await?;
    schema::migrate(&link).await?;
    let hold = hold::join(hosts, &link, &options.node, options.lease).await?;
    // From here on what is lost is done again.
    let link = hosts.link(Commits::Quickly).await?;
    let log = link.query("SELECT log FROM postgate_spool", &[]).await?;
    let log = log.first().map_or(0, |row| row.get::<_, i32>(0).cast_unsigned());
    let newest = link.query("SELECT id FROM postgate_post ORDER BY id DESC LIMIT 1", &[]).await?;
    let newest = newest.first().map(|row| id_of(row.get(0))).transpose().map_err(OpenError::Database)?;
    changes::take_over(&link).await?;
    events::renumber(&link).await?;
    let shared = Arc::new(Shared {
        options,
        durable: Links::new(Arc::clone(hosts), Commits::Durably),
        quick: Links::new(Arc::clone(hosts), Commits::Quickly),
        hold,
        doorbell: Arc::default(),
        health: watch::Sender::new(Health::Open),
        log,
        hands: Hands::default(),
        told: Notify::new(),
        waiting: AtomicUsize::new(0),
        damages: AtomicU64::new(0),
    });
    Ok((shared, newest.map_or(MessageId(0), |id| id.message)))
}
