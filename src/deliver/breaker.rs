//! Whether a destination is left alone but for probes.
//!
//! After a row of troubles every post would only find out the same. Then one probe
//! at a time goes out on the retry intervals, until one is answered.

use super::retry::Schedule;
use std::time::Instant;

/// See the module.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Troubles in a row that open it; 0 for never.
    after: u32,
    troubles: u32,
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    probe_at: Instant,
    failed_probes: usize,
    is_probing: bool,
}

impl Breaker {
    /// A closed one.
    pub fn new(after: u32) -> Breaker {
        Breaker { after, troubles: 0, open: None }
    }

    /// Another number of troubles from now on.
    pub fn change(&mut self, after: u32) {
        self.after = after;
    }

    /// Opens it: what comes next is a probe. One that never opens stays closed.
    pub fn open(&mut self, now: Instant) {
        if self.after > 0 {
            self.open = Some(Open { probe_at: now, failed_probes: 0, is_probing: false });
        }
    }

    /// When the next probe may go out, if it is open.
    pub fn probe_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.probe_at)
    }

    /// Notes that an attempt begins; in an open breaker it is the probe.
    pub fn begin(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = true;
        }
    }

    /// Notes an answer; whether it closed the breaker.
    pub fn answered(&mut self) -> bool {
        self.troubles = 0;
        self.open.take().is_some()
    }

    /// Notes an end that says nothing of the destination: a probe that was none goes out
    /// again after as long as before.
    pub fn ended(&mut self, schedule: &Schedule, now: Instant, dice: f64) {
        if let Some(open) = self.open.as_mut().filter(|open| open.is_probing) {
            open.is_probing = false;
            open.probe_at = now + schedule.interval(open.failed_probes, dice);
        }
    }

    /// Notes trouble; whether it opened the breaker. `dice` (0 to 1) spreads the
    /// probes.
    pub fn trouble(&mut self, schedule: &Schedule, now: Instant, dice: f64) -> bool {
        self.troubles = self.troubles.saturating_add(1);
        match &mut self.open {
            Some(open) if open.is_probing => {
                open.is_probing = false;
                open.failed_probes += 1;
                open.probe_at = now + schedule.interval(open.failed_probes, dice);
                false
            }
            // A straggler from before it opened says nothing new.
            Some(_) => false,
            None if self.after > 0 && self.troubles >= self.after => {
                let probe_at = now + schedule.interval(0, dice);
                self.open = Some(Open { probe_at, failed_probes: 0, is_probing: false });
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_probe_that_tells_nothing_is_followed_by_the_next_after_an_interval() {
        let (start, schedule) = (Instant::now(), Schedule::default());
        let interval = |number| schedule.interval(number, 0.5);
        let mut breaker = Breaker::new(1);
        assert!(breaker.trouble(&schedule, start, 0.5));
        breaker.ended(&schedule, start + Duration::from_secs(1), 0.5);
        assert_eq!(breaker.probe_at(), Some(start + interval(0)), "a straggler is no probe");
        for _ in 0..3 {
            breaker.begin();
            breaker.ended(&schedule, start, 0.5);
            assert_eq!(breaker.probe_at(), Some(start + interval(0)));
        }
        breaker.begin();
        breaker.trouble(&schedule, start, 0.5);
        assert_eq!(breaker.probe_at(), Some(start + interval(1)));
    }
}
