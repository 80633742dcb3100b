//! CloudMailin, multipart (normalized): keys of nested objects in brackets.
//!
//! Header names are in lower case with underscores; a field that comes several
//! times has a number each, as elements of an array. `envelope[spf]` is always
//! there and says `none`: nothing was checked.

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
    form.text("envelope[spf][domain]", envelope.from.rsplit_once('@').map_or("", |(_, domain)| domain));
    for (at, file) in content.attachments.iter().enumerate() {
        form.file(format!("attachments[{at}]"), at + 1, file);
    }
    form.multipart(mail.id, mail.raw, limit)
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
