//! Payload `json`: the parsed mail as one document whose keys never vary.
//!
//! What is the same for all recipients is read once ([`Content`]); a document
//! adds the envelope as one recipient saw it. Every key is always there, in this
//! order. Of a field that should stand once the first counts, of fields of addresses
//! all do; `headers` has every field but controls. The mail's own file names stand
//! here as they came: a receiver must not use them as paths. How a document is
//! written is `json_octets`' business.

use super::contents::{self, Contents};
use super::mail::{HeaderField, first};
use super::mime::{self, Part};
use super::pieces::{Decoded, Reply, Text};
use super::{control, names, value, when};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, DateTime, HeaderValue};
use ring::digest::{SHA256, digest};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

/// One recipient's document.
#[derive(Serialize)]
pub struct Document<'a> {
    /// Id of the post.
    pub id: String,
    /// RFC 3339 with milliseconds.
    pub received_at: String,
    /// How it came.
    pub envelope: EnvelopeForm<'a>,
    /// What it says.
    #[serde(flatten)]
    pub content: &'a Content<'a>,
    /// Its attachments, with their contents or without.
    pub attachments: &'a [AttachmentForm<'a>],
    /// Octets of the message.
    pub size: usize,
    /// The message.
    #[serde(skip)]
    pub raw: &'a Bytes,
    /// The sender's tags.
    pub tags: &'a [String],
    /// Where the raw message can be fetched.
    pub raw_url: Option<&'a str>,
}

/// The SMTP side of a message, for one recipient.
#[derive(Clone, Serialize)]
pub struct EnvelopeForm<'a> {
    /// Reverse-path.
    pub from: &'a str,
    /// This recipient.
    pub to: &'a str,
    /// All recipients.
    pub recipients: &'a [&'a str],
    /// Argument of HELO or EHLO.
    pub helo: &'a str,
    /// Network address of the client.
    pub remote_ip: Option<String>,
    /// TLS version.
    pub tls: Option<&'a str>,
    /// Login of the client.
    pub user: Option<&'a str>,
    /// What stood for the `*` of the route.
    pub detail: Option<&'a str>,
}

/// One attachment, as one recipient gets it.
#[derive(Serialize)]
pub struct AttachmentForm<'a> {
    /// Which one of its message, from 1.
    #[serde(skip)]
    pub number: usize,
    /// What it is.
    #[serde(flatten)]
    pub attachment: &'a Attachment<'a>,
    /// Digest of its content in hexadecimal.
    #[serde(serialize_with = "sha256")]
    pub sha256: &'a Attachment<'a>,
    /// Decoded; absent where it comes another way, or not at all.
    #[serde(serialize_with = "as_base64_if_any")]
    pub content: Option<&'a [u8]>,
    /// Where it can be fetched instead.
    pub url: Option<String>,
}

/// What a message says to all its recipients.
#[derive(Serialize)]
pub struct Content<'a> {
    /// `Message-ID`, as it stands there.
    pub message_id: Option<String>,
    /// `Date` in RFC 3339.
    pub date: Option<String>,
    /// Decoded.
    pub subject: Option<String>,
    /// All of `From`.
    pub from: Vec<Mailbox>,
    /// All of `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// All of `To`.
    pub to: Vec<Mailbox>,
    /// All of `Cc`.
    pub cc: Vec<Mailbox>,
    /// All of `Bcc`.
    pub bcc: Vec<Mailbox>,
    /// The first of `Sender`.
    pub sender: Option<Mailbox>,
    /// Ids with their brackets.
    pub in_reply_to: Vec<String>,
    /// Ids with their brackets.
    pub references: Vec<String>,
    /// All fields but controls, decoded, in order.
    pub headers: Vec<(&'a str, String)>,
    /// All that is plain text; of mail without any, what its HTML says.
    pub text: Option<Rc<Text<'a>>>,
    /// All that is HTML.
    pub html: Option<Text<'a>>,
    /// The text without quoted mail.
    pub text_reply: Option<Reply<'a>>,
    /// What is neither; how they are shown differs by recipient.
    #[serde(skip)]
    pub attachments: Vec<Attachment<'a>>,
    /// Whether base64 had to be repaired.
    #[serde(skip)]
    pub is_repaired: bool,
}

