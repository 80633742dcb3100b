//! Which URLs something is about, by their origin: `https://shop.example`,
//! `https://*.shop.example`, `http://10.1.2.3:8080`, `*`.

use std::fmt;
use std::str::FromStr;

/// A pattern of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPattern(String);

impl FromStr for UrlPattern {
    type Err = String;

    /// The error says what to write instead.
    fn from_str(text: &str) -> Result<UrlPattern, String> {
        Ok(UrlPattern(text.to_owned()))
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
