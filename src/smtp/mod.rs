//! The SMTP front: a listener, and a task for each connection.
//!
//! [`serve`] accepts, counts and greets; `connection` carries octets between a
//! socket and a [`Session`](session::Session), which knows the protocol and
//! nothing else. What is built here is the part with clocks and sockets: how
//! many may come, how long they may take, and how it ends.
//!
//! Invariants: a panic ends one session only. A message is acknowledged only
//! after the [`Door`] said that it is kept. When `stop` turns true the listener is
//! closed at once and every session ends with its current transaction.

mod connection;
mod connections;
mod data;

pub mod auth;
pub mod command;
pub mod receive;
pub mod reply;
pub mod session;
pub mod words;

pub use connections::Crowd;
pub use session::Policy;
pub use words::{Address, BareNewline, Limits, Protocol, Required, Timeouts, TlsUse};

use crate::envelope::{Client, Envelope, Login, Refusal};
use crate::intake::Intake;
use crate::network::Network;
use crate::post::MessageId;
use crate::protocol_log::ProtocolLog;
use crate::spool::spill::{MailData, SpillDirectory};
use auth::Credentials;
use connection::Connection;
use connections::Crowded;
use reply::Reply;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
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
            required: Required::default(),
            legacy_auth_keyword: true,
            bare_newline: BareNewline::Normalize,
            lf_networks: Vec::new(),
            trusted_proxies: Vec::new(),
            crowd: Crowd::default(),
            spills: None,
        }
    }
}

/// Where messages go: decides on recipients at once, and keeps messages.
pub trait Door: Policy + Send + Sync + 'static {
    /// Keeps a message. `Ok` only when it survives whatever happens next.
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<MessageId, Refusal>> + Send + '_>>;

    /// Whether the credentials are right, and whose they are. The refusal is the
    /// same, and takes as long, for a name that is not known.
    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>>;
}

impl Door for Intake {
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<MessageId, Refusal>> + Send + '_>> {
        Box::pin(Intake::admit(self, envelope, data))
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        Box::pin(Intake::verify(self, client, credentials))
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
    /// What a client is told depends on where it comes from.
    fn terms(&self, address: IpAddr) -> Arc<Terms> {
        let is_lf = self.options.lf_networks.iter().any(|network| network.contains(address));
        Arc::clone(if is_lf { &self.lf_terms } else { &self.terms })
    }
}

/// Accepts connections until `stop` turns true, then returns when every session
/// has ended: each gets 421 when its current transaction is answered. How long
/// that may take is the caller's matter.
pub async fn serve(
    listener: TcpListener,
    options: Arc<Options>,
    door: Arc<dyn Door>,
    log: ProtocolLog,
    mut stop: watch::Receiver<bool>,
) {
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
    let front = Front { options, terms: strict, lf_terms: lf, door, log, stop: stop.clone() };
    let front = Arc::new(front);
    let (alive, mut ended) = mpsc::channel(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => open(&front, stream, peer, alive.clone()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting connections rests for a moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(alive);
    // Nothing is ever sent: this waits until every session has dropped its end.
    let _: Option<()> = ended.recv().await;
}

/// Resolves when the gateway is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could have said so is gone: that is the end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The connection died while it waited to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn open(front: &Arc<Front>, stream: TcpStream, peer: SocketAddr, alive: mpsc::Sender<()>) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match front.options.crowd.enter(peer.ip(), &front.options.limits, Instant::now()) {
        Ok(place) => {
            let connection = Connection::new(Arc::clone(front), stream, peer, place);
            tokio::spawn(async move {
                connection.run().await;
                drop(alive);
            });
        }
        Err(crowded) => turn_away(front, stream, peer, crowded),
    }
}

/// Says why and hangs up, without a task and without waiting.
fn turn_away(front: &Front, stream: TcpStream, peer: SocketAddr, crowded: Crowded) {
    let (status, text) = match crowded {
        Crowded::InAll => ((3, 2), "too many connections"),
        Crowded::ByAddress => ((7, 0), "too many connections from your address"),
        Crowded::ByRate => ((7, 0), "too many new connections from your address"),
    };
    let mut out = Vec::new();
    Reply::new(421, status, format_args!("{} {text}", front.options.hostname)).write(&mut out);
    let mut transcript = front.log.transcript('S');
    transcript.note(format_args!("connected from {peer}"));
    connection::note_replies(&mut transcript, &String::from_utf8_lossy(&out));
    // Not through the runtime, which has yet to learn that the socket is
    // writable. A line fits into the buffer of a fresh socket.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&out));
}
