//! The dispatcher: which lane may do what now.
//!
//! It tells lanes what happened, asks those concerned what they want, and starts
//! that: claims, attempts, settlements. What it does for one wake-up depends on how
//! much happened, never on how many lanes there are.

use super::Options;
use super::batches;
use super::berth::Berth;
use super::lane::{Condition, Plan};
use super::lanes::{LaneId, Lanes, Touched};
use super::notes::Notary;
use super::order::{Order, Report};
use super::pauses::Pauses;
use super::shop::Shop;
use super::terms::Book;
use super::turns::{Stake, Turn, Turns};
use super::work::{Done, Purpose, Work, bring, claim, do_at_once};
use crate::post::Destination;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

/// Lanes of the ring that are passed over in one look at most.
const PASSES: usize = 64;

/// See the module.
pub(super) struct Dispatcher {
    pub shop: Arc<Shop>,
    pub book: Book,
    pub reports: mpsc::UnboundedSender<Report>,
    pub lanes: Lanes,
    pub touched: Touched,
    pub turns: Turns<LaneId>,
    timers: BTreeSet<(Instant, LaneId)>,
    /// Claims and settlements that begin with this wake-up.
    begun: Vec<Work>,
    /// Workers that begin with it, by their first orders.
    pub hired: Vec<Order>,
    /// Those of earlier ones, orders and the like.
    pub tasks: JoinSet<Done>,
    /// Those of them that report when they are done.
    pub late: usize,
    pub notary: Notary,
    pub pauses: Pauses,
    /// Grows when terms or rules change.
    pub permit: u64,
    /// What is to be told, see `announce`.
    pub news: Vec<super::announce::News>,
    pub is_announcing: bool,
    /// Why the last attempt ended so.
    pub last_reason: Arc<str>,
    pub in_flight: usize,
    /// Orders under way: what they mean must not be in stock.
    pub orders: usize,
    pub is_stopping: bool,
}

impl Dispatcher {
    pub(super) fn new(
        shop: Arc<Shop>,
        options: &Options,
        notary: Notary,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Dispatcher {
        Dispatcher {
            shop,
            book: options.book.clone(),
            reports,
            lanes: Lanes::default(),
            touched: Touched::default(),
            turns: Turns::new(options.total_connections),
            timers: BTreeSet::new(),
            begun: Vec::new(),
            hired: Vec::new(),
            tasks: JoinSet::new(),
            late: 0,
            notary,
            pauses: Pauses::default(),
            permit: 0,
            news: Vec::new(),
            is_announcing: false,
            last_reason: Arc::default(),
            in_flight: 0,
            orders: 0,
            is_stopping: false,
        }
    }

    /// Whether nothing is left to be done. The last words of a worker are in the
    /// protocol log when it has left.
    pub(super) fn is_done(&self) -> bool {
        let is_idle = self.in_flight == 0 && self.tasks.is_empty() && self.late == 0;
        self.is_stopping && is_idle && self.turns.are_deserted()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let lane = self.timers.first().map(|(at, _)| *at);
        lane.into_iter().chain(self.notary.save_at()).min()
    }

    /// Lets lanes do what they want, then those that wait for their turn.
    pub(super) fn settle_down(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched.0);
        for lane in touched.drain(..) {
            if let Some(berth) = self.lanes.at_mut(lane) {
                berth.is_touched = false;
            }
            self.pursue(lane, Turn::Other, now);
        }
        // Its memory is used again; a lane that pursues another touches none.
        self.touched.0 = touched;
        self.serve_ring(now);
        self.save(now);
        self.announce();
        self.send_out();
    }

    /// The lane of that name, which is known from now on.
    pub(super) fn known(&mut self, name: &Arc<Destination>) -> LaneId {
        if let Some(id) = self.lanes.id(name) {
            return id;
        }
        let terms = batches::terms(&self.book, &self.shop.subscribers, name);
        let mut berth = Box::new(Berth::new(Arc::clone(name), terms, self.permit, Instant::now()));
        if self.pauses.of(name).is_some() {
            berth.lane.pause();
        }
        self.lanes.add(berth)
    }

