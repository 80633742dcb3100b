//! What differs between two texts, in lines, as `diff -u` tells it.

use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// Longest search for the shortest way; then any will do.
const LONGEST: Duration = Duration::from_millis(200);

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

/// Where a new text differs from the old one; nothing where they are the same.
pub(super) fn between(old: &str, new: &str) -> Vec<Hunk> {
    let difference = TextDiff::configure().timeout(LONGEST).diff_lines(old, new);
    let unified = difference.unified_diff();
    let hunks = unified.iter_hunks().map(|hunk| {
        let lines = hunk.iter_changes().map(|change| {
            let mut text = change.value().trim_end_matches(['\r', '\n']).to_owned();
            if change.missing_newline() {
                text.push_str(" (no end of line)");
            }
            match change.tag() {
                ChangeTag::Delete => Line::Old(text),
                ChangeTag::Insert => Line::New(text),
                ChangeTag::Equal => Line::Same(text),
            }
        });
        Hunk { head: hunk.header().to_string().trim_end().to_owned(), lines: lines.collect() }
    });
    hunks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn lines_that_differ_stand_with_those_around_them() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9";
        let [hunk] = &between(old, new)[..] else { panic!("{:?}", between(old, new)) };
        assert_eq!(hunk.head, "@@ -2,8 +2,8 @@");
        let [same @ .., gone, instead] = &hunk.lines[..5] else { panic!("{hunk:?}") };
        assert_eq!(same, ["2", "3", "4"].map(|line| Line::Same(line.to_owned())));
        assert_eq!((gone, instead), (&Line::Old("5".to_owned()), &Line::New("five".to_owned())));
        assert_eq!(hunk.lines.last(), Some(&Line::New("9 (no end of line)".to_owned())));
        assert_eq!(between(old, old), []);
    }

    #[test]
    fn a_large_text_that_is_all_different_takes_no_longer() {
        let text = |word: &str| (0..60_000).map(|line| format!("{word} {line}\n")).collect::<String>();
        let begun = Instant::now();
        let hunks = between(&text("a"), &text("b"));
        assert_eq!(hunks.iter().map(|hunk| hunk.lines.len()).sum::<usize>(), 120_000);
        assert!(begun.elapsed() < 50 * LONGEST, "{:?}", begun.elapsed());
    }
}
