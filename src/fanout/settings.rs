//! What its owner says of a webhook, as it stands in a request and in the configuration.
//!
//! What is wrong with a field is said by its name. Secrets are shown by no `Debug`; an
//! answer leaves them out.

use super::pattern::Sieve;
use super::sample;
use super::{Format, Sharing};
use crate::compose::{Endpoint, is_reserved};
use crate::deliver::sign::{KeySettings, Scheme, SigningKey};
use crate::event::EventPattern;
use crate::units;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// Most headers of its own.
const HEADERS: usize = 10;
/// Most octets of all of them.
const HEADER_OCTETS: usize = 3000;
/// Most patterns of events, or of one filter.
const PATTERNS: usize = 100;
/// Octets that a description or a pattern may have.
const LONGEST_TEXT: usize = 256;
/// Fewest and most octets of a secret that its owner chose.
const SECRETS: std::ops::RangeInclusive<usize> = 1..=256;
/// What Standard Webhooks allows of a symmetric one.
const STANDARD_SECRETS: std::ops::RangeInclusive<usize> = 24..=64;
/// Where the hexadecimal signature stands when nothing else is said.
const SIGNATURE: &str = "X-Postgate-Signature";

/// What its owner says of a webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where its requests go: `http` or `https`.
    #[schemars(regex(pattern = "^https?://"), length(max = 2048))]
    pub url: String,
    /// Names of events, `post.*`, `*`; Mailtura's short names of mails.
    #[schemars(
        length(min = 1, max = 100),
        inner(regex(pattern = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$"))
    )]
    pub events: Vec<String>,
    /// Whether it gets events.
    pub enabled: bool,
    /// What signs its requests: `whsec_…`, `whsk_…`, or a text.
    #[schemars(with = "Option<String>", length(min = 1, max = 256))]
    pub secret: Option<Zeroizing<String>>,
    /// For people.
    #[schemars(length(max = 256), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    pub description: String,
    /// How events are written.
    pub format: Format,
    /// How many events go in one request.
    pub batch: Batch,
    /// Further headers of its requests.
    pub headers: BTreeMap<String, String>,
    /// The auth profile that proves to the receiver who sends.
    pub auth: Option<String>,
    /// Requests in a time, such as `10/s`.
    pub rate: Option<String>,
    /// Requests at a time.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Which events, by what they are about.
    pub filter: Filter,
    /// Where the hexadecimal signature stands, such as `X-Mailtura-Signature`.
    pub signature_header: Option<String>,
}

/// How many events go in one request: whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Events, 1 to 10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_events: u32,
    /// Octets, such as `1MiB`, 1 KiB to 10 MiB.
    pub max_bytes: String,
    /// Time since the first of them, such as `1s`, at most an hour.
    pub max_wait: String,
}

/// Which events, by what they are about; of several patterns of one field one has to
/// match, and all fields that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Tags; `*` stands for any characters.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub tag: Patterns,
    /// Origins, as elsewhere: `https://*.shop.example`.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub destination: Patterns,
    /// Forward-paths, without case; `*` stands for any characters.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub recipient: Patterns,
}

/// One pattern or several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Patterns {
    /// This one.
    One(String),
    /// Any of these.
    Any(Vec<String>),
}

impl Default for Patterns {
    fn default() -> Patterns {
        Patterns::Any(Vec::new())
    }
}

impl Patterns {
    /// Each of them.
    pub fn texts(&self) -> &[String] {
        match self {
            Patterns::One(one) => std::slice::from_ref(one),
            Patterns::Any(any) => any,
        }
    }

    fn is_empty(&self) -> bool {
        self.texts().is_empty()
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            url: String::new(),
            events: Vec::new(),
            enabled: true,
            secret: None,
            description: String::new(),
            format: Format::Single,
            batch: Batch::default(),
            headers: BTreeMap::new(),
            auth: None,
            rate: None,
            max_connections: None,
            filter: Filter::default(),
            signature_header: None,
        }
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { max_events: 500, max_bytes: "1MiB".to_owned(), max_wait: "1s".to_owned() }
    }
}

impl fmt::Debug for Settings {
    /// Without its secrets: the URL may hold one, and so may the headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({:?})", self.events)
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its name.
    pub field: &'static str,
    /// What to write instead.
    pub text: String,
}

pub(super) fn wrong<T>(field: &'static str, text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { field, text: text.into() })
}

impl Settings {
    /// Looks at every field; the first that is wrong is the error.
    pub fn check(&self) -> Result<(), Wrong> {
        self.endpoint()?;
        self.patterns()?;
        if self.description.len() > LONGEST_TEXT || self.description.chars().any(char::is_control) {
            return wrong("description", format!("write one line of at most {LONGEST_TEXT} octets"));
        }
        self.batch.check()?;
        self.filter.check()?;
        self.own_headers()?;
        let names: BTreeSet<_> = self.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
        if names.len() < self.headers.len() {
            return wrong("headers", "a name stands there twice: they are the same in any case");
        }
        if self.auth.as_deref() == Some("") {
            return wrong("auth", "name an [[auth]] of the configuration, or leave it out");
        }
        self.pace()?;
        if self.max_connections == Some(0) {
            return wrong("max_connections", "write a number from 1, or leave it out");
        }
        match &self.secret {
            Some(secret) => self.keys(&[secret.as_str()]).map(drop),
            None => Ok(()),
        }
    }

