//! What is wrong with values that are each right by themselves.
//!
//! Every rule names the key that is most likely to be mended. A configuration
//! that would make an open relay is one of them (`access`): it must not start. How
//! posts go out is in `delivery`.

mod access;
mod accounting;
mod api;
mod attachments;
mod delivery;
mod webhook;

use super::settings::{Config, Route};
use super::value::Size;
use super::walk::Section;
use crate::compose::forms;

/// Looks for contradictions and complains about them at their places.
pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    access::find(config, root);
    api::find(config, root);
    routes(config, root);
    limits(config, root);
    delivery::find(config, root);
    attachments::find(config, root);
    webhook::find(config, root);
    accounting::find(config, root);
}

/// Whether every table of a list was understood: what was not was left out, and
/// the list says nothing about what there is.
fn is_whole(root: &mut Section<'_>, key: &'static str, understood: usize) -> bool {
    root.tables(key).is_none_or(|tables| tables.is_empty() || tables.len() == understood)
}

fn routes(config: &Config, root: &mut Section<'_>) {
    let sections = root.tables("route").unwrap_or_default();
    if sections.len() != config.routes.len() {
        return;
    }
    for (at, (route, section)) in config.routes.iter().zip(sections).enumerate() {
        let key = if route.recipient.is_regex() { "regex" } else { "recipient" };
        if let Some(domain) = config.server.gateway_domains.iter().find(|domain| hides(route, domain)) {
            let text = format!(
                "{domain} is a gateway domain, whose recipient forms this would hide; use another domain"
            );
            section.complain(key, text);
        }
        // Others that are for the same recipients make posts of their own.
        let is_same = |other: &Route| {
            let recipient = other.recipient.clone();
            recipient.name() == route.recipient.name() && Route { recipient, ..route.clone() } == *other
        };
        if config.routes.iter().take(at).any(is_same) {
            section.complain(key, format!("{} has this very route already; remove one", route.recipient));
        }
        let largest = config.limits.message_size;
        if largest != Size(0) && route.message_size.is_some_and(|size| size > largest) {
            let text = "more than any message may have; lower it or raise [limits] message_size";
            section.complain("message_size", text);
        }
        for key in ["check_format", "check_timeout", "check_fallback", "check_cache"] {
            if route.check.is_none() && section.has(key) {
                section.complain(key, "without effect; add check_url or remove the key");
            }
        }
    }
}

/// Whether a route takes addresses that stand for URLs. Any other at that domain,
/// such as `postmaster@`, may be somebody's.
fn hides(route: &Route, domain: &str) -> bool {
    // The forms of one URL, in which no route is interested.
    let forms = forms("https://a.example/b", domain).unwrap_or_default();
    let addresses = forms.iter().filter_map(|(_, form)| form.split(" and ").next());
    addresses.filter(|address| !address.contains("://")).any(|address| route.recipient.takes(address))
}

fn limits(config: &Config, root: &mut Section<'_>) {
    let Some(section) = root.table("limits") else { return };
    let limits = &config.limits;
    let has_size_limit = limits.message_size != Size(0);
    if has_size_limit && limits.header_size > limits.message_size {
        section.complain("header_size", "larger than a message may be; lower it or raise message_size");
    }
    // A quarter of it is for what is being received.
    if limits.data_memory.0 / 4 < limits.header_size.0 {
        section.complain("data_memory", "less than four header sections; raise it or lower header_size");
    }
    if limits.composed_size.0 / 2 < limits.message_size.0 {
        section.complain("composed_size", "less than two messages; raise it or lower message_size");
    }
    if limits.connections_per_address > limits.connections {
        section
            .complain("connections_per_address", "more than all connections; lower it or raise connections");
    }
    if limits.slow_after_errors > limits.close_after_errors {
        section.complain(
            "slow_after_errors",
            "never reached before close_after_errors; lower it or raise close_after_errors",
        );
    }
    if limits.busy_idle_timeout > limits.idle_timeout {
        section.complain("busy_idle_timeout", "longer than idle_timeout; lower it or raise idle_timeout");
    }
}
