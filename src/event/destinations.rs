//! What events say of destinations.
//!
//! A destination is one origin, or the pattern of those that somebody paused.

use super::{Event, EventId, EventName};
use crate::post::Timestamp;
use crate::tenant::Tenant;
use bytes::Bytes;
use serde::Serialize;

/// What happened to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Somebody, or a rule, paused it.
    Paused,
    /// The pause is over.
    Resumed,
    /// It is left alone but for probes.
    Backoff,
    /// It answers again.
    Recovered,
}

impl Turn {
    /// The name of its event.
    pub fn name(self) -> &'static str {
        match self {
            Turn::Paused => "destination.paused",
            Turn::Resumed => "destination.resumed",
            Turn::Backoff => "destination.backoff",
            Turn::Recovered => "destination.recovered",
        }
    }
}

#[derive(Serialize)]
struct Data<'a> {
    destination: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    reason: Option<&'a str>,
    queued: u64,
}

fn is_empty(reason: &Option<&str>) -> bool {
    reason.is_none_or(str::is_empty)
}

/// The event of what happened to the destinations of a tenant that fit `origins`, of
/// which so many posts wait. A reason is there where somebody gave one.
pub fn event(
    turn: Turn,
    (origins, tenant): (&str, &Tenant),
    (reason, queued): (Option<&str>, u64),
    at: Timestamp,
    dice: u128,
) -> Event {
    let data = Data { destination: origins, tenant: tenant.as_str(), reason, queued };
    Event {
        id: EventId::new(at, dice),
        name: EventName(turn.name().into()),
        at,
        tenant: tenant.clone(),
        data: serde_json::to_vec(&data).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_where_there_is_one() {
        for (turn, reason, queued, name, expected) in [
            (
                Turn::Paused,
                Some("maintenance"),
                7,
                "destination.paused",
                r#"{"destination":"https://*.a.example","tenant":"shop","reason":"maintenance","queued":7}"#,
            ),
            (
                Turn::Resumed,
                None,
                0,
                "destination.resumed",
                r#"{"destination":"https://*.a.example","tenant":"shop","queued":0}"#,
            ),
            (
                Turn::Backoff,
                Some(""),
                1,
                "destination.backoff",
                r#"{"destination":"https://*.a.example","tenant":"shop","queued":1}"#,
            ),
        ] {
            let of = ("https://*.a.example", &Tenant::new("shop"));
            let event = event(turn, of, (reason, queued), Timestamp(1), 0);
            assert_eq!((event.name.as_str(), &*event.data), (name, expected.as_bytes()));
            assert_eq!(event.tenant, Tenant::new("shop"));
        }
    }
}
