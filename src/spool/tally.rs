//! What each segment of the log keeps alive: counted, so that the keeper knows
//! which ones can be used again without reading them.

use super::catalog::Entry;
use crate::post::Timestamp;
use std::collections::BTreeMap;

/// What one segment keeps alive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Living posts whose record stands there.
    pub posts: usize,
    /// Their octets.
    pub octets: u64,
    /// When the last idempotency key in it expires.
    pub notes_until: Timestamp,
    /// Octets of records that only a key keeps.
    pub notes: u64,
}

/// The tallies of all segments, by number.
#[derive(Debug, Default)]
pub(super) struct Tallies(BTreeMap<u64, Tally>);

impl Tallies {
    /// A post begins to live.
    pub fn add(&mut self, entry: &Entry) {
        let tally = self.0.entry(entry.place.segment).or_default();
        tally.posts += 1;
        tally.octets += u64::from(entry.place.share);
    }

    /// A post ended, or moved away.
    pub fn remove(&mut self, entry: &Entry) {
        if let Some(tally) = self.0.get_mut(&entry.place.segment) {
            tally.posts = tally.posts.saturating_sub(1);
            tally.octets = tally.octets.saturating_sub(u64::from(entry.place.share));
        }
    }

    /// An idempotency key stands in this segment, in a record of so many octets that
    /// nothing else keeps: 0 where a post does, or did and still has its body.
    pub fn note(&mut self, segment: u64, expires_at: Timestamp, octets: u64) {
        let tally = self.0.entry(segment).or_default();
        tally.notes_until = tally.notes_until.max(expires_at);
        tally.notes += octets;
    }

    /// The tally of one segment.
    pub fn of(&self, segment: u64) -> Tally {
        self.0.get(&segment).copied().unwrap_or_default()
    }

    /// Octets of all that lives at `now`.
    pub fn octets(&self, now: Timestamp) -> u64 {
        let notes = |tally: &Tally| if tally.notes_until > now { tally.notes } else { 0 };
        self.0.values().map(|tally| tally.octets + notes(tally)).sum()
    }

    /// A segment is used anew.
    pub fn forget(&mut self, segment: u64) {
        self.0.remove(&segment);
    }
}
