//! A webhook that was closed is open again: what was held is sent, and what failed since
//! its receiver was in trouble is tried once more.
//!
//! That it was closed is known by the number of its closings, however soon it was open
//! again, and is forgotten only when nothing is left of it: an attempt that saw it closed
//! may end as held a moment after it was opened, and a spool may take no order now.

use super::Engine;
use crate::clock;
use crate::fanout::shelf::Placed;
use crate::post::WebhookId;
use crate::spool::{Order, PostState, Query, SpoolError};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// What saw a webhook closed has ended by then.
const SETTLING: Duration = Duration::from_secs(5);

impl Engine {
    /// Takes notice of whether one is closed, or was since it was last looked at.
    pub(super) fn meet(&mut self, Placed { webhook, .. }: &Placed) {
        let id = webhook.lane_id();
        let since = webhook.given_up.as_ref().map_or_else(clock::wall, |given_up| given_up.since);
        let is_closed = !webhook.is_active();
        let mut is_opening = false;
        self.options.subscribers.note(&id, |fare| {
            let is_new = fare.closings != webhook.closings;
            if is_closed || is_new {
                fare.closed(webhook.closings, since);
            }
            is_opening = fare.closed_since.is_some() && !is_closed;
            if is_opening && (is_new || !self.opening.contains_key(&id)) {
                fare.begin_anew();
                self.opening.insert(id.clone(), None);
                self.tick_at = Instant::now();
            }
        });
        if !is_opening {
            self.opening.remove(&id);
        }
    }

    /// Sends on what is owed to those that are open again; `held` says for whom something
    /// is held.
    pub(super) async fn open_again(&mut self, held: &HashSet<WebhookId>) -> Result<(), SpoolError> {
        let opening: Vec<_> = self.opening.iter().map(|(id, at)| (id.clone(), *at)).collect();
        for (id, retried_at) in opening {
            match retried_at {
                None => {
                    let since = self.options.subscribers.fare(&id).closed_since;
                    let (webhook, state) = (Some(id.clone()), Some(PostState::Failed));
                    let failed = Query { webhook, state, since, ..Query::default() };
                    if self.order(failed, Order::Retry).await?.is_some() {
                        self.opening.insert(id, Some(Instant::now()));
                    }
                }
                Some(at) if at.elapsed() >= SETTLING && !held.contains(&id) => {
                    self.opening.remove(&id);
                    self.options.subscribers.note(&id, |fare| fare.closed_since = None);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
