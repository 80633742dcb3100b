//! What a message says: its text, its HTML, and its attachments.
//!
//! Text is what a program without HTML would show (RFC 8621 section 4.1.4): all that
//! is plain, and what pages say that have no plain version, in their order; mailing
//! lists put a plain line below a page. A plain version that is blank is none. HTML
//! is all pages. What is made of text, not read from it, is bounded: large mail would
//! take a multiple of its size for words that nobody reads.

use super::decode::{self, Decoded, Outcome};
use super::json::{self, Attachment};
use super::mime::Part;
use super::pieces::{Reply, Text};
use super::{reply, text, value};
use std::borrow::Cow;
use std::rc::Rc;

/// Most octets that are made of a page, or looked through for earlier mail.
pub const MOST: usize = 1 << 20;
/// Where what was made ends before its time.
pub const CUT: &str = "\n[…]\n";

/// What the parts of a message say.
pub struct Contents<'a> {
    /// All that is plain text, and what is only said in HTML.
    pub text: Option<Rc<Text<'a>>>,
    /// The text without quoted mail.
    pub text_reply: Option<Reply<'a>>,
    /// All that is HTML.
    pub html: Option<Text<'a>>,
    /// What is neither.
    pub attachments: Vec<Attachment<'a>>,
    /// Whether base64 had to be repaired.
    pub is_repaired: bool,
}

/// A part that is to be read, not kept.
struct Piece<'a> {
    text: Cow<'a, str>,
    is_page: bool,
    /// Of what it is a version.
    of: Option<usize>,
}

/// Reads the parts of a message.
pub fn read<'a>(parts: &[Part<'a>]) -> Contents<'a> {
    let (mut pieces, mut attachments, mut is_repaired) = (Vec::new(), Vec::new(), false);
    for part in parts.iter().filter(|part| !part.is_multipart) {
        let Decoded { octets, outcome } = decode::content(part);
        is_repaired |= outcome == Outcome::Repaired;
        if is_read(part) {
            let is_page = part.essence() == "text/html";
            let of = part.version.map(|version| version.of);
            pieces.push(Piece { text: as_text(part, octets), is_page, of });
        } else {
            attachments.push(json::attachment(part, octets));
        }
    }
    let (text, text_reply, html) = said(pieces);
    Contents { text, text_reply, html: html.map(Text::from), attachments, is_repaired }
}

/// The `number`th attachment alone, from 1.
pub fn attachment<'a>(parts: &[Part<'a>], number: usize) -> Option<Attachment<'a>> {
    let leaves = parts.iter().filter(|part| !part.is_multipart);
    let mut kept = leaves.filter(|part| !is_read(part));
    let part = kept.nth(number.checked_sub(1)?)?;
    Some(json::attachment(part, decode::content(part).octets))
}

/// Whether a part is a text that is to be read where it stands. Some programs give a name to all
/// that they send; a version of the message is no file.
fn is_read(part: &Part<'_>) -> bool {
    let attachment = json::attachment(part, Cow::Borrowed(&[]));
    let is_text = matches!(part.essence(), "text/plain" | "text/html");
    let is_version = part.version.is_some_and(|version| version.is_whole);
    is_text
        && match attachment.disposition.as_deref() {
            None => attachment.filename.is_none() || is_version,
            Some(disposition) => attachment.filename.is_none() && disposition != "attachment",
        }
}

