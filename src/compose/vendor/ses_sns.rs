//! Amazon SES through an SNS topic: a notification of received mail, as JSON in the
//! `Message` of an SNS notification.
//!
//! The message goes along as text, the way SES sends it unless told otherwise; one
//! that is not UTF-8 goes in base64, and `receipt.action.encoding` says which. A
//! notification is about one recipient, who is among the destinations of the mail also
//! when its header does not name them. Its topic is what the route fixes as its
//! header `x-amz-sns-topic-arn`, because receivers may want a certain one. Nothing
//! is scanned (`DISABLED`) or looked up (`GRAY`: neither passed nor failed). The
//! fields of the signature are empty; a signing key of the scheme `sns` fills them
//! at each attempt.

use super::super::json::Mailbox;
use super::super::json_octets::{self, Escaped};
use super::super::{room, when};
use super::document::{self, Octets};
use super::{Formed, Mail, fields};
use serde::Serialize;
use std::io::{self, Write};

/// The header that names the topic, for a route to fix.
const TOPIC: &str = "x-amz-sns-topic-arn";

/// The topic of a route that names none.
const OUR_TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:postgate";

/// What SES tells: the inner document.
struct Notification<'a> {
    mail: Received<'a>,
    receipt: Receipt<'a>,
    content: Content<'a>,
}

impl Notification<'_> {
    fn write(&self, mut out: Escaped<'_>) -> io::Result<()> {
        out.write_all(br#"{"notificationType":"Received","mail":"#)?;
        json_octets::serialize(&self.mail, &mut out)?;
        out.write_all(br#","receipt":"#)?;
        json_octets::serialize(&self.receipt, &mut out)?;
        out.write_all(br#","content":"#)?;
        match self.content {
            Content::Text(text) => {
                out.write_all(b"\"")?;
                out.string(text.as_bytes())?;
                out.write_all(b"\"")?;
            }
            Content::Base64(octets) => json_octets::serialize(&Octets(octets), &mut out)?,
        }
        out.write_all(b"}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received<'a> {
    timestamp: &'a str,
    source: &'a str,
    message_id: String,
    destination: Vec<&'a str>,
    headers_truncated: bool,
    headers: Vec<Header<'a>>,
    common_headers: CommonHeaders<'a>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommonHeaders<'a> {
    return_path: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    timestamp: &'a str,
    processing_time_millis: u64,
    recipients: [&'a str; 1],
    spam_verdict: Verdict,
    virus_verdict: Verdict,
    spf_verdict: Verdict,
    dkim_verdict: Verdict,
    dmarc_verdict: Verdict,
    action: Action<'a>,
}

#[derive(Serialize)]
struct Verdict {
    status: &'static str,
}

const DISABLED: Verdict = Verdict { status: "DISABLED" };
const GRAY: Verdict = Verdict { status: "GRAY" };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Action<'a> {
    r#type: &'static str,
    topic_arn: &'a str,
    encoding: &'static str,
}

/// Octets of a message that always stands there as text. SNS itself takes less than this.
const LONGEST_TEXT: usize = 1024 * 1024;

/// Whether a message is likely to be longer escaped twice, which makes up to seven
/// octets of one, than in base64.
fn is_long_escaped(text: &str) -> bool {
    json_octets::count_escaped(text.as_bytes()) * 6 > text.len() / 3
}

/// The message.
enum Content<'a> {
    Text(&'a str),
    Base64(&'a [u8]),
}

/// The message as SES tells SNS, and SNS posts it.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let timestamp = when::rfc3339(mail.received_at);
    let topic = topic(mail);
    let notification = notification(mail, &timestamp, topic);
    let id = mail.uuid();
    let octets = room::fill(document::likely(mail), limit, |out| envelope(out, &id, topic, &notification))?;
    Some(Formed {
        octets,
        content_type: "text/plain; charset=UTF-8".to_owned(),
        headers: vec![
            ("x-amz-sns-message-type", "Notification".to_owned()),
            ("x-amz-sns-message-id", id),
            (TOPIC, topic.to_owned()),
        ],
    })
}

/// What the route's header says, if that can be a topic.
fn topic<'a>(mail: &Mail<'a>) -> &'a str {
    let named = mail.fixed.iter().find(|field| field.name.eq_ignore_ascii_case(TOPIC));
    let topic = named.and_then(|field| std::str::from_utf8(&field.value).ok());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.".contains(&byte);
    topic.filter(|topic| topic.bytes().all(is_plain)).unwrap_or(OUR_TOPIC)
}

fn envelope(out: &mut dyn Write, id: &str, topic: &str, notification: &Notification) -> io::Result<()> {
    let timestamp = notification.receipt.timestamp;
    write!(out, r#"{{"Type":"Notification","MessageId":"{id}","TopicArn":"{topic}","#)?;
    write!(out, r#""Subject":"Amazon SES Email Receipt Notification","Message":""#)?;
    notification.write(Escaped(out))?;
    write!(out, r#"","Timestamp":"{timestamp}","SignatureVersion":"1","Signature":"","#)?;
    write!(out, r#""SigningCertURL":"","UnsubscribeURL":""}}"#)
}

fn notification<'a>(mail: &'a Mail<'_>, timestamp: &'a str, topic_arn: &'a str) -> Notification<'a> {
    let (encoding, content) = match std::str::from_utf8(mail.raw) {
        Ok(text) if text.len() <= LONGEST_TEXT || !is_long_escaped(text) => ("UTF8", Content::Text(text)),
        _ => ("BASE64", Content::Base64(mail.raw)),
    };
    Notification {
        mail: received(mail, timestamp),
        receipt: Receipt {
            timestamp,
            processing_time_millis: 0,
            recipients: [mail.envelope.to],
            spam_verdict: DISABLED,
            virus_verdict: DISABLED,
            spf_verdict: GRAY,
            dkim_verdict: GRAY,
            dmarc_verdict: GRAY,
            action: Action { r#type: "SNS", topic_arn, encoding },
        },
        content,
    }
}

fn received<'a>(mail: &'a Mail<'_>, timestamp: &'a str) -> Received<'a> {
    let content = mail.content;
    let all = |mailboxes: &[Mailbox]| mailboxes.iter().map(document::shown).collect();
    let named = content.to.iter().chain(&content.cc).filter_map(|mailbox| mailbox.address.as_deref());
    let mut destination: Vec<_> = named.collect();
    if !destination.iter().any(|named| named.eq_ignore_ascii_case(mail.envelope.to)) {
        destination.push(mail.envelope.to);
    }
    Received {
        timestamp,
        source: mail.envelope.from,
        message_id: mail.id.to_string(),
        destination,
        headers_truncated: false,
        headers: content.headers.iter().map(|(name, value)| Header { name, value }).collect(),
        common_headers: CommonHeaders {
            return_path: mail.envelope.from,
            from: all(&content.from),
            date: fields::first_if_any(content, "Date"),
            to: all(&content.to),
            cc: all(&content.cc),
            message_id: content.message_id.as_deref(),
            subject: content.subject.as_deref(),
        },
    }
}
