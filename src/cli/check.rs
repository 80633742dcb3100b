//! `postgate check`: says everything that is wrong with a configuration.

use super::{ConfigFile, Failure, block_on, say};
use crate::app;
use crate::config;

/// Check a configuration
///
/// All mistakes are named at once, each with file, line, column, key and remedy;
/// exit code 78 if there are any.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate check --config /etc/postgate/postgate.toml
  postgate check --effective
  postgate check --spool")]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the configuration in force, defaults included, secrets masked
    #[arg(long)]
    effective: bool,
    /// Ask the database of the spool, too, whether it keeps what it acknowledges; changes nothing
    #[arg(long)]
    spool: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.file.load()?;
    app::check(&config)?;
    if arguments.effective {
        return Ok(say(config::effective(&config).trim_end())?);
    }
    if arguments.spool {
        block_on(async {
            let place = app::check_spool(&config).await?;
            Ok(say(format_args!("spool: {place}"))?)
        })?;
    }
    match config::place(arguments.file.path()) {
        Some(path) => say(format_args!("{}: good", path.display()))?,
        None => say("no ./postgate.toml or /etc/postgate/postgate.toml: the built-in configuration is used")?,
    }
    Ok(())
}
