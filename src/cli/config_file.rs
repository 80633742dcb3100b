//! `postgate config` and `postgate reload`: the configuration of a running gateway.

use super::api_client::Place;
use super::table::plain;
use super::{Failure, NO_INPUT, block_on, say};
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Look at the configuration file of a running gateway, and replace it
///
/// Secrets are hidden; where they come back hidden, they stay what they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate config show > new.toml
  postgate config check new.toml
  postgate config put new.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the file
    Show,
    /// Say what is wrong with a file, without putting it in force
    Check {
        /// Which
        file: PathBuf,
    },
    /// Put a file in place of the gateway's, and in force
    Put {
        /// Which
        file: PathBuf,
    },
}

/// Put the configuration file of a running gateway in force as it stands
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb, place } = arguments;
    block_on(async move {
        let mut client = place.connect().await?;
        match verb {
            Verb::Show => {
                let text = client.text("/config").await?;
                if place.json {
                    return Ok(say(json!({ "config": text }))?);
                }
                // Line ends and tabs are its own.
                let own = |line: &str| line.split('\t').map(plain).collect::<Vec<_>>().join("\t");
                let lines = text.lines().map(own).collect::<Vec<_>>();
                Ok(say(lines.join("\n"))?)
            }
            Verb::Check { file } => {
                let answer = client.send_toml(Method::POST, "/config/check", read(&file)?).await?;
                tell(&place, &answer, "good")
            }
            Verb::Put { file } => {
                let answer = client.send_toml(Method::PUT, "/config", read(&file)?).await?;
                tell(&place, &answer, "in force")
            }
        }
    })
}

pub(super) fn reload(arguments: Reload) -> Result<(), Failure> {
    let Reload { place } = arguments;
    block_on(async move {
        let answer = place.connect().await?.post("/reload", None).await?;
        tell(&place, &answer, "in force")
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::new(NO_INPUT, format_args!("{}: {error}", file.display())))
}

fn tell(place: &Place, answer: &Value, done: &str) -> Result<(), Failure> {
    if place.json {
        return Ok(say(answer)?);
    }
    let restart = answer.get("restart").and_then(Value::as_array).into_iter().flatten();
    let restart: Vec<_> = restart.filter_map(Value::as_str).map(plain).collect();
    if restart.is_empty() {
        return Ok(say(done)?);
    }
    Ok(say(format_args!("{done}, but what needs a restart is as before: {}", restart.join(", ")))?)
}
