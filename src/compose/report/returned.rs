//! What a report gives back of the mail that it is about.

use super::super::Limits;
use super::super::mail::{self, HeaderField};
use super::super::mime::Part;
use super::{content, said};

/// Most octets of a returned message that are read.
const MOST: usize = 64 * 1024;

/// What its header section tells.
#[derive(Debug, Default)]
pub struct Returned {
    pub message_id: Option<String>,
    pub subject: Option<String>,
    pub xs_message_id: Option<String>,
    pub xs_mailing_id: Option<String>,
}

/// From the part that holds the message or its header section.
pub fn read(parts: &[Part<'_>]) -> Returned {
    part(parts).map(|part| of_message(&content(part))).unwrap_or_default()
}

/// The part that holds the message or its header section.
pub fn part<'p, 'a>(parts: &'p [Part<'a>]) -> Option<&'p Part<'a>> {
    let kinds = [
        "message/rfc822",
        "text/rfc822-headers",
        "message/rfc822-headers",
        "message/global",
        "message/global-headers",
    ];
    parts.iter().find(|part| kinds.contains(&part.essence()))
}

/// From a message, whole or not.
pub fn of_message(message: &[u8]) -> Returned {
    let begin = message.get(..message.len().min(MOST)).unwrap_or_default();
    of_fields(&mail::read(begin, &Limits::default()).fields)
}

fn of_fields(fields: &[HeaderField<'_>]) -> Returned {
    Returned {
        message_id: said(fields, "Message-ID"),
        subject: said(fields, "Subject"),
        xs_message_id: said(fields, "X-xsMessageId"),
        xs_mailing_id: said(fields, "X-xsMailingId"),
    }
}
