//! `POST /commands`: the verbs of the command line as one line of text, for those who
//! steer PowerMTA so. Its names mean what there is of it here.
//!
//! A command does what another call of the API does, and may do no more than that: it is
//! carried out by the same handler, for the same caller. Which there are is in `verbs`, how
//! they are written in `line`.

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
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
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

/// Octets of answers, beyond the first, that are put together.
const ROOM: usize = 1 << 20;

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
    let Answers { mut data, .. } = answers;
    let data = if data.len() == 1 { data.pop().unwrap_or_default() } else { Value::Array(data) };
    Ok(json(StatusCode::OK, &status::envelope(data)))
}

/// What handlers answered, as far as there is room for it.
#[derive(Default)]
pub(super) struct Answers {
    data: Vec<Value>,
    octets: usize,
}

impl Answers {
    /// Takes one: JSON, or text. The first may be of any size.
    pub async fn push(&mut self, answer: Response) -> Result<(), Problem> {
        let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost");
        let octets = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        self.octets += octets.len();
        if self.octets > ROOM && !self.data.is_empty() {
            return Err(wrong("its answers are too long for one; name fewer at a time".to_owned()));
        }
        let text = || Value::String(String::from_utf8_lossy(&octets).into_owned());
        self.data.push(serde_json::from_slice(&octets).unwrap_or_else(|_| text()));
        Ok(())
    }
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
            for name in some(names, "JOB")? {
                let mut options = options.clone();
                if options.insert("job".to_owned(), name.into()).is_some() {
                    return Err(wrong("--jobId says what JOB does; leave it out".to_owned()));
                }
                act((desk, caller), action, Vec::new(), options, answers).await?;
            }
            return Ok(());
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
    for name in some(names, "ORIGIN")? {
        let (state, who, path, options) = (State(desk.clone()), caller.clone(), Path(name), options.clone());
        let answer = match verb {
            Verb::Pause => destinations::pause(state, who, path, Given(given::<Reason>(options)?)).await?,
            Verb::Resume => destinations::resume(state, who, path, Given(given::<Nothing>(options)?)).await?,
            Verb::BackOff => {
                destinations::back_off(state, who, path, Given(given::<Reason>(options)?)).await?
            }
            Verb::Recover => {
                destinations::recover(state, who, path, Given(given::<Nothing>(options)?)).await?
            }
            Verb::Flush => destinations::flush(state, who, path, Given(given::<Nothing>(options)?)).await?,
            _ => destinations::purge(state, who, path, Given(given::<Purge>(options)?)).await?,
        };
        answers.push(answer).await?;
    }
    Ok(())
}

/// Does something to posts by their ids, or to all that a filter means.
async fn act(
    (desk, caller): (&Desk, &Caller),
    action: &'static str,
    names: Vec<String>,
    mut options: Map<String, Value>,
    answers: &mut Answers,
) -> Result<(), Problem> {
    if names.is_empty() {
        let mut asked = Map::new();
        for name in ["all", "dry_run", "url"] {
            asked.extend(options.remove(name).map(|value| (name.to_owned(), value)));
        }
        asked.insert("action".to_owned(), action.into());
        asked.insert("filter".to_owned(), options.into());
        let actions = Given(given::<Actions>(asked)?);
        return answers.push(posts::act(State(desk.clone()), caller.clone(), actions).await?).await;
    }
    for name in names {
        let (state, who, path) = (State(desk.clone()), caller.clone(), Path(name));
        let options = options.clone();
        let plain = || given::<Nothing>(options.clone()).map(Given);
        let answer = match action {
            "reroute" => posts::reroute(state, who, path, Given(given::<Reroute>(options)?)).await?,
            "retry" => posts::retry(state, who, path, plain()?).await?,
            "hold" => posts::hold(state, who, path, plain()?).await?,
            "release" => posts::release(state, who, path, plain()?).await?,
            _ => posts::delete(state, who, path, plain()?).await?,
        };
        answers.push(answer).await?;
    }
    Ok(())
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
