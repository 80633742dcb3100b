//! What the writer makes of settlements and orders: news of posts, written and
//! then let into the index.
//!
//! An order is written in a group of its own, so that it meets no settlement half
//! way. A post that is in flight when it is ordered to do something is written in the
//! state that it would have if the attempt never ended; when it does, the order is
//! applied to what came of it.

use super::catalog::{Entry, Place, Spot};
use super::feed::octets;
use super::index::Change;
use super::job::{Ended, News, SettleAck, Shelf};
use super::log::Writer;
use super::obituary::Obituary;
use super::record::{Accepted, Outcome, Record};
use super::state::{Chronicle, Life, Phase, Route};
use super::{Attempt, Order, Settlement, SpoolError};
use crate::event::Event;
use crate::post::{Post, PostId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Octets of the record that tells of one post, its chronicle aside, at most.
const RECORD: u64 = 256;
/// Octets of what is left of a post at most, its chronicle and its texts aside.
const REMAINS: u64 = 768;
/// And about, as a part of its segment.
const SHARE: u32 = 1 << 10;
/// A post that is listed when it is over is so at least this long.
pub(super) const LISTED: Duration = Duration::from_secs(60 * 60);

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
                self.unlist_before(id, &news);
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

    /// Ends the oldest batch that is listed where another one takes its place.
    fn unlist_before(&mut self, id: PostId, news: &News) {
        if let News::Remains(..) = news {
            let mut index = self.shared.index();
            let oldest = index.find(id).and_then(|entry| index.list(id, entry.lane));
            drop(index);
            self.settled.extend(oldest.map(|oldest| (oldest, News::Ended)));
        }
    }

    /// What to write of a settlement; nothing when it changes nothing.
    fn settlement(&self, Ended { id, fence, settlement, shelf }: Ended) -> Option<News> {
        match shelf {
            Shelf::Kept(post) if settlement.is_delivered() => return self.shelved(&post, settlement),
            _ if settlement == Settlement::Delivered => return Some(News::Ended),
            _ => {}
        }
        let claimed = self.shared.index().claimed(id, fence).map(|claimed| {
            let orders: Box<[Order]> = claimed.orders.clone().into();
            (claimed.entry, orders)
        });
        let (entry, orders) = claimed?;
        Some(match (self.news(id, &entry, &orders, settlement), shelf) {
            (News::Lives(life, _), Shelf::Listed(post)) => News::Remains(life, post),
            (news, _) => news,
        })
    }

    /// What to write of a delivered post that is kept, whoever has it now and whatever
    /// was ordered meanwhile.
    fn shelved(&self, post: &Post, settlement: Settlement) -> Option<News> {
        let (now, retain) = (self.shared.clock.now(), self.shared.options.retain_delivered);
        let retain = if post.batch.is_some() { retain.max(LISTED) } else { retain };
        let entry = self.shared.index().find(post.id);
        let entry = entry.filter(|entry| entry.state.phase != Phase::Shelved)?;
        let state = entry.state.settled(&settlement, now, retain)?;
        if !state.is_rerouted && settlement.attempt().is_none() {
            return Some(News::Stands(state, None));
        }
        let mut chronicle = self.shared.chronicle(post.id, &entry).unwrap_or_default();
        if state.is_rerouted {
            // It may have been ordered to go elsewhere once more, too late.
            let (destination, path) = (Arc::clone(&post.destination), post.path.clone());
            let sealed = post.sealed.path.clone();
            chronicle.route = Some(Route { destination, trust: post.trust, path, sealed });
        }
        if let Some(last) = settlement.attempt() {
            chronicle.push(Attempt { number: entry.state.next_attempt(), ..last.clone() });
        }
        Some(News::Lives(Box::new(Life { state, chronicle }), Vec::new()))
    }

    /// What to write of a settlement of a post.
    fn news(&self, id: PostId, entry: &Entry, orders: &[Order], settlement: Settlement) -> News {
        let (now, options) = (self.shared.clock.now(), &self.shared.options);
        let retain = match settlement {
            Settlement::Listed { .. } => options.retain_delivered.max(LISTED),
            _ => options.retain_failed,
        };
        let state = entry.state.settled(&settlement, now, retain);
        let Some(state) = state.map(|state| state.ordered_all(orders, now)) else { return News::Ended };
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
    pub(super) fn stage_forgotten(&mut self, ids: Vec<PostId>, told: Vec<Obituary>) {
        let now = self.shared.clock.now();
        let mut told: HashMap<_, _> = told.into_iter().collect();
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
            match state.phase {
                Phase::Shelved => continue,
                Phase::Held => self.told.extend(told.remove(&id)),
                Phase::Waiting | Phase::DeadLetter => {}
            }
            self.shared.forgotten.fetch_add(1, Ordering::Relaxed);
            tracing::info!(post = %id, state = ?state.seen(), "the retention time of a post is over; it is forgotten");
        }
    }

    /// Does something to posts; answers how many of them it means, durably.
    pub(super) fn carry_out(
        &mut self,
        ids: &[PostId],
        order: &Order,
        told: Vec<Obituary>,
    ) -> Result<u64, SpoolError> {
        self.finish_group();
        if !self.settled.is_empty() {
            // The verdicts that could not be written come first.
            return Err(self.trouble());
        }
        // What has ended meanwhile was told of by what ended it.
        let told = told.into_iter().filter(|(id, _)| self.is_under_way(*id));
        let mut told: Vec<_> = told.map(|(_, event)| event).collect();
        let mut news = Vec::with_capacity(ids.len());
        for id in ids {
            news.extend(self.ordered(*id, order)?.map(|news| (*id, news)));
        }
        if news.is_empty() {
            return Ok(0);
        }
        let roomy = self.tail.make_room(room_of(&news, &told), self.newest);
        let written = roomy.and_then(|()| self.append(&mut news, &mut told));
        self.conclude_group(written.as_ref().map(|_| ()).map_err(Clone::clone));
        let meant = news.len() as u64;
        self.publish(news, written?, Some(order));
        Ok(meant)
    }

    /// Whether a post lives that was neither delivered nor given up.
    fn is_under_way(&self, id: PostId) -> bool {
        let entry = self.shared.index().find(id);
        entry.is_some_and(|entry| entry.state.phase.is_in_line())
    }

    /// What to write of an order; nothing when it does not mean the post.
    fn ordered(&self, id: PostId, order: &Order) -> Result<Option<News>, SpoolError> {
        let now = self.shared.clock.now();
        let mut index = self.shared.index();
        let standing = index.standing(id, now);
        if !index.is_whole() {
            return Err(SpoolError::Failed("the catalog is being filled anew; try again".to_owned()));
        }
        drop(index);
        let Some(entry) = standing else { return Ok(None) };
        if order.ends() {
            return Ok(Some(News::Ended));
        }
        let Some(state) = entry.state.ordered(order, now) else { return Ok(None) };
        let Order::Reroute { destination, trust, path, sealed } = order else {
            return Ok(Some(News::Stands(state, None)));
        };
        let mut chronicle = match self.shared.chronicle(id, &entry) {
            Err(SpoolError::Damaged(_)) => Chronicle::default(),
            chronicle => chronicle?,
        };
        let (destination, path) = (Arc::clone(destination), path.clone());
        chronicle.route = Some(Route { destination, trust: *trust, path, sealed: sealed.clone() });
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
                News::Remains(life, post) => {
                    let remains = Record::Accepted(Accepted::remains(post, life, self.shared.clock.jump()));
                    self.group.push_record(&remains, &[], segment);
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
                News::Remains(life, _) => {
                    let change = Change { state: life.state, history: Some(spot), destination: None };
                    index.put_back(id, change);
                    let place = spot.place();
                    let place = place.map(|(segment, offset)| Place { segment, offset, share: SHARE });
                    place.into_iter().for_each(|place| index.relocate(id, place, spot));
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
            let life = |entry: &Entry| -> Result<Life, SpoolError> {
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
        News::Remains(life, post) => RECORD + life.chronicle.octets() + octets_of(post),
        News::Ended | News::Stands(..) => RECORD / 2,
    });
    4096 + octets(told) as u64 + news.sum::<u64>()
}

/// Octets that a post without its body takes in the log at most.
fn octets_of(post: &Post) -> u64 {
    let own = [&post.method, &post.path, &post.sender, &post.recipient, &post.destination.host];
    let named = [&post.idempotency_key, &post.ordering_key, &post.sign_with, &post.auth];
    let told =
        [&post.xs_message_id, &post.xs_mailing_id, &post.notice.envelope_id, &post.notice.original_recipient];
    let texts = own.into_iter().chain(&post.tags).chain(named.into_iter().chain(told).flatten());
    let headers = post.headers.iter().map(|field| field.name.len() + field.value.len() + 8);
    let octets = texts.map(|text| text.len() + 4).chain(headers).sum::<usize>();
    REMAINS + (octets + post.sealed.octets()) as u64
}
