//! The formats of a post's body, by their names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The format of a post's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// `body` for data, `json` for mail.
    Auto,
    /// The message's text or data.
    Body,
    /// The parsed mail.
    Json,
    /// The message byte for byte.
    Raw,
    /// The parsed mail as a form: its document, then each attachment as a file.
    Multipart,
    /// What another product's receivers expect.
    Vendor(Vendor),
    /// What a template of this name makes of the parsed mail.
    Template(Arc<str>),
}

/// A product whose inbound webhooks are spoken, so that what was written for it
/// works unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// SendGrid Inbound Parse, fields.
    SendGrid,
    /// SendGrid Inbound Parse, "send raw".
    SendGridRaw,
    /// Mailgun Routes, `forward()`.
    Mailgun,
    /// Mailgun Routes, `forward()` to a URL that ends in `mime`.
    MailgunMime,
    /// Postmark inbound.
    Postmark,
    /// CloudMailin, JSON (normalized).
    CloudMailin,
    /// CloudMailin, multipart (normalized).
    CloudMailinMultipart,
    /// Postal HTTP endpoint, hash.
    Postal,
    /// Postal HTTP endpoint, raw message.
    PostalRaw,
    /// Amazon SES through an SNS topic.
    SesSns,
    /// smtp2http.
    Smtp2Http,
    /// The relay ingress of Rails' Action Mailbox.
    ActionMailbox,
}

impl Payload {
    /// Types of forms that its bodies may have, without parameters; none where they
    /// are no forms. What a template makes, its file says.
    pub fn forms(&self) -> &'static [&'static str] {
        use Vendor::{CloudMailinMultipart, Mailgun, MailgunMime, SendGrid, SendGridRaw};
        match self {
            // As its sender named it.
            Payload::Auto | Payload::Body => &[URLENCODED, MULTIPART],
            Payload::Vendor(Mailgun | MailgunMime) => &[URLENCODED, MULTIPART],
            Payload::Multipart => &[MULTIPART],
            Payload::Vendor(SendGrid | SendGridRaw | CloudMailinMultipart) => &[MULTIPART],
            Payload::Json | Payload::Raw | Payload::Vendor(_) | Payload::Template(_) => &[],
        }
    }
}

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// All formats but templates.
const NAMES: &[(&str, Payload)] = &[
    ("auto", Payload::Auto),
    ("body", Payload::Body),
    ("json", Payload::Json),
    ("raw", Payload::Raw),
    ("multipart", Payload::Multipart),
    ("sendgrid", Payload::Vendor(Vendor::SendGrid)),
    ("sendgrid-raw", Payload::Vendor(Vendor::SendGridRaw)),
    ("mailgun", Payload::Vendor(Vendor::Mailgun)),
    ("mailgun-mime", Payload::Vendor(Vendor::MailgunMime)),
    ("postmark", Payload::Vendor(Vendor::Postmark)),
    ("cloudmailin", Payload::Vendor(Vendor::CloudMailin)),
    ("cloudmailin-multipart", Payload::Vendor(Vendor::CloudMailinMultipart)),
    ("postal", Payload::Vendor(Vendor::Postal)),
    ("postal-raw", Payload::Vendor(Vendor::PostalRaw)),
    ("ses-sns", Payload::Vendor(Vendor::SesSns)),
    ("smtp2http", Payload::Vendor(Vendor::Smtp2Http)),
    ("action-mailbox", Payload::Vendor(Vendor::ActionMailbox)),
];

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Payload, String> {
        if let Some((_, payload)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(payload.clone());
        }
        match text.strip_prefix("template:") {
            Some(name) if !name.is_empty() => Ok(Payload::Template(name.into())),
            _ => {
                let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                Err(format!("no such payload format; expected {} or template:NAME", names.join(", ")))
            }
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Template(name) => write!(f, "template:{name}"),
            other => {
                f.write_str(NAMES.iter().find(|(_, payload)| payload == other).map_or("", |(name, _)| name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in NAMES.iter().map(|(name, _)| *name).chain(["template:slack"]) {
            assert_eq!(name.parse::<Payload>().map(|payload| payload.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "xml", "JSON", "template", "template:"] {
            assert!(name.parse::<Payload>().unwrap_err().contains("template:NAME"), "{name}");
        }
    }
}
