//! What is told, as an event, of how a webhook stands.
//!
//! An event is the same, and has the same id, however often it is made: whoever is told
//! again after a crash knows it.

use super::webhook::{Turn, Webhook};
use crate::event::{Event, EventId};
use crate::masked::Masked;
use crate::post::Timestamp;
use bytes::Bytes;
use serde_json::{Value, json};

/// A turn of a webhook.
pub fn turn(webhook: &Webhook, turn: &Turn) -> Option<Event> {
    event(webhook, &turn.name, (turn.at, turn.number), json!({ "reason": turn.reason }))
}

/// So many events were let go that it was to be told of, and so many of all time: the last
/// of them then.
pub fn overrun(webhook: &Webhook, (events, total): (u64, u64), at: Timestamp) -> Option<Event> {
    let more = json!({ "reason": "too much waits for it", "events": events, "total": total });
    event(webhook, "webhook.overrun", (at, total), more)
}

fn event(webhook: &Webhook, name: &str, (at, number): (Timestamp, u64), more: Value) -> Option<Event> {
    let (url, tenant) = (Masked(&webhook.settings.url).to_string(), webhook.tenant.clone());
    let mut data = json!({ "webhookId": webhook.id, "tenant": tenant.as_str(), "url": url });
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    let octets = webhook.id.bytes();
    let dice = octets.fold(u128::from(number), |sum, octet| sum.wrapping_mul(257).wrapping_add(octet.into()));
    let id = EventId::new(at, dice);
    Some(Event { id, name: name.parse().ok()?, at, tenant, data: Bytes::from(data.to_string()) })
}
