//! What cannot hold together about destinations and who we are to them.
//!
//! What one key of a `[[destination]]` contradicts may stand in `[delivery]` or in
//! a less specific block: all that holds for its origins is looked at.

use super::super::pem::Pem;
use super::super::settings::{Config, Destination, Mode, Route, Terms, merged};
use super::super::walk::Section;
use crate::compose::{Endpoint, Payload, Vendor};
use crate::deliver::sign::Scheme;
use crate::deliver::tls;
use crate::post;
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::collections::HashSet;
use std::time::Duration;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    names(root);
    if let Some(section) = root.table("delivery") {
        let terms = &config.delivery.terms;
        check(&section, terms, terms, config.delivery.total_connections);
    }
    destinations(config, root);
    routes(config, root);
    if config.bounce.relay.is_none()
        && config.bounce.from.is_some()
        && let Some(section) = root.table("bounce").filter(|section| !section.has("relay"))
    {
        section.complain("from", "without effect; add relay = \"smtp://relay.example\" or remove the key");
    }
}

/// What `sign_with` and `auth` name. That shows also where tables hold other mistakes.
fn names(root: &mut Section<'_>) {
    for (key, table) in [("sign_with", "signing_key"), ("auth", "auth")] {
        let mut known = HashSet::new();
        for section in root.tables(table).unwrap_or_default() {
            let Some(name) = section.text("name") else { continue };
            if !known.insert(name) {
                section.complain("name", format!("{name} stands in another [[{table}]]; remove one"));
            }
        }
        let delivery = root.table("delivery");
        let lists = ["destination", "route", "webhook"].map(|list| root.tables(list).unwrap_or_default());
        for section in delivery.into_iter().chain(lists.into_iter().flatten()) {
            // An empty name undoes what holds elsewhere.
            if let Some(name) = section.text(key).filter(|name| !name.is_empty() && !known.contains(name)) {
                section.complain(key, format!("there is no [[{table}]] {name:?}; add it or name another"));
            }
        }
    }
}

fn destinations(config: &Config, root: &mut Section<'_>) {
    let sections = root.tables("destination").unwrap_or_default();
    if sections.len() != config.destinations.len() {
        return;
    }
    let mut seen = Vec::<&UrlPattern>::new();
    for (destination, section) in config.destinations.iter().zip(sections) {
        let Destination { origins, terms } = destination;
        if seen.contains(&origins) {
            section.complain("match", format!("{origins} has a [[destination]] already; remove one"));
        }
        seen.push(origins);
        let all = merged(&config.delivery, &config.destinations, destination);
        check(&section, terms, &all, config.delivery.total_connections);
        if origins.to_string().starts_with("http://") {
            plain(&section);
        }
    }
}

/// What `own`, the keys of one table, say against all that holds there.
fn check(section: &Section<'_>, own: &Terms, all: &Terms, total_connections: u32) {
    let total_timeout = all.total_timeout.unwrap_or(Duration::MAX);
    for (key, timeout) in
        [("connect_timeout", own.connect_timeout), ("response_timeout", own.response_timeout)]
    {
        if timeout.is_some_and(|timeout| timeout > total_timeout) {
            section.complain(key, "longer than total_timeout; lower it or raise total_timeout");
        }
    }
    if own.max_connections.is_some_and(|most| most > total_connections) {
        let text =
            "more than there may be to all destinations; lower it or raise [delivery] total_connections";
        section.complain("max_connections", text);
    }
    trust(section, own, all);
}

