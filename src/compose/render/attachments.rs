//! A body with its attachments as they are to come, and a second one for receivers
//! that find the first too large.
//!
//! The second, lean one is made where the terms of the destination may ask for it
//! and can be sent in place of the first: of the same type, with addresses in place of
//! all contents.

use super::super::attachments::{Attachments, Room};
use super::super::json::{Attachment, AttachmentForm, Content};
use super::super::vendor;
use super::{About, Rendered, Renderer};
use crate::compose::{Payload, Vendor};
use crate::envelope::Refusal;
use crate::post::Blob;

impl Renderer<'_> {
    /// The parsed mail in a format.
    pub(super) fn mail(&mut self, payload: &Payload, about: About<'_>) -> Result<Rendered, Refusal> {
        if let Payload::Vendor(Vendor::PostalRaw | Vendor::SendGridRaw | Vendor::SesSns) = payload {
            // The message as it came, and its header: what is decoded would be held for nothing.
            return self.bodies(payload, about, &Content::read(&self.section.fields, &[]));
        }
        let content = self.content();
        let rendered = self.bodies(payload, about, &content);
        self.content = Some(content);
        rendered
    }

    fn bodies(
        &mut self,
        payload: &Payload,
        about: About<'_>,
        content: &Content<'_>,
    ) -> Result<Rendered, Refusal> {
        let has_addresses = self.links.is_some() && payload.room() == Room::Addresses;
        let how = match about.plan.attachments() {
            Attachments::Url { .. } if !has_addresses => Attachments::Inline,
            how => how,
        };
        let attachments = self.attachments(how, about, content);
        let mut rendered = self.form(payload, about, content, &attachments)?;
        let is_lean = attachments.iter().all(|form| form.content.is_none());
        let is_wanted = || self.links.is_some_and(|links| links.is_fallback(about.destination));
        if has_addresses && !is_lean && is_wanted() {
            rendered.lean_body = self.lean(payload, about, content, &rendered);
        }
        Ok(rendered)
    }

    /// The same body with addresses alone, if that is another one.
    fn lean(
        &mut self,
        payload: &Payload,
        about: About<'_>,
        content: &Content<'_>,
        first: &Rendered,
    ) -> Option<Blob> {
        let (most, _) = self.room(content);
        let (blobs, composed, remarks) = (self.blobs.len(), self.composed, self.remarks.len());
        let attachments = self.attachments(Attachments::Url { inline_limit: 0 }, about, content);
        let lean = self.form(payload, about, content, &attachments).ok();
        let is_alike = |lean: &Rendered| {
            (&lean.content_type, &lean.marks) == (&first.content_type, &first.marks)
                && first.body.length as usize + lean.body.length as usize <= most
        };
        let lean = lean.filter(|lean| lean.has_links && is_alike(lean)).map(|lean| lean.body);
        if lean.is_none() {
            self.blobs.truncate(blobs);
            self.composed = composed;
        }
        self.remarks.truncate(remarks);
        lean
    }

    fn form(
        &mut self,
        payload: &Payload,
        about: About<'_>,
        content: &Content<'_>,
        attachments: &[AttachmentForm<'_>],
    ) -> Result<Rendered, Refusal> {
        let mut rendered = match payload {
            Payload::Vendor(vendor) => {
                self.formed(about, content, attachments, |mail, limit| vendor::form(*vendor, mail, limit))
            }
            Payload::Multipart => self.formed(about, content, attachments, vendor::multipart::form),
            Payload::Template(name) => self.template(name, about, content, attachments),
            _ => self.json(about, content, attachments, about.plan.wanted_type(about.controls)),
        }?;
        // The message as it is names none.
        rendered.has_links = rendered.body.number > 0 && attachments.iter().any(|form| form.url.is_some());
        Ok(rendered)
    }

    /// The attachments of the message as they come in a body.
    fn attachments<'c>(
        &self,
        how: Attachments,
        about: About<'_>,
        content: &'c Content<'_>,
    ) -> Vec<AttachmentForm<'c>> {
        let not_before_at = about.controls.not_before_at.unwrap_or_default();
        let ages_from = self.received_at.max(not_before_at);
        let url = |number| self.links.map(|links| links.url(about.id, number, ages_from));
        let form = |(at, attachment): (usize, &'c Attachment<'_>)| {
            let number = at + 1;
            let (content, url) = match how {
                Attachments::Omit => (None, None),
                Attachments::Url { inline_limit } if attachment.size > inline_limit => (None, url(number)),
                Attachments::Inline | Attachments::Url { .. } => (Some(&*attachment.content), None),
            };
            AttachmentForm { number, attachment, sha256: attachment, content, url }
        };
        content.attachments.iter().enumerate().map(form).collect()
    }
}
