//! What Mailgun calls stripped: text without its signature, HTML without quoted
//! earlier mail.
//!
//! Only marks that mail programs make are trusted, as in the text of replies. An
//! element that quotes goes from its begin to its end, so that what was written
//! below it stays. One pass over the HTML; it is not made valid.

use memchr::{memchr, memchr_iter, memmem};
use std::borrow::Cow;

/// Text, and the signature with its mark (RFC 3676 section 4.3).
pub fn text(reply: &str) -> (&str, &str) {
    let octets = reply.as_bytes();
    let is_mark = |at: &usize| {
        let begins = *at == 0 || octets.get(at - 1) == Some(&b'\n');
        begins && {
            let rest = octets.get(*at..).unwrap_or_default();
            let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
            line.trim_ascii_end() == b"--"
        }
    };
    let at = memmem::rfind_iter(octets, "--").find(is_mark).unwrap_or(octets.len());
    let (before, signature) = reply.split_at_checked(at).unwrap_or((reply, ""));
    if signature.is_empty() { (reply, "") } else { (before.trim_end(), signature) }
}

/// How far a mark in HTML reaches.
#[derive(Clone, Copy)]
enum Reach {
    Element,
    Rest,
}

/// What the tags of quotes hold, in lower case: Gmail, Apple Mail and Thunderbird,
/// Yahoo; Outlook, which puts the earlier mail behind its mark.
const MARKS: [(&str, Reach); 6] = [
    ("gmail_quote", Reach::Element),
    ("type=\"cite\"", Reach::Element),
    ("moz-cite-prefix", Reach::Element),
    ("yahoo_quoted", Reach::Element),
    ("id=\"appendonsend\"", Reach::Rest),
    ("id=\"divrplyfwdmsg\"", Reach::Rest),
];

/// Most octets of a tag that are looked at.
const MAX_TAG: usize = 512;

/// HTML without what it quotes; borrowed when there is none.
pub fn html(html: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    // Where what is not yet kept begins, and the element that is being left out.
    let mut from = 0;
    let mut open: Option<(String, usize)> = None;
    let mut has_quotes = false;
    for (start, end, tag) in tags(html) {
        let is_closing = tag.starts_with('/');
        let name = tag.trim_start_matches('/').split(|char: char| !char.is_ascii_alphanumeric()).next();
        match &mut open {
            Some((quote, depth)) if name == Some(quote.as_str()) => {
                *depth = if is_closing { *depth - 1 } else { *depth + 1 };
                if *depth == 0 {
                    (open, from) = (None, end);
                }
            }
            Some(_) => {}
            None => {
                let mark = MARKS.iter().find(|(mark, _)| !is_closing && tag.contains(mark));
                let Some((_, reach)) = mark else { continue };
                has_quotes = true;
                kept.push_str(html.get(from..start).unwrap_or_default());
                from = html.len();
                match reach {
                    Reach::Element => open = Some((name.unwrap_or_default().to_owned(), 1)),
                    Reach::Rest => break,
                }
            }
        }
    }
    if !has_quotes {
        return Cow::Borrowed(html);
    }
    kept.push_str(html.get(from..).unwrap_or_default());
    Cow::Owned(kept)
}

/// Begin, end and inside of each tag that could begin or end a quote.
fn tags(html: &str) -> impl Iterator<Item = (usize, usize, String)> {
    let octets = html.as_bytes();
    memchr_iter(b'<', octets).filter_map(|start| {
        let rest = octets.get(start + 1..octets.len().min(start + MAX_TAG))?;
        let name = rest.strip_prefix(b"/").unwrap_or(rest);
        let could = ["div", "blockquote"].iter().any(|known| {
            name.get(..known.len()).is_some_and(|name| name.eq_ignore_ascii_case(known.as_bytes()))
        });
        let length = could.then(|| memchr(b'>', rest)).flatten()?;
        let tag = String::from_utf8_lossy(rest.get(..length)?).to_ascii_lowercase();
        Some((start, start + length + 2, tag))
    })
}

#[cfg(test)]
mod tests {
    use super::{html, text};

    #[test]
    fn signatures_go_with_their_mark() {
        for (reply, expected) in [
            ("Hi\r\n\r\n-- \r\nAnn", ("Hi", "-- \r\nAnn")),
            ("Hi\n--\nBob Smith", ("Hi", "--\nBob Smith")),
            ("a\n-- \nb\n-- \nc", ("a\n-- \nb", "-- \nc")),
            ("-- \nAnn", ("", "-- \nAnn")),
            ("a -- b\n--x\n---\n", ("a -- b\n--x\n---\n", "")),
            ("", ("", "")),
        ] {
            assert_eq!(text(reply), expected, "{reply:?}");
        }
        let dashes = "--".repeat(1_000_000);
        assert_eq!(text(&dashes), (dashes.as_str(), ""));
    }

    #[test]
    fn quotes_go_and_what_stands_below_them_stays() {
        for (whole, expected) in [
            ("<p>Hi</p>", "<p>Hi</p>"),
            (
                "<p>Hi</p><div class=\"gmail_quote\">On Monday<div>x</div></div><p>PS</p>",
                "<p>Hi</p><p>PS</p>",
            ),
            ("Hi<BLOCKQUOTE type=\"cite\">a<blockquote>b</blockquote></BLOCKQUOTE>ü", "Hiü"),
            ("Hi<blockquote>words</blockquote>", "Hi<blockquote>words</blockquote>"),
            ("Hi<div id=\"appendonsend\"></div><hr>From: x", "Hi"),
            ("Hi<div class=\"gmail_quote\">never ends", "Hi"),
            ("a<divider class=\"x\">b", "a<divider class=\"x\">b"),
            ("a < b <div", "a < b <div"),
            ("", ""),
        ] {
            assert_eq!(html(whole), expected, "{whole}");
        }
        let flood = "<div ".repeat(100_000);
        assert_eq!(html(&flood), flood);
    }
}
