//! What a post keeps sealed, and which of its fields that are.
//!
//! A spool gets no secret in the clear: in its place stands [`HIDDEN`], and it comes back
//! when the request is written. Who looks at a post before sees no more than anybody may.

use super::{Field, Post, is_credential};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands in the place of a value.
pub const HIDDEN: &str = "***";

/// The sealed secrets of a post; nothing where it has none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The values of its fields that hide one, in their order. When it is there, the
    /// message and the bodies made of it are veiled.
    pub fields: Option<Bytes>,
    /// The path, when what is shown of it is not all of it.
    pub path: Option<Bytes>,
}

impl Sealed {
    /// Whether there is nothing that must be opened before it is sent.
    pub fn is_empty(&self) -> bool {
        self.fields.is_none() && self.path.is_none()
    }

    /// Octets that are sealed.
    pub fn octets(&self) -> usize {
        [&self.fields, &self.path].into_iter().flatten().map(Bytes::len).sum()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} octets)", self.octets())
    }
}

impl Field {
    /// Whether a spool must not show its value.
    pub fn hides(&self) -> bool {
        is_credential(&self.name.to_ascii_lowercase())
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.hides() { HIDDEN.into() } else { String::from_utf8_lossy(&self.value) };
        write!(f, "{}: {value:?}", self.name)
    }
}

impl Post {
    /// Its fields whose values a spool must not show.
    pub fn hidden_fields(&mut self) -> impl Iterator<Item = &mut Field> {
        self.headers.iter_mut().filter(|field| field.hides())
    }
}
