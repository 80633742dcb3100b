//! The part of the catalog that is in memory.

use super::{End, Entry, Filter, GREATEST, LEAST, Line, Listing, Noted, Place, Rank, Spot, Turn};
use crate::post::{MessageId, PostId, Timestamp};
use crate::spool::state::{Phase, State};
use crate::tenant::Tenant;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

/// Entries that a listing looks at in one go: others wait for the index meanwhile.
const LOOKS: usize = 20_000;

/// Stands for no end.
const NEVER: Timestamp = Timestamp(u64::MAX);

/// Entries and the orders in which they are asked for.
#[derive(Default)]
pub(super) struct InMemory {
    posts: BTreeMap<PostId, Packed>,
    waiting: BTreeSet<WaitingKey>,
    /// The same posts by what may end their time.
    ends: BTreeSet<WaitingKey>,
    letters: BTreeSet<(Timestamp, PostId)>,
    held: BTreeSet<(Timestamp, PostId)>,
    lines: BTreeSet<(Line, PostId)>,
    notes: HashMap<(Tenant, String), Noted>,
}

impl InMemory {
    pub fn len(&self) -> usize {
        self.posts.len() + self.notes.len()
    }

    /// Posts that are over among them.
    pub fn letters(&self) -> usize {
        self.letters.len()
    }

    pub fn insert(&mut self, id: PostId, entry: Entry) {
        // One that stands twice in a damaged log counts as it was taken in last.
        if let Some(earlier) = self.posts.insert(id, Packed::of(&entry)) {
            self.leave_orders(id, &earlier.entry());
        }
        match entry.turn(id) {
            Turn::Due(lane, rank) => {
                self.ends.extend(entry.ends(id).map(|end| waiting_key(lane, end)));
                self.waiting.insert(waiting_key(lane, rank))
            }
            Turn::Blocked => true,
            Turn::Letter(at, id) => self.letters.insert((at, id)),
            Turn::Held(at, id) => self.held.insert((at, id)),
        };
    }

    /// Takes out a post; whether it was there.
    pub fn remove(&mut self, id: PostId) -> bool {
        let Some(entry) = self.posts.remove(&id).map(|packed| packed.entry()) else { return false };
        self.leave_orders(id, &entry);
        true
    }

    fn leave_orders(&mut self, id: PostId, entry: &Entry) {
        match entry.turn(id) {
            Turn::Due(lane, rank) => {
                for end in entry.ends(id) {
                    self.ends.remove(&waiting_key(lane, end));
                }
                self.waiting.remove(&waiting_key(lane, rank))
            }
            Turn::Blocked => true,
            Turn::Letter(at, id) => self.letters.remove(&(at, id)),
            Turn::Held(at, id) => self.held.remove(&(at, id)),
        };
    }

    pub fn entry(&self, id: PostId) -> Option<Entry> {
        self.posts.get(&id).map(Packed::entry)
    }

    pub fn waiting(
        &self,
        lane: u32,
        priority: u8,
        until: Timestamp,
        max: usize,
    ) -> impl Iterator<Item = (Rank, Entry)> {
        let ranks = first(&self.waiting, lane, priority, until, max);
        ranks.filter_map(|rank| Some((rank, self.entry(rank.2)?)))
    }

    pub fn ending(
        &self,
        lane: u32,
        end: End,
        until: Timestamp,
        max: usize,
    ) -> impl Iterator<Item = (PostId, Entry)> {
        let ends = first(&self.ends, lane, end as u8, until, max);
        ends.filter_map(|(_, _, id)| Some((id, self.entry(id)?)))
    }

    pub fn stale(&self, until: Timestamp, since: Timestamp, max: usize) -> Vec<PostId> {
        let letters = self.letters.range(..=(until, GREATEST));
        letters.chain(self.held.range(..=(since, GREATEST))).take(max).map(|(_, id)| *id).collect()
    }

    /// Looks at every entry if need be: a few milliseconds for as many as there are
    /// in memory, for which a third order would take a quarter more room.
    pub fn newest(&self, filter: &Filter, before: PostId, most: usize) -> Listing {
        let older = self.posts.range(..before).rev();
        let older = older.map(|(id, packed)| Ok::<_, Infallible>((*id, packed.entry())));
        let Ok(listing) = Listing::of(older, filter, (most, LOOKS));
        listing
    }

