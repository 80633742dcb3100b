//! Sizes, durations and rates as people write them: `25MiB`, `15m`, `6000/15m`.
//!
//! The same in the configuration and in the API. Sizes are powers of 1024 (`KiB`),
//! durations are a whole number of one unit.

use std::fmt::{self, Display};
use std::time::Duration;

/// A number of octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// So many things in a time, such as `300/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// Splits `25MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// Milliseconds of each unit, the largest first.
const UNITS_OF_TIME: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Octets of each unit, the largest first.
const UNITS_OF_SIZE: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `500ms`, `10s`, `5m`, `2h`, `3d`; at most about a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);
    let (number, unit) = number_and_unit(text)?;
    let (_, millis) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit)?;
    let duration = Duration::from_millis(number.checked_mul(*millis)?);
    (duration <= LONGEST).then_some(duration)
}

/// Reads `1d12h`: durations one behind another; at most about a hundred years each.
pub fn age(text: &str) -> Option<Duration> {
    let (mut age, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let unit = rest.find(|char: char| !char.is_ascii_digit())?;
        let (number, behind) = rest.split_at_checked(unit)?;
        let end = behind.find(|char: char| char.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, left) = behind.split_at_checked(end)?;
        age = age.checked_add(duration(&format!("{number}{unit}"))?)?;
        rest = left;
    }
    (!text.is_empty()).then_some(age)
}

/// Reads `64KiB`, `25MiB`, `1GiB`, `4096B`.
pub fn size(text: &str) -> Option<Size> {
    let (number, unit) = number_and_unit(text)?;
    let (_, octets) = UNITS_OF_SIZE.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*octets).map(Size)
}

/// Reads `100/s`, `6000/15m`.
pub fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = if per.starts_with(|char: char| char.is_ascii_digit()) {
        duration(per)?
    } else {
        duration(&format!("1{per}"))?
    };
    let count = count.parse().ok().filter(|count| *count > 0)?;
    (!per.is_zero()).then_some(Rate { count, per })
}

/// Writes a number with the largest unit that divides it.
fn write_in_units(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |unit: &&(&str, u64)| number.is_multiple_of(unit.1) && number >= unit.1;
    match units.iter().find(fits).or(units.last()) {
        Some((name, unit)) => write!(f, "{}{name}", number / unit),
        None => Ok(()),
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0, UNITS_OF_SIZE)
    }
}

/// A duration as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Written(pub Duration);

impl Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        write_in_units(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), UNITS_OF_TIME)
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Written(self.per).to_string();
        let per = per.strip_prefix('1').filter(|unit| !unit.starts_with(|char: char| char.is_ascii_digit()));
        match per {
            Some(unit) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, Written(self.per)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_several_units() {
        for (text, seconds) in [("2d", 172_800), ("1d12h", 129_600), ("1h30m5s", 5405)] {
            assert_eq!(age(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "2", "d", "1d12", "1w", "1.5d", "-1d", "1d 2h", "99999d"] {
            assert_eq!(age(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("3d", 259_200_000),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis));
            assert_eq!(Written(read).to_string(), text);
        }
        assert_eq!(Written(Duration::from_secs(90)).to_string(), "90s");
        for text in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5M", "99999999999d", "99999999999999999999s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, octets) in [("0B", 0), ("4097B", 4097), ("64KiB", 65_536), ("25MiB", 26_214_400)] {
            let read = size(text).unwrap();
            assert_eq!(read, Size(octets));
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "25", "25MB", "25 MiB", "MiB", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, count, seconds) in
            [("100/s", 100, 1), ("300/m", 300, 60), ("6000/15m", 6000, 900), ("1000000/d", 1_000_000, 86_400)]
        {
            let read = rate(text).unwrap();
            assert_eq!(read, Rate { count, per: Duration::from_secs(seconds) });
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "100", "0/s", "100/", "100/0s", "-1/s", "1/week"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
