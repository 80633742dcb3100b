//! A mail that nobody sent, for trying templates before one comes.

use super::super::json::{Content, Document, EnvelopeForm};
use super::super::{Limits, mail, mime};
use bytes::Bytes;

const MAIL: &[u8] =
    b"From: Anna <anna@example.com>\r\nTo: hook@example.com\r\nSubject: sample\r\n\r\nsample\r\n";

/// Does something with its document.
pub fn with_sample<T>(work: impl FnOnce(&Document<'_>) -> T) -> Option<T> {
    let limits = Limits::default();
    let raw = Bytes::from_static(MAIL);
    let section = mail::read(&raw, &limits);
    let parts = mime::read(&raw, &section, &limits).ok()?;
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
        size: raw.len(),
        raw: &raw,
        tags: &[],
        raw_url: None,
    }))
}
