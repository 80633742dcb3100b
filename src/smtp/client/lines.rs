//! Mail data line by line, in memory that does not grow with it.
//!
//! Programs pipe LF, CRLF, or both in one message; SMTP has CRLF alone
//! (RFC 5321 section 2.3.8). A lone CR is content here: what becomes of it is
//! the server's decision.

use std::io::{self, BufRead};

/// Longer lines come in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Reads the next line into `piece`, or the next 64 KiB of a longer one; the
/// line end, if the piece has one, becomes CRLF. False at the end of the input.
pub fn read(input: &mut impl BufRead, piece: &mut Vec<u8>) -> io::Result<bool> {
    piece.clear();
    loop {
        let room = PIECE.saturating_sub(piece.len()).max(1);
        let count = io::Read::take(&mut *input, room as u64).read_until(b'\n', piece)?;
        // The LF of a CR at the cut must not become a line end of its own.
        if count == 0 || piece.last() != Some(&b'\r') {
            break;
        }
    }
    if piece.ends_with(b"\n") && !piece.ends_with(b"\r\n") {
        piece.pop();
        piece.extend_from_slice(b"\r\n");
    }
    Ok(!piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut input: &[u8]) -> Vec<Vec<u8>> {
        let mut piece = Vec::new();
        let mut all = Vec::new();
        while read(&mut input, &mut piece).unwrap() {
            all.push(piece.clone());
        }
        all
    }

    #[test]
    fn every_line_end_becomes_crlf_and_nothing_else_changes() {
        for (input, output) in
            [("", ""), ("a\nb\r\nc", "a\r\nb\r\nc"), ("\n\r\n\r\r\n", "\r\n\r\n\r\r\n"), ("a\rb\r", "a\rb\r")]
        {
            assert_eq!(pieces(input.as_bytes()).concat(), output.as_bytes(), "{input:?}");
        }
    }

    #[test]
    fn long_lines_come_in_pieces_and_a_line_end_is_never_cut() {
        for before in [0, 1, PIECE - 2, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE - 1, 3 * PIECE] {
            let line = [&vec![b'x'; before][..], b"\r\n"].concat();
            let pieces = pieces(&line);
            assert_eq!(pieces.concat(), line, "{before}");
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE + 1), "{before}");
        }
    }
}
