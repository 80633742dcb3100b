//! The parts of a message (RFC 2045, RFC 2046), found in one pass over its lines.
//!
//! Structure is read here and field values by `mail-parser`, because its own
//! walk has no bound on depth or parts and converts charsets before anybody can
//! see the octets. A line is held against the boundaries of all open multiparts,
//! so a missing end costs nothing and a boundary that is the beginning of
//! another is not mistaken for it. Parts are slices of the message, undecoded;
//! attached messages are leaves and stay closed. What cannot be taken apart
//! without losing something is an error: such mail is posted whole.

use super::mail::{self, HeaderField, Section, first, first_line, without_end};
use super::{Limits, value};
use mail_parser::parsers::MessageStream;
use std::fmt;

/// A `type/subtype` or disposition with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// In lower case, without parameters.
    pub essence: String,
    /// Names in lower case; RFC 2231 and RFC 2047 undone.
    pub parameters: Vec<(String, String)>,
}

impl Kind {
    /// Value of the parameter called `name` (lower case).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// How a part's content is encoded (RFC 2045 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 7bit, 8bit, binary, and whatever is unknown.
    Identity,
    /// quoted-printable.
    QuotedPrintable,
    /// base64.
    Base64,
}

/// A message or one of its parts.
#[derive(Debug)]
pub struct Part<'a> {
    /// Its header fields.
    pub fields: Vec<HeaderField<'a>>,
    /// Its `Content-Type`, if there is a readable one.
    pub kind: Option<Kind>,
    /// Its `Content-Transfer-Encoding`.
    pub encoding: Encoding,
    /// What follows its header section, still encoded; empty for a multipart.
    pub content: &'a [u8],
    /// Whether it has parts of its own.
    pub is_multipart: bool,
    /// Whether a multipart ends by itself, not where another one goes on or the message is over.
    pub is_ended: bool,
    /// Of what it is a version, if of anything.
    pub version: Option<Version>,
}

/// A part's place in a `multipart/alternative` (RFC 2046 section 5.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The innermost multipart of that kind that it stands in, by its place among
    /// the parts.
    pub of: usize,
    /// Whether it is all of the version, not one part of several.
    pub is_whole: bool,
}

impl Part<'_> {
    /// Its type in lower case; `text/plain` when it names none (RFC 2045 section 5.2).
    pub fn essence(&self) -> &str {
        self.kind.as_ref().map_or("text/plain", |kind| &kind.essence)
    }

    /// A parameter of its `Content-Type`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.kind.as_ref().and_then(|kind| kind.parameter(name))
    }
}

/// Why a message cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A header section is too long or has too many fields.
    Header,
    /// Multiparts are nested too deep.
    Depth,
    /// It has too many parts.
    Parts,
    /// A multipart has no boundary, or none of its parts begins.
    Boundary,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreadable::Header => "a header section is over the limits",
            Unreadable::Depth => "multiparts are nested too deep",
            Unreadable::Parts => "too many parts",
            Unreadable::Boundary => "a multipart without boundary or parts",
        })
    }
}

/// Takes a message apart: itself first, then its parts in their order.
pub fn read<'a>(raw: &'a [u8], section: &Section<'a>, limits: &Limits) -> Result<Vec<Part<'a>>, Unreadable> {
    if !section.is_whole {
        return Err(Unreadable::Header);
    }
    let mut walk = Walk { raw, limits, parts: Vec::new(), open: Vec::new(), leaf_at: None };
    walk.begin(section.fields.clone(), section.body_at)?;
    if !walk.open.is_empty() {
        walk.follow(section.body_at)?;
    }
    walk.end_leaf(raw.len());
    Ok(walk.parts)
}

/// A multipart whose end has not been seen.
struct Open {
    /// Its place among the parts.
    at: usize,
    boundary: Vec<u8>,
    has_parts: bool,
    /// Of what its parts are versions.
    version: Option<Version>,
}

struct Walk<'a, 'l> {
    raw: &'a [u8],
    limits: &'l Limits,
    parts: Vec<Part<'a>>,
    open: Vec<Open>,
    /// Where the content of the last part begins, while it is a leaf.
    leaf_at: Option<usize>,
}

