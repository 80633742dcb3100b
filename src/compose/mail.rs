//! The header section of a message or of one of its parts.
//!
//! A section ends at the empty line or, as in mail that programs write by hand,
//! at the first line that is neither a field nor a folded continuation of one.
//! Names are narrower than RFC 5322 allows, so that `{"event":` is body. No
//! field is required and none is judged here: values are the octets as they
//! came, folds included.

use super::Limits;
use memchr::memchr;

/// One header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderField<'a> {
    /// Its name, as written.
    pub name: &'a str,
    /// What follows the colon, folds included, without the last line end.
    pub value: &'a [u8],
}

/// The fields of a section and where its body begins.
#[derive(Debug)]
pub struct Section<'a> {
    /// All fields, in order.
    pub fields: Vec<HeaderField<'a>>,
    /// First octet of the body, counted from the first one of the section.
    pub body_at: usize,
    /// Whether the section kept to the limits; if not, the rest was not read.
    pub is_whole: bool,
}

/// Value of the first of `fields` called `name`, without case.
pub fn first<'a>(fields: &[HeaderField<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// Reads the section at the begin of `octets`.
pub fn read<'a>(octets: &'a [u8], limits: &Limits) -> Section<'a> {
    let mut section = Section { fields: Vec::new(), body_at: 0, is_whole: true };
    let mut value_at = 0;
    loop {
        let rest = octets.get(section.body_at..).unwrap_or_default();
        let line = first_line(rest);
        let text = without_end(line);
        if text.is_empty() {
            section.body_at += line.len();
            return section;
        }
        let end = section.body_at + text.len();
        if let (Some(b' ' | b'\t'), Some(field)) = (text.first(), section.fields.last_mut()) {
            field.value = octets.get(value_at..end).unwrap_or_default();
        } else if let Some(name) = field_name(text) {
            value_at = section.body_at + name.len() + 1;
            section.fields.push(HeaderField { name, value: octets.get(value_at..end).unwrap_or_default() });
        } else {
            return section;
        }
        section.body_at += line.len();
        if section.body_at > limits.header_octets || section.fields.len() > limits.header_fields {
            section.is_whole = false;
            return section;
        }
    }
}

/// The octets up to and with the first line end.
pub fn first_line(octets: &[u8]) -> &[u8] {
    let end = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    octets.get(..end).unwrap_or_default()
}

/// All lines with their ends; the last one may have none.
pub fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at_checked(first_line(rest).len())?;
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

/// A line without its CRLF or LF.
pub fn without_end(line: &[u8]) -> &[u8] {
    let Some(line) = line.strip_suffix(b"\n") else { return line };
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn field_name(line: &[u8]) -> Option<&str> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let length = line.iter().take_while(|byte| is_name(byte)).count();
    let begins_well = line.first().is_some_and(u8::is_ascii_alphanumeric);
    if !begins_well || line.get(length) != Some(&b':') {
        return None;
    }
    std::str::from_utf8(line.get(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_the_empty_line_or_where_no_field_can_be() {
        for (octets, names, body) in [
            ("A: 1\r\nb-c.d_: 2\r\n\r\nbody: x", "A b-c.d_", "body: x"),
            ("A: 1\nB: 2\n\nbody", "A B", "body"),
            ("A: 1\r\nname=value\r\nB: 2\r\n", "A", "name=value\r\nB: 2\r\n"),
            ("A: 1\r\n{\"event\": 1}", "A", "{\"event\": 1}"),
            ("A:\r\n 1\r\n\t2\r\n-B: 3", "A", "-B: 3"),
            (" A: 1\r\n", "", " A: 1\r\n"),
            ("A : 1\r\n\r\n", "", "A : 1\r\n\r\n"),
            ("_A: 1", "", "_A: 1"),
            ("\r\nA: 1", "", "A: 1"),
            ("A: 1", "A", ""),
            ("", "", ""),
        ] {
            let section = read(octets.as_bytes(), &Limits::default());
            let found: Vec<_> = section.fields.iter().map(|field| field.name).collect();
            assert_eq!((found.join(" ").as_str(), &octets[section.body_at..]), (names, body), "{octets:?}");
        }
        let section = read(b"A:\r\n 1\r\n\t2\r\nB:3\r\n", &Limits::default());
        assert_eq!(first(&section.fields, "a"), Some(&b"\r\n 1\r\n\t2"[..]));
        assert_eq!(first(&section.fields, "B"), Some(&b"3"[..]));
    }

    #[test]
    fn limits_hold_at_and_not_one_past() {
        let limits = Limits { header_octets: 12, header_fields: 2, ..Limits::default() };
        assert!(read(b"A: 1\r\nB:2\r\n\r\n", &limits).is_whole);
        assert!(!read(b"A: 1\r\nB:22\r\nC:\r\n\r\n", &limits).is_whole);
        assert!(!read(b"A:\nB:\nC:\n\n", &limits).is_whole);
    }
}
