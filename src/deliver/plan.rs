//! What lanes want, and how they do, in a word each.

use super::retry::Feedback;
use std::time::{Duration, Instant};

/// What a lane wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Claim and send up to so many posts.
    Send(usize),
    /// Claim up to so many posts for workers that will soon be free.
    Stock(usize),
    /// Begin up to so many of those.
    Draw(usize),
    /// Give those back.
    Return,
    /// Charge so many attempts to the rates, and ask again.
    Charge(usize),
    /// Claim up to so many posts whose time is over, and give them up.
    Look(usize),
    /// Ask again then.
    WaitUntil(Instant),
    /// Nothing, until a post arrives or an attempt ends.
    Idle,
}

/// Whether a lane sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Open,
    /// It does, and its window is on its way back.
    Recovering,
    /// Only a probe, from then on.
    Backoff(Instant),
    /// Not before then: the destination asked for it.
    Held(Instant),
    /// Not before then: a rate is used up.
    Throttled(Instant),
    /// Not until somebody ends the pause.
    Paused,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Catch {
    /// Posts whose attempts begin now.
    pub begun: usize,
    /// Posts that wait for a worker to be free.
    pub stocked: usize,
    /// Posts that are given up without an attempt; they end as attempts do.
    pub over: usize,
    /// Posts that were given back.
    pub back: usize,
    /// Time until the lane's next post is due.
    pub next: Option<Duration>,
}

/// How an attempt ended, for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it taught about the destination.
    pub feedback: Feedback,
    /// How long the destination took to answer, if it did.
    pub took: Option<Duration>,
    /// Whether its post does not come back.
    pub is_over: bool,
}

/// What the end of an attempt changed for the whole lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing worth telling.
    None,
    /// The breaker opened.
    IsAway,
    /// It closed.
    IsBack,
}
