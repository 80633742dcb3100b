//! Bodies of posts: which octets they are, and which of them are new.
//!
//! The message is taken apart once. A body that is a piece of it refers to blob
//! 0; equal bodies refer to one blob; a `json` document differs by recipient and
//! is written anew. What all posts of a message may add is bounded, as is one
//! document: mail full of characters that JSON escapes would grow sixfold. Mail
//! that cannot be read is posted whole and marked `Postgate-Parse: failed`. How
//! attachments come in a body is in `attachments`.

mod attachments;
mod events;

use super::body::{self, Body};
use super::control::Controls;
use super::decode::Outcome;
use super::doubts::doubts;
use super::json::{AttachmentForm, Content, Document, EnvelopeForm};
use super::json_octets;
use super::mail::Section;
use super::mime::{self, Part, Unreadable};
use super::plan::{Matter, Plan};
use super::report::{self, Event};
use super::vendor::{Formed, Mail};
use super::{Limits, Links, Options, Payload, Receipt, Templates, Vendor, when};
use crate::envelope::{Envelope, Refusal};
use crate::post::{Blob, Destination, PostId, Timestamp};
use bytes::Bytes;
use std::borrow::Cow;

/// A body and the header fields that belong to it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Where it is.
    pub body: Blob,
    /// Its type.
    pub content_type: String,
    /// What the gateway has to say of it.
    pub marks: Vec<Mark>,
    /// Whether it names addresses of attachments.
    pub has_links: bool,
    /// The same with addresses in place of attachments, where that may be wanted.
    pub lean_body: Option<Blob>,
}

impl Rendered {
    /// A body that names no address.
    fn new(body: Blob, content_type: impl Into<String>, marks: Vec<Mark>) -> Rendered {
        Rendered { body, content_type: content_type.into(), marks, has_links: false, lean_body: None }
    }
}

/// The post that a body is for.
#[derive(Clone, Copy)]
pub struct About<'p> {
    /// Its id.
    pub id: PostId,
    /// What it is to be.
    pub plan: &'p Plan<'p>,
    /// What the message says about it.
    pub controls: &'p Controls,
    /// Where it goes.
    pub destination: &'p Destination,
}

/// Reason and mark of a message that is posted whole against its will.
const FAILED: Mark = ("Postgate-Parse", Cow::Borrowed("failed"));
/// Mark of a document that is posted because a template failed.
const UNFIT: Mark = ("Postgate-Template", Cow::Borrowed("failed"));
const REPAIRED: Mark = ("Postgate-Repaired", Cow::Borrowed("line-cuts"));
const REPAIRED_BASE64: Mark = ("Postgate-Repaired", Cow::Borrowed("base64"));

/// A header field that the gateway adds to a body.
type Mark = (&'static str, Cow<'static, str>);

/// Makes the bodies of one message's posts.
pub struct Renderer<'a> {
    limits: &'a Limits,
    templates: &'a Templates,
    links: Option<&'a Links>,
    envelope: &'a Envelope,
    raw: &'a Bytes,
    section: Section<'a>,
    parts: Result<Vec<Part<'a>>, Unreadable>,
    content: Option<Content<'a>>,
    /// What it reports, if any plan asks.
    events: Vec<Event>,
    recipients: Vec<&'a str>,
    received_at: Timestamp,
    blobs: Vec<Bytes>,
    composed: usize,
    /// Payload `body` for each type that was wanted.
    bodies: Vec<(Option<String>, Rendered)>,
    remarks: Vec<String>,
}

