//! The last events, in memory: who follows the journal reads no file.

use super::Position;
use crate::event::Event;
use std::collections::VecDeque;
use std::sync::Arc;

/// Events at most.
const EVENTS: usize = 8192;
/// Octets of their data at most.
const OCTETS: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Recent {
    events: VecDeque<Arc<Event>>,
    octets: usize,
    /// Position behind the last.
    next: u64,
}

impl Recent {
    /// These come at this position, which is behind all others.
    pub fn push(&mut self, first: u64, events: Vec<Event>) {
        self.next = first + events.len() as u64;
        for event in events {
            self.octets += event.data.len();
            self.events.push_back(Arc::new(event));
        }
        while self.events.len() > EVENTS || self.octets > OCTETS {
            let Some(oldest) = self.events.pop_front() else { break };
            self.octets -= oldest.data.len();
        }
    }

    /// Events from a position on, up to `most`; nothing when that one is not here.
    pub fn read(&self, from: u64, most: usize) -> Option<Vec<(Position, Arc<Event>)>> {
        let skipped = from.checked_sub(self.next - self.events.len() as u64)?;
        let skipped = usize::try_from(skipped).ok()?;
        let events = self.events.iter().skip(skipped).take(most).cloned();
        Some((from..).map(Position).zip(events).collect())
    }
}
