//! What a recipient means: the eight forms, and the wrecks that mail libraries
//! make of them.
//!
//! The forms are tried in a fixed order, routes first. Known wrecks come even
//! before routes: a catch-all must not take `<post@https>` for an address, or
//! the mail would be lost without a word. A forward-path comes here without its
//! angle brackets and source route; nothing is read from `To:`. Writing the
//! forms is the business of `forms`.

use super::endpoint::{Endpoint, split_scheme, unescape};
use super::{Options, Route};
use crate::envelope::{Refusal, Target};
use crate::event::published;
use crate::masked::Masked;
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use std::cmp::Reverse;

/// HTTP methods that a recipient may name.
pub(super) const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];

const WRECK: &str = "your mail library cut the URL out of the address; use a route or the form printed by: \
                     postgate address URL";
const UNKNOWN: &str = "no such recipient here; expected the recipient of a route, or a URL in one of the \
                       forms printed by: postgate address URL";

/// Where `forward_path` leads. Refuses known wrecks with `550 5.1.3`, unusable
/// URLs with `553 5.1.3`, everything that has no known form with `550 5.1.1`.
pub fn target(options: &Options, forward_path: &str) -> Result<Target, Refusal> {
    if is_wreck(forward_path) {
        return Err(Refusal::new(550, (1, 3), WRECK));
    }
    let Some((local, domain)) = forward_path.rsplit_once('@') else {
        return Err(Refusal::new(550, (1, 1), UNKNOWN));
    };
    if let Some(target) = route(&options.routes, local, domain) {
        return Ok(target);
    }
    if let Some(event) = is_gateway(options, domain).then(|| event(local)).flatten() {
        return event;
    }
    let found = labels(options, local, domain)
        .or_else(|| is_gateway(options, domain).then(|| at_gateway(local)).flatten())
        .or_else(|| literal(forward_path))
        .or_else(|| direct(forward_path));
    match found {
        Some(Ok(Found { method, url: Some(url) })) => match url.parse::<Endpoint>() {
            Ok(_) => Ok(Target::Direct { method: method.to_owned(), url }),
            Err(reason) => Err(Refusal::new(553, (1, 3), reason.to_string())),
        },
        Some(Ok(Found { method, url: None })) => Ok(Target::Header { method: method.to_owned() }),
        Some(Err(NotEncoded(coding))) => {
            Err(Refusal::new(553, (1, 3), format!("the recipient is not a URL in {coding}")))
        }
        None => Err(Refusal::new(550, (1, 1), UNKNOWN)),
    }
}

/// Whether `forward_path` is a coded URL with credentials in it, be it in its path or
/// query, wherever else it may lead or be refused.
pub fn hides_credentials(options: &Options, forward_path: &str) -> bool {
    // Some programs send a name without its domain.
    let (local, domain) = forward_path.rsplit_once('@').unwrap_or((forward_path, ""));
    // In the other forms everybody sees the URL.
    if forward_path.contains("://") {
        return false;
    }
    let found = labels(options, local, domain).or_else(|| at_gateway(local));
    let url = found.and_then(Result::ok).and_then(|found| found.url);
    // What looks like none may be read as one.
    let is_read = |url: &str| url.parse().is_ok_and(|url: Endpoint| url.authorization.is_some());
    url.is_some_and(|url| Masked(&url).to_string() != url || is_read(&url))
}

/// What a direct form says; no URL means that a header names it.
struct Found {
    method: &'static str,
    url: Option<String>,
}

impl Found {
    fn url(method: &'static str, url: String) -> Result<Found, NotEncoded> {
        Ok(Found { method, url: Some(url) })
    }
}

/// The form is clear but the text is not in its coding.
struct NotEncoded(&'static str);

/// An HTTP method, in capitals, from its name in any case.
pub(super) fn method(text: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(text))
}

/// The mangled forms that were seen of 22 mail libraries.
fn is_wreck(path: &str) -> bool {
    let is_scheme = |text: &str| ["http", "https"].iter().any(|scheme| scheme.eq_ignore_ascii_case(text));
    let ends_in_scheme = path.rsplit_once('@').is_some_and(|(_, domain)| is_scheme(domain));
    let digits = path.bytes().take_while(u8::is_ascii_digit).count();
    let begins_with_port = digits > 0 && path.as_bytes().get(digits) == Some(&b'/');
    path.is_empty()
        || path.starts_with('@')
        || path.starts_with("//")
        || path == "undefined"
        || ends_in_scheme
        || begins_with_port
        || path.contains(']') && !path.contains('[')
}

