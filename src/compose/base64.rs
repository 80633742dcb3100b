//! Base64 as mail has it (RFC 2045 section 6.8): quickly where it is as it should be,
//! and as far as possible where it is not.

use super::mail::lines;
use mail_parser::decoders::base64::base64_decode;
use memchr::memmem;

/// Undoes base64; `None` when something is in it that does not belong there.
pub fn decode(octets: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = vec![0; octets.len() / 4 * 3];
    let (mut length, mut read) = (0, 0);
    // Lines of whole groups, as all programs write them, up to the padding.
    for line in lines(octets) {
        let (groups, rest) = line.trim_ascii_end().as_chunks();
        let end = length + groups.len() * 3;
        let room = decoded.get_mut(length..end).filter(|_| rest.is_empty());
        if !room.is_some_and(|room| are_undone(groups, room)) {
            break;
        }
        (length, read) = (end, read + line.len());
    }
    if read == 0 {
        return base64_decode(octets);
    }
    decoded.truncate(length);
    let rest = octets.get(read..).filter(|rest| !rest.is_empty());
    decoded.extend(rest.map_or(Some(Vec::new()), base64_decode)?);
    Some(decoded)
}

/// What no digit stands for.
const NO_DIGIT: u8 = 0xff;

/// What each octet stands for.
static DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let (mut left, mut octet) = (digits.as_mut_slice(), 0u8);
    while let Some((first, rest)) = left.split_first_mut() {
        *first = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => NO_DIGIT,
        };
        octet = octet.wrapping_add(1);
        left = rest;
    }
    digits
};

/// Whether the groups were digits alone; then `room`, of the right length, holds what
/// they stand for. Looked at once for all of them, which takes half the time.
fn are_undone(groups: &[[u8; 4]], room: &mut [u8]) -> bool {
    let digit = |octet: u8| DIGITS.get(usize::from(octet)).copied().unwrap_or(NO_DIGIT);
    let mut all = 0;
    for (group, octets) in groups.iter().zip(room.as_chunks_mut::<3>().0) {
        let [a, b, c, d] = group.map(digit);
        all |= a | b | c | d;
        let word = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, first, second, third] = word.to_be_bytes();
        *octets = [first, second, third];
    }
    all < 64
}

/// Of so many octets of a line one may be foreign to base64: in prose, such as the
/// footer that a mailing list puts below, blanks alone are more.
const STRAYS: usize = 8;
/// Octets of a line that is no word of prose when nothing in it is foreign.
const SURE: usize = 24;

/// Undoes base64 without what does not belong there (RFC 2045 section 6.8), and without
/// what stands below it; `None` when most of it does not belong there.
pub fn repaired(octets: &[u8]) -> Option<Vec<u8>> {
    let mut reading = Reading { digits: Vec::with_capacity(octets.len()), ..Reading::default() };
    for line in lines(octets).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let begin = reading.digits.len();
        let Some(strays) = take(line, &mut reading.digits) else { break };
        match strays {
            0 => reading.clean(line),
            _ if strays * STRAYS > line.len() => reading.foreign(line, begin),
            _ => reading.damaged(line),
        }
    }
    reading.end()
}

/// Adds the digits of a line, groups that end in padding among them; how many of its
/// octets are foreign. `None` when one stands behind the padding: that is the end.
fn take(line: &[u8], digits: &mut Vec<u8>) -> Option<usize> {
    let mut strays = 0;
    for octet in line {
        let is_padded = digits.last() == Some(&b'=');
        match octet {
            b'=' if digits.len() % 4 >= 2 => digits.resize(digits.len().next_multiple_of(4), b'='),
            b'=' if is_padded => {}
            b'+' | b'/' => digits.push(*octet),
            octet if octet.is_ascii_alphanumeric() => digits.push(*octet),
            _ if is_padded => return None,
            _ => strays += 1,
        }
    }
    Some(strays)
}

/// Base64 with something else in it, and perhaps prose below it, whose letters are
/// digits as well. Nothing but padding says where base64 ends, and not all has it.
#[derive(Default)]
struct Reading {
    digits: Vec<u8>,
    /// Octets of lines that are none.
    skipped: usize,
    /// Octets of the longest line that is nothing else.
    width: usize,
    /// Digits and skipped octets where base64 ends, if this is the end.
    end: Option<(usize, usize)>,
    /// The line before was shorter than others, as the last one is.
    is_short: bool,
    /// What comes is below it, unless a long line shows that it goes on.
    is_over: bool,
}

impl Reading {
    /// Takes a line that is base64 and nothing else.
    fn clean(&mut self, line: &[u8]) {
        if line.len() >= self.width.min(SURE) {
            self.is_over = false;
        } else if self.is_over || self.is_short {
            return;
        }
        self.is_short = line.len() < self.width;
        self.width = self.width.max(line.len());
        self.end = Some((self.digits.len(), self.skipped));
    }

