//! Calls about what was sent to a webhook, and what waits to be: its batches, which are
//! posts of the spool.
//!
//! A batch that was delivered is kept for a while like one that failed, so that both are
//! told. What SparkPost calls batch status is the same in its shape, without those that
//! were taken at once.

use super::super::ask::{Asked, Nothing, id as post_id, state_name};
use super::super::caller::Caller;
use super::super::desk::Desk;
use super::super::events::unread;
use super::super::filter::{self, Filter};
use super::super::problem::{Problem, json};
use super::super::shapes::{AttemptShape, PostShape};
use super::Answer;
use crate::clock::{self, rfc3339};
use crate::fanout::remembered;
use crate::fanout::webhook::Webhook;
use crate::post::Post;
use crate::spool::{Attempt, Listed, PostState, Query, SpoolError};
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use data_encoding::BASE64;
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The query of `…/batches`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Page {
    #[schemars(extend("enum" = ["queued", "deferred", "sending", "held", "failed", "delivered"]))]
    state: Option<String>,
    /// The earliest.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Made before.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    #[schemars(with = "Option<u16>", range(min = 1, max = 1000))]
    limit: Option<String>,
    /// The field `next` of the page before.
    cursor: Option<String>,
}

/// A batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SentBatch")]
pub(in crate::api) struct BatchShape {
    batch_id: String,
    created_at: String,
    state: &'static str,
    /// How many events it holds.
    events: u32,
    /// How many were made.
    attempts: u32,
    /// Status of the last response, if there was one.
    response_code: Option<u16>,
    /// Why the last attempt delivered nothing: its status, or what was wrong without one.
    failure_code: Option<String>,
    /// Of a batch that waits.
    next_attempt_at: Option<String>,
}

impl BatchShape {
    fn of(listed: &Listed) -> BatchShape {
        let waits = matches!(listed.state, PostState::Queued | PostState::Deferred);
        BatchShape {
            batch_id: listed.post.id.to_string(),
            created_at: rfc3339(listed.post.accepted_at),
            state: state_name(listed.state),
            events: listed.post.batch.map_or(0, |batch| batch.events),
            attempts: listed.ended,
            response_code: listed.last.as_ref().and_then(|last| last.status),
            failure_code: listed.last.as_ref().and_then(failure),
            next_attempt_at: waits.then(|| rfc3339(listed.due_at)),
        }
    }
}

/// Why an attempt delivered nothing, if it did not.
fn failure(attempt: &Attempt) -> Option<String> {
    match attempt.status {
        Some(200..=299) => None,
        Some(status) => Some(status.to_string()),
        None => Some(attempt.reason.clone()),
    }
}

impl Desk {
    /// A webhook of the caller, and what is meant by its batches.
    async fn batches(&self, id: &str, caller: &Caller) -> Result<(Webhook, Query), Problem> {
        let webhook = self.webhooks()?.shelf.one(id, caller.tenant.as_ref()).await?.webhook;
        let (tenant, id) = (webhook.tenant.clone(), webhook.lane_id());
        Ok((webhook, Query { tenant: Some(tenant), webhook: Some(id), ..Query::default() }))
    }

    /// The body of a batch. Of those that were delivered it is kept only where all are; what
    /// the journal still has of their events makes the same.
    async fn body_of(&self, webhook: &Webhook, post: &Post) -> Result<Option<Bytes>, Problem> {
        match self.spool.content(post.id).await {
            Ok(content) => Ok(Some(content.body)),
            Err(SpoolError::Unknown) => {
                let hostname = &self.webhooks()?.hostname;
                let made = remembered::body(self.journal()?, webhook, post, hostname).await;
                made.map_err(|error| unread(&error))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// `GET /webhooks/{id}/batches`: the newest first; a page may be short and have a next one.
pub(in crate::api) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(page): Asked<Page>,
) -> Answer {
    let Page { state, since, until, limit, cursor } = page;
    let (_, own) = desk.batches(&id, &caller).await?;
    let asked = Filter { state, since, until, ..Filter::default() }.query(own.tenant)?;
    let query = Query { webhook: own.webhook, ..asked };
    let (most, before) = filter::part(limit.as_deref(), cursor.as_deref())?;
    let found = desk.spool.search(query, before, most).await?;
    let batches: Vec<_> = found.posts.iter().map(BatchShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "batches": batches, "next": found.next.map(filter::cursor) })))
}

