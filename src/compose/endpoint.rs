//! A URL that may be posted to, checked octet by octet and taken apart.
//!
//! The `url` crate silently drops tabs, CR, LF and outer blanks and reads a
//! backslash as a slash, so octets are judged before it sees them; hosts are
//! judged after it, because only its normal form shows that `0x7f.1` is
//! 127.0.0.1. Path and query are kept as written: `%20` stays `%20` and `..`
//! stays `..`, since receivers sign and compare what they were told to expect.
//! Whether an address may be reached at all is the egress rules' question.

use crate::post::{Destination, Scheme};
use crate::tenant::Tenant;
use data_encoding::BASE64;
use http::uri::PathAndQuery;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// Most octets of a URL.
pub const MAX_URL: usize = 2048;

/// Where a post goes, with the credentials its URL held.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host in the normal form of the URL standard; IPv6 in brackets.
    pub host: String,
    /// Port, the scheme's own included; never 0.
    pub port: u16,
    /// Path and query as written; begins with `/`.
    pub path: String,
    /// `Basic …` for the URL's userinfo (RFC 7617): a secret.
    pub authorization: Option<String>,
}

/// Why a URL is not posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadUrl {
    /// More than [`MAX_URL`] octets.
    TooLong,
    /// A blank, a control character, DEL or a backslash.
    Octet,
    /// Neither `http://` nor `https://`.
    Scheme,
    /// It has a `#`, which HTTP never sends.
    Fragment,
    /// Nothing between the slashes.
    NoHost,
    /// A host with a character that no name has.
    Host,
    /// Port 0.
    Port,
    /// Refused by the URL standard's parser, with its reason.
    Syntax(url::ParseError),
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadUrl::TooLong => write!(f, "the URL is longer than {MAX_URL} octets"),
            BadUrl::Octet => {
                f.write_str("the URL holds a blank, a control character or a backslash; write it as %XX")
            }
            BadUrl::Scheme => f.write_str("the URL does not begin with http:// or https://"),
            BadUrl::Fragment => f.write_str("the URL has a fragment, which HTTP never sends; write # as %23"),
            BadUrl::NoHost => f.write_str("the URL names no host"),
            BadUrl::Host => f.write_str("the URL's host holds a character that no host name has"),
            BadUrl::Port => f.write_str("the URL names port 0"),
            BadUrl::Syntax(reason) => write!(f, "the URL is not valid: {reason}"),
        }
    }
}

impl std::error::Error for BadUrl {}

impl Endpoint {
    /// The origin, as a lane of `tenant`.
    pub fn destination(&self, tenant: &Tenant) -> Destination {
        let (scheme, host, port) = (self.scheme, self.host.clone(), self.port);
        Destination { tenant: tenant.clone(), scheme, host, port, webhook: None }
    }
}

impl fmt::Display for Endpoint {
    /// The URL without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.destination(&Tenant::default()), self.path)
    }
}

impl fmt::Debug for Endpoint {
    /// Without credentials too: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Endpoint, BadUrl> {
        check_octets(text)?;
        let (scheme, rest) = split_scheme(text).ok_or(BadUrl::Scheme)?;
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
            None => (rest, ""),
        };
        // The parser would skip further slashes and take the path for the host.
        if authority.is_empty() {
            return Err(BadUrl::NoHost);
        }
        let url = Url::parse(text).map_err(BadUrl::Syntax)?;
        if url.fragment().is_some() {
            return Err(BadUrl::Fragment);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadUrl::NoHost)?.to_owned();
        if !is_host(&host) {
            return Err(BadUrl::Host);
        }
        let port = url.port().unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(BadUrl::Port);
        }
        Ok(Endpoint { scheme, host, port, path: request_target(path, &url), authorization: basic(&url) })
    }
}

fn check_octets(text: &str) -> Result<(), BadUrl> {
    if text.len() > MAX_URL {
        return Err(BadUrl::TooLong);
    }
    let is_bad = |byte: u8| byte < 0x21 || byte == 0x7f || byte == b'\\';
    if text.bytes().any(is_bad) { Err(BadUrl::Octet) } else { Ok(()) }
}

/// Whether a host in its normal form is an IPv6 literal or looks like a name: the
/// URL standard leaves `*`, `{`, `"` and such in, and no resolver knows them.
fn is_host(host: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    host.starts_with('[') || host.bytes().all(is_name)
}

/// Splits off `http://` or `https://`, written in any case.
pub(super) fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is = |name: Scheme| scheme.eq_ignore_ascii_case(name.as_str());
    [Scheme::Http, Scheme::Https].into_iter().find(|name| is(*name)).map(|name| (name, rest))
}

