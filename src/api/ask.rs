//! What is asked: queries and bodies, read strictly.
//!
//! What is unknown, twice there or of the wrong type is an error: a filter that
//! was misspelled must not mean all posts.

use super::fields;
use super::filter::Filter;
use super::problem::Problem;
use super::strict;
use crate::post::PostId;
use crate::spool::PostState;
use axum::extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The body of `POST /posts/actions`.
#[derive(Debug, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Retry,
    Hold,
    Release,
    Delete,
    Reroute,
}

/// The body of `…/reroute`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reroute {
    pub url: String,
}

/// The body of `…/pause` and `…/backoff`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// Why, in one line.
    #[schemars(length(max = 256), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
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
pub fn state_name(state: PostState) -> &'static str {
    STATES.into_iter().find(|(_, known)| *known == state).map_or("queued", |(name, _)| name)
}

/// An id as it stands in a path; what is no id is the id of nothing.
pub(super) fn id(text: &str) -> Result<PostId, Problem> {
    text.parse().map_err(|_| {
        Problem::not_found("no such post; an id is 16 hexadecimal digits, or those and -1, -2 …")
    })
}

/// A query string; `Query<Nothing>` where none is understood.
pub(super) struct Asked<T>(pub T);

/// No parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Most parameters of a query; more than any call has.
const PARAMETERS: usize = 100;

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Problem> {
        if parts.uri.query().is_some_and(|query| query.matches('&').count() >= PARAMETERS) {
            return Err(Problem::bad_request(format!("the query has more than {PARAMETERS} parameters")));
        }
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Asked(query.0)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// A body of JSON, which nobody need send: nothing is an empty object. What a call takes
/// beyond the usual [`BODY`](super::BODY) octets is said beside it, as its
/// `DefaultBodyLimit`.
pub(super) struct Given<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Given<T>, Problem> {
        let is_json = has_type(request.headers(), "application/json");
        let body = Bytes::from_request(request, state).await.map_err(unreadable)?;
        if !body.is_empty() && !is_json {
            let detail = "the body must be JSON, with Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        // A list of the fields' values would be understood as well.
        if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(Problem::bad_request("the body cannot be understood: it is no object"));
        }
        let read = strict::read(if body.is_empty() { b"{}" } else { &body });
        read.map(Given).map_err(|error| fields::not_understood(&error))
    }
}

/// Whether a body is said to be of this type, whatever its parameters.
pub(super) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted))
}

/// A body that could not be read to its end.
pub(super) fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this call takes")
        }
        status => Problem::new(status, "the body could not be read"),
    }
}
