//! Figures as people read them. Templates have references to numbers, code has numbers.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Borrow;

/// Digits in groups: `1,234,567`.
pub(super) fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same with its thing, once or several times: `1 post`, `2,000 posts`.
pub(super) fn counted(number: impl Borrow<u64>, one: &str) -> String {
    let number = *number.borrow();
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Octets with a unit: `512 B`, `1.5 MiB`.
pub(super) fn octets(number: impl Borrow<u64>) -> String {
    let number = *number.borrow();
    let mut size = number as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while size >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" { format!("{number} B") } else { format!("{size:.1} {unit}") }
}

/// A time with its two largest units: `3 d 4 h`, `59 s`.
pub(super) fn span(seconds: impl Borrow<u64>) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut parts = Vec::new();
    let mut left = *seconds.borrow();
    for (length, unit) in units {
        let whole = left / length;
        left %= length;
        if whole > 0 || !parts.is_empty() {
            parts.push((whole, unit));
        }
    }
    let shown = parts.into_iter().take(2).filter(|(whole, _)| *whole > 0);
    let text: Vec<_> = shown.map(|(whole, unit)| format!("{whole} {unit}")).collect();
    if text.is_empty() { "0 s".to_owned() } else { text.join(" ") }
}

/// Seconds as short as they are worth reading: `0.4 ms`, `12 ms`, `1.5 s`.
pub(super) fn took(seconds: impl Borrow<f64>) -> String {
    match *seconds.borrow() {
        short if short < 0.000_95 => format!("{:.1} ms", short * 1e3),
        short if short < 0.9995 => format!("{:.0} ms", short * 1e3),
        long if long < 9.95 => format!("{long:.1} s"),
        long => format!("{long:.0} s"),
    }
}

/// How long ago a point in time (RFC 3339) is: `3 d 4 h`.
pub(super) fn ago(at: impl AsRef<str>) -> String {
    let at: Result<jiff::Timestamp, _> = at.as_ref().parse();
    let millis = at.map_or(0, |at| jiff::Timestamp::now().as_millisecond() - at.as_millisecond());
    span(u64::try_from(millis / 1000).unwrap_or_default())
}

/// A point in time (RFC 3339) as it reads without script: `2026-01-31 12:00:00 UTC`.
pub(super) fn utc(at: &str) -> String {
    match (at.get(..10), at.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => at.to_owned(),
    }
}

/// The time of day of a point in time (RFC 3339) to the millisecond: `12:00:00.123`.
pub(super) fn clock(at: &str) -> &str {
    at.get(11..23).unwrap_or(at)
}

/// The same with its day: `2026-01-31 12:00:00.123`.
pub(super) fn stamp(at: &str) -> String {
    at.get(..10).map_or_else(|| at.to_owned(), |day| format!("{day} {}", clock(at)))
}

/// The beginning of a text that may be long, for a row of a table.
pub(super) fn brief(text: impl AsRef<str>) -> String {
    let mut chars = text.as_ref().chars();
    let start: String = chars.by_ref().take(BRIEF).collect();
    if chars.next().is_some() { start + "…" } else { start }
}

/// Characters of a text in a row.
const BRIEF: usize = 160;

/// A text as one piece of a path.
pub(super) fn piece(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_at_a_glance() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "post"), counted(2000, "post")), ("1 post".into(), "2,000 posts".into()));
        for (number, text) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (1_048_570, "1.0 MiB"),
        ] {
            assert_eq!(octets(number), text);
        }
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_661, "1 h 1 min"), (86_400, "1 d"), (86_401, "1 d")]
        {
            assert_eq!(span(seconds), text);
        }
        for (seconds, text) in
            [(0.0, "0.0 ms"), (0.000_4, "0.4 ms"), (0.012, "12 ms"), (0.9996, "1.0 s"), (30.2, "30 s")]
        {
            assert_eq!(took(seconds), text);
        }
        assert_eq!(utc("2026-01-31T12:00:00.123Z"), "2026-01-31 12:00:00 UTC");
        assert_eq!(utc("x"), "x");
        assert_eq!(stamp("2026-01-31T12:00:00.123Z"), "2026-01-31 12:00:00.123");
        assert_eq!((clock("x"), stamp("x").as_str()), ("x", "x"));
        assert_eq!((brief("ä"), brief("ä".repeat(BRIEF + 1)).chars().count()), ("ä".to_owned(), BRIEF + 1));
    }
}
