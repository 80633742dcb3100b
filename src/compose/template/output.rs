//! How values are printed, by what a template makes.
//!
//! In JSON a text is escaped for the inside of a string, whose quotes the template
//! writes; anything else is written as JSON. In a form everything is
//! percent-encoded. So no mail can end the string or field it is printed in. What
//! `tojson` makes is never held as a whole: it is written as it is made.

use super::super::json_octets;
use super::super::pieces::SharedText;
use bytes::Bytes;
use data_encoding::BASE64;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{AutoEscape, Error, Output, State, Value, escape_formatter};
use serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use url::form_urlencoded::byte_serialize;

/// Name of the escaping of JSON.
pub const JSON: &str = "json";
/// Name of the escaping of forms.
pub const FORM: &str = "form";
/// Octets of a text that are escaped together.
const PIECE: usize = 4096;

/// Prints a value.
pub fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(json) = value.downcast_object_ref::<Json>() {
        match state.auto_escape() {
            AutoEscape::Custom(name) if name == FORM => json.write(&mut Encoded(out))?,
            _ => json.write(out)?,
        }
        return Ok(());
    }
    if let Some(Base64(octets)) = value.downcast_object_ref() {
        // Nothing in it ends a text or a tag.
        match state.auto_escape() {
            AutoEscape::Custom(name) if name == FORM => {
                json_octets::base64(octets, |digits| Encoded(out).write_str(digits))?
            }
            _ => json_octets::base64(octets, |digits| out.write_str(digits))?,
        }
        return Ok(());
    }
    if let Some(Verbatim(text)) = value.downcast_object_ref() {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
            write(out, state, &Value::from(piece))?;
            rest = after;
        }
        return Ok(());
    }
    if value.is_safe() {
        return escape_formatter(out, state, value);
    }
    match state.auto_escape() {
        AutoEscape::Custom(name) if name == JSON => Ok(write_json(out, value)?),
        AutoEscape::Custom(_) => {
            let encoded = minijinja::filters::urlencode(value)?;
            Ok(out.write_str(&encoded)?)
        }
        _ => escape_formatter(out, state, value),
    }
}

fn write_json(out: &mut dyn fmt::Write, value: &Value) -> fmt::Result {
    let Some(text) = value.as_str() else { return Json(value.clone()).write(out) };
    json_octets::escape(text.as_bytes(), &mut Utf8 { out, begun: Vec::new() }).map_err(|_| fmt::Error)
}

/// A value as JSON, written when it is printed.
#[derive(Debug)]
pub struct Json(pub Value);

impl Json {
    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        json_octets::serialize(&Shown(&self.0), &mut Utf8 { out, begun: Vec::new() }).map_err(|_| fmt::Error)
    }
}

impl Object for Json {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// A value whose octets are written in base64, and never held as a text.
struct Shown<'v>(&'v Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Shown(value) = self;
        if let Some(Base64(octets)) = value.downcast_object_ref() {
            return serializer.serialize_bytes(octets);
        }
        if let Some(Verbatim(text)) = value.downcast_object_ref() {
            return serializer.serialize_str(text.as_str());
        }
        let items = match value.kind() {
            ValueKind::Map | ValueKind::Seq => value.try_iter().map_err(S::Error::custom)?,
            _ => return value.serialize(serializer),
        };
        if value.kind() == ValueKind::Seq {
            let mut all = serializer.serialize_seq(value.len())?;
            items.into_iter().try_for_each(|item| all.serialize_element(&Shown(&item)))?;
            return all.end();
        }
        let mut all = serializer.serialize_map(value.len())?;
        for name in items {
            let item = value.get_item(&name).map_err(S::Error::custom)?;
            all.serialize_entry(&name, &Shown(&item))?;
        }
        all.end()
    }
}

/// Text that is only printed.
#[derive(Debug)]
pub struct Verbatim(pub SharedText);

impl Object for Verbatim {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.as_str().is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Octets that are shown in base64, encoded when they are printed.
#[derive(Debug)]
pub struct Base64(pub Bytes);

impl Object for Base64 {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(BASE64.encode_len(self.0.len()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json_octets::base64(&self.0, |digits| f.write_str(digits))
    }
}

/// Percent-encodes what is written.
struct Encoded<'o>(&'o mut dyn fmt::Write);

impl fmt::Write for Encoded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        byte_serialize(text.as_bytes()).try_for_each(|piece| self.0.write_str(piece))
    }
}

/// Octets that are text, although a piece of them may end within a character.
struct Utf8<'o> {
    out: &'o mut dyn fmt::Write,
    begun: Vec<u8>,
}

impl Utf8<'_> {
    fn write_text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_str(text).map_err(|_| io::ErrorKind::FileTooLarge.into())
    }
}

impl io::Write for Utf8<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.begun.is_empty()
            && let Ok(text) = str::from_utf8(octets)
        {
            self.write_text(text)?;
            return Ok(octets.len());
        }
        self.begun.extend_from_slice(octets);
        let begun = std::mem::take(&mut self.begun);
        if let Some(whole) = begun.utf8_chunks().next() {
            self.write_text(whole.valid())?;
            self.begun.extend_from_slice(whole.invalid());
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
