//! How many connections there are, whose they are, and how much mail data they
//! hold in memory.
//!
//! One [`Crowd`] is shared by all listeners whose options are clones of each
//! other, so the limits hold over all of them. Every count is given back by the
//! `Drop` of a guard: a session that panics leaks none.

use super::words::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// New connections are counted over this long, from the first one.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts connections and their memory; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    tally: Mutex<Tally>,
    open: AtomicUsize,
    memory: AtomicUsize,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// There are too many in all.
    InAll,
    /// The address has too many.
    ByAddress,
    /// The address came too often within a minute.
    ByRate,
}

#[derive(Debug, Default)]
struct Tally {
    open: usize,
    addresses: HashMap<IpAddr, Visits>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Visits {
    open: usize,
    since: Instant,
    new: usize,
}

impl Tally {
    fn enter(&mut self, address: Option<IpAddr>, limits: &Limits, now: Instant) -> Result<(), Crowded> {
        if let Some(address) = address {
            self.visit(address, limits, now)?;
        }
        if self.open >= limits.connections {
            self.part(address);
            return Err(Crowded::InAll);
        }
        self.open += 1;
        Ok(())
    }

    /// Counts a connection of an address, but not yet among all.
    fn visit(&mut self, address: IpAddr, limits: &Limits, now: Instant) -> Result<(), Crowded> {
        self.sweep(now);
        let visits = self.addresses.entry(address).or_insert(Visits { open: 0, since: now, new: 0 });
        if now.duration_since(visits.since) >= WINDOW {
            (visits.since, visits.new) = (now, 0);
        }
        visits.new = visits.new.saturating_add(1);
        if visits.new > limits.new_per_minute {
            return Err(Crowded::ByRate);
        }
        if visits.open >= limits.connections_per_address {
            return Err(Crowded::ByAddress);
        }
        visits.open += 1;
        Ok(())
    }

    fn leave(&mut self, address: Option<IpAddr>) {
        self.open = self.open.saturating_sub(1);
        self.part(address);
    }

    fn part(&mut self, address: Option<IpAddr>) {
        if let Some(visits) = address.and_then(|address| self.addresses.get_mut(&address)) {
            visits.open = visits.open.saturating_sub(1);
        }
    }

    /// Forgets, once a window, the addresses that have nothing left to be counted.
    fn sweep(&mut self, now: Instant) {
        if now.duration_since(*self.swept.get_or_insert(now)) >= WINDOW {
            self.swept = Some(now);
            self.addresses.retain(|_, visits| visits.open > 0 || now.duration_since(visits.since) < WINDOW);
        }
    }
}

impl Crowd {
    /// Counts one more connection, as long as the result is kept. Without an address
    /// only the limit on all of them holds.
    pub(super) fn enter(
        &self,
        address: Option<IpAddr>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Place, Crowded> {
        let mut tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.enter(address, limits, now)?;
        self.0.open.store(tally.open, Ordering::Relaxed);
        Ok(Place { crowd: self.clone(), address })
    }

    /// Whether more than 80 % of the connections are in use.
    pub(super) fn is_dense(&self, limits: &Limits) -> bool {
        let open = self.0.open.load(Ordering::Relaxed);
        open.saturating_mul(5) > limits.connections.saturating_mul(4)
    }
}

/// One counted connection.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    address: Option<IpAddr>,
}

impl Place {
    /// Counts the connection for an address that was learned later.
    pub(super) fn assign(&mut self, address: IpAddr, limits: &Limits, now: Instant) -> Result<(), Crowded> {
        let mut tally = self.crowd.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.part(self.address.take());
        tally.visit(address, limits, now)?;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.crowd.0;
        let mut tally = counts.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.leave(self.address);
        counts.open.store(tally.open, Ordering::Relaxed);
    }
}

/// Memory for mail data, counted while it is kept.
#[derive(Debug)]
pub(super) struct Loan {
    crowd: Crowd,
    octets: usize,
}

impl Loan {
    /// A loan of nothing yet.
    pub(super) fn new(crowd: &Crowd) -> Loan {
        Loan { crowd: crowd.clone(), octets: 0 }
    }

