//! A lane: what may be sent to one destination now, as a value.
//!
//! [`Lane::plan`] says what should be done and does nothing. A lane sends what its
//! *window* and its *throttle* leave room for. It is closed while its *breaker* is
//! open (but for probes), during a *hold* (`Retry-After`), while its throttle is used
//! up, and during a *pause*. A lane that cannot send what is due looks every [`LOOK`]
//! for posts whose time is over, so that they are given up near it and not when the
//! lane opens; nobody is contacted for that.
//!
//! A post that is refused for itself slows nobody: the destination answered.
//! A lane knows when its next post is due, not which one that is.

use super::breaker::Breaker;
use super::charge::Credit;
use super::pace::{Rate, Throttle, Used};
pub use super::plan::{Catch, Change, Condition, Ended, Plan};
use super::retry::{Feedback, Schedule};
use super::stock::Stock;
use super::window::Window;
pub use super::window::{Adaptive, Carrier};
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

/// Shortest wait after an empty claim: a spool that contradicts itself makes no loop spin.
const EMPTY_CLAIM: Duration = Duration::from_millis(1);

/// How long a lane without posts is remembered that did not take one.
const MEMORY: Duration = Duration::from_secs(60);

/// How often a lane that is closed or full looks for posts whose time is over.
const LOOK: Duration = Duration::from_secs(120);

/// How many it takes at most; where some were over it looks again at once.
const LOOKED_AT: usize = 64;

/// The state of one destination.
#[derive(Clone, Debug)]
pub struct Lane {
    limits: Limits,
    carrier: Carrier,
    due_at: Option<Instant>,
    is_claiming: bool,
    in_flight: usize,
    window: Window,
    breaker: Breaker,
    throttle: Throttle,
    credit: Credit,
    stock: Stock,
    held_until: Option<Instant>,
    is_paused: bool,
    /// A lane that did not take its post outlives the attempt until the spool has
    /// said when it is due again: what was told about it is not told anew.
    remembered_until: Option<Instant>,
    /// When it was last found that no post's time was over.
    looked_at: Instant,
}

impl Lane {
    /// A lane of which nothing is known yet.
    pub fn new(limits: Limits, rates: &[Rate], now: Instant) -> Lane {
        Lane {
            limits,
            carrier: Carrier::default(),
            due_at: None,
            is_claiming: false,
            in_flight: 0,
            window: Window::new(limits.max_connections, limits.adaptive),
            breaker: Breaker::new(limits.breaker),
            throttle: Throttle::new(rates, now),
            credit: Credit::new(rates),
            stock: Stock::default(),
            held_until: None,
            is_paused: false,
            remembered_until: None,
            looked_at: now,
        }
    }

    /// Other limits and rates from now on; what was used and learned counts on.
    pub fn change(&mut self, limits: Limits, rates: &[Rate], now: Instant) {
        self.limits = limits;
        self.resize();
        self.breaker.change(limits.breaker);
        self.throttle.change(rates, now);
        self.credit.change(rates);
    }

    /// Notes what carries its attempts.
    pub fn ride(&mut self, carrier: Carrier) {
        if self.carrier != carrier {
            self.carrier = carrier;
            self.resize();
        }
    }

    fn resize(&mut self) {
        let most = match self.carrier {
            Carrier::Connections => self.limits.max_connections,
            Carrier::Streams => self.limits.max_streams,
        };
        self.window.change(most, self.limits.adaptive);
    }

    /// What to do now.
    pub fn plan(&self, now: Instant) -> Plan {
        match self.stock.left() {
            0 => self.plan_claim(now),
            _ if !self.may_stock(now) || self.stock.goes_back(now) => Plan::Return,
            _ if self.room(now) == 0 => self.plan_claim(now),
            left => Plan::Draw(self.room(now).min(left)),
        }
    }