/// `GET /webhooks/{id}/batches/{batch}`: with each attempt, the request and its body, which
/// takes room until it has been sent.
pub(in crate::api) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Path((id, batch)): Path<(String, String)>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Answer {
    let unknown = || Problem::not_found("no such batch of this webhook; its time may be over");
    let (webhook, own) = desk.batches(&id, &caller).await?;
    let query = Query { id: Some(post_id(&batch).map_err(|_| unknown())?), ..own };
    let listed = desk.spool.page(query, None, 1).await?.pop().ok_or_else(unknown)?;
    let (readers, lost) = (Arc::clone(&desk.readers), || {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the batch could not be read")
    });
    let reading = readers.read(async move { whole(&desk, &webhook, &listed).await }).await;
    let text = reading.ok_or_else(lost)?.result.clone()?;
    let length = text.len();
    let held = readers.hold(text, length).await.map_err(|_| lost())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], held).into_response())
}

async fn whole(desk: &Desk, webhook: &Webhook, listed: &Listed) -> Result<Bytes, Problem> {
    let attempts = desk.spool.attempts(listed.post.id).await?;
    let attempts = attempts.iter().map(AttemptShape::of).collect();
    let body = desk.body_of(webhook, &listed.post).await?;
    let text = body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
    let body_base64 = body.as_deref().filter(|_| text.is_none()).map(|body| BASE64.encode(body));
    let (batch, post) = (BatchShape::of(listed), PostShape::of(listed));
    let shape = WholeShape { batch, attempt_list: attempts, post, body: text, body_base64 };
    Ok(Bytes::from(serde_json::to_vec(&shape).unwrap_or_default()))
}

/// A batch with everything.
#[derive(Debug, Serialize)]
struct WholeShape<'a> {
    #[serde(flatten)]
    batch: BatchShape,
    attempt_list: Vec<AttemptShape>,
    post: PostShape,
    /// Nothing when it is not kept, and no longer known.
    body: Option<&'a str>,
    /// Where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// The query of `…/batch-status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct StatusPage {
    #[schemars(with = "Option<u16>", range(min = 1, max = 1000))]
    limit: Option<String>,
}

/// For how long SparkPost tells of a batch.
const TOLD: Duration = Duration::from_hours(24);

/// Batches that are looked at for one answer in SparkPost's shape, if limits are small.
const LOOK: usize = 10_000;

/// `GET /webhooks/{id}/batch-status`: SparkPost's. Codes are texts there.
pub(in crate::api) async fn status(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(StatusPage { limit }): Asked<StatusPage>,
) -> Answer {
    let (most, _) = filter::part(Some(limit.as_deref().unwrap_or("1000")), None)?;
    let since = clock::wall().before(TOLD);
    let (_, own) = desk.batches(&id, &caller).await?;
    let query = Query { since: Some(since), ..own };
    let (mut results, mut looked_at, mut before) = (Vec::new(), 0, None);
    while results.len() < most && looked_at < LOOK {
        let found = desk.spool.search(query.clone(), before, filter::MOST).await?;
        looked_at += found.posts.len();
        results.extend(found.posts.iter().filter(|listed| has_failed_once(listed)).map(in_their_shape));
        before = found.next;
        if before.is_none() {
            break;
        }
    }
    results.truncate(most);
    Ok(json(StatusCode::OK, &json!({ "results": results })))
}

/// Whether an attempt delivered nothing.
fn has_failed_once(listed: &Listed) -> bool {
    listed.ended > u32::from(listed.state == PostState::Delivered)
}

fn in_their_shape(listed: &Listed) -> Value {
    let last = listed.last.as_ref();
    let at = last.map_or(listed.post.accepted_at, |last| last.started_at);
    let mut told = json!({
        "batch_id": listed.post.id.to_string(),
        "ts": rfc3339(at),
        "attempts": listed.ended,
    });
    let code = last.and_then(|last| last.status).map(|status| status.to_string());
    let codes = [("response_code", code), ("failure_code", last.and_then(failure))];
    if let Value::Object(told) = &mut told {
        told.extend(codes.into_iter().filter_map(|(name, code)| Some((name.to_owned(), Value::from(code?)))));
    }
    told
}
