//! Servers that mail and posts go through, as URLs: proxies and relays.
//!
//! Such a URL may hold a password. It then is a secret like any other, and may be
//! in a variable or a file; what is written of it shows neither user nor password.

use super::secret::Secret;
use super::value::Value;
use crate::deliver::profile::{Proxy, ProxyKind, Relay, Security};
use percent_encoding::percent_decode_str;
use std::fmt::{self, Display};
use std::sync::Arc;
use toml::de::DeValue;
use url::{Host, Url};
use zeroize::Zeroizing;

/// A server, and where its URL stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    /// What the URL says.
    pub server: T,
    url: Secret,
    masked: String,
}

/// `proxy`: one, or expressly none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Nothing stands between.
    Nothing,
    /// A proxy does.
    Proxy(Named<Arc<Proxy>>),
}

impl<T> Named<T> {
    /// Whether a password stands in the configuration file itself.
    pub(super) fn holds_secret(&self) -> bool {
        self.url.is_written_out() && self.url.value.reveal() != self.masked
    }
}

impl<T> Display for Named<T> {
    /// As it stands in the configuration, masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.url.is_written_out() {
            true => f.write_str(&toml::Value::String(self.masked.clone()).to_string()),
            false => self.url.fmt(f),
        }
    }
}

impl Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Nothing => f.write_str("\"\""),
            Via::Proxy(proxy) => proxy.fmt(f),
        }
    }
}

impl Value for Via {
    fn read(value: &DeValue<'_>) -> Result<Via, String> {
        if value.as_str() == Some("") {
            return Ok(Via::Nothing);
        }
        let kinds = &[("http", 80, ProxyKind::Http), ("socks5", 1080, ProxyKind::Socks5)];
        let proxy = |parts: Parts<ProxyKind>| Proxy {
            kind: parts.kind,
            host: parts.host,
            port: parts.port,
            credentials: parts.credentials,
        };
        let named = named(value, kinds, "\"http://proxy.example:3128\" or \"socks5://10.1.2.3:1080\"")?;
        Ok(Via::Proxy(named.map(|parts| Arc::new(proxy(parts)))))
    }
}

impl Value for Named<Relay> {
    fn read(value: &DeValue<'_>) -> Result<Named<Relay>, String> {
        let kinds = &[
            ("smtp", 25, Security::Opportunistic),
            ("smtp+starttls", 587, Security::StartTls),
            ("smtps", 465, Security::Implicit),
        ];
        let named =
            named(value, kinds, "\"smtp://relay.example\" or \"smtps://user:password@relay.example\"")?;
        Ok(named.map(|parts| Relay {
            security: parts.kind,
            host: parts.host,
            port: parts.port,
            credentials: parts.credentials,
        }))
    }
}

/// A URL of a server, taken apart.
struct Parts<K> {
    kind: K,
    host: String,
    port: u16,
    credentials: Option<(String, Zeroizing<String>)>,
}

impl<T> Named<T> {
    fn map<U>(self, map: impl FnOnce(T) -> U) -> Named<U> {
        Named { server: map(self.server), url: self.url, masked: self.masked }
    }
}

/// Reads a URL with one of these schemes, each with its usual port.
fn named<K: Copy>(
    value: &DeValue<'_>,
    kinds: &[(&str, u16, K)],
    example: &str,
) -> Result<Named<Parts<K>>, String> {
    let secret = Secret::read(value)?;
    // Nothing of the text is repeated: it may hold a password.
    let wrong = |cause: &str| format!("{cause}; write one such as {example}");
    let text = secret.value.reveal();
    if text.bytes().any(|byte| byte < 0x21 || byte == 0x7f || byte == b'\\') {
        return Err(wrong("the URL holds a blank, a control character or a backslash"));
    }
    // The parser would skip further slashes and take the path for the host.
    let authority = text.split_once("://").filter(|(_, rest)| !rest.starts_with('/'));
    let scheme = authority.map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    let kind = kinds.iter().find(|(name, _, _)| *name == scheme);
    let Some((_, usual_port, kind)) = kind else {
        let names: Vec<_> = kinds.iter().map(|(name, _, _)| format!("{name}://")).collect();
        return Err(wrong(&format!("the URL does not begin with {} and a host", names.join(" or "))));
    };
    let mut url = Url::parse(text).map_err(|reason| wrong(&format!("this is not a URL: {reason}")))?;
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the URL names no host"))?;
    // The parser looks at hosts of schemes that browsers know only.
    let host = Host::parse(host).map_err(|reason| wrong(&format!("the URL has no valid host: {reason}")))?;
    let port = url.port().unwrap_or(*usual_port);
    if port == 0 || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("only a host and a port from 1 to 65535 may stand in the URL"));
    }
    let parts = Parts { kind: *kind, host: host.to_string(), port, credentials: credentials(&url) };
    let mut masked = text.to_owned();
    if parts.credentials.is_some() {
        // Neither fails: the URL has a host.
        let _ = url.set_username("***");
        let _ = url.set_password(None);
        masked = url.into();
    }
    Ok(Named { server: parts, url: secret, masked })
}

