//! What is known of a living post: where it stands and what happened to it, and
//! what settlements and orders make of that. Pure: the time is an argument.
//!
//! A [`State`] is small and in memory or in the catalog; a [`Chronicle`] stands in
//! the log alone and is read when somebody asks or another attempt is added.

use super::{Attempt, Order, PostState, Settlement};
use crate::clock::{Jump, LEAST_JUMP};
use crate::post::{Blob, Destination, Post, Timestamp, Trust};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A reason is cut to this many octets before it is kept.
const REASON: usize = 256;
/// The beginning of a response likewise.
const EXCERPT: usize = 1024;
/// Attempts that are kept behind the first.
const ATTEMPTS: usize = 50;
/// The last attempts, which keep the beginning of their response.
const EXCERPTS: usize = 5;

/// Where a living post stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Attempts that were settled since it was accepted or begun anew.
    pub ended: u32,
    /// Attempts that were settled since it was accepted.
    pub tried: u32,
    pub phase: Phase,
    /// It was a dead letter and began anew.
    pub is_anew: bool,
    /// Its chronicle says where it goes.
    pub is_rerouted: bool,
    /// Its lean body is sent, if it has one.
    pub is_lean: bool,
    /// When to send it, when to forget it (a dead letter, a shelved one), since when it
    /// is held.
    pub due_at: Timestamp,
    /// When its age begins; the time for which it was held is left out.
    pub ages_from: Timestamp,
}

/// What a living post waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// To be sent.
    Waiting,
    /// To be forgotten.
    DeadLetter,
    /// To be released.
    Held,
    /// To be forgotten: it was delivered.
    Shelved,
}

impl Phase {
    /// Whether those behind it with its ordering key wait for it.
    pub fn is_in_line(self) -> bool {
        matches!(self, Phase::Waiting | Phase::Held)
    }
}

impl State {
    /// The state of a post that was accepted at this time of the spool's clock. What the
    /// post says of times is the time of day, which may have been set since this process
    /// began: it would wait for as much, or be older by as much.
    pub fn fresh(post: &Post, accepted_at: Timestamp, jump: Jump) -> State {
        let not_before_at = post.not_before_at.map(|at| jump.undone(at));
        State {
            ended: 0,
            tried: 0,
            phase: Phase::Waiting,
            is_anew: false,
            is_rerouted: false,
            is_lean: false,
            due_at: not_before_at.unwrap_or(jump.undone(post.accepted_at).min(accepted_at)),
            ages_from: jump.undone(began_at(post)),
        }
    }

    /// Whether it is to be forgotten at `now`; held posts are after `retain`.
    pub fn is_over(&self, now: Timestamp, retain: Duration) -> bool {
        match self.phase {
            Phase::Waiting => false,
            Phase::DeadLetter | Phase::Shelved => self.due_at <= now,
            Phase::Held => now.since(self.due_at) >= retain && self.due_at < now,
        }
    }

    /// Where a post stands when the clock, which showed `before`, was set back to `now`
    /// while nobody looked: it waits no longer than it was to, but for a time that was
    /// asked for, and its age has begun.
    pub fn on_a_clock_set_back(self, asked_for: Option<Timestamp>, [before, now]: [Timestamp; 2]) -> State {
        // Clocks are never read at once.
        let is_due = |at: Timestamp| at.since(self.due_at).max(self.due_at.since(at)) < LEAST_JUMP;
        if before <= now || self.phase != Phase::Waiting || asked_for.is_some_and(is_due) {
            return self;
        }
        let due_at = now.after(self.due_at.since(before)).min(self.due_at);
        State { due_at, ages_from: self.ages_from.min(now), ..self }
    }

    /// The same by another clock.
    pub fn by(self, clock: impl Fn(Timestamp) -> Timestamp) -> State {
        State { due_at: clock(self.due_at), ages_from: clock(self.ages_from), ..self }
    }

