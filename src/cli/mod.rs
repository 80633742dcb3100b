//! The command line: arguments, help, exit codes.
//!
//! One file a command. Every command answers with nothing or with a
//! `Failure`, whose code is one of `sysexits.h`, so that scripts and service
//! managers can tell a bad configuration from a dead server. What a command has
//! to say goes to standard output, why it failed to standard error.

mod accounting;
mod address;
mod api_client;
mod check;
mod columns;
mod completions;
mod config_file;
mod demo;
mod destination;
mod export;
mod key;
mod log;
mod man;
mod password;
mod queue;
mod receiver;
mod screen;
mod send;
mod sendmail;
mod serve;
mod sink;
mod spool;
mod status;
mod supervisor;
mod table;
mod template;
mod trace;
mod webhook;

use crate::config::{Complaints, Config};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the exit codes mean, below the help.
const EXIT_CODES: &str = "\
Exit codes (sysexits.h):
  0  done          64  wrong arguments        65  refused for good, or bad input
  66 no such file  67  a recipient refused    69  server not reachable
  70 something went wrong inside              74  read or write failed
  75 refused for now, try again  77  not allowed  78  bad configuration

Examples:
  postgate demo                     see a mail become a post
  postgate                          run the gateway
  postgate sink                     a receiver to try it with
  postgate send --to 'post@http://127.0.0.1:8080/hello' mail.eml";

/// An SMTP gateway that turns mail into durable HTTP posts.
#[derive(Debug, Parser)]
#[command(name = "postgate", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Sink(sink::Arguments),
    Send(send::Arguments),
    Sendmail(sendmail::Arguments),
    Check(check::Arguments),
    Address(address::Arguments),
    Log(log::Arguments),
    Key(key::Arguments),
    Password(password::Arguments),
    Queue(queue::Arguments),
    Destination(destination::Arguments),
    Accounting(accounting::Arguments),
    Status(status::Arguments),
    Webhook(webhook::Arguments),
    Trace(trace::Arguments),
    Config(config_file::Arguments),
    Reload(config_file::Reload),
    Template(template::Arguments),
    Spool(spool::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

/// Wrong arguments.
const USAGE: u8 = 64;
/// Input that cannot be used, mail that is refused for good.
const DATA: u8 = 65;
/// An input file that is not there.
const NO_INPUT: u8 = 66;
/// A recipient that is refused for good.
const NO_USER: u8 = 67;
/// A server that cannot be reached or does not speak SMTP.
const UNAVAILABLE: u8 = 69;
/// Something inside went wrong.
const SOFTWARE: u8 = 70;
/// Reading or writing failed.
const IO: u8 = 74;
/// Mail that is refused for now.
const TRY_AGAIN: u8 = 75;
/// A client that is not allowed to.
const NO_PERMISSION: u8 = 77;
/// A configuration that is wrong.
const CONFIG: u8 = 78;

impl Failure {
    fn new(code: u8, text: impl Display) -> Failure {
        Failure { code, text: text.to_string() }
    }
}

impl From<io::Error> for Failure {
    /// A reader that went away (`postgate log | head`) is no failure.
    fn from(error: io::Error) -> Failure {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { IO };
        Failure::new(code, error)
    }
}

impl From<Complaints> for Failure {
    fn from(complaints: Complaints) -> Failure {
        Failure::new(CONFIG, complaints)
    }
}

/// Where the configuration is; part of several commands.
#[derive(Clone, Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file [default: $POSTGATE_CONFIG, ./postgate.toml,
    /// /etc/postgate/postgate.toml, or built-in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    fn load(&self) -> Result<Config, Complaints> {
        crate::config::load(self.path())
    }

    fn reload(&self) -> Result<Config, Complaints> {
        crate::config::reload(self.path())
    }

    /// The file that is there now, whichever others come or go.
    fn settled(self) -> ConfigFile {
        ConfigFile { config: crate::config::place(self.path()) }
    }
}

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    if let Some(arguments) = sendmail::called(std::env::args_os()) {
        return exit(sendmail::run(arguments));
    }
    let arguments = match CommandLine::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell when even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    exit(dispatch(arguments))
}

/// Says why a command failed, if it did.
fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code != 0 {
                let _ = writeln!(io::stderr(), "{}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(arguments: CommandLine) -> Result<(), Failure> {
    match arguments.command {
        None => serve::run(arguments.serve),
        Some(Command::Serve(arguments)) => serve::run(arguments),
        Some(Command::Demo(arguments)) => demo::run(arguments),
        Some(Command::Sink(arguments)) => sink::run(arguments),
        Some(Command::Send(arguments)) => send::run(arguments),
        Some(Command::Sendmail(arguments)) => sendmail::run(arguments),
        Some(Command::Check(arguments)) => check::run(arguments),
        Some(Command::Address(arguments)) => address::run(arguments),
        Some(Command::Log(arguments)) => log::run(arguments),
        Some(Command::Key(arguments)) => key::run(arguments),
        Some(Command::Password(arguments)) => password::run(arguments),
        Some(Command::Queue(arguments)) => queue::run(arguments),
        Some(Command::Destination(arguments)) => destination::run(arguments),
        Some(Command::Accounting(arguments)) => accounting::run(arguments),
        Some(Command::Status(arguments)) => status::run(arguments),
        Some(Command::Webhook(arguments)) => webhook::run(arguments),
        Some(Command::Trace(arguments)) => trace::run(arguments),
        Some(Command::Config(arguments)) => config_file::run(arguments),
        Some(Command::Reload(arguments)) => config_file::reload(arguments),
        Some(Command::Template(arguments)) => template::run(arguments),
        Some(Command::Spool(arguments)) => spool::run(arguments),
        Some(Command::Completions(arguments)) => completions::run(arguments),
        Some(Command::Man(arguments)) => man::run(arguments),
    }
}

/// Prints the help of a command that reads its own arguments.
fn help(command: &str) -> Result<(), Failure> {
    let mut whole = CommandLine::command();
    whole.build();
    match whole.find_subcommand_mut(command) {
        Some(command) => Ok(command.print_long_help()?),
        None => Ok(()),
    }
}

/// Prints a line to standard output.
fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Runs a command that needs sockets and timers at the same time.
fn block_on<F: Future<Output = Result<(), Failure>>>(command: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    // What still runs has been given its time by the command itself.
    runtime.shutdown_background();
    result
}
