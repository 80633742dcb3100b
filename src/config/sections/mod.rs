//! The sections of the file, key by key.
//!
//! Each function takes the keys of one table into its struct and names the keys
//! of the full product that this version lacks. What is wrong with one value
//! alone is said here. Who may come in, and how, is in `access`; where mail goes in
//! `route`; how posts go out in `delivery`, as whom in `credentials`.

mod access;
mod accounting;
mod credentials;
mod delivery;
mod route;
mod webhook;

use super::secret::Var;
use super::settings::{
    Api, ApiTls, Backend, Config, Journal, Limits, Listeners, Log, Retention, Server, Spool, is_hostname,
};
use super::value::{Size, Value as _};
use super::walk::Section;
use crate::compose::{Endpoint, is_reserved};
use crate::spool::postgres;
use std::time::Duration;
use toml::de::DeValue;

/// Less than this holds no more than a few files of the journal.
const LEAST_JOURNAL: Size = Size(64 << 20);

/// Everything.
pub(super) fn read(mut root: Section<'_>) -> Config {
    let mut config = Config::default();
    if let Some(section) = root.table("server") {
        config.server = server(section);
    }
    if let Some(sections) = root.tables("listener").filter(|sections| !sections.is_empty()) {
        config.listeners = Listeners(sections.into_iter().filter_map(access::listener).collect());
    }
    if let Some(section) = root.table("tls") {
        config.tls = access::tls(section);
    }
    if let Some(section) = root.table("limits") {
        config.limits = limits(section);
    }
    let tenants = root.tables("tenant").unwrap_or_default();
    config.tenants = tenants.into_iter().filter_map(access::tenant).collect();
    let users = root.tables("user").unwrap_or_default();
    config.users = users.into_iter().filter_map(access::user).collect();
    config.routes = root.tables("route").unwrap_or_default().into_iter().filter_map(route::route).collect();
    if let Some(section) = root.table("delivery") {
        config.delivery = delivery::delivery(section);
    }
    let destinations = root.tables("destination").unwrap_or_default();
    config.destinations = destinations.into_iter().filter_map(delivery::destination).collect();
    let keys = root.tables("signing_key").unwrap_or_default();
    config.signing_keys = keys.into_iter().filter_map(credentials::signing_key).collect();
    let auths = root.tables("auth").unwrap_or_default();
    config.auths = auths.into_iter().filter_map(credentials::auth).collect();
    if let Some(section) = root.table("bounce") {
        config.bounce = credentials::bounce(section);
    }
    if let Some(section) = root.table("egress") {
        config.egress = delivery::egress(section);
    }
    if let Some(section) = root.table("spool") {
        config.spool = spool(section);
    }
    if let Some(section) = root.table("journal") {
        config.journal = journal(section);
    }
    if let Some(section) = root.table("retention") {
        config.retention = retention(section);
    }
    if let Some(section) = root.table("log") {
        config.log = log(section);
    }
    if let Some(section) = root.table("api") {
        config.api = api(section);
    }
    let keys = root.tables("api_key").unwrap_or_default();
    config.api_keys = keys.into_iter().filter_map(access::api_key).collect();
    let webhooks = root.tables("webhook").unwrap_or_default();
    config.webhooks = webhooks.into_iter().filter_map(webhook::webhook).collect();
    let files = root.one_or_more_tables("accounting").unwrap_or_default();
    config.accounting = files.into_iter().filter_map(accounting::accounting).collect();
    root.finish(&[]);
    config
}

fn server(mut section: Section<'_>) -> Server {
    let mut server = Server::default();
    section.take("hostname", &mut server.hostname);
    if !is_hostname(&server.hostname) {
        section.complain(
            "hostname",
            format!("{:?} is not a host name; write one such as \"gateway.example\"", server.hostname),
        );
    }
    section.take_list("gateway_domains", &mut server.gateway_domains);
    for domain in &mut server.gateway_domains {
        domain.make_ascii_lowercase();
        if !is_hostname(domain) {
            section.complain(
                "gateway_domains",
                format!("{domain:?} is not a domain; write one such as \"postgate.local\""),
            );
        }
    }
    section.take("data_dir", &mut server.data_dir);
    section.take("templates", &mut server.templates);
    section.take_list("trusted_networks", &mut server.trusted_networks);
    section.take_list("trusted_proxies", &mut server.trusted_proxies);
    section.take("shutdown_delay", &mut server.shutdown_delay);
    section.take("shutdown_timeout", &mut server.shutdown_timeout);
    section.finish(&[]);
    server
}