    /// What callers call it while nobody has claimed it.
    pub fn seen(&self) -> PostState {
        match self.phase {
            Phase::Waiting if self.ended == 0 => PostState::Queued,
            Phase::Waiting => PostState::Deferred,
            Phase::DeadLetter => PostState::Failed,
            Phase::Held => PostState::Held,
            Phase::Shelved => PostState::Delivered,
        }
    }

    /// Whether the post is sent as it was accepted, an end that is over aside.
    pub fn is_as_accepted(&self) -> bool {
        !self.is_rerouted && !self.is_lean
    }

    /// The body that is sent.
    pub fn body_of(&self, post: &Post) -> Blob {
        post.lean_body.filter(|_| self.is_lean).unwrap_or(post.body)
    }

    /// The number of its next attempt.
    pub fn next_attempt(&self) -> u32 {
        self.tried.saturating_add(1)
    }

    /// What its next attempt makes of it; nothing when the post leaves nothing behind.
    /// One that is over, and kept, is kept for `retain`.
    pub fn settled(self, settlement: &Settlement, now: Timestamp, retain: Duration) -> Option<State> {
        let ended = State { ended: self.ended.saturating_add(1), tried: self.next_attempt(), ..self };
        match settlement {
            Settlement::Dropped => None,
            Settlement::Back => Some(self),
            Settlement::Again { after, .. } => Some(State { due_at: now.after(*after), ..ended }),
            Settlement::Leaner { .. } => Some(State { is_lean: true, due_at: now, ..ended }),
            Settlement::Delivered | Settlement::Listed { .. } => {
                Some(State { phase: Phase::Shelved, due_at: now.after(retain), ..ended })
            }
            Settlement::Held { .. } => Some(State { phase: Phase::Held, due_at: now, ..ended }),
            Settlement::Failed { .. } => {
                Some(State { phase: Phase::DeadLetter, due_at: now.after(retain), ..ended })
            }
        }
    }

    /// What an order makes of it; nothing when it is not meant. Deleting is not
    /// a state.
    pub fn ordered(self, order: &Order, now: Timestamp) -> Option<State> {
        let due = State { phase: Phase::Waiting, due_at: now.min(self.due_at), ..self };
        let released = State { ages_from: self.ages_from.after(now.since(self.due_at)), due_at: now, ..due };
        match (order, self.phase) {
            (Order::Hold, Phase::Waiting) => Some(State { phase: Phase::Held, due_at: now, ..self }),
            (Order::Release | Order::Retry, Phase::Held) => Some(released),
            (Order::Retry, Phase::Waiting) => Some(due),
            (Order::Retry, Phase::DeadLetter) => {
                Some(State { ended: 0, is_anew: true, ages_from: now, due_at: now, ..due })
            }
            (Order::Reroute { .. }, _) => {
                let retried = self.ordered(&Order::Retry, now)?;
                Some(State { is_rerouted: true, ..retried })
            }
            (Order::Hold | Order::Release | Order::Retry | Order::Delete | Order::HandBack, _) => None,
        }
    }

    /// What orders make of it, one after another.
    pub fn ordered_all(self, orders: &[Order], now: Timestamp) -> State {
        orders.iter().fold(self, |state, order| state.ordered(order, now).unwrap_or(state))
    }

    /// When to send it, or to forget it.
    pub fn ends_at(&self, retain_held: Duration) -> Timestamp {
        match self.phase {
            Phase::Held => self.due_at.after(retain_held),
            Phase::Waiting | Phase::DeadLetter | Phase::Shelved => self.due_at,
        }
    }
}

impl Order {
    /// Puts it with those that wait until an attempt has ended. The newest counts, but where
    /// a post goes stands until it goes elsewhere.
    pub(super) fn put_off(&self, orders: &mut Vec<Order>) {
        let is_route = |order: &Order| matches!(order, Order::Reroute { .. });
        orders.retain(|earlier| is_route(earlier) && !is_route(self));
        orders.push(self.clone());
    }
}

