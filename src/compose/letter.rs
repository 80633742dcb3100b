//! A message as people read it: its header fields, text and page, and what is attached.
//!
//! For whoever looks at a post. Reads what was composed before, with the limits of any
//! reading, and none of it must be believed.

use super::Limits;
use super::contents::{self, Contents};
use super::mail;
use super::mime;
use super::value;
use super::vendor::filename;
use bytes::Bytes;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Names and decoded values of header fields, in their order.
    pub fields: Vec<(String, String)>,
    /// All that is plain text, and what is only said in HTML.
    pub text: Option<String>,
    /// All that is HTML.
    pub html: Option<String>,
    /// What is neither, numbered as for [`attachment`](super::attachment).
    pub attachments: Vec<Enclosure>,
    /// Why there is nothing but the fields.
    pub trouble: Option<String>,
}

/// An attachment as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// From 1.
    pub number: usize,
    /// Without path, control characters and what turns or hides text.
    pub name: String,
    /// A media type, or the one that stands for any.
    pub content_type: String,
    /// Octets, decoded.
    pub size: usize,
}

impl Letter {
    /// Reads a message.
    pub fn read(message: &Bytes) -> Letter {
        let limits = Limits::default();
        let section = mail::read(message, &limits);
        let fields = section.fields.iter().map(|field| (field.name.to_owned(), value::text(field.value)));
        let fields = fields.collect();
        let parts = match mime::read(message, &section, &limits) {
            Ok(parts) => parts,
            Err(unreadable) => {
                return Letter { fields, trouble: Some(unreadable.to_string()), ..Letter::default() };
            }
        };
        let Contents { text, html, attachments, .. } = contents::read(&parts);
        let enclosure = |(at, attachment): (usize, super::json::Attachment<'_>)| Enclosure {
            number: at + 1,
            name: filename::safe(attachment.filename.as_deref(), at + 1),
            content_type: filename::media_type(&attachment.content_type).to_owned(),
            size: attachment.size,
        };
        Letter {
            fields,
            text: text.map(|text| text.as_str().to_owned()),
            html: html.map(|html| html.as_str().to_owned()),
            attachments: attachments.into_iter().enumerate().map(enclosure).collect(),
            trouble: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_people_see_it() {
        let message = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
                       Content-Type: multipart/mixed; boundary=b\r\n\r\n\
                       --b\r\nContent-Type: text/html\r\n\r\n<p>Hi</p>\r\n\
                       --b\r\nContent-Type: application/pdf; name=\"../a.pdf\"\r\n\
                       Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";
        let letter = Letter::read(&Bytes::from(message));
        assert_eq!(letter.fields[0], ("Subject".to_owned(), "Grüße".to_owned()));
        assert_eq!(letter.text.as_deref().map(str::trim), Some("Hi"));
        assert_eq!(letter.html.as_deref().map(str::trim), Some("<p>Hi</p>"));
        let [enclosure] = &letter.attachments[..] else { panic!("{letter:?}") };
        assert_eq!(
            (enclosure.number, enclosure.size, enclosure.content_type.as_str()),
            (1, 3, "application/pdf")
        );
        assert!(!enclosure.name.contains('/'), "{enclosure:?}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let letter = Letter::read(&Bytes::from("Content-Type: multipart/mixed\r\n\r\nx\r\n"));
        assert!(letter.trouble.is_some() && letter.fields.len() == 1, "{letter:?}");
    }
}
