//! The terms on which one destination is served, and the book of them all.
//!
//! A [`Book`] holds the terms of every destination and what patterns of origins
//! change about them. The most specific pattern wins, key by key: an origin before
//! `*.` of a longer domain, that before a shorter one, `*` last; of two that are
//! alike the later one.

use super::lane::{Adaptive, Limits};
use super::pace::Rate;
use super::profile::{Profile, Proxy};
use super::retry::Schedule;
use super::ruling::Verdicts;
use super::sign::SigningKey;
use crate::post::{Destination, Field};
use crate::url_pattern::UrlPattern;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How one destination is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Attempts at a time, and troubles that open the breaker.
    pub limits: Limits,
    /// Attempts in a time; all hold at once.
    pub rates: Arc<[Rate]>,
    /// Posts after which a connection is closed; 0 for never.
    pub max_posts_per_connection: u32,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Whether HTTP/2 is spoken.
    pub http2: Http2,
    /// Limit of connecting, TLS included.
    pub connect_timeout: Duration,
    /// Limit from the request to the end of the response head.
    pub response_timeout: Duration,
    /// Limit of a whole attempt.
    pub total_timeout: Duration,
    /// When attempts are repeated.
    pub schedule: Schedule,
    /// Redirects (307, 308) that are followed in an attempt.
    pub follow_redirects: u32,
    /// What stands between.
    pub proxy: Option<Arc<Proxy>>,
    /// Whom to trust in TLS.
    pub tls: Arc<TlsTerms>,
    /// Who we are to it.
    pub auth: Option<Arc<Profile>>,
    /// Fixed request headers; a message cannot change them.
    pub headers: Arc<[Field]>,
    /// What signs requests.
    pub sign_with: Option<Arc<SigningKey>>,
    /// How request bodies are compressed.
    pub compress: Compress,
    /// What results mean, where it is not what they usually mean.
    pub verdicts: Arc<Verdicts>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            limits: Limits { max_connections: 20, max_streams: 128, breaker: 10, adaptive: Adaptive::On },
            rates: Arc::default(),
            max_posts_per_connection: 0,
            keep_alive: Duration::from_secs(60),
            http2: Http2::Auto,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(30),
            schedule: Schedule::default(),
            follow_redirects: 0,
            proxy: None,
            tls: Arc::default(),
            auth: None,
            headers: Arc::default(),
            sign_with: None,
            compress: Compress::No,
            verdicts: Arc::default(),
        }
    }
}

/// Whether HTTP/2 (RFC 9113) is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Over TLS, when the receiver chooses it (ALPN).
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always, also without TLS.
    PriorKnowledge,
}

/// How request bodies are compressed (RFC 9110 section 8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    #[default]
    No,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: zstd` (RFC 8878).
    Zstd,
}

/// Whom to trust in TLS, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTerms {
    /// The certificates (PEM) that vouch for receivers, instead of the system's.
    pub ca: Option<Bytes>,
    /// Our certificate chain and its key (PEM).
    pub client: Option<(Bytes, ClientKey)>,
    /// The oldest version that is spoken.
    pub least: TlsVersion,
    /// Whether certificates count at all.
    pub trust: TlsTrust,
}

/// A private key in PEM, which never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey(pub Bytes);

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKey")
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Whether a receiver must prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsTrust {
    /// By a valid certificate for its name.
    #[default]
    Verified,
    /// It need not: `insecure = true`.
    Anyone,
}

/// What a pattern of origins changes about the terms of those that it matches;
/// what is `None` stays.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of Terms, Limits and Schedule")]
pub struct Overrides {
    pub max_connections: Option<usize>,
    pub max_streams: Option<usize>,
    pub breaker: Option<u32>,
    pub adaptive: Option<Adaptive>,
    pub rates: Option<Arc<[Rate]>>,
    pub max_posts_per_connection: Option<u32>,
    pub keep_alive: Option<Duration>,
    pub http2: Option<Http2>,
    pub connect_timeout: Option<Duration>,
    pub response_timeout: Option<Duration>,
    pub total_timeout: Option<Duration>,
    pub retry: Option<Vec<Duration>>,
    pub max_age: Option<Duration>,
    pub max_attempts: Option<Option<u32>>,
    pub follow_redirects: Option<u32>,
    pub proxy: Option<Option<Arc<Proxy>>>,
    pub tls: Option<Arc<TlsTerms>>,
    pub auth: Option<Option<Arc<Profile>>>,
    pub headers: Option<Arc<[Field]>>,
    pub sign_with: Option<Option<Arc<SigningKey>>>,
    pub compress: Option<Compress>,
    pub verdicts: Option<Arc<Verdicts>>,
}

impl Overrides {
    /// Changes these terms.
    pub fn apply(&self, terms: &mut Terms) {
        set(&mut terms.limits.max_connections, &self.max_connections);
        set(&mut terms.limits.max_streams, &self.max_streams);
        set(&mut terms.limits.breaker, &self.breaker);
        set(&mut terms.limits.adaptive, &self.adaptive);
        set(&mut terms.rates, &self.rates);
        set(&mut terms.max_posts_per_connection, &self.max_posts_per_connection);
        set(&mut terms.keep_alive, &self.keep_alive);
        set(&mut terms.http2, &self.http2);
        set(&mut terms.connect_timeout, &self.connect_timeout);
        set(&mut terms.response_timeout, &self.response_timeout);
        set(&mut terms.total_timeout, &self.total_timeout);
        set(&mut terms.schedule.retry, &self.retry);
        set(&mut terms.schedule.max_age, &self.max_age);
        set(&mut terms.schedule.max_attempts, &self.max_attempts);
        set(&mut terms.follow_redirects, &self.follow_redirects);
        set(&mut terms.proxy, &self.proxy);
        set(&mut terms.tls, &self.tls);
        set(&mut terms.auth, &self.auth);
        set(&mut terms.headers, &self.headers);
        set(&mut terms.sign_with, &self.sign_with);
        set(&mut terms.compress, &self.compress);
        set(&mut terms.verdicts, &self.verdicts);
    }
}

fn set<T: Clone>(term: &mut T, change: &Option<T>) {
    if let Some(change) = change {
        term.clone_from(change);
    }
}

/// The terms of all destinations.
#[derive(Clone, Debug, Default)]
pub struct Book {
    usual: Arc<Terms>,
    /// What each pattern changes, in the order of the configuration: looked up by
    /// the few patterns that can mean an origin, however many there are.
    changes: HashMap<UrlPattern, Vec<Overrides>>,
}

impl Book {
    /// A book of the usual terms and what patterns change about them, in the order
    /// of the configuration.
    pub fn new(usual: Terms, changes: Vec<(UrlPattern, Overrides)>) -> Book {
        let mut book = Book { usual: Arc::new(usual), changes: HashMap::new() };
        for (pattern, change) in changes {
            book.changes.entry(pattern).or_default().push(change);
        }
        book
    }

    /// The terms of a destination.
    pub fn terms(&self, destination: &Destination) -> Arc<Terms> {
        if self.changes.is_empty() {
            return Arc::clone(&self.usual);
        }
        let patterns = UrlPattern::fitting(destination);
        let changes = patterns.iter().filter_map(|pattern| self.changes.get(pattern)).flatten();
        changes.fold(Arc::clone(&self.usual), |mut terms, change| {
            change.apply(Arc::make_mut(&mut terms));
            terms
        })
    }
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
