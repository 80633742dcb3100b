//! Tags and text of HTML, one after another, in one pass.
//!
//! No tree is built: mail is not to be rendered here, and a tree of hostile HTML
//! takes a hundred times its size, or the stack. Nothing depends on elements being
//! closed. As in browsers (WHATWG HTML section 13.2.5) a comment, a quoted value
//! or a script without end reaches to the end of the document. Comments, and what
//! stands in elements whose content is no text, are left out.

use mail_parser::decoders::html::add_html_token;
use memchr::{memchr, memchr3, memmem};
use std::borrow::Cow;

/// Elements whose content is not parsed and not shown.
const UNSHOWN: &[&str] = &["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"];
/// Longest character reference in octets (`&CounterClockwiseContourIntegral;`).
const LONGEST_REFERENCE: usize = 33;

/// A piece of a document.
#[derive(Clone, Copy, Debug)]
pub enum Token<'h> {
    /// What stands between tags, references undecoded.
    Text(&'h str),
    /// A tag.
    Tag(Tag<'h>),
}

/// One tag.
#[derive(Clone, Copy, Debug)]
pub struct Tag<'h> {
    /// As written, without `/`.
    pub name: &'h str,
    /// Whether it ends an element.
    pub is_end: bool,
    /// Its first octet in the document.
    pub at: usize,
    /// The octet after it.
    pub end: usize,
    attributes: &'h str,
}

impl<'h> Tag<'h> {
    /// Whether it is called `name` (lower case).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it is called one of `names` (lower case).
    pub fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    /// The value of an attribute, references decoded.
    pub fn attribute(&self, name: &str) -> Option<Cow<'h, str>> {
        let mut rest = self.attributes;
        while !rest.is_empty() {
            let (found, value, after) = attribute(rest);
            if found.eq_ignore_ascii_case(name) {
                return Some(decoded(value));
            }
            rest = after;
        }
        None
    }
}

/// Name, value and the rest of what begins with an attribute.
fn attribute(text: &str) -> (&str, &str, &str) {
    let is_blank = |char: char| char.is_ascii_whitespace() || char == '/';
    let text = text.trim_start_matches(is_blank);
    let first = text.chars().next().map_or(0, char::len_utf8);
    let ends = |at: usize| text.get(at..).and_then(|rest| rest.find(|char| is_blank(char) || char == '='));
    let name_end = ends(first).map_or(text.len(), |end| first + end);
    let (name, after) = text.split_at_checked(name_end).unwrap_or((text, ""));
    let after = after.trim_start();
    let Some(value) = after.strip_prefix('=').map(str::trim_start) else { return (name, "", after) };
    let quote = value.chars().next().filter(|char| matches!(char, '"' | '\''));
    let (value, after) = match quote {
        Some(quote) => value.get(1..).unwrap_or_default().split_once(quote).unwrap_or((value, "")),
        None => value.split_once(|char: char| char.is_ascii_whitespace()).unwrap_or((value, "")),
    };
    (name, value, after)
}

/// Octets of text that are decoded together.
const PIECE: usize = 64 * 1024;

/// Text with its character references decoded, one piece after another.
pub fn decoded_pieces(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.floor_char_boundary(PIECE);
        // A reference may go on behind it.
        let near = rest.get(rest.floor_char_boundary(end.saturating_sub(LONGEST_REFERENCE))..end)?;
        let begun = near.rfind('&').filter(|_| end < rest.len()).map_or(0, |at| near.len() - at);
        let (piece, after) = rest.split_at_checked(end - begun)?;
        rest = after;
        (!piece.is_empty()).then(|| decoded(piece))
    })
}

/// Text with its character references decoded.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if memchr(b'&', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        plain.push_str(before);
        let near = from.get(..from.floor_char_boundary(LONGEST_REFERENCE)).unwrap_or(from);
        let end = memchr(b';', near.as_bytes()).map_or(1, |at| at + 1);
        let (reference, after) = from.split_at_checked(end).unwrap_or((from, ""));
        add_html_token(&mut plain, reference.as_bytes(), false);
        rest = after;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The pieces of a document.
pub fn tokens(html: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = html.get(at..).filter(|rest| !rest.is_empty())?;
            let text = memchr(b'<', rest.as_bytes()).unwrap_or(rest.len());
            if text > 0 {
                at += text;
                return rest.get(..text).map(Token::Text);
            }
            match markup(rest, at) {
                Markup::Tag(tag) => {
                    at = tag.end;
                    if !tag.is_end && tag.is_one_of(UNSHOWN) {
                        at += content_length(html.get(at..).unwrap_or_default(), tag.name);
                    }
                    return Some(Token::Tag(tag));
                }
                Markup::Comment(length) => at += length,
                Markup::Text(length) => {
                    at += length;
                    return rest.get(..length).map(Token::Text);
                }
            }
        }
    })
}