/// The route of the highest priority, of those the most specific one; an `@` in the
/// local part belongs to a URL, unless quoted, and no route takes URLs.
fn route(routes: &[Route], local: &str, domain: &str) -> Option<Target> {
    let local = local.strip_prefix('"').and_then(|local| local.strip_suffix('"')).unwrap_or(local);
    if local.contains("://") || domain.contains("://") || local.is_empty() {
        return None;
    }
    let matches = routes.iter().filter_map(|route| Some((route.recipient.try_match(local, domain)?, route)));
    let (how, route) = matches.min_by_key(|(how, route)| (Reverse(route.priority), how.rank()))?;
    Some(Target::Route { route: route.recipient.name().to_owned(), detail: how.into_detail() })
}

/// The routes that take a recipient together: all of the same pattern that have the
/// highest priority of these. None when they were removed meanwhile.
pub fn routes<'o>(options: &'o Options, name: &str) -> Vec<&'o Route> {
    let named = || options.routes.iter().filter(|route| route.recipient.name() == name);
    let highest = named().map(|route| route.priority).max();
    named().filter(|route| Some(route.priority) == highest).collect()
}

/// The domain of an address; empty when it has none.
pub(super) fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn is_gateway(options: &Options, domain: &str) -> bool {
    options.gateway_domains.iter().any(|gateway| gateway.eq_ignore_ascii_case(domain))
}

/// `event+order.paid`: no post, but an event of that name.
fn event(local: &str) -> Option<Result<Target, Refusal>> {
    let (word, name) = local.split_once('+')?;
    word.eq_ignore_ascii_case("event").then(|| match published::name(name) {
        Ok(name) => Ok(Target::Event { name }),
        Err(unfit) => Err(Refusal::new(553, (1, 3), format!("event+TYPE: {unfit}"))),
    })
}

/// `post@nb2hi4dt….….u.postgate.local`: base32 cut into labels.
fn labels(options: &Options, local: &str, domain: &str) -> Option<Result<Found, NotEncoded>> {
    let method = method(local)?;
    let encoded = options.gateway_domains.iter().find_map(|gateway| {
        let (rest, end) = domain.split_at_checked(domain.len().checked_sub(gateway.len())?)?;
        let (encoded, u) = rest.split_at_checked(rest.len().checked_sub(".u.".len())?)?;
        (end.eq_ignore_ascii_case(gateway) && u.eq_ignore_ascii_case(".u.")).then_some(encoded)
    })?;
    let text = encoded.replace('.', "").to_ascii_uppercase();
    let url = BASE32_NOPAD.decode(text.as_bytes()).ok().and_then(|octets| String::from_utf8(octets).ok());
    Some(url.ok_or(NotEncoded("base32")).and_then(|url| Found::url(method, url)))
}

/// The forms that stand before `@` and a gateway domain.
fn at_gateway(local: &str) -> Option<Result<Found, NotEncoded>> {
    let prefixed = |mark| {
        let (name, rest) = local.split_once(mark)?;
        Some((method(name)?, rest))
    };
    if let Some((method, encoded)) = prefixed('+') {
        let octets = BASE64URL_NOPAD.decode(encoded.trim_end_matches('=').as_bytes()).ok();
        let url = octets.and_then(|octets| String::from_utf8(octets).ok());
        return Some(url.ok_or(NotEncoded("base64url")).and_then(|url| Found::url(method, url)));
    }
    if let Some((method, escaped)) = prefixed('=') {
        let url = String::from_utf8(unescape(escaped, '='));
        return Some(url.map_err(|_| NotEncoded("UTF-8")).and_then(|url| Found::url(method, url)));
    }
    if let Some(method) = method(local) {
        return Some(Ok(Found { method, url: None }));
    }
    quoted(local)
}

/// `"post:https://…"` as it arrives: quoted, bare, in doubled quotes, with a
/// blank before the `@` or the last quote; without a method it is a POST.
fn quoted(local: &str) -> Option<Result<Found, NotEncoded>> {
    let text = local.trim_end_matches(' ');
    let is_quoted = text.len() > 1 && text.starts_with('"') && text.ends_with('"');
    let text =
        if is_quoted { unquote(text.trim_matches('"').trim_end_matches(' ')) } else { text.to_owned() };
    if split_scheme(&text).is_some() {
        return Some(Found::url("POST", text));
    }
    let (name, url) = text.split_once(':')?;
    split_scheme(url)?;
    Some(Found::url(method(name)?, url.to_owned()))
}

/// Undoes quoted-pairs (RFC 5321 section 4.1.2).
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(if char == '\\' { chars.next().unwrap_or(char) } else { char });
    }
    plain
}

/// `post@[https://…]`.
fn literal(path: &str) -> Option<Result<Found, NotEncoded>> {
    let (name, rest) = path.split_once("@[")?;
    let url = rest.strip_suffix(']')?;
    split_scheme(url)?;
    Some(Found::url(method(name)?, url.to_owned()))
}

/// `post@https://…`, with any further `@` being the URL's.
fn direct(path: &str) -> Option<Result<Found, NotEncoded>> {
    let (name, url) = path.split_once('@')?;
    split_scheme(url)?;
    Some(Found::url(method(name)?, url.to_owned()))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
