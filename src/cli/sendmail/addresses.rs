//! The addresses in a header field or an argument (RFC 5322 section 3.4).
//!
//! Names, comments, groups and quoted strings, and what RFC 5322 does not know:
//! the recipient forms that hold a URL. A bare URL reaches to the next blank, or
//! to a comma in front of one, because commas, parentheses and semicolons are
//! its own: `post@https://h/p?a=1,2` is one address, `post@https://h/a, b@c` are
//! two. Addresses come out as SMTP wants them, without brackets; whether they
//! lead anywhere is the gateway's question. Nothing is guessed: what is no
//! address, and all behind a quote or bracket that is never closed, comes out as
//! it stands, to be refused by name. Every octet is looked at a few times at most.

use std::mem::take;

/// The addresses in `text`, in order; `<>` is the empty one.
pub(super) fn addresses(text: &str) -> Vec<String> {
    let mut list = List::default();
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let used = list.take(char, rest);
        rest = rest.get(used..).unwrap_or_default();
    }
    list.end_item();
    list.found
}

/// An address of the machine itself gets its name: `root` is `root@host`.
/// Anything but plain words stays as it is.
pub(super) fn qualified(address: String, hostname: &str) -> String {
    let is_word = |char: char| char.is_alphanumeric() || "!#$%&'*+-=?^_`{|}~.".contains(char);
    let is_local = !address.is_empty() && address.chars().all(is_word);
    if is_local { format!("{address}@{hostname}") } else { address }
}

/// What has been read so far.
#[derive(Default)]
struct List {
    found: Vec<String>,
    /// The current item without comments, and what stood in its brackets.
    text: String,
    bracketed: Option<String>,
    in_group: bool,
}

impl List {
    /// Takes what begins with `char` at the begin of `rest`; answers with its length.
    fn take(&mut self, char: char, rest: &str) -> usize {
        match char {
            ':' if self.is_scheme() && rest.starts_with("://") => self.copy(rest, self.url_end(rest)),
            '"' => self.copy(rest, quoted_end(rest).unwrap_or(rest.len())),
            '[' => self.copy(rest, nested_end(rest, '[', ']').unwrap_or(rest.len())),
            '(' => nested_end(rest, '(', ')').unwrap_or_else(|| self.copy(rest, rest.len())),
            '<' => match bracket_end(rest) {
                Some(end) => {
                    let inner = rest.get(1..end).unwrap_or_default();
                    self.bracketed.get_or_insert(inner.trim().to_owned());
                    end + 1
                }
                None => self.copy(rest, rest.len()),
            },
            '\\' => self.copy(rest, 1 + rest.chars().nth(1).map_or(0, char::len_utf8)),
            ',' | ';' => {
                self.end_item();
                self.in_group &= char == ',';
                1
            }
            // `put:https://…` is a local part that has lost its quotes.
            ':' if !begins_with_url(rest.get(1..).unwrap_or_default()) => {
                self.text.clear();
                self.in_group = true;
                1
            }
            blank if blank.is_whitespace() => {
                self.text.push(' ');
                blank.len_utf8()
            }
            other => self.copy(rest, other.len_utf8()),
        }
    }

    fn copy(&mut self, rest: &str, length: usize) -> usize {
        self.text.push_str(rest.get(..length).unwrap_or_default());
        length
    }

    fn is_scheme(&self) -> bool {
        let ends = |scheme: &str| {
            let start = self.text.len().checked_sub(scheme.len());
            start.and_then(|at| self.text.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(scheme))
        };
        ends("http") || ends("https")
    }

    /// Where a bare URL ends: see the head of this file.
    fn url_end(&self, rest: &str) -> usize {
        let ends = |text: &str| text.is_empty() || text.starts_with(char::is_whitespace);
        let is_end = |(at, char): &(usize, char)| {
            let behind = rest.get(at + char.len_utf8()..).unwrap_or_default();
            match char {
                ',' => ends(behind),
                ';' if self.in_group => ends(behind) || behind.starts_with(','),
                char => char.is_whitespace(),
            }
        };
        rest.char_indices().find(is_end).map_or(rest.len(), |(at, _)| at)
    }

    fn end_item(&mut self) {
        let text = take(&mut self.text);
        match take(&mut self.bracketed) {
            Some(address) => self.found.push(address),
            None if text.trim().is_empty() => {}
            None => self.found.push(without_loose_blanks(&text)),
        }
    }
}

fn begins_with_url(text: &str) -> bool {
    let begins =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    begins("http://") || begins("https://")
}

/// Length of the quoted string at the begin of `text`; nothing when it is never
/// closed.
fn quoted_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            '"' if !is_escaped => return Some(at + 1),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

/// Length of what stands between `open` and its `close`, which may be nested;
/// nothing when it is never closed.
fn nested_end(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if char == '\\' {
            is_escaped = true;
        } else if char == open {
            depth += 1;
        } else if char == close {
            depth -= 1;
            if depth == 0 {
                return Some(at + char.len_utf8());
            }
        }
    }
    None
}

