//! Reports about mail that was sent, as events: bounces and other delivery status
//! (RFC 3464, and the plain texts that came before it), complaints (RFC 5965) and
//! read receipts (RFC 8098).
//!
//! Reports are mail like any other, and anybody can write one: nothing here is
//! proof, and nothing is refused. What is no report, says nothing that could be an
//! event, or tells of more recipients than anybody writes to at once makes no
//! events, and its mail is posted as usual. Names of fields are those that users of
//! Mailtura know; ids of events follow from that of the post.

mod complaint;
mod plain;
mod receipt;
mod returned;
mod status;
mod words;

use super::json_octets;
use super::mail::{self, HeaderField, Section};
use super::mime::Part;
use super::{Limits, decode, value, when};
use crate::event::{self, EventId};
use crate::post::{PostId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use returned::Returned;
use serde::Serialize;
use std::borrow::Cow;

/// Most events of one report.
const MOST: usize = 1000;
/// Most octets of all of them, before JSON escapes any.
const MOST_OCTETS: usize = 4 * 1024 * 1024;

/// What a report tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It did not arrive and will not.
    Bounced,
    /// It has not arrived yet.
    Delayed,
    /// It arrived.
    Delivered,
    /// Its recipient does not want it.
    Complained,
    /// Its recipient has seen it.
    Opened,
}

impl Kind {
    /// Type of the event.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bounced => "email.bounced",
            Kind::Delayed => "email.delayed",
            Kind::Delivered => "email.delivered",
            Kind::Complained => "email.complained",
            Kind::Opened => "email.opened",
        }
    }
}

/// One event, of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it tells.
    pub kind: Kind,
    /// About what.
    pub data: Data,
}

/// What is known; what is not is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Whom the mail was for, as its sender wrote it if that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Where it was forwarded to, when that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_recipient: Option<String>,
    /// As the complaint names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_recipient: Option<String>,
    /// `hard` or `soft`, of a bounce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounce_type: Option<&'static str>,
    /// Enhanced status (RFC 3463).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The status in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the server said, with the type of that if the report has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostic_code: Option<String>,
    /// Who reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporting_mta: Option<String>,
    /// Who did not take it, or did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_mta: Option<String>,
    /// What kind of complaint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback_type: Option<String>,
    /// Program that reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Address that the mail came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// `Message-ID` of the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_message_id: Option<String>,
    /// Its subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its `X-xsMessageId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xs_message_id: Option<String>,
    /// Its `X-xsMailingId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xs_mailing_id: Option<String>,
}

impl Data {
    /// How much text it holds.
    fn octets(&self) -> usize {
        let texts = [
            &self.recipient,
            &self.final_recipient,
            &self.original_recipient,
            &self.diagnostic_code,
            &self.reporting_mta,
            &self.remote_mta,
            &self.feedback_type,
            &self.user_agent,
            &self.source_ip,
            &self.original_message_id,
            &self.subject,
            &self.xs_message_id,
            &self.xs_mailing_id,
        ];
        texts.into_iter().flatten().map(String::len).sum()
    }

    /// What every event of a report says of the mail itself.
    fn of(returned: &Returned) -> Data {
        Data {
            original_message_id: returned.message_id.clone(),
            subject: returned.subject.clone(),
            xs_message_id: returned.xs_message_id.clone(),
            xs_mailing_id: returned.xs_mailing_id.clone(),
            ..Data::default()
        }
    }
}

/// The events that a message reports; none when it is no report, or holds one among
/// other things. `sender` is its reverse-path: what is no `multipart/report` is
/// believed when that is empty or a mail server's.
pub fn read(sender: &str, fields: &[HeaderField<'_>], parts: &[Part<'_>]) -> Vec<Event> {
    // People forward reports: those are mail, with words of theirs.
    let is_report = parts.first().is_some_and(|whole| whole.essence() == "multipart/report")
        || plain::is_from_server(sender, fields);
    let of_type =
        |names: &[&str]| parts.iter().filter(|_| is_report).find(|part| names.contains(&part.essence()));
    let returned = || returned::read(parts);
    let events = if let Some(part) = of_type(&["message/delivery-status", "message/global-delivery-status"]) {
        status::read(&content(part), &returned())
    } else if let Some(part) = of_type(&["message/feedback-report"]) {
        complaint::read(&content(part), &returned())
    } else if let Some(part) =
        of_type(&["message/disposition-notification", "message/global-disposition-notification"])
    {
        receipt::read(&content(part), &returned())
    } else {
        let events = plain::read(sender, fields, parts);
        if events.is_empty() { complaint::without_report(fields, parts) } else { events }
    };
    let octets: usize = events.iter().map(|event| event.data.octets()).sum();
    if events.len() > MOST || octets > MOST_OCTETS { Vec::new() } else { events }
}

