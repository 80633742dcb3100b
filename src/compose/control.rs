//! The header fields by which a message steers its own posts.
//!
//! `X-XsHttp-Name: value` sets a request header; `X-Postgate-*` and the two
//! `X-xs…Id` fields set the rest. A control with a bad value refuses the whole
//! message: nothing is guessed and nothing is dropped in silence. Header
//! injection is impossible because every name and value passes the types of the
//! `http` crate after decoding. Whose controls count at all is decided by the
//! caller; they are never part of a payload either way.

use super::mail::{self, HeaderField};
use super::when;
use super::{Limits, Mode, Options, Payload, Sync, address, value};
use crate::envelope::Refusal;
use crate::masked;
use crate::post::{Field, Timestamp, is_credential};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Most request headers that a message may set.
const MAX_HEADERS: usize = 100;
/// Most octets of one such value.
const MAX_VALUE: usize = 8 * 1024;
/// Most octets of all such names and values.
const MAX_TOTAL: usize = 32 * 1024;
/// Most tags of a message.
const MAX_TAGS: usize = 5;
/// Most octets of a tag, a key or an id.
const MAX_TEXT: usize = 255;

/// Request headers that are the gateway's own or belong to the connection
/// (RFC 9110 section 7.6.1).
const RESERVED: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "expect",
    "cdn-loop",
];
/// The same, by how they begin.
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "webhook-", "postgate-"];

/// Whether neither a message nor a route may set the request header with this
/// lower-case name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const REQUEST_HEADER: &str = "x-xshttp-";
/// The control that names a URL.
const URL: &str = "x-postgate-url";
const OWN: &str = "x-postgate-";

/// What a message asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Request headers but `Content-Type` and `Idempotency-Key`, in order.
    pub headers: Vec<Field>,
    /// `X-XsHttp-Content-Type`.
    pub content_type: Option<String>,
    /// `X-XsHttp-Idempotency-Key`: goes to the receiver only.
    pub receivers_key: Option<String>,
    /// `X-Postgate-Url`, white space removed.
    pub url: Option<String>,
    /// `X-Postgate-Method`, in capitals.
    pub method: Option<&'static str>,
    /// `X-Postgate-Payload`.
    pub payload: Option<Payload>,
    /// `X-Postgate-Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `X-Postgate-Not-Before`.
    pub not_before_at: Option<Timestamp>,
    /// `X-Postgate-Expires`, later than its receipt and than the former.
    pub expires_at: Option<Timestamp>,
    /// `X-Postgate-Priority`, 0 to 9.
    pub priority: Option<u8>,
    /// `X-Postgate-Tag`.
    pub tags: Vec<String>,
    /// `X-Postgate-Ordering-Key`, without blanks at its ends.
    pub ordering_key: Option<String>,
    /// `X-Postgate-Mode`.
    pub mode: Option<Mode>,
    /// `X-Postgate-Sign-With`.
    pub sign_with: Option<String>,
    /// `X-Postgate-Auth`.
    pub auth: Option<String>,
    /// `X-xsMessageId`.
    pub xs_message_id: Option<String>,
    /// `X-xsMailingId`.
    pub xs_mailing_id: Option<String>,
}

/// Whether a field called `name` is consumed by the gateway.
pub fn is_control(name: &str) -> bool {
    let name = name.as_bytes();
    let begins = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    // Most fields are none; their second octet tells.
    name.get(1) == Some(&b'-')
        && (begins(REQUEST_HEADER) || begins(OWN) || is("x-xsmessageid") || is("x-xsmailingid"))
}

/// Whether a control says what neither a spool nor an answer may show, whoever it counts for.
pub fn holds_secret(field: &HeaderField) -> bool {
    if !is_control(field.name) {
        return false;
    }
    let name = field.name.to_ascii_lowercase();
    name.strip_prefix(REQUEST_HEADER).is_some_and(is_credential) || name == URL && says_secret(field)
}

