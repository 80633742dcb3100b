//! A post: one HTTP request made from a message, and what a spool must know of it.
//!
//! Posts are finished when they are admitted: method, headers and body are the
//! bytes that every attempt sends. Only what differs by attempt is added later
//! (`Postgate-Attempt`, signatures). Bodies are not part of a post: they are
//! [`Blob`] references into the admission's blobs, of which the first is always
//! the raw message, so that a body which is a piece of the mail, or is shared by
//! several recipients, is stored once.

mod admission;
mod batch;
mod fingerprint;
mod own;
mod sealed;
mod timestamp;

pub use admission::Admission;
pub use batch::{Batch, WebhookId};
pub use fingerprint::Fingerprint;
pub use sealed::{HIDDEN, Sealed};
pub use timestamp::{BadTime, Timestamp};

use crate::tenant::Tenant;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The id of a message: 16 hexadecimal digits, growing with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(pub u64);

impl MessageId {
    /// Bits behind the milliseconds since the epoch at which it was made.
    pub const COUNTER_BITS: u32 = 20;

    /// The first id that can be made at this time.
    pub fn at(time: Timestamp) -> MessageId {
        MessageId(time.0.min(u64::MAX >> MessageId::COUNTER_BITS) << MessageId::COUNTER_BITS)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id of a post: its message's, with `-1`, `-2` … when that made several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PostId {
    /// The message it was made from.
    pub message: MessageId,
    /// 0 for the only post of a message, else 1 to the number of recipients.
    pub number: u16,
}

impl fmt::Display for PostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => write!(f, "{}", self.message),
            number => write!(f, "{}-{number}", self.message),
        }
    }
}

/// How a destination is spoken to; URLs of posts are `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// No HTTP at all: a relay that takes reports of failures by SMTP. Never
    /// named by a URL of a post.
    Smtp,
}

impl Scheme {
    /// Its port when a URL names none (RFC 9110 section 4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
            Scheme::Smtp => 25,
        }
    }

    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Smtp => "smtp",
        }
    }
}

/// An origin as one tenant, or one webhook of it, uses it; queue, window, throttle and connections
/// belong to it, so one tenant's trouble never touches another's. Whose URL it is, is
/// a matter of each post: a connection opened for one [`Trust`] carries no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// Whose posts.
    pub tenant: Tenant,
    /// Scheme of the origin.
    pub scheme: Scheme,
    /// Host in its normal form: lower-case A-labels, or an address literal
    /// (IPv6 in brackets).
    pub host: String,
    /// Port, the default one included.
    pub port: u16,
    /// The webhook whose batches these are: each is served by itself.
    #[serde(default)]
    pub webhook: Option<WebhookId>,
}

impl Destination {
    /// `host`, or `host:port` when the port is not the scheme's own: the value
    /// of the `Host` header.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The origin as it is shown; pieced together, as each event of a post has it twice.
    pub fn origin(&self) -> String {
        [self.scheme.as_str(), "://", &self.authority()].concat()
    }
}

impl fmt::Display for Destination {
    /// The origin as in RFC 6454: `https://host` or `https://host:8443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// A table on the way of every post, with a hash that costs less than the one of the
/// standard library and is seeded anew at every start, for strangers choose hosts.
pub type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Who named a URL: decides whether the egress rules apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Trust {
    /// It came over the wire (recipient, header, API).
    Wire,
    /// It stands in the configuration file: the operator's own.
    Operator,
}

/// A piece of one blob of an admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// Which blob; 0 is the raw message.
    pub number: u16,
    /// First octet within it.
    pub start: u32,
    /// Length in octets.
    pub length: u32,
}

/// One header field of a request; the name in the spelling to be sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// An RFC 9110 token.
    pub name: String,
    /// Octets that `http::HeaderValue` takes: no control characters.
    pub value: Vec<u8>,
}

/// Parts of names whose values are nobody's business.
const SECRET: &[&str] = &["auth", "cookie", "key", "token", "secret", "signature", "password"];

/// Whether the name of a field or parameter, in lower case, speaks of a secret.
pub fn is_secret(name: &str) -> bool {
    // The idempotency key is the post's id, or what the sender chose to be known by.
    // `sig` is what signed URLs of clouds call their signature; as a part it is in "design".
    !name.ends_with("idempotency-key") && (name == "sig" || SECRET.iter().any(|part| name.contains(part)))
}

/// Whether a field of that name, in lower case, goes to no other origin than it was
/// written for. A signature may: it gives nothing away.
pub fn is_credential(name: &str) -> bool {
    is_secret(name) && !name.contains("signature")
}

