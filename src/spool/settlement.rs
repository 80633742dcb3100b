//! What a spool is told of the end of an attempt.

use super::Attempt;
use std::time::Duration;

/// How an attempt ended, for the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver took it: the post ends and leaves nothing behind, or is kept for a
    /// while when its body has links, or the spool keeps all.
    Delivered,
    /// The receiver took it: the post is over, and is listed for a while with its
    /// attempts, without its body where `Delivered` would keep none.
    Listed {
        /// The attempt.
        last: Attempt,
    },
    /// To be claimed again at once, with its lean body as its body from then on; without
    /// one it is as it was.
    Leaner {
        /// The attempt.
        last: Attempt,
    },
    /// To be claimed again after a delay.
    Again {
        /// The delay, from now.
        after: Duration,
        /// The attempt.
        last: Attempt,
    },
    /// Kept until it is released, without ageing.
    Held {
        /// The attempt.
        last: Attempt,
    },
    /// Given up: kept as a dead letter for the retention time.
    Failed {
        /// The attempt that ended it.
        last: Attempt,
    },
    /// Given up, and whoever sent it knows: the post ends and leaves nothing behind.
    Dropped,
    /// Never tried after all: due again as if it had not been claimed.
    Back,
}

impl Settlement {
    /// The end of an attempt that was under way when its gateway stopped.
    pub(super) fn cut_off() -> Settlement {
        Settlement::Again { after: Duration::ZERO, last: Attempt::because("the gateway stopped") }
    }

    /// Whether the receiver took the post.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Settlement::Delivered | Settlement::Listed { .. })
    }

    /// The attempt that ended so, where it is told.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Settlement::Again { last, .. }
            | Settlement::Listed { last }
            | Settlement::Leaner { last }
            | Settlement::Held { last }
            | Settlement::Failed { last } => Some(last),
            Settlement::Delivered | Settlement::Dropped | Settlement::Back => None,
        }
    }
}
