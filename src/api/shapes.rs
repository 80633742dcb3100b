//! Posts, attempts and destinations as the API writes them.
//!
//! Field names are in snake case, times RFC 3339 with milliseconds, durations in
//! seconds. Secrets stay out: userinfo and query parameters that speak of one are
//! masked, and of header fields only those of [`SHOWN`] have a value.

use super::ask::state_name;
use crate::clock::{self, rfc3339};
use crate::deliver::control::{Ordered, State, Status};
use crate::deliver::latencies::Latency;
use crate::deliver::look::Standing;
use crate::deliver::pace::Rate;
use crate::masked;
use crate::post::{Field, Timestamp};
use crate::spool::{Attempt, Listed, PostState};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Header fields whose values are shown; all others might hold a secret.
const SHOWN: [&str; 9] = [
    "accept",
    "accept-language",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "mime-version",
    "traceparent",
    "user-agent",
];

/// A post in a list, or alone.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Post")]
pub(super) struct PostShape {
    id: String,
    #[schemars(extend("enum" = ["queued", "deferred", "sending", "held", "failed", "delivered"]))]
    state: &'static str,
    tenant: String,
    method: String,
    url: String,
    destination: String,
    sender: String,
    recipient: String,
    accepted_at: String,
    /// When it is tried next; of posts that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// When it is forgotten; of those that are held or have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_until: Option<String>,
    attempts: u32,
    last_attempt: Option<AttemptShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    priority: u8,
    tags: Vec<String>,
    body_size: u32,
    headers: Vec<HeaderShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_with: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xs_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xs_mailing_id: Option<String>,
}

impl PostShape {
    pub(super) fn of(listed: &Listed) -> PostShape {
        let post = &*listed.post;
        let due_at = Some(rfc3339(listed.due_at));
        let (next_attempt_at, kept_until) = match listed.state {
            PostState::Queued | PostState::Deferred => (due_at, None),
            PostState::Held | PostState::Failed | PostState::Delivered => (None, due_at),
            PostState::Sending => (None, None),
        };
        PostShape {
            id: post.id.to_string(),
            state: state_name(listed.state),
            tenant: post.destination.tenant.to_string(),
            method: post.method.clone(),
            url: masked::url(post),
            destination: post.destination.to_string(),
            sender: post.sender.clone(),
            recipient: masked::recipient(post),
            accepted_at: rfc3339(post.accepted_at),
            next_attempt_at,
            kept_until,
            attempts: listed.ended,
            last_attempt: listed.last.as_ref().map(AttemptShape::of),
            not_before: post.not_before_at.map(rfc3339),
            expires: post.expires_at.map(rfc3339),
            priority: post.priority,
            tags: post.tags.clone(),
            body_size: post.body.length,
            headers: post.headers.iter().map(HeaderShape::of).collect(),
            idempotency_key: post.idempotency_key.clone(),
            ordering_key: post.ordering_key.clone(),
            sign_with: post.sign_with.clone(),
            auth: post.auth.clone(),
            xs_message_id: post.xs_message_id.clone(),
            xs_mailing_id: post.xs_mailing_id.clone(),
        }
    }
}

/// A post as the API shows it, and its attempts as `attempt_list`: what a file says of it.
pub fn exported(listed: &Listed, attempts: &[Attempt]) -> Map<String, Value> {
    let shape = serde_json::to_value(PostShape::of(listed));
    // Text and numbers alone: nothing that JSON could not say.
    let Ok(Value::Object(mut shown)) = shape else { return Map::new() };
    shown.insert("attempt_list".to_owned(), json!(attempts.iter().map(AttemptShape::of).collect::<Vec<_>>()));
    shown
}

/// A header field; without its value when that might be a secret.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Header")]
struct HeaderShape {
    name: String,
    value: Option<String>,
}

impl HeaderShape {
    fn of(field: &Field) -> HeaderShape {
        let name = field.name.to_ascii_lowercase();
        let is_shown = SHOWN.contains(&name.as_str()) || name.starts_with("postgate-");
        let value = is_shown.then(|| String::from_utf8_lossy(&field.value).into_owned());
        HeaderShape { name: field.name.clone(), value }
    }
}

/// An attempt that ended.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub(super) struct AttemptShape {
    number: u32,
    started_at: Option<String>,
    /// In seconds.
    duration: f64,
    status: Option<u16>,
    reason: String,
    /// The beginning of the response's text.
    response: String,
}