    fn plan_claim(&self, now: Instant) -> Plan {
        let Some(due_at) = self.due_at else {
            let rest = self.held_until.max(self.breaker.probe_at()).max(self.remembered_until);
            return match rest.max(self.throttle.remembers_until(now)) {
                Some(at) if at > now => Plan::WaitUntil(at),
                _ => Plan::Idle,
            };
        };
        if self.is_claiming {
            return Plan::Idle;
        }
        let is_due = due_at <= now && self.is_open(now);
        let room = if is_due { self.room(now) } else { 0 };
        let look_at = due_at.max(self.looked_at + LOOK);
        let opens_at = self.opens_at(now).map_or(look_at, |at| at.max(due_at));
        match room {
            0 if look_at <= now => Plan::Look(LOOKED_AT),
            0 if is_due && self.lack(now) > 0 => Plan::Stock(self.lack(now)),
            // Until an attempt ends.
            0 if is_due => Plan::Idle,
            0 => Plan::WaitUntil(opens_at.min(look_at)),
            room => self.credit.plan(room),
        }
    }

    /// When attempts may begin, the window aside; never during a pause.
    fn opens_at(&self, now: Instant) -> Option<Instant> {
        let barrier = self.held_until.max(self.breaker.probe_at());
        (!self.is_paused).then(|| barrier.map_or(now, |at| at.max(now)).max(self.throttle.opens_at(now)))
    }

    /// How many attempts may begin now.
    pub fn may_begin(&self, now: Instant) -> usize {
        if self.is_open(now) { self.credit.cap(self.room(now)) } else { 0 }
    }

    /// Whether attempts may begin now, as far as the window is not concerned.
    fn is_open(&self, now: Instant) -> bool {
        self.opens_at(now).is_some_and(|at| at <= now)
    }

    /// Whether workers may begin with other posts without asking.
    pub fn may_stock(&self, now: Instant) -> bool {
        let is_limited = self.throttle.room(now).is_some() || self.breaker.probe_at().is_some();
        !is_limited && self.is_open(now) && self.in_flight <= self.window()
    }

    /// How many posts more than there is room for may be claimed.
    pub fn lack(&self, now: Instant) -> usize {
        if self.may_stock(now) { self.stock.lack(self.window()) } else { 0 }
    }

    /// The same in its turn, when other lanes wait for theirs.
    pub fn lack_in_turn(&self, now: Instant) -> usize {
        if self.may_stock(now) { self.stock.lack_in_turn() } else { 0 }
    }

    /// How many more attempts may begin.
    fn room(&self, now: Instant) -> usize {
        self.throttle.room(now).unwrap_or(usize::MAX).min(self.window().saturating_sub(self.in_flight))
    }

    /// How many attempts may be under way.
    pub fn window(&self) -> usize {
        if self.breaker.probe_at().is_some() { 1 } else { self.window.limit() }
    }

