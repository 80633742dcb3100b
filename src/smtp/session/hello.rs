//! HELO, EHLO and LHLO: who the client says it is, and what it may use.
//!
//! Any name is taken, or none. SMTP and LMTP are told apart by the verb (RFC 2033
//! section 4.1): the wrong one is refused with the right one, so that a port that
//! was mixed up is found out at once.

use super::{GroupEnd, Policy, Session, State, Transaction};
use crate::smtp::reply::Reply;
use crate::smtp::words::TlsUse;
use std::fmt::Write as _;
use std::net::IpAddr;

impl Session {
    pub(super) fn helo(&mut self, name: &str, out: &mut Vec<u8>) {
        if self.speaks_lmtp() {
            return self.wrong_protocol("this is LMTP; send LHLO", out);
        }
        self.introduce(name, Reply::plain(250, self.hello()), out);
    }

    pub(super) fn ehlo(&mut self, name: &str, policy: &dyn Policy, out: &mut Vec<u8>) {
        if self.speaks_lmtp() {
            return self.wrong_protocol("this is LMTP; send LHLO", out);
        }
        self.extended_hello(name, policy, out);
    }

    pub(super) fn lhlo(&mut self, name: &str, policy: &dyn Policy, out: &mut Vec<u8>) {
        if !self.speaks_lmtp() {
            return self.wrong_protocol("this is SMTP; send EHLO", out);
        }
        self.extended_hello(name, policy, out);
    }

    fn wrong_protocol(&mut self, text: &str, out: &mut Vec<u8>) {
        self.reply(Reply::new(500, (5, 1), text), out);
    }

    fn extended_hello(&mut self, name: &str, policy: &dyn Policy, out: &mut Vec<u8>) {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        self.introduce(name, Reply::plain(250, self.extensions(policy)), out);
    }

    /// The lines of the reply, in the order of the specification.
    fn extensions(&self, policy: &dyn Policy) -> String {
        let limits = &self.terms.limits;
        let mut lines = self.hello();
        // Writing to a string cannot fail.
        let _ = write!(lines, "\nPIPELINING\nSIZE {}", limits.message);
        lines.push_str("\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES");
        if self.terms.tls == TlsUse::StartTls && self.client.tls.is_none() {
            lines.push_str("\nSTARTTLS");
        }
        let mechanisms = self.mechanisms_now(policy).to_string();
        if !mechanisms.is_empty() {
            let _ = write!(lines, "\nAUTH {mechanisms}");
            if self.terms.legacy_auth_keyword {
                let _ = write!(lines, "\nAUTH={mechanisms}");
            }
        }
        let (recipients, messages) = (limits.recipients, limits.messages);
        let _ = write!(lines, "\nDSN\nLIMITS RCPTMAX={recipients} MAILMAX={messages}");
        lines
    }

    /// Once is a must; again does nothing but end a transaction, as RSET does.
    fn introduce(&mut self, name: &str, reply: Reply<String>, out: &mut Vec<u8>) {
        let is_first = matches!(self.state, State::New);
        self.transaction = Transaction::default();
        self.state = State::Ready;
        name.clone_into(&mut self.client.helo);
        if is_first { reply.write(out) } else { self.junk(reply, out) }
    }

    fn hello(&self) -> String {
        let hostname = &self.terms.hostname;
        match self.client.address {
            Some(IpAddr::V4(address)) => format!("{hostname} Hello [{address}]"),
            Some(IpAddr::V6(address)) => format!("{hostname} Hello [IPv6:{address}]"),
            None => format!("{hostname} Hello"),
        }
    }

    /// What a client is told that has not introduced itself.
    pub(super) fn hello_first(&self) -> &'static str {
        if self.speaks_lmtp() { "send LHLO first" } else { "send EHLO or HELO first" }
    }
}
