//! A lane: what may be sent to one destination now, as a value.
//!
//! [`Lane::plan`] says what should be done and does nothing. Three things slow a
//! lane down. The *window* of concurrent attempts follows Postfix's feedback: a
//! taken post adds 1/N, trouble with the destination takes one away at once. The
//! *breaker* opens after a row of troubles: then one probe at a time goes out on
//! the retry intervals until one is answered, and the window grows again from
//! one. A *hold* (`Retry-After`) stops everything until it is over.
//!
//! A post that is refused for itself slows nobody: the destination answered.
//! A lane knows when its next post is due, not which one that is.

use super::retry::{Feedback, Schedule};
use std::time::{Duration, Instant};

/// What one destination is allowed at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Simultaneous connections, at least one.
    pub max_connections: usize,
    /// Simultaneous streams over HTTP/2, at least one.
    pub max_streams: usize,
    /// Troubles in a row that open the breaker; 0 for never.
    pub breaker: u32,
    /// Whether the window follows how the destination does.
    pub adaptive: Adaptive,
}

/// Whether a window of concurrent attempts follows how its destination does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adaptive {
    /// It grows and shrinks.
    #[default]
    On,
    /// It is always as wide as it may be.
    Off,
}

/// What a lane wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Claim and send up to so many posts.
    Send(usize),
    /// Ask again then.
    WaitUntil(Instant),
    /// Nothing, until a post arrives or an attempt ends.
    Idle,
}

/// The window of a new lane: modest towards a stranger, and doubled within a
/// dozen posts by one that keeps up.
const FIRST_WINDOW: f64 = 5.0;

/// Shortest wait after a claim that found nothing though something was due, so
/// that a spool which contradicts itself cannot make the loop spin.
const EMPTY_CLAIM: Duration = Duration::from_millis(1);

/// How long the troubles of a lane without posts are remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// The state of one destination.
#[derive(Debug)]
pub struct Lane {
    limits: Limits,
    due_at: Option<Instant>,
    is_claiming: bool,
    in_flight: usize,
    window: f64,
    troubles_in_a_row: u32,
    held_until: Option<Instant>,
    /// A troubled lane outlives its last attempt until the spool has said when
    /// the post is due again.
    remembered_until: Option<Instant>,
    breaker: Option<Breaker>,
}

#[derive(Debug)]
struct Breaker {
    probe_at: Instant,
    failed_probes: usize,
    is_probing: bool,
}

impl Lane {
    /// A lane of which nothing is known yet.
    pub fn new(limits: Limits) -> Lane {
        let limits = Limits { max_connections: limits.max_connections.max(1), ..limits };
        Lane {
            limits,
            due_at: None,
            is_claiming: false,
            in_flight: 0,
            window: FIRST_WINDOW.min(limits.max_connections as f64),
            troubles_in_a_row: 0,
            held_until: None,
            remembered_until: None,
            breaker: None,
        }
    }

    /// What to do now.
    pub fn plan(&self, now: Instant) -> Plan {
        let barrier = self.held_until.max(self.breaker.as_ref().map(|breaker| breaker.probe_at));
        let (at, room) = match self.due_at {
            Some(due_at) => (Some(due_at).max(barrier), self.room()),
            None => (barrier.max(self.remembered_until), 0),
        };
        match at {
            Some(at) if at > now => Plan::WaitUntil(at),
            _ if room == 0 => Plan::Idle,
            _ => Plan::Send(room),
        }
    }

    /// How many more attempts may begin.
    fn room(&self) -> usize {
        if self.is_claiming {
            return 0;
        }
        let allowed = match self.breaker {
            Some(_) => 1,
            None => (self.window as usize).clamp(1, self.limits.max_connections),
        };
        allowed.saturating_sub(self.in_flight)
    }

    /// Notes that a post is due at `at`.
    pub fn expect(&mut self, at: Instant) {
        self.due_at = Some(self.due_at.map_or(at, |due_at| due_at.min(at)));
    }

    /// Notes that posts are being claimed: no other claim before its answer.
    pub fn begin_claim(&mut self) {
        self.is_claiming = true;
        self.due_at = None;
    }

