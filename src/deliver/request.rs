//! A post as an HTTP request.
//!
//! The same bytes on every attempt, but for `Postgate-Attempt`, signatures and
//! tokens. Framing and identity headers are set here and never taken from a post,
//! what the destination's terms fix stands before what a message says, and a
//! signature replaces what has its name: so there are never two copies of one.
//!
//! The body is amended, then compressed, then signed: a signature is about the
//! octets that are sent. A key that signs within a form has nowhere to sign what is
//! posted in place of one: a report as events, a mail that could not be read, a
//! document instead of what a template failed on. That goes without, and says so:
//! whoever checks can refuse it, and hears of it. A format that suits no such key is a
//! mistake of whoever chose it, and is not sent.

use super::batches;
use super::redirect::SecretBody;
use super::retry::Trouble;
use super::sign::{SigningKey, Unsigned};
use super::terms::Compress;
use crate::post::{Field, Post, Timestamp, Trace};
use crate::spool::Claim;
use crate::subscribers::Subscriber;
use crate::trace::traceparent;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{Method, Request, Uri};
use std::sync::Arc;

const POSTGATE_ID: HeaderName = HeaderName::from_static("postgate-id");
const POSTGATE_ATTEMPT: HeaderName = HeaderName::from_static("postgate-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// RFC 8586: lets a gateway behind a receiver see that a request went in circles.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// Says `none` where a signature is missing.
const SIGNATURE: HeaderName = HeaderName::from_static("postgate-signature");
/// Fields of posts that are not what their route makes of a mail.
const STAND_INS: [&str; 3] = ["Postgate-Parse", "Postgate-Template", "Postgate-Event"];
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers that are the engine's alone, or the connection's (RFC 9110 section 7.6.1).
static OWN: [HeaderName; 14] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    POSTGATE_ID,
    POSTGATE_ATTEMPT,
    IDEMPOTENCY_KEY,
    CDN_LOOP,
];

/// Whether nobody but the engine sets the header.
pub(super) fn is_own(name: &HeaderName) -> bool {
    OWN.contains(name)
}

/// Headers that the engine makes: those of every request, a trace and a signature.
const MADE: usize = 12;
/// What this gateway calls itself.
pub(super) const PRODUCT: &str = concat!("Postgate/", env!("CARGO_PKG_VERSION"));

/// Bodies from so many octets on are not compressed and signed on the runtime's
/// threads.
pub(super) const LARGE: usize = 64 * 1024;

/// What a request is made with besides its post; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Dress {
    /// `Host`.
    pub host: HeaderValue,
    /// `CDN-Loop`.
    pub cdn_loop: HeaderValue,
    /// Fixed headers of the destination.
    pub fixed: Arc<[Field]>,
    /// How the body is compressed.
    pub compress: Compress,
    /// What signs it.
    pub key: Option<Arc<SigningKey>>,
    /// The webhook whose batch it is, which signs as well.
    pub subscriber: Option<Arc<Subscriber>>,
    /// The span of the attempt, when somebody traces.
    pub trace: Option<Trace>,
    /// The time by the wall clock.
    pub at: Timestamp,
    /// Not used before.
    pub nonce: [u8; 16],
}

impl Dress {
    /// Whether the body has to be looked at.
    pub(super) fn is_costly(&self) -> bool {
        self.key.is_some() || self.subscriber.is_some() || self.compress != Compress::No
    }
}

/// `CDN-Loop` of a gateway with this name (RFC 8586 section 2).
pub(super) fn cdn_loop(instance: &str) -> HeaderValue {
    let is_token = |char: &char| char.is_ascii_alphanumeric() || "-._~".contains(*char);
    let token: String = instance.chars().filter(is_token).collect();
    let value = HeaderValue::try_from(format!("postgate; id={token}"));
    value.ok().filter(|_| !token.is_empty()).unwrap_or(HeaderValue::from_static("postgate"))
}

/// Why a request has no signature though it should have one: an extension of it.
#[derive(Clone, Debug)]
pub(super) struct Unsignable(pub String);

/// The request of a claimed post. Fails when the post holds something that
/// cannot stand in one.
pub(super) fn build(claim: &Claim, dress: &Dress, body: Bytes) -> Result<Request<Bytes>, Trouble> {
    let post = &claim.post;
    let mut headers = headers(claim, dress)?;
    let is_stand_in = post.headers.iter().any(|field| STAND_INS.contains(&field.name.as_str()));
    let (amended, unsignable) = match amend(&headers, dress, &body) {
        Ok(amended) => (amended, None),
        Err(why) if is_stand_in => (body, Some(Unsignable(why))),
        Err(why) => return Err(Trouble::Unsendable(why)),
    };
    if unsignable.is_some() {
        headers.insert(SIGNATURE, HeaderValue::from_static("none"));
    }
    let body = pack(&mut headers, dress, amended)?;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let id = post.id.to_string();
    let unsigned = Unsigned {
        id: &id,
        at: dress.at,
        nonce: dress.nonce,
        method: &post.method,
        target: &post.path,
        headers: &headers,
        body: &body,
    };
    let own = dress.key.as_ref().map(|key| key.sign(&unsigned)).transpose().map_err(Trouble::Credentials)?;
    let webhooks = batches::sign(dress.subscriber.as_deref(), unsigned)?;
    for (name, value) in own.into_iter().flatten() {
        headers.insert(name, value);
    }
    // What receivers of a webhook check stands before what the destination wants.
    headers.extend(webhooks);
    let mut request = Request::new(body);
    *request.method_mut() =
        Method::from_bytes(post.method.as_bytes()).map_err(|_| unsendable("the method"))?;
    *request.uri_mut() = path(&post.path).ok_or_else(|| unsendable("the path"))?;
    *request.headers_mut() = headers;
    if let Some(unsignable) = unsignable {
        request.extensions_mut().insert(unsignable);
    } else if dress.key.as_ref().is_some_and(|key| key.is_in_body()) {
        request.extensions_mut().insert(SecretBody);
    }
    Ok(request)
}