fn trust(section: &Section<'_>, own: &Terms, all: &Terms) {
    let has = |pem: &Option<Pem>| pem.as_ref().is_some_and(Pem::is_there);
    match (has(&own.client_cert), has(&own.client_key)) {
        // One that could not be read has been told about.
        (true, false) if !section.has("client_key") => {
            section.complain("client_cert", "it has no key; add client_key = \"client.key\"");
        }
        (false, true) if !section.has("client_cert") => {
            section.complain("client_key", "it has no certificate; add client_cert = \"client.pem\"");
        }
        _ => {}
    }
    if let Err(text) = tls::check(&own.tls()) {
        // What is wrong begins with the key that is.
        let key = text.split(' ').next().unwrap_or_default();
        let text = format!("{text}; name a PEM file of certificates, or certificate and key that fit");
        section.complain(key, text);
    }
    if has(&own.ca) && all.insecure == Some(true) {
        let text = "insecure = true, here or for more origins, believes anybody; \
                    add insecure = false or remove the key";
        section.complain("ca", text);
    }
}

/// What means something to TLS alone.
fn plain(section: &Section<'_>) {
    for key in ["ca", "client_cert", "client_key", "tls_min", "insecure"] {
        if section.has(key) {
            section.complain(key, "without effect for http://; match https:// or remove the key");
        }
    }
}

fn routes(config: &Config, root: &mut Section<'_>) {
    let sections = root.tables("route").unwrap_or_default();
    if sections.len() != config.routes.len() {
        return;
    }
    for (route, section) in config.routes.iter().zip(sections) {
        origins(config, route, &section);
        suit(config, route, &section);
        for key in ["sync_timeout", "sync_fallback"] {
            if route.mode == Mode::Async && section.has(key) {
                section.complain(key, "without effect; add mode = \"sync\" or remove the key");
            }
        }
    }
}

/// A key that signs within the body, and a format that has no place for it.
fn suit(config: &Config, route: &Route, section: &Section<'_>) {
    let key = config.signing_keys.iter().find(|key| Some(&key.name) == route.sign_with.as_ref());
    // Who fixes the type knows what it is; a message may choose another payload.
    let is_fixed = route.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let Some(key) = key.filter(|_| !is_fixed && !route.header_control) else { return };
    let made = match &route.payload {
        Payload::Template(name) => config.templates.list().find(|(known, ..)| **known == **name),
        _ => None,
    };
    let is_form = |wanted: &[&str]| match made {
        Some((_, content_type, _)) => wanted.contains(&content_type),
        None => route.payload.forms().iter().any(|form| wanted.contains(form)),
    };
    let (is_suited, place, remedy) = match key.scheme {
        Scheme::Sns => (route.payload == Payload::Vendor(Vendor::SesSns), "notifications of SNS", "ses-sns"),
        Scheme::Mailgun => (is_form(&[URLENCODED, MULTIPART]), "forms", "mailgun"),
        Scheme::SecretParameter => (is_form(&[URLENCODED]), "urlencoded forms", "body"),
        _ => return,
    };
    if !is_suited {
        let (name, payload) = (&key.name, &route.payload);
        let text = format!(
            "{name} signs within {place}, which payload {payload} never makes; name another key or make one \
             with payload = \"{remedy}\""
        );
        section.complain("sign_with", text);
    }
}

/// What a route names that is not for its URL: all its posts would fail.
fn origins(config: &Config, route: &Route, section: &Section<'_>) {
    // A URL that is none has been told about.
    let urls = route.urls.iter().filter_map(|url| url.parse::<Endpoint>().ok());
    let destinations: Vec<_> = urls.map(|url| url.destination(&Tenant::default())).collect();
    let key = config.signing_keys.iter().find(|key| Some(&key.name) == route.sign_with.as_ref());
    let auth = config.auths.iter().find(|auth| Some(&auth.name) == route.auth.as_ref());
    for (name, origins) in
        [("sign_with", key.map(|key| &key.origins)), ("auth", auth.map(|auth| &auth.origins))]
    {
        let is_left_out =
            |to: &&post::Destination| origins.is_some_and(|origins| !UrlPattern::any_matches(origins, to));
        if let Some(to) = destinations.iter().find(is_left_out) {
            section.complain(name, format!("its origins leave out {to}; add that one or name another"));
        }
    }
}
