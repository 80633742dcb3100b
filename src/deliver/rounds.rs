//! When the dispatcher asks a lane what it wants, and whose turn it is.

use super::dispatch::{Dispatcher, Purpose, Touched};
use super::lane::Plan;
use super::turns::{Stake, Turn};
use crate::post::Destination;
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Lanes whose time has come.
    pub(super) fn take_timers(&mut self, now: Instant, touched: &mut Touched) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, lane)) = self.timers.pop_first() else { break };
            if let Some(berth) = self.lanes.get_mut(&lane) {
                berth.timer = None;
            }
            touched.insert(lane);
        }
        if self.notary.save_at().is_some_and(|at| at <= now) {
            self.save_rates(now);
        }
    }

    /// Does what a lane wants now.
    pub(super) fn pursue(&mut self, lane: &Arc<Destination>, turn: Turn, now: Instant) {
        while !self.is_stopping {
            let Some(berth) = self.lanes.get_mut(lane) else { return };
            let plan = berth.lane.plan(now.into_std());
            let (most, purpose) = match plan {
                Plan::Send(wanted) => {
                    let (resting, busy) = (berth.resting(), berth.busy());
                    let granted = self.turns.grant(wanted, &berth.stake, turn, resting, busy);
                    self.turns.reserve(granted, &mut berth.stake);
                    berth.claiming = granted;
                    (granted, Purpose::Send)
                }
                Plan::Look(posts) => (posts, Purpose::Look),
                Plan::WaitUntil(at) => {
                    self.set_timer(lane, at.into());
                    break;
                }
                Plan::Idle => {
                    self.forget_if_spent(lane, now);
                    break;
                }
            };
            if most == 0 {
                let busy = berth.busy();
                self.turns.queue(lane, &mut berth.stake, busy);
                break;
            }
            berth.lane.begin_claim();
            self.claim(Arc::clone(lane), most, purpose, now);
        }
        if let Some(berth) = self.lanes.get_mut(lane) {
            let busy = berth.busy();
            self.turns.count(&mut berth.stake, busy);
        }
    }

    /// Gives the lanes that wait their turns, as long as there are places.
    pub(super) fn serve_ring(&mut self, now: Instant) {
        while let Some(lane) = self.turns.first().cloned() {
            let berth = self.lanes.get_mut(&lane);
            if !self.turns.has_place(berth.as_ref().map_or(0, |berth| berth.resting())) {
                return self.make_room();
            }
            match berth {
                Some(berth) => self.turns.begin_turn(&mut berth.stake),
                None => self.turns.begin_turn(&mut Stake::default()),
            }
            self.pursue(&lane, Turn::Own, now);
        }
    }

    /// Closes the connection that is idle longest; when it is, somebody else's turn
    /// begins.
    fn make_room(&mut self) {
        if let Some((rest, lane)) = self.turns.evict()
            && let Some(berth) = self.lanes.get_mut(&lane)
        {
            berth.dismiss(rest);
        }
    }

    /// Sees to it that the lane is asked again at `at`, or before.
    fn set_timer(&mut self, lane: &Arc<Destination>, at: Instant) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        if berth.timer.is_some_and(|set| set <= at) {
            return;
        }
        if let Some(set) = berth.timer.replace(at) {
            self.timers.remove(&(set, Arc::clone(lane)));
        }
        self.timers.insert((at, Arc::clone(lane)));
    }

    fn forget_if_spent(&mut self, lane: &Arc<Destination>, now: Instant) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        if berth.workers == 0 && berth.lane.is_spent(now.into_std()) {
            if let Some(set) = berth.timer {
                self.timers.remove(&(set, Arc::clone(lane)));
            }
            berth.stake.is_queued = false;
            self.turns.count(&mut berth.stake, 0);
            self.lanes.remove(lane);
        }
    }
}