fn limits(mut section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    take_limits(&mut section, &mut limits);
    check_limits(&section, &limits);
    follow(&section, &mut limits);
    section.finish(&[]);
    limits
}

fn take_limits(section: &mut Section<'_>, limits: &mut Limits) {
    section.take("message_size", &mut limits.message_size);
    section.take("header_size", &mut limits.header_size);
    section.take("command_line", &mut limits.command_line);
    section.take("auth_line", &mut limits.auth_line);
    section.take("data_memory", &mut limits.data_memory);
    section.take("composed_size", &mut limits.composed_size);
    section.take("connection_rate", &mut limits.connection_rate);
    section.take("failed_login_rate", &mut limits.failed_login_rate);
    section.take("data_rate", &mut limits.data_rate);
    for (key, count) in [
        ("header_fields", &mut limits.header_fields),
        ("mime_depth", &mut limits.mime_depth),
        ("mime_parts", &mut limits.mime_parts),
        ("recipients", &mut limits.recipients),
        ("messages", &mut limits.messages),
        ("connections", &mut limits.connections),
        ("connections_per_address", &mut limits.connections_per_address),
        ("slow_after_errors", &mut limits.slow_after_errors),
        ("close_after_errors", &mut limits.close_after_errors),
        ("failed_logins", &mut limits.failed_logins),
        ("junk_commands", &mut limits.junk_commands),
    ] {
        take_count(section, key, count);
    }
    for (key, time) in [
        ("idle_timeout", &mut limits.idle_timeout),
        ("busy_idle_timeout", &mut limits.busy_idle_timeout),
        ("reply_timeout", &mut limits.reply_timeout),
        ("tls_timeout", &mut limits.tls_timeout),
        ("proxy_timeout", &mut limits.proxy_timeout),
    ] {
        take_time(section, key, time);
    }
}

/// What is wrong with a limit by itself.
fn check_limits(section: &Section<'_>, limits: &Limits) {
    if limits.connection_rate.per != Duration::from_secs(60) {
        section.complain(
            "connection_rate",
            "connections are counted by the minute; write a rate such as \"300/m\"",
        );
    }
    if limits.data_rate == 0 {
        section.complain("data_rate", "a client that falls silent would never be cut; write a number from 1");
    }
    // They are all remembered, for thousands of addresses.
    if limits.failed_login_rate.count > 100 {
        section.complain("failed_login_rate", "too many to be remembered; write at most \"100/10m\"");
    }
    // RFC 5321 section 4.5.3.1.4 asks for 512 octets, and URLs need them.
    for (key, length) in [("command_line", limits.command_line), ("auth_line", limits.auth_line)] {
        if length < Size(512) {
            section.complain(key, format!("{length} is too short; write at least \"512B\""));
        }
    }
    if limits.message_size > Size(1 << 30) {
        section.complain(
            "message_size",
            format!("{} is too large; write at most \"1GiB\"", limits.message_size),
        );
    }
}

/// Defaults follow the limits that the file sets: who lowers one need not know
/// which others lie below it.
fn follow(section: &Section<'_>, limits: &mut Limits) {
    if !section.has("header_size") && limits.message_size != Size(0) {
        limits.header_size = limits.header_size.min(limits.message_size);
    }
    if !section.has("data_memory") {
        limits.data_memory = limits.data_memory.max(Size(limits.header_size.0.saturating_mul(4)));
    }
    if !section.has("composed_size") {
        limits.composed_size = limits.composed_size.max(Size(limits.message_size.0.saturating_mul(4)));
    }
    if !section.has("connections_per_address") {
        limits.connections_per_address = limits.connections_per_address.min(limits.connections);
    }
    if !section.has("slow_after_errors") {
        limits.slow_after_errors = limits.slow_after_errors.min(limits.close_after_errors);
    }
    if !section.has("busy_idle_timeout") {
        limits.busy_idle_timeout = limits.busy_idle_timeout.min(limits.idle_timeout);
    }
}

/// A number that must not be 0.
fn take_count(section: &mut Section<'_>, key: &'static str, count: &mut u32) {
    section.take(key, count);
    if *count == 0 {
        section.complain(key, "0 would let nothing through; write a number from 1");
    }
}

/// A duration that must not be 0.
fn take_time(section: &mut Section<'_>, key: &'static str, time: &mut Duration) {
    section.take(key, time);
    if time.is_zero() {
        section.complain(key, "no time at all; write a duration such as \"10s\"");
    }
}

