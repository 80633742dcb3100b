//! What the API answers, as far as pages show it. What an answer lacks is empty, so that
//! a page shows the rest.

use super::words;
use serde::Deserialize;

/// `GET /status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub version: String,
    /// `ok`, or why nothing is taken.
    pub status: String,
    pub now: String,
    pub started_at: String,
    /// In seconds.
    pub uptime: u64,
    pub queue: Queue,
    /// Nobody's alone: a tenant is not told.
    pub traffic: Option<Traffic>,
    pub connections: Option<Connections>,
    pub spool: Option<Spool>,
    pub accounting: Vec<Accounting>,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub address: String,
    pub protocol: String,
    pub tls: String,
}

/// Posts by state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub waiting: u64,
    pub sending: u64,
    pub held: u64,
    pub failed: u64,
    pub destinations: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    pub total: Span,
    pub last_hour: Span,
    pub last_minute: Span,
    pub peak_hour: Span,
    pub peak_minute: Span,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Span {
    pub r#in: Volume,
    pub out: Volume,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    pub posts: u64,
    pub messages: u64,
    pub kb: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connections {
    pub r#in: Heads,
    pub out: Heads,
}

/// Now, allowed (0: no limit), at most so far.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Heads {
    pub cur: u64,
    pub max: u64,
    pub top: u64,
}

/// In octets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spool {
    pub size: u64,
    pub disk_free: u64,
    pub disk_size: u64,
    pub is_read: bool,
    pub damages: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Accounting {
    pub path: String,
    pub state: String,
    pub error: Option<String>,
}

/// `GET /destinations`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destinations {
    pub destinations: Vec<Destination>,
    pub total: u64,
    pub in_trouble: Group,
    pub slowed: Group,
    pub oldest: Option<String>,
}

/// Destinations that stand alike.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub destinations: u64,
    pub queued: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    pub origin: String,
    pub tenant: String,
    pub webhook: Option<String>,
    pub state: String,
    pub reason: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub queued: u64,
    pub sending: u64,
    pub held: u64,
    pub failed: u64,
    pub oldest: Option<String>,
    pub in_flight: u64,
    pub concurrency_limit: u64,
    pub max_connections: u64,
    pub connections: u64,
    pub http_version: Option<String>,
    pub rates: Vec<Rate>,
    pub last: Option<Occurrence>,
    pub last_error: Option<Occurrence>,
    pub insecure: bool,
    pub standing: String,
    pub latency: Option<Latency>,
}

/// In seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub p50: f64,
    pub p99: f64,
    /// The last one last.
    pub recent: Vec<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rate {
    pub rate: String,
    pub used: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Occurrence {
    pub at: String,
    pub text: String,
}

/// `GET /webhooks`, as far as it says how they do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscribers {
    pub webhooks: Vec<Subscriber>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscriber {
    pub status: String,
    pub disabled_reason: Option<String>,
}

/// `GET /posts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Posts {
    pub posts: Vec<Post>,
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Post {
    pub id: String,
    pub state: String,
    pub tenant: String,
    pub method: String,
    pub url: String,
    pub destination: String,
    pub sender: String,
    pub recipient: String,
    pub accepted_at: String,
    pub next_attempt_at: Option<String>,
    pub kept_until: Option<String>,
    pub attempts: u64,
    pub last_attempt: Option<Attempt>,
    pub not_before: Option<String>,
    pub expires: Option<String>,
    pub priority: u64,
    pub tags: Vec<String>,
    pub body_size: u64,
    pub headers: Vec<Header>,
    pub idempotency_key: Option<String>,
    pub ordering_key: Option<String>,
    pub sign_with: Option<String>,
    pub auth: Option<String>,
    pub xs_message_id: Option<String>,
    pub xs_mailing_id: Option<String>,
}

/// A field; without its value when that might be a secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub name: String,
    pub value: Option<String>,
}

/// `GET /posts/{id}/attempts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempts {
    pub attempts: Vec<Attempt>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    pub number: u64,
    pub started_at: Option<String>,
    /// In seconds.
    pub duration: f64,
    pub status: Option<u16>,
    pub reason: String,
    pub response: String,
}

