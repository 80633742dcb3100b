//! Read receipts (RFC 8098). That a message was deleted unseen, or handed on by a
//! program, is not told as an event.

use super::returned::Returned;
use super::{Data, Event, Kind, groups, said, untyped};

/// The event of a `message/disposition-notification` whose message was displayed.
pub fn read(content: &[u8], returned: &Returned) -> Vec<Event> {
    let Some(group) = groups(content).next() else { return Vec::new() };
    let fields = &group.fields;
    let disposition = said(fields, "Disposition").unwrap_or_default().to_ascii_lowercase();
    let kind =
        disposition.rsplit(';').next().unwrap_or_default().split(['/', ',']).next().unwrap_or_default();
    if kind.trim() != "displayed" {
        return Vec::new();
    }
    let last = untyped(fields, "Final-Recipient");
    let recipient = untyped(fields, "Original-Recipient").or_else(|| last.clone());
    let data = Data {
        final_recipient: last.filter(|last| recipient.as_ref() != Some(last)),
        recipient,
        user_agent: said(fields, "Reporting-UA"),
        original_message_id: said(fields, "Original-Message-ID").or_else(|| returned.message_id.clone()),
        ..Data::of(returned)
    };
    vec![Event { kind: Kind::Opened, data }]
}
