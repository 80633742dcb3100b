//! How large the stretches of a look through the log are, so that it ends in time.
//!
//! A small one is the first: what is looked for is mostly of today. Each further one is
//! larger, but no larger than the time that is left allows, as the one before has shown.
//! A stretch in which nothing had to be taken apart shows little of one in which something
//! has to be: that begins with a small one anew.

use super::pages::TAIL;
use std::time::Duration;

/// Octets of the first stretch; each further one has four times as many, up to the last.
pub(super) const FIRST: u64 = 256 << 10;
const LARGEST: u64 = 8 << 20;
/// How much of the time that is left is spent: no stretch is like another.
const SPENT: f64 = 0.75;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Octets of the next stretch.
    pub size: u64,
    /// Whether the last one was leapt over.
    pub is_leaping: bool,
}

impl Pace {
    /// Before the first stretch.
    pub fn begin() -> Pace {
        Pace { size: FIRST, is_leaping: false }
    }

    /// Before a stretch that has to be taken apart, behind others that were leapt over.
    pub fn land(&mut self) {
        *self = Pace::begin();
    }

    /// Whether there is time for another stretch, after one of so many octets, those behind it
    /// included, that took so long.
    pub fn goes_on(&mut self, octets: u64, took: Duration, left: Duration) -> bool {
        let each = took.as_secs_f64() / octets.max(1) as f64;
        let fits = (left.as_secs_f64() * SPENT / each.max(f64::MIN_POSITIVE)) as u64;
        self.size = (self.size * 4).min(LARGEST).min(fits.saturating_sub(TAIL));
        self.size >= FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_as_far_as_there_is_time() {
        let millis = Duration::from_millis;
        let mut pace = Pace::begin();
        for size in [4 * FIRST, 16 * FIRST, LARGEST, LARGEST] {
            assert!(pace.goes_on(pace.size + TAIL, millis(1), millis(80)));
            assert_eq!(pace.size, size);
        }
        pace.is_leaping = true;
        pace.land();
        assert_eq!(pace, Pace { size: FIRST, is_leaping: false });
        // 20 ms were 1.25 MiB: three quarters of 80 ms are 3.75 MiB, the end of which is behind
        // the stretch; in a quarter of that there is room for nothing.
        pace.size = LARGEST;
        assert!(pace.goes_on(FIRST + TAIL, millis(20), millis(80)));
        assert_eq!(pace.size / 1000, (3 * (FIRST + TAIL) - TAIL) / 1000);
        assert!(!pace.goes_on(FIRST + TAIL, millis(20), millis(20)));
        assert!(!Pace::begin().goes_on(FIRST, Duration::ZERO, Duration::ZERO));
    }
}
