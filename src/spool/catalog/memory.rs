//! The part of the catalog that is in memory.

use super::{Entry, GREATEST, LEAST, Noted, Rank};
use crate::post::{PostId, Timestamp};
use crate::spool::record::Phase;
use crate::tenant::Tenant;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Entries and the orders in which they are asked for.
#[derive(Default)]
pub(super) struct InMemory {
    posts: BTreeMap<PostId, Entry>,
    waiting: BTreeSet<(u32, Rank)>,
    letters: BTreeSet<(Timestamp, PostId)>,
    notes: HashMap<(Tenant, String), Noted>,
}

impl InMemory {
    pub fn len(&self) -> usize {
        self.posts.len() + self.notes.len()
    }

    pub fn insert(&mut self, id: PostId, entry: Entry) {
        match entry.state.phase {
            Phase::Waiting => self.waiting.insert((entry.lane, entry.rank(id))),
            Phase::DeadLetter => self.letters.insert((entry.state.due_at, id)),
        };
        self.posts.insert(id, entry);
    }

    /// Takes out a post; whether it was there.
    pub fn remove(&mut self, id: PostId) -> bool {
        let Some(entry) = self.posts.remove(&id) else { return false };
        match entry.state.phase {
            Phase::Waiting => self.waiting.remove(&(entry.lane, entry.rank(id))),
            Phase::DeadLetter => self.letters.remove(&(entry.state.due_at, id)),
        }
    }

    pub fn entry(&self, id: PostId) -> Option<Entry> {
        self.posts.get(&id).copied()
    }

    pub fn waiting(&self, lane: u32, priority: u8, until: Timestamp, max: usize) -> Vec<Rank> {
        let (first, last) = ((priority, Timestamp(0), LEAST), (priority, until, GREATEST));
        self.waiting.range((lane, first)..=(lane, last)).take(max).map(|(_, rank)| *rank).collect()
    }

    pub fn stale_letters(&self, until: Timestamp, max: usize) -> Vec<PostId> {
        self.letters.range(..=(until, GREATEST)).take(max).map(|(_, id)| *id).collect()
    }

    pub fn note(&mut self, tenant: &Tenant, key: &str, noted: Noted) {
        self.notes.insert((tenant.clone(), key.to_owned()), noted);
    }

    pub fn noted(&self, tenant: &Tenant, key: &str) -> Option<Noted> {
        self.notes.get(&(tenant.clone(), key.to_owned())).copied()
    }

    pub fn drop_stale_notes(&mut self, now: Timestamp) {
        self.notes.retain(|_, noted| noted.expires_at > now);
    }
}
