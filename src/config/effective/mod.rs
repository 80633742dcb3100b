//! The configuration in force, written as a file that means the same.
//!
//! Secrets are masked: those of users, what a URL holds of them, and the value
//! of a header whose name says that it holds one. Without secrets in the file
//! itself, what is written reads back as the same configuration.

mod accounting;
mod delivery;
mod webhook;

use super::secret::Var;
use super::settings::{
    API_ADDRESS, Api, ApiAddress, ApiKey, Attachments, Config, Limits, Listener, Log, Mode, Route, Server,
    Spool, Tenant, Tls, User, UserSecret,
};
use super::value::Written;
use super::words::Word as _;
use crate::compose::Reports;
use crate::intake::Role;
use crate::masked::Masked;
use crate::post;
use crate::spool::postgres;
use std::fmt::{Display, Write as _};
use std::path::PathBuf;

/// The whole configuration as TOML, secrets masked.
pub fn effective(config: &Config) -> String {
    let mut out = Out(String::new());
    out.server(&config.server);
    config.listeners.0.iter().for_each(|listener| out.listener(listener));
    out.tls(&config.tls);
    out.limits(&config.limits);
    config.tenants.iter().for_each(|tenant| out.tenant(tenant));
    config.users.iter().for_each(|user| out.user(user));
    config.routes.iter().for_each(|route| out.route(route));
    out.delivery(&config.delivery);
    config.destinations.iter().for_each(|destination| out.destination(destination));
    config.signing_keys.iter().for_each(|key| out.signing_key(key));
    config.auths.iter().for_each(|auth| out.auth(auth));
    out.bounce(&config.bounce);
    config.webhooks.iter().for_each(|webhook| out.webhook(webhook));
    config.accounting.iter().for_each(|accounting| out.accounting(accounting));
    out.head("[egress]");
    out.list("allow", &config.egress.allow);
    out.list("deny", &config.egress.deny);
    out.numbers("allow_ports", &config.egress.allow_ports);
    out.spool(&config.spool);
    out.head("[journal]");
    out.bare("always", config.journal.always);
    out.text("keep", Written(config.journal.keep));
    out.text("max_size", config.journal.max_size);
    out.head("[retention]");
    out.text("failed", Written(config.retention.failed));
    out.text("held", Written(config.retention.held));
    out.text("delivered", Written(config.retention.delivered));
    out.bare("keep_bodies", config.retention.keep_bodies);
    out.log(&config.log);
    out.api(&config.api);
    config.api_keys.iter().for_each(|key| out.api_key(key));
    out.0
}

/// Whether a configuration holds what [`effective`] masks.
pub(super) fn holds_secrets(config: &Config) -> bool {
    let in_route = |route: &Route| {
        let urls = route.urls.iter().chain(route.check.as_ref().map(|check| &check.url));
        urls.into_iter().any(|url| masked_url(url) != *url)
            || hold_secrets(&route.headers)
            || route.vars.iter().any(|(name, var)| matches!(var, Var::Here(_)) && is_secret(name))
    };
    let in_user = |user: &User| match &user.secret {
        UserSecret::Password(secret) | UserSecret::Hash(secret) => secret.is_written_out(),
        UserSecret::Certificate => false,
    };
    let in_spool = config.spool.url.as_ref().is_some_and(|url| {
        url.is_written_out() && postgres::holds_password(url.value.reveal()).is_ok_and(|holds| holds)
    });
    let in_otlp = config.log.otlp.as_ref().is_some_and(|url| masked_url(url) != *url);
    config.routes.iter().any(in_route)
        || config.users.iter().any(in_user)
        || in_spool
        || in_otlp
        || delivery::holds_secrets(config)
        || webhook::holds_secrets(config)
        || accounting::holds_secrets(config)
}

/// Whether the value of one of the headers or words is nobody's business.
fn hold_secrets(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, _)| is_secret(name))
}

/// Whether the value of a header or word of this name is nobody's business.
fn is_secret(name: &str) -> bool {
    post::is_secret(&name.to_ascii_lowercase())
}

