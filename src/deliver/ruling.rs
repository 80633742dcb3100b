//! What an operator says that results mean: `on` and `body_matches`.
//!
//! They stand before the usual table of `retry`.

use regex::Regex;

/// What results mean to one destination, where it is not what they usually mean.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// `on`: the first that fits wins; single statuses stand before classes.
    pub on: Vec<(On, Ruling)>,
    /// `body_matches`: the first that fits the response's text wins, before `on`.
    pub body_matches: Vec<(Regex, Ruling)>,
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
    /// No connection.
    Connect,
    /// A name that could not be resolved.
    Dns,
    /// No trusted TLS session.
    Tls,
    /// Something took too long.
    Timeout,
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
}