/// One HTTP request made from a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Its name everywhere: reply, headers, log, API.
    pub id: PostId,
    /// When its message was accepted.
    pub accepted_at: Timestamp,
    /// Where it goes, and which lane it waits in.
    pub destination: Arc<Destination>,
    /// HTTP method in capitals.
    pub method: String,
    /// Path and query, as sent in the request line; begins with `/`.
    pub path: String,
    /// `Content-Type`, the message's own `X-XsHttp-*` and the gateway's marks,
    /// in the order to be sent. Without `Host`, `Content-Length`, `User-Agent`,
    /// `Idempotency-Key` and the `Postgate-Id`/`-Attempt` pair, which the engine
    /// adds.
    pub headers: Vec<Field>,
    /// Where its body is.
    pub body: Blob,
    /// The sender's own `X-Postgate-Idempotency-Key`, when there was one.
    pub idempotency_key: Option<String>,
    /// Reverse-path of the message.
    pub sender: String,
    /// Forward-path this post was made for.
    pub recipient: String,
    /// Not to be sent before.
    pub not_before_at: Option<Timestamp>,
    /// To be given up after, whatever `max_age` says.
    pub expires_at: Option<Timestamp>,
    /// 0 (first) to 9 (last) within its lane.
    pub priority: u8,
    /// Up to five free texts of the sender.
    pub tags: Vec<String>,
    /// `X-xsMessageId`: the sender's own message id, for events.
    pub xs_message_id: Option<String>,
    /// `X-xsMailingId`: the sender's own mailing id, for events.
    pub xs_mailing_id: Option<String>,
    /// Posts of a lane with the same key go one after another, in the order of
    /// their ids: none before the one before it has ended.
    #[serde(default)]
    pub ordering_key: Option<String>,
    /// Name of the signing key that its route asks for, before its destination's.
    #[serde(default)]
    pub sign_with: Option<String>,
    /// Name of the auth profile that its route asks for, before its destination's.
    #[serde(default)]
    pub auth: Option<String>,
    /// The trace that its message belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// What its sender wants to hear when it fails.
    #[serde(default)]
    pub notice: Notice,
    /// Who named its URL.
    pub trust: Trust,
    /// Whether its body names addresses of its attachments in this gateway: it is kept
    /// for the time of `[retention] delivered` after it was delivered.
    pub has_links: bool,
    /// The same body with addresses in place of attachments, for a receiver that finds
    /// the first too large.
    pub lean_body: Option<Blob>,
    /// What it tells a webhook of, if it does.
    pub batch: Option<Batch>,
    /// What of it is sealed; in a record it stands behind the posts.
    #[serde(skip)]
    pub sealed: Sealed,
}

impl Post {
    /// The fields that do not go along when it goes there: of another origin, those
    /// that prove who sends it.
    pub fn left_behind(&self, to: &Destination) -> Vec<String> {
        let here = &*self.destination;
        let is_same = (here.scheme, &here.host, here.port) == (to.scheme, &to.host, to.port);
        let names = self.headers.iter().map(|field| &field.name);
        names.filter(|name| !is_same && is_credential(&name.to_ascii_lowercase())).cloned().collect()
    }

    /// Sends it elsewhere; the path is sealed when what is said of it is not all of it.
    pub fn reroute(
        &mut self,
        (destination, trust): (Arc<Destination>, Trust),
        (path, sealed): (String, Option<Bytes>),
    ) {
        let left = self.left_behind(&destination);
        self.headers.retain(|field| !left.contains(&field.name));
        (self.destination, self.trust, self.path) = (destination, trust, path);
        self.sealed.path = sealed;
    }
}

/// Where a post stands in a distributed trace (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The trace, never all zero.
    pub trace: [u8; 16],
    /// The span in it that is the parent of all attempts, never all zero.
    pub span: [u8; 8],
}

/// What the sender of a message asked for in case that it is given up (RFC 3461).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whether a failure is reported.
    pub on_failure: OnFailure,
    /// What a report gives back of the message.
    pub returns: Returns,
    /// `ENVID`, decoded from xtext: the sender's name for the envelope.
    pub envelope_id: Option<String>,
    /// `ORCPT`, decoded from xtext: type and address as the sender wrote them.
    pub original_recipient: Option<String>,
}

/// Whether a failure is reported: `NOTIFY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// It is.
    #[default]
    Report,
    /// It is not: `NEVER`, or a `NOTIFY` without `FAILURE`.
    Silent,
}

/// What a report gives back of the message: `RET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Returns {
    /// Its header section.
    #[default]
    Headers,
    /// All of it.
    Full,
}

/// The text is not 16 hexadecimal digits with an optional `-number`.
#[derive(Debug, PartialEq, Eq)]
pub struct BadId;

impl FromStr for PostId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<PostId, BadId> {
        let (message, number) = match text.split_once('-') {
            // One id for one post: no sign, no zeros before it.
            Some((message, number)) if number.starts_with(|first| ('1'..='9').contains(&first)) => {
                (message, number.parse().map_err(|_| BadId)?)
            }
            Some(_) => return Err(BadId),
            None => (text, 0),
        };
        if message.len() != 16 || !message.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadId);
        }
        let message = u64::from_str_radix(message, 16).map_err(|_| BadId)?;
        Ok(PostId { message: MessageId(message), number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read_back() {
        for text in ["52a0000000000002", "52a0000000000002-17"] {
            assert_eq!(text.parse::<PostId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "52a0",
            "52a000000000000g",
            "52a0000000000002-",
            "+2a0000000000002",
            "52a0000000000002-+1",
            "52a0000000000002-01",
            "52a0000000000002-0",
            "52a0000000000002-65536",
        ] {
            assert_eq!(text.parse::<PostId>(), Err(BadId), "{text}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in ["authorization", "proxy-authorization", "cookie", "x-api-key", "webhook-signature"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["content-type", "idempotency-key", "x-xshttp-idempotency-key", "postgate-id"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn an_origin_names_its_port_only_when_it_is_unusual() {
        let mut origin = Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Https,
            host: "[2001:db8::1]".to_owned(),
            port: 443,
            webhook: None,
        };
        assert_eq!(origin.to_string(), "https://[2001:db8::1]");
        origin.port = 8443;
        assert_eq!(origin.to_string(), "https://[2001:db8::1]:8443");
    }
}