fn as_text<'a>(part: &Part<'a>, decoded: Cow<'a, [u8]>) -> Cow<'a, str> {
    let label = part.parameter("charset");
    match decode::text(part, decoded) {
        Cow::Borrowed(octets) if let Ok(text) = std::str::from_utf8(octets) => Cow::Borrowed(text),
        octets if label.is_none_or(|label| !decode::is_utf8(label)) => {
            Cow::Owned(value::guess(octets.into_owned()))
        }
        octets => Cow::Owned(match String::from_utf8(octets.into_owned()) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

type Said<'a> = (Option<Rc<Text<'a>>>, Option<Reply<'a>>, Option<Cow<'a, str>>);

/// Text, new text, and HTML.
fn said(mut pieces: Vec<Piece<'_>>) -> Said<'_> {
    if pieces.iter().any(|piece| piece.is_page) {
        pieces.retain(|piece| piece.is_page || !piece.text.trim_ascii().is_empty());
    }
    let plain: Vec<_> = pieces.iter().filter(|piece| !piece.is_page).filter_map(|piece| piece.of).collect();
    let (mut words, mut html) = (Words::default(), None);
    // A page below a text is mostly a version of it, sent by a program that knows no
    // alternatives; a text below a page is another one.
    let mut has_text = false;
    for piece in pieces {
        if !piece.is_page {
            has_text |= piece.of.is_none();
            words.add(piece.text);
            continue;
        }
        if !piece.of.map_or(has_text, |of| plain.contains(&of)) {
            words.add_page(&piece.text);
        }
        join(&mut html, piece.text);
    }
    let (text, new) = words.end();
    (text, new, html)
}

/// The text of a message, as far as it is read.
#[derive(Default)]
struct Words<'a> {
    text: Option<Cow<'a, str>>,
    /// The same without what pages mark as earlier mail, where one does: its marks
    /// are surer than what can be seen in the text.
    new: Option<Cow<'a, str>>,
    /// Octets of text that were made of pages; more than [`MOST`] once one was cut.
    made: usize,
}

impl<'a> Words<'a> {
    fn add(&mut self, text: Cow<'a, str>) {
        if self.new.is_some() {
            self.add_new(&text);
        }
        join(&mut self.text, text);
    }

    /// Adds to the new text what is looked at of it.
    fn add_new(&mut self, text: &str) {
        // One octet more shows that there is more.
        let room = (MOST + 1).saturating_sub(self.new.as_ref().map_or(0, |new| new.len()));
        let text = text.get(..text.ceil_char_boundary(room)).unwrap_or(text);
        join(&mut self.new, Cow::Owned(text.to_owned()));
    }

    /// Marks that a page is not read.
    fn leave_out(&mut self) {
        for said in [&mut self.text, &mut self.new].into_iter().flatten() {
            if !said.ends_with(CUT) {
                said.to_mut().push_str(CUT);
            }
        }
    }

    fn add_page(&mut self, page: &str) {
        let Some(room) = MOST.checked_sub(self.made) else { return self.leave_out() };
        let text = text::text(page, room);
        self.made += text.len();
        if page.len() <= MOST
            && let Cow::Owned(new) = reply::without_quoted_html(page)
        {
            if self.new.is_none()
                && let Some(before) = self.text.take()
            {
                self.add_new(&before);
                self.text = Some(before);
            }
            self.add_new(&text::text(&new, MOST));
            join(&mut self.text, text.into());
        } else {
            self.add(text.into());
        }
    }

    fn end(self) -> (Option<Rc<Text<'a>>>, Option<Reply<'a>>) {
        let text = self.text.map(|text| Rc::new(Text::from(text)));
        let reply = match self.new {
            Some(new) => Some(Reply::Other(new_words(&new).into_owned())),
            None => text.as_ref().map(reply),
        };
        (text, reply)
    }
}

fn reply<'a>(text: &Rc<Text<'a>>) -> Reply<'a> {
    match new_words(text.as_str()) {
        Cow::Borrowed(beginning) => Reply::Beginning(Rc::clone(text), beginning.len()),
        Cow::Owned(other) => Reply::Other(other),
    }
}

/// The text without quoted mail, of a long one what its beginning holds of that.
fn new_words(text: &str) -> Cow<'_, str> {
    match text.get(..text.floor_char_boundary(MOST)) {
        Some(beginning) if beginning.len() < text.len() && !reply::ends_in_history(beginning) => {
            Cow::Owned(reply::without_quotes(beginning).into_owned() + CUT)
        }
        // What follows earlier mail is earlier mail as well.
        Some(beginning) => reply::without_quotes(beginning),
        None => reply::without_quotes(text),
    }
}

/// Adds a text to others, in lines of its own.
fn join<'a>(all: &mut Option<Cow<'a, str>>, text: Cow<'a, str>) {
    match all {
        None => *all = Some(text),
        Some(all) => {
            let all = all.to_mut();
            if !all.is_empty() && !all.ends_with('\n') {
                all.push_str("\r\n");
            }
            all.push_str(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and new text of parts, each a page or not.
    fn read(parts: &[(&str, bool)]) -> (String, String) {
        let piece = |(text, is_page): &(&str, bool)| {
            let text = Cow::Owned((*text).to_owned());
            Piece { text, is_page: *is_page, of: None }
        };
        let (text, new, _) = said(parts.iter().map(piece).collect());
        (text.unwrap().as_str().to_owned(), new.unwrap().as_str().to_owned())
    }

    #[test]
    fn what_is_made_of_many_pages_is_bounded() {
        let page = "<ul><li>x".repeat(MOST / 90) + "<blockquote type=cite>y</blockquote>";
        let (text, new) = read(&vec![(page.as_str(), true); 50]);
        for made in [&text, &new] {
            assert!(made.len() <= MOST + CUT.len(), "{}", made.len());
            assert_eq!(made.matches(CUT).count(), 1);
        }
        // What is read, not made, stays.
        let plain = "words\r\n".repeat(MOST / 2);
        let (text, _) = read(&[(&page, true), (&plain, false), (&plain, false)]);
        assert!(text.len() > 2 * plain.len() && text.ends_with(&plain) && !text.contains(CUT));
    }

    #[test]
    fn a_long_text_is_marked_where_something_is_missing() {
        let history = "\r\n\r\n-----Original Message-----\r\n";
        let long = "words\r\n".repeat(MOST / 4);
        let all = format!("Thanks{history}{long}");
        assert_eq!(read(&[(&all, false)]).1, "Thanks");
        for all in [format!("{long}{history}{long}"), format!("Thanks\r\n> quoted\r\n{long}")] {
            assert!(read(&[(&all, false)]).1.ends_with(CUT));
        }
    }
}
