//! What SMTP says about a message besides its content (RFC 5321 section 2.3.1).
//!
//! The session fills an [`Envelope`] command by command, the policy turns each
//! forward-path into a [`Target`] or a [`Refusal`], the composer reads both.
//! Nothing here parses: paths are kept as the client wrote them, without the
//! angle brackets. A refusal knows only its code; the class of its enhanced
//! status (RFC 3463) is the first digit of the code, so they cannot disagree.

use crate::event::EventName;
use crate::post::{MessageId, OnFailure, PostId, Returns};
use crate::tenant::Tenant;
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;

/// The peer that hands us mail, as far as the session knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its network address; `None` for a unix socket or an in-process caller.
    pub address: Option<IpAddr>,
    /// The argument of HELO or EHLO, empty before one was given.
    pub helo: String,
    /// What TLS settled, on a connection that is encrypted.
    pub tls: Option<Tls>,
    /// The name it has logged in with.
    pub login: Option<String>,
    /// Whose mail it is.
    pub tenant: Tenant,
    /// Name of the session in the protocol log, such as `S3f2a`.
    pub session: String,
}

/// What TLS settled about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Version of the protocol, such as `TLSv1.3`.
    pub version: &'static str,
    /// The names that the client's certificate vouches for, when it showed one
    /// and it was verified; else empty.
    pub names: Vec<String>,
}

/// An identity whose credentials were found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name as configured.
    pub name: String,
    /// Whose mail it hands in.
    pub tenant: Tenant,
}

/// One transaction that reached the end of its mail data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who handed the message in.
    pub client: Client,
    /// MAIL FROM argument without brackets; empty for the null sender.
    pub reverse_path: String,
    /// The accepted recipients, in the order of their RCPT commands, never empty.
    pub recipients: Vec<Recipient>,
    /// What a report of a failure gives back of the message (`RET`).
    pub returns: Returns,
    /// The sender's name for the envelope (`ENVID`), decoded.
    pub envelope_id: Option<String>,
    /// How many replies its end gets.
    pub replies: Replies,
    /// Makes a repeat a no-op, before what the message says.
    pub idempotency_key: Option<String>,
    /// The sender's own id of the mailing, for events, before what the message says.
    pub mailing_id: Option<String>,
}

impl Envelope {
    /// One whose MAIL had no parameters, of a protocol with one reply.
    pub fn new(client: Client, reverse_path: impl Into<String>, recipients: Vec<Recipient>) -> Envelope {
        Envelope {
            client,
            reverse_path: reverse_path.into(),
            recipients,
            returns: Returns::default(),
            envelope_id: None,
            replies: Replies::One,
            idempotency_key: None,
            mailing_id: None,
        }
    }
}

/// Which way a message came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// SMTP or LMTP.
    #[default]
    Smtp,
    /// The HTTP API.
    Api,
}

/// How many replies the end of a message's data gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// One for all recipients: SMTP.
    #[default]
    One,
    /// One for each of them: LMTP (RFC 2033 section 4.2).
    Each,
}

/// One accepted RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// RCPT TO argument without brackets, byte for byte as the client wrote it.
    pub forward_path: String,
    /// Where it leads.
    pub target: Target,
    /// Posts that it makes, at least one.
    pub posts: usize,
    /// Whether a failure is reported to the sender (`NOTIFY`).
    pub on_failure: OnFailure,
    /// Type and address as the sender knows the recipient (`ORCPT`), decoded.
    pub original: Option<String>,
    /// The sender's own id of the message to it, for events, before what that says.
    pub message_id: Option<String>,
}

impl Recipient {
    /// One whose RCPT had no parameters.
    pub fn new(forward_path: impl Into<String>, target: Target) -> Recipient {
        Recipient {
            forward_path: forward_path.into(),
            target,
            posts: 1,
            on_failure: OnFailure::default(),
            original: None,
            message_id: None,
        }
    }
}

/// Where one forward-path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A URL that stood in the address; checked, but untrusted.
    Direct {
        /// HTTP method in capitals, one of POST, PUT, PATCH, GET, DELETE.
        method: String,
        /// The URL as written by the client.
        url: String,
    },
    /// The URL is to be found in the message's `X-Postgate-Url` header.
    Header {
        /// HTTP method in capitals, as above.
        method: String,
    },
    /// No post: what the message holds is published as an event.
    Event {
        /// Its name, which is none of the gateway's own.
        name: EventName,
    },
    /// Configured routes: one, or several that take the recipient together.
    Route {
        /// The name of their pattern.
        route: String,
        /// What stood for the `*` of `user+*@domain`, or for the first group of a
        /// regular expression.
        detail: Option<String>,
    },
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its id.
    pub message: MessageId,
    /// What its client hears, one a reply; what is not here is queued.
    pub fates: Vec<Fate>,
    /// The number of the first post that each reply speaks for, where each recipient
    /// has its own reply; what is not here makes one post, as do all before it.
    pub numbers: Vec<u16>,
    /// How many posts it made; of a repeated message, how many it would have made.
    pub posts: usize,
    /// Whether it is the earlier message with the same idempotency key.
    pub is_repeated: bool,
}

impl Taken {
    /// A message of which all is queued.
    pub fn queued(message: MessageId) -> Taken {
        Taken { message, fates: Vec::new(), numbers: Vec::new(), posts: 1, is_repeated: false }
    }

    /// The ids of its posts.
    pub fn ids(&self) -> impl Iterator<Item = PostId> {
        let (message, posts) = (self.message, self.posts);
        let number = move |at| u16::try_from(if posts == 1 { 0 } else { at + 1 }).unwrap_or(u16::MAX);
        (0..posts).map(move |at| PostId { message, number: number(at) })
    }

    /// The first refusal, when its client hears nothing else: nobody has taken it.
    pub fn refusal(&self) -> Option<&Refusal> {
        let mut refusals = self.fates.iter().map(|fate| match fate {
            Fate::Refused(refusal) => Some(refusal),
            Fate::Queued | Fate::Delivered(_) => None,
        });
        let first = refusals.next()??;
        refusals.all(|refusal| refusal.is_some()).then_some(first)
    }
}

/// What became of posts by the time their client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept and will be sent.
    Queued,
    /// Its receiver took it and answered with this status.
    Delivered(u16),
    /// It is not kept.
    Refused(Refusal),
}

/// A negative answer to a command or a message: what SMTP or the API will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reply code, 4yz or 5yz.
    pub code: u16,
    /// Subject of the enhanced status (the `y` of `x.y.z`).
    pub subject: u16,
    /// Detail of the enhanced status (the `z` of `x.y.z`).
    pub detail: u16,
    /// One line naming the cause and, where there is one, the remedy.
    pub text: String,
}

impl Refusal {
    /// A refusal `code class.subject.detail text`; `status` is `(subject, detail)`.
    pub fn new(code: u16, status: (u16, u16), text: impl Into<String>) -> Refusal {
        Refusal { code, subject: status.0, detail: status.1, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.code / 100;
        let (code, subject, detail) = (self.code, self.subject, self.detail);
        write!(f, "{code} {class}.{subject}.{detail} {}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_the_status_is_the_first_digit_of_the_code() {
        let refusal = Refusal::new(452, (3, 1), "disk full");
        assert_eq!(refusal.to_string(), "452 4.3.1 disk full");
    }
}
