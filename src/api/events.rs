//! Calls about events: what has happened, and which kinds there are.
//!
//! A list goes backwards from the newest event, over as many as one look may concern and
//! no more: a page may be short, or empty, and still have a next one. Times are found by
//! halving, as those of events grow with their positions but for moments.

use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::choice::{About, Choice, NAMES, PATTERNS};
use super::desk::Desk;
use super::filter::MOST;
use super::problem::{Problem, json};
use crate::clock;
use crate::event::{Event, EventName};
use crate::fanout::{self, Format, Sharing, Style, Told, sample};
use crate::journal::{Journal, Position};
use crate::post::{BadTime, Timestamp};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

type Answer = Result<Response, Problem>;

/// Events of a page, when nothing else is asked.
const USUAL: usize = 50;

/// Events that are read at a time at first, and when they are small.
const BLOCKS: (u64, u64) = (64, 512);

/// Octets of events that are read for one page, but for the last block.
const READ: usize = 64 << 20;

/// Events that are looked at for one page.
const LOOK: u64 = 10_000;

/// Octets of a page, if it has more than one event.
const PAGE: usize = 1 << 20;

/// How much older an event may be than one that stands before it.
const SKEW: Duration = Duration::from_mins(1);

/// The query of `GET /events`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The earliest.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// What happened before.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Names such as `post.delivered`, `post.*` or `*`, with commas between.
    #[schemars(extend("pattern" = PATTERNS))]
    r#type: Option<String>,
    /// One of their tags, with `*` for any text.
    #[schemars(length(min = 1, max = 256))]
    tag: Option<String>,
    /// An origin, or a pattern such as `https://*.shop.example`.
    destination: Option<String>,
    /// With `*` for any text.
    #[schemars(length(min = 1, max = 256))]
    recipient: Option<String>,
    #[schemars(with = "Option<u16>", range(min = 1, max = 1000))]
    limit: Option<String>,
    /// The field `next` of the page before.
    cursor: Option<String>,
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
    let Page { tag, destination, recipient, .. } = page;
    let choice = Choice::of(&caller, page.r#type.as_deref(), About { tag, destination, recipient })?;
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
    let (mut octets, mut read, stop) = (0, 0, end.saturating_sub(LOOK));
    let mut size = BLOCKS.0;
    while end > begin.max(stop) && read <= READ {
        let wanted = end.saturating_sub(size).max(begin).max(stop);
        let block = Block::read(journal, wanted, end).await?;
        read += block.read;
        size = if block.start > wanted { end - block.start } else { BLOCKS.1.min(2 * size) };
        end = block.start;
        for (position, event) in block.events.into_iter().rev() {
            if found.told.len() == limit || octets > PAGE {
                found.next = Some(Position(position.0 + 1));
                return Ok(found);
            }
            let is_then = (span.since..span.until).contains(&event.at);
            if let Some(told) = is_then.then(|| choice.told(&event)).flatten() {
                octets += told.json().len();
                found.told.push(told);
            }
        }
    }
    found.next = (end > begin).then_some(Position(end));
    Ok(found)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The last events before a position.
struct Block {
    events: VecDeque<(Position, Arc<Event>)>,
    /// All from here on.
    start: u64,
    /// Octets that were read for it.
    read: usize,
}

impl Block {
    /// Those from one position up to another, or the last of them that are no more than a
    /// page: events can be large.
    async fn read(journal: &Journal, start: u64, end: u64) -> io::Result<Block> {
        let mut block = Block { events: VecDeque::new(), start, read: 0 };
        let mut after = Position(start.saturating_sub(1));
        while after.0 + 1 < end {
            let most = usize::try_from(end - after.0 - 1).unwrap_or(usize::MAX);
            let read = journal.read(after, most).await?;
            let Some((last, _)) = read.last() else { break };
            after = *last;
            let read = read.into_iter().filter(|(position, _)| position.0 < end);
            for (position, event) in read {
                block.read += event.data.len();
                block.events.push_back((position, event));
            }
            block.drop_oldest();
        }
        Ok(block)
    }

    fn drop_oldest(&mut self) {
        let mut octets: usize = self.events.iter().map(|(_, event)| event.data.len()).sum();
        while octets > PAGE
            && self.events.len() > 1
            && let Some((position, event)) = self.events.pop_front()
        {
            octets -= event.data.len();
            self.start = position.0 + 1;
        }
    }
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
    let names: Vec<_> = names.into_iter().take(NAMES + 1).collect();
    if names.len() > NAMES {
        return Err(Problem::bad_field("events", format!("write no more than {NAMES} names")));
    }
    let sample = |name: &str| {
        let name: EventName = sample::full_name(name.trim())
            .parse()
            .map_err(|bad: crate::event::BadName| Problem::bad_field("events", bad.to_string()))?;
        Ok(Told::of(sample::event(&name, &tenant, clock::wall(), fastrand::u128(..))))
    };
    names.into_iter().map(sample).collect()
}

/// The query of `GET /events/samples`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Samples {
    /// Names with commas between; all kinds without.
    events: Option<String>,
    #[schemars(extend("enum" = ["json", "sparkpost"]))]
    format: Option<String>,
}

