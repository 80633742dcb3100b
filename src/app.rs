//! The composition root: a configuration becomes a running gateway.
//!
//! The only place that sees the whole [`Config`]; every part gets its own
//! options. Start: what the configuration names is read, then addresses are bound,
//! so that a second gateway fails before it touches anything, then the protocol
//! log and the spool are opened, then delivery begins, then mail is taken. Stop:
//! load balancers are told first, and given `shutdown_delay` to turn away; then all at once
//! are told to end with what they are doing; what is not done within `shutdown_timeout`
//! is cut off, which loses nothing, because whatever was acknowledged is in the spool.
//!
//! A changed configuration is read whole before any of it is in force; no
//! connection ends by it.

mod access;
mod accounting;
mod delivery;
mod door;
mod entrance;
mod front;
mod history;
mod instance;
mod journal;
mod links;
mod listening;
mod moving;
mod office;
mod options;
mod reload;
mod routes;
mod seal;
mod sockets;
mod start_error;
mod store;
mod webhooks;

pub use listening::Listening;
pub use moving::move_spool;
pub use start_error::StartError;

use access::Access;
use delivery::Keyring;
use front::{Front, Terms};
pub use office::{Office, say_in_force};
use options::Common;
use reload::Change;
use store::Store;

use crate::api;
use crate::api::setup::{Requests, Setup};
use crate::compose;
use crate::compose::LinkKey;
use crate::config::{API_ADDRESS, ApiTls, Config, Server};
use crate::deliver;
use crate::deliver::collector;
use crate::deliver::control::Control;
use crate::event::Wanted;
use crate::fanout::{engine, replay};
use crate::protocol_log::ProtocolLog;
use crate::seal::SealKey;
use crate::spool::embedded::OpenError;
use rustix::fs::Mode;
use rustix::process::umask;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything under way was finished.
    Drained,
    /// The time was up; what was cut off happens again after the next start.
    CutOff,
}

/// Whether a gateway could be started as far as its configuration and the files
/// that it names go. Blocks while it reads them.
pub fn check(config: &Config) -> Result<(), StartError> {
    Access::read(config).map(drop)
}

/// The directory of the spool.
pub fn spool_directory(config: &Config) -> PathBuf {
    store::embedded(config, Wanted::default()).directory
}

/// Whether the spool could be opened by this process now; nothing is changed. Says where it is.
pub async fn check_spool(config: &Config) -> Result<String, StartError> {
    store::check(config).await
}

/// What opens secrets in that spool, if it is there; an error says why it cannot be read.
pub fn seal_key(config: &Config) -> io::Result<Option<SealKey>> {
    seal::read(&config.server.data_dir)
}

/// How the first listener's mail would be composed.
pub fn composing(config: &Config) -> Result<compose::Options, StartError> {
    let listener = config.listeners.0.first().cloned().unwrap_or_default();
    // Addresses as they look; nobody is given one.
    let links = links::links(config, Some(&LinkKey::new(&Default::default())), Some(API_ADDRESS));
    options::compose(config, &listener, links).map_err(StartError::Route)
}

/// A running gateway; dropping it cuts everything off.
pub struct Gateway {
    /// What is in force.
    config: Config,
    listening: Vec<Listening>,
    fronts: Vec<Front>,
    common: Common,
    access: Access,
    /// Where the API is answered.
    api: Option<SocketAddr>,
    /// What of the API can be changed.
    api_current: watch::Sender<Arc<api::Current>>,
    wishes: Option<Requests>,
    keyring: Keyring,
    delivery: watch::Sender<Arc<deliver::Options>>,
    control: Control,
    /// Listeners and delivery; none ends before it is told to.
    parts: JoinSet<()>,
    /// Looks whether certificates have changed.
    watching: JoinSet<()>,
    stop: watch::Sender<bool>,
    log: ProtocolLog,
}

impl Gateway {
    /// Starts everything; mail is taken when this returns.
    pub async fn start(config: Config) -> Result<Gateway, StartError> {
        let access = read(config.clone(), |config| Access::read(&config)).await?;
        let sockets = sockets::bind(&config)?;
        let api = sockets::bind_api(&config).await?;
        // Mail is nobody else's to read, whoever makes a file. Sockets in the file system
        // have the mode that they were to have.
        umask(Mode::RWXG | Mode::RWXO);
        let log = open_log(&config)?;
        let wanted = Wanted::default();
        let store = Store::open(&config, &wanted).await?;
        let seal_key = seal::key(&config.server.data_dir, &*store.spool()).await;
        let kept = ((store, seal_key), journal::open(&config).await?, wanted);
        let api = api.and_then(sockets::or_warn);
        let api_address = api.as_ref().and_then(|api| api.local_addr().ok());
        let mut common = options::common(&config, kept, &sockets, api_address)?;
        let ((stop, stopped), mut parts) = (watch::channel(false), JoinSet::new());
        let collector = delivery::collector(&config, &mut common.tracer);
        let keyring = Keyring::default().renewed(&config);
        let (delivery, changing) = watch::channel(Arc::new(delivery::options(&config, &keyring, &common)));
        let (told, asked, (replays, fanout)) = webhooks::open(&config, &mut common, changing.clone()).await;
        warn_of_insecure(&config);
        if let Some((endpoint, spans)) = collector {
            parts.spawn(collector::carry(spans, endpoint, changing.clone(), stopped.clone()));
        }
        // Before anything happens.
        history::begin(&common, &stopped, &mut parts).await;
        accounting::begin(&config, &common.accounts, &stopped, &mut parts).await;
        parts.spawn(journal::carry(common.journal.clone(), common.shared_spool(), stopped.clone()));
        parts.spawn(engine::run(told, asked, stopped.clone()));
        parts.spawn(replay::run(replays, fanout, stopped.clone()));
        let (control, requests) = Control::new();
        parts.spawn(deliver::run(common.shared_spool(), changing, requests, log.clone(), stopped.clone()));
        let (setup, wishes) = Setup::new();
        let current = entrance::current(&config, (&access, None), &common, &log)?;
        let (api_current, current) = watch::channel(Arc::new(current));
        if let Some(listener) = api {
            let api = options::api(&config, &common, &sockets, current, setup);
            let (spool, metrics) = (common.shared_spool(), Arc::clone(&common.metrics));
            parts.spawn(api::serve(listener, api, control.clone(), spool, metrics, stopped.clone()));
        }
        let own = (&config, &access, &common);
        let (listening, fronts) = Front::open_all(sockets, own, (&log, &stopped), &mut parts)?;
        Ok(Gateway {
            watching: access.watch(&stopped),
            config,
            listening,
            fronts,
            common,
            access,
            api: api_address,
            api_current,
            wishes: Some(wishes),
            keyring,
            delivery,
            control,
            parts,
            stop,
            log,
        })
    }

