//! From a part's octets to what its author wrote.
//!
//! Transfer encodings (RFC 2045), `format=flowed` (RFC 3676) and charsets.
//! Everything here takes any input: what does not decode stays as it is, and the
//! caller is told where that matters. What needs no change is borrowed, so that
//! it can be found again within the message.

use super::base64;
use super::html::{Token, tokens};
use super::mail::{lines, without_end};
use super::mime::{Encoding, Part};
use super::value;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode_char;
use memchr::memchr;
use std::borrow::Cow;

/// The content of a part.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// With its transfer encoding undone, if it was what it says.
    pub octets: Cow<'a, [u8]>,
    /// What had to be done to it.
    pub outcome: Outcome,
}

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as it should be.
    Decoded,
    /// What does not belong into base64 was left out.
    Repaired,
    /// It says base64 and is none: it is as it came.
    Undecodable,
}

/// The content of a part with its transfer encoding undone.
pub fn content<'a>(part: &Part<'a>) -> Decoded<'a> {
    let (octets, outcome) = match part.encoding {
        Encoding::Identity => (Cow::Borrowed(part.content), Outcome::Decoded),
        Encoding::QuotedPrintable => (quoted_printable(part.content), Outcome::Decoded),
        Encoding::Base64 => match base64::decode(part.content) {
            Some(octets) => (Cow::Owned(octets), Outcome::Decoded),
            None => match base64::repaired(part.content) {
                Some(octets) => (Cow::Owned(octets), Outcome::Repaired),
                None => (Cow::Borrowed(part.content), Outcome::Undecodable),
            },
        },
    };
    Decoded { octets, outcome }
}

/// The content of a text part as its author saw it: decoded, unwrapped, and in
/// UTF-8 where the charset is known.
pub fn text<'a>(part: &Part<'a>, decoded: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    let is =
        |name, expected: &str| part.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case(expected));
    let text = if is("format", "flowed") { unflow(decoded, is("delsp", "yes")) } else { decoded };
    let label = part.parameter("charset").map(str::to_owned);
    let label = label.or_else(|| if part.essence() == "text/html" { meta_charset(&text) } else { None });
    match label.and_then(|label| to_utf8(&text, &label)) {
        Some(converted) => Cow::Owned(converted.into_bytes()),
        None => text,
    }
}

/// Converts from the charset called `label`; `None` when the octets are to stay.
///
/// Valid UTF-8 stays whatever the label says: four of 79 measured clients label
/// it iso-8859-1. Charsets that look like ASCII are the exception where their
/// escapes are there; UTF-7 is never decoded, it only ever served attacks.
fn to_utf8(octets: &[u8], label: &str) -> Option<String> {
    let label = label.trim_matches(['"', '\'', ' ', '\t']).to_ascii_lowercase();
    let has_escapes = label.starts_with("iso-2022-jp") && octets.contains(&0x1b)
        || label.starts_with("utf-16") && octets.contains(&0);
    if !has_escapes && std::str::from_utf8(octets).is_ok() {
        return None;
    }
    decoder(&label).map(|decode| decode(octets))
}

/// What converts from the charset called `label`, in lower case.
fn decoder(label: &str) -> Option<fn(&[u8]) -> String> {
    // Decoding these gives a replacement character and nothing else.
    if UNDECODED.contains(&label) {
        return None;
    }
    let known = ALIASES.iter().find(|(alias, _)| *alias == label).map_or(label, |(_, name)| name);
    charset_decoder(known.as_bytes())
}

/// Whether the charset called `label` is UTF-8: what is not is damaged then, and no
/// other charset by mistake.
pub fn is_utf8(label: &str) -> bool {
    let label = label.trim_matches(['"', '\'', ' ', '\t']);
    ["utf-8", "utf8"].iter().any(|name| label.eq_ignore_ascii_case(name))
}

/// What is written in the charset called `label` (lower case), of which it need not
/// be a whole text; a guess where nobody knows that charset.
pub fn word(octets: Vec<u8>, label: &str) -> String {
    match decoder(label) {
        Some(decode) => decode(&octets),
        None if is_utf8(label) => String::from_utf8_lossy(&octets).into_owned(),
        None => value::guess(octets),
    }
}

