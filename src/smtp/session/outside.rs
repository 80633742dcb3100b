//! What the session asks of the world, and what it is answered.
//!
//! The session decides alone what the protocol says. Who may log in, which
//! senders and recipients are taken and whether a message is kept is for others
//! to say: at once through [`Policy`], or after a while through a [`Demand`] that
//! the driver meets with an [`Answer`].

use crate::envelope::{Client, Envelope, Login, Recipient, Refusal, Taken, Target};
use crate::smtp::auth::{Credentials, Mechanisms};
use bytes::Bytes;

/// Who says which senders and recipients are taken; implemented by the door.
pub trait Policy {
    /// Whether mail with this reverse-path (without brackets) is taken now.
    fn sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal>;
    /// Where a forward-path (without brackets) leads, for a message that began so.
    fn recipient(&self, client: &Client, opening: Opening<'_>, forward_path: &str)
    -> Result<Judged, Refusal>;
    /// Whether a word of a command, be it a forward-path or not, holds credentials
    /// that nobody sees at a glance: no log is to show it.
    fn is_secret(&self, _word: &str) -> bool {
        false
    }
    /// Which ways to log in this client has now.
    fn mechanisms(&self, _client: &Client) -> Mechanisms {
        Mechanisms::default()
    }
    /// A challenge for CRAM-MD5, in angle brackets (RFC 2195): never the same
    /// twice, and nobody can guess it.
    fn challenge(&self) -> String {
        String::new()
    }
}

/// What MAIL said of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// Reverse-path without brackets; empty is the null sender.
    pub reverse_path: &'a str,
    /// Octets of the message, as declared (RFC 1870).
    pub size: Option<u64>,
}

/// What was said of a recipient at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Where it leads.
    pub target: Target,
    /// Posts that it makes, at least one.
    pub posts: usize,
    /// Whether that is all.
    pub check: CheckState,
}

/// Whether somebody else has a say about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Nobody.
    Settled,
    /// By [`Demand::Check`].
    Due,
}

impl From<Target> for Judged {
    /// One that makes one post and that nobody else is asked about.
    fn from(target: Target) -> Judged {
        Judged { target, posts: 1, check: CheckState::Settled }
    }
}

/// A recipient that somebody is to be asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who hands the message in.
    pub client: Client,
    /// MAIL FROM argument without brackets.
    pub reverse_path: String,
    /// Octets of the message, as declared.
    pub size: Option<u64>,
    /// The recipient.
    pub recipient: Recipient,
}

/// What the driver is to do once the replies are written.
#[derive(Debug)]
pub enum Demand {
    /// Read on.
    Read,
    /// Begin TLS; then call [`Session::secured`] and read on.
    StartTls,
    /// Have the credentials verified and call [`Session::resolve`].
    Verify(Credentials),
    /// Have the recipient checked and call [`Session::resolve`].
    Check(Box<Question>),
    /// Hand the message to the door and call [`Session::resolve`] with its answer.
    Admit(Box<Envelope>, Bytes),
    /// Close the connection.
    Close,
}

/// What became of what the driver was to ask.
#[derive(Debug)]
pub enum Answer {
    /// The message is kept, or some of its posts were delivered already.
    Accepted(Taken),
    /// The message is not kept, and why.
    Refused(Refusal),
    /// The credentials are right.
    Verified(Login),
    /// They are not, or could not be looked at.
    Denied(Refusal),
    /// What came of the check of a recipient.
    Checked(Result<(), Refusal>),
}

/// Why the driver ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// The client spoke before the greeting.
    EarlyTalker,
    /// The gateway stops.
    ShuttingDown,
    /// No command came in time.
    Idle,
    /// Mail data came too slowly.
    SlowData,
}
