//! Dialogues of the protocol log as pages show them: what each is about, what came of it, and
//! its lines, as far as there is room.

use super::words;
use serde::Deserialize;

/// Octets of a line beside its text, as a page has it.
const AROUND: usize = 62;

/// Octets of dialogues on a page.
pub(super) const ROOM: usize = 50_000;

/// As `GET /protocol-log` has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dialogue {
    pub session: String,
    pub began_earlier: bool,
    pub lines: Vec<String>,
    pub left_out: u64,
}

/// A dialogue as it is shown.
pub(super) struct Shown {
    pub session: String,
    pub at: String,
    /// What it is, in a word.
    pub kind: &'static str,
    /// How it begins.
    pub head: String,
    pub began_earlier: bool,
    /// What came of it: how it looks, and a word.
    pub end: Option<(&'static str, &'static str)>,
    /// Posts that it is about.
    pub posts: Vec<String>,
    pub lines: Vec<Line>,
    /// Lines that have no room here.
    pub more: u64,
    /// Whether its lines are shown at once.
    pub is_open: bool,
}

/// A line of the log, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// RFC 3339.
    pub at: String,
    pub session: String,
    /// With its mark.
    pub text: String,
}

impl Line {
    /// Of a line as it is written.
    pub(super) fn of(line: &str) -> Line {
        let mut pieces = line.splitn(3, ' ').map(str::to_owned);
        let mut piece = || pieces.next().unwrap_or_default();
        Line { at: piece(), session: piece(), text: piece() }
    }
}

impl Shown {
    /// With so many lines at most, and as many as have room, of which it takes its part.
    pub(super) fn of(one: Dialogue, most: usize, room: &mut usize, is_open: bool) -> Shown {
        let (end, posts) = (ending(&one), posts(&one.lines));
        let count = one.lines.len() as u64 + one.left_out;
        let mut lines = Vec::new();
        for line in one.lines.iter().take(most) {
            let Some(left) = room.checked_sub(line.len() + AROUND) else { break };
            *room = left;
            lines.push(Line::of(line));
        }
        let first = one.lines.first().map_or_else(|| Line::of(""), |line| Line::of(line));
        Shown {
            kind: match one.session.bytes().next() {
                Some(b'S') => "SMTP",
                Some(b'H') => "HTTP",
                Some(b'A') => "API",
                _ => "Log",
            },
            head: words::brief(first.text.trim_start_matches("* ")),
            at: first.at,
            session: one.session,
            began_earlier: one.began_earlier,
            more: count - lines.len() as u64,
            end,
            posts,
            lines,
            is_open,
        }
    }
}

/// What came of a dialogue, if it says so.
fn ending(one: &Dialogue) -> Option<(&'static str, &'static str)> {
    let texts: Vec<_> = one.lines.iter().map(|line| Line::of(line).text).collect();
    if one.session.starts_with('S') {
        let is_refusal =
            |text: &String| ["> 4", "> 5"].iter().any(|start| text.starts_with(start)) && text.len() > 5;
        let is_taken = |text: &String| text.starts_with("> 250 ") && text.contains(" queued as ");
        return match (texts.iter().any(is_refusal), texts.iter().any(is_taken)) {
            (true, _) => Some(("failed", "refused something")),
            (false, true) => Some(("delivered", "accepted")),
            (false, false) => None,
        };
    }
    let verdicts = ["delivered", "deferred", "failed", "held"];
    let said = texts.iter().rev().filter(|text| text.starts_with("* "));
    said.into_iter().find_map(|text| {
        let verdict = text.split(' ').nth(2)?.trim_end_matches(':');
        verdicts.iter().find(|known| **known == verdict).map(|known| (*known, *known))
    })
}

/// Posts that lines acknowledge or try, each once.
fn posts(lines: &[String]) -> Vec<String> {
    let mut posts = Vec::new();
    for line in lines {
        let text = Line::of(line).text;
        let acknowledged = text.rsplit_once(" queued as ").map(|(_, id)| id.trim_end_matches('.'));
        let tried = text.strip_prefix("* ").and_then(|text| text.split_once(" attempt ")).map(|(id, _)| id);
        for id in acknowledged.into_iter().chain(tried) {
            let is_id = id.len() >= 16 && id.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-');
            if is_id && posts.len() < 5 && !posts.iter().any(|other| other == id) {
                posts.push(id.to_owned());
            }
        }
    }
    posts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(session: &str, texts: &[&str]) -> Dialogue {
        let line = |text: &&str| format!("2026-01-31T12:00:00.123Z {session} {text}");
        Dialogue {
            session: session.to_owned(),
            lines: texts.iter().map(line).collect(),
            ..Dialogue::default()
        }
    }

    #[test]
    fn a_dialogue_says_what_came_of_it() {
        let id = "52a0000000000002";
        let queued = format!("> 250 2.0.0 Message received and queued as {id}.");
        let tried = format!("* {id}-1 attempt 1: connected to a.example");
        let verdict = |what: &str| format!("* {id}-1 {what}");
        for (session, texts, end, posts) in [
            ("S1", vec!["* connected from 192.0.2.1:1"], None, vec![]),
            ("S1", vec!["> 220 hello", &queued], Some("accepted"), vec![id]),
            ("S1", vec![queued.as_str(), "> 550 5.1.1 no"], Some("refused something"), vec![id]),
            ("H1", vec![tried.as_str(), "> POST / HTTP/1.1"], None, vec!["52a0000000000002-1"]),
            (
                "H1",
                vec![&tried, &verdict("delivered in 3 ms")],
                Some("delivered"),
                vec!["52a0000000000002-1"],
            ),
            ("H1", vec![&tried, &verdict("failed: 404")], Some("failed"), vec!["52a0000000000002-1"]),
        ] {
            let one = dialogue(session, &texts);
            let shown = Shown::of(one, 24, &mut ROOM.clone(), false);
            assert_eq!(
                (shown.end.map(|(_, word)| word), shown.posts),
                (end, posts.iter().map(|id| (*id).to_owned()).collect()),
                "{texts:?}"
            );
        }
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let texts = ["* connected from 192.0.2.1:1", "< EHLO a", "< QUIT"];
        let mut room = 100 + 2 * AROUND;
        let shown = Shown::of(Dialogue { left_out: 7, ..dialogue("S1", &texts) }, 24, &mut room, false);
        assert_eq!((shown.lines.len(), shown.more), (2, 8));
        let shown = Shown::of(dialogue("S1", &texts), 1, &mut ROOM.clone(), false);
        assert_eq!((shown.lines.len(), shown.more), (1, 2));
        let first = &shown.lines[0];
        assert_eq!((words::clock(&first.at), first.text.as_str()), ("12:00:00.123", texts[0]));
    }
}
