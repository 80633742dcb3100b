//! A message as it is piped in, kept until its end is known.
//!
//! Nothing is said to the gateway before the input has ended: a cron job may
//! write for hours, and a program that dies in the middle must not have sent
//! half of a message. The first mebibyte is in memory, the rest in a file
//! without a name, so a message costs the same memory whatever its size.

use super::options::LoneDot;
use crate::cli::{DATA, Failure, IO, TRY_AGAIN};
use crate::smtp::client::lines;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// Octets of a message that are in memory; its header section must be there.
const IN_MEMORY: usize = 1 << 20;

/// A whole message; every line ends in CRLF.
#[derive(Debug)]
pub(super) struct Message {
    /// Its begin; all of it, unless there is a rest.
    pub head: Vec<u8>,
    rest: Option<File>,
    rest_length: u64,
    /// Whether it holds octets beyond ASCII.
    pub is_eight_bit: bool,
}

impl Message {
    /// Reads a message to its end. `largest` is asked once, when the message is a
    /// large one, how many octets the gateway takes, 0 = any number; input beyond
    /// that is not kept.
    pub(super) fn read(
        mut input: impl BufRead,
        lone_dot: LoneDot,
        largest: impl FnOnce() -> Result<u64, Failure>,
    ) -> Result<Message, Failure> {
        let mut message = Message { head: Vec::new(), rest: None, rest_length: 0, is_eight_bit: false };
        let mut overflow = None;
        let mut begins_line = true;
        let mut largest = Some(largest);
        let mut most = 0;
        let mut piece = Vec::new();
        while lines::read(&mut input, &mut piece).map_err(unreadable)? {
            if begins_line && lone_dot == LoneDot::Ends && matches!(piece.as_slice(), b"." | b".\r\n") {
                break;
            }
            begins_line = piece.ends_with(b"\n");
            message.is_eight_bit |= !piece.is_ascii();
            if overflow.is_none() && message.head.len() + piece.len() <= IN_MEMORY {
                message.head.extend_from_slice(&piece);
                continue;
            }
            if let Some(largest) = largest.take() {
                most = largest()?;
                overflow = Some(BufWriter::new(nameless().map_err(unkept)?));
            }
            message.rest_length += piece.len() as u64;
            if most != 0 && message.length() > most {
                return Err(too_large(most));
            }
            if let Some(file) = &mut overflow {
                file.write_all(&piece).map_err(unkept)?;
            }
        }
        message.close(overflow, begins_line).map_err(unkept)?;
        Ok(message)
    }

    fn close(&mut self, overflow: Option<BufWriter<File>>, is_complete: bool) -> io::Result<()> {
        let end: &[u8] = if is_complete { b"" } else { b"\r\n" };
        match overflow {
            None => self.head.extend_from_slice(end),
            Some(mut file) => {
                file.write_all(end)?;
                self.rest_length += end.len() as u64;
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                self.rest = Some(file);
            }
        }
        Ok(())
    }

    /// Its size in octets.
    pub(super) fn length(&self) -> u64 {
        self.head.len() as u64 + self.rest_length
    }

    /// Whether there is more of it than its head.
    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// The message from its begin; can be had once.
    pub(super) fn open(self) -> impl BufRead {
        let rest: Box<dyn io::Read> = match self.rest {
            Some(file) => Box::new(file),
            None => Box::new(io::empty()),
        };
        io::Cursor::new(self.head).chain(BufReader::new(rest))
    }
}

/// What is said of a message that is larger than the gateway takes.
pub(super) fn too_large(most: u64) -> Failure {
    Failure::new(DATA, format_args!("the message is larger than the {most} octets that the gateway takes"))
}

/// A file that is gone with the process, and that nobody else can open.
fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("postgate-sendmail-{:016x}", fastrand::u64(..)));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(IO, format_args!("the message cannot be read: {error}"))
}

fn unkept(error: io::Error) -> Failure {
    Failure::new(TRY_AGAIN, format_args!("the message cannot be kept until it is sent: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], lone_dot: LoneDot, most: u64) -> Result<Vec<u8>, Failure> {
        let message = Message::read(input, lone_dot, || Ok(most))?;
        let length = message.length();
        let mut octets = Vec::new();
        message.open().read_to_end(&mut octets).unwrap();
        assert_eq!(octets.len() as u64, length);
        Ok(octets)
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_it_is_text() {
        for (input, ended, text) in [
            ("", "", ""),
            ("a", "a\r\n", "a\r\n"),
            ("a\n.\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n", "a\r\n.\r\nb\r\n"),
            ("a\n.", "a\r\n", "a\r\n.\r\n"),
            (".\na", "", ".\r\na\r\n"),
            ("a\n..\n .\n.b\n", "a\r\n..\r\n .\r\n.b\r\n", "a\r\n..\r\n .\r\n.b\r\n"),
        ] {
            for (lone_dot, output) in [(LoneDot::Ends, ended), (LoneDot::IsText, text)] {
                let octets = read(input.as_bytes(), lone_dot, 0).unwrap();
                assert_eq!(String::from_utf8(octets).unwrap(), output, "{input:?} {lone_dot:?}");
            }
        }
    }

    #[test]
    fn large_messages_are_kept_whole_and_too_large_ones_not_at_all() {
        let line = [&[b'x'; 998][..], b"\r\n"].concat();
        for (count, last) in [(1048, ""), (1049, ""), (3000, "end"), (3000, "end\r\n")] {
            let octets = [line.repeat(count).as_slice(), last.as_bytes()].concat();
            let whole = [octets.as_slice(), if last == "end" { b"\r\n" } else { b"" }].concat();
            assert_eq!(read(&octets, LoneDot::Ends, 0).unwrap(), whole, "{count} {last}");
            assert_eq!(read(&octets, LoneDot::Ends, 4_000_000).unwrap(), whole, "{count} {last}");
        }
        let failure = read(&line.repeat(3000), LoneDot::Ends, 2_000_000).unwrap_err();
        assert_eq!(failure.code, DATA);
    }
}
