//! How whoever sends posts learns that there is something to do.

use crate::post::{Destination, Table};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Tells one listener which lanes to look at; rings of the same lane merge, so
/// a busy spool costs it one wake-up a look, not one a post.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: Mutex<Table<Arc<Destination>, Duration>>,
    notify: Notify,
}

impl Doorbell {
    /// Says that `lane` has a post due `after` a delay from now.
    pub fn ring(&self, lane: &Arc<Destination>, after: Duration) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match rung.get_mut(lane) {
            Some(soonest) => *soonest = after.min(*soonest),
            None => {
                rung.insert(Arc::clone(lane), after);
            }
        }
        drop(rung);
        self.notify.notify_one();
    }

    /// Waits for rings and takes them; cancel-safe.
    pub async fn wait(&self) -> Vec<(Arc<Destination>, Duration)> {
        loop {
            let rung = std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
            if !rung.is_empty() {
                return rung.into_iter().collect();
            }
            self.notify.notified().await;
        }
    }
}