impl<'a> Walk<'a, '_> {
    fn follow(&mut self, mut at: usize) -> Result<(), Unreadable> {
        while let Some(rest) = self.raw.get(at..).filter(|rest| !rest.is_empty()) {
            let line = first_line(rest);
            let after = at + line.len();
            at = match self.delimiter(line) {
                None => after,
                Some((level, ends)) => {
                    self.end_leaf(before_line_end(self.raw, at));
                    self.close(level + 1)?;
                    if ends {
                        self.end(level)?;
                        after
                    } else {
                        self.next_part(after)?
                    }
                }
            };
        }
        self.close(0)
    }

    /// Which open multipart a line belongs to, and whether it ends that.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?.trim_ascii_end();
        self.open.iter().enumerate().rev().find_map(|(level, open)| {
            match line.strip_prefix(open.boundary.as_slice())? {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    /// Closes the multiparts from `level` on, whose ends are missing.
    fn close(&mut self, level: usize) -> Result<(), Unreadable> {
        for open in self.open.get(level..).unwrap_or_default() {
            if let Some(part) = self.parts.get_mut(open.at) {
                part.is_ended = false;
            }
        }
        self.end(level)
    }

    /// Ends the multiparts from `level` on; one in which nothing began has hidden its
    /// content in a preamble.
    fn end(&mut self, level: usize) -> Result<(), Unreadable> {
        let is_empty = self.open.drain(level..).any(|open| !open.has_parts);
        if is_empty { Err(Unreadable::Boundary) } else { Ok(()) }
    }

    fn next_part(&mut self, at: usize) -> Result<usize, Unreadable> {
        if let Some(open) = self.open.last_mut() {
            open.has_parts = true;
        }
        let section = mail::read(self.raw.get(at..).unwrap_or_default(), self.limits);
        if !section.is_whole {
            return Err(Unreadable::Header);
        }
        let body_at = at + section.body_at;
        self.begin(section.fields, body_at)?;
        Ok(body_at)
    }

    fn begin(&mut self, fields: Vec<HeaderField<'a>>, body_at: usize) -> Result<(), Unreadable> {
        if self.parts.len() > self.limits.mime_parts {
            return Err(Unreadable::Parts);
        }
        let kind = first(&fields, "Content-Type").and_then(kind);
        let encoding = first(&fields, "Content-Transfer-Encoding").map_or(Encoding::Identity, encoding);
        let is_multipart = kind.as_ref().is_some_and(|kind| kind.essence.starts_with("multipart/"));
        let version = self.open.last().and_then(|open| open.version);
        if is_multipart {
            let boundary = kind.as_ref().and_then(|kind| kind.parameter("boundary"));
            let boundary = boundary.map(|boundary| boundary.trim_ascii_end().as_bytes().to_vec());
            let boundary = boundary.filter(|boundary| !boundary.is_empty()).ok_or(Unreadable::Boundary)?;
            if self.open.len() == self.limits.mime_depth {
                return Err(Unreadable::Depth);
            }
            let is_alternative = kind.as_ref().is_some_and(|kind| kind.essence == "multipart/alternative");
            let version = match is_alternative {
                true => Some(Version { of: self.parts.len(), is_whole: true }),
                false => version.map(|version| Version { is_whole: false, ..version }),
            };
            self.open.push(Open { at: self.parts.len(), boundary, has_parts: false, version });
        } else {
            self.leaf_at = Some(body_at);
        }
        let (content, is_ended) = (&b""[..], true);
        self.parts.push(Part { fields, kind, encoding, content, is_multipart, is_ended, version });
        Ok(())
    }

    fn end_leaf(&mut self, end: usize) {
        if let (Some(at), Some(part)) = (self.leaf_at.take(), self.parts.last_mut()) {
            part.content = self.raw.get(at..end.max(at)).unwrap_or_default();
        }
    }
}

/// The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
fn before_line_end(raw: &[u8], at: usize) -> usize {
    without_end(raw.get(..at).unwrap_or_default()).len()
}

/// Most octets of a value that are looked at: `mail-parser` takes quadratic
/// time for RFC 2231 continuations.
const MAX_KIND: usize = 16 * 1024;

/// Reads a `Content-Type` or `Content-Disposition`.
pub fn kind(raw: &[u8]) -> Option<Kind> {
    let line = value::unfold(raw.get(..raw.len().min(MAX_KIND))?);
    let line = [value::reworded(&line).as_ref(), b"\n"].concat();
    let parsed = MessageStream::new(&line).parse_content_type().into_content_type()?;
    let essence = match &parsed.c_subtype {
        Some(subtype) => format!("{}/{subtype}", parsed.c_type),
        None => parsed.c_type.to_string(),
    };
    let attributes = parsed.attributes.unwrap_or_default().into_iter();
    let parameters = attributes.map(|attribute| {
        let value = value::text(attribute.value.as_bytes());
        (attribute.name.to_ascii_lowercase(), value)
    });
    Some(Kind { essence: essence.to_ascii_lowercase(), parameters: parameters.collect() })
}

fn encoding(raw: &[u8]) -> Encoding {
    let name = value::unfold(raw);
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    if is("quoted-printable") {
        Encoding::QuotedPrintable
    } else if is("base64") {
        Encoding::Base64
    } else {
        Encoding::Identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str, limits: &Limits) -> Result<String, Unreadable> {
        let section = mail::read(raw.as_bytes(), limits);
        let parts = read(raw.as_bytes(), &section, limits)?;
        let shown =
            parts.iter().map(|part| format!("{}:{}", part.essence(), String::from_utf8_lossy(part.content)));
        Ok(shown.collect::<Vec<_>>().join("|"))
    }

    fn multipart(body: &str) -> String {
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}")
    }

    #[test]
    fn parts_are_found_whatever_is_missing() {
        let inner = "--b\nContent-Type: multipart/x; boundary=bb\n\n--bb\n\none\n--b\n\ntwo";
        for (body, expected) in [
            ("--b\r\n\r\none\r\n\r\n--b--\r\n", Ok("text/plain:one\r\n")),
            ("--b\n\none\n--b\nContent-Type: A/B\n\ntwo", Ok("text/plain:one|a/b:two")),
            ("pre\n--b \t\n\none\n--b--\n--b\n\nno", Ok("text/plain:one")),
            ("--b\n\n--bx\n--b--x\n--b--", Ok("text/plain:--bx\n--b--x")),
            ("--b--", Err(Unreadable::Boundary)),
            ("", Err(Unreadable::Boundary)),
            (inner, Ok("multipart/x:|text/plain:one|text/plain:two")),
            ("--b\nContent-Type: multipart/x; boundary=c\n\nlost\n--b--", Err(Unreadable::Boundary)),
        ] {
            let expected = expected.map(|parts| format!("multipart/mixed:|{parts}"));
            assert_eq!(shown(&multipart(body), &Limits::default()), expected, "{body:?}");
        }
    }

    #[test]
    fn limits_hold_at_and_not_one_past() {
        let limits = Limits { mime_parts: 3, mime_depth: 2, header_fields: 2, ..Limits::default() };
        let parts = |count: usize| multipart(&"--b\n\n".repeat(count));
        assert!(shown(&parts(3), &limits).is_ok());
        assert_eq!(shown(&parts(4), &limits), Err(Unreadable::Parts));
        let nested = |depth: usize| {
            let level = |level| format!("Content-Type: multipart/x; boundary=b{level}\n\n--b{level}\n");
            (0..depth).map(level).collect::<String>()
        };
        assert!(shown(&nested(2), &limits).is_ok());
        assert_eq!(shown(&nested(3), &limits), Err(Unreadable::Depth));
        assert!(shown(&multipart("--b\nA: 1\nB: 2\n\n"), &limits).is_ok());
        assert_eq!(shown(&multipart("--b\nA: 1\nB: 2\nC: 3\n\n"), &limits), Err(Unreadable::Header));
    }

    #[test]
    fn types_are_read_with_their_parameters() {
        for (raw, essence, parameters) in [
            ("Text/HTML; Charset=\"UTF-8\"; x=y", "text/html", "charset=UTF-8 x=y"),
            ("a/b; name*0*=utf-8''%C3%BC; name*1=z", "a/b", "name=üz"),
            ("a/b; name=\"=?utf-8?Q?=C3=BC?=\"", "a/b", "name=ü"),
            ("a/b; name=\"=?utf-8?Q?a=C3?= =?utf-8?Q?=BC?=\"", "a/b", "name=aü"),
            ("a/b; name=\"=?utf-8?B?YcM=?=\r\n =?utf-8?B?vA==?=\"", "a/b", "name=aü"),
            ("attachment;\r\n filename=a.txt", "attachment", "filename=a.txt"),
        ] {
            let kind = kind(raw.as_bytes()).unwrap();
            let found: Vec<_> =
                kind.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!((kind.essence.as_str(), found.join(" ").as_str()), (essence, parameters), "{raw}");
        }
        assert_eq!(kind(b""), None);
    }
}
