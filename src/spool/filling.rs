//! How long a group waits for company before it is written.
//!
//! A sync costs the same for one message as for fifty, so while many clients are
//! at work it pays to wait a little; for a lone client it only costs latency, as
//! it says nothing more before it is answered. Which of the two it is shows in
//! what waiting brought: waiting that brought nothing is not repeated for a
//! while, and a group is complete when it is as large as the recent ones were.
//! A value without a clock: the writer tells it the time.

use std::time::Duration;

/// Waiting brought nothing: groups written at once before the next try, at most.
const LONGEST_PAUSE: u32 = 64;
/// Every so many groups the size of recent ones is no reason to stop.
const PROBE: u32 = 16;

/// What recent groups taught.
#[derive(Debug)]
pub(super) struct Filling {
    /// Longest wait of a group.
    interval: Duration,
    /// Messages of a group that is complete.
    target: usize,
    /// Groups to be written at once.
    pause: u32,
    /// How many of them the next time.
    next_pause: u32,
    groups: u32,
}

impl Filling {
    /// Groups wait for `interval` at most; zero: never.
    pub fn new(interval: Duration) -> Filling {
        Filling { interval, target: 1, pause: 0, next_pause: 1, groups: 0 }
    }

    /// How long a group that holds `staged` messages, `elapsed` after its first,
    /// should wait for another one.
    pub fn wait(&self, staged: usize, elapsed: Duration) -> Option<Duration> {
        let is_complete = staged >= self.target.max(2) && !self.groups.is_multiple_of(PROBE);
        let is_lone = self.pause > 0 && staged < 2;
        if staged == 0 || is_lone || is_complete || elapsed >= self.interval {
            return None;
        }
        Some((self.interval - elapsed).min(self.interval / 4))
    }

    /// A group of `staged` messages is written; it held `before` when it began
    /// to wait, if it did.
    pub fn conclude(&mut self, before: Option<usize>, staged: usize) {
        match before {
            Some(before) if staged > before => (self.pause, self.next_pause) = (0, 1),
            Some(_) => {
                self.pause = self.next_pause;
                self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
            }
            None => self.pause = self.pause.saturating_sub(1),
        }
        self.target = staged.max(self.target - self.target / 8);
        self.groups = self.groups.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(2);

    /// Groups of `clients` that each come back as soon as they were answered.
    fn waits(clients: usize, groups: usize) -> usize {
        let mut filling = Filling::new(INTERVAL);
        let mut fruitless = 0;
        for _ in 0..groups {
            let (mut staged, mut before) = (1, None);
            while filling.wait(staged, Duration::ZERO).is_some() {
                before = before.or(Some(staged));
                if staged == clients {
                    fruitless += 1;
                    break;
                }
                staged += 1;
            }
            filling.conclude(before, staged);
        }
        fruitless
    }

    #[test]
    fn a_lone_client_hardly_ever_waits_in_vain() {
        assert!(waits(1, 1000) < 30, "{}", waits(1, 1000));
    }

    #[test]
    fn a_crowd_is_waited_for_until_it_is_complete() {
        assert!(waits(10, 1000) < 100, "{}", waits(10, 1000));
        let mut filling = Filling::new(INTERVAL);
        filling.conclude(Some(1), 10);
        assert_eq!(filling.wait(9, INTERVAL / 2), Some(INTERVAL / 4));
        assert_eq!(filling.wait(10, INTERVAL / 2), None);
        assert_eq!(filling.wait(9, INTERVAL), None);
    }

    #[test]
    fn no_interval_no_wait() {
        assert_eq!(Filling::new(Duration::ZERO).wait(1, Duration::ZERO), None);
    }
}