    /// Raises the loan to `octets`; false, and nothing changed, when all loans
    /// together would be beyond the limit.
    pub(super) fn raise(&mut self, octets: usize, limits: &Limits) -> bool {
        let more = octets.saturating_sub(self.octets);
        let memory = &self.crowd.0.memory;
        if memory.fetch_add(more, Ordering::Relaxed).saturating_add(more) > limits.data_memory {
            memory.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.octets += more;
        true
    }

    /// What may still be lent, this loan included.
    pub(super) fn left(&self, limits: &Limits) -> usize {
        let lent = self.crowd.0.memory.load(Ordering::Relaxed);
        limits.data_memory.saturating_sub(lent.saturating_sub(self.octets))
    }

    /// Gives back all but so many octets.
    pub(super) fn lower(&mut self, octets: usize) {
        let less = self.octets.saturating_sub(octets);
        self.crowd.0.memory.fetch_sub(less, Ordering::Relaxed);
        self.octets -= less;
    }

    /// Gives everything back.
    pub(super) fn end(&mut self) {
        self.crowd.0.memory.fetch_sub(std::mem::take(&mut self.octets), Ordering::Relaxed);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

    fn limits() -> Limits {
        Limits { connections: 5, connections_per_address: 3, new_per_minute: 4, ..Limits::default() }
    }

    #[test]
    fn each_limit_holds_and_places_come_back() {
        let (crowd, limits, now) = (Crowd::default(), limits(), Instant::now());
        let enter = |address| crowd.enter(Some(address), &limits, now).map_err(|crowded| (crowded, address));
        let mut places: Vec<_> = (0..3).map(|_| enter(A).unwrap()).collect();
        assert_eq!(enter(A).unwrap_err().0, Crowded::ByAddress);
        places.pop();
        assert_eq!(enter(A).unwrap_err().0, Crowded::ByRate);
        assert!(!crowd.is_dense(&limits));
        places.extend((0..3).map(|_| enter(B).unwrap()));
        assert!(crowd.is_dense(&limits));
        assert_eq!(enter(C).unwrap_err().0, Crowded::InAll);
        assert_eq!(crowd.enter(None, &limits, now).unwrap_err(), Crowded::InAll);
        assert_eq!(enter(B).unwrap_err().0, Crowded::ByAddress);
        drop(places);
        assert!(!crowd.is_dense(&limits));
        assert_eq!(enter(B).unwrap_err().0, Crowded::ByRate);
    }

    #[test]
    fn more_than_four_fifths_are_dense_of_any_number() {
        for (connections, most) in [(1, 0), (2, 1), (4, 3), (9, 7), (10, 8), (2000, 1600)] {
            let (crowd, limits) = (Crowd::default(), Limits { connections, ..limits() });
            let enter = || crowd.enter(None, &limits, Instant::now()).unwrap();
            let _places: Vec<_> = (0..most).map(|_| enter()).collect();
            assert!(!crowd.is_dense(&limits), "{connections}");
            let _one_more = enter();
            assert!(crowd.is_dense(&limits), "{connections}");
        }
    }

    #[test]
    fn a_minute_later_the_visits_are_forgotten() {
        let (crowd, limits, now) = (Crowd::default(), limits(), Instant::now());
        for _ in 0..4 {
            drop(crowd.enter(Some(A), &limits, now));
        }
        assert!(crowd.enter(Some(A), &limits, now + WINDOW - Duration::from_millis(1)).is_err());
        assert!(crowd.enter(Some(A), &limits, now + WINDOW).is_ok());
        drop(crowd.enter(Some(B), &limits, now + 2 * WINDOW));
        assert_eq!(crowd.0.tally.lock().unwrap().addresses.len(), 1);
    }

    #[test]
    fn connections_without_an_address_are_counted_in_all_and_for_it_once_it_is_known() {
        let (crowd, limits, now) = (Crowd::default(), limits(), Instant::now());
        let mut places: Vec<_> = (0..5).map(|_| crowd.enter(None, &limits, now).unwrap()).collect();
        assert_eq!(crowd.enter(None, &limits, now).unwrap_err(), Crowded::InAll);
        for place in places.iter_mut().take(3) {
            place.assign(A, &limits, now).unwrap();
        }
        assert_eq!(places[3].assign(A, &limits, now), Err(Crowded::ByAddress));
        drop(places);
        let tally = crowd.0.tally.lock().unwrap();
        assert_eq!((tally.open, tally.addresses[&A].open), (0, 0));
    }

    #[test]
    fn memory_is_lent_to_the_limit_and_given_back() {
        let limits = Limits { data_memory: 100, ..limits() };
        let crowd = Crowd::default();
        let (mut first, mut second) = (Loan::new(&crowd), Loan::new(&crowd));
        assert!(first.raise(60, &limits) && second.raise(40, &limits));
        assert!(first.raise(50, &limits), "less is no more");
        assert!(!second.raise(41, &limits));
        assert_eq!((first.left(&limits), second.left(&limits)), (60, 40));
        drop(first);
        assert!(second.raise(100, &limits));
        second.lower(70);
        second.lower(90);
        assert_eq!((second.octets, second.left(&limits)), (70, 100));
        second.end();
        assert_eq!(crowd.0.memory.load(Ordering::Relaxed), 0);
    }
}
