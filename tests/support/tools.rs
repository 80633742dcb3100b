//! What of the machine a test needs and may not find: tools, and what only some may do.

use std::env;
use std::fmt::Display;
use std::io::ErrorKind;
use std::process::{Command, Output};

/// A test is left out, or a part of it, for this reason: that is said, and where everything
/// has to be tested (`CI`) it is an error.
#[allow(clippy::print_stderr)]
pub fn leave_out(why: impl Display) {
    assert!(env::var_os("CI").is_none(), "{why}, and everything has to be tested here");
    eprintln!("left out: {why}");
}

/// What a tool says to its end; nothing where it is missing, and what needs it is left out.
pub fn output(tool: &mut Command) -> Option<Output> {
    match tool.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            leave_out(format!("{} is missing", tool.get_program().display()));
            None
        }
        output => Some(output.unwrap()),
    }
}

/// Whether there is a tool that says which version it is; else what needs it is left out.
pub fn is_there(tool: &str) -> bool {
    output(Command::new(tool).arg("--version")).is_some()
}
