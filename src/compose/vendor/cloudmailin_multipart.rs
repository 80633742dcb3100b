//! CloudMailin, multipart (normalized): keys of nested objects in brackets.
//!
//! Header names are in lower case with underscores; a field that comes several
//! times has a number each, as elements of an array. `envelope[spf]` is always
//! there and says `none`: nothing was checked.

use super::super::address;
use super::super::json::AttachmentForm;
use super::fields::{UNCHECKED, is_verdict, underscored};
use super::form::Form;
use super::{Formed, Mail};
use std::collections::HashMap;

/// The message in fields.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let envelope = &mail.envelope;
    let mut form = Form::default();
    form.text("plain", content.text.as_ref().map_or("", |text| text.as_str()));
    form.text_if_any("html", content.html.as_ref().map(|html| html.as_str()));
    form.text_if_any("reply_plain", content.text_reply.as_ref().map(|reply| reply.as_str()));
    headers(mail, &mut form);
    form.text("envelope[to]", envelope.to);
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        form.text(format!("envelope[recipients][{at}]"), *recipient);
    }
    form.text("envelope[from]", envelope.from);
    form.text("envelope[helo_domain]", envelope.helo);
    form.text_if_any("envelope[remote_ip]", envelope.remote_ip.as_deref());
    form.text("envelope[spf][result]", UNCHECKED);
    form.text("envelope[spf][domain]", address::domain(envelope.from));
    let come = mail.attachments.iter().filter(|file| file.content.is_some() || file.url.is_some());
    come.enumerate().for_each(|(at, file)| attachment(&mut form, at, file));
    form.multipart(mail.id, mail.raw, limit)
}

/// A file, or where it is stored and what is known of it.
fn attachment<'a>(form: &mut Form<'a>, at: usize, file: &'a AttachmentForm<'_>) {
    let Some(url) = file.url.as_deref() else {
        return form.file(format!("attachments[{at}]"), file.number, file.attachment);
    };
    let name = |key: &str| format!("attachments[{at}][{key}]");
    form.text(name("file_name"), file.attachment.filename.as_deref().unwrap_or_default());
    form.text(name("content_type"), file.attachment.content_type.as_str());
    form.text(name("size"), file.attachment.size.to_string());
    if let Some(disposition) = file.attachment.disposition.as_deref() {
        form.text(name("disposition"), disposition);
    }
    form.text(name("url"), url);
}

/// All header fields. The return path is the envelope's, which knows better than
/// the message.
fn headers<'a>(mail: &'a Mail<'_>, form: &mut Form<'a>) {
    form.text("headers[return_path]", mail.envelope.from);
    let fields = mail.content.headers.iter().filter(|(name, _)| !is_verdict(name));
    let fields = fields.map(|(name, value)| (underscored(name), value.as_str()));
    let fields: Vec<_> = fields.filter(|(name, _)| name != "return_path").collect();
    let mut counts = HashMap::new();
    for (name, _) in &fields {
        *counts.entry(name.as_str()).or_insert(0_usize) += 1;
    }
    let mut seen = HashMap::new();
    for (name, value) in &fields {
        if counts.get(name.as_str()) == Some(&1) {
            form.text(format!("headers[{name}]"), *value);
        } else {
            let number = seen.entry(name.as_str()).or_insert(0_usize);
            form.text(format!("headers[{name}][{number}]"), *value);
            *number += 1;
        }
    }
}