/// One address of a field.
#[derive(Serialize)]
pub struct Mailbox {
    /// Its display name, decoded.
    pub name: Option<String>,
    /// Its addr-spec.
    pub address: Option<String>,
}

/// A part that is neither text nor HTML to be read.
#[derive(Serialize)]
pub struct Attachment<'a> {
    /// As it came: never to be used as a path.
    pub filename: Option<String>,
    /// `type/subtype` in lower case.
    pub content_type: String,
    /// Without its brackets.
    pub content_id: Option<String>,
    /// `attachment`, `inline`, or what else it says.
    pub disposition: Option<String>,
    /// Octets, decoded.
    pub size: usize,
    #[serde(skip)]
    sha256: OnceCell<String>,
    /// Decoded.
    #[serde(skip)]
    pub content: Decoded<'a>,
}

impl Attachment<'_> {
    /// Digest of the content in hexadecimal; made when it is asked for, because it takes
    /// longer than all the rest.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| HEXLOWER.encode(digest(&SHA256, &self.content).as_ref()))
    }
}

impl AttachmentForm<'_> {
    /// The same without its content, which comes along as a file.
    pub fn bare(&self) -> Self {
        AttachmentForm {
            number: self.number,
            attachment: self.attachment,
            sha256: self.sha256,
            content: None,
            url: self.url.clone(),
        }
    }
}

/// Octets in base64, as documents show them, which are written by `json_octets` alone.
pub fn as_base64<S: Serializer>(octets: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(octets.as_ref())
}

fn sha256<S: Serializer>(attachment: &&Attachment<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(attachment.sha256())
}

fn as_base64_if_any<S: Serializer>(octets: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    match octets {
        Some(octets) => as_base64(octets, serializer),
        None => serializer.serialize_none(),
    }
}

impl<'a> Content<'a> {
    /// Reads a message from its header fields and parts.
    pub fn read(fields: &[HeaderField<'a>], parts: &[Part<'a>]) -> Content<'a> {
        let text_of = |name| first(fields, name).map(value::text);
        let Contents { text, text_reply, html, attachments, is_repaired } = contents::read(parts);
        Content {
            message_id: text_of("Message-ID"),
            date: first(fields, "Date").and_then(date),
            subject: text_of("Subject"),
            from: mailboxes(fields, "From"),
            reply_to: mailboxes(fields, "Reply-To"),
            to: mailboxes(fields, "To"),
            cc: mailboxes(fields, "Cc"),
            bcc: mailboxes(fields, "Bcc"),
            sender: mailboxes(fields, "Sender").into_iter().next(),
            in_reply_to: text_of("In-Reply-To").map(ids).unwrap_or_default(),
            references: text_of("References").map(ids).unwrap_or_default(),
            headers: headers(fields),
            text_reply,
            text,
            html,
            attachments,
            is_repaired,
        }
    }

    /// How long a document is likely to be that shows it, its attachments as they come.
    pub fn likely(&self, attachments: &[AttachmentForm<'_>]) -> usize {
        let reply = self.text_reply.as_ref().map_or(0, |reply| reply.as_str().len());
        let text = self.text.as_ref().map_or(0, |text| text.as_str().len());
        let html = self.html.as_ref().map_or(0, |html| html.as_str().len());
        let said = text + reply + html;
        let fields: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let contents: usize = attachments.iter().filter_map(|form| form.content).map(<[u8]>::len).sum();
        // Some of a text is escaped; four digits of base64 are three octets.
        said + said / 2 + 2 * fields + contents / 3 * 4 + (1 + attachments.len()) * 4096
    }

    /// Octets it holds besides the message it was read from.
    pub fn held(&self) -> usize {
        let reply = if let Some(Reply::Other(reply)) = &self.text_reply { reply.len() } else { 0 };
        self.text.as_deref().map_or(0, Text::held)
            + self.html.as_ref().map_or(0, Text::held)
            + reply
            + self.attachments.iter().map(|attachment| attachment.content.held()).sum::<usize>()
    }
}

