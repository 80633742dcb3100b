//! What an operator says that results mean: `on` and `body_matches`.
//!
//! They stand before the usual table of `retry`: the response's text first, then
//! its single status, then the class of that. They speak of posts alone: what a
//! result says of its destination stays what it is.

use super::retry::{Outcome, Trouble};
use regex::Regex;
use std::fmt;

/// What results mean to one destination, where it is not what they usually mean.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// `on`: the first that fits wins; single statuses stand before classes.
    pub on: Vec<(On, Ruling)>,
    /// `body_matches`: the first that fits the response's text wins, before `on`.
    pub body_matches: Vec<(Regex, Ruling)>,
}

impl Verdicts {
    /// All that is said about an outcome, the first word to say first, each with the key
    /// that says it.
    pub fn rulings<'a>(
        &'a self,
        outcome: &'a Outcome,
    ) -> impl Iterator<Item = (Ruling, &'static str)> + use<'a> {
        let (text, subjects) = match outcome {
            Outcome::Answered { status, text, .. } => {
                let status = status.as_u16();
                (Some(text), [Some(On::Status(status)), Some(On::Class(status / 100))])
            }
            // What a relay says of a report is nothing that statuses of HTTP are about.
            Outcome::Replied { .. } => (None, [None, None]),
            Outcome::Broken(trouble) => (None, [On::trouble(trouble), None]),
        };
        let patterns = text.into_iter().flat_map(|text| {
            self.body_matches.iter().filter(|(regex, _)| regex.is_match(text)).map(|(_, ruling)| *ruling)
        });
        let subjects = subjects.into_iter().flatten();
        let said = subjects.flat_map(|subject| {
            self.on.iter().filter(move |(on, _)| *on == subject).map(|(_, ruling)| *ruling)
        });
        patterns.map(|ruling| (ruling, "body_matches")).chain(said.map(|ruling| (ruling, "on")))
    }

    /// Whether a response's text must be read to judge it.
    pub fn wants_text(&self) -> bool {
        !self.body_matches.is_empty()
    }
}

impl PartialEq for Verdicts {
    fn eq(&self, other: &Verdicts) -> bool {
        let patterns = |verdicts: &Verdicts| -> Vec<(String, Ruling)> {
            verdicts.body_matches.iter().map(|(regex, ruling)| (regex.as_str().to_owned(), *ruling)).collect()
        };
        self.on == other.on && patterns(self) == patterns(other)
    }
}

impl Eq for Verdicts {}

/// A result that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// This status.
    Status(u16),
    /// All statuses of this class: 2 to 5.
    Class(u16),
    /// No connection, or one that broke before an answer.
    Connect,
    /// A name that could not be resolved.
    Dns,
    /// No trusted TLS session.
    Tls,
    /// Something took too long.
    Timeout,
}

impl On {
    /// What a trouble is in the words of `on`. Those that are not about the
    /// destination are not: nothing can be ruled about them.
    fn trouble(trouble: &Trouble) -> Option<On> {
        match trouble {
            Trouble::Connect(_) | Trouble::Broken(_) => Some(On::Connect),
            Trouble::Resolve(_) | Trouble::Unresolved(_) => Some(On::Dns),
            Trouble::Tls(_) => Some(On::Tls),
            Trouble::TimedOut(..) => Some(On::Timeout),
            Trouble::Untried(_)
            | Trouble::Denied(_)
            | Trouble::Withheld(_)
            | Trouble::Unsubscribed
            | Trouble::Closed
            | Trouble::Moved
            | Trouble::Malformed(_)
            | Trouble::Proxy(_)
            | Trouble::Credentials(_)
            | Trouble::Unsendable(_)
            | Trouble::Damaged(_)
            | Trouble::Sealed(_)
            | Trouble::Unreadable(_)
            | Trouble::Expired
            | Trouble::Crashed => None,
        }
    }
}

/// What a result is to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The post is tried again.
    Retry,
    /// It is given up.
    Fail,
    /// It waits, without ageing, until it is released.
    Hold,
    /// It is tried again, and its destination is paused.
    Pause,
    /// It is delivered.
    Done,
    /// It is tried again at once, with addresses in place of its attachments; one that
    /// has none, or has them already, is judged as usual.
    RetryWithUrls,
}

impl fmt::Display for Ruling {
    /// As in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ruling::Retry => "retry",
            Ruling::Fail => "fail",
            Ruling::Hold => "hold",
            Ruling::Pause => "pause",
            Ruling::Done => "done",
            Ruling::RetryWithUrls => "retry-with-urls",
        })
    }
}
