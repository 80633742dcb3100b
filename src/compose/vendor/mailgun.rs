//! Mailgun Routes, `forward()`: taken apart, or for URLs that end in `mime` with
//! the message in one field.
//!
//! Without files a form is `application/x-www-form-urlencoded`, with files, or
//! when it is large, `multipart/form-data`. Every header field is a field of the
//! form as well, with the capitals that Mailgun gives it. `timestamp`, `token`
//! and `signature` are added at each attempt by a signing key.
//!
//! Nothing was checked, so `X-Mailgun-Spf`, `-Sflag` and the like are not there.
//! Those that a stranger wrote are taken out: receivers would believe them. Nor
//! can a header field pass for one of the form's own, such as `recipient`.

use super::super::{contents, reply};
use super::fields::{Pairs, capitalised, first, json};
use super::form::Form;
use super::{Formed, Mail};

/// Forms up to about so many octets can be urlencoded: receivers bound those
/// (Rack at 4 MiB), and an octet may take three.
const SMALL: usize = 1024 * 1024;

/// The message in fields.
pub fn parsed(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let content = mail.content;
    let text = content.text.as_ref().map_or("", |text| text.as_str());
    let new = content.text_reply.as_ref().map_or("", |reply| reply.as_str());
    let html = content.html.as_ref().map(|html| html.as_str());
    let (stripped, signature) = reply::split_signature(new);
    let headers = headers(mail);
    let mut form = begin(mail, &headers);
    form.text("body-plain", text);
    form.text_if_any("body-html", html);
    form.text("stripped-text", stripped);
    form.text("stripped-signature", signature);
    // Of a long page it would be another long page.
    if let Some(html) = html.filter(|html| html.len() <= contents::MOST) {
        form.text("stripped-html", reply::without_quoted_html(html));
    }
    form.text("attachment-count", mail.files().count().to_string());
    let name = |at: usize| format!("attachment-{}", at + 1);
    let mut ids = Vec::new();
    for (at, file) in mail.files().enumerate() {
        form.file(name(at), at + 1, file);
        ids.extend(file.content_id.as_ref().map(|id| (format!("<{id}>"), name(at))));
    }
    if !ids.is_empty() {
        form.text("content-id-map", json(&Pairs(ids)));
    }
    form.text("message-headers", json(&headers));
    finish(mail, &form, limit)
}

/// The message byte for byte in `body-mime`.
pub fn mime(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let headers = headers(mail);
    let mut form = begin(mail, &headers);
    form.text("message-headers", json(&headers));
    form.octets("body-mime", &**mail.raw);
    finish(mail, &form, limit)
}

/// The envelope, and all header fields as fields.
fn begin<'a>(mail: &'a Mail<'_>, headers: &'a [(String, &'a str)]) -> Form<'a> {
    let mut form = Form::default();
    form.text("recipient", mail.envelope.to);
    form.text("sender", mail.envelope.from);
    form.text("from", first(mail.content, "From"));
    form.text("subject", first(mail.content, "Subject"));
    for (name, value) in headers.iter().filter(|(name, _)| !is_taken(name)) {
        form.text(name.as_str(), *value);
    }
    form
}

fn finish(mail: &Mail<'_>, form: &Form<'_>, limit: usize) -> Option<Formed> {
    match mail.files().next().is_none() && form.likely() < SMALL {
        true => form.urlencoded(limit),
        false => form.multipart(mail.id, mail.raw, limit),
    }
}

/// All header fields as Mailgun shows them, its own first.
fn headers<'a>(mail: &'a Mail<'_>) -> Vec<(String, &'a str)> {
    let own = [("X-Mailgun-Incoming", "Yes"), ("X-Envelope-From", mail.envelope.from)];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let others = mail.content.headers.iter().map(|(name, value)| (capitalised(name), value.as_str()));
    own.chain(others.filter(|(name, _)| !name.starts_with("X-Mailgun-") && name != "X-Envelope-From"))
        .collect()
}

/// Whether a header field of this name, in capitals of ours, would pass for a
/// field of the form. `From`, `Sender` and `Subject` differ by their capitals, in
/// Mailgun's forms too.
fn is_taken(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["body-", "stripped-", "attachment-"].iter().any(|start| name.starts_with(start))
        || matches!(
            name.as_str(),
            "recipient"
                | "attachments"
                | "content-id-map"
                | "message-headers"
                | "timestamp"
                | "token"
                | "signature"
                | "event"
        )
}
