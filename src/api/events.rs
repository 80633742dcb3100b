//! Calls about events: what has happened, which kinds there are, and publishing others.
//!
//! A list goes backwards from the newest event, over as many as one look may concern and
//! no more: a page may be short, or empty, and still have a next one. Times are found by
//! halving, as those of events grow with their positions but for moments.

use super::ask::{Asked, Given, Nothing};
use super::caller::Caller;
use super::desk::Desk;
use super::filter::MOST;
use super::problem::{Problem, json};
use crate::clock;
use crate::event::{Event, EventId, EventName, EventPattern, published};
use crate::fanout::{self, Format, Sharing, Style, Told, sample};
use crate::journal::{Journal, Position};
use crate::post::{BadTime, Timestamp};
use crate::spool::Health;
use crate::tenant::Tenant;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::io;
use std::sync::Arc;
use std::time::Duration;

type Answer = Result<Response, Problem>;

/// Events of a page, when nothing else is asked.
const USUAL: usize = 50;

/// Events that are read at a time.
const BLOCK: u64 = 500;

/// Events that are looked at for one page.
const LOOK: u64 = 10_000;

/// Octets of a page, if it has more than one event.
const PAGE: usize = 1 << 20;

/// How much older an event may be than one that stands before it.
const SKEW: Duration = Duration::from_mins(1);

/// Most octets of the body of `POST /events`.
pub(super) const BODY: usize = 4 << 20;

/// Most events of one.
const MOST_PUBLISHED: usize = 1000;

/// The query of `GET /events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    since: Option<String>,
    until: Option<String>,
    r#type: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Which events are wanted: those of a tenant and of some names.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    tenant: Option<Tenant>,
    patterns: Vec<EventPattern>,
}

impl Choice {
    /// What a caller may see of the names in `text`: patterns with commas between; all
    /// when there is none.
    pub(super) fn of(caller: &Caller, text: Option<&str>) -> Result<Choice, Problem> {
        let pattern = |text: &str| {
            let expected = |bad| format!("write names such as post.delivered, post.* or *; {bad}");
            text.trim().parse().map_err(|bad| Problem::bad_field("type", expected(bad)))
        };
        let patterns = text.map(|text| text.split(',').map(pattern).collect()).transpose()?;
        Ok(Choice { tenant: caller.tenant.clone(), patterns: patterns.unwrap_or_default() })
    }

    /// Whether this one is.
    pub(super) fn takes(&self, event: &Event) -> bool {
        let is_own = self.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant);
        is_own && (self.patterns.is_empty() || self.patterns.iter().any(|it| it.matches(&event.name)))
    }
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let wrong = |bad: BadTime| Problem::bad_field(field, bad.to_string());
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// A place between pages, as it is handed out.
fn cursor(before: Position) -> String {
    BASE64URL_NOPAD.encode(&before.0.to_be_bytes())
}

fn read_cursor(text: &str) -> Result<Position, Problem> {
    let octets = BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|octets| octets.try_into().ok());
    let wrong = || Problem::bad_field("cursor", "take it from the field next of the page before");
    octets.map(|octets| Position(u64::from_be_bytes(octets))).ok_or_else(wrong)
}

