//! Which posts of a lane are due, and taking them.

use super::super::catalog::{GREATEST, LEAST, Rank};
use super::{InFlight, Index, Known, PRIORITIES, Taken};
use crate::post::{Destination, Timestamp};
use bytes::Bytes;
use std::sync::Arc;

impl Index {
    /// Takes up to `max` posts of a lane that are due at `now`.
    pub fn claim(
        &mut self,
        destination: &Arc<Destination>,
        max: usize,
        now: Timestamp,
        epoch: u32,
    ) -> Vec<Taken> {
        let Some(number) = self.numbers.get(destination).copied() else { return Vec::new() };
        let mut ranks = self.due(number, max, now);
        ranks.sort_unstable();
        ranks.truncate(max);
        let mut taken = Vec::with_capacity(ranks.len());
        for rank in ranks {
            let id = rank.2;
            let found = match self.take_fresh(id) {
                Some(fresh) => Some((fresh.entry, Some(fresh.post), fresh.body)),
                None => self.cataloged(id).map(|entry| {
                    self.unshelve(id, &entry);
                    match self.take_known(id) {
                        Some(Known { post, body }) => {
                            self.fresh_octets += body.as_ref().map_or(0, Bytes::len);
                            (entry, Some(post), body)
                        }
                        None => (entry, None, None),
                    }
                }),
            };
            let Some((entry, post, body)) = found else { continue };
            self.next_fence += 1;
            // Each unclean start since may have cut an attempt short.
            let tried = entry.state.tried + epoch.saturating_sub(entry.state.epoch) + 1;
            if entry.key != 0 {
                self.busy.insert((entry.lane, entry.key), id);
            }
            let fence = self.next_fence;
            self.in_flight.insert(id, InFlight { entry, fence, tried, body, orders: Vec::new() });
            taken.push(Taken { id, entry, fence, tried, post });
        }
        if let Some((_, lane)) = self.lanes.get_mut(&number) {
            lane.in_flight += taken.len();
        }
        taken
    }

    /// Ranks of up to `max` due posts each from memory and catalog.
    pub(super) fn due(&mut self, number: u32, max: usize, now: Timestamp) -> Vec<Rank> {
        let Some((_, lane)) = self.lanes.get(&number) else { return Vec::new() };
        let in_memory =
            |priority| lane.fresh.range((priority, Timestamp(0), LEAST)..=(priority, now, GREATEST));
        let mut ranks: Vec<Rank> =
            (0..PRIORITIES).flat_map(in_memory).take(max).map(|(rank, _)| *rank).collect();
        let mut found = 0;
        for priority in lane.priorities() {
            if found >= max {
                break;
            }
            let more = self.catalog.waiting(number, priority, now, max - found);
            let more = self.intact(more).unwrap_or_default();
            found += more.len();
            ranks.extend(more);
        }
        ranks
    }

    /// When the next waiting post of a lane is due.
    pub fn next_due(&mut self, destination: &Destination) -> Option<Timestamp> {
        let number = self.numbers.get(destination).copied()?;
        let (_, lane) = self.lanes.get(&number)?;
        let first =
            |priority| lane.fresh.range((priority, Timestamp(0), LEAST)..).next().map(|(rank, _)| *rank);
        let in_priority = |priority| first(priority).filter(|rank| rank.0 == priority).map(|rank| rank.1);
        let mut next = (0..PRIORITIES).filter_map(in_priority).min();
        for priority in lane.priorities() {
            let first = self.catalog.waiting(number, priority, Timestamp(u64::MAX - 1), 1);
            let due = self.intact(first).unwrap_or_default().first().map(|rank| rank.1);
            next = next.into_iter().chain(due).min();
        }
        next
    }
}
