//! The new text of a reply: a message without the earlier mail it quotes.
//!
//! Only marks that nobody writes by chance are trusted: lines that begin with
//! `>` and the line or lines that introduce them; the separators of mail programs
//! that quote without marks; an introduction that holds a date, a time and an
//! address. Text between quotes stays. Mail that is handed on is what the message
//! is about and stays, and so does all of a message that begins with a separator.
//! When in doubt a line stays: losing words is worse than keeping some.
//!
//! A signature is no history: it stays in the new text, as in talon, unless it is
//! asked for by itself ([`split_signature`]). Everything takes linear time.

mod html;
mod words;

pub use html::without_quoted_html;

use memchr::{memchr, memchr2, memmem};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Most octets that are looked at for an introduction: three lines and some blanks.
const LONGEST_INTRODUCTION: usize = 800;
/// Most lines of the block that Outlook puts above earlier mail.
const BLOCK_LINES: usize = 12;
/// Most octets of the name of one of its fields.
const LONGEST_NAME: usize = 40;
/// Most lines of a signature, as in talon.
const SIGNATURE_LINES: usize = 11;
/// Longest line of a telephone's signature in octets.
const LONGEST_SENT_FROM: usize = 160;

/// The text without quoted earlier mail, its end trimmed; borrowed when it is the
/// beginning of `text`.
pub fn without_quotes(text: &str) -> Cow<'_, str> {
    let (end, forwarded) = match history(text) {
        Some(History::Answered(at)) => (at, ""),
        Some(History::Forwarded(at)) => (at, text.get(at..).unwrap_or_default()),
        None => (text.len(), ""),
    };
    let new = text.get(..end).unwrap_or(text);
    if !new.starts_with('>') && memmem::find(new.as_bytes(), b"\n>").is_none() {
        let all = if forwarded.is_empty() { new } else { text };
        return Cow::Borrowed(all.trim_end());
    }
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    // No list of lines: of an empty line it would take many times its size.
    let mut kept = String::with_capacity(text.len() + line_end.len());
    let mut is_quoting = false;
    for line in new.lines() {
        let is_quote = line.starts_with('>');
        if is_quote && !is_quoting {
            let at = introduction(&kept).map_or(kept.len(), |introduction| introduction.at);
            kept.truncate(at);
        }
        if !is_quote {
            kept.push_str(line);
            kept.push_str(line_end);
        }
        is_quoting = is_quote;
    }
    kept.push_str(forwarded);
    kept.truncate(kept.trim_end().len());
    Cow::Owned(kept)
}

/// Whether a text ends in earlier mail that it answers and quotes without marks.
pub fn ends_in_history(text: &str) -> bool {
    matches!(history(text), Some(History::Answered(_)))
}

/// Where earlier mail begins that is quoted without marks.
enum History {
    /// It is answered: what follows goes.
    Answered(usize),
    /// It is handed on: what follows stays.
    Forwarded(usize),
}

fn history(text: &str) -> Option<History> {
    let mut at = 0;
    let mut has_words = false;
    let mut lines = Lines { text, read: 0, roles: VecDeque::new() };
    while let Some((line, following)) = text.get(at..).filter(|rest| !rest.is_empty()).map(split_line) {
        let separator = if may_separate(line) { separator(line, following, &mut lines) } else { None };
        let answered = match separator {
            Some(Separator::Forwarded) => return Some(History::Forwarded(at)),
            Some(Separator::Answered) => Some(at),
            None if !ends_in_colon(line) => None,
            None => unmarked_quote(text.get(..at + line.len()).unwrap_or_default(), following),
        };
        match answered {
            Some(at) if has_words => return Some(History::Answered(at)),
            Some(at) => return Some(History::Forwarded(at)),
            None => {}
        }
        has_words = has_words || !line.starts_with('>') && !line.trim().is_empty();
        at += line.len();
    }
    None
}

/// Whether it is worth a closer look: few lines hold a colon, or begin with a rule.
fn may_separate(line: &str) -> bool {
    let octets = line.as_bytes();
    // The second is the first octet of a full-width colon in UTF-8.
    memchr2(b':', 0xef, octets).is_some() || matches!(octets.trim_ascii_start().first(), Some(b'-' | b'_'))
}

enum Separator {
    Answered,
    Forwarded,
}

