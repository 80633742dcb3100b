//! What is asked: queries and bodies, read strictly.
//!
//! What is unknown, twice there or of the wrong type is an error: a filter that
//! was misspelled must not mean all posts.

use super::filter::Filter;
use super::problem::Problem;
use crate::post::PostId;
use crate::spool::PostState;
use crate::tenant::Tenant;
use axum::extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The body of `POST /posts/actions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Actions {
    pub action: Action,
    #[serde(default)]
    pub filter: Filter,
    pub url: Option<String>,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub dry_run: bool,
}

/// What is done to many posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Retry,
    Hold,
    Release,
    Delete,
    Reroute,
}

/// The body of `…/reroute`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reroute {
    pub url: String,
}

/// The body of `…/pause`, which may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    pub reason: Option<String>,
}

const STATES: [(&str, PostState); 6] = [
    ("queued", PostState::Queued),
    ("deferred", PostState::Deferred),
    ("sending", PostState::Sending),
    ("held", PostState::Held),
    ("failed", PostState::Failed),
    ("delivered", PostState::Delivered),
];

/// The state that is meant.
pub(super) fn state(text: &str) -> Result<PostState, Problem> {
    let known = STATES.into_iter().find(|(name, _)| *name == text);
    let wrong = || Problem::bad_field("state", "write queued, deferred, sending, held, failed or delivered");
    known.map(|(_, state)| state).ok_or_else(wrong)
}

/// How a state is written.
pub(super) fn state_name(state: PostState) -> &'static str {
    STATES.into_iter().find(|(_, known)| *known == state).map_or("queued", |(name, _)| name)
}

/// An id as it stands in a path; what is no id is the id of nothing.
pub(super) fn id(text: &str) -> Result<PostId, Problem> {
    text.parse().map_err(|_| {
        Problem::not_found("no such post; an id is 16 hexadecimal digits, or those and -1, -2 …")
    })
}

/// Whose posts: all, or those of the tenant that `X-Tenant-ID` names.
pub(super) struct Whose(pub Option<Tenant>);

impl<S: Sync> FromRequestParts<S> for Whose {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Whose, Problem> {
        tenant(&parts.headers).map(Whose)
    }
}

fn tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    let Some(name) = headers.get("x-tenant-id") else { return Ok(None) };
    let name = name.to_str().ok().filter(|name| !name.is_empty());
    name.map(|name| Some(Tenant::new(name)))
        .ok_or_else(|| Problem::bad_request("X-Tenant-ID names no tenant"))
}

/// A query string; `Query<Nothing>` where none is understood.
pub(super) struct Asked<T>(pub T);

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Asked(query.0)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// A body of JSON.
pub(super) struct Given<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Given<T>, Problem> {
        let body = Bytes::from_request(request, state).await.map_err(unreadable)?;
        let read = serde_json::from_slice(if body.is_empty() { b"{}" } else { &body });
        read.map(Given)
            .map_err(|error| Problem::bad_request(format!("the body cannot be understood: {error}")))
    }
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {} octets", super::BODY),
        ),
        status => Problem::new(status, "the body could not be read"),
    }
}
