//! The mail data receiver: every split of the input, every limit.
//!
//! Data is held against what the rules of RFC 5321 section 4.5.2 make of it; that
//! nothing is taken for a command is tested with the session.

use super::*;

type Received = Result<Vec<u8>, Fault>;

/// Whether what was received is given away after every piece.
#[derive(Clone, Copy)]
enum Drawn {
    Never,
    Always,
}

/// The message, and everything behind the end of its data.
fn receive(
    input: &[u8],
    limits: &Limits,
    mode: BareNewline,
    piece: usize,
    drawn: Drawn,
) -> Option<(Received, Vec<u8>)> {
    let mut receiver = Receiver::new(limits, mode);
    let mut given = Vec::new();
    let mut at = 0;
    for piece in input.chunks(piece.max(1)) {
        if let Some(used) = receiver.push(piece) {
            let received = receiver.finish().map(|rest| [given, rest.to_vec()].concat());
            return Some((received, input[at + used..].to_vec()));
        }
        at += piece.len();
        if let Drawn::Always = drawn {
            given.extend(receiver.draw().unwrap_or_default());
        }
    }
    None
}

fn every_split(input: &[u8], limits: &Limits, mode: BareNewline) -> Option<(Received, Vec<u8>)> {
    let whole = receive(input, limits, mode, input.len(), Drawn::Never);
    for piece in 1..input.len().min(12) {
        for drawn in [Drawn::Never, Drawn::Always] {
            let received = receive(input, limits, mode, piece, drawn);
            assert_eq!(received, whole, "{:?} by {piece}", input.escape_ascii());
        }
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
    assert_eq!((receiver.held(), receiver.draw()), (0, None));
    assert_eq!(receiver.push(b"more\r\n.\r\n"), Some(9));
    assert_eq!(receiver.finish(), Err(Fault::NoMemory));
}

#[test]
fn a_line_without_end_is_given_away_once_it_cannot_be_a_field() {
    let limits = Limits { header: 10, ..Limits::default() };
    let rows: &[(&str, Result<usize, Fault>)] = &[
        ("{234567890", Ok(0)),
        ("{2345678901", Ok(11)),
        ("a:345678901", Err(Fault::HeaderTooLarge)),
        ("a:\r\n 678901234567", Err(Fault::HeaderTooLarge)),
        ("a:\r\n{78901234567", Ok(16)),
    ];
    for (data, expected) in rows {
        let mut receiver = Receiver::new(&limits, BareNewline::Normalize);
        assert_eq!(receiver.push(data.as_bytes()), None);
        let given = receiver.draw().map(|octets| octets.len());
        assert_eq!(given, expected.ok(), "{data:?}");
        assert_eq!(receiver.push(b"\r\n.\r\n"), Some(5));
        assert_eq!(receiver.finish().err(), expected.err(), "{data:?}");
    }
}

#[test]
fn the_buffer_grows_by_doubling_and_is_given_away_whole() {
    let mut receiver = Receiver::new(&Limits::default(), BareNewline::Normalize);
    receiver.push(b"\r\n");
    for (more, held) in [(500, 512), (10, 512), (1, 1024), (5000, 8192)] {
        receiver.push(&vec![b'x'; more]);
        assert_eq!(receiver.held(), held, "{more}");
    }
    assert_eq!(receiver.draw().unwrap().len(), 5513);
    assert_eq!((receiver.held(), receiver.draw().unwrap().len()), (0, 0));
}
