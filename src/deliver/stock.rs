//! How many posts of a lane are claimed before a worker is free for them.
//!
//! A worker that has ended a post takes the next one from there by itself: nobody is
//! asked, and nobody is woken. A lane has such a stock only while its destination
//! answers fast and no rate limits it. Then a stock lasts some milliseconds, which
//! is how long something more urgent or another lane's turn may have to wait for it.
//! Where lanes wait for their turns, all posts of a turn are claimed at once, unless that
//! would last very long. A stock that nobody takes from goes back: its destination does not
//! answer.
//!
//! How long an answer takes says little by itself: of very many attempts at a time each
//! waits for the processors most of the time, and were that taken for a slow destination
//! there would be more of them yet. So a quick answer counts at once, a late one in part.

use std::time::{Duration, Instant};

/// The longest answer of a fast destination.
const FAST: Duration = Duration::from_millis(5);
/// The shortest answer of one for which nothing is kept in stock any more.
const SLOW: Duration = Duration::from_millis(200);
/// How long a turn may last for the posts that are claimed for it at once. All lanes together
/// may hold 4,096 of them, half of what their turns began with: that is 8,000 attempts a second,
/// however long an answer takes. Were turns longer, fewer lanes would have theirs at a time.
const TURN: Duration = Duration::from_secs(1);
/// Which part of the time by which an answer came later than those before counts.
const LATER: u32 = 8;
/// Posts in stock for each attempt that may be under way.
const EACH: usize = 2;
/// Posts in stock.
const MOST: usize = 64;
/// How long nobody has to take anything from a stock until it goes back.
const STUCK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    left: usize,
    /// How long an answer takes, see the module.
    took: Option<Duration>,
    /// When posts came or left last.
    moved_at: Option<Instant>,
}

impl Stock {
    /// Posts in it.
    pub fn left(&self) -> usize {
        self.left
    }

    /// How many more it wants, for so many attempts at a time: all at once when half
    /// of it is gone.
    pub fn lack(&self, window: usize) -> usize {
        let is_fast = self.took.is_some_and(|took| took <= FAST);
        let full = if is_fast { (EACH * window).min(MOST) } else { 0 };
        if self.left <= full / 2 { full - self.left } else { 0 }
    }

    /// The same in the turn of a lane that others wait for: what is answered in the time
    /// that a turn may last.
    pub fn lack_in_turn(&self) -> usize {
        let took = self.took.unwrap_or_default().as_nanos().max(1);
        let full = usize::try_from(TURN.as_nanos() / took).unwrap_or(MOST).min(MOST);
        if self.is_slow() { 0 } else { full.saturating_sub(self.left) }
    }

    /// Notes that an answer took so long; nothing when that is unknown.
    pub fn learn(&mut self, took: Option<Duration>) {
        let later = |took: Duration, before: Duration| before + took.saturating_sub(before) / LATER;
        self.took = took.map(|took| self.took.map_or(took, |before| took.min(later(took, before))));
    }

    /// Whether what is in it would have to wait too long for its turn.
    pub fn is_slow(&self) -> bool {
        self.took.is_some_and(|took| took >= SLOW)
    }

    /// When it goes back unless somebody takes from it; nothing when it is empty.
    pub fn stuck_at(&self) -> Option<Instant> {
        self.moved_at.filter(|_| self.left > 0).map(|at| at + STUCK)
    }

    /// Whether what is in it would have to wait too long, or has.
    pub fn goes_back(&self, now: Instant) -> bool {
        self.is_slow() || self.is_stuck(now)
    }

    fn is_stuck(&self, now: Instant) -> bool {
        self.stuck_at().is_some_and(|at| at <= now)
    }

    /// Notes posts that come.
    pub fn put(&mut self, posts: usize, now: Instant) {
        if posts > 0 {
            self.left += posts;
            self.moved_at = Some(now);
        }
    }

    /// Notes posts that leave.
    pub fn take(&mut self, posts: usize, now: Instant) {
        self.left = self.left.saturating_sub(posts);
        self.moved_at = Some(now);
    }

