//! Points in time, as controls name them and as payloads show them.
//!
//! A control holds an RFC 3339 time, or a duration counted from the receipt of
//! the message: a whole number and one of `ms`, `s`, `m`, `h`, `d`.

use crate::post::Timestamp;
use jiff::Timestamp as Instant;
use std::time::Duration;

/// Reads a time or duration; the error says what was expected.
pub fn read(text: &str, received_at: Timestamp) -> Result<Timestamp, String> {
    if let Some(duration) = duration(text) {
        return Ok(received_at.after(duration));
    }
    let expected = || "expected a time as 2026-01-31T12:00:00Z or a duration as 15m".to_owned();
    text.parse().map_err(|_| expected())
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    at.to_string()
}

/// RFC 3339 in UTC of seconds since the epoch.
pub fn rfc3339_seconds(seconds: i64) -> Option<String> {
    Instant::from_second(seconds).ok().map(|at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read() {
        let noon = Timestamp(1_769_860_800_000);
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", Some(noon)),
            ("2026-01-31T13:00:00.5+01:00", Some(Timestamp(noon.0 + 500))),
            ("15m", Some(Timestamp(noon.0 + 900_000))),
            ("0s", Some(noon)),
            ("3d", Some(Timestamp(noon.0 + 3 * 86_400_000))),
            ("250ms", Some(Timestamp(noon.0 + 250))),
            ("", None),
            ("15", None),
            ("-5m", None),
            ("1.5h", None),
            ("99999999999999999999d", None),
            ("tomorrow", None),
            ("2026-01-31", None),
            ("2026-02-30T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
        ] {
            assert_eq!(read(text, noon).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_are_written() {
        assert_eq!(rfc3339(Timestamp(1_769_860_800_120)), "2026-01-31T12:00:00.120Z");
        assert_eq!(rfc3339_seconds(1_769_860_800).as_deref(), Some("2026-01-31T12:00:00Z"));
        assert_eq!(rfc3339_seconds(i64::MAX), None);
    }
}
