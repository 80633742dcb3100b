//! A look over destinations: how they do together, and the foremost of them.
//!
//! There may be very many. Of each no more is made up than says how it stands; in full
//! only those are told of that are chosen, and only those are sorted.

use super::batches;
use super::berth::Berth;
use super::control::{State, Status, Which};
use super::pauses::Pauses;
use super::shop::Shop;
use super::terms::Book;
use crate::post::{Destination, Timestamp};
use crate::spool::{Counts, SpoolError};
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Which destinations are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Those of this kind; nothing means all.
    pub only: Option<Kind>,
    /// Which are the foremost.
    pub order: Order,
    /// So many of them.
    pub most: usize,
}

/// Which destinations come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By their names.
    #[default]
    Name,
    /// Those in trouble, then those that are slowed; where most waits first.
    Worst,
    /// Those that do well, where most attempts are under way first; then the others.
    Busiest,
    /// Those for which most posts wait or are under way.
    Fullest,
}

/// What somebody may look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody paused it.
    Paused,
    /// It is sent probes only.
    Backoff,
    /// It is not.
    Normal,
    /// An attempt was not delivered since it is in memory.
    Failing,
    /// There are connections to it.
    Connected,
}

impl Choice {
    /// All, by their names.
    pub const ALL: Choice = Choice { only: None, order: Order::Name, most: usize::MAX };
}

/// How a destination stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It does not take posts: it is away, asked for a pause, or refuses one after another.
    Trouble,
    /// Less goes out than could, as somebody wanted it.
    Slowed,
    /// It takes posts, or there are none.
    Well,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Those that were chosen, in their order.
    pub chosen: Vec<Status>,
    /// How many there are.
    pub total: usize,
    /// Those in trouble.
    pub trouble: Group,
    /// Those that are slowed.
    pub slowed: Group,
    /// When the oldest post was accepted that waits or is under way, nearly.
    pub oldest_at: Option<Timestamp>,
}

/// Destinations that stand alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub destinations: u64,
    /// Posts that wait for them.
    pub waiting: u64,
}

impl Status {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        let is_refusing = || self.last_error.is_some() && self.last == self.last_error;
        match self.state {
            State::Backoff { .. } | State::Deferring { .. } => Standing::Trouble,
            State::Paused { .. } | State::Throttled { .. } | State::Recovering => Standing::Slowed,
            State::Active if self.counts.waiting > 0 && is_refusing() => Standing::Trouble,
            State::Active => Standing::Well,
        }
    }
}

/// One of them, before it is known whether it is told of.
struct Candidate {
    name: Arc<Destination>,
    counts: Counts,
    in_flight: usize,
    standing: Standing,
    is_paused: bool,
    /// Absent of one that has posts and no lane in memory.
    status: Option<Status>,
}

impl Candidate {
    fn of(status: Status) -> Candidate {
        let (name, counts) = (Arc::clone(&status.destination), status.counts);
        let (in_flight, standing) = (status.in_flight, status.standing());
        let is_paused = matches!(status.state, State::Paused { .. });
        Candidate { name, counts, in_flight, standing, is_paused, status: Some(status) }
    }

    fn is_of(&self, kind: Kind) -> bool {
        let is = |what: fn(&Status) -> bool| self.status.as_ref().is_some_and(what);
        let is_away = || is(|status| matches!(status.state, State::Backoff { .. }));
        match kind {
            Kind::Paused => self.is_paused,
            Kind::Backoff => is_away(),
            Kind::Normal => !is_away(),
            Kind::Failing => is(|status| status.last_error.is_some()),
            Kind::Connected => is(|status| status.connections > 0),
        }
    }

    fn compare(&self, other: &Candidate, order: Order) -> Ordering {
        let posts = |one: &Candidate| Reverse(one.counts.waiting + one.counts.sending);
        let first = match order {
            Order::Name => Ordering::Equal,
            Order::Fullest => posts(self).cmp(&posts(other)),
            Order::Worst => (self.standing, posts(self)).cmp(&(other.standing, posts(other))),
            Order::Busiest => {
                let rank =
                    |one: &Candidate| (one.standing != Standing::Well, Reverse(one.in_flight), posts(one));
                rank(self).cmp(&rank(other))
            }
        };
        first.then_with(|| self.name.cmp(&other.name))
    }
}

