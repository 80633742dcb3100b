//! Calls about webhooks: make, look, change, delete, and a new secret.
//!
//! Those of the configuration are shown and cannot be changed here (409). A secret is
//! shown once, when it was made here; of a URL what speaks of a secret is masked, and of
//! headers only names are shown. How they are verified and tried is in `trial`.

pub(super) mod batches;
pub(super) mod commands;
pub(super) mod replay;
pub(super) mod shape;
pub(super) mod sparkpost;
pub(super) mod trial;

use super::ask::{Asked, Given, Nothing};
use super::caller::Caller;
use super::conditions::{changed, expected, is_known, tagged};
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::clock;
use crate::deliver::inquiry::Inquirer;
use crate::fanout::replay::Replays;
use crate::fanout::shelf::{Placed, Shelf, ShelfError, new_id};
use crate::fanout::webhook::{OVERLAP, Settings, Webhook, Wrong};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shape::WebhookShape;
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) type Answer = Result<Response, Problem>;

/// Where webhooks are, and what asks their receivers.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Where they are.
    pub shelf: Arc<Shelf>,
    /// What asks.
    pub inquirer: Arc<Inquirer>,
    /// What this gateway calls itself towards receivers.
    pub hostname: String,
    /// What is sent to them again.
    pub replays: Replays,
}

impl Desk {
    fn webhooks(&self) -> Result<&Webhooks, Problem> {
        let none = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there are no webhooks here");
        self.options.webhooks.as_ref().ok_or_else(none)
    }
}

impl From<ShelfError> for Problem {
    fn from(error: ShelfError) -> Problem {
        let status = match &error {
            ShelfError::Unknown => StatusCode::NOT_FOUND,
            ShelfError::Fixed | ShelfError::TooMany => StatusCode::CONFLICT,
            ShelfError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ShelfError::Crowded => StatusCode::INSUFFICIENT_STORAGE,
            ShelfError::Changed => return changed(),
            ShelfError::Sealed => StatusCode::SERVICE_UNAVAILABLE,
            ShelfError::Spool(error) => return error.clone().into(),
        };
        Problem::new(status, error.to_string())
    }
}

impl From<Wrong> for Problem {
    fn from(Wrong { field, text }: Wrong) -> Problem {
        Problem::bad_field(field, text)
    }
}

/// `GET /webhooks`
pub(in crate::api) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let all = desk.webhooks()?.shelf.all(caller.tenant.as_ref()).await?;
    let shapes: Vec<_> = all.iter().map(WebhookShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "webhooks": shapes })))
}

/// `POST /webhooks`: its settings, and `"verify": "skip"` where nobody has to be asked.
pub(in crate::api) async fn create(
    State(desk): State<Desk>,
    caller: Caller,
    Given(mut given): Given<Map<String, Value>>,
) -> Answer {
    let now = clock::wall();
    let verified = match given.remove("verify").as_ref().map(|verify| verify.as_str()) {
        None => None,
        Some(Some("skip")) => Some((now, "skip".to_owned())),
        Some(_) => return Err(Problem::bad_field("verify", "write \"skip\", or verify it when it is there")),
    };
    let mut settings = understood(Value::Object(given))?;
    let fresh = settings.secret.is_none().then(secret).transpose()?;
    settings.secret = settings.secret.or_else(|| fresh.clone().map(Zeroizing::new));
    let tenant = caller.tenant.unwrap_or_default();
    let id = new_id(now, u128::from_be_bytes(drawn()?));
    let webhook = Webhook::new((id, tenant), now, settings, HEXLOWER.encode(&drawn::<16>()?));
    let webhook = Webhook { verified, ..webhook };
    permit(&desk, &webhook)?;
    let placed = desk.webhooks()?.shelf.add(webhook).await?;
    let location = HeaderValue::try_from(format!("/api/v1/webhooks/{}", placed.webhook.id));
    let mut response = shown(StatusCode::CREATED, &placed, fresh);
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(response)
}

/// `GET /webhooks/{id}`
pub(in crate::api) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let placed = desk.webhooks()?.shelf.one(&id, caller.tenant.as_ref()).await?;
    match is_known(&headers, placed.version) {
        true => Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), placed.version)),
        false => Ok(shown(StatusCode::OK, &placed, None)),
    }
}

