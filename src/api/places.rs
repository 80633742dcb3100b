//! Places for connections: so many in all, of which one address has half at most.
//!
//! Whoever takes places and says nothing gives them back after the time for a head, but
//! may take them again at once: without a bound, one stranger would keep out everybody.
//! Who is on this machine has none: all may come through one proxy there.

use crate::intake::customer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// See the module.
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    taken: Arc<Taken>,
}

/// Places by the address that has them.
#[derive(Default)]
struct Taken(Mutex<HashMap<IpAddr, usize>>);

impl Taken {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Whose it is, if that is counted.
    of: Option<(Arc<Taken>, IpAddr)>,
}

impl Places {
    /// So many.
    pub(super) fn new(count: usize) -> Places {
        Places { free: Arc::new(Semaphore::new(count)), most: count.div_ceil(2), taken: Arc::default() }
    }

    /// Waits for a place, for whoever comes.
    pub(super) async fn next(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.free).acquire_owned().await
    }

    /// Gives a place to an address; nothing when it has too many.
    pub(super) fn give(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        if address.to_canonical().is_loopback() {
            return Some(Place { _permit: permit, of: None });
        }
        let address = customer(address);
        let mut taken = self.taken.lock();
        let count = taken.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { _permit: permit, of: Some((Arc::clone(&self.taken), address)) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((taken, address)) = &self.of else { return };
        let mut taken = taken.lock();
        if let Some(count) = taken.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stranger_has_half_and_this_machine_all() {
        let places = Places::new(5);
        for (address, most) in [("192.0.2.1", 3), ("127.0.0.1", 5), ("2001:db8::1", 3), ("::1", 5)] {
            let mut given = Vec::new();
            while given.len() < 5 {
                let permit = places.next().await.unwrap();
                let Some(place) = places.give(permit, address.parse().unwrap()) else { break };
                given.push(place);
            }
            assert_eq!(given.len(), most, "{address}");
            // Others still find one; a network of a customer is no other.
            for (other, is_given) in
                [("198.51.100.1", most < 5), ("2001:db8::2", most < 5 && address != "2001:db8::1")]
            {
                let permit = Arc::clone(&places.free).try_acquire_owned().ok();
                let place = permit.and_then(|permit| places.give(permit, other.parse().unwrap()));
                assert_eq!(place.is_some(), is_given, "{other} beside {address}");
            }
            drop(given);
            assert!(places.taken.lock().is_empty());
        }
    }
}
