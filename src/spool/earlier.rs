//! What a commit is answered, also when there is an earlier one with its idempotency key.

use crate::post::{Fingerprint, MessageId, Post};
use serde::{Deserialize, Serialize};

/// The answer to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The posts are kept.
    Kept,
    /// Nothing was kept: this earlier message had the same idempotency key.
    Repeated(Earlier),
}

/// A message whose idempotency key came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its id.
    pub message: MessageId,
    /// How many posts it made.
    pub posts: u16,
    /// What it asked for, where that is known.
    pub fingerprint: Option<Fingerprint>,
}

impl Earlier {
    /// What is remembered of a message that is kept.
    pub fn of(message: MessageId, posts: &[Post], fingerprint: Option<Fingerprint>) -> Earlier {
        Earlier { message, posts: u16::try_from(posts.len()).unwrap_or(u16::MAX), fingerprint }
    }
}
