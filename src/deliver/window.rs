//! How many attempts may be under way at a time.
//!
//! A window follows how its destination does. It doubles with every round of taken
//! posts until something speaks against it, then grows by one a round, and only
//! while it was what limited the lane. Trouble takes three tenths of it, once for all
//! attempts that were under way: they speak of one moment. When even the fastest
//! answer of a round took far longer than the best one known, the destination has
//! begun to queue: a tenth is given back before anything fails, down to what a
//! stranger gets. If it is slow even then, it is not for us, and the best time is
//! forgotten by and by: it must not be forgotten earlier, or a queue of our own
//! making would become what is usual.
//!
//! A destination that was away is let in one by one: the window grows from one.

use std::time::Duration;

/// Whether a window of concurrent attempts follows how its destination does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adaptive {
    /// It grows and shrinks.
    #[default]
    On,
    /// It is always as wide as it may be.
    Off,
}

/// What attempts at a time are: it decides how many there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// Connections.
    #[default]
    Connections,
    /// Streams on one connection (HTTP/2).
    Streams,
}

/// The window of a stranger: modest, and wide within a few rounds for one that
/// keeps up.
const FIRST: usize = 5;
/// What trouble leaves of a window.
const AFTER_TROUBLE: f64 = 0.7;
/// What a slow round leaves of it.
const AFTER_SLOWNESS: f64 = 0.9;
/// Least number of answers whose times are looked at together.
const ROUND: usize = 10;
/// How much longer than the best time is no news, besides twice of it: a busy
/// machine of our own makes everybody look this much slower.
const NOISE: Duration = Duration::from_millis(25);
/// Part of the difference to the best time that is forgotten with a round.
const FORGOTTEN: u32 = 4;

/// See the module.
#[derive(Clone, Debug)]
pub struct Window {
    adaptive: Adaptive,
    most: usize,
    size: f64,
    /// Whether nothing has spoken against a wider window so far.
    is_opening: bool,
    /// Whether the window was full since the last round ended.
    was_full: bool,
    /// Attempts that were under way when it was cut, and have not ended.
    spared: usize,
    answers: usize,
    fastest: Option<Duration>,
    best: Option<Duration>,
    is_recovering: bool,
}

impl Window {
    /// The window of a destination of which nothing is known.
    pub fn new(most: usize, adaptive: Adaptive) -> Window {
        Window {
            adaptive,
            most: most.max(1),
            size: FIRST.min(most.max(1)) as f64,
            is_opening: true,
            was_full: false,
            spared: 0,
            answers: 0,
            fastest: None,
            best: None,
            is_recovering: false,
        }
    }

    /// Other limits from now on.
    pub fn change(&mut self, most: usize, adaptive: Adaptive) {
        (self.most, self.adaptive) = (most.max(1), adaptive);
        self.size = self.size.min(self.most as f64);
    }

    /// Attempts that may be under way.
    pub fn limit(&self) -> usize {
        match self.adaptive {
            Adaptive::Off if !self.is_recovering => self.most,
            _ => (self.size as usize).clamp(1, self.most),
        }
    }

    /// The most that may ever be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether it is on its way back after its destination was away.
    pub fn is_recovering(&self) -> bool {
        self.is_recovering
    }

    /// Notes how many attempts are under way after some began.
    pub fn fill(&mut self, in_flight: usize) {
        self.was_full |= in_flight >= self.limit();
    }

    /// Notes a taken post, and how long the answer took if that is known.
    pub fn taken(&mut self, took: Option<Duration>) {
        self.spared = self.spared.saturating_sub(1);
        self.fastest = self.fastest.into_iter().chain(took).min();
        self.answers += 1;
        if self.was_full {
            let step = if self.is_opening { 1.0 } else { 1.0 / self.size };
            self.size = (self.size + step).min(self.most as f64);
        }
        if self.size as usize >= self.most {
            self.is_recovering = false;
        }
        if self.answers >= ROUND.max(self.size as usize) {
            self.end_round();
        }
    }

    /// Notes an end that says nothing about the destination as a whole.
    pub fn ended(&mut self) {
        self.spared = self.spared.saturating_sub(1);
    }

    /// Notes trouble with the destination while `in_flight` other attempts are
    /// under way.
    pub fn trouble(&mut self, in_flight: usize) {
        if self.spared > 0 {
            self.spared -= 1;
        } else {
            self.shrink(AFTER_TROUBLE);
            self.spared = in_flight;
        }
    }

    /// Begins anew from one: the destination is back.
    pub fn recover(&mut self) {
        self.size = 1.0;
        self.is_opening = false;
        self.is_recovering = true;
        (self.answers, self.fastest, self.best) = (0, None, None);
    }

    fn shrink(&mut self, factor: f64) {
        self.is_opening = false;
        if self.adaptive == Adaptive::On {
            self.size = (self.size * factor).max(1.0);
        }
    }

    fn end_round(&mut self) {
        self.answers = 0;
        self.was_full = false;
        let Some(fastest) = self.fastest.take() else { return };
        let mut best = self.best.map_or(fastest, |best| best.min(fastest));
        if fastest > best * 2 + NOISE {
            let modest = (FIRST as f64).min(self.size);
            if self.size > modest {
                self.shrink(AFTER_SLOWNESS);
                self.size = self.size.max(modest);
            } else {
                best += (fastest - best) / FORGOTTEN;
            }
        }
        self.best = Some(best);
    }
}