    /// Notes posts that go back. Of one that was stuck no answer has come for as long:
    /// it gets no other until there is one.
    pub fn give_back(&mut self, posts: usize, now: Instant) {
        if self.is_stuck(now) {
            self.took = Some(STUCK);
        }
        self.take(posts, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::lane::{Adaptive, Catch, Ended, Lane, Limits, Plan};
    use crate::deliver::pace::Rate;
    use crate::deliver::retry::{Feedback, Schedule};
    use std::time::Instant;

    const LIMITS: Limits = Limits { max_connections: 4, max_streams: 4, breaker: 2, adaptive: Adaptive::Off };

    fn claim(lane: &mut Lane, begun: usize, stocked: usize, now: Instant) {
        lane.begin_claim();
        lane.end_claim(Catch { begun, stocked, next: Some(Duration::ZERO), ..Catch::default() }, now);
    }

    fn end(lane: &mut Lane, feedback: Feedback, took: u64, now: Instant) {
        let ended = Ended { feedback, took: Some(Duration::from_millis(took)), is_over: false };
        lane.end_attempt(ended, &Schedule::default(), now, 0.5);
    }

    /// A lane whose window is full, with eight posts in stock.
    fn stocked(now: Instant) -> Lane {
        let mut lane = Lane::new(LIMITS, &[], now);
        lane.expect(now);
        assert_eq!((lane.plan(now), lane.lack(now)), (Plan::Send(4), 0), "a stranger");
        claim(&mut lane, 4, 0, now);
        assert_eq!(lane.plan(now), Plan::Idle);
        end(&mut lane, Feedback::Taken, 1, now);
        assert_eq!((lane.plan(now), lane.lack(now)), (Plan::Send(1), 8));
        claim(&mut lane, 1, 8, now);
        assert_eq!(lane.plan(now), Plan::Idle);
        lane
    }

    #[test]
    fn workers_go_on_with_the_stock_and_it_is_filled_up() {
        let now = Instant::now();
        let mut lane = stocked(now);
        for _ in 0..4 {
            assert_eq!(lane.plan(now), Plan::Idle);
            end(&mut lane, Feedback::Taken, 1, now);
            lane.draw(1, now);
        }
        assert_eq!((lane.plan(now), lane.in_flight()), (Plan::Stock(4), 4));
        claim(&mut lane, 0, 4, now);
        end(&mut lane, Feedback::Answered, 1, now);
        assert_eq!(lane.plan(now), Plan::Draw(1), "a worker that did not go on");
        lane.draw(1, now);
        end(&mut lane, Feedback::Taken, 60, now);
        assert_eq!((lane.plan(now), lane.lack(now)), (Plan::Draw(1), 0), "it is fast no more");
        end(&mut lane, Feedback::Taken, 2000, now);
        assert_eq!((lane.plan(now), lane.lack(now)), (Plan::Return, 0), "it has become slow");
    }

    type Event<'a> = (&'a str, &'a dyn Fn(&mut Lane));

    #[test]
    fn the_stock_of_a_lane_that_is_not_free_to_send_goes_back() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let trouble = Feedback::Trouble { retry_after: None };
        let rate = Rate { count: 1000, per: Duration::from_secs(1) };
        let events: [Event; 5] = [
            ("paused", &|lane| lane.pause()),
            ("held", &|lane| lane.hold(later)),
            ("in backoff", &|lane| (0..2).for_each(|_| end(lane, trouble, 1, now))),
            ("limited", &|lane| lane.change(LIMITS, &[rate], now)),
            ("narrower", &|lane| lane.change(Limits { max_connections: 3, ..LIMITS }, &[], now)),
        ];
        for (name, event) in events {
            let mut lane = stocked(now);
            event(&mut lane);
            assert_eq!((lane.plan(now), lane.lack(now)), (Plan::Return, 0), "{name}");
            lane.give_back(8, now);
            assert!(!matches!(lane.plan(now), Plan::Return | Plan::Draw(_) | Plan::Stock(_)), "{name}");
        }
    }

    #[test]
    fn what_narrows_a_lane_during_a_claim_holds_for_what_was_claimed() {
        let (now, trouble) = (Instant::now(), Feedback::Trouble { retry_after: None });
        let rate = |count, seconds| Rate { count, per: Duration::from_secs(seconds) };
        let narrower = Limits { max_connections: 2, ..LIMITS };
        let events: [(Event, usize); 6] = [
            (("nothing", &|_| {}), 3),
            (("narrower", &|lane| lane.change(narrower, &[], now)), 1),
            (("limited", &|lane| lane.change(LIMITS, &[rate(2, 1)], now)), 2),
            (("charged", &|lane| lane.change(LIMITS, &[rate(1000, 3600)], now)), 0),
            (("paused", &|lane| lane.pause()), 0),
            (("in backoff", &|lane| (0..2).for_each(|_| end(lane, trouble, 1, now))), 0),
        ];
        for ((name, event), may_begin) in events {
            let mut lane = Lane::new(LIMITS, &[], now);
            claim(&mut lane, 1, 0, now);
            lane.begin_claim();
            event(&mut lane);
            assert_eq!(lane.may_begin(now), may_begin, "{name}");
        }
    }

    #[test]
    fn only_fast_destinations_have_a_stock_and_it_is_filled_when_half_is_gone() {
        let millis = |count| Some(Duration::from_millis(count));
        for (took, left, window, lack) in [
            (None, 0, 20, 0),
            (millis(6), 0, 20, 0),
            (millis(5), 0, 20, 40),
            (millis(5), 20, 20, 20),
            (millis(5), 21, 20, 0),
            (millis(0), 0, 1, 2),
            (millis(0), 0, 1000, 64),
            (millis(6), 9, 20, 0),
        ] {
            let mut stock = Stock::default();
            stock.learn(took);
            stock.put(left, Instant::now());
            assert_eq!(stock.lack(window), lack, "{took:?} {left} {window}");
        }
    }

    #[test]
    fn a_turn_is_claimed_at_once_unless_the_destination_is_slow() {
        let millis = |count| Some(Duration::from_millis(count));
        for (took, left, lack) in [
            (None, 0, 64),
            (millis(0), 60, 4),
            (millis(50), 4, 16),
            (millis(50), 21, 0),
            (millis(199), 0, 5),
            (millis(200), 0, 0),
        ] {
            let mut stock = Stock::default();
            stock.learn(took);
            stock.put(left, Instant::now());
            assert_eq!(stock.lack_in_turn(), lack, "{took:?} {left}");
        }
    }

    #[test]
    fn a_quick_answer_counts_at_once_and_a_late_one_in_part() {
        let mut stock = Stock::default();
        for (took, known) in [(80, 80), (16, 16), (80, 24), (400, 71), (16, 16), (1600, 214)] {
            stock.learn(Some(Duration::from_millis(took)));
            assert_eq!(stock.took.map(|took| took.as_millis()), Some(known), "{took}");
        }
        assert!(stock.is_slow());
        stock.learn(None);
        assert!(!stock.is_slow(), "nothing is known of it");
    }

    #[test]
    fn a_stock_that_nobody_takes_from_goes_back_until_there_is_an_answer() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut lane = Lane::new(LIMITS, &[], begun);
        claim(&mut lane, 1, 8, begun);
        assert_eq!(lane.stock().stuck_at(), Some(at(1000)));
        lane.draw(1, at(700));
        assert_eq!((lane.plan(at(1699)), lane.stock().stuck_at()), (Plan::Draw(2), Some(at(1700))));
        assert_eq!(lane.plan(at(1700)), Plan::Return);
        lane.give_back(7, at(1700));
        assert_eq!((lane.stock().stuck_at(), lane.lack_in_turn(at(1700))), (None, 0), "it is not trusted");
        end(&mut lane, Feedback::Taken, 1, at(1800));
        assert_eq!((lane.lack(at(1800)), lane.lack_in_turn(at(1800))), (8, 64));
        // One that was fast is not asked for more at once, only to give it back.
        lane.end_claim(Catch { stocked: 8, ..Catch::default() }, at(1800));
        lane.give_back(8, at(2800));
        assert_eq!((lane.lack(at(2800)), lane.lack_in_turn(at(2800))), (0, 0));
    }
}
