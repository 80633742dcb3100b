//! An event as it is told: its JSON is made once, and shared by all who are told.

use crate::clock::rfc3339;
use crate::event::Event;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::OnceLock;

/// An event and what is sent of it.
#[derive(Debug)]
pub struct Told {
    event: Event,
    json: Bytes,
    /// Read when a format or a filter asks for a field.
    data: OnceLock<Map<String, Value>>,
}

impl Told {
    /// The event, written once.
    pub fn of(event: Event) -> Told {
        let json = Bytes::from(json(&event));
        Told { event, json, data: OnceLock::new() }
    }

    /// The event itself.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// `{"id", "type", "timestamp", "tenant", "data"}` on one line.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// A field of its data as text: strings as they are, numbers and truth values
    /// written out; nothing for what is missing or has parts.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        match self.data().get(key)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Bool(bool) => Some(Cow::Owned(bool.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A field of its data that is a number, or a text that says one.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// The texts of `tags`, or that of `tag`.
    pub fn tags(&self) -> Vec<&str> {
        let tag = self.data().get("tags").or(self.data().get("tag"));
        match tag {
            Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(tag)) => vec![tag],
            _ => Vec::new(),
        }
    }

    /// The host of its destination, without scheme and port.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        let destination = self.text("destination")?;
        let authority = destination.split_once("://").map_or(&*destination, |(_, authority)| authority);
        let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((literal, _)) => literal,
            None => authority.split([':', '/']).next().unwrap_or_default(),
        };
        Some(Cow::Owned(host.to_owned()))
    }

    /// Its data; empty when they are no object.
    pub fn data(&self) -> &Map<String, Value> {
        self.data.get_or_init(|| serde_json::from_slice(&self.event.data).unwrap_or_default())
    }
}

/// Everything but the data is text that JSON takes as it is, but for the tenant.
fn json(event: &Event) -> Vec<u8> {
    let tenant = Value::from(event.tenant.as_str());
    let at = rfc3339(event.at);
    let head = format!(
        "{{\"id\":\"{}\",\"type\":\"{}\",\"timestamp\":\"{at}\",\"tenant\":{tenant},\"data\":",
        event.id, event.name
    );
    let mut json = Vec::with_capacity(head.len() + event.data.len() + 1);
    json.extend_from_slice(head.as_bytes());
    // A line end can only stand between two tokens (RFC 8259 section 2).
    json.extend(event.data.iter().map(|octet| if matches!(octet, b'\r' | b'\n') { b' ' } else { *octet }));
    json.push(b'}');
    json
}
