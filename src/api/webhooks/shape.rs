//! A webhook as the API writes it: without its secrets.

use crate::clock::rfc3339;
use crate::fanout::shelf::Placed;
use crate::fanout::verify;
use crate::fanout::webhook::{Batch, Filter, Status, Webhook};
use crate::fanout::{FORMATS, Format};
use crate::masked::Masked;
use crate::post::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub(in crate::api) struct WebhookShape<'a> {
    id: &'a str,
    tenant: &'a str,
    url: String,
    events: &'a [String],
    enabled: bool,
    description: &'a str,
    format: &'static str,
    batch: &'a Batch,
    /// Names; their values might be secrets.
    headers: BTreeMap<&'a str, Option<()>>,
    auth: Option<&'a str>,
    rate: Option<&'a str>,
    max_connections: Option<u32>,
    filter: &'a Filter,
    signature_header: Option<&'a str>,
    /// It stands in the configuration.
    fixed: bool,
    /// Not of one of the configuration.
    created_at: Option<String>,
    status: Status,
    /// Of one that is disabled: since when and why, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'a str>,
    verified_at: Option<String>,
    verified_by: Option<&'a str>,
    last_success_at: Option<String>,
    last_failure_at: Option<String>,
    /// Events that were let go because too much waited for it.
    lost_events: u64,
    /// Until when the secret before this one signs as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<String>,
    /// What its receiver can show; of one that has not been verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    verification: Option<Value>,
    /// Once, when it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[schemars(with = "BTreeMap<String, String>")]
    links: Value,
}

impl<'a> WebhookShape<'a> {
    pub(super) fn of(placed: &'a Placed) -> WebhookShape<'a> {
        let Webhook { id, tenant, settings, created_at, verified, .. } = &placed.webhook;
        let is_unverified = placed.webhook.status() == Status::Unverified;
        let (disabled_at, disabled_reason) = disabled(&placed.webhook).unzip();
        WebhookShape {
            id,
            tenant: tenant.as_str(),
            url: Masked(&settings.url).to_string(),
            events: &settings.events,
            enabled: settings.enabled,
            description: &settings.description,
            format: format_name(settings.format),
            batch: &settings.batch,
            headers: settings.headers.keys().map(|name| (name.as_str(), None)).collect(),
            auth: settings.auth.as_deref(),
            rate: settings.rate.as_deref(),
            max_connections: settings.max_connections,
            filter: &settings.filter,
            signature_header: settings.signature_header.as_deref(),
            fixed: placed.version.is_none(),
            created_at: placed.version.map(|_| rfc3339(*created_at)),
            status: placed.webhook.status(),
            disabled_at: disabled_at.map(rfc3339),
            disabled_reason: disabled_reason.filter(|why| !why.is_empty()),
            verified_at: verified.as_ref().filter(|_| placed.version.is_some()).map(|(at, _)| rfc3339(*at)),
            verified_by: verified.as_ref().map(|(_, way)| way.as_str()),
            last_success_at: placed.webhook.last_success_at.map(rfc3339),
            last_failure_at: placed.webhook.last_failure_at.map(rfc3339),
            lost_events: placed.webhook.lost,
            old_secret_until: placed.webhook.old_secret.as_ref().map(|(_, until)| rfc3339(*until)),
            verification: is_unverified.then(|| verification(&placed.webhook)),
            secret: None,
            links: links(id),
        }
    }

    /// The same with a secret that was made just now.
    pub(super) fn with_secret(self, secret: Option<String>) -> WebhookShape<'a> {
        WebhookShape { secret, ..self }
    }
}

/// Since when one that is disabled is so, and why.
fn disabled(webhook: &Webhook) -> Option<(Timestamp, &str)> {
    let turn = webhook.turns.iter().rev().find(|turn| turn.name == "webhook.disabled");
    let told = turn.map(|turn| (turn.at, turn.reason.as_str()));
    let given_up = webhook.given_up.as_ref().map(|given_up| (given_up.at, given_up.why.as_str()));
    given_up.or(told).filter(|_| webhook.status() == Status::Disabled)
}

fn format_name(format: Format) -> &'static str {
    FORMATS.into_iter().find(|(_, known)| *known == format).map_or("", |(name, _)| name)
}

fn verification(webhook: &Webhook) -> Value {
    let origin = webhook.destination().map(|(destination, _)| destination.to_string()).unwrap_or_default();
    let paths = verify::file_paths(webhook).unwrap_or_default();
    let urls: Vec<_> = paths.iter().map(|path| Masked(&format!("{origin}{path}")).to_string()).collect();
    let text = verify::proof(webhook);
    json!({
        "file": { "name": verify::file_name(webhook), "content": text, "urls": urls },
        "dns": verify::record_name(webhook).ok().map(|name| json!({ "name": name, "text": text })),
    })
}

fn links(id: &str) -> Value {
    let own = format!("/api/v1/webhooks/{id}");
    json!({
        "self": own,
        "batches": format!("{own}/batches"),
        "batch_status": format!("{own}/batch-status"),
        "replay": format!("{own}/replay"),
        "replays": format!("{own}/replays"),
        "test": format!("{own}/test"),
        "validate": format!("{own}/validate"),
        "verify": format!("{own}/verify"),
        "rotate_secret": format!("{own}/rotate-secret"),
    })
}