/// All headers but those that need the body.
fn headers(claim: &Claim, dress: &Dress) -> Result<HeaderMap, Trouble> {
    let post = &claim.post;
    let fixed = fields(&dress.fixed)?;
    let own = fields(&post.headers)?;
    let is_fixed = |name: &HeaderName| fixed.iter().any(|(fixed, _)| fixed == name);
    // What the terms fix, then what the post says of other things.
    let said: Vec<_> = own.into_iter().filter(|(name, _)| !is_fixed(name)).collect();
    let first = |name: HeaderName| {
        fixed.iter().chain(&said).find(|(field, _)| *field == name).map(|(_, value)| value.clone())
    };
    let id = value(&post.id.to_string()).ok_or_else(|| unsendable("the id"))?;
    let mut headers = HeaderMap::with_capacity(MADE + fixed.len() + said.len());
    headers.insert(HOST, dress.host.clone());
    if let Some(content_type) = first(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    // Its place; the value is known later.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    headers.insert(USER_AGENT, first(USER_AGENT).unwrap_or(HeaderValue::from_static(PRODUCT)));
    headers.insert(POSTGATE_ID, id.clone());
    headers.insert(POSTGATE_ATTEMPT, HeaderValue::from(claim.attempt));
    headers.insert(IDEMPOTENCY_KEY, idempotency_key(post, id)?);
    headers.insert(CDN_LOOP, dress.cdn_loop.clone());
    let trace = dress.trace.or(post.trace);
    if let Some(traceparent) = trace.and_then(|trace| value(&traceparent(trace))) {
        headers.insert(TRACEPARENT, traceparent);
    }
    let is_set = |name: &HeaderName| {
        is_own(name) || [CONTENT_TYPE, USER_AGENT].contains(name) || *name == TRACEPARENT && trace.is_some()
    };
    for (name, value) in fixed.iter().chain(&said).filter(|(name, _)| !is_set(name)) {
        headers.append(name, value.clone());
    }
    // Responses are never decompressed: a small one could become a large one.
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    if let Some(subscriber) = &dress.subscriber {
        veil(&mut headers, &subscriber.headers);
    }
    Ok(headers)
}

/// Marks the values of these fields, whatever their names say: their owner may have set a
/// secret, which goes to no other origin.
fn veil(headers: &mut HeaderMap, own: &[Field]) {
    for (name, value) in headers.iter_mut() {
        if own.iter().any(|field| field.name.eq_ignore_ascii_case(name.as_str())) {
            value.set_sensitive(true);
        }
    }
}

/// The body with what its key adds to it, or why there is no place for that.
fn amend(headers: &HeaderMap, dress: &Dress, body: &Bytes) -> Result<Bytes, String> {
    match &dress.key {
        Some(key) => key.amend(headers, body.clone(), (dress.at, &dress.nonce)),
        None => Ok(body.clone()),
    }
}

/// The body as it is sent, and the header that says how.
fn pack(headers: &mut HeaderMap, dress: &Dress, body: Bytes) -> Result<Bytes, Trouble> {
    match dress.compress.coding() {
        Some(coding) if !body.is_empty() && !headers.contains_key(CONTENT_ENCODING) => {
            headers.insert(CONTENT_ENCODING, coding);
            dress.compress.encode(body).map_err(|error| Trouble::Unsendable(error.to_string()))
        }
        _ => Ok(body),
    }
}

fn fields(fields: &[Field]) -> Result<Vec<(HeaderName, HeaderValue)>, Trouble> {
    let read = |field: &Field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| unsendable("a header name"))?;
        let value = HeaderValue::from_bytes(&field.value).map_err(|_| unsendable(&field.name))?;
        Ok((name, value))
    };
    fields.iter().map(read).collect()
}

/// Several posts of one message are several requests, also to one receiver.
fn idempotency_key(post: &Post, id: HeaderValue) -> Result<HeaderValue, Trouble> {
    let key = match (&post.idempotency_key, post.id.number) {
        (None, _) => Some(id),
        (Some(key), 0) => value(key),
        (Some(key), number) => value(&format!("{key}-{number}")),
    };
    key.ok_or_else(|| unsendable("the idempotency key"))
}

pub(super) fn unsendable(what: &str) -> Trouble {
    Trouble::Unsendable(format!("{what} is not valid in HTTP"))
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
