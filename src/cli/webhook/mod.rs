//! `postgate webhook`: the webhooks of a running gateway, and what was sent to them.

mod batches;
mod settings;

use super::api_client::{Client, Place, piece};
use super::table::{fields, plain, table, text};
use super::{Failure, USAGE, block_on, say};
use clap::Subcommand;
use serde_json::{Value, json};
use settings::{Settings, secret};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Look at webhooks of a running gateway, make, change, verify and test them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate webhook create https://shop.example/events --event post.failed --event 'email.*'
  postgate webhook verify wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 challenge
  postgate webhook test wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 --event post.failed
  postgate webhook batches wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 --state failed
  postgate webhook replay wh_01J8Z3N0V5Q8W7R6T5S4P3M2K1 --since 2026-01-31T12:00:00Z --dry-run")]
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
        #[command(flatten)]
        settings: Settings,
        /// Make it disabled
        #[arg(long)]
        disabled: bool,
        /// Its receiver need not be asked whether it wants events
        #[arg(long)]
        skip_verification: bool,
    },
    /// Change what is named of one; another URL has to be verified again
    Change {
        /// Which
        id: String,
        /// Where its requests go
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: Settings,
        /// A setting to be as if it had never been named; a secret is drawn anew
        #[arg(long, value_name = "FIELD")]
        unset: Vec<String>,
    },
    /// Send events to some again
    Enable {
        /// Which
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Send no events to some until they are enabled
    Disable {
        /// Which
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
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
        /// The secret, as the first line of this file; without, one is drawn
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// List the batches of one, the newest first
    Batches(batches::List),
    /// Show a batch with its attempts, or its body
    Batch(batches::One),
    /// Send events again that were there before
    Replay(batches::Replay),
    /// List what is sent again
    Replays {
        /// Of which webhook
        id: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb, place } = arguments;
    block_on(async move {
        let mut client = place.connect().await?;
        match verb {
            Verb::List => list(&mut client, &place).await,
            Verb::Show { id } => show(&place, &client.get(&path(&id, "")).await?),
            Verb::Create { url, settings, disabled, skip_verification } => {
                let mut asked = settings.fields()?;
                asked.insert("url".to_owned(), url.into());
                asked.extend(disabled.then(|| ("enabled".to_owned(), Value::Bool(false))));
                asked.extend(skip_verification.then(|| ("verify".to_owned(), Value::from("skip"))));
                show(&place, &client.post("/webhooks", Some(&Value::Object(asked))).await?)
            }
            Verb::Change { id, url, settings, unset } => {
                show(&place, &client.patch(&path(&id, ""), &changes(url, &settings, unset)?).await?)
            }
            Verb::Enable { ids } => turn(&mut client, &place, &ids, "enabled").await,
            Verb::Disable { ids } => turn(&mut client, &place, &ids, "disabled").await,
            Verb::Delete { ids } => delete(&mut client, &place, &ids).await,
            Verb::Verify { id, way } => {
                let body = json!({ "way": way });
                show(&place, &client.post(&path(&id, "/verify"), Some(&body)).await?)
            }
            Verb::Test { id, event } => {
                let body = event.map(|event| json!({ "eventType": event }));
                show(&place, &client.post(&path(&id, "/test"), body.as_ref()).await?)
            }
            Verb::Check => check(&mut client, &place).await,
            Verb::RotateSecret { id, secret_file } => {
                let own = secret_file.as_deref().map(secret).transpose()?;
                let body = own.map(|secret| json!({ "secret": secret }));
                show(&place, &client.post(&path(&id, "/rotate-secret"), body.as_ref()).await?)
            }
            Verb::Batches(asked) => asked.run(&mut client, &place).await,
            Verb::Batch(asked) => asked.run(&mut client, &place).await,
            Verb::Replay(asked) => asked.run(&mut client, &place).await,
            Verb::Replays { id } => batches::replays(&mut client, &place, &id).await,
        }
    })
}

/// The path of a webhook, or of what is below it.
fn path(id: &str, more: &str) -> String {
    format!("/webhooks/{}{more}", piece(id))
}

/// What a change says; nothing to change is a mistake.
fn changes(url: Option<String>, settings: &Settings, unset: Vec<String>) -> Result<Value, Failure> {
    let mut asked = settings.fields()?;
    asked.extend(url.map(|url| ("url".to_owned(), Value::from(url))));
    for field in unset {
        if asked.insert(field.clone(), Value::Null).is_some() {
            return Err(Failure::new(USAGE, format_args!("--unset {field}: it is set as well")));
        }
    }
    if asked.is_empty() {
        return Err(Failure::new(USAGE, "name what changes, such as --event post.failed; see --help"));
    }
    Ok(Value::Object(asked))
}

/// All that was answered.
fn show(place: &Place, answer: &Value) -> Result<(), Failure> {
    if place.json { Ok(say(answer)?) } else { Ok(say(fields(answer))?) }
}

/// The columns of a list in an answer.
fn rows<const N: usize>(answer: &Value, list: &str, columns: [&str; N]) -> Vec<[String; N]> {
    let items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    items.map(|item| columns.map(|column| text(item, column))).collect()
}

async fn list(client: &mut Client, place: &Place) -> Result<(), Failure> {
    let answer = client.get("/webhooks").await?;
    if place.json {
        return Ok(say(answer)?);
    }
    let rows = rows(&answer, "webhooks", ["id", "tenant", "status", "format", "url"]);
    Ok(say(table(["ID", "TENANT", "STATUS", "FORMAT", "URL"], &rows))?)
}

async fn check(client: &mut Client, place: &Place) -> Result<(), Failure> {
    let answer = client.post("/webhooks/check", None).await?;
    if place.json {
        return Ok(say(answer)?);
    }
    let rows = rows(&answer, "webhooks", ["id", "delivered", "status", "duration", "error"]);
    Ok(say(table(["ID", "DELIVERED", "STATUS", "SECONDS", "ERROR"], &rows))?)
}

/// Makes webhooks enabled or disabled.
async fn turn(client: &mut Client, place: &Place, ids: &[String], state: &str) -> Result<(), Failure> {
    let patch = json!({ "enabled": state == "enabled" });
    let mut done = Done::of(ids);
    for id in ids {
        done.note(place, id, state, client.patch(&path(id, ""), &patch).await)?;
    }
    done.end()
}

async fn delete(client: &mut Client, place: &Place, ids: &[String]) -> Result<(), Failure> {
    let mut done = Done::of(ids);
    for id in ids {
        done.note(place, id, "deleted", client.delete(&path(id, "")).await)?;
    }
    done.end()
}

/// What became of several webhooks; one that is refused stops no other.
struct Done {
    count: usize,
    of: usize,
    failed: Option<Failure>,
}

impl Done {
    fn of(ids: &[String]) -> Done {
        Done { count: 0, of: ids.len(), failed: None }
    }

    fn note(&mut self, place: &Place, id: &str, what: &str, came: Result<Value, Failure>) -> io::Result<()> {
        match came {
            Ok(answer) => {
                self.count += 1;
                match (place.json, &answer) {
                    (false, _) => say(format_args!("{}: {what}", plain(id)))?,
                    (true, Value::Null) => {}
                    (true, answer) => say(answer)?,
                }
            }
            Err(failure) => {
                writeln!(io::stderr(), "{}: {}", plain(id), failure.text)?;
                self.failed = Some(failure);
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        let text = format!("done: {} of {}", self.count, self.of);
        self.failed.map_or(Ok(()), |failure| Err(Failure { text, ..failure }))
    }
}