    /// Notes the answer: how many posts are now on their way, and when the next
    /// one is due.
    pub fn end_claim(&mut self, taken: usize, next: Option<Duration>, now: Instant) {
        self.is_claiming = false;
        self.in_flight += taken;
        if let Some(breaker) = &mut self.breaker {
            breaker.is_probing = taken > 0;
        }
        if let Some(next) = next {
            self.expect(now + if taken == 0 { next.max(EMPTY_CLAIM) } else { next });
        }
    }

    /// Notes that an attempt ended and what it taught about the destination;
    /// `dice` (0 to 1) spreads the probes.
    pub fn end_attempt(&mut self, feedback: Feedback, schedule: &Schedule, now: Instant, dice: f64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match feedback {
            Feedback::Taken | Feedback::Answered => {
                self.troubles_in_a_row = 0;
                if self.breaker.take().is_some() {
                    self.window = 1.0;
                }
                if feedback == Feedback::Taken {
                    self.window = (self.window + 1.0 / self.window).min(self.limits.max_connections as f64);
                }
            }
            Feedback::Trouble { retry_after } => {
                self.held_until = self.held_until.max(retry_after.map(|after| now + after));
                self.trouble(schedule, now, dice);
            }
            Feedback::Nothing => {}
        }
    }

    fn trouble(&mut self, schedule: &Schedule, now: Instant, dice: f64) {
        self.remembered_until = Some(now + MEMORY);
        self.window = (self.window - 1.0).max(1.0);
        self.troubles_in_a_row = self.troubles_in_a_row.saturating_add(1);
        match &mut self.breaker {
            Some(breaker) if breaker.is_probing => {
                breaker.is_probing = false;
                breaker.failed_probes += 1;
                breaker.probe_at = now + schedule.interval(breaker.failed_probes, dice);
            }
            // A straggler from before the breaker opened says nothing new.
            Some(_) => {}
            None if self.limits.breaker > 0 && self.troubles_in_a_row >= self.limits.breaker => {
                let probe_at = now + schedule.interval(0, dice);
                self.breaker = Some(Breaker { probe_at, failed_probes: 0, is_probing: false });
            }
            None => {}
        }
    }

