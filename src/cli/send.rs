//! `postgate send`: hands one message to a server and shows the dialogue.

use super::{DATA, Failure, NO_INPUT, TRY_AGAIN, UNAVAILABLE, USAGE, say};
use crate::smtp::client::{self, Mail, SendError, Side};
use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// Send a message over SMTP and show the dialogue
///
/// The message is read from FILE, else from standard input: header, empty line,
/// text. Line ends are made CRLF, nothing else is changed. Exit code 0 means
/// accepted, 65 refused for good, 75 refused for now, 69 server not reachable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate send --to 'post@http://127.0.0.1:8080/hello' mail.eml
  printf 'Subject: hello\\n\\nworld\\n' | postgate send --to orders@hooks.example")]
pub(super) struct Arguments {
    /// Recipient; may be repeated
    #[arg(long, value_name = "RCPT", required = true)]
    to: Vec<String>,
    /// Sender; empty for the null sender
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    from: String,
    /// Host and port of the server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2525")]
    server: String,
    /// The message
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.to.iter().chain([&arguments.from]).any(|path| path.contains(['\r', '\n'])) {
        return Err(Failure::new(USAGE, "an address holds a line end"));
    }
    let data = match &arguments.file {
        Some(path) => fs::read(path)
            .map_err(|error| Failure::new(NO_INPUT, format_args!("{}: {error}", path.display())))?,
        None => {
            let mut data = Vec::new();
            io::stdin().read_to_end(&mut data)?;
            data
        }
    };
    let mail = Mail { sender: arguments.from, recipients: arguments.to, data };
    let mut shown = Ok(());
    let mut show = |side, line: &str| {
        if shown.is_ok() {
            shown = say(self::shown(side, line));
        }
    };
    let result = client::send(&arguments.server, &mail, &mut show);
    shown?;
    match result {
        Ok(_) => Ok(()),
        Err(SendError::Unavailable(reason)) => {
            let remedy = "start a gateway with `postgate`, or say with --server where it listens";
            Err(Failure::new(UNAVAILABLE, format_args!("{}: {reason}; {remedy}", arguments.server)))
        }
        Err(SendError::Refused(reply)) => {
            let code = if reply.starts_with('4') { TRY_AGAIN } else { DATA };
            Err(Failure::new(code, format_args!("refused: {reply}")))
        }
    }
}

/// A line of the dialogue for a terminal, without anything that could move its cursor.
pub(super) fn shown(side: Side, line: &str) -> String {
    let who = if side == Side::Client { 'C' } else { 'S' };
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.into() };
    format!("{who}: {}", line.chars().map(escape).collect::<String>())
}
