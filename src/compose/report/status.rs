//! Delivery status notifications (RFC 3464, RFC 6533).

use super::super::mail::HeaderField;
use super::returned::Returned;
use super::{Data, Event, Kind, groups, said, untyped, words};

/// The events of a `message/delivery-status`, one a recipient.
pub fn read(content: &[u8], returned: &Returned) -> Vec<Event> {
    let mut reporting_mta = None;
    let mut events = Vec::new();
    for group in groups(content) {
        reporting_mta = reporting_mta.or_else(|| untyped(&group.fields, "Reporting-MTA"));
        events.extend(event(&group.fields, reporting_mta.as_ref(), returned));
        if events.len() > super::MOST {
            break;
        }
    }
    events
}

fn event(fields: &[HeaderField<'_>], reporting_mta: Option<&String>, returned: &Returned) -> Option<Event> {
    let last = untyped(fields, "Final-Recipient");
    let recipient = untyped(fields, "Original-Recipient").or_else(|| last.clone())?;
    let diagnostic_code = said(fields, "Diagnostic-Code");
    let status = status(said(fields, "Status").as_deref(), diagnostic_code.as_deref());
    let kind = kind(said(fields, "Action").as_deref(), status.as_deref())?;
    Some(Event {
        kind,
        data: Data {
            final_recipient: last.filter(|last| !last.eq_ignore_ascii_case(&recipient)),
            recipient: Some(recipient),
            bounce_type: (kind == Kind::Bounced).then(|| words::bounce_type(status.as_deref())),
            reason: words::reason(status.as_deref(), diagnostic_code.as_deref())
                .filter(|_| kind != Kind::Delivered),
            status,
            diagnostic_code,
            reporting_mta: reporting_mta.cloned(),
            remote_mta: untyped(fields, "Remote-MTA"),
            ..Data::of(returned)
        },
    })
}

/// The status that tells most: what the remote server said is finer than the
/// `5.0.0` that some programs always write.
fn status(status: Option<&str>, diagnostic_code: Option<&str>) -> Option<String> {
    let told = status.and_then(words::enhanced);
    let found = || diagnostic_code.and_then(|text| words::enhanced(text).or_else(|| words::basic(text)));
    match told {
        Some(told) if !told.ends_with(".0.0") => Some(told),
        told => {
            found().filter(|found| told.as_ref().is_none_or(|told| told.get(..1) == found.get(..1))).or(told)
        }
    }
}

/// What became of the mail: the action says it, and the class of the status where
/// there is none.
fn kind(action: Option<&str>, status: Option<&str>) -> Option<Kind> {
    let action = action.unwrap_or_default().split([' ', '(', ';']).next().unwrap_or_default();
    match (action.to_ascii_lowercase().as_str(), status.and_then(|status| status.chars().next())) {
        ("failed", _) | ("", Some('5')) => Some(Kind::Bounced),
        ("delayed", _) | ("", Some('4')) => Some(Kind::Delayed),
        ("delivered" | "relayed" | "expanded", _) | ("", Some('2')) => Some(Kind::Delivered),
        _ => None,
    }
}
