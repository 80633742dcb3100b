//! Events that a message publishes: one for each recipient `event+TYPE`.
//!
//! The body is one JSON object, read as that of a post with payload `body`: what
//! clients do to long lines is undone. The id of an event follows from that of the
//! message, so that a message which is composed again makes no other events.

use super::Receipt;
use super::render::Renderer;
use crate::envelope::{Envelope, Refusal, Target};
use crate::event::published::{self, Unfit};
use crate::event::{Event, EventId};

/// The events of a message. Refuses with `550 5.6.0` what is no JSON object, with `552
/// 5.3.4` one that is too large.
pub fn events(envelope: &Envelope, receipt: Receipt, renderer: &mut Renderer) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        let Target::Event { name } = &recipient.target else { continue };
        let octets = renderer.data().ok_or_else(|| refusal("the message cannot be read"))?;
        let data = published::data(&octets).map_err(|unfit| match unfit {
            Unfit::Size => Refusal::new(552, (3, 4), unfit.to_string()),
            Unfit::Data(_) | Unfit::Name(_) | Unfit::Own => refusal(&unfit.to_string()),
        })?;
        let dice = u128::from(receipt.message.0) << 16 | at as u128;
        events.push(Event {
            id: EventId::new(receipt.received_at, dice),
            name: name.clone(),
            at: receipt.received_at,
            tenant: envelope.client.tenant.clone(),
            data,
        });
    }
    Ok(events)
}

fn refusal(reason: &str) -> Refusal {
    Refusal::new(550, (6, 0), reason)
}
