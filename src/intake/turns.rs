//! Turns at composing large messages, counted in octets.
//!
//! A message at the end of its data is read into memory as a whole and composed
//! into posts, which takes several times its size; without turns, many clients
//! that finish at once would take any amount. Small messages never wait. One
//! larger than all there is waits for everything and goes through alone.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for composing, shared by all doors of a gateway.
#[derive(Clone, Debug)]
pub struct Turns {
    free: Arc<Semaphore>,
    octets: u32,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns::of(192 << 20)
    }
}

impl Turns {
    /// Turns at so many octets in all; 4 GiB at most.
    pub fn of(octets: usize) -> Turns {
        let octets = u32::try_from(octets.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Turns { free: Arc::new(Semaphore::new(octets as usize)), octets }
    }

    /// Waits until so many octets may be used, as long as the turn is kept.
    pub(super) async fn take(&self, octets: usize) -> Turn {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(self.octets);
        // Fails never: nobody closes the semaphore.
        Turn(Arc::clone(&self.free).acquire_many_owned(octets).await.ok())
    }
}

/// Octets that may be used; given back when dropped.
#[derive(Debug)]
pub struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// A turn at nothing.
    pub fn none() -> Turn {
        Turn(None)
    }

    /// Whether it is a turn at nothing.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives back all but so many octets.
    pub(super) fn lower(&mut self, octets: usize) {
        if let Some(permit) = &mut self.0 {
            let surplus = permit.num_permits().saturating_sub(octets);
            drop(permit.split(surplus));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_weighed_and_one_beyond_all_goes_alone() {
        let turns = Turns::of(100);
        let mut turn = turns.take(1000).await;
        assert_eq!(turns.free.available_permits(), 0);
        turn.lower(30);
        turn.lower(60);
        assert_eq!(turns.free.available_permits(), 70);
        drop((turn, Turn::none()));
        assert_eq!(turns.free.available_permits(), 100);
    }
}
