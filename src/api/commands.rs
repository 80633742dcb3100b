//! `POST /commands`: the verbs of the command line as one line of text, for those who
//! steer PowerMTA so. Its names mean what there is of it here.
//!
//! A command does what another call of the API does, and may do no more than that: it is
//! carried out by the same handler, for the same caller. Which there are is in `verbs`, how
//! they are written in `line`, and what several names come to in `answers`.
//!
//! All names are looked at before anything is done: a command that cannot be meant does
//! nothing.

mod answers;
mod line;
mod verbs;

use super::ask::{Actions, Asked, Given, Nothing, Reason, Reroute};
use super::caller::Caller;
use super::desk::Desk;
use super::destinations::{self, Listing, Purge};
use super::filter::Page;
use super::problem::{Problem, json};
use super::status;
use super::webhooks::commands::about_webhooks;
use super::{accounting, config, posts, transcript};
use crate::clock;
use crate::intake::Role;
pub(super) use answers::Answers;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use line::Command;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use verbs::Verb;

/// The body of `POST /commands`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    #[schemars(extend("examples" = ["status", "pause destination https://shop.example"]))]
    command: String,
}

/// Most ids or origins of a command.
const MOST: usize = 100;

/// Destinations that are told of as the foremost, when nothing else is said.
const FOREMOST: &str = "20";

/// `POST /commands`
pub(super) async fn run(
    State(desk): State<Desk>,
    caller: Caller,
    Given(Line { command }): Given<Line>,
) -> Result<Response, Problem> {
    let command = line::read(&command, clock::wall())?;
    if command.names.len() > MOST {
        return Err(wrong(format!("it names more than {MOST}; name fewer, or say which by a filter")));
    }
    let mut answers = Answers::default();
    carry_out(&desk, &caller, command, &mut answers).await?;
    Ok(json(StatusCode::OK, &answers.envelope()))
}

async fn carry_out(
    desk: &Desk,
    caller: &Caller,
    command: Command,
    answers: &mut Answers,
) -> Result<(), Problem> {
    let Command { verb, names, mut options } = command;
    if let (false, Some(name)) = (verb.takes_names(), names.first()) {
        return Err(wrong(format!("{name:?} means nothing here")));
    }
    let (state, who) = (|| State(desk.clone()), || caller.clone());
    let one = match verb {
        Verb::Pause
        | Verb::Resume
        | Verb::Flush
        | Verb::BackOff
        | Verb::Recover
        | Verb::Mode
        | Verb::Purge => {
            return each_origin((desk, caller), verb, names, options, answers).await;
        }
        Verb::Destinations | Verb::Foremost => {
            return look((desk, caller), verb, (names, options), answers).await;
        }
        Verb::Act(action) => return act((desk, caller), action, names, options, answers).await,
        Verb::Job(action) => {
            return act_on_jobs((desk, caller), action, (names, options), answers).await;
        }
        Verb::Webhook(what) => return about_webhooks((desk, caller), what, (names, options), answers).await,
        Verb::Show | Verb::Trace => {
            given::<Nothing>(options)?;
            for name in some(names, "ID")? {
                let answer = match verb {
                    Verb::Show => posts::show(state(), who(), Path(name), Asked(Nothing {})).await?,
                    _ => transcript::show(state(), who(), Path(name), Asked(Nothing {})).await?,
                };
                answers.push(answer).await?;
            }
            return Ok(());
        }
        Verb::Status => status::show(state(), who(), Asked(given(options)?)).await?,
        Verb::List(usual) => {
            options.entry("limit").or_insert_with(|| usual.to_string().into());
            posts::list(state(), who(), Asked(given::<Page>(options)?)).await?
        }
        Verb::Reload | Verb::Check | Verb::Config | Verb::Rotate => {
            steer_house((desk, caller), verb, options).await?
        }
    };
    answers.push(one).await
}

