//! Claimed posts of a lane that its workers take without asking.
//!
//! The dispatcher fills it as far as the lane's stock says and may take everything
//! back at any time; how many there are it learns from the workers' reports. A
//! worker that met trouble empties it at once: nobody begins another post before the
//! dispatcher knows.

use crate::post::{PostId, Trust};
use crate::spool::Claim;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often in a row the next post is passed over at most.
const PASSES: u32 = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Tray(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    claims: VecDeque<Claim>,
    /// How often the first was passed over.
    passed: u32,
}

impl Tray {
    /// Puts posts behind those that are there.
    pub(super) fn put(&self, claims: Vec<Claim>) {
        self.contents().claims.extend(claims);
    }

    /// The next post.
    pub(super) fn take(&self) -> Option<Claim> {
        self.contents().claims.pop_front()
    }

    /// The next post that a connection opened for `trust` may carry, unless one of
    /// another priority comes before it or the next one has waited long for another:
    /// then that one, for which a new connection is opened.
    pub(super) fn take_fitting(&self, trust: Trust) -> Option<Claim> {
        let mut contents = self.contents();
        let Contents { claims, passed } = &mut *contents;
        let priority = claims.front()?.post.priority;
        let mut equals = claims.iter().take_while(|claim| claim.post.priority == priority);
        let fitting = equals.position(|claim| claim.post.trust == trust);
        let place = fitting.filter(|_| *passed < PASSES).unwrap_or(0);
        *passed = if place > 0 { *passed + 1 } else { 0 };
        claims.remove(place)
    }

    /// Whether a post is in it.
    pub(super) fn holds(&self, id: PostId) -> bool {
        self.contents().claims.iter().any(|claim| claim.post.id == id)
    }

    /// All posts.
    pub(super) fn empty(&self) -> Vec<Claim> {
        self.contents().claims.drain(..).collect()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
