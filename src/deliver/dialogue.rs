//! HTTP dialogues as lines of the protocol log.
//!
//! Secrets stay out: the values of headers and query parameters whose names
//! speak of one are shown as `***`. Bodies are shown by their length.

use super::connection::{Link, Response};
use super::retry::{Span, Verdict};
use crate::post::{Destination, PostId, Timestamp};
use crate::protocol_log::Transcript;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::body::Body as _;
use std::fmt;

/// Parts of names whose values are nobody's business.
const SECRET: &[&str] = &["auth", "cookie", "key", "token", "secret", "signature", "password"];

/// Notes where a request goes: on a fresh connection, or one that was kept.
pub(super) fn note_connection(
    log: &mut Transcript,
    post: PostId,
    attempt: u32,
    to: &Destination,
    link: &Link,
) {
    let how = if link.posts == 0 { "connected to" } else { "reusing connection to" };
    let (host, ip, port) = (&to.host, link.peer.ip(), link.peer.port());
    let tls = link.tls.map(|version| format!(", {}", version.replace('_', "."))).unwrap_or_default();
    log.note(format_args!("{post} attempt {attempt}: {how} {host} [{ip}]:{port}{tls}"));
}

/// Notes a request as it is sent.
pub(super) fn note_request(log: &mut Transcript, request: &Request<Full<Bytes>>) {
    log.sent(format_args!("{} {} HTTP/1.1", request.method(), Masked(&request.uri().to_string())));
    for (name, value) in Lines(request.headers()) {
        log.sent(format_args!("{name}: {value}"));
    }
    log.sent(format_args!("(body, {} bytes)", request.body().size_hint().lower()));
}

/// Notes a response as far as it was read.
pub(super) fn note_response(log: &mut Transcript, response: &Response) {
    log.received(format_args!("HTTP/1.1 {}", response.status));
    for (name, value) in Lines(&response.headers) {
        log.received(format_args!("{name}: {value}"));
    }
    log.received(format_args!("(body, {} bytes)", response.length));
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
        Verdict::Failed { reason } => log.note(format_args!("{post} failed: {reason}")),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // Its value is the post's id, or what the sender chose to be known by.
    name != "idempotency-key" && SECRET.iter().any(|part| name.contains(part))
}

/// Header fields in words, names spelled as they go over the wire.
struct Lines<'a>(&'a HeaderMap);

impl<'a> IntoIterator for Lines<'a> {
    type Item = (String, String);
    type IntoIter = Box<dyn Iterator<Item = (String, String)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.0.iter().map(|(name, value)| {
            let shown = if is_secret(name.as_str()) {
                "***".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (title(name.as_str()), shown)
        }))
    }
}

/// `content-type` as `Content-Type`.
fn title(name: &str) -> String {
    let mut begins = true;
    let spell = |char: char| {
        let spelled = if begins { char.to_ascii_uppercase() } else { char };
        begins = char == '-';
        spelled
    };
    name.chars().map(spell).collect()
}

/// A path and query with the values of secret parameters left out.
struct Masked<'a>(&'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((path, query)) = self.0.split_once('?') else { return f.write_str(self.0) };
        f.write_str(path)?;
        for (index, parameter) in query.split('&').enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((name, _)) if is_secret(name) => write!(f, "{name}=***")?,
                _ => f.write_str(parameter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_parameters_are_left_out_and_the_rest_stays() {
        for (path, shown) in [
            ("/a", "/a"),
            ("/a?b=c", "/a?b=c"),
            ("/a?b=c&api_key=1&X-Token=2&d", "/a?b=c&api_key=***&X-Token=***&d"),
            ("/a?SecretKey=x=y?z", "/a?SecretKey=***"),
        ] {
            assert_eq!(Masked(path).to_string(), shown);
        }
    }

    #[test]
    fn secret_headers_are_known_by_their_names() {
        for name in ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "webhook-signature"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Content-Type", "Idempotency-Key", "Postgate-Id"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn names_are_shown_as_they_are_sent() {
        assert_eq!(title("x-api-key"), "X-Api-Key");
    }
}