/// `-----Original Message-----`, Outlook's rule and its block of fields, or what
/// stands above mail that is handed on.
fn separator<'t>(line: &'t str, following: &'t str, lines: &mut Lines<'t>) -> Option<Separator> {
    let mark = line.trim();
    if mark.starts_with("--") {
        let text = mark.trim_matches(['-', ' ', '\t', ':']).to_lowercase();
        return if words::ORIGINAL.contains(&text.as_str()) {
            Some(Separator::Answered)
        } else {
            words::FORWARDED.contains(&text.as_str()).then_some(Separator::Forwarded)
        };
    }
    if mark.starts_with('_') {
        let is_rule = mark.len() >= 20 && mark.bytes().all(|octet| octet == b'_');
        let is_above = is_rule && field_is(following, words::FROM);
        return is_above.then_some(Separator::Answered);
    }
    if ends_in_colon(mark) && mark.len() <= 2 * LONGEST_NAME {
        let text = mark.trim_end_matches([':', '：', ' ', '\u{a0}', '\u{202f}']).to_lowercase();
        return words::FORWARDED.contains(&text.as_str()).then_some(Separator::Forwarded);
    }
    lines.is_block(line, following).then_some(Separator::Answered)
}

/// What the lines of a text are in Outlook's block. Each is looked at once, because
/// every line may begin a block.
struct Lines<'t> {
    text: &'t str,
    /// Octets that have been looked at.
    read: usize,
    /// Where each of the last lines begins, and what it is.
    roles: VecDeque<(usize, Roles)>,
}

/// What a line is, a bit each.
type Roles = u8;
const IS_FROM: Roles = 1;
const IS_SENT: Roles = 2;
const IS_TO: Roles = 4;
const IS_SUBJECT: Roles = 8;
const IS_EMPTY: Roles = 16;

impl Lines<'_> {
    /// Whether a line names a sender, and those that follow it are the rest of
    /// Outlook's block: when, to whom and about what.
    fn is_block(&mut self, line: &str, following: &str) -> bool {
        let at = self.text.len() - following.len() - line.len();
        while self.roles.front().is_some_and(|(before, _)| *before < at) {
            self.roles.pop_front();
        }
        self.read = self.read.max(at);
        self.look_at(1);
        if self.roles.front().is_none_or(|(_, roles)| roles & IS_FROM == 0) {
            return false;
        }
        self.look_at(1 + BLOCK_LINES);
        let below = self.roles.iter().skip(1).map(|(_, roles)| *roles);
        let block = below.take_while(|roles| roles & IS_EMPTY == 0).fold(0, |all, roles| all | roles);
        let needed = IS_SENT | IS_TO | IS_SUBJECT;
        block & needed == needed
    }

    fn look_at(&mut self, lines: usize) {
        while self.roles.len() < lines {
            let Some(rest) = self.text.get(self.read..).filter(|rest| !rest.is_empty()) else { return };
            let (line, _) = split_line(rest);
            self.roles.push_back((self.read, roles(line)));
            self.read += line.len();
        }
    }
}

fn roles(line: &str) -> Roles {
    let Some(name) = field_name(line) else { return if line.trim().is_empty() { IS_EMPTY } else { 0 } };
    let known =
        [(IS_FROM, words::FROM), (IS_SENT, words::SENT), (IS_TO, words::TO), (IS_SUBJECT, words::SUBJECT)];
    known.iter().filter(|(_, names)| names.contains(&name.as_str())).fold(0, |all, (role, _)| all | role)
}

/// Whether a line begins with one of the names and a colon.
fn field_is(line: &str, names: &[&str]) -> bool {
    field_name(line).is_some_and(|name| names.contains(&name.as_str()))
}

/// What stands before the colon, in lower case; some programs print it in asterisks.
fn field_name(line: &str) -> Option<String> {
    let line = line.trim_start_matches([' ', '\t', '*']);
    let begin = line.get(..line.floor_char_boundary(LONGEST_NAME)).unwrap_or(line);
    let ascii = memchr(b':', begin.as_bytes());
    let end = ascii.or_else(|| memmem::find(begin.as_bytes(), "：".as_bytes()))?;
    let name = begin.get(..end)?.trim_end_matches(['*', ' ', '\t', '\u{a0}', '\u{202f}']);
    (!name.is_empty()).then(|| name.to_lowercase())
}

fn ends_in_colon(line: &str) -> bool {
    line.trim_end().ends_with([':', '：'])
}

