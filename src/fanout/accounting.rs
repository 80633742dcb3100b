//! Accounting: an event as one record of PowerMTA's columns.
//!
//! Column names are PowerMTA's where it has one for it, and our own for what is of
//! HTTP. `type` is always the first. A column that means nothing to an event is empty.
//! CSV is RFC 4180 in UTF-8 with a line of names first; as JSON a record is an object
//! whose values are texts, without those that are empty.
//!
//! A record is one line, whatever stands in it: others have written a part of it. In CSV
//! nothing moves a cursor, and nothing is a formula to whoever opens it as a sheet.
//!
//! Here is what a record is, and who may know what is in it; which records are written
//! where, and when, is in [`accounts`].

pub mod accounts;
mod book;
mod bookmark;
mod ended;
mod filter;
mod follower;
mod naming;
mod privacy;

pub use filter::{BadPattern, Filter};
pub use naming::Naming;
pub use privacy::Privacy;

use super::Told;
use crate::clock::rfc3339;
use crate::compose::failure_status;
use crate::event::EventName;
use crate::post::Timestamp;
use http::StatusCode;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Types of records with the event that makes each.
const TYPES: [(&str, &str); 10] = [
    ("r", "post.received"),
    ("d", "post.delivered"),
    ("t", "post.deferred"),
    ("tq", "destination.paused"),
    ("tq", "destination.backoff"),
    ("b", "post.failed"),
    ("rb", "email.bounced"),
    ("rs", "email.delayed"),
    ("rs", "email.delivered"),
    ("f", "email.complained"),
];

/// What a record tells of, in one or two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType(&'static str);

/// Every type of record with its letters: received, delivered, tried in vain, trouble of a
/// destination, given up, bounced elsewhere, told of elsewhere, complained of.
pub const RECORD_TYPES: [(&str, RecordType); 8] = [
    ("r", RecordType("r")),
    ("d", RecordType("d")),
    ("t", RecordType("t")),
    ("tq", RecordType("tq")),
    ("b", RecordType("b")),
    ("rb", RecordType("rb")),
    ("rs", RecordType("rs")),
    ("f", RecordType("f")),
];

/// The type of the record of an event with this name; nothing for one that is not
/// accounted for.
pub fn type_of(name: &EventName) -> Option<RecordType> {
    TYPES.iter().find(|(_, event)| *event == name.as_str()).map(|(kind, _)| RecordType(kind))
}

/// The letters of an event's record; nothing for one that is not accounted for.
pub fn record_type(told: &Told) -> Option<&'static str> {
    type_of(&told.event().name).map(|RecordType(kind)| kind)
}

/// Octets of a cell before it is cut: HMACs make the longest event eleven times as long.
const LONGEST: usize = 16 * 1024;