/// When the age of a post begins that nobody held or began anew.
pub(super) fn began_at(post: &Post) -> Timestamp {
    post.not_before_at.map_or(post.accepted_at, |at| at.max(post.accepted_at))
}

/// What happened to a post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chronicle {
    /// The first attempt and the last ones, the oldest first.
    pub attempts: Vec<Attempt>,
    /// Where it goes, when not where its message said.
    pub route: Option<Route>,
}

/// Where a post was sent on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub destination: Arc<Destination>,
    pub trust: Trust,
    pub path: String,
    /// The path, when what is shown of it is not all of it; in a record it stands behind.
    #[serde(skip)]
    pub sealed: Option<Bytes>,
}

/// A post's last word in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub state: State,
    pub chronicle: Chronicle,
}

impl Chronicle {
    /// Adds an attempt; of very many the oldest but one is left out.
    pub fn push(&mut self, mut attempt: Attempt) {
        cut(&mut attempt.reason, REASON);
        cut(&mut attempt.excerpt, EXCERPT);
        if self.attempts.len() > ATTEMPTS {
            self.attempts.remove(1);
        }
        self.attempts.push(attempt);
        if let Some(old) = self.attempts.iter_mut().rev().nth(EXCERPTS) {
            old.excerpt = String::new();
        }
    }

    /// Octets that it takes in the log at most.
    pub fn octets(&self) -> u64 {
        let attempts = self.attempts.iter().map(|attempt| 48 + attempt.reason.len() + attempt.excerpt.len());
        let route = self.route.iter().map(|route| {
            let sealed = route.sealed.as_ref().map_or(0, Bytes::len);
            128 + route.path.len() + route.destination.host.len() + sealed
        });
        attempts.chain(route).sum::<usize>() as u64
    }
}