    /// Notes what the spool rang for.
    pub(super) fn take_rings(&mut self, rung: Vec<(Arc<Destination>, Duration)>, now: Instant) {
        for (name, after) in rung {
            let lane = self.known(&name);
            let Some(berth) = self.lanes.at_mut(lane) else { continue };
            berth.lane.expect((now + after).into_std());
            self.touched.add(berth);
        }
    }

    /// Begins, when all that woke it is seen to, what must not panic.
    pub(super) fn start(&mut self, work: Work) {
        self.begun.push(work);
    }

    /// Hands what begins to one task: the spool is not asked here, and of very many
    /// lanes one task has the answers. What is not answered at once delays nothing.
    fn send_out(&mut self) {
        if self.begun.is_empty() && self.hired.is_empty() {
            return;
        }
        // There will be about as many the next time.
        let next = Vec::with_capacity(self.begun.len());
        let (works, hired) = (std::mem::replace(&mut self.begun, next), std::mem::take(&mut self.hired));
        // Each is polled once: the runtime's limit for one task is not meant for many.
        self.tasks.spawn(unconstrained(do_at_once(works, hired)));
    }

    /// Takes what a task led to, and notes which lanes are concerned.
    pub(super) fn finish(&mut self, done: Done, now: Instant) {
        match done {
            Done::Claimed(lane, purpose, claimed) => self.take_claims(lane, purpose, claimed, now),
            Done::Saved(charges) => self.end_save(charges),
            Done::Announced => self.is_announcing = false,
            Done::Ordered(lanes) => {
                self.orders -= 1;
                lanes.into_iter().for_each(|lane| self.touch(lane));
            }
            Done::OrderedOne(lanes) => {
                for lane in &lanes {
                    if let Some(berth) = self.lanes.at_mut(*lane) {
                        berth.halts = berth.halts.saturating_sub(1);
                    }
                }
                self.finish(Done::Ordered(lanes), now);
            }
            Done::Several(done, late) => {
                done.into_iter().for_each(|done| self.finish(done, now));
                if !late.is_empty() {
                    self.late += late.len();
                    self.tasks.spawn(bring(late, self.reports.clone()));
                }
            }
            Done::BackedOff(wanted, lanes) => self.back_off(wanted, &lanes, now),
            Done::Nothing => {}
        }
    }

    fn touch(&mut self, lane: LaneId) {
        if let Some(berth) = self.lanes.at_mut(lane) {
            self.touched.add(berth);
        }
    }

