//! An example of each kind of event, to document and to test with.

use crate::event::{Event, EventId, EventName};
use crate::post::Timestamp;
use crate::tenant::Tenant;
use bytes::Bytes;

/// Every kind that the gateway itself makes or reads from reports, when it happens, and
/// data as it has them.
const SAMPLES: [(&str, &str, &str); 21] = [
    (
        "post.received",
        "a post was accepted and is on disk",
        r#""size":512,"source":"smtp","remoteIp":"192.0.2.1","user":"erp","session":"H91c0""#,
    ),
    (
        "post.delivered",
        "its receiver took a post",
        r#""size":512,"attempt":1,"status":200,"durationMs":42,"queuedMs":57,"remoteIp":"198.51.100.7","httpVersion":"HTTP/1.1","reused":true"#,
    ),
    (
        "post.deferred",
        "a post will be tried again",
        r#""attempt":1,"status":503,"response":"try later","durationMs":42,"queuedMs":57,"nextAttemptAt":"2026-01-31T12:00:05.000Z""#,
    ),
    (
        "post.failed",
        "a post was given up",
        r#""attempts":1,"status":404,"reason":"rejected","durationMs":42,"queuedMs":57"#,
    ),
    ("destination.paused", "somebody paused a destination", r#""reason":"maintenance","queued":17"#),
    ("destination.resumed", "a pause ended", r#""reason":"","queued":17"#),
    ("destination.backoff", "a destination is only probed", r#""reason":"connection refused","queued":17"#),
    ("destination.recovered", "a destination answers again", r#""reason":"","queued":17"#),
    ("webhook.disabled", "a webhook gets no more events", r#""reason":"failing for 5 days""#),
    ("webhook.enabled", "a webhook gets events again", r#""reason":"by request""#),
    ("webhook.verified", "a receiver has shown that it wants events", r#""reason":"challenge""#),
    (
        "webhook.overrun",
        "events were let go: too much waits for a webhook",
        r#""reason":"too much waits for it","events":500,"total":500"#,
    ),
    ("email.sent", "an application sent a mail", r#""subject":"Order 17""#),
    ("email.delivered", "a mail arrived", r#""subject":"Order 17","deliveredAt":"2026-01-31T12:00:00.000Z""#),
    ("email.delayed", "a mail has not arrived yet", r#""status":"4.4.1","reason":"no answer from host""#),
    (
        "email.opened",
        "a mail was seen",
        r#""subject":"Order 17","openedAt":"2026-01-31T12:00:00.000Z","userAgent":"Example/1.0","ipAddress":"192.0.2.9""#,
    ),
    (
        "email.clicked",
        "a link in a mail was followed",
        r#""subject":"Order 17","url":"https://shop.example/orders/17","clickedAt":"2026-01-31T12:00:00.000Z""#,
    ),
    (
        "email.bounced",
        "a mail did not arrive",
        r#""bounceType":"hard","status":"5.1.1","reason":"bad destination mailbox address","diagnosticCode":"smtp; 550 5.1.1 no such user""#,
    ),
    (
        "email.complained",
        "a recipient does not want a mail",
        r#""feedbackType":"abuse","userAgent":"Reporter/1.0","sourceIp":"192.0.2.1""#,
    ),
    ("email.failed", "a mail could not be sent", r#""reason":"template missing""#),
    ("order.paid", "any dotted name that an application publishes", r#""order":17"#),
];

/// What all events of posts say.
const POST: &str = r#""postId":"52a0000000000002","destination":"https://shop.example","url":"https://shop.example/orders","tag":"orders","sender":"app@shop.example","recipient":"orders@hooks.example","messageId":"52a0000000000002","xsMessageId":"17","xsMailingId":"spring""#;

/// What all events of mails say.
const MAIL: &str = r#""emailId":"17","recipient":"jane@customer.example""#;

/// Every kind with a sentence of when it happens.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    SAMPLES.iter().map(|(name, when, _)| (*name, *when))
}

/// The name that a text means: Mailtura's short ones (`delivered`) are those of mails.
pub fn full_name(text: &str) -> String {
    let mails = SAMPLES.iter().filter_map(|(name, ..)| name.strip_prefix("email."));
    match mails.into_iter().find(|short| *short == text) {
        Some(short) => format!("email.{short}"),
        None => text.to_owned(),
    }
}

/// An event of this name; one that nobody knows says that it is a test, and no more.
pub fn event(name: &EventName, tenant: &Tenant, at: Timestamp, dice: u128) -> Event {
    let sample = SAMPLES.iter().find(|(known, ..)| *known == name.as_str());
    let own = sample.map_or(r#""test":true"#, |(_, _, own)| own);
    let data = match name.as_str().split('.').next() {
        Some("post") if sample.is_some() => format!("{{{POST},{own}}}"),
        Some("email") if sample.is_some() => format!("{{{MAIL},{own}}}"),
        Some("destination") if sample.is_some() => {
            format!("{{\"destination\":\"https://shop.example\",{own}}}")
        }
        Some("webhook") if sample.is_some() => {
            format!("{{\"webhookId\":\"wh_01J00000000000000000000000\",{own}}}")
        }
        _ => format!("{{{own}}}"),
    };
    let id = EventId::new(at, dice);
    Event { id, name: name.clone(), at, tenant: tenant.clone(), data: Bytes::from(data) }
}
