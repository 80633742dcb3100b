//! `postgate serve`: runs the gateway until it is told to stop.
//!
//! SIGTERM and SIGINT stop it in order; a second one ends it at once, which
//! loses nothing that was acknowledged. What happens goes to standard error.

use super::{ConfigFile, Failure, IO, SOFTWARE, UNAVAILABLE, block_on, say};
use crate::app::{Ending, Gateway, StartError};
use crate::config::{Config, Log, LogFormat, LogLevel};
use crate::spool::embedded::OpenError;
use rustix::fs::Mode;
use rustix::process::umask;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

/// Run the gateway (also what happens without a command)
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.file.load()?;
    // Mail is nobody else's to read, also in files that the catalog's engine makes.
    umask(Mode::RWXG | Mode::RWXO);
    begin_log(&config.log);
    block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    // Asked for first: a signal during a long start is not lost.
    let mut signals = Signals::listen()?;
    let mut gateway = tokio::select! {
        gateway = Gateway::start(config.clone()) => gateway?,
        () = signals.next() => return Ok(()),
    };
    for address in gateway.addresses() {
        announce(format_args!("Postgate {} listens on {address} (SMTP)", env!("CARGO_PKG_VERSION")));
    }
    announce(format_args!("spool and protocol log: {}", config.server.data_dir.display()));
    if let Some(address) = gateway.addresses().first() {
        announce(try_line(&config, *address));
    }
    tokio::select! {
        () = signals.next() => {}
        () = gateway.broken() => return Err(Failure::new(SOFTWARE, "a part of the gateway died; it must be started again")),
    }
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

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let code = match &error {
            StartError::Listen(..) | StartError::Spool(OpenError::InUse(_)) => UNAVAILABLE,
            StartError::Log(..) | StartError::Spool(_) => IO,
            StartError::Route(_) => super::CONFIG,
        };
        Failure::new(code, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::new(IO, error)
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

/// A command that works as printed, for a first try.
fn try_line(config: &Config, address: SocketAddr) -> String {
    let reaches_loopback = config.egress.allow.iter().any(|network| network.contains([127, 0, 0, 1].into()));
    let exact = config.routes.iter().map(|route| route.recipient.as_str()).find(|name| !name.contains('*'));
    let (first, recipient) = match exact {
        Some(recipient) => ("", recipient),
        None if reaches_loopback => {
            (" with `postgate sink` in a second terminal", "post@http://127.0.0.1:8080/hello")
        }
        None => (" with your own URL", "post@https://shop.example/hello"),
    };
    format!(
        "try it{first}:\n  printf 'Subject: hello\\r\\n\\r\\nworld\\r\\n' | \
         curl -sS smtp://{address} --mail-from '' --mail-rcpt '{recipient}' -T -"
    )
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