    /// Lanes whose time has come.
    pub(super) fn take_timers(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, lane)) = self.timers.pop_first() else { break };
            if let Some(berth) = self.lanes.at_mut(lane) {
                berth.timer = None;
                self.touched.add(berth);
            }
        }
    }

    /// Lets resting workers go; those that work leave when they have ended. Nobody
    /// waits for what does not begin any more.
    pub(super) fn stop(&mut self, now: Instant) {
        self.is_stopping = true;
        self.shop.first_attempts.close();
        let mut back = Vec::new();
        for berth in self.lanes.iter_mut() {
            berth.dismiss_all(&mut self.turns);
            back.extend(berth.clear(now));
        }
        self.give_back(back);
        self.save_finally(now);
    }

    /// Does what a lane wants now.
    fn pursue(&mut self, lane: LaneId, turn: Turn, now: Instant) {
        if !self.is_stopping {
            self.advance(lane, turn, now);
        }
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        let (busy, stocked, stuck_at) = (berth.busy(), berth.stocked(), berth.lane.stock().stuck_at());
        self.turns.count(&mut berth.stake, busy, stocked);
        if let Some(at) = stuck_at.filter(|at| *at > now.into_std()) {
            self.set_timer(lane, at.into(), now);
        }
        self.tell_waiting(lane, now);
    }

    fn advance(&mut self, lane: LaneId, turn: Turn, now: Instant) {
        if self.lanes.at(lane).is_none_or(|berth| berth.halts > 0) {
            return;
        }
        let Some(plan) = self.work_off_stock(lane, now) else { return };
        let (is_crowded, has_orders) = (self.turns.waiting() > 0, self.orders > 0);
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        let (most, purpose) = match plan {
            Plan::Send(wanted) => {
                let (resting, busy) = (berth.resting(), berth.busy());
                let granted = self.turns.grant(wanted, &berth.stake, turn, resting, busy);
                self.turns.reserve(granted, &mut berth.stake);
                berth.claiming = granted;
                let lack = match granted {
                    0 => 0,
                    _ if has_orders => 0,
                    // All of its turn at once.
                    _ if is_crowded => berth.stake.spend(berth.lane.lack_in_turn(now.into_std())),
                    _ if granted == wanted => berth.lane.lack(now.into_std()),
                    _ => 0,
                };
                berth.stocking = lack;
                (granted + lack, Purpose::Send)
            }
            Plan::Stock(posts) if !is_crowded && !has_orders => (posts, Purpose::Send),
            Plan::Stock(_) | Plan::Draw(_) | Plan::Return => return,
            Plan::Charge(attempts) => {
                berth.lane.credit().begin_charge();
                return self.notary.charge(&berth.name, attempts);
            }
            Plan::Look(posts) => (posts, Purpose::Look),
            Plan::WaitUntil(at) => return self.set_timer(lane, at.into(), now),
            Plan::Idle => return self.forget_if_spent(lane, now),
        };
        if most == 0 {
            let busy = berth.busy();
            return self.turns.queue(&lane, &mut berth.stake, busy);
        }
        berth.lane.begin_claim();
        berth.is_ordered = false;
        let claim = claim(Arc::clone(&self.shop.spool), berth, most, purpose);
        self.start(Box::pin(claim));
    }

    /// Gives the lanes that wait their turns, as long as there are places.
    fn serve_ring(&mut self, now: Instant) {
        // What is kept for lanes that have nothing must not wait behind those that have.
        let mut passes = self.turns.waiting().min(PASSES);
        while let Some(lane) = self.turns.first().copied() {
            let Some(berth) = self.lanes.at_mut(lane) else {
                // It was forgotten meanwhile.
                self.turns.begin_turn(&mut Stake::default());
                continue;
            };
            if self.turns.are_stocked() && !berth.lane.stock().is_slow() {
                return;
            }
            let (resting, busy) = (berth.resting(), berth.busy());
            if !self.turns.has_place(resting, busy) {
                if busy == 0 || passes == 0 {
                    return self.make_room();
                }
                passes -= 1;
                self.turns.pass();
                continue;
            }
            self.turns.begin_turn(&mut berth.stake);
            self.pursue(lane, Turn::Own, now);
        }
    }

    /// Closes the connections that are idle longest, one for each lane that waits, unless
    /// their next posts are on their way; when they are, somebody else's turn begins.
    fn make_room(&mut self) {
        let lanes = &mut self.lanes;
        while let Some((rest, lane)) = self.turns.evict(|lane| {
            let berth = lanes.at(*lane);
            berth.is_none_or(|berth| berth.resting() > berth.claiming)
        }) {
            if let Some(berth) = lanes.at_mut(lane) {
                berth.dismiss(rest);
            }
        }
    }

    /// Sees to it that the lane is asked again at `at`, or before.
    fn set_timer(&mut self, lane: LaneId, at: Instant, now: Instant) {
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        if berth.timer.is_some_and(|set| set <= at) {
            return;
        }
        if let Condition::Throttled(_) = berth.lane.condition(now.into_std()) {
            self.shop.metrics.throttle_waits.inc();
        }
        if let Some(set) = berth.timer.replace(at) {
            self.timers.remove(&(set, lane));
        }
        self.timers.insert((at, lane));
    }

    fn forget_if_spent(&mut self, lane: LaneId, now: Instant) {
        let Some(berth) = self.lanes.at_mut(lane) else { return };
        if berth.workers == 0 && berth.lane.is_spent(now.into_std()) {
            if let Some(set) = berth.timer {
                self.timers.remove(&(set, lane));
            }
            berth.stake.is_queued = false;
            self.turns.count(&mut berth.stake, 0, 0);
            self.lanes.forget(lane);
        }
    }
}
