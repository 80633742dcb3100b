//! The new text of a reply: a message without the earlier mail it quotes.
//!
//! Only marks that nobody writes by chance are trusted: lines that begin with
//! `>`, the line or two that introduce them and end in a colon, and the
//! separators of mail programs that quote without marks. Text between quotes
//! stays. When in doubt a line stays: losing words is worse than keeping some.

use memchr::{memchr, memmem};
use std::borrow::Cow;

/// What mail programs write above the mail that is answered, in lower case.
const ORIGINAL: [&str; 4] =
    ["original message", "ursprüngliche nachricht", "message d'origine", "mensaje original"];

/// The text without quoted earlier mail, its end trimmed; borrowed when it is the
/// beginning of `text`.
pub fn without_quotes(text: &str) -> Cow<'_, str> {
    let text = before_original(text);
    if !text.starts_with('>') && memmem::find(text.as_bytes(), b"\n>").is_none() {
        return Cow::Borrowed(text.trim_end());
    }
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    // No list of lines: of an empty line it would take many times its size.
    let mut kept = String::with_capacity(text.len() + line_end.len());
    let mut is_quoting = false;
    for line in text.lines() {
        let is_quote = line.starts_with('>');
        if is_quote && !is_quoting {
            drop_introduction(&mut kept);
        }
        if !is_quote {
            kept.push_str(line);
            kept.push_str(line_end);
        }
        is_quoting = is_quote;
    }
    kept.truncate(kept.trim_end().len());
    Cow::Owned(kept)
}

/// What stands before the separator of a mail program that quotes without marks.
fn before_original(text: &str) -> &str {
    let mut at = 0;
    while let Some((line, following)) = text.get(at..).filter(|rest| !rest.is_empty()).map(split_line) {
        if begins_original(line, following) {
            break;
        }
        at += line.len();
    }
    text.get(..at).unwrap_or(text)
}

/// The first line with its end, and what follows it.
fn split_line(text: &str) -> (&str, &str) {
    let end = memchr(b'\n', text.as_bytes()).map_or(text.len(), |feed| feed + 1);
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `-----Original Message-----`, or Outlook's rule before a copied header.
fn begins_original(line: &str, following: &str) -> bool {
    let mark = line.trim();
    if mark.starts_with("--") {
        let words = mark.trim_matches(['-', ' ', '\t']).to_lowercase();
        return ORIGINAL.contains(&words.as_str());
    }
    let is_rule = mark.len() >= 20 && mark.bytes().all(|octet| octet == b'_');
    is_rule && (following.starts_with("From:") || following.starts_with("Von:"))
}

/// Removes `On Monday somebody wrote:` before a quote; wrapped, it has two lines.
fn drop_introduction(kept: &mut String) {
    // An introduction stands close by; looking further back would take quadratic time.
    let mut rest = kept.as_str();
    for _ in 0..3 {
        let (before, line) = split_last_line(rest);
        rest = if line.trim().is_empty() { before } else { rest };
    }
    let (before, last) = split_last_line(rest);
    if !last.trim_end().ends_with(':') {
        return;
    }
    let (begin, wrapped) = split_last_line(before);
    let is_wrapped = ["On ", "Am ", "Le ", "El "].iter().any(|word| wrapped.starts_with(word));
    kept.truncate(if is_wrapped { begin.len() } else { before.len() });
}

/// The last line with its end, and what stands before it.
fn split_last_line(text: &str) -> (&str, &str) {
    let line_at = text.strip_suffix('\n').and_then(|text| text.rfind('\n')).map_or(0, |feed| feed + 1);
    text.split_at_checked(line_at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_go_and_words_stay() {
        for (text, reply) in [
            ("Yes.\r\n\r\nOn Monday, Ann wrote:\r\n> Shall we?\r\n>\r\n> Ann\r\n", "Yes."),
            ("Yes.\n\nOn Monday at 12:00, Ann\n<ann@example.com> wrote:\n\n> Shall we?", "Yes."),
            ("> Shall we?\nYes.\n> When?\nNow.", "Yes.\nNow."),
            ("> Shall we?\r\nYes.\r\nNow.\r\n", "Yes.\r\nNow."),
            ("Am Montag schrieb Ann:\n> Wollen wir?\n\nJa.", "\nJa."),
            ("Fine\n-----Original Message-----\nFrom: x", "Fine"),
            ("Fine\n________________________________\nFrom: x", "Fine"),
            ("________________________________\nSigned", "________________________________\nSigned"),
            ("Note this:\nnothing quoted\n", "Note this:\nnothing quoted"),
            ("a\n\n-- \nname", "a\n\n-- \nname"),
            ("Fine\n -- Ursprüngliche Nachricht --\r\nVon: x", "Fine"),
            ("Fine\n--\nFrom: x", "Fine\n--\nFrom: x"),
            (
                "These are 20 blanks:\n                    \nFrom: x",
                "These are 20 blanks:\n                    \nFrom: x",
            ),
            ("> all\n> quoted", ""),
            ("", ""),
        ] {
            assert_eq!(without_quotes(text), reply, "{text:?}");
        }
    }
}
