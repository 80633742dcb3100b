//! A fixed secret among the parameters of a form, as Hurricane's receivers want it.
//!
//! It goes behind the parameters that are there, so that what the message said
//! stays as it is. Only plain `application/x-www-form-urlencoded` bodies can take
//! it: into any other it would not be read as what it is.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use url::form_urlencoded;

const FORM: &str = "application/x-www-form-urlencoded";

/// The form with one more parameter, or why there is no form.
pub(super) fn append(headers: &HeaderMap, body: &Bytes, name: &str, value: &str) -> Result<Bytes, String> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(FORM) {
        let what = if media_type.is_empty() { "of no type" } else { media_type };
        return Err(format!("this post is {what}; sign it with another scheme"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err("this one is compressed already; sign it with another scheme".to_owned());
    }
    let mut pair = form_urlencoded::Serializer::new(String::new());
    let pair = pair.append_pair(name, value).finish();
    let mut form = Vec::with_capacity(body.len() + pair.len() + 1);
    form.extend_from_slice(body);
    if !body.is_empty() && !body.ends_with(b"&") {
        form.push(b'&');
    }
    form.extend_from_slice(pair.as_bytes());
    Ok(form.into())
}
