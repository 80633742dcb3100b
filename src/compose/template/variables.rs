//! What a template sees of a mail: the fields of its `json` document, and the
//! route's `vars`.
//!
//! Values of a template are its own; so only fields whose names stand in it are made,
//! and a text or an attachment that it does not name costs nothing.

use super::super::json::{AttachmentForm, Document};
use super::super::pieces::{Reply, Text};
use super::output::{Base64, Verbatim};
use bytes::Bytes;
use data_encoding::BASE64;
use minijinja::Value;
use minijinja::value::Serde;
use regex::Regex;
use std::cell::Cell;
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

/// Text that may be as long as the message.
const LARGE: [&str; 2] = ["text", "html"];

/// What a template names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    fields: Vec<&'static str>,
    /// Those of [`LARGE`] that are printed as they are, and nothing else.
    printed: Vec<&'static str>,
    contents: Contents,
}

/// Whether the octets of attachments are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    Wanted,
    /// Only printed.
    Printed,
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
            true if is_only_printed(source, r"[\w.\[\]]+\.", "content") => Contents::Printed,
            true => Contents::Wanted,
            false => Contents::LeftOut,
        };
        let printed = LARGE.into_iter().filter(|name| is_only_printed(source, "", name)).collect();
        Needs { fields, printed, contents }
    }

    /// The variables of one rendering, and how many octets of large fields were
    /// copied for them.
    pub fn context(&self, document: &Document<'_>, vars: &Vars) -> (Value, usize) {
        let copied = Cell::new(0);
        let content = document.content;
        let text = |name: &str, text: Option<&Text<'_>>| match text {
            Some(text) if self.printed.contains(&name) => {
                Value::from_object(Verbatim(text.shared(document.raw)))
            }
            text => {
                copied.update(|copied| copied + text.map_or(0, |text| text.as_str().len()));
                Value::from(text.map(Text::as_str))
            }
        };
        let mut all = Vec::new();
        for name in &self.fields {
            let value = match *name {
                "text" => text(name, content.text.as_deref()),
                "html" => text(name, content.html.as_ref()),
                "text_reply" => Value::from(content.text_reply.as_ref().map(Reply::as_str)),
                "attachments" => {
                    let all = document.attachments.iter();
                    all.map(|form| self.attachment(form, document.raw, &copied)).collect()
                }
                "vars" => Value::from_pairs(vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
                name => match small(document, name) {
                    Some(value) => value,
                    None => continue,
                },
            };
            all.push((*name, value));
        }
        (Value::from_pairs(all), copied.get())
    }

    fn attachment(&self, form: &AttachmentForm<'_>, message: &Bytes, copied: &Cell<usize>) -> Value {
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
        let content = form.content.map(|octets| match self.contents {
            Contents::LeftOut => Value::UNDEFINED,
            // Encoded when it is printed.
            Contents::Printed => Value::from_object(Base64(attachment.content.shared(message))),
            Contents::Wanted => {
                let text = BASE64.encode(octets);
                copied.update(|copied| copied + text.len());
                Value::from(text)
            }
        });
        if self.contents != Contents::LeftOut {
            fields.push(("content", content.unwrap_or(Value::from(()))));
        }
        Value::from_pairs(fields)
    }
}

/// Whether a template does nothing with what has this name but print it, as it is or as
/// JSON, and ask whether it is there: then it need not be a text of the template's own.
/// `owner` is what may stand before the name.
fn is_only_printed(source: &str, owner: &str, name: &str) -> bool {
    let operand = format!(r"\s*{owner}{name}\s*");
    let print = format!(r"^\{{\{{[-+]?{operand}(\|\s*tojson\s*)?[-+]?\}}\}}$");
    let ask = format!(r"^\{{%[-+]?\s*(el)?if\s(\s*not\s)?{operand}[-+]?%\}}$");
    let (Ok(tags), Ok(named), Ok(plain)) = (
        Regex::new(r"(?s)\{\{.*?\}\}|\{%.*?%\}"),
        Regex::new(&format!(r"\b{name}\b")),
        Regex::new(&format!("{print}|{ask}")),
    ) else {
        return false;
    };
    // One that has braces, or half a text, in it may end elsewhere.
    let is_clear = |tag: &str| {
        let is_whole = |quote: char| tag.matches(quote).count().is_multiple_of(2);
        tag.matches(['{', '}']).count() <= 4 && is_whole('"') && is_whole('\'')
    };
    tags.find_iter(source)
        .map(|tag| tag.as_str())
        .all(|tag| plain.is_match(tag) || is_clear(tag) && !named.is_match(tag))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_template_s_own_unless_it_is_only_printed() {
        for (source, expected) in [
            ("{{ html }}{{ text }}", vec!["text", "html"]),
            ("{\"html\": {{html|tojson}}, \"text\": {{- text | tojson -}}}", vec!["text", "html"]),
            ("{% if html %}{{ html }}{%- elif not text -%}{% endif %}", vec!["text", "html"]),
            ("{{ html|truncate(3) }}{{ text }}", vec!["text"]),
            ("{% set text = html %}", vec![]),
            ("{{ html\n}}{{ html|tojson|upper }}{{ text_reply }}", vec!["text"]),
            ("{% for word in html|split %}{% endfor %}{{ text[:3] }}", vec![]),
            ("{{ html if html else text }}", vec![]),
            ("{{ {\"a\": {\"b\": {\"s\": subject}}, \"c\": text[:5]} }}{{ html }}", vec![]),
            ("{{ \"}}\" ~ text[:5] }}{{ html }}", vec![]),
            ("{{ vars.a|default('x') }}{{ html }}", vec!["text", "html"]),
        ] {
            assert_eq!(Needs::of(source).printed, expected, "{source}");
        }
    }
}
