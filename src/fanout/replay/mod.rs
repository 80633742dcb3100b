//! Events that are sent again to a webhook: those of a time, or those that a filter means,
//! as far as the journal still has them and the webhook wants them.
//!
//! A replay is a note of the spool, and is told slice by slice: after a restart it goes on
//! with the slice that was not done, so that each event is sent again at least once. It
//! ends with what there was when it was asked for.

mod telling;

use super::Told;
use super::group::{Wish, Within};
use super::settings::{Filter, Wrong, wrong};
use super::webhook::Webhook;
use crate::event::{EventId, EventPattern};
use crate::journal::{Journal, Position};
use crate::post::Timestamp;
use crate::spool::{Spool, SpoolError};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub use telling::run;

/// How the keys of their notes begin.
const KEYS: &str = "replay/";
/// Replays of a webhook that are told of; the oldest that are over end first.
const MOST: usize = 10;
/// Names of events in one filter.
const NAMES: usize = 100;
/// Events that are read at a time.
const PIECE: usize = 500;
/// Events that are counted before an answer.
const COUNTED: u64 = 1_000_000;
/// Time for counting.
const COUNTING: Duration = Duration::from_secs(10);
/// How much older an event may be than one that stands before it.
const SKEW: Duration = Duration::from_mins(1);

/// Which events are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// Of this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of these names; none means any.
    pub events: Vec<String>,
    /// About this.
    pub filter: Filter,
}

impl Meant {
    /// Looks at every field; the first that is wrong is the error.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.events.len() > NAMES {
            return wrong("filter", format!("at most {NAMES} names of events"));
        }
        self.patterns()?;
        self.filter.check()
    }

    fn patterns(&self) -> Result<Vec<EventPattern>, Wrong> {
        let read = |text: &String| {
            let pattern = super::sample::full_name(text).parse::<EventPattern>();
            pattern.or_else(|bad| wrong("filter", format!("events: {text:?}: {bad}; or post.*, or *")))
        };
        self.events.iter().map(read).collect()
    }

    /// The same in the words of those who tell.
    fn within(&self) -> Result<Within, Wrong> {
        Ok(Within {
            since: self.since.unwrap_or_default(),
            until: self.until.unwrap_or(Timestamp(u64::MAX)),
            events: self.patterns()?,
            filter: self.filter.clone(),
        })
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ReplayState")]
pub enum State {
    /// It goes on.
    #[default]
    Running,
    /// All is made.
    Done,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// `rpl_…`.
    pub id: String,
    /// Which webhook.
    pub webhook: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Which events.
    pub meant: Meant,
    /// How far it is.
    pub state: State,
    /// The first position that it looks at, the next one, and that behind its end.
    pub span: (Position, Position, Position),
    /// Events that were sent again.
    pub sent: u64,
    /// Events of the journal that it let go before they were looked at.
    #[serde(default)]
    pub missed: u64,
}

impl Replay {
    fn key(&self) -> String {
        format!("{KEYS}{}/{}", self.webhook, self.id)
    }

    fn read(value: &[u8]) -> Option<Replay> {
        serde_json::from_slice(value).ok()
    }
}

/// How many events there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// So many, or more.
    pub events: u64,
    /// Whether it was counted to the end.
    pub extent: Extent,
}

/// How far was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// As far as there was time.
    Part,
}

/// Why there is no replay.
#[derive(Debug)]
pub enum ReplayError {
    /// The journal cannot be read.
    Journal(io::Error),
    /// The spool cannot keep or tell it.
    Spool(SpoolError),
    /// The webhook has as many as it may have.
    TooMany,
}

impl From<SpoolError> for ReplayError {
    fn from(error: SpoolError) -> ReplayError {
        ReplayError::Spool(error)
    }
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> ReplayError {
        ReplayError::Journal(error)
    }
}

/// Replays of all webhooks; clones are the same.
#[derive(Clone)]
pub struct Replays {
    spool: Arc<dyn Spool>,
    journal: Journal,
    /// Tells when there is another one.
    news: watch::Sender<u64>,
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replays")
    }
}

impl Replays {
    /// Those that this spool notes, of events of this journal: all of it is kept until
    /// [`run`] knows what each is still to tell.
    pub fn new(spool: Arc<dyn Spool>, journal: Journal) -> Replays {
        journal.hold_within(KEYS, Position(0));
        Replays { spool, journal, news: watch::Sender::new(0) }
    }

