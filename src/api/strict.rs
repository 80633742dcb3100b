//! JSON that means one thing (RFC 8259 section 4, RFC 7493).
//!
//! Of two members with one name some readers believe the first and some the last, and
//! whoever looks at a request before us may be of the other kind; so a name stands in
//! an object once, at any depth. What is nested deeper than [`DEPTH`] is no request, nor
//! is an object of more than [`NAMES`]: each takes memory until its object ends.

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Most arrays and objects within each other.
pub(super) const DEPTH: usize = 32;

/// Most names of an object.
pub(super) const NAMES: usize = 10_000;

/// Characters of a name that are told.
const SHOWN: usize = 100;

/// Reads a text as it is meant, if it means one thing.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    check(text)?;
    serde_json::from_slice(text)
}

/// Whether a text means one thing.
pub(super) fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    Within(DEPTH).deserialize(&mut reader)?;
    reader.end()
}

/// Looks at a value in which so many may stand within each other.
#[derive(Clone, Copy)]
struct Within(usize);

impl Within {
    fn one_deeper<E: Error>(self) -> Result<Within, E> {
        let deeper = || E::custom(format_args!("nested deeper than {DEPTH} levels"));
        self.0.checked_sub(1).map(Within).ok_or_else(deeper)
    }
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let inside = self.one_deeper()?;
        while array.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inside = self.one_deeper()?;
        let mut names = HashSet::new();
        while let Some(Name(name)) = object.next_key()? {
            object.next_value_seed(inside)?;
            if let Some(twice) = names.replace(name) {
                let twice: String = twice.chars().take(SHOWN).collect();
                return Err(A::Error::custom(format_args!("{twice:?} stands there twice")));
            }
            if names.len() > NAMES {
                return Err(A::Error::custom(format_args!("an object of more than {NAMES} names")));
            }
        }
        Ok(())
    }
}

/// A name that is copied only when it is written with escapes.
pub(super) struct Name<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn what_means_one_thing_is_read() {
        for text in [
            r#"{"a":[1,-1,1.5,true,null,"x\u0000",{"a":{"a":{}}}],"b":{}}"#,
            "[]",
            " 7 ",
            &format!("{}{}", "[".repeat(32), "]".repeat(32)),
        ] {
            let strict: Value = read(text.as_bytes()).unwrap();
            assert_eq!(strict, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_means_two_things_or_none_is_not() {
        let deep = |depth| format!("{}{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        for (text, reason) in [
            (r#"{"a":1,"a":1}"#.to_owned(), r#""a" stands there twice at line 1"#),
            (r#"{"a":1,"\u0061":1}"#.to_owned(), "twice"),
            (r#"[{"b":{"c":[{"d":1,"e":2,"d":3}]}}]"#.to_owned(), r#""d" stands there twice"#),
            (deep(17), "nested deeper than 32 levels"),
            ("[".repeat(1_000_000), "nested deeper"),
            ("{} {}".to_owned(), "trailing characters"),
            ("{\"a\":\"\u{1}\"}".to_owned(), "control character"),
            ("{\"a\":1".to_owned(), "EOF"),
            (String::new(), "EOF"),
        ] {
            let error = read::<Value>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{}: {error}", &text[..text.len().min(80)]);
        }
        assert!(read::<Value>(b"{\"a\":\"\xff\"}").is_err());
        let many = |count: usize| {
            let fields: Vec<_> = (0..count).map(|number| format!("\"{number}\":0")).collect();
            format!("[{{{}}}]", fields.join(","))
        };
        assert!(check(many(NAMES).as_bytes()).is_ok());
        let error = check(many(NAMES + 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("an object of more than 10000 names"), "{error}");
        let long = "x".repeat(1 << 20);
        let error = check(format!("{{\"{long}\":1,\"{long}\":2}}").as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 1000 && error.contains("twice"), "{} octets", error.len());
        assert!(read::<Value>(deep(16).as_bytes()).is_ok());
    }
}
