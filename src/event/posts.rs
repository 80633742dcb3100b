//! What events say of posts.
//!
//! A rule: what happened and when go in, an event comes out, with dice that tell it
//! from others of its millisecond. Names of fields are in camel case, as users of
//! Mailtura and of Hurricane's parameters know them; what is not known is left out.
//! Secrets in URLs and addresses are masked.

use super::{Event, EventId, EventName};
use crate::envelope::{Client, Source};
use crate::masked;
use crate::post::{MessageId, Post, PostId, Scheme, Timestamp};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

/// Octets that the data of an event seldom exceed.
const USUAL: usize = 1000;

/// What happened to a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// It is kept.
    Received {
        /// Octets of its message, or of its body when it was handed in without one.
        size: usize,
        /// Which way that came.
        source: Source,
        /// Who handed it in.
        client: &'a Client,
        /// What had to be done to read it, or why it could not be.
        remarks: &'a [String],
    },
    /// Its receiver has it.
    Delivered {
        /// The attempt.
        last: Tried<'a>,
        /// How long it waited for that.
        queued: Duration,
        /// What it was sent over, where that is known.
        way: Option<Way>,
    },
    /// It is tried again.
    Deferred {
        /// The attempt.
        last: Tried<'a>,
        /// When it is tried again.
        next_at: Timestamp,
    },
    /// It is given up.
    Failed {
        /// Attempts that were made.
        attempts: u32,
        /// The last of them, if there was one.
        last: Option<Tried<'a>>,
        /// Why, in a word for programs.
        reason: &'static str,
    },
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried<'a> {
    /// Which one, from 1.
    pub number: u32,
    /// How long it took.
    pub took: Duration,
    /// Status of the response, when there was one.
    pub status: Option<u16>,
    /// What was wrong when there was none, in one line.
    pub error: &'a str,
    /// The beginning of the response's text.
    pub response: &'a str,
}

/// What a post was sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The other end; nothing behind a proxy.
    pub address: Option<IpAddr>,
    /// What was spoken: `HTTP/1.1`, `HTTP/2`.
    pub version: &'static str,
    /// Whether the connection had carried something before.
    pub reuse: Reuse,
}

/// Whether a connection was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It was new.
    Fresh,
    /// It was.
    Reused,
}

impl News<'_> {
    /// The name of its event.
    pub fn name(&self) -> &'static str {
        match self {
            News::Received { .. } => "post.received",
            News::Delivered { .. } => "post.delivered",
            News::Deferred { .. } => "post.deferred",
            News::Failed { .. } => "post.failed",
        }
    }
}

/// Whether there are events of a post: not of one that reports a failure to its
/// sender by SMTP, which is news of another, nor of one that tells of events itself: it
/// would be told of without end.
pub fn is_told(post: &Post) -> bool {
    post.destination.scheme != Scheme::Smtp && post.batch.is_none()
}

/// The event of what happened to a post then.
pub fn event(post: &Post, news: &News<'_>, at: Timestamp, dice: u128) -> Event {
    let mut data = Data::of(post).with(news);
    match news {
        News::Received { .. } => {}
        News::Delivered { .. } => data.rest.size = usize::try_from(post.body.length).ok(),
        News::Deferred { .. } | News::Failed { .. } => {
            data.rest.queued_ms = Some(at.0.saturating_sub(post.accepted_at.0))
        }
    }
    Event {
        id: EventId::new(at, dice),
        name: EventName(news.name().into()),
        at,
        tenant: post.destination.tenant.clone(),
        data: written(&data),
    }
}

/// As JSON, in as many octets as it has: events wait in memory.
fn written(data: &Data<'_>) -> Bytes {
    let mut json = Vec::with_capacity(USUAL);
    match serde_json::to_writer(&mut json, data) {
        Ok(()) => Bytes::copy_from_slice(&json),
        Err(_) => Bytes::from_static(b"{}"),
    }
}

/// The data of an event, every field of all kinds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(serialize_with = "shown")]
    post_id: PostId,
    #[serde(serialize_with = "shown")]
    message_id: MessageId,
    tenant: &'a str,
    destination: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    tags: &'a [String],
    sender: &'a str,
    recipient: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xs_message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xs_mailing_id: Option<&'a str>,
    #[serde(flatten)]
    rest: Rest<'a>,
}

/// What only some kinds have.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    remarks: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl<'a> Data<'a> {
    fn of(post: &'a Post) -> Data<'a> {
        Data {
            post_id: post.id,
            message_id: post.id.message,
            tenant: post.destination.tenant.as_str(),
            destination: post.destination.origin(),
            url: masked::url(post),
            tag: post.tags.first().map(String::as_str),
            tags: &post.tags,
            sender: &post.sender,
            recipient: masked::recipient(post),
            xs_message_id: post.xs_message_id.as_deref(),
            xs_mailing_id: post.xs_mailing_id.as_deref(),
            rest: Rest::default(),
        }
    }

    fn with(self, news: &News<'a>) -> Data<'a> {
        let rest = match news {
            News::Received { size, source, client, remarks } => Rest {
                size: Some(*size),
                source: Some(*source),
                remote_ip: client.address,
                user: client.login.as_deref(),
                session: Some(&*client.session).filter(|session| !session.is_empty()),
                remarks,
                ..Rest::default()
            },
            News::Delivered { last, queued, way } => Rest {
                attempt: Some(last.number),
                queued_ms: Some(millis(*queued)),
                remote_ip: way.and_then(|way| way.address),
                http_version: way.map(|way| way.version),
                reused: way.map(|way| way.reuse == Reuse::Reused),
                ..Rest::of(last)
            },
            News::Deferred { last, next_at } => Rest {
                attempt: Some(last.number),
                next_attempt_at: Some(next_at.to_string()),
                ..Rest::of(last)
            },
            News::Failed { attempts, last, reason } => Rest {
                attempts: Some(*attempts),
                reason: Some(reason),
                ..last.as_ref().map(Rest::of).unwrap_or_default()
            },
        };
        Data { rest, ..self }
    }
}

impl<'a> Rest<'a> {
    fn of(last: &Tried<'a>) -> Rest<'a> {
        Rest {
            status: last.status,
            error: Some(last.error).filter(|error| last.status.is_none() && !error.is_empty()),
            response: Some(last.response).filter(|response| !response.is_empty()),
            duration_ms: Some(millis(last.took)),
            ..Rest::default()
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "posts_tests.rs"]
mod tests;