    /// The most attempts that may ever be under way.
    pub fn most(&self) -> usize {
        self.window.most()
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Posts that are claimed and wait for a worker.
    pub fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Whether it sends now.
    pub fn condition(&self, now: Instant) -> Condition {
        let opens_at = self.throttle.opens_at(now);
        match (self.breaker.probe_at(), self.held_until) {
            _ if self.is_paused => Condition::Paused,
            (Some(at), _) => Condition::Backoff(at.max(now)),
            (None, Some(at)) if at > now => Condition::Held(at),
            _ if opens_at > now => Condition::Throttled(opens_at),
            _ if self.window.is_recovering() => Condition::Recovering,
            _ => Condition::Open,
        }
    }

    /// Each rate with what is used of it.
    pub fn usage(&self, now: Instant) -> Vec<(Rate, u32)> {
        self.throttle.usage(now)
    }

    /// What is used of each of its rates, to be kept elsewhere.
    pub fn used(&self, now: Instant) -> Vec<Used> {
        self.throttle.used(now)
    }

    /// Counts what was used of its rates before.
    pub fn restore(&mut self, used: &[Used], now: Instant) {
        self.throttle.restore(used, now);
    }

    /// Its credit with its rates.
    pub fn credit(&mut self) -> &mut Credit {
        &mut self.credit
    }

    /// Begins no attempt before then.
    pub fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Sends a probe then, and nothing before.
    pub fn probe(&mut self, at: Instant) {
        self.breaker.open(at);
    }

    /// Until when it is to begin no attempt, and whether it sends probes only;
    /// nothing when there is no grudge.
    pub fn grudge(&self, now: Instant) -> Option<(Option<Instant>, bool)> {
        let held_until = self.held_until.filter(|at| *at > now);
        let is_away = self.breaker.probe_at().is_some();
        (held_until.is_some() || is_away).then_some((held_until, is_away))
    }

    /// Begins no attempt any more.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Forgets all grudges, and looks for posts at once.
    pub fn flush(&mut self, now: Instant) {
        self.held_until = None;
        self.recover();
        self.expect(now);
    }

    /// Sends probes only, because somebody wants it; whether it did not before.
    pub fn back_off(&mut self, schedule: &Schedule, now: Instant, dice: f64) -> bool {
        self.breaker.order(schedule, now, dice)
    }

    /// Whether it sends probes only, and why.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Sends again as after a probe that was answered; whether it sent probes only.
    pub fn recover(&mut self) -> bool {
        let is_back = self.breaker.close();
        if is_back {
            self.window.recover();
        }
        is_back
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

    /// Notes what came of it.
    pub fn end_claim(&mut self, catch: Catch, now: Instant) {
        self.is_claiming = false;
        self.in_flight += catch.begun + catch.over;
        self.stock.put(catch.stocked, now);
        let found = catch.begun + catch.stocked + catch.over;
        // A lane where posts were over looks for more of them at once.
        if found == 0 {
            self.looked_at = now;
        }
        self.begin(catch.begun, now);
        let is_empty = found + catch.back == 0;
        let next = (catch.back > 0).then_some(Duration::ZERO).or(catch.next);
        if let Some(next) = next {
            self.expect(now + if is_empty { next.max(EMPTY_CLAIM) } else { next });
        }
    }

    fn begin(&mut self, posts: usize, now: Instant) {
        if posts > 0 {
            self.breaker.begin(now);
            self.throttle.take(posts, now);
            self.credit.spend(posts);
            self.window.fill(self.in_flight);
        }
    }

    /// Notes that attempts of so many posts of the stock begin.
    pub fn draw(&mut self, posts: usize, now: Instant) {
        self.stock.take(posts, now);
        self.in_flight += posts;
        self.begin(posts, now);
    }

    /// Notes that so many posts of the stock are given back.
    pub fn give_back(&mut self, posts: usize, now: Instant) {
        self.stock.give_back(posts, now);
        self.expect(now);
    }

    /// Notes that a post was given up without an attempt.
    pub fn give_up(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Notes that an attempt ended and what it taught about the destination, which
    /// answered after `took`; `dice` (0 to 1) spreads the probes. Says what changed.
    pub fn end_attempt(&mut self, ended: Ended, schedule: &Schedule, now: Instant, dice: f64) -> Change {
        self.in_flight = self.in_flight.saturating_sub(1);
        if ended.feedback != Feedback::Taken {
            self.remembered_until = Some(now + MEMORY);
        }
        match ended.feedback {
            Feedback::Taken | Feedback::Answered => {
                let is_back = self.breaker.answered();
                if is_back {
                    self.window.recover();
                }
                self.stock.learn(ended.took);
                match ended.feedback {
                    Feedback::Taken => self.window.taken(ended.took),
                    _ => self.window.ended(),
                }
                if is_back { Change::IsBack } else { Change::None }
            }
            Feedback::Trouble { retry_after } => {
                self.held_until = self.held_until.max(retry_after.map(|after| now + after));
                self.window.trouble(self.in_flight);
                let is_away = self.breaker.trouble(schedule, now, dice);
                if is_away { Change::IsAway } else { Change::None }
            }
            Feedback::Nothing => {
                self.window.ended();
                if ended.is_over {
                    self.breaker.passed();
                } else {
                    self.breaker.ended(schedule, now, dice);
                }
                Change::None
            }
        }
    }

    /// Whether it holds nothing worth remembering, such as what somebody wants of it.
    pub fn is_spent(&self, now: Instant) -> bool {
        self.in_flight + self.stock.left() == 0
            && !(self.is_claiming || self.breaker.is_ordered())
            && self.due_at.is_none()
            && self.plan(now) == Plan::Idle
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
