//! STARTTLS and AUTH (RFC 3207, RFC 4954): what must be so before they are done.
//!
//! The handshake and the check of credentials are the driver's and the door's;
//! here is when they may begin, and what their end is answered. Both end a group
//! of commands, and so does every reply of an exchange: what waits behind them
//! was said before the client could know the reply, and ends the session.
//!
//! STARTTLS is taken before EHLO as well: nothing said before it counts, so to
//! insist on more of it would protect nobody.

use super::{Demand, GroupEnd, Policy, Session, State};
use crate::envelope::{Login, Refusal};
use crate::smtp::auth::{Exchange, Flaw, Mechanism, Mechanisms, Offer, Step};
use crate::smtp::command::Auth;
use crate::smtp::reply::Reply;
use crate::smtp::words::TlsUse;

impl Session {
    pub(super) fn start_tls(&mut self, out: &mut Vec<u8>) -> Demand {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        let refusal = match self.state {
            _ if self.client.tls.is_some() => (503, "the connection is encrypted already"),
            _ if self.terms.tls != TlsUse::StartTls => (502, "command not offered"),
            State::Mail => (503, "not within a transaction"),
            _ => {
                self.state = State::Securing;
                Reply::new(220, (0, 0), "ready to start TLS").write(out);
                return Demand::StartTls;
            }
        };
        self.reply(Reply::new(refusal.0, (5, 1), refusal.1), out);
        Demand::Read
    }

    pub(super) fn auth(&mut self, auth: Auth<'_>, policy: &dyn Policy, out: &mut Vec<u8>) -> Demand {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        match self.mechanism(auth.mechanism, policy) {
            Ok(mechanism) => {
                let (exchange, step) = Exchange::begin(mechanism, auth.initial, || policy.challenge());
                self.state = State::Authenticating(exchange);
                self.go_on(step, out)
            }
            Err(reply) => {
                self.reply(reply, out);
                Demand::Read
            }
        }
    }

    /// The mechanism of this name, when it may be used here and now.
    fn mechanism(&self, name: &str, policy: &dyn Policy) -> Result<Mechanism, Reply<&'static str>> {
        let out_of_place = |text| Err(Reply::new(503, (5, 1), text));
        match self.state {
            State::New => return out_of_place(self.hello_first()),
            State::Mail => return out_of_place("not within a transaction"),
            _ if self.client.login.is_some() => return out_of_place("logged in already"),
            _ => {}
        }
        let mechanisms = policy.mechanisms(&self.client);
        if mechanisms.is_empty() {
            return Err(Reply::new(502, (5, 1), "command not offered"));
        }
        let mechanism = Mechanism::named(name);
        match mechanism.map_or(Offer::No, |mechanism| mechanisms.offer(mechanism)) {
            Offer::AfterTls => Err(Reply::new(538, (7, 11), "encryption required for this mechanism")),
            Offer::No => Err(Reply::new(504, (5, 4), "mechanism not offered")),
            Offer::Now => mechanism.ok_or(Reply::new(504, (5, 4), "mechanism not offered")),
        }
    }

    /// Goes on with the exchange under way.
    pub(super) fn go_on(&mut self, step: Step, out: &mut Vec<u8>) -> Demand {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        let flaw = match step {
            Step::Continue(prompt) => {
                Reply::plain(334, prompt).write(out);
                return Demand::Read;
            }
            Step::Done(credentials) => {
                self.state = State::Verifying;
                return Demand::Verify(credentials);
            }
            Step::Wrong(flaw) => flaw,
        };
        self.state = State::Ready;
        match flaw {
            Flaw::Cancelled => self.reply(Reply::new(501, (0, 0), "authentication cancelled"), out),
            Flaw::Malformed => self.reply(Reply::new(501, (5, 2), "malformed authentication response"), out),
            Flaw::Nobody => self.deny(&Refusal::new(535, (7, 8), "authentication failed"), out),
        }
        Demand::Read
    }

    pub(super) fn log_in(&mut self, login: Login, out: &mut Vec<u8>) {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        self.client.login = Some(login.name);
        self.client.tenant = login.tenant;
        Reply::new(235, (7, 0), "authentication successful").write(out);
    }

    /// Nobody is logged in, whyever: each time counts, and the last one ends the
    /// session instead of being answered.
    pub(super) fn deny(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        self.group_end = Some(GroupEnd::Reply(out.len()));
        if self.patience.is_lost_by_login(&self.terms.limits) {
            return self.end(Reply::new(421, (7, 0), "too many failed logins"), out);
        }
        self.reply(Reply::from(refusal), out);
    }

    /// What EHLO may say of AUTH: nothing that would be refused.
    pub(super) fn mechanisms_now(&self, policy: &dyn Policy) -> Mechanisms {
        if self.must_encrypt() { Mechanisms::default() } else { policy.mechanisms(&self.client) }
    }

    /// Whether nothing of consequence is done before STARTTLS.
    pub(super) fn must_encrypt(&self) -> bool {
        self.terms.required.tls && self.client.tls.is_none()
    }
}