    pub fn line_up(&mut self, line: Line, id: PostId) {
        self.lines.insert((line, id));
    }

    pub fn step_out(&mut self, line: Line, id: PostId) {
        self.lines.remove(&(line, id));
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

/// The first keys of a lane's part of an order.
fn first(
    order: &BTreeSet<WaitingKey>,
    lane: u32,
    part: u8,
    until: Timestamp,
    max: usize,
) -> impl Iterator<Item = Rank> {
    let (first, last) = ((part, Timestamp(0), LEAST), (part, until, GREATEST));
    let (first, last) = (waiting_key(lane, first), waiting_key(lane, last));
    order.range(first..=last).take(max).filter_map(rank_in)
}

/// An entry as it is kept: there is one for every waiting post.
struct Packed {
    key: u64,
    due_at: Timestamp,
    ages_from: Timestamp,
    place: Spot,
    share: u32,
    history: Spot,
    ended: u32,
    tried: u32,
    /// The greatest time there is when there is none.
    expires_at: Timestamp,
    lane: u32,
    phase: Phase,
    priority: u8,
    /// Blocked, anew, rerouted, lean.
    marks: [bool; 4],
}

impl Packed {
    fn of(entry: &Entry) -> Packed {
        let State { ended, tried, phase, due_at, ages_from, .. } = entry.state;
        Packed {
            key: entry.key,
            due_at,
            ages_from,
            place: Spot::at(entry.place.segment, entry.place.offset),
            share: entry.place.share,
            history: entry.history,
            ended,
            tried,
            expires_at: entry.expires_at.unwrap_or(NEVER),
            lane: entry.lane,
            phase,
            priority: entry.priority,
            marks: [entry.is_blocked, entry.state.is_anew, entry.state.is_rerouted, entry.state.is_lean],
        }
    }

    fn entry(&self) -> Entry {
        let Packed { key, due_at, ages_from, share, history, ended, tried, expires_at, .. } = *self;
        let Packed { lane, phase, priority, marks, .. } = *self;
        let [is_blocked, is_anew, is_rerouted, is_lean] = marks;
        let (segment, offset) = self.place.place().unwrap_or_default();
        Entry {
            place: Place { segment, offset, share },
            history,
            key,
            lane,
            priority,
            expires_at: (expires_at != NEVER).then_some(expires_at),
            is_blocked,
            state: State { ended, tried, phase, is_anew, is_rerouted, is_lean, due_at, ages_from },
        }
    }
}

/// Lane and rank, in octets that sort like them.
type WaitingKey = [u8; 23];

fn waiting_key(lane: u32, (priority, due_at, id): Rank) -> WaitingKey {
    let mut key = [0; 23];
    let (front, back) = key.split_at_mut(13);
    let parts = [&lane.to_be_bytes()[..], &[priority], &due_at.0.to_be_bytes()];
    front.copy_from_slice(&parts.concat());
    let parts = [&id.message.0.to_be_bytes()[..], &id.number.to_be_bytes()];
    back.copy_from_slice(&parts.concat());
    key
}

fn rank_in(key: &WaitingKey) -> Option<Rank> {
    let word = |at: usize| Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
    let number = u16::from_be_bytes(key.get(21..)?.try_into().ok()?);
    let id = PostId { message: MessageId(word(13)?), number };
    Some((*key.get(4)?, Timestamp(word(5)?), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_post_takes_little_memory() {
        // Maps that are filled in order have room for four fifths more.
        let octets = size_of::<(PostId, Packed)>() + 2 * size_of::<WaitingKey>();
        assert!(octets * 9 / 5 <= 250, "{octets} octets");
    }

    #[test]
    fn keys_of_waiting_posts_sort_like_their_ranks() {
        let mut dice = fastrand::Rng::with_seed(1);
        let mut few = || dice.u64(..3) * 0x0102_0304;
        let mut rank = || {
            let id = PostId { message: MessageId(few()), number: few() as u16 };
            ((few() as u32), ((few() % 10) as u8, Timestamp(few()), id))
        };
        for _ in 0..1000 {
            let (one, two) = (rank(), rank());
            let keys = (waiting_key(one.0, one.1), waiting_key(two.0, two.1));
            assert_eq!(keys.0.cmp(&keys.1), one.cmp(&two));
            assert_eq!(rank_in(&keys.0), Some(one.1));
        }
    }
}
