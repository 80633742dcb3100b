//! Durations and other people's texts, as they stand in one line.

use std::fmt;
use std::time::Duration;

/// A duration in the largest unit that tells it exactly, as `5 s` or `1500 ms`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) { write!(f, "{} s", millis / 1000) } else { write!(f, "{millis} ms") }
    }
}

/// A text of somebody else in one line of at most `most` octets, cut between
/// characters: what controls a terminal becomes a blank.
pub fn line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for char in text.chars() {
        let char = if char.is_control() { ' ' } else { char };
        if line.len() + char.len_utf8() > most {
            break;
        }
        line.push(char);
    }
    line.truncate(line.trim_end().len());
    line
}
