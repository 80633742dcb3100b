//! `GET /protocol-log`: dialogues of the protocol log, the newest first, and
//! `GET /protocol-log/lines`: what is added to it.
//!
//! The log knows no tenants, so it is for those who are there for all of them. A caller of
//! one sees what concerns a living post of its own, or a test that it has sent, if it asks
//! for that alone. How much is read for an answer is limited: `next` goes on.

use super::ask::{Asked, id};
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::protocol_log::Level;
use crate::protocol_log::pages::{self, Dialogue, Limits, News, Page, Start};
use crate::protocol_log::parts::Wanted;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Dialogues of an answer, unless it is said.
const USUAL: usize = 50;
const MOST: usize = 200;
/// A second of reading, or less when the disk is slow.
const READ: u64 = 256 << 20;
const TIME: Duration = Duration::from_secs(1);
const KEPT: usize = 1 << 20;
/// Most octets of a filter.
const LONGEST: usize = 1000;

/// The query of `GET /protocol-log`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    /// `2026-01-31`, and no other; without, all days, the newest first.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    day: Option<String>,
    /// The name in its lines.
    #[schemars(length(min = 1, max = 1000))]
    session: Option<String>,
    /// Of a post, or of a message: what brought it, and its attempts.
    #[schemars(length(min = 1, max = 1000))]
    post: Option<String>,
    /// Attempts to this origin, such as `https://shop.example`.
    #[schemars(length(min = 1, max = 1000))]
    destination: Option<String>,
    /// The address at the other end, with or without its port.
    #[schemars(length(min = 1, max = 1000))]
    peer: Option<String>,
    /// What an answer before called `next`.
    cursor: Option<String>,
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// The query of `GET /protocol-log/lines`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Following {
    #[schemars(length(min = 1, max = 1000))]
    session: Option<String>,
    #[schemars(length(min = 1, max = 1000))]
    post: Option<String>,
    #[schemars(length(min = 1, max = 1000))]
    destination: Option<String>,
    #[schemars(length(min = 1, max = 1000))]
    peer: Option<String>,
    /// What an answer before called `end`; without, there is nothing but that.
    after: Option<String>,
}

/// Dialogues.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ProtocolLog")]
pub(super) struct PageShape {
    /// How much is logged: `off`, `errors` or `full`.
    #[schemars(extend("enum" = ["off", "errors", "full"]))]
    level: &'static str,
    /// Those that there are files of, the newest first.
    days: Vec<String>,
    dialogues: Vec<DialogueShape>,
    /// Where it goes on towards the past; nothing when there is no more.
    next: Option<String>,
    /// Where it goes on with what is not there yet.
    end: Option<String>,
    /// Octets that were looked through.
    looked: u64,
    /// Up to when.
    until: Option<String>,
}

/// An SMTP session, or an attempt.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Dialogue")]
struct DialogueShape {
    session: String,
    /// Whether it began earlier than its first line here.
    began_earlier: bool,
    lines: Vec<String>,
    /// Lines at its end for which there was no room.
    left_out: usize,
}

/// Lines.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProtocolLogLines")]
pub(super) struct LinesShape {
    lines: Vec<String>,
    end: Option<String>,
    /// Octets that were passed over, as too many were added.
    skipped: u64,
}

/// `GET /protocol-log`
pub(super) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(asking): Asked<Asking>,
) -> Result<Response, Problem> {
    let filter = (asking.session, asking.post, asking.destination, asking.peer);
    let wanted = wanted(&desk, &caller, filter).await?;
    let start = start(asking.day, asking.cursor)?;
    let limit = asking.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_field("limit", format!("write a number from 1 to {MOST}")));
    }
    let Some((level, directory)) = kept(&desk) else {
        return Ok(json(StatusCode::OK, &PageShape { level: "off", ..PageShape::default() }));
    };
    let limits = Limits { dialogues: limit, read: READ, kept: KEPT, time: TIME };
    let look = move |directory: &Path| {
        Ok((pages::days(directory)?, pages::page(directory, &wanted, &start, limits)?))
    };
    let (days, page) = read(&desk, directory, look).await?;
    Ok(json(StatusCode::OK, &PageShape::of(level, days, page)))
}