/// A URL without user and password, and without the tokens in its path and query.
fn masked_url(text: &str) -> String {
    Masked(text).to_string()
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

struct Out(String);

impl Out {
    fn head(&mut self, head: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(head);
        self.0.push('\n');
    }

    fn bare(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.bare(key, quoted(value));
    }

    fn list<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<_> = values.into_iter().map(quoted).collect();
        self.bare(key, format_args!("[{}]", values.join(", ")));
    }

    fn numbers(&mut self, key: &str, values: &[u16]) {
        let values: Vec<_> = values.iter().map(u16::to_string).collect();
        self.bare(key, format_args!("[{}]", values.join(", ")));
    }

    fn server(&mut self, server: &Server) {
        self.head("[server]");
        self.text("hostname", &server.hostname);
        self.list("gateway_domains", &server.gateway_domains);
        self.text("data_dir", server.data_dir.display());
        self.text("templates", server.templates.display());
        self.list("trusted_networks", &server.trusted_networks);
        self.list("trusted_proxies", &server.trusted_proxies);
        self.text("shutdown_delay", Written(server.shutdown_delay));
        self.text("shutdown_timeout", Written(server.shutdown_timeout));
    }

    fn listener(&mut self, listener: &Listener) {
        self.head("[[listener]]");
        self.text("address", &listener.address);
        self.text("protocol", listener.protocol.word());
        self.text("tls", listener.tls.word());
        self.bare("require_tls", listener.require_tls);
        self.bare("require_auth", listener.require_auth);
        self.bare("proxy_protocol", listener.proxy_protocol);
        self.bare("cram_md5", listener.cram_md5);
        self.bare("allow_plaintext_auth", listener.allow_plaintext_auth);
        self.bare("legacy_auth_keyword", listener.legacy_auth_keyword);
        self.text("bare_newline", listener.bare_newline.word());
        self.list("lf_networks", &listener.lf_networks);
        self.bare("header_control", listener.header_control);
    }

    fn spool(&mut self, spool: &Spool) {
        self.head("[spool]");
        self.text("backend", spool.backend.word());
        self.bare_if_any("url", spool.url.as_ref());
        self.text("node", &spool.node);
        self.list("accept_risks", spool.accept_risks.iter().map(|risk| risk.word()));
        self.text("flush_interval", Written(spool.flush_interval));
    }

    fn tls(&mut self, tls: &Tls) {
        self.head("[tls]");
        self.paths("certificate", &tls.certificate);
        self.paths("key", &tls.key);
        self.bare("self_signed", tls.self_signed);
        if let Some(path) = &tls.client_ca {
            self.text("client_ca", path.display());
        }
    }

    fn paths(&mut self, key: &str, paths: &[PathBuf]) {
        match paths {
            [] => {}
            [path] => self.text(key, path.display()),
            paths => self.list(key, paths.iter().map(|path| path.display())),
        }
    }

    fn tenant(&mut self, tenant: &Tenant) {
        self.head("[[tenant]]");
        self.text("name", &tenant.name);
        self.bare("daily_limit", tenant.daily_limit);
        if let Some(rate) = tenant.rate {
            self.text("rate", rate);
        }
        self.list("may_post_to", &tenant.may_post_to);
        self.bare("header_control", tenant.header_control);
    }

    fn user(&mut self, user: &User) {
        self.head("[[user]]");
        self.text("name", &user.name);
        match &user.secret {
            UserSecret::Password(secret) => self.bare("password", secret),
            UserSecret::Hash(secret) => self.bare("password_hash", secret),
            UserSecret::Certificate => {}
        }
        self.text("tenant", &user.tenant);
        self.list("may_post_to", &user.may_post_to);
        self.list("networks", &user.networks);
    }

    fn limits(&mut self, limits: &Limits) {
        self.head("[limits]");
        self.text("message_size", limits.message_size);
        self.text("header_size", limits.header_size);
        self.bare("header_fields", limits.header_fields);
        self.bare("mime_depth", limits.mime_depth);
        self.bare("mime_parts", limits.mime_parts);
        self.bare("recipients", limits.recipients);
        self.bare("messages", limits.messages);
        self.bare("connections", limits.connections);
        self.bare("connections_per_address", limits.connections_per_address);
        self.text("connection_rate", limits.connection_rate);
        self.text("command_line", limits.command_line);
        self.text("auth_line", limits.auth_line);
        self.text("data_memory", limits.data_memory);
        self.text("composed_size", limits.composed_size);
        self.bare("slow_after_errors", limits.slow_after_errors);
        self.bare("close_after_errors", limits.close_after_errors);
        self.bare("failed_logins", limits.failed_logins);
        self.text("failed_login_rate", limits.failed_login_rate);
        self.bare("junk_commands", limits.junk_commands);
        self.text("idle_timeout", Written(limits.idle_timeout));
        self.text("busy_idle_timeout", Written(limits.busy_idle_timeout));
        self.text("reply_timeout", Written(limits.reply_timeout));
        self.text("tls_timeout", Written(limits.tls_timeout));
        self.text("proxy_timeout", Written(limits.proxy_timeout));
        self.bare("data_rate", limits.data_rate);
    }

    fn route(&mut self, route: &Route) {
        self.head("[[route]]");
        self.text(if route.recipient.is_regex() { "regex" } else { "recipient" }, &route.recipient);
        self.bare("priority", route.priority);
        match route.urls.as_slice() {
            [url] => self.text("url", masked_url(url)),
            urls => self.list("url", urls.iter().map(|url| masked_url(url))),
        }
        self.text("method", route.method.word());
        self.text("payload", &route.payload);
        self.text("attachments", route.attachments.word());
        if route.attachments == Attachments::Url {
            self.text("inline_limit", route.inline_limit);
        }
        self.vars(&route.vars);
        self.bare("header_control", route.header_control);
        match route.reports {
            Reports::AsBoth => self.text("reports", "besides"),
            reports => self.bare("reports", reports == Reports::AsEvents),
        }
        self.headers(&route.headers);
        self.text_if_any("sign_with", route.sign_with.as_ref());
        self.text_if_any("auth", route.auth.as_ref());
        self.text("ordering", route.ordering.word());
        self.text("mode", route.mode.word());
        if route.mode == Mode::Sync {
            self.text("sync_timeout", Written(route.sync_timeout));
            self.text("sync_fallback", route.sync_fallback.word());
        }
        self.text_if_any("message_size", route.message_size);
        self.list("allow_from", &route.allow_from);
        if let Some(check) = &route.check {
            self.text("check_url", masked_url(&check.url));
            self.text("check_format", check.format.word());
            self.text("check_timeout", Written(check.timeout));
            self.text("check_fallback", check.fallback.word());
            self.text("check_cache", Written(check.cache));
        }
    }

    fn headers(&mut self, headers: &[(String, String)]) {
        self.pairs("headers", headers);
    }

    fn vars(&mut self, vars: &[(String, Var)]) {
        let shown = |(name, var): &(String, Var)| {
            let value = match var {
                Var::Here(_) if is_secret(name) => quoted("***"),
                Var::Here(text) => quoted(text),
                Var::Elsewhere(secret) => secret.to_string(),
            };
            (quoted(name), value)
        };
        self.table("vars", vars.iter().map(shown));
    }

    /// Names and values, those that are secret masked.
    fn pairs(&mut self, key: &str, pairs: &[(String, String)]) {
        let masked = |(name, value): &(String, String)| {
            let value = if is_secret(name) { "***" } else { value };
            (quoted(name), quoted(value))
        };
        self.table(key, pairs.iter().map(masked));
    }

    /// A table in one line; keys and values are written already.
    fn table(&mut self, key: &str, pairs: impl Iterator<Item = (String, String)>) {
        let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name} = {value}")).collect();
        match pairs.as_slice() {
            [] => self.bare(key, "{}"),
            pairs => self.bare(key, format_args!("{{ {} }}", pairs.join(", "))),
        }
    }

    fn bare_if_any(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.bare(key, value);
        }
    }

    fn list_if_any<T: Display>(&mut self, key: &str, values: Option<impl IntoIterator<Item = T>>) {
        if let Some(values) = values {
            self.list(key, values);
        }
    }

    fn text_if_any(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn log(&mut self, log: &Log) {
        self.head("[log]");
        self.text("level", log.level.word());
        self.text("format", log.format.word());
        self.text("protocol_log", log.protocol_log.word());
        self.bare("keep_days", log.keep_days);
        self.text("otlp", log.otlp.as_deref().map(masked_url).unwrap_or_default());
    }

    fn api(&mut self, api: &Api) {
        self.head("[api]");
        match api.address {
            // Said, it would have to be free.
            None => self.bare("# address", quoted(API_ADDRESS)),
            Some(ApiAddress::Off) => self.text("address", "off"),
            Some(ApiAddress::At(address)) => self.text("address", address),
        }
        self.text("tls", api.tls.word());
        self.text("public_url", api.public_url.as_deref().unwrap_or_default());
    }

    fn api_key(&mut self, key: &ApiKey) {
        self.head("[[api_key]]");
        self.text("name", &key.name);
        self.bare("digest", &key.written);
        self.text("role", key.role);
        if key.role != Role::Admin {
            self.text("tenant", &key.tenant);
        }
    }
}
