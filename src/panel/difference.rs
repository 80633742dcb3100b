//! What differs between two texts, in lines, as `diff -u` tells it.

use similar::{Change, ChangeTag, TextDiff};
use std::time::Duration;

/// Longest search for the shortest way; then any will do.
const LONGEST: Duration = Duration::from_millis(200);

/// Most lines that are shown.
const MOST: usize = 5_000;

/// Most octets of them.
const ROOM: usize = 1 << 20;

/// Where two texts differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Its beginning, up to [`MOST`] lines or [`ROOM`] octets; none where the texts are the same.
    pub hunks: Vec<Hunk>,
    /// How many lines there are behind that.
    pub more: usize,
}

impl Difference {
    /// Whether the texts are the same.
    pub(super) fn is_none(&self) -> bool {
        self.hunks.is_empty() && self.more == 0
    }
}

/// A place where two texts differ, with the lines around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hunk {
    /// Which lines of each text they are: `@@ -1,3 +1,4 @@`.
    pub head: String,
    /// Its lines, in their order.
    pub lines: Vec<Line>,
}

/// A line of one of the texts, or of both.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is gone.
    Old(String),
    /// It was not there.
    New(String),
    /// It is as it was.
    Same(String),
}

/// Where a new text differs from the old one. It takes a while with long texts.
pub(super) fn between(old: &str, new: &str) -> Difference {
    let difference = TextDiff::configure().timeout(LONGEST).diff_lines(old, new);
    let (mut hunks, mut count, mut octets, mut more) = (Vec::new(), 0, 0, 0);
    for hunk in difference.unified_diff().iter_hunks() {
        let mut lines = Vec::new();
        for change in hunk.iter_changes() {
            octets += change.value().len();
            if count == MOST || octets > ROOM {
                more += 1;
                continue;
            }
            count += 1;
            lines.push(line(&change));
        }
        if !lines.is_empty() {
            hunks.push(Hunk { head: hunk.header().to_string().trim_end().to_owned(), lines });
        }
    }
    Difference { hunks, more }
}

fn line(change: &Change<&str>) -> Line {
    let mut text = change.value().trim_end_matches(['\r', '\n']).to_owned();
    if change.missing_newline() {
        text.push_str(" (no end of line)");
    }
    match change.tag() {
        ChangeTag::Delete => Line::Old(text),
        ChangeTag::Insert => Line::New(text),
        ChangeTag::Equal => Line::Same(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn lines_that_differ_stand_with_those_around_them() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9";
        let Difference { hunks, more: 0 } = between(old, new) else { panic!("{:?}", between(old, new)) };
        let [hunk] = &hunks[..] else { panic!("{hunks:?}") };
        assert_eq!(hunk.head, "@@ -2,8 +2,8 @@");
        let [same @ .., gone, instead] = &hunk.lines[..5] else { panic!("{hunk:?}") };
        assert_eq!(same, ["2", "3", "4"].map(|line| Line::Same(line.to_owned())));
        assert_eq!((gone, instead), (&Line::Old("5".to_owned()), &Line::New("five".to_owned())));
        assert_eq!(hunk.lines.last(), Some(&Line::New("9 (no end of line)".to_owned())));
        assert_eq!(between(old, old), Difference { hunks: Vec::new(), more: 0 });
    }

    #[test]
    fn of_a_large_text_that_is_all_different_the_beginning_is_shown_and_soon() {
        let text = |word: &str| (0..60_000).map(|line| format!("{word} {line}\n")).collect::<String>();
        let begun = Instant::now();
        let difference = between(&text("a"), &text("b"));
        let shown: usize = difference.hunks.iter().map(|hunk| hunk.lines.len()).sum();
        assert_eq!((shown, difference.more), (MOST, 120_000 - MOST));
        assert!(begun.elapsed() < 50 * LONGEST, "{:?}", begun.elapsed());
    }

    #[test]
    fn of_long_lines_there_is_what_has_room() {
        let (old, new) = ("a".repeat(ROOM / 2), "b".repeat(ROOM / 2 + 1));
        let difference = between(&old, &new);
        let [hunk] = &difference.hunks[..] else { panic!("{}", difference.hunks.len()) };
        assert_eq!((hunk.lines.len(), difference.more), (1, 1));
        // It would say that nothing changes.
        let difference = between("", &"b".repeat(ROOM + 1));
        assert_eq!((difference.hunks.len(), difference.more), (0, 1));
    }
}
