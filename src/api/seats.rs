//! Places for what takes long, such as streams of events: so many in all, of which a tenant
//! has half at most, and all tenants together leave some to those who are there for all of
//! them.
//!
//! A stream stays as long as its client likes: without a bound, one tenant would keep out
//! all others, and with them whoever looks why.

use crate::tenant::Tenant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most streams at a time, of all callers.
const MOST: usize = 32;

/// See the module; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Arc<Mutex<HashMap<Option<Tenant>, usize>>>,
}

impl Default for Seats {
    /// For streams.
    fn default() -> Seats {
        Seats::new(MOST)
    }
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    of: Option<Tenant>,
}

impl Seats {
    /// So many in all.
    pub(super) fn new(most: usize) -> Seats {
        Seats { most, taken: Arc::default() }
    }

    /// A place for a tenant, or for whoever is there for all; nothing when it has too many.
    pub(super) fn take(&self, of: Option<&Tenant>) -> Option<Seat> {
        let mut taken = self.lock();
        let own = taken.get(&of.cloned()).copied().unwrap_or_default();
        let all: usize = taken.values().sum();
        let of_tenants = all - taken.get(&None).copied().unwrap_or_default();
        let (for_one, for_tenants) = (self.most / 2, self.most - self.most / 4);
        if all >= self.most || of.is_some() && (own >= for_one || of_tenants >= for_tenants) {
            return None;
        }
        taken.insert(of.cloned(), own + 1);
        Some(Seat { seats: self.clone(), of: of.cloned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Tenant>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_half_and_tenants_leave_some_to_others() {
        let seats = Seats::default();
        let mut taken = Vec::new();
        for (of, count) in
            [(Some("shop"), 16), (Some("other"), 8), (Some("third"), 0), (None, 8), (Some("shop"), 0)]
        {
            let of = of.map(Tenant::new);
            let new: Vec<_> = std::iter::from_fn(|| seats.take(of.as_ref())).take(MOST).collect();
            assert_eq!(new.len(), count, "{of:?}");
            taken.extend(new);
        }
        // What one gives back is there for another.
        taken.retain(|seat| seat.of != Some(Tenant::new("shop")));
        let third = Tenant::new("third");
        let new: Vec<_> = std::iter::from_fn(|| seats.take(Some(&third))).collect();
        assert_eq!(new.len(), MOST / 2);
        drop(new);
        drop(taken);
        assert!(seats.lock().is_empty());
        // With nobody else, whoever is there for all has all.
        let all: Vec<_> = std::iter::from_fn(|| seats.take(None)).collect();
        assert_eq!(all.len(), MOST);
        let few = Seats::new(4);
        let new: Vec<_> = std::iter::from_fn(|| few.take(Some(&third))).collect();
        assert_eq!(new.len(), 2);
        assert!(few.take(Some(&Tenant::new("shop"))).is_some());
    }
}
