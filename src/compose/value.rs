//! Header values as people meant them: unfolded, trimmed, RFC 2047 decoded.
//!
//! 12 of 79 measured clients encode long values although they are plain ASCII,
//! and fold them before the first octet. A decoded value may hold anything, line
//! ends included: whoever hands it on has to look.

use mail_parser::parsers::MessageStream;
use std::borrow::Cow;

/// The octets of a value: folds removed (RFC 5322 section 2.2.3), outer blanks
/// trimmed, encoded words decoded to UTF-8, blanks between two of them dropped.
pub fn octets(raw: &[u8]) -> Vec<u8> {
    decode_words(&unfold(raw))
}

/// The same as text; what is not UTF-8 is taken for Windows-1252, as mail
/// programs without a charset mostly are.
pub fn text(raw: &[u8]) -> String {
    String::from_utf8(octets(raw)).unwrap_or_else(|error| {
        mail_parser::decoders::charsets::map::charset_decoder(b"windows-1252").map_or_else(
            || String::from_utf8_lossy(error.as_bytes()).into_owned(),
            |decode| decode(error.as_bytes()),
        )
    })
}

/// One line without outer blanks; a fold is one blank.
pub fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let trimmed = raw.trim_ascii();
    if !trimmed.contains(&b'\n') {
        return Cow::Borrowed(trimmed);
    }
    let mut line = Vec::with_capacity(trimmed.len());
    for (number, piece) in trimmed.split(|byte| *byte == b'\n').enumerate() {
        let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
        match piece.split_first() {
            Some((b'\t', rest)) if number > 0 => {
                line.push(b' ');
                line.extend_from_slice(rest);
            }
            _ => line.extend_from_slice(piece),
        }
    }
    Cow::Owned(line)
}

fn decode_words(octets: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(octets.len());
    let mut rest = octets;
    let mut is_after_word = false;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"=?") {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, b""));
        let word = encoded_word(from);
        let is_between_words = is_after_word && word.is_some() && before.iter().all(u8::is_ascii_whitespace);
        if !is_between_words {
            decoded.extend_from_slice(before);
        }
        is_after_word = word.is_some();
        let (text, length) = word.unwrap_or_else(|| ("=?".to_owned(), 2));
        decoded.extend_from_slice(text.as_bytes());
        rest = from.get(length..).unwrap_or_default();
    }
    decoded.extend_from_slice(rest);
    decoded
}

/// The text of the encoded word that `from` begins with, and how long it is.
fn encoded_word(from: &[u8]) -> Option<(String, usize)> {
    let mut end = 2;
    // Charset, encoding and text each end at a question mark.
    for _ in 0..3 {
        end += from.get(end..)?.iter().position(|byte| *byte == b'?')? + 1;
    }
    if from.get(end) != Some(&b'=') {
        return None;
    }
    let text = MessageStream::new(from.get(1..=end)?).decode_rfc2047()?;
    Some((text, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unfolded_trimmed_and_decoded() {
        for (raw, expected) in [
            (" plain ", "plain"),
            ("\r\n second line", "second line"),
            (" a\r\n\tb", "a b"),
            (" a\r\n   b\n c", "a   b c"),
            (" =?utf-8?Q?a=20b?=", "a b"),
            (" =?UTF-8?B?aHR0cHM6?=\r\n =?utf-8?q?//h?=", "https://h"),
            (" x =?utf-8?q?=C3=BC?= y", "x ü y"),
            (" =?iso-8859-1?Q?=FC?=", "ü"),
            (" =?utf-8*de?Q?=C3=BC?=", "ü"),
            (" =?utf-8?Q?a", "=?utf-8?Q?a"),
            (" =?utf-8?X?a?=", "=?utf-8?X?a?="),
            (" =?a=?utf-8?Q?b?=", "=?ab"),
            (" a?=b&c==?", "a?=b&c==?"),
            ("", ""),
        ] {
            assert_eq!(text(raw.as_bytes()), expected, "{raw:?}");
        }
        assert_eq!(text(b" 8-bit \xfc"), "8-bit ü");
        assert_eq!(octets(b" 8-bit \xfc"), b"8-bit \xfc");
    }

    #[test]
    fn a_flood_of_unfinished_words_takes_linear_time() {
        let flood = "=?utf-8?Q?a".repeat(100_000);
        assert_eq!(text(flood.as_bytes()).len(), flood.len());
    }
}
