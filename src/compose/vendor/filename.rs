//! What names of files and parameters of `multipart/form-data` may look like.
//!
//! A mail's file names are a stranger's words, and receivers tend to write files
//! by them. So a name is the last piece of what looks like a path, without
//! control characters and without those that turn or hide text, and no longer
//! than file systems take. The name as it came stands in JSON only. Quotes and
//! line ends are escaped as the HTML standard says; the rest is UTF-8.

use std::borrow::Cow;

/// Most octets of a name: file systems take 255, receivers put something before.
const MAX: usize = 200;

/// Most octets of what follows the last dot that are kept of a long name.
const MAX_EXTENSION: usize = 16;

/// A name for the `number`th file of a message, whatever it was called.
pub fn safe(name: Option<&str>, number: usize) -> String {
    let name = name.unwrap_or_default();
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last.chars().filter(|char| !is_hidden(*char)).collect();
    // A drive of Windows needs no separator: `C:x`.
    let visible = match visible.as_bytes() {
        [drive, b':', ..] if drive.is_ascii_alphabetic() => visible.get(2..).unwrap_or_default(),
        _ => visible.as_str(),
    };
    // `..` is no name, and Windows takes away blanks and dots at the end.
    let trimmed = visible.trim_start().trim_end_matches(|char: char| char == '.' || char.is_whitespace());
    if trimmed.is_empty() { format!("attachment-{number}") } else { shortened(trimmed) }
}

/// Whether a character turns, hides or ends what is around it.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        )
        || matches!(char, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}')
}

/// Its end stays: that tells what it is.
fn shortened(name: &str) -> String {
    if name.len() <= MAX {
        return name.to_owned();
    }
    let dot = name.rfind('.').filter(|at| *at > 0 && name.len() - at <= MAX_EXTENSION);
    let (stem, extension) = name.split_at_checked(dot.unwrap_or(name.len())).unwrap_or((name, ""));
    let stem = stem.get(..stem.floor_char_boundary(MAX - extension.len())).unwrap_or_default();
    format!("{stem}{extension}")
}

/// A name as it stands between quotes.
pub fn escaped(name: &str) -> Cow<'_, str> {
    if !name.contains(['"', '\r', '\n']) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A"))
}

/// A `type/subtype`, with or without a parameter, that can stand in a header, or what
/// stands for any.
pub fn media_type(text: &str) -> &str {
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let (essence, parameter) = text.split_once("; ").unwrap_or((text, "x=x"));
    match (essence.split_once('/'), parameter.split_once('=')) {
        (Some((kind, subtype)), Some((name, value)))
            if [kind, subtype, name, value].into_iter().all(is_token) =>
        {
            text
        }
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths_and_hide_nothing() {
        for (name, expected) in [
            ("a.pdf", "a.pdf"),
            ("../../etc/x", "x"),
            ("C:\\dir\\x.txt", "x.txt"),
            ("C:x", "x"),
            ("Re: order.eml", "Re: order.eml"),
            ("a\0b", "ab"),
            ("a\r\nX: y", "aX: y"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("Größe \"1\".txt", "Größe \"1\".txt"),
            ("日本語.txt", "日本語.txt"),
            (" .. ", "attachment-3"),
            ("a/", "attachment-3"),
            ("", "attachment-3"),
            ("con.txt. . ", "con.txt"),
            (".profile", ".profile"),
        ] {
            assert_eq!(safe(Some(name), 3), expected, "{name:?}");
        }
        assert_eq!(safe(None, 1), "attachment-1");
    }

    #[test]
    fn long_names_keep_their_end() {
        let long = safe(Some(&format!("{}.tar", "ü".repeat(5000))), 1);
        assert_eq!((long.len(), long.ends_with("ü.tar")), (200, true));
        assert_eq!(safe(Some(&"x".repeat(10_240)), 1), "x".repeat(200));
        assert_eq!(safe(Some(&format!("x.{}", "y".repeat(10_240))), 1).len(), 200);
    }

    #[test]
    fn parameters_end_where_they_should() {
        assert_eq!(escaped("a\"; x=\"\r\n"), "a%22; x=%22%0D%0A");
        for (text, expected) in [
            ("image/png", "image/png"),
            ("application/vnd.a+xml", "application/vnd.a+xml"),
            ("text/calendar; method=REQUEST", "text/calendar; method=REQUEST"),
            ("text/calendar; method=", "application/octet-stream"),
            ("text/calendar; method=a\r\nb", "application/octet-stream"),
            ("text", "application/octet-stream"),
            ("", "application/octet-stream"),
            ("a/b\r\nX: y", "application/octet-stream"),
            ("a/b/c", "application/octet-stream"),
        ] {
            assert_eq!(media_type(text), expected);
        }
    }
}
