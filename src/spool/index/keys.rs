//! Idempotency keys, and what they stand for.

use super::super::catalog::{Noted, Place};
use super::super::record::Accepted;
use super::super::shared::NOTES;
use super::Index;
use crate::post::Timestamp;
use crate::tenant::Tenant;

impl Index {
    /// Remembers an idempotency key, which alone keeps so many octets.
    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: Noted, octets: u64) {
        self.tallies.note(noted.place.segment, noted.expires_at, octets);
        let kept = self.catalog.note(tenant, key, noted);
        self.intact(kept);
    }

    /// Notes the key of a record that was found or moved, unless the key was used again
    /// since, or the record stands in a later place as well.
    pub fn remember(&mut self, accepted: &Accepted<'_>, place: Place) {
        let Some(key) = &accepted.idempotency_key else { return };
        let noted =
            Noted { earlier: accepted.earlier(), expires_at: accepted.accepted_at.after(NOTES), place };
        let rank = |noted: &Noted| (noted.earlier.message, noted.place.segment, noted.place.offset);
        if self.noted(&accepted.tenant, key, Timestamp(0)).is_none_or(|last| rank(&last) < rank(&noted)) {
            let octets = if accepted.is_note() { u64::from(place.share) } else { 0 };
            self.note(&accepted.tenant, key, noted, octets);
        }
    }

    /// What an idempotency key stands for at `now`.
    pub fn noted(&mut self, tenant: &Tenant, key: &str, now: Timestamp) -> Option<Noted> {
        let noted = self.catalog.noted(tenant, key);
        self.intact(noted).flatten().filter(|noted| noted.expires_at > now)
    }

    /// Forgets idempotency keys that expired, some at a time; whether there may be more.
    pub fn drop_stale_notes(&mut self, now: Timestamp) -> bool {
        let dropped = self.catalog.drop_stale_notes(now);
        self.intact(dropped).unwrap_or_default()
    }
}
