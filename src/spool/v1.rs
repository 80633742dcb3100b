//! Records of format 1, as the first version wrote them: read, never written.
//!
//! A spool that was filled before an upgrade loses nothing by it. Format 1 knew no
//! held posts, kept one reason beside a state and no other attempts.

use super::record::{Accepted, BlobHead, Outcome, Record};
use super::state::{Chronicle, Former, Life, Phase, State};
use crate::post::{Blob, Destination, Field, MessageId, Notice, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Deserialize)]
enum OldRecord {
    Accepted(OldAccepted),
    Settled(Vec<(PostId, OldOutcome)>),
    Closed,
    Opened { epoch: u32 },
}

#[derive(Deserialize)]
struct OldAccepted {
    message: MessageId,
    accepted_at: Timestamp,
    tenant: Tenant,
    idempotency_key: Option<String>,
    blobs: Vec<BlobHead>,
    posts: Vec<OldPost>,
    states: Vec<Option<OldState>>,
}

#[derive(Deserialize)]
struct OldPost {
    id: PostId,
    accepted_at: Timestamp,
    destination: Arc<Destination>,
    method: String,
    path: String,
    headers: Vec<Field>,
    body: Blob,
    idempotency_key: Option<String>,
    sender: String,
    recipient: String,
    not_before_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    priority: u8,
    tags: Vec<String>,
    xs_message_id: Option<String>,
    xs_mailing_id: Option<String>,
}

#[derive(Deserialize)]
struct OldState {
    ended: u32,
    tried: u32,
    former: Former,
    phase: OldPhase,
    due_at: Timestamp,
}

#[derive(Deserialize)]
enum OldPhase {
    Waiting,
    DeadLetter,
}

#[derive(Deserialize)]
enum OldOutcome {
    Ended,
    Lives { state: OldState, reason: String },
}

/// Reads the meta of a record of format 1.
pub(super) fn decode(meta: &[u8]) -> Option<Record<'static>> {
    Some(match postcard::from_bytes(meta).ok()? {
        OldRecord::Accepted(accepted) => Record::Accepted(accepted.into()),
        OldRecord::Settled(list) => {
            Record::Settled(list.into_iter().map(|(id, outcome)| (id, outcome.into())).collect())
        }
        OldRecord::Closed => Record::Closed,
        OldRecord::Opened { epoch } => Record::Opened { epoch },
    })
}

impl From<OldAccepted> for Accepted<'static> {
    fn from(old: OldAccepted) -> Accepted<'static> {
        let life = |state: OldState| Life { state: state.into(), chronicle: Chronicle::default() };
        Accepted {
            message: old.message,
            accepted_at: old.accepted_at,
            tenant: old.tenant,
            idempotency_key: old.idempotency_key,
            blobs: old.blobs,
            posts: Cow::Owned(old.posts.into_iter().map(Post::from).collect()),
            lives: old.states.into_iter().map(|state| state.map(life)).collect(),
        }
    }
}

impl From<OldPost> for Post {
    fn from(old: OldPost) -> Post {
        Post {
            id: old.id,
            accepted_at: old.accepted_at,
            destination: old.destination,
            method: old.method,
            path: old.path,
            headers: old.headers,
            body: old.body,
            idempotency_key: old.idempotency_key,
            sender: old.sender,
            recipient: old.recipient,
            not_before_at: old.not_before_at,
            expires_at: old.expires_at,
            priority: old.priority,
            tags: old.tags,
            xs_message_id: old.xs_message_id,
            xs_mailing_id: old.xs_mailing_id,
            ordering_key: None,
            sign_with: None,
            auth: None,
            trace: None,
            notice: Notice::default(),
            has_links: false,
            lean_body: None,
        }
    }
}

impl From<OldState> for State {
    /// When its age begins stands in the post: replaying adds it.
    fn from(old: OldState) -> State {
        State {
            ended: old.ended,
            tried: old.tried,
            former: old.former,
            phase: match old.phase {
                OldPhase::Waiting => Phase::Waiting,
                OldPhase::DeadLetter => Phase::DeadLetter,
            },
            is_anew: false,
            is_rerouted: false,
            due_at: old.due_at,
            ages_from: Timestamp(0),
        }
    }
}

impl From<OldOutcome> for Outcome {
    fn from(old: OldOutcome) -> Outcome {
        match old {
            OldOutcome::Ended => Outcome::Ended,
            OldOutcome::Lives { state, reason } => Outcome::Lived { state: state.into(), reason },
        }
    }
}