/// `GET /events`: the newest first.
pub(super) async fn list(State(desk): State<Desk>, caller: Caller, Asked(page): Asked<Page>) -> Answer {
    let choice = Choice::of(&caller, page.r#type.as_deref())?;
    let (since, until) = (time("since", page.since.as_deref())?, time("until", page.until.as_deref())?);
    let limit = page.limit.as_deref().map_or(Ok(USUAL), |text| {
        let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        limit.ok_or_else(|| Problem::bad_field("limit", format!("write a number from 1 to {MOST}")))
    })?;
    let before = page.cursor.as_deref().map(read_cursor).transpose()?;
    let journal = desk.journal()?;
    let span = Span { since: since.unwrap_or_default(), until: until.unwrap_or(Timestamp(u64::MAX)) };
    let found = look(journal, &choice, &span, before, limit).await.map_err(|error| unread(&error))?;
    let mut text = b"{\"events\":[".to_vec();
    for (at, told) in found.told.iter().enumerate() {
        text.extend_from_slice(if at > 0 { b"," } else { b"" });
        text.extend_from_slice(told.json());
    }
    text.extend_from_slice(format!("],\"next\":{}}}", json!(found.next.map(cursor))).as_bytes());
    Ok(whole(text.into()))
}

fn whole(text: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (StatusCode::OK, kind, Body::from(text)).into_response()
}

/// Why the journal tells nothing.
pub(super) fn unread(error: &io::Error) -> Problem {
    tracing::error!("the journal cannot be read: {error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the events could not be read")
}

/// From when to when, the end excluded.
struct Span {
    since: Timestamp,
    until: Timestamp,
}

/// A page.
struct Found {
    told: Vec<Told>,
    /// What the next one begins before.
    next: Option<Position>,
}

/// Events of a span, backwards from `before`, or else from the newest.
async fn look(
    journal: &Journal,
    choice: &Choice,
    span: &Span,
    before: Option<Position>,
    limit: usize,
) -> io::Result<Found> {
    let mut found = Found { told: Vec::new(), next: None };
    let Some((oldest, _)) = journal.read(Position(0), 1).await?.pop() else { return Ok(found) };
    let (first, last) = (oldest.0, journal.last().0);
    let begin = match span.since {
        Timestamp(0) => first,
        since => place(journal, (first, last), Timestamp(since.0.saturating_sub(millis(SKEW)))).await?,
    };
    let end = match span.until {
        Timestamp(u64::MAX) => last + 1,
        until => place(journal, (first, last), until.after(SKEW)).await?,
    };
    let mut end = before.map_or(end, |before| before.0.min(end));
    let (mut octets, stop) = (0, end.saturating_sub(LOOK));
    while end > begin.max(stop) {
        let start = end.saturating_sub(BLOCK).max(begin).max(stop);
        for (position, event) in block(journal, start, end).await?.into_iter().rev() {
            if found.told.len() == limit || octets > PAGE {
                found.next = Some(Position(position.0 + 1));
                return Ok(found);
            }
            let is_meant = (span.since..span.until).contains(&event.at) && choice.takes(&event);
            if is_meant {
                let told = Told::of(Event::clone(&event));
                octets += told.json().len();
                found.told.push(told);
            }
        }
        end = start;
    }
    found.next = (end > begin).then_some(Position(end));
    Ok(found)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The events from one position up to another.
async fn block(journal: &Journal, start: u64, end: u64) -> io::Result<Vec<(Position, Arc<Event>)>> {
    let (mut events, mut after) = (Vec::new(), Position(start.saturating_sub(1)));
    while after.0 + 1 < end {
        let most = usize::try_from(end - after.0 - 1).unwrap_or(usize::MAX);
        let read = journal.read(after, most).await?;
        let Some((last, _)) = read.last() else { break };
        after = *last;
        events.extend(read.into_iter().filter(|(position, _)| position.0 < end));
    }
    Ok(events)
}

/// The position of the first event that is not older than this, or that behind the last.
async fn place(journal: &Journal, (first, last): (u64, u64), at: Timestamp) -> io::Result<u64> {
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match journal.read(Position(middle - 1), 1).await?.pop() {
            Some((position, event)) if event.at < at => low = position.0 + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// `GET /events/types`: the kinds that the gateway knows, each with an example.
pub(super) async fn types(caller: Caller, Asked(Nothing {}): Asked<Nothing>) -> Answer {
    let mut types = Vec::new();
    for (name, when) in sample::kinds() {
        let sample = samples(&caller, [name])?.pop().map(|told| raw(told.json())).transpose()?;
        types.push(json!({ "type": name, "description": when, "sample": sample }));
    }
    Ok(json(StatusCode::OK, &json!({ "types": types })))
}

fn raw(json: &[u8]) -> Result<serde_json::Value, Problem> {
    let wrong = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "there is no example");
    serde_json::from_slice(json).map_err(wrong)
}

/// Examples of kinds.
fn samples<'a>(caller: &Caller, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Told>, Problem> {
    let tenant = caller.tenant.clone().unwrap_or_default();
    let sample = |name: &str| {
        let name: EventName = sample::full_name(name.trim())
            .parse()
            .map_err(|bad: crate::event::BadName| Problem::bad_field("events", bad.to_string()))?;
        Ok(Told::of(sample::event(&name, &tenant, clock::wall(), fastrand::u128(..))))
    };
    names.into_iter().map(sample).collect()
}

/// The query of `GET /events/samples`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Samples {
    events: Option<String>,
    format: Option<String>,
}

/// `GET /events/samples`: what a batch holds, within `results`.
pub(super) async fn show_samples(caller: Caller, Asked(asked): Asked<Samples>) -> Answer {
    let format = match asked.format.as_deref() {
        None | Some("json") => Format::Json,
        Some("sparkpost") => Format::SparkPost,
        Some(_) => return Err(Problem::bad_field("format", "write json or sparkpost")),
    };
    let told = match &asked.events {
        Some(names) => samples(&caller, names.split(','))?,
        None => samples(&caller, sample::kinds().map(|(name, _)| name))?,
    };
    let told: Vec<_> = told.iter().collect();
    let style = Style { hostname: "", sharing: Sharing::Batched };
    let batch = fanout::bodies(format, &told, style).pop().map_or(Bytes::from_static(b"[]"), |it| it.octets);
    let mut text = b"{\"results\":".to_vec();
    text.extend_from_slice(&batch);
    text.push(b'}');
    Ok(whole(text.into()))
}

/// An event as it is handed in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handed {
    r#type: String,
    data: Option<Box<RawValue>>,
}

