//! Whether the gateway lives, whether it takes posts, and what it counted.

use super::caller::Caller;
use super::desk::Desk;
use super::problem::Problem;
use super::shapes::status_name;
use crate::deliver::control::{Status, Which};
use crate::fanout::accounting::accounts::{Accounts, Standing};
use crate::journal::Journal;
use crate::metrics::{self, AccountingScene, JournalScene, LaneScene, Scene};
use crate::post::Destination;
use crate::spool::Health;
use crate::tenant::Tenant;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};

/// `GET /healthz`: whoever answers is alive.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 503 while the spool takes no posts, and from when a stop was asked for.
pub(super) async fn ready(State(desk): State<Desk>) -> Result<&'static str, Problem> {
    let health = desk.spool.health().borrow().clone();
    let unready = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    if *desk.options.leaving.borrow() {
        return Err(unready("the gateway is stopping"));
    }
    match health {
        Health::Open => Ok("ok\n"),
        Health::Full => Err(unready("the spool's disk is full")),
        Health::Failed(_) => Err(unready("the spool cannot be written; the operational log says why")),
    }
}

/// `GET /metrics`: how the gateway does, and what is the caller's own of posts and
/// destinations.
pub(super) async fn metrics(State(desk): State<Desk>, caller: Caller) -> Result<Response, Problem> {
    let scene = scene(&desk, caller.tenant.clone()).await?;
    let mut text = desk.metrics.text(&scene);
    if let Some(own) = &caller.tenant {
        text = without_others(&text, own);
    }
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The lines that are not about another tenant; what many share is not this one's alone.
fn without_others(text: &str, own: &Tenant) -> String {
    let name = own.as_str().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let own = format!("tenant=\"{name}\"");
    let is_shown = |line: &&str| !line.contains("tenant=\"") || line.contains(&own);
    text.split_inclusive('\n').filter(is_shown).collect()
}

async fn scene(desk: &Desk, own: Option<Tenant>) -> Result<Scene, Problem> {
    let all = "*".parse().map_err(|reason: String| Problem::bad_field("origin", reason))?;
    let statuses = desk.control.destinations(Which { origins: all, tenant: own.clone() }).await?;
    let spool = match *desk.spool.health().borrow() {
        Health::Open => "open",
        Health::Full => "full",
        Health::Failed(_) => "failed",
    };
    let (mut waiting, mut sending, mut held, mut failed) = (0, 0, 0, 0);
    let is_own = |lane: &Destination| own.as_ref().is_none_or(|own| *own == lane.tenant);
    let all = desk.spool.counts().await?;
    for (_, counts) in all.into_iter().filter(|(lane, _)| is_own(lane)) {
        waiting += counts.waiting;
        sending += counts.sending;
        held += counts.held;
        failed += counts.failed;
    }
    let posts = vec![("waiting", waiting), ("sending", sending), ("held", held), ("failed", failed)];
    let damages = desk.spool.damages();
    let lanes = statuses.iter().map(lane).collect();
    // It is of all tenants.
    let journal = desk.options.journal.as_ref().filter(|_| own.is_none()).map(journal);
    let accounts = desk.options.accounts.as_ref().filter(|_| own.is_none());
    let accounting = accounts.map(Accounts::standings).unwrap_or_default().into_iter().map(records).collect();
    let webhooks = desk.options.webhooks.as_ref().filter(|_| own.is_none());
    let lost_events = webhooks.map(|webhooks| webhooks.shelf.lost());
    Ok(Scene { spool, damages, posts, journal, lost_events, accounting, lanes })
}

fn journal(journal: &Journal) -> JournalScene {
    JournalScene { events: journal.last().0, damages: journal.damages(), failures: journal.failures() }
}

fn records(standing: Standing) -> AccountingScene {
    let Standing { path, records, behind, failures, lost, .. } = standing;
    AccountingScene { path: path.display().to_string(), records, behind, failures, lost }
}

fn lane(status: &Status) -> LaneScene {
    LaneScene {
        destination: status.destination.clone(),
        state: status_name(&status.state),
        waiting: status.counts.waiting,
        in_flight: u64::try_from(status.in_flight).unwrap_or(u64::MAX),
        connections: u64::try_from(status.connections).unwrap_or(u64::MAX),
        window: u64::try_from(status.window).unwrap_or(u64::MAX),
    }
}
