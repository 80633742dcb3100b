//! A mail that nobody sent, for trying templates before one comes.

use super::super::json::{Content, Document, EnvelopeForm};
use super::super::{Limits, mail, mime};

const MAIL: &str =
    "From: Anna <anna@example.com>\r\nTo: hook@example.com\r\nSubject: sample\r\n\r\nsample\r\n";

/// Does something with its document.
pub fn with_sample<T>(work: impl FnOnce(&Document<'_>) -> T) -> Option<T> {
    let limits = Limits::default();
    let section = mail::read(MAIL.as_bytes(), &limits);
    let parts = mime::read(MAIL.as_bytes(), &section, &limits).ok()?;
    let content = Content::read(&section.fields, &parts);
    let envelope = EnvelopeForm {
        from: "anna@example.com",
        to: "hook@example.com",
        recipients: &["hook@example.com"],
        helo: "app.example.com",
        remote_ip: None,
        tls: None,
        user: None,
        detail: None,
    };
    Some(work(&Document {
        id: "52a0000000000002".to_owned(),
        received_at: "2026-01-31T12:00:00.000Z".to_owned(),
        envelope,
        content: &content,
        attachments: &[],
        size: MAIL.len(),
        tags: &[],
        raw_url: None,
    }))
}
