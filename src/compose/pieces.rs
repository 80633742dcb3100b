//! What may be large of a message: pieces of it as long as it can be so, else octets and
//! text of their own, which others can hold, too, without a copy.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Decoded octets.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// As they stand in the message.
    Piece(&'a [u8]),
    /// Others than those.
    Own(Bytes),
}

impl<'a> From<Cow<'a, [u8]>> for Decoded<'a> {
    fn from(octets: Cow<'a, [u8]>) -> Decoded<'a> {
        match octets {
            Cow::Borrowed(piece) => Decoded::Piece(piece),
            Cow::Owned(octets) => Decoded::Own(octets.into()),
        }
    }
}

impl Deref for Decoded<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Decoded::Piece(piece) => piece,
            Decoded::Own(octets) => octets,
        }
    }
}

impl Decoded<'_> {
    /// The same to be kept; `message` is what a piece is of.
    pub fn shared(&self, message: &Bytes) -> Bytes {
        match self {
            Decoded::Piece(piece) => message.slice_ref(piece),
            Decoded::Own(octets) => octets.clone(),
        }
    }

    /// Octets that it holds besides the message.
    pub fn held(&self) -> usize {
        if let Decoded::Own(octets) = self { octets.len() } else { 0 }
    }
}

/// Text that may be large.
pub enum Text<'a> {
    /// As it stands in the message.
    Piece(&'a str),
    /// Another than that.
    Own(Arc<String>),
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Text<'a> {
        match text {
            Cow::Borrowed(piece) => Text::Piece(piece),
            Cow::Owned(text) => Text::Own(text.into()),
        }
    }
}

impl Text<'_> {
    /// As it is.
    pub fn as_str(&self) -> &str {
        match self {
            Text::Piece(piece) => piece,
            Text::Own(text) => text,
        }
    }

    /// The same to be kept; `message` is what a piece is of.
    pub fn shared(&self, message: &Bytes) -> SharedText {
        match self {
            Text::Piece(piece) => SharedText::Piece(message.slice_ref(piece.as_bytes())),
            Text::Own(text) => SharedText::Own(Arc::clone(text)),
        }
    }

    /// Octets that it holds besides the message.
    pub fn held(&self) -> usize {
        if let Text::Own(text) = self { text.len() } else { 0 }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Text that is kept as long as anybody wants it.
#[derive(Debug)]
pub enum SharedText {
    /// UTF-8 that stands in the message.
    Piece(Bytes),
    /// Another than that.
    Own(Arc<String>),
}

impl SharedText {
    /// As it is.
    pub fn as_str(&self) -> &str {
        match self {
            SharedText::Piece(piece) => str::from_utf8(piece).unwrap_or_default(),
            SharedText::Own(text) => text,
        }
    }
}

/// The new text of a reply; mostly the beginning of the text, which may be large.
pub enum Reply<'a> {
    /// So many octets of the text.
    Beginning(Rc<Text<'a>>, usize),
    /// Pieces of it, put together.
    Other(String),
}

impl Reply<'_> {
    /// As it is.
    pub fn as_str(&self) -> &str {
        match self {
            Reply::Beginning(text, length) => text.as_str().get(..*length).unwrap_or_default(),
            Reply::Other(other) => other,
        }
    }
}

impl Serialize for Reply<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
