//! What a template sees of a mail: the fields of its `json` document, and the
//! route's `vars`.
//!
//! Values of a template are its own; so only fields whose names stand in it are made,
//! and a text or an attachment that it does not name costs nothing.

use super::super::json::{AttachmentForm, Document};
use data_encoding::BASE64;
use minijinja::Value;
use minijinja::value::Serde;
use std::collections::HashSet;

/// A route's own words for its template.
pub type Vars = [(String, String)];

/// All that it can name.
const FIELDS: [&str; 23] = [
    "id",
    "received_at",
    "envelope",
    "message_id",
    "date",
    "subject",
    "from",
    "reply_to",
    "to",
    "cc",
    "bcc",
    "sender",
    "in_reply_to",
    "references",
    "headers",
    "text",
    "html",
    "text_reply",
    "attachments",
    "size",
    "tags",
    "raw_url",
    "vars",
];

/// What a template names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    fields: Vec<&'static str>,
    contents: Contents,
}

/// Whether the octets of attachments are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    Wanted,
    LeftOut,
}

impl Needs {
    /// Reads them off the source of a template. Every word counts: which of them are
    /// variables may depend on what is set before.
    pub fn of(source: &str) -> Needs {
        let is_part = |char: char| char.is_alphanumeric() || char == '_';
        let words: HashSet<_> = source.split(|char| !is_part(char)).collect();
        let fields = FIELDS.into_iter().filter(|name| words.contains(name)).collect();
        let is_end = |rest: &str| !rest.starts_with(is_part);
        let contents = match source.split(".content").skip(1).any(is_end) {
            true => Contents::Wanted,
            false => Contents::LeftOut,
        };
        Needs { fields, contents }
    }

    /// The variables of one rendering, and how many octets of large fields were
    /// copied for them.
    pub fn context(&self, document: &Document<'_>, vars: &Vars) -> (Value, usize) {
        let mut copied = 0;
        let mut text = |text: Option<&str>| {
            copied += text.map_or(0, str::len);
            Value::from(text)
        };
        let content = document.content;
        let mut all = Vec::new();
        for name in &self.fields {
            let value = match *name {
                "text" => text(content.text.as_deref().map(|text| text.as_str())),
                "html" => text(content.html.as_ref().map(|html| html.as_str())),
                "text_reply" => text(content.text_reply.as_ref().map(|reply| reply.as_str())),
                "attachments" => {
                    let all = document.attachments.iter();
                    all.map(|form| self.attachment(form, &mut text)).collect()
                }
                "vars" => Value::from_pairs(vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
                name => match small(document, name) {
                    Some(value) => value,
                    None => continue,
                },
            };
            all.push((*name, value));
        }
        (Value::from_pairs(all), copied)
    }

    fn attachment(&self, form: &AttachmentForm<'_>, text: &mut impl FnMut(Option<&str>) -> Value) -> Value {
        let attachment = form.attachment;
        let mut fields = vec![
            ("filename", Value::from(attachment.filename.as_deref())),
            ("content_type", Value::from(attachment.content_type.as_str())),
            ("content_id", Value::from(attachment.content_id.as_deref())),
            ("disposition", Value::from(attachment.disposition.as_deref())),
            ("size", Value::from(attachment.size)),
            ("sha256", Value::from(attachment.sha256())),
            ("url", Value::from(form.url.as_deref())),
        ];
        if self.contents == Contents::Wanted {
            fields.push(("content", text(form.content.map(|octets| BASE64.encode(octets)).as_deref())));
        }
        Value::from_pairs(fields)
    }
}

/// A field that is bounded by the header section.
fn small(document: &Document<'_>, name: &str) -> Option<Value> {
    let content = document.content;
    Some(match name {
        "id" => Value::from(document.id.as_str()),
        "received_at" => Value::from(document.received_at.as_str()),
        "envelope" => Value::from(Serde(&document.envelope)),
        "message_id" => Value::from(content.message_id.as_deref()),
        "date" => Value::from(content.date.as_deref()),
        "subject" => Value::from(content.subject.as_deref()),
        "from" => Value::from(Serde(&content.from)),
        "reply_to" => Value::from(Serde(&content.reply_to)),
        "to" => Value::from(Serde(&content.to)),
        "cc" => Value::from(Serde(&content.cc)),
        "bcc" => Value::from(Serde(&content.bcc)),
        "sender" => Value::from(Serde(&content.sender)),
        "in_reply_to" => Value::from(Serde(&content.in_reply_to)),
        "references" => Value::from(Serde(&content.references)),
        "headers" => Value::from(Serde(&content.headers)),
        "size" => Value::from(document.size),
        "tags" => Value::from(Serde(document.tags)),
        "raw_url" => Value::from(document.raw_url),
        _ => return None,
    })
}
