//! How long a destination took for its last answers: few enough to be kept of each.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Answers that are kept.
const MOST: usize = 100;

/// See the module. Whoever was given it sees those that follow as well.
#[derive(Debug, Default)]
pub struct Latencies(Mutex<VecDeque<u32>>);

/// What they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half of the answers took as long, or less.
    pub p50: Duration,
    /// All but one of a hundred did.
    pub p99: Duration,
    /// Each, the last one last.
    pub recent: Vec<Duration>,
}

impl Latencies {
    /// Adds one, to the microsecond; above an hour they are all the same.
    pub(super) fn note(&self, took: Duration) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST {
            recent.pop_front();
        }
        recent.push_back(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// What the last hundred come to; nothing where there are none.
    pub fn told(&self) -> Option<Latency> {
        let recent: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let mut sorted = recent.clone();
        sorted.sort_unstable();
        // By nearest rank: one that was there, not one between two.
        let rank =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        let took = |micros: u32| Duration::from_micros(u64::from(micros));
        let recent = recent.into_iter().map(took).collect();
        Some(Latency { p50: took(rank(50)?), p99: took(rank(99)?), recent })
    }
}

impl PartialEq for Latencies {
    fn eq(&self, other: &Latencies) -> bool {
        self.told() == other.told()
    }
}

impl Eq for Latencies {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_count_by_nearest_rank() {
        let (latencies, millis) = (Latencies::default(), Duration::from_millis);
        assert_eq!(latencies.told(), None);
        latencies.note(millis(7));
        let one = Latency { p50: millis(7), p99: millis(7), recent: vec![millis(7)] };
        assert_eq!(latencies.told(), Some(one));
        latencies.note(Duration::MAX);
        (1..=100).rev().for_each(|number| latencies.note(millis(number)));
        let told = latencies.told().unwrap();
        assert_eq!((told.p50, told.p99), (millis(50), millis(99)));
        assert_eq!((told.recent.len(), told.recent.last()), (100, Some(&millis(1))));
    }
}
