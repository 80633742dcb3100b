//! How destinations are served: `[delivery]`, `[[destination]]` and `[egress]`.
//!
//! The first two have the same keys. What a destination does not say is as the
//! less specific patterns say that match it too, and `[delivery]` last.

use super::super::pem::Pem;
use super::super::server::Via;
use super::super::value::Rate;
use crate::deliver::ruling::{On, Ruling};
use crate::deliver::terms::{ClientKey, Compress, Http2, TlsTerms, TlsTrust, TlsVersion};
use crate::network::Network;
use crate::url_pattern::UrlPattern;
use regex::Regex;
use std::time::Duration;

/// `[delivery]`: how every destination is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Connections at a time over all destinations.
    pub total_connections: u32,
    /// What holds where no `[[destination]]` says otherwise.
    pub terms: Terms,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery { total_connections: 2000, terms: Terms::usual() }
    }
}

/// `[[destination]]`: what is different for some origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Which.
    pub origins: UrlPattern,
    /// What is different.
    pub terms: Terms,
}

/// What `[delivery]` and `[[destination]]` have in common; `None` is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Connections at a time; not said at all: 20, or 128 streams over HTTP/2.
    pub max_connections: Option<u32>,
    /// Attempts in a time; all hold at once.
    pub rate: Option<Vec<Rate>>,
    /// Posts after which a connection is closed; 0 = no limit.
    pub max_posts_per_connection: Option<u32>,
    /// How long an idle connection is kept.
    pub keep_alive: Option<Duration>,
    /// Whether HTTP/2 is spoken.
    pub http2: Option<Http2>,
    /// Time for TCP and TLS.
    pub connect_timeout: Option<Duration>,
    /// Time until the response head.
    pub response_timeout: Option<Duration>,
    /// Time of a whole attempt.
    pub total_timeout: Option<Duration>,
    /// Intervals between attempts; the last repeats.
    pub retry: Option<Vec<Duration>>,
    /// Age at which a post fails.
    pub max_age: Option<Duration>,
    /// Attempts after which a post fails; 0 = no limit.
    pub max_attempts: Option<u32>,
    /// Whether fewer connections are used for a destination that is in trouble.
    pub adaptive_concurrency: Option<bool>,
    /// Troubles in a row after which a destination is only probed; 0 = never.
    pub breaker: Option<u32>,
    /// Redirects that are followed in an attempt.
    pub follow_redirects: Option<u32>,
    /// What stands between.
    pub proxy: Option<Via>,
    /// Who vouches for receivers, instead of the system's list.
    pub ca: Option<Pem>,
    /// Our certificate.
    pub client_cert: Option<Pem>,
    /// Its key.
    pub client_key: Option<Pem>,
    /// The oldest version of TLS.
    pub tls_min: Option<TlsVersion>,
    /// Whether receivers need not prove who they are.
    pub insecure: Option<bool>,
    /// Name of the auth profile; empty for none.
    pub auth: Option<String>,
    /// Fixed headers of requests.
    pub headers: Option<Vec<(String, String)>>,
    /// Name of the signing key; empty for none.
    pub sign_with: Option<String>,
    /// How request bodies are compressed.
    pub compress: Option<Compress>,
    /// What results mean.
    pub on: Option<Vec<(On, Ruling)>>,
    /// What the text of a response means.
    pub body_matches: Option<Vec<BodyMatch>>,
}

/// What a text in a response means.
#[derive(Clone, Debug)]
pub struct BodyMatch {
    /// What stands in the response.
    pub pattern: Regex,
    /// What becomes of the post.
    pub outcome: Ruling,
}

impl PartialEq for BodyMatch {
    fn eq(&self, other: &BodyMatch) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.outcome == other.outcome
    }
}

impl Eq for BodyMatch {}