/// Charsets that nobody decodes any more.
const UNDECODED: &[&str] = &["iso-2022-kr", "csiso2022kr", "iso-2022-cn", "iso-2022-cn-ext", "hz-gb-2312"];

/// Names that mail programs use and no standard has.
const ALIASES: &[(&str, &str)] = &[
    ("ansi", "windows-1252"),
    ("8859-1", "windows-1252"),
    ("latin-1", "windows-1252"),
    ("windows1252", "windows-1252"),
    ("iso-8859-1-windows-3.1-latin-1", "windows-1252"),
    ("win-1251", "windows-1251"),
    ("win1251", "windows-1251"),
    ("cp-1251", "windows-1251"),
    ("cp932", "shift_jis"),
    ("eucjp", "euc-jp"),
    ("iso-2022-jp-2", "iso-2022-jp"),
    ("iso-2022-jp-ms", "iso-2022-jp"),
    ("cp949", "euc-kr"),
    ("uhc", "euc-kr"),
    ("euc-cn", "gbk"),
];

/// Octets of a page in which it may name its charset (WHATWG HTML section 4.2.5.4).
const PRESCAN: usize = 1024;

/// The charset that a page names itself, for parts that name none.
fn meta_charset(page: &[u8]) -> Option<String> {
    let begin = String::from_utf8_lossy(page.get(..page.len().min(PRESCAN)).unwrap_or_default());
    tokens(&begin).find_map(|token| match token {
        Token::Tag(tag) if tag.is("meta") => {
            let content = || tag.attribute("content").map(|content| content.to_ascii_lowercase());
            let named = || Some(content()?.split_once("charset=")?.1.split(';').next()?.trim().to_owned());
            tag.attribute("charset").map(|charset| charset.into_owned()).or_else(named)
        }
        _ => None,
    })
}

/// Undoes quoted-printable; leaves an `=` that begins nothing, and drops blanks
/// before line ends (RFC 2045 section 6.7).
fn quoted_printable(octets: &[u8]) -> Cow<'_, [u8]> {
    let mut plain = Vec::with_capacity(octets.len());
    for line in lines(octets) {
        let text = without_end(line);
        let mut rest = text.trim_ascii_end();
        let end = line.get(text.len()..).unwrap_or_default();
        let is_soft = rest.ends_with(b"=");
        rest = rest.strip_suffix(b"=").unwrap_or(rest);
        while let Some(at) = memchr(b'=', rest) {
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, b""));
            plain.extend_from_slice(before);
            let octet = match from {
                [_, high, low, ..] => quoted_printable_decode_char(*high, *low),
                _ => None,
            };
            plain.push(octet.unwrap_or(b'='));
            rest = from.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
        }
        plain.extend_from_slice(rest);
        if !is_soft {
            plain.extend_from_slice(end);
        }
    }
    Cow::Owned(plain)
}

