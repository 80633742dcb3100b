//! Fanout: events on their way to those who want them.
//!
//! What is here decides and writes: what a request of a format holds ([`bodies`]),
//! what a webhook is ([`webhook`]) and where it is kept ([`shelf`]), how it proves that
//! its receiver wants it ([`verify`]), what is recorded ([`accounting`]). It opens no
//! connection: whoever sends does.
//!
//! An event is written once ([`Told`]); a body of several is a join of those, so that
//! webhooks of one format share it.

pub mod accounting;
pub mod announced;
mod batches;
mod cloudevents;
pub mod engine;
mod form;
pub mod group;
mod live;
mod pattern;
pub mod remembered;
pub mod replay;
pub mod sample;
mod settings;
pub mod shelf;
pub mod sparkpost;
mod subscriber;
mod told;
pub mod verify;
pub mod webhook;

use accounting::{Fields, Privacy};
use bytes::Bytes;
pub use pattern::Sieve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use told::Told;

/// How events are written in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One event a request.
    #[default]
    Single,
    /// An array of events.
    Json,
    /// One event a line.
    Ndjson,
    /// Accounting columns below a line of their names (RFC 4180).
    Csv,
    /// CloudEvents 1.0, structured; batched where a batch may hold several.
    CloudEvents,
    /// An array of SparkPost's `msys` objects.
    SparkPost,
    /// The parameters of Hurricane's event engine, one event a request.
    Form,
}

/// Every format with its name.
pub const FORMATS: [(&str, Format); 7] = [
    ("single", Format::Single),
    ("json", Format::Json),
    ("ndjson", Format::Ndjson),
    ("csv", Format::Csv),
    ("cloudevents", Format::CloudEvents),
    ("sparkpost", Format::SparkPost),
    ("form", Format::Form),
];

/// What differs between webhooks of one format.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// The name of this gateway: the source of its events.
    pub hostname: &'a str,
    /// Whether several events may go in one request, where the format leaves that open.
    pub sharing: Sharing,
}

/// Whether a request may hold several events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One alone.
    Alone,
    /// As many as a batch has.
    Batched,
}

/// The body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its octets.
    pub octets: Bytes,
    /// How many events it holds.
    pub events: usize,
}

/// The requests that tell these events in this format: one, or one an event where the
/// format has room for no more; none for no events.
pub fn bodies(format: Format, told: &[&Told], style: Style<'_>) -> Vec<Body> {
    let alone = |content_type, octets| Body { content_type, octets, events: 1 };
    let each = |write: &dyn Fn(&Told) -> Body| told.iter().map(|told| write(told)).collect();
    let all = |content_type, octets| match told.is_empty() {
        true => Vec::new(),
        false => vec![Body { content_type, octets: Bytes::from(octets), events: told.len() }],
    };
    let jsons = || told.iter().map(|told| told.json().as_ref());
    match (format, style.sharing) {
        (Format::Single, _) => each(&|told| alone("application/json", told.json().clone())),
        (Format::Form, _) => each(&|told| alone("application/x-www-form-urlencoded", form::write(told))),
        (Format::CloudEvents, Sharing::Alone) => each(&|told| {
            let octets = Bytes::from(cloudevents::write(told, style.hostname));
            alone("application/cloudevents+json; charset=utf-8", octets)
        }),
        (Format::CloudEvents, Sharing::Batched) => {
            let events: Vec<_> = told.iter().map(|told| cloudevents::write(told, style.hostname)).collect();
            let octets = array(events.iter().map(Vec::as_slice));
            all("application/cloudevents-batch+json; charset=utf-8", octets)
        }
        (Format::Json, _) => all("application/json", array(jsons())),
        (Format::Ndjson, _) => all("application/x-ndjson", lines(jsons())),
        (Format::Csv, _) => {
            let octets = accounting::csv(told, &Fields::all(), &Privacy::Retain);
            all("text/csv; charset=utf-8; header=present", octets.into_bytes())
        }
        (Format::SparkPost, _) => {
            let events: Vec<_> = told.iter().map(|told| sparkpost::write(told)).collect();
            all("application/json", array(events.iter().map(Vec::as_slice)))
        }
    }
}

/// Headers that a format adds to the request of a batch with this id.
pub fn headers(format: Format, batch: &str, hostname: &str) -> Vec<(&'static str, String)> {
    match format {
        Format::SparkPost => vec![("X-MessageSystems-Batch-ID", batch.to_owned())],
        // CloudEvents HTTP webhook 1.0.2, section 2.1.
        Format::CloudEvents => vec![("WebHook-Request-Origin", hostname.to_owned())],
        _ => Vec::new(),
    }
}

fn array<'a>(elements: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut octets = Vec::with_capacity(1 + room(elements.clone()).max(1));
    octets.push(b'[');
    for (index, element) in elements.enumerate() {
        if index > 0 {
            octets.push(b',');
        }
        octets.extend_from_slice(element);
    }
    octets.push(b']');
    octets
}

fn lines<'a>(elements: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut octets = Vec::with_capacity(room(elements.clone()));
    for element in elements {
        octets.extend_from_slice(element);
        octets.push(b'\n');
    }
    octets
}

/// Octets of all elements, with one behind each.
fn room<'a>(elements: impl Iterator<Item = &'a [u8]>) -> usize {
    elements.map(|element| element.len() + 1).sum()
}
