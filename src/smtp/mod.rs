//! The SMTP front: a listener, and a task for each connection.
//!
//! [`serve`] accepts, `arrival` counts and finds out who it is, `connection`
//! carries octets between a `wire` (a socket, or TLS over it) and a
//! [`Session`](session::Session), which knows the protocol and nothing else. What is built here is the part with clocks and sockets: how
//! many may come, how long they may take, and how it ends.
//!
//! Invariants: a panic ends one session only. A message is acknowledged only
//! after the [`Door`] said that it is kept. When `stop` turns true the listener is
//! closed at once and every session ends with its current transaction.

mod arrival;
mod connection;
mod connections;
mod data;
mod pace;
mod proxy;
mod socket;
mod tls;
mod wire;

pub mod auth;
pub mod client;
pub mod command;
pub mod receive;
pub mod reply;
pub mod session;
pub mod words;

pub use connections::Crowd;
pub use session::{Policy, Question};
pub use socket::{Activation, Socket};
pub use tls::{Certificates, TlsError, TlsFiles};
pub use words::{Address, BareNewline, Limits, Protocol, Required, Timeouts, TlsUse};

use crate::envelope::{Client, Envelope, Login, Refusal, Taken};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::protocol_log::ProtocolLog;
use crate::spool::spill::{MailData, SpillDirectory};
use auth::Credentials;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use words::Terms;

/// How long accepting rests when the system has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// What a listener is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name in the greeting.
    pub hostname: String,
    /// How much clients may ask for.
    pub limits: Limits,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// What is spoken.
    pub protocol: Protocol,
    /// When it is encrypted; anything but [`TlsUse::None`] needs `certificates`.
    pub tls: TlsUse,
    /// What is shown under TLS.
    pub certificates: Option<Certificates>,
    /// What a client must do before MAIL.
    pub required: Required,
    /// Whether EHLO says `AUTH=` as well.
    pub legacy_auth_keyword: bool,
    /// How strict line ends are taken.
    pub bare_newline: BareNewline,
    /// Clients of these networks may end lines with LF ([`BareNewline::Lf`]).
    pub lf_networks: Vec<Network>,
    /// Peers that say by the PROXY protocol whom they connect for; empty when the
    /// listener does not speak it.
    pub trusted_proxies: Vec<Network>,
    /// Counts the connections; clones of the options count together.
    pub crowd: Crowd,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where large messages wait for their end; `None`: they stay in memory.
    pub spills: Option<Arc<SpillDirectory>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            hostname: "localhost".to_owned(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            protocol: Protocol::default(),
            tls: TlsUse::default(),
            certificates: None,
            required: Required::default(),
            legacy_auth_keyword: true,
            bare_newline: BareNewline::Normalize,
            lf_networks: Vec::new(),
            trusted_proxies: Vec::new(),
            crowd: Crowd::default(),
            metrics: Arc::default(),
            spills: None,
        }
    }
}

/// Where messages go: decides on recipients at once, and keeps messages.
pub trait Door: Policy + Send + Sync + 'static {
    /// Keeps a message. `Ok` only when it survives whatever happens next, or what
    /// does not was delivered or refused by its receiver.
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<Taken, Refusal>> + Send + '_>>;

    /// Whether the credentials are right, and whose they are. The refusal is the
    /// same, and takes as long, for a name that is not known.
    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>>;

    /// Whether a recipient is taken about which others had to be asked.
    fn check<'a>(
        &'a self,
        _question: &'a Question,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Door for Intake {
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<Taken, Refusal>> + Send + '_>> {
        Box::pin(Intake::admit(self, envelope, data))
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        Box::pin(Intake::verify(self, client, credentials))
    }

    fn check<'a>(
        &'a self,
        question: &'a Question,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(Intake::check(self, question))
    }
}

