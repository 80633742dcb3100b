//! Two texts side by side where there is room, one above the other where not.

use std::io::{self, IsTerminal as _};

/// From this many columns on, two texts stand side by side.
const WIDE: usize = 100;
/// Width where the output is no terminal and nothing is said about it.
const USUAL: usize = 120;

/// Columns of the standard output: the terminal's, `$COLUMNS`, or a usual number.
pub(super) fn width() -> usize {
    let terminal =
        io::stdout().is_terminal().then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
    let said = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    terminal
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .or_else(said)
        .unwrap_or(USUAL)
}

/// Lays out two texts, each under its heading, for a width in columns.
pub(super) fn lay_out(width: usize, left: (&str, &[String]), right: (&str, &[String])) -> String {
    if width < WIDE {
        let block = |(head, lines): (&str, &[String])| format!("{}\n{}", underlined(head), lines.join("\n"));
        return format!("{}\n\n{}", block(left), block(right));
    }
    let column = (width - 3) / 2;
    let folded = |(head, lines): (&str, &[String])| {
        let head = underlined(head);
        let lines = head.lines().chain(lines.iter().map(String::as_str));
        lines.flat_map(|line| fold(line, column)).collect::<Vec<_>>()
    };
    let (left, right) = (folded(left), folded(right));
    let row = |at: usize| {
        let cell = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        format!("{:column$} | {}", cell(&left), cell(&right)).trim_end().to_owned()
    };
    (0..left.len().max(right.len())).map(row).collect::<Vec<_>>().join("\n")
}

fn underlined(head: &str) -> String {
    format!("{head}\n{}", "-".repeat(head.chars().count()))
}

/// Cuts a line into pieces of at most `width` characters; further pieces are
/// indented.
fn fold(line: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut length = 0;
    for char in line.chars() {
        if length == width {
            pieces.push(std::mem::replace(&mut piece, "    ".to_owned()));
            length = 4;
        }
        piece.push(char);
        length += 1;
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_terminals_show_one_above_the_other() {
        let (left, right) = (["a".to_owned()], ["b".to_owned()]);
        assert_eq!(lay_out(99, ("L", &left), ("R", &right)), "L\n-\na\n\nR\n-\nb");
    }

    #[test]
    fn wide_terminals_show_both_side_by_side_and_no_line_is_too_wide() {
        let left = ["x".repeat(60), "short".to_owned()];
        let right = ["y".repeat(100)];
        let text = lay_out(101, ("L", &left), ("R", &right));
        assert!(text.lines().all(|line| line.chars().count() <= 101), "{text}");
        assert_eq!(text.matches('x').count() + text.matches('y').count(), 160);
        assert!(
            text.lines().next().unwrap().starts_with("L ") && text.lines().next().unwrap().ends_with("| R")
        );
    }
}
