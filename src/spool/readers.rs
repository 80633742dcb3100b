//! Reading the log for others, a few reads at a time: what is claimed, and its body
//! unless that is large.
//!
//! Each read may bring in a whole message, and very many lanes ask at once: as many
//! threads as there are questions would take more memory than all else, and read no
//! faster. Questions are answered in the order in which they came. A panic ends the
//! read that it happened in, and no other.

use super::SpoolError;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::spawn_blocking;

/// Reads at a time.
const MOST: usize = 4;

type Read = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(super) struct Readers(Mutex<Desk>);

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Read>,
    /// Threads that read.
    threads: usize,
}

impl Readers {
    /// Has it read soon.
    pub fn read(self: &Arc<Readers>, read: impl FnOnce() + Send + 'static) {
        let mut desk = self.desk();
        desk.waiting.push_back(Box::new(read));
        if desk.threads < MOST {
            desk.threads += 1;
            drop(desk);
            let readers = Arc::clone(self);
            spawn_blocking(move || readers.work());
        }
    }

    fn work(&self) {
        while let Some(read) = self.next() {
            // Whoever waits for it learns that from its channel.
            let _ = catch_unwind(AssertUnwindSafe(read));
        }
    }

    fn next(&self) -> Option<Read> {
        let mut desk = self.desk();
        let next = desk.waiting.pop_front();
        if next.is_none() {
            desk.threads -= 1;
        }
        next
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read; a panic is a failure that may pass.
pub(super) fn unpanicked<T>(read: impl FnOnce() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
    let failed = |_| Err(SpoolError::Failed("a panic while it was read".to_owned()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(failed)
}
