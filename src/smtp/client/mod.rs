//! A small SMTP client (RFC 5321) that shows what it says and hears.
//!
//! [`send`] hands over one message and stops at the first refusal; [`Dialogue`]
//! is for who wants to look at each reply. TLS and AUTH are for listeners of our own
//! ([`own`]). There is deliberately no pipelining or retry: it is for programs on the
//! gateway's own machine, a real client or MTA does the rest. All of it blocks.

mod limited;
pub mod lines;
pub mod own;
pub mod wire;

use limited::{Limited, Stream};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// One message with its envelope.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Reverse-path without brackets; empty for the null sender.
    pub sender: String,
    /// Forward-paths without brackets.
    pub recipients: Vec<String>,
    /// The message; line ends of any kind.
    pub data: Vec<u8>,
}

/// Who said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This program.
    Client,
    /// The server.
    Server,
}

/// Why a command or a message was not accepted.
#[derive(Debug)]
pub enum SendError {
    /// No connection, or it ended in the middle.
    Unavailable(String),
    /// The server said no; its reply.
    Refused(String),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> SendError {
        SendError::Unavailable(error.to_string())
    }
}

/// How long to wait for a reply: the longest of RFC 5321 section 4.5.3.2.
const REPLY: Duration = Duration::from_mins(10);
/// How long to wait for the reply to QUIT, which nobody needs.
const FAREWELL: Duration = Duration::from_secs(5);
/// A reply line may be this long; RFC 5321 section 4.5.3.1.5 says 512, but ours
/// repeat recipients.
const LINE: u64 = 64 * 1024;
/// Mail data leaves in writes of this size.
const WRITE: usize = 64 * 1024;

/// Hands the mail to `server` and answers with the last line of the reply that
/// accepted it.
pub fn send(server: &str, mail: &Mail, show: &mut dyn FnMut(Side, &str)) -> Result<String, SendError> {
    let mut dialogue = Dialogue::open(server, show)?;
    let result = dialogue.transaction(mail);
    dialogue.farewell();
    result
}

/// What a server offers besides the bare protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Whether SIZE may be declared (RFC 1870).
    pub size: bool,
    /// Most octets of a message; 0 = not said.
    pub largest: u64,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
}

/// A connection on which the greeting has been read.
pub struct Dialogue<'a> {
    stream: BufReader<Stream>,
    /// Whether what is said now is mail data, of which nothing may become an end.
    is_in_data: bool,
    show: &'a mut dyn FnMut(Side, &str),
}

impl<'a> Dialogue<'a> {
    /// Connects to `server`, `HOST:PORT` or `unix:/path`, and reads its greeting.
    pub fn open(server: &str, show: &'a mut dyn FnMut(Side, &str)) -> Result<Dialogue<'a>, SendError> {
        let mut dialogue = Dialogue::connect(server, None, show)?;
        dialogue.reply(2)?;
        Ok(dialogue)
    }

    /// Connects, and ends at a point in time; nothing is said yet.
    fn connect(
        server: &str,
        until: Option<Instant>,
        show: &'a mut dyn FnMut(Side, &str),
    ) -> Result<Dialogue<'a>, SendError> {
        let left = until.map_or(REPLY, |until| until.saturating_duration_since(Instant::now()));
        let wire = wire::connect_within(server, left)?;
        let stream = Stream::Clear(Limited::new(wire, REPLY, until));
        Ok(Dialogue { stream: BufReader::new(stream), is_in_data: false, show })
    }

    fn transaction(&mut self, mail: &Mail) -> Result<String, SendError> {
        self.hello()?;
        self.sender(&mail.sender, "")?;
        for recipient in &mail.recipients {
            self.recipient(recipient)?;
        }
        self.data(&mut mail.data.as_slice())
    }

    /// EHLO.
    pub fn hello(&mut self) -> Result<Extensions, SendError> {
        Ok(extensions(&self.command("EHLO localhost")?))
    }

    /// MAIL, with parameters such as ` SIZE=100`.
    pub fn sender(&mut self, path: &str, parameters: &str) -> Result<(), SendError> {
        self.command(&format!("MAIL FROM:<{path}>{parameters}")).map(drop)
    }

    /// RCPT.
    pub fn recipient(&mut self, path: &str) -> Result<(), SendError> {
        self.command(&format!("RCPT TO:<{path}>")).map(drop)
    }

