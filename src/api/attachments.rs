//! Attachments for whoever has an address of one: no key, the signature in it is the
//! permission.
//!
//! They are octets of strangers, and whoever fetches them may be a browser: it is told
//! to keep them as a file, to guess nothing and to run nothing, whatever type they
//! claim (RFC 6266, RFC 8187). Each is read from its message anew (`readers`).
//!
//! However slowly they read, they leave half of the connections to everybody else.
//!
//! An address ends with its post. The end that it names is when that is to be at the
//! latest; a post that was sent anew since, or waits for somebody, is there beyond it.

use super::desk::Desk;
use super::problem::Problem;
use super::ranges::{self, Answer};
use super::readers::Readers;
use crate::clock;
use crate::compose::{self, BadLink, File, Link};
use crate::post::PostId;
use crate::spool::{PostState, Query, Spool, SpoolError};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use url::form_urlencoded;

/// No script, no style, no frame, no form; no origin of its own either.
const POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// What stands for itself in an extended parameter (RFC 8187 section 3.2.1).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// When to come again if there is no place.
const AGAIN: Duration = Duration::from_secs(10);

/// Most fetches at a time, of so many connections.
pub(super) fn most(connections: usize) -> usize {
    connections.div_ceil(2)
}

/// `GET /attachments/{id}/{number}`
pub(super) async fn fetch(
    State(desk): State<Desk>,
    method: Method,
    Path((id, number)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let link = permitted(&desk, (&id, &number), query.as_deref().unwrap_or_default()).await?;
    let Ok(place) = Arc::clone(&desk.fetchers).try_acquire_owned() else { return Ok(crowded()) };
    let reading = desk.readers.read(read(Arc::clone(&desk.spool), link)).await;
    let reading = reading.ok_or_else(unread)?;
    match &reading.result {
        // Others may read when there is room for what this one has read.
        Ok((file, whole)) => give((&desk.readers, place), (file, *whole), &method, &headers).await,
        Err(problem) => Err(problem.clone()),
    }
}

/// All places are taken; whoever waited on this connection would take one of the others.
fn crowded() -> Response {
    let problem = Problem::too_many("too many fetch attachments just now", AGAIN);
    let mut response = problem.into_response();
    set(&mut response, header::CONNECTION, "close");
    response
}

/// Octets that are being sent, and the place of whoever fetches them.
struct Placed {
    octets: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// Reads what an address names; the octets that it was read from are told as well.
async fn read(spool: Arc<dyn Spool>, link: Link) -> Result<(File, usize), Problem> {
    let message = match spool.content(link.id).await {
        Ok(content) => content.message,
        Err(SpoolError::Unknown) => return Err(gone("the post has ended, and its attachments with it")),
        Err(error) => return Err(error.into()),
    };
    let whole = message.len();
    let read = move || compose::attachment(&message, link.number);
    let file = tokio::task::spawn_blocking(read).await.map_err(|_| unread())?;
    let file = file.ok_or_else(|| Problem::not_found("the message has no such attachment"))?;
    Ok((file, whole))
}

fn unread() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the attachment could not be read")
}

/// What an address names, if it was made here and is not over.
async fn permitted(desk: &Desk, (id, number): (&str, &str), query: &str) -> Result<Link, Problem> {
    let forged = || {
        let detail = "the address is not one that this gateway made; fetch it as it stood in the post";
        Problem::new(StatusCode::FORBIDDEN, detail)
    };
    let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let number_of = |text: &str| text.parse::<u64>().ok();
    let link = || {
        let (expires, signature) = (query.get("expires")?, query.get("signature")?);
        let number = usize::try_from(number_of(number)?).ok()?;
        Some((Link { id: id.parse().ok()?, number, expires: number_of(expires)? }, signature))
    };
    let (link, signature) = link().ok_or_else(forged)?;
    let key = desk.options.links.as_ref().ok_or_else(forged)?;
    match key.check(&link, signature, clock::wall()) {
        Ok(()) => Ok(link),
        Err(BadLink::Forged) => Err(forged()),
        Err(BadLink::Expired) if is_kept(desk, link.id).await? => Ok(link),
        Err(BadLink::Expired) => Err(gone("the time of this address is over")),
    }
}

/// Whether a post is still to be there.
async fn is_kept(desk: &Desk, id: PostId) -> Result<bool, Problem> {
    let query = Query { id: Some(id), ..Query::default() };
    let found = desk.spool.page(query, None, 1).await?.pop();
    Ok(found.is_some_and(|listed| match listed.state {
        PostState::Queued | PostState::Deferred | PostState::Sending => true,
        PostState::Held | PostState::Failed | PostState::Delivered => clock::wall() < listed.due_at,
    }))
}

fn gone(detail: &str) -> Problem {
    Problem::new(StatusCode::GONE, detail)
}

/// The octets that are asked for, of a file that was read from `whole` octets, or why
/// there are none.
async fn give(
    (readers, place): (&Readers, OwnedSemaphorePermit),
    (file, whole): (&File, usize),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let tag = format!("\"{}\"", file.sha256);
    let length = file.octets.len();
    let hold = async |piece| {
        let octets = readers.hold(piece, whole).await.map_err(|_| unread())?;
        Ok::<_, Problem>(Body::from(Bytes::from_owner(Placed { octets, _place: place })))
    };
    let mut response = match ranges::answer(method, headers, &tag, length) {
        Answer::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Answer::Unsatisfiable => return Ok(unsatisfiable(length)),
        Answer::Part(first, last) => {
            let piece = hold(file.octets.slice(first..=last)).await?;
            let mut response = (StatusCode::PARTIAL_CONTENT, piece).into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            response
        }
        Answer::Whole => hold(file.octets.clone()).await?.into_response(),
    };
    if response.status() != StatusCode::NOT_MODIFIED {
        set(&mut response, header::CONTENT_TYPE, &file.content_type);
        set(&mut response, header::CONTENT_DISPOSITION, &disposition(&file.name));
    }
    for (name, value) in [
        (header::ETAG, tag.as_str()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        set(&mut response, name, value);
    }
    Ok(response)
}

fn unsatisfiable(length: usize) -> Response {
    let detail = format!("there are no such octets; it has {length}");
    let mut response = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail).into_response();
    set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
    response
}

/// A file of this name, also for programs that know ASCII alone.
fn disposition(name: &str) -> String {
    let is_plain = |char: char| (' '..='~').contains(&char) && !matches!(char, '"' | '\\' | '%');
    let ascii: String = name.chars().map(|char| if is_plain(char) { char } else { '_' }).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(name, PLAIN))
}

/// Sets a field to what a header can hold; all these do.
fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn names_are_written_for_old_and_new_programs() {
        for (name, expected) in [
            ("a.pdf", "attachment; filename=\"a.pdf\"; filename*=UTF-8''a.pdf"),
            (
                "Größe 1%.txt",
                "attachment; filename=\"Gr__e 1_.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201%25.txt",
            ),
            ("a\"; x=\"b", "attachment; filename=\"a_; x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b"),
            ("日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
        ] {
            assert_eq!(disposition(name), expected);
        }
    }
}
