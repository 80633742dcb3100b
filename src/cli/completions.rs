//! `postgate completions`: what a shell has to know to complete the commands and
//! options of this program. Made of the same definition that reads them.

use super::{CommandLine, Failure};
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use std::io::{self, Write as _};

/// Print what a shell needs to complete commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate completions bash > /etc/bash_completion.d/postgate
  postgate completions zsh > /usr/local/share/zsh/site-functions/_postgate
  postgate completions fish > ~/.config/fish/completions/postgate.fish")]
pub(super) struct Arguments {
    /// bash, zsh, fish, elvish or powershell
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    // Made whole first: where nobody reads any more, the generator would panic.
    let mut script = Vec::new();
    generate(arguments.shell, &mut CommandLine::command(), "postgate", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
