//! The SMTP session as a value: octets in, replies and a demand out (RFC 5321).
//!
//! It owns no socket and no clock. The driver feeds what it read, writes what it
//! finds in `out` and empties it, does what the [`Demand`] says, and answers.
//! Replies of one group of commands (RFC 2920) stay together in `out`.
//!
//! Invariants: any split of the input gives the same replies, as long as `out`
//! is emptied at the same points. An `out` that was not emptied says that the
//! client has not read our reply yet: input that comes behind a command whose
//! reply it had to wait for is how one sees protocols being mixed, and ends the
//! session. What may be mail data is never taken for commands. A message is
//! either answered 250 with the id its door gave it, or leaves nothing behind.

mod patience;
mod perform;

use super::auth::{Credentials, Mechanisms};
use super::command::{Encoding, Wrong, parse};
use super::receive::{Fault, Receiver};
use super::reply::Reply;
use super::words::{BareNewline, Terms};
use crate::envelope::{Client, Envelope, Login, Recipient, Refusal, Target, Tls};
use crate::post::MessageId;
use bytes::Bytes;
use patience::Patience;
use std::borrow::Cow;
use std::sync::Arc;

/// Who says which senders and recipients are taken; implemented by the door.
pub trait Policy {
    /// Whether mail with this reverse-path (without brackets) is taken now.
    fn sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal>;
    /// Where a forward-path (without brackets) leads.
    fn recipient(&self, client: &Client, forward_path: &str) -> Result<Target, Refusal>;
    /// Whether a forward-path holds credentials that nobody sees at a glance: no
    /// log is to show it.
    fn is_secret(&self, _forward_path: &str) -> bool {
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
    /// The message is kept under this id.
    Accepted(MessageId),
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

#[derive(Debug)]
enum State {
    /// Neither HELO nor EHLO yet.
    New,
    /// Between transactions.
    Ready,
    /// Behind MAIL.
    Mail,
    /// Behind the 354.
    Data(Box<Receiver>),
    /// Behind the final dot, until the door answers.
    Admitting,
    /// Nothing is read any more.
    Closed,
}

/// What the envelope of the current transaction is made of.
#[derive(Debug, Default)]
struct Transaction {
    reverse_path: String,
    encoding: Encoding,
    recipients: Vec<Recipient>,
    surplus: usize,
}

/// The last command's reply must be read before anything else is said.
#[derive(Clone, Copy, Debug)]
enum GroupEnd {
    /// That reply begins here in `out`.
    Reply(usize),
    /// It refused DATA; what follows may be a message nobody asked for.
    RefusedData,
}

/// One session, from the greeting to the end.
#[derive(Debug)]
pub struct Session {
    terms: Arc<Terms>,
    client: Client,
    state: State,
    transaction: Transaction,
    patience: Patience,
    messages: usize,
    pending: Vec<u8>,
    heard: Vec<u8>,
    /// Forward-paths of this group that no log is to show.
    secrets: Vec<String>,
    group_end: Option<GroupEnd>,
    data_refused: bool,
    has_quit: bool,
}

impl Session {
    /// A session that has not greeted yet.
    pub fn new(terms: Arc<Terms>, client: Client) -> Session {
        Session {
            terms,
            client,
            state: State::New,
            transaction: Transaction::default(),
            patience: Patience::default(),
            messages: 0,
            pending: Vec::new(),
            heard: Vec::new(),
            secrets: Vec::new(),
            group_end: None,
            data_refused: false,
            has_quit: false,
        }
    }

    /// The greeting.
    pub fn greet(&mut self, out: &mut Vec<u8>) {
        let hostname = &self.terms.hostname;
        Reply::plain(220, format_args!("{hostname} Postgate ESMTP service ready")).write(out);
    }

    /// Takes what was read. What cannot be used yet is kept until more comes, or
    /// until the message before it is resolved.
    pub fn feed(&mut self, bytes: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        if out.is_empty() {
            self.group_end = None;
            self.secrets.clear();
        }
        if self.pending.is_empty() {
            return self.advance(bytes, policy, out);
        }
        let mut input = std::mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        self.advance(&input, policy, out)
    }

    /// Answers the message that was to be admitted, and goes on with what the
    /// client has said behind it.
    pub fn resolve(&mut self, answer: Answer, policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        self.state = State::Ready;
        match answer {
            Answer::Accepted(id) => {
                self.patience.restore();
                let text = format_args!("Message received and queued as {id}.");
                self.reply(Reply::new(250, (0, 0), text), out);
            }
            Answer::Refused(refusal) | Answer::Denied(refusal) => self.reply(Reply::from(&refusal), out),
            Answer::Verified(login) => self.client.login = Some(login.name),
        }
        let input = std::mem::take(&mut self.pending);
        self.advance(&input, policy, out)
    }

    /// TLS has begun: everything said before it is forgotten (RFC 3207 section 4.2).
    pub fn secured(&mut self, tls: Tls) {
        self.client.tls = Some(tls);
        self.state = State::New;
    }

    /// Ends the session with a word of explanation.
    pub fn dismiss(&mut self, why: Dismissal, out: &mut Vec<u8>) {
        let (code, status, text) = match why {
            Dismissal::EarlyTalker => (554, (5, 0), "synchronization error: wait for the greeting"),
            Dismissal::ShuttingDown => (421, (3, 2), "shutting down"),
            Dismissal::Idle => (421, (4, 2), "timeout, closing connection"),
            Dismissal::SlowData => (421, (4, 2), "mail data too slow, closing connection"),
        };
        let text = format!("{} {text}", self.terms.hostname);
        self.end(Reply::new(code, status, text), out);
    }

    /// Whether a transaction has begun that is not answered yet.
    pub fn is_in_transaction(&self) -> bool {
        matches!(self.state, State::Mail | State::Data(_) | State::Admitting)
    }

    /// Whether what comes next is mail data.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// Whether the client said QUIT.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Octets of memory that the current message's data takes.
    pub fn held(&self) -> usize {
        if let State::Data(receiver) = &self.state { receiver.held() } else { 0 }
    }

    /// Gives away the data received since the last time; [`Demand::Admit`] brings
    /// only the rest. `None` when nothing of a message is kept.
    pub fn draw(&mut self) -> Option<Vec<u8>> {
        if let State::Data(receiver) = &mut self.state { receiver.draw() } else { None }
    }

    /// Says that there is no memory for the current message.
    pub fn overload(&mut self) {
        if let State::Data(receiver) = &mut self.state {
            receiver.overload();
        }
    }

    /// How many error replies are to be delayed that were made since the last call.
    pub fn penalty(&mut self) -> u32 {
        self.patience.penalty()
    }

    /// Gives away the command lines that were read since the last call, as the
    /// protocol log shows them, and whether there were any.
    pub fn tell(&mut self, mut line: impl FnMut(&str)) -> bool {
        let mut lines = self.heard.split(|byte| *byte == b'\n');
        lines.next_back();
        lines.for_each(|text| line(&self.discreet(&String::from_utf8_lossy(text))));
        let has_heard = !self.heard.is_empty();
        self.heard.clear();
        // A large group of commands leaves no large buffer behind.
        self.heard.shrink_to(256);
        has_heard
    }

    /// A command or reply of this group without the recipients that hold secrets.
    pub fn discreet<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let hide = |text: Cow<'t, str>, secret: &String| match text.contains(secret.as_str()) {
            true => Cow::Owned(text.replace(secret.as_str(), "***")),
            false => text,
        };
        self.secrets.iter().fold(Cow::Borrowed(text), hide)
    }

