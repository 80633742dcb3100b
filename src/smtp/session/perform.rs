//! What each command means in its place, and what it is answered.
//!
//! The texts of the replies to MAIL, RCPT, DATA and the final dot are promises:
//! log readers depend on them. Replies to what the client does wrong are counted
//! here; those that report our own trouble (4yz) are not held against it.

use super::{GroupEnd, Session, State, Transaction};
use crate::envelope::Recipient;
use crate::smtp::command::{Command, Encoding, Mail};
use crate::smtp::receive::Receiver;
use crate::smtp::reply::Reply;
use crate::smtp::session::Policy;
use std::fmt::Display;
use std::net::IpAddr;

/// The extensions of EHLO besides SIZE and LIMITS, in their order around it.
const BEFORE_SIZE: &str = "PIPELINING";
const BEHIND_SIZE: &str = "8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN";

const HELP: &str = "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT";

impl Session {
    pub(super) fn perform(&mut self, command: Command<'_>, policy: &dyn Policy, out: &mut Vec<u8>) {
        match command {
            Command::Helo(name) => self.helo(name, out),
            Command::Ehlo(name) => self.ehlo(name, out),
            Command::Mail(mail) => self.mail(&mail, policy, out),
            Command::Rcpt(path) => self.rcpt(path, policy, out),
            Command::Data => self.data(out),
            Command::Rset => {
                self.reset();
                self.junk(Reply::new(250, (0, 0), "OK"), out);
            }
            Command::Noop => self.junk(Reply::new(250, (0, 0), "OK"), out),
            Command::Vrfy => {
                self.junk(Reply::new(252, (5, 0), "not verified; send the mail and see"), out);
            }
            Command::Help => self.junk(Reply::new(214, (0, 0), HELP), out),
            Command::Quit => {
                self.has_quit = true;
                let text = format!("{} closing connection", self.terms.hostname);
                self.end(Reply::new(221, (0, 0), text), out);
            }
            Command::NotOffered => self.reply(Reply::new(502, (5, 1), "command not offered"), out),
            // What follows BDAT is mail data, not commands.
            Command::Bdat => self.end(Reply::new(502, (5, 1), "CHUNKING is not offered"), out),
            Command::Http => self.end(Reply::new(554, (5, 1), "this is SMTP, not HTTP"), out),
        }
    }

    fn helo(&mut self, name: &str, out: &mut Vec<u8>) {
        self.introduce(name);
        Reply::plain(250, self.hello()).write(out);
    }

    fn ehlo(&mut self, name: &str, out: &mut Vec<u8>) {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        self.introduce(name);
        let limits = &self.terms.limits;
        let (size, recipients, messages) = (limits.message, limits.recipients, limits.messages);
        let lines = format_args!(
            "{}\n{BEFORE_SIZE}\nSIZE {size}\n{BEHIND_SIZE}\nLIMITS RCPTMAX={recipients} MAILMAX={messages}",
            self.hello()
        );
        Reply::plain(250, lines).write(out);
    }

    fn introduce(&mut self, name: &str) {
        self.transaction = Transaction::default();
        self.state = State::Ready;
        name.clone_into(&mut self.client.helo);
    }

    fn hello(&self) -> String {
        let hostname = &self.terms.hostname;
        match self.client.address {
            Some(IpAddr::V4(address)) => format!("{hostname} Hello [{address}]"),
            Some(IpAddr::V6(address)) => format!("{hostname} Hello [IPv6:{address}]"),
            None => format!("{hostname} Hello"),
        }
    }

    fn mail(&mut self, mail: &Mail<'_>, policy: &dyn Policy, out: &mut Vec<u8>) {
        let limits = &self.terms.limits;
        let (messages, size) = (limits.messages, limits.message);
        let is_too_large = mail.size.is_some_and(|declared| size != 0 && declared > size as u64);
        match self.state {
            State::New => return self.reply(Reply::new(503, (5, 1), "send EHLO or HELO first"), out),
            State::Ready => {}
            _ => return self.reply(Reply::new(503, (5, 1), "a transaction has begun already"), out),
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
        self.transaction.encoding = mail.encoding;
        Reply::new(250, (1, 0), format_args!("sender <{}> OK", mail.path)).write(out);
    }

    fn rcpt(&mut self, path: &str, policy: &dyn Policy, out: &mut Vec<u8>) {
        let limits = &self.terms.limits;
        if !matches!(self.state, State::Mail) {
            return self.reply(Reply::new(503, (5, 1), "send MAIL first"), out);
        }
        if policy.is_secret(path) {
            self.secrets.push(path.to_owned());
        }
        if !path.is_ascii() && self.transaction.encoding == Encoding::Ascii {
            return self.reply(Reply::new(553, (6, 7), "an address beyond ASCII needs SMTPUTF8"), out);
        }
        if self.transaction.recipients.len() >= limits.recipients {
            self.transaction.surplus += 1;
            let is_abuse = self.transaction.surplus > limits.recipients;
            Reply::new(452, (5, 3), "too many recipients").write(out);
            if is_abuse {
                self.count_error(out);
            }
            return;
        }
        match policy.recipient(&self.client, path) {
            Ok(target) => {
                let recipient = Recipient { forward_path: path.to_owned(), target };
                self.transaction.recipients.push(recipient);
                Reply::new(250, (1, 5), format_args!("recipient <{path}> OK")).write(out);
            }
            Err(refusal) => self.reply(Reply::from(&refusal), out),
        }
    }

    fn data(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.state, State::Mail) || self.transaction.recipients.is_empty() {
            self.data_refused = true;
            self.reply(Reply::new(503, (5, 1), "no valid recipients"), out);
            self.group_end = Some(GroupEnd::RefusedData);
            return;
        }
        self.group_end = Some(GroupEnd::Reply(out.len()));
        self.state = State::Data(Box::new(Receiver::new(&self.terms.limits, self.terms.bare_newline)));
        Reply::plain(354, "Send data.  End with CRLF.CRLF").write(out);
    }

    /// Forgets the transaction.
    fn reset(&mut self) {
        self.transaction = Transaction::default();
        if matches!(self.state, State::Mail) {
            self.state = State::Ready;
        }
    }

    fn junk<T: Display>(&mut self, reply: Reply<T>, out: &mut Vec<u8>) {
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

    fn close(&mut self) {
        self.state = State::Closed;
        self.transaction = Transaction::default();
        self.pending = Vec::new();
    }
}
