//! What is looked after once a second while there are webhooks: batches of those that
//! were deleted, disabled or moved, those that took nothing for days, piles that have
//! become small, and the note of how far all have been told.

use super::Engine;
use crate::clock;
use crate::event::Event;
use crate::fanout::announced;
use crate::fanout::shelf::Placed;
use crate::post::{Destination, WebhookId};
use crate::spool::{Counts, Order, PostState, Query, SpoolError};
use crate::subscribers::Gate;
use crate::url_pattern::UrlPattern;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often.
const TICK: Duration = Duration::from_secs(1);
/// How often it is noted how far webhooks have been told.
const NOTE: Duration = Duration::from_secs(5);
/// Time is added up in such pieces: each is noted.
const PIECE: Duration = Duration::from_mins(1);
/// A pile of fewer batches is small.
const SMALL: u64 = 4;

impl Engine {
    /// Does all of it.
    pub(super) async fn look_after(&mut self) -> Result<(), SpoolError> {
        self.tick_at = Instant::now() + TICK;
        self.pass();
        let counts = match self.options.spool.0.counts().await {
            Ok(counts) => counts,
            Err(SpoolError::Closed) => return Err(SpoolError::Closed),
            Err(error) => {
                tracing::warn!(%error, "what waits for webhooks cannot be counted now");
                return Ok(());
            }
        };
        let lanes = counts.iter().filter(|(lane, _)| lane.webhook.is_some());
        self.piles.clear();
        let mut waiting = HashMap::<_, u64>::new();
        self.has_lanes = lanes.clone().any(|(_, counts)| counts.waiting + counts.sending + counts.held > 0);
        let mut held = HashSet::new();
        for (lane, counts) in lanes.clone() {
            let Some(id) = &lane.webhook else { continue };
            *self.piles.entry(id.clone()).or_default() += counts.waiting + counts.sending;
            *waiting.entry(id).or_default() += counts.waiting + counts.sending + counts.held;
            held.extend((counts.held > 0).then(|| id.clone()));
            self.look_after_lane(id, lane, counts).await?;
        }
        for (id, standing) in &mut self.standing {
            standing.backlog.count(waiting.get(id).copied().unwrap_or_default());
        }
        self.open_again(&held).await?;
        self.give_up().await;
        self.announce().await?;
        self.let_go();
        self.press();
        self.go_on();
        self.hold();
        if self.noted.1.elapsed() >= NOTE {
            self.note_standing().await;
        }
        Ok(())
    }