/// Joins the lines that were wrapped for display (RFC 3676): one that ends in a
/// blank goes on in the next if both are quoted equally deep.
fn unflow(octets: Cow<'_, [u8]>, delete_space: bool) -> Cow<'_, [u8]> {
    let mut joined = Vec::with_capacity(octets.len());
    // How deep the line before is quoted, if it goes on, and its line end.
    let mut before: Option<(usize, &[u8])> = None;
    for line in lines(&octets) {
        let text = without_end(line);
        let end = line.get(text.len()..).unwrap_or_default();
        let depth = text.iter().take_while(|byte| **byte == b'>').count();
        let words = text.get(depth..).unwrap_or_default();
        let words = words.strip_prefix(b" ").unwrap_or(words);
        let continues = before.is_some_and(|(open, _)| open == depth);
        if let Some((_, end)) = before.filter(|_| !continues) {
            joined.extend_from_slice(end);
        }
        if !continues && depth > 0 {
            joined.extend(std::iter::repeat_n(b'>', depth).chain([b' ']));
        }
        let flows = words.ends_with(b" ") && words != b"-- ";
        let kept = if flows && delete_space { words.strip_suffix(b" ").unwrap_or(words) } else { words };
        joined.extend_from_slice(kept);
        before = flows.then_some((depth, end));
        if !flows {
            joined.extend_from_slice(end);
        }
    }
    if let Some((_, end)) = before {
        joined.extend_from_slice(end);
    }
    Cow::Owned(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(octets: &[u8]) -> String {
        String::from_utf8_lossy(octets).into_owned()
    }

    #[test]
    fn quoted_printable_is_undone_and_garbage_stays() {
        for (encoded, plain) in [
            ("a=3Db=\r\nc", "a=bc"),
            ("a=  \r\nb", "ab"),
            ("a  \r\nb", "a\r\nb"),
            ("=e4=E4", "\u{fffd}\u{fffd}"),
            ("a=zz=4", "a=zz=4"),
            ("==3D=", "=="),
            ("a=\n", "a"),
            ("=", ""),
            ("", ""),
        ] {
            assert_eq!(shown(&quoted_printable(encoded.as_bytes())), plain, "{encoded:?}");
        }
    }

    #[test]
    fn flowed_lines_are_joined() {
        for (flowed, delete_space, plain) in [
            ("a \r\nb\r\nc", false, "a b\r\nc"),
            ("a \r\nb\r\nc", true, "ab\r\nc"),
            ("  stuffed\r\n >not a quote", false, " stuffed\r\n>not a quote"),
            ("> a \r\n> b\r\n>> c \r\n> d\r\ne", false, "> a b\r\n>> c \r\n> d\r\ne"),
            ("text\r\n-- \r\nname", false, "text\r\n-- \r\nname"),
            ("last \r\n", false, "last \r\n"),
            ("", false, ""),
        ] {
            assert_eq!(shown(&unflow(Cow::Borrowed(flowed.as_bytes()), delete_space)), plain, "{flowed:?}");
        }
    }

    #[test]
    fn utf8_stays_whatever_its_label_and_the_rest_is_converted() {
        for (octets, label, expected) in [
            ("ü".as_bytes(), "iso-8859-1", None),
            (b"\xfc", "ISO-8859-1", Some("ü")),
            (b"\x93\xfc\x94", "windows-1252", Some("“ü”")),
            (b"\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r", Some("Привет")),
            (b"\x1b$B$3$s\x1b(B", "iso-2022-jp", Some("こん")),
            (b"plain", "iso-2022-jp", None),
            (b"+ADw-b+AD4-", "utf-7", None),
            (b"\xfc", "utf-8", None),
            (b"\xfc", "unheard-of", None),
            (b"\xc4\xe3\x81\x30\x84\x36", "gb18030", Some("你¥")),
            (b"\xc4\xe3\xba\xc3", "gb2312", Some("你好")),
            (b"\xa7A\xa6n", "big5", Some("你好")),
            (b"\xcf\xf0\xe8", "windows-1251", Some("При")),
            (b"\xcf\xf0\xe8", "win-1251", Some("При")),
            (b"za\xbf\xf3\xb3\xe6", "windows-1250", Some("zażółć")),
            (b"g\xf6z\xfe", "windows-1254", Some("gözş")),
            (b"\xe3\xe5\xe9\xe1", "windows-1253", Some("γεια")),
            (b"\xf9\xec\xe5\xed", "windows-1255", Some("שלום")),
            (b"\xa4 5", "iso-8859-15", Some("€ 5")),
            (b"\x80 5", "us-ascii", Some("€ 5")),
            (b"\x80 5", "\"latin-1\"", Some("€ 5")),
            (b"\x82\xb1\x82\xf1", "cp932", Some("こん")),
            (b"\xa4\xb3\xa4\xf3", "euc-jp", Some("こん")),
            (b"\xbe\xc8", "ks_c_5601-1987", Some("안")),
            (b"\x1b$)C\x0eGQ\x0f", "iso-2022-kr", None),
            (b"a\0b\0", "utf-16le", Some("ab")),
        ] {
            assert_eq!(to_utf8(octets, label).as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn a_page_may_name_its_charset() {
        for (page, expected) in [
            ("<html><head><meta charset=\"windows-1251\">", Some("windows-1251")),
            ("<META http-equiv='Content-Type' content='text/html; charset=GB2312; x'>", Some("gb2312")),
            ("<meta name=viewport content=width><meta charset=koi8-r>", Some("koi8-r")),
            ("<!-- <meta charset=x> --><p>", None),
            ("", None),
        ] {
            assert_eq!(meta_charset(page.as_bytes()).as_deref(), expected, "{page}");
        }
    }
}