/// Whether the value of a control is, or has in it, a URL with a secret; or is a path with
/// one. What is no URL, such as a tag, may look like a field with one.
fn says_secret(field: &HeaderField) -> bool {
    let text = || without_space(&String::from_utf8_lossy(&value::octets(field.value)));
    match field.name.eq_ignore_ascii_case(URL) {
        true => masked::hides(&text()),
        false => is_control(field.name) && masked::is_secret_link(&text()),
    }
}

/// The message with `***` for what its controls say that is secret: also for a URL that a
/// spool keeps as it is.
pub fn without_secrets(message: &Bytes) -> Bytes {
    let endless = Limits { header_octets: usize::MAX, header_fields: usize::MAX, ..Limits::default() };
    let section = mail::read(message, &endless);
    let (mut shown, mut copied) = (Vec::new(), 0);
    for HeaderField { value, .. } in
        section.fields.iter().filter(|field| holds_secret(field) || says_secret(field))
    {
        let at = (value.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
        shown.extend_from_slice(message.get(copied..at).unwrap_or_default());
        shown.extend_from_slice(b" ***");
        copied = at + value.len();
    }
    if copied == 0 {
        return message.clone();
    }
    shown.extend_from_slice(message.get(copied..).unwrap_or_default());
    shown.into()
}

/// Reads the controls among `fields` of a message received at `received_at`.
/// Refuses with `550 5.6.0` and the name of the field whose value is bad.
pub fn read(fields: &[HeaderField], received_at: Timestamp) -> Result<Controls, Refusal> {
    let mut controls = Controls::default();
    let mut octets = 0;
    for field in fields.iter().filter(|field| is_control(field.name)) {
        let lower = field.name.to_ascii_lowercase();
        let read = match lower.strip_prefix(REQUEST_HEADER) {
            Some(_) => {
                let name = field.name.get(REQUEST_HEADER.len()..).unwrap_or_default();
                controls.set_header(name, value::octets(field.value), &mut octets)
            }
            None => controls.own(&lower, field.value, received_at),
        };
        read.map_err(|reason| refusal(field.name, &reason))?;
    }
    let timely = controls.check_times(received_at);
    timely.map_err(|reason| refusal("X-Postgate-Expires", &reason))?;
    Ok(controls)
}

/// `550 5.6.0` for the control called `name`.
pub fn refusal(name: &str, reason: &str) -> Refusal {
    Refusal::new(550, (6, 0), format!("{name}: {reason}"))
}

/// What came of reading a value: why it is bad.
pub(super) type Reading = Result<(), String>;

impl Controls {
    /// Sets a request header, whose name is spelled so; `total` counts the octets of all.
    pub(super) fn set_header(&mut self, spelled: &str, octets: Vec<u8>, total: &mut usize) -> Reading {
        let name = spelled.to_ascii_lowercase();
        if is_reserved(&name) {
            return Err("this request header cannot be set".to_owned());
        }
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| "that is no name of an HTTP header")?;
        HeaderValue::from_bytes(&octets).map_err(|_| "the value holds a control character")?;
        *total += name.len() + octets.len();
        if octets.len() > MAX_VALUE || *total > MAX_TOTAL {
            return Err(format!("more than {MAX_VALUE} octets, or {MAX_TOTAL} in all request headers"));
        }
        match name.as_str() {
            "content-type" => set(&mut self.content_type, visible(octets)?),
            "idempotency-key" => set(&mut self.receivers_key, visible(octets)?),
            _ if self.headers.len() == MAX_HEADERS => Err(format!("more than {MAX_HEADERS} request headers")),
            _ => {
                self.headers.push(Field { name: spelled.to_owned(), value: octets });
                Ok(())
            }
        }
    }

    fn own(&mut self, name: &str, raw: &[u8], received_at: Timestamp) -> Reading {
        let text = plain(value::text(raw))?;
        match name.strip_prefix(OWN).unwrap_or(name) {
            "url" => set(&mut self.url, without_space(&text)),
            "method" => set(&mut self.method, address::method(&text).ok_or_else(expected_method)?),
            "payload" => set(&mut self.payload, text.parse()?),
            "idempotency-key" => set(&mut self.idempotency_key, visible(short(text)?.into_bytes())?),
            "not-before" => set(&mut self.not_before_at, when::read(&text, received_at)?),
            "expires" => set(&mut self.expires_at, when::read(&text, received_at)?),
            "priority" => set(&mut self.priority, priority(&text)?),
            "tag" => self.tag(short(text)?),
            "x-xsmessageid" => set(&mut self.xs_message_id, short(text)?),
            "x-xsmailingid" => set(&mut self.xs_mailing_id, short(text)?),
            "ordering-key" => set(&mut self.ordering_key, short(text.trim().to_owned())?),
            "mode" => set(&mut self.mode, mode(&text)?),
            "sign-with" => set(&mut self.sign_with, text),
            "auth" => set(&mut self.auth, text),
            _ => Err("this gateway has no such control".to_owned()),
        }
    }

    /// Refuses names of keys, profiles and templates that nobody has configured.
    pub fn check_names(&self, options: &Options) -> Result<(), Refusal> {
        let bad = |name: &'static str| move |reason: String| refusal(name, &reason);
        self.check_key(options).map_err(bad("X-Postgate-Sign-With"))?;
        self.check_profile(options).map_err(bad("X-Postgate-Auth"))?;
        if let Some(Payload::Template(name)) = &self.payload
            && !options.templates.has(name)
        {
            return Err(refusal("X-Postgate-Payload", "no template has this name"));
        }
        Ok(())
    }

    /// Refuses a signing key that nobody has configured.
    pub(super) fn check_key(&self, options: &Options) -> Reading {
        let is_known = self.sign_with.as_ref().is_none_or(|name| options.signing_keys.contains(name));
        is_known.then_some(()).ok_or_else(|| "no signing key has this name".to_owned())
    }

    /// Refuses an auth profile that nobody has configured.
    pub(super) fn check_profile(&self, options: &Options) -> Reading {
        let is_known = self.auth.as_ref().is_none_or(|name| options.profiles.contains(name));
        is_known.then_some(()).ok_or_else(|| "no auth profile has this name".to_owned())
    }

    /// Refuses an end before the beginning.
    pub(super) fn check_times(&self, received_at: Timestamp) -> Reading {
        let begins_at = self.not_before_at.unwrap_or(received_at);
        let is_over = self.expires_at.is_some_and(|at| at <= begins_at);
        if is_over { Err("that is over before the post may be sent".to_owned()) } else { Ok(()) }
    }

    /// Adds a tag.
    pub(super) fn tag(&mut self, tag: String) -> Reading {
        if self.tags.len() == MAX_TAGS {
            return Err(format!("more than {MAX_TAGS} tags"));
        }
        self.tags.push(tag);
        Ok(())
    }
}

