//! `postgate webhook`: the webhooks of a running gateway.

use super::api_client::{Place, piece};
use super::table::{table, text};
use super::{Failure, block_on, say};
use clap::Subcommand;
use serde_json::{Map, Value, json};

/// Look at webhooks of a running gateway, make, verify and test them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate webhook create https://shop.example/events --event post.failed --event 'email.*'
  postgate webhook verify wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 challenge
  postgate webhook test wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 --event post.failed")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List webhooks
    List,
    /// Show all of one
    Show {
        /// Which
        id: String,
    },
    /// Make one; its secret is shown once
    Create {
        /// Where its requests go
        url: String,
        /// Names of events, post.*, or *
        #[arg(long = "event", required = true, value_name = "NAME")]
        events: Vec<String>,
        /// How events are written: single, json, ndjson, csv, cloudevents, sparkpost, form
        #[arg(long)]
        format: Option<String>,
        /// For people
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete some
    Delete {
        /// Which
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Have its receiver show that it wants events
    Verify {
        /// Which
        id: String,
        /// file, dns, challenge, options, post, or skip
        way: String,
    },
    /// Send a sample event, and show the exchange
    Test {
        /// Which
        id: String,
        /// Name of the event
        #[arg(long = "event", value_name = "NAME")]
        event: Option<String>,
    },
    /// Test all
    Check,
    /// Make another secret; the old one signs for a day more
    RotateSecret {
        /// Which
        id: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb, place } = arguments;
    block_on(async move {
        match verb {
            Verb::List => list(&place).await,
            Verb::Show { id } => show(&place.connect().await?.get(&path(&id, "")).await?),
            Verb::Create { url, events, format, description } => {
                let mut asked = Map::from_iter([
                    ("url".to_owned(), Value::from(url)),
                    ("events".to_owned(), Value::from(events)),
                ]);
                asked.extend(format.map(|format| ("format".to_owned(), Value::from(format))));
                asked.extend(description.map(|text| ("description".to_owned(), Value::from(text))));
                show(&place.connect().await?.post("/webhooks", Some(&Value::Object(asked))).await?)
            }
            Verb::Delete { ids } => delete(&place, &ids).await,
            Verb::Verify { id, way } => {
                let body = json!({ "way": way });
                show(&place.connect().await?.post(&path(&id, "/verify"), Some(&body)).await?)
            }
            Verb::Test { id, event } => {
                let body = event.map(|event| json!({ "eventType": event }));
                show(&place.connect().await?.post(&path(&id, "/test"), body.as_ref()).await?)
            }
            Verb::Check => check(&place).await,
            Verb::RotateSecret { id } => {
                show(&place.connect().await?.post(&path(&id, "/rotate-secret"), None).await?)
            }
        }
    })
}

fn path(id: &str, more: &str) -> String {
    format!("/webhooks/{}{more}", piece(id))
}

/// All that was answered.
fn show(answer: &Value) -> Result<(), Failure> {
    // What was read from JSON can be written.
    Ok(say(serde_json::to_string_pretty(answer).unwrap_or_default())?)
}

fn rows<const N: usize>(answer: &Value, fields: [&str; N]) -> Vec<[String; N]> {
    let webhooks = answer.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    webhooks.map(|webhook| fields.map(|field| text(webhook, field))).collect()
}

async fn list(place: &Place) -> Result<(), Failure> {
    let answer = place.connect().await?.get("/webhooks").await?;
    if place.json {
        return Ok(say(answer)?);
    }
    let rows = rows(&answer, ["id", "tenant", "status", "format", "url"]);
    Ok(say(table(["ID", "TENANT", "STATUS", "FORMAT", "URL"], &rows))?)
}

async fn check(place: &Place) -> Result<(), Failure> {
    let answer = place.connect().await?.post("/webhooks/check", None).await?;
    if place.json {
        return Ok(say(answer)?);
    }
    let rows = rows(&answer, ["id", "delivered", "status", "duration", "error"]);
    Ok(say(table(["ID", "DELIVERED", "STATUS", "SECONDS", "ERROR"], &rows))?)
}

async fn delete(place: &Place, ids: &[String]) -> Result<(), Failure> {
    let mut client = place.connect().await?;
    for id in ids {
        client.delete(&path(id, "")).await?;
        if !place.json {
            say(format_args!("{id}: deleted"))?;
        }
    }
    Ok(())
}
