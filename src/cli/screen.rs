//! A text that is shown again and again.

use std::io::{self, IsTerminal as _, Write as _};

/// To the first column of the first line.
const HOME: &str = "\x1b[H";
/// Erases what is behind the cursor in its line.
const REST: &str = "\x1b[K";
/// Erases all that is behind the cursor.
const BELOW: &str = "\x1b[J";

/// Shows a text on the standard output: on a terminal in the place of all that it shows, as
/// much as there is room for; elsewhere behind the last one, with a blank line between.
pub(super) fn show(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if !output.is_terminal() {
        return writeln!(output, "{text}\n");
    }
    let size = rustix::termios::tcgetwinsize(&output)?;
    write!(output, "{}", picture(text, (size.ws_row.into(), size.ws_col.into())))?;
    output.flush()
}

/// What a terminal of so many rows and columns is sent; one that does not know has room for all.
/// The last row stays free: a line end in it would scroll.
fn picture(text: &str, (rows, columns): (usize, usize)) -> String {
    let [rows, columns] = [rows, columns].map(|room| if room == 0 { usize::MAX } else { room });
    let cut = |line: &str| line.chars().take(columns).chain(REST.chars()).chain(['\n']).collect::<String>();
    let lines: String = text.lines().take(rows - 1).map(cut).collect();
    format!("{HOME}{lines}{BELOW}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_scrolls_and_nothing_of_the_last_text_is_left() {
        let shown = |text, size| picture(text, size).replace('\x1b', "^");
        assert_eq!(shown("one\ntwo", (0, 0)), "^[Hone^[K\ntwo^[K\n^[J");
        assert_eq!(shown("one\ntwo\nthree", (3, 2)), "^[Hon^[K\ntw^[K\n^[J");
        assert_eq!(shown("one", (1, 80)), "^[H^[J");
    }
}
