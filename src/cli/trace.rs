//! `postgate trace`: the SMTP session that brought a post, and its HTTP exchanges, as a
//! running gateway's protocol log has them.

use super::api_client::Place;
use super::table::plain;
use super::{Failure, block_on, say};
use crate::post::PostId;
use serde_json::Value;

/// Show the dialogues of a post of a running gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate trace 52a0000000000002
  postgate log --post 52a0000000000002     the same from the files, without a gateway")]
pub(super) struct Arguments {
    /// Id of a post
    #[arg(value_name = "ID", value_parser = super::queue::id)]
    id: PostId,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { id, place } = arguments;
    block_on(async move {
        let answer = place.connect().await?.get(&format!("/posts/{id}/transcript")).await?;
        if place.json {
            return Ok(say(answer)?);
        }
        for part in ["smtp", "http"] {
            let lines = answer.get(part).and_then(Value::as_array).into_iter().flatten();
            for line in lines.filter_map(Value::as_str) {
                say(plain(line))?;
            }
        }
        if answer.get("truncated").and_then(Value::as_bool).unwrap_or_default() {
            say("(there may be more: see postgate log)")?;
        }
        Ok(())
    })
}
