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
    /// Whether somebody wanted it, whatever the destination does.
    is_ordered: bool,
}

impl Open {
    fn until(probe_at: Instant) -> Open {
        Open { probe_at, failed_probes: 0, is_probing: false, is_ordered: false }
    }
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

    /// Opens it, also one that never opens by itself: what comes next, at that time, is a
    /// probe. One that somebody opened stays so.
    pub fn open(&mut self, probe_at: Instant) {
        self.open.get_or_insert_with(|| Open::until(probe_at)).probe_at = probe_at;
    }

    /// Opens it because somebody wants it, also one that never opens by itself: the first
    /// probe goes out after an interval. Whether it was closed.
    pub fn order(&mut self, schedule: &Schedule, now: Instant, dice: f64) -> bool {
        if self.open.is_some() {
            return false;
        }
        let probe_at = now + schedule.interval(0, dice);
        self.open = Some(Open { is_ordered: true, ..Open::until(probe_at) });
        true
    }

    /// Closes it; whether it was open.
    pub fn close(&mut self) -> bool {
        self.troubles = 0;
        self.open.take().is_some()
    }

    /// When the next probe may go out, if it is open.
    pub fn probe_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.probe_at)
    }

    /// Whether it is open because somebody wanted it, and no probe has failed since.
    pub fn is_ordered(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_ordered)
    }

    /// Notes that an attempt begins; in an open breaker it is the probe, if it is time for
    /// one. One that began before the breaker opened may be told of later.
    pub fn begin(&mut self, now: Instant) {
        if let Some(open) = self.open.as_mut().filter(|open| open.probe_at <= now) {
            open.is_probing = true;
        }
    }

    /// Notes an answer; whether it closed the breaker. What was under way when somebody
    /// wanted it open says nothing.
    pub fn answered(&mut self) -> bool {
        if self.open.as_ref().is_some_and(|open| open.is_ordered && !open.is_probing) {
            return false;
        }
        self.close()
    }

    /// Notes the end of a post of which the destination heard nothing: the next one may
    /// be the probe at once.
    pub fn passed(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }

    /// Notes that a post comes back of which the destination heard nothing: a probe that
    /// was none goes out again after as long as before.
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
                // From here on the destination itself is why.
                open.is_ordered = false;
                open.failed_probes += 1;
                open.probe_at = now + schedule.interval(open.failed_probes, dice);
                false
            }
            // A straggler from before it opened says nothing new.
            Some(_) => false,
            None if self.after > 0 && self.troubles >= self.after => {
                let probe_at = now + schedule.interval(0, dice);
                self.open = Some(Open::until(probe_at));
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::lane::{Adaptive, Catch, Condition, Ended, Lane, Limits, Plan};
    use crate::deliver::retry::Feedback;
    use std::time::Duration;

    #[test]
    fn a_probe_that_tells_nothing_and_comes_back_is_followed_by_the_next_after_an_interval() {
        let (start, schedule) = (Instant::now(), Schedule::default());
        let interval = |number| schedule.interval(number, 0.5);
        let mut breaker = Breaker::new(1);
        assert!(breaker.trouble(&schedule, start, 0.5));
        breaker.ended(&schedule, start + Duration::from_secs(1), 0.5);
        assert_eq!(breaker.probe_at(), Some(start + interval(0)), "a straggler is no probe");
        let due_at = start + interval(0);
        for _ in 0..3 {
            breaker.begin(due_at);
            breaker.ended(&schedule, start, 0.5);
            assert_eq!(breaker.probe_at(), Some(start + interval(0)));
        }
        breaker.begin(due_at);
        breaker.passed();
        assert_eq!(breaker.probe_at(), Some(start + interval(0)), "its post does not come back");
        breaker.begin(due_at);
        breaker.trouble(&schedule, start, 0.5);
        assert_eq!(breaker.probe_at(), Some(start + interval(1)));
    }

    #[test]
    fn what_somebody_opened_is_remembered_without_posts_until_a_probe_says_otherwise() {
        let (start, schedule) = (Instant::now(), Schedule::default());
        let limits = Limits { max_connections: 1, max_streams: 1, breaker: 0, adaptive: Adaptive::Off };
        let mut lane = Lane::new(limits, &[], start);
        assert!(lane.is_spent(start) && lane.back_off(&schedule, start, 0.5));
        let later = start + 100 * schedule.interval(0, 0.5);
        assert_eq!((lane.plan(later), lane.is_spent(later)), (Plan::Idle, false));
        // As a restart does.
        lane.probe(later);
        assert_eq!((lane.condition(start), lane.is_spent(later)), (Condition::Backoff(later), false));
        assert!(lane.recover() && lane.is_spent(later));
        // Where a probe has failed before it.
        lane.probe(start);
        assert_eq!((lane.grudge(start), lane.is_spent(later)), (Some((None, true)), true));
    }

    #[test]
    fn what_was_under_way_closes_no_breaker_that_somebody_opened() {
        let (start, schedule) = (Instant::now(), Schedule::default());
        let due_at = start + schedule.interval(0, 0.5);
        // One that never opens by itself does.
        for after in [0, 3] {
            let mut breaker = Breaker::new(after);
            assert!(breaker.order(&schedule, start, 0.5) && !breaker.order(&schedule, start, 0.5));
            assert_eq!(breaker.probe_at(), Some(due_at));
            // It is told late that it began.
            breaker.begin(start);
            assert!(!breaker.answered() && breaker.probe_at().is_some());
            breaker.begin(due_at);
            assert!(breaker.is_ordered());
            breaker.trouble(&schedule, due_at, 0.5);
            assert!(!breaker.is_ordered());
            assert_eq!(breaker.probe_at(), Some(due_at + schedule.interval(1, 0.5)));
            breaker.begin(due_at + schedule.interval(1, 0.5));
            assert!(breaker.answered() && breaker.probe_at().is_none());
            breaker.order(&schedule, start, 0.5);
            assert!(breaker.close() && !breaker.close());
        }
    }

    #[test]
    fn a_probe_that_ends_its_post_untried_is_followed_by_the_next_at_once() {
        let (start, schedule) = (Instant::now(), Schedule::default());
        let limits = Limits { max_connections: 1, max_streams: 1, breaker: 1, adaptive: Adaptive::Off };
        let mut lane = Lane::new(limits, &[], start);
        let now = start + schedule.interval(0, 0.5);
        let claim = |lane: &mut Lane, begun, over| {
            lane.begin_claim();
            lane.end_claim(Catch { begun, over, next: Some(Duration::ZERO), ..Catch::default() }, now);
        };
        let end = |lane: &mut Lane, feedback, is_over, at| {
            lane.end_attempt(Ended { feedback, took: None, is_over }, &schedule, at, 0.5);
        };
        let trouble = Feedback::Trouble { retry_after: None };
        lane.expect(start);
        claim(&mut lane, 1, 0);
        end(&mut lane, trouble, false, start);
        for _ in 0..3 {
            assert_eq!(lane.plan(now), Plan::Send(1));
            claim(&mut lane, 0, 1);
            lane.give_up();
            assert_eq!(lane.plan(now), Plan::Send(1));
            claim(&mut lane, 1, 0);
            end(&mut lane, Feedback::Nothing, true, now);
        }
        // Those that are given up meanwhile are no end of the probe.
        claim(&mut lane, 1, 1);
        lane.give_up();
        end(&mut lane, trouble, false, now);
        assert_eq!(lane.condition(now), Condition::Backoff(now + schedule.interval(1, 0.5)));
    }
}