    /// Puts another configuration in force, without ending a connection. The
    /// answer names what needs a restart; after an error everything is as before.
    pub async fn reload(&mut self, config: Config) -> Result<Vec<String>, StartError> {
        let Change { config, listeners, later } = reload::change(&self.config, config);
        let (access, old, new) = (self.access.clone(), self.config.clone(), config.clone());
        let access = read(new, move |new| access.renewed(&old, &new)).await?;
        let current = Arc::clone(&self.api_current.borrow());
        let current = entrance::current(&config, (&access, Some(&current)), &self.common, &self.log)?;
        let mut changed = Vec::new();
        for (listener, front) in listeners.into_iter().zip(&self.fronts) {
            let terms = match listener {
                Some(listener) => Terms { config: config.clone(), listener, access: access.clone() },
                None => front.terms.with(&access),
            };
            changed.push((terms.options(&self.common), terms.intake(&self.common)?, terms));
        }
        // Before the doors: a route may name a key that is new.
        if !delivery::is_unchanged(&self.config, &config) {
            self.keyring = self.keyring.renewed(&config);
            let options = delivery::options(&config, &self.keyring, &self.common);
            self.delivery.send_replace(Arc::new(options));
        }
        for (front, (options, intake, terms)) in self.fronts.iter_mut().zip(changed) {
            front.door.exchange(intake);
            front.options.send_replace(options);
            front.terms = terms;
        }
        self.common.allow(&config);
        self.api_current.send_replace(Arc::new(current));
        webhooks::renew(&self.common, &config);
        self.common.accounts.renew(accounting::terms(&config)).await;
        warn_of_insecure(&config);
        self.watching = access.watch(&self.stop.subscribe());
        (self.config, self.access) = (config, access);
        Ok(later)
    }

    /// Forgets what the configuration in force no longer asks for. That cannot be undone: so
    /// only when it is the one that the next process finds.
    pub async fn forget_others(&self) {
        self.common.accounts.forget_others().await;
    }

    /// Where and how it listens, in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Where it can be reached over the network, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.common.addresses
    }

    /// Where the API can be reached, if there is one.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api
    }

    /// What is asked about the configuration, for an [`Office`]; once.
    pub fn wishes(&mut self) -> Option<Requests> {
        self.wishes.take()
    }

    /// How its delivery is looked at and steered.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Whether the API is encrypted.
    pub fn api_tls(&self) -> ApiTls {
        self.config.api.tls
    }

    /// Resolves when a part ended although nobody told it to: the gateway no
    /// longer does its work. Cancel-safe.
    pub async fn broken(&mut self) {
        // What a part died of has been printed by the panic hook.
        let _ = self.parts.join_next().await;
    }

    /// Stops: for `shutdown_delay` all goes on, so that load balancers hear of it before
    /// anybody is refused; then no new connections and attempts, what is under way is finished
    /// within `shutdown_timeout`, and spool and log are closed.
    pub async fn stop(mut self) -> Result<Ending, OpenError> {
        let Server { shutdown_delay, shutdown_timeout, .. } = self.config.server;
        self.common.leaving.send_replace(true);
        tokio::time::sleep(shutdown_delay).await;
        self.stop.send_replace(true);
        let drain = async { while self.parts.join_next().await.is_some() {} };
        let ending = match tokio::time::timeout(shutdown_timeout, drain).await {
            Ok(()) => Ending::Drained,
            Err(_) => {
                self.parts.shutdown().await;
                Ending::CutOff
            }
        };
        history::keep(&self.common.metrics, &*self.common.spool).await;
        let (store, log) = (self.common.store, self.log);
        let close = move || {
            let closed = store.close();
            log.close();
            closed
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(closed) => closed.map(|()| ending),
            Err(_) => Ok(Ending::CutOff),
        }
    }
}

/// Reads off the runtime's threads what a configuration names.
async fn read<F>(config: Config, read: F) -> Result<Access, StartError>
where
    F: FnOnce(Config) -> Result<Access, StartError> + Send + 'static,
{
    let died = |died| Err(StartError::Read(io::Error::other(died)));
    tokio::task::spawn_blocking(move || read(config)).await.unwrap_or_else(died)
}

/// Says for which destinations certificates do not count.
fn warn_of_insecure(config: &Config) {
    for origins in delivery::insecure(config) {
        tracing::warn!(
            "insecure = true: whoever answers for {origins} is believed, whatever its certificate says"
        );
    }
}

fn open_log(config: &Config) -> Result<ProtocolLog, StartError> {
    let options = options::protocol_log(config);
    let directory = options.directory.clone();
    ProtocolLog::open(options).map_err(|error| StartError::Log(directory, error))
}
