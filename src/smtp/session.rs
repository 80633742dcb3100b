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
//! What was said in the clear is forgotten once TLS has begun. What AUTH carries
//! is in nothing that the session tells or prints.

mod hello;
mod lines;
mod login;
mod message;
mod outside;
mod patience;
mod perform;

pub use outside::{Answer, CheckState, Demand, Dismissal, Judged, Opening, Policy, Question};

use super::auth::Exchange;
use super::command::Encoding;
use super::receive::Receiver;
use super::reply::Reply;
use super::words::{Protocol, Terms};
use crate::envelope::{Client, Recipient, Tls};
use crate::post::Returns;
use crate::tenant::Tenant;
use patience::Patience;
use std::sync::Arc;

#[derive(Debug)]
enum State {
    /// Neither HELO nor EHLO yet.
    New,
    /// Between transactions.
    Ready,
    /// In the middle of AUTH: the next line is the client's answer.
    Authenticating(Exchange),
    /// Behind AUTH, until the door answers.
    Verifying,
    /// Behind the reply to STARTTLS, until TLS has begun.
    Securing,
    /// Behind MAIL.
    Mail,
    /// Behind RCPT, until it is known whether this recipient is taken.
    Checking(Box<Recipient>),
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
    size: Option<u64>,
    encoding: Encoding,
    recipients: Vec<Recipient>,
    /// Posts that they make.
    posts: usize,
    returns: Returns,
    envelope_id: Option<String>,
    /// Octets of memory that they take.
    octets: usize,
    surplus: usize,
    /// There was no memory for them.
    is_overloaded: bool,
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
    /// Replies that the end of the current mail data gets.
    answers: usize,
    pending: Vec<u8>,
    heard: Vec<u8>,
    /// Words of this group that no log is to show.
    secrets: Vec<String>,
    group_end: Option<GroupEnd>,
    data_refused: bool,
    /// AUTH was said; what is no command may be what it was to carry.
    is_wary: bool,
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
            answers: 1,
            pending: Vec::new(),
            heard: Vec::new(),
            secrets: Vec::new(),
            group_end: None,
            data_refused: false,
            is_wary: false,
            has_quit: false,
        }
    }

    /// The greeting.
    pub fn greet(&mut self, out: &mut Vec<u8>) {
        let hostname = &self.terms.hostname;
        let protocol = if self.speaks_lmtp() { "LMTP" } else { "ESMTP" };
        Reply::plain(220, format_args!("{hostname} Postgate {protocol} service ready")).write(out);
    }

    /// Takes what was read. What cannot be used yet is kept until more comes, or
    /// until what was demanded is resolved.
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

    /// Takes what was read while something is to be resolved; it is looked at then.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Octets that were read and not looked at yet.
    pub fn kept(&self) -> usize {
        self.pending.len()
    }

    /// Answers what was to be admitted, verified or checked, and goes on with what the
    /// client has said behind it.
    pub fn resolve(&mut self, answer: Answer, policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        let state = std::mem::replace(&mut self.state, State::Ready);
        let is_all_told = out.is_empty() && self.heard.is_empty();
        match answer {
            Answer::Accepted(taken) => self.accepted(&taken, out),
            Answer::Refused(refusal) => self.refused(&refusal, out),
            Answer::Verified(login) => self.log_in(login, out),
            Answer::Denied(refusal) => self.deny(&refusal, out),
            Answer::Checked(verdict) => self.checked(state, verdict, out),
        }
        if is_all_told {
            let said = String::from_utf8_lossy(out);
            self.secrets.retain(|secret| said.contains(secret.as_str()));
        }
        let input = std::mem::take(&mut self.pending);
        self.advance(&input, policy, out)
    }

    /// TLS has begun: everything said before it is forgotten (RFC 3207 section
    /// 4.2) but how much nonsense there was, which a client could shed that way.
    pub fn secured(&mut self, tls: Tls) {
        self.client.tls = Some(tls);
        self.client.helo = String::new();
        self.client.login = None;
        self.client.tenant = Tenant::default();
        self.state = State::New;
        self.transaction = Transaction::default();
        self.pending = Vec::new();
        self.secrets = Vec::new();
        self.group_end = None;
        self.data_refused = false;
        self.is_wary = false;
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
        matches!(self.state, State::Mail | State::Checking(_) | State::Data(_) | State::Admitting)
    }

    /// Whether what comes next is mail data.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// Who the client is, as far as it is known by now.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the client said QUIT.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Octets of memory that the current message's data takes.
    pub fn held(&self) -> usize {
        if let State::Data(receiver) = &self.state { receiver.held() } else { 0 }
    }

    /// Octets of the current message's data that were not given away.
    pub fn waiting(&self) -> usize {
        if let State::Data(receiver) = &self.state { receiver.waiting() } else { 0 }
    }

    /// Octets of memory that the current message's recipients take.
    pub fn envelope_octets(&self) -> usize {
        self.transaction.octets
    }

    /// Gives away the data received since the last time; [`Demand::Admit`] brings
    /// only the rest. `None` when nothing of a message is kept.
    pub fn draw(&mut self) -> Option<Vec<u8>> {
        if let State::Data(receiver) = &mut self.state { receiver.draw() } else { None }
    }

    /// Takes the room of data that [`Session::draw`] gave away for what comes next.
    pub fn reuse(&mut self, drawn: Vec<u8>) {
        if let State::Data(receiver) = &mut self.state {
            receiver.reuse(drawn);
        }
    }

    /// Says that there is no memory for the current message.
    pub fn overload(&mut self) {
        match &mut self.state {
            State::Data(receiver) => receiver.overload(),
            State::Mail | State::Checking(_) => {
                self.transaction = Transaction { is_overloaded: true, ..Transaction::default() };
            }
            _ => {}
        }
    }

    /// How many error replies are to be delayed that were made since the last call.
    pub fn penalty(&mut self) -> u32 {
        self.patience.penalty()
    }

    fn advance(&mut self, input: &[u8], policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        let mut rest = input;
        while !rest.is_empty() {
            if let Some(end) = self.group_end {
                self.interrupt(end, out);
            }
            let (used, demand) = match self.state {
                State::Closed | State::Admitting | State::Verifying | State::Checking(_) => break,
                // Clear text where TLS was to begin.
                State::Securing => {
                    self.close();
                    break;
                }
                State::Data(_) => self.take_data(rest, out),
                State::New | State::Ready | State::Authenticating(_) | State::Mail => {
                    self.take_line(rest, policy, out)
                }
            };
            rest = rest.get(used..).unwrap_or_default();
            match demand {
                Demand::Read if used == 0 => break,
                Demand::Read => {}
                // What came behind it, in the clear, is an interruption.
                Demand::StartTls if !rest.is_empty() => {}
                demand => {
                    self.pending.extend_from_slice(rest);
                    return demand;
                }
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
                let text = "synchronization error: wait for the reply to this command";
                self.end(Reply::new(554, (5, 0), text), out);
            }
            GroupEnd::RefusedData => self.close(),
        }
    }

    fn speaks_lmtp(&self) -> bool {
        self.terms.protocol == Protocol::Lmtp
    }
}
