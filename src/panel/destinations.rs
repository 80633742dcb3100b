//! `/destinations`: each origin with its state, its queue and what it answered last;
//! paused, resumed and flushed from here.
//!
//! The worst come first, and no more than a page holds; the others are found by their
//! origins, or by a pattern of them.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::looks::Age;
use super::shapes::{Destination, Destinations, Ordered};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::extract::RawQuery;
use http::{Method, StatusCode};
use serde_json::json;

/// Most destinations on the page, the worst first.
const MOST: usize = 50;

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "destinations.html")]
struct DestinationsPage {
    frame: Frame,
    list: List,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "destinations_live.html")]
struct ListPiece {
    frame: Frame,
    list: List,
}

struct List {
    /// Which are looked for; empty for all.
    origin: String,
    destinations: Vec<Destination>,
    /// Those that have no room on the page.
    more: u64,
    may_steer: bool,
    has_tenants: bool,
}

impl List {
    /// The part of the page that is refreshed.
    fn live(&self) -> String {
        match self.origin.as_str() {
            "" => "/destinations/live".to_owned(),
            origin => format!("/destinations/live?origin={}", words::piece(origin)),
        }
    }
}

/// `GET /destinations`
pub(super) async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let list = look(&visit, query.as_deref(), Age::New).await?;
    layout::page(&DestinationsPage { frame: visit.frame("Destinations"), list })
}

/// `GET /destinations/live`: the part of it that is refreshed.
pub(super) async fn live(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let list = look(&visit, query.as_deref(), Age::Recent).await?;
    layout::page(&ListPiece { frame: visit.frame("Destinations"), list })
}

async fn look(visit: &Visit, query: Option<&str>, age: Age) -> Result<List, Trouble> {
    let fields = Fields::of_query(query);
    let origin = fields.text("origin").unwrap_or_default().to_owned();
    let piece = if origin.is_empty() { String::new() } else { format!("/{}", words::piece(&origin)) };
    let path = format!("/api/v1/destinations{piece}?order=worst&limit={MOST}");
    // What is looked for is of one alone, and there is no end of what can be looked for.
    let found = match origin.as_str() {
        "" => visit.look(&path, age).await,
        _ => visit.get(&path).await,
    };
    let found = match found {
        // Nothing is like that; the page says so.
        Err(Trouble { status: StatusCode::NOT_FOUND, .. }) => Destinations::default(),
        found => found?,
    };
    let Destinations { destinations, total, .. } = found;
    let more = total.saturating_sub(destinations.len() as u64);
    let has_tenants = destinations.iter().any(|one| one.tenant != "default");
    Ok(List { origin, destinations, more, may_steer: visit.may_steer(), has_tenants })
}

/// `POST /destinations/actions`
pub(super) async fn act(visit: Visit, fields: Fields) -> Answer {
    let unnamed =
        || Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, "say which destination; nothing was done");
    let origin = fields.text("origin").ok_or_else(unnamed)?;
    let verb = fields.text("action").unwrap_or_default();
    let body = match verb {
        "pause" => json!({ "reason": fields.text("reason").unwrap_or("paused in the panel") }),
        "resume" | "flush" => json!({}),
        _ => {
            let detail = "destinations are paused, resumed or flushed";
            return Err(Trouble::new(StatusCode::NOT_FOUND, detail));
        }
    };
    // A row is of one tenant, and so is what its buttons do.
    let visit = match fields.text("tenant") {
        Some(tenant) => visit.for_tenant(tenant)?,
        None => visit,
    };
    let path = format!("/api/v1/destinations/{}/{verb}", words::piece(origin));
    let ordered: Result<Ordered, _> = visit.order(Method::POST, &path, Some(&body)).await;
    visit.panel.looks.end();
    ordered?;
    let found = fields.text("found").map(|found| format!("?origin={}", words::piece(found)));
    Ok(layout::see(&format!("/destinations{}", found.unwrap_or_default())))
}