    /// Sends on what waits in the lane of a webhook that is elsewhere by now, ends what
    /// waits for one that was deleted, holds what waits for one that is disabled, and sends
    /// what was held for one that is open again.
    async fn look_after_lane(
        &self,
        id: &WebhookId,
        lane: &Destination,
        counts: &Counts,
    ) -> Result<(), SpoolError> {
        let (waits, is_held) = (counts.waiting > 0, counts.held > 0);
        let meant = |state| Query {
            webhook: Some(id.clone()),
            destination: Some(UrlPattern::of(lane)),
            tenant: Some(lane.tenant.clone()),
            state: Some(state),
            ..Query::default()
        };
        let waiting = [PostState::Queued, PostState::Deferred];
        match self.options.subscribers.find(id) {
            // They are due, and then fail: it is gone.
            None if is_held => drop(self.order(meant(PostState::Held), Order::Release).await?),
            None if waits => drop(self.order(meant(PostState::Deferred), Order::Retry).await?),
            Some(subscriber) if subscriber.gate == Gate::Closed && waits => {
                for state in waiting {
                    self.order(meant(state), Order::Hold).await?;
                }
            }
            Some(subscriber) if subscriber.gate == Gate::Open && is_held && self.opening.contains_key(id) => {
                self.order(meant(PostState::Held), Order::Release).await?;
            }
            Some(subscriber)
                if subscriber.gate == Gate::Open && *subscriber.destination != *lane && waits =>
            {
                for state in waiting {
                    let destination = Arc::clone(&subscriber.destination);
                    let elsewhere = Order::Reroute {
                        destination,
                        trust: subscriber.trust,
                        path: "/".to_owned(),
                        sealed: None,
                    };
                    self.order(meant(state), elsewhere).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes what is meant; nothing when the spool cannot do so now.
    pub(super) async fn order(&self, which: Query, order: Order) -> Result<Option<u64>, SpoolError> {
        match self.options.spool.0.order(which, order).await {
            Err(SpoolError::Closed) => Err(SpoolError::Closed),
            Err(error) => {
                tracing::warn!(%error, "batches of a webhook cannot be changed now; it is tried again");
                Ok(None)
            }
            Ok(count) => Ok(Some(count)),
        }
    }

    /// Disables those whose receivers took nothing for too long.
    async fn give_up(&mut self) {
        let groups = self.groups.iter().flat_map(|group| &group.members).map(|member| &member.id);
        let all = groups.chain(&self.stalled).filter(|id| !self.pressed.contains(*id));
        let all: Vec<WebhookId> = all.cloned().collect();
        for id in all {
            let fare = self.options.subscribers.fare(&id);
            let Some(why) = fare.verdict() else { continue };
            let since = fare.failing_since.unwrap_or_else(clock::wall);
            match self.options.shelf.give_up(id.as_str(), since, why).await {
                Ok(_) => tracing::warn!("webhook {id} is disabled: {why}; its events are held"),
                Err(error) => tracing::warn!("webhook {id} cannot be disabled: {error}"),
            }
        }
    }

    /// Adds up the time that passes, by a clock that does not jump. Receivers that are not
    /// asked while the gateway is down do not fail then, and nothing that is held ages.
    fn pass(&mut self) {
        let now = Instant::now();
        // Whoever slept for longer saw nothing.
        self.passed += now.duration_since(self.passed_at).min(PIECE);
        self.passed_at = now;
        if self.passed < PIECE {
            return;
        }
        let passed = std::mem::take(&mut self.passed);
        self.options.subscribers.pass(passed);
        for Placed { webhook, .. } in self.options.shelf.in_force() {
            let Some(standing) = self.standing.get_mut(&webhook.lane_id()) else { continue };
            let is_closed = webhook.given_up.is_some() || webhook.ceased.is_some() && !webhook.is_owed();
            standing.closed_for = if is_closed { standing.closed_for + passed } else { Duration::ZERO };
        }
    }

    /// Tells of the turns of webhooks, if anybody wants that: each until it is noted that
    /// it was, under the same id. A webhook is not written for it: its version is what its
    /// owner has seen.
    pub(super) async fn announce(&mut self) -> Result<(), SpoolError> {
        let mut is_new = false;
        for Placed { webhook, .. } in self.options.shelf.in_force() {
            let id = webhook.lane_id();
            let turned = self.standing.get(&id).map_or(0, |standing| standing.turned);
            let news = webhook.turns.iter().filter(|turn| turn.number > turned);
            let mut events: Vec<_> = news.filter_map(|turn| announced::turn(&webhook, turn)).collect();
            let overrun = self.overrun(&webhook);
            let has_overrun = overrun.is_some();
            events.extend(overrun);
            if events.is_empty() || !self.publish(&id, events).await? {
                continue;
            }
            is_new = true;
            let standing = self.standing.entry(id.clone()).or_default();
            standing.turned = webhook.turns.last().map_or(turned, |turn| turn.number);
            if has_overrun {
                self.has_told_overrun(&id);
            }
        }
        if is_new {
            self.note_standing().await;
        }
        Ok(())
    }

    /// Whether these events about a webhook need be told no more.
    async fn publish(&self, id: &WebhookId, events: Vec<Event>) -> Result<bool, SpoolError> {
        if !self.options.shelf.is_wanted() {
            return Ok(true);
        }
        match self.options.spool.0.publish(events).await {
            Ok(()) => Ok(true),
            Err(SpoolError::Closed) => Err(SpoolError::Closed),
            Err(error) => {
                tracing::warn!("webhook {id}: how it stands cannot be told now: {error}");
                Ok(false)
            }
        }
    }

    /// Lets the events of those go that have been closed for too long.
    fn let_go(&mut self) {
        for standing in self.standing.values_mut() {
            if standing.closed_for >= self.options.retain_held {
                standing.reached = None;
            }
        }
    }

    /// Tells those again whose piles have become small, and those who must not wait.
    fn go_on(&mut self) {
        if self.stalled.is_empty() {
            return;
        }
        let (piles, standing, haste) = (&self.piles, &self.standing, self.haste);
        let is_late = |id: &WebhookId| standing.get(id).is_some_and(|standing| standing.is_before(haste));
        let before = self.stalled.len();
        self.stalled.retain(|id| piles.get(id).is_some_and(|pile| *pile >= SMALL) && !is_late(id));
        if self.stalled.len() < before {
            self.must_follow = true;
        }
    }
}
