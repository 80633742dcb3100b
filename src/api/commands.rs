//! `POST /commands`: the verbs of the command line as one line of text, for those who
//! steer PowerMTA so. Its names mean what there is of it here.
//!
//! A command does what another call of the API does, and may do no more than that: it is
//! carried out by the same handler, for the same caller.

use super::ask::{Actions, Asked, Given, Nothing, Reason, Reroute};
use super::caller::Caller;
use super::desk::Desk;
use super::destinations::{self, Listing, Purge};
use super::filter::Page;
use super::problem::{Problem, json};
use super::status;
use super::webhooks::commands::about_webhooks;
use super::{config, posts, transcript};
use crate::intake::Role;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The body of `POST /commands`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    #[schemars(extend("examples" = ["status", "pause destination https://shop.example"]))]
    command: String,
}

/// Most ids or origins of a command.
const MOST: usize = 100;

/// Octets of answers, beyond the first, that are put together.
const ROOM: usize = 1 << 20;

/// What there is: how it is written, and what it means.
const COMMANDS: [(&str, Verb); 48] = [
    ("status", Verb::Status),
    ("show status", Verb::Status),
    ("show version", Verb::Status),
    ("destination list", Verb::Destinations),
    ("show queues", Verb::Destinations),
    ("show domains", Verb::Destinations),
    ("show topqueues", Verb::Destinations),
    ("show topdomains", Verb::Destinations),
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
    ("webhook list", Verb::Webhook("list")),
    ("webhook show", Verb::Webhook("show")),
    ("webhook enable", Verb::Webhook("enable")),
    ("webhook disable", Verb::Webhook("disable")),
    ("webhook delete", Verb::Webhook("delete")),
    ("webhook verify", Verb::Webhook("verify")),
    ("webhook test", Verb::Webhook("test")),
    ("webhook check", Verb::Webhook("check")),
    ("webhook rotate-secret", Verb::Webhook("rotate-secret")),
    ("webhook batches", Verb::Webhook("batches")),
    ("webhook batch", Verb::Webhook("batch")),
    ("webhook replay", Verb::Webhook("replay")),
    ("webhook replays", Verb::Webhook("replays")),
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
    Webhook(&'static str),
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
    let Command { verb, names, options } = command;
    let (state, who) = (|| State(desk.clone()), || caller.clone());
    let admin = || match caller.role {
        Role::Admin => Ok(()),
        _ => Err(Problem::new(StatusCode::FORBIDDEN, "this command needs a key of the role admin")),
    };
    let nothing = || Asked(Nothing {});
    let one = match verb {
        Verb::Pause | Verb::Resume | Verb::Flush | Verb::Purge => {
            return each_origin((desk, caller), verb, names, options, answers).await;
        }
        Verb::Act(action) => return act((desk, caller), action, names, options, answers).await,
        Verb::Webhook(what) => return about_webhooks((desk, caller), what, (names, options), answers).await,
        Verb::Show | Verb::Trace => {
            for name in some(names, "ID")? {
                let answer = match verb {
                    Verb::Show => posts::show(state(), who(), Path(name), nothing()).await?,
                    _ => transcript::show(state(), who(), Path(name), nothing()).await?,
                };
                answers.push(answer).await?;
            }
            return Ok(());
        }
        Verb::Status => status::show(state(), who(), Asked(given(options)?)).await?,
        Verb::Destinations => destinations::list(state(), who(), Asked(Listing::default())).await?,
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
        None => answers.push(one).await,
        Some(name) => Err(wrong(format!("{name:?} means nothing here"))),
    }
}

async fn each_origin(
    (desk, caller): (&Desk, &Caller),
    verb: Verb,
    names: Vec<String>,
    options: Map<String, Value>,
    answers: &mut Answers,
) -> Result<(), Problem> {
    for name in some(names, "ORIGIN")? {
        let (state, who, path, options) = (State(desk.clone()), caller.clone(), Path(name), options.clone());
        let answer = match verb {
            Verb::Pause => destinations::pause(state, who, path, Given(given::<Reason>(options)?)).await?,
            Verb::Resume => destinations::resume(state, who, path, Given(given::<Nothing>(options)?)).await?,
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