/// `POST /events`: one, or an array of which all are published or none.
pub(super) async fn publish(
    State(desk): State<Desk>,
    caller: Caller,
    Given(body): Given<Box<RawValue>>,
) -> Answer {
    // What is left of a full disk is for settling what is under way.
    if *desk.spool.health().borrow() == Health::Full {
        return Err(Problem::no_room());
    }
    let text = body.get();
    let is_array = text.starts_with('[');
    let handed: Result<Vec<Handed>, _> = match is_array {
        true => serde_json::from_str(text),
        false => serde_json::from_str(text).map(|only| vec![only]),
    };
    let handed =
        handed.map_err(|error| Problem::bad_request(format!("the body cannot be understood: {error}")))?;
    if handed.is_empty() || handed.len() > MOST_PUBLISHED {
        let detail = format!("an array holds 1 to {MOST_PUBLISHED} events; this one has {}", handed.len());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let tenant = caller.tenant.unwrap_or_default();
    let events = handed.iter().enumerate().map(|(nth, handed)| {
        let place = || if is_array { format!("event {nth} (from 0): ") } else { String::new() };
        event(handed, &tenant)
            .map_err(|(field, reason)| Problem::bad_field(field, format!("{}{reason}", place())))
    });
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
    desk.spool.publish(events).await?;
    let answer = match (is_array, ids.as_slice()) {
        (false, [id]) => json!({ "id": id }),
        (_, ids) => json!({ "ids": ids }),
    };
    Ok(json(StatusCode::ACCEPTED, &answer))
}

fn event(handed: &Handed, tenant: &Tenant) -> Result<Event, (&'static str, String)> {
    let name = published::name(&handed.r#type).map_err(|unfit| ("type", unfit.to_string()))?;
    let data = handed.data.as_deref().map_or("{}", RawValue::get);
    let data = published::data(data.as_bytes()).map_err(|unfit| ("data", unfit.to_string()))?;
    let at = clock::wall();
    Ok(Event { id: EventId::new(at, fastrand::u128(..)), name, at, tenant: tenant.clone(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_what_was_handed_out() {
        for place in [0, 1, u64::MAX] {
            assert_eq!(read_cursor(&cursor(Position(place))).ok(), Some(Position(place)));
        }
        for text in ["", "1", "AAAA", "not a cursor"] {
            assert!(read_cursor(text).is_err(), "{text}");
        }
    }
}
