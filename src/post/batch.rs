//! What a post has that tells a webhook of events: a batch of them.
//!
//! Which webhook that is says its destination: each has lanes of its own.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The id of a webhook: `wh_…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WebhookId(Arc<str>);

impl WebhookId {
    /// The id as it is written.
    pub fn new(text: &str) -> WebhookId {
        WebhookId(text.into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for WebhookId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Events in its body.
    pub events: u32,
    /// Position in the journal up to which its webhook has been told with this batch and
    /// those before it: kept in one with the batch, so that none is made twice.
    pub reached: u64,
}
