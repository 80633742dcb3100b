//! Octets of a `json` document: what is escaped.
//!
//! Beyond what JSON needs, `<`, `>`, `&`, U+2028 and U+2029 are escaped, so that
//! a document pasted into a page or a script cannot end it. Text is searched for
//! what needs an escape in blocks, which a compiler makes a few instructions of.
//! What is serialized as octets is written in base64, piece by piece, and not
//! looked at again.

use super::room::fill;
use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io;

/// `document` as JSON, likely as long as `likely`; `None` when it would take more
/// than `limit` octets.
pub fn write(document: &impl Serialize, likely: usize, limit: usize) -> Option<Bytes> {
    fill(likely, limit, |out| serialize(document, out))
}

/// The same, with octets in lines of 60 digits, as Ruby writes base64.
pub fn write_in_lines(document: &impl Serialize, likely: usize, limit: usize) -> Option<Bytes> {
    fill(likely, limit, |out| format(document, PageSafe(Base64::InLines), out))
}

/// The same into a body that holds more than that.
pub fn serialize(document: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    format(document, PageSafe(Base64::Whole), out)
}

fn format(document: &impl Serialize, formatter: PageSafe, mut out: &mut dyn io::Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    document.serialize(&mut serializer).map_err(io::Error::from)
}

/// Escapes what is written to it, for a document as a string within another one.
pub struct Escaped<'a>(pub &'a mut dyn io::Write);

impl Escaped<'_> {
    /// Writes `text` as it stands between the quotes of a string of the inner document.
    pub fn string(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let (stays, rest) = text.split_at_checked(plain(text)).unwrap_or((text, b""));
            self.0.write_all(stays)?;
            text = rest;
            // Nearly all that is escaped in mail.
            while let Some(rest) = text.strip_prefix(b"\r\n") {
                self.0.write_all(br"\\r\\n")?;
                text = rest;
            }
            while let Some(rest) = escape_first(text, self)? {
                text = rest;
            }
        }
        Ok(())
    }
}

impl io::Write for Escaped<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        escape(octets, self.0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes what could end a script, a tag or a JavaScript string.
struct PageSafe(Base64);

/// How octets are written between the quotes.
enum Base64 {
    Whole,
    InLines,
}

impl Formatter for PageSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escape(fragment.as_bytes(), writer)
    }

    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, octets: &[u8]) -> io::Result<()> {
        writer.write_all(b"\"")?;
        match self.0 {
            Base64::Whole => base64(octets, |digits| writer.write_all(digits.as_bytes()))?,
            Base64::InLines => in_lines(octets, writer)?,
        }
        writer.write_all(b"\"")
    }
}

/// Has `octets` written in base64, piece by piece.
pub fn base64<E>(octets: &[u8], mut write: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut digits = [0; PIECE / 3 * 4];
    octets.chunks(PIECE).try_for_each(|piece| {
        let digits = digits.get_mut(..BASE64.encode_len(piece.len())).unwrap_or_default();
        write(BASE64.encode_mut_str(piece, digits))
    })
}

/// A line end after every [`LINE`] digits, and after the last ones.
fn in_lines<W: ?Sized + io::Write>(octets: &[u8], writer: &mut W) -> io::Result<()> {
    let mut lines = Vec::with_capacity((PIECE / 3 * 4).div_ceil(LINE) * (LINE + LINE_END.len()));
    base64(octets, |digits| {
        lines.clear();
        for line in digits.as_bytes().chunks(LINE) {
            lines.extend_from_slice(line);
            lines.extend_from_slice(LINE_END);
        }
        writer.write_all(&lines)
    })
}

/// Octets that are encoded together; a multiple of three, and of what makes a line.
const PIECE: usize = 64 * (LINE / 4 * 3);

/// Digits of a line.
const LINE: usize = 60;

/// A line end in a string.
const LINE_END: &[u8] = br"\n";

/// Octets that are looked at together.
const BLOCK: usize = 32;

/// Whether a character that is escaped may begin with `octet`. Without branches,
/// so that it becomes instructions for whole blocks.
const fn is_risky(octet: u8) -> bool {
    (octet < b' ')
        | (octet == b'"')
        | (octet == b'\\')
        | (octet == b'<')
        | (octet == b'>')
        | (octet == b'&')
        | (octet == 0xe2)
}

/// The same for each octet, for looking at one.
static RISKY: [bool; 256] = {
    let mut risky = [false; 256];
    let (mut left, mut octet) = (risky.as_mut_slice(), 0u8);
    while let Some((first, rest)) = left.split_first_mut() {
        *first = is_risky(octet);
        octet = octet.wrapping_add(1);
        left = rest;
    }
    risky
};

/// How many octets of `text` are escaped, U+2028 and U+2029 apart.
pub fn count_escaped(text: &[u8]) -> usize {
    // So few together that they are counted in octets, many at a time.
    let is_escaped = |octet: u8| is_risky(octet) & (octet != 0xe2);
    let count = |block: &[u8]| block.iter().fold(0, |count, octet| count + u8::from(is_escaped(*octet)));
    text.chunks(usize::from(u8::MAX)).map(|block| usize::from(count(block))).sum()
}

/// How many octets at the begin of `text` stay as they are.
fn plain(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let is_plain =
        |block: &&[u8; BLOCK]| block.iter().fold(0, |found, octet| found | u8::from(is_risky(*octet))) == 0;
    let whole = blocks.iter().take_while(is_plain).count() * BLOCK;
    let rest = text.get(whole..).unwrap_or_default().iter();
    whole + rest.take_while(|octet| RISKY.get(usize::from(**octet)) == Some(&false)).count()
}

