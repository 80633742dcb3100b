//! Status codes, found in what servers say, and in words (RFC 3463, RFC 5321).

/// `hard` when it will never arrive, by the class of the status; `soft` when another
/// message might.
pub fn bounce_type(status: Option<&str>) -> &'static str {
    let is_temporary = status.is_some_and(|status| status.starts_with('4'));
    // A full mailbox is emptied, one of these days.
    let is_full = status.is_some_and(|status| status.ends_with(".2.2"));
    if is_temporary || is_full { "soft" } else { "hard" }
}

/// The first enhanced status in a text: `5.1.1`.
pub fn enhanced(text: &str) -> Option<String> {
    let words = text.split(|char: char| !char.is_ascii_digit() && char != '.');
    words.map(|word| word.trim_matches('.')).find(|word| is_enhanced(word)).map(str::to_owned)
}

fn is_enhanced(word: &str) -> bool {
    let mut parts = word.split('.');
    let is_class = |part: &str| matches!(part, "2" | "4" | "5");
    let is_number = |part: &str| matches!(part.len(), 1..=3);
    parts.next().is_some_and(is_class)
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// The class of the first SMTP reply code in a text, as a status: `550` is `5.0.0`.
pub fn basic(text: &str) -> Option<String> {
    let is_code = |word: &&str| {
        word.len() == 3
            && matches!(word.as_bytes(), [b'4' | b'5', b'0'..=b'5', digit] if digit.is_ascii_digit())
    };
    let code = text.split(|char: char| !char.is_ascii_alphanumeric()).find(is_code)?;
    Some(format!("{}.0.0", code.get(..1)?))
}

/// Why mail has not arrived: what the status means, else what the server said.
pub fn reason(status: Option<&str>, diagnostic_code: Option<&str>) -> Option<String> {
    let said = || diagnostic_code.map(|text| text.split_once(';').map_or(text, |(_, text)| text).trim());
    status.and_then(meaning).or_else(said).map(str::to_owned)
}

/// What a status means.
fn meaning(status: &str) -> Option<&'static str> {
    let (_, meaning) = status.split_once('.')?;
    let known = REASONS.iter().find(|(code, _)| *code == meaning);
    let subject = || SUBJECTS.iter().find(|(code, _)| meaning.split('.').next() == Some(code));
    known.or_else(subject).map(|(_, words)| *words)
}

/// Subject and detail.
const REASONS: &[(&str, &str)] = &[
    ("1.1", "the mailbox does not exist"),
    ("1.2", "the domain does not exist"),
    ("1.3", "the address is not valid"),
    ("1.6", "the mailbox has moved"),
    ("1.10", "the address takes no mail"),
    ("2.1", "the mailbox is disabled"),
    ("2.2", "the mailbox is full"),
    ("2.3", "the message is too long for the mailbox"),
    ("3.4", "the message is too long"),
    ("4.1", "no answer from the host"),
    ("4.2", "the connection failed"),
    ("4.4", "no route to the host"),
    ("4.6", "the message went in circles"),
    ("4.7", "the message was not delivered in time"),
    ("7.1", "delivery is not permitted"),
    ("7.20", "no DKIM signature was valid"),
    ("7.23", "SPF does not permit the sender"),
    ("7.26", "the message is not authenticated"),
];

/// Subject alone.
const SUBJECTS: &[(&str, &str)] = &[
    ("1", "something is wrong with the address"),
    ("2", "something is wrong with the mailbox"),
    ("3", "something is wrong with the mail system"),
    ("4", "something is wrong with the network or routing"),
    ("5", "something is wrong with the protocol"),
    ("6", "something is wrong with the content"),
    ("7", "refused for security or policy"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_what_servers_say() {
        for (text, found, class) in [
            ("550 5.1.1 <a@b.example>: unknown", Some("5.1.1"), Some("5.0.0")),
            ("smtp;550-5.7.26 not authenticated", Some("5.7.26"), Some("5.0.0")),
            ("5.1.10 (bad)", Some("5.1.10"), None),
            ("host 5.1.1.7 said: 421 later", None, Some("4.0.0")),
            ("192.0.2.5 refused, version 3.1.1", None, None),
            ("#5.5.0 smtp;550 x", Some("5.5.0"), Some("5.0.0")),
            ("", None, None),
        ] {
            assert_eq!((enhanced(text).as_deref(), basic(text).as_deref()), (found, class), "{text}");
        }
        for (status, kind, words) in [
            (Some("5.1.1"), "hard", Some("the mailbox does not exist")),
            (Some("5.2.2"), "soft", Some("the mailbox is full")),
            (Some("4.4.7"), "soft", Some("the message was not delivered in time")),
            (Some("5.9.9"), "hard", None),
            (Some("5.7.99"), "hard", Some("refused for security or policy")),
            (None, "hard", None),
        ] {
            assert_eq!((bounce_type(status), status.and_then(meaning)), (kind, words), "{status:?}");
        }
    }
}
