//! Calls about destinations: look, pause, resume, flush, back off, recover, purge.
//!
//! The origin in a path is percent-encoded, and may be a pattern such as
//! `https://*.shop.example` or `*`.

use super::ask::{Asked, Given, Nothing, Reason};
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use super::shapes::{DestinationShape, OrderedShape};
use crate::clock::rfc3339;
use crate::deliver::control::Which;
use crate::deliver::look::{Choice, Group, Kind, Look, Order};
use crate::spool::{self, PostState, Query};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

type Answer = Result<Response, Problem>;

/// The query of `GET /destinations`, and of that of one origin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// Which come first: by their names, which is usual; those in trouble, then those that are
    /// slowed; those that do well, where most attempts are under way first; or those for which
    /// most posts wait or are under way.
    #[schemars(extend("enum" = ["name", "worst", "busiest", "fullest"]))]
    order: Option<String>,
    /// No others but those that are paused, in backoff, not in backoff, have not taken a post
    /// lately, or are connected.
    #[schemars(extend("enum" = ["paused", "backoff", "normal", "errors", "connected"]))]
    only: Option<String>,
    /// How many at most; all of them without it.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

/// Most destinations that a limit may name.
const MOST: usize = 1000;

/// What `only` may be.
const KINDS: [(&str, Kind); 5] = [
    ("paused", Kind::Paused),
    ("backoff", Kind::Backoff),
    ("normal", Kind::Normal),
    ("errors", Kind::Failing),
    ("connected", Kind::Connected),
];

impl Listing {
    fn choice(&self) -> Result<Choice, Problem> {
        let order = match self.order.as_deref() {
            None | Some("name") => Order::Name,
            Some("worst") => Order::Worst,
            Some("busiest") => Order::Busiest,
            Some("fullest") => Order::Fullest,
            Some(_) => return Err(Problem::bad_field("order", "write name, worst, busiest or fullest")),
        };
        let kind = |name| KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let unknown = || Problem::bad_field("only", "write paused, backoff, normal, errors or connected");
        let only = self.only.as_deref().map(|name| kind(name).ok_or_else(unknown)).transpose()?;
        match self.limit {
            None => Ok(Choice { order, only, ..Choice::ALL }),
            Some(most @ 1..=MOST) => Ok(Choice { order, only, most }),
            Some(_) => Err(Problem::bad_field("limit", format!("write a number from 1 to {MOST}"))),
        }
    }
}

/// `GET /destinations`
pub(super) async fn list(State(desk): State<Desk>, caller: Caller, Asked(listing): Asked<Listing>) -> Answer {
    Ok(shown(&desk.control.look(which("*", &caller)?, listing.choice()?).await?))
}

/// `GET /destinations/{origin}`: one for each tenant that uses it.
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Asked(listing): Asked<Listing>,
) -> Answer {
    let look = desk.control.look(which(&origin, &caller)?, listing.choice()?).await?;
    if look.total == 0 {
        return Err(Problem::not_found("no posts, connections or pauses of this origin"));
    }
    Ok(shown(&look))
}

fn shown(Look { chosen, total, trouble, slowed, oldest_at }: &Look) -> Response {
    let shapes: Vec<_> = chosen.iter().map(DestinationShape::of).collect();
    let group =
        |Group { destinations, waiting }: &Group| json!({ "destinations": destinations, "queued": waiting });
    let told = json!({
        "destinations": shapes, "total": total, "in_trouble": group(trouble), "slowed": group(slowed),
        "oldest": oldest_at.map(rfc3339),
    });
    json(StatusCode::OK, &told)
}

/// Whether destinations can be meant so.
pub(super) fn check(origin: &str, caller: &Caller) -> Result<(), Problem> {
    which(origin, caller).map(drop)
}

fn which(origin: &str, caller: &Caller) -> Result<Which, Problem> {
    let origins = origin.parse().map_err(|reason: String| Problem::bad_field("origin", reason))?;
    Ok(Which { origins, tenant: caller.tenant.clone() })
}

/// `POST /destinations/{origin}/pause`
pub(super) async fn pause(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(reason): Given<Reason>,
) -> Answer {
    let reason = said(reason)?;
    counted(desk.control.pause(which(&origin, &caller)?, reason).await?)
}

/// Most octets of the reason for an order.
const LONGEST_REASON: usize = 256;

/// The reason that somebody gives.
fn said(Reason { reason }: Reason) -> Result<String, Problem> {
    let reason = reason.unwrap_or_default();
    if reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
        let detail = format!("write one line of at most {LONGEST_REASON} octets");
        return Err(Problem::bad_field("reason", detail));
    }
    Ok(reason)
}

/// `POST /destinations/{origin}/backoff`
pub(super) async fn back_off(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(reason): Given<Reason>,
) -> Answer {
    let reason = said(reason)?;
    counted(desk.control.back_off(which(&origin, &caller)?, reason).await?)
}

/// `POST /destinations/{origin}/recover`
pub(super) async fn recover(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(Nothing {}): Given<Nothing>,
) -> Answer {
    counted(desk.control.recover(which(&origin, &caller)?).await?)
}

/// `POST /destinations/{origin}/resume`
pub(super) async fn resume(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(Nothing {}): Given<Nothing>,
) -> Answer {
    counted(desk.control.resume(which(&origin, &caller)?).await?)
}

/// `POST /destinations/{origin}/flush`
pub(super) async fn flush(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(Nothing {}): Given<Nothing>,
) -> Answer {
    let ordered = desk.control.flush(which(&origin, &caller)?).await?;
    Ok(json(StatusCode::OK, &OrderedShape::of(&ordered)))
}

/// What waits, and may be deleted at once.
const WAITING: [PostState; 3] = [PostState::Queued, PostState::Deferred, PostState::Held];

/// The body of `…/purge`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    /// Whether `*` is meant.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

impl Purge {
    /// Whether it may mean this origin.
    pub(super) fn check(&self, origin: &str) -> Result<(), Problem> {
        if origin == "*" && !self.all {
            let detail = "* means every post that waits; add \"all\": true for that";
            return Err(Problem::bad_field("all", detail));
        }
        Ok(())
    }
}

/// `POST /destinations/{origin}/purge`: deletes what waits there, held posts too; not
/// what is under way or has failed.
pub(super) async fn purge(
    State(desk): State<Desk>,
    caller: Caller,
    Path(origin): Path<String>,
    Given(purge): Given<Purge>,
) -> Answer {
    let Which { origins, tenant } = which(&origin, &caller)?;
    purge.check(&origin)?;
    let query = Query { destination: Some(origins), tenant, ..Query::default() };
    if purge.dry_run {
        let census = desk.spool.census(query).await?;
        return counted(WAITING.iter().filter_map(|state| census.get(state)).sum());
    }
    let mut count = 0;
    for state in WAITING {
        let query = Query { state: Some(state), ..query.clone() };
        count += desk.control.order(query, spool::Order::Delete).await?.count;
    }
    counted(count)
}

fn counted(count: u64) -> Answer {
    Ok(json(StatusCode::OK, &json!({ "count": count })))
}
