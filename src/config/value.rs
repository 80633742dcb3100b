//! What single values look like in the configuration.
//!
//! Every reader takes one TOML value and answers with the value or with a
//! sentence "cause; remedy". None of them knows where the value stands: places
//! are the walk's.

use super::settings::{API_ADDRESS, ApiAddress};
use crate::compose::{Allowed, Pattern, Payload, Reports};
use crate::network::Network;
use crate::smtp::Address;
pub(super) use crate::units::Written;
pub(crate) use crate::units::duration;
pub use crate::units::{Rate, Size};
use crate::units::{rate, size};
use crate::url_pattern::UrlPattern;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// A value that can stand behind a key.
pub(super) trait Value: Sized {
    /// Reads it; the error is "cause; remedy".
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
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
