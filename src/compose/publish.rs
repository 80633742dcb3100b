//! Events that a message publishes: one for each recipient `event+TYPE`.
//!
//! The body is one JSON object, read as that of a post with payload `body`: what
//! clients do to long lines is undone. What all of them hold is bounded, by as much as
//! posts may add to a message and by what is read back at a time; each counts, though all
//! are the same, as nobody keeps them once. The id of an event follows from that of the
//! message, so that a message which is composed again makes no other events.

use super::Receipt;
use super::render::Renderer;
use crate::envelope::{Envelope, Recipient, Refusal, Target};
use crate::event::published::{self, Unfit};
use crate::event::{Event, EventId};
use bytes::Bytes;

/// Most octets of the data of all events of a message.
const MOST_OCTETS: usize = 16 << 20;

/// The events of a message. Refuses with `550 5.6.0` what is no JSON object, with `552
/// 5.3.4` what is too large, alone or together.
pub fn events(envelope: &Envelope, receipt: Receipt, renderer: &mut Renderer) -> Result<Vec<Event>, Refusal> {
    let is_event = |recipient: &&Recipient| matches!(recipient.target, Target::Event { .. });
    let count = envelope.recipients.iter().filter(is_event).count();
    if count == 0 {
        return Ok(Vec::new());
    }
    let data = data(renderer)?;
    let octets = data.len().saturating_mul(count);
    if octets > MOST_OCTETS.min(renderer.left()) {
        let text = format!("{count} events of {} octets are too large; name fewer recipients", data.len());
        return Err(Refusal::new(552, (3, 4), text));
    }
    let mut events = Vec::with_capacity(count);
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        let Target::Event { name } = &recipient.target else { continue };
        let dice = u128::from(receipt.message.0) << 16 | at as u128;
        events.push(Event {
            id: EventId::new(receipt.received_at, dice),
            name: name.clone(),
            at: receipt.received_at,
            tenant: envelope.client.tenant.clone(),
            data: data.clone(),
        });
    }
    Ok(events)
}

/// What the message holds.
fn data(renderer: &mut Renderer) -> Result<Bytes, Refusal> {
    let octets = renderer.data().ok_or_else(|| refusal("the message cannot be read"))?;
    published::data(&octets).map_err(|unfit| match unfit {
        Unfit::Size => Refusal::new(552, (3, 4), unfit.to_string()),
        Unfit::Data(_) | Unfit::Name(_) | Unfit::Own => refusal(&unfit.to_string()),
    })
}

fn refusal(reason: &str) -> Refusal {
    Refusal::new(550, (6, 0), reason)
}
