//! What the dispatcher does when it is asked to: orders to posts, pauses, flushes,
//! how destinations do, and other options.
//!
//! Nothing here waits: what the spool must do first is a task, which answers.

use super::Options;
use super::announce::News;
use super::batches;
use super::caught::caught;
use super::control::{Ordered, Request, Which};
use super::dispatch::Dispatcher;
use super::lanes::LaneId;
use super::look::{self, Choice, Look};
use super::pauses::{Part, Pause};
use super::shop::{Settled, Shop};
use super::work::Done;
use crate::clock;
use crate::post::{Destination, PostId};
use crate::spool::{Claim, Counts, Order, PostState, Query, Spool, SpoolError};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Why a destination goes into backoff or comes back of which no attempt says so.
const BY_ORDER: &str = "by order";

type Answer<T> = oneshot::Sender<Result<T, SpoolError>>;

/// That destinations are to be sent probes only.
pub(super) struct BackOff {
    which: Which,
    reason: String,
    answer: Answer<u64>,
}

impl Dispatcher {
    /// Does what is asked.
    pub(super) fn take_request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Post(which, order, answer) => self.command(*which, order, answer, now),
            Request::Pause(which, reason, answer) => self.pause(which, reason, Some(answer)),
            Request::Resume(which, answer) => self.resume(which, answer),
            Request::Flush(which, answer) => self.flush(which, answer, now),
            Request::BackOff(which, reason, answer) => self.find_out(BackOff { which, reason, answer }),
            Request::Recover(which, answer) => {
                // Nobody need wait for the answer, nor for the next.
                let _ = answer.send(Ok(self.recover(&which)));
            }
            Request::Stocked(posts, answer) => {
                let is_stocked = |(lane, id): &(Arc<Destination>, PostId)| {
                    self.lanes.of(lane).is_some_and(|berth| berth.tray.holds(*id))
                };
                let stocked = posts.into_iter().filter(is_stocked).map(|(_, id)| id).collect();
                let _ = answer.send(Ok(stocked));
            }
            Request::Destinations(which, choice, answer) => self.tell(which, choice, answer, now),
            Request::Pulse(answer) => drop(answer.send(Ok(()))),
        }
    }

    /// Has an order carried out. What is in stock is given back before, and nothing is
    /// put there meanwhile: it has not begun, and the order means it. The same goes for
    /// what is just being claimed. An order for one post is quick: its lane claims nothing
    /// until it is carried out. One for many may take long, and means of what is begun
    /// meanwhile what is left.
    fn command(&mut self, which: Query, order: Order, answer: Answer<Ordered>, now: Instant) {
        let shop = Arc::clone(&self.shop);
        let (lanes, stock) = self.clear_stocks(&which, now);
        let done = if which.id.is_some() { Done::OrderedOne } else { Done::Ordered };
        self.orders += 1;
        let paused = match order {
            Order::Retry | Order::Release => {
                self.pauses.parts(which.destination.as_ref(), which.tenant.as_ref())
            }
            Order::Hold | Order::Delete | Order::HandBack | Order::Reroute { .. } => Vec::new(),
        };
        self.tasks.spawn(async move {
            if !stock.is_empty() {
                shop.settle(Settled::back(stock)).await;
            }
            let ordered = caught(carry_out(&shop, which, order, paused)).await;
            // Nobody need wait for the answer.
            let _ = answer.send(ordered);
            done(lanes)
        });
    }

    /// Takes the stocks of lanes that may hold posts that are meant.
    fn clear_stocks(&mut self, which: &Query, now: Instant) -> (Vec<LaneId>, Vec<Claim>) {
        let (mut lanes, mut stocks) = (Vec::new(), Vec::new());
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            berth.is_ordered = true;
            berth.halts += usize::from(which.id.is_some());
            let stock = berth.clear(now);
            if !stock.is_empty() || which.id.is_some() {
                lanes.push(berth.id);
                stocks.extend(stock);
            }
        }
        (lanes, stocks)
    }

    /// Pauses what is meant, also what appears later, and keeps that. When it cannot
    /// be kept it holds until the engine ends.
    pub(super) fn pause(&mut self, which: Which, reason: String, answer: Option<Answer<u64>>) {
        self.pauses.add(Pause {
            origins: which.origins.clone(),
            tenant: which.tenant.clone(),
            since: clock::wall(),
            reason: reason.clone(),
        });
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            berth.lane.pause();
            self.touched.add(berth);
        }
        self.news.push(News::Paused(which.clone(), reason));
        self.keep_pauses(which, answer);
    }

    fn resume(&mut self, which: Which, answer: Answer<u64>) {
        let ended = self.pauses.end(&which.origins, which.tenant.as_ref());
        if ended == 0 {
            let _ = answer.send(Ok(0));
            return;
        }
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            if self.pauses.of(&berth.name).is_none() {
                berth.lane.resume();
                self.touched.add(berth);
            }
        }
        self.news.push(News::Resumed(which));
        let written = self.notary.write_pauses(&self.pauses);
        self.tasks.spawn(async move {
            let written = written.await.unwrap_or(Err(SpoolError::Closed));
            let _ = answer.send(written.map(|()| ended as u64));
            Done::Nothing
        });
    }

    /// Answers, once the pauses are durable, how many destinations are meant.
    fn keep_pauses(&mut self, which: Which, answer: Option<Answer<u64>>) {
        let written = self.notary.write_pauses(&self.pauses);
        let spool = Arc::clone(&self.shop.spool);
        self.tasks.spawn(async move {
            let written = written.await.unwrap_or(Err(SpoolError::Closed));
            let Some(answer) = answer else { return Done::Nothing };
            let counted = match written {
                Ok(()) => spool.counts().await,
                Err(error) => Err(error),
            };
            let meant = |counts: Vec<(Arc<Destination>, Counts)>| {
                counts.iter().filter(|(destination, _)| which.means(destination)).count() as u64
            };
            let _ = answer.send(counted.map(meant));
            Done::Nothing
        });
    }

    /// Posts that wait for another attempt are due at once; those that wait for a
    /// time of their sender's are not.
    fn flush(&mut self, which: Which, answer: Answer<Ordered>, now: Instant) {
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            if berth.lane.grudge(now.into_std()).is_some() {
                self.notary.resent(&berth.name);
            }
            berth.lane.flush(now.into_std());
            self.touched.add(berth);
        }
        let Which { origins, tenant } = which;
        let state = Some(PostState::Deferred);
        let query = Query { tenant, destination: Some(origins), state, ..Query::default() };
        self.command(query, Order::Retry, answer, now);
    }

    /// Asks the spool which destinations have posts: those of which none is due have no lane.
    fn find_out(&mut self, wanted: BackOff) {
        let spool = Arc::clone(&self.shop.spool);
        self.tasks.spawn(async move {
            match caught(spool.counts()).await {
                Ok(counts) => {
                    let is_meant = |lane: &Destination, posts: Counts| {
                        let Counts { waiting, sending, held, failed, .. } = posts;
                        waiting + sending + held + failed > 0 && wanted.which.means(lane)
                    };
                    let meant = counts.into_iter().filter(|(lane, posts)| is_meant(lane, *posts));
                    let meant = meant.map(|(lane, _)| lane).collect();
                    Done::BackedOff(wanted, meant)
                }
                Err(error) => {
                    // Nobody need wait for the answer.
                    let _ = wanted.answer.send(Err(error));
                    Done::Nothing
                }
            }
        });
    }

    /// Opens breakers because somebody wants it, also of these lanes, which have posts;
    /// answers of how many destinations.
    pub(super) fn back_off(&mut self, wanted: BackOff, lanes: &[Arc<Destination>], now: Instant) {
        let BackOff { which, reason, answer } = wanted;
        // Nobody need wait for the answer, nor for the next.
        if self.is_stopping {
            let _ = answer.send(Err(SpoolError::Closed));
            return;
        }
        let reason: Arc<str> = match &*reason {
            "" => BY_ORDER.into(),
            reason => format!("{BY_ORDER}: {reason}").into(),
        };
        for lane in lanes {
            self.known(lane);
        }
        let mut count = 0;
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            if berth.back_off(Arc::clone(&reason), now) {
                self.shop.metrics.breaker_openings.inc();
                self.notary.resent(&berth.name);
                self.news.push(News::Backoff(Arc::clone(&berth.name), Arc::clone(&reason)));
                self.touched.add(berth);
                count += 1;
            }
        }
        let _ = answer.send(Ok(count));
    }

    /// Closes breakers because somebody wants it; answers of how many destinations.
    fn recover(&mut self, which: &Which) -> u64 {
        let mut count = 0;
        for berth in self.lanes.iter_mut().filter(|berth| which.means(&berth.name)) {
            if berth.lane.recover() {
                self.notary.resent(&berth.name);
                self.news.push(News::Recovered(Arc::clone(&berth.name), Some(BY_ORDER.into())));
                self.touched.add(berth);
                count += 1;
            }
        }
        count
    }

    fn tell(&mut self, which: Which, choice: Choice, answer: Answer<Look>, now: Instant) {
        let known = self.lanes.iter().filter(|berth| which.means(&berth.name));
        let known: Vec<_> = known.map(|berth| berth.status(self.pauses.of(&berth.name), now)).collect();
        let (book, pauses) = (self.book.clone(), self.pauses.clone());
        let shop = Arc::clone(&self.shop);
        self.tasks.spawn(async move {
            let look = look::over(&shop, (&which, choice), known, (&book, &pauses), now).await;
            let _ = answer.send(look);
            Done::Nothing
        });
    }

    /// Serves on other options from now on. Connections that were opened under other
    /// terms or rules are closed as soon as nothing is under way on them.
    pub(super) fn change(&mut self, options: &Options, old: &Options, now: Instant) {
        self.book = options.book.clone();
        self.turns.change(options.total_connections);
        self.shop = Arc::new(self.shop.renewed(options, old));
        self.permit += 1;
        let has_other_rules = options.egress != old.egress;
        let mut back = Vec::new();
        for berth in self.lanes.iter_mut() {
            // Workers that go on by themselves do so with what was.
            let stock = berth.clear(now);
            if !stock.is_empty() {
                back.extend(stock);
                self.touched.add(berth);
            }
            let terms = batches::terms(&self.book, &self.shop.subscribers, &berth.name);
            if has_other_rules || *terms != *berth.terms {
                berth.permit = self.permit;
                berth.dismiss_all(&mut self.turns);
                berth.change(terms, now);
                self.touched.add(berth);
            }
        }
        self.give_back(back);
    }

    /// Serves the lanes of webhooks as they are now.
    pub(super) fn renew_webhooks(&mut self, now: Instant) {
        self.permit += 1;
        for berth in self.lanes.iter_mut().filter(|berth| berth.name.webhook.is_some()) {
            let terms = batches::terms(&self.book, &self.shop.subscribers, &berth.name);
            if *terms != *berth.terms {
                berth.permit = self.permit;
                berth.dismiss_all(&mut self.turns);
                berth.change(terms, now);
                self.touched.add(berth);
            }
        }
    }
}

/// Does something to posts, and finds out which of them wait for the end of a pause.
async fn carry_out(
    shop: &Shop,
    which: Query,
    order: Order,
    paused: Vec<Part>,
) -> Result<Ordered, SpoolError> {
    let mut parts = Vec::new();
    for Part { origins, tenant } in paused {
        let part = Query { destination: Some(origins.clone()), tenant, ..which.clone() };
        // When all is paused the order itself counts.
        let posts = if part == which { None } else { Some(count(&*shop.spool, part, &order).await?) };
        parts.push((origins, posts));
    }
    let count = shop.spool.order(which, order).await?;
    let paused = parts.into_iter().map(|(origins, posts)| (origins, posts.unwrap_or(count)));
    Ok(Ordered { count, paused: paused.filter(|(_, posts)| *posts > 0).collect() })
}

/// How many posts an order is about to mean.
async fn count(spool: &dyn Spool, which: Query, order: &Order) -> Result<u64, SpoolError> {
    let is_meant = |state| match order {
        Order::Release => state == PostState::Held,
        _ => state != PostState::Delivered,
    };
    let census = spool.census(which).await?;
    Ok(census.into_iter().filter(|(state, _)| is_meant(*state)).map(|(_, count)| count).sum())
}
