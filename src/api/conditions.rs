//! Requests that hold for one version of a thing alone (RFC 9110 section 13).
//!
//! A version is written as a strong entity tag: `"7"`. Who changes a thing says with
//! `If-Match` which version he has seen; 412 is the answer when it is another now.

use super::problem::Problem;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// A version as an entity tag.
pub(super) fn tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Adds the version of what an answer shows.
pub(super) fn tagged(mut response: Response, version: Option<u64>) -> Response {
    if let Some(Ok(tag)) = version.map(|version| HeaderValue::try_from(tag(version))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The tags that `If-Match` names, one of which has to be that of what is there; nothing
/// when any may be.
pub(super) fn matching(headers: &HeaderMap) -> Option<Vec<&str>> {
    listed(headers, header::IF_MATCH).filter(|tags| !tags.contains(&"*"))
}

/// The version that has to be there for a change: that of now when `If-Match` names it,
/// any when there is none.
pub(super) fn expected(headers: &HeaderMap, now: Option<u64>) -> Result<Option<u64>, Problem> {
    match matching(headers) {
        None => Ok(None),
        Some(tags) if now.is_some_and(|now| tags.contains(&tag(now).as_str())) => Ok(now),
        Some(_) => Err(changed()),
    }
}

/// Whether `If-None-Match` names the version of now: the caller has it.
pub(super) fn is_known(headers: &HeaderMap, now: Option<u64>) -> bool {
    let tags = listed(headers, header::IF_NONE_MATCH).unwrap_or_default();
    // A weak comparison (RFC 9110 section 13.1.2).
    let names = |now: u64| tags.iter().any(|it| *it == "*" || it.trim_start_matches("W/") == tag(now));
    now.is_some_and(names)
}

/// What is there is not what the caller has seen.
pub(super) fn changed() -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, "it was changed meanwhile; look again, then change it")
}

fn listed(headers: &HeaderMap, name: HeaderName) -> Option<Vec<&str>> {
    let lists: Vec<_> = headers.get_all(name).iter().collect();
    let texts = lists.iter().filter_map(|list| list.to_str().ok());
    (!lists.is_empty()).then(|| texts.flat_map(|list| list.split(',')).map(str::trim).collect())
}
