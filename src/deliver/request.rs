//! A post as an HTTP request.
//!
//! The same bytes on every attempt, but for `Postgate-Attempt`. Framing and
//! identity headers are set here and never taken from a post, so there are
//! never two copies of one.

use super::retry::Trouble;
use crate::spool::Claim;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use http::{Method, Request, Uri};
use http_body_util::Full;

const POSTGATE_ID: HeaderName = HeaderName::from_static("postgate-id");
const POSTGATE_ATTEMPT: HeaderName = HeaderName::from_static("postgate-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// RFC 8586: lets a gateway behind a receiver see that a request went in circles.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Headers that are the engine's alone.
static OWN: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    POSTGATE_ID,
    POSTGATE_ATTEMPT,
    IDEMPOTENCY_KEY,
    CDN_LOOP,
];

const PRODUCT: &str = concat!("Postgate/", env!("CARGO_PKG_VERSION"));

/// The request of a claimed post. Fails when the post holds something that
/// cannot stand in one.
pub(super) fn build(claim: &Claim, host: &HeaderValue, body: Bytes) -> Result<Request<Full<Bytes>>, Trouble> {
    let post = &claim.post;
    let unsendable = |what: &str| Trouble::Unsendable(format!("{what} is not valid in HTTP"));
    let id = value(&post.id.to_string()).ok_or_else(|| unsendable("the id"))?;
    // Several posts of one message are several requests, also to one receiver.
    let key = match (&post.idempotency_key, post.id.number) {
        (None, _) => Some(id.clone()),
        (Some(key), 0) => value(key),
        (Some(key), number) => value(&format!("{key}-{number}")),
    };
    let key = key.ok_or_else(|| unsendable("the idempotency key"))?;
    let mut headers = HeaderMap::with_capacity(OWN.len() + 2 + post.headers.len());
    headers.insert(HOST, host.clone());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !post.headers.iter().any(|field| field.name.eq_ignore_ascii_case(USER_AGENT.as_str())) {
        headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
    }
    headers.insert(POSTGATE_ID, id);
    headers.insert(POSTGATE_ATTEMPT, HeaderValue::from(claim.attempt));
    headers.insert(IDEMPOTENCY_KEY, key);
    headers.insert(CDN_LOOP, HeaderValue::from_static("postgate"));
    for field in &post.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| unsendable("a header name"))?;
        let value = HeaderValue::from_bytes(&field.value).map_err(|_| unsendable(&field.name))?;
        if !OWN.contains(&name) {
            headers.append(name, value);
        }
    }
    // Responses are never decompressed: a small one could become a large one.
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() =
        Method::from_bytes(post.method.as_bytes()).map_err(|_| unsendable("the method"))?;
    *request.uri_mut() = path(&post.path).ok_or_else(|| unsendable("the path"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// The path as an origin-form target, octet for octet.
fn path(path: &str) -> Option<Uri> {
    let path = Bytes::copy_from_slice(path.as_bytes());
    let uri = Uri::from_maybe_shared(path).ok()?;
    (uri.authority().is_none() && uri.path().starts_with('/')).then_some(uri)
}