/// What is for admins alone.
async fn steer_house(
    (desk, caller): (&Desk, &Caller),
    verb: Verb,
    options: Map<String, Value>,
) -> Result<Response, Problem> {
    if caller.role != Role::Admin {
        return Err(Problem::new(StatusCode::FORBIDDEN, "this command needs a key of the role admin"));
    }
    let state = State(desk.clone());
    let nothing: Nothing = given(options)?;
    match verb {
        Verb::Reload => config::reload(state, Asked(nothing)).await,
        Verb::Check => config::check(state, Asked(nothing), Ok(axum::body::Bytes::new())).await,
        Verb::Config => config::read(state, Asked(nothing)).await,
        _ => accounting::rotate(state, Given(nothing)).await,
    }
}

/// How destinations do: all of them, or those of origins.
async fn look(
    (desk, caller): (&Desk, &Caller),
    verb: Verb,
    (names, mut options): (Vec<String>, Map<String, Value>),
    answers: &mut Answers,
) -> Result<(), Problem> {
    if verb == Verb::Foremost {
        options.entry("limit").or_insert_with(|| FOREMOST.into());
        options.entry("sort").or_insert_with(|| "rcpt".into());
    }
    let asked = chosen(options)?;
    let (state, who, listing) =
        (|| State(desk.clone()), || caller.clone(), || given::<Listing>(asked.clone()).map(Asked));
    if names.is_empty() {
        return answers.push(destinations::list(state(), who(), listing()?).await?).await;
    }
    for name in names {
        answers.push(destinations::show(state(), who(), Path(name), listing()?).await?).await?;
    }
    Ok(())
}

/// PowerMTA's choice of queues as the call for destinations has it.
fn chosen(options: Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let mut asked = Map::new();
    for (name, value) in options {
        let (name, value) = match (name.as_str(), value.as_str()) {
            ("paused" | "errors" | "connected", None) => ("only", Value::from(name)),
            ("mode", Some("normal" | "backoff")) => ("only", value),
            ("mode", _) => return Err(wrong("--mode is normal or backoff".to_owned())),
            ("sort", Some("name")) => ("order", value),
            ("sort", Some("rcpt")) => ("order", "fullest".into()),
            ("sort", _) => {
                return Err(wrong(
                    "--sort is name or rcpt; octets are not counted by destination".to_owned(),
                ));
            }
            ("limit", Some(text)) => ("limit", text.parse::<usize>().map_or(value.clone(), Value::from)),
            (name, _) => (name, value.clone()),
        };
        if asked.insert(name.to_owned(), value).is_some() {
            return Err(wrong(
                "one of --paused, --mode, --errors and --connected at a time, and one order".to_owned(),
            ));
        }
    }
    Ok(asked)
}

async fn each_origin(
    (desk, caller): (&Desk, &Caller),
    verb: Verb,
    names: Vec<String>,
    mut options: Map<String, Value>,
    answers: &mut Answers,
) -> Result<(), Problem> {
    let verb = match verb {
        Verb::Mode => match options.remove("mode").as_ref().and_then(Value::as_str) {
            Some("normal") => Verb::Recover,
            Some("backoff") => Verb::BackOff,
            _ => return Err(wrong("write --mode=normal or --mode=backoff behind it".to_owned())),
        },
        Verb::Flush => {
            // Whoever waits for another attempt is tried with its destination.
            options.remove("retry_recipients");
            verb
        }
        verb => verb,
    };
    let names = some(names, "ORIGIN")?;
    for name in &names {
        destinations::check(name, caller)?;
        if verb == Verb::Purge {
            given::<Purge>(options.clone())?.check(name)?;
        }
    }
    for name in names {
        answers.note(&name, steer((desk, caller), verb, name.clone(), options.clone()).await).await?;
    }
    Ok(())
}

