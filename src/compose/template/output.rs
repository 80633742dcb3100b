//! How values are printed, by what a template makes.
//!
//! In JSON a text is escaped for the inside of a string, whose quotes the template
//! writes; anything else is written as JSON. In a form everything is
//! percent-encoded. So no mail can end the string or field it is printed in. What
//! `tojson` makes is never held as a whole: it is written as it is made.

use super::super::json_octets;
use minijinja::value::{Object, ObjectRepr};
use minijinja::{AutoEscape, Error, Output, State, Value, escape_formatter};
use std::fmt;
use std::io;
use std::sync::Arc;
use url::form_urlencoded::byte_serialize;

/// Name of the escaping of JSON.
pub const JSON: &str = "json";
/// Name of the escaping of forms.
pub const FORM: &str = "form";

/// Prints a value.
pub fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(json) = value.downcast_object_ref::<Json>() {
        match state.auto_escape() {
            AutoEscape::Custom(name) if name == FORM => json.write(&mut Encoded(out))?,
            _ => json.write(out)?,
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
        json_octets::serialize(&self.0, &mut Utf8 { out, begun: Vec::new() }).map_err(|_| fmt::Error)
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
