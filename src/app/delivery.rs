//! Delivery in its own words: the terms of destinations, keys and profiles by name,
//! the relay of reports.
//!
//! When the configuration changes, a key or profile that did not change stays the
//! same one: what is known of it, such as a token, is not forgotten.

use super::options::{Common, count, egress};
use crate::compose::Endpoint;
use crate::config::{self, Config, Named, Proof, Via, merged};
use crate::deliver;
use crate::deliver::lane::Adaptive;
use crate::deliver::pace::Rate;
use crate::deliver::profile::{self, Profile};
use crate::deliver::ruling::{On, Ruling, Verdicts};
use crate::deliver::sign::SigningKey;
use crate::deliver::terms::{Book, Overrides, Terms};
use crate::post::Field;
use crate::trace::{Spans, Tracer};
use crate::url_pattern::UrlPattern;
use std::collections::HashMap;
use std::sync::Arc;

/// What requests are signed and authorized with, by the names in the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring {
    signing_keys: HashMap<String, Arc<SigningKey>>,
    profiles: HashMap<String, Arc<Profile>>,
}

impl Keyring {
    /// The ring of a configuration; what `self` has already stays the same.
    pub(super) fn renewed(&self, config: &Config) -> Keyring {
        let key = |key: &config::SigningKey| {
            let known = self.signing_keys.get(&key.name).filter(|known| **known == key.key);
            (key.name.clone(), Arc::clone(known.unwrap_or(&key.key)))
        };
        let profile = |auth: &config::Auth| {
            let profile = profile(auth);
            let known = self.profiles.get(&auth.name).filter(|known| ***known == profile).cloned();
            (auth.name.clone(), known.unwrap_or_else(|| Arc::new(profile)))
        };
        Keyring {
            signing_keys: config.signing_keys.iter().map(key).collect(),
            profiles: config.auths.iter().map(profile).collect(),
        }
    }
}

/// For delivery.
pub(super) fn options(config: &Config, keyring: &Keyring, common: &Common) -> deliver::Options {
    deliver::Options {
        book: book(config, keyring),
        egress: egress(config, &common.own),
        bounce: bounce(config),
        first_attempts: common.first_attempts.clone(),
        ids: Arc::clone(&common.ids),
        signing_keys: keyring.signing_keys.clone(),
        profiles: keyring.profiles.clone(),
        instance: common.instance.clone(),
        total_connections: count(config.delivery.total_connections),
        tracer: common.tracer.clone(),
        wanted: common.wanted.clone(),
        subscribers: common.subscribers.clone(),
        metrics: Arc::clone(&common.metrics),
    }
}

/// Where traces are collected, if somewhere, and what `tracer` from now on traces; a URL that the configuration's own
/// checks let through is one.
pub(super) fn collector(config: &Config, tracer: &mut Tracer) -> Option<(Endpoint, Spans)> {
    let endpoint = config.log.otlp.as_deref()?.parse().ok()?;
    let (begun, spans) = Tracer::new();
    *tracer = begun;
    Some((endpoint, spans))
}

/// Whether delivery goes on as it is when `new` takes the place of `old`.
pub(super) fn is_unchanged(old: &Config, new: &Config) -> bool {
    let parts = |config: &Config| {
        let named = (config.signing_keys.clone(), config.auths.clone());
        let sent = (config.delivery.clone(), config.destinations.clone(), config.egress.clone());
        (sent, named, config.bounce.clone(), config.server.hostname.clone())
    };
    parts(old) == parts(new)
}

/// Whose certificates do not count, as patterns of origins.
pub(super) fn insecure(config: &Config) -> Vec<String> {
    let is_insecure = |terms: &config::Terms| terms.insecure == Some(true);
    let usual = is_insecure(&config.delivery.terms).then(|| "every destination".to_owned());
    let blocks = config.destinations.iter().filter(|block| is_insecure(&block.terms));
    usual.into_iter().chain(blocks.map(|block| block.origins.to_string())).collect()
}

fn book(config: &Config, keyring: &Keyring) -> Book {
    let mut usual = Terms::default();
    overrides(&config.delivery.terms, &config.delivery.terms, keyring).apply(&mut usual);
    let changes = |block: &config::Destination| {
        let all = merged(&config.delivery, &config.destinations, block);
        (block.origins.clone(), overrides(&block.terms, &all, keyring))
    };
    Book::new(usual, config.destinations.iter().map(changes).collect())
}

