//! Connections to the database, and what an answer on one is worth.
//!
//! A link is used by one at a time. One on which anything went wrong is closed, never used
//! again: what it was doing is undone by the server, or its outcome is unknown, and whoever
//! asked does it again on another. A commit that was answered with a warning (SQLSTATE
//! 01000) is no success: an operator who cancels the wait for a standby has the server
//! answer so although nothing is replicated. For that reason nothing is ever cancelled here,
//! and no statement has a time limit; what is ended is a process of the server whose link
//! was closed: nobody hears what it says.

use super::super::SpoolError;
use super::hosts::{Hosts, Strays};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, SimpleQueryMessage, Statement};

/// Links of a kind that are open at most.
const MOST: usize = 6;

/// What holds for each. A process that stands still or is gone keeps no rows from another one
/// for longer than the last of these say.
const SETTINGS: &str = "SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = '10s'; SET tcp_keepalives_idle = 5; \
    SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3";

/// A value of a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// When a commit is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// When it survives what the server is set up to survive.
    Durably,
    /// At once: what a crash loses is done again.
    Quickly,
}

/// Why the database did not do what it was asked.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It is away, or gave up for now: the outcome is unknown, and it is to be done again.
    Lost(String),
    /// It refuses, or what it said makes no sense; it would again.
    Refused(SpoolError),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        let Some(refusal) = error.as_db_error() else { return Trouble::Lost(error.to_string()) };
        let text = format!("the database says: {} ({})", refusal.message(), refusal.code().code());
        let code = refusal.code();
        // Connection exceptions, no room for one more, operator intervention, rolled back for
        // the sake of another.
        let passes = ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class));
        match code {
            code if *code == SqlState::DISK_FULL => Trouble::Refused(SpoolError::Full),
            code if passes || *code == SqlState::READ_ONLY_SQL_TRANSACTION => Trouble::Lost(text),
            _ => Trouble::Refused(SpoolError::Failed(text)),
        }
    }
}

impl From<SpoolError> for Trouble {
    fn from(error: SpoolError) -> Trouble {
        Trouble::Refused(error)
    }
}

impl From<Trouble> for SpoolError {
    fn from(trouble: Trouble) -> SpoolError {
        match trouble {
            Trouble::Lost(text) => SpoolError::Failed(format!("the database is away: {text}")),
            Trouble::Refused(error) => error,
        }
    }
}

/// One connection.
pub(super) struct Link {
    client: Client,
    /// Reads from the socket.
    driver: AbortHandle,
    /// The server said that something is not as it should be.
    warned: Arc<AtomicBool>,
    /// The process of the server, and where it is told of when nobody waits for it any more.
    process: Option<i32>,
    strays: Arc<Strays>,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // The client alone would wait for an answer that may never come.
        self.driver.abort();
        self.process.into_iter().for_each(|process| self.strays.add(process));
    }
}

impl Link {
    /// Connects. What is set here holds whatever the server's own settings are.
    pub async fn open(config: &Config, commits: Commits, strays: &Arc<Strays>) -> Result<Link, Trouble> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let warned = Arc::new(AtomicBool::new(false));
        let notes = Arc::clone(&warned);
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer hears of an end.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && *notice.code() == SqlState::WARNING
                {
                    tracing::warn!(text = notice.message(), "the database warns");
                    notes.store(true, Ordering::SeqCst);
                }
            }
        });
        let (driver, strays) = (driver.abort_handle(), Arc::clone(strays));
        let mut link = Link { client, driver, warned, process: None, strays, prepared: Mutex::default() };
        let waits = match commits {
            Commits::Durably => "SET synchronous_commit = on",
            Commits::Quickly => "SET synchronous_commit = off",
        };
        let settings = format!("{SETTINGS}; {waits}; SELECT pg_backend_pid()");
        link.process = link.client.simple_query(&settings).await?.iter().find_map(process_in);
        // Until here it may have warned of its collations; from here on of what was asked.
        link.warned.store(false, Ordering::SeqCst);
        Ok(link)
    }

    /// Runs statements without values.
    pub async fn run(&self, statements: &str) -> Result<(), Trouble> {
        self.client.batch_execute(statements).await?;
        self.sure()
    }

    /// Rows of a statement, which is prepared once.
    pub async fn query(&self, text: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Trouble> {
        let statement = self.statement(text).await?;
        let rows = self.client.query(&statement, values).await?;
        self.sure()?;
        Ok(rows)
    }

    /// How many rows a statement changed.
    pub async fn execute(&self, text: &'static str, values: &[Value<'_>]) -> Result<u64, Trouble> {
        let statement = self.statement(text).await?;
        let changed = self.client.execute(&statement, values).await?;
        self.sure()?;
        Ok(changed)
    }

    async fn statement(&self, text: &'static str) -> Result<Statement, Trouble> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(text).await?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.insert(text, statement.clone());
        Ok(statement)
    }

    /// Whether the answer counts: a warning came before it.
    fn sure(&self) -> Result<(), Trouble> {
        if self.warned.load(Ordering::SeqCst) {
            return Err(Trouble::Lost("it answered with a warning".to_owned()));
        }
        Ok(())
    }
}

/// The process of the server, where that is what is said.
fn process_in(said: &SimpleQueryMessage) -> Option<i32> {
    match said {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    }
}

/// Links of one kind, opened when they are needed.
pub(super) struct Links {
    hosts: Arc<Hosts>,
    commits: Commits,
    idle: Mutex<Vec<Link>>,
    room: Arc<Semaphore>,
}

/// A link that somebody uses; dropped it is closed, unless it is [put back](Taken::put_back).
pub(super) struct Taken<'a> {
    link: Link,
    links: &'a Links,
    _room: OwnedSemaphorePermit,
}

impl Links {
    /// Links to the database on these hosts.
    pub fn new(hosts: Arc<Hosts>, commits: Commits) -> Links {
        Links { hosts, commits, idle: Mutex::default(), room: Arc::new(Semaphore::new(MOST)) }
    }

    /// A link for the caller alone; waits until there is one.
    pub async fn take(&self) -> Result<Taken<'_>, Trouble> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let _room = room.map_err(|_| Trouble::Refused(SpoolError::Closed))?;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let link = match idle {
                Some(link) if link.client.is_closed() => continue,
                Some(link) => link,
                None => self.hosts.link(self.commits).await?,
            };
            return Ok(Taken { link, links: self, _room });
        }
    }

    /// Closes those that nobody uses: the server may have gone from behind them.
    pub fn doubt(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Taken<'_> {
    /// All went well: others may have it.
    pub fn put_back(self) {
        let Taken { link, links, _room } = self;
        links.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Begins what is done whole or not at all.
    pub async fn begin(&self) -> Result<(), Trouble> {
        self.run("BEGIN").await
    }

    /// Ends it, and lets others have the link.
    pub async fn commit(self) -> Result<(), Trouble> {
        self.run("COMMIT").await?;
        self.put_back();
        Ok(())
    }
}

impl std::ops::Deref for Taken<'_> {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}
