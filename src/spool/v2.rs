//! Records of format 2, as versions before this one wrote them: read, never written.
//!
//! Format 2 had whose URL it is in a post's destination, and in a state a number that
//! meant nothing any more. It knew no posts with links and no lean bodies.

use super::Attempt;
use super::record::{Accepted, BlobHead, Outcome, Record};
use super::state::{Chronicle, Life, Phase, Route, State};
use crate::post::{
    Blob, Destination, Field, MessageId, Notice, Post, PostId, Scheme, Sealed, Timestamp, Trace, Trust,
};
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
    Lives(PostId, OldLife),
}

#[derive(Deserialize)]
struct OldAccepted {
    message: MessageId,
    accepted_at: Timestamp,
    tenant: Tenant,
    idempotency_key: Option<String>,
    blobs: Vec<BlobHead>,
    posts: Vec<OldPost>,
    lives: Vec<Option<OldLife>>,
}

#[derive(Deserialize)]
struct OldPost {
    /// What format 1 knew of a post.
    older: OlderPost,
    ordering_key: Option<String>,
    sign_with: Option<String>,
    auth: Option<String>,
    trace: Option<Trace>,
    notice: Notice,
}

/// A post of format 1.
#[derive(Deserialize)]
pub(super) struct OlderPost {
    id: PostId,
    accepted_at: Timestamp,
    destination: OldDestination,
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
struct OldDestination {
    tenant: Tenant,
    scheme: Scheme,
    host: String,
    port: u16,
    trust: Trust,
}

#[derive(Deserialize)]
struct OldLife {
    state: OldState,
    chronicle: OldChronicle,
}

#[derive(Deserialize)]
struct OldState {
    ended: u32,
    tried: u32,
    _former: u32,
    phase: Phase,
    is_anew: bool,
    is_rerouted: bool,
    due_at: Timestamp,
    ages_from: Timestamp,
}

#[derive(Deserialize)]
struct OldChronicle {
    attempts: Vec<Attempt>,
    route: Option<OldRoute>,
}

#[derive(Deserialize)]
struct OldRoute {
    destination: OldDestination,
    path: String,
}

#[derive(Deserialize)]
enum OldOutcome {
    Ended,
    Stands(OldState),
    Lived { state: OldState, reason: String },
}

/// Reads the meta of a record of format 2.
pub(super) fn decode(meta: &[u8]) -> Option<Record<'static>> {
    Some(match postcard::from_bytes(meta).ok()? {
        OldRecord::Accepted(accepted) => Record::Accepted(accepted.into()),
        OldRecord::Settled(list) => {
            Record::Settled(list.into_iter().map(|(id, outcome)| (id, outcome.into())).collect())
        }
        OldRecord::Closed => Record::Closed,
        OldRecord::Opened { epoch } => Record::Opened { epoch },
        OldRecord::Lives(id, life) => Record::Lives(id, Cow::Owned(life.into())),
    })
}

impl From<OldAccepted> for Accepted<'static> {
    fn from(old: OldAccepted) -> Accepted<'static> {
        Accepted {
            message: old.message,
            accepted_at: old.accepted_at,
            tenant: old.tenant,
            idempotency_key: old.idempotency_key,
            fingerprint: None,
            blobs: old.blobs,
            posts: Cow::Owned(old.posts.into_iter().map(Post::from).collect()),
            lives: old.lives.into_iter().map(|life| life.map(Life::from)).collect(),
        }
    }
}

impl From<OldPost> for Post {
    fn from(old: OldPost) -> Post {
        Post {
            ordering_key: old.ordering_key,
            sign_with: old.sign_with,
            auth: old.auth,
            trace: old.trace,
            notice: old.notice,
            ..Post::from(old.older)
        }
    }
}

impl From<OlderPost> for Post {
    fn from(old: OlderPost) -> Post {
        let (destination, trust) = old.destination.split();
        Post {
            id: old.id,
            accepted_at: old.accepted_at,
            destination,
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
            trust,
            has_links: false,
            lean_body: None,
            batch: None,
            sealed: Sealed::default(),
        }
    }
}

impl OldDestination {
    fn split(self) -> (Arc<Destination>, Trust) {
        let OldDestination { tenant, scheme, host, port, trust } = self;
        (Arc::new(Destination { tenant, scheme, host, port, webhook: None }), trust)
    }
}

impl From<OldLife> for Life {
    fn from(OldLife { state, chronicle: OldChronicle { attempts, route } }: OldLife) -> Life {
        let route = route.map(|OldRoute { destination, path }| {
            let (destination, trust) = destination.split();
            Route { destination, trust, path, sealed: None }
        });
        Life { state: state.into(), chronicle: Chronicle { attempts, route } }
    }
}

impl From<OldState> for State {
    fn from(old: OldState) -> State {
        State {
            ended: old.ended,
            tried: old.tried,
            phase: old.phase,
            is_anew: old.is_anew,
            is_rerouted: old.is_rerouted,
            is_lean: false,
            due_at: old.due_at,
            ages_from: old.ages_from,
        }
    }
}

impl From<OldOutcome> for Outcome {
    fn from(old: OldOutcome) -> Outcome {
        match old {
            OldOutcome::Ended => Outcome::Ended,
            OldOutcome::Stands(state) => Outcome::Stands(state.into()),
            OldOutcome::Lived { state, reason } => Outcome::Lived { state: state.into(), reason },
        }
    }
}
