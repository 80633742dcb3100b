//! What the writer makes of settlements and orders: news of posts, written and
//! then let into the index.
//!
//! An order is written in a group of its own, so that it meets no settlement half
//! way. A post that is in flight when it is ordered to do something is written in the
//! state that it would have if the attempt never ended; when it does, the order is
//! applied to what came of it.

use super::catalog::{Entry, Spot};
use super::feed::octets;
use super::index::{Change, ordered};
use super::job::{Ended, News, SettleAck, Shelf};
use super::log::Writer;
use super::record::{Outcome, Record};
use super::state::{Chronicle, Life, Phase, Route};
use super::{Attempt, Order, Settlement, SpoolError};
use crate::event::Event;
use crate::post::{Post, PostId};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Octets of the record that tells of one post, its chronicle aside, at most.
const RECORD: u64 = 256;

impl Writer {
    pub(super) fn stage_settlements(&mut self, done: Vec<Ended>, events: Vec<Event>, ack: SettleAck) {
        let before = self.settled.len();
        for ended in done {
            let id = ended.id;
            // Whoever was told of a failure may say it again, and what was cut off may
            // have ended just before.
            if !self.unwritten.contains(&id)
                && let Some(news) = self.settlement(ended)
            {
                self.unwritten.insert(id);
                self.settled.push((id, news));
            }
        }
        if self.settled.len() > before {
            // What has a record of its own takes them along.
            match self.settled.last_mut() {
                Some((_, News::Lives(_, told))) => *told = events,
                _ => self.told.extend(events),
            }
        }
        self.acks.push(ack);
    }

    /// What to write of a settlement; nothing when it changes nothing.
    fn settlement(&self, Ended { id, fence, settlement, shelf }: Ended) -> Option<News> {
        match (&settlement, shelf) {
            (Settlement::Delivered, Shelf::None) => Some(News::Ended),
            (Settlement::Delivered, Shelf::Kept(post)) => self.shelved(&post),
            _ => {
                let claimed = self.shared.index().claimed(id, fence).map(|claimed| {
                    let orders: Box<[Order]> = claimed.orders.clone().into();
                    (claimed.entry, orders)
                });
                let (entry, orders) = claimed?;
                Some(self.news(id, &entry, &orders, settlement))
            }
        }
    }

    /// What to write of a delivered post that is kept, whoever has it now and whatever
    /// was ordered meanwhile.
    fn shelved(&self, post: &Post) -> Option<News> {
        let (now, retain) = (self.shared.clock.now(), self.shared.options.retain_delivered);
        let entry = self.shared.index().find(post.id);
        let entry = entry.filter(|entry| entry.state.phase != Phase::Shelved)?;
        let state = entry.state.settled(&Settlement::Delivered, now, retain)?;
        if !state.is_rerouted {
            return Some(News::Stands(state, None));
        }
        // It may have been ordered to go elsewhere once more, too late.
        let chronicle = self.shared.chronicle(post.id, &entry);
        let (destination, trust, path) = (Arc::clone(&post.destination), post.trust, post.path.clone());
        let route = Some(Route { destination, trust, path });
        let chronicle = Chronicle { route, ..chronicle.unwrap_or_default() };
        Some(News::Lives(Box::new(Life { state, chronicle }), Vec::new()))
    }

    /// What to write of a settlement of a post.
    fn news(&self, id: PostId, entry: &Entry, orders: &[Order], settlement: Settlement) -> News {
        let (now, retain) = (self.shared.clock.now(), self.shared.options.retain_failed);
        let state = entry.state.settled(&settlement, now, retain);
        let Some(state) = state.map(|state| ordered(state, orders, now)) else { return News::Ended };
        let destination = orders.iter().find_map(|order| match order {
            Order::Reroute { destination, .. } => Some(destination.clone()),
            _ => None,
        });
        let Some(last) = settlement.attempt() else { return News::Stands(state, destination) };
        let mut chronicle = match self.shared.chronicle(id, entry) {
            Ok(chronicle) => chronicle,
            Err(error) => {
                tracing::warn!(post = %id, %error, "earlier attempts of a post cannot be read");
                if state.is_rerouted {
                    // They say where it goes.
                    return News::Stands(state, destination);
                }
                Chronicle::default()
            }
        };
        chronicle.push(Attempt { number: entry.state.next_attempt(), ..last.clone() });
        News::Lives(Box::new(Life { state, chronicle }), Vec::new())
    }

    /// Ends posts whose time is over, unless something was done to them meanwhile.
    pub(super) fn stage_forgotten(&mut self, ids: Vec<PostId>) {
        let now = self.shared.clock.now();
        for id in ids {
            let mut index = self.shared.index();
            let state = index.find(id).map(|entry| entry.state);
            let Some(state) = state.filter(|state| state.is_over(now, self.shared.options.retain_held))
            else {
                continue;
            };
            index.end(id);
            let rung = index.rung();
            drop(index);
            self.shared.ring(rung);
            self.settled.push((id, News::Ended));
            if state.phase == Phase::Shelved {
                continue;
            }
            self.shared.forgotten.fetch_add(1, Ordering::Relaxed);
            tracing::info!(post = %id, state = ?state.seen(), "the retention time of a post is over; it is forgotten");
        }
    }

