//! What a request says of the browser behind it, if there is one.
//!
//! A browser can be made to send requests by any site: through a name that resolves to
//! another address (the Host is then that name, RFC 9110 section 7.2), or across sites
//! (Origin, RFC 6454; Sec-Fetch-Site). Programs say none of it but the Host.

use http::header::{self, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use std::net::IpAddr;

/// How the site that sent a request is related to the one that it is for.
pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The one host that a request is for (RFC 9112 section 3.2); nothing where it names
/// none, several, or another than its target.
pub fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    uri.authority().is_none_or(|target| *target == host).then_some(host)
}

/// Whether a host is this machine, by a name that nobody else can give it.
pub fn is_loopback(host: &Authority) -> bool {
    let name = host.host();
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match literal.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether a page of another site had a browser send a request. Programs send neither
/// field; a page of our own sends our own origin, or none (`null`, as the Fetch standard has it
/// for a page that names no referrer), which counts only where the browser says itself that
/// the page is ours: of a sandboxed frame it does not.
pub fn is_from_another_site(headers: &HeaderMap, host: &Authority) -> bool {
    let sites = headers.get_all(SEC_FETCH_SITE);
    let is_ours = sites.iter().next().is_some() && sites.iter().all(|site| site == "same-origin");
    let is_foreign = |origin: &HeaderValue| {
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let is_null = origin == "null" && is_ours;
        !is_null && authority.is_none_or(|(_, authority)| authority != host.as_str())
    };
    sites.iter().any(|site| site != "same-origin" && site != "none")
        || headers.get_all(header::ORIGIN).iter().any(is_foreign)
}