    /// Takes a line of base64 with something in it, or a line of prose.
    fn damaged(&mut self, line: &[u8]) {
        let is_padded = self.digits.last() == Some(&b'=');
        let is_below = self.is_short || !is_padded && is_prose(line);
        self.is_over |= self.end.is_some() && is_below;
        if !self.is_over {
            self.is_short = line.len() < self.width;
            self.end = Some((self.digits.len(), self.skipped));
        }
    }

    /// Leaves out a line whose digits begin there.
    fn foreign(&mut self, line: &[u8], begin: usize) {
        self.digits.truncate(begin);
        self.skipped += line.len();
        self.is_over |= self.end.is_some();
    }

    fn end(mut self) -> Option<Vec<u8>> {
        if let Some((end, skipped)) = self.end.filter(|_| self.is_over) {
            let below = self.digits.len() - end;
            self.digits.truncate(end);
            let is_sure = self.width >= SURE || self.digits.last() == Some(&b'=');
            self.skipped = if is_sure { skipped } else { self.skipped + below };
        }
        // A digit alone holds no octet.
        self.digits.truncate(self.digits.len() - usize::from(self.digits.len() % 4 == 1));
        if self.digits.len() > self.skipped { decode(&self.digits) } else { None }
    }
}

/// Whether a line looks like a sentence or an address.
fn is_prose(line: &[u8]) -> bool {
    line.iter().any(|octet| b" \t@".contains(octet)) || memmem::find(line, b"://").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    #[test]
    fn whatever_the_lines_are_the_octets_are_the_same() {
        for length in (0..200).chain([3000, 3001, 3002]) {
            let octets: Vec<u8> = (0..length).map(|at: usize| (at * 37 + at / 7) as u8).collect();
            let text = BASE64.encode(&octets);
            for width in [4, 60, 76, 61, 10_000] {
                let lines = text.as_bytes().chunks(width).map(|line| [line, b"\r\n"].concat());
                let mut lines = lines.collect::<Vec<_>>().concat();
                assert_eq!(decode(&lines).as_ref(), Some(&octets), "{length} {width}");
                lines.truncate(lines.len().saturating_sub(2));
                assert_eq!(decode(&lines).as_ref(), Some(&octets), "{length} {width}");
                lines.extend(b"\r\n!");
                assert_eq!(decode(&lines), None);
            }
        }
    }

    #[test]
    fn base64_is_decoded_around_what_does_not_belong_there() {
        for (encoded, plain) in [
            ("SGVs\r\nbG8!gd29ybGQ=\r\n", Some("Hello world")),
            ("SGVsbG8gd29ybGQ\u{a0}", Some("Hello world")),
            ("=SGVsbG8gd29ybGQ==\r\n-- \r\na list's footer", Some("Hello world")),
            ("SGVsbG8gd29ybGQ_h", Some("Hello world!")),
            // Padding in the middle, as where several were put together.
            ("SGVsbG8gd29ybGQ=\r\nSGVs!bG8hSGVs\r\n", Some("Hello worldHello!Hel")),
            // What lists put below, also where no padding shows the end.
            ("SGVsbG8gd29ybGQ=\r\nOrders mailing list\r\n", Some("Hello world")),
            ("SGVsbG8gd29ybGQhSGVsbG8h\r\nOrders mailing list\r\n", Some("Hello world!Hello!")),
            ("SGVsbG8gd29ybGQhSGVs\r\nSGVsbG8h\r\nOrders mailing list\r\n", Some("Hello world!HelHello!")),
            (
                "SGVsbG8gd29ybGQhSGVs\r\nSGVsbG8h\r\nOrders\r\nhttps://a.example/b\r\n",
                Some("Hello world!HelHello!"),
            ),
            (
                "SGVsbG8gd29ybGQhSGVsbG8h\r\n\r\n____________\r\nOrders mailing list\r\n",
                Some("Hello world!Hello!"),
            ),
            // Damage in the last line, and in short lines, is not taken for that.
            ("SGVsbG8gd29ybGQhSGVs\r\nSGVs!bG8hSGVs\r\n", Some("Hello world!HelHello!Hel")),
            (
                "SGVsbG8hSGVs\r\nSGVsbG8h\r\nSGVsb!G8hSGVs\r\nSGVsbG8gd29ybGQhSGVsbG8gd29ybGQhSGVsbG8gd29y\r\n",
                Some("Hello!HelHello!Hello!HelHello world!Hello world!Hello wor"),
            ),
            ("Hello\r\nBob\r\nthis is not base64 at all", None),
            ("{\"not\": \"base64\"}", None),
            ("This is what somebody wrote, without any thought of a mark.", None),
            ("-", None),
        ] {
            let decoded = repaired(encoded.as_bytes());
            assert_eq!(
                decoded.map(|octets| String::from_utf8(octets).unwrap()).as_deref(),
                plain,
                "{encoded}"
            );
        }
    }
}