/// Path and query as written, or as the URL standard encodes them where HTTP
/// would not take them so.
fn request_target(written: &str, url: &Url) -> String {
    let target = if written.starts_with('/') { written.to_owned() } else { format!("/{written}") };
    if target.is_ascii() && PathAndQuery::try_from(target.as_str()).is_ok() {
        return target;
    }
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn basic(url: &Url) -> Option<String> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let mut credentials = unescape(url.username(), '%');
    credentials.push(b':');
    credentials.extend(unescape(password, '%'));
    Some(format!("Basic {}", BASE64.encode(&credentials)))
}

/// Turns `mark` and two hexadecimal digits into the octet they stand for;
/// leaves a mark without them alone.
pub(super) fn unescape(text: &str, mark: char) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut parts = text.split(mark);
    octets.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let octet = part
            .split_at_checked(2)
            .filter(|(digits, _)| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match octet.and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest))) {
            Some((octet, rest)) => {
                octets.push(octet);
                octets.extend_from_slice(rest.as_bytes());
            }
            None => octets.extend_from_slice(format!("{mark}{part}").as_bytes()),
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normal_and_paths_as_written() {
        for (text, shown) in [
            ("https://Customer.Example/webhook.aspx", "https://customer.example/webhook.aspx"),
            ("HTTP://h", "http://h/"),
            ("http://h?a=1", "http://h/?a=1"),
            ("http://h:80/", "http://h/"),
            ("https://h:80/", "https://h:80/"),
            ("https://h:8443/a/b?x=1&y=a%20b", "https://h:8443/a/b?x=1&y=a%20b"),
            ("https://h/a/../b//c?@=&%=?{}", "https://h/a/../b//c?@=&%=?{}"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://127.1:9/x", "http://127.0.0.1:9/x"),
            ("http://[2001:DB8::0:1]:8080/x", "http://[2001:db8::1]:8080/x"),
            ("http://bücher.example/", "http://xn--bcher-kva.example/"),
            ("http://ex%61mple.com/", "http://example.com/"),
            ("http://h/bücher?q=ü", "http://h/b%C3%BCcher?q=%C3%BC"),
            ("http://h/<x>", "http://h/%3Cx%3E"),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|url| url.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn userinfo_becomes_basic_authorization_and_is_never_shown() {
        for (text, credentials) in [
            ("https://user:pass@h/x", "user:pass"),
            ("https://user@h/x", "user:"),
            ("https://us%40er:p%3Aw%zz@h/x", "us@er:p:w%zz"),
        ] {
            let url: Endpoint = text.parse().unwrap();
            assert_eq!(url.authorization, Some(format!("Basic {}", BASE64.encode(credentials.as_bytes()))));
            assert_eq!(format!("{url:?} {url}"), "Endpoint(https://h/x) https://h/x");
        }
        assert_eq!("https://h/@x".parse::<Endpoint>().unwrap().authorization, None);
    }

    #[test]
    fn bad_urls_are_named() {
        let long = format!("https://h/{}", "x".repeat(MAX_URL));
        assert!(long[..MAX_URL].parse::<Endpoint>().is_ok());
        for (text, reason) in [
            (&long[..=MAX_URL], BadUrl::TooLong),
            ("https://h/a b", BadUrl::Octet),
            ("https://h/\r\nX: 1", BadUrl::Octet),
            ("\thttps://h/", BadUrl::Octet),
            ("https://h/\u{7f}", BadUrl::Octet),
            ("http:\\\\h\\p", BadUrl::Octet),
            ("https://good\\@127.0.0.1/", BadUrl::Octet),
            ("http:h/", BadUrl::Scheme),
            ("ftp://h/", BadUrl::Scheme),
            ("javascript://h/", BadUrl::Scheme),
            ("//h/", BadUrl::Scheme),
            ("", BadUrl::Scheme),
            ("https://h/#f", BadUrl::Fragment),
            ("https://good#@127.0.0.1/", BadUrl::Fragment),
            ("https://", BadUrl::NoHost),
            ("https:///h/x", BadUrl::NoHost),
            ("https://?x", BadUrl::NoHost),
            ("https://*.h/", BadUrl::Host),
            ("https://{", BadUrl::Host),
            ("https://h\"/", BadUrl::Host),
            ("https://h:0/", BadUrl::Port),
            ("https://h:65536/", BadUrl::Syntax(url::ParseError::InvalidPort)),
            ("https://user@/x", BadUrl::Syntax(url::ParseError::EmptyHost)),
            ("https://[fe80::1%25eth0]/", BadUrl::Syntax(url::ParseError::InvalidIpv6Address)),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(reason), "{text}");
        }
    }
}
