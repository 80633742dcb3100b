//! `postgate destination`: looks at the destinations of a running gateway and
//! steers them.

use super::api_client::{Place, piece};
use super::table::{table, text, waiting};
use super::{Failure, block_on, say};
use clap::Subcommand;
use serde_json::{Value, json};

/// Look at destinations of a running gateway, and steer them
///
/// An origin is written like https://shop.example; https://*.shop.example means
/// all below it, and * means all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate destination list
  postgate destination list --only errors --order fullest --limit 20
  postgate destination pause https://shop.example --reason 'moving house'
  postgate destination backoff https://shop.example
  postgate destination flush '*'")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List destinations with posts, connections or a pause
    List {
        /// Only these origins
        #[arg(default_value = "*")]
        origin: String,
        /// paused, backoff, normal (not in backoff), errors or connected
        #[arg(long)]
        only: Option<String>,
        /// name, worst, busiest, or fullest: where most posts wait
        #[arg(long)]
        order: Option<String>,
        /// Most destinations
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
    },
    /// Begin no attempt any more, also after a restart
    Pause {
        /// Which
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
        /// Why, for whoever wonders
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a pause of the same origins
    Resume {
        /// Which
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
    },
    /// Send probes only until one is answered, also after a restart
    Backoff {
        /// Which
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
        /// Why, for whoever wonders
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a backoff
    Recover {
        /// Which
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
    },
    /// Delete the posts that wait, also those that are held
    Purge {
        /// Which; * only with --all
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
        /// That * is meant
        #[arg(long)]
        all: bool,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
    },
    /// Try all posts at once, forgetting a backoff
    Flush {
        /// Which
        #[arg(required = true, value_name = "ORIGIN")]
        origins: Vec<String>,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb, place } = arguments;
    block_on(async move {
        match verb {
            Verb::List { origin, only, order, limit } => {
                let limit = limit.map(|limit| limit.to_string());
                list(&place, &origin, [("only", only), ("order", order), ("limit", limit)]).await
            }
            Verb::Pause { origins, reason } => act(&place, "pause", &origins, because(reason).as_ref()).await,
            Verb::Backoff { origins, reason } => {
                act(&place, "backoff", &origins, because(reason).as_ref()).await
            }
            Verb::Recover { origins } => act(&place, "recover", &origins, None).await,
            Verb::Purge { origins, all, dry_run } => {
                let body = json!({ "all": all, "dry_run": dry_run });
                act(&place, "purge", &origins, Some(&body)).await
            }
            Verb::Resume { origins } => act(&place, "resume", &origins, None).await,
            Verb::Flush { origins } => act(&place, "flush", &origins, None).await,
        }
    })
}

fn because(reason: Option<String>) -> Option<Value> {
    reason.map(|reason| json!({ "reason": reason }))
}

async fn list(place: &Place, origin: &str, asked: [(&str, Option<String>); 3]) -> Result<(), Failure> {
    let asked = asked.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", piece(&value?))));
    let query = asked.collect::<Vec<_>>().join("&");
    let path = match origin {
        "*" => format!("/destinations?{query}"),
        origin => format!("/destinations/{}?{query}", piece(origin)),
    };
    let answer = place.connect().await?.get(&path).await?;
    if place.json {
        return Ok(say(answer)?);
    }
    Ok(say(told(&answer))?)
}

/// The table of an answer's destinations.
pub(super) fn told(answer: &Value) -> String {
    let rows: Vec<_> =
        answer.get("destinations").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    table(["ORIGIN", "TENANT", "STATE", "QUEUED", "HELD", "FAILED", "FLIGHT", "RATE", "LAST"], &rows)
}

fn row(destination: &Value) -> [String; 9] {
    let [origin, tenant, state, queued, held, failed] =
        ["origin", "tenant", "state", "queued", "held", "failed"].map(|field| text(destination, field));
    let flight = format!("{}/{}", text(destination, "in_flight"), text(destination, "concurrency_limit"));
    let rates = destination.get("rates").and_then(Value::as_array).into_iter().flatten();
    let rate =
        rates.map(|rate| format!("{} of {}", text(rate, "used"), text(rate, "rate"))).collect::<Vec<_>>();
    [origin, tenant, state, queued, held, failed, flight, rate.join(", "), remark(destination)]
}

/// What an operator should know of it, the most important first.
fn remark(destination: &Value) -> String {
    let insecure = destination.get("insecure").and_then(Value::as_bool).unwrap_or_default();
    let last = destination.get("last").map(|last| text(last, "text")).unwrap_or_default();
    let mut remarks =
        vec![if insecure { "INSECURE" } else { "" }.to_owned(), text(destination, "reason"), last];
    // What a destination is in backoff for is usually what it said last.
    remarks.dedup();
    let until = text(destination, "until");
    // To the second.
    remarks.extend(until.get(..19).map(|until| format!("next attempt at {until}Z")));
    remarks.retain(|remark| !remark.is_empty());
    remarks.join("; ")
}

async fn act(place: &Place, verb: &str, origins: &[String], body: Option<&Value>) -> Result<(), Failure> {
    let mut client = place.connect().await?;
    for origin in origins {
        let answer = client.post(&format!("/destinations/{}/{verb}", piece(origin)), body).await?;
        if place.json {
            say(answer)?;
        } else {
            let count = text(&answer, "count");
            match verb {
                "pause" => say(format_args!(
                    "{origin}: paused; {count} destinations with posts now, and those to come"
                )),
                "purge" => say(format_args!("{origin}: {count} posts")),
                "backoff" => say(format_args!("{origin}: {count} destinations went into backoff")),
                "recover" => say(format_args!("{origin}: {count} backoffs ended")),
                "resume" => say(format_args!("{origin}: {count} pauses ended")),
                _ => say(format_args!("{origin}: {count} posts due now{}", waiting(&answer))),
            }?;
        }
    }
    Ok(())
}
