//! How much nonsense a session bears: errors, commands that do nothing, logins
//! that fail.
//!
//! Past the soft limit every error reply is delayed, which the driver does; at
//! the hard limit the session ends. A message that is accepted makes up for all
//! that was before it, so a client that works is never cut off. Failed logins are
//! never made up for: else whoever has mail to a route could guess for ever.

use crate::smtp::words::Limits;

/// What was borne since the last accepted message.
#[derive(Debug, Default)]
pub(super) struct Patience {
    errors: usize,
    junk: usize,
    failed_logins: usize,
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

    /// Counts a failed login, which is always delayed; true when it was one too many.
    pub(super) fn is_lost_by_login(&mut self, limits: &Limits) -> bool {
        self.failed_logins += 1;
        self.penalty += 1;
        self.failed_logins >= limits.failed_logins
    }

    /// A message was accepted.
    pub(super) fn restore(&mut self) {
        self.errors = 0;
        self.junk = 0;
    }

    /// How many replies are to be delayed, counted anew from here.
    pub(super) fn penalty(&mut self) -> u32 {
        std::mem::take(&mut self.penalty)
    }
}
