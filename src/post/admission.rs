//! What is handed to a spool at once.

use super::{Fingerprint, MessageId, Post};
use crate::event::Event;
use crate::tenant::Tenant;
use bytes::Bytes;

/// All posts of one message, with everything they need: kept whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Id of the message.
    pub message: MessageId,
    /// Whose message.
    pub tenant: Tenant,
    /// Makes a repeat within 24 hours by the same tenant a no-op.
    pub idempotency_key: Option<String>,
    /// What was asked for; one who repeats the key is to ask for the same.
    pub fingerprint: Option<Fingerprint>,
    /// The raw message, then what was composed from it.
    pub blobs: Vec<Bytes>,
    /// One a recipient.
    pub posts: Vec<Post>,
    /// What is told of it when it is kept, and only then.
    pub events: Vec<Event>,
    /// Whether the message itself, or what was made of it, says what a spool must not show;
    /// headers and path of a post may as well.
    pub has_secrets: bool,
}

impl Admission {
    /// Octets of everything that it keeps in memory: blobs and events.
    pub fn all_octets(&self) -> usize {
        let blobs = self.blobs.iter().map(Bytes::len);
        blobs.chain(self.events.iter().map(|event| event.data.len())).sum()
    }

    /// Octets of what came in: those of the message, or of what was composed where there
    /// was none.
    pub fn octets(&self) -> usize {
        let message = self.blobs.first().map_or(0, Bytes::len);
        if message > 0 { message } else { self.blobs.iter().map(Bytes::len).sum() }
    }
}