fn credentials(url: &Url) -> Option<(String, Zeroizing<String>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().unwrap_or_default();
    let has_any = !url.username().is_empty() || !password.is_empty();
    has_any.then(|| (decoded(url.username()), decoded(password).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(text: &str) -> Result<T, String> {
        T::read(&DeValue::String(text.into()))
    }

    #[test]
    fn proxies_are_read_and_written_without_their_passwords() {
        for (text, kind, host, port, credentials, written) in [
            ("http://proxy.example:3128", ProxyKind::Http, "proxy.example", 3128, None, None),
            ("http://proxy.example", ProxyKind::Http, "proxy.example", 80, None, None),
            ("socks5://10.1.2.3", ProxyKind::Socks5, "10.1.2.3", 1080, None, None),
            ("socks5://[::1]:9050", ProxyKind::Socks5, "[::1]", 9050, None, None),
            (
                "http://us%40er:p%3Aw@proxy.example:3128",
                ProxyKind::Http,
                "proxy.example",
                3128,
                Some(("us@er", "p:w")),
                Some("\"http://***@proxy.example:3128/\""),
            ),
            (
                "socks5://user:pw@proxy.example:1080",
                ProxyKind::Socks5,
                "proxy.example",
                1080,
                Some(("user", "pw")),
                Some("\"socks5://***@proxy.example:1080\""),
            ),
        ] {
            let Ok(Via::Proxy(named)) = read::<Via>(text) else { panic!("{text}") };
            let proxy = &*named.server;
            assert_eq!((proxy.kind, proxy.host.as_str(), proxy.port), (kind, host, port), "{text}");
            let credentials =
                credentials.map(|(user, password)| (user.to_owned(), password.to_owned().into()));
            assert_eq!(proxy.credentials, credentials, "{text}");
            assert_eq!(named.holds_secret(), credentials.is_some(), "{text}");
            assert_eq!(named.to_string(), written.map_or(format!("\"{text}\""), str::to_owned));
        }
        assert_eq!(read(""), Ok(Via::Nothing));
    }

    #[test]
    fn relays_are_read_with_their_usual_ports() {
        for (text, security, port) in [
            ("smtp://relay.example", Security::Opportunistic, 25),
            ("smtp+starttls://relay.example", Security::StartTls, 587),
            ("smtps://relay.example", Security::Implicit, 465),
            ("smtps://relay.example:4650", Security::Implicit, 4650),
        ] {
            let relay = read::<Named<Relay>>(text).unwrap().server;
            assert_eq!((relay.security, relay.host.as_str(), relay.port), (security, "relay.example", port));
        }
    }

    #[test]
    fn what_is_no_server_is_refused_without_repeating_it() {
        for text in [
            "canary",
            "canary@proxy:80",
            "https://user:canary@proxy.example",
            "ftp://user:canary@proxy.example",
            "http://user:canary@",
            "http://user:canary@proxy.example:0",
            "http://user:canary@proxy.example/path",
            "http://user:canary@proxy.example?a",
            "socks5://user:canary@pro xy",
            "socks5://user:canary@a%20b",
            "socks5://user:canary@",
            "http:///canary",
            "http:canary@proxy.example",
        ] {
            let error = read::<Via>(text).unwrap_err();
            assert!(error.contains("; write one such as") && !error.contains("canary"), "{text}: {error}");
        }
    }
}
