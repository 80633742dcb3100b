//! Which URLs something is about, by their origin: `https://shop.example`,
//! `https://*.shop.example`, `http://10.1.2.3:8080`, `*`.
//!
//! Only scheme, host and port are compared, and only in the normal form that a
//! [`Destination`] has after parsing: what a URL looks like as text plays no part,
//! so userinfo, case, percent-encoding or `0x7f.1` get nobody past a pattern. A
//! pattern without a port means the scheme's own (RFC 9110 section 4.2). `*.` at
//! the beginning of a host stands for one label or more: the domain itself is not
//! among them, and has a pattern of its own.

use crate::masked::Masked;
use crate::post::{Destination, Scheme};
use crate::tenant::Tenant;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use url::Host;

/// A pattern of origins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UrlPattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    All,
    Origin { scheme: Scheme, hosts: Hosts, port: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Hosts {
    /// This one, in the normal form of the URL standard; IPv6 in brackets.
    One(String),
    /// All below this domain.
    Below(String),
}

impl UrlPattern {
    /// The pattern of this origin alone.
    pub fn of(destination: &Destination) -> UrlPattern {
        UrlPattern::with(destination, Hosts::One(destination.host.clone()))
    }

    fn with(destination: &Destination, hosts: Hosts) -> UrlPattern {
        UrlPattern(Kind::Origin { scheme: destination.scheme, hosts, port: destination.port })
    }

    /// Every pattern that means this origin, the least specific first: `*`, then
    /// domains, the shortest first, then the host itself.
    pub fn fitting(destination: &Destination) -> Vec<UrlPattern> {
        let host = &destination.host;
        let domains = host.rmatch_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        let below = domains.map(|domain| UrlPattern::with(destination, Hosts::Below(domain.to_owned())));
        std::iter::once(UrlPattern(Kind::All)).chain(below).chain([UrlPattern::of(destination)]).collect()
    }

    /// Whether URLs of this origin are meant.
    pub fn matches(&self, destination: &Destination) -> bool {
        let Kind::Origin { scheme, hosts, port } = &self.0 else { return true };
        *scheme == destination.scheme && *port == destination.port && hosts.contain(&destination.host)
    }

    /// Whether URLs of this origin are among those that a list names; an empty one
    /// names all.
    pub fn any_matches(list: &[UrlPattern], destination: &Destination) -> bool {
        list.is_empty() || list.iter().any(|pattern| pattern.matches(destination))
    }

    /// The only origin that is meant, as this tenant's; nothing when there may be many.
    pub fn only(&self, tenant: &Tenant) -> Option<Destination> {
        let Kind::Origin { scheme, hosts: Hosts::One(host), port } = &self.0 else { return None };
        let (scheme, host, port, tenant) = (*scheme, host.clone(), *port, tenant.clone());
        Some(Destination { tenant, scheme, host, port, webhook: None })
    }

    /// What both mean: patterns lie one within the other, or apart.
    pub fn common<'a>(&'a self, other: &'a UrlPattern) -> Option<&'a UrlPattern> {
        if self.covers(other) { Some(other) } else { other.covers(self).then_some(self) }
    }

    /// Whether all that `other` means is meant.
    pub fn covers(&self, other: &UrlPattern) -> bool {
        match (&self.0, &other.0) {
            (Kind::All, _) => true,
            (_, Kind::All) => false,
            (
                Kind::Origin { scheme, hosts, port },
                Kind::Origin { scheme: other_scheme, hosts: other_hosts, port: other_port },
            ) => {
                let same_door = scheme == other_scheme && port == other_port;
                same_door
                    && (hosts == other_hosts || matches!(hosts, Hosts::Below(_)) && hosts.hold(other_hosts))
            }
        }
    }
}

impl Hosts {
    fn hold(&self, other: &Hosts) -> bool {
        match other {
            Hosts::One(host) | Hosts::Below(host) => self.contain(host),
        }
    }

    fn contain(&self, host: &str) -> bool {
        match self {
            Hosts::One(own) => own == host,
            Hosts::Below(domain) => {
                let labels = host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
                labels.is_some_and(|labels| !labels.is_empty())
            }
        }
    }
}

impl FromStr for UrlPattern {
    type Err = String;

    /// The error says what to write instead.
    fn from_str(text: &str) -> Result<UrlPattern, String> {
        if text == "*" {
            return Ok(UrlPattern(Kind::All));
        }
        // It may be a URL with a password in it.
        origin(text).map(UrlPattern).map_err(|reason| format!("{:?} {reason}", Masked(text).to_string()))
    }
}

fn origin(text: &str) -> Result<Kind, String> {
    let wanted = "is no pattern of URLs; write one like https://shop.example, \
                  https://*.shop.example, http://10.1.2.3:8080, or * for all";
    let (scheme, authority) = text.split_once("://").ok_or(wanted)?;
    let is = |name: &Scheme| scheme.eq_ignore_ascii_case(name.as_str());
    let scheme = [Scheme::Http, Scheme::Https].into_iter().find(is).ok_or(wanted)?;
    if authority.contains(['/', '?', '#', '\\']) {
        return Err("names a path, but only scheme, host and port count; end it behind the host".to_owned());
    }
    if authority.contains('@') {
        return Err("names a user, but only scheme, host and port count".to_owned());
    }
    let (host, port) = split_port(authority);
    let port = match port {
        None => scheme.default_port(),
        Some(digits) => {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| is_number && *port != 0);
            port.ok_or("has no port behind its colon; write a number from 1 to 65535")?
        }
    };
    Ok(Kind::Origin { scheme, hosts: hosts(host)?, port })
}