    /// Where its requests go. Credentials in a URL are no way to keep them.
    pub fn endpoint(&self) -> Result<Endpoint, Wrong> {
        let endpoint = self.url.parse::<Endpoint>();
        let endpoint = endpoint.or_else(|bad| wrong("url", bad.to_string()))?;
        match endpoint.authorization {
            None => Ok(endpoint),
            Some(_) => wrong("url", "credentials belong in auth or headers, not in the URL"),
        }
    }

    /// Which events are meant.
    pub fn patterns(&self) -> Result<Vec<EventPattern>, Wrong> {
        if self.events.is_empty() || self.events.len() > PATTERNS {
            return wrong("events", format!("name 1 to {PATTERNS} events, such as [\"post.failed\"]"));
        }
        let read = |text: &String| {
            let pattern = sample::full_name(text).parse::<EventPattern>();
            pattern.or_else(|bad| wrong("events", format!("{text:?}: {bad}; or post.*, or *")))
        };
        self.events.iter().map(read).collect()
    }

    /// Further headers of its requests.
    pub fn own_headers(&self) -> Result<HeaderMap, Wrong> {
        let octets: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.headers.len() > HEADERS || octets > HEADER_OCTETS {
            return wrong("headers", format!("at most {HEADERS}, and {HEADER_OCTETS} octets of all"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            let header = HeaderName::from_bytes(lower.as_bytes());
            let (Ok(header), false) = (header, is_reserved(&lower) || lower == "idempotency-key") else {
                return wrong("headers", format!("{name:?} cannot be set; it is no name, or ours to set"));
            };
            let Ok(value) = HeaderValue::from_str(value) else {
                return wrong("headers", format!("the value of {name} holds a control character"));
            };
            headers.insert(header, value);
        }
        Ok(headers)
    }

    /// Requests in a time.
    pub fn pace(&self) -> Result<Option<units::Rate>, Wrong> {
        let Some(text) = &self.rate else { return Ok(None) };
        match units::rate(text) {
            Some(rate) => Ok(Some(rate)),
            None => wrong("rate", "write a rate such as \"10/s\" or \"6000/15m\""),
        }
    }

    /// Whether its requests may hold several events.
    pub fn sharing(&self) -> Sharing {
        if self.batch.max_events > 1 { Sharing::Batched } else { Sharing::Alone }
    }

    /// What signs with these secrets: Standard Webhooks where a secret is fit for it, and
    /// the hexadecimal HMAC-SHA256 of the body under the secret as it is written.
    pub(super) fn keys(&self, secrets: &[&str]) -> Result<Vec<SigningKey>, Wrong> {
        if secrets.iter().any(|secret| !SECRETS.contains(&secret.len())) {
            return wrong("secret", "write 1 to 256 octets");
        }
        let standard: Vec<_> = secrets.iter().filter_map(|secret| standard(secret)).collect();
        let hex: Vec<_> = secrets.iter().filter(|secret| !secret.starts_with("whsk_")).collect();
        let mut keys = Vec::new();
        let key = |settings| SigningKey::new(settings);
        if !standard.is_empty() {
            let key = key(KeySettings { secrets: standard.into(), ..KeySettings::default() });
            keys.push(key.or_else(|text| wrong("secret", text))?);
        }
        if !hex.is_empty() {
            let header = self.signature_header.as_deref().unwrap_or(SIGNATURE).to_owned();
            let secrets = hex.into_iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>().into();
            let settings = KeySettings {
                scheme: Scheme::HmacHex,
                header: Some(header),
                secrets,
                ..KeySettings::default()
            };
            keys.push(key(settings).or_else(|text| wrong("signature_header", text))?);
        }
        Ok(keys)
    }
}

/// A secret as Standard Webhooks writes it; a text is its octets. A shorter text is not
/// fit for it.
fn standard(secret: &str) -> Option<String> {
    let is_written_so = secret.starts_with("whsec_") || secret.starts_with("whsk_");
    match is_written_so {
        true => Some(secret.to_owned()),
        false => STANDARD_SECRETS
            .contains(&secret.len())
            .then(|| format!("whsec_{}", BASE64.encode(secret.as_bytes()))),
    }
}

impl Batch {
    /// Octets of one.
    pub fn octets(&self) -> Result<u64, Wrong> {
        let octets = units::size(&self.max_bytes).map(|size| size.0);
        let octets = octets.filter(|octets| (1 << 10..=10 << 20).contains(octets));
        octets.map_or_else(|| wrong("batch", "max_bytes is a size from \"1KiB\" to \"10MiB\""), Ok)
    }

    /// How long it is waited for more.
    pub fn wait(&self) -> Result<Duration, Wrong> {
        let wait = units::duration(&self.max_wait).filter(|wait| *wait <= Duration::from_hours(1));
        wait.map_or_else(|| wrong("batch", "max_wait is a duration such as \"1s\", at most \"1h\""), Ok)
    }

    fn check(&self) -> Result<(), Wrong> {
        if !(1..=10_000).contains(&self.max_events) {
            return wrong("batch", "max_events is a number from 1 to 10000");
        }
        self.octets()?;
        self.wait().map(drop)
    }
}

impl Filter {
    /// Looks at every pattern; the first that is wrong is the error.
    pub fn check(&self) -> Result<(), Wrong> {
        for (name, patterns) in
            [("tag", &self.tag), ("destination", &self.destination), ("recipient", &self.recipient)]
        {
            let is_bad = |text: &String| text.is_empty() || text.len() > LONGEST_TEXT;
            if patterns.texts().len() > PATTERNS || patterns.texts().iter().any(is_bad) {
                let text = format!("{name}: at most {PATTERNS} patterns of 1 to {LONGEST_TEXT} octets");
                return wrong("filter", text);
            }
        }
        Sieve::of(self).map(drop)
    }
}
