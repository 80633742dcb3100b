//! What the dispatcher begins: posts that were claimed become orders to workers.

use super::attempt;
use super::dispatch::{Dispatcher, Purpose, SPOOL_PAUSE};
use super::lane::Catch;
use super::order::Order;
use super::plan::Plan;
use super::shop::Settled;
use crate::post::Destination;
use crate::spool::{Claim, Claimed, SpoolError};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Begins what was claimed, and keeps in stock what workers will soon be free for.
    pub(super) fn take_claims(
        &mut self,
        lane: &Arc<Destination>,
        purpose: Purpose,
        claimed: Result<Claimed, SpoolError>,
        now: Instant,
    ) {
        let Claimed { claims, next } = claimed.unwrap_or_else(|error| {
            tracing::error!("cannot claim posts for {lane}: {error}");
            Claimed { claims: Vec::new(), next: Some(SPOOL_PAUSE) }
        });
        let (shop, is_stopping, are_free) = (Arc::clone(&self.shop), self.is_stopping, self.orders == 0);
        let berth = self.berth(lane);
        let reserved = std::mem::take(&mut berth.claiming);
        let schedule = &berth.terms.schedule;
        // An order that came meanwhile means these posts as well.
        let may_end = !is_stopping && !berth.is_ordered;
        let (over, mut begun): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| may_end && shop.is_over(claim, schedule));
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
        self.turns.release(reserved);
        self.give_back(back);
        self.in_flight += over.len() + begun.len();
        for claim in over {
            self.order(lane, claim).give_up();
        }
        for claim in begun {
            self.shop.first_attempts.begin(claim.post.id);
            let order = self.order(lane, claim);
            self.hand_over(lane, order);
        }
    }

    fn order(&mut self, lane: &Arc<Destination>, claim: Claim) -> Order {
        let (shop, reports) = (Arc::clone(&self.shop), self.reports.clone());
        let berth = self.berth(lane);
        Order::new(lane, claim, berth, reports, shop)
    }

    /// Gives an order to a resting worker, or to a new one.
    fn hand_over(&mut self, lane: &Arc<Destination>, mut order: Order) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        let Some(trust) = order.claim.as_ref().map(|claim| claim.post.trust) else { return };
        while let Some(worker) = berth.rouse(&mut self.turns, trust) {
            match worker.send(order) {
                Ok(()) => return,
                Err(back) => order = back,
            }
        }
        berth.workers += 1;
        self.turns.hire();
        tokio::spawn(attempt::work(order));
    }

    /// Begins what is in stock as far as there is room, and gives back what must not
    /// begin without being asked for. Breaks when workers have taken all of it, of
    /// which they tell soon.
    pub(super) fn work_off_stock(&mut self, lane: &Arc<Destination>, now: Instant) -> ControlFlow<()> {
        loop {
            let Some(berth) = self.lanes.get(lane) else { return ControlFlow::Continue(()) };
            let posts = match berth.lane.plan(now.into_std()) {
                Plan::Draw(posts) if self.turns.waiting() == 0 => posts,
                // The places that it has are enough.
                Plan::Draw(_) if berth.busy() > 0 => return ControlFlow::Break(()),
                Plan::Draw(_) => 1,
                Plan::Return => 0,
                _ => return ControlFlow::Continue(()),
            };
            if self.draw(lane, posts, now) == 0 && self.return_stock(lane, now) == 0 {
                return ControlFlow::Break(());
            }
        }
    }

    /// Begins up to so many posts of the stock; says how many.
    fn draw(&mut self, lane: &Arc<Destination>, posts: usize, now: Instant) -> usize {
        let mut begun = 0;
        while begun < posts {
            let berth = self.berth(lane);
            let (resting, busy, tray) = (berth.resting(), berth.busy(), Arc::clone(&berth.tray));
            let has_place = self.turns.has_place(resting, busy);
            let Some(claim) = has_place.then(|| tray.take()).flatten() else { break };
            self.berth(lane).lane.draw(1, now.into_std());
            self.in_flight += 1;
            self.shop.first_attempts.begin(claim.post.id);
            let order = self.order(lane, claim);
            self.hand_over(lane, order);
            begun += 1;
        }
        begun
    }

    /// Gives the stock of a lane back; says how much that was.
    fn return_stock(&mut self, lane: &Arc<Destination>, now: Instant) -> usize {
        let back = self.berth(lane).clear(now);
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
