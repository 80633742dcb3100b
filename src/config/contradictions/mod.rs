//! What is wrong with values that are each right by themselves.
//!
//! Every rule names the key that is most likely to be mended. A configuration
//! that would make an open relay is one of them (`access`): it must not start. How
//! posts go out is in `delivery`.

mod access;
mod delivery;

use super::settings::Config;
use super::value::Size;
use super::walk::Section;
use std::collections::HashSet;

/// Looks for contradictions and complains about them at their places.
pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    access::find(config, root);
    routes(config, root);
    limits(config, root);
    delivery::find(config, root);
}

/// Whether every table of a list was understood: what was not was left out, and
/// the list says nothing about what there is.
fn is_whole(root: &mut Section<'_>, key: &'static str, understood: usize) -> bool {
    root.tables(key).is_none_or(|tables| tables.is_empty() || tables.len() == understood)
}

fn routes(config: &Config, root: &mut Section<'_>) {
    let mut recipients = HashSet::new();
    let sections = root.tables("route").unwrap_or_default();
    if sections.len() != config.routes.len() {
        return;
    }
    for (route, section) in config.routes.iter().zip(sections) {
        let recipient = route.recipient.to_ascii_lowercase();
        let domain = recipient.strip_prefix("*@").unwrap_or_default();
        if config.server.gateway_domains.iter().any(|gateway| gateway == domain) {
            section.complain(
                "recipient",
                format!(
                    "{domain} is a gateway domain, whose recipient forms this would hide; use another domain"
                ),
            );
        }
        if !recipients.insert(recipient) {
            section.complain("recipient", format!("{} has a route already; remove one", route.recipient));
        }
    }
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