/// Looks over those that are in memory (`known`), have posts, or are paused by name.
pub(super) async fn over(
    shop: &Shop,
    (which, choice): (&Which, Choice),
    known: Vec<Status>,
    (book, pauses): (&Book, &Pauses),
    now: Instant,
) -> Result<Look, SpoolError> {
    let mut known: HashMap<_, _> =
        known.into_iter().map(|status| (Arc::clone(&status.destination), status)).collect();
    let mut all = Vec::with_capacity(known.len());
    for (lane, counts) in shop.spool.counts().await?.into_iter().filter(|(lane, _)| which.means(lane)) {
        let status = known.remove(&lane).map(|status| {
            let stocked = status.counts.waiting.min(counts.sending);
            let (waiting, sending) = (counts.waiting + stocked, counts.sending - stocked);
            Status { counts: Counts { waiting, sending, ..counts }, ..status }
        });
        all.push(match status {
            Some(status) => Candidate::of(status),
            None => {
                let is_paused = pauses.of(&lane).is_some();
                let standing = if is_paused { Standing::Slowed } else { Standing::Well };
                Candidate { name: lane, counts, in_flight: 0, standing, is_paused, status: None }
            }
        });
    }
    all.extend(known.into_values().map(Candidate::of));
    let tenant = which.tenant.clone().unwrap_or_default();
    for (pause, lane) in pauses.named(&tenant).filter(|(_, lane)| which.means(lane)) {
        if !all.iter().any(|one| pause.means(&one.name)) {
            let lane = Arc::new(lane);
            let berth = Berth::new(Arc::clone(&lane), book.terms(&lane), 0, now);
            all.push(Candidate::of(berth.status(Some(pause), now)));
        }
    }
    let mut look = Look { total: all.len(), ..Look::default() };
    for one in &all {
        look.count(one);
    }
    look.chosen = foremost(all, choice).into_iter().map(|one| told(shop, one, (book, pauses), now)).collect();
    Ok(look)
}

impl Look {
    fn count(&mut self, one: &Candidate) {
        self.oldest_at = self.oldest_at.into_iter().chain(one.counts.oldest_at).min();
        let group = match one.standing {
            Standing::Trouble => &mut self.trouble,
            Standing::Slowed => &mut self.slowed,
            Standing::Well => return,
        };
        group.destinations += 1;
        group.waiting += one.counts.waiting;
    }
}

/// The first ones of a kind in an order; the others are not put in any.
fn foremost(mut all: Vec<Candidate>, Choice { only, order, most }: Choice) -> Vec<Candidate> {
    all.retain(|one| only.is_none_or(|kind| one.is_of(kind)));
    if most < all.len() {
        all.select_nth_unstable_by(most, |one, other| one.compare(other, order));
        all.truncate(most);
    }
    all.sort_unstable_by(|one, other| one.compare(other, order));
    all
}

fn told(shop: &Shop, one: Candidate, (book, pauses): (&Book, &Pauses), now: Instant) -> Status {
    let Candidate { name, counts, status, .. } = one;
    status.unwrap_or_else(|| {
        let terms = batches::terms(book, &shop.subscribers, &name);
        let status = Berth::new(Arc::clone(&name), terms, 0, now).status(pauses.of(&name), now);
        Status { counts, ..status }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Scheme;
    use crate::tenant::Tenant;

    fn candidate(host: &str, standing: Standing, waiting: u64, in_flight: usize) -> Candidate {
        let (tenant, scheme, host) = (Tenant::default(), Scheme::Http, host.to_owned());
        let name = Arc::new(Destination { tenant, scheme, host, port: 80, webhook: None });
        let counts = Counts { waiting, ..Counts::default() };
        let is_paused = standing == Standing::Slowed;
        Candidate { name, counts, in_flight, standing, is_paused, status: None }
    }

    #[test]
    fn the_foremost_come_in_their_order_and_all_are_counted() {
        use Standing::{Slowed, Trouble, Well};
        let all = || {
            vec![
                candidate("e", Well, 9, 1),
                candidate("d", Slowed, 5, 0),
                candidate("c", Trouble, 1, 2),
                candidate("b", Trouble, 3, 0),
                candidate("a", Well, 0, 2),
            ]
        };
        for (order, most, hosts) in [
            (Order::Name, usize::MAX, "a b c d e"),
            (Order::Worst, 5, "b c d e a"),
            (Order::Worst, 3, "b c d"),
            (Order::Busiest, 3, "a e c"),
            (Order::Fullest, 3, "e d b"),
            (Order::Name, 0, ""),
        ] {
            let chosen = foremost(all(), Choice { order, most, only: None });
            let told: Vec<_> = chosen.iter().map(|one| one.name.host.as_str()).collect();
            assert_eq!(told.join(" "), hosts, "{order:?} {most}");
        }
        for (kind, hosts) in [
            (Kind::Paused, "d"),
            (Kind::Normal, "a b c d e"),
            (Kind::Backoff, ""),
            (Kind::Failing, ""),
            (Kind::Connected, ""),
        ] {
            let chosen = foremost(all(), Choice { only: Some(kind), ..Choice::ALL });
            let told: Vec<_> = chosen.iter().map(|one| one.name.host.as_str()).collect();
            assert_eq!(told.join(" "), hosts, "{kind:?}");
        }
        let mut look = Look::default();
        all().iter().for_each(|one| look.count(one));
        assert_eq!(look.trouble, Group { destinations: 2, waiting: 4 });
        assert_eq!(look.slowed, Group { destinations: 1, waiting: 5 });
    }
}
