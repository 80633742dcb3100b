//! Forms as browsers send them: `multipart/form-data` (RFC 7578, names as in
//! the HTML standard) and `application/x-www-form-urlencoded`.
//!
//! A form is first a list of what it holds, borrowed where that is possible, and
//! then written into bounded room at once: no content is copied in between. The
//! boundary is no matter of chance, because rules have no dice: it is made of the
//! message's id, and the finished form is searched for it. Where it stands in the
//! content as well, one is taken that holds a digest of the message; nobody can
//! write a message that holds its own. Parameters of names are sanitised, contents
//! are not looked at.

use super::super::json::Attachment;
use super::super::room::fill;
use super::Formed;
use super::filename;
use crate::post::PostId;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use memchr::memmem;
use ring::digest::{SHA256, digest};
use std::borrow::Cow;
use std::io::{self, Write};
use url::form_urlencoded::byte_serialize;

/// The fields of a form, in their order.
#[derive(Default)]
pub struct Form<'a> {
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: Cow<'a, str>,
    filename: Option<String>,
    /// `Content-Type` of the part; fields have none and are UTF-8.
    kind: Option<&'a str>,
    content: Content<'a>,
}

enum Content<'a> {
    Octets(Cow<'a, [u8]>),
    /// Likely so many octets, written where they are to stand.
    Written(usize, Writer<'a>),
}

/// What writes a field's content. It must write the same each time.
type Writer<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a>;

/// Room for what stands around a field's content.
const AROUND: usize = 256;

impl<'a> Form<'a> {
    /// Adds text.
    pub fn text(&mut self, name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) {
        let octets = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.octets(name, octets);
    }

    /// Adds text if there is any.
    pub fn text_if_any(&mut self, name: &'a str, text: Option<&'a str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Adds a field that need not be UTF-8.
    pub fn octets(&mut self, name: impl Into<Cow<'a, str>>, octets: impl Into<Cow<'a, [u8]>>) {
        let content = Content::Octets(octets.into());
        self.fields.push(Field { name: name.into(), filename: None, kind: None, content });
    }

    /// Adds a JSON document that is written when the form is, likely as long as `likely`.
    pub fn document(&mut self, name: &'a str, likely: usize, writer: Writer<'a>) {
        let kind = Some("application/json");
        let content = Content::Written(likely, writer);
        self.fields.push(Field { name: name.into(), filename: None, kind, content });
    }

    /// Adds a file: the attachment that is the `number`th of its message.
    pub fn file(&mut self, name: String, number: usize, attachment: &'a Attachment<'a>) {
        self.fields.push(Field {
            name: name.into(),
            filename: Some(filename::safe(attachment.filename.as_deref(), number)),
            kind: Some(filename::media_type(&attachment.content_type)),
            content: Content::Octets(Cow::Borrowed(&attachment.content)),
        });
    }

    /// The form of a post as `multipart/form-data`; `None` when it would take more
    /// than `limit` octets. `raw` is the message it is made of.
    pub fn multipart(&self, id: PostId, raw: &[u8], limit: usize) -> Option<Formed> {
        // Not of the post: what is the same for several is kept once.
        let plain = format!("postgate-{}", id.message);
        let (octets, boundary) = match self.parted(&plain, limit)? {
            Parted::Clean(octets) => (octets, plain),
            Parted::Ambiguous => {
                let digest = digest(&SHA256, raw);
                let own = format!("{plain}-{}", HEXLOWER.encode(digest.as_ref().get(..16)?));
                match self.parted(&own, limit)? {
                    Parted::Clean(octets) => (octets, own),
                    Parted::Ambiguous => return None,
                }
            }
        };
        let content_type = format!("multipart/form-data; boundary={boundary}");
        Some(Formed { octets, content_type, headers: Vec::new() })
    }

    /// The same as `application/x-www-form-urlencoded`, for forms without files.
    pub fn urlencoded(&self, limit: usize) -> Option<Formed> {
        let octets = fill(self.likely(), limit, |out| {
            for (number, field) in self.fields.iter().enumerate() {
                if number > 0 {
                    out.write_all(b"&")?;
                }
                percent_encode(field.name.as_bytes(), out)?;
                out.write_all(b"=")?;
                match &field.content {
                    Content::Octets(octets) => percent_encode(octets, out)?,
                    Content::Written(likely, writer) => {
                        let mut octets = Vec::with_capacity(*likely);
                        writer(&mut octets)?;
                        percent_encode(&octets, out)?;
                    }
                }
            }
            Ok(())
        })?;
        let content_type = "application/x-www-form-urlencoded".to_owned();
        Some(Formed { octets, content_type, headers: Vec::new() })
    }

    /// Octets of all contents and of what stands around them, about.
    pub fn likely(&self) -> usize {
        let length = |field: &Field| match &field.content {
            Content::Octets(octets) => octets.len(),
            Content::Written(likely, _) => *likely,
        };
        self.fields.iter().map(|field| length(field) + AROUND).sum()
    }

    fn parted(&self, boundary: &str, limit: usize) -> Option<Parted> {
        let delimiter = format!("--{boundary}");
        let octets = fill(self.likely(), limit, |out| {
            for field in &self.fields {
                field.write(&delimiter, out)?;
            }
            write!(out, "{delimiter}--\r\n")
        })?;
        // It stands before each field and at the end, and nowhere else.
        let found = memmem::find_iter(&octets, delimiter.as_bytes()).count();
        Some(if found == self.fields.len() + 1 { Parted::Clean(octets) } else { Parted::Ambiguous })
    }
}

/// A form that was written, or one whose boundary stands in its content.
enum Parted {
    Clean(Bytes),
    Ambiguous,
}

impl Field<'_> {
    fn write(&self, delimiter: &str, out: &mut dyn Write) -> io::Result<()> {
        let name = filename::escaped(&self.name);
        write!(out, "{delimiter}\r\nContent-Disposition: form-data; name=\"{name}\"")?;
        if let Some(filename) = &self.filename {
            write!(out, "; filename=\"{}\"", filename::escaped(filename))?;
        }
        if let Some(kind) = self.kind {
            write!(out, "\r\nContent-Type: {kind}")?;
        }
        out.write_all(b"\r\n\r\n")?;
        match &self.content {
            Content::Octets(octets) => out.write_all(octets)?,
            Content::Written(_, writer) => writer(out)?,
        }
        out.write_all(b"\r\n")
    }
}

fn percent_encode(octets: &[u8], out: &mut dyn Write) -> io::Result<()> {
    byte_serialize(octets).try_for_each(|piece| out.write_all(piece.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::MessageId;

    const ID: PostId = PostId { message: MessageId(0x52a0_0000_0000_0002), number: 1 };

    fn form(contents: &[&'static str]) -> Form<'static> {
        let mut form = Form::default();
        contents.iter().for_each(|content| form.text("a\"\r\nb", *content));
        form
    }

    fn shown(formed: &Formed) -> String {
        String::from_utf8(formed.octets.to_vec()).unwrap()
    }

    #[test]
    fn names_and_contents_are_written_as_browsers_do() {
        let formed = form(&["x y\r\nü&=+", ""]).urlencoded(1000).unwrap();
        let expected = "a%22%0D%0Ab=x+y%0D%0A%C3%BC%26%3D%2B&a%22%0D%0Ab=";
        assert_eq!(shown(&formed), expected);
        let formed = form(&["x\r\n"]).multipart(ID, b"", 1000).unwrap();
        let expected = "--postgate-52a0000000000002\r\nContent-Disposition: form-data; \
                        name=\"a%22%0D%0Ab\"\r\n\r\nx\r\n\r\n--postgate-52a0000000000002--\r\n";
        assert_eq!(shown(&formed), expected);
        assert_eq!(formed.content_type, "multipart/form-data; boundary=postgate-52a0000000000002");
    }

    #[test]
    fn a_boundary_that_stands_in_the_content_is_not_taken() {
        for content in [
            "--postgate-52a0000000000002--",
            "x--postgate-52a00000000000022",
            "-\r\n--postgate-52a0000000000002",
        ] {
            let formed = form(&[content]).multipart(ID, content.as_bytes(), 1000).unwrap();
            let boundary = formed.content_type.split_once("boundary=").unwrap().1;
            assert_eq!(boundary.len(), "postgate-52a0000000000002-".len() + 32);
            let text = shown(&formed);
            assert_eq!(text.matches(boundary).count(), 2, "{text}");
            assert!(text.contains(&format!("\r\n\r\n{content}\r\n--{boundary}--\r\n")), "{text}");
        }
    }

    #[test]
    fn the_limit_holds() {
        let length = shown(&form(&["x"]).multipart(ID, b"", 1000).unwrap()).len();
        assert!(form(&["x"]).multipart(ID, b"", length).is_some());
        assert!(form(&["x"]).multipart(ID, b"", length - 1).is_none());
        assert!(form(&["x"]).urlencoded(13).is_some() && form(&["x"]).urlencoded(12).is_none());
    }
}
