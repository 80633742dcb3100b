//! What cannot hold together about attachments: formats that have no place for them,
//! and addresses that nobody could fetch anything from.

use super::super::settings::{ApiAddress, Attachments, Config, Destination, Route, Terms, merged};
use super::super::walk::Section;
use super::is_whole;
use crate::compose::{Endpoint, Room};
use crate::deliver::ruling::{On, Ruling};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::net::IpAddr;

/// The formats that have a place for addresses.
const WITH_ADDRESSES: &str = "json, multipart, auto, cloudmailin, cloudmailin-multipart or a template";

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    if is_whole(root, "route", config.routes.len()) {
        let sections = root.tables("route").unwrap_or_default();
        for (route, section) in config.routes.iter().zip(sections) {
            attachments(config, route, &section);
            fallback(config, route, &section);
        }
    }
    if let Some(section) = root.table("delivery") {
        rulings(config, &config.delivery.terms, None, &section);
    }
    if is_whole(root, "destination", config.destinations.len()) {
        let sections = root.tables("destination").unwrap_or_default();
        for (destination, section) in config.destinations.iter().zip(sections) {
            rulings(config, &destination.terms, Some(&destination.origins), &section);
        }
    }
}

/// What a route says about attachments.
fn attachments(config: &Config, route: &Route, section: &Section<'_>) {
    let payload = &route.payload;
    // A message may choose a payload that has a place for everything.
    let room = if route.header_control { Room::Addresses } else { payload.room() };
    match room {
        Room::None if section.has("attachments") => {
            let text = format!("the payload {payload} has no place for attachments; remove the key");
            section.complain("attachments", text);
        }
        Room::Contents if route.attachments == Attachments::Url => {
            let text = format!(
                "the payload {payload} has no place for addresses of attachments; write \"inline\" or \
                 \"omit\", or take {WITH_ADDRESSES}"
            );
            section.complain("attachments", text);
        }
        _ if route.attachments == Attachments::Url => {
            let is_near = destinations(route).all(|host| is_loopback(&host));
            if let Some(text) = unreachable(config, is_near) {
                section.complain("attachments", text);
            }
        }
        _ => {}
    }
    if route.attachments != Attachments::Url && section.has("inline_limit") {
        section.complain("inline_limit", "without effect; add attachments = \"url\" or remove the key");
    }
}

/// Hosts of a route's URLs; one that is none has been told about.
fn destinations(route: &Route) -> impl Iterator<Item = String> {
    let endpoints = route.urls.iter().filter_map(|url| url.parse::<Endpoint>().ok());
    endpoints.map(|endpoint| endpoint.host)
}

/// Why nobody could fetch an attachment, if so; receivers that are near are on this
/// machine.
fn unreachable(config: &Config, is_near: bool) -> Option<String> {
    match (config.api.address, &config.api.public_url) {
        (Some(ApiAddress::Off), _) => {
            Some("the API gives attachments out, and it is off; give [api] an address".to_owned())
        }
        (_, None) if !is_near => Some(
            "receivers elsewhere cannot reach the API on loopback; set [api] public_url to where they reach \
             it, such as \"https://gateway.example\""
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether only programs on this machine have this host.
fn is_loopback(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    literal.parse().map_or(host == "localhost", is_loopback)
}

/// `retry-with-urls` in one table.
fn rulings(config: &Config, own: &Terms, origins: Option<&UrlPattern>, section: &Section<'_>) {
    let only = origins.and_then(|origins| origins.only(&Tenant::default()));
    let is_near = only.is_some_and(|destination| is_loopback(&destination.host));
    for (key, is_there) in [("on", says_on(own)), ("body_matches", says_matches(own))] {
        if let Some(text) = is_there.then(|| unreachable(config, is_near)).flatten() {
            section.complain(key, text);
        }
    }
    let is_answer = |on: On| matches!(on, On::Status(_) | On::Class(_));
    let mut about = own.on.iter().flatten().filter(|(_, ruling)| *ruling == Ruling::RetryWithUrls);
    if about.any(|(on, _)| !is_answer(*on)) {
        let text = "retry-with-urls answers a receiver that finds a body too large; name statuses with it";
        section.complain("on", text);
    }
}

fn says_on(terms: &Terms) -> bool {
    terms.on.iter().flatten().any(|(_, ruling)| *ruling == Ruling::RetryWithUrls)
}

fn says_matches(terms: &Terms) -> bool {
    terms.body_matches.iter().flatten().any(|one| one.outcome == Ruling::RetryWithUrls)
}

/// A route for a destination that is to get addresses, in a format without a place
/// for them. What is said for all destinations holds where it can.
fn fallback(config: &Config, route: &Route, section: &Section<'_>) {
    let says = |terms: &Terms| says_on(terms) || says_matches(terms);
    if route.payload.room() == Room::Addresses || says(&config.delivery.terms) {
        return;
    }
    let endpoints = route.urls.iter().filter_map(|url| url.parse::<Endpoint>().ok());
    let mut destinations = endpoints.map(|endpoint| endpoint.destination(&Tenant::default()));
    let is_to_get = destinations.find(|to| {
        let own = Destination { origins: UrlPattern::of(to), terms: Terms::default() };
        says(&merged(&config.delivery, &config.destinations, &own))
    });
    if let Some(to) = is_to_get {
        let text = format!(
            "{to} gets addresses of attachments when it finds a post too large (retry-with-urls), and {} has \
             no place for them; take {WITH_ADDRESSES}",
            route.payload
        );
        section.complain("payload", text);
    }
}