impl AttemptShape {
    pub(super) fn of(attempt: &Attempt) -> AttemptShape {
        AttemptShape {
            number: attempt.number,
            started_at: (attempt.started_at != Timestamp::default()).then(|| rfc3339(attempt.started_at)),
            duration: seconds(attempt.duration),
            status: attempt.status,
            reason: attempt.reason.clone(),
            response: attempt.excerpt.clone(),
        }
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What an order to posts came to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Ordered")]
pub(super) struct OrderedShape {
    count: u64,
    /// Those of them that are due but wait for the end of a pause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paused: Vec<PausedShape>,
    /// Header fields that a post lost on its way to another origin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped_headers: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Paused")]
struct PausedShape {
    origin: String,
    count: u64,
}

impl OrderedShape {
    pub(super) fn of(Ordered { count, paused }: &Ordered) -> OrderedShape {
        let paused =
            paused.iter().map(|(origins, count)| PausedShape { origin: origins.to_string(), count: *count });
        OrderedShape { count: *count, paused: paused.collect(), dropped_headers: Vec::new() }
    }

    /// The same for a post that lost these fields.
    pub(super) fn without(self, dropped_headers: Vec<String>) -> OrderedShape {
        OrderedShape { dropped_headers, ..self }
    }
}

/// A destination: an origin as one tenant uses it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Destination")]
pub(super) struct DestinationShape {
    origin: String,
    tenant: String,
    /// Whose batches these are, where they are those of a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[schemars(extend("enum" = ["active", "recovering", "backoff", "deferring", "throttled", "paused"]))]
    state: &'static str,
    /// Why it is in backoff, deferring or paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Seconds until something goes out again.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<f64>,
    /// When that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Posts that wait for an attempt.
    queued: u64,
    sending: u64,
    held: u64,
    failed: u64,
    /// When the oldest post was accepted that waits or is being sent, or a little earlier: by no
    /// more than its age. Missing where there is none.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    in_flight: usize,
    /// Attempts that may be under way now.
    concurrency_limit: usize,
    max_connections: usize,
    connections: usize,
    http_version: Option<&'static str>,
    rates: Vec<RateShape>,
    last: Option<EventShape>,
    last_error: Option<EventShape>,
    /// Its certificate is not checked.
    insecure: bool,
    /// `trouble`: it takes no posts; `slowed`: fewer go out than could, as somebody wanted it.
    #[schemars(extend("enum" = ["trouble", "slowed", "well"]))]
    standing: &'static str,
    /// Missing before its first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencyShape>,
}

/// How long the last answers took, in seconds: up to a hundred of them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Latency")]
struct LatencyShape {
    p50: f64,
    p99: f64,
    /// Up to 32 of them, the last one last.
    recent: Vec<f64>,
}

/// Answers that are listed one by one.
const RECENT: usize = 32;

impl LatencyShape {
    fn of(Latency { p50, p99, recent }: Latency) -> LatencyShape {
        // A receiver beside us answers within a millisecond.
        let seconds = |took: Duration| took.as_micros() as f64 / 1e6;
        let recent = recent.into_iter().rev().take(RECENT).rev().map(seconds).collect();
        LatencyShape { p50: seconds(p50), p99: seconds(p99), recent }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rate")]
struct RateShape {
    rate: String,
    used: u32,
}

impl RateShape {
    fn of((rate, used): &(Rate, u32)) -> RateShape {
        RateShape { rate: shown(*rate), used: *used }
    }
}

/// As in the configuration: `50/s`, `6000/15m`.
pub(super) fn shown(rate: Rate) -> String {
    let seconds = rate.per.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let unit = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length) && seconds > 0);
    match unit {
        Some((length, unit)) if seconds == length => format!("{}/{unit}", rate.count),
        Some((length, unit)) => format!("{}/{}{unit}", rate.count, seconds / length),
        None => format!("{}/{}ms", rate.count, rate.per.as_millis()),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Occurrence")]
struct EventShape {
    at: String,
    text: String,
}

impl EventShape {
    fn of((at, text): &(Timestamp, String)) -> EventShape {
        EventShape { at: rfc3339(*at), text: text.clone() }
    }
}

impl DestinationShape {
    pub(super) fn of(status: &Status) -> DestinationShape {
        let (reason, since, wait) = match &status.state {
            State::Active | State::Recovering => (None, None, None),
            State::Backoff { next_probe, reason } => (Some(reason.clone()), None, Some(*next_probe)),
            State::Deferring { left, reason } => (Some(reason.clone()), None, Some(*left)),
            State::Throttled { left } => (None, None, Some(*left)),
            State::Paused { since, reason } => (Some(reason.clone()), Some(rfc3339(*since)), None),
        };
        DestinationShape {
            origin: status.destination.to_string(),
            tenant: status.destination.tenant.to_string(),
            webhook: status.destination.webhook.as_ref().map(ToString::to_string),
            state: status_name(&status.state),
            reason,
            since,
            wait: wait.map(seconds),
            until: wait.map(|wait| rfc3339(clock::wall().after(wait))),
            queued: status.counts.waiting,
            sending: status.counts.sending,
            held: status.counts.held,
            failed: status.counts.failed,
            oldest: status.counts.oldest_at.map(rfc3339),
            in_flight: status.in_flight,
            concurrency_limit: status.window,
            max_connections: status.max_connections,
            connections: status.connections,
            http_version: status.version,
            rates: status.rates.iter().map(RateShape::of).collect(),
            last: status.last.as_ref().map(EventShape::of),
            last_error: status.last_error.as_ref().map(EventShape::of),
            insecure: status.insecure,
            standing: match status.standing() {
                Standing::Trouble => "trouble",
                Standing::Slowed => "slowed",
                Standing::Well => "well",
            },
            latency: status.latencies.as_ref().and_then(|known| known.told()).map(LatencyShape::of),
        }
    }
}

/// How the state of a destination is written.
pub(super) fn status_name(state: &State) -> &'static str {
    match state {
        State::Active => "active",
        State::Recovering => "recovering",
        State::Backoff { .. } => "backoff",
        State::Deferring { .. } => "deferring",
        State::Throttled { .. } => "throttled",
        State::Paused { .. } => "paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_in_the_configuration() {
        for (count, seconds, text) in
            [(100, 1, "100/s"), (6000, 900, "6000/15m"), (50_000, 3600, "50000/h"), (1, 86_400, "1/d")]
        {
            assert_eq!(shown(Rate { count, per: Duration::from_secs(seconds) }), text);
        }
        assert_eq!(shown(Rate { count: 3, per: Duration::from_millis(500) }), "3/500ms");
    }
}
