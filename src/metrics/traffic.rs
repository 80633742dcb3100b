//! How much came and went lately, and how many connections are there: what operators
//! of mail servers watch.
//!
//! Times are those of the monotonic clock, so that no jump of the wall clock makes a
//! peak. The last minute moves on by seconds, the last hour by minutes; a peak is the
//! most that there ever was in such a minute or hour. Counting costs a lock that
//! nobody keeps for long, and a few additions.

use std::ops::{AddAssign, SubAssign};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Posts.
    pub posts: u64,
    /// Messages that they were made from, or requests that carried them.
    pub messages: u64,
    /// Octets of the messages, or of the requests' bodies.
    pub octets: u64,
}

impl Volume {
    /// The greater one of each number.
    fn max(self, other: Volume) -> Volume {
        Volume {
            posts: self.posts.max(other.posts),
            messages: self.messages.max(other.messages),
            octets: self.octets.max(other.octets),
        }
    }
}

impl AddAssign for Volume {
    fn add_assign(&mut self, more: Volume) {
        self.posts += more.posts;
        self.messages += more.messages;
        self.octets += more.octets;
    }
}

impl SubAssign for Volume {
    fn sub_assign(&mut self, less: Volume) {
        self.posts -= less.posts;
        self.messages -= less.messages;
        self.octets -= less.octets;
    }
}

/// What a [`Meter`] shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Since the start.
    pub total: Volume,
    /// In the last hour.
    pub last_hour: Volume,
    /// In the last minute.
    pub last_minute: Volume,
    /// In the hour that had most.
    pub peak_hour: Volume,
    /// In the minute that had most.
    pub peak_minute: Volume,
}

/// Parts of a span.
const PARTS: usize = 60;

/// The last 60 parts of time, the present one included.
#[derive(Debug)]
struct Span {
    parts: [Volume; PARTS],
    /// The present part, counted from the start.
    now: u64,
    sum: Volume,
    peak: Volume,
}

impl Default for Span {
    fn default() -> Span {
        Span { parts: [Volume::default(); PARTS], now: 0, sum: Volume::default(), peak: Volume::default() }
    }
}

impl Span {
    fn part(&mut self, number: u64) -> Option<&mut Volume> {
        let index = usize::try_from(number % PARTS as u64).ok()?;
        self.parts.get_mut(index)
    }

    /// Forgets what is over when it is this part of time.
    fn advance(&mut self, now: u64) {
        let first = (self.now + 1).max(now.saturating_sub(PARTS as u64 - 1));
        for number in first..=now {
            let over = self.part(number).map(std::mem::take).unwrap_or_default();
            self.sum -= over;
        }
        self.now = self.now.max(now);
    }

    fn count(&mut self, now: u64, volume: Volume) {
        self.advance(now);
        let present = self.now;
        if let Some(part) = self.part(present) {
            *part += volume;
            self.sum += volume;
            self.peak = self.peak.max(self.sum);
        }
    }
}

/// What was counted; the time since the start is an argument.
#[derive(Debug, Default)]
struct Counted {
    total: Volume,
    minute: Span,
    hour: Span,
}

impl Counted {
    fn count(&mut self, now: Duration, volume: Volume) {
        self.total += volume;
        self.minute.count(now.as_secs(), volume);
        self.hour.count(now.as_secs() / 60, volume);
    }

    fn flow(&mut self, now: Duration) -> Flow {
        self.minute.advance(now.as_secs());
        self.hour.advance(now.as_secs() / 60);
        Flow {
            total: self.total,
            last_hour: self.hour.sum,
            last_minute: self.minute.sum,
            peak_hour: self.hour.peak,
            peak_minute: self.minute.peak,
        }
    }
}

/// Counts what passes.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    counted: Mutex<Counted>,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter { begun: Instant::now(), counted: Mutex::default() }
    }
}

impl Meter {
    /// Counts what passed now.
    pub fn count(&self, volume: Volume) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: time does not go back between two who count.
        counted.count(self.begun.elapsed(), volume);
    }

    /// What passed until now.
    pub fn flow(&self) -> Flow {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.flow(self.begun.elapsed())
    }

    /// How long it has counted.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// How many are there at a time; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Turnstile(Arc<Heads>);

#[derive(Debug, Default)]
struct Heads {
    now: AtomicUsize,
    top: AtomicUsize,
    most: AtomicUsize,
}

impl Turnstile {
    /// Counts one more, as long as the result is kept.
    pub fn enter(&self) -> Here {
        let now = self.0.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.top.fetch_max(now, Ordering::Relaxed);
        Here(self.clone())
    }

    /// How many there are, and how many there were at most.
    pub fn heads(&self) -> (usize, usize) {
        (self.0.now.load(Ordering::Relaxed), self.0.top.load(Ordering::Relaxed))
    }

    /// How many may be there at a time, for those who look; 0 when there is no limit.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// Notes how many may be there at a time. It is somebody else who sees to it.
    pub fn allow(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }
}

/// One of a [`Turnstile`].
#[derive(Debug, Default)]
pub struct Here(Turnstile);

impl Drop for Here {
    fn drop(&mut self) {
        // The only one of a crowd of its own never entered.
        let less = |now: usize| now.checked_sub(1);
        let _ = self.0.0.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At this second so much comes; what is shown then: the last minute, the last hour,
    /// the peaks of both.
    #[test]
    fn minutes_and_hours_move_on_and_peaks_stay() {
        let mut counted = Counted::default();
        for (second, more, shown) in [
            (0, 1, [1, 1, 1, 1]),
            (59, 2, [3, 3, 3, 3]),
            (60, 0, [2, 3, 3, 3]),
            (118, 4, [6, 7, 6, 7]),
            (119, 0, [4, 7, 6, 7]),
            (177, 0, [4, 7, 6, 7]),
            (178, 0, [0, 7, 6, 7]),
            (3599, 1, [1, 8, 6, 8]),
            (3600, 0, [1, 5, 6, 8]),
            (3659, 0, [0, 5, 6, 8]),
            (3660, 0, [0, 1, 6, 8]),
            (90_000, 0, [0, 0, 6, 8]),
            (90_000, 9, [9, 9, 9, 9]),
            (80_000, 1, [10, 10, 10, 10]),
        ] {
            let now = Duration::from_secs(second);
            if more > 0 {
                counted.count(now, Volume { posts: more, messages: 1, octets: 10 * more });
            }
            let flow = counted.flow(now);
            let spans = [flow.last_minute, flow.last_hour, flow.peak_minute, flow.peak_hour];
            assert_eq!(spans.map(|volume| volume.posts), shown, "second {second}");
            assert!(spans.iter().all(|volume| volume.octets == 10 * volume.posts));
        }
        assert_eq!(counted.total, Volume { posts: 18, messages: 6, octets: 180 });
    }

    #[test]
    fn those_who_leave_are_not_counted_any_more() {
        let crowd = Turnstile::default();
        let all = [crowd.enter(), crowd.enter()];
        assert_eq!(crowd.heads(), (2, 2));
        drop(all);
        let _one = crowd.enter();
        assert_eq!(crowd.heads(), (1, 2));
        drop(Here::default());
        assert_eq!(crowd.heads(), (1, 2));
    }
}
