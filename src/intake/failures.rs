//! Failed logins of late, by whatever they have in common: an address, a name.
//!
//! A value without a clock: who asks says what time it is. Ten failures within
//! ten minutes are too many, unless it is told otherwise, in a window that slides:
//! the first of them must be ten minutes old before there is another try. A try that was not judged is no
//! failure, so a lock ends although its victim keeps trying.
//!
//! Memory is bounded. When there is no room for another key, those with the
//! fewest failures are forgotten first: an attacker who floods the table with
//! other keys to have one forgotten needs thousands of failures for every one
//! that is forgiven, and never frees one that is locked.

use crate::post::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// How many failures are too many by default.
const MOST: usize = 10;
/// How long a failure counts by default.
const WINDOW: Duration = Duration::from_secs(600);
/// Keys that are remembered.
const ROOM: usize = 10_000;

/// The failures of each key.
#[derive(Debug)]
pub(super) struct Failures<K> {
    /// The newest failures, oldest first, no more than are too many.
    of: HashMap<K, VecDeque<Timestamp>>,
    room: usize,
    most: usize,
    window: Duration,
}

impl<K> Default for Failures<K> {
    fn default() -> Failures<K> {
        Failures { of: HashMap::new(), room: ROOM, most: MOST, window: WINDOW }
    }
}

impl<K: Copy + Eq + Hash> Failures<K> {
    /// From now on, `most` failures within `window` are too many.
    pub(super) fn limit(&mut self, most: usize, window: Duration) {
        (self.most, self.window) = (most, window);
    }

    /// Whether `key` has failed too often.
    pub(super) fn are_too_many(&self, key: K, now: Timestamp) -> bool {
        self.of.get(&key).is_some_and(|times| recent(times, self.window, now) >= self.most)
    }

    /// How long until `key` may try again, if it has failed too often.
    pub(super) fn wait(&self, key: K, now: Timestamp) -> Option<Duration> {
        let times = self.of.get(&key)?;
        // As soon as the newest are too few.
        let oldest = times.len().checked_sub(self.most).and_then(|index| times.get(index))?;
        self.window.checked_sub(now.since(*oldest)).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure of `key`.
    pub(super) fn count(&mut self, key: K, now: Timestamp) {
        if self.of.len() >= self.room && !self.of.contains_key(&key) {
            self.make_room(now);
        }
        let times = self.of.entry(key).or_default();
        times.push_back(now);
        while times.len() > self.most {
            times.pop_front();
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        for fewest in 0..=self.most {
            self.of.retain(|_, times| recent(times, self.window, now) > fewest);
            if self.of.len() < self.room {
                return;
            }
        }
    }
}

/// How many of these times count still. One that is ahead of the clock does.
fn recent(times: &VecDeque<Timestamp>, window: Duration, now: Timestamp) -> usize {
    times.iter().filter(|at| now.since(**at) < window).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn ten_in_ten_minutes_are_too_many() {
        // When it failed, and when it may or may not try.
        let burst: Vec<u64> = (0..10).collect();
        let spread: Vec<u64> = (0..10).map(|number| number * 60).collect();
        let slow: Vec<u64> = (0..30).map(|number| number * 67).collect();
        for (failures, free, locked) in [
            (&burst[..9], vec![8, 9, 599], vec![]),
            (&burst[..], vec![600, 601, 10_000], vec![9, 10, 599]),
            (&spread[..], vec![600], vec![540, 599]),
            (&slow[..], vec![29 * 67, 29 * 67 + 1], vec![]),
        ] {
            let mut table = Failures::default();
            for seconds in failures {
                table.count("k", at(*seconds));
            }
            for seconds in free {
                assert!(!table.are_too_many("k", at(seconds)), "{failures:?} {seconds}");
                assert_eq!(table.wait("k", at(seconds)), None, "{failures:?} {seconds}");
            }
            for seconds in locked {
                assert!(table.are_too_many("k", at(seconds)), "{failures:?} {seconds}");
                let wait = table.wait("k", at(seconds)).unwrap().as_secs();
                assert!(!table.are_too_many("k", at(seconds + wait)), "{failures:?} {seconds}");
                assert!(table.are_too_many("k", at(seconds + wait - 1)), "{failures:?} {seconds}");
            }
            assert!(!table.are_too_many("other", at(5)));
        }
    }

    #[test]
    fn another_limit_holds_at_once() {
        let mut table = Failures::default();
        (0..4).for_each(|number| table.count(1, at(number)));
        table.limit(3, Duration::from_secs(60));
        assert!(table.are_too_many(1, at(60)) && !table.are_too_many(1, at(61)));
        table.limit(4, Duration::from_secs(600));
        assert!(table.are_too_many(1, at(599)) && !table.are_too_many(1, at(600)));
        table.limit(5, Duration::from_secs(600));
        assert!(!table.are_too_many(1, at(3)));
    }

    #[test]
    fn the_window_slides() {
        let mut table = Failures::default();
        (0..10).for_each(|number| table.count(1, at(number * 60)));
        // The first is forgotten, so one more is judged, and that is too many again.
        assert!(!table.are_too_many(1, at(600)));
        table.count(1, at(600));
        assert!(table.are_too_many(1, at(659)));
        assert!(!table.are_too_many(1, at(660)));
    }

    #[test]
    fn a_flood_of_keys_takes_no_memory_and_frees_nobody() {
        let mut table = Failures { room: 100, ..Failures::default() };
        (0..10).for_each(|_| table.count(u32::MAX, at(0)));
        (0..9).for_each(|_| table.count(u32::MAX - 1, at(0)));
        for key in 0..100_000 {
            table.count(key, at(1));
            assert!(table.of.len() <= 100);
        }
        assert!(table.are_too_many(u32::MAX, at(2)));
        table.count(u32::MAX - 1, at(2));
        assert!(table.are_too_many(u32::MAX - 1, at(2)));
    }

    #[test]
    fn there_is_room_again_even_when_all_are_locked() {
        let mut table = Failures { room: 10, ..Failures::default() };
        for key in 0..100 {
            (0..10).for_each(|_| table.count(key, at(0)));
            assert!(table.of.len() <= 10 && table.are_too_many(key, at(0)));
        }
    }
}