fn spool(mut section: Section<'_>) -> Spool {
    let mut spool = Spool::default();
    section.take("backend", &mut spool.backend);
    spool.url = section.take_optional("url");
    match spool.url.as_ref().map(|url| postgres::holds_password(url.value.reveal())) {
        Some(Err(error)) => section.complain("url", error.to_string()),
        None if spool.backend == Backend::Postgres && !section.has("url") => {
            section
                .complain("backend", "\"postgres\" has no database; write url = { env = \"NAME\" } below it");
        }
        _ => {}
    }
    section.take("node", &mut spool.node);
    section.take_list("accept_risks", &mut spool.accept_risks);
    section.take("flush_interval", &mut spool.flush_interval);
    if spool.flush_interval > Duration::from_secs(1) {
        section.complain("flush_interval", "longer than a client should wait; write at most \"1s\"");
    }
    section.finish(&[]);
    spool
}

fn journal(mut section: Section<'_>) -> Journal {
    let mut journal = Journal::default();
    section.take("always", &mut journal.always);
    take_time(&mut section, "keep", &mut journal.keep);
    section.take("max_size", &mut journal.max_size);
    if journal.max_size < LEAST_JOURNAL {
        section.complain("max_size", "too small for what happens in a moment; write at least \"64MiB\"");
    }
    section.finish(&[]);
    journal
}

fn retention(mut section: Section<'_>) -> Retention {
    let mut retention = Retention::default();
    section.take("failed", &mut retention.failed);
    section.take("held", &mut retention.held);
    section.take("delivered", &mut retention.delivered);
    section.take("keep_bodies", &mut retention.keep_bodies);
    section.finish(&[]);
    retention
}

fn log(mut section: Section<'_>) -> Log {
    let mut log = Log::default();
    section.take("level", &mut log.level);
    section.take("format", &mut log.format);
    section.take("protocol_log", &mut log.protocol_log);
    take_count(&mut section, "keep_days", &mut log.keep_days);
    log.otlp = section.take_optional::<String>("otlp").filter(|url| !url.is_empty());
    if let Some(Err(text)) = log.otlp.as_deref().map(|url| check_url(url, "http://127.0.0.1:4318")) {
        section.complain("otlp", text);
    }
    section.finish(&[]);
    log
}

fn api(mut section: Section<'_>) -> Api {
    let address = section.take_optional("address");
    let public_url = section.take_optional::<String>("public_url").filter(|url| !url.is_empty());
    if let Some(url) = &public_url {
        const EXAMPLE: &str = "https://gateway.example";
        match url.parse::<Endpoint>() {
            Err(cause) => section.complain("public_url", format!("{cause}; write one such as {EXAMPLE:?}")),
            Ok(endpoint) if endpoint.authorization.is_some() || url.contains('?') => {
                let text = "addresses begin with it, which receivers get; remove user, password and query";
                section.complain("public_url", text);
            }
            Ok(_) => {}
        }
    }
    let mut tls = ApiTls::default();
    section.take("tls", &mut tls);
    section.finish(&[]);
    Api { address, tls, public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()) }
}

/// What a table is called by others: what can stand in a line of a log.
fn take_name(section: &mut Section<'_>, example: &str) -> Option<String> {
    let name: String = section.take_required("name", example)?;
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) || name.trim() != name {
        section.complain("name", format!("{name:?} is not a name; write one such as {example}"));
        return None;
    }
    Some(name)
}

fn check_url(text: &str, example: &str) -> Result<(), String> {
    text.parse::<Endpoint>().map(|_| ()).map_err(|cause| format!("{cause}; write one such as {example:?}"))
}

/// A word for a template.
fn check_var(name: &str, value: &DeValue<'_>) -> Result<(String, Var), String> {
    Ok((name.to_owned(), Var::read(value)?))
}

/// A fixed header of requests.
fn check_header(name: &str, value: &DeValue<'_>) -> Result<(String, String), String> {
    let value = String::read(value)?;
    let lower = name.to_ascii_lowercase();
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("{name:?} is not a header name; write letters, digits and hyphens"));
    }
    if is_reserved(&lower) || lower == "idempotency-key" {
        return Err(format!("{name} is the gateway's own to set; remove it"));
    }
    match http::HeaderValue::from_str(&value) {
        Ok(_) => Ok((name.to_owned(), value)),
        Err(_) => Err("the value holds a control character; write one line of text".to_owned()),
    }
}