/// `text` as it stands between the quotes of a string.
pub fn escape<W: ?Sized + io::Write>(mut text: &[u8], writer: &mut W) -> io::Result<()> {
    while !text.is_empty() {
        let (stays, rest) = text.split_at_checked(plain(text)).unwrap_or((text, b""));
        writer.write_all(stays)?;
        text = rest;
        while let Some(rest) = escape_first(text, writer)? {
            text = rest;
        }
    }
    Ok(())
}

/// Writes the octet that `text` begins with if it is a risky one; what follows it.
fn escape_first<'t, W: ?Sized + io::Write>(text: &'t [u8], writer: &mut W) -> io::Result<Option<&'t [u8]>> {
    let Some((octet, rest)) = text.split_first() else { return Ok(None) };
    let letter = match octet {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        b'"' | b'\\' => *octet,
        ..b' ' | b'<' | b'>' | b'&' => {
            let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
            writer.write_all(&[b'\\', b'u', b'0', b'0', digit(octet >> 4), digit(octet & 15)])?;
            return Ok(Some(rest));
        }
        0xe2 => return escape_separator(text, writer).map(Some),
        _ => return Ok(None),
    };
    writer.write_all(&[b'\\', letter])?;
    Ok(Some(rest))
}

/// `text` begins like U+2028 and U+2029, and like much that stays.
fn escape_separator<'t, W: ?Sized + io::Write>(text: &'t [u8], writer: &mut W) -> io::Result<&'t [u8]> {
    let (written, taken): (&[u8], _) = match text {
        [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
        [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
        _ => (b"\xe2", 1),
    };
    writer.write_all(written)?;
    Ok(text.get(taken..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text as the formatter writes it.
    fn written(text: &str) -> String {
        String::from_utf8(write(&text, 0, usize::MAX).unwrap().to_vec()).unwrap()
    }

    struct Octets<'a>(&'a [u8]);

    impl Serialize for Octets<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    #[test]
    fn octets_are_written_in_base64() {
        for length in [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 2] {
            let octets = vec![0xfb; length];
            let written = write(&Octets(&octets), 0, usize::MAX).unwrap();
            assert_eq!(written, format!("\"{}\"", BASE64.encode(&octets)));
        }
    }

    #[test]
    fn octets_are_written_in_lines_as_ruby_writes_them() {
        for (length, lines) in [(0, 0), (1, 1), (45, 1), (46, 2), (90, 2), (PIECE, 64), (PIECE + 1, 65)] {
            let octets = vec![0xfb; length];
            let written = write_in_lines(&Octets(&octets), 0, usize::MAX).unwrap();
            let text: String = serde_json::from_slice(&written).unwrap();
            assert_eq!(text.lines().count(), lines, "{length}");
            assert!(text.lines().rev().skip(1).all(|line| line.len() == 60) && !text.ends_with("\n\n"));
            assert!(text.is_empty() || text.ends_with('\n'), "{length}");
            assert_eq!(BASE64.decode(text.replace('\n', "").as_bytes()).unwrap(), octets);
        }
    }

    #[test]
    fn a_string_of_an_inner_document_is_as_if_both_were_serialized() {
        let pieces = ["\r\n", "\n", "\r", "\"", "\\", "<", "\u{2028}", "\u{e9}", "\u{1f}", "x", ""];
        let pairs =
            pieces.iter().flat_map(|first| pieces.iter().map(move |second| [*first, *second].concat()));
        for (risky, before) in pairs.flat_map(|risky| (0..=BLOCK).map(move |before| (risky.clone(), before)))
        {
            let text = format!("{}{risky}{}\r\n", "x".repeat(before), "y".repeat(BLOCK));
            let (mut whole, mut string) = (Vec::new(), Vec::new());
            serialize(&text, &mut Escaped(&mut whole)).unwrap();
            Escaped(&mut string).string(text.as_bytes()).unwrap();
            assert_eq!(whole, [br#"\""#, string.as_slice(), br#"\""#].concat(), "{text:?}");
        }
    }

    #[test]
    fn what_is_escaped_is_counted() {
        for length in [0, 1, 255, 256, 3 * 255 + 7] {
            assert_eq!(count_escaped(&vec![b'\n'; length]), length);
            assert_eq!(count_escaped("x“".repeat(length).as_bytes()), 0);
        }
    }

    #[test]
    fn what_is_escaped_is_read_back_wherever_it_stands() {
        let risky: String =
            (0..=0x7f).map(char::from).chain("\u{2028}\u{2029}\u{2027}“é€😀".chars()).collect();
        let risky: Vec<_> =
            risky.chars().map(String::from).chain(["\r\n".to_owned(), risky.clone()]).collect();
        for (before, risky) in
            (0..=2 * BLOCK).flat_map(|before| risky.iter().map(move |risky| (before, risky)))
        {
            let text = format!("{}{risky}{}", "x".repeat(before), "y".repeat(BLOCK + 1));
            let string = written(&text);
            assert_eq!(serde_json::from_str::<String>(&string).unwrap(), text);
            assert!(!string.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{string}");
        }
    }

    #[test]
    fn everything_else_is_as_short_as_json_allows() {
        for (text, expected) in [
            ("a/b\u{7f}ü“😀", "\"a/b\u{7f}ü“😀\""),
            ("\u{8}\u{c}\n\r\t\"\\", r#""\b\f\n\r\t\"\\""#),
            ("\0\u{1f}<>&", r#""\u0000\u001f\u003c\u003e\u0026""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("", "\"\""),
        ] {
            assert_eq!(written(text), expected);
        }
    }
}
