//! The mail data receiver: from what follows DATA to the message (RFC 5321
//! section 4.5.2).
//!
//! Only CRLF `.` CRLF ends the data, also of a message that is refused in the
//! end: what is too much is read to its true end without being kept, so nothing
//! in it is ever taken for commands. Only [`BareNewline::Lf`] takes LF for a line
//! end. The receiver starts as if after CRLF: `.` CRLF is an empty message.
//!
//! Invariants: any split of the input gives the same result. Octets are copied
//! once, in pieces as long as a line. Of several faults the size is told, else
//! the first one. Lines are searched with `memchr`: it finds line ends ten times
//! as fast as a loop over the octets.

use super::words::{BareNewline, Limits};
use bytes::Bytes;

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

    /// Octets of message data kept in memory.
    pub fn held(&self) -> usize {
        self.kept.len()
    }

    /// Octets of the message so far, kept or not.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Keeps nothing of this message from now on: there is no memory for it.
    pub fn overload(&mut self) {
        self.blame(Fault::NoMemory);
    }

    /// The message, or why it is not taken.
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

    fn keep(&mut self, octets: &[u8]) {
        self.length += octets.len();
        if self.length > self.limit {
            self.blame(Fault::TooLarge);
        }
        if self.fault.is_none() {
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
    line_start: usize,
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
        self.fields <= self.most && kept.len() <= self.octets
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
mod tests {
    use super::*;

    type Received = Result<Vec<u8>, Fault>;

    /// The message, and everything behind the end of its data.
    fn receive(
        input: &[u8],
        limits: &Limits,
        mode: BareNewline,
        piece: usize,
    ) -> Option<(Received, Vec<u8>)> {
        let mut receiver = Receiver::new(limits, mode);
        let mut at = 0;
        for piece in input.chunks(piece.max(1)) {
            if let Some(used) = receiver.push(piece) {
                let received = receiver.finish().map(|bytes| bytes.to_vec());
                return Some((received, input[at + used..].to_vec()));
            }
            at += piece.len();
        }
        None
    }

    fn every_split(input: &[u8], limits: &Limits, mode: BareNewline) -> Option<(Received, Vec<u8>)> {
        let whole = receive(input, limits, mode, input.len());
        for piece in 1..input.len().min(12) {
            assert_eq!(receive(input, limits, mode, piece), whole, "{:?} by {piece}", input.escape_ascii());
        }
        whole
    }

    #[test]
    fn dots_and_line_ends() {
        use BareNewline::{Lf, Normalize};
        let rows: &[(BareNewline, &str, &str, &str)] = &[
            (Normalize, ".\r\n", "", ""),
            (Normalize, "a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"),
            (Normalize, "..\r\n.x\r\n...\r\n.\r\n", ".\r\nx\r\n..\r\n", ""),
            (Normalize, "a\nb\r\n.\r\n", "a\r\nb\r\n", ""),
            (Normalize, "a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""),
            (Normalize, "a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""),
            (Normalize, "a\n..\n.x\n..y\r\n.\r\n", "a\r\n.\r\n.x\r\n.y\r\n", ""),
            (Normalize, "a\r\n.\nb\r\n.\r\n", "a\r\n\r\nb\r\n", ""),
            (Normalize, "a\r.\r\nb\r\n.\r\n", "a\r.\r\nb\r\n", ""),
            (Normalize, "a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", ""),
            (Normalize, "a\r\r\n.\r\r\nb\r\n.\r\n", "a\r\r\n\r\r\nb\r\n", ""),
            (Normalize, "a\r\n\0.\r\n.\0\r\n.\r\n", "a\r\n\0.\r\n\0\r\n", ""),
            (Normalize, "\n.\r\n.\r\n", "\r\n.\r\n", ""),
            (Lf, "a\n.\nQUIT\n", "a\r\n", "QUIT\n"),
            (Lf, "a\r\n.\r\nQUIT", "a\r\n", "QUIT"),
            (Lf, "a\n..\n.b\r\n.\r\n", "a\r\n.\r\nb\r\n", ""),
        ];
        for (mode, input, message, behind) in rows {
            let expected = Some((Ok(message.as_bytes().to_vec()), behind.as_bytes().to_vec()));
            assert_eq!(every_split(input.as_bytes(), &Limits::default(), *mode), expected, "{input:?}");
        }
        for unended in [".", ".\r", "a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\r.\r\n", "a\r\n.\r\r\n"] {
            assert_eq!(every_split(unended.as_bytes(), &Limits::default(), Normalize), None, "{unended:?}");
        }
    }

    #[test]
    fn refuse_finds_everything_bare_and_reads_to_the_true_end() {
        let bare = [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r\n",
            "\r.\r",
            "\r.\n",
            "\n.\r",
            "\r\n.\r",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r\n.\r\r\n",
            "\r\r\n.\r\r\n",
            "\n",
            "\r",
            "\0",
        ];
        for sequence in bare {
            let input = format!("S: x\r\n\r\nouter{sequence}inner\r\n.\r\nrest");
            let found = every_split(input.as_bytes(), &Limits::default(), BareNewline::Refuse);
            assert_eq!(found, Some((Err(Fault::BareNewline), b"rest".to_vec())), "{sequence:?}");
        }
        let good = every_split(b"a\r\n..\r\n\r\n.\r\n", &Limits::default(), BareNewline::Refuse);
        assert_eq!(good, Some((Ok(b"a\r\n.\r\n\r\n".to_vec()), Vec::new())));
    }

    #[test]
    fn sizes_at_the_limit_and_one_past_it() {
        let limits = Limits { message: 6, header: 10, header_fields: 2, ..Limits::default() };
        let rows: &[(&str, Result<(), Fault>)] = &[
            ("1234\r\n", Ok(())),
            ("12345\r\n", Err(Fault::TooLarge)),
            ("123\n4\r\n", Err(Fault::TooLarge)),
            ("..234\r\n", Ok(())),
        ];
        for (data, expected) in rows {
            let found = every_split(format!("{data}.\r\n").as_bytes(), &limits, BareNewline::Normalize);
            assert_eq!(found.unwrap().0.map(|_| ()), *expected, "{data:?}");
        }
        let limits = Limits { message: 0, ..limits };
        let rows: &[(&str, Result<(), Fault>)] = &[
            ("a: 34567\r\n\r\nbody is no header: 1\r\n", Ok(())),
            ("a: 345678\r\n\r\n", Err(Fault::HeaderTooLarge)),
            ("a: 3\r\n 67\r\n8\r\n", Err(Fault::HeaderTooLarge)),
            ("a:\r\nb:\r\n\r\nc:\r\n", Ok(())),
            ("a:\r\nb:\r\nc:\r\n", Err(Fault::HeaderTooLarge)),
            ("{\"event\":\"as long as it likes\"}\r\na:\r\nb:\r\nc:\r\n", Ok(())),
            ("a:\r\nno header any more\r\nb:\r\nc:\r\n", Ok(())),
        ];
        for (data, expected) in rows {
            let found = every_split(format!("{data}.\r\n").as_bytes(), &limits, BareNewline::Normalize);
            assert_eq!(found.unwrap().0.map(|_| ()), *expected, "{data:?}");
        }
    }

    #[test]
    fn what_is_not_taken_is_not_kept() {
        let limits = Limits { message: 1000, ..Limits::default() };
        let mut receiver = Receiver::new(&limits, BareNewline::Normalize);
        assert_eq!(receiver.push(&[b'x'; 1001]), None);
        assert_eq!((receiver.held(), receiver.length()), (0, 1001));
        let mut receiver = Receiver::new(&limits, BareNewline::Normalize);
        receiver.push(b"some");
        receiver.overload();
        assert_eq!(receiver.held(), 0);
        assert_eq!(receiver.push(b"more\r\n.\r\n"), Some(9));
        assert_eq!(receiver.finish(), Err(Fault::NoMemory));
    }
}
