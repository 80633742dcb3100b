//! The only place that asks what time it is, and the source of message ids.
//!
//! [`Clock`] is the wall clock of the moment when the process first asked for one,
//! moved on by the monotonic clock: a wall clock that jumps neither starts a storm of
//! retries nor lets posts expire early. [`wall`] is for what people read.

use crate::post::{MessageId, Timestamp};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock now.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clock now, as exactly as the machine tells it: for spans shorter than
/// a millisecond.
pub fn exact() -> SystemTime {
    SystemTime::now()
}

/// The machine's monotonic clock, as its other programs read it too.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Processor time that this thread has had: unlike time, it does not pass while others
/// have the processor.
pub fn worked() -> Duration {
    let worked = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(worked).unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds, as the protocol log and payloads show it.
pub fn rfc3339(at: Timestamp) -> String {
    at.to_string()
}

/// By how much the wall clock was set since a [`Clock`] was made; by nothing, unless that
/// is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jump {
    forward: Duration,
    back: Duration,
}

impl Jump {
    /// What the clock shows when the wall clock shows this, saturating.
    pub fn undone(self, at: Timestamp) -> Timestamp {
        at.before(self.forward).after(self.back)
    }

    /// What the wall clock shows when the clock shows this, saturating.
    pub fn done(self, at: Timestamp) -> Timestamp {
        at.before(self.back).after(self.forward)
    }
}

/// By how much a wall clock is set at least.
pub const LEAST_JUMP: Duration = Duration::from_millis(100);

/// A clock that never goes back and never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

/// What the wall clock showed, and when: one for all, or those who compare their times would
/// disagree where it was set in between.
static START: OnceLock<Clock> = OnceLock::new();

impl Clock {
    /// The clock of this process, which is right as long as the wall clock is not set.
    pub fn start() -> Clock {
        *START.get_or_init(|| Clock { started_at: wall(), started: Instant::now() })
    }

    /// The time since the epoch by this clock.
    pub fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// By how much the wall clock was set since then: a machine that has no clock of its own
    /// hears late what time it is, and one that slept finds time gone. Less than a tenth of
    /// a second is nothing: two clocks are never read at once.
    pub fn jump(&self) -> Jump {
        // Whoever asks may have had to wait for the processor in between.
        let (before, wall, after) = (self.now(), wall(), self.now());
        let known = |by: Duration| if by < LEAST_JUMP { Duration::ZERO } else { by };
        Jump { forward: known(wall.since(after)), back: known(before.since(wall)) }
    }
}

/// Makes message ids: 44 bits of milliseconds since the epoch, 20 bits that
/// start at random in their lower half and count on, so ids grow with time and
/// two nodes rarely meet.
#[derive(Debug)]
pub struct Ids {
    clock: Clock,
    last: AtomicU64,
}

/// Bits of an id below the milliseconds.
const COUNTER_BITS: u32 = MessageId::COUNTER_BITS;

impl Default for Ids {
    fn default() -> Ids {
        Ids::above(MessageId(0))
    }
}

impl Ids {
    /// A source whose ids are all greater than `floor`, the newest id known
    /// from before: a clock set back between two runs repeats none.
    pub fn above(floor: MessageId) -> Ids {
        Ids { clock: Clock::start(), last: AtomicU64::new(floor.0) }
    }

    /// The next id.
    pub fn next(&self) -> MessageId {
        let millis = self.clock.now().0 << COUNTER_BITS;
        let fresh = millis | fastrand::u64(..1 << (COUNTER_BITS - 1));
        let advance = |last: u64| {
            let same_millisecond = last >> COUNTER_BITS >= fresh >> COUNTER_BITS;
            Some(if same_millisecond { last + 1 } else { fresh })
        };
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        MessageId(advance(last.unwrap_or_else(|last| last)).unwrap_or(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_after_a_clock_that_was_ahead() {
        let floor = MessageId(u64::MAX >> 1);
        let ids = Ids::above(floor);
        let made: Vec<_> = (0..10_000).map(|_| ids.next()).collect();
        assert!(made.first().is_some_and(|first| *first > floor));
        assert!(made.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_fresh_source_starts_with_the_present() {
        let before = wall();
        let id = Ids::above(MessageId(0)).next();
        assert!(id.0 >> COUNTER_BITS >= before.0);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_noticed() {
        let started = Instant::now();
        let (now, hour) = (wall(), Duration::from_hours(1));
        let ahead = Clock { started_at: now.after(hour), started };
        let behind = Clock { started_at: Timestamp(now.0 - 3_600_000), started };
        for (clock, is_back) in [(ahead, true), (behind, false)] {
            let (jump, shown) = (clock.jump(), clock.now());
            assert_eq!((jump.back > jump.forward, jump.back.min(jump.forward)), (is_back, Duration::ZERO));
            let undone = jump.undone(wall());
            assert!(undone.since(shown).max(shown.since(undone)) < Duration::from_mins(1), "{jump:?}");
            assert_eq!(jump.done(jump.undone(now)), now);
        }
        assert_eq!(Jump::default().undone(now), now);
    }

    #[test]
    fn times_are_written_with_three_decimals() {
        assert_eq!(rfc3339(Timestamp(1_769_860_800_120)), "2026-01-31T12:00:00.120Z");
    }
}
