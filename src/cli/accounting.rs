//! `postgate accounting`: the files of records of a running gateway.

use super::api_client::Place;
use super::table::{plain, text};
use super::{Failure, block_on, say};
use clap::Subcommand;
use serde_json::Value;

/// Steer the files of records of a running gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate accounting rotate
  postgate status                          how they go")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// End each file now, and begin the next
    Rotate,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb: Verb::Rotate, place } = arguments;
    block_on(async move {
        let answer = place.connect().await?.post("/accounting/rotate", None).await?;
        if place.json {
            return Ok(say(answer)?);
        }
        for file in answer.get("files").and_then(Value::as_array).into_iter().flatten() {
            let line = match (text(file, "path"), text(file, "ended")) {
                (path, ended) if ended.is_empty() => format!("{path}: goes on, there is no record in it"),
                (_, ended) => ended,
            };
            say(plain(&line))?;
        }
        Ok(())
    })
}
