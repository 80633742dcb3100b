//! Throttles: how many attempts may begin in a time.
//!
//! A rate is a promise about *every* stretch of time of its length: no bucket keeps
//! it, since a full one lets a burst through and refills meanwhile, nearly twice the
//! rate in one stretch. So the attempts themselves are remembered, counted in slots
//! of 1/64 of the stretch: an attempt counts until its whole slot is over, which
//! costs 1/64 (1.6 %) of the rate at most and 65 counters for any rate. Bursts within
//! the rate are let through at once. Several rates stack, and all hold.
//!
//! Attempts count when they begin, however they end. What is used outlives a change
//! of the rates and can be taken out and put back with its age ([`Used`]): no point
//! in time leaves, so that the caller's wall clock may jump.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many attempts in a time, such as 6000 in 15 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub count: u32,
    /// In which time, not zero.
    pub per: Duration,
}

/// Slots in the length of a rate.
const SLOTS: u128 = 64;

/// What was used within a length of time: how long ago, and how many attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The length it was counted for.
    pub per: Duration,
    /// Ages, the oldest first, with the attempts that began then.
    pub attempts: Vec<(Duration, u32)>,
}

/// The rates of one destination and what is used of them.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Slots are numbered from here; earlier ones are negative.
    origin: Instant,
    windows: Vec<Sliding>,
}

/// One rate.
#[derive(Clone, Debug)]
struct Sliding {
    rate: Rate,
    /// Nanoseconds of a slot.
    width: i128,
    /// Slots that a stretch may touch, besides the one it ends in.
    span: i128,
    /// Slots with attempts and their number, the oldest first.
    slots: VecDeque<(i128, u32)>,
}

impl Throttle {
    /// A throttle of which nothing is used.
    pub fn new(rates: &[Rate], now: Instant) -> Throttle {
        Throttle { origin: now, windows: rates.iter().map(|rate| Sliding::new(*rate)).collect() }
    }

    /// Other rates from now on; what was used counts on.
    pub fn change(&mut self, rates: &[Rate], now: Instant) {
        let is_same = self.windows.iter().map(|window| &window.rate).eq(rates);
        if !is_same {
            let used = self.used(now);
            *self = Throttle::new(rates, now);
            self.restore(&used, now);
        }
    }

    /// How many attempts may begin now; nothing stands for any number.
    pub fn room(&self, now: Instant) -> Option<usize> {
        let at = self.since_origin(now);
        self.windows.iter().map(|window| window.room(at)).min()
    }

    /// When an attempt may begin: now, or later.
    pub fn opens_at(&self, now: Instant) -> Instant {
        let at = self.since_origin(now);
        let opens = self.windows.iter().filter_map(|window| window.opens_at(at)).max();
        opens.map_or(now, |opens| self.instant(opens, now).max(now))
    }

    /// Notes attempts that begin now.
    pub fn take(&mut self, attempts: usize, now: Instant) {
        let at = self.since_origin(now);
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        for window in &mut self.windows {
            window.take(attempts, at);
        }
    }

    /// When nothing that was used counts any more; nothing when that is so.
    pub fn remembers_until(&self, now: Instant) -> Option<Instant> {
        let at = self.since_origin(now);
        let last = self.windows.iter().filter_map(|window| window.ends_at(at)).max();
        last.map(|last| self.instant(last, now))
    }

    /// Each rate with what is used of it.
    pub fn usage(&self, now: Instant) -> Vec<(Rate, u32)> {
        let at = self.since_origin(now);
        self.windows.iter().map(|window| (window.rate, window.used(at))).collect()
    }

    /// What is used of each rate, to be kept elsewhere.
    pub fn used(&self, now: Instant) -> Vec<Used> {
        let at = self.since_origin(now);
        self.windows.iter().map(|window| window.saved(at)).collect()
    }

    /// Counts what was used before, as old as it says. Each rate takes it from the
    /// shortest length that is not shorter than its own, else from the longest.
    pub fn restore(&mut self, used: &[Used], now: Instant) {
        let at = self.since_origin(now);
        for window in &mut self.windows {
            let longer = used.iter().filter(|used| used.per >= window.rate.per);
            let source = longer.min_by_key(|used| used.per).or(used.iter().max_by_key(|used| used.per));
            for (age, attempts) in source.iter().flat_map(|used| &used.attempts) {
                window.take(*attempts, at - nanos(*age));
            }
            window.forget(at);
        }
    }

    fn since_origin(&self, now: Instant) -> i128 {
        nanos(now.saturating_duration_since(self.origin))
    }

    /// The point so many nanoseconds after the origin, if that is not before `now`.
    fn instant(&self, at: i128, now: Instant) -> Instant {
        let left = u64::try_from(at - self.since_origin(now)).unwrap_or(0);
        now + Duration::from_nanos(left)
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

impl Sliding {
    fn new(rate: Rate) -> Sliding {
        let per = rate.per.as_nanos().max(1);
        let width = per.div_ceil(SLOTS);
        let span = per.div_ceil(width);
        let rate = Rate { count: rate.count.max(1), ..rate };
        let in_range = |number: u128| i128::try_from(number).unwrap_or(i128::MAX);
        Sliding { rate, width: in_range(width), span: in_range(span), slots: VecDeque::new() }
    }

    /// The first slot that counts at a time.
    fn first(&self, at: i128) -> i128 {
        at.div_euclid(self.width) - self.span
    }

    fn used(&self, at: i128) -> u32 {
        let first = self.first(at);
        let counted = self.slots.iter().filter(|(slot, _)| *slot >= first);
        counted.fold(0, |sum: u32, (_, attempts)| sum.saturating_add(*attempts))
    }

    fn room(&self, at: i128) -> usize {
        self.rate.count.saturating_sub(self.used(at)) as usize
    }

    /// When so much is forgotten that there is room; nothing when there is some.
    fn opens_at(&self, at: i128) -> Option<i128> {
        let mut used = self.used(at);
        let first = self.first(at);
        let mut opens = None;
        for (slot, attempts) in self.slots.iter().filter(|(slot, _)| *slot >= first) {
            if used < self.rate.count {
                break;
            }
            used = used.saturating_sub(*attempts);
            opens = Some(self.over_at(*slot));
        }
        opens
    }

    /// When a slot no longer counts.
    fn over_at(&self, slot: i128) -> i128 {
        (slot + self.span + 1) * self.width
    }

    fn ends_at(&self, at: i128) -> Option<i128> {
        let last = self.slots.back().map(|(slot, _)| self.over_at(*slot));
        last.filter(|ends_at| *ends_at > at)
    }

    fn take(&mut self, attempts: u32, at: i128) {
        if attempts == 0 {
            return;
        }
        self.forget(at);
        let slot = at.div_euclid(self.width);
        match self.slots.back_mut() {
            // A caller whose time stood still or went back counts in the newest slot.
            Some((last, taken)) if *last >= slot => *taken = taken.saturating_add(attempts),
            _ => self.slots.push_back((slot, attempts)),
        }
    }

    fn forget(&mut self, at: i128) {
        let first = self.first(at);
        while self.slots.front().is_some_and(|(slot, _)| *slot < first) {
            self.slots.pop_front();
        }
    }

    /// Attempts are as young as they can be.
    fn saved(&self, at: i128) -> Used {
        let first = self.first(at);
        let age = |slot: i128| {
            let age = (at - (slot + 1) * self.width + 1).max(0);
            Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX))
        };
        let counted = self.slots.iter().filter(|(slot, _)| *slot >= first);
        let attempts = counted.map(|(slot, attempts)| (age(*slot), *attempts)).collect();
        Used { per: self.rate.per, attempts }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
