//! `POST /commands`: the verbs of the command line as one line of text, for those who
//! steer PowerMTA so. Its names mean what there is of it here.
//!
//! A command does what another call of the API does, and may do no more than that: it is
//! carried out by the same handler, for the same caller.

use super::ask::{Actions, Asked, Given, Nothing, Pause, Reroute};
use super::caller::Caller;
use super::desk::Desk;
use super::destinations::{self, Purge};
use super::filter::Page;
use super::problem::{Problem, json};
use super::status;
use super::{config, posts, transcript};
use crate::intake::Role;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The body of `POST /commands`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    command: String,
}

/// What there is: how it is written, and what it means.
const COMMANDS: [(&str, Verb); 33] = [
    ("status", Verb::Status),
    ("show status", Verb::Status),
    ("show version", Verb::Status),
    ("destination list", Verb::Destinations),
    ("show queues", Verb::Destinations),
    ("show domains", Verb::Destinations),
    ("destination pause", Verb::Pause),
    ("pause destination", Verb::Pause),
    ("pause queue", Verb::Pause),
    ("destination resume", Verb::Resume),
    ("resume destination", Verb::Resume),
    ("resume queue", Verb::Resume),
    ("destination flush", Verb::Flush),
    ("flush destination", Verb::Flush),
    ("schedule", Verb::Flush),
    ("destination purge", Verb::Purge),
    ("purge destination", Verb::Purge),
    ("queue list", Verb::List),
    ("list", Verb::List),
    ("queue show", Verb::Show),
    ("queue retry", Verb::Act("retry")),
    ("queue hold", Verb::Act("hold")),
    ("queue release", Verb::Act("release")),
    ("queue delete", Verb::Act("delete")),
    ("delete", Verb::Act("delete")),
    ("queue reroute", Verb::Act("reroute")),
    ("trace", Verb::Trace),
    ("reload", Verb::Reload),
    ("check", Verb::Check),
    ("test config", Verb::Check),
    ("show settings", Verb::Config),
    ("config show", Verb::Config),
    ("version", Verb::Status),
];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Status,
    Destinations,
    Pause,
    Resume,
    Flush,
    Purge,
    List,
    Show,
    Act(&'static str),
    Trace,
    Reload,
    Check,
    Config,
}

/// A command, read.
#[derive(Debug, PartialEq)]
struct Command {
    verb: Verb,
    /// What stands behind it.
    names: Vec<String>,
    /// `--name value`, `--name=value` and `--name`, by the names of the API.
    options: Map<String, Value>,
}

/// `POST /commands`
pub(super) async fn run(
    State(desk): State<Desk>,
    caller: Caller,
    Given(Line { command }): Given<Line>,
) -> Result<Response, Problem> {
    let command = read(&command)?;
    let answers = carry_out(&desk, &caller, command).await?;
    let mut data = Vec::new();
    for answer in answers {
        data.push(value(answer).await?);
    }
    let data = if data.len() == 1 { data.pop().unwrap_or_default() } else { Value::Array(data) };
    Ok(json(StatusCode::OK, &status::envelope(data)))
}

/// What a handler answered: JSON, or text.
async fn value(answer: Response) -> Result<Value, Problem> {
    let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost");
    let octets = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&octets).into_owned());
    Ok(serde_json::from_slice(&octets).unwrap_or_else(|_| text()))
}

async fn carry_out(desk: &Desk, caller: &Caller, command: Command) -> Result<Vec<Response>, Problem> {
    let Command { verb, names, options } = command;
    let (state, who) = (|| State(desk.clone()), || caller.clone());
    let admin = || match caller.role {
        Role::Admin => Ok(()),
        _ => Err(Problem::new(StatusCode::FORBIDDEN, "this command needs a key of the role admin")),
    };
    let nothing = || Asked(Nothing {});
    let one = match verb {
        Verb::Pause | Verb::Resume | Verb::Flush | Verb::Purge => {
            return each_origin(desk, caller, verb, names, options).await;
        }
        Verb::Act(action) => return act(desk, caller, action, names, options).await,
        Verb::Show | Verb::Trace => {
            let mut answers = Vec::new();
            for name in some(names, "ID")? {
                answers.push(match verb {
                    Verb::Show => posts::show(state(), who(), Path(name), nothing()).await?,
                    _ => transcript::show(state(), who(), Path(name), nothing()).await?,
                });
            }
            return Ok(answers);
        }
        Verb::Status => status::show(state(), who(), Asked(given(options)?)).await?,
        Verb::Destinations => destinations::list(state(), who(), nothing()).await?,
        Verb::List => posts::list(state(), who(), Asked(given::<Page>(options)?)).await?,
        Verb::Reload => {
            admin()?;
            config::reload(state(), nothing()).await?
        }
        Verb::Check => {
            admin()?;
            config::check(state(), nothing(), Ok(axum::body::Bytes::new())).await?
        }
        Verb::Config => {
            admin()?;
            config::read(state(), nothing()).await?
        }
    };
    match names.first() {
        None => Ok(vec![one]),
        Some(name) => Err(wrong(format!("{name:?} means nothing here"))),
    }
}

