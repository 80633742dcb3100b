//! Undoing what mail transport does to JSON on overlong lines.
//!
//! JSON holds no line end inside a string, so a cut is always visible, but plain
//! joining can yield valid and wrong JSON (`"i d"` for `"id"`). The cuts are
//! therefore tried in a fixed order, the most specific first, and a result
//! counts only if it parses. JSON that parses as it is, is never touched.

use super::mail::{first_line, lines, without_end};
use serde::de::IgnoredAny;

/// Octets of a line after which Postfix and Laminas cut.
const CUT_LINE: std::ops::RangeInclusive<usize> = 991..=1000;

/// The JSON that was meant; `None` when `octets` are valid or past repair.
pub fn repair(octets: &[u8]) -> Option<Vec<u8>> {
    if is_json(octets) || !octets.contains(&b'\n') {
        return None;
    }
    let cuts = [undo_sendmail, undo_postfix, undo_wrapping];
    cuts.iter().filter_map(|undo| undo(octets)).find(|joined| is_json(joined))
}

fn is_json(octets: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(octets).is_ok()
}

/// sendmail: a cut line ends in `!` and the next begins with a blank.
fn undo_sendmail(octets: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(octets.len());
    let mut is_after_cut = false;
    let mut following = lines(octets).skip(1);
    for line in lines(octets) {
        let text = if is_after_cut { line.strip_prefix(b" ").unwrap_or(line) } else { line };
        let next_is_blank = following.next().is_some_and(|next| next.starts_with(b" "));
        let cut = without_end(text).strip_suffix(b"!").filter(|_| next_is_blank);
        is_after_cut = cut.is_some();
        joined.extend_from_slice(cut.unwrap_or(text));
    }
    Some(joined)
}

/// Postfix and Laminas: cut at 998 octets, each further line begins with a blank.
fn undo_postfix(octets: &[u8]) -> Option<Vec<u8>> {
    if !CUT_LINE.contains(&without_end(first_line(octets)).len()) {
        return None;
    }
    let mut joined = Vec::with_capacity(octets.len());
    for (number, line) in lines(octets).enumerate() {
        let text = without_end(line);
        joined.extend_from_slice(if number == 0 { text } else { text.strip_prefix(b" ")? });
    }
    Some(joined)
}

/// MIME::Lite and wrapping by hand: lines cut anywhere.
fn undo_wrapping(octets: &[u8]) -> Option<Vec<u8>> {
    Some(lines(octets).flat_map(without_end).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_undone_in_their_order() {
        let long = format!("{{\"a\": \"{}", "x".repeat(990));
        let key = format!("{{\"a\": \"{}\", \"i", "x".repeat(985));
        for (cut, meant) in [
            (format!("{long}\r\n y\"}}"), Some(format!("{long}y\"}}"))),
            (format!("{key}\r\n d\": 1}}"), Some(format!("{key}d\": 1}}"))),
            ("{\"i!\r\n d\": 1}".to_owned(), Some("{\"id\": 1}".to_owned())),
            ("{\"a!\": 1,!\r\n \"i!\r\n d\": 1}".to_owned(), Some("{\"a!\": 1,\"id\": 1}".to_owned())),
            ("{\"i\nd\": 1}".to_owned(), Some("{\"id\": 1}".to_owned())),
            ("{\"i\r\n d\": 1}".to_owned(), Some("{\"i d\": 1}".to_owned())),
            ("{\"a\": \"!\",\r\n \"b\": 1}".to_owned(), None),
            ("{\"a\": 1}".to_owned(), None),
            ("not\r\njson".to_owned(), None),
            ("nor this".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(
                repair(cut.as_bytes()).map(|octets| String::from_utf8(octets).unwrap()),
                meant,
                "{cut}"
            );
        }
    }
}
