//! Records of formats 3 and 4, as versions before this one wrote them: read, never
//! written.
//!
//! They knew no webhooks: a destination was an origin of a tenant, and no post was a
//! batch. Format 3 had no events behind its records; else they are alike.

use super::Attempt;
use super::record::{Accepted, BlobHead, Outcome, Record};
use super::state::{Chronicle, Life, Route, State};
use crate::event::Event;
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
    Settled(Vec<(PostId, Outcome)>),
    Closed,
    Opened { epoch: u32 },
    Lives(PostId, OldLife),
    Published,
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
    ordering_key: Option<String>,
    sign_with: Option<String>,
    auth: Option<String>,
    trace: Option<Trace>,
    notice: Notice,
    trust: Trust,
    has_links: bool,
    lean_body: Option<Blob>,
}

#[derive(Deserialize)]
struct OldDestination {
    tenant: Tenant,
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Deserialize)]
struct OldLife {
    state: State,
    chronicle: OldChronicle,
}

#[derive(Deserialize)]
struct OldChronicle {
    attempts: Vec<Attempt>,
    route: Option<OldRoute>,
}

#[derive(Deserialize)]
struct OldRoute {
    destination: OldDestination,
    trust: Trust,
    path: String,
}

/// Reads the meta of a record of format 3 or 4.
pub(super) fn decode(meta: &[u8]) -> Option<Record<'static>> {
    postcard::from_bytes(meta).ok().map(|old: OldRecord| old.into())
}

/// The events behind the meta of a record of format 4.
pub(super) fn events(meta: &[u8]) -> Option<Vec<Event>> {
    let (_, events) = postcard::take_from_bytes::<OldRecord>(meta).ok()?;
    postcard::from_bytes(events).ok()
}

impl From<OldRecord> for Record<'static> {
    fn from(old: OldRecord) -> Record<'static> {
        match old {
            OldRecord::Accepted(accepted) => Record::Accepted(accepted.into()),
            OldRecord::Settled(list) => Record::Settled(list),
            OldRecord::Closed => Record::Closed,
            OldRecord::Opened { epoch } => Record::Opened { epoch },
            OldRecord::Lives(id, life) => Record::Lives(id, Cow::Owned(life.into())),
            OldRecord::Published => Record::Published,
        }
    }
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
            id: old.id,
            accepted_at: old.accepted_at,
            destination: old.destination.into(),
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
            ordering_key: old.ordering_key,
            sign_with: old.sign_with,
            auth: old.auth,
            trace: old.trace,
            notice: old.notice,
            trust: old.trust,
            has_links: old.has_links,
            lean_body: old.lean_body,
            batch: None,
            sealed: Sealed::default(),
        }
    }
}

impl From<OldDestination> for Arc<Destination> {
    fn from(old: OldDestination) -> Arc<Destination> {
        let OldDestination { tenant, scheme, host, port } = old;
        Arc::new(Destination { tenant, scheme, host, port, webhook: None })
    }
}

impl From<OldLife> for Life {
    fn from(OldLife { state, chronicle: OldChronicle { attempts, route } }: OldLife) -> Life {
        let route = route.map(|OldRoute { destination, trust, path }| {
            let destination = destination.into();
            Route { destination, trust, path, sealed: None }
        });
        Life { state, chronicle: Chronicle { attempts, route } }
    }
}
