//! Which posts of a lane are due, and taking them.

use super::super::catalog::{End, Entry, GREATEST, LEAST, Rank};
use super::{Fresh, InFlight, Index, Known, PRIORITIES, Taken, Wanted};
use crate::post::{Destination, Post, PostId, Timestamp};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

impl Index {
    /// Takes up to `max` posts of a lane that are wanted at `now`.
    pub fn claim(
        &mut self,
        destination: &Arc<Destination>,
        wanted: Wanted,
        max: usize,
        now: Timestamp,
    ) -> Vec<Taken> {
        let Some(number) = self.numbers.get(destination).copied() else { return Vec::new() };
        let mut found = match wanted {
            Wanted::Due => self.due(number, max, now),
            Wanted::Expired { max_age } => self.expired(number, max_age, max, now),
        };
        found.sort_unstable_by_key(|(rank, _)| *rank);
        // The time of some is over in both ways.
        found.dedup_by_key(|(rank, _)| *rank);
        found.truncate(max);
        let mut taken = Vec::with_capacity(found.len());
        for (rank, entry) in found {
            let id = rank.2;
            if self.in_flight.contains_key(&id) {
                // Only in a damaged log a post stands twice.
                continue;
            }
            let Some((entry, post, body)) = self.take_waiting(id, entry) else { continue };
            self.next_fence += 1;
            if entry.key != 0 {
                self.busy.insert((entry.lane, entry.key), id);
            }
            let fence = self.next_fence;
            self.in_flight.insert(id, InFlight { entry, fence, body, orders: Vec::new() });
            taken.push(Taken { id, entry, fence, post });
        }
        if let Some((_, lane)) = self.lanes.get_mut(&number) {
            lane.in_flight += taken.len();
            taken.iter().for_each(|taken| lane.ages.add(taken.id));
        }
        taken
    }

    /// Takes out a post that waits in memory, or in the catalog with this entry.
    fn take_waiting(
        &mut self,
        id: PostId,
        cataloged: Option<Entry>,
    ) -> Option<(Entry, Option<Arc<Post>>, Option<Bytes>)> {
        let Some(entry) = cataloged else {
            let fresh = self.take_fresh(id)?;
            return Some((fresh.entry, Some(fresh.post), fresh.body));
        };
        self.unshelve(id, &entry);
        let Some(Known { post, body }) = self.take_known(id) else { return Some((entry, None, None)) };
        self.fresh_octets += body.as_ref().map_or(0, Bytes::len);
        Some((entry, Some(post), body))
    }

    /// Up to `max` due posts each from memory and catalog, those with their entries.
    pub(super) fn due(&mut self, number: u32, max: usize, now: Timestamp) -> Vec<(Rank, Option<Entry>)> {
        let Some((_, lane)) = self.lanes.get(&number) else { return Vec::new() };
        let in_memory =
            |priority| lane.fresh.range((priority, Timestamp(0), LEAST)..=(priority, now, GREATEST));
        let mut all: Vec<_> =
            (0..PRIORITIES).flat_map(in_memory).take(max).map(|(rank, _)| (*rank, None)).collect();
        let mut found = 0;
        for priority in lane.priorities() {
            if found >= max {
                break;
            }
            let more = self.catalog.waiting(number, priority, now, max - found);
            let more = self.intact(more).unwrap_or_default();
            found += more.len();
            all.extend(more.into_iter().map(|(rank, entry)| (rank, Some(entry))));
        }
        all
    }

    /// Up to `max` posts each from memory and catalog whose time is over. What waits in
    /// memory is little, and looked through.
    fn expired(
        &mut self,
        number: u32,
        max_age: Duration,
        max: usize,
        now: Timestamp,
    ) -> Vec<(Rank, Option<Entry>)> {
        let Some((_, lane)) = self.lanes.get(&number) else { return Vec::new() };
        let bounds = [(End::Age, before(now, max_age)), (End::Own, Some(now))];
        let is_over = |fresh: &Fresh| {
            let mut ends = bounds.iter().filter_map(|(end, until)| fresh.entry.end(*end).zip(*until));
            ends.any(|(end, until)| end <= until)
        };
        let in_memory = lane.fresh.iter().filter(|(_, fresh)| is_over(fresh)).take(max);
        let mut all: Vec<_> = in_memory.map(|(rank, _)| (*rank, None)).collect();
        for (end, until) in bounds {
            let Some(until) = until else { continue };
            let more = self.catalog.ending(number, end, until, max);
            let more = self.intact(more).unwrap_or_default();
            all.extend(more.into_iter().map(|(rank, entry)| (rank, Some(entry))));
        }
        all
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
            let due = self.intact(first).unwrap_or_default().first().map(|(rank, _)| rank.1);
            next = next.into_iter().chain(due).min();
        }
        next
    }
}

/// The time so long before, if there was one.
fn before(now: Timestamp, span: Duration) -> Option<Timestamp> {
    let millis = u64::try_from(span.as_millis()).ok()?;
    now.0.checked_sub(millis).map(Timestamp)
}
