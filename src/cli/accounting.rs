//! `postgate accounting`: the files of records of a running gateway.

use super::api_client::Place;
use super::table::{plain, text};
use super::{Failure, TRY_AGAIN, block_on, say};
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
            say(&answer)?;
            return wrong(&answer);
        }
        for file in files(&answer).filter(|file| file.get("error").is_none()) {
            let line = match (text(file, "path"), text(file, "ended")) {
                (path, ended) if ended.is_empty() => format!("{path}: goes on, there is no record in it"),
                (_, ended) => ended,
            };
            say(plain(&line))?;
        }
        wrong(&answer)
    })
}

fn files(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("files").and_then(Value::as_array).into_iter().flatten()
}

/// Files that could not be ended, when there are any: those that were are told before.
fn wrong(answer: &Value) -> Result<(), Failure> {
    let wrong = files(answer).filter(|file| file.get("error").is_some());
    let wrong: Vec<_> =
        wrong.map(|file| plain(&format!("{}: {}", text(file, "path"), text(file, "error")))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(TRY_AGAIN, wrong.join("\n"))) }
}
