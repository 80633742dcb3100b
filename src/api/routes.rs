//! `GET /routes`: the routes as they are configured, with their secrets hidden.
//!
//! They are the gateway's own: of all tenants only `default`, whose mail strangers' is,
//! sees them.

use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::tenant::Tenant;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

/// `GET /routes`
pub(super) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Problem> {
    let current = desk.current();
    let is_shown = caller.tenant.is_none_or(|own| own == Tenant::default());
    let shown = if is_shown { current.routes.as_slice() } else { &[] };
    Ok(json(StatusCode::OK, &json!({ "routes": shown })))
}