/// Where the bracket at the begin of `text` closes: a URL may hold brackets, so
/// it is the first one with nothing of an address behind it.
fn bracket_end(text: &str) -> Option<usize> {
    let inner = text.get(1..).unwrap_or_default();
    let start = if inner.starts_with('"') { 1 + quoted_end(inner).unwrap_or(0) } else { 1 };
    let closes = |at: &usize| {
        let behind = text.get(at + 1..).unwrap_or_default();
        behind.is_empty() || behind.starts_with([' ', '\t', ',', ';', '(', '\r', '\n'])
    };
    let brackets = text.match_indices('>').map(|(at, _)| at).filter(|at| *at >= start);
    brackets.clone().find(closes).or_else(|| brackets.clone().next())
}

/// Blanks at both ends, and around `@` and `.` outside quotes, are no part of an
/// address (RFC 5322 section 4.4).
fn without_loose_blanks(text: &str) -> String {
    let mut tight = String::with_capacity(text.len());
    let mut rest = text.trim();
    while let Some(char) = rest.chars().next() {
        let used = match char {
            '"' => quoted_end(rest).unwrap_or(rest.len()),
            ' ' => {
                let behind = rest.trim_start_matches(' ');
                if !tight.ends_with(['@', '.']) && !behind.starts_with(['@', '.']) {
                    tight.push(' ');
                }
                rest = behind;
                continue;
            }
            other => other.len_utf8(),
        };
        tight.push_str(rest.get(..used).unwrap_or_default());
        rest = rest.get(used..).unwrap_or_default();
    }
    tight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_every_dress() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" , ,", &[]),
            ("a@b", &["a@b"]),
            ("a@b, c@d,e@f", &["a@b", "c@d", "e@f"]),
            ("a@b; c@d", &["a@b", "c@d"]),
            ("Full Name <a@b>", &["a@b"]),
            ("\"Name, of (one); <x@y>\" <a@b>, c@d", &["a@b", "c@d"]),
            ("a@b (a comment, (nested) \\) with x@y)", &["a@b"]),
            ("(first) a@b", &["a@b"]),
            ("Team: a@b, Name <c@d>; e@f", &["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", &[]),
            ("<>", &[""]),
            ("< a@b >", &["a@b"]),
            ("<@relay,@other:a@b>", &["@relay,@other:a@b"]),
            ("root", &["root"]),
            ("a . b @ c . d", &["a.b@c.d"]),
            ("two words@c", &["two words@c"]),
            ("\"a b\"@c, \"x\\\"y,z\"@d", &["\"a b\"@c", "\"x\\\"y,z\"@d"]),
            ("<\"a> b\"@c>", &["\"a> b\"@c"]),
            ("x@y, \"never closed <a@b>, c@d", &["x@y", "\"never closed <a@b>, c@d"]),
            ("x@[never, (closed)", &["x@[never, (closed)"]),
            ("(never closed a@b", &["(never closed a@b"]),
            ("<never@closed", &["<never@closed"]),
            ("M\u{fc}ller <m\u{fc}ller@b>", &["m\u{fc}ller@b"]),
        ];
        for (text, found) in table {
            assert_eq!(addresses(text), *found, "{text}");
        }
    }

    #[test]
    fn urls_survive_whole() {
        for address in [
            "post@https://h:8443/p?a=1,2",
            "post@https://h/(a);b:c@d",
            "POST@HTTP://h/",
            "post@[https://h:8443/a,b?x=1&y=%20;(z)]",
            "post@[https://[::1]/x]",
            "\"post:https://h/?a=1,2\"@postgate.local",
            "put:https://h/?a=1,2@postgate.local",
            "https://h/?a=1@postgate.local",
            "post+aHR0cHM6Ly9ob3N0LmV4YW1wbGUvd2ViaG9vaw@postgate.local",
            "post=https=3A=2F=2Fshop.example=2Fhook@postgate.local",
            "post@nb2hi4dthixs643in5yc4zlymfwxa3dff5ug633l.u.postgate.local",
        ] {
            assert_eq!(addresses(address), [address]);
            assert_eq!(addresses(&format!("{address} (comment), x@y")), [address, "x@y"]);
            assert_eq!(addresses(&format!("x@y, A Name <{address}>,{address}")), ["x@y", address, address]);
            assert_eq!(addresses(&format!("x@y, Group: {address};")), ["x@y", address]);
            assert_eq!(qualified(address.to_owned(), "host"), address);
        }
        assert_eq!(addresses("<post@https://h/?a>b>, x@y"), ["post@https://h/?a>b", "x@y"]);
        // Which of the two it is nobody can tell: it stays whole.
        assert_eq!(addresses("post@https://h/a,b@c"), ["post@https://h/a,b@c"]);
    }

    #[test]
    fn long_nonsense_takes_no_time() {
        for part in
            ["(", "\"\\", "\\\"", "<", "[", "<x@y>", "a:https://x ", "http:", "(\")", " . ", ":;", "\" "]
        {
            // Were each of these octets looked at for each other one it would not end.
            addresses(&part.repeat((1 << 18) / part.len()));
        }
    }

    #[test]
    fn only_plain_words_are_qualified() {
        for (address, whole) in [
            ("root", "root@host.example"),
            ("a.b+c", "a.b+c@host.example"),
            ("a@b", "a@b"),
            ("", ""),
            ("//host/x", "//host/x"),
            ("two words", "two words"),
        ] {
            assert_eq!(qualified(address.to_owned(), "host.example"), whole);
        }
    }
}
