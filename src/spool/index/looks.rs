//! What others want to know of the posts in the index: how many there are, and
//! which ones a query means.

use super::super::catalog::{Entry, Filter, Listing};
use super::super::{Counts, PostState, Query};
use super::{Index, Lane};
use crate::post::{Destination, Post, PostId};
use std::cmp::Reverse;
use std::sync::Arc;

/// A post that a query means.
pub(in super::super) struct Seen {
    pub id: PostId,
    pub entry: Entry,
    pub state: PostState,
    /// Absent for a post that must be read from the log.
    pub post: Option<Arc<Post>>,
}

/// What a look at the newest posts found.
pub(in super::super) struct Newest {
    pub found: Vec<Seen>,
    /// All down to this one were looked at; nothing when there are no more.
    pub reached: Option<PostId>,
}

impl Index {
    /// How many posts of which kind each lane holds.
    pub fn counts(&self) -> Vec<(Arc<Destination>, Counts)> {
        let counts = self.lanes.values().map(|(destination, lane)| (Arc::clone(destination), lane.counts()));
        counts.filter(|(_, counts)| *counts != Counts::default()).collect()
    }

    /// The newest `most` posts older than `before` that a query means, what stands in
    /// them aside, the newest first; may end early.
    pub fn newest(&mut self, query: &Query, before: PostId, most: usize) -> Newest {
        if let Some(id) = query.id {
            let one = Query { id: None, ..query.clone() };
            let fits = |seen: &Seen, index: &Index| index.filter(&one).fits_seen(seen);
            let seen = (id < before).then(|| self.see(id)).flatten();
            let found = seen.filter(|seen| fits(seen, self)).into_iter().collect();
            return Newest { found, reached: None };
        }
        let filter = self.filter(query);
        let listing = self.catalog.newest(&filter.0, before, most);
        let Listing { found, mut reached } = self.intact(listing).unwrap_or_default();
        let seen = |(id, entry): (PostId, Entry)| Seen { id, state: entry.state.seen(), entry, post: None };
        let mut found: Vec<Seen> = found.into_iter().map(seen).collect();
        // What is older than what the catalog looked at comes with the next look.
        let is_looked_at = |id: &PostId| *id < before && reached.is_none_or(|reached| *id >= reached);
        let loose = self.fresh.keys().chain(self.in_flight.keys()).filter(|id| is_looked_at(id));
        let loose: Vec<PostId> = loose.copied().collect();
        let loose = loose.into_iter().filter_map(|id| self.see(id));
        found.extend(loose.filter(|seen| filter.fits_seen(seen)));
        found.sort_unstable_by_key(|seen| Reverse(seen.id));
        if found.len() > most {
            found.truncate(most);
            reached = found.last().map(|last| last.id);
        }
        Newest { found, reached }
    }

    /// A living post.
    pub fn see(&mut self, id: PostId) -> Option<Seen> {
        let entry = self.find(id)?;
        let is_in_flight = self.in_flight.contains_key(&id);
        let state = if is_in_flight { PostState::Sending } else { entry.state.seen() };
        let fresh = self.fresh.get(&id).and_then(|(lane, rank)| self.lanes.get(lane)?.1.fresh.get(rank));
        let post = fresh.map(|fresh| Arc::clone(&fresh.post));
        Some(Seen { id, entry, state, post })
    }

    /// Which lanes and states a query means.
    fn filter(&self, query: &Query) -> Meant {
        let is_of_lanes = query.tenant.is_some() || query.destination.is_some() || query.webhook.is_some();
        if !is_of_lanes && query.state.is_none() {
            return Meant(Filter { lanes: None }, None);
        }
        let meant = self.lanes.iter().filter(|(_, (destination, _))| query.means(destination));
        let states = |lane: &Lane| {
            let states = lane.states().into_iter();
            states.filter(|state| query.state.is_none_or(|wanted| wanted == *state)).collect::<Vec<_>>()
        };
        let lanes = meant.map(|(number, (_, lane))| (*number, states(lane)));
        Meant(Filter { lanes: Some(lanes.filter(|(_, states)| !states.is_empty()).collect()) }, query.state)
    }
}

/// Which posts a query means, and in which state they are wanted.
struct Meant(Filter, Option<PostState>);

impl Meant {
    fn fits_seen(&self, seen: &Seen) -> bool {
        let is_in_lane = |lanes: &std::collections::HashMap<u32, _>| lanes.contains_key(&seen.entry.lane);
        self.0.lanes.as_ref().is_none_or(is_in_lane) && self.1.is_none_or(|wanted| wanted == seen.state)
    }
}

impl Lane {
    fn counts(&self) -> Counts {
        let number = |number: usize| number as u64;
        Counts {
            waiting: number(self.fresh.len() + self.cataloged + self.blocked),
            sending: number(self.in_flight),
            held: number(self.held),
            failed: number(self.letters),
            oldest_at: self.ages.oldest_at(),
        }
    }

    /// The states in which it may hold posts.
    fn states(&self) -> Vec<PostState> {
        let counts = self.counts();
        let rows = [
            (PostState::Queued, counts.waiting),
            (PostState::Deferred, counts.waiting),
            (PostState::Sending, counts.sending),
            (PostState::Held, counts.held),
            (PostState::Failed, counts.failed),
            (PostState::Delivered, self.shelved as u64),
        ];
        rows.into_iter().filter(|(_, number)| *number > 0).map(|(state, _)| state).collect()
    }
}
