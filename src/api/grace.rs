//! Events stay wanted for a while after a stream has ended: its client comes back, and
//! what happened meanwhile was for it.
//!
//! However many streams come and go, one task waits.

use crate::event::Want;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

/// How long; clients come back after some seconds.
const GRACE: Duration = Duration::from_secs(60);

/// When it ends, as long as there is a task that waits for that.
#[derive(Debug, Default)]
pub(super) struct Grace(Mutex<Option<Instant>>);

impl Grace {
    /// A stream that had this has ended.
    pub(super) fn begin(self: &Arc<Grace>, want: Want) {
        // Without a runtime the gateway is gone.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.until().replace(Instant::now() + GRACE).is_none() {
            let grace = Arc::clone(self);
            runtime.spawn(async move {
                while let Some(until) = grace.left() {
                    sleep_until(until).await;
                }
                drop(want);
            });
        }
    }

    /// When it ends; nothing when that was.
    fn left(&self) -> Option<Instant> {
        let mut until = self.until();
        *until = until.filter(|until| *until > Instant::now());
        *until
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Wanted;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn what_ended_last_counts_and_then_nothing_is_wanted() {
        let (wanted, grace) = (Wanted::default(), Arc::new(Grace::default()));
        let just = Duration::from_millis(1);
        for _ in 0..2 {
            for _ in 0..3 {
                grace.begin(wanted.want());
                sleep(GRACE - just).await;
                assert!(wanted.is_wanted());
            }
            sleep(2 * just).await;
            assert!(!wanted.is_wanted());
        }
    }
}
