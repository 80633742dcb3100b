//! What is refused before a handler sees it, and the marks of every answer.
//!
//! Without keys the address is the only protection. A browser on the same machine
//! can be made to send requests by any site: through a name that resolves to
//! loopback (the Host is then that name, RFC 9110 section 7.2; where there are keys it
//! may be any, as the browser has none for it), or across sites (Origin, RFC 6454;
//! Sec-Fetch-Site). Neither gets through; nor do requests that this gateway made
//! itself (CDN-Loop, RFC 8586).

use super::Options;
use super::ask::has_type;
use super::problem::Problem;
use crate::browser;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Marks of every answer: it is what it says, is for nobody else, and not kept.
const MARKS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Types of bodies, none of which a form of another site can have.
const TYPES: [&str; 3] = ["application/json", "message/rfc822", "application/toml"];

/// Refuses what must not reach a handler, and limits the time of the others.
pub(super) async fn check(State(options): State<Arc<Options>>, request: Request, next: Next) -> Response {
    let mut response = match judge(&request, &options) {
        Err(problem) => problem.into_response(),
        Ok(()) if takes_its_time(&request) => next.run(request).await,
        Ok(()) => match tokio::time::timeout(options.request_timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => too_slow().into_response(),
        },
    };
    for (name, value) in MARKS {
        // An attachment has stricter ones of its own.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether a request hands something in: once that is there, it is not said to have
/// failed before that is known (`upload` limits the time until then).
fn takes_its_time(request: &Request<Body>) -> bool {
    let paths = ["/api/v1/posts", "/api/v1/messages", "/api/v1/events"];
    request.method() == Method::POST && paths.contains(&request.uri().path())
}

pub(super) fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long")
}

fn judge(request: &Request<Body>, options: &Options) -> Result<(), Problem> {
    let headers = request.headers();
    if percent_decode_str(request.uri().path()).decode_utf8().is_err() {
        return Err(Problem::bad_request("the path is not UTF-8, written with %XX"));
    }
    let unnamed = || Problem::bad_request("a request names its host once, in Host");
    let host = browser::host(headers, request.uri()).ok_or_else(unnamed)?;
    // An address of an attachment is a permission by itself, whatever name a proxy or a
    // receiver has for this gateway.
    let is_signed = request.uri().path().starts_with("/attachments/");
    let has_keys = !options.current.borrow().keys.is_empty();
    if !has_keys && !is_signed && !browser::is_loopback(&host) {
        let detail =
            "this address answers to localhost, 127.0.0.1 and [::1] only; use one of them as the host";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    if is_own(headers, &options.instance) {
        let detail = "this request was made by this gateway itself (CDN-Loop)";
        return Err(Problem::new(StatusCode::LOOP_DETECTED, detail));
    }
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !is_safe && browser::is_from_another_site(headers, &host) {
        let detail = "a browser sent this request on behalf of another site; that is not allowed";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    // Small ones could become large ones.
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "bodies are taken as they are, without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let has_body = request.body().size_hint().exact() != Some(0);
    if has_body && !TYPES.iter().any(|kind| has_type(headers, kind)) {
        let detail = format!("the body must be of the type {}, as Content-Type says", TYPES.join(" or "));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

/// Whether this gateway is among those that a request went through.
fn is_own(headers: &HeaderMap, instance: &str) -> bool {
    let lists = headers.get_all(CDN_LOOP).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let is_postgate = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("postgate"));
        is_postgate && parts.find_map(|part| part.strip_prefix("id=")).unwrap_or_default() == instance
    })
}
