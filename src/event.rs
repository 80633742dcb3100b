//! An event: a fact about a post, a destination or a webhook, or one that an
//! application published.
//!
//! An event is finished when it happens: whoever is told of it later, and however
//! often, is told the same octets. Ids sort by time (ULID), names have dots
//! (`post.delivered`).

pub mod destinations;
pub mod posts;
pub mod published;

use crate::post::{PostId, Timestamp};
use crate::tenant::Tenant;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One event; cheap to clone, for the spool, the journal and those who are told share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The same whenever it is told.
    pub id: EventId,
    /// What happened.
    pub name: EventName,
    /// When.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: Tenant,
    /// What is known of it: one JSON object (RFC 8259) on one line.
    pub data: Bytes,
}

/// The id of an event: `evt_` and a ULID, which sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventId(Arc<str>);

/// Digits of a ULID: Crockford's base 32.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl EventId {
    /// The id of an event of this time; 80 bits of `dice` tell it from others.
    pub fn new(at: Timestamp, dice: u128) -> EventId {
        let mut number = u128::from(at.0) << 80 | dice & ((1 << 80) - 1);
        let mut text = *b"evt_00000000000000000000000000";
        for octet in text.iter_mut().skip("evt_".len()).rev() {
            *octet = DIGITS.get((number & 31) as usize).copied().unwrap_or(b'0');
            number >>= 5;
        }
        EventId(str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The id of an event that the message of this post reports, alone or as one of
    /// several, counted from 1: the same wherever it is told.
    pub fn of_report(post: PostId, number: Option<usize>) -> EventId {
        EventId(match number {
            None => format!("evt_{post}").into(),
            Some(number) => format!("evt_{post}_{number}").into(),
        })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of event it is: `post.delivered`, or any dotted name that an application
/// has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventName(Cow<'static, str>);

/// Most octets of a name.
const LONGEST_NAME: usize = 64;

/// The text is no name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a name has two or more parts of letters, digits, - and _ with dots between, such as \
             order.paid, and at most {LONGEST_NAME} octets"
        )
    }
}

impl std::error::Error for BadName {}

impl FromStr for EventName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<EventName, BadName> {
        let is_part = |part: &str| {
            let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
            !part.is_empty() && part.bytes().all(is_letter)
        };
        let is_name = text.len() <= LONGEST_NAME && text.contains('.') && text.split('.').all(is_part);
        if is_name { Ok(EventName(text.to_owned().into())) } else { Err(BadName) }
    }
}

impl EventName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which events somebody wants: a name, all that begin with some parts (`post.*`), or
/// all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventPattern(String);

impl EventPattern {
    /// Whether an event of this name is wanted.
    pub fn matches(&self, name: &EventName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.0.starts_with(beginning),
            None => name.0 == self.0,
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventPattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<EventPattern, BadName> {
        match text.strip_suffix(".*") {
            _ if text == "*" => {}
            // Its parts are those of a name.
            Some(beginning) => drop(format!("{beginning}.x").parse::<EventName>()?),
            None => drop(text.parse::<EventName>()?),
        }
        Ok(EventPattern(text.to_owned()))
    }
}

/// A place in the order of a spool's events; the default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which log it is a place in: in another one it means nothing.
    pub log: u32,
    /// Grows from event to event.
    pub place: (u64, u64),
}

/// Whether anybody wants events: who makes them asks before it composes one, and
/// where nobody does none are made. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicUsize>);

/// Events are wanted until this is dropped.
#[derive(Debug)]
pub struct Want(Wanted);

impl Wanted {
    /// Whether somebody does.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// From now on they are.
    pub fn want(&self) -> Want {
        self.0.fetch_add(1, Ordering::Relaxed);
        Want(self.clone())
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ulids_that_sort_by_time() {
        let id = EventId::new(Timestamp(1_469_918_176_385), 0);
        assert_eq!(id.as_str(), "evt_01ARYZ6S410000000000000000");
        let last = EventId::new(Timestamp(1_469_918_176_385), u128::MAX);
        assert_eq!(last.as_str(), "evt_01ARYZ6S41ZZZZZZZZZZZZZZZZ");
        assert!(last < EventId::new(Timestamp(1_469_918_176_386), 0));
    }

    #[test]
    fn events_are_wanted_as_long_as_somebody_wants_them() {
        let wanted = Wanted::default();
        let both = (wanted.want(), wanted.clone().want());
        drop(both.0);
        assert!(wanted.is_wanted());
        drop(both.1);
        assert!(!wanted.is_wanted());
    }

    #[test]
    fn names_have_dots_and_patterns_end_in_a_star() {
        for name in ["post.delivered", "a.b.c", "Order_1.paid-x"] {
            assert!(name.parse::<EventName>().is_ok(), "{name}");
        }
        for name in
            ["", "post", "post.", ".x", "a..b", "a b.c", "a.*", "é.x", &format!("a.{}", "x".repeat(63))]
        {
            assert_eq!(name.parse::<EventName>(), Err(BadName), "{name}");
        }
        let delivered: EventName = "post.delivered".parse().unwrap();
        for (pattern, matches) in [
            ("*", true),
            ("post.*", true),
            ("post.delivered", true),
            ("post.failed", false),
            ("posts.*", false),
        ] {
            assert_eq!(pattern.parse::<EventPattern>().unwrap().matches(&delivered), matches, "{pattern}");
        }
        for pattern in ["", "post*", "*.x", "post.*.*", "**"] {
            assert_eq!(pattern.parse::<EventPattern>(), Err(BadName), "{pattern}");
        }
    }
}
