//! JSON of strangers, read strictly and field by field.
//!
//! Nothing is built of what is not understood: a document is cut into its fields, which
//! stay text until each is read as what it must be, so that all that is wrong is told at
//! once, each by its field. What means two things or none (`strict`) and lists that are
//! too long are refused before.

use super::problem::{Problem, Wrong};
use super::strict::{self, Name};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Most fields of an object.
const MOST_FIELDS: usize = 128;
/// Most things that are noted as wrong.
const MOST_WRONGS: usize = 1000;

/// The text of a body, once it is known to mean one thing.
pub(super) fn text(body: &[u8]) -> Result<&str, Problem> {
    strict::check(body).map_err(|error| not_understood(&error))?;
    std::str::from_utf8(body).map_err(|_| Problem::bad_request("the body is not UTF-8"))
}

/// What could not be understood of a whole body.
pub(super) fn not_understood(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body cannot be understood: {error}"))
}

/// The elements of a list, at most so many.
pub(super) struct Elements<'a, const MOST: usize>(pub Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MOST: usize> Deserialize<'de> for Elements<'a, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Elements<'a, MOST>, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for ElementsVisitor<MOST> {
    type Value = Elements<'de, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements<'de, MOST>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MOST {
                return Err(A::Error::custom(format_args!("a list of more than {MOST}")));
            }
            elements.push(element);
        }
        Ok(Elements(elements))
    }
}

/// The fields of an object, in order.
pub(super) struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields<'de>, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some((Name(name), value)) = object.next_entry()? {
            if fields.len() == MOST_FIELDS {
                return Err(A::Error::custom(format_args!("an object of more than {MOST_FIELDS} fields")));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

/// Reads fields, and notes what is wrong with them.
#[derive(Default)]
pub(super) struct Reader {
    /// What stands before the names of fields.
    pub place: String,
    wrongs: Vec<Wrong>,
}

impl Reader {
    /// Notes what is wrong with a field.
    pub(super) fn wrong(&mut self, field: &str, detail: impl Into<String>) {
        if self.wrongs.len() < MOST_WRONGS {
            let dot = if self.place.is_empty() || field.is_empty() { "" } else { "." };
            let field = format!("{}{dot}{field}", self.place);
            self.wrongs.push(Wrong::of(field, detail));
        }
    }

    /// A field as what it must be; `null` is none.
    pub(super) fn read<'a, T: Deserialize<'a>>(
        &mut self,
        field: &str,
        value: &'a RawValue,
        expected: &str,
    ) -> Option<T> {
        let read = serde_json::from_str::<Option<T>>(value.get());
        read.unwrap_or_else(|_| {
            self.wrong(field, format!("expected {expected}"));
            None
        })
    }

    /// A text, if there is one.
    pub(super) fn text(&mut self, field: &str, value: &RawValue) -> Option<String> {
        self.read(field, value, "a text")
    }

    /// The texts of a list of at most so many, if there is one.
    pub(super) fn texts<const MOST: usize>(&mut self, field: &str, value: &RawValue) -> Vec<String> {
        let list = serde_json::from_str::<Option<Elements<'_, MOST>>>(value.get());
        let texts = list.map(|list| {
            let texts = list.into_iter().flat_map(|list| list.0);
            texts.map(|text| serde_json::from_str(text.get())).collect::<Result<_, _>>()
        });
        texts.and_then(|texts| texts).unwrap_or_else(|error| {
            self.wrong(field, reason(&error, "a list of texts"));
            Vec::new()
        })
    }

    /// The fields of an object, if there is one.
    pub(super) fn object<'a>(&mut self, field: &str, value: &'a RawValue) -> Fields<'a> {
        match serde_json::from_str::<Option<Fields<'a>>>(value.get()) {
            Ok(fields) => fields.unwrap_or(Fields(Vec::new())),
            Err(error) => {
                self.wrong(field, reason(&error, "an object"));
                Fields(Vec::new())
            }
        }
    }

    /// Notes a field that nobody knows.
    pub(super) fn unknown(&mut self, field: &str) {
        self.wrong(field, "there is no such field");
    }

    /// Nothing when all was right.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.wrongs.is_empty() { Ok(()) } else { Err(Problem::bad_fields(self.wrongs)) }
    }
}

/// An error without the place in a text that nobody sees, and without what stood there
/// instead of what was expected.
fn reason(error: &serde_json::Error, expected: &str) -> String {
    match error.to_string() {
        text if text.starts_with("invalid type") => format!("expected {expected}"),
        text => text.split(" at line ").next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_lists_are_cut_with_bounds() {
        let fields = |text| serde_json::from_str::<Fields<'_>>(text).map(|fields| fields.0.len());
        assert_eq!(fields(r#"{"a": 1, "b": {"a": 2}}"#).unwrap(), 2);
        for text in ["[]", "7", r#"{"a": }"#] {
            assert!(fields(text).is_err(), "{text}");
        }
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        let elements = |text: &str| serde_json::from_str::<Elements<'_, 3>>(text).map(|list| list.0.len());
        assert_eq!(elements(&many(3)).unwrap(), 3);
        assert!(elements(&many(4)).unwrap_err().to_string().starts_with("a list of more than 3"));
    }
}
