//! What waits for webhooks that take little, and where it waits.
//!
//! A webhook for which batches pile up is told no more until they have gone: the journal
//! has what it lacks, and costs nothing more. But that is the journal of all tenants, and
//! there is room for so much. Before that is over, what such a webhook wants is made into
//! batches, however many wait for it: they are the little that it wants of the journal,
//! and are its own. So it is with one that is closed: its batches are held.
//!
//! All that waits so may take as much room as the journal. Behind that what is new for
//! those who have more than their share of it is let go, and nobody else's: it is counted,
//! noted before anything else is done, and told by `webhook.overrun`.

use super::{Engine, PAUSE};
use crate::clock;
use crate::event::Event;
use crate::fanout::announced;
use crate::fanout::batches::Full;
use crate::fanout::webhook::Webhook;
use crate::post::{Timestamp, WebhookId};
use crate::spool::SpoolError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Octets of a batch of which nothing is known.
const UNKNOWN: u64 = 4096;
/// How often it is told that events are let go.
const OFTEN: Duration = Duration::from_mins(1);
/// A hundredth of the room is everybody's, and no backlog.
const SMALL: u64 = 100;

/// What waits for a webhook, or is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Backlog {
    posts: u64,
    /// Of their bodies, about.
    octets: u64,
}

impl Backlog {
    /// There is one more.
    pub fn add(&mut self, octets: u64) {
        self.posts += 1;
        self.octets = self.octets.saturating_add(octets);
    }

    /// So many are there: in the mean they are as large as they were.
    pub fn count(&mut self, posts: u64) {
        self.octets = match self.posts {
            0 => posts.saturating_mul(UNKNOWN),
            known => (self.octets / known).saturating_mul(posts),
        };
        self.posts = posts;
    }
}

/// What was told of the events that were let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Overrun {
    /// How many are told.
    told: u64,
    /// When the last one was let go.
    at: Timestamp,
}

impl Engine {
    /// Finds those who hold so much of the journal that they must be told now, closed or
    /// not.
    pub(super) fn press(&mut self) {
        self.haste = self.options.journal.haste().0;
        self.stall();
        self.must_follow |= self.standing.values().any(|standing| standing.is_before(self.haste));
    }

    /// Takes those out of full batches who must wait no longer, and have no room left: each
    /// with how many events it loses once the others are kept.
    pub(super) fn excess(&self, full: &mut Vec<Full>) -> Vec<(WebhookId, u64)> {
        let is_late = |full: &&Full| {
            let first = full.closed.events.first().map(|(position, _)| *position);
            first.is_some_and(|first| first <= self.haste) && !full.wish.is_part()
        };
        let late = full.iter().filter(is_late).flat_map(|full| &full.members);
        let mut over: HashSet<_> = late.map(|member| member.id.clone()).collect();
        if over.is_empty() || !self.is_over(&mut over) {
            return Vec::new();
        }
        let mut lost = Vec::new();
        // Of one that loses something no batch is kept now: it would say that all before was
        // told.
        for one in full.iter_mut().filter(|full| !full.wish.is_part()) {
            let events = one.closed.events.len() as u64;
            let gone = one.members.extract_if(.., |member| over.contains(&member.id));
            lost.extend(gone.map(|member| (member.id, events)));
        }
        full.retain(|full| !full.members.is_empty());
        lost
    }

    /// Leaves those of them for whom more waits than is their share; whether there are any,
    /// and there is no room for all that waits.
    fn is_over(&self, over: &mut HashSet<WebhookId>) -> bool {
        let room = self.options.journal.room();
        let sizes = || self.standing.values().map(|standing| standing.backlog.octets);
        let large = sizes().filter(|octets| *octets >= room / SMALL).count() as u64;
        let share = room / large.max(1);
        over.retain(|id| self.standing.get(id).is_some_and(|standing| standing.backlog.octets >= share));
        !over.is_empty() && sizes().sum::<u64>() >= room
    }

    /// So many events are not told to this one.
    pub(super) fn lose(&mut self, id: &WebhookId, events: u64) {
        self.standing.entry(id.clone()).or_default().overrun.at = clock::wall();
        self.options.subscribers.note(id, |fare| fare.lost += events);
    }

    /// Notes how far all are, durably.
    pub(super) async fn note_loss(&mut self) -> Result<(), SpoolError> {
        loop {
            match self.try_note().await {
                Ok(()) => return Ok(()),
                Err(SpoolError::Closed) => return Err(SpoolError::Closed),
                Err(error) => tracing::warn!(%error, "that events are let go cannot be noted now"),
            }
            sleep(PAUSE).await;
        }
    }

    /// What is to be told of the events of a webhook that were let go, now and then.
    pub(super) fn overrun(&self, webhook: &Webhook) -> Option<Event> {
        let id = webhook.lane_id();
        let Overrun { told, at } = self.standing.get(&id)?.overrun;
        let lost = self.options.subscribers.fare(&id).lost;
        let is_time = self.overrun_at.get(&id).is_none_or(|at| at.elapsed() >= OFTEN);
        let is_news = lost > told && is_time;
        is_news.then(|| announced::overrun(webhook, (lost - told, lost), at)).flatten()
    }

    /// That was told.
    pub(super) fn has_told_overrun(&mut self, id: &WebhookId) {
        let total = self.options.subscribers.fare(id).lost;
        tracing::error!(total, "webhook {id}: too much waits for it; events are let go");
        self.standing.entry(id.clone()).or_default().overrun.told = total;
        self.overrun_at.insert(id.clone(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_shrinks_in_the_mean() {
        let mut backlog = Backlog::default();
        backlog.count(2);
        assert_eq!(backlog, Backlog { posts: 2, octets: 2 * UNKNOWN });
        backlog = Backlog::default();
        for octets in [100, 300] {
            backlog.add(octets);
        }
        for (posts, octets) in [(2, 400), (1, 200), (3, 600), (0, 0)] {
            backlog.count(posts);
            assert_eq!(backlog, Backlog { posts, octets });
        }
    }
}
