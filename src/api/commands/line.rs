//! A command as it is written: words, and options by the names of the API.

use super::super::problem::Problem;
use super::verbs::{self, Verb};
use super::wrong;
use crate::clock::rfc3339;
use crate::post::Timestamp;
use crate::units;
use serde_json::{Map, Value};

/// A command, read.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub verb: Verb,
    /// What stands behind it.
    pub names: Vec<String>,
    /// `--name value`, `--name=value` and `--name`, by the names of the API.
    pub options: Map<String, Value>,
}

/// PowerMTA's names of what a filter has, whatever their case.
const NAMES: [(&str, &str); 6] = [
    ("queue", "destination"),
    ("orig", "sender"),
    ("rcpt", "recipient"),
    ("jobId", "job"),
    ("envId", "xs_message_id"),
    ("maxitems", "limit"),
];

/// Options that stand alone.
const FLAGS: [&str; 6] = ["all", "dry_run", "paused", "errors", "connected", "retry_recipients"];

/// Options of PowerMTA's that mean nothing here: why, or what to write instead.
const ABSENT: [(&str, &str); 5] = [
    ("pause", "write --state held for posts that are held"),
    ("priority", "each post is listed with its priority"),
    ("schedule", "each post is listed with its next_attempt_at"),
    ("dsn", "no report is sent of what somebody deletes"),
    ("no_accounting", "every end is accounted for; [accounting] filter leaves records out"),
];

/// Reads a line; `now` is what times in it count from.
pub(super) fn read(line: &str, now: Timestamp) -> Result<Command, Problem> {
    let words = words(line).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
    let (length, verb) = verbs::find(&words)?;
    let (mut names, mut options) = (Vec::new(), Map::new());
    let mut rest = words.into_iter().skip(length);
    while let Some(word) = rest.next() {
        let Some(option) = word.strip_prefix("--") else {
            names.push(word);
            continue;
        };
        let (written, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let name = own(&written.replace('-', "_"));
        if let Some((_, why)) = ABSENT.iter().find(|(other, _)| *other == name) {
            return Err(wrong(format!("--{written} means nothing here: {why}")));
        }
        let value = match value {
            Some(value) => Value::from(value),
            None if FLAGS.contains(&name.as_str()) => Value::Bool(true),
            None => Value::from(rest.next().ok_or_else(|| wrong(format!("--{written} has no value")))?),
        };
        let (name, value) =
            if name == "older_than" { ("until".to_owned(), before(&value, now)?) } else { (name, value) };
        if options.insert(name, value).is_some() {
            return Err(wrong(format!("--{written} stands there twice, or says what another option does")));
        }
    }
    Ok(Command { verb, names, options })
}

/// An option by the name that the API has for it.
fn own(name: &str) -> String {
    let known = NAMES.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    known.map_or(name, |(_, own)| own).to_owned()
}

/// The time before which posts are older than that.
fn before(age: &Value, now: Timestamp) -> Result<Value, Problem> {
    let age = age.as_str().and_then(units::age);
    let age = age.ok_or_else(|| wrong("--older-than is a time such as 30m, 2d or 1d12h".to_owned()))?;
    Ok(rfc3339(now.before(age)).into())
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

    /// 2026-01-31T12:00:00Z
    const NOW: Timestamp = Timestamp(1_769_860_800_000);

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
            (
                "list --orig=a@b --maxitems 5",
                Verb::List(100),
                vec![],
                json!({ "sender": "a@b", "limit": "5" }),
            ),
            (
                "list --jobid=spring --envId 17",
                Verb::List(100),
                vec![],
                json!({ "job": "spring", "xs_message_id": "17" }),
            ),
            (
                "delete --queue * --dry-run",
                Verb::Act("delete"),
                vec![],
                json!({ "destination": "*", "dry_run": true }),
            ),
            (
                "delete --rcpt *@b --older-than=1d12h",
                Verb::Act("delete"),
                vec![],
                json!({ "recipient": "*@b", "until": "2026-01-30T00:00:00.000Z" }),
            ),
            (
                "show topqueues --paused --maxitems=3",
                Verb::Foremost,
                vec![],
                json!({ "paused": true, "limit": "3" }),
            ),
            (
                "set queue https://x --mode=backoff",
                Verb::Mode,
                vec!["https://x"],
                json!({ "mode": "backoff" }),
            ),
            ("pause job spring", Verb::Job("hold"), vec!["spring"], json!({})),
            ("queue retry 1 2", Verb::Act("retry"), vec!["1", "2"], json!({})),
            ("show \"status\"", Verb::Status, vec![], json!({})),
        ] {
            let Value::Object(options) = options else { unreachable!() };
            let names = names.into_iter().map(str::to_owned).collect();
            assert_eq!(read(line, NOW).unwrap(), Command { verb, names, options }, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (line, said) in [
            ("", "there are: status"),
            ("pause", "there are: status"),
            ("pauses destination x", "there are: status"),
            ("list --tag", "no value"),
            ("list --tag a --tag b", "twice"),
            ("list --until 2026-01-31T12:00:00Z --older-than 2d", "another option"),
            ("list --older-than yesterday", "such as 30m"),
            ("list --pause", "--state held"),
            ("delete --jobId spring --dsn", "no report"),
            ("list 'x", "not closed"),
        ] {
            let refused = format!("{:?}", read(line, NOW).unwrap_err());
            assert!(refused.contains(said), "{line}: {refused}");
        }
    }
}
