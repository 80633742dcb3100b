//! An event as it is told: its JSON is made once, and shared by all who are told.

use crate::event::Event;
use crate::url_pattern::UrlPattern;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, OnceLock};

/// An event and what is sent of it.
#[derive(Debug)]
pub struct Told {
    event: Arc<Event>,
    json: Bytes,
    /// Read when a format or a filter asks for a field.
    data: OnceLock<Map<String, Value>>,
    origin: OnceLock<Option<UrlPattern>>,
    recipient: OnceLock<Option<String>>,
}

impl Told {
    /// The event, written once.
    pub fn of(event: impl Into<Arc<Event>>) -> Told {
        let event = event.into();
        let json = Bytes::from(json(&event));
        let (data, origin, recipient) = <_>::default();
        Told { event, json, data, origin, recipient }
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

    /// Its destination, as filters compare it.
    pub(super) fn origin(&self) -> Option<&UrlPattern> {
        self.origin.get_or_init(|| self.text("destination")?.parse().ok()).as_ref()
    }

    /// Its forward-path in lower case.
    pub(super) fn recipient(&self) -> Option<&str> {
        self.recipient.get_or_init(|| Some(self.text("recipient")?.to_lowercase())).as_deref()
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
    // The time, and all that is the same in each.
    const FRAME: usize = 78;
    let Event { id, name, at, tenant, data } = event;
    let texts = id.as_str().len() + name.as_str().len() + tenant.as_str().len();
    let mut json = Vec::with_capacity(FRAME + texts + data.len());
    // Writing into memory does not fail.
    let _ = write!(json, r#"{{"id":"{id}","type":"{name}","timestamp":"{at}","tenant":"#);
    let _ = serde_json::to_writer(&mut json, tenant.as_str());
    json.extend_from_slice(b",\"data\":");
    // A line end can only stand between two tokens (RFC 8259 section 2). Most have none, and
    // are looked through many octets at a time.
    let is_end = |octet: &u8| matches!(octet, b'\r' | b'\n');
    match data.iter().fold(false, |has_end, octet| has_end | is_end(octet)) {
        true => json.extend(data.iter().map(|octet| if is_end(octet) { b' ' } else { *octet })),
        false => json.extend_from_slice(data),
    }
    json.push(b'}');
    json
}
