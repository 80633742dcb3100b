//! Claimed posts of a lane that its workers take without asking.
//!
//! The dispatcher fills it as far as the lane's stock says and may take everything
//! back at any time; how many there are it learns from the workers' reports. A
//! worker that met trouble empties it at once: nobody begins another post before the
//! dispatcher knows.

use crate::spool::Claim;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Default)]
pub(super) struct Tray(Mutex<VecDeque<Claim>>);

impl Tray {
    /// Puts posts behind those that are there.
    pub(super) fn put(&self, claims: Vec<Claim>) {
        self.claims().extend(claims);
    }

    /// The next post.
    pub(super) fn take(&self) -> Option<Claim> {
        self.claims().pop_front()
    }

    /// All posts.
    pub(super) fn empty(&self) -> Vec<Claim> {
        self.claims().drain(..).collect()
    }

    fn claims(&self) -> MutexGuard<'_, VecDeque<Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
