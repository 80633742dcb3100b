//! Payload `body`: the message's text or data, as its sender meant it to arrive.
//!
//! The steps and their order come from what 79 mail clients do to a body on its
//! way; `json_repairs` holds the last of them. A body that needs no change is a
//! piece of the message. The type is the sender's `X-XsHttp-Content-Type`, else
//! the part's own with a charset that is true after conversion; without any,
//! text is `text/plain` and the rest `application/octet-stream`.

use super::decode::{self, Decoded, Outcome};
use super::json_repairs;
use super::mime;
use super::mime::{Kind, Part};
use http::HeaderValue;
use std::borrow::Cow;
use std::fmt::Write as _;

/// A body and what must be said of it.
#[derive(Debug)]
pub struct Body<'a> {
    /// What is posted; borrowed when it is a piece of the message.
    pub octets: Cow<'a, [u8]>,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Whether cuts of overlong lines were undone.
    pub is_repaired: bool,
    /// How its transfer encoding was undone.
    pub outcome: Outcome,
}

/// Makes the body of a message from its parts; `wanted` is the type that the
/// sender named, in full.
pub fn body<'a>(parts: &[Part<'a>], wanted: Option<&str>) -> Body<'a> {
    let wanted_essence = wanted.map(essence);
    let Some(part) = chosen(parts, wanted_essence.as_deref()) else {
        return Body {
            octets: Cow::Borrowed(b""),
            content_type: wanted.unwrap_or("text/plain; charset=utf-8").to_owned(),
            is_repaired: false,
            outcome: Outcome::Decoded,
        };
    };
    let Decoded { octets, outcome } = decode::content(part);
    let octets = trim_line_ends(decode::text(part, octets));
    let content_type = wanted.map_or_else(|| own_type(part, &octets), str::to_owned);
    let essence = wanted_essence.unwrap_or_else(|| essence(&content_type));
    let mut is_repaired = false;
    let octets = if essence == "application/x-www-form-urlencoded" {
        without_white_space(octets)
    } else if essence == "application/json" || essence.ends_with("+json") {
        let repaired = json_repairs::repair(&octets);
        is_repaired = repaired.is_some();
        repaired.map_or(octets, Cow::Owned)
    } else {
        octets
    };
    Body { octets, content_type, is_repaired, outcome }
}

/// `type/subtype` of a media type in lower case.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The one part that is posted: the wanted type, else the first text, else the first
/// leaf. A text that says nothing stands back behind one that does, and behind HTML.
fn chosen<'p, 'a>(parts: &'p [Part<'a>], wanted: Option<&str>) -> Option<&'p Part<'a>> {
    let leaves = || parts.iter().filter(|part| !part.is_multipart);
    let of_type = |essence: &str| leaves().find(|part| part.essence() == essence);
    let says = |part: &&Part| !part.content.trim_ascii().is_empty();
    let said = |essence| leaves().filter(says).find(|part| part.essence() == essence);
    let text = || match of_type("text/plain") {
        Some(blank) => said("text/plain").or_else(|| said("text/html")).or(Some(blank)),
        None => leaves().next(),
    };
    wanted.and_then(of_type).or_else(text)
}

fn trim_line_ends(octets: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let end = octets.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
    match octets {
        Cow::Borrowed(octets) => Cow::Borrowed(octets.get(..end).unwrap_or_default()),
        Cow::Owned(mut octets) => {
            octets.truncate(end);
            Cow::Owned(octets)
        }
    }
}

/// Form data holds no white space; what is there was put in by wrapping.
fn without_white_space(octets: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if !octets.iter().any(u8::is_ascii_whitespace) {
        return octets;
    }
    let mut octets = octets.into_owned();
    octets.retain(|byte| !byte.is_ascii_whitespace());
    Cow::Owned(octets)
}

/// Parameters that no longer say anything about the decoded body.
const UNDONE: [&str; 4] = ["charset", "format", "delsp", "boundary"];

fn own_type(part: &Part, octets: &[u8]) -> String {
    let is_text = std::str::from_utf8(octets).is_ok();
    let made = match &part.kind {
        Some(kind) => written(kind, if is_text { Some("utf-8") } else { kind.parameter("charset") }),
        None if is_text => "text/plain; charset=utf-8".to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    let is_valid = HeaderValue::from_str(&made).is_ok();
    if is_valid { made } else { "application/octet-stream".to_owned() }
}

/// A type with the parameters that still hold, and a charset where it had one
/// or is text.
fn written(kind: &Kind, charset: Option<&str>) -> String {
    let mut text = kind.essence.clone();
    let kept = kind.parameters.iter().filter(|(name, _)| !UNDONE.contains(&name.as_str()));
    for (name, value) in kept {
        push_parameter(&mut text, name, value);
    }
    let wants_charset = kind.essence.starts_with("text/") || kind.parameter("charset").is_some();
    if let Some(charset) = charset.filter(|_| wants_charset) {
        push_parameter(&mut text, "charset", charset);
    }
    text
}

fn push_parameter(text: &mut String, name: &str, value: &str) {
    let is_token = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    // Writing to a string cannot fail.
    let _ = match is_token {
        true => write!(text, "; {name}={value}"),
        false => write!(text, "; {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    };
}

/// Whether `auto` means `body` for this message: one part that is no text for people.
pub fn is_data(parts: &[Part]) -> bool {
    let is_text = |part: &mime::Part| matches!(part.essence(), "text/plain" | "text/html");
    matches!(parts, [only] if !is_text(only))
}
