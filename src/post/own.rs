//! Posts that nobody handed in: reports of failures, batches of events.

use super::{Blob, Destination, Notice, OnFailure, Post, PostId, Sealed, Timestamp, Trust};
use std::sync::Arc;

/// In the middle of 0 to 9.
const PRIORITY: u8 = 5;

impl Post {
    /// A post of the gateway's own, to the root of the destination: nobody steers it, and
    /// nobody hears when it fails.
    pub fn own(id: PostId, accepted_at: Timestamp, destination: Arc<Destination>, body: Blob) -> Post {
        Post {
            id,
            accepted_at,
            destination,
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body,
            idempotency_key: None,
            sender: String::new(),
            recipient: String::new(),
            not_before_at: None,
            expires_at: None,
            priority: PRIORITY,
            tags: Vec::new(),
            xs_message_id: None,
            xs_mailing_id: None,
            ordering_key: None,
            sign_with: None,
            auth: None,
            trace: None,
            notice: Notice { on_failure: OnFailure::Silent, ..Notice::default() },
            trust: Trust::Operator,
            has_links: false,
            lean_body: None,
            batch: None,
            sealed: Sealed::default(),
        }
    }
}
