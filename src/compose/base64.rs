//! Base64 as mail has it (RFC 2045 section 6.8): quickly where it is as it should be,
//! and as far as possible where it is not.

use super::mail::lines;
use mail_parser::decoders::base64::base64_decode;

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

/// Undoes base64 up to its padding, without what does not belong there (RFC 2045
/// section 6.8); `None` when most of it does not.
pub fn repaired(octets: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(octets.len());
    let mut skipped = 0;
    for line in lines(octets).map(<[u8]>::trim_ascii) {
        let (begin, mut strays, mut is_end) = (digits.len(), 0, false);
        for octet in line {
            match octet {
                b'=' if digits.len() % 4 >= 2 => is_end = true,
                b'+' | b'/' => digits.push(*octet),
                octet if octet.is_ascii_alphanumeric() => digits.push(*octet),
                _ => strays += 1,
            }
            if is_end {
                break;
            }
        }
        if strays * STRAYS > digits.len() - begin + strays {
            digits.truncate(begin);
            skipped += line.len();
        } else if is_end {
            break;
        }
    }
    // A digit alone holds no octet.
    digits.truncate(digits.len() - usize::from(digits.len() % 4 == 1));
    if digits.len() > skipped { decode(&digits) } else { None }
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
