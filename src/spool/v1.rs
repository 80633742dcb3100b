//! Records of format 1, as the first version wrote them: read, never written.
//!
//! A spool that was filled before an upgrade loses nothing by it. Format 1 knew no
//! held posts, kept one reason beside a state and no other attempts. Its posts are
//! those of format 2 without their last fields.

use super::record::{Accepted, BlobHead, Outcome, Record};
use super::state::{Chronicle, Life, Phase, State};
use super::v2::OlderPost;
use crate::post::{MessageId, Post, PostId, Timestamp};
use crate::tenant::Tenant;
use serde::Deserialize;
use std::borrow::Cow;

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
    posts: Vec<OlderPost>,
    states: Vec<Option<OldState>>,
}

#[derive(Deserialize)]
struct OldState {
    ended: u32,
    tried: u32,
    _former: u32,
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
            fingerprint: None,
            blobs: old.blobs,
            posts: Cow::Owned(old.posts.into_iter().map(Post::from).collect()),
            lives: old.states.into_iter().map(|state| state.map(life)).collect(),
        }
    }
}

impl From<OldState> for State {
    /// When its age begins stands in the post: replaying adds it.
    fn from(old: OldState) -> State {
        State {
            ended: old.ended,
            tried: old.tried,
            phase: match old.phase {
                OldPhase::Waiting => Phase::Waiting,
                OldPhase::DeadLetter => Phase::DeadLetter,
            },
            is_anew: false,
            is_rerouted: false,
            is_lean: false,
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