enum Markup<'h> {
    Tag(Tag<'h>),
    /// Of so many octets.
    Comment(usize),
    /// A `<` that begins nothing.
    Text(usize),
}

/// What a `<` begins.
fn markup(rest: &str, at: usize) -> Markup<'_> {
    let octets = rest.as_bytes();
    let is_letter = |at: usize| octets.get(at).is_some_and(u8::is_ascii_alphabetic);
    if let Some(comment) = rest.strip_prefix("<!--") {
        // `<!-->` is whole.
        let is_short = comment.starts_with('>') || comment.starts_with("->");
        let end = if is_short { memchr(b'>', octets) } else { memmem::find(octets, b"-->").map(|at| at + 2) };
        return Markup::Comment(end.map_or(rest.len(), |end| end + 1));
    }
    let is_end = octets.get(1) == Some(&b'/');
    let name_at = if is_end { 2 } else { 1 };
    if !is_letter(name_at) {
        let is_comment = is_end || matches!(octets.get(1), Some(b'!' | b'?'));
        return match is_comment {
            true => Markup::Comment(memchr(b'>', octets).map_or(rest.len(), |end| end + 1)),
            false => Markup::Text(1),
        };
    }
    let ends_name = |octet: &u8| octet.is_ascii_whitespace() || matches!(octet, b'/' | b'>');
    let name_end = octets.iter().skip(name_at).position(ends_name).map_or(rest.len(), |end| name_at + end);
    let end = tag_end(octets, name_end);
    let attributes = rest.get(name_end..end).unwrap_or_default().trim_end_matches(['>', '/']);
    let name = rest.get(name_at..name_end).unwrap_or_default();
    Markup::Tag(Tag { name, is_end, at, end: at + end, attributes })
}

/// The octet after the tag whose attributes begin at `at`: a `>` in a quoted value
/// does not end it.
fn tag_end(octets: &[u8], mut at: usize) -> usize {
    while let Some(found) = octets.get(at..).and_then(|rest| memchr3(b'>', b'"', b'\'', rest)) {
        let here = at + found;
        let mark = octets.get(here).copied().unwrap_or_default();
        if mark == b'>' {
            return here + 1;
        }
        let before = octets.get(at..here).unwrap_or_default().trim_ascii_end();
        let is_value = before.ends_with(b"=");
        let quoted = octets.get(here + 1..).unwrap_or_default();
        at = match memchr(mark, quoted) {
            Some(length) if is_value => here + 1 + length + 1,
            None if is_value => return octets.len(),
            _ => here + 1,
        };
    }
    octets.len()
}

/// How long the content of an element is that only its own end tag ends.
fn content_length(rest: &str, name: &str) -> usize {
    let octets = rest.as_bytes();
    let ends = |at: &usize| {
        let found = octets.get(at + 2..at + 2 + name.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    };
    memmem::find_iter(octets, b"</").find(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(html: &str) -> String {
        let token = |token| match token {
            Token::Text(text) => decoded(text).into_owned(),
            Token::Tag(tag) => {
                let href = tag.attribute("href").map(|href| format!("={href}")).unwrap_or_default();
                format!("[{}{}{href}]", if tag.is_end { "/" } else { "" }, tag.name)
            }
        };
        tokens(html).map(token).collect()
    }

    #[test]
    fn documents_are_taken_apart_whatever_is_missing() {
        for (html, expected) in [
            ("a<b>c</B >d", "a[b]c[/B]d"),
            ("<a href='x>y'>z</a>", "[a=x>y]z[/a]"),
            ("<a class=c href = \"a&amp;b\" x>z", "[a=a&b]z"),
            ("<a HREF=u/v>z", "[a=u/v]z"),
            ("<a title=href href>z", "[a=]z"),
            ("<br/>x<br />", "[br]x[br]"),
            ("a < b && c<3 &lt;&#8364;&#x20ac;&nbsp;&unheard;&", "a < b && c<3 <€€\u{a0}&unheard;&"),
            ("a<!-- <b> -->c<!-->d<!DOCTYPE html>e<?php 1>f</ >g", "acdefg"),
            ("a<!-- never ended <b>", "a"),
            ("<script>if (a<b) '</b>'</SCRIPT>x<style>y", "[script][/SCRIPT]x[style]"),
            ("<a it's>x</a><p title=\"never ended>y", "[a]x[/a][p]"),
            ("<", "<"),
            ("<a", "[a]"),
            ("", ""),
        ] {
            assert_eq!(shown(html), expected, "{html}");
        }
    }
}
