//! What single values look like in the configuration, and how they are written
//! back.
//!
//! Every reader takes one TOML value and answers with the value or with a
//! sentence "cause; remedy". None of them knows where the value stands: places
//! are the walk's. Sizes are powers of 1024 (`KiB`), durations have one unit.

use super::settings::{API_ADDRESS, ApiAddress};
use crate::compose::{Allowed, Pattern, Payload, Reports};
use crate::network::Network;
use crate::smtp::Address;
use crate::url_pattern::UrlPattern;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// A value that can stand behind a key.
pub(super) trait Value: Sized {
    /// Reads it; the error is "cause; remedy".
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

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

/// Octets of a unix socket's path, the NUL behind it not counted.
const LONGEST_SOCKET_PATH: usize = 107;

/// Says what stands there and what should.
pub(super) fn instead_of(value: &DeValue<'_>, wanted: &str) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("{article} {} stands here; write {wanted}", value.type_str())
}

/// A value that must be a text.
pub(super) fn text<'a>(value: &'a DeValue<'_>, wanted: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| instead_of(value, wanted))
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<String, String> {
        text(value, "a text in quotes").map(str::to_owned)
    }
}

impl Value for Payload {
    fn read(value: &DeValue<'_>) -> Result<Payload, String> {
        text(value, "the name of a payload format, such as \"json\"")?.parse()
    }
}

impl Value for Pattern {
    fn read(value: &DeValue<'_>) -> Result<Pattern, String> {
        text(value, "a recipient such as \"orders@hooks.example\"")?.parse()
    }
}

impl Value for Allowed {
    fn read(value: &DeValue<'_>) -> Result<Allowed, String> {
        text(value, "a sender such as \"*@example.com\" or a network such as \"10.1.0.0/16\"")?.parse()
    }
}

impl Value for Reports {
    fn read(value: &DeValue<'_>) -> Result<Reports, String> {
        let wanted = "true, false or \"besides\"";
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) => Ok(Reports::AsEvents),
            (Some(false), _) => Ok(Reports::AsMail),
            (None, Some("besides")) => Ok(Reports::AsBoth),
            (None, Some(other)) => Err(format!("{other:?} is not known here; write {wanted}")),
            (None, None) => Err(instead_of(value, wanted)),
        }
    }
}

impl Value for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<PathBuf, String> {
        match text(value, "a path in quotes")? {
            "" => Err("the path is empty; write one such as \"postgate-data\"".to_owned()),
            path => Ok(PathBuf::from(path)),
        }
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| instead_of(value, "true or false"))
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>) -> Result<u32, String> {
        let number = value.as_integer().ok_or_else(|| instead_of(value, "a whole number without quotes"))?;
        u32::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("{number} is out of range; write a number from 0 to {}", u32::MAX))
    }
}

impl Value for i32 {
    fn read(value: &DeValue<'_>) -> Result<i32, String> {
        let number = value.as_integer().ok_or_else(|| instead_of(value, "a whole number without quotes"))?;
        i32::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
            format!("{number} is out of range; write a number from {} to {}", i32::MIN, i32::MAX)
        })
    }
}

impl Value for u16 {
    fn read(value: &DeValue<'_>) -> Result<u16, String> {
        let port = u32::read(value)?;
        u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{port} is not a port; write a number from 1 to {}", u16::MAX))
    }
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Duration, String> {
        let wanted = "a duration such as \"500ms\", \"10s\", \"5m\", \"2h\" or \"3d\"";
        let text = text(value, wanted)?;
        duration(text).ok_or_else(|| format!("{text:?} is not a duration; write {wanted}"))
    }
}

impl Value for Size {
    fn read(value: &DeValue<'_>) -> Result<Size, String> {
        let wanted = "a size such as \"64KiB\", \"25MiB\" or \"1GiB\"";
        let text = text(value, wanted)?;
        size(text).ok_or_else(|| format!("{text:?} is not a size; write {wanted}"))
    }
}

impl Value for Rate {
    fn read(value: &DeValue<'_>) -> Result<Rate, String> {
        let wanted = "a rate such as \"100/s\", \"6000/15m\" or \"1000000/d\"";
        let text = text(value, wanted)?;
        rate(text).ok_or_else(|| format!("{text:?} is not a rate; write {wanted}"))
    }
}

impl Value for Network {
    fn read(value: &DeValue<'_>) -> Result<Network, String> {
        text(value, "a network such as \"10.1.0.0/16\"")?.parse()
    }
}

impl Value for UrlPattern {
    fn read(value: &DeValue<'_>) -> Result<UrlPattern, String> {
        text(value, "an origin such as \"https://*.shop.example\"")?.parse()
    }
}

impl Value for Address {
    fn read(value: &DeValue<'_>) -> Result<Address, String> {
        let address = text(value, "an address and a port such as \"127.0.0.1:2525\"")?.parse()?;
        match &address {
            Address::Unix(path) if path.as_os_str().len() > LONGEST_SOCKET_PATH => {
                Err(format!("a socket's path has at most {LONGEST_SOCKET_PATH} octets; write a shorter one"))
            }
            _ => Ok(address),
        }
    }
}

impl Value for ApiAddress {
    fn read(value: &DeValue<'_>) -> Result<ApiAddress, String> {
        let wanted = format!("an address and a port such as \"{API_ADDRESS}\", or \"off\"");
        match text(value, &wanted)? {
            "" | "off" => Ok(ApiAddress::Off),
            text => match text.parse::<SocketAddr>() {
                Ok(address) => Ok(ApiAddress::At(address)),
                Err(_) => Err(format!("{text:?} is not an address; write {wanted}")),
            },
        }
    }
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
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);
    let (number, unit) = number_and_unit(text)?;
    let (_, millis) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit)?;
    let duration = Duration::from_millis(number.checked_mul(*millis)?);
    (duration <= LONGEST).then_some(duration)
}

/// Reads `64KiB`, `25MiB`, `1GiB`, `4096B`.
fn size(text: &str) -> Option<Size> {
    let (number, unit) = number_and_unit(text)?;
    let (_, octets) = UNITS_OF_SIZE.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*octets).map(Size)
}

/// Reads `100/s`, `6000/15m`.
fn rate(text: &str) -> Option<Rate> {
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

/// A duration as it stands in the configuration.
pub(super) struct Written(pub Duration);

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
