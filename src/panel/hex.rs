//! Octets as a table: place, sixteen octets, and what of them is ASCII.

use std::fmt::Write as _;

/// Octets of a line.
const LINE: usize = 16;

/// The table of these octets.
pub(super) fn table(octets: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in octets.chunks(LINE).enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{:08x} ", number * LINE);
        for at in 0..LINE {
            let gap = if at == LINE / 2 { "  " } else { " " };
            let _ = match line.get(at) {
                Some(octet) => write!(text, "{gap}{octet:02x}"),
                None => write!(text, "{gap}  "),
            };
        }
        let shown = |octet: &u8| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '.' };
        let _ = writeln!(text, "  |{}|", line.iter().map(shown).collect::<String>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn octets_stand_beside_what_they_say() {
        let expected = "00000000  50 4b 03 04 00 00 00 00  00 00 00 00 00 00 00 00  |PK..............|\n\
                        00000010  3c 62 3e                                          |<b>|\n";
        assert_eq!(table(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0<b>"), expected);
        assert_eq!(table(b""), "");
    }
}
