//! What in a message can be read in more ways than one.
//!
//! Such mail is read all the same, always in the same way: of a field that should
//! stand once the first counts, and a part ends where one of another multipart begins.
//! Other programs read it otherwise, and some mail is made for that (RFC 7103), so
//! whoever gets it is told. Where fields end is no doubt: see `mail`.

use super::mail::HeaderField;
use super::mime::Part;

/// Fields that a message has once (RFC 5322 section 3.6).
const OF_A_MESSAGE: [&str; 12] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "MIME-Version",
];

/// Fields that a message or a part has once (RFC 2045 section 3, RFC 2183).
const OF_A_PART: [&str; 4] =
    ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID"];

/// A multipart whose end is missing.
const END: &str = "boundary";

/// Each doubt by the name of its field, or `boundary`; the message itself is the first
/// part.
pub fn doubts(parts: &[Part<'_>]) -> Vec<&'static str> {
    let of_message = parts.first().map(|message| message.fields.as_slice()).unwrap_or_default();
    let mut found: Vec<_> = OF_A_MESSAGE.into_iter().filter(|name| is_repeated(of_message, name)).collect();
    let is_doubtful = |name: &&str| parts.iter().any(|part| is_repeated(&part.fields, name));
    found.extend(OF_A_PART.into_iter().filter(is_doubtful));
    found.extend(parts.iter().any(|part| !part.is_ended).then_some(END));
    found
}

fn is_repeated(fields: &[HeaderField<'_>], name: &str) -> bool {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{Limits, mail, mime};

    #[test]
    fn what_stands_twice_or_has_no_end_is_named() {
        let parted = |fields: &str, end: &str| {
            format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{fields}\nx\n--b{end}\n")
        };
        let nested = "Content-Type: multipart/mixed; boundary=bx\n\n--bx\n\none\n";
        for (mail, expected) in [
            ("Subject: a\nReceived: x\nReceived: y\nComments: z\nComments: z\n\nx".to_owned(), ""),
            ("from: a\nSubject: a\nFROM: b\nsubject: a\nTo: c\nto: c\n\nx".to_owned(), "From To Subject"),
            ("Content-Type: a/b\ncontent-type: c/d\nMIME-Version: 1.0\n\nx".to_owned(), "Content-Type"),
            (parted("Subject: a\nSubject: b\n", "--"), ""),
            (parted("Content-ID: a\nContent-ID: b\n", "--"), "Content-ID"),
            (parted("", ""), "boundary"),
            (parted(&format!("{nested}--bx--\n"), "--"), ""),
            (parted(nested, "--"), "boundary"),
            (parted(nested, "\n\ntwo\n--b--"), "boundary"),
            (String::new(), ""),
        ] {
            let section = mail::read(mail.as_bytes(), &Limits::default());
            let parts = mime::read(mail.as_bytes(), &section, &Limits::default()).unwrap();
            assert_eq!(doubts(&parts).join(" "), expected, "{mail}");
        }
    }
}