/// Where an introduction begins that ends `text` and whose quote has no marks: it
/// has what mail programs put there, and what follows is no marked quote.
fn unmarked_quote(text: &str, following: &str) -> Option<usize> {
    let found = introduction(text)?;
    let mut below = following.lines().take(3).skip_while(|line| line.trim().is_empty());
    let is_sure = found.has_time && found.has_verb && found.has_address;
    let is_marked = below.next().is_some_and(|line| line.starts_with('>'));
    (is_sure && !is_marked && !following.trim_start().is_empty()).then_some(found.at)
}

/// `On Monday somebody wrote:`.
struct Introduction {
    /// Where it begins.
    at: usize,
    has_verb: bool,
    /// Whether it names a year or a time of the day.
    has_time: bool,
    has_address: bool,
}

/// The introduction that `text` ends with, above up to three empty lines; wrapped,
/// it has up to three lines.
fn introduction(text: &str) -> Option<Introduction> {
    // It stands close by; looking further back would take quadratic time.
    let from = text.floor_char_boundary(text.len().saturating_sub(LONGEST_INTRODUCTION));
    let mut rest = text.get(from..)?;
    for _ in 0..3 {
        let (above, line) = split_last_line(rest);
        rest = if line.trim().is_empty() { above } else { rest };
    }
    let (mut above, last) = split_last_line(rest);
    if !ends_in_colon(last) {
        return None;
    }
    let begins = |line: &str| words::BEGINS.iter().any(|word| line.starts_with(word));
    let mut at = above.len();
    for _ in 0..2 {
        let (further, line) = split_last_line(above);
        let ends = line.trim().is_empty()
            || line.starts_with('>')
            || line.trim_end().ends_with(['.', '!', '?', ':']);
        if ends || begins(last) {
            break;
        }
        if begins(line) || !has_time(last) && has_time(line) {
            at = further.len();
            break;
        }
        above = further;
    }
    let said = rest.get(at..)?.to_lowercase();
    let has_verb = words::VERBS.iter().any(|verb| said.contains(verb)) || said.trim_end().ends_with(">:");
    let found =
        Introduction { at: from + at, has_verb, has_time: has_time(&said), has_address: said.contains('@') };
    (found.has_verb || found.has_time || found.has_address).then_some(found)
}

/// Whether it holds a year, or a time such as 12:00 or 12.00.
fn has_time(text: &str) -> bool {
    let mut runs = text.split(|char: char| !char.is_ascii_digit() && !matches!(char, ':' | '.'));
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
    };
    runs.any(|run| {
        let run = run.trim_matches([':', '.']);
        let year = |part: &str| part.len() == 4 && (part.starts_with("19") || part.starts_with("20"));
        let time = |(hours, minutes): (&str, &str)| {
            let minutes = minutes.split([':', '.']).next().unwrap_or_default();
            is_number(hours, 2) && minutes.len() == 2
        };
        run.split(['.', ':']).any(|part| year(part) && is_number(part, 4))
            || run.split_once([':', '.']).is_some_and(time)
    })
}

/// The new text and the signature below it, both without blanks at their ends: what
/// stands below `-- ` (RFC 3676 section 4.3), or a telephone's "Sent from my …".
pub fn split_signature(text: &str) -> (&str, &str) {
    let mut at = text.len();
    for number in 0..=SIGNATURE_LINES {
        let above = text.get(..at).unwrap_or_default();
        let line_at = above.strip_suffix('\n').unwrap_or(above).rfind('\n').map_or(0, |feed| feed + 1);
        let line = above.get(line_at..).unwrap_or_default().trim_end();
        let is_mark = line == "--" || number < 3 && is_sent_from(line);
        if is_mark {
            let signature = text.get(line_at..).unwrap_or_default();
            return (text.get(..line_at).unwrap_or_default().trim_end(), signature.trim_end());
        }
        if line_at == 0 {
            break;
        }
        at = line_at;
    }
    (text, "")
}

fn is_sent_from(line: &str) -> bool {
    if line.len() > LONGEST_SENT_FROM {
        return false;
    }
    let line = line.trim_start().to_lowercase();
    words::SENT_FROM.iter().any(|words| line.starts_with(words))
}

/// The first line with its end, and what follows it.
fn split_line(text: &str) -> (&str, &str) {
    let end = memchr(b'\n', text.as_bytes()).map_or(text.len(), |feed| feed + 1);
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The last line with its end, and what stands before it.
fn split_last_line(text: &str) -> (&str, &str) {
    let line_at = text.strip_suffix('\n').and_then(|text| text.rfind('\n')).map_or(0, |feed| feed + 1);
    text.split_at_checked(line_at).unwrap_or((text, ""))
}

#[cfg(test)]
#[path = "reply/tests.rs"]
mod tests;
