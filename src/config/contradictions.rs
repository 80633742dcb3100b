//! What is wrong with values that are each right by themselves.
//!
//! Every rule names the key that is most likely to be mended. A configuration
//! that would make an open relay is one of them: it must not start.

use super::settings::{BareNewline, Config};
use super::value::Size;
use super::walk::Section;
use crate::network::Network;
use std::collections::HashSet;
use std::net::IpAddr;

/// Looks for contradictions and complains about them at their places.
pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    open_relay(config, root);
    listeners(config, root);
    routes(config, root);
    limits(config, root);
    timeouts(config, root);
}

/// Direct posts to any URL for everybody: what the internet must not be offered.
fn open_relay(config: &Config, root: &mut Section<'_>) {
    let is_exposed = config.listeners.0.iter().any(|listener| !listener.address.ip().is_loopback());
    if is_exposed
        && hold_the_internet(&config.server.trusted_networks)
        && let Some(server) = root.table("server")
    {
        server.complain(
            "trusted_networks",
            "with a listener off loopback this lets the whole internet post to any URL (an open relay); \
             name your own networks only",
        );
    }
}

/// Whether the networks hold most of the internet of either family: half of
/// the IPv4 addresses, or half of the public IPv6 ones (2000::/3, RFC 4291).
fn hold_the_internet(networks: &[Network]) -> bool {
    let blocks = 1u32 << 16;
    let held = |address: &dyn Fn(u32) -> IpAddr| {
        (0..blocks).filter(|block| networks.iter().any(|network| network.contains(address(*block)))).count()
    };
    // One address for each /16 (of IPv6: each /19 of the public part) is asked;
    // what is smaller than that is no large part of the internet.
    let v4 = held(&|block| IpAddr::V4((block << 16).into()));
    let v6 = held(&|block| IpAddr::V6(((0x2000u128 << 112) | u128::from(block) << 109).into()));
    let half = (blocks / 2) as usize;
    v4 >= half || v6 >= half
}

fn listeners(config: &Config, root: &mut Section<'_>) {
    let mut addresses = HashSet::new();
    let sections = root.tables("listener").unwrap_or_default();
    // A listener whose address is bad was left out: the two lists do not match.
    if sections.len() != config.listeners.0.len() {
        return;
    }
    for (listener, section) in config.listeners.0.iter().zip(sections) {
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            section.complain("address", format!("{} is listened on twice; remove one", listener.address));
        }
        match (listener.bare_newline, listener.lf_networks.is_empty()) {
            (BareNewline::Lf, true) => section.complain(
                "bare_newline",
                "\"lf\" without lf_networks is for nobody; name the networks that need it",
            ),
            (BareNewline::Normalize | BareNewline::Refuse, false) => section
                .complain("lf_networks", "without effect; add bare_newline = \"lf\" or remove the networks"),
            _ => {}
        }
    }
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

fn timeouts(config: &Config, root: &mut Section<'_>) {
    let Some(section) = root.table("delivery") else { return };
    let delivery = &config.delivery;
    for (key, timeout) in
        [("connect_timeout", delivery.connect_timeout), ("response_timeout", delivery.response_timeout)]
    {
        if timeout > delivery.total_timeout {
            section.complain(key, "longer than total_timeout; lower it or raise total_timeout");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_internet_is_recognised_also_in_pieces() {
        for (texts, is_internet) in [
            (vec!["0.0.0.0/0"], true),
            (vec!["::/0"], true),
            (vec!["2000::/3"], true),
            (vec!["0.0.0.0/2", "64.0.0.0/2"], true),
            (vec!["0.0.0.0/2"], false),
            (vec!["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"], false),
            (vec!["2001:db8::/32"], false),
        ] {
            assert_eq!(hold_the_internet(&networks(&texts)), is_internet, "{texts:?}");
        }
    }
}
