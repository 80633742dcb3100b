//! What the catalog has to do behind everybody's back: merging what it has on disk, on a
//! thread of its own. Whoever fills the catalog faster than that does it himself.

use super::shared::Shared;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{PoisonError, Weak};

/// Does what the catalog rings for, as long as there is one.
pub(super) fn do_when_rung(shared: &Weak<Shared>, rung: &Receiver<()>) {
    while rung.recv().is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        shared.do_chores();
    }
}

impl Shared {
    /// Lets the catalog do what it has to, if that is much: for those who add many posts
    /// in a row, without the index.
    pub fn catch_up(&self) {
        if self.index().is_behind() {
            self.do_chores();
        }
    }

    /// Does all that the catalog has to do, while others use it.
    fn do_chores(&self) {
        let _alone = self.at_chores.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(mut chore) = self.index().chore() else { return };
            let mut done = unpanicked(|| chore.carry_out());
            loop {
                let finished = self.index().finish(done.map(|()| chore));
                let Some((back, gone)) = finished else { break };
                chore = back;
                done = unpanicked(|| chore.end_all(&gone));
            }
            let spent = self.index().spent();
            drop(spent);
        }
    }
}

/// What was done; a panic is a failure.
fn unpanicked(chore: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(chore)).unwrap_or_else(|_| Err(io::Error::other("a panic")))
}
