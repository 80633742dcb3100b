//! `postgate password`: makes the hash of a password for the configuration.
//!
//! The password never stands in the arguments, where every user of the machine
//! could read it, and never on the screen: a terminal is told not to show what
//! is typed, and is asked twice. The hash goes to standard output alone, so that
//! it can be sent on into a file.

use super::{DATA, Failure, SOFTWARE, say};
use crate::intake::{HashError, PasswordHash};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Make a password hash for [[user]]
///
/// Asks for the password, or reads it as one line from a pipe, and prints what to
/// write as password_hash: argon2id with 19 MiB and two passes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate password
  pass show erp | postgate password --bcrypt")]
pub(super) struct Arguments {
    /// Make a bcrypt hash instead, for sharing it with programs that know no other
    #[arg(long)]
    bcrypt: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let password = if io::stdin().is_terminal() { ask_twice()? } else { line()? };
    if password.is_empty() {
        return Err(Failure::new(DATA, "the password is empty"));
    }
    let hash =
        if arguments.bcrypt { PasswordHash::bcrypt(&password) } else { PasswordHash::argon2id(&password) };
    let hash = hash.map_err(|error| match error {
        HashError::TooLong => Failure::new(DATA, error),
        HashError::System(_) => Failure::new(SOFTWARE, error),
    })?;
    Ok(say(hash)?)
}

fn ask_twice() -> Result<String, Failure> {
    let password = ask("Password: ")?;
    if ask("The same again: ")? != password {
        return Err(Failure::new(DATA, "the two passwords differ"));
    }
    Ok(password)
}

/// Asks on standard error, because the answer on standard output is for a file.
fn ask(question: &str) -> Result<String, Failure> {
    let mut screen = io::stderr();
    // Before the question: whoever answers at once is not to be seen either.
    let silence = Silence::begin()?;
    write!(screen, "{question}")?;
    screen.flush()?;
    let password = line()?;
    drop(silence);
    // The line end was not shown either.
    writeln!(screen)?;
    Ok(password)
}

/// One line of standard input without its end.
fn line() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Failure::new(DATA, "the password is not UTF-8"),
        _ => Failure::from(error),
    })?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// While it lives, the terminal does not show what is typed.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