/// Cuts a text to `most` octets, between characters.
fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// The post as it is sent now: where it was sent on to, without an end that was over
/// when it began anew, and with the body that is sent.
pub(super) fn as_sent(mut post: Arc<Post>, state: &State, route: Option<Route>) -> Arc<Post> {
    if let Some(Route { destination, trust, path, sealed }) = route {
        Arc::make_mut(&mut post).reroute((destination, trust), (path, sealed));
    }
    if state.is_anew && post.expires_at.is_some_and(|end| end <= state.ages_from) {
        Arc::make_mut(&mut post).expires_at = None;
    }
    if state.is_lean && post.lean_body.is_some() {
        let post = Arc::make_mut(&mut post);
        (post.body, post.lean_body, post.has_links) = (state.body_of(post), None, true);
    }
    post
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Scheme;
    use crate::tenant::Tenant;

    fn state(phase: Phase) -> State {
        State {
            ended: 3,
            tried: 4,
            phase,
            is_anew: false,
            is_rerouted: false,
            is_lean: false,
            due_at: Timestamp(500),
            ages_from: Timestamp(100),
        }
    }

    fn elsewhere() -> Order {
        let (tenant, scheme, host) = (Tenant::default(), Scheme::Http, "b".to_owned());
        let destination = Arc::new(Destination { tenant, scheme, host, port: 80, webhook: None });
        Order::Reroute { destination, trust: Trust::Wire, path: "/".to_owned(), sealed: None }
    }

    #[test]
    fn orders_change_whom_they_mean() {
        use Phase::{DeadLetter, Held, Shelved, Waiting};
        let rows = [
            (Order::Hold, Waiting, Some((Held, 3, 400, 100))),
            (Order::Hold, Held, None),
            (Order::Hold, DeadLetter, None),
            (Order::Release, Waiting, None),
            (Order::Release, DeadLetter, None),
            (Order::Retry, Waiting, Some((Waiting, 3, 400, 100))),
            (Order::Retry, DeadLetter, Some((Waiting, 0, 400, 400))),
            (Order::Delete, Waiting, None),
            (Order::Hold, Shelved, None),
            (Order::Release, Shelved, None),
            (Order::Retry, Shelved, None),
            (elsewhere(), Shelved, None),
            (elsewhere(), Held, Some((Waiting, 3, 400, 100))),
        ];
        for (order, phase, expected) in rows {
            let changed = state(phase).ordered(&order, Timestamp(400));
            let changed = changed.map(|new| (new.phase, new.ended, new.due_at.0, new.ages_from.0));
            assert_eq!(changed, expected, "{order:?} of {phase:?}");
        }
    }

    #[test]
    fn a_held_post_does_not_age() {
        let released = state(Phase::Held).ordered(&Order::Release, Timestamp(800)).unwrap();
        assert_eq!((released.due_at, released.ages_from), (Timestamp(800), Timestamp(400)));
        assert_eq!(released.ordered(&Order::Release, Timestamp(900)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_lengthens_no_wait_but_one_that_was_asked_for() {
        let young = State { ages_from: Timestamp(480), ..state(Phase::Waiting) };
        for (asked_for, before, expected) in
            [(9, 450, (450, 400)), (9, 400, (500, 480)), (501, 450, (500, 480))]
        {
            let set = young.on_a_clock_set_back(Some(Timestamp(asked_for)), [before, 400].map(Timestamp));
            assert_eq!((set.due_at.0, set.ages_from.0), expected, "{asked_for} {before}");
        }
    }

    #[test]
    fn settlements_count_and_say_what_comes_next() {
        use Phase::{DeadLetter, Held, Shelved, Waiting};
        let last = Attempt::default;
        let after = Duration::from_millis(30);
        let rows = [
            (Settlement::Delivered, Some((Shelved, 4, false, 450))),
            (Settlement::Leaner { last: last() }, Some((Waiting, 4, true, 400))),
            (Settlement::Again { after, last: last() }, Some((Waiting, 4, false, 430))),
            (Settlement::Held { last: last() }, Some((Held, 4, false, 400))),
            (Settlement::Failed { last: last() }, Some((DeadLetter, 4, false, 450))),
            (Settlement::Back, Some((Waiting, 3, false, 500))),
            (Settlement::Dropped, None),
        ];
        for (settlement, expected) in rows {
            let retain = Duration::from_millis(50);
            let settled = state(Waiting).settled(&settlement, Timestamp(400), retain);
            let settled = settled.map(|new| (new.phase, new.ended, new.is_lean, new.due_at.0));
            assert_eq!(settled, expected, "{settlement:?}");
        }
    }

    #[test]
    fn what_is_over_is_forgotten_in_time() {
        use Phase::{DeadLetter, Held, Shelved, Waiting};
        for (phase, at, is_over) in [
            (Waiting, 9000, false),
            (DeadLetter, 499, false),
            (DeadLetter, 500, true),
            (Shelved, 499, false),
            (Shelved, 500, true),
            (Held, 599, false),
            (Held, 600, true),
        ] {
            let found = state(phase).is_over(Timestamp(at), Duration::from_millis(100));
            assert_eq!(found, is_over, "{phase:?} at {at}");
        }
    }

    #[test]
    fn chronicles_keep_the_first_and_the_last_attempts_and_the_last_excerpts() {
        let mut chronicle = Chronicle::default();
        for number in 1..=200 {
            let text = "é".repeat(2000);
            let attempt = Attempt { number, reason: text.clone(), excerpt: text, ..Attempt::default() };
            chronicle.push(attempt);
        }
        let numbers: Vec<_> = chronicle.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1].into_iter().chain(151..=200).collect::<Vec<_>>());
        assert!(chronicle.attempts.iter().all(|attempt| attempt.reason.len() == REASON));
        let excerpts: Vec<_> = chronicle.attempts.iter().map(|attempt| attempt.excerpt.len()).collect();
        assert_eq!((excerpts[45], excerpts[46], excerpts[50]), (0, EXCERPT, EXCERPT));
        let written = postcard::to_stdvec(&chronicle).unwrap().len() as u64;
        assert!(written <= chronicle.octets() && written < 24 << 10, "{written}");
    }
}