/// A URL as it was before it was folded.
fn without_space(text: &str) -> String {
    text.chars().filter(|char| !char.is_whitespace()).collect()
}

fn set<T>(slot: &mut Option<T>, value: T) -> Reading {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("given twice".to_owned()),
    }
}

/// Text without control characters.
pub(super) fn plain(text: String) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        Err("the value holds a control character".to_owned())
    } else {
        Ok(text)
    }
}

/// Text that is neither empty nor long.
pub(super) fn short(text: String) -> Result<String, String> {
    match text.len() {
        0 => Err("no value".to_owned()),
        1..=MAX_TEXT => Ok(text),
        _ => Err(format!("more than {MAX_TEXT} octets")),
    }
}

/// Printable ASCII, not empty: what every receiver takes in a header value.
pub(super) fn visible(octets: Vec<u8>) -> Result<String, String> {
    match String::from_utf8(octets) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Ok(text),
        _ => Err("expected printable ASCII".to_owned()),
    }
}

/// What a method may be.
pub(super) fn expected_method() -> String {
    format!("expected one of {}", address::METHODS.join(", "))
}

fn mode(text: &str) -> Result<Mode, String> {
    match text.to_ascii_lowercase().as_str() {
        "sync" => Ok(Mode::Sync(Sync::default())),
        "async" => Ok(Mode::Async),
        _ => Err("expected sync or async".to_owned()),
    }
}

/// 0 to 9.
pub(super) fn priority(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(priority @ 0..=9) => Ok(priority),
        _ => Err("expected 0 (first) to 9 (last)".to_owned()),
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