/// `GET /events/samples`: what a batch holds, within `results`.
pub(super) async fn show_samples(caller: Caller, Asked(asked): Asked<Samples>) -> Answer {
    let format = match asked.format.as_deref() {
        None | Some("json") => Format::Json,
        Some("sparkpost") => Format::SparkPost,
        Some(_) => return Err(Problem::bad_field("format", "write json or sparkpost")),
    };
    match &asked.events {
        Some(names) => sample_batch(&caller, names.split(','), format),
        None => sample_batch(&caller, sample::kinds().map(|(name, _)| name), format),
    }
}

/// A batch of examples of these kinds, within `results`.
pub(super) fn sample_batch<'a>(
    caller: &Caller,
    names: impl IntoIterator<Item = &'a str>,
    format: Format,
) -> Answer {
    let told = samples(caller, names)?;
    let told: Vec<_> = told.iter().collect();
    let style = Style { hostname: "", sharing: Sharing::Batched };
    let batch = fanout::bodies(format, &told, style).pop().map_or(Bytes::from_static(b"[]"), |it| it.octets);
    let mut text = b"{\"results\":".to_vec();
    text.extend_from_slice(&batch);
    text.push(b'}');
    Ok(whole(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Mark};
    use crate::journal;
    use crate::tenant::Tenant;

    #[tokio::test]
    async fn large_events_are_listed_without_all_of_them_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
        for number in 1..=40_u64 {
            let octets = if number % 4 == 0 { 10 } else { 250 << 10 };
            let event = Event {
                id: EventId::new(Timestamp(number), 0),
                name: "order.paid".parse().unwrap(),
                at: Timestamp(number),
                tenant: Tenant::default(),
                data: format!("{{\"{}\":1}}", "x".repeat(octets)).into(),
            };
            journal.append(Mark::default(), vec![event]).await.unwrap();
        }
        let block = Block::read(&journal, 1, 41).await.unwrap();
        let octets: usize = block.events.iter().map(|(_, event)| event.data.len()).sum();
        assert!(octets <= PAGE && block.read > 7 << 20, "{octets} of {}", block.read);
        assert_eq!(block.start + block.events.len() as u64, 41);
        let span = Span { since: Timestamp(0), until: Timestamp(u64::MAX) };
        for choice in [None, Some("order.paid"), Some("none.x")] {
            let patterns = choice.iter().map(|name| name.parse().unwrap()).collect();
            let choice_of = Choice { tenant: None, patterns, sieve: None };
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let page = look(&journal, &choice_of, &span, before, 1000).await.unwrap();
                let octets: usize = page.told.iter().map(|told| told.json().len()).sum();
                assert!(octets < 2 * PAGE, "{octets}");
                seen.extend(page.told.iter().map(|told| told.event().at.0));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = (1..=40).rev().filter(|_| choice != Some("none.x")).collect();
            assert_eq!(seen, expected, "{choice:?}");
        }
    }

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