    /// Those of a webhook, the newest first.
    pub async fn of(&self, webhook: &str) -> Result<Vec<Replay>, SpoolError> {
        let notes = self.spool.notes(&format!("{KEYS}{webhook}/")).await?;
        let mut all: Vec<_> = notes.iter().filter_map(|(_, noted)| Replay::read(&noted.value)).collect();
        all.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(all)
    }

    /// The positions between which what is meant stands, the end excluded: times grow
    /// with positions but for moments.
    async fn span(&self, meant: &Meant) -> io::Result<(Position, Position)> {
        let journal = &self.journal;
        let end = journal.last().0 + 1;
        let Some((oldest, _)) = journal.read(Position(0), 1).await?.pop() else {
            return Ok((Position(end), Position(end)));
        };
        let first = match meant.since {
            None => oldest.0,
            Some(since) => {
                self.place((oldest.0, end), Timestamp(since.0.saturating_sub(millis(SKEW)))).await?
            }
        };
        let end = match meant.until {
            None => end,
            Some(until) => self.place((oldest.0, end), until.after(SKEW)).await?,
        };
        Ok((Position(first), Position(end.max(first))))
    }

    /// The position of the first event that is not older than this.
    async fn place(&self, (mut low, mut high): (u64, u64), at: Timestamp) -> io::Result<u64> {
        while low < high {
            let middle = low + (high - low) / 2;
            match self.journal.read(Position(middle - 1), 1).await?.pop() {
                Some((position, event)) if event.at < at => low = position.0 + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// How many events of its webhook are meant, as far as can be counted in a while.
    pub async fn count(&self, webhook: &Webhook, meant: &Meant) -> io::Result<Count> {
        let wish = Wish::of(webhook).and_then(|wish| wish.within(meant.within()?));
        let Ok(wish) = wish else { return Ok(Count::default()) };
        let (first, end) = self.span(meant).await?;
        let (begun, mut at, mut count) = (Instant::now(), first, Count::default());
        while at < end {
            if at.0 - first.0 > COUNTED || begun.elapsed() > COUNTING {
                count.extent = Extent::Part;
                break;
            }
            let (told, next) = self.piece(at, end).await?;
            count.events += told.iter().filter(|told| wish.wants(told)).count() as u64;
            at = next;
        }
        Ok(count)
    }

    /// The next events from a position on, and the one behind them.
    async fn piece(&self, at: Position, end: Position) -> io::Result<(Vec<Told>, Position)> {
        let read = self.journal.read(Position(at.0 - 1), PIECE).await?;
        // What the journal let go leaves a gap, or nothing at all.
        let next = read.last().map_or(end, |(last, _)| Position(last.0 + 1).min(end));
        let events = read.into_iter().filter(|(position, _)| *position < end);
        Ok((events.map(|(_, event)| Told::of(event)).collect(), next))
    }

    /// Notes a replay, durably, and has it begun.
    pub async fn begin(
        &self,
        webhook: &Webhook,
        meant: Meant,
        (created_at, dice): (Timestamp, u128),
    ) -> Result<Replay, ReplayError> {
        let known = self.of(&webhook.id).await?;
        let mut over = known.iter().filter(|replay| replay.state != State::Running);
        if known.len() >= MOST {
            let oldest = over.next_back().ok_or(ReplayError::TooMany)?;
            self.spool.set_note(&oldest.key(), None, None).await?;
        }
        let (from, end) = self.span(&meant).await?;
        let replay = Replay {
            id: EventId::new(created_at, dice).as_str().replacen("evt_", "rpl_", 1),
            webhook: webhook.id.clone(),
            created_at,
            meant,
            state: State::Running,
            span: (from, from, end),
            sent: 0,
            missed: 0,
        };
        self.hold(&replay);
        self.note(&replay).await.inspect_err(|_| self.journal.let_go(&replay.key()))?;
        self.news.send_modify(|count| *count += 1);
        Ok(replay)
    }

    async fn note(&self, replay: &Replay) -> Result<(), SpoolError> {
        let value = serde_json::to_vec(replay).unwrap_or_default();
        self.spool.set_note(&replay.key(), Some(Bytes::from(value)), None).await.map(drop)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
