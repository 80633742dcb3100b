//! What is known of a living post: where it stands and what happened to it, and
//! what settlements and orders make of that. Pure: the time is an argument.
//!
//! A [`State`] is small and in memory or in the catalog; a [`Chronicle`] stands in
//! the log alone and is read when somebody asks or another attempt is added.

use super::{Attempt, Order, PostState, Settlement};
use crate::post::{Destination, Post, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
    pub former: Former,
    pub phase: Phase,
    /// It was a dead letter and began anew.
    pub is_anew: bool,
    /// Its chronicle says where it goes.
    pub is_rerouted: bool,
    /// When to send it, when to forget it (a dead letter), since when it is held.
    pub due_at: Timestamp,
    /// When its age begins; the time for which it was held is left out.
    pub ages_from: Timestamp,
}

/// Room of a number that formats 1 and 2 have here, and nobody reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Former;

impl Serialize for Former {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(0)
    }
}

impl<'de> Deserialize<'de> for Former {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Former, D::Error> {
        u32::deserialize(deserializer).map(|_| Former)
    }
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
}

impl State {
    /// The state of a post that was just accepted.
    pub fn fresh(post: &Post) -> State {
        State {
            ended: 0,
            tried: 0,
            former: Former,
            phase: Phase::Waiting,
            is_anew: false,
            is_rerouted: false,
            due_at: post.not_before_at.unwrap_or(post.accepted_at),
            ages_from: began_at(post),
        }
    }

    /// Whether it is to be forgotten at `now`; held posts are after `retain`.
    pub fn is_over(&self, now: Timestamp, retain: Duration) -> bool {
        match self.phase {
            Phase::Waiting => false,
            Phase::DeadLetter => self.due_at <= now,
            Phase::Held => now.since(self.due_at) >= retain && self.due_at < now,
        }
    }

    /// What callers call it while nobody has claimed it.
    pub fn seen(&self) -> PostState {
        match self.phase {
            Phase::Waiting if self.ended == 0 => PostState::Queued,
            Phase::Waiting => PostState::Deferred,
            Phase::DeadLetter => PostState::Failed,
            Phase::Held => PostState::Held,
        }
    }

    /// The number of its next attempt.
    pub fn next_attempt(&self) -> u32 {
        self.tried.saturating_add(1)
    }

    /// What its next attempt makes of it; nothing when the post is over. Dead letters
    /// are kept for `retain`.
    pub fn settled(self, settlement: &Settlement, now: Timestamp, retain: Duration) -> Option<State> {
        let ended = State { ended: self.ended.saturating_add(1), tried: self.next_attempt(), ..self };
        match settlement {
            Settlement::Delivered => None,
            Settlement::Back => Some(self),
            Settlement::Again { after, .. } => Some(State { due_at: now.after(*after), ..ended }),
            Settlement::Leaner { .. } => Some(State { due_at: now, ..ended }),
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
            (Order::Hold | Order::Release | Order::Delete, _) => None,
        }
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
    pub path: String,
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
        let route = self.route.iter().map(|route| 128 + route.path.len() + route.destination.host.len());
        attempts.chain(route).sum::<usize>() as u64
    }
}

/// Cuts a text to `most` octets, between characters.
fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// The post as it is sent now: where it was sent on to, and without an end that
/// was over when it began anew.
pub(super) fn as_sent(mut post: Arc<Post>, state: &State, route: Option<Route>) -> Arc<Post> {
    if let Some(Route { destination, path }) = route {
        Arc::make_mut(&mut post).reroute(destination, path);
    }
    if state.is_anew && post.expires_at.is_some_and(|end| end <= state.ages_from) {
        Arc::make_mut(&mut post).expires_at = None;
    }
    post
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: Phase) -> State {
        State {
            ended: 3,
            tried: 4,
            former: Former,
            phase,
            is_anew: false,
            is_rerouted: false,
            due_at: Timestamp(500),
            ages_from: Timestamp(100),
        }
    }

    #[test]
    fn orders_change_whom_they_mean() {
        use Phase::{DeadLetter, Held, Waiting};
        let rows = [
            (Order::Hold, Waiting, Some((Held, 3, 400, 100))),
            (Order::Hold, Held, None),
            (Order::Hold, DeadLetter, None),
            (Order::Release, Waiting, None),
            (Order::Release, DeadLetter, None),
            (Order::Retry, Waiting, Some((Waiting, 3, 400, 100))),
            (Order::Retry, DeadLetter, Some((Waiting, 0, 400, 400))),
            (Order::Delete, Waiting, None),
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