/// What `own` changes; `all` is all that holds for the same origins.
fn overrides(own: &config::Terms, all: &config::Terms, keyring: &Keyring) -> Overrides {
    let rate = |rate: &config::Rate| Rate { count: rate.count, per: rate.per };
    let touches_tls = own.ca.is_some()
        || own.client_cert.is_some()
        || own.client_key.is_some()
        || own.tls_min.is_some()
        || own.insecure.is_some();
    let touches_verdicts = own.on.is_some() || own.body_matches.is_some();
    let adaptive = |is_on| if is_on { Adaptive::On } else { Adaptive::Off };
    let named = |name: &String| keyring.profiles.get(name).cloned();
    Overrides {
        max_connections: own.max_connections.map(count),
        // Whoever says a number means it, whatever is spoken.
        max_streams: own.max_connections.map(count),
        breaker: own.breaker,
        adaptive: own.adaptive_concurrency.map(adaptive),
        rates: own.rate.as_ref().map(|rates| rates.iter().map(rate).collect()),
        max_posts_per_connection: own.max_posts_per_connection,
        keep_alive: own.keep_alive,
        http2: own.http2,
        connect_timeout: own.connect_timeout,
        response_timeout: own.response_timeout,
        total_timeout: own.total_timeout,
        retry: own.retry.clone(),
        max_age: own.max_age,
        max_attempts: own.max_attempts.map(|most| (most > 0).then_some(most)),
        follow_redirects: own.follow_redirects,
        proxy: own.proxy.as_ref().map(proxy),
        tls: touches_tls.then(|| Arc::new(all.tls())),
        auth: own.auth.as_ref().map(named),
        headers: own.headers.as_ref().map(|headers| headers.iter().map(field).collect()),
        sign_with: own.sign_with.as_ref().map(|name| keyring.signing_keys.get(name).cloned()),
        compress: own.compress,
        verdicts: touches_verdicts.then(|| Arc::new(verdicts(all))),
    }
}

/// For which origins posts have a second body, with addresses of attachments.
pub(super) fn fallbacks(config: &Config) -> HashMap<UrlPattern, bool> {
    let wants = |terms: &config::Terms| {
        let Verdicts { on, body_matches } = verdicts(terms);
        let rulings =
            on.iter().map(|(_, ruling)| ruling).chain(body_matches.iter().map(|(_, ruling)| ruling));
        rulings.into_iter().any(|ruling| *ruling == Ruling::RetryWithUrls)
    };
    let blocks = config.destinations.iter();
    let blocks = blocks.filter(|block| block.terms.on.is_some() || block.terms.body_matches.is_some());
    let block = |block: &config::Destination| {
        let all = merged(&config.delivery, &config.destinations, block);
        (block.origins.clone(), wants(&all))
    };
    let usual = "*".parse().ok().map(|all| (all, wants(&config.delivery.terms)));
    usual.into_iter().chain(blocks.map(block)).collect()
}

fn proxy(via: &Via) -> Option<Arc<profile::Proxy>> {
    match via {
        Via::Nothing => None,
        Via::Proxy(Named { server, .. }) => Some(Arc::clone(server)),
    }
}

/// A fixed header of requests.
pub(super) fn field((name, value): &(String, String)) -> Field {
    Field { name: name.clone(), value: value.clone().into_bytes() }
}

fn verdicts(terms: &config::Terms) -> Verdicts {
    let mut on = terms.on.clone().unwrap_or_default();
    on.sort_by_key(|(on, _)| matches!(on, On::Class(_)));
    let matches = terms.body_matches.iter().flatten();
    Verdicts { on, body_matches: matches.map(|one| (one.pattern.clone(), one.outcome)).collect() }
}

fn profile(auth: &config::Auth) -> Profile {
    let text = |secret: &config::Secret| secret.value.reveal().to_owned();
    let proof = match &auth.proof {
        Proof::Basic { username, password } => {
            profile::Proof::Basic { user: username.clone(), password: text(password) }
        }
        Proof::Bearer { token } => profile::Proof::Bearer { token: text(token) },
        Proof::Header { header, value } => {
            profile::Proof::Header { name: header.clone(), value: text(value) }
        }
        Proof::OAuth2 { token_url, client_id, client_secret, scope, audience, credentials } => {
            profile::Proof::OAuth2 {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret: text(client_secret),
                scope: scope.clone(),
                audience: audience.clone(),
                place: *credentials,
            }
        }
    };
    Profile { name: auth.name.clone(), proof, origins: auth.origins.clone() }
}

