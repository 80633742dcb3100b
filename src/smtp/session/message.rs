//! The end of mail data, and how it is answered.
//!
//! SMTP answers once. LMTP answers for each recipient that was taken, in their
//! order (RFC 2033 section 4.2), also when the whole message is refused. SMTP
//! names the message, LMTP the first post that the recipient's own reply stands for. A
//! message is kept for all of its recipients or for none, so the answers differ
//! only where the first attempt to send a post was waited for, or where a message is
//! too large for some.

use super::{Demand, Session, State};
use crate::envelope::{Envelope, Fate, Refusal, Replies, Taken};
use crate::post::PostId;
use crate::smtp::receive::Fault;
use crate::smtp::reply::Reply;
use std::fmt::Display;

impl Session {
    /// Takes mail data, and says how many octets of the input were part of it.
    pub(super) fn take_data(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Demand) {
        let State::Data(receiver) = &mut self.state else { return (0, Demand::Read) };
        let Some(used) = receiver.push(input) else { return (input.len(), Demand::Read) };
        let length = receiver.length();
        self.hear(format!("(message data, {length} bytes)").as_bytes());
        let State::Data(receiver) = std::mem::replace(&mut self.state, State::Ready) else {
            return (used, Demand::Read);
        };
        let transaction = std::mem::take(&mut self.transaction);
        let replies = if self.speaks_lmtp() { Replies::Each } else { Replies::One };
        self.answers = if replies == Replies::Each { transaction.recipients.len() } else { 1 };
        match receiver.finish() {
            Ok(data) => {
                self.state = State::Admitting;
                let (client, recipients) = (self.client.clone(), transaction.recipients);
                let envelope = Envelope {
                    returns: transaction.returns,
                    envelope_id: transaction.envelope_id,
                    replies,
                    ..Envelope::new(client, transaction.reverse_path, recipients)
                };
                return (used, Demand::Admit(Box::new(envelope), data));
            }
            Err(fault) => self.faulty(fault, out),
        }
        (used, Demand::Read)
    }

    fn faulty(&mut self, fault: Fault, out: &mut Vec<u8>) {
        let reply = match fault {
            Fault::TooLarge => Reply::new(552, (3, 4), "message too large"),
            Fault::HeaderTooLarge => Reply::new(552, (3, 4), "header section too large"),
            Fault::NoMemory => no_memory(),
            Fault::BareNewline => Reply::new(554, (6, 0), "bare CR, bare LF or NUL in the message"),
        };
        self.answer(reply, out);
        if fault == Fault::BareNewline {
            self.close();
        }
    }

    pub(super) fn accepted(&mut self, taken: &Taken, out: &mut Vec<u8>) {
        self.patience.restore();
        for at in 0..self.answers {
            // Beyond that number there are no posts.
            let usual = if self.answers == 1 { 0 } else { u16::try_from(at + 1).unwrap_or(u16::MAX) };
            let number = taken.numbers.get(at).copied().unwrap_or(usual);
            let id = PostId { message: taken.message, number };
            match taken.fates.get(at).unwrap_or(&Fate::Queued) {
                Fate::Queued => {
                    Reply::new(250, (0, 0), format_args!("Message received and queued as {id}.")).write(out);
                }
                Fate::Delivered(status) => {
                    Reply::new(250, (0, 0), format_args!("Delivered as {id} ({status})")).write(out);
                }
                // What a receiver thinks of a post is no error of the client.
                Fate::Refused(refusal) => Reply::from(refusal).write(out),
            }
        }
    }

    pub(super) fn refused(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        self.answer(Reply::from(refusal), out);
    }

    /// The same reply as often as one is awaited; if it is an error, it is one.
    fn answer<T: Display>(&mut self, reply: Reply<T>, out: &mut Vec<u8>) {
        for _ in 1..self.answers {
            reply.write(out);
        }
        self.reply(reply, out);
    }
}

/// The refusal of a message that no memory is left for.
pub(super) fn no_memory() -> Reply<&'static str> {
    Reply::new(452, (3, 1), "no memory for the message now, try again")
}
