//! What later records of a log say of posts whose message stands further back.
//!
//! A log is read from its end to its beginning: the first that is heard of a post is its
//! last word, and memory holds only ids and states of posts whose message has not been
//! reached yet.
//!
//! The log goes by the clock of the day, and so do these words, unless they are for a spool:
//! then they go by its clock.

use super::Attempt;
use super::catalog::Spot;
use super::record::{Accepted, Outcome, Record};
use super::state::{Chronicle, Phase, State, began_at};
use crate::clock::{Clock, Jump};
use crate::post::{Destination, PostId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// See the module.
#[derive(Default)]
pub(super) struct Later {
    ended: HashSet<PostId>,
    words: HashMap<PostId, Word>,
    misses_segments: bool,
    clock: Option<Clock>,
    /// Of that clock, when the last record was heard.
    jump: Jump,
}

/// The last that is said of a post: its state, and where more of it stands.
pub(super) struct Word {
    pub state: State,
    pub history: Spot,
    pub destination: Option<Arc<Destination>>,
    /// What the clock showed, if that is known: it was set back if it shows less now.
    pub said_at: Option<Timestamp>,
}

impl Later {
    /// By the clock of a spool.
    pub fn by(clock: Clock) -> Later {
        Later { clock: Some(clock), ..Later::default() }
    }

    /// Takes in the record at this spot, which stands before all that was heard so far;
    /// answers a message, whose posts have their last word now.
    pub fn hear(&mut self, record: Record<'static>, spot: Spot) -> Option<Accepted<'static>> {
        let jump = self.clock.map(|clock| clock.jump()).unwrap_or_default();
        self.jump = jump;
        match record.by(|at| jump.undone(at)) {
            Record::Closed | Record::Opened { .. } | Record::Published => {}
            Record::Settled(list) => {
                for (id, outcome) in list.into_iter().rev() {
                    let (state, history) = match outcome {
                        Outcome::Ended => {
                            self.end(id);
                            continue;
                        }
                        Outcome::Stands(state) => (state, Spot::default()),
                        Outcome::Lived { state, .. } => (state, spot),
                    };
                    self.learn(id, Word { state, history, destination: None, said_at: None });
                }
            }
            Record::Lives(id, life) => self.learn(id, Word::new(life.state, spot, (&life.chronicle, jump))),
            Record::Accepted(accepted) => return Some(accepted),
        }
        None
    }

    /// The last word of post number `at` of the message at this spot, if it lives.
    pub fn last_word(&mut self, accepted: &Accepted<'_>, at: usize, spot: Spot) -> Option<Word> {
        let post = accepted.posts.get(at)?;
        let was_moved = !accepted.lives.is_empty();
        if self.ended.contains(&post.id) {
            // The original of a moved record may still stand further back.
            if !was_moved {
                self.ended.remove(&post.id);
            }
            return None;
        }
        let jump = self.jump;
        let (state, life) = accepted.state(at, jump)?;
        let own = match life.filter(|life| life.chronicle != Chronicle::default()) {
            Some(life) => Word::new(state, spot, (&life.chronicle, jump)),
            None => {
                let said_at = (!was_moved).then_some(accepted.accepted_at);
                Word { state, history: Spot::default(), destination: None, said_at }
            }
        };
        let mut word = match self.words.remove(&post.id) {
            Some(mut word) => {
                word.adopt(own);
                word
            }
            None => own,
        };
        // Format 1 did not say.
        word.state.ages_from = word.state.ages_from.max(jump.undone(began_at(post)));
        if was_moved {
            // Its original may still stand further back.
            self.ended.insert(post.id);
        }
        Some(word)
    }

    /// A segment cannot be read: it may hold any message.
    pub fn miss_segment(&mut self) {
        self.misses_segments = true;
    }

    /// The posts of which the log speaks and that it does not hold, when it was heard to its
    /// beginning: their messages were damaged, or their segment is gone. It may have been given
    /// up when they had ended and before that was durable. None where they may only be unread.
    pub fn orphans(&self) -> Vec<PostId> {
        if self.misses_segments {
            return Vec::new();
        }
        let orphans = self.words.iter().filter(|(_, word)| word.state.phase != Phase::Shelved);
        let mut orphans: Vec<_> = orphans.map(|(id, _)| *id).collect();
        orphans.sort_unstable();
        orphans
    }

    /// Takes in what stands before all that was read so far.
    fn learn(&mut self, id: PostId, earlier: Word) {
        if self.ended.contains(&id) {
            return;
        }
        match self.words.get_mut(&id) {
            None => drop(self.words.insert(id, earlier)),
            Some(word) => word.adopt(earlier),
        }
    }

    fn end(&mut self, id: PostId) {
        if !self.words.contains_key(&id) {
            self.ended.insert(id);
        }
    }
}

impl Word {
    fn new(state: State, history: Spot, (chronicle, jump): (&Chronicle, Jump)) -> Word {
        let destination = chronicle.route.as_ref().map(|route| Arc::clone(&route.destination));
        let said_at = chronicle.attempts.last().map(|last| jump.undone(last.started_at));
        Word { state, history, destination, said_at }
    }

    /// An order tells a new state alone: the chronicle stands further back.
    fn adopt(&mut self, earlier: Word) {
        if self.history.place().is_none() {
            (self.history, self.destination) = (earlier.history, earlier.destination);
        }
    }
}

/// What happened to a post, as the record says where its history stands.
pub(super) fn chronicle_in(record: Record<'_>, id: PostId) -> Option<Chronicle> {
    match record {
        Record::Lives(own, life) => (own == id).then(|| life.into_owned().chronicle),
        Record::Accepted(accepted) => {
            let mut lives = accepted.posts.iter().zip(accepted.lives);
            lives.find(|(post, _)| post.id == id).and_then(|(_, life)| life).map(|life| life.chronicle)
        }
        // Format 1 kept no more than this.
        Record::Settled(list) => list.into_iter().rev().find_map(|(own, outcome)| match outcome {
            Outcome::Lived { state, reason } if own == id => {
                let attempt = Attempt { number: state.tried, ..Attempt::because(reason) };
                Some(Chronicle { attempts: vec![attempt], route: None })
            }
            _ => None,
        }),
        Record::Closed | Record::Opened { .. } | Record::Published => None,
    }
}
