//! `postgate serve`: runs the gateway until it is told to stop.
//!
//! SIGTERM and SIGINT stop it in order; a second one ends it at once, which
//! loses nothing that was acknowledged. SIGHUP reads the configuration again: a
//! good one is put in force, a bad one changes nothing and is told why. What
//! happens goes to standard error, and a service manager that listens is told.

use super::supervisor::Supervisor;
use super::{ConfigFile, DATA, Failure, IO, NO_INPUT, SOFTWARE, UNAVAILABLE, block_on, say};
use crate::api::setup::{Request, Requests};
use crate::app::{Ending, Gateway, Office, StartError, say_in_force};
use crate::clock;
use crate::compose::Pattern;
use crate::config::{ApiTls, Backend, Config, Listener, Log, LogFormat, LogLevel};
use crate::smtp::{Address, Protocol, TlsUse};
use crate::spool::embedded::OpenError;
use crate::spool::moving::MoveError;
use crate::spool::postgres::{
    self,
    OpenError::{Away, Database, InUse, Late},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tracing::Level;

/// Run the gateway (also what happens without a command)
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    // Or a reload while the file is being replaced would read another, or none.
    let file = arguments.file.settled();
    let config = file.load()?;
    begin_log(&config.log);
    ask_for_descriptors(&config);
    block_on(serve(file, config))
}

/// Descriptors for spool, logs and deliveries, besides those of clients.
const OWN_DESCRIPTORS: u64 = 512;

/// Takes all that the system allows: the usual 1,024 are fewer than the clients
/// that may be there at a time, of which each may have a temporary file as well.
fn ask_for_descriptors(config: &Config) {
    let most = getrlimit(Resource::Nofile).maximum;
    // What was refused is told below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let wanted = 2 * u64::from(config.limits.connections) + OWN_DESCRIPTORS;
    if let Some(has) = getrlimit(Resource::Nofile).current.filter(|has| *has < wanted) {
        tracing::warn!(
            "the system allows {has} open files, too few for limits.connections; \
             raise LimitNOFILE= of the service to {wanted}"
        );
    }
}

async fn serve(file: ConfigFile, config: Config) -> Result<(), Failure> {
    // Asked for first: a signal during a long start is not lost.
    let mut signals = Signals::listen()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let supervisor = Arc::new(Supervisor::from_env());
    supervisor.busy("reads what an earlier process left");
    let mut gateway = tokio::select! {
        gateway = Gateway::start(config.clone()) => gateway?,
        () = signals.next() => return Ok(()),
    };
    for listening in gateway.listening() {
        announce(format_args!("Postgate {} listens on {listening}", env!("CARGO_PKG_VERSION")));
    }
    if let Some(address) = gateway.api_address() {
        let scheme = if gateway.api_tls() == ApiTls::Implicit { "https" } else { "http" };
        announce(format_args!("API at {scheme}://{address}/"));
    }
    let in_directory = match config.spool.backend {
        Backend::Embedded => "spool and protocol log",
        Backend::Postgres => "spool in a database; protocol log",
    };
    announce(format_args!("{in_directory}: {}", config.server.data_dir.display()));
    if let Some(line) = try_line(&config, &gateway) {
        announce(line);
    }
    let office = Office::of(file.path())?;
    supervisor.ready(&standing(&gateway));
    // Beside everything else: a reload that takes long is no reason to be silent.
    let (reassuring, control) = (Arc::clone(&supervisor), gateway.control());
    let mut beside = JoinSet::new();
    beside.spawn(async move { reassuring.reassure(control).await });
    let mut wishes = gateway.wishes();
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = gateway.broken() => return Err(Failure::new(SOFTWARE, "a part of the gateway died; it must be started again")),
            _ = hangup.recv() => hang_up(&file, &mut gateway, &supervisor).await,
            Some(wish) = next(&mut wishes) => office.answer(&mut gateway, wish).await,
        }
    }
    // Who asks from now on hears that there is nobody.
    drop(wishes);
    supervisor.stopping();
    tracing::info!("stopping; a second signal ends it at once");
    tokio::select! {
        ending = gateway.stop() => match ending? {
            Ending::Drained => tracing::info!("stopped"),
            Ending::CutOff => tracing::warn!("stopped with work under way; it is done after the next start"),
        },
        () = signals.next() => return Err(Failure::new(SOFTWARE, "ended at once by a second signal")),
    }
    Ok(())
}

/// Reads the configuration again, and says what came of it.
async fn hang_up(file: &ConfigFile, gateway: &mut Gateway, supervisor: &Supervisor) {
    supervisor.reloading();
    let mut status = standing(gateway);
    match reload(file, gateway).await {
        Ok(later) => say_in_force(&later),
        Err(wrong) => {
            for complaint in wrong.lines() {
                tracing::error!("{complaint}");
            }
            tracing::error!("the new configuration is bad; the old one stays in force");
            let now = clock::rfc3339(clock::wall());
            status.push_str(&format!("; the configuration of {now} was bad, the log says why"));
        }
    }
    supervisor.ready(&status);
}

