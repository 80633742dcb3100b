//! The parameters of Hurricane's event engine, `application/x-www-form-urlencoded`.
//!
//! Names as that engine and its successor document them; parameters vary by event, and
//! one that an event does not know is left out.

use super::Told;
use bytes::Bytes;
use std::time::{Duration, UNIX_EPOCH};
use url::form_urlencoded::Serializer;

/// `Type` of what has one; of others it is the event's own name.
const TYPES: [(&str, &str); 12] = [
    ("post.received", "Queued"),
    ("post.delivered", "ProcessedSent"),
    ("post.deferred", "Deferred"),
    ("post.failed", "Failed"),
    ("email.sent", "ProcessedSent"),
    ("email.delivered", "Sent"),
    ("email.delayed", "Deferred"),
    ("email.bounced", "Failed"),
    ("email.failed", "Failed"),
    ("email.complained", "Complaint"),
    ("email.opened", "Tracking"),
    ("email.clicked", "Tracking"),
];

/// Parameters with the fields of an event's data that hold them; the first that is
/// there counts.
const PARAMETERS: [(&str, &[&str]); 17] = [
    ("MailingId", &["xsMailingId"]),
    ("MessageId", &["xsMessageId", "messageId", "originalMessageId", "emailId"]),
    ("Address", &["recipient"]),
    ("FromAddress", &["sender"]),
    ("RemoteIp", &["remoteIp"]),
    ("Response", &["response", "diagnosticCode", "error", "status"]),
    ("Reason", &["reason"]),
    ("Subject", &["subject"]),
    ("MessageSize", &["size"]),
    ("BounceStatus", &["bounceType"]),
    ("DiagnosticCode", &["diagnosticCode"]),
    ("FailureCode", &["status"]),
    ("FblType", &["feedbackType"]),
    ("UserAgent", &["userAgent"]),
    ("ClientIp", &["ipAddress", "sourceIp"]),
    ("Url", &["url"]),
    ("Tag", &["tag"]),
];

/// One event.
pub(super) fn write(told: &Told) -> Bytes {
    let event = told.event();
    let name = event.name.as_str();
    let kind = TYPES.iter().find(|(known, _)| *known == name).map_or(name, |(_, kind)| kind);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(event.at.0));
    let mut form = Serializer::new(String::new());
    form.append_pair("Type", kind).append_pair("DateTime", &date);
    form.append_pair("SystemMessageId", event.id.as_str()).append_pair("AccountId", event.tenant.as_str());
    let tracking = match name {
        "email.opened" => Some("Open"),
        "email.clicked" => Some("Click"),
        _ => None,
    };
    if let Some(tracking) = tracking {
        form.append_pair("TrackingType", tracking);
    }
    if let Some(host) = told.text("remoteMta").or_else(|| told.host()) {
        form.append_pair("RemoteMTA", &host);
    }
    for (parameter, of) in PARAMETERS {
        if let Some(text) = of.iter().find_map(|of| told.text(of)).filter(|text| !text.is_empty()) {
            form.append_pair(parameter, &text);
        }
    }
    Bytes::from(form.finish())
}