impl<'a> Renderer<'a> {
    /// A renderer for a message whose header section has been read; `plans` name
    /// its recipients.
    pub fn new(
        options: &'a Options,
        (envelope, receipt): (&'a Envelope, Receipt),
        (raw, section): (&'a Bytes, Section<'a>),
        plans: &'a [Plan],
    ) -> Renderer<'a> {
        let limits = &options.limits;
        let parts = mime::read(raw, &section, limits);
        let are_wanted = plans.iter().any(|plan| plan.matter != Matter::Mail);
        let events = match &parts {
            Ok(parts) if are_wanted => report::read(&envelope.reverse_path, &section.fields, parts),
            _ => Vec::new(),
        };
        Renderer {
            limits,
            templates: &options.templates,
            links: options.links.as_deref(),
            envelope,
            raw,
            parts,
            events,
            section,
            content: None,
            recipients: recipients(plans),
            received_at: receipt.received_at,
            blobs: vec![raw.clone()],
            composed: 0,
            bodies: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// All blobs, the raw message first, and the remarks.
    pub fn finish(self) -> (Vec<Bytes>, Vec<String>) {
        (self.blobs, self.remarks)
    }

    /// The body of one post. Refuses with `552 5.3.4` past the bounds.
    pub fn render(&mut self, about: About<'_>) -> Result<Rendered, Refusal> {
        let About { plan, controls, .. } = about;
        let wanted = plan.wanted_type(controls);
        if plan.matter != Matter::Mail && !self.events.is_empty() {
            return self.events(about.id, wanted);
        }
        let payload = controls.payload.as_ref().unwrap_or(&plan.payload).clone();
        let payload = match (&self.parts, payload) {
            (_, Payload::Raw | Payload::Vendor(Vendor::ActionMailbox)) => {
                return self.whole(wanted, Vec::new());
            }
            (Err(reason), _) => {
                let remark = format!("not taken apart, posted whole: {reason}");
                return self.unread(remark);
            }
            (Ok(parts), Payload::Auto) if wanted.is_some() || body::is_data(parts) => Payload::Body,
            (Ok(_), Payload::Auto) => Payload::Json,
            (Ok(_), payload) => payload,
        };
        match payload {
            Payload::Body => self.body(wanted),
            payload => self.mail(&payload, about),
        }
    }

    fn whole(&self, wanted: Option<&str>, marks: Vec<Mark>) -> Result<Rendered, Refusal> {
        let length = u32::try_from(self.raw.len()).map_err(|_| too_large())?;
        let body = Blob { number: 0, start: 0, length };
        Ok(Rendered::new(body, wanted.unwrap_or("message/rfc822"), marks))
    }

    fn unread(&mut self, remark: String) -> Result<Rendered, Refusal> {
        self.remark(remark);
        self.whole(None, vec![FAILED])
    }

    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    fn body(&mut self, wanted: Option<&str>) -> Result<Rendered, Refusal> {
        if let Some((_, known)) = self.bodies.iter().find(|(other, _)| other.as_deref() == wanted) {
            return Ok(known.clone());
        }
        let Body { octets, content_type, is_repaired, outcome } =
            body::body(self.parts.as_deref().unwrap_or_default(), wanted);
        let body = match octets {
            Cow::Borrowed(piece) => self.piece(piece)?,
            Cow::Owned(octets) => self.store(octets.into())?,
        };
        if is_repaired {
            self.remark("cuts of overlong lines undone".to_owned());
        }
        if outcome == Outcome::Undecodable {
            self.remark("a part is marked base64 and is not; posted as it came".to_owned());
        }
        let mut marks = self.doubts();
        if is_repaired {
            marks.push(REPAIRED);
        }
        if outcome == Outcome::Repaired {
            marks.push(self.repaired_base64());
        }
        let rendered = Rendered::new(body, content_type, marks);
        self.bodies.push((wanted.map(str::to_owned), rendered.clone()));
        Ok(rendered)
    }

    fn repaired_base64(&mut self) -> Mark {
        self.remark("what does not belong into base64 was left out".to_owned());
        REPAIRED_BASE64
    }

    /// What has to be said of all that is made of the content.
    fn content_marks(&mut self, content: &Content<'_>) -> Vec<Mark> {
        let mut marks = self.doubts();
        if content.is_repaired {
            marks.push(self.repaired_base64());
        }
        marks
    }

    /// What others may read otherwise.
    fn doubts(&mut self) -> Vec<Mark> {
        let doubts = doubts(self.parts.as_deref().unwrap_or_default()).join(", ");
        if doubts.is_empty() {
            return Vec::new();
        }
        self.remark(format!("others may read it otherwise, for what stands twice or has no end: {doubts}"));
        vec![("Postgate-Ambiguous", doubts.into())]
    }

    fn json(
        &mut self,
        about: About<'_>,
        content: &Content<'_>,
        attachments: &[AttachmentForm<'_>],
        wanted: Option<&str>,
    ) -> Result<Rendered, Refusal> {
        let document = self.document(about, content, attachments);
        let likely = content.likely(attachments);
        let (limit, is_tight) = self.room(content);
        let octets = json_octets::write(&document, likely, limit);
        let Some(octets) = octets else { return self.too_long(is_tight) };
        let marks = self.content_marks(content);
        Ok(Rendered::new(self.store(octets)?, wanted.unwrap_or("application/json"), marks))
    }

    fn document<'s>(
        &'s self,
        about: About<'s>,
        content: &'s Content<'s>,
        attachments: &'s [AttachmentForm<'s>],
    ) -> Document<'s> {
        Document {
            id: about.id.to_string(),
            received_at: when::rfc3339(self.received_at),
            envelope: self.envelope_form(about.plan),
            content,
            attachments,
            size: self.raw.len(),
            raw: self.raw,
            tags: &about.controls.tags,
            raw_url: None,
        }
    }

