//! What the dispatcher begins: posts that were claimed become orders to workers.

use super::dispatch::Dispatcher;
use super::lane::Catch;
use super::lanes::LaneId;
use super::order::Order;
use super::plan::Plan;
use super::shop::Settled;
use super::work::{Purpose, SPOOL_PAUSE};
use crate::spool::{Claim, Claimed, SpoolError};
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Begins what was claimed, and keeps in stock what workers will soon be free for.
    pub(super) fn take_claims(
        &mut self,
        lane: LaneId,
        purpose: Purpose,
        claimed: Result<Claimed, SpoolError>,
        now: Instant,
    ) {
        let (is_stopping, are_free) = (self.is_stopping, self.orders == 0);
        let Some(berth) = self.lanes.at_mut(lane) else {
            return self.give_back(claimed.map(|claimed| claimed.claims).unwrap_or_default());
        };
        let Claimed { claims: mut begun, next } = claimed.unwrap_or_else(|error| {
            tracing::error!("cannot claim posts for {}: {error}", berth.name);
            Claimed { claims: Vec::new(), next: Some(SPOOL_PAUSE) }
        });
        let reserved = std::mem::take(&mut berth.claiming);
        berth.stocking = 0;
        // An order that came meanwhile means these posts as well.
        let may_end = !is_stopping && !berth.is_ordered;
        let over = if may_end { self.shop.take_over(&mut begun, &berth.terms.schedule) } else { Vec::new() };
        // What has closed or narrowed the lane meanwhile holds for these posts as well.
        let may_begin = may_end && purpose == Purpose::Send;
        let room = if may_begin { berth.lane.may_begin(now.into_std()).min(reserved) } else { 0 };
        let others = begun.split_off(room.min(begun.len()));
        let may_stock = may_begin && are_free && berth.lane.may_stock(now.into_std());
        let (stocked, back) = if may_stock { (others, Vec::new()) } else { (Vec::new(), others) };
        let (begins, stocks, returns) = (begun.len(), stocked.len(), back.len());
        let catch = Catch { begun: begins, stocked: stocks, over: over.len(), back: returns, next };
        berth.tray.put(stocked);
        berth.lane.end_claim(catch, now.into_std());
        self.touched.add(berth);
        self.turns.release(reserved);
        self.in_flight += over.len() + begun.len();
        self.give_back(back);
        for claim in over {
            if let Some(order) = self.order(lane, claim) {
                order.give_up();
            }
        }
        for claim in begun {
            self.begin(lane, claim);
        }
    }

    fn order(&self, lane: LaneId, claim: Claim) -> Option<Order> {
        let berth = self.lanes.at(lane)?;
        Some(Order::new(berth, claim, self.reports.clone(), Arc::clone(&self.shop)))
    }

    /// Has the first or next attempt of a post made, by a resting worker or a new one.
    fn begin(&mut self, lane: LaneId, claim: Claim) {
        let trust = claim.post.trust;
        self.shop.first_attempts.begin(claim.post.id);
        let Some(mut order) = self.order(lane, claim) else { return };
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        while let Some(worker) = berth.rouse(&mut self.turns, trust) {
            match worker.send(order) {
                Ok(()) => return,
                Err(back) => order = back,
            }
        }
        berth.workers += 1;
        self.turns.hire();
        self.hired.push(order);
    }

    /// Begins what is in stock as far as there is room, and gives back what must not
    /// begin without being asked for. Says what else the lane wants; nothing when workers
    /// have taken all of it, of which they tell soon.
    pub(super) fn work_off_stock(&mut self, lane: LaneId, now: Instant) -> Option<Plan> {
        loop {
            let berth = self.lanes.at(lane)?;
            let posts = match berth.lane.plan(now.into_std()) {
                Plan::Draw(posts) if self.turns.waiting() == 0 => posts,
                // The places that it has are enough.
                Plan::Draw(_) if berth.busy() > 0 => return None,
                Plan::Draw(_) => 1,
                Plan::Return => 0,
                other => return Some(other),
            };
            if self.draw(lane, posts, now) == 0 && self.return_stock(lane, now) == 0 {
                return None;
            }
        }
    }

    /// Begins up to so many posts of the stock; says how many.
    fn draw(&mut self, lane: LaneId, posts: usize, now: Instant) -> usize {
        let mut begun = 0;
        while begun < posts {
            let Some(berth) = self.lanes.at_mut(lane) else { break };
            let has_place = self.turns.has_place(berth.resting(), berth.busy());
            let Some(claim) = has_place.then(|| berth.tray.take()).flatten() else { break };
            berth.lane.draw(1, now.into_std());
            self.in_flight += 1;
            self.begin(lane, claim);
            begun += 1;
        }
        begun
    }

    /// Gives the stock of a lane back; says how much that was.
    fn return_stock(&mut self, lane: LaneId, now: Instant) -> usize {
        let back = self.lanes.at_mut(lane).map(|berth| berth.clear(now)).unwrap_or_default();
        let posts = back.len();
        self.give_back(back);
        posts
    }

    /// Returns posts that were claimed when nothing new was to begin.
    pub(super) fn give_back(&mut self, claims: Vec<Claim>) {
        if !claims.is_empty() {
            self.settle(Settled::back(claims));
        }
    }
}
