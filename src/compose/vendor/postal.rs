//! Postal HTTP endpoints: `postal` is its format hash, with attachments and without
//! stripped replies; `postal-raw` its format raw message. Both as JSON.
//!
//! Postal keeps numbers as text in places; so `size` is text in the one and a number
//! in the other. Mail is not checked for spam: `NotChecked`. Reports are told apart
//! elsewhere: `bounce` is false. `X-Postal-Signature` is the signing key's.

use super::super::json::{Attachment, Content};
use super::super::json_octets::write_in_lines;
use super::document::{Long, Octets, formed, likely};
use super::{Formed, Mail};
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Hash<'a> {
    id: u64,
    rcpt_to: &'a str,
    mail_from: &'a str,
    token: String,
    subject: Option<&'a str>,
    message_id: Option<&'a str>,
    timestamp: Seconds,
    size: String,
    spam_status: &'static str,
    bounce: bool,
    received_with_ssl: bool,
    to: Option<&'a str>,
    cc: Option<&'a str>,
    from: Option<&'a str>,
    date: Option<&'a str>,
    in_reply_to: Option<&'a str>,
    references: Option<&'a str>,
    html_body: Option<Long<'a>>,
    attachment_quantity: usize,
    auto_submitted: Option<&'a str>,
    reply_to: Option<Vec<&'a str>>,
    plain_body: Option<Long<'a>>,
    attachments: Vec<File<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    content_type: &'a str,
    size: usize,
    data: Octets<'a>,
}

#[derive(Serialize)]
struct Raw<'a> {
    id: u64,
    rcpt_to: &'a str,
    mail_from: &'a str,
    message: Octets<'a>,
    base64: bool,
    size: usize,
}

/// Milliseconds since the epoch, written as seconds.
struct Seconds(u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // No time before the year 287396 loses anything.
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

/// The last field called `name`: Postal takes that, of one that should be there once.
fn last<'a>(content: &'a Content<'_>, name: &str) -> Option<&'a str> {
    let mut fields = content.headers.iter().rev();
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// All fields called `name`: of `Reply-To` Postal gives a list.
fn all<'a>(content: &'a Content<'_>, name: &str) -> Option<Vec<&'a str>> {
    let fields = content.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    Some(fields.map(|(_, value)| value.as_str()).collect::<Vec<_>>()).filter(|all| !all.is_empty())
}

/// The message as Postal posts it in its format hash.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let (envelope, content) = (&mail.envelope, mail.content);
    let hash = Hash {
        id: mail.number(),
        rcpt_to: envelope.to,
        mail_from: envelope.from,
        token: mail.token(),
        subject: content.subject.as_deref(),
        message_id: content.message_id.as_deref().map(|id| id.trim_matches(['<', '>', ' '])),
        timestamp: Seconds(mail.received_at.0),
        size: mail.raw.len().to_string(),
        spam_status: "NotChecked",
        bounce: false,
        received_with_ssl: envelope.tls.is_some(),
        to: last(content, "To"),
        cc: last(content, "Cc"),
        from: last(content, "From"),
        date: last(content, "Date"),
        in_reply_to: last(content, "In-Reply-To"),
        references: last(content, "References"),
        html_body: mail.html(),
        attachment_quantity: mail.files().count(),
        auto_submitted: last(content, "Auto-Submitted"),
        reply_to: all(content, "Reply-To"),
        plain_body: content.text.is_some().then(|| mail.text()),
        attachments: mail.files().map(File::of).collect(),
    };
    write_in_lines(&hash, mail.content.likely(mail.attachments), limit).map(formed)
}

/// The message as Postal posts it in its format raw message.
pub fn raw(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let raw = Raw {
        id: mail.number(),
        rcpt_to: mail.envelope.to,
        mail_from: mail.envelope.from,
        message: Octets(mail.raw),
        base64: true,
        size: mail.raw.len(),
    };
    write_in_lines(&raw, likely(mail), limit).map(formed)
}

impl<'a> File<'a> {
    fn of(attachment: &'a Attachment<'_>) -> File<'a> {
        File {
            filename: attachment.filename.as_deref().unwrap_or_default(),
            content_type: &attachment.content_type,
            size: attachment.size,
            data: Octets(&attachment.content),
        }
    }
}
