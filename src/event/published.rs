//! Events that applications publish, by the API or by mail: which names they may have,
//! and what they may hold.

use super::EventName;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::fmt;

/// Most octets of the data of one.
pub const MOST_OCTETS: usize = 256 * 1024;

/// Beginnings of names that nobody but the gateway gives: what they tell is true.
const OWN: [&str; 3] = ["post.", "destination.", "webhook."];

/// Why something is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The text is no name of an event.
    Name(super::BadName),
    /// The name is one of the gateway's own.
    Own,
    /// The data are no JSON object (RFC 8259); says where that ends.
    Data(String),
    /// There are more than [`MOST_OCTETS`] of them.
    Size,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Name(bad) => bad.fmt(f),
            Unfit::Own => {
                f.write_str("names that begin with post., destination. or webhook. are the gateway's own")
            }
            Unfit::Data(why) => write!(f, "the data of an event are one JSON object: {why}"),
            Unfit::Size => write!(f, "the data of an event have at most {MOST_OCTETS} octets"),
        }
    }
}

impl std::error::Error for Unfit {}

/// The name that an application gives to an event.
pub fn name(text: &str) -> Result<EventName, Unfit> {
    let is_own =
        OWN.iter().any(|own| text.get(..own.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(own)));
    if is_own { Err(Unfit::Own) } else { text.parse().map_err(Unfit::Name) }
}

/// The data of an event as they were written, but on one line.
pub fn data(text: &[u8]) -> Result<Bytes, Unfit> {
    let text = text.trim_ascii();
    if text.len() > MOST_OCTETS {
        return Err(Unfit::Size);
    }
    // Whoever is told must be able to read it: nested no deeper than anybody reads.
    let read: Result<Map<String, Value>, _> = serde_json::from_slice(text);
    read.map_err(|error| Unfit::Data(error.to_string()))?;
    // A line end stands between two tokens only (RFC 8259 section 2).
    let on_a_line = text.iter().map(|octet| if matches!(octet, b'\r' | b'\n') { b' ' } else { *octet });
    Ok(on_a_line.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_those_of_the_gateway() {
        for (text, is_fit) in [
            ("order.paid", true),
            ("email.opened", true),
            ("posts.x", true),
            ("post.delivered", false),
            ("POST.delivered", false),
            ("webhook.disabled", false),
            ("destination.x", false),
            ("order", false),
            ("\u{e4}.b", false),
        ] {
            assert_eq!(name(text).is_ok(), is_fit, "{text}");
        }
    }

    #[test]
    fn data_are_an_object_on_a_line() {
        for (text, expected) in [
            ("{}", Some("{}")),
            (" {\"a\":\r\n 1.50}\r\n", Some("{\"a\":   1.50}")),
            ("{\"a\": 123456789012345678901234567890}", Some("{\"a\": 123456789012345678901234567890}")),
            ("", None),
            ("[]", None),
            ("1", None),
            ("{\"a\":1}{}", None),
            ("{\"a\":\"\n\"}", None),
        ] {
            let octets = data(text.as_bytes()).ok();
            assert_eq!(octets.as_deref(), expected.map(str::as_bytes), "{text:?}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_OCTETS));
        assert_eq!(data(large.as_bytes()), Err(Unfit::Size));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(matches!(data(deep.as_bytes()), Err(Unfit::Data(_))));
    }
}
