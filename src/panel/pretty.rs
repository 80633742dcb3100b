//! A body as people read it: by its type, and never other than it is.
//!
//! JSON gets line ends and indentation between its tokens, each of which stays as it was
//! sent: a number too large for a program is shown as it stands. What is no text is shown
//! as octets. Of a large body the beginning is shown.

use super::hex;
use serde::de::IgnoredAny;
use url::form_urlencoded;

/// Most octets of a text that are shown.
const TEXT: usize = 256 * 1024;
/// Most octets that a text becomes with indentation: of deep nesting that would be all.
const INDENTED: usize = 4 * TEXT;
/// Most octets that are shown as such.
const OCTETS: usize = 4 * 1024;

/// A body to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// How it is shown, for whoever reads it.
    pub how: &'static str,
    /// What is shown.
    pub text: String,
    /// Whether that is only the beginning.
    pub is_cut: bool,
}

/// What is shown of a body with this media type.
pub(super) fn shown(body: &[u8], content_type: &str) -> Shown {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(text) = text(body) else {
        let is_cut = body.len() > OCTETS;
        return Shown { how: "hexadecimal", text: hex::table(body.get(..OCTETS).unwrap_or(body)), is_cut };
    };
    let is_cut = text.len() < body.len();
    let is_json = essence.ends_with("/json") || essence.ends_with("+json");
    // The beginning of JSON is none.
    if is_json
        && !is_cut
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
        && let Some(text) = indented(text)
    {
        return Shown { how: "JSON, indented", text, is_cut };
    }
    if essence == "application/x-www-form-urlencoded" && !is_cut {
        let lines =
            form_urlencoded::parse(text.as_bytes()).map(|(name, value)| format!("{name} = {value}\n"));
        return Shown { how: "form, decoded", text: lines.collect(), is_cut };
    }
    Shown { how: "text", text: text.to_owned(), is_cut }
}

/// As much of a text as takes so many octets in a page.
pub(super) fn beginning(text: &str, most: usize) -> &str {
    let taken = text.char_indices().scan(0, |taken, (at, char)| {
        *taken += written(char);
        Some((at + char.len_utf8(), *taken))
    });
    let end = taken.take_while(|(_, taken)| *taken <= most).last().map_or(0, |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

/// Octets that a text takes in a page.
pub(super) fn octets(text: &str) -> usize {
    text.chars().map(written).sum()
}

/// Octets of a character in a page, where markup is written as `&#34;`.
fn written(char: char) -> usize {
    if matches!(char, '"' | '\'' | '<' | '>' | '&') { 5 } else { char.len_utf8() }
}

/// The beginning of a body, if that is text.
fn text(body: &[u8]) -> Option<&str> {
    let start = body.get(..TEXT).unwrap_or(body);
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character may be cut, by us alone.
        Err(error) if start.len() < body.len() && error.error_len().is_none() => {
            start.get(..error.valid_up_to()).and_then(|start| std::str::from_utf8(start).ok())?
        }
        Err(_) => return None,
    };
    let is_odd = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t' | '\u{c}');
    (!text.contains(is_odd)).then_some(text)
}

/// JSON with a line for each element; nothing where that is too much to be read. It is known
/// to be JSON, however deep it is nested.
fn indented(json: &str) -> Option<String> {
    let (mut text, mut depth, mut is_string, mut is_escaped) = (String::new(), 0_usize, false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    let mut rest = json.chars().peekable();
    while let Some(char) = rest.next() {
        if text.len() + 2 * depth > INDENTED {
            return None;
        }
        if is_string {
            text.push(char);
            is_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            continue;
        }
        match char {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                text.push(char);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(char);
            }
            ',' => {
                text.push(char);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            char => {
                is_string = char == '"';
                text.push(char);
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_each_token_is_as_it_was() {
        let body = br#"{"a":[1.0,12345678901234567890123,{}],"b,{":"x\"]\\", "c":[ ],"a":null}"#;
        let shown = shown(body, "application/json; charset=utf-8");
        let expected = "{\n  \"a\": [\n    1.0,\n    12345678901234567890123,\n    {}\n  ],\n  \
                        \"b,{\": \"x\\\"]\\\\\",\n  \"c\": [],\n  \"a\": null\n}";
        assert_eq!((shown.how, shown.text.as_str(), shown.is_cut), ("JSON, indented", expected, false));
    }

    #[test]
    fn what_is_not_what_it_claims_is_shown_as_it_is() {
        let deep = "[".repeat(100_000);
        let closed = "[".repeat(TEXT / 2) + &"]".repeat(TEXT / 2);
        for (body, kind, how) in [
            (&b"{\"a\":"[..], "application/json", "text"),
            (deep.as_bytes(), "application/json", "text"),
            (closed.as_bytes(), "application/json", "text"),
            (b"a=1&b=%3C", "application/x-www-form-urlencoded", "form, decoded"),
            (b"<script>", "text/html", "text"),
            (b"\0\x01", "text/plain", "hexadecimal"),
            (b"\xff", "application/json", "hexadecimal"),
            (b"\x1b[31m", "text/plain", "hexadecimal"),
            (b"", "", "text"),
        ] {
            assert_eq!(shown(body, kind).how, how, "{kind}");
        }
        assert_eq!(shown(b"a=1&b=%3C", "application/x-www-form-urlencoded").text, "a = 1\nb = <\n");
    }

    #[test]
    fn the_beginning_of_a_text_has_room_in_its_page() {
        for (text, octets, expected) in [
            ("abc", 9, "abc"),
            ("abc", 2, "ab"),
            ("a<b", 5, "a"),
            ("a<b", 7, "a<b"),
            ("ää", 3, "ä"),
            ("<", 4, ""),
        ] {
            assert_eq!(beginning(text, octets), expected, "{text} in {octets}");
        }
    }

    #[test]
    fn of_a_large_body_the_beginning_is_shown() {
        let text = shown("ä".repeat(TEXT).as_bytes(), "text/plain");
        assert!(text.is_cut && text.text.len() <= TEXT && text.text.chars().all(|char| char == 'ä'));
        let odd = [b"x".repeat(TEXT - 1), "ä".repeat(9).into_bytes()].concat();
        assert_eq!(shown(&odd, "").text.len(), TEXT - 1);
        let octets = shown(&[0; 9000], "");
        assert!(octets.is_cut && octets.text.lines().count() == OCTETS / 16);
    }
}