impl Attempt {
    /// What came of it in a few words.
    pub(super) fn summary(&self) -> String {
        match self.status {
            Some(status) if self.reason.is_empty() => format!("HTTP {status}"),
            Some(status) if self.reason.contains(&status.to_string()) => self.reason.clone(),
            Some(status) => format!("HTTP {status}: {}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// What an order came to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ordered {
    pub count: u64,
    pub paused: Vec<Paused>,
    pub dropped_headers: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Paused {
    pub origin: String,
    pub count: u64,
}

impl Spool {
    /// Octets of the disk that are taken.
    pub(super) fn used(&self) -> u64 {
        self.disk_size.saturating_sub(self.disk_free)
    }

    /// From which on it is getting full.
    pub(super) fn high(&self) -> u64 {
        self.disk_size / 10 * 9
    }
}

impl Destination {
    /// The page of its posts.
    pub(super) fn path(&self) -> String {
        format!("/posts?destination={}", words::piece(&self.origin))
    }

    /// What names it in a page: what has the focus keeps it when the page is refreshed.
    pub(super) fn key(&self) -> String {
        let webhook = self.webhook.as_deref().unwrap_or_default();
        words::piece(&format!("{} {} {webhook}", self.origin, self.tenant))
    }

    /// Why it is as it is, as far as anybody said.
    pub(super) fn why(&self) -> Option<&str> {
        let reason = self.reason.as_deref().filter(|reason| !reason.is_empty());
        reason.or(self.last_error.as_ref().map(|error| error.text.as_str()))
    }

    /// Its origin in pieces between which a line may end: before dots and the port.
    pub(super) fn pieces(&self) -> Vec<&str> {
        let slashes = self.origin.find("//").map_or(0, |at| at + 2);
        let (scheme, authority) = self.origin.split_at(slashes);
        let begins = authority.match_indices(['.', ':']).map(|(at, _)| at);
        let ends = begins.clone().chain([authority.len()]);
        let rest =
            std::iter::once(0).chain(begins).zip(ends).filter_map(|(from, to)| authority.get(from..to));
        std::iter::once(scheme).chain(rest).collect()
    }
}

impl Latency {
    /// Its last answers as the points of a line in a field of 64 by 16, the slowest at the top.
    pub(super) fn points(&self) -> String {
        let most = self.recent.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let step = 62.0 / self.recent.len().saturating_sub(1).max(1) as f64;
        let point = |(at, took): (usize, &f64)| {
            format!("{:.1},{:.1}", 1.0 + step * at as f64, 15.0 - 14.0 * took / most)
        };
        // A single one is a line as well.
        let again = self.recent.first().filter(|_| self.recent.len() == 1);
        self.recent.iter().chain(again).enumerate().map(point).collect::<Vec<_>>().join(" ")
    }
}

impl Post {
    /// The page of its destination's posts.
    pub(super) fn destination_path(&self) -> String {
        format!("/posts?destination={}", words::piece(&self.destination))
    }

    /// What few posts have.
    pub(super) fn further(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("Idempotency key", &self.idempotency_key),
            ("Ordering key", &self.ordering_key),
            ("Signed with", &self.sign_with),
            ("Auth profile", &self.auth),
            ("Message id", &self.xs_message_id),
            ("Mailing id", &self.xs_mailing_id),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

impl Attempt {
    /// Whether the receiver took it.
    pub(super) fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_within_no_word_of_an_origin() {
        for (origin, pieces) in [
            ("https://shop.example:8443", &["https://", "shop", ".example", ":8443"][..]),
            ("http://localhost", &["http://", "localhost"]),
            ("http://[::1]:80", &["http://", "[", ":", ":1]", ":80"]),
            ("", &["", ""]),
        ] {
            let one = Destination { origin: origin.to_owned(), ..Destination::default() };
            assert_eq!(one.pieces(), pieces);
            assert_eq!(one.pieces().concat(), origin);
        }
    }
}
