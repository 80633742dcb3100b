//! `GET /posts/{id}/transcript`: the dialogues of a post, as the protocol log has them.
//!
//! The log knows no tenants, so a caller of one is shown those of its own living posts
//! and of what it has sent as a test lately; others also those of posts that are over.

use super::ask::{Asked, Nothing, id};
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::protocol_log::search::{Limits, of_post};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use std::time::Duration;

/// A quarter of a second of reading, or a few when the disk is slow.
const LIMITS: Limits = Limits { read: 512 << 20, kept: 1 << 20, time: Duration::from_secs(10) };

/// `GET /posts/{id}/transcript`
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Path(text): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    if caller.tenant.as_ref().is_some_and(|tenant| !desk.tests.is_of(id.message, tenant)) {
        desk.find(&text, &caller).await?;
    }
    let off = || Problem::not_found("no protocol log is kept; set log.protocol_log = \"full\"");
    let (_, directory) = desk.options.protocol_log.clone().ok_or_else(off)?;
    let died = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the protocol log cannot be read");
    let reading = desk.log.read(caller.tenant.as_ref(), move || of_post(&directory, id, LIMITS));
    let found = reading.await.ok_or_else(died)?.map_err(|_| died())?;
    if found.smtp.is_empty() && found.http.is_empty() {
        let detail = "the protocol log has nothing of this post: its days are over, it logs errors only, \
                      or there never was such a post";
        return Err(Problem::not_found(detail));
    }
    let whole =
        json!({ "id": id.to_string(), "smtp": found.smtp, "http": found.http, "truncated": found.is_cut });
    Ok(json(StatusCode::OK, &whole))
}
