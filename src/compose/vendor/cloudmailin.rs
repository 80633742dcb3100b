//! CloudMailin, JSON (normalized): <https://docs.cloudmailin.com/http_post_formats/json_normalized/>.
//!
//! Names of header fields are in lower case with underscores; one that stands there
//! several times has a list. SPF is not checked: its result is `none`, of the
//! domain of the reverse-path; what others say of that or of spam is left out.

use super::super::address;
use super::super::json::AttachmentForm;
use super::document::{self, Long, Octets};
use super::{Formed, Mail, fields};
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Inbound<'a> {
    headers: Headers<'a>,
    envelope: Envelope<'a>,
    plain: Long<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<Long<'a>>,
    reply_plain: Long<'a>,
    attachments: Vec<File<'a>>,
}

/// Values by normalized name, in the order of the first of each.
struct Headers<'a>(Vec<(String, Vec<&'a str>)>);

#[derive(Serialize)]
struct Envelope<'a> {
    to: &'a str,
    recipients: &'a [&'a str],
    from: &'a str,
    helo_domain: &'a str,
    remote_ip: &'a str,
    tls: bool,
    spf: Spf<'a>,
}

#[derive(Serialize)]
struct Spf<'a> {
    result: &'static str,
    domain: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Octets<'a>>,
    file_name: &'a str,
    content_type: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

/// The message as CloudMailin posts it.
pub fn form(mail: &Mail<'_>, limit: usize) -> Option<Formed> {
    let envelope = &mail.envelope;
    let inbound = Inbound {
        headers: Headers::of(mail),
        envelope: Envelope {
            to: envelope.to,
            recipients: envelope.recipients,
            from: envelope.from,
            helo_domain: envelope.helo,
            remote_ip: envelope.remote_ip.as_deref().unwrap_or_default(),
            tls: envelope.tls.is_some(),
            spf: Spf { result: "none", domain: address::domain(envelope.from) },
        },
        plain: mail.text(),
        html: mail.html(),
        reply_plain: mail.reply(),
        attachments: mail.attachments.iter().filter_map(File::of).collect(),
    };
    document::json(&inbound, mail, limit)
}

impl<'a> Headers<'a> {
    fn of(mail: &Mail<'a>) -> Headers<'a> {
        let mut found = vec![("return_path".to_owned(), vec![mail.envelope.from])];
        let shown = mail.content.headers.iter().filter(|(name, _)| !fields::is_verdict(name));
        for (name, value) in shown {
            let name = fields::underscored(name);
            match found.iter_mut().find(|(other, _)| *other == name) {
                // The envelope knows better.
                Some(_) if name == "return_path" => {}
                Some((_, values)) => values.push(value),
                None => found.push((name, vec![value])),
            }
        }
        Headers(found)
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Values<'a> {
            One(&'a str),
            Several(&'a [&'a str]),
        }
        serializer.collect_map(self.0.iter().map(|(name, values)| match values.as_slice() {
            [value] => (name, Values::One(value)),
            values => (name, Values::Several(values)),
        }))
    }
}

impl<'a> File<'a> {
    /// Nothing of an attachment that does not come at all.
    fn of(form: &'a AttachmentForm<'_>) -> Option<File<'a>> {
        let (attachment, url) = (form.attachment, form.url.as_deref());
        Some(File {
            content: form.content.map(Octets),
            file_name: attachment.filename.as_deref().unwrap_or_default(),
            content_type: &attachment.content_type,
            size: attachment.size,
            disposition: attachment.disposition.as_deref(),
            content_id: attachment.content_id.as_deref(),
            url,
        })
        .filter(|file| file.content.is_some() || url.is_some())
    }
}
