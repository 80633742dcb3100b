//! SparkPost's event webhooks: `{"msys": {"<class>": {…}}}`.
//!
//! Its classes and types where it has one for an event; others are classes of their
//! own, by the first part of their name, with all they hold in `data`. Values are
//! texts, as there, times are seconds since the epoch.

use super::Told;
use serde_json::{Map, Value};

/// Class and type of what has both.
const KINDS: [(&str, &str, &str); 11] = [
    ("post.received", "message_event", "injection"),
    ("post.delivered", "message_event", "delivery"),
    ("post.deferred", "message_event", "delay"),
    ("post.failed", "message_event", "bounce"),
    ("email.sent", "message_event", "injection"),
    ("email.delivered", "message_event", "delivery"),
    ("email.bounced", "message_event", "out_of_band"),
    ("email.complained", "message_event", "spam_complaint"),
    ("email.opened", "track_event", "open"),
    ("email.clicked", "track_event", "click"),
    ("email.failed", "gen_event", "generation_failure"),
];

/// SparkPost's fields with those of the event's data that hold the same; the first
/// that is there counts.
const FIELDS: [(&str, &[&str]); 17] = [
    ("message_id", &["postId", "emailId", "originalMessageId"]),
    ("rcpt_to", &["recipient"]),
    ("raw_rcpt_to", &["finalRecipient", "recipient"]),
    ("msg_from", &["sender"]),
    ("subject", &["subject"]),
    ("campaign_id", &["xsMailingId"]),
    ("transmission_id", &["xsMessageId"]),
    ("msg_size", &["size"]),
    ("recv_method", &["source"]),
    ("ip_address", &["remoteIp", "ipAddress", "sourceIp"]),
    ("queue_time", &["queuedMs"]),
    ("error_code", &["status"]),
    ("raw_reason", &["error", "diagnosticCode", "response", "reason"]),
    ("reason", &["reason", "error", "response", "diagnosticCode"]),
    ("fbtype", &["feedbackType"]),
    ("user_agent", &["userAgent"]),
    ("target_link_url", &["url"]),
];

/// Every type with the kinds of events that are told as it.
pub fn types() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|(name, _, kind)| (*kind, *name))
}

/// One event.
pub(super) fn write(told: &Told) -> Vec<u8> {
    let event = told.event();
    let name = event.name.as_str();
    let known = KINDS.iter().find(|(known, ..)| *known == name);
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let (class, kind) = match known {
        Some((_, class, kind)) => ((*class).to_owned(), *kind),
        None => (format!("{first}_event"), rest),
    };
    let mut fields = Map::new();
    let mut set = |key: &str, value: String| drop(fields.insert(key.to_owned(), Value::from(value)));
    set("type", kind.to_owned());
    set("event_id", event.id.to_string());
    set("timestamp", (event.at.0 / 1000).to_string());
    set("subaccount_id", event.tenant.to_string());
    for (key, of) in FIELDS {
        // Of posts `url` is where they go; only who clicked went to a link.
        let is_meant = key != "target_link_url" || kind == "click";
        if let Some(text) = of.iter().find_map(|of| told.text(of)).filter(|_| is_meant) {
            set(key, text.into_owned());
        }
    }
    if let Some(host) = told.host() {
        set("routing_domain", host.into_owned());
    }
    if let Some(attempt) = told.number("attempt").or(told.number("attempts")) {
        set("num_retries", attempt.saturating_sub(1).to_string());
    }
    if matches!(kind, "bounce" | "out_of_band") {
        set("bounce_class", bounce_class(told).to_owned());
    }
    let tags: Vec<_> = told.tags().into_iter().map(Value::from).collect();
    if !tags.is_empty() {
        fields.insert("rcpt_tags".to_owned(), Value::Array(tags));
    }
    if known.is_none() {
        fields.insert("data".to_owned(), Value::Object(told.data().clone()));
    }
    let class = Map::from_iter([(class, Value::Object(fields))]);
    Value::Object(Map::from_iter([("msys".to_owned(), Value::Object(class))])).to_string().into_bytes()
}

/// SparkPost's classes of bounces: 10 invalid recipient, 20 soft, 25 admin failure, 1 unknown.
fn bounce_class(told: &Told) -> &'static str {
    match (told.text("bounceType").as_deref(), told.text("reason").as_deref()) {
        (Some("hard"), _) | (_, Some("gone")) => "10",
        (Some("soft"), _) | (_, Some("expired")) => "20",
        (_, Some("egress-denied" | "deleted")) => "25",
        _ => "1",
    }
}
