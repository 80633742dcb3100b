//! The dispatcher: which lane may do what now.
//!
//! It tells lanes what happened, asks those concerned what they want, and starts
//! that: claims, attempts, settlements. What it does for one wake-up depends on how
//! much happened, never on how many lanes there are.

use super::Options;
use super::berth::Berth;
use super::caught::caught;
use super::lane::{Condition, Plan};
use super::notes::{Charge, Notary};
use super::order::Report;
use super::pauses::Pauses;
use super::shop::Shop;
use super::terms::Book;
use super::turns::{Stake, Turn, Turns};
use crate::post::Destination;
use crate::spool::{Claimed, SpoolError};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

/// Time until a spool that failed is asked again.
pub(super) const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// Lanes of the ring that are passed over in one look at most.
const PASSES: usize = 64;

/// Lanes to be asked what they want.
pub(super) type Touched = HashSet<Arc<Destination>>;

/// What a task of the dispatcher led to.
pub(super) enum Done {
    /// The spool's answer to a claim of a lane.
    Claimed(Arc<Destination>, Purpose, Result<Claimed, SpoolError>),
    /// What was new was written down, these charges among it.
    Saved(Vec<Charge>),
    /// State changes were announced.
    Announced,
    /// An order was carried out, for which the stocks of these lanes went back.
    Ordered(Vec<Arc<Destination>>),
    /// These were done, and those go on.
    Several(Vec<Done>, Vec<Work>),
    /// Nothing to be done.
    Nothing,
}

/// Why posts are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be sent.
    Send,
    /// To be given up: their time is over.
    Look,
}

