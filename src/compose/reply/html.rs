//! The new part of an HTML reply: without what mail programs mark as earlier mail.
//!
//! Each wraps it in an element of its own or puts it below a mark. An element goes
//! with all that is in it, up to its own end; below a mark all goes up to the end
//! of the body. A page of which nothing would stay is handed on mail and stays as
//! it is. Nothing else of the page is changed.

use super::super::html::{Tag, Token, decoded, tokens};
use super::words;
use std::borrow::Cow;

/// Classes and ids of elements that hold earlier mail: Gmail, Yahoo, Proton, Zimbra,
/// Thunderbird's line above it, Outlook on telephones, Fastmail, QQ.
const QUOTES: &[&str] = &[
    "gmail_quote",
    "gmail_attr",
    "gmail_extra",
    "yahoo_quoted",
    "yahoo-quoted",
    "protonmail_quote",
    "moz-cite-prefix",
    "zmail_extra",
    "ms-outlook-mobile-reference-message",
    "reference-message-container",
    "wordsection1-quote",
    "qtdseparatebr",
];
/// Ids and classes of elements below which earlier mail stands: Outlook's and AOL's.
const MARKS: &[&str] = &[
    "divrplyfwdmsg",
    "appendonsend",
    "stopspelling",
    "mail-editor-reference-message-container",
    "olk_src_body_section",
];
/// Elements that have no end.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// The page without earlier mail; borrowed when there is none.
pub fn without_quoted_html(html: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut has_words = false;
    // Where what is kept begins, and the element that goes: its name and how many of
    // that name are open in it.
    let mut from = 0;
    let mut leaving: Option<(&str, usize)> = None;
    for token in tokens(html) {
        let tag = match token {
            Token::Text(text) => {
                has_words |= leaving.is_none() && !decoded(text).trim().is_empty();
                continue;
            }
            Token::Tag(tag) => tag,
        };
        match &mut leaving {
            Some((name, open)) if tag.name.eq_ignore_ascii_case(name) => {
                *open = if tag.is_end { open.saturating_sub(1) } else { *open + 1 };
                if *open == 0 {
                    leaving = None;
                    from = tag.end;
                }
            }
            Some(_) => {}
            None => match role(&tag) {
                Role::Mark if has_words => {
                    kept.push_str(html.get(from..tag.at).unwrap_or_default());
                    kept.push_str(page_end(html, tag.end));
                    return Cow::Owned(kept);
                }
                Role::Quote if !is_forwarded(html.get(tag.end..).unwrap_or_default()) => {
                    kept.push_str(html.get(from..tag.at).unwrap_or_default());
                    leaving = Some((tag.name, 1));
                    from = html.len();
                }
                Role::Quote | Role::Mark | Role::Other => {}
            },
        }
    }
    if !has_words || from == 0 {
        return Cow::Borrowed(html);
    }
    match leaving {
        Some(_) => kept.push_str(page_end(html, 0)),
        None => kept.push_str(html.get(from..).unwrap_or_default()),
    }
    Cow::Owned(kept)
}

enum Role {
    Quote,
    Mark,
    Other,
}

fn role(tag: &Tag<'_>) -> Role {
    if tag.is_end || tag.is_one_of(VOID) {
        return Role::Other;
    }
    let names = |attribute: &str| tag.attribute(attribute).unwrap_or_default().to_ascii_lowercase();
    if tag.is("blockquote") && names("type") == "cite" {
        return Role::Quote;
    }
    let (class, id) = (names("class"), names("id"));
    let is_any = |known: &[&str]| {
        let mut all = class.split_ascii_whitespace().chain([id.trim()]);
        // Outlook prefixes names of mail that it has taken over.
        all.any(|name| known.contains(&name.strip_prefix("x_").unwrap_or(name)))
    };
    if is_any(QUOTES) {
        Role::Quote
    } else if is_any(MARKS) {
        Role::Mark
    } else {
        Role::Other
    }
}

/// Whether a quote begins with the words above mail that is handed on, which Gmail
/// wraps as well.
fn is_forwarded(quote: &str) -> bool {
    let begin = quote.get(..quote.floor_char_boundary(500)).unwrap_or(quote);
    let first = tokens(begin).find_map(|token| match token {
        Token::Text(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    });
    let first = first.map(|text| text.trim_matches(['-', ' ', '\r', '\n', ':']).to_lowercase());
    first.is_some_and(|first| words::FORWARDED.contains(&first.as_str()))
}

/// The end tags of a page whose rest has gone.
fn page_end(html: &str, from: usize) -> &str {
    let tail = html.len().saturating_sub(64).max(from);
    let tail = html.get(html.ceil_char_boundary(tail)..).unwrap_or_default();
    let at = ["</body", "</BODY", "</html", "</HTML"].iter().find_map(|end| tail.find(end));
    at.and_then(|at| tail.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_mail_goes_and_the_rest_stays() {
        for (html, expected) in [
            (
                "<div>Yes.</div><br><div class=\"gmail_quote\"><div>On Monday</div>old</div>",
                "<div>Yes.</div><br>",
            ),
            (
                "<html><body>Yes.<div class=\"gmail_quote gmail_quote_container\"><div>a</div></div>Bye</body></html>",
                "<html><body>Yes.Bye</body></html>",
            ),
            (
                "FYI<div class=gmail_quote><div class=gmail_attr>---------- Forwarded message ---------<br>From</div>old</div>",
                "FYI<div class=gmail_quote><div class=gmail_attr>---------- Forwarded message ---------<br>From</div>old</div>",
            ),
            (
                "<p>Yes.</p><blockquote type=\"cite\">a<blockquote type=cite>b</blockquote></blockquote><p>No.</p>",
                "<p>Yes.</p><p>No.</p>",
            ),
            (
                "<p>Yes.</p><div class=\"moz-cite-prefix\">On Monday, Ann wrote:<br></div><blockquote type=\"cite\" cite=\"mid:1\">a</blockquote>",
                "<p>Yes.</p>",
            ),
            (
                "<body><p>Yes.</p><div id=\"appendonsend\"></div><hr><div id=\"divRplyFwdMsg\"><b>From:</b> Ann</div><p>old</p></body></html>",
                "<body><p>Yes.</p></body></html>",
            ),
            ("<p>Yes.</p><div class=\"yahoo_quoted\" id=\"y1\">old</div>", "<p>Yes.</p>"),
            ("<p>Yes.</p><div id=\"x_divRplyFwdMsg\">From</div>old", "<p>Yes.</p>"),
            (
                "<div id=\"divRplyFwdMsg\">From</div>handed on",
                "<div id=\"divRplyFwdMsg\">From</div>handed on",
            ),
            ("<div class=gmail_quote>nothing else</div>", "<div class=gmail_quote>nothing else</div>"),
            (
                "<p>Yes.</p><blockquote>somebody famous</blockquote>",
                "<p>Yes.</p><blockquote>somebody famous</blockquote>",
            ),
            ("Yes.<div class=gmail_quote>never ended", "Yes."),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(without_quoted_html(html), expected, "{html}");
        }
    }

    #[test]
    fn hostile_pages_take_linear_time() {
        for unit in [
            "<div class=gmail_quote>x",
            "<div>",
            "<blockquote type=cite>",
            "<div id=divRplyFwdMsg>",
            "<p class='a",
        ] {
            assert!(
                without_quoted_html(&format!("x{}", unit.repeat(20_000))).len() <= 20_000 * unit.len() + 1
            );
        }
    }
}
