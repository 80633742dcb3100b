//! One change to an input: octets, ranges, lines, numbers, tokens.

/// Numbers at which something may tip over.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "7",
    "8",
    "63",
    "64",
    "127",
    "128",
    "255",
    "256",
    "999",
    "1000",
    "1001",
    "4096",
    "32767",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
];
/// Octets that end, quote or escape something somewhere.
const OCTETS: &[u8] = b"\0\t\n\r .-=:;,<>@[]{}()\"'\\%+/?#&~\x7f\x80\xc3\xe2\xfe\xff";

/// Changes `input` in one place; `other` is there to steal from.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], dictionary: &[&[u8]], dice: &mut fastrand::Rng) {
    let at = dice.usize(..=input.len());
    let length = mostly_small(dice, 12).min(input.len() - at);
    let range = at..at + length;
    match dice.u32(..16) {
        0 if at < input.len() => input[at] ^= 1 << dice.u32(..8),
        1 if at < input.len() => input[at] = OCTETS[dice.usize(..OCTETS.len())],
        2 => input.insert(at, OCTETS[dice.usize(..OCTETS.len())]),
        3 => drop(input.drain(range)),
        4 => {
            let copy = input[range].to_vec();
            let to = dice.usize(..=input.len());
            drop(input.splice(to..to, copy));
        }
        5 => drop(input.splice(range, piece(other, dice))),
        6 => drop(input.splice(at..at, piece(other, dice))),
        7 if dice.u8(..8) == 0 => input.truncate(at),
        8 | 9 => lines(input, other, dice),
        10 => number(input, dice),
        11 => repeat(input, dictionary, dice),
        12 if at < input.len() => input[at] = dice.u8(..),
        13 => {
            let token = token(dictionary, dice);
            let until = (at + token.len()).min(input.len());
            drop(input.splice(at..until, token));
        }
        _ => drop(input.splice(at..at, token(dictionary, dice))),
    }
}

/// A number below `2^bits`, of any length in digits as likely as of any other.
pub fn mostly_small(dice: &mut fastrand::Rng, bits: u32) -> usize {
    let bits = dice.u32(..bits);
    dice.usize(..=1 << bits)
}

fn piece(other: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let from = dice.usize(..=other.len());
    let length = mostly_small(dice, 12).min(other.len() - from);
    other[from..from + length].to_vec()
}

fn token(dictionary: &[&[u8]], dice: &mut fastrand::Rng) -> Vec<u8> {
    dice.choice(dictionary).map_or(Vec::new(), |token| token.to_vec())
}

/// Takes out, doubles, moves or steals a whole line.
fn lines(input: &mut Vec<u8>, other: &[u8], dice: &mut fastrand::Rng) {
    let split = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut lines: Vec<Vec<u8>> = split(input);
    let others: Vec<Vec<u8>> = split(other);
    let to = dice.usize(..=lines.len());
    let from = dice.usize(..lines.len().max(1));
    match dice.u32(..4) {
        0 if from < lines.len() => drop(lines.remove(from)),
        1 if from < lines.len() => lines.insert(to, lines[from].clone()),
        2 if from < lines.len() => {
            let line = lines.remove(from);
            lines.insert(to.min(lines.len()), line);
        }
        _ => {
            if let Some(line) = dice.choice(&others) {
                lines.insert(to, line.clone());
            }
        }
    }
    *input = lines.concat();
}

/// Puts another number in the place of one.
fn number(input: &mut Vec<u8>, dice: &mut fastrand::Rng) {
    let is_begin = |at: &usize| input[*at].is_ascii_digit() && (*at == 0 || !input[*at - 1].is_ascii_digit());
    let begins: Vec<_> = (0..input.len()).filter(is_begin).collect();
    let Some(&begin) = dice.choice(&begins) else { return };
    let length = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let new = match dice.u32(..3) {
        0 => dice.choice(NUMBERS).map_or(String::new(), ToString::to_string),
        1 => mostly_small(dice, 20).to_string(),
        _ => {
            let old: u64 = std::str::from_utf8(&input[begin..begin + length]).unwrap().parse().unwrap_or(0);
            old.wrapping_add_signed(dice.i64(-2..=2)).to_string()
        }
    };
    drop(input.splice(begin..begin + length, new.into_bytes()));
}

/// Thousands of the same.
fn repeat(input: &mut Vec<u8>, dictionary: &[&[u8]], dice: &mut fastrand::Rng) {
    let at = dice.usize(..=input.len());
    let short = dice.usize(..40).min(input.len() - at);
    let what = if dice.bool() { token(dictionary, dice) } else { input[at..at + short].to_vec() };
    let times = mostly_small(dice, 14).min(60_000 / what.len().max(1));
    drop(input.splice(at..at, what.repeat(times)));
}
