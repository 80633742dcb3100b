//! Room in memory for the large bodies of posts under way.
//!
//! Every attempt keeps its body until it ends, and destinations that do not
//! answer keep theirs longest: one large message to many of them would else fill
//! the memory many times over. Small bodies never wait, so a receiver of small
//! posts is not slowed by others that hang on large ones.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies up to so many octets are loaded whenever they are wanted.
const SMALL: u32 = 64 * 1024;
/// Octets of larger ones in all attempts together.
const LARGE_IN_ALL: u32 = 128 * 1024 * 1024;

/// See the module.
pub(super) struct Room(Semaphore);

impl Room {
    pub(super) fn new() -> Room {
        Room(Semaphore::new(LARGE_IN_ALL as usize))
    }

    /// Waits until a body of so many octets may be loaded. It may be kept as
    /// long as what is returned; one beyond all room gets all of it.
    pub(super) async fn take(&self, octets: u32) -> Option<SemaphorePermit<'_>> {
        if octets <= SMALL {
            return None;
        }
        // Fails never: nobody closes the semaphore.
        self.0.acquire_many(octets.min(LARGE_IN_ALL)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn large_bodies_wait_for_each_other_and_small_ones_for_none() {
        let room = Room::new();
        let take = |octets| tokio::time::timeout(Duration::ZERO, room.take(octets));
        let half = take(LARGE_IN_ALL / 2).await.unwrap();
        let other = take(LARGE_IN_ALL / 2).await.unwrap();
        assert!(take(SMALL + 1).await.is_err());
        assert!(take(SMALL).await.is_ok());
        drop(half);
        assert!(take(u32::MAX).await.is_err());
        drop(other);
        assert!(take(u32::MAX).await.is_ok());
    }
}
