//! `/log`: the protocol log by day, dialogue by dialogue, the newest first, and `/log/live`:
//! its lines as they are written.
//!
//! The API reads as much as it may for one answer, and says how far it came; the page says
//! so as well, and goes on from there. Of a long dialogue the beginning is shown, and the
//! rest on a page of its own.

use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::extract::RawQuery;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

/// Dialogues of a page.
const PAGE: &str = "25";
/// Lines that are shown of each, and of one that is alone on its page.
const FEW: usize = 24;
const ALONE: usize = 400;
/// Octets of lines on a page.
const ROOM: usize = 40_000;
/// New lines that are shown at a time, the newest.
const NEW: usize = 200;

/// Parameters, as the API names them, and as people do.
const PARAMETERS: [(&str, &str); 5] = [
    ("day", "Day"),
    ("peer", "Peer"),
    ("post", "Post"),
    ("destination", "Destination"),
    ("session", "Session"),
];

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Search {
    said: Vec<(&'static str, String)>,
}

impl Search {
    fn of(fields: &Fields) -> Search {
        let said = PARAMETERS.iter().filter_map(|(name, _)| Some((*name, fields.text(name)?.to_owned())));
        Search { said: said.collect() }
    }

    /// The value of a parameter; empty where it says nothing.
    fn value(&self, name: &str) -> &str {
        self.said.iter().find(|(other, _)| other == &name).map_or("", |(_, value)| value)
    }

    fn query(&self, further: &[(&str, &str)]) -> String {
        let said = self.said.iter().map(|(name, value)| (*name, value.as_str()));
        Serializer::new(String::new()).extend_pairs(said.chain(further.iter().copied())).finish()
    }

    /// Such a page of what it means.
    fn path(&self, page: &str) -> String {
        if self.said.is_empty() { page.to_owned() } else { format!("{page}?{}", self.query(&[])) }
    }

    /// The same of all days: what is new is of today.
    fn of_any_day(&self) -> Search {
        let said = self.said.iter().filter(|(name, _)| *name != "day").cloned();
        Search { said: said.collect() }
    }
}

/// `GET /protocol-log`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Log {
    level: String,
    days: Vec<String>,
    dialogues: Vec<Dialogue>,
    next: Option<String>,
    looked: Option<u64>,
    until: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dialogue {
    session: String,
    began_earlier: bool,
    lines: Vec<String>,
    left_out: u64,
}

/// `GET /protocol-log/lines`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lines {
    lines: Vec<String>,
    end: Option<String>,
    skipped: u64,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "log.html")]
struct LogPage {
    frame: Frame,
    search: Search,
    level: String,
    days: Vec<String>,
    dialogues: Vec<Shown>,
    next: Option<String>,
    /// Whether this is not the first page.
    is_later: bool,
    /// Not said where one tenant looks.
    looked: Option<String>,
    until: Option<String>,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "log_live.html")]
struct LivePage {
    frame: Frame,
    search: Search,
    news: News,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "log_lines.html")]
struct LinesPiece {
    news: News,
}

/// New lines, the newest first.
struct News {
    lines: Vec<Line>,
    /// What finds the next ones.
    query: String,
    /// Whether not all have room here.
    is_cut: bool,
    is_kept: bool,
}

/// A dialogue as it is shown.
struct Shown {
    session: String,
    at: String,
    /// What it is, in a word.
    kind: &'static str,
    /// How it begins.
    head: String,
    began_earlier: bool,
    /// What came of it: how it looks, and a word.
    end: Option<(&'static str, &'static str)>,
    /// Posts that it is about.
    posts: Vec<String>,
    lines: Vec<Line>,
    /// Lines that have no room here.
    more: u64,
    /// Whether its lines are shown at once.
    is_open: bool,
}

/// A line of the log, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: String,
    session: String,
    /// With its mark.
    text: String,
}

impl Line {
    fn of(line: &str) -> Line {
        let mut pieces = line.splitn(3, ' ').map(str::to_owned);
        let mut piece = || pieces.next().unwrap_or_default();
        Line { at: piece(), session: piece(), text: piece() }
    }

    /// When, without the day.
    fn time(&self) -> &str {
        self.at.get(11..23).unwrap_or(&self.at)
    }
}

/// `GET /log`
pub(super) async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields);
    let mut asked = vec![("limit", PAGE)];
    asked.extend(fields.text("cursor").map(|cursor| ("cursor", cursor)));
    let log: Log = visit.get(&format!("/api/v1/protocol-log?{}", search.query(&asked))).await?;
    let is_alone = log.dialogues.len() == 1 || !search.value("session").is_empty();
    let (mut room, each) = (ROOM, if is_alone { ALONE } else { FEW });
    let dialogues = log.dialogues.into_iter().map(|one| Shown::of(one, each, &mut room, is_alone)).collect();
    layout::page(&LogPage {
        frame: visit.frame("Protocol log"),
        next: log.next.map(|next| format!("/log?{}", search.query(&[("cursor", &next)]))),
        is_later: asked.len() > 1,
        looked: log.looked.map(words::octets),
        until: log.until,
        level: log.level,
        days: log.days,
        dialogues,
        search,
    })
}

/// `GET /log/live`
pub(super) async fn live(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields).of_any_day();
    let news = news(&visit, &search, &fields).await?;
    layout::page(&LivePage { frame: visit.frame("Protocol log"), search, news })
}

/// `GET /log/lines`: what was added, and the place for what will be.
pub(super) async fn lines(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields).of_any_day();
    layout::page(&LinesPiece { news: news(&visit, &search, &fields).await? })
}

async fn news(visit: &Visit, search: &Search, fields: &Fields) -> Result<News, Trouble> {
    let after = fields.text("after").map(|after| ("after", after));
    let asked: Vec<_> = after.into_iter().collect();
    let Lines { mut lines, end, skipped } =
        visit.get(&format!("/api/v1/protocol-log/lines?{}", search.query(&asked))).await?;
    let surplus = lines.len().saturating_sub(NEW);
    lines.drain(..surplus);
    let mut room = ROOM;
    let fits = |line: &&String| {
        room = room.saturating_sub(line.len());
        room > 0
    };
    let shown: Vec<_> = lines.iter().rev().take_while(fits).map(|line| Line::of(line)).collect();
    let is_cut = surplus > 0 || skipped > 0 || shown.len() < lines.len();
    let further: Vec<_> = end.iter().map(|end| ("after", end.as_str())).collect();
    Ok(News { query: search.query(&further), lines: shown, is_cut, is_kept: end.is_some() })
}

impl Shown {
    fn of(one: Dialogue, most: usize, room: &mut usize, is_open: bool) -> Shown {
        let (end, posts) = (ending(&one), posts(&one.lines));
        let count = one.lines.len() as u64 + one.left_out;
        let mut lines = Vec::new();
        for line in one.lines.iter().take(most) {
            let Some(left) = room.checked_sub(line.len()) else { break };
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
            let shown = Shown::of(one, FEW, &mut ROOM.clone(), false);
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
        let mut room = 100;
        let shown = Shown::of(Dialogue { left_out: 7, ..dialogue("S1", &texts) }, 24, &mut room, false);
        assert_eq!((shown.lines.len(), shown.more), (2, 8));
        let shown = Shown::of(dialogue("S1", &texts), 1, &mut ROOM.clone(), false);
        assert_eq!((shown.lines.len(), shown.more), (1, 2));
        assert_eq!((shown.lines[0].time(), shown.lines[0].text.as_str()), ("12:00:00.123", texts[0]));
    }
}
