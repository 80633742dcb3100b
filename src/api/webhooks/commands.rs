//! What `POST /commands` says of webhooks, carried out by the calls for them.

use super::super::ask::{Asked, Given, Nothing};
use super::super::caller::Caller;
use super::super::commands::{Answers, given, some, wrong};
use super::super::desk::Desk;
use super::super::problem::Problem;
use super::{batches, replay, trial};
use crate::fanout::shelf::ShelfError;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use serde_json::{Map, Value};

/// Names of the command line with those of the calls.
const NAMES: [(&str, &str); 1] = [("event", "eventType")];

/// Does what a command says of webhooks: `what` is its verb.
pub(in crate::api) async fn about_webhooks(
    (desk, caller): (&Desk, &Caller),
    what: &str,
    (names, mut options): (Vec<String>, Map<String, Value>),
    answers: &mut Answers,
) -> Result<(), Problem> {
    let (state, who) = (|| State(desk.clone()), || caller.clone());
    if let ("list" | "check", false) = (what, names.is_empty()) {
        return Err(wrong(format!("webhook {what} is about all")));
    }
    match what {
        "list" => return answers.push(super::list(state(), who(), Asked(given(options)?)).await?).await,
        "check" => return answers.push(trial::check(state(), who(), Given(given(options)?)).await?).await,
        "verify" | "batch" => {
            let [id, other] = two(names, if what == "verify" { "ID WAY" } else { "ID BATCH" })?;
            if what == "batch" {
                let path = Path((id, other));
                return answers
                    .push(batches::show(state(), who(), path, Asked(given(options)?)).await?)
                    .await;
            }
            options.insert("way".to_owned(), other.into());
            return answers
                .push(trial::verify(state(), who(), Path(id), Given(given(options)?)).await?)
                .await;
        }
        _ => {}
    }
    let names = some(names, "ID")?;
    for id in &names {
        check((desk, caller), what, id).await?;
    }
    for id in names {
        let answer = one((desk, caller), what, id.clone(), options.clone()).await;
        match what {
            "show" | "batches" | "replays" => answers.push(answer?).await?,
            _ => answers.note(&id, answer).await?,
        }
    }
    Ok(())
}

/// Whether a command may mean this webhook.
async fn check((desk, caller): (&Desk, &Caller), what: &str, id: &str) -> Result<(), Problem> {
    let placed = desk.webhooks()?.shelf.one(id, caller.tenant.as_ref()).await?;
    match what {
        "delete" | "enable" | "disable" | "rotate-secret" if placed.version.is_none() => {
            Err(ShelfError::Fixed.into())
        }
        _ => Ok(()),
    }
}

/// What is said of one webhook.
async fn one(
    (desk, caller): (&Desk, &Caller),
    what: &str,
    id: String,
    options: Map<String, Value>,
) -> Result<Response, Problem> {
    let (state, who, path, none) = (State(desk.clone()), caller.clone(), Path(id), HeaderMap::new);
    match what {
        "show" => super::show(state, who, path, none(), Asked(given(options)?)).await,
        "delete" => super::delete(state, who, path, none(), Asked(given(options)?)).await,
        "enable" | "disable" => {
            given::<Nothing>(options)?;
            let patch = Map::from_iter([("enabled".to_owned(), Value::Bool(what == "enable"))]);
            super::change(state, who, path, none(), Given(patch)).await
        }
        "test" => trial::test(state, who, path, Given(given(renamed(options))?)).await,
        "rotate-secret" => super::rotate(state, who, path, none(), Given(given(options)?)).await,
        "batches" => batches::list(state, who, path, Asked(given(options)?)).await,
        "replay" => replay::begin(state, who, path, Given(given(gathered(options))?)).await,
        _ => replay::list(state, who, path, Asked(Nothing {})).await,
    }
}

fn two(names: Vec<String>, what: &str) -> Result<[String; 2], Problem> {
    <[String; 2]>::try_from(names).map_err(|_| wrong(format!("write {what} behind it")))
}

/// Options under the names that the call has.
fn renamed(options: Map<String, Value>) -> Map<String, Value> {
    let name = |name: String| {
        NAMES.iter().find(|(own, _)| *own == name).map_or(name, |(_, other)| (*other).to_owned())
    };
    options.into_iter().map(|(own, value)| (name(own), value)).collect()
}

/// What says which events is a filter in the body of a call.
fn gathered(mut options: Map<String, Value>) -> Map<String, Value> {
    let mut filter = Map::new();
    for (own, name) in
        [("event", "events"), ("tag", "tag"), ("destination", "destination"), ("recipient", "recipient")]
    {
        let value = options.remove(own);
        filter.extend(value.map(|value| {
            (name.to_owned(), if own == "event" { [value].into_iter().collect() } else { value })
        }));
    }
    options.insert("filter".to_owned(), Value::Object(filter));
    options
}