/// A part's octets, decoded.
fn content<'a>(part: &Part<'a>) -> Cow<'a, [u8]> {
    decode::content(part).octets
}

/// The groups of fields in a report, one after another; what is no field is skipped.
fn groups<'c>(content: &'c [u8]) -> impl Iterator<Item = Section<'c>> {
    let limits = Limits::default();
    let mut rest = content;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let section = mail::read(rest, &limits);
            let taken =
                section.body_at.max(if section.fields.is_empty() { mail::first_line(rest).len() } else { 1 });
            rest = rest.get(taken..).unwrap_or_default();
            if !section.fields.is_empty() {
                return Some(section);
            }
        }
        None
    })
}

/// Longest value that an event holds, in octets.
const LONGEST: usize = 2000;

/// The value of a field, decoded and not too long; `None` when it is not there or
/// says nothing.
fn said(section: &[HeaderField<'_>], name: &str) -> Option<String> {
    let text = value::text(mail::first(section, name)?);
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(LONGEST));
    (!text.is_empty()).then_some(text)
}

/// The same without the type that stands before a semicolon (`rfc822;`, `dns;`).
fn untyped(section: &[HeaderField<'_>], name: &str) -> Option<String> {
    let text = said(section, name)?;
    let text = text.split_once(';').map_or(text.as_str(), |(_, text)| text);
    let text = text.trim().trim_matches(['<', '>']);
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Serialize)]
struct Shown<'e> {
    id: EventId,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    tenant: &'e str,
    data: ShownData<'e>,
}

#[derive(Serialize)]
struct ShownData<'e> {
    #[serde(rename = "postId")]
    post_id: String,
    #[serde(flatten)]
    data: &'e Data,
}

/// The events of a report as one JSON document: an object, of several an array;
/// `None` when it would take more than `limit` octets.
pub fn document(
    events: &[Event],
    (id, tenant): (PostId, &Tenant),
    at: Timestamp,
    limit: usize,
) -> Option<Bytes> {
    let shown = |(nth, event): (usize, &'_ Event)| {
        serde_json::to_value(Shown {
            id: event_id(events, id, nth),
            kind: event.kind.name(),
            timestamp: when::rfc3339(at),
            tenant: tenant.as_str(),
            data: ShownData { post_id: id.to_string(), data: &event.data },
        })
    };
    let shown = events.iter().enumerate().map(shown).collect::<Result<Vec<_>, _>>().ok()?;
    match shown.as_slice() {
        [only] => json_octets::write(only, 1024, limit),
        all => json_octets::write(&all, 1024 * all.len(), limit),
    }
}

/// The same for whoever is told of events.
pub fn told(events: &[Event], (id, tenant): (PostId, &Tenant), at: Timestamp) -> Vec<event::Event> {
    let told = events.iter().enumerate().filter_map(|(nth, event)| {
        let data = ShownData { post_id: id.to_string(), data: &event.data };
        Some(event::Event {
            id: event_id(events, id, nth),
            name: event.kind.name().parse().ok()?,
            at,
            tenant: tenant.clone(),
            data: serde_json::to_vec(&data).ok()?.into(),
        })
    });
    told.collect()
}

fn event_id(events: &[Event], id: PostId, nth: usize) -> EventId {
    EventId::of_report(id, (events.len() > 1).then_some(nth + 1))
}

/// The types of all events, each once.
pub fn names(events: &[Event]) -> String {
    let mut names: Vec<_> = events.iter().map(|event| event.kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
