//! Complaints: ARF (RFC 5965), and what Hotmail sends that came before it.

use super::super::mail::{self, HeaderField};
use super::super::mime::Part;
use super::super::{Limits, value};
use super::returned::{self, Returned};
use super::{Data, Event, Kind, content, groups, said};
use std::net::IpAddr;

/// Types of feedback that complain of nothing: the opposite, and that a signature
/// was bad (RFC 6591).
const OTHER: &[&str] = &["not-spam", "auth-failure", "dmarc"];

/// The events of a `message/feedback-report`, one for each recipient it names.
pub fn read(content: &[u8], returned: &Returned) -> Vec<Event> {
    let Some(group) = groups(content).next() else { return Vec::new() };
    let fields = &group.fields;
    let feedback_type = said(fields, "Feedback-Type").map(|kind| kind.to_ascii_lowercase());
    if feedback_type.as_deref().is_some_and(|kind| OTHER.contains(&kind)) {
        return Vec::new();
    }
    let event = |recipient: Option<String>| Event {
        kind: Kind::Complained,
        data: Data {
            recipient: recipient.clone(),
            original_recipient: recipient,
            feedback_type: feedback_type.clone(),
            user_agent: said(fields, "User-Agent"),
            source_ip: said(fields, "Source-IP"),
            reporting_mta: super::untyped(fields, "Reporting-MTA"),
            ..Data::of(returned)
        },
    };
    let is_recipient = |field: &&HeaderField<'_>| field.name.eq_ignore_ascii_case("Original-Rcpt-To");
    let recipients: Vec<_> = fields.iter().filter(is_recipient).map(|field| address(field.value)).collect();
    if recipients.is_empty() { vec![event(None)] } else { recipients.into_iter().map(event).collect() }
}

fn address(raw: &[u8]) -> Option<String> {
    let text = value::text(raw);
    let text = text.rsplit(';').next().unwrap_or_default().trim().trim_matches(['<', '>']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// How the subjects of Hotmail's reports begin, in lower case.
const HOTMAIL: &str = "complaint about message from";

/// The event of a Hotmail report: an attached message whose header names whom it was
/// for, below a subject that names where it came from.
pub fn without_report(fields: &[HeaderField<'_>], parts: &[Part<'_>]) -> Vec<Event> {
    let subject = said(fields, "Subject").unwrap_or_default();
    let begin = subject.get(..HOTMAIL.len()).unwrap_or_default();
    let part = returned::part(parts).filter(|_| begin.eq_ignore_ascii_case(HOTMAIL));
    let Some(part) = part else { return Vec::new() };
    let message = content(part);
    let section = mail::read(&message, &Limits::default());
    let Some(recipient) = mail::first(&section.fields, "X-HmXmrOriginalRecipient").and_then(address) else {
        return Vec::new();
    };
    let source_ip = subject.split_whitespace().find(|word| word.parse::<IpAddr>().is_ok());
    let data = Data {
        recipient: Some(recipient.clone()),
        original_recipient: Some(recipient),
        feedback_type: Some("abuse".to_owned()),
        source_ip: source_ip.map(str::to_owned),
        ..Data::of(&returned::of_message(&message))
    };
    vec![Event { kind: Kind::Complained, data }]
}
