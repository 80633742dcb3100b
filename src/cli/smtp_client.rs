//! A small SMTP client (RFC 5321) that shows what it says and hears.
//!
//! It sends one message over one connection and stops at the first refusal. It
//! deliberately has no TLS, AUTH, pipelining or retry: it is for trying things
//! and for the demonstration, a real client or MTA does the rest.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// One message with its envelope.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    /// Reverse-path without brackets; empty for the null sender.
    pub sender: String,
    /// Forward-paths without brackets.
    pub recipients: Vec<String>,
    /// The message; line ends of any kind.
    pub data: Vec<u8>,
}

/// Who said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This program.
    Client,
    /// The server.
    Server,
}

/// Why a message was not accepted.
#[derive(Debug)]
pub(super) enum SendError {
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

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for a reply: the longest of RFC 5321 section 4.5.3.2.
const REPLY: Duration = Duration::from_mins(10);
/// How long to wait for the reply to QUIT, which nobody needs.
const FAREWELL: Duration = Duration::from_secs(5);
/// A reply line may be this long; RFC 5321 section 4.5.3.1.5 says 512, but ours
/// repeat recipients.
const LINE: u64 = 64 * 1024;

/// Hands the mail to `server` (host and port) and answers with the last line of
/// the reply that accepted it.
pub(super) fn send(server: &str, mail: &Mail, show: &mut dyn FnMut(Side, &str)) -> Result<String, SendError> {
    let mut dialogue = Dialogue::open(server, show)?;
    let result = dialogue.transaction(mail);
    if !matches!(result, Err(SendError::Unavailable(_))) {
        // The message's fate is known: how the farewell goes does not matter.
        let _ = dialogue.farewell();
    }
    result
}

struct Dialogue<'a> {
    stream: BufReader<TcpStream>,
    show: &'a mut dyn FnMut(Side, &str),
}

impl<'a> Dialogue<'a> {
    fn open(server: &str, show: &'a mut dyn FnMut(Side, &str)) -> Result<Dialogue<'a>, SendError> {
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "no address");
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(REPLY))?;
                    stream.set_write_timeout(Some(REPLY))?;
                    stream.set_nodelay(true)?;
                    return Ok(Dialogue { stream: BufReader::new(stream), show });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused.into())
    }

    fn transaction(&mut self, mail: &Mail) -> Result<String, SendError> {
        self.reply(2)?;
        self.command("EHLO localhost")?;
        self.command(&format!("MAIL FROM:<{}>", mail.sender))?;
        for recipient in &mail.recipients {
            self.command(&format!("RCPT TO:<{recipient}>"))?;
        }
        self.say("DATA")?;
        self.reply(3)?;
        let data = wire_form(&mail.data);
        (self.show)(Side::Client, &format!("(message data, {} bytes)", data.len()));
        self.stream.get_mut().write_all(&data)?;
        self.say(".")?;
        self.reply(2)
    }

    fn farewell(&mut self) -> Result<String, SendError> {
        self.stream.get_ref().set_read_timeout(Some(FAREWELL))?;
        self.command("QUIT")
    }

    fn command(&mut self, line: &str) -> Result<String, SendError> {
        self.say(line)?;
        self.reply(2)
    }

    fn say(&mut self, line: &str) -> Result<(), SendError> {
        (self.show)(Side::Client, line);
        Ok(self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?)
    }

    /// Reads a reply and answers with its last line, if it has the class that
    /// is expected.
    fn reply(&mut self, class: u8) -> Result<String, SendError> {
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
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let is_expected = line.as_bytes().first() == Some(&(b'0' + class));
            return if is_expected { Ok(line) } else { Err(SendError::Refused(line)) };
        }
    }
}

/// Mail data as it goes over the wire: every line ends in CRLF, a leading dot
/// is doubled (RFC 5321 section 4.5.2).
fn wire_form(data: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(data.len() + data.len() / 16 + 2);
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_stuffed_and_every_line_ends_in_crlf() {
        for (data, wire) in [
            ("", ""),
            ("a\nb\r\nc", "a\r\nb\r\nc\r\n"),
            (".\n..a\nb.\n", "..\r\n...a\r\nb.\r\n"),
            ("\n\r\n", "\r\n\r\n"),
        ] {
            assert_eq!(String::from_utf8(wire_form(data.as_bytes())).unwrap(), wire);
        }
    }
}
