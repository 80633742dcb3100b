//! The part of the catalog that is in memory.

use super::{Entry, Filter, GREATEST, LEAST, Line, Noted, Rank, Turn};
use crate::post::{PostId, Timestamp};
use crate::tenant::Tenant;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Entries and the orders in which they are asked for.
#[derive(Default)]
pub(super) struct InMemory {
    posts: BTreeMap<PostId, Entry>,
    waiting: BTreeSet<(u32, Rank)>,
    letters: BTreeSet<(Timestamp, PostId)>,
    held: BTreeSet<(Timestamp, PostId)>,
    lines: BTreeSet<(Line, PostId)>,
    notes: HashMap<(Tenant, String), Noted>,
}

impl InMemory {
    pub fn len(&self) -> usize {
        self.posts.len() + self.notes.len()
    }

    pub fn insert(&mut self, id: PostId, entry: Entry) {
        match entry.turn(id) {
            Turn::Due(lane, rank) => self.waiting.insert((lane, rank)),
            Turn::Blocked => true,
            Turn::Letter(at, id) => self.letters.insert((at, id)),
            Turn::Held(at, id) => self.held.insert((at, id)),
        };
        self.posts.insert(id, entry);
    }

    /// Takes out a post; whether it was there.
    pub fn remove(&mut self, id: PostId) -> bool {
        let Some(entry) = self.posts.remove(&id) else { return false };
        match entry.turn(id) {
            Turn::Due(lane, rank) => self.waiting.remove(&(lane, rank)),
            Turn::Blocked => true,
            Turn::Letter(at, id) => self.letters.remove(&(at, id)),
            Turn::Held(at, id) => self.held.remove(&(at, id)),
        };
        true
    }

    pub fn entry(&self, id: PostId) -> Option<Entry> {
        self.posts.get(&id).copied()
    }

    pub fn waiting(&self, lane: u32, priority: u8, until: Timestamp, max: usize) -> Vec<Rank> {
        let (first, last) = ((priority, Timestamp(0), LEAST), (priority, until, GREATEST));
        self.waiting.range((lane, first)..=(lane, last)).take(max).map(|(_, rank)| *rank).collect()
    }

    pub fn stale(&self, until: Timestamp, since: Timestamp, max: usize) -> Vec<PostId> {
        let letters = self.letters.range(..=(until, GREATEST));
        letters.chain(self.held.range(..=(since, GREATEST))).take(max).map(|(_, id)| *id).collect()
    }

    /// Looks at every entry if need be: a few milliseconds for as many as there are
    /// in memory, for which a third order would take a quarter more room.
    pub fn newest(&self, filter: &Filter, before: PostId, most: usize) -> Vec<(PostId, Entry)> {
        let older = self.posts.range(..before).rev();
        older.filter(|(_, entry)| filter.fits(entry)).take(most).map(|(id, entry)| (*id, *entry)).collect()
    }

    pub fn line_up(&mut self, line: Line, id: PostId) {
        self.lines.insert((line, id));
    }

    /// Whether it was there.
    pub fn step_out(&mut self, line: Line, id: PostId) -> bool {
        self.lines.remove(&(line, id))
    }

    pub fn first_from(&self, line: Line, id: PostId) -> Option<(Line, PostId)> {
        self.lines.range((line, id)..).next().copied()
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