    /// DATA and the message to its end; answers with the last line of the reply.
    /// When `message` cannot be read the dot is never sent, so nothing is accepted.
    pub fn data(&mut self, message: &mut impl BufRead) -> Result<String, SendError> {
        self.say("DATA")?;
        self.reply(3)?;
        self.is_in_data = true;
        let mut out = BufWriter::with_capacity(WRITE, self.stream.get_mut());
        let sent = write_data(message, &mut out).and_then(|length| out.flush().map(|()| length));
        drop(out);
        match sent {
            Ok(length) => (self.show)(Side::Client, &format!("(message data, {length} bytes)")),
            // Who closes in the middle may have said why.
            Err(error) => {
                let refusal = self.reply(2).err().filter(|why| matches!(why, SendError::Refused(_)));
                return Err(refusal.unwrap_or_else(|| error.into()));
            }
        }
        self.say(".")?;
        self.is_in_data = false;
        Ok(self.reply(2)?.pop().unwrap_or_default())
    }

    /// QUIT: the message's fate is known, how the farewell goes does not matter.
    pub fn farewell(&mut self) {
        self.stream.get_mut().shorten(FAREWELL);
        if !self.is_in_data {
            let _ = self.command("QUIT");
        }
    }

    fn command(&mut self, line: &str) -> Result<Vec<String>, SendError> {
        self.say(line)?;
        self.reply(2)
    }

    fn say(&mut self, line: &str) -> Result<(), SendError> {
        self.say_as(line, line)
    }

    /// Says a line, of which another is shown.
    fn say_as(&mut self, line: &str, shown: &str) -> Result<(), SendError> {
        (self.show)(Side::Client, shown);
        let line = Zeroizing::new(format!("{line}\r\n"));
        let stream = self.stream.get_mut();
        stream.write_all(line.as_bytes())?;
        Ok(stream.flush()?)
    }

    /// Reads a reply and answers with its lines, if it has the class that is
    /// expected.
    fn reply(&mut self, class: u8) -> Result<Vec<String>, SendError> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut limited = io::Read::take(&mut self.stream, LINE);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Err(SendError::Unavailable("the server closed the connection".to_owned()));
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            (self.show)(Side::Server, &line);
            let has_code = line.len() >= 3 && line.bytes().take(3).all(|byte| byte.is_ascii_digit());
            if !has_code {
                return Err(SendError::Unavailable(format!("not an SMTP reply: {line}")));
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            if is_last && line.as_bytes().first() != Some(&(b'0' + class)) {
                return Err(SendError::Refused(line));
            }
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
        }
    }
}

/// What the lines of the reply to EHLO offer.
fn extensions(lines: &[String]) -> Extensions {
    let mut offered = Extensions::default();
    for line in lines.iter().skip(1) {
        let mut words = line.get(4..).unwrap_or_default().split(' ');
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "SIZE" => {
                offered.size = true;
                offered.largest = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
            }
            "8BITMIME" => offered.eight_bit = true,
            "SMTPUTF8" => offered.utf8 = true,
            _ => {}
        }
    }
    offered
}

/// Writes mail data as it goes over the wire and answers with its length: every
/// line ends in CRLF, a leading dot is doubled (RFC 5321 section 4.5.2).
fn write_data(message: &mut impl BufRead, out: &mut impl Write) -> io::Result<u64> {
    let mut length = 0;
    let mut begins_line = true;
    let mut piece = Vec::new();
    while lines::read(message, &mut piece)? {
        if begins_line && piece.starts_with(b".") {
            piece.insert(0, b'.');
        }
        begins_line = piece.ends_with(b"\n");
        length += piece.len() as u64;
        out.write_all(&piece)?;
    }
    if !begins_line {
        length += 2;
        out.write_all(b"\r\n")?;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_stuffed_and_every_line_ends_in_crlf() {
        let long = "x".repeat(70_000);
        for (data, wire) in [
            ("", ""),
            ("a\nb\r\nc", "a\r\nb\r\nc\r\n"),
            (".\n..a\nb.\n", "..\r\n...a\r\nb.\r\n"),
            ("\n\r\n", "\r\n\r\n"),
            // A dot at the begin of a piece that is not the begin of a line.
            (&format!("{}.{long}", &long[..65_536]), &format!("{}.{long}\r\n", &long[..65_536])),
        ] {
            let mut written = Vec::new();
            let length = write_data(&mut data.as_bytes(), &mut written).unwrap();
            assert_eq!((String::from_utf8(written).unwrap().as_str(), length), (wire, wire.len() as u64));
        }
    }

    #[test]
    fn extensions_are_read_in_any_case_and_order() {
        let offered =
            |lines: &[&str]| extensions(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        let all = Extensions { size: true, largest: 1000, eight_bit: true, utf8: true };
        assert_eq!(offered(&["250-h Hello", "250-smtputf8", "250-Size 1000", "250 8BITMIME"]), all);
        assert_eq!(offered(&["250 SIZE 1000"]), Extensions::default());
        assert_eq!(offered(&["250-h", "250 SIZE"]), Extensions { size: true, ..Extensions::default() });
    }
}