    fn advance(&mut self, input: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        let mut rest = input;
        while !rest.is_empty() {
            if let Some(end) = self.group_end {
                self.interrupt(end, out);
            }
            let (used, demand) = match self.state {
                State::Closed | State::Admitting => break,
                State::Data(_) => self.take_data(rest, out),
                State::New | State::Ready | State::Mail => (self.take_line(rest, policy, out), Demand::Read),
            };
            rest = rest.get(used..).unwrap_or_default();
            if let Demand::Admit(..) = demand {
                self.pending.extend_from_slice(rest);
                return demand;
            }
            if used == 0 {
                break;
            }
        }
        if let State::Closed = self.state {
            return Demand::Close;
        }
        self.pending.extend_from_slice(rest);
        Demand::Read
    }

    /// Input came before the reply to the command before it was read.
    fn interrupt(&mut self, end: GroupEnd, out: &mut Vec<u8>) {
        match end {
            GroupEnd::Reply(start) => {
                out.truncate(start);
                let text = "synchronization error: wait for the reply to EHLO and DATA";
                self.end(Reply::new(554, (5, 0), text), out);
            }
            GroupEnd::RefusedData => self.state = State::Closed,
        }
    }

    fn take_data(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Demand) {
        let State::Data(receiver) = &mut self.state else { return (0, Demand::Read) };
        let Some(used) = receiver.push(input) else { return (input.len(), Demand::Read) };
        let length = receiver.length();
        self.heard.extend_from_slice(format!("(message data, {length} bytes)\n").as_bytes());
        let State::Data(receiver) = std::mem::replace(&mut self.state, State::Ready) else {
            return (used, Demand::Read);
        };
        let transaction = std::mem::take(&mut self.transaction);
        match receiver.finish() {
            Ok(data) => {
                self.state = State::Admitting;
                let envelope = Envelope {
                    client: self.client.clone(),
                    reverse_path: transaction.reverse_path,
                    recipients: transaction.recipients,
                };
                return (used, Demand::Admit(Box::new(envelope), data));
            }
            Err(Fault::TooLarge) => self.reply(Reply::new(552, (3, 4), "message too large"), out),
            Err(Fault::HeaderTooLarge) => {
                self.reply(Reply::new(552, (3, 4), "header section too large"), out);
            }
            Err(Fault::NoMemory) => {
                self.reply(Reply::new(452, (3, 1), "no memory for the message now, try again"), out);
            }
            Err(Fault::BareNewline) => {
                self.end(Reply::new(554, (6, 0), "bare CR, bare LF or NUL in the message"), out);
            }
        }
        (used, Demand::Read)
    }

