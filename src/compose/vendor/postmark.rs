//! Postmark inbound: <https://postmarkapp.com/developer/webhooks/inbound-webhook>.
//!
//! `MailboxHash` of an address is what stands behind its plus; the message's own is
//! that of this recipient, else the detail of its route. A recipient that neither
//! `To` nor `Cc` names stands under `Bcc`. Nothing is checked for spam, and the fields
//! `X-Spam-…` and `Received-SPF` that a stranger wrote are taken out: receivers would
//! believe that they are Postmark's.
//! `RawEmail`, which Postmark sends on demand, is not sent: it would double a post.

use super::super::json::{Attachment, Mailbox};
use super::document::{self, Long, Octets};
use super::{Formed, Mail, fields};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inbound<'a> {
    from_name: &'a str,
    message_stream: &'static str,
    from: &'a str,
    from_full: Full<'a>,
    to: &'a str,
    to_full: Vec<Full<'a>>,
    cc: &'a str,
    cc_full: Vec<Full<'a>>,
    bcc: &'a str,
    bcc_full: Vec<Full<'a>>,
    original_recipient: &'a str,
    subject: &'a str,
    #[serde(rename = "MessageID")]
    message_id: String,
    reply_to: &'a str,
    mailbox_hash: &'a str,
    date: &'a str,
    text_body: Long<'a>,
    html_body: Long<'a>,
    stripped_text_reply: Long<'a>,
    tag: &'a str,
    headers: Vec<Header<'a>>,
    attachments: Vec<File<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full<'a> {
    email: &'a str,
    name: &'a str,
    mailbox_hash: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    name: &'a str,
    content: Octets<'a>,
    content_type: &'a str,
    content_length: usize,
    #[serde(rename = "ContentID", skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

/// Fields that have a key of their own.
const ELSEWHERE: [&str; 7] = ["Subject", "From", "To", "Cc", "Bcc", "Date", "Reply-To"];

/// The message as Postmark posts it.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let (envelope, content) = (&mail.envelope, mail.content);
    let field = |name| fields::first(content, name);
    let from = content.from.first().map(Full::of).unwrap_or_default();
    let return_path = format!("<{}>", envelope.from);
    let (bcc, bcc_full) = blind(mail);
    let inbound = Inbound {
        from_name: from.name,
        message_stream: "inbound",
        from: from.email,
        from_full: from,
        to: field("To"),
        to_full: content.to.iter().map(Full::of).collect(),
        cc: field("Cc"),
        cc_full: content.cc.iter().map(Full::of).collect(),
        bcc,
        bcc_full,
        original_recipient: envelope.to,
        subject: content.subject.as_deref().unwrap_or_default(),
        message_id: mail.uuid(),
        reply_to: field("Reply-To"),
        mailbox_hash: Some(hash(envelope.to))
            .filter(|hash| !hash.is_empty())
            .or(envelope.detail)
            .unwrap_or(""),
        date: field("Date"),
        text_body: mail.text(),
        html_body: mail.html().unwrap_or(Long("")),
        stripped_text_reply: mail.reply(),
        tag: mail.tags.first().map_or("", String::as_str),
        headers: headers(mail, &return_path),
        attachments: mail.files().map(File::of).collect(),
    };
    document::json(&inbound, mail, limit)
}

/// `Bcc` as it stands there; else this recipient, when no field names it.
fn blind<'a>(mail: &'a Mail<'_>) -> (&'a str, Vec<Full<'a>>) {
    let (content, recipient) = (mail.content, mail.envelope.to);
    let is_named = |mailbox: &Mailbox| {
        mailbox.address.as_deref().is_some_and(|address| address.eq_ignore_ascii_case(recipient))
    };
    if !content.bcc.is_empty() {
        (fields::first(content, "Bcc"), content.bcc.iter().map(Full::of).collect())
    } else if content.to.iter().chain(&content.cc).any(is_named) {
        ("", Vec::new())
    } else {
        (recipient, vec![Full { email: recipient, name: "", mailbox_hash: hash(recipient) }])
    }
}

fn headers<'a>(mail: &'a Mail<'_>, return_path: &'a str) -> Vec<Header<'a>> {
    let is_elsewhere = |name: &str| ELSEWHERE.iter().any(|other| other.eq_ignore_ascii_case(name));
    let shown = mail.content.headers.iter();
    let shown = shown.filter(|(name, _)| !is_elsewhere(name) && !fields::is_verdict(name));
    let shown = shown.map(|(name, value)| Header { name, value });
    std::iter::once(Header { name: "Return-Path", value: return_path }).chain(shown).collect()
}

impl<'a> Full<'a> {
    fn of(mailbox: &'a Mailbox) -> Full<'a> {
        let email = mailbox.address.as_deref().unwrap_or_default();
        Full { email, name: mailbox.name.as_deref().unwrap_or_default(), mailbox_hash: hash(email) }
    }
}

impl<'a> File<'a> {
    fn of(attachment: &'a Attachment<'_>) -> File<'a> {
        File {
            name: attachment.filename.as_deref().unwrap_or_default(),
            content: Octets(&attachment.content),
            content_type: &attachment.content_type,
            content_length: attachment.size,
            content_id: attachment.content_id.as_deref(),
        }
    }
}

/// What stands behind the plus of an address.
fn hash(address: &str) -> &str {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    local.split_once('+').map_or("", |(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn a_hash_stands_behind_the_plus() {
        for (address, expected) in
            [("box+a1@in.example", "a1"), ("box+a+b@in.example", "a+b"), ("box@in+x.example", ""), ("+", "")]
        {
            assert_eq!(hash(address), expected);
        }
    }
}
