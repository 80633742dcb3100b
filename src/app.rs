//! The composition root: a configuration becomes a running gateway.
//!
//! The only place that sees the whole [`Config`]; every part gets its own
//! options. Start: addresses are bound first, so that a second gateway fails
//! before it touches anything, then the protocol log and the spool are opened,
//! then delivery begins, then mail is taken. Stop: all at once are told to end
//! with what they are doing; what is not done within `shutdown_timeout` is cut
//! off, which loses nothing, because whatever was acknowledged is in the spool.

mod options;

use crate::clock::Ids;
use crate::config::Config;
use crate::deliver;
use crate::intake::Intake;
use crate::protocol_log::ProtocolLog;
use crate::smtp;
use crate::spool::Spool;
use crate::spool::embedded::{Embedded, OpenError};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The protocol log's directory cannot be used.
    Log(PathBuf, io::Error),
    /// The spool cannot be opened.
    Spool(OpenError),
    /// A route that the configuration's own checks let through is not one.
    Route(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Log(path, error) => {
                write!(f, "cannot write the protocol log in {}: {error}", path.display())
            }
            StartError::Spool(error) => error.fmt(f),
            StartError::Route(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything under way was finished.
    Drained,
    /// The time was up; what was cut off happens again after the next start.
    CutOff,
}

/// A running gateway; dropping it cuts everything off.
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    /// Listeners and delivery; none ends before it is told to.
    parts: JoinSet<()>,
    stop: watch::Sender<bool>,
    spool: Arc<Embedded>,
    log: ProtocolLog,
    shutdown_timeout: Duration,
}

impl Gateway {
    /// Starts everything; mail is taken when this returns.
    pub async fn start(config: Config) -> Result<Gateway, StartError> {
        let (listeners, addresses) = bind(&config)?;
        let log = open_log(&config)?;
        let spool = open_spool(&config).await?;
        let (stop, stopped) = watch::channel(false);
        let mut parts = JoinSet::new();
        let shared: Arc<dyn Spool> = Arc::clone(&spool) as Arc<dyn Spool>;
        let delivery = options::delivery(&config, &addresses);
        parts.spawn(deliver::run(Arc::clone(&shared), delivery, log.clone(), stopped.clone()));
        let ids = Arc::new(Ids::above(spool.newest()));
        let directory = || config.server.data_dir.clone();
        let common =
            options::common(&config).map_err(|error| StartError::Spool(OpenError::Io(directory(), error)))?;
        for (socket, listener) in listeners.into_iter().zip(&config.listeners.0) {
            let compose = Arc::new(options::compose(&config, listener).map_err(StartError::Route)?);
            let intake = options::intake(&config, &addresses, &common);
            let door = Intake::new(intake, compose, Arc::clone(&shared), Arc::clone(&ids));
            let options = Arc::new(options::smtp(&config, listener, &common));
            parts.spawn(smtp::serve(socket, options, Arc::new(door), log.clone(), stopped.clone()));
        }
        let shutdown_timeout = config.server.shutdown_timeout;
        Ok(Gateway { addresses, parts, stop, spool, log, shutdown_timeout })
    }

    /// Where it listens, in the order of the configuration; ports are real ones.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves when a part ended although nobody told it to: the gateway no
    /// longer does its work. Cancel-safe.
    pub async fn broken(&mut self) {
        // What a part died of has been printed by the panic hook.
        let _ = self.parts.join_next().await;
    }

    /// Stops: no new connections and attempts, what is under way is finished
    /// within `shutdown_timeout`, then spool and log are closed.
    pub async fn stop(mut self) -> Result<Ending, OpenError> {
        self.stop.send_replace(true);
        let drain = async { while self.parts.join_next().await.is_some() {} };
        let ending = match tokio::time::timeout(self.shutdown_timeout, drain).await {
            Ok(()) => Ending::Drained,
            Err(_) => {
                self.parts.shutdown().await;
                Ending::CutOff
            }
        };
        let (spool, log) = (self.spool, self.log);
        let close = move || {
            let closed = spool.close().map_err(OpenError::Spool);
            log.close();
            closed
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(closed) => closed.map(|()| ending),
            Err(_) => Ok(Ending::CutOff),
        }
    }
}

fn bind(config: &Config) -> Result<(Vec<smtp::Socket>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for listener in &config.listeners.0 {
        let refused = |error| StartError::Listen(listener.address, error);
        let socket = smtp::Socket::bind_tcp(listener.address).map_err(refused)?;
        addresses.extend(socket.network_address());
        listeners.push(socket);
    }
    Ok((listeners, addresses))
}

fn open_log(config: &Config) -> Result<ProtocolLog, StartError> {
    let options = options::protocol_log(config);
    let directory = options.directory.clone();
    ProtocolLog::open(options).map_err(|error| StartError::Log(directory, error))
}

/// Opens the spool, which reads what an earlier process left, off the runtime.
async fn open_spool(config: &Config) -> Result<Arc<Embedded>, StartError> {
    let options = options::spool(config);
    let directory = options.directory.clone();
    let opened = tokio::task::spawn_blocking(move || Embedded::open(options)).await;
    let opened = opened.unwrap_or_else(|died| Err(OpenError::Io(directory, io::Error::other(died))));
    opened.map(Arc::new).map_err(StartError::Spool)
}
