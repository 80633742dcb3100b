//! What the formats that are JSON documents have in common.
//!
//! Vendors give every message ids of their own. Ours are made of the post's id and
//! the time of its receipt, so that a message that is composed again has the same.

use super::super::json::{Mailbox, as_base64};
use super::super::json_octets;
use super::super::pieces::{Reply, Text};
use super::{Formed, Mail};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Serialize, Serializer};

/// A document as the body of a request; `None` when it would take more than
/// `limit` octets.
pub fn json(document: &impl Serialize, mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    json_octets::write(document, mail.content.likely(mail.attachments), limit).map(formed)
}

/// Octets of JSON as the body of a request.
pub fn formed(octets: Bytes) -> Formed {
    Formed { octets, content_type: "application/json".to_owned(), headers: Vec::new() }
}

/// How long a document is likely to be that holds the message as it came.
pub fn likely(mail: &Mail<'_>) -> usize {
    mail.raw.len() + mail.raw.len() / 2 + 4096
}

/// Text that may be large.
pub struct Long<'a>(pub &'a str);

impl Serialize for Long<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// Octets, written in base64.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Octets<'a>(#[serde(serialize_with = "as_base64")] pub &'a [u8]);

impl<'a> Mail<'a> {
    /// The text, empty when there is none.
    pub fn text(&self) -> Long<'a> {
        Long(self.content.text.as_deref().map_or("", Text::as_str))
    }

    /// The HTML, if there is any.
    pub fn html(&self) -> Option<Long<'a>> {
        self.content.html.as_ref().map(|html| Long(html.as_str()))
    }

    /// The text without quoted mail, empty when there is none.
    pub fn reply(&self) -> Long<'a> {
        Long(self.content.text_reply.as_ref().map_or("", Reply::as_str))
    }

    /// What is the message's alone, as this recipient got it.
    fn mark(&self) -> [u8; 32] {
        let mut mark = [0; 32];
        let text = format!("{} {}", self.id, self.received_at.0);
        mark.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        mark
    }

    /// A UUID of the post (RFC 9562 section 5.8).
    pub fn uuid(&self) -> String {
        let mut octets = u128::from_be_bytes(*self.mark().first_chunk().unwrap_or(&[0; 16]));
        octets = octets & !(0xf << 76) | 8 << 76;
        octets = octets & !(0b11 << 62) | 0b10 << 62;
        let digits = HEXLOWER.encode(&octets.to_be_bytes());
        let groups = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        groups.map(|(from, to)| digits.get(from..to).unwrap_or_default()).join("-")
    }

    /// A number of the post, within what JavaScript counts.
    pub fn number(&self) -> u64 {
        u64::from_be_bytes(*self.mark().last_chunk().unwrap_or(&[0; 8])) >> 12
    }

    /// Twelve letters and digits of the post.
    pub fn token(&self) -> String {
        let letters = HEXLOWER.encode(&self.mark());
        letters.get(32..44).unwrap_or_default().to_owned()
    }
}

/// A mailbox as a header shows it: `Name <address>`, the name in quotes when it
/// holds what has a meaning there.
pub fn shown(mailbox: &Mailbox) -> String {
    let address = mailbox.address.as_deref().unwrap_or_default();
    match mailbox.name.as_deref().filter(|name| !name.is_empty()) {
        None => address.to_owned(),
        Some(name) if name.contains(|char| "()<>[]:;@\\,.\"".contains(char)) => {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{name}\" <{address}>")
        }
        Some(name) => format!("{name} <{address}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let mailbox = |name: Option<&str>| Mailbox {
            name: name.map(str::to_owned),
            address: Some("a@example.com".to_owned()),
        };
        for (name, expected) in [
            (None, "a@example.com"),
            (Some(""), "a@example.com"),
            (Some("Ann Ä"), "Ann Ä <a@example.com>"),
            (Some("Ann, \"A\""), "\"Ann, \\\"A\\\"\" <a@example.com>"),
        ] {
            assert_eq!(shown(&mailbox(name)), expected);
        }
    }
}