    /// Does something to posts; answers how many of them it means, durably.
    pub(super) fn carry_out(&mut self, ids: &[PostId], order: &Order) -> Result<u64, SpoolError> {
        self.finish_group();
        if !self.settled.is_empty() {
            // The verdicts that could not be written come first.
            return Err(self.trouble());
        }
        let mut news = Vec::with_capacity(ids.len());
        for id in ids {
            news.extend(self.ordered(*id, order)?.map(|news| (*id, news)));
        }
        if news.is_empty() {
            return Ok(0);
        }
        let room = room_of(&news, &[]);
        let written =
            self.tail.make_room(room, self.newest).and_then(|()| self.append(&mut news, &mut Vec::new()));
        self.conclude_group(written.as_ref().map(|_| ()).map_err(Clone::clone));
        let meant = news.len() as u64;
        self.publish(news, written?, Some(order));
        Ok(meant)
    }

    /// What to write of an order; nothing when it does not mean the post.
    fn ordered(&self, id: PostId, order: &Order) -> Result<Option<News>, SpoolError> {
        let now = self.shared.clock.now();
        let standing = self.shared.index().standing(id, now);
        let Some(entry) = standing else { return Ok(None) };
        if *order == Order::Delete {
            return Ok(Some(News::Ended));
        }
        let Some(state) = entry.state.ordered(order, now) else { return Ok(None) };
        let Order::Reroute { destination, trust, path } = order else {
            return Ok(Some(News::Stands(state, None)));
        };
        let mut chronicle = match self.shared.chronicle(id, &entry) {
            Err(SpoolError::Damaged(_)) => Chronicle::default(),
            chronicle => chronicle?,
        };
        chronicle.route = Some(Route { destination: destination.clone(), trust: *trust, path: path.clone() });
        Ok(Some(News::Lives(Box::new(Life { state, chronicle }), Vec::new())))
    }

    /// Appends the staged group, the news behind it and what is told of them; answers
    /// where each chronicle stands.
    pub(super) fn append(
        &mut self,
        news: &mut [(PostId, News)],
        told: &mut Vec<Event>,
    ) -> Result<Vec<Spot>, SpoolError> {
        let Some((segment, end)) = self.tail.place() else {
            return Err(SpoolError::Failed("no segment".to_owned()));
        };
        let mut spots = Vec::with_capacity(news.len());
        let mut others = Vec::new();
        for (id, news) in &*news {
            let offset = end + self.group.octets();
            match news {
                News::Lives(life, own) => {
                    self.group.push_record(&Record::Lives(*id, Cow::Borrowed(life)), own, segment);
                }
                News::Stands(state, _) => others.push((*id, Outcome::Stands(*state))),
                News::Ended => others.push((*id, Outcome::Ended)),
            }
            spots.push(Spot::at(segment, offset));
        }
        let last = (segment, end + self.group.octets());
        if !others.is_empty() {
            // Behind the others: what has ended meanwhile stays so.
            self.group.push_record(&Record::Settled(others), told, segment);
        }
        self.tail.append(&mut self.group.parts(), self.newest)?;
        let mut durable = self.group.told();
        for ((_, news), spot) in news.iter_mut().zip(&spots) {
            if let (News::Lives(_, own), Some(at)) = (news, spot.place()) {
                durable.push((at, std::mem::take(own)));
            }
        }
        durable.push((last, std::mem::take(told)));
        self.shared.feed.tell(durable);
        Ok(spots)
    }

    /// Lets what became durable take effect.
    pub(super) fn publish(&self, news: Vec<(PostId, News)>, spots: Vec<Spot>, order: Option<&Order>) {
        let mut index = self.shared.index();
        for ((id, news), spot) in news.into_iter().zip(spots) {
            let change = match news {
                // Already ended in the index, or by an order; a repeat does no harm.
                News::Ended => {
                    index.end(id);
                    continue;
                }
                News::Stands(state, destination) => Change { state, history: None, destination },
                News::Lives(life, _) => {
                    let route = life.chronicle.route.filter(|_| life.state.is_rerouted);
                    let destination = route.map(|route| route.destination);
                    Change { state: life.state, history: Some(spot), destination }
                }
            };
            match order {
                Some(order) => index.enact(id, order, change),
                None => index.put_back(id, change),
            }
        }
        let rung = index.rung();
        drop(index);
        self.shared.ring(rung);
    }

    /// The states that the posts of a record would be found in, each with its
    /// chronicle, as far as their record is the one at `place`; and where the
    /// chronicles stand.
    pub(super) fn lives(
        &self,
        ids: &[PostId],
        place: (u64, u64),
    ) -> Result<(Vec<Option<Life>>, Vec<Spot>), SpoolError> {
        let now = self.shared.clock.now();
        let (mut lives, mut histories) = (Vec::new(), Vec::new());
        for id in ids.iter().copied() {
            let standing = self.shared.index().standing(id, now);
            let entry = standing.filter(|entry| (entry.place.segment, entry.place.offset) == place);
            let life = |entry: &Entry| {
                let chronicle = match self.shared.chronicle(id, entry) {
                    Err(SpoolError::Damaged(_)) if !entry.state.is_rerouted => Chronicle::default(),
                    chronicle => chronicle?,
                };
                Ok(Life { state: entry.state, chronicle })
            };
            lives.push(entry.as_ref().map(life).transpose()?);
            histories.push(entry.map_or(Spot::default(), |entry| entry.history));
        }
        Ok((lives, histories))
    }
}

/// Octets that these news and what is told of them take in the log at most.
pub(super) fn room_of(news: &[(PostId, News)], told: &[Event]) -> u64 {
    let news = news.iter().map(|(_, news)| match news {
        News::Lives(life, told) => RECORD + life.chronicle.octets() + octets(told) as u64,
        News::Ended | News::Stands(..) => RECORD / 2,
    });
    4096 + octets(told) as u64 + news.sum::<u64>()
}
