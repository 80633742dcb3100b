//! A point in time, and how it is written: RFC 3339 in UTC with milliseconds.
//!
//! Read is any RFC 3339 time, with any offset. What the time is now is not asked here.

use jiff::Timestamp as Instant;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The point `duration` later, saturating.
    pub fn after(self, duration: Duration) -> Timestamp {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// The point `duration` earlier, saturating.
    pub fn before(self, duration: Duration) -> Timestamp {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0).ok().and_then(|millis| Instant::from_millisecond(millis).ok());
        match at {
            Some(at) => write!(f, "{at:.3}"),
            None => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

/// The text is no RFC 3339 time since 1970.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTime;

impl fmt::Display for BadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write a time as 2026-01-31T12:00:00Z")
    }
}

impl std::error::Error for BadTime {}

impl FromStr for Timestamp {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Timestamp, BadTime> {
        let at: Instant = text.parse().map_err(|_| BadTime)?;
        u64::try_from(at.as_millisecond()).map(Timestamp).map_err(|_| BadTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_three_decimals_and_read_with_any_offset() {
        let at = Timestamp(1_769_860_800_120);
        assert_eq!(at.to_string(), "2026-01-31T12:00:00.120Z");
        for text in ["2026-01-31T12:00:00.120Z", "2026-01-31T14:00:00.12+02:00"] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        for text in ["", "now", "2026-01-31", "1969-12-31T23:59:59Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(BadTime), "{text}");
        }
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
