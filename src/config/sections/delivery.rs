//! How destinations are served, and where posts may go, key by key.

use super::super::pem::Pem;
use super::super::settings::{BodyMatch, Delivery, Destination, Egress, Terms};
use super::super::value::{Value as _, instead_of};
use super::super::walk::Section;
use super::{check_header, take_count};
use crate::deliver::ruling::{On, Ruling};
use regex::Regex;
use std::time::Duration;
use toml::de::DeValue;

/// Most redirects that may be followed.
const MOST_REDIRECTS: u32 = 10;

pub(super) fn delivery(mut section: Section<'_>) -> Delivery {
    let mut delivery = Delivery::default();
    take_count(&mut section, "total_connections", &mut delivery.total_connections);
    let terms = &mut delivery.terms;
    take_terms(&mut section, terms);
    // Who lowers the whole need not know its parts.
    for (key, timeout) in
        [("connect_timeout", &mut terms.connect_timeout), ("response_timeout", &mut terms.response_timeout)]
    {
        if !section.has(key) {
            *timeout = terms.total_timeout.min(*timeout);
        }
    }
    section.finish(&[]);
    delivery
}

pub(super) fn destination(mut section: Section<'_>) -> Option<Destination> {
    let origins = section.take_required("match", "\"https://*.shop.example\"");
    let mut terms = Terms::default();
    take_terms(&mut section, &mut terms);
    section.refuse(&["total_connections"], "counts over all destinations; move it to [delivery]");
    section.finish(&[]);
    Some(Destination { origins: origins?, terms })
}

pub(super) fn egress(mut section: Section<'_>) -> Egress {
    let mut egress = Egress::default();
    section.take_list("allow", &mut egress.allow);
    section.take_list("deny", &mut egress.deny);
    section.take_list("allow_ports", &mut egress.allow_ports);
    section.finish(&[]);
    egress
}

fn take_terms(section: &mut Section<'_>, terms: &mut Terms) {
    take_pace(section, terms);
    take_times(section, terms);
    take_connection(section, terms);
    take_request(section, terms);
    if let Some(on) = section.take_pairs("on", |name, value| Ok((on(name)?, Ruling::read(value)?))) {
        terms.on = Some(on);
    }
    if let Some(tables) = section.tables("body_matches") {
        terms.body_matches = Some(tables.into_iter().filter_map(body_match).collect());
    }
}

fn take_pace(section: &mut Section<'_>, terms: &mut Terms) {
    section.take_some("max_connections", &mut terms.max_connections);
    if terms.max_connections == Some(0) {
        section.complain("max_connections", "0 would let nothing through; write a number from 1");
    }
    let mut rate = Vec::new();
    section.take_one_or_more("rate", &mut rate);
    if section.has("rate") {
        terms.rate = Some(rate);
    }
    section.take_some("max_posts_per_connection", &mut terms.max_posts_per_connection);
    section.take_some("keep_alive", &mut terms.keep_alive);
    section.take_some("adaptive_concurrency", &mut terms.adaptive_concurrency);
    section.take_some("breaker", &mut terms.breaker);
}

fn take_times(section: &mut Section<'_>, terms: &mut Terms) {
    for (key, time) in [
        ("connect_timeout", &mut terms.connect_timeout),
        ("response_timeout", &mut terms.response_timeout),
        ("total_timeout", &mut terms.total_timeout),
        ("max_age", &mut terms.max_age),
    ] {
        section.take_some(key, time);
        if time.is_some_and(|time| time.is_zero()) {
            section.complain(key, "no time at all; write a duration such as \"10s\"");
        }
    }
    let mut retry = Vec::new();
    section.take_list("retry", &mut retry);
    if section.has("retry") {
        if retry.iter().any(Duration::is_zero) || retry.is_empty() {
            let text = "at least one interval is needed and none may be 0; write [\"5s\", \"30s\"]";
            section.complain("retry", text);
        }
        terms.retry = Some(retry);
    }
    section.take_some("max_attempts", &mut terms.max_attempts);
}

fn take_connection(section: &mut Section<'_>, terms: &mut Terms) {
    section.take_some("http2", &mut terms.http2);
    section.take_some("proxy", &mut terms.proxy);
    section.take_some("ca", &mut terms.ca);
    section.take_some("client_cert", &mut terms.client_cert);
    section.take_some("client_key", &mut terms.client_key);
    if let Some(Err(text)) = terms.client_key.as_ref().map(Pem::refuse_open) {
        section.complain("client_key", text);
    }
    section.take_some("tls_min", &mut terms.tls_min);
    section.take_some("insecure", &mut terms.insecure);
}

fn take_request(section: &mut Section<'_>, terms: &mut Terms) {
    section.take_some("follow_redirects", &mut terms.follow_redirects);
    if terms.follow_redirects.is_some_and(|most| most > MOST_REDIRECTS) {
        section.complain("follow_redirects", format!("too many; write a number from 0 to {MOST_REDIRECTS}"));
    }
    section.take_some("auth", &mut terms.auth);
    section.take_some("sign_with", &mut terms.sign_with);
    section.take_some("compress", &mut terms.compress);
    if let Some(headers) = section.take_pairs("headers", check_header) {
        terms.headers = Some(headers);
    }
}

/// The result that a key of `on` is about.
fn on(name: &str) -> Result<On, String> {
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
    let result = match name {
        "connect" => Some(On::Connect),
        "dns" => Some(On::Dns),
        "tls" => Some(On::Tls),
        "timeout" => Some(On::Timeout),
        _ => match name.strip_suffix("xx") {
            Some(class) => number(class).flatten().filter(|class| (2..=5).contains(class)).map(On::Class),
            None => number(name).flatten().filter(|status| (200..=599).contains(status)).map(On::Status),
        },
    };
    result.ok_or_else(|| {
        format!(
            "{name:?} is no result; write a status from \"200\" to \"599\", a class from \"2xx\" to \"5xx\", \
             \"connect\", \"dns\", \"tls\" or \"timeout\""
        )
    })
}

fn body_match(mut section: Section<'_>) -> Option<BodyMatch> {
    let pattern = section.take_required::<Pattern>("pattern", "\"maintenance\"");
    let outcome = section.take_required("outcome", "\"retry\"");
    section.finish(&[]);
    Some(BodyMatch { pattern: pattern?.0, outcome: outcome? })
}

struct Pattern(Regex);

impl super::super::value::Value for Pattern {
    fn read(value: &DeValue<'_>) -> Result<Pattern, String> {
        let text = value.as_str().ok_or_else(|| instead_of(value, "a regular expression in quotes"))?;
        Regex::new(text).map(Pattern).map_err(|error| {
            // The lines before the last draw where in the pattern it is.
            let text = error.to_string();
            let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("not a regular expression: {cause}; mend it, and write a backslash twice or in '…'")
        })
    }
}
