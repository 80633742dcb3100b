//! Recipients in a header section (`-t`), and what is not sent of it.
//!
//! The section ends where the gateway sees its end, so a body that looks like a
//! field is neither read nor cut. When a message was resent (RFC 5322 section
//! 3.6.6) the recipients of the resending count, and nobody else.

use super::addresses::addresses;
use crate::compose::Limits;
use crate::compose::mail::{self, HeaderField, first_line, without_end};

/// What is made of the begin of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The addresses of its recipients, in order.
    pub recipients: Vec<String>,
    /// The begin of the message as it is to be sent.
    pub kept: Vec<u8>,
    /// Octets of the section, of those that were given.
    pub length: usize,
}

/// Reads the header section at the begin of `octets`, whose lines end in CRLF, and
/// leaves out the fields that are for nobody's eyes.
pub(super) fn read(octets: &[u8]) -> Header {
    let section = section(octets);
    let is =
        |field: &HeaderField, names: &[&str]| names.iter().any(|name| field.name.eq_ignore_ascii_case(name));
    let resent = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    let is_resent = section.fields.iter().any(|field| is(field, &resent));
    let names = if is_resent { resent } else { ["To", "Cc", "Bcc"] };
    let mut header = Header { recipients: Vec::new(), kept: Vec::new(), length: section.body_at };
    let mut begin = 0;
    for field in &section.fields {
        // Name, colon, value, line end.
        let end = begin + field.name.len() + 1 + field.value.len() + 2;
        if is(field, &names) {
            header.recipients.extend(addresses(&unfolded(field.value)));
        }
        if !is(field, &["Bcc", "Resent-Bcc"]) {
            header.kept.extend_from_slice(octets.get(begin..end).unwrap_or_default());
        }
        begin = end;
    }
    header.kept.extend_from_slice(octets.get(begin..).unwrap_or_default());
    header
}

/// Length of the line `From sender time` that mailboxes have before a message and
/// some programs pipe with it; 0 when there is none. A text that begins so is no
/// such line: it has no time and no field behind it.
pub(super) fn mailbox_line(octets: &[u8]) -> usize {
    let line = first_line(octets);
    let text = String::from_utf8_lossy(without_end(line)).into_owned();
    let is_time = |word: &str| matches!(word.as_bytes(), [_, _, b':', _, _] | [_, _, b':', _, _, b':', ..]);
    let is_from = text.trim_start_matches('>').starts_with("From ") && text.split(' ').any(is_time);
    let behind = octets.get(line.len()..).unwrap_or_default();
    if is_from && !section(behind).fields.is_empty() { line.len() } else { 0 }
}

/// The whole section: how much of it is too much is the server's decision.
fn section(octets: &[u8]) -> mail::Section<'_> {
    let limits = Limits { header_octets: usize::MAX, header_fields: usize::MAX, ..Limits::default() };
    mail::read(octets, &limits)
}

fn unfolded(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace(['\r', '\n'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_read_and_bcc_is_cut() {
        for (octets, recipients, kept) in [
            ("To: a@b\r\n\r\nCc: x@y\r\n", "a@b", "To: a@b\r\n\r\nCc: x@y\r\n"),
            (
                "tO: a@b\r\nBCC: c@d,\r\n\tName\r\n <e@f>\r\nSubject: s\r\nCc:g@h\r\nBcc: i@j\r\n\r\nbody",
                "a@b c@d e@f g@h i@j",
                "tO: a@b\r\nSubject: s\r\nCc:g@h\r\n\r\nbody",
            ),
            ("Bcc: a@b\r\n", "a@b", ""),
            ("Bcc: a@b\r\n{\"Bcc\":1}\r\nBcc: c@d\r\n", "a@b", "{\"Bcc\":1}\r\nBcc: c@d\r\n"),
            (
                "To: post@https://h/?a=1,2, b@c\r\n",
                "post@https://h/?a=1,2 b@c",
                "To: post@https://h/?a=1,2, b@c\r\n",
            ),
            (
                "Resent-To: a@b\r\nTo: c@d\r\nBcc: e@f\r\nResent-Bcc: g@h\r\n\r\n",
                "a@b g@h",
                "Resent-To: a@b\r\nTo: c@d\r\n\r\n",
            ),
            ("no header\r\nTo: a@b\r\n", "", "no header\r\nTo: a@b\r\n"),
            ("", "", ""),
        ] {
            let header = read(octets.as_bytes());
            assert_eq!(header.recipients.join(" "), recipients, "{octets}");
            assert_eq!(String::from_utf8(header.kept).unwrap(), kept, "{octets}");
        }
    }

    #[test]
    fn a_mailbox_line_is_known_by_its_time_and_what_follows() {
        for (octets, length) in [
            ("From a@b Sat Jan  3 01:05:34 2026\r\nTo: a@b\r\n", 35),
            (">From a@b Sat Jan  3 01:05 2026\r\nTo: a@b\r\n", 33),
            ("From a@b Sat Jan  3 01:05:34 2026\r\nhello\r\n", 0),
            ("From now on\r\nTo: a@b\r\n", 0),
            ("From: a@b 01:05:34\r\nTo: a@b\r\n", 0),
            ("", 0),
        ] {
            assert_eq!(mailbox_line(octets.as_bytes()), length, "{octets}");
        }
    }
}