/// Splits at the colon before a port, not at one within an IPv6 address.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let (is_below, text) = match text.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, text),
    };
    if text.contains('*') {
        return Err(
            "has a * elsewhere than for the first labels of a host, as in https://*.shop.example".to_owned()
        );
    }
    if text.starts_with('.') || text.ends_with('.') {
        return Err("has a host with a dot at its end; leave it out".to_owned());
    }
    match Host::parse(text).map_err(|reason| format!("has no valid host: {reason}"))? {
        Host::Domain(domain) if is_below => Ok(Hosts::Below(domain)),
        _ if is_below => Err("has a * before an address, which has no subdomains".to_owned()),
        host => Ok(Hosts::One(host.to_string())),
    }
}

impl fmt::Display for UrlPattern {
    /// In its normal form, which reads back as the same pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind::Origin { scheme, hosts, port } = &self.0 else { return f.write_str("*") };
        let (wildcard, host) = match hosts {
            Hosts::One(host) => ("", host),
            Hosts::Below(domain) => ("*.", domain),
        };
        write!(f, "{}://{wildcard}{host}", scheme.as_str())?;
        if *port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Tenant;
    use url::Url;

    fn matches(pattern: &str, url: &str) -> bool {
        let pattern: UrlPattern = pattern.parse().unwrap();
        let url = Url::parse(url).unwrap();
        pattern.matches(&Destination {
            tenant: Tenant::default(),
            scheme: if url.scheme() == "http" { Scheme::Http } else { Scheme::Https },
            host: url.host_str().unwrap().to_owned(),
            port: url.port_or_known_default().unwrap(),
            webhook: None,
        })
    }

