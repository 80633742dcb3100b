//! `/destinations`: each origin with its state, its queue and what it answered last;
//! paused, resumed and flushed from here.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::shapes::{Destination, Destinations, Ordered};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

/// Most destinations on the page, the worst first.
const MOST: usize = 200;

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
    destinations: Vec<Destination>,
    /// Those that have no room on the page.
    more: usize,
    may_steer: bool,
    has_tenants: bool,
}

/// `GET /destinations`
pub(super) async fn list(visit: Visit) -> Answer {
    layout::page(&DestinationsPage { frame: visit.frame("Destinations"), list: look(&visit).await? })
}

/// `GET /destinations/live`: the part of it that is refreshed.
pub(super) async fn live(visit: Visit) -> Answer {
    layout::page(&ListPiece { frame: visit.frame("Destinations"), list: look(&visit).await? })
}

async fn look(visit: &Visit) -> Result<List, Trouble> {
    let Destinations { mut destinations } = visit.get("/api/v1/destinations").await?;
    let waiting = |one: &Destination| std::cmp::Reverse(one.queued + one.sending);
    destinations.sort_by_key(|one| (one.trouble(), waiting(one)));
    destinations.sort_by_key(|one| one.trouble().is_none());
    let more = destinations.len().saturating_sub(MOST);
    destinations.truncate(MOST);
    let has_tenants = destinations.iter().any(|one| one.tenant != "default");
    Ok(List { destinations, more, may_steer: visit.may_steer(), has_tenants })
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
    let _: Ordered = visit.order(Method::POST, &path, Some(&body)).await?;
    Ok(layout::see("/destinations"))
}