    /// What a template makes; the document when it makes nothing of this mail.
    fn template(
        &mut self,
        name: &str,
        about: About<'_>,
        content: &Content<'_>,
        attachments: &[AttachmentForm<'_>],
    ) -> Result<Rendered, Refusal> {
        let (limit, _) = self.room(content);
        let document = self.document(about, content, attachments);
        match self.templates.render(name, &document, about.plan.vars(), limit) {
            Ok(made) => {
                let content_type = about.plan.wanted_type(about.controls).unwrap_or(made.content_type);
                let marks = self.content_marks(content);
                Ok(Rendered::new(self.store(made.octets)?, content_type, marks))
            }
            Err(reason) => {
                self.remark(format!("template {name} failed, posted as json: {reason}"));
                let mut rendered = self.json(about, content, attachments, None)?;
                rendered.marks.push(UNFIT);
                Ok(rendered)
            }
        }
    }

    fn formed(
        &mut self,
        about: About<'_>,
        content: &Content<'_>,
        attachments: &[AttachmentForm<'_>],
        form: impl FnOnce(&Mail<'_>, usize) -> Option<Formed>,
    ) -> Result<Rendered, Refusal> {
        let mail = Mail {
            id: about.id,
            received_at: self.received_at,
            envelope: self.envelope_form(about.plan),
            raw: self.raw,
            fields: &self.section.fields,
            content,
            attachments,
            tags: &about.controls.tags,
            fixed: about.plan.fixed_headers(),
        };
        let (limit, is_tight) = self.room(content);
        let Some(formed) = form(&mail, limit) else { return self.too_long(is_tight) };
        let mut marks = self.content_marks(content);
        marks.extend(formed.headers.into_iter().map(|(name, value)| (name, value.into())));
        Ok(Rendered::new(self.store(formed.octets)?, formed.content_type, marks))
    }

    /// What the message says, read once.
    fn content(&mut self) -> Content<'a> {
        let parts = self.parts.as_deref().unwrap_or_default();
        self.content.take().unwrap_or_else(|| Content::read(&self.section.fields, parts))
    }

    /// How long one more body may be, and whether it is the message's other posts
    /// that leave no more.
    fn room(&self, content: &Content) -> (usize, bool) {
        // With the message and what is decoded of it no more than four times its size.
        let fourfold = (3 * self.raw.len() + SMALL).saturating_sub(content.held());
        let left = self.limits.composed_octets.saturating_sub(self.composed);
        (fourfold.min(left), left < fourfold)
    }

    fn too_long(&mut self, is_tight: bool) -> Result<Rendered, Refusal> {
        if is_tight {
            return Err(too_large());
        }
        self.unread("posted whole: in its format it would take more than four times the memory".to_owned())
    }

    fn envelope_form<'s>(&'s self, plan: &'s Plan) -> EnvelopeForm<'s> {
        let client = &self.envelope.client;
        EnvelopeForm {
            from: &self.envelope.reverse_path,
            to: &plan.recipient,
            recipients: &self.recipients,
            helo: &client.helo,
            remote_ip: client.address.map(|address| address.to_canonical().to_string()),
            tls: client.tls.as_ref().map(|tls| tls.version),
            user: client.login.as_deref(),
            detail: plan.detail,
        }
    }

    /// A body that is part of the message.
    fn piece(&self, piece: &[u8]) -> Result<Blob, Refusal> {
        let start = (piece.as_ptr() as usize).wrapping_sub(self.raw.as_ptr() as usize);
        // An empty piece may be a constant that stands elsewhere.
        let start = if piece.is_empty() { 0 } else { start };
        let start = u32::try_from(start).map_err(|_| too_large())?;
        let length = u32::try_from(piece.len()).map_err(|_| too_large())?;
        Ok(Blob { number: 0, start, length })
    }

    /// A body of its own, unless another post has the same one.
    fn store(&mut self, octets: Bytes) -> Result<Blob, Refusal> {
        let length = u32::try_from(octets.len()).map_err(|_| too_large())?;
        let known = self.blobs.iter().position(|blob| *blob == octets);
        let number = u16::try_from(known.unwrap_or(self.blobs.len())).map_err(|_| too_large())?;
        if known.is_none() {
            self.composed += octets.len();
            if self.composed > self.limits.composed_octets {
                return Err(too_large());
            }
            self.blobs.push(octets);
        }
        Ok(Blob { number, start: 0, length })
    }
}

/// A document up to so many octets may be any multiple of its message.
const SMALL: usize = 4 * 1024 * 1024;

/// The recipients, each once, however many plans it has.
fn recipients<'a>(plans: &'a [Plan]) -> Vec<&'a str> {
    let mut before = None;
    let firsts = plans.iter().filter(|plan| before.replace(plan.at) != Some(plan.at));
    firsts.map(|plan| plan.recipient.as_str()).collect()
}

/// The refusal of a message whose posts would not fit.
pub fn too_large() -> Refusal {
    Refusal::new(
        552,
        (3, 4),
        "the posts of this message would take too much room; send it to fewer recipients",
    )
}