/// What a column holds.
#[derive(Clone, Copy)]
enum Content {
    /// What the gateway itself says, and ids of messages, which only look like addresses.
    Text(fn(&Told) -> Option<Cow<'_, str>>),
    /// An address.
    Address(fn(&Told) -> Option<Cow<'_, str>>),
    /// What others wrote, or may have published, with whatever addresses.
    Prose(fn(&Told) -> Option<Cow<'_, str>>),
}

/// A column with its name.
type Column = (&'static str, Content);

use Content::{Address, Prose, Text};

/// Every column, in the order of the line of names.
const COLUMNS: [Column; 37] = [
    ("type", Text(kind)),
    ("timeLogged", Text(|told| owned(rfc3339(told.event().at)))),
    ("timeQueued", Text(|told| owned(rfc3339(queued_at(told)?)))),
    ("totalSecondsQueued", Text(|told| owned(format!("{:.3}", queued(told)? as f64 / 1000.0)))),
    ("orig", Address(|told| told.text("sender"))),
    ("rcpt", Address(|told| told.text("recipient"))),
    ("orcpt", Address(|told| told.text("originalRecipient"))),
    ("dsnAction", Text(|told| action(told).map(Cow::Borrowed))),
    ("dsnStatus", Prose(status)),
    ("dsnDiag", Prose(diagnosis)),
    ("dsnMta", Prose(|told| told.text("remoteMta").or_else(|| told.host()))),
    ("dsnReportingMta", Prose(|told| told.text("reportingMta"))),
    ("bounceCat", Text(|told| category(told).map(Cow::Borrowed))),
    ("srcType", Prose(|told| told.text("source"))),
    ("rcvSourceIp", Text(|told| told.text("remoteIp").filter(|_| is(told, "r")))),
    ("rcvSmtpUser", Address(|told| told.text("user").filter(|_| is(told, "r")))),
    ("dlvType", Text(|told| is_attempt(told).then_some(Cow::Borrowed("http")))),
    ("dlvDestinationIp", Text(|told| told.text("remoteIp").filter(|_| is_attempt(told)))),
    ("dlvSize", Prose(|told| told.text("size"))),
    ("jobId", Prose(|told| told.text("xsMailingId"))),
    ("envId", Prose(|told| told.text("xsMessageId"))),
    ("queue", Prose(|told| told.text("destination"))),
    ("feedbackType", Prose(|told| told.text("feedbackType"))),
    ("repSourceIp", Prose(|told| told.text("sourceIp"))),
    ("userAgent", Prose(|told| told.text("userAgent"))),
    ("httpStatus", Text(|told| owned(http_status(told)?.to_string()))),
    ("httpVersion", Prose(|told| told.text("httpVersion"))),
    ("attempt", Prose(|told| told.text("attempt").or_else(|| told.text("attempts")))),
    ("durationMs", Prose(|told| told.text("durationMs"))),
    ("url", Prose(|told| told.text("url"))),
    ("postId", Prose(|told| told.text("postId"))),
    ("messageId", Text(|told| told.text("messageId").or_else(|| told.text("originalMessageId")))),
    ("session", Prose(|told| told.text("session"))),
    ("tag", Prose(tag)),
    ("reason", Prose(|told| told.text("reason"))),
    ("tenant", Text(|told| Some(Cow::Borrowed(told.event().tenant.as_str())))),
    ("eventId", Text(|told| Some(Cow::Borrowed(told.event().id.as_str())))),
];

fn owned<'a>(text: String) -> Option<Cow<'a, str>> {
    Some(Cow::Owned(text))
}

/// Of an event without records its name, so that no two mean the same.
fn kind(told: &Told) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(record_type(told).unwrap_or(told.event().name.as_str())))
}

fn is(told: &Told, kind: &str) -> bool {
    record_type(told) == Some(kind)
}

/// Whether a record tells of a post that was tried.
fn is_attempt(told: &Told) -> bool {
    matches!(record_type(told), Some("d" | "t" | "b"))
}

/// Milliseconds in the queue.
fn queued(told: &Told) -> Option<u64> {
    told.number("queuedMs")
}

fn queued_at(told: &Told) -> Option<Timestamp> {
    match is(told, "r") {
        true => Some(told.event().at),
        false => Some(Timestamp(told.event().at.0.checked_sub(queued(told)?)?)),
    }
}

/// RFC 3464 section 2.3.3.
fn action(told: &Told) -> Option<&'static str> {
    match (record_type(told)?, told.event().name.as_str()) {
        ("d", _) | ("rs", "email.delivered") => Some("delivered"),
        ("t", _) | ("rs", _) => Some("delayed"),
        ("b" | "rb", _) => Some("failed"),
        _ => None,
    }
}

fn http_status(told: &Told) -> Option<u16> {
    is_attempt(told).then(|| told.number("status")).flatten().and_then(|status| u16::try_from(status).ok())
}

/// RFC 3463.
fn status(told: &Told) -> Option<Cow<'_, str>> {
    match record_type(told)? {
        "d" => Some(Cow::Borrowed("2.0.0")),
        "t" | "tq" => Some(Cow::Borrowed("4.0.0")),
        "b" => {
            let reason = told.text("reason").unwrap_or_default();
            let (subject, detail) = failure_status(http_status(told), &reason);
            owned(format!("5.{subject}.{detail}"))
        }
        "rb" | "rs" => told.text("status"),
        _ => None,
    }
}

/// Type and text (RFC 3464 section 2.3.6).
fn diagnosis(told: &Told) -> Option<Cow<'_, str>> {
    if let Some(text) = told.text("diagnosticCode") {
        return Some(text);
    }
    if let Some(status) = http_status(told) {
        let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let response = told.text("response").filter(|text| !text.is_empty());
        let said = [Some(Cow::Owned(status.to_string())), phrase.map(Cow::Borrowed), response];
        let said: Vec<_> = said.into_iter().flatten().collect();
        return owned(format!("http;{}", said.join(" ")));
    }
    let error = told.text("error").or_else(|| is(told, "tq").then(|| told.text("reason")).flatten())?;
    owned(format!("x-postgate;{error}"))
}

