//! How attachments come in a body, and one of them read from its message again.
//!
//! Numbers count from 1 in the order of the `json` payload. A name and a type are a
//! stranger's words: what is handed out here can stand in a header, but must not be
//! believed.

use super::contents;
use super::mail;
use super::mime;
use super::vendor::filename;
use super::{Limits, Payload};
use bytes::Bytes;

/// How the attachments of a message come in the body of a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachments {
    /// With their contents.
    #[default]
    Inline,
    /// As addresses, those of more than so many octets.
    Url {
        /// Octets up to which they come with their contents.
        inline_limit: usize,
    },
    /// Not at all; where there is a place for it, the body says what there was.
    Omit,
}

/// What a format has for attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// None of their own: it is text, or the message as it is.
    None,
    /// Places for their contents.
    Contents,
    /// Places for their contents, or for addresses.
    Addresses,
}

impl Payload {
    /// What this format has for attachments.
    pub fn room(&self) -> Room {
        use super::Vendor::*;
        match self {
            Payload::Body | Payload::Raw => Room::None,
            Payload::Vendor(SendGridRaw | MailgunMime | PostalRaw | SesSns | ActionMailbox) => Room::None,
            Payload::Vendor(SendGrid | Mailgun | Postmark | Postal | Smtp2Http) => Room::Contents,
            Payload::Vendor(CloudMailin | CloudMailinMultipart) => Room::Addresses,
            Payload::Auto | Payload::Json | Payload::Multipart | Payload::Template(_) => Room::Addresses,
        }
    }
}

/// An attachment as it is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Without path, control characters and what turns or hides text.
    pub name: String,
    /// A media type, or the one that stands for any.
    pub content_type: String,
    /// SHA-256 of the octets in hexadecimal.
    pub sha256: String,
    /// Decoded.
    pub octets: Bytes,
}

/// The `number`th attachment of a message, from 1. Reads what was composed before:
/// nothing limits it but the message.
pub fn attachment(message: &Bytes, number: usize) -> Option<File> {
    let most = usize::MAX;
    let limits = Limits {
        header_octets: most,
        header_fields: most,
        mime_depth: most,
        mime_parts: most,
        composed_octets: 0,
    };
    let section = mail::read(message, &limits);
    let parts = mime::read(message, &section, &limits).ok()?;
    let attachment = contents::attachment(&parts, number)?;
    Some(File {
        name: filename::safe(attachment.filename.as_deref(), number),
        content_type: filename::media_type(&attachment.content_type).to_owned(),
        sha256: attachment.sha256().to_owned(),
        octets: attachment.content.shared(message),
    })
}