/// Does something to the destinations of one origin.
async fn steer(
    (desk, caller): (&Desk, &Caller),
    verb: Verb,
    name: String,
    options: Map<String, Value>,
) -> Result<Response, Problem> {
    let (state, who, path) = (State(desk.clone()), caller.clone(), Path(name));
    match verb {
        Verb::Pause => destinations::pause(state, who, path, Given(given::<Reason>(options)?)).await,
        Verb::Resume => destinations::resume(state, who, path, Given(given::<Nothing>(options)?)).await,
        Verb::BackOff => destinations::back_off(state, who, path, Given(given::<Reason>(options)?)).await,
        Verb::Recover => destinations::recover(state, who, path, Given(given::<Nothing>(options)?)).await,
        Verb::Flush => destinations::flush(state, who, path, Given(given::<Nothing>(options)?)).await,
        _ => destinations::purge(state, who, path, Given(given::<Purge>(options)?)).await,
    }
}

/// Does something to posts by their ids, or to all that a filter means.
async fn act(
    (desk, caller): (&Desk, &Caller),
    action: &'static str,
    names: Vec<String>,
    options: Map<String, Value>,
    answers: &mut Answers,
) -> Result<(), Problem> {
    if names.is_empty() {
        let actions = Given(actions(action, options)?);
        return answers.push(posts::act(State(desk.clone()), caller.clone(), actions).await?).await;
    }
    for name in &names {
        desk.find(name, caller).await?;
    }
    for name in names {
        answers.note(&name, act_on_one((desk, caller), action, name.clone(), &options).await).await?;
    }
    Ok(())
}

async fn act_on_one(
    (desk, caller): (&Desk, &Caller),
    action: &'static str,
    name: String,
    options: &Map<String, Value>,
) -> Result<Response, Problem> {
    let (state, who, path) = (State(desk.clone()), caller.clone(), Path(name));
    let plain = || given::<Nothing>(options.clone()).map(Given);
    match action {
        "reroute" => posts::reroute(state, who, path, Given(given::<Reroute>(options.clone())?)).await,
        "retry" => posts::retry(state, who, path, plain()?).await,
        "hold" => posts::hold(state, who, path, plain()?).await,
        "release" => posts::release(state, who, path, plain()?).await,
        _ => posts::delete(state, who, path, plain()?).await,
    }
}

/// Does something to all posts of jobs.
async fn act_on_jobs(
    (desk, caller): (&Desk, &Caller),
    action: &'static str,
    (names, options): (Vec<String>, Map<String, Value>),
    answers: &mut Answers,
) -> Result<(), Problem> {
    let mut jobs = Vec::new();
    for name in some(names, "JOB")? {
        let mut options = options.clone();
        if options.insert("job".to_owned(), name.clone().into()).is_some() {
            return Err(wrong("--jobId says what JOB does; leave it out".to_owned()));
        }
        let actions = actions(action, options)?;
        actions.filter.query(caller.tenant.clone())?;
        jobs.push((name, actions));
    }
    for (name, actions) in jobs {
        let done = posts::act(State(desk.clone()), caller.clone(), Given(actions)).await;
        answers.note(&name, done).await?;
    }
    Ok(())
}

/// What the call for many posts has in its body.
fn actions(action: &'static str, mut options: Map<String, Value>) -> Result<Actions, Problem> {
    let mut asked = Map::new();
    for name in ["all", "dry_run", "url"] {
        asked.extend(options.remove(name).map(|value| (name.to_owned(), value)));
    }
    asked.insert("action".to_owned(), action.into());
    asked.insert("filter".to_owned(), options.into());
    given(asked)
}

pub(super) fn some(names: Vec<String>, what: &str) -> Result<Vec<String>, Problem> {
    if names.is_empty() { Err(wrong(format!("write {what} behind it"))) } else { Ok(names) }
}

pub(super) fn wrong(detail: String) -> Problem {
    Problem::bad_field("command", detail)
}

/// Options as the call has them in its query or body.
pub(super) fn given<T: DeserializeOwned>(options: Map<String, Value>) -> Result<T, Problem> {
    serde_json::from_value(options.into()).map_err(|error| wrong(error.to_string()))
}