fn bounce(config: &Config) -> Option<Arc<profile::Bounce>> {
    let relay = config.bounce.relay.as_ref()?.server.clone();
    let hostname = config.server.hostname.clone();
    let from = config.bounce.from.clone().unwrap_or_else(|| format!("MAILER-DAEMON@{hostname}"));
    Some(Arc::new(profile::Bounce { relay, from, hostname }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::terms::TlsTrust;
    use crate::post::{Destination, Scheme};
    use crate::tenant::Tenant;

    const CONFIG: &str = r#"
        [delivery]
        tls_min = "1.3"
        auth = "crm"
        on = { "4xx" = "hold", "404" = "retry" }
        [[destination]]
        match = "https://a.shop.example"
        body_matches = [{ pattern = "busy", outcome = "pause" }]
        insecure = true
        auth = ""
        [[destination]]
        match = "https://*.shop.example"
        max_connections = 3
        max_attempts = 5
        sign_with = "main"
        [[destination]]
        match = "*"
        breaker = 0
        sign_with = "other"
        [[signing_key]]
        name = "main"
        scheme = "hmac-hex"
        secrets = ["one"]
        [[signing_key]]
        name = "other"
        scheme = "hmac-hex"
        secrets = ["two"]
        [[auth]]
        name = "crm"
        type = "bearer"
        token = "secret"
    "#;

    fn parse(text: &str) -> Config {
        config::parse("x.toml", text).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn terms(config: &Config, host: &str) -> Terms {
        let destination = Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 443,
            webhook: None,
        };
        Terms::clone(&book(config, &Keyring::default().renewed(config)).terms(&destination))
    }

    #[test]
    fn nothing_said_is_as_the_engine_has_it() {
        assert_eq!(terms(&Config::default(), "shop.example"), Terms::default());
    }

    #[test]
    fn destinations_differ_key_by_key() {
        let config = parse(CONFIG);
        let name = |key: Option<Arc<SigningKey>>| key.map(|key| key.name.clone());
        let (inner, outer, other) =
            (terms(&config, "a.shop.example"), terms(&config, "b.shop.example"), terms(&config, "x.example"));
        // What stands in one word of the engine may be several keys of the file.
        assert_eq!((inner.tls.least, inner.tls.trust), (outer.tls.least, TlsTrust::Anyone));
        assert_eq!(outer.tls.trust, TlsTrust::Verified);
        assert_eq!(inner.verdicts.on, outer.verdicts.on);
        assert_eq!((inner.verdicts.body_matches.len(), outer.verdicts.body_matches.len()), (1, 0));
        // Single statuses stand before classes.
        assert!(matches!(inner.verdicts.on.as_slice(), [(On::Status(404), _), (On::Class(4), _)]));
        assert_eq!((inner.auth, outer.auth.map(|auth| auth.name.clone())), (None, Some("crm".to_owned())));
        assert_eq!((inner.limits.max_connections, inner.limits.max_streams), (3, 3));
        assert_eq!((other.limits.max_connections, other.limits.max_streams), (20, 128));
        assert_eq!((inner.schedule.max_attempts, other.schedule.max_attempts), (Some(5), None));
        assert_eq!((inner.limits.breaker, other.limits.breaker), (0, 0));
        assert_eq!(name(inner.sign_with), Some("main".to_owned()));
        assert_eq!(name(other.sign_with), Some("other".to_owned()));
        assert_eq!(insecure(&config), ["https://a.shop.example"]);
    }

    #[test]
    fn what_did_not_change_stays_the_same() {
        let (old, new) = (parse(CONFIG), parse(&CONFIG.replace("\"two\"", "\"three\"")));
        assert!(is_unchanged(&old, &parse(&format!("{CONFIG}[log]\nlevel = \"warn\""))));
        assert!(!is_unchanged(&old, &new));
        let before = Keyring::default().renewed(&old);
        let after = before.renewed(&new);
        assert!(Arc::ptr_eq(&before.profiles["crm"], &after.profiles["crm"]));
        assert!(Arc::ptr_eq(&before.signing_keys["main"], &after.signing_keys["main"]));
        assert!(!Arc::ptr_eq(&before.signing_keys["other"], &after.signing_keys["other"]));
    }
}