/// Puts the configuration in force as it is now, if it is good; the answer names what
/// needs a restart.
async fn reload(file: &ConfigFile, gateway: &mut Gateway) -> Result<Vec<String>, String> {
    let file = file.clone();
    let read = tokio::task::spawn_blocking(move || file.reload()).await;
    let config = read.map_err(|died| died.to_string())?.map_err(|complaints| complaints.to_string())?;
    let later = gateway.reload(config).await.map_err(|error| error.to_string())?;
    gateway.forget_others().await;
    Ok(later)
}

/// What a service manager shows of a gateway that runs.
fn standing(gateway: &Gateway) -> String {
    let listening: Vec<_> = gateway.listening().iter().map(ToString::to_string).collect();
    format!("takes mail on {}", listening.join(", "))
}

/// What is asked of the configuration next; never anything where nobody asks.
async fn next(wishes: &mut Option<Requests>) -> Option<Request> {
    match wishes {
        Some(wishes) => wishes.recv().await,
        None => std::future::pending().await,
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let code = match &error {
            StartError::Listen(..) | StartError::Api(..) => UNAVAILABLE,
            StartError::Spool(error) | StartError::Move(MoveError::Directory(error)) => of_directory(error),
            StartError::Database(error) | StartError::Move(MoveError::Database(error)) => of_database(error),
            StartError::Move(MoveError::Nothing(_)) => NO_INPUT,
            StartError::Move(MoveError::Damaged(..) | MoveError::Unreadable(_)) => DATA,
            StartError::Move(MoveError::Spool(_)) => UNAVAILABLE,
            StartError::Move(MoveError::Io(_)) => IO,
            StartError::Move(_) | StartError::Left(..) => super::CONFIG,
            StartError::Log(..) | StartError::LinkKey(..) | StartError::Journal(..) => IO,
            StartError::Read(_) => IO,
            StartError::Route(_) | StartError::Logins(_) | StartError::Tls(_) => super::CONFIG,
        };
        Failure::new(code, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::new(of_directory(&error), error)
    }
}

/// What is wrong with the spool in a directory.
fn of_directory(error: &OpenError) -> u8 {
    match error {
        OpenError::InUse(_) => UNAVAILABLE,
        OpenError::HalfMoved(_) => super::CONFIG,
        OpenError::Io(..) | OpenError::Spool(_) => IO,
    }
}

/// What is wrong with the one in a database.
fn of_database(error: &postgres::OpenError) -> u8 {
    match error {
        Away(_) | Database(_) | Late | InUse { .. } => UNAVAILABLE,
        _ => super::CONFIG,
    }
}

/// The signals that stop a program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Prints a line for whoever looks; the gateway works without a reader as well.
fn announce(line: impl Display) {
    let _ = say(line);
}

/// A command that works as printed, for a first try; nothing when no listener
/// takes such a client.
fn try_line(config: &Config, gateway: &Gateway) -> Option<String> {
    let mut listeners = gateway.listening().iter().zip(&config.listeners.0);
    let (listening, listener) = listeners.find(|(listening, listener)| {
        matches!(listening.address, Address::Tcp(_)) && is_for_curl(listener)
    })?;
    let scheme = if listener.tls == TlsUse::Implicit { "smtps" } else { "smtp" };
    let must_encrypt = listener.tls == TlsUse::StartTls && listener.require_tls;
    let starttls = if must_encrypt { " --ssl-reqd" } else { "" };
    let is_unknown = config.tls.self_signed && (must_encrypt || listener.tls == TlsUse::Implicit);
    let insecure = if is_unknown { " -k" } else { "" };
    let reaches_loopback = config.egress.allow.iter().any(|network| network.contains([127, 0, 0, 1].into()));
    let exact = config.routes.iter().map(|route| &route.recipient);
    let exact = exact.filter(|recipient| !recipient.is_regex()).map(Pattern::as_str);
    let exact = exact.into_iter().find(|name| !name.contains('*'));
    let (first, recipient) = match exact {
        Some(recipient) => ("", recipient),
        None if reaches_loopback => {
            (" with `postgate sink` in a second terminal", "post@http://127.0.0.1:8080/hello")
        }
        None => (" with your own URL", "post@https://shop.example/hello"),
    };
    let address = &listening.address;
    Some(format!(
        "try it{first}:\n  printf 'Subject: hello\\r\\n\\r\\nworld\\r\\n' | \
         curl -sS{starttls}{insecure} {scheme}://{address} --mail-from '' --mail-rcpt '{recipient}' -T -"
    ))
}

/// Whether a listener takes what `curl` sends without a login.
fn is_for_curl(listener: &Listener) -> bool {
    listener.protocol == Protocol::Smtp && !listener.require_auth && !listener.proxy_protocol
}

/// Begins the operational log on standard error.
fn begin_log(log: &Log) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // A line that cannot be written is lost: to complain about it, on the same
    // standard error, would be a panic.
    let lines = tracing_subscriber::fmt().log_internal_errors(false);
    let lines = lines.with_max_level(level).with_writer(io::stderr);
    let begun = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().into(),
        LogFormat::Json => tracing::Dispatch::new(lines.json().finish()),
    };
    // Fails only when there is one already, as in a test.
    let _ = tracing::dispatcher::set_global_default(begun);
}
