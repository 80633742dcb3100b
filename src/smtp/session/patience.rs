//! How much nonsense a session bears: errors, and commands that do nothing.
//!
//! Past the soft limit every error reply is delayed, which the driver does; at
//! the hard limit the session ends. A message that is accepted makes up for all
//! that was before it, so a client that works is never cut off.

use crate::smtp::words::Limits;

/// What was borne since the last accepted message.
#[derive(Debug, Default)]
pub(super) struct Patience {
    errors: usize,
    junk: usize,
    penalty: u32,
}

impl Patience {
    /// Counts an error; true when it was one too many.
    pub(super) fn is_lost_by_error(&mut self, limits: &Limits) -> bool {
        self.errors += 1;
        if self.errors >= limits.soft_errors {
            self.penalty += 1;
        }
        self.errors >= limits.hard_errors
    }

    /// Counts a command that did nothing; true when it was one too many.
    pub(super) fn is_lost_by_junk(&mut self, limits: &Limits) -> bool {
        self.junk += 1;
        self.junk > limits.junk_commands
    }

    /// A message was accepted.
    pub(super) fn restore(&mut self) {
        *self = Patience { penalty: self.penalty, ..Patience::default() };
    }

    /// How many replies are to be delayed, counted anew from here.
    pub(super) fn penalty(&mut self) -> u32 {
        std::mem::take(&mut self.penalty)
    }
}
