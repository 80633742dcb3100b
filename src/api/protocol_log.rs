//! `GET /protocol-log`: dialogues of the protocol log, the newest first, and
//! `GET /protocol-log/lines`: what is added to it.
//!
//! The log knows no tenants, so it is for those who are there for all of them. A caller of
//! one sees what concerns a living post of its own, or a test that it has sent, if it asks
//! for that alone; how much all say is not told, and places in the log are sealed for it.
//! How much is read for an answer is limited: `next` goes on.

use super::ask::{Asked, id};
use super::caller::Caller;
use super::desk::Desk;
use super::log_access::LogAccess;
use super::problem::{Problem, json};
use crate::protocol_log::Level;
use crate::protocol_log::news::{News, news};
use crate::protocol_log::pages::{self, Dialogue, Limits, Page, Place, Start};
use crate::protocol_log::parts::Wanted;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Dialogues of an answer, unless it is said.
const USUAL: usize = 50;
const MOST: usize = 200;
/// Octets and time of reading: a page of the panel takes 100 ms, and a client that goes on
/// loses nothing.
const READ: u64 = 256 << 20;
const TIME: Duration = Duration::from_millis(80);
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
    /// What an answer before called `next`; for a tenant's key, of the same post.
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
    /// What an answer before called `end`, for a tenant's key of the same post; without, there is nothing but that.
    after: Option<String>,
}

/// Dialogues.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProtocolLog")]
pub(super) struct PageShape {
    /// How much is logged: `off`, `errors` or `full`.
    #[schemars(extend("enum" = ["off", "errors", "full"]))]
    level: &'static str,
    /// Those that there are files of, the newest first. Not for a caller of one tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<Vec<String>>,
    dialogues: Vec<DialogueShape>,
    /// Where it goes on towards the past; nothing when there is no more. A caller of one tenant
    /// gets it sealed, until the gateway starts again.
    next: Option<String>,
    /// Where it goes on with what is not there yet; sealed like `next`.
    end: Option<String>,
    /// Octets that were looked through. Not for a caller of one tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    looked: Option<u64>,
    /// Up to when. Not for a caller of one tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// Where it goes on. A caller of one tenant gets it sealed, until the gateway starts again.
    end: Option<String>,
    /// Octets that were passed over, as too many were added. Not for a caller of one tenant,
    /// which may miss lines when much is said: the dialogues have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
}

/// `GET /protocol-log`
pub(super) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(asking): Asked<Asking>,
) -> Result<Response, Problem> {
    let filter = (asking.session, asking.post, asking.destination, asking.peer);
    let wanted = wanted(&desk, &caller, filter).await?;
    let scope = Scope::of(&desk, &caller, &wanted);
    let start = start(asking.day, asking.cursor, &scope)?;
    let limit = asking.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_field("limit", format!("write a number from 1 to {MOST}")));
    }
    let Some((level, directory)) = kept(&desk) else {
        return Ok(json(StatusCode::OK, &scope.page("off", Vec::new(), Page::default())?));
    };
    let limits = Limits { dialogues: limit, read: READ, kept: KEPT, time: TIME };
    let look = move |directory: &Path| {
        Ok((pages::days(directory)?, pages::page(directory, &wanted, &start, limits)?))
    };
    let (days, page) = read(&desk, &caller, directory, look).await?;
    Ok(json(StatusCode::OK, &scope.page(level, days, page)?))
}

/// `GET /protocol-log/lines`
pub(super) async fn follow(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(asking): Asked<Following>,
) -> Result<Response, Problem> {
    let filter = (asking.session, asking.post, asking.destination, asking.peer);
    let wanted = wanted(&desk, &caller, filter).await?;
    let scope = Scope::of(&desk, &caller, &wanted);
    let misplaced = || Problem::bad_field("after", "that is no end that an answer named");
    let after = asking.after.map(|text| scope.place(&text).ok_or_else(misplaced)).transpose()?;
    let Some((_, directory)) = kept(&desk) else {
        return Ok(json(StatusCode::OK, &scope.lines(News::default())?));
    };
    let look = move |directory: &Path| news(directory, &wanted, after);
    let news = read(&desk, &caller, directory, look).await?;
    Ok(json(StatusCode::OK, &scope.lines(news)?))
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

async fn read<T: Send + 'static>(
    desk: &Desk,
    caller: &Caller,
    directory: PathBuf,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let died = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the protocol log cannot be read");
    let reading = desk.log.read(desk.one_of_several(caller), move || look(&directory));
    reading.await.ok_or_else(died)?.map_err(|_| died())
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
    if let Some(tenant) = desk.one_of_several(caller) {
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

fn start(day: Option<String>, cursor: Option<String>, scope: &Scope) -> Result<Start, Problem> {
    let misplaced = || Problem::bad_field("cursor", "that is no cursor that an answer named");
    let place = cursor.map(|text| scope.place(&text).ok_or_else(misplaced)).transpose()?;
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

/// What a caller may know of the log beside the dialogues.
enum Scope {
    /// All of it.
    All,
    /// Nothing that tells how much others say; places are sealed for what it asks about.
    Tenant { log: Arc<LogAccess>, about: String },
}

impl Scope {
    fn of(desk: &Desk, caller: &Caller, wanted: &Wanted) -> Scope {
        match desk.one_of_several(caller) {
            None => Scope::All,
            Some(tenant) => {
                let post = wanted.post.map(|id| id.to_string()).unwrap_or_default();
                Scope::Tenant { log: Arc::clone(&desk.log), about: format!("{tenant} {post}") }
            }
        }
    }

    /// A place that an answer to such a caller named.
    fn place(&self, text: &str) -> Option<Place> {
        match self {
            Scope::All => text.parse().ok(),
            Scope::Tenant { log, about } => log.open(about, text),
        }
    }

    fn named(&self, place: Option<Place>) -> Result<Option<String>, Problem> {
        let unsealed =
            || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "there is no randomness to seal with");
        let name = |place: Place| match self {
            Scope::All => Ok(place.to_string()),
            Scope::Tenant { log, about } => log.seal(about, &place).ok_or_else(unsealed),
        };
        place.map(name).transpose()
    }

    /// What those know who may know all.
    fn known<T>(&self, figure: T) -> Option<T> {
        matches!(self, Scope::All).then_some(figure)
    }

    fn page(&self, level: &'static str, days: Vec<String>, page: Page) -> Result<PageShape, Problem> {
        let dialogue = |one: Dialogue| DialogueShape {
            session: one.name,
            began_earlier: !one.has_begin,
            lines: one.lines,
            left_out: one.left_out,
        };
        Ok(PageShape {
            level,
            days: self.known(days),
            dialogues: page.dialogues.into_iter().map(dialogue).collect(),
            next: self.named(page.next)?,
            end: self.named(page.end)?,
            looked: self.known(page.read),
            until: self.known(page.until).flatten(),
        })
    }

    fn lines(&self, News { lines, end, skipped }: News) -> Result<LinesShape, Problem> {
        Ok(LinesShape { lines, end: self.named(end)?, skipped: self.known(skipped) })
    }
}
