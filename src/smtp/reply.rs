//! A reply, from its parts to its octets (RFC 5321 section 4.2, RFC 2034).
//!
//! A reply is built from code, subject, detail and text. The class of the
//! enhanced status is the first digit of the code, so the two cannot disagree.
//! A line feed in the text makes a reply of several lines; every other control
//! character becomes a blank, so no text, wherever it came from, can forge a
//! reply of its own.

use crate::envelope::Refusal;
use std::fmt::Display;
use std::io::Write as _;

/// One reply; `T` is whatever its text is made of.
#[derive(Clone, Copy, Debug)]
pub struct Reply<T> {
    code: u16,
    status: Option<(u16, u16)>,
    text: T,
}

impl<T: Display> Reply<T> {
    /// `code class.subject.detail text`; `status` is `(subject, detail)`.
    pub fn new(code: u16, status: (u16, u16), text: T) -> Reply<T> {
        Reply { code, status: Some(status), text }
    }

    /// `code text`, for the replies that carry no enhanced status: greeting,
    /// EHLO, HELO and 354.
    pub fn plain(code: u16, text: T) -> Reply<T> {
        Reply { code, status: None, text }
    }

    /// Its code, three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Appends its octets, complete with the line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.prefix(out, ' ');
        let text = out.len();
        // Writing to a vector cannot fail.
        let _ = write!(out, "{}", self.text);
        let written = out.get_mut(text..).unwrap_or_default();
        if written.contains(&b'\n') {
            let lines = String::from_utf8_lossy(written).into_owned();
            out.truncate(start);
            return self.write_lines(&lines, out);
        }
        blank_controls(written);
        out.extend_from_slice(b"\r\n");
    }

    fn write_lines(&self, text: &str, out: &mut Vec<u8>) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            self.prefix(out, if lines.peek().is_some() { '-' } else { ' ' });
            let start = out.len();
            out.extend_from_slice(line.as_bytes());
            blank_controls(out.get_mut(start..).unwrap_or_default());
            out.extend_from_slice(b"\r\n");
        }
    }

    fn prefix(&self, out: &mut Vec<u8>, separator: char) {
        // Writing to a vector cannot fail.
        let _ = match self.status {
            Some((subject, detail)) => {
                write!(out, "{}{separator}{}.{subject}.{detail} ", self.code, self.code / 100)
            }
            None => write!(out, "{}{separator}", self.code),
        };
    }
}

impl<'a> From<&'a Refusal> for Reply<&'a str> {
    fn from(refusal: &'a Refusal) -> Reply<&'a str> {
        Reply::new(refusal.code, (refusal.subject, refusal.detail), &refusal.text)
    }
}

fn blank_controls(text: &mut [u8]) {
    for byte in text.iter_mut().filter(|byte| byte.is_ascii_control()) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: Display>(reply: Reply<T>) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_class_follows_the_code() {
        assert_eq!(written(Reply::new(250, (2, 0), "OK")), "250 2.2.0 OK\r\n");
        assert_eq!(written(Reply::new(452, (3, 1), "full")), "452 4.3.1 full\r\n");
        assert_eq!(written(Reply::new(554, (6, 0), "no")), "554 5.6.0 no\r\n");
        assert_eq!(written(Reply::plain(354, "go")), "354 go\r\n");
    }

    #[test]
    fn line_feeds_make_several_lines() {
        assert_eq!(written(Reply::plain(250, "a\nb\nc")), "250-a\r\n250-b\r\n250 c\r\n");
        assert_eq!(written(Reply::new(550, (1, 3), "a\nb")), "550-5.1.3 a\r\n550 5.1.3 b\r\n");
    }

    #[test]
    fn no_text_forges_a_reply() {
        let refusal = Refusal::new(550, (1, 1), "no\r\n250 2.0.0 yes\r\x1b[2J");
        let lines = written(Reply::from(&refusal));
        assert_eq!(lines, "550-5.1.1 no\r\n550 5.1.1 250 2.0.0 yes  [2J\r\n");
    }
}
