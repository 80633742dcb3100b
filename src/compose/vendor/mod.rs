//! What receivers of other products expect, so that code written for them works
//! unchanged: names of fields, their order, encodings and marks are theirs.
//!
//! A format is a pure function of a message and one recipient. What a vendor
//! signs within a body is added at each attempt by the signing key, not here:
//! bodies hold no proof.

mod cloudmailin;
mod cloudmailin_multipart;
mod document;
mod fields;
pub mod filename;
mod form;
mod mailgun;
pub mod multipart;
mod postal;
mod postmark;
mod sendgrid;
mod ses_sns;
mod smtp2http;

use super::json::{Attachment, AttachmentForm, Content, EnvelopeForm};
use super::mail::HeaderField;
use super::payload::Vendor;
use crate::post::{Field, PostId, Timestamp};
use bytes::Bytes;

/// One message as one recipient gets it.
pub struct Mail<'a> {
    /// The post's.
    pub id: PostId,
    /// When the message was complete.
    pub received_at: Timestamp,
    /// The SMTP side.
    pub envelope: EnvelopeForm<'a>,
    /// The message byte for byte.
    pub raw: &'a Bytes,
    /// Its header section, controls among it.
    pub fields: &'a [HeaderField<'a>],
    /// What it says.
    pub content: &'a Content<'a>,
    /// Its attachments, as they come.
    pub attachments: &'a [AttachmentForm<'a>],
    /// The sender's tags.
    pub tags: &'a [String],
    /// Fixed request headers of the route.
    pub fixed: &'a [Field],
}

impl<'a> Mail<'a> {
    /// The attachments whose contents come along.
    pub fn files(&self) -> impl Iterator<Item = &'a Attachment<'a>> + Clone + use<'a> {
        self.attachments.iter().filter(|form| form.content.is_some()).map(|form| form.attachment)
    }
}

/// A body as a vendor makes it.
pub struct Formed {
    /// Its octets.
    pub octets: Bytes,
    /// Its type in full.
    pub content_type: String,
    /// Further header fields that belong to it.
    pub headers: Vec<(&'static str, String)>,
}

/// A message in the format of a vendor; `None` when it would take more than
/// `limit` octets.
pub fn form(vendor: Vendor, mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let mut formed = bare(vendor, mail, limit)?;
    formed.headers.extend(agent(vendor).map(|agent| ("User-Agent", agent.to_owned())));
    Some(formed)
}

/// What the vendor calls itself, where that is known: receivers may look for it.
fn agent(vendor: Vendor) -> Option<&'static str> {
    match vendor {
        Vendor::Postmark => Some("Postmark"),
        Vendor::CloudMailin | Vendor::CloudMailinMultipart => Some("CloudMailin Server"),
        Vendor::Postal | Vendor::PostalRaw => Some("Postal/3"),
        _ => None,
    }
}

fn bare(vendor: Vendor, mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    match vendor {
        Vendor::SendGrid => sendgrid::parsed(mail, limit),
        Vendor::SendGridRaw => sendgrid::raw(mail, limit),
        Vendor::Mailgun => mailgun::parsed(mail, limit),
        Vendor::MailgunMime => mailgun::mime(mail, limit),
        Vendor::CloudMailinMultipart => cloudmailin_multipart::form(mail, limit),
        // Posted whole.
        Vendor::ActionMailbox => None,
        Vendor::Postmark => postmark::form(mail, limit),
        Vendor::CloudMailin => cloudmailin::form(mail, limit),
        Vendor::Postal => postal::form(mail, limit),
        Vendor::PostalRaw => postal::raw(mail, limit),
        Vendor::SesSns => ses_sns::form(mail, limit),
        Vendor::Smtp2Http => smtp2http::form(mail, limit),
    }
}
