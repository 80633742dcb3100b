//! `POST /events`: events that applications publish, one or a list of them, all or none.
//!
//! They go through the door as posts do: a large body waits for its turn in a temporary
//! file, a tenant pays for each event, and a full disk takes none.

use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::desk::Desk;
use super::fields::{self, Elements};
use super::inject::{LARGE, must_be_json};
use super::problem::{Problem, json};
use super::upload;
use crate::clock;
use crate::event::{Event, EventId, published};
use crate::intake::Turn;
use crate::spool::spill::MailData;
use crate::tenant::Tenant;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// Most octets of a body.
const BODY: usize = 4 << 20;

/// Most events of a list.
const MOST: usize = 1000;

/// An event as it is handed in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handed<'a> {
    r#type: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What was handed in.
struct Batch {
    events: Vec<Event>,
    is_list: bool,
}

/// `POST /events`
pub(super) async fn publish(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
    request: Request,
) -> Result<Response, Problem> {
    let entrance = desk.entrance()?;
    let (parts, body) = request.into_parts();
    let client = caller.client("");
    if let Err(problem) = entrance.open(&client, None).await {
        upload::refuse(&parts.headers, body).await;
        return Err(problem);
    }
    let limits = (BODY, desk.options.request_timeout);
    let data = upload::receive((&parts.headers, body), limits, &entrance.spills).await?;
    if data.octets() == 0 {
        return Err(Problem::bad_request(
            "the body is missing: an event, or a list of them, each with its type",
        ));
    }
    must_be_json(&parts.headers)?;
    let tenant = client.tenant.clone();
    // Kept until they are durable.
    let mut turn = Turn::none();
    let Batch { events, is_list } = match data {
        MailData::Memory(body) if body.len() < LARGE => read(&body, &tenant)?,
        data => {
            turn = entrance.intake.turn(data.octets().saturating_mul(3)).await;
            read_large(data, tenant).await?
        }
    };
    let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
    let published = entrance.intake.publish(&client, events).await;
    published.map_err(|refusal| entrance.refused(&client, ids.len(), &refusal))?;
    drop(turn);
    let answer = match (is_list, ids.as_slice()) {
        (false, [id]) => json!({ "id": id }),
        (_, ids) => json!({ "ids": ids }),
    };
    Ok(json(StatusCode::ACCEPTED, &answer))
}

/// Reads a large body off the runtime's threads.
async fn read_large(data: MailData, tenant: Tenant) -> Result<Batch, Problem> {
    let unread = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the body could not be read back");
    let read = move || read(&data.read().map_err(|_| unread())?, &tenant);
    tokio::task::spawn_blocking(read).await.map_err(|_| unread())?
}

fn read(body: &[u8], tenant: &Tenant) -> Result<Batch, Problem> {
    let text = fields::text(body)?.trim_ascii();
    let is_list = text.starts_with('[');
    let handed = match is_list {
        true => serde_json::from_str::<Elements<'_, MOST>>(text).map(|list| list.0).unwrap_or_default(),
        false => vec![serde_json::from_str(text).map_err(|error| fields::not_understood(&error))?],
    };
    if handed.is_empty() {
        let detail = format!("a list holds 1 to {MOST} events");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let events = handed.iter().enumerate().map(|(nth, handed)| {
        let place = || if is_list { format!("event {nth} (from 0): ") } else { String::new() };
        if !handed.get().starts_with('{') {
            return Err(Problem::bad_request(format!("{}it is no object", place())));
        }
        let handed: Handed<'_> = serde_json::from_str(handed.get())
            .map_err(|error| Problem::bad_request(format!("{}it cannot be understood: {error}", place())))?;
        event(&handed, tenant)
            .map_err(|(field, reason)| Problem::bad_field(field, format!("{}{reason}", place())))
    });
    Ok(Batch { events: events.collect::<Result<_, _>>()?, is_list })
}

fn event(handed: &Handed<'_>, tenant: &Tenant) -> Result<Event, (&'static str, String)> {
    let name = published::name(&handed.r#type).map_err(|unfit| ("type", unfit.to_string()))?;
    let data = handed.data.map_or("{}", RawValue::get);
    let data = published::data(data.as_bytes()).map_err(|unfit| ("data", unfit.to_string()))?;
    let at = clock::wall();
    Ok(Event { id: EventId::new(at, fastrand::u128(..)), name, at, tenant: tenant.clone(), data })
}
