//! `postgate spool`: looks at the spool of a gateway that does not run.

use super::table::table;
use super::{ConfigFile, DATA, Failure, IO, NO_INPUT, UNAVAILABLE, say};
use crate::api::state_name;
use crate::app;
use crate::spool::embedded::OpenError;
use crate::spool::inspect::{Damage, Findings, inspect};
use clap::Subcommand;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;

/// Look at the spool of a gateway that does not run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate spool check
  postgate spool check --config /etc/postgate/postgate.toml --json")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read and check every record; nothing is changed, nor need it be writable
    ///
    /// Exit code 65 if anything is damaged, 66 where there is no spool, 69 while a gateway
    /// has it open. What stands behind the last whole record is no damage: nobody knows
    /// whether it was ever accepted.
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub(super) fn run(Arguments { action: Action::Check { json, file } }: Arguments) -> Result<(), Failure> {
    let directory = app::spool_directory(&file.load()?);
    if !directory.join("log").try_exists()? {
        let text =
            format!("there is no spool in {}; say which configuration by --config", directory.display());
        return Err(Failure::new(NO_INPUT, text));
    }
    let findings = inspect(&directory).map_err(|error| {
        let code = if matches!(error, OpenError::InUse(_)) { UNAVAILABLE } else { IO };
        Failure::new(code, error)
    })?;
    if json {
        say(as_json(&findings))?
    } else {
        tell(&findings)?
    };
    match findings.damages.len() {
        0 => Ok(()),
        1 => Err(Failure::new(DATA, "1 place is damaged")),
        places => Err(Failure::new(DATA, format_args!("{places} places are damaged"))),
    }
}

fn as_json(findings: &Findings) -> serde_json::Value {
    let Findings { segments, octets, records, posts, damages, set_aside } = findings;
    let posts: BTreeMap<_, _> = posts.iter().map(|(state, count)| (state_name(*state), *count)).collect();
    json!({
        "segments": segments, "octets": octets, "records": records, "posts": posts, "damages": damages,
        "set_aside": set_aside,
    })
}

fn tell(findings: &Findings) -> io::Result<()> {
    let Findings { segments, octets, records, posts, damages, set_aside } = findings;
    say(format_args!("{records} whole records of {octets} octets in {segments} segments"))?;
    let rows: Vec<_> =
        posts.iter().map(|(state, count)| [state_name(*state).to_owned(), count.to_string()]).collect();
    if !rows.is_empty() {
        say(table(["STATE", "POSTS"], &rows))?;
    }
    for name in set_aside {
        say(format_args!("set aside earlier: {name}"))?;
    }
    if damages.is_empty() {
        return say("nothing is damaged");
    }
    let row = |damage: &Damage| {
        [damage.file.clone(), damage.offset.to_string(), damage.octets.to_string(), damage.meaning.clone()]
    };
    say(table(["DAMAGED", "AT", "OCTETS", ""], &damages.iter().map(row).collect::<Vec<_>>()))
}