impl Terms {
    /// The defaults; only `max_connections` has none, because it depends on what is
    /// spoken.
    pub fn usual() -> Terms {
        let seconds = [5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800];
        Terms {
            rate: Some(Vec::new()),
            max_posts_per_connection: Some(0),
            keep_alive: Some(Duration::from_secs(60)),
            http2: Some(Http2::Auto),
            connect_timeout: Some(Duration::from_secs(5)),
            response_timeout: Some(Duration::from_secs(15)),
            total_timeout: Some(Duration::from_secs(30)),
            retry: Some(seconds.map(Duration::from_secs).to_vec()),
            max_age: Some(Duration::from_hours(72)),
            max_attempts: Some(0),
            adaptive_concurrency: Some(true),
            breaker: Some(10),
            follow_redirects: Some(0),
            proxy: Some(Via::Nothing),
            ca: Some(Pem::default()),
            client_cert: Some(Pem::default()),
            client_key: Some(Pem::default()),
            tls_min: Some(TlsVersion::Tls12),
            insecure: Some(false),
            auth: Some(String::new()),
            headers: Some(Vec::new()),
            sign_with: Some(String::new()),
            compress: Some(Compress::No),
            on: Some(Vec::new()),
            body_matches: Some(Vec::new()),
            max_connections: None,
        }
    }

    /// Whom they trust in TLS, and what they show.
    pub fn tls(&self) -> TlsTerms {
        let content =
            |pem: &Option<Pem>| pem.as_ref().filter(|pem| pem.is_there()).map(|pem| pem.content.clone());
        TlsTerms {
            ca: content(&self.ca),
            client: content(&self.client_cert).zip(content(&self.client_key).map(ClientKey)),
            least: self.tls_min.unwrap_or_default(),
            trust: if self.insecure == Some(true) { TlsTrust::Anyone } else { TlsTrust::Verified },
        }
    }

    /// These, but what `own` says.
    fn changed_by(self, own: &Terms) -> Terms {
        let own = own.clone();
        Terms {
            max_connections: own.max_connections.or(self.max_connections),
            rate: own.rate.or(self.rate),
            max_posts_per_connection: own.max_posts_per_connection.or(self.max_posts_per_connection),
            keep_alive: own.keep_alive.or(self.keep_alive),
            http2: own.http2.or(self.http2),
            connect_timeout: own.connect_timeout.or(self.connect_timeout),
            response_timeout: own.response_timeout.or(self.response_timeout),
            total_timeout: own.total_timeout.or(self.total_timeout),
            retry: own.retry.or(self.retry),
            max_age: own.max_age.or(self.max_age),
            max_attempts: own.max_attempts.or(self.max_attempts),
            adaptive_concurrency: own.adaptive_concurrency.or(self.adaptive_concurrency),
            breaker: own.breaker.or(self.breaker),
            follow_redirects: own.follow_redirects.or(self.follow_redirects),
            proxy: own.proxy.or(self.proxy),
            ca: own.ca.or(self.ca),
            client_cert: own.client_cert.or(self.client_cert),
            client_key: own.client_key.or(self.client_key),
            tls_min: own.tls_min.or(self.tls_min),
            insecure: own.insecure.or(self.insecure),
            auth: own.auth.or(self.auth),
            headers: own.headers.or(self.headers),
            sign_with: own.sign_with.or(self.sign_with),
            compress: own.compress.or(self.compress),
            on: own.on.or(self.on),
            body_matches: own.body_matches.or(self.body_matches),
        }
    }
}

/// All that holds for the origins of one pattern: what `[delivery]` says, what less
/// specific patterns change about it, and `own`.
pub fn merged(delivery: &Delivery, all: &[Destination], own: &Destination) -> Terms {
    let mut around: Vec<_> = all.iter().filter(|other| other.origins.covers(&own.origins)).collect();
    // Patterns that mean one origin lie within each other: whatever lies within
    // more of them is more specific.
    let depth =
        |inner: &Destination| around.iter().filter(|outer| outer.origins.covers(&inner.origins)).count();
    let depths: Vec<_> = around.iter().map(|destination| depth(destination)).collect();
    let mut order: Vec<_> = depths.into_iter().zip(around.drain(..)).collect();
    order.sort_by_key(|(depth, _)| *depth);
    order
        .into_iter()
        .fold(delivery.terms.clone(), |terms, (_, destination)| terms.changed_by(&destination.terms))
}

/// `[egress]`: where URLs that came over the wire may lead.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Egress {
    /// Networks allowed besides the public internet.
    pub allow: Vec<Network>,
    /// Networks refused whatever else is allowed.
    pub deny: Vec<Network>,
    /// The only ports allowed; none named means all but those of mail,
    /// databases and shells.
    pub allow_ports: Vec<u16>,
}
