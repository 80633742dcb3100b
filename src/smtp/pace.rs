//! How long a client may take: a whole command has a deadline, mail data a least
//! speed.
//!
//! A command that comes in drops is no activity: the clock begins anew with whole
//! commands only. Mail data is measured in windows, each by itself, so a fast
//! beginning does not pay for a slow end. In a crowd the deadline is shorter, and
//! as others may come while a client says nothing, it is looked at again and again.

use super::Options;
use super::session::Dismissal;
use super::words::Timeouts;
use tokio::time::Instant;

/// Since when the client is waited for, and what came since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Instant,
    octets: u64,
    of: Of,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The next command.
    Command,
    /// Mail data, measured in windows.
    Data,
}

impl Pace {
    /// This is waited for from now on.
    pub(super) fn begin(of: Of) -> Pace {
        Pace { since: Instant::now(), octets: 0, of }
    }

    /// The client waited for us until now.
    pub(super) fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// This is waited for; since when it was, unless it is something else.
    pub(super) fn turn_to(&mut self, of: Of) {
        if of != self.of {
            *self = Pace::begin(of);
        }
    }

    /// Counts mail data.
    pub(super) fn count(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// Whether the client has been waited for too long.
    pub(super) fn impatience(&mut self, options: &Options) -> Option<Dismissal> {
        let times = &options.timeouts;
        let now = Instant::now();
        let waited = now.duration_since(self.since);
        match self.of {
            Of::Command => {
                let is_dense = options.crowd.is_dense(&options.limits);
                let most = if is_dense { times.idle_under_pressure.min(times.idle) } else { times.idle };
                (waited >= most).then_some(Dismissal::Idle)
            }
            Of::Data if waited < times.data_window => None,
            Of::Data => {
                let is_slow = u128::from(self.octets) * 1000
                    < u128::from(times.data_rate) * times.data_window.as_millis();
                *self = Pace::begin(Of::Data);
                is_slow.then_some(Dismissal::SlowData)
            }
        }
    }

    /// When to look at the clock again if nothing comes.
    pub(super) fn next_look(&self, times: &Timeouts) -> Instant {
        match self.of {
            Of::Data => self.since + times.data_window,
            // The others may become many while this one says nothing.
            Of::Command => (self.since + times.idle).min(Instant::now() + times.idle_under_pressure),
        }
    }
}