/// Work of the dispatcher that may take a while.
pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// See the module.
pub(super) struct Dispatcher {
    pub shop: Arc<Shop>,
    pub book: Book,
    pub reports: mpsc::UnboundedSender<Report>,
    pub lanes: HashMap<Arc<Destination>, Box<Berth>>,
    pub turns: Turns<Arc<Destination>>,
    timers: BTreeSet<(Instant, Arc<Destination>)>,
    /// Claims and settlements that begin with this wake-up.
    begun: Vec<Work>,
    /// Those of earlier ones, orders and the like.
    pub tasks: JoinSet<Done>,
    pub notary: Notary,
    pub pauses: Pauses,
    /// Grows when terms or rules change.
    pub permit: u64,
    /// What is to be told, see `announce`.
    pub news: Vec<super::announce::News>,
    pub is_announcing: bool,
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
            lanes: HashMap::new(),
            turns: Turns::new(options.total_connections),
            timers: BTreeSet::new(),
            begun: Vec::new(),
            tasks: JoinSet::new(),
            notary,
            pauses: Pauses::default(),
            permit: 0,
            news: Vec::new(),
            is_announcing: false,
            in_flight: 0,
            orders: 0,
            is_stopping: false,
        }
    }

    /// Whether nothing is left to be done. The last words of a worker are in the
    /// protocol log when it has left.
    pub(super) fn is_done(&self) -> bool {
        self.is_stopping && self.in_flight == 0 && self.tasks.is_empty() && self.turns.are_deserted()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let lane = self.timers.first().map(|(at, _)| *at);
        lane.into_iter().chain(self.notary.save_at()).min()
    }

    /// Lets lanes do what they want, then those that wait for their turn.
    pub(super) fn settle_down(&mut self, touched: Touched, now: Instant) {
        for lane in touched {
            self.pursue(&lane, Turn::Other, now);
        }
        self.serve_ring(now);
        self.shop.is_crowded.store(self.turns.waiting() > 0, Ordering::Relaxed);
        self.save(now);
        self.announce();
        self.send_out();
    }

    pub(super) fn berth(&mut self, lane: &Arc<Destination>) -> &mut Berth {
        let (book, pauses, permit) = (&self.book, &self.pauses, self.permit);
        self.lanes.entry(Arc::clone(lane)).or_insert_with(|| {
            let mut berth = Box::new(Berth::new(book.terms(lane), permit, Instant::now()));
            if pauses.of(lane).is_some() {
                berth.lane.pause();
            }
            berth
        })
    }

    /// Notes what the spool rang for.
    pub(super) fn take_rings(
        &mut self,
        rung: Vec<(Arc<Destination>, Duration)>,
        now: Instant,
        touched: &mut Touched,
    ) {
        for (lane, after) in rung {
            self.berth(&lane).lane.expect((now + after).into_std());
            touched.insert(lane);
        }
    }

    fn claim(&mut self, lane: Arc<Destination>, most: usize, purpose: Purpose) {
        let spool = Arc::clone(&self.shop.spool);
        let max_age = self.berth(&lane).terms.schedule.max_age;
        self.start(Box::pin(async move {
            let claimed = caught(async {
                match purpose {
                    Purpose::Send => spool.claim(&lane, most).await,
                    Purpose::Look => spool.claim_expired(&lane, max_age, most).await,
                }
            });
            let claimed = claimed.await;
            Done::Claimed(lane, purpose, claimed)
        }));
    }

    /// Begins, when all that woke it is seen to, what must not panic.
    pub(super) fn start(&mut self, work: Work) {
        self.begun.push(work);
    }

    /// Hands what begins to one task: the spool is not asked here, and of very many
    /// lanes one task has the answers. What is not answered at once delays nothing.
    fn send_out(&mut self) {
        if !self.begun.is_empty() {
            // Each is polled once: the runtime's limit for one task is not meant for many.
            self.tasks.spawn(unconstrained(do_at_once(std::mem::take(&mut self.begun))));
        }
    }

    /// Takes what a task led to, and notes which lanes are concerned.
    pub(super) fn finish(&mut self, done: Done, now: Instant, touched: &mut Touched) {
        match done {
            Done::Claimed(lane, purpose, claimed) => {
                self.take_claims(&lane, purpose, claimed, now);
                touched.insert(lane);
            }
            Done::Saved(charges) => touched.extend(self.end_save(charges)),
            Done::Announced => self.is_announcing = false,
            Done::Ordered(lanes) => {
                self.orders -= 1;
                touched.extend(lanes);
            }
            Done::Several(done, late) => {
                done.into_iter().for_each(|done| self.finish(done, now, touched));
                late.into_iter().for_each(|work| drop(self.tasks.spawn(work)));
            }
            Done::Nothing => {}
        }
    }

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
    }

    /// Lets resting workers go; those that work leave when they have ended. Nobody
    /// waits for what does not begin any more.
    pub(super) fn stop(&mut self, now: Instant) {
        self.is_stopping = true;
        self.shop.first_attempts.close();
        let mut back = Vec::new();
        for berth in self.lanes.values_mut() {
            berth.dismiss_all(&mut self.turns);
            back.extend(berth.clear(now));
        }
        self.give_back(back);
        self.save_finally(now);
    }

    /// Whether posts may be claimed before a worker is free for them.
    pub(super) fn may_stock(&self) -> bool {
        self.turns.waiting() == 0 && self.orders == 0
    }

    /// Does what a lane wants now.
    fn pursue(&mut self, lane: &Arc<Destination>, turn: Turn, now: Instant) {
        if !self.is_stopping {
            self.advance(lane, turn, now);
        }
        if let Some(berth) = self.lanes.get_mut(lane) {
            let busy = berth.busy();
            self.turns.count(&mut berth.stake, busy);
        }
        self.tell_waiting(lane, now);
    }

    fn advance(&mut self, lane: &Arc<Destination>, turn: Turn, now: Instant) {
        if self.work_off_stock(lane, now).is_break() {
            return;
        }
        let may_stock = self.may_stock();
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        let plan = berth.lane.plan(now.into_std());
        let (most, purpose) = match plan {
            Plan::Send(wanted) => {
                let (resting, busy) = (berth.resting(), berth.busy());
                let granted = self.turns.grant(wanted, &berth.stake, turn, resting, busy);
                self.turns.reserve(granted, &mut berth.stake);
                berth.claiming = granted;
                let is_free = granted == wanted && self.orders == 0;
                let lack = if is_free { berth.lane.lack(now.into_std()) } else { 0 };
                (granted + lack, Purpose::Send)
            }
            Plan::Stock(posts) if may_stock => (posts, Purpose::Send),
            Plan::Stock(_) | Plan::Draw(_) | Plan::Return => return,
            Plan::Charge(attempts) => {
                berth.lane.credit().begin_charge();
                return self.notary.charge(lane, attempts);
            }
            Plan::Look(posts) => (posts, Purpose::Look),
            Plan::WaitUntil(at) => return self.set_timer(lane, at.into(), now),
            Plan::Idle => return self.forget_if_spent(lane, now),
        };
        if most == 0 {
            let busy = berth.busy();
            return self.turns.queue(lane, &mut berth.stake, busy);
        }
        berth.lane.begin_claim();
        self.claim(Arc::clone(lane), most, purpose);
    }

    /// Gives the lanes that wait their turns, as long as there are places.
    fn serve_ring(&mut self, now: Instant) {
        // What is kept for lanes that have nothing must not wait behind those that have.
        let mut passes = self.turns.waiting().min(PASSES);
        while let Some(lane) = self.turns.first().cloned() {
            let berth = self.lanes.get_mut(&lane);
            let (resting, busy) = berth.as_ref().map_or((0, 0), |berth| (berth.resting(), berth.busy()));
            if !self.turns.has_place(resting, busy) {
                if busy == 0 || passes == 0 {
                    return self.make_room();
                }
                passes -= 1;
                self.turns.pass();
                continue;
            }
            match berth {
                Some(berth) => self.turns.begin_turn(&mut berth.stake),
                None => self.turns.begin_turn(&mut Stake::default()),
            }
            self.pursue(&lane, Turn::Own, now);
        }
    }

    /// Closes the connection that is idle longest, unless its next post is on its way;
    /// when it is, somebody else's turn begins.
    fn make_room(&mut self) {
        let lanes = &self.lanes;
        let is_idle = |lane: &_| lanes.get(lane).is_none_or(|berth| berth.resting() > berth.claiming);
        if let Some((rest, lane)) = self.turns.evict(is_idle)
            && let Some(berth) = self.lanes.get_mut(&lane)
        {
            berth.dismiss(rest);
        }
    }

    /// Sees to it that the lane is asked again at `at`, or before.
    fn set_timer(&mut self, lane: &Arc<Destination>, at: Instant, now: Instant) {
        let Some(berth) = self.lanes.get_mut(lane) else { return };
        if berth.timer.is_some_and(|set| set <= at) {
            return;
        }
        if let Condition::Throttled(_) = berth.lane.condition(now.into_std()) {
            self.shop.metrics.throttle_waits.inc();
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

/// Does what needs no waiting.
async fn do_at_once(works: Vec<Work>) -> Done {
    let mut works = works;
    poll_fn(move |context| {
        let (mut done, mut late) = (Vec::with_capacity(works.len()), Vec::new());
        for mut work in std::mem::take(&mut works) {
            match work.as_mut().poll(context) {
                Poll::Ready(answer) => done.push(answer),
                Poll::Pending => late.push(work),
            }
        }
        Poll::Ready(Done::Several(done, late))
    })
    .await
}
