//! `postgate man`: the manual, a page a command, made of the same definition that
//! reads their arguments.

use super::{CommandLine, Failure, IO};
use crate::clock;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Write the manual, a page a command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate man /usr/local/share/man/man1
  postgate man | man -l -")]
pub(super) struct Arguments {
    /// Directory, which is made if it is not there [default: the first page alone, to
    /// standard output]
    directory: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    // Pages of `help` would repeat all others.
    let mut whole = CommandLine::command().disable_help_subcommand(true);
    whole.build();
    let Some(directory) = arguments.directory else {
        let mut text = Vec::new();
        page(&whole).render(&mut text)?;
        return Ok(io::stdout().write_all(&text)?);
    };
    let written = fs::create_dir_all(&directory).and_then(|()| write(&whole, &directory));
    written.map_err(|error| {
        Failure::new(IO, format_args!("cannot write the manual in {}: {error}", directory.display()))
    })
}

/// The pages of a command and of those below it.
fn write(command: &Command, directory: &Path) -> io::Result<()> {
    page(command).generate_to(directory)?;
    command.get_subcommands().try_for_each(|command| write(command, directory))
}

fn page(command: &Command) -> Man {
    // Without a date, what follows would take its place.
    let today: String = clock::rfc3339(clock::wall()).chars().take("2026-01-31".len()).collect();
    let source = concat!("postgate ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).date(today).source(source).manual("Postgate")
}
