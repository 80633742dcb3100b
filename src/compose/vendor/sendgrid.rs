//! SendGrid Inbound Parse: `multipart/form-data`, either taken apart or, with
//! "send raw", with the message in one field.
//!
//! All fields are UTF-8, and `charsets` says so. `dkim` and `SPF` are `none`:
//! they are always there and nothing was checked. `spam_report` and `spam_score`
//! are left out, as SendGrid does where mail is not checked. `envelope` names the
//! one recipient of the post.

use super::fields::{Pairs, UNCHECKED, block, first, first_if_any, json};
use super::form::Form;
use super::{Formed, Mail, filename};
use serde::Serialize;

/// What `attachment-info` says of a file; its name is as it came.
#[derive(Serialize)]
struct File<'a> {
    filename: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "content-id", skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    to: [&'a str; 1],
    from: &'a str,
}

/// The message in fields.
pub fn parsed(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let name = |number: usize| format!("attachment{}", number + 1);
    let mut form = Form::default();
    form.text("headers", block(mail.fields));
    form.text("dkim", UNCHECKED);
    let files = mail.files().enumerate();
    let ids: Vec<_> =
        files.clone().filter_map(|(at, file)| Some((file.content_id.as_deref()?, name(at)))).collect();
    if !ids.is_empty() {
        form.text("content-ids", json(&Pairs(ids)));
    }
    form.text("to", first(content, "To"));
    form.text_if_any("cc", first_if_any(content, "Cc"));
    form.text_if_any("text", content.text.as_ref().map(|text| text.as_str()));
    form.text_if_any("html", content.html.as_ref().map(|html| html.as_str()));
    form.text("from", first(content, "From"));
    form.text_if_any("sender_ip", mail.envelope.remote_ip.as_deref());
    form.text("envelope", envelope(mail));
    form.text("attachments", mail.files().count().to_string());
    form.text("subject", first(content, "Subject"));
    if mail.files().next().is_some() {
        let files = files.clone().map(|(at, file)| {
            let called = file.filename.clone().unwrap_or_else(|| filename::safe(None, at + 1));
            let (kind, content_id) = (file.content_type.as_str(), file.content_id.as_deref());
            (name(at), File { filename: called.clone(), name: called, kind, content_id })
        });
        form.text("attachment-info", json(&Pairs(files.collect())));
    }
    form.text("charsets", charsets(mail, &["text", "html"]));
    form.text("SPF", UNCHECKED);
    files.for_each(|(at, file)| form.file(name(at), at + 1, file));
    form.multipart(mail.id, mail.raw, limit)
}

/// The message byte for byte in `email`, and what its envelope and header say.
pub fn raw(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let mut form = Form::default();
    form.octets("email", &**mail.raw);
    form.text("to", first(content, "To"));
    form.text_if_any("cc", first_if_any(content, "Cc"));
    form.text("from", first(content, "From"));
    form.text_if_any("sender_ip", mail.envelope.remote_ip.as_deref());
    form.text("envelope", envelope(mail));
    form.text("subject", first(content, "Subject"));
    form.text("charsets", charsets(mail, &[]));
    form.text("dkim", UNCHECKED);
    form.text("SPF", UNCHECKED);
    form.multipart(mail.id, mail.raw, limit)
}

fn envelope(mail: &Mail<'_>) -> String {
    json(&Envelope { to: [mail.envelope.to], from: mail.envelope.from })
}

/// The charset of each field that was text in the message, as far as it is there.
fn charsets(mail: &Mail<'_>, bodies: &[&'static str]) -> String {
    let content = mail.content;
    let is_there = |name: &&'static str| match *name {
        "cc" => first_if_any(content, "Cc").is_some(),
        "text" => content.text.is_some(),
        "html" => content.html.is_some(),
        _ => true,
    };
    let names = ["to", "cc", "from", "subject"].iter().chain(bodies).copied().filter(is_there);
    json(&Pairs(names.map(|name| (name, "UTF-8")).collect()))
}