/// PowerMTA's categories of bounces.
fn category(told: &Told) -> Option<&'static str> {
    if !matches!(record_type(told)?, "b" | "rb") {
        return None;
    }
    let reason = told.text("reason").unwrap_or_default();
    Some(match (reason.as_ref(), told.text("bounceType").as_deref()) {
        (reason, _) if reason.starts_with("expired") => "message-expired",
        ("gone", _) => "inactive-mailbox",
        ("egress-denied", _) => "policy-related",
        ("unreachable", _) => "no-answer-from-host",
        ("unsendable" | "withheld", _) => "bad-configuration",
        (_, Some("hard")) => "bad-mailbox",
        (_, Some("soft")) => "quota-issues",
        _ if http_status(told).is_none() && told.text("error").is_some() => "bad-connection",
        _ => "other",
    })
}

/// One tag, or several with a blank between.
fn tag(told: &Told) -> Option<Cow<'_, str>> {
    owned(told.tags().join(" "))
}

/// Which columns, in the order of the line of names.
#[derive(Clone)]
pub struct Fields(Vec<Column>);

/// The names of all columns, in their order.
pub fn column_names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(name, _)| *name)
}

impl Fields {
    /// Every column.
    pub fn all() -> Fields {
        Fields(COLUMNS.to_vec())
    }

    /// Those that are named: names, `*` for all, and `!name` for all but that; `type` is
    /// always among them. The error is the name that is no column's.
    pub fn select<'a>(names: &[&'a str]) -> Result<Fields, &'a str> {
        let mut chosen = [false; COLUMNS.len()];
        for name in names {
            let (plain, is_wanted) = match name.strip_prefix('!') {
                Some(plain) => (plain, false),
                None => (*name, true),
            };
            let mut is_known = false;
            for (chosen, (column, _)) in chosen.iter_mut().zip(COLUMNS) {
                if plain == "*" || plain == column {
                    (*chosen, is_known) = (is_wanted, true);
                }
            }
            if !is_known {
                return Err(name);
            }
        }
        let columns = COLUMNS.into_iter().zip(chosen);
        Ok(Fields(
            columns.filter(|((name, _), chosen)| *chosen || *name == "type").map(|(it, _)| it).collect(),
        ))
    }

    /// The line of names, with its line end.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        names.join(",") + "\r\n"
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names().trim_end())
    }
}

fn cell<'a>(told: &'a Told, content: Content, privacy: &Privacy) -> Cow<'a, str> {
    let cell = match content {
        Text(read) => read(told),
        Address(read) => read(told).map(|address| privacy.address(address)),
        Prose(read) => read(told).map(|text| privacy.prose(text)),
    };
    // What is cut could end within an address: so only behind that.
    cell.map(short).unwrap_or_default()
}

/// A cell that is not too long; one that was ends in three full stops.
fn short(cell: Cow<'_, str>) -> Cow<'_, str> {
    if cell.len() <= LONGEST {
        return cell;
    }
    let (kept, _) = cell.split_at(cell.floor_char_boundary(LONGEST - 3));
    Cow::Owned(format!("{kept}..."))
}

/// The line of names, then a line an event.
pub fn csv(told: &[&Told], fields: &Fields, privacy: &Privacy) -> String {
    let mut text = fields.names();
    for told in told {
        csv_line(&mut text, told, fields, privacy);
    }
    text
}

/// Adds the line of one event (RFC 4180).
pub(super) fn csv_line(text: &mut String, told: &Told, fields: &Fields, privacy: &Privacy) {
    for (index, (_, content)) in fields.0.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let cell = harmless(cell(told, *content, privacy));
        if cell.contains(['"', ',']) {
            text.extend(["\"", &cell.replace('"', "\"\""), "\""]);
        } else {
            text.push_str(&cell);
        }
    }
    text.push_str("\r\n");
}

/// A cell that stays on its line, does nothing to a terminal and is no formula. Numbers
/// and addresses may begin with a sign: they call nothing.
fn harmless(cell: Cow<'_, str>) -> Cow<'_, str> {
    let cell = match cell.contains(char::is_control) {
        true => Cow::Owned(cell.replace(char::is_control, " ")),
        false => cell,
    };
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '@' | '+' | '-');
    let is_formula = match cell.trim_start().chars().next() {
        Some('=' | '@') => true,
        Some('+' | '-') => !cell.chars().all(is_plain),
        _ => false,
    };
    if is_formula { Cow::Owned(format!("'{cell}")) } else { cell }
}

/// The record of one event as a line of JSON, with its line end.
pub fn json_line(told: &Told, fields: &Fields, privacy: &Privacy) -> String {
    let cells = fields.0.iter().map(|(name, content)| (*name, cell(told, *content, privacy)));
    let filled = cells.filter(|(_, cell)| !cell.is_empty());
    let record: Map<_, _> =
        filled.map(|(name, cell)| (name.to_owned(), Value::from(cell.into_owned()))).collect();
    Value::Object(record).to_string() + "\n"
}
