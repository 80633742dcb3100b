//! Cookies of the panel, which no script and no other site gets.

use http::header;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue};

/// Cookies are of a name, not of a port: gateways beside each other have one each.
pub(super) fn name(host: &Authority) -> String {
    host.port_u16().map_or_else(|| "postgate".to_owned(), |port| format!("postgate-{port}"))
}

/// The values of all cookies of this name.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// A cookie until the browser ends.
pub(super) fn set_cookie(name: &str, value: &str, scheme: &Scheme) -> Option<HeaderValue> {
    let secure = if *scheme == Scheme::HTTPS { "; Secure" } else { "" };
    let mut value =
        HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
