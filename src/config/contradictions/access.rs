//! What would let strangers in, or keep everybody out.
//!
//! Credentials that no listener can ask for, and doors that nobody can go
//! through, are mistakes as well: whoever wrote them believes to be protected by
//! them.

use super::super::settings::{BareNewline, Config, Listener, Tls, User, UserSecret};
use super::super::walk::Section;
use super::is_whole;
use crate::network::Network;
use crate::smtp::{Address, Protocol, TlsUse};
use crate::tenant::Tenant;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    open_relay(config, root);
    proxies(config, root);
    listeners(config, root);
    tls(&config.tls, root);
    tenants(config, root);
    users(config, root);
}

/// Direct posts to any URL for everybody: what the internet must not be offered.
fn open_relay(config: &Config, root: &mut Section<'_>) {
    // Who must log in is no stranger.
    let is_open = |listener: &Listener| is_exposed(listener) && !listener.require_auth;
    if config.listeners.0.iter().any(is_open)
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

/// Whether clients of other machines may reach a listener.
fn is_exposed(listener: &Listener) -> bool {
    match &listener.address {
        // What a proxy takes may come from anywhere.
        _ if listener.proxy_protocol => true,
        Address::Tcp(address) => !address.ip().is_loopback(),
        Address::Unix(_) => false,
        // Nothing is known of what systemd listens on.
        Address::Systemd(_) => true,
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

fn proxies(config: &Config, root: &mut Section<'_>) {
    let proxies = &config.server.trusted_proxies;
    let Some(server) = root.table("server") else { return };
    if hold_the_internet(proxies) {
        let text = "any client could claim to come from a trusted network (an open relay); \
                    name your own proxies only";
        server.complain("trusted_proxies", text);
    }
    let is_asked_for = config.listeners.0.iter().any(|listener| listener.proxy_protocol);
    if !proxies.is_empty() && !is_asked_for && is_whole(root, "listener", config.listeners.0.len()) {
        let text = "without effect; add proxy_protocol = true to a listener or remove the networks";
        server.complain("trusted_proxies", text);
    }
}

fn listeners(config: &Config, root: &mut Section<'_>) {
    let mut addresses = HashSet::new();
    let sections = root.tables("listener").unwrap_or_default();
    // A listener whose address is bad was left out: the two lists do not match.
    if sections.len() != config.listeners.0.len() {
        return;
    }
    let knows_users = is_whole(root, "user", config.users.len());
    for (listener, section) in config.listeners.0.iter().zip(sections) {
        let takes_a_free_port = matches!(listener.address, Address::Tcp(address) if address.port() == 0);
        if !takes_a_free_port && !addresses.insert(&listener.address) {
            section.complain("address", format!("{} is listened on twice; remove one", listener.address));
        }
        // RFC 2033 section 5: who connects there expects SMTP.
        let is_mail_port = matches!(listener.address, Address::Tcp(address) if address.port() == 25);
        if is_mail_port && listener.protocol == Protocol::Lmtp {
            section.complain("protocol", "LMTP must not be spoken on port 25; use another port");
        }
        newlines(listener, &section);
        encryption(config, listener, &section);
        if knows_users {
            logins(config, listener, &section);
        }
    }
}

fn newlines(listener: &Listener, section: &Section<'_>) {
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

fn encryption(config: &Config, listener: &Listener, section: &Section<'_>) {
    let has_certificate = !config.tls.certificate.is_empty() || config.tls.self_signed;
    if listener.tls != TlsUse::None && !has_certificate {
        let text = "there is no certificate; add [tls] certificate and key, or self_signed = true for tests";
        section.complain("tls", text);
    }
    if listener.tls == TlsUse::None && listener.require_tls {
        let text = "nobody could send mail here without TLS; add tls = \"starttls\" or remove the key";
        section.complain("require_tls", text);
    }
    match listener.address {
        Address::Unix(_) if listener.proxy_protocol => {
            let text = "peers of a unix socket have no address by which a proxy could be trusted; \
                        let it connect over TCP or remove the key";
            section.complain("proxy_protocol", text);
        }
        _ if listener.proxy_protocol && config.server.trusted_proxies.is_empty() => {
            let text = "no proxy is trusted; name them in [server] trusted_proxies or remove the key";
            section.complain("proxy_protocol", text);
        }
        _ => {}
    }
}

/// What a listener says about logins that could not happen.
fn logins(config: &Config, listener: &Listener, section: &Section<'_>) {
    if listener.require_auth {
        if config.users.is_empty() {
            section.complain("require_auth", "nobody can log in; add a [[user]] or remove the key");
        } else if !config.users.iter().any(|user| can_log_in(config, listener, user)) {
            section.complain("require_auth", format!("no [[user]] can log in here; {HOW_TO_LOG_IN}"));
        }
    }
    let is_recoverable = |user: &User| matches!(user.secret, UserSecret::Password(_));
    if listener.cram_md5 && !config.users.iter().any(is_recoverable) {
        let text = "no [[user]] has a password that is not hashed, which CRAM-MD5 needs; \
                    add one or remove the key";
        section.complain("cram_md5", text);
    }
}

const HOW_TO_LOG_IN: &str = "add tls = \"starttls\" to the listener, or allow_plaintext_auth = true; \
     without TLS passwords are taken from trusted_networks only";

/// Whether a user could ever log in through a listener.
fn can_log_in(config: &Config, listener: &Listener, user: &User) -> bool {
    match user.secret {
        UserSecret::Certificate => listener.tls != TlsUse::None && config.tls.client_ca.is_some(),
        UserSecret::Password(_) | UserSecret::Hash(_) => {
            listener.tls != TlsUse::None
                || listener.allow_plaintext_auth
                || is_reached_from(listener, &config.server.trusted_networks)
        }
    }
}

/// Whether a listener is there for clients of these networks. One off loopback
/// is there for other machines, although this one might connect as well.
fn is_reached_from(listener: &Listener, networks: &[Network]) -> bool {
    if listener.proxy_protocol || matches!(listener.address, Address::Systemd(_)) {
        return !networks.is_empty();
    }
    match listener.address {
        Address::Tcp(address) if address.ip().is_loopback() => {
            let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            networks.iter().any(|network| {
                network.address().is_loopback() || own.iter().any(|address| network.contains(*address))
            })
        }
        Address::Tcp(_) => networks.iter().any(|network| !network.address().is_loopback()),
        // Clients without an address are trusted.
        Address::Unix(_) | Address::Systemd(_) => true,
    }
}

fn tls(tls: &Tls, root: &mut Section<'_>) {
    let Some(section) = root.table("tls") else { return };
    match (tls.certificate.len(), tls.key.len()) {
        (0, 0) => {}
        (_, 0) => section.complain("certificate", "it has no key; add key = \"key.pem\""),
        (0, _) => section.complain("key", "it has no certificate; add certificate = \"fullchain.pem\""),
        (certificates, keys) if certificates != keys => section.complain(
            "key",
            format!("there are {keys} for {certificates} certificates; write one for each, in their order"),
        ),
        _ => {}
    }
    if tls.self_signed && !tls.certificate.is_empty() {
        section.complain("self_signed", "there is a certificate; remove one of the two");
    }
}

fn tenants(config: &Config, root: &mut Section<'_>) {
    let mut names = HashSet::new();
    let sections = root.tables("tenant").unwrap_or_default();
    if sections.len() != config.tenants.len() {
        return;
    }
    for (tenant, section) in config.tenants.iter().zip(sections) {
        if !names.insert(&tenant.name) {
            section.complain("name", format!("{} is a tenant already; remove one", tenant.name));
        }
    }
}

fn users(config: &Config, root: &mut Section<'_>) {
    let mut names = HashSet::new();
    let sections = root.tables("user").unwrap_or_default();
    if sections.len() != config.users.len() {
        return;
    }
    let default = Tenant::default();
    for (user, section) in config.users.iter().zip(&sections) {
        // Names in certificates are compared without their case.
        if !names.insert(user.name.to_lowercase()) {
            section.complain("name", format!("{} is a user already; remove one", user.name));
        }
        let is_known = |name: &str| config.tenants.iter().any(|tenant| tenant.name == name);
        if user.tenant != default.as_str() && !is_known(&user.tenant) {
            let text = "is not a tenant; add a [[tenant]] of this name or remove the key";
            section.complain("tenant", format!("{:?} {text}", user.tenant));
        }
        if user.secret == UserSecret::Certificate && config.tls.client_ca.is_none() {
            let text = "no password, password_hash or [tls] client_ca; add password = { env = \"NAME\" }";
            section.complain("password", text);
        }
    }
    if is_whole(root, "listener", config.listeners.0.len()) {
        unenforceable(config, &sections);
    }
}

/// Credentials that no listener asks for; one complaint for all of a kind.
fn unenforceable(config: &Config, sections: &[Section<'_>]) {
    let is_shut_out =
        |user: &User| !config.listeners.0.iter().any(|listener| can_log_in(config, listener, user));
    let mut users = config.users.iter().zip(sections);
    let has_password = |user: &User| user.secret != UserSecret::Certificate;
    if let Some((_, section)) = users.clone().find(|(user, _)| has_password(user) && is_shut_out(user)) {
        section.complain("name", format!("this user can log in on no listener; {HOW_TO_LOG_IN}"));
    }
    let is_vouched_for = |user: &User| !has_password(user) && config.tls.client_ca.is_some();
    if let Some((_, section)) = users.find(|(user, _)| is_vouched_for(user) && is_shut_out(user)) {
        let text = "no listener asks for this user's certificate; add tls = \"starttls\" to one";
        section.complain("name", text);
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
