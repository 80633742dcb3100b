//! What the session asks of the world, and what it is answered.
//!
//! The session decides alone what the protocol says. Who may log in, which
//! senders and recipients are taken and whether a message is kept is for others
//! to say: at once through [`Policy`], or after a while through a [`Demand`] that
//! the driver meets with an [`Answer`].

use crate::envelope::{Client, Envelope, Login, Refusal, Taken, Target};
use crate::smtp::auth::{Credentials, Mechanisms};
use bytes::Bytes;

/// Who says which senders and recipients are taken; implemented by the door.
pub trait Policy {
    /// Whether mail with this reverse-path (without brackets) is taken now.
    fn sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal>;
    /// Where a forward-path (without brackets) leads.
    fn recipient(&self, client: &Client, forward_path: &str) -> Result<Target, Refusal>;
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

/// What the driver is to do once the replies are written.
#[derive(Debug)]
pub enum Demand {
    /// Read on.
    Read,
    /// Begin TLS; then call [`Session::secured`] and read on.
    StartTls,
    /// Have the credentials verified and call [`Session::resolve`].
    Verify(Credentials),
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