/// `PATCH /webhooks/{id}`: a merge patch of its settings (RFC 7396).
pub(in crate::api) async fn change(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Given(patch): Given<Map<String, Value>>,
) -> Answer {
    let shelf = &desk.webhooks()?.shelf;
    let meant = (id.as_str(), caller.tenant.as_ref());
    let before = shelf.one(meant.0, meant.1).await?;
    let expect = expected(&headers, before.version)?;
    // Drawn before: a change may be tried several times.
    let fresh = matches!(patch.get("secret"), Some(Value::Null)).then(secret).transpose()?;
    let token = HEXLOWER.encode(&drawn::<16>()?);
    let change = |webhook: &mut Webhook| -> Result<(), Problem> {
        let mut merged = serde_json::to_value(&webhook.settings).unwrap_or_default();
        merge(&mut merged, &Value::Object(patch.clone()));
        let mut settings = understood(merged)?;
        settings.secret = settings.secret.or_else(|| fresh.clone().map(Zeroizing::new));
        if settings.url != webhook.settings.url {
            // Its receiver has not been asked.
            (webhook.verified, webhook.token) = (None, token.clone());
        }
        webhook.settings = settings;
        permit(&desk, webhook)
    };
    let placed = shelf.change(meant, expect, change).await?;
    Ok(shown(StatusCode::OK, &placed, fresh))
}

/// `DELETE /webhooks/{id}`
pub(in crate::api) async fn delete(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let shelf = &desk.webhooks()?.shelf;
    let meant = (id.as_str(), caller.tenant.as_ref());
    let expect = expected(&headers, shelf.one(meant.0, meant.1).await?.version)?;
    shelf.remove(meant, expect).await?;
    desk.webhooks()?.replays.forget(meant.0).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The body of `…/rotate-secret`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Rotation {
    secret: Option<String>,
}

/// `POST /webhooks/{id}/rotate-secret`: the old secret signs for a day more.
pub(in crate::api) async fn rotate(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Given(Rotation { secret: chosen }): Given<Rotation>,
) -> Answer {
    let shelf = &desk.webhooks()?.shelf;
    let meant = (id.as_str(), caller.tenant.as_ref());
    let expect = expected(&headers, shelf.one(meant.0, meant.1).await?.version)?;
    let fresh = chosen.is_none().then(secret).transpose()?;
    let until = clock::wall().after(OVERLAP);
    let change = |webhook: &mut Webhook| -> Result<(), Problem> {
        let next = chosen.clone().or_else(|| fresh.clone()).map(Zeroizing::new);
        let old = std::mem::replace(&mut webhook.settings.secret, next);
        webhook.old_secret = old.map(|old| (old, until));
        Ok(webhook.settings.check()?)
    };
    let placed = shelf.change(meant, expect, change).await?;
    Ok(shown(StatusCode::OK, &placed, fresh))
}

/// A webhook as it is answered, with a secret that was made just now.
fn shown(status: StatusCode, placed: &Placed, fresh: Option<String>) -> Response {
    tagged(json(status, &WebhookShape::of(placed).with_secret(fresh)), placed.version)
}

fn understood(given: Value) -> Result<Settings, Problem> {
    let settings: Result<Settings, _> = serde_json::from_value(given);
    let settings = settings.map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("this is no webhook: {error}"))
    })?;
    settings.check()?;
    Ok(settings)
}

/// RFC 7396 section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return *target = patch.clone() };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Whether its tenant may post there.
fn permit(desk: &Desk, webhook: &Webhook) -> Result<(), Problem> {
    let (destination, _) = webhook.destination()?;
    desk.permit(&webhook.tenant, &destination)
}

/// A new secret of Standard Webhooks.
fn secret() -> Result<String, Problem> {
    Ok(format!("whsec_{}", BASE64.encode(&drawn::<32>()?)))
}

fn drawn<const N: usize>() -> Result<[u8; N], Problem> {
    let mut octets = [0; N];
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the machine has no randomness");
    getrandom::fill(&mut octets).map_err(failed)?;
    Ok(octets)
}
