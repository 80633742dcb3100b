//! Keeps a [`History`] of what is counted anyway: whoever counts pays nothing for it.
//!
//! Its time moves on with the monotonic clock, so that a wall clock that jumps tears no
//! hole and folds nothing over; times that are shown are the wall clock's. Time in which
//! the machine slept does not count.

use super::Metrics;
use super::history::{History, Span, Step, Tally};
use crate::clock::{self, Clock};
use crate::post::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Recorder {
    clock: Clock,
    history: Mutex<History>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder { clock: Clock::start(), history: Mutex::default() }
    }
}

impl Recorder {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What passed in the last steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// How long each is.
    pub step: Duration,
    /// When the last one ended, by the wall clock and to the second.
    pub until: Timestamp,
    /// Those that are over, the oldest first; the first one is no gap.
    pub steps: Vec<Step>,
}

impl Metrics {
    /// Takes note of what has been counted so far. At least once a step, or else several
    /// steps share what passed.
    pub fn record(&self) {
        drop(self.recorded());
    }

    /// How long it is until the next step begins.
    pub fn rest_of_step(&self) -> Duration {
        let step = Span::Hour.step().as_millis() as u64;
        Duration::from_millis(step - self.recorder.clock.now().0 % step)
    }

    /// What passed in the last hour or day, until now.
    pub fn past(&self, span: Span) -> Past {
        let (history, now) = self.recorded();
        let (until, steps) = history.steps(span);
        drop(history);
        // Both clocks are read in milliseconds, one after the other.
        let until = clock::wall().0.saturating_sub(now.0.saturating_sub(until.0));
        Past { step: span.step(), until: Timestamp((until + 500) / 1000 * 1000), steps }
    }

    /// The history until now, for the next process; at most 40 kB.
    pub fn write_past(&self) -> Vec<u8> {
        self.recorded().0.write(clock::wall())
    }

    /// Goes on with the history of an earlier process; an error says why it cannot be read.
    /// What was recorded in this one before is forgotten.
    pub fn recall_past(&self, octets: &[u8]) -> Result<(), String> {
        let history = History::read(octets, self.recorder.clock.now())?;
        *self.recorder.history() = history;
        Ok(())
    }

    /// The history until now, and when that is.
    fn recorded(&self) -> (MutexGuard<'_, History>, Timestamp) {
        let mut history = self.recorder.history();
        // Under the lock: time and counters do not go back between two who look.
        let now = self.recorder.clock.now();
        let counters =
            [&self.posts_accepted, &self.posts_delivered, &self.posts_deferred, &self.posts_failed];
        let counted: Tally = counters.map(|counter| counter.get());
        history.look(now, counted);
        (history, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Verdict;

    #[test]
    fn what_is_counted_is_in_the_history_of_the_next_process() {
        let metrics = Metrics::default();
        metrics.record();
        metrics.accept(3, 100);
        metrics.settle(Verdict::Delivered, Duration::ZERO, 1);
        metrics.settle(Verdict::Deferred, Duration::ZERO, 1);
        metrics.settle(Verdict::Failed, Duration::ZERO, 1);
        metrics.settle(Verdict::Held, Duration::ZERO, 1);
        let kept = metrics.write_past();
        assert!(metrics.recall_past(b"foreign").is_err());
        let next = Metrics::default();
        next.recall_past(&kept).unwrap();
        // As if it were later: the present step is not shown.
        let later = next.recorder.clock.now().after(Duration::from_mins(2));
        next.recorder.history().look(later, Tally::default());
        for span in [Span::Hour, Span::Day] {
            let (_, steps) = next.recorder.history().steps(span);
            let sums: [u32; 4] = std::array::from_fn(|at| steps.iter().flatten().map(|step| step[at]).sum());
            assert_eq!(sums, [3, 1, 1, 1], "{span:?}");
        }
    }

    #[test]
    fn the_next_step_is_at_most_a_step_away() {
        let metrics = Metrics::default();
        metrics.record();
        let rest = metrics.rest_of_step();
        assert!(rest > Duration::ZERO && rest <= Span::Hour.step(), "{rest:?}");
    }
}
