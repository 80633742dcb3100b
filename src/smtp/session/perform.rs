//! What each command means in its place, and what it is answered.
//!
//! The texts of the replies to MAIL, RCPT, DATA and the final dot are promises:
//! log readers depend on them. Replies to what the client does wrong are counted
//! here; those that report our own trouble (4yz) are not held against it.

use super::message::no_memory;
use super::{CheckState, Demand, GroupEnd, Opening, Policy, Question, Session, State, Transaction};
use crate::envelope::{Recipient, Refusal};
use crate::smtp::command::{Command, Encoding, Mail, Rcpt, from_xtext};
use crate::smtp::receive::Receiver;
use crate::smtp::reply::Reply;
use std::fmt::Display;

/// Posts that the recipients of a message may make; recipients, if more are allowed.
const MOST_POSTS: usize = 1000;

const HELP: &str = "STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT";

impl Session {
    pub(super) fn perform(&mut self, command: Command<'_>, policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        match command {
            _ if self.must_encrypt() && needs_encryption(&command) => self.refuse_clear(&command, out),
            Command::StartTls => return self.start_tls(out),
            Command::Auth(auth) => return self.auth(auth, policy, out),
            Command::Helo(name) => self.helo(name, out),
            Command::Ehlo(name) => self.ehlo(name, policy, out),
            Command::Lhlo(name) => self.lhlo(name, policy, out),
            Command::Mail(mail) => self.mail(&mail, policy, out),
            Command::Rcpt(rcpt) => return self.rcpt(&rcpt, policy, out),
            Command::Data => self.data(out),
            Command::Rset => {
                self.reset();
                self.junk(Reply::new(250, (0, 0), "OK"), out);
            }
            Command::Noop => self.junk(Reply::new(250, (0, 0), "OK"), out),
            Command::Vrfy => {
                self.junk(Reply::new(252, (5, 0), "not verified; send the mail and see"), out);
            }
            Command::Help => {
                let hello = if self.speaks_lmtp() { "LHLO" } else { "EHLO HELO" };
                self.junk(Reply::new(214, (0, 0), format_args!("{hello} {HELP}")), out);
            }
            Command::Quit => {
                self.has_quit = true;
                let text = format!("{} closing connection", self.terms.hostname);
                self.end(Reply::new(221, (0, 0), text), out);
            }
            Command::NotOffered => self.reply(Reply::new(502, (5, 1), "command not offered"), out),
            // What follows BDAT is mail data, not commands.
            Command::Bdat => self.end(Reply::new(502, (5, 1), "CHUNKING is not offered"), out),
            Command::Http => self.end(Reply::new(554, (5, 1), "this is SMTP, not HTTP"), out),
            // Whom it speaks for must not have the rights of its own address.
            Command::Proxy => self.end(Reply::new(554, (5, 1), "no PROXY header is taken from here"), out),
        }
        Demand::Read
    }

    /// Only TLS will do (RFC 3207 section 4).
    fn refuse_clear(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        let reply = Reply::new(530, (7, 0), "must issue a STARTTLS command first");
        match command {
            Command::Data => self.refuse_data(reply, out),
            Command::Auth(_) => {
                self.group_end = Some(GroupEnd::Reply(out.len()));
                self.reply(reply, out);
            }
            _ => self.reply(reply, out),
        }
    }

    fn mail(&mut self, mail: &Mail<'_>, policy: &dyn Policy, out: &mut Vec<u8>) {
        let limits = &self.terms.limits;
        let (messages, size) = (limits.messages, limits.message);
        let is_too_large = mail.size.is_some_and(|declared| size != 0 && declared > size as u64);
        match self.state {
            State::New => return self.reply(Reply::new(503, (5, 1), self.hello_first()), out),
            State::Ready => {}
            _ => return self.reply(Reply::new(503, (5, 1), "a transaction has begun already"), out),
        }
        if self.terms.required.login && self.client.login.is_none() {
            return self.reply(Reply::new(530, (7, 0), "authentication required"), out);
        }
        if self.messages >= messages {
            return self.end(Reply::new(421, (7, 0), "too many messages on this connection"), out);
        }
        if is_too_large {
            return self.reply(Reply::new(552, (3, 4), "message too large"), out);
        }
        if let Err(refusal) = policy.sender(&self.client, mail.path) {
            return self.reply(Reply::from(&refusal), out);
        }
        self.messages += 1;
        self.state = State::Mail;
        mail.path.clone_into(&mut self.transaction.reverse_path);
        self.transaction.size = mail.size;
        self.transaction.encoding = mail.encoding;
        self.transaction.returns = mail.returns;
        self.transaction.envelope_id = mail.envelope_id.map(from_xtext);
        Reply::new(250, (1, 0), format_args!("sender <{}> OK", mail.path)).write(out);
    }

    fn rcpt(&mut self, rcpt: &Rcpt<'_>, policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        if let Some(reply) = self.untimely(rcpt.path) {
            self.reply(reply, out);
            return Demand::Read;
        }
        if self.transaction.recipients.len() >= self.terms.limits.recipients {
            self.refuse_surplus(out);
            return Demand::Read;
        }
        let opening = Opening { reverse_path: &self.transaction.reverse_path, size: self.transaction.size };
        let judged = match policy.recipient(&self.client, opening, rcpt.path) {
            Ok(judged) => judged,
            Err(refusal) => {
                self.reply(Reply::from(&refusal), out);
                return Demand::Read;
            }
        };
        let recipient = Recipient {
            posts: judged.posts,
            on_failure: rcpt.on_failure,
            original: rcpt.original.map(from_xtext),
            ..Recipient::new(rcpt.path, judged.target)
        };
        let posts = self.transaction.posts.saturating_add(recipient.posts);
        if posts > MOST_POSTS.max(self.terms.limits.recipients) {
            self.refuse_surplus(out);
        } else if judged.check == CheckState::Due {
            let question = Question {
                client: self.client.clone(),
                reverse_path: self.transaction.reverse_path.clone(),
                size: self.transaction.size,
                recipient: recipient.clone(),
            };
            self.state = State::Checking(Box::new(recipient));
            return Demand::Check(Box::new(question));
        } else {
            self.take_recipient(recipient, out);
        }
        Demand::Read
    }

    /// Why no recipient is taken now, whoever it is.
    fn untimely(&self, path: &str) -> Option<Reply<&'static str>> {
        match self.state {
            State::Mail if self.transaction.is_overloaded => Some(no_memory()),
            State::Mail if !path.is_ascii() && self.transaction.encoding == Encoding::Ascii => {
                Some(Reply::new(553, (6, 7), "an address beyond ASCII needs SMTPUTF8"))
            }
            State::Mail => None,
            _ => Some(Reply::new(503, (5, 1), "send MAIL first")),
        }
    }

    fn refuse_surplus(&mut self, out: &mut Vec<u8>) {
        self.transaction.surplus += 1;
        let is_abuse = self.transaction.surplus > self.terms.limits.recipients;
        Reply::new(452, (5, 3), "too many recipients").write(out);
        if is_abuse {
            self.count_error(out);
        }
    }

    /// What came of the check of the recipient that waited for it.
    pub(super) fn checked(&mut self, state: State, verdict: Result<(), Refusal>, out: &mut Vec<u8>) {
        let State::Checking(recipient) = state else { return };
        self.state = State::Mail;
        match verdict {
            Ok(()) if self.transaction.is_overloaded => self.reply(no_memory(), out),
            Ok(()) => self.take_recipient(*recipient, out),
            Err(refusal) => self.reply(Reply::from(&refusal), out),
        }
    }

    fn take_recipient(&mut self, recipient: Recipient, out: &mut Vec<u8>) {
        let path = &recipient.forward_path;
        Reply::new(250, (1, 5), format_args!("recipient <{path}> OK")).write(out);
        // A target holds what the path says once more.
        let original = recipient.original.as_ref().map_or(0, String::len);
        self.transaction.octets += size_of::<Recipient>() + 2 * path.len() + original;
        self.transaction.posts += recipient.posts;
        self.transaction.recipients.push(recipient);
    }

    fn data(&mut self, out: &mut Vec<u8>) {
        if self.transaction.is_overloaded {
            return self.refuse_data(no_memory(), out);
        }
        if !matches!(self.state, State::Mail) || self.transaction.recipients.is_empty() {
            return self.refuse_data(Reply::new(503, (5, 1), "no valid recipients"), out);
        }
        self.group_end = Some(GroupEnd::Reply(out.len()));
        self.state = State::Data(Box::new(Receiver::new(&self.terms.limits, self.terms.bare_newline)));
        Reply::plain(354, "Send data.  End with CRLF.CRLF").write(out);
    }

    /// Refuses DATA; a client that does not wait for the reply sends the message
    /// all the same.
    fn refuse_data(&mut self, reply: Reply<&str>, out: &mut Vec<u8>) {
        self.data_refused = true;
        self.reply(reply, out);
        self.group_end = Some(GroupEnd::RefusedData);
    }

    /// Forgets the transaction.
    fn reset(&mut self) {
        self.transaction = Transaction::default();
        if matches!(self.state, State::Mail) {
            self.state = State::Ready;
        }
    }

    pub(super) fn junk<T: Display>(&mut self, reply: Reply<T>, out: &mut Vec<u8>) {
        if self.patience.is_lost_by_junk(&self.terms.limits) {
            return self.end(Reply::new(421, (7, 0), "too many commands without mail"), out);
        }
        reply.write(out);
    }

    /// Replies, and keeps count of errors. 421 ends the session, whoever says it.
    pub(super) fn reply<T: Display>(&mut self, reply: Reply<T>, out: &mut Vec<u8>) {
        reply.write(out);
        match reply.code() {
            421 => self.close(),
            500.. => self.count_error(out),
            _ => {}
        }
    }

    fn count_error(&mut self, out: &mut Vec<u8>) {
        if self.patience.is_lost_by_error(&self.terms.limits) {
            self.end(Reply::new(421, (7, 0), "too many errors"), out);
        }
    }

    /// Replies for the last time.
    pub(super) fn end<T: Display>(&mut self, reply: Reply<T>, out: &mut Vec<u8>) {
        reply.write(out);
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.transaction = Transaction::default();
        self.pending = Vec::new();
        self.group_end = None;
    }
}

/// Whether a command waits for STARTTLS where that is required: all but those
/// that only say hello, do nothing, or end the session anyway.
fn needs_encryption(command: &Command<'_>) -> bool {
    use Command::{Auth, Data, Mail, NotOffered, Rcpt, Vrfy};
    matches!(command, Mail(_) | Rcpt(_) | Data | Vrfy | Auth(_) | NotOffered)
}
