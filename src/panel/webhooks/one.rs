//! `/webhooks/{id}`: how one does, what it wants, what was sent to it, and what may be
//! done about it.

use super::super::guard::Fields;
use super::super::layout::{self, Answer, Frame};
use super::super::trouble::Trouble;
use super::super::visit::Visit;
use super::super::words;
use super::find;
use super::orders;
use super::shapes::{Batches, Kind, Kinds, Replay, Replays, Sent, Webhook};
use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::IntoResponse as _;
use http::StatusCode;
use url::form_urlencoded::Serializer;

/// Batches of a page.
const PAGE: usize = 20;

/// Most replays that are shown, the newest.
const REPLAYS: usize = 5;

/// How a batch stands, as it is asked for.
const STATES: [&str; 6] = ["queued", "deferred", "sending", "held", "failed", "delivered"];

/// How a receiver shows that it wants events, and what it has to do.
const WAYS: [(&str, &str); 6] = [
    ("post", "It answers a test event with 2xx"),
    ("challenge", "It answers a signed request with the challenge in it"),
    ("options", "It gives permission as CloudEvents has it (OPTIONS)"),
    ("file", "It has a file with a text of ours"),
    ("dns", "Its host has a TXT record with a text of ours"),
    ("skip", "Do not ask: I know that it wants events"),
];

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook.html")]
struct HookPage {
    frame: Frame,
    live: Live,
    may_steer: bool,
    /// What was done just now.
    done: Option<&'static str>,
    ways: [(&'static str, &'static str); 6],
    states: [&'static str; 6],
    kinds: Vec<Kind>,
    refused: Refused,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "webhook_live.html")]
struct HookPiece {
    live: Live,
}

/// What changes while one looks.
struct Live {
    webhook: Webhook,
    /// Which batches are shown; empty: all.
    state: String,
    batches: Vec<Sent>,
    /// Where the next page is, if there is one.
    next: Option<String>,
    /// Whether this is not the first.
    is_later: bool,
    replays: Vec<Replay>,
}

/// An order that the API refused, to be shown where it was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    /// `verify`, `replay` or `test`.
    pub verb: &'static str,
    /// Why.
    pub detail: String,
    /// What was written.
    pub said: Fields,
}

impl Refused {
    /// Why an order was refused, if it was this one.
    fn why(&self, verb: &str) -> Option<&str> {
        (self.verb == verb).then_some(self.detail.as_str())
    }

    /// What was written of it.
    fn said(&self, verb: &str, name: &str) -> &str {
        let said = (self.verb == verb).then(|| self.said.text(name)).flatten();
        said.unwrap_or_default()
    }
}

/// `GET /webhooks/{id}`
pub(super) async fn show(visit: Visit, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let (webhook, _) = find(&visit, &id).await?;
    let done = fields.text("done").and_then(orders::done);
    let live = look(&visit, webhook, &fields).await?;
    page(&visit, live, done, Refused::default()).await
}

/// `GET /webhooks/{id}/live`: the part of it that is refreshed.
pub(super) async fn live(visit: Visit, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let (webhook, _) = find(&visit, &id).await?;
    let live = look(&visit, webhook, &Fields::of_query(query.as_deref())).await?;
    layout::page(&HookPiece { live })
}

/// The page with why an order came to nothing.
pub(super) async fn again(visit: &Visit, webhook: Webhook, status: StatusCode, refused: Refused) -> Answer {
    let live = look(visit, webhook, &Fields::default()).await?;
    let page = page(visit, live, None, refused).await?;
    Ok((status, page).into_response())
}

async fn page(visit: &Visit, live: Live, done: Option<&'static str>, refused: Refused) -> Answer {
    let Kinds { types: kinds } = visit.get("/api/v1/events/types").await?;
    layout::page(&HookPage {
        frame: visit.frame(format!("Webhook {}", live.webhook.id)),
        may_steer: visit.may_steer(),
        ways: WAYS,
        states: STATES,
        kinds,
        live,
        done,
        refused,
    })
}

async fn look(visit: &Visit, webhook: Webhook, fields: &Fields) -> Result<Live, Trouble> {
    let state = fields.text("state").unwrap_or_default().to_owned();
    let said = ["state", "cursor"].into_iter().filter_map(|name| Some((name, fields.text(name)?)));
    let asked: String = Serializer::new(format!("limit={PAGE}")).extend_pairs(said).finish();
    let Batches { batches, next } = visit.get(&format!("{}/batches?{asked}", webhook.call())).await?;
    let Replays { mut replays } = visit.get(&format!("{}/replays", webhook.call())).await?;
    replays.truncate(REPLAYS);
    let next = next.map(|cursor| {
        let query = Serializer::new(String::new())
            .append_pair("state", &state)
            .append_pair("cursor", &cursor)
            .finish();
        format!("{}?{query}#batches", webhook.path())
    });
    let is_later = fields.text("cursor").is_some();
    Ok(Live { webhook, state, batches, next, is_later, replays })
}

impl Live {
    /// Where a refresh of it is.
    fn path(&self) -> String {
        match self.state.as_str() {
            "" => format!("{}/live", self.webhook.path()),
            state => format!("{}/live?state={}", self.webhook.path(), words::piece(state)),
        }
    }
}
