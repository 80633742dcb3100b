//! `[[webhook]]`, written back.

use super::super::settings::{Config, Webhook};
use super::super::words::Word as _;
use super::{Out, hold_secrets, masked_url, quoted};
use crate::fanout::webhook::Patterns;

pub(super) fn holds_secrets(config: &Config) -> bool {
    let in_webhook = |webhook: &Webhook| {
        let settings = &webhook.settings;
        masked_url(&settings.url) != settings.url
            || hold_secrets(&headers(webhook))
            || webhook.secret.as_ref().is_some_and(|secret| secret.is_written_out())
    };
    config.webhooks.iter().any(in_webhook)
}

fn headers(webhook: &Webhook) -> Vec<(String, String)> {
    webhook.settings.headers.clone().into_iter().collect()
}

impl Out {
    pub(super) fn webhook(&mut self, webhook: &Webhook) {
        let settings = &webhook.settings;
        self.head("[[webhook]]");
        self.text("url", masked_url(&settings.url));
        self.list("events", &settings.events);
        self.bare("enabled", settings.enabled);
        self.bare_if_any("secret", webhook.secret.as_ref());
        self.text("description", &settings.description);
        self.text("format", settings.format.word());
        let batch = &settings.batch;
        let limits = [
            ("max_events", batch.max_events.to_string()),
            ("max_bytes", quoted(&batch.max_bytes)),
            ("max_wait", quoted(&batch.max_wait)),
        ];
        self.table("batch", limits.into_iter().map(|(key, value)| (key.to_owned(), value)));
        self.pairs("headers", &headers(webhook));
        self.text_if_any("auth", settings.auth.as_ref());
        self.text_if_any("rate", settings.rate.as_ref());
        self.bare_if_any("max_connections", settings.max_connections);
        let filter = &settings.filter;
        let fields =
            [("tag", &filter.tag), ("destination", &filter.destination), ("recipient", &filter.recipient)];
        self.table("filter", fields.into_iter().map(|(key, patterns)| (key.to_owned(), list(patterns))));
        self.text_if_any("signature_header", settings.signature_header.as_ref());
        self.text("tenant", &webhook.tenant);
    }
}

fn list(patterns: &Patterns) -> String {
    let texts: Vec<_> = patterns.texts().iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}
