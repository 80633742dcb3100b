//! A message on its way from one spool to another.

use super::super::record::{Accepted, BlobHead};
use super::super::state::Life;
use crate::post::{
    Blob, Destination, Fingerprint, MessageId, Notice, Post, PostId, Scheme, Sealed, Timestamp, Trust,
};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// Posts that go in one piece.
pub(in super::super) const POSTS: usize = 256;
/// Octets of messages after which a piece goes.
pub(in super::super) const OCTETS: usize = 4 << 20;

/// Those posts of a message that live, with all that is known of them, or its idempotency key
/// alone.
#[derive(Debug)]
pub(in super::super) struct Cargo {
    /// As it is kept when it was moved: with a life for each post that is not over.
    pub accepted: Accepted<'static>,
    /// All of its blobs; none of a post of which no body is kept.
    pub blobs: Vec<Bytes>,
}

impl Cargo {
    /// Posts of one message, which share these blobs.
    pub fn of(living: Vec<(Post, Life)>, heads: Vec<BlobHead>, blobs: Vec<Bytes>) -> Option<Cargo> {
        let (posts, lives): (Vec<_>, Vec<_>) = living.into_iter().unzip();
        let first = posts.first()?;
        let (message, accepted_at) = (first.id.message, first.accepted_at);
        let tenant = first.destination.tenant.clone();
        let lives = lives.into_iter().map(Some).collect();
        let accepted = Accepted {
            message,
            accepted_at,
            tenant,
            idempotency_key: None,
            fingerprint: None,
            blobs: heads,
            posts: Cow::Owned(posts),
            lives,
        };
        Some(Cargo { accepted, blobs })
    }

    /// The idempotency key of a message, noted at this time. Of its posts nothing counts but
    /// their number.
    pub fn key(
        (tenant, key): (Tenant, String),
        (message, posts): (MessageId, u16),
        fingerprint: Option<Fingerprint>,
        noted_at: Timestamp,
    ) -> Cargo {
        let posts: Vec<_> = (0..posts).map(|number| husk(&tenant, PostId { message, number })).collect();
        let accepted = Accepted {
            message,
            accepted_at: noted_at,
            tenant,
            idempotency_key: Some(key),
            fingerprint,
            blobs: Vec::new(),
            lives: vec![None; posts.len()],
            posts: Cow::Owned(posts),
        };
        Cargo { accepted, blobs: Vec::new() }
    }

    /// Its living posts.
    pub fn living(&self) -> impl Iterator<Item = (&Post, &Life)> {
        let lives = self.accepted.posts.iter().zip(&self.accepted.lives);
        lives.filter_map(|(post, life)| Some((post, life.as_ref()?)))
    }

    /// About what it takes in the log.
    pub fn octets(&self) -> usize {
        let chronicles: u64 = self.living().map(|(_, life)| life.chronicle.octets()).sum();
        self.accepted.blob_octets() + usize::try_from(chronicles).unwrap_or(usize::MAX)
    }
}

/// What stands for a post that is over.
fn husk(tenant: &Tenant, id: PostId) -> Post {
    let destination = Destination {
        tenant: tenant.clone(),
        scheme: Scheme::Http,
        host: String::new(),
        port: 0,
        webhook: None,
    };
    Post {
        id,
        accepted_at: Timestamp::default(),
        destination: Arc::new(destination),
        method: String::new(),
        path: String::new(),
        headers: Vec::new(),
        body: Blob { number: 0, start: 0, length: 0 },
        idempotency_key: None,
        sender: String::new(),
        recipient: String::new(),
        not_before_at: None,
        expires_at: None,
        priority: 0,
        tags: Vec::new(),
        xs_message_id: None,
        xs_mailing_id: None,
        ordering_key: None,
        sign_with: None,
        auth: None,
        trace: None,
        notice: Notice::default(),
        trust: Trust::Wire,
        has_links: false,
        lean_body: None,
        batch: None,
        sealed: Sealed::default(),
    }
}