    /// Takes one line; 0 when it is not complete.
    fn take_line(&mut self, input: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) -> usize {
        // The first octet of a TLS record that carries a handshake.
        if input.first() == Some(&0x16) {
            self.hear(b"(TLS handshake)");
            self.end(Reply::new(554, (5, 1), "TLS is not spoken here"), out);
            return input.len();
        }
        let most = self.terms.limits.command_line;
        let Some(feed) = memchr::memchr(b'\n', input.get(..most).unwrap_or(input)) else {
            if input.len() < most {
                return 0;
            }
            self.hear(b"(a line that is too long)");
            self.end(Reply::new(500, (5, 2), "line too long"), out);
            return input.len();
        };
        let line = input.get(..feed).unwrap_or_default();
        match line.strip_suffix(b"\r") {
            Some(line) => self.execute(line, policy, out),
            None if self.terms.bare_newline == BareNewline::Lf => self.execute(line, policy, out),
            None => {
                self.hear(line);
                self.end(Reply::new(500, (5, 2), "bare LF in a command; lines end in CRLF"), out);
            }
        }
        feed + 1
    }

    fn hear(&mut self, line: &[u8]) {
        self.heard.extend_from_slice(line);
        self.heard.push(b'\n');
    }

    fn execute(&mut self, line: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) {
        self.hear(line);
        let data_refused = std::mem::take(&mut self.data_refused);
        match parse(line) {
            Ok(command) => self.perform(command, policy, out),
            Err(wrong) => {
                self.reply(wrong.reply(), out);
                // Mail data that was sent without waiting for the 354.
                if data_refused && matches!(wrong, Wrong::Unknown | Wrong::Characters) {
                    self.state = State::Closed;
                }
            }
        }
    }
}