    /// Whether the lane holds nothing worth remembering.
    pub fn is_spent(&self, now: Instant) -> bool {
        self.in_flight == 0 && !self.is_claiming && self.due_at.is_none() && self.plan(now) == Plan::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { max_connections: 20, max_streams: 128, breaker: 10, adaptive: Adaptive::On };
    const TROUBLE: Feedback = Feedback::Trouble { retry_after: None };

    /// Sends as much as the lane wants at `now`.
    fn send(lane: &mut Lane, now: Instant) -> usize {
        match lane.plan(now) {
            Plan::Send(n) => {
                lane.begin_claim();
                lane.end_claim(n, Some(Duration::ZERO), now);
                n
            }
            _ => 0,
        }
    }

    fn end(lane: &mut Lane, feedback: Feedback, now: Instant) {
        lane.end_attempt(feedback, &Schedule::default(), now, 0.5);
    }

    fn busy(now: Instant) -> Lane {
        let mut lane = Lane::new(LIMITS);
        lane.expect(now);
        lane
    }

    /// A lane that has just had its tenth trouble in a row.
    fn broken(now: Instant) -> Lane {
        let mut lane = busy(now);
        for _ in 0..10 {
            if lane.in_flight == 0 {
                assert!(send(&mut lane, now) > 0);
            }
            end(&mut lane, TROUBLE, now);
        }
        lane
    }

    #[test]
    fn a_lane_waits_for_its_next_post_and_for_room() {
        let now = Instant::now();
        let mut lane = Lane::new(LIMITS);
        assert_eq!(lane.plan(now), Plan::Idle);
        assert!(lane.is_spent(now));
        let later = now + Duration::from_secs(5);
        lane.expect(later);
        lane.expect(later + Duration::from_secs(1));
        assert_eq!(lane.plan(now), Plan::WaitUntil(later));
        assert_eq!(lane.plan(later), Plan::Send(5));
        lane.begin_claim();
        assert_eq!(lane.plan(later), Plan::Idle, "one claim at a time");
        lane.expect(later);
        lane.end_claim(5, None, later);
        assert_eq!(lane.plan(later), Plan::Idle, "the window is full");
        end(&mut lane, Feedback::Answered, later);
        assert_eq!(lane.plan(later), Plan::Send(1), "a post that rang during the claim is not forgotten");
    }

    #[test]
    fn an_empty_claim_does_not_make_the_loop_spin() {
        let now = Instant::now();
        let mut lane = busy(now);
        lane.begin_claim();
        lane.end_claim(0, Some(Duration::ZERO), now);
        assert_eq!(lane.plan(now), Plan::WaitUntil(now + EMPTY_CLAIM));
    }

    #[test]
    fn the_window_grows_to_the_cap_and_shrinks_at_once() {
        let now = Instant::now();
        let mut lane = busy(now);
        let mut taken = 0;
        while lane.in_flight < 20 {
            send(&mut lane, now);
            if lane.in_flight < 20 {
                end(&mut lane, Feedback::Taken, now);
                taken += 1;
            }
            assert!(taken < 300, "grows too slowly");
        }
        for _ in 0..500 {
            end(&mut lane, Feedback::Taken, now);
            send(&mut lane, now);
            assert!(lane.in_flight <= 20);
        }
        for expected in [19, 18, 17] {
            end(&mut lane, TROUBLE, now);
            send(&mut lane, now);
            assert_eq!(lane.in_flight, expected);
        }
        end(&mut lane, Feedback::Answered, now);
        end(&mut lane, Feedback::Nothing, now);
        send(&mut lane, now);
        assert_eq!(lane.in_flight, 17, "verdicts on a post change no window");
    }

    #[test]
    fn an_open_breaker_lets_one_probe_through_on_the_intervals() {
        let start = Instant::now();
        let mut lane = broken(start);
        let mut now = start;
        for interval in [5, 30, 120, 600] {
            let probe_at = now + Duration::from_secs(interval);
            assert_eq!(lane.plan(now), Plan::WaitUntil(probe_at));
            now = probe_at;
            assert_eq!(send(&mut lane, now), 1);
            assert_eq!(lane.plan(now), Plan::Idle, "one probe at a time");
            end(&mut lane, TROUBLE, now);
        }
    }

    #[test]
    fn the_first_answer_closes_the_breaker_and_the_window_grows_from_one() {
        let start = Instant::now();
        for feedback in [Feedback::Taken, Feedback::Answered] {
            let mut lane = broken(start);
            let now = start + Duration::from_secs(5);
            assert_eq!(send(&mut lane, now), 1);
            end(&mut lane, feedback, now);
            let allowed = if feedback == Feedback::Taken { 2 } else { 1 };
            assert_eq!(lane.plan(now), Plan::Send(allowed));
        }
    }

    #[test]
    fn stragglers_do_not_lengthen_the_wait_and_an_answer_breaks_the_row() {
        let now = Instant::now();
        let mut lane = broken(now);
        lane.in_flight = 2;
        end(&mut lane, TROUBLE, now);
        end(&mut lane, TROUBLE, now);
        assert_eq!(lane.plan(now), Plan::WaitUntil(now + Duration::from_secs(5)));
        let mut lane = busy(now);
        for _ in 0..5 {
            for _ in 0..9 {
                end(&mut lane, TROUBLE, now);
            }
            end(&mut lane, Feedback::Answered, now);
        }
        assert_eq!(lane.plan(now), Plan::Send(1));
    }

    #[test]
    fn troubles_are_counted_across_moments_without_posts() {
        let now = Instant::now();
        let mut lane = busy(now);
        for _ in 0..10 {
            assert_eq!(lane.plan(now), Plan::Send(lane.room()));
            lane.begin_claim();
            lane.end_claim(1, None, now);
            end(&mut lane, TROUBLE, now);
            assert!(!lane.is_spent(now));
            lane.expect(now);
        }
        assert_eq!(lane.plan(now), Plan::WaitUntil(now + Duration::from_secs(5)));
        lane.due_at = None;
        assert!(lane.is_spent(now + MEMORY));
    }

    #[test]
    fn a_hold_stops_the_lane_and_is_remembered_without_posts() {
        let now = Instant::now();
        let mut lane = busy(now);
        send(&mut lane, now);
        let hold = Feedback::Trouble { retry_after: Some(Duration::from_secs(60)) };
        end(&mut lane, hold, now);
        end(&mut lane, Feedback::Taken, now);
        let over = now + Duration::from_secs(60);
        assert_eq!(lane.plan(now), Plan::WaitUntil(over), "a late success does not lift it");
        lane.in_flight = 0;
        lane.due_at = None;
        assert!(!lane.is_spent(now));
        assert!(lane.is_spent(over));
    }
}
