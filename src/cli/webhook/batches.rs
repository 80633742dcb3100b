//! What was sent to a webhook: its batches, and sending events again.

use super::settings::Filter;
use super::{path, rows, show};
use crate::cli::api_client::{Client, Place, piece};
use crate::cli::table::{fields, plain, table, text};
use crate::cli::{Failure, USAGE, say};
use serde_json::{Map, Value, json};

/// Most batches that the gateway tells at a time.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Of which webhook
    id: String,
    /// queued, deferred, sending, held, failed or delivered
    #[arg(long)]
    state: Option<String>,
    /// Made at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Made before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most batches
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

impl List {
    pub(super) async fn run(&self, client: &mut Client, place: &Place) -> Result<(), Failure> {
        let asked = [("state", &self.state), ("since", &self.since), ("until", &self.until)];
        let (mut batches, mut next) = (Vec::new(), String::new());
        while batches.len() < self.limit {
            let limit = (self.limit - batches.len()).min(PAGE);
            let mut path = path(&self.id, &format!("/batches?limit={limit}"));
            for (name, value) in asked {
                path.extend(value.iter().map(|value| format!("&{name}={}", piece(value))));
            }
            if !next.is_empty() {
                path.push_str(&format!("&cursor={next}"));
            }
            let page = client.get(&path).await?;
            batches.extend(page.get("batches").and_then(Value::as_array).cloned().unwrap_or_default());
            next = text(&page, "next");
            if next.is_empty() {
                break;
            }
        }
        let answer = json!({ "batches": batches, "next": (!next.is_empty()).then_some(next) });
        if place.json {
            return Ok(say(answer)?);
        }
        let columns =
            ["batch_id", "created_at", "state", "events", "attempts", "response_code", "failure_code"];
        let rows = rows(&answer, "batches", columns);
        Ok(say(table(["BATCH", "CREATED", "STATE", "EVENTS", "TRIES", "RESPONSE", "FAILURE"], &rows))?)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Of which webhook
    id: String,
    /// Which
    batch: String,
    /// Print its body alone, as it is sent
    #[arg(long)]
    body: bool,
}

impl One {
    pub(super) async fn run(&self, client: &mut Client, place: &Place) -> Result<(), Failure> {
        let mut batch = client.get(&path(&self.id, &format!("/batches/{}", piece(&self.batch)))).await?;
        if place.json && !self.body {
            return Ok(say(batch)?);
        }
        let body = text(&batch, "body");
        if self.body {
            return Ok(say(body)?);
        }
        let columns = ["number", "started_at", "duration", "status", "reason", "response"];
        let attempts = rows(&batch, "attempt_list", columns);
        if let Some(batch) = batch.as_object_mut() {
            batch.retain(|name, _| name != "attempt_list" && name != "body");
        }
        say(fields(&batch))?;
        if !attempts.is_empty() {
            let heads = ["TRY", "BEGUN", "SECONDS", "STATUS", "REASON", "RESPONSE"];
            say(format_args!("\n{}", table(heads, &attempts)))?;
        }
        let lines = body.lines().map(plain).collect::<Vec<_>>().join("\n");
        Ok(say(format_args!("\n{lines}"))?)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// To which webhook
    id: String,
    /// Events of this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events of these names of those that the webhook wants
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All that there are
    #[arg(long)]
    all: bool,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
}

impl Replay {
    pub(super) async fn run(&self, client: &mut Client, place: &Place) -> Result<(), Failure> {
        let mut filter = self.filter.fields();
        filter.extend((!self.events.is_empty()).then(|| ("events".to_owned(), json!(self.events))));
        let named = filter.len() + usize::from(self.since.is_some()) + usize::from(self.until.is_some());
        if (named > 0) == self.all {
            let text = "say which events by --since, --until, --event or another filter, or say --all";
            return Err(Failure::new(USAGE, text));
        }
        let mut asked = Map::from_iter([("filter".to_owned(), Value::Object(filter))]);
        let times = [("since", &self.since), ("until", &self.until)];
        asked.extend(
            times
                .into_iter()
                .filter_map(|(name, time)| Some((name.to_owned(), Value::from(time.as_deref()?)))),
        );
        asked.extend([("all".to_owned(), self.all.into()), ("dry_run".to_owned(), self.dry_run.into())]);
        let answer = client.post(&path(&self.id, "/replay"), Some(&Value::Object(asked))).await?;
        if place.json {
            return Ok(say(answer)?);
        }
        Ok(say(format_args!("{} events", text(&answer, "count")))?)
    }
}

/// Lists what is sent again.
pub(super) async fn replays(client: &mut Client, place: &Place, id: &str) -> Result<(), Failure> {
    let answer = client.get(&path(id, "/replays")).await?;
    if place.json {
        return show(place, &answer);
    }
    let rows = rows(&answer, "replays", ["id", "created_at", "state", "looked_at", "since", "until"]);
    Ok(say(table(["ID", "CREATED", "STATE", "LOOKED AT", "SINCE", "UNTIL"], &rows))?)
}