fn headers<'a>(fields: &[HeaderField<'a>]) -> Vec<(&'a str, String)> {
    let shown = fields.iter().filter(|field| !control::is_control(field.name));
    shown.map(|field| (field.name, value::text(field.value))).collect()
}

/// A field's value as `mail-parser` wants it: one line of UTF-8, ended.
fn line(raw: &[u8]) -> Vec<u8> {
    let mut line = value::guess(value::reworded(&value::unfold(raw)).into_owned());
    line.push_str("\r\n");
    line.into_bytes()
}

fn date(raw: &[u8]) -> Option<String> {
    datetime(raw).and_then(|date| when::rfc3339_seconds(date.to_timestamp()))
}

/// The date of a field in the zone that it names.
pub fn datetime(raw: &[u8]) -> Option<DateTime> {
    MessageStream::new(&line(raw)).parse_date().into_datetime().filter(DateTime::is_valid)
}

/// The mailboxes of all fields called `name`; groups are opened.
pub fn mailboxes(fields: &[HeaderField], name: &str) -> Vec<Mailbox> {
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)) {
        let line = line(field.value);
        if let HeaderValue::Address(address) = MessageStream::new(&line).parse_address() {
            let mailboxes = match &address {
                Address::List(list) => list.iter().collect::<Vec<_>>(),
                Address::Group(groups) => groups.iter().flat_map(|group| &group.addresses).collect(),
            };
            found.extend(mailboxes.into_iter().map(|mailbox| Mailbox {
                name: mailbox.name.as_ref().map(ToString::to_string),
                address: mailbox.address.as_ref().map(ToString::to_string),
            }));
        }
    }
    found
}

/// The ids in a field, each from its `<` to its `>`, whatever stands around them; in
/// a field without any, its words.
fn ids(text: String) -> Vec<String> {
    let (mut found, mut words) = (Vec::new(), String::new());
    // How deep in comments, which may hold ids of nobody.
    let mut depth = 0_usize;
    let mut rest = text.as_str();
    while let Some(char) = rest.chars().next() {
        let mut taken = char.len_utf8();
        match char {
            '<' if depth == 0 => {
                let Some((id, _)) = rest.split_once('>') else { break };
                found.push(id.split_whitespace().chain([">"]).collect());
                taken += id.len();
            }
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            char if depth == 0 => words.push(char),
            _ => {}
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    words.push_str(rest);
    if found.is_empty() { words.split_whitespace().map(str::to_owned).collect() } else { found }
}

/// What a part is to people that keep it.
pub fn attachment<'a>(part: &Part<'a>, content: Cow<'a, [u8]>) -> Attachment<'a> {
    let disposition = first(&part.fields, "Content-Disposition").and_then(mime::kind);
    let filename = disposition.as_ref().and_then(|disposition| disposition.parameter("filename"));
    let content_id = first(&part.fields, "Content-ID").map(value::text);
    Attachment {
        filename: names::filename(part, filename),
        content_type: names::content_type(part),
        content_id: content_id.map(|id| id.trim_matches(['<', '>']).to_owned()),
        disposition: disposition.as_ref().map(|disposition| disposition.essence.clone()),
        size: content.len(),
        sha256: OnceCell::new(),
        content: content.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_whatever_stands_around_them() {
        for (field, expected) in [
            ("<a@x> <b@x>", "<a@x> <b@x>"),
            ("<a@x><b@x>,<c@x>", "<a@x> <b@x> <c@x>"),
            ("Your message of Monday <a@x>", "<a@x>"),
            ("(see (also) <no@x>) <a@x> (<no@x>", "<a@x>"),
            ("<a@ x>", "<a@x>"),
            ("a@x  b@x", "a@x b@x"),
            ("a@x (of <no@x>)", "a@x"),
            ("<a@x> <b@x", "<a@x>"),
            ("<a@x", "<a@x"),
            ("", ""),
        ] {
            assert_eq!(ids(field.to_owned()).join(" "), expected, "{field}");
        }
        assert_eq!(ids("<".repeat(200_000)).len(), 1);
    }
}
