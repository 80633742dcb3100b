//! Payload `multipart`: the `json` document in the field `message`, without the
//! contents of attachments, then each attachment as a file, `attachment-1` and on, but
//! for those that come as addresses or not at all.
//!
//! The document's octets need no search for the boundary's sake alone: it has no
//! line ends. The whole form is searched all the same.

use super::super::json::{AttachmentForm, Document};
use super::super::json_octets;
use super::super::when;
use super::form::Form;
use super::{Formed, Mail};

/// What a document holds besides text, about.
const BESIDES: usize = 8 * 1024;

/// The message as a form; `None` when it would take more than `limit` octets.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let bare: Vec<_> = mail.attachments.iter().map(AttachmentForm::bare).collect();
    let document = Document {
        id: mail.id.to_string(),
        received_at: when::rfc3339(mail.received_at),
        envelope: mail.envelope.clone(),
        content,
        attachments: &bare,
        size: mail.raw.len(),
        raw: mail.raw,
        tags: mail.tags,
        raw_url: None,
    };
    let text = content.text.as_ref().map_or(0, |text| text.as_str().len());
    let html = content.html.as_ref().map_or(0, |html| html.as_str().len());
    let reply = content.text_reply.as_ref().map_or(0, |reply| reply.as_str().len());
    let mut form = Form::default();
    let write = Box::new(|out: &mut dyn std::io::Write| json_octets::serialize(&document, out));
    form.document("message", text + html + reply + BESIDES, write);
    for file in mail.attachments.iter().filter(|form| form.content.is_some()) {
        form.file(format!("attachment-{}", file.number), file.number, file.attachment);
    }
    form.multipart(mail.id, mail.raw, limit)
}
