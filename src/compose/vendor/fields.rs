//! Header fields as other products show them.
//!
//! Values are decoded and UTF-8; controls are never among them. No format gets a
//! verdict on SPF, DKIM or spam that nobody reached: where a field is expected,
//! it says [`UNCHECKED`].

use super::super::json::Content;
use super::super::mail::HeaderField;
use super::super::{control, value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The result of a check that was not made: of RFC 7208 and RFC 8601 the word for
/// "nothing is asserted".
pub const UNCHECKED: &str = "none";

/// Whether a gateway that checks mail would write such a field. None of those that
/// came with a message is ours: receivers would believe what a stranger wrote.
pub fn is_verdict(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with("x-spam-") || name == "received-spf"
}

/// The first field called `name`, without case; empty when there is none.
pub fn first<'a>(content: &'a Content<'_>, name: &str) -> &'a str {
    first_if_any(content, name).unwrap_or_default()
}

/// The same, when there is one.
pub fn first_if_any<'a>(content: &'a Content<'_>, name: &str) -> Option<&'a str> {
    let mut fields = content.headers.iter();
    fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The header section as it came, folds included, without controls.
pub fn block(fields: &[HeaderField<'_>]) -> String {
    let mut block = Vec::new();
    for field in fields.iter().filter(|field| !control::is_control(field.name)) {
        for piece in [field.name.as_bytes(), b":", field.value, b"\r\n"] {
            block.extend_from_slice(piece);
        }
    }
    value::guess(block)
}

/// `Message-Id` of `MESSAGE-ID`: each word with one capital.
pub fn capitalised(name: &str) -> String {
    let mut begins = true;
    let letter = |char: char| {
        let written = if begins { char.to_ascii_uppercase() } else { char.to_ascii_lowercase() };
        begins = char == '-';
        written
    };
    name.chars().map(letter).collect()
}

/// `message_id` of `Message-ID`.
pub fn underscored(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// JSON as it stands in a field of a form.
pub fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// An object with its keys in order; a key may come twice.
pub struct Pairs<K, V>(pub Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Pairs<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_others_spell_them() {
        for (name, with_capitals, with_underscores) in [
            ("Message-ID", "Message-Id", "message_id"),
            ("MIME-Version", "Mime-Version", "mime_version"),
            ("x-a.b-CD", "X-A.b-Cd", "x_a.b_cd"),
            ("to", "To", "to"),
        ] {
            assert_eq!(
                (capitalised(name).as_str(), underscored(name).as_str()),
                (with_capitals, with_underscores)
            );
        }
    }

    #[test]
    fn a_key_may_come_twice() {
        assert_eq!(json(&Pairs(vec![("b", 1), ("a", 2), ("b", 3)])), r#"{"b":1,"a":2,"b":3}"#);
    }
}
