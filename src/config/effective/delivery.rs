//! How posts go out, and as whom, written back.

use super::super::secret::Secret;
use super::super::server::Via;
use super::super::settings::{Auth, Bounce, Config, Delivery, Destination, Proof, SigningKey, Terms};
use super::super::value::Written;
use super::super::words::Word as _;
use super::{Out, hold_secrets, masked_url, quoted};
use crate::deliver::ruling::On;

/// Whether a secret stands in the tables that are written here.
pub(super) fn holds_secrets(config: &Config) -> bool {
    let in_terms = |terms: &Terms| {
        matches!(&terms.proxy, Some(Via::Proxy(proxy)) if proxy.holds_secret())
            || terms.headers.as_deref().is_some_and(hold_secrets)
    };
    let in_auth = |auth: &Auth| match &auth.proof {
        Proof::OAuth2 { token_url, .. } if masked_url(token_url) != *token_url => true,
        Proof::Basic { password: secret, .. }
        | Proof::Bearer { token: secret }
        | Proof::Header { value: secret, .. }
        | Proof::OAuth2 { client_secret: secret, .. } => secret.is_written_out(),
    };
    in_terms(&config.delivery.terms)
        || config.destinations.iter().any(|destination| in_terms(&destination.terms))
        || config.signing_keys.iter().any(|key| key.secrets.iter().any(Secret::is_written_out))
        || config.auths.iter().any(in_auth)
        || config.bounce.relay.as_ref().is_some_and(|relay| relay.holds_secret())
}

impl Out {
    pub(super) fn delivery(&mut self, delivery: &Delivery) {
        self.head("[delivery]");
        self.bare("total_connections", delivery.total_connections);
        self.terms(&delivery.terms);
    }

    pub(super) fn destination(&mut self, destination: &Destination) {
        self.head("[[destination]]");
        self.text("match", &destination.origins);
        self.terms(&destination.terms);
    }

    /// What is said.
    fn terms(&mut self, terms: &Terms) {
        self.bare_if_any("max_connections", terms.max_connections);
        self.list_if_any("rate", terms.rate.as_ref());
        self.bare_if_any("max_posts_per_connection", terms.max_posts_per_connection);
        self.text_if_any("keep_alive", terms.keep_alive.map(Written));
        self.text_if_any("http2", terms.http2.map(|http2| http2.word()));
        self.text_if_any("connect_timeout", terms.connect_timeout.map(Written));
        self.text_if_any("response_timeout", terms.response_timeout.map(Written));
        self.text_if_any("total_timeout", terms.total_timeout.map(Written));
        let retry = terms.retry.as_ref().map(|retry| retry.iter().copied().map(Written));
        self.list_if_any("retry", retry);
        self.text_if_any("max_age", terms.max_age.map(Written));
        self.bare_if_any("max_attempts", terms.max_attempts);
        self.bare_if_any("adaptive_concurrency", terms.adaptive_concurrency);
        self.bare_if_any("breaker", terms.breaker);
        self.bare_if_any("follow_redirects", terms.follow_redirects);
        self.bare_if_any("proxy", terms.proxy.as_ref());
        for (key, pem) in
            [("ca", &terms.ca), ("client_cert", &terms.client_cert), ("client_key", &terms.client_key)]
        {
            self.text_if_any(key, pem.as_ref().map(|pem| pem.path.display()));
        }
        self.text_if_any("tls_min", terms.tls_min.map(|version| version.word()));
        self.bare_if_any("insecure", terms.insecure);
        self.text_if_any("auth", terms.auth.as_ref());
        if let Some(headers) = &terms.headers {
            self.headers(headers);
        }
        self.text_if_any("sign_with", terms.sign_with.as_ref());
        self.text_if_any("compress", terms.compress.map(|compress| compress.word()));
        self.meanings(terms);
    }

    fn meanings(&mut self, terms: &Terms) {
        if let Some(on) = &terms.on {
            self.table("on", on.iter().map(|(on, ruling)| (quoted(name(*on)), quoted(ruling.word()))));
        }
        if let Some(matches) = &terms.body_matches {
            let table = |pattern: &str, outcome: &str| {
                format!("{{ pattern = {}, outcome = {} }}", quoted(pattern), quoted(outcome))
            };
            let tables = matches.iter().map(|one| table(one.pattern.as_str(), one.outcome.word()));
            let tables: Vec<_> = tables.collect();
            self.bare("body_matches", format_args!("[{}]", tables.join(", ")));
        }
    }

    pub(super) fn signing_key(&mut self, key: &SigningKey) {
        self.head("[[signing_key]]");
        self.text("name", &key.name);
        self.text("scheme", key.scheme.word());
        let secrets: Vec<_> = key.secrets.iter().map(Secret::to_string).collect();
        self.bare("secrets", format_args!("[{}]", secrets.join(", ")));
        self.text_if_any("header", key.header.as_ref());
        self.text_if_any("prefix", key.prefix.as_ref());
        self.text_if_any("key_id", key.key_id.as_ref());
        self.text_if_any("certificate_url", key.certificate_url.as_ref());
        self.text_if_any("signature_version", key.signature_version.as_ref());
        self.text_if_any("parameter", key.parameter.as_ref());
        self.list("origins", &key.origins);
    }

    pub(super) fn auth(&mut self, auth: &Auth) {
        self.head("[[auth]]");
        self.text("name", &auth.name);
        match &auth.proof {
            Proof::Basic { username, password } => {
                self.text("type", "basic");
                self.text("username", username);
                self.bare("password", password);
            }
            Proof::Bearer { token } => {
                self.text("type", "bearer");
                self.bare("token", token);
            }
            Proof::Header { header, value } => {
                self.text("type", "header");
                self.text("header", header);
                self.bare("value", value);
            }
            Proof::OAuth2 { token_url, client_id, client_secret, scope, audience, credentials } => {
                self.text("type", "oauth2");
                self.text("token_url", masked_url(token_url));
                self.text("client_id", client_id);
                self.bare("client_secret", client_secret);
                self.text_if_any("scope", scope.as_ref());
                self.text_if_any("audience", audience.as_ref());
                self.text("credentials", credentials.word());
            }
        }
        self.list("origins", &auth.origins);
    }

    pub(super) fn bounce(&mut self, bounce: &Bounce) {
        self.head("[bounce]");
        self.bare_if_any("relay", bounce.relay.as_ref());
        self.text_if_any("from", bounce.from.as_ref());
    }
}

/// A result as a key of `on`.
fn name(on: On) -> String {
    match on {
        On::Status(status) => status.to_string(),
        On::Class(class) => format!("{class}xx"),
        On::Connect => "connect".to_owned(),
        On::Dns => "dns".to_owned(),
        On::Tls => "tls".to_owned(),
        On::Timeout => "timeout".to_owned(),
    }
}