    #[test]
    fn patterns_mean_origins_and_nothing_near_them() {
        for (pattern, inside, outside) in [
            (
                "https://shop.example",
                vec!["https://shop.example/a?b", "HTTPS://SHOP.Example:443/", "https://u:p@shop.example/"],
                vec![
                    "http://shop.example/",
                    "https://shop.example:8443/",
                    "https://a.shop.example/",
                    "https://shop.example.evil.com/",
                    "https://shop.example@evil.com/",
                    "https://evil.com/https://shop.example",
                    "https://evilshop.example/",
                    "https://shop.example./",
                ],
            ),
            (
                "https://*.shop.example",
                vec!["https://a.shop.example/", "https://a.b.Shop.Example/", "https://%61.shop.example/"],
                vec![
                    "https://shop.example/",
                    "https://.shop.example/",
                    "https://evilshop.example/",
                    "https://a.shop.example.evil.com/",
                    "https://a.shop.example:444/",
                    "https://a.shop.example./",
                ],
            ),
            (
                "http://10.1.2.3:8080",
                vec!["http://10.1.2.3:8080/", "http://0x0a.1.2.3:8080/", "http://10.1.515:8080/"],
                vec!["http://10.1.2.3/", "http://10.1.2.30:8080/", "http://[::ffff:10.1.2.3]:8080/"],
            ),
            ("http://[::1]", vec!["http://[0:0::1]:80/x"], vec!["http://[::2]/", "http://127.0.0.1/"]),
            ("http://[2001:DB8::1]:8080", vec!["http://[2001:db8::1]:8080/"], vec!["http://[2001:db8::1]/"]),
            (
                "https://bücher.example",
                vec!["https://xn--bcher-kva.example/"],
                vec!["https://bucher.example/"],
            ),
            (
                "https://*.XN--bcher-kva.example",
                vec!["https://a.bücher.example/"],
                vec!["https://a.example/"],
            ),
            ("http://0x7f.1", vec!["http://127.0.0.1/"], vec!["http://127.0.0.2/"]),
            ("*", vec!["http://127.0.0.1:1/", "https://a.b/"], vec![]),
        ] {
            for url in inside {
                assert!(matches(pattern, url), "{pattern} {url}");
            }
            for url in outside {
                assert!(!matches(pattern, url), "{pattern} {url}");
            }
        }
    }

    #[test]
    fn patterns_cover_what_lies_within() {
        for (outer, inside, outside) in [
            ("*", vec!["*", "https://*.a.example", "http://[::1]:8080"], vec![]),
            (
                "https://*.a.example",
                vec!["https://*.a.example", "https://*.b.a.example", "https://b.a.example"],
                vec![
                    "*",
                    "https://a.example",
                    "https://*.example",
                    "http://b.a.example",
                    "https://b.a.example:8",
                ],
            ),
            ("https://a.example", vec!["https://a.example"], vec!["*", "https://*.a.example"]),
        ] {
            let covers = |text: &str| outer.parse::<UrlPattern>().unwrap().covers(&text.parse().unwrap());
            assert!(inside.iter().all(|text| covers(text)), "{outer}");
            assert!(!outside.iter().any(|text| covers(text)), "{outer}");
        }
    }

    #[test]
    fn patterns_are_written_in_their_normal_form() {
        for (text, written) in [
            ("*", "*"),
            ("HTTPS://Shop.Example:443", "https://shop.example"),
            ("https://*.bücher.example:8443", "https://*.xn--bcher-kva.example:8443"),
            ("http://[0::1]:8080", "http://[::1]:8080"),
        ] {
            let pattern: UrlPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), written);
            assert_eq!(written.parse(), Ok(pattern));
        }
    }

    #[test]
    fn bad_patterns_are_refused_with_a_remedy() {
        for (text, remedy) in [
            ("shop.example", "write one like https://shop.example"),
            ("ftp://shop.example", "write one like"),
            ("", "write one like"),
            ("https://shop.example/", "end it behind the host"),
            ("https://shop.example/hooks/*", "end it behind the host"),
            ("https://shop.example?a", "end it behind the host"),
            ("https://user@shop.example", "names a user"),
            ("https://user:pass@shop.example", "\"https://***@shop.example\" names a user"),
            ("https://shop.example:", "a number from 1 to 65535"),
            ("https://shop.example:0", "a number from 1 to 65535"),
            ("https://shop.example:+80", "a number from 1 to 65535"),
            ("https://shop.example:65536", "a number from 1 to 65535"),
            ("https://shop.example:*", "a number from 1 to 65535"),
            ("https://*", "has a * elsewhere"),
            ("https://shop.*", "has a * elsewhere"),
            ("https://a*.shop.example", "has a * elsewhere"),
            ("https://*.*.example", "has a * elsewhere"),
            ("https://*.10.1.2.3", "an address, which has no subdomains"),
            ("https://shop.example.", "a dot at its end"),
            ("https://*..example", "a dot at its end"),
            ("https://", "no valid host"),
            ("https://sh op.example", "no valid host"),
            ("https://[::1", "no valid host"),
        ] {
            let error = text.parse::<UrlPattern>().unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