/// `GET /protocol-log/lines`
pub(super) async fn follow(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(asking): Asked<Following>,
) -> Result<Response, Problem> {
    let filter = (asking.session, asking.post, asking.destination, asking.peer);
    let wanted = wanted(&desk, &caller, filter).await?;
    let misplaced = |_| Problem::bad_field("after", "that is no end that an answer named");
    let after = asking.after.map(|text| text.parse().map_err(misplaced)).transpose()?;
    let Some((_, directory)) = kept(&desk) else {
        return Ok(json(StatusCode::OK, &LinesShape { lines: Vec::new(), end: None, skipped: 0 }));
    };
    let look = move |directory: &Path| pages::news(directory, &wanted, after);
    let News { lines, end, skipped } = read(&desk, directory, look).await?;
    let end = end.map(|end| end.to_string());
    Ok(json(StatusCode::OK, &LinesShape { lines, end, skipped }))
}

/// Where the log is, if there is one.
fn kept(desk: &Desk) -> Option<(&'static str, PathBuf)> {
    let (level, directory) = desk.options.protocol_log.clone()?;
    match level {
        Level::Off => None,
        Level::Errors => Some(("errors", directory)),
        Level::Full => Some(("full", directory)),
    }
}

/// As few at a time as read attachments.
async fn read<T: Send + 'static>(
    desk: &Desk,
    directory: PathBuf,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let read = async move { tokio::task::spawn_blocking(move || look(&directory)).await };
    let died = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the protocol log cannot be read");
    let reading = desk.readers.read(read).await.ok_or_else(died)?;
    reading.result.map_err(|_| died())?.map_err(|_| died())
}

type Filter = (Option<String>, Option<String>, Option<String>, Option<String>);

/// What is looked for, as far as this caller may see it.
async fn wanted(
    desk: &Desk,
    caller: &Caller,
    (session, post, destination, peer): Filter,
) -> Result<Wanted, Problem> {
    for (field, text) in
        [("session", &session), ("post", &post), ("destination", &destination), ("peer", &peer)]
    {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > LONGEST) {
            return Err(Problem::bad_field(field, format!("write 1 to {LONGEST} octets, or leave it out")));
        }
    }
    if let Some(tenant) = &caller.tenant {
        let Some(text) = &post else {
            let detail = format!(
                "the protocol log is that of all tenants, and this is asked for {tenant} alone: name a post; \
                 an admin's key without X-Tenant-ID shows all of it"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        };
        if !desk.tests.is_of(id(text)?.message, tenant) {
            desk.find(text, caller).await?;
        }
    }
    let unfit = |_| Problem::bad_field("post", "an id is 16 hexadecimal digits, or those and -1, -2 …");
    let post = post.map(|text| text.parse().map_err(unfit)).transpose()?;
    let destination = destination.map(|text| origin(&text)).transpose()?;
    Ok(Wanted { session, post, destination, peer })
}

/// Host and port of a URL.
fn origin(text: &str) -> Result<(String, u16), Problem> {
    let wrong = || Problem::bad_field("destination", "write a URL such as https://shop.example");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?.to_owned();
    Ok((host, url.port_or_known_default().ok_or_else(wrong)?))
}

fn start(day: Option<String>, cursor: Option<String>) -> Result<Start, Problem> {
    let misplaced = |_| Problem::bad_field("cursor", "that is no cursor that an answer named");
    let place = cursor.map(|text| text.parse().map_err(misplaced)).transpose()?;
    match (day, place) {
        (Some(day), _) if !pages::is_day(&day) => {
            Err(Problem::bad_field("day", "write a day such as 2026-01-31"))
        }
        (None, None) => Ok(Start::Newest),
        (Some(day), None) => Ok(Start::Day(day)),
        (None, Some(place)) => Ok(Start::Place(place)),
        (Some(_), Some(place)) => Ok(Start::Within(place)),
    }
}

impl PageShape {
    fn of(level: &'static str, days: Vec<String>, page: Page) -> PageShape {
        let dialogue = |one: Dialogue| DialogueShape {
            session: one.name,
            began_earlier: !one.has_begin,
            lines: one.lines,
            left_out: one.left_out,
        };
        PageShape {
            level,
            days,
            dialogues: page.dialogues.into_iter().map(dialogue).collect(),
            next: page.next.map(|next| next.to_string()),
            end: page.end.map(|end| end.to_string()),
            looked: page.read,
            until: page.until,
        }
    }
}
