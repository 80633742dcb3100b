//! `/log`: the protocol log by day, dialogue by dialogue, the newest first, and `/log/live`:
//! its lines as they are written.
//!
//! The API reads as much as it may for one answer, and says how far it came; the page says
//! so as well, and goes on from there: by itself until it is full, but no more than
//! [`TURNS`] times, and without script when somebody wants it. Of a long dialogue the
//! beginning is shown, and the rest on a page of its own.

use super::dialogue::{Dialogue, Line, ROOM, Shown};
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
const PAGE: usize = 25;
/// How often a page looks further back by itself: about as many tenths of a second.
const TURNS: u64 = 100;
/// Lines that are shown of each, and of one that is alone on its page.
const FEW: usize = 24;
const ALONE: usize = 400;
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
    level: String,
    days: Vec<String>,
    search: Search,
    found: Found,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "log_found.html")]
struct FoundPiece {
    search: Search,
    found: Found,
}

/// What was found in one look, or in all looks so far.
struct Found {
    dialogues: Vec<Shown>,
    /// Where it goes on.
    next: Option<String>,
    /// The same, where the page goes on by itself.
    by_itself: Option<String>,
    /// Whether its first look was not from the newest line on.
    is_later: bool,
    /// How many looks there were before.
    turn: u64,
    /// How many dialogues are on the page.
    count: usize,
    /// How much was looked through; not said where one tenant looks.
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

/// `GET /log`
pub(super) async fn list(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields);
    let mut log = look(&visit, &search, fields.text("cursor")).await?;
    layout::page(&LogPage {
        frame: visit.frame("Protocol log"),
        level: std::mem::take(&mut log.level),
        days: std::mem::take(&mut log.days),
        found: Found::of(
            log,
            &search,
            &Sofar { is_later: fields.text("cursor").is_some(), ..Sofar::default() },
        ),
        search,
    })
}

/// `GET /log/further`: what another look of a page finds.
pub(super) async fn further(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    let fields = Fields::of_query(query.as_deref());
    let search = Search::of(&fields);
    let log = look(&visit, &search, fields.text("cursor")).await?;
    let found = Found::of(log, &search, &Sofar::of(&fields));
    layout::page(&FoundPiece { search, found })
}

async fn look(visit: &Visit, search: &Search, cursor: Option<&str>) -> Result<Log, Trouble> {
    let page = PAGE.to_string();
    let mut asked = vec![("limit", page.as_str())];
    asked.extend(cursor.map(|cursor| ("cursor", cursor)));
    visit.get(&format!("/api/v1/protocol-log?{}", search.query(&asked))).await
}

/// What a page that goes on by itself has had already; its address says it.
#[derive(Clone, Copy, Debug, Default)]
struct Sofar {
    turn: u64,
    count: usize,
    /// In octets.
    looked: u64,
    is_later: bool,
}

impl Sofar {
    fn of(fields: &Fields) -> Sofar {
        let number = |name: &str| fields.text(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let count = usize::try_from(number("count")).unwrap_or(PAGE);
        // Whoever goes on has looked at least once.
        let turn = number("turn").clamp(1, TURNS);
        Sofar { turn, count, looked: number("looked"), is_later: fields.text("later").is_some() }
    }
}

impl Found {
    fn of(log: Log, search: &Search, before: &Sofar) -> Found {
        let count = before.count.saturating_add(log.dialogues.len());
        let is_alone = count == 1 || !search.value("session").is_empty();
        let left = PAGE.saturating_sub(before.count);
        let (mut room, each) = (ROOM * left / PAGE, if is_alone { ALONE } else { FEW });
        let shown = |one| Shown::of(one, each, &mut room, is_alone);
        let looked = log.looked.map(|looked| looked.saturating_add(before.looked));
        let path = |page: &str, further: &[(&str, &str)]| format!("{page}?{}", search.query(further));
        let goes_on = count < PAGE && before.turn < TURNS;
        let by_itself = |next: &String| {
            let [turn, count] = [before.turn + 1, count as u64].map(|number| number.to_string());
            let looked = looked.unwrap_or_default().to_string();
            let mut said =
                vec![("cursor", next.as_str()), ("turn", &turn), ("count", &count), ("looked", &looked)];
            said.extend(before.is_later.then_some(("later", "1")));
            path("/log/further", &said)
        };
        Found {
            by_itself: log.next.as_ref().filter(|_| goes_on).map(by_itself),
            next: log.next.as_ref().map(|next| path("/log", &[("cursor", next)])),
            dialogues: log.dialogues.into_iter().map(shown).collect(),
            is_later: before.is_later,
            turn: before.turn,
            count,
            looked: looked.map(words::octets),
            until: log.until,
        }
    }
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
