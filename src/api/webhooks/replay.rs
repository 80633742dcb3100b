//! Calls that send events again to a webhook.
//!
//! What is sent again is what the journal still has and the webhook wants. The answer says
//! how many events that are, as far as they can be counted in a while; they are sent
//! behind it, also after a restart, and `…/replays` tells how far that is.

use super::super::ask::{Asked, Given, Nothing};
use super::super::caller::Caller;
use super::super::desk::Desk;
use super::super::filter::time;
use super::super::problem::{Problem, json};
use super::{Answer, drawn};
use crate::clock::{self, rfc3339};
use crate::fanout::replay::{Count, Extent, Meant, Replay, ReplayError, Replays, State as Progress};
use crate::fanout::webhook::{Filter, Patterns, Status};
use crate::post::Timestamp;
use axum::extract::{Path, State};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The body of `…/replay`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Asking {
    since: Option<String>,
    until: Option<String>,
    filter: Which,
    all: bool,
    dry_run: bool,
}

/// Which events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    events: Vec<String>,
    tag: Patterns,
    destination: Patterns,
    recipient: Patterns,
}

/// What is answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Counted")]
pub(in crate::api) struct CountShape {
    /// Nothing when they are only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Events, or at least so many.
    count: u64,
    /// Whether all were counted.
    exact: bool,
}

impl CountShape {
    fn of(id: Option<String>, count: Count) -> CountShape {
        CountShape { id, count: count.events, exact: count.extent == Extent::Whole }
    }
}

/// A replay.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Replay")]
pub(in crate::api) struct ReplayShape {
    id: String,
    created_at: String,
    since: Option<String>,
    until: Option<String>,
    filter: Filter,
    events: Vec<String>,
    state: Progress,
    /// Events of the journal that it has looked at, and has to look at.
    looked_at: u64,
    to_look_at: u64,
    /// Events that were sent again.
    sent: u64,
    /// Events of the journal that it let go before they were looked at.
    missed: u64,
}

impl ReplayShape {
    fn of(replay: Replay) -> ReplayShape {
        let Replay { id, created_at, meant, state, span: (from, at, end), sent, missed, .. } = replay;
        ReplayShape {
            id,
            created_at: rfc3339(created_at),
            since: meant.since.map(rfc3339),
            until: meant.until.map(rfc3339),
            filter: meant.filter,
            events: meant.events,
            state,
            looked_at: at.0.saturating_sub(from.0),
            to_look_at: end.0.saturating_sub(from.0),
            sent,
            missed,
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Problem {
        match error {
            ReplayError::Journal(error) => super::super::events::unread(&error),
            ReplayError::Spool(error) => error.into(),
            ReplayError::TooMany => {
                Problem::new(StatusCode::CONFLICT, "so many replays are under way; wait for one to end")
            }
        }
    }
}

impl Desk {
    fn replays(&self) -> Result<&Replays, Problem> {
        Ok(&self.webhooks()?.replays)
    }
}

/// `POST /webhooks/{id}/replay`
pub(in crate::api) async fn begin(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Given(asking): Given<Asking>,
) -> Answer {
    let webhook = desk.webhooks()?.shelf.one(&id, caller.tenant.as_ref()).await?.webhook;
    let is_dry = asking.dry_run;
    let meant = meant(asking)?;
    let replays = desk.replays()?;
    let count = replays.count(&webhook, &meant).await.map_err(ReplayError::from)?;
    if is_dry {
        return Ok(json(StatusCode::OK, &CountShape::of(None, count)));
    }
    match webhook.status() {
        Status::Active | Status::Failing => {}
        Status::Unverified => {
            let detail = "its receiver has not shown that it wants events; verify it first";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Status::Disabled => {
            return Err(Problem::new(StatusCode::CONFLICT, "it is disabled; enable it first"));
        }
    }
    let dice = u128::from_be_bytes(drawn()?);
    let replay = replays.begin(&webhook, meant, (clock::wall(), dice)).await?;
    Ok(json(StatusCode::ACCEPTED, &CountShape::of(Some(replay.id), count)))
}

/// `GET /webhooks/{id}/replays`: the newest first.
pub(in crate::api) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let webhook = desk.webhooks()?.shelf.one(&id, caller.tenant.as_ref()).await?.webhook;
    let replays = desk.replays()?.of(&webhook.id).await?;
    let shapes: Vec<_> = replays.into_iter().map(ReplayShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "replays": shapes })))
}

/// Which events are meant; all only when that is said.
fn meant(asking: Asking) -> Result<Meant, Problem> {
    let Asking { since, until, filter, all, .. } = asking;
    let at = |field: &'static str, text: Option<String>| -> Result<Option<Timestamp>, Problem> {
        text.map(|text| time(field, &text)).transpose()
    };
    let Which { events, tag, destination, recipient } = filter;
    let (since, until) = (at("since", since)?, at("until", until)?);
    let meant = Meant { since, until, events, filter: Filter { tag, destination, recipient } };
    meant.check()?;
    match (meant == Meant::default(), all) {
        (true, false) => {
            let detail = "say which events by since, until or a filter, or \"all\": true for all";
            Err(Problem::bad_field("filter", detail))
        }
        (false, true) => {
            let detail = "it means some events and \"all\": true means all of them; leave one of both out";
            Err(Problem::bad_field("filter", detail))
        }
        _ => Ok(meant),
    }
}