async fn each_origin(
    desk: &Desk,
    caller: &Caller,
    verb: Verb,
    names: Vec<String>,
    options: Map<String, Value>,
) -> Result<Vec<Response>, Problem> {
    let mut answers = Vec::new();
    for name in some(names, "ORIGIN")? {
        let (state, who, path, options) = (State(desk.clone()), caller.clone(), Path(name), options.clone());
        answers.push(match verb {
            Verb::Pause => destinations::pause(state, who, path, Given(given::<Pause>(options)?)).await?,
            Verb::Resume => destinations::resume(state, who, path, Given(given::<Nothing>(options)?)).await?,
            Verb::Flush => destinations::flush(state, who, path, Given(given::<Nothing>(options)?)).await?,
            _ => destinations::purge(state, who, path, Given(given::<Purge>(options)?)).await?,
        });
    }
    Ok(answers)
}

/// Does something to posts by their ids, or to all that a filter means.
async fn act(
    desk: &Desk,
    caller: &Caller,
    action: &'static str,
    names: Vec<String>,
    mut options: Map<String, Value>,
) -> Result<Vec<Response>, Problem> {
    if names.is_empty() {
        let mut asked = Map::new();
        for name in ["all", "dry_run", "url"] {
            asked.extend(options.remove(name).map(|value| (name.to_owned(), value)));
        }
        asked.insert("action".to_owned(), action.into());
        asked.insert("filter".to_owned(), options.into());
        let actions = Given(given::<Actions>(asked)?);
        return Ok(vec![posts::act(State(desk.clone()), caller.clone(), actions).await?]);
    }
    let mut answers = Vec::new();
    for name in names {
        let (state, who, path) = (State(desk.clone()), caller.clone(), Path(name));
        if action == "reroute" {
            answers.push(posts::reroute(state, who, path, Given(given::<Reroute>(options.clone())?)).await?);
            continue;
        }
        let plain = Given(given::<Nothing>(options.clone())?);
        answers.push(match action {
            "retry" => posts::retry(state, who, path, plain).await?,
            "hold" => posts::hold(state, who, path, plain).await?,
            "release" => posts::release(state, who, path, plain).await?,
            _ => posts::delete(state, who, path, plain).await?,
        });
    }
    Ok(answers)
}

fn some(names: Vec<String>, what: &str) -> Result<Vec<String>, Problem> {
    if names.is_empty() { Err(wrong(format!("write {what} behind it"))) } else { Ok(names) }
}

fn wrong(detail: String) -> Problem {
    Problem::bad_field("command", detail)
}

/// Options as the call has them in its query or body.
fn given<T: DeserializeOwned>(options: Map<String, Value>) -> Result<T, Problem> {
    serde_json::from_value(options.into()).map_err(|error| wrong(error.to_string()))
}

/// PowerMTA's names of what a filter has.
const NAMES: [(&str, &str); 4] =
    [("queue", "destination"), ("orig", "sender"), ("rcpt", "recipient"), ("maxitems", "limit")];

/// Options that stand alone.
const FLAGS: [&str; 2] = ["all", "dry_run"];

fn read(line: &str) -> Result<Command, Problem> {
    let words = words(line).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
    let begins = |text: &str| {
        let name: Vec<_> = text.split(' ').collect();
        let is_it = words.len() >= name.len() && name.iter().zip(&words).all(|(name, word)| name == word);
        is_it.then_some(name.len())
    };
    let found = COMMANDS.iter().find_map(|(text, verb)| Some((begins(text)?, *verb)));
    let Some((length, verb)) = found else {
        let known = COMMANDS.map(|(text, _)| text).join(", ");
        return Err(wrong(format!("there is no such command; there are: {known}")));
    };
    let (mut names, mut options) = (Vec::new(), Map::new());
    let mut rest = words.into_iter().skip(length);
    while let Some(word) = rest.next() {
        let Some(option) = word.strip_prefix("--") else {
            names.push(word);
            continue;
        };
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let name = name.replace('-', "_");
        let name =
            NAMES.iter().find(|(other, _)| *other == name).map_or(name.clone(), |(_, own)| (*own).to_owned());
        let value = match value {
            Some(value) => Value::from(value),
            None if FLAGS.contains(&name.as_str()) => Value::Bool(true),
            None => Value::from(rest.next().ok_or_else(|| wrong(format!("--{name} has no value")))?),
        };
        if options.insert(name.clone(), value).is_some() {
            return Err(wrong(format!("--{name} stands there twice")));
        }
    }
    Ok(Command { verb, names, options })
}

/// Words between blanks; quotes keep blanks in one. Nothing when a quote is open.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for char in line.chars() {
        match quote {
            Some(open) if char == open => quote = None,
            None if char == '"' || char == '\'' => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            None if char.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_read_as_a_shell_would() {
        for (line, verb, names, options) in [
            ("pause destination https://x", Verb::Pause, vec!["https://x"], json!({})),
            (
                " destination  pause https://x --reason 'moving  house' ",
                Verb::Pause,
                vec!["https://x"],
                json!({ "reason": "moving  house" }),
            ),
            ("list --orig=a@b --maxitems 5", Verb::List, vec![], json!({ "sender": "a@b", "limit": "5" })),
            (
                "delete --queue * --dry-run",
                Verb::Act("delete"),
                vec![],
                json!({ "destination": "*", "dry_run": true }),
            ),
            ("queue retry 1 2", Verb::Act("retry"), vec!["1", "2"], json!({})),
            ("show \"status\"", Verb::Status, vec![], json!({})),
        ] {
            let Value::Object(options) = options else { unreachable!() };
            let names = names.into_iter().map(str::to_owned).collect();
            assert_eq!(read(line).unwrap(), Command { verb, names, options }, "{line}");
        }
        for line in ["", "pause", "pauses destination x", "list --tag", "list --tag a --tag b", "list 'x"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
