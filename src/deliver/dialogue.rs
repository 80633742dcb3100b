//! HTTP dialogues as lines of the protocol log.
//!
//! Secrets stay out: the values of headers and query parameters whose names
//! speak of one are shown as `***`. Bodies are shown by their length.

use super::connection::{Link, Response};
use super::retry::{Span, Verdict};
use crate::masked::Masked;
use crate::post::{Destination, PostId, Timestamp, is_secret};
use crate::protocol_log::Transcript;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use std::fmt;

/// Notes where a request goes: on a fresh connection, or one that was kept.
pub(super) fn note_connection(
    log: &mut Transcript,
    post: PostId,
    attempt: u32,
    to: &Destination,
    link: &Link,
) {
    let how = if link.posts() == 1 { "connected to" } else { "reusing connection to" };
    let (host, place) = (&to.host, link.place());
    let tls = place.tls.map(|version| format!(", {}", version.replace('_', "."))).unwrap_or_default();
    let version = if link.version() == Version::HTTP_2 { ", HTTP/2" } else { "" };
    log.note(format_args!("{post} attempt {attempt}: {how} {host} {}{tls}{version}", place.peer));
}

/// Notes the request line of what is sent, and the length of the body.
pub(super) fn note_request(log: &mut Transcript, request: &Request<Bytes>, version: Version) {
    let version = spelled(version);
    log.sent(format_args!("{} {} {version}", request.method(), Masked(&request.uri().to_string())));
    log.sent(format_args!("(body, {} bytes)", request.body().len()));
}

/// Notes the header of a request that was not taken. One that was taken is not
/// worth its dozen lines: they cost a sixth of the whole gateway's time.
pub(super) fn note_request_headers(log: &mut Transcript, headers: &HeaderMap) {
    for (name, value) in headers {
        log.sent(Line(name, value));
    }
}

/// Notes a response as far as it was read; its header only when it was a refusal.
pub(super) fn note_response(log: &mut Transcript, response: &Response) {
    match (response.version, spelled(response.version)) {
        // It has no words for a status.
        (Version::HTTP_2, version) => log.received(format_args!("{version} {}", response.status.as_str())),
        (_, version) => log.received(format_args!("{version} {}", response.status)),
    }
    if !response.status.is_success() {
        for (name, value) in &response.headers {
            log.received(Line(name, value));
        }
    }
    log.received(format_args!("(body, {} bytes)", response.length));
}

fn spelled(version: Version) -> &'static str {
    if version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" }
}

/// Notes what became of the post.
pub(super) fn note_verdict(
    log: &mut Transcript,
    post: PostId,
    accepted_at: Timestamp,
    now: Timestamp,
    verdict: &Verdict,
) {
    match verdict {
        Verdict::Delivered => {
            log.note(format_args!("{post} delivered in {} ms", now.since(accepted_at).as_millis()));
        }
        Verdict::Deferred { after, reason } => {
            log.note(format_args!("{post} deferred for {}: {reason}", Span(*after)));
        }
        Verdict::Leaner { reason } => {
            log.note(format_args!("{post} again at once, with addresses of attachments: {reason}"));
        }
        Verdict::Held { reason } => log.note(format_args!("{post} held: {reason}")),
        Verdict::Failed { reason } => log.note(format_args!("{post} failed: {reason}")),
    }
}

/// A header field, its name spelled as it goes over the wire.
struct Line<'a>(&'a HeaderName, &'a HeaderValue);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(name, value) = self;
        let mut spelled = String::with_capacity(name.as_str().len() + 2);
        let mut begins_word = true;
        for char in name.as_str().chars() {
            spelled.push(if begins_word { char.to_ascii_uppercase() } else { char });
            begins_word = char == '-';
        }
        spelled.push_str(": ");
        f.write_str(&spelled)?;
        if value.is_sensitive() || is_secret(name.as_str()) {
            return f.write_str("***");
        }
        // Many hold a URL: Location, Link, Referer.
        Masked(&String::from_utf8_lossy(value.as_bytes())).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_sent_and_values_without_secrets() {
        for (name, value, shown) in [
            ("x-twice-", "a", "X-Twice-: a"),
            ("content-type", "a", "Content-Type: a"),
            ("x-key", "a", "X-Key: ***"),
            ("location", "https://u:p@h/x?a=1&token=2", "Location: https://***@h/x?a=1&token=***"),
            ("location", "/x?api_key=2", "Location: /x?api_key=***"),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(Line(&name, &HeaderValue::from_static(value)).to_string(), shown);
        }
    }
}
