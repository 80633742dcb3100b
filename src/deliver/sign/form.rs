//! What is signed within a form: fields that go behind those that are there, so
//! that what the message said stays as it is.
//!
//! A fixed secret, as Hurricane's receivers want it, goes into plain
//! `application/x-www-form-urlencoded` bodies only; Mailgun's `timestamp`, `token`
//! and `signature` go into `multipart/form-data` (RFC 7578) as well, before its
//! last boundary. Into any other body they would not be read as what they are.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use url::form_urlencoded;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// The urlencoded form with one more parameter, or why there is no such form.
pub(super) fn append(headers: &HeaderMap, body: &Bytes, name: &str, value: &str) -> Result<Bytes, String> {
    let (media_type, _) = content_type(headers)?;
    match media_type.eq_ignore_ascii_case(URLENCODED) {
        true => Ok(append_urlencoded(body, &[(name, value)])),
        false => Err(no_form(media_type)),
    }
}

/// The form of either kind with more fields, or why there is no form. Names and
/// values are printable ASCII without quotes.
pub(super) fn append_all(
    headers: &HeaderMap,
    body: &Bytes,
    fields: &[(&str, &str)],
) -> Result<Bytes, String> {
    let (media_type, parameters) = content_type(headers)?;
    if media_type.eq_ignore_ascii_case(URLENCODED) {
        return Ok(append_urlencoded(body, fields));
    }
    if !media_type.eq_ignore_ascii_case(MULTIPART) {
        return Err(no_form(media_type));
    }
    let appended = boundary(parameters).and_then(|boundary| append_parts(body, boundary, fields));
    appended.ok_or_else(|| "this form has no end; sign it with another scheme".to_owned())
}

/// The media type and its parameters.
fn content_type(headers: &HeaderMap) -> Result<(&str, &str), String> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err("this one is compressed already; sign it with another scheme".to_owned());
    }
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
    Ok((media_type.trim(), parameters))
}

fn no_form(media_type: &str) -> String {
    let what = if media_type.is_empty() { "of no type" } else { media_type };
    format!("this post is {what}; sign it with another scheme")
}

fn append_urlencoded(body: &Bytes, fields: &[(&str, &str)]) -> Bytes {
    let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut form = Vec::with_capacity(body.len() + pairs.len() + 1);
    form.extend_from_slice(body);
    if !body.is_empty() && !body.ends_with(b"&") {
        form.push(b'&');
    }
    form.extend_from_slice(pairs.as_bytes());
    form.into()
}

fn boundary(parameters: &str) -> Option<&str> {
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    Some(value.trim_matches('"')).filter(|value| !value.is_empty())
}

/// The parts go before the last boundary.
fn append_parts(body: &Bytes, boundary: &str, fields: &[(&str, &str)]) -> Option<Bytes> {
    let end = format!("--{boundary}--");
    let before = body.trim_ascii_end().strip_suffix(end.as_bytes())?;
    let part = |(name, value): &(&str, &str)| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts: String = fields.iter().map(part).collect();
    Some([before, parts.as_bytes(), end.as_bytes(), b"\r\n"].concat().into())
}