/// What all connections of a listener share.
struct Front {
    options: Arc<Options>,
    terms: Arc<Terms>,
    lf_terms: Arc<Terms>,
    door: Arc<dyn Door>,
    log: ProtocolLog,
    stop: watch::Receiver<bool>,
}

impl Front {
    fn new(
        options: Arc<Options>,
        door: Arc<dyn Door>,
        log: ProtocolLog,
        stop: watch::Receiver<bool>,
    ) -> Front {
        let terms = |bare_newline| {
            Arc::new(Terms {
                hostname: options.hostname.clone(),
                limits: options.limits.clone(),
                bare_newline,
                protocol: options.protocol,
                tls: options.tls,
                required: options.required,
                legacy_auth_keyword: options.legacy_auth_keyword,
            })
        };
        let (strict, lf) = (terms(options.bare_newline), terms(BareNewline::Lf));
        Front { options, terms: strict, lf_terms: lf, door, log, stop }
    }

    /// What a client is told depends on where it comes from.
    fn terms(&self, address: Option<IpAddr>) -> Arc<Terms> {
        let is_lf = |address| self.options.lf_networks.iter().any(|network| network.contains(address));
        Arc::clone(if address.is_some_and(is_lf) { &self.lf_terms } else { &self.terms })
    }

    /// Waits for what must come before the session can begin or go on: at most so
    /// long, in a crowd no longer than for a command, and not at all when the
    /// gateway stops. The error says which it was.
    async fn opening<T>(&self, most: Duration, opening: impl Future<Output = T>) -> Result<T, &'static str> {
        let (mut opening, mut stop) = (pin!(opening), self.stop.clone());
        let mut stopped = pin!(stopped(&mut stop));
        let pressed = self.options.timeouts.idle_under_pressure;
        let since = Instant::now();
        loop {
            let is_dense = self.options.crowd.is_dense(&self.options.limits);
            let most = if is_dense { most.min(pressed) } else { most };
            let left = most.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err("it takes too long");
            }
            tokio::select! {
                biased;
                opened = &mut opening => return Ok(opened),
                () = &mut stopped => return Err("the gateway is stopping"),
                // The others may become many meanwhile.
                () = tokio::time::sleep(left.min(pressed)) => {}
            }
        }
    }
}

/// Accepts connections until `stop` turns true, then returns when every session
/// has ended: each gets 421 when its current transaction is answered. How long
/// that may take is the caller's matter.
pub async fn serve(
    socket: Socket,
    options: Arc<Options>,
    door: Arc<dyn Door>,
    log: ProtocolLog,
    stop: watch::Receiver<bool>,
) {
    serve_changing(socket, watch::channel(options).1, door, log, stop).await;
}

/// As [`serve`], with options that change: new connections see the new ones, the
/// others go on with what they were promised.
pub async fn serve_changing(
    socket: Socket,
    mut options: watch::Receiver<Arc<Options>>,
    door: Arc<dyn Door>,
    log: ProtocolLog,
    stop: watch::Receiver<bool>,
) {
    let mut stopping = stop.clone();
    let front = |options: &mut watch::Receiver<Arc<Options>>| {
        let options = Arc::clone(&options.borrow_and_update());
        Arc::new(Front::new(options, Arc::clone(&door), log.clone(), stop.clone()))
    };
    let mut current = front(&mut options);
    let (alive, mut ended) = mpsc::channel(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            () = changed(&mut options) => {
                current = front(&mut options);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((raw, peer)) => arrival::open(&current, raw, peer, alive.clone()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting connections rests for a moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(socket);
    drop(alive);
    // Nothing is ever sent: this waits until every session has dropped its end.
    let _: Option<()> = ended.recv().await;
}

/// Resolves when the gateway is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could have said so is gone: that is the end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves when there are other options.
async fn changed(options: &mut watch::Receiver<Arc<Options>>) {
    if options.changed().await.is_err() {
        // Nobody is left who could change them.
        std::future::pending().await
    }
}

/// The connection died while it waited to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
