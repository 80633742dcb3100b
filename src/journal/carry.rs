//! Bringing events into the journal, from where they wait durably.
//!
//! What cannot be written is tried again and again; meanwhile the events stay where they
//! are. Where there is no room, the oldest events that nobody holds make it. Between two
//! appends others come together: a sync each would take from those that mail waits for.

use super::{Journal, Shared};
use crate::event::{Event, Mark};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Shortest time between two appends.
const GATHER: Duration = Duration::from_millis(50);
/// Octets of events that come together only where more wait behind them.
const MANY: usize = 192 << 10;
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How often files whose time is over are looked for.
const TIDY: Duration = Duration::from_secs(60);

impl Journal {
    /// Appends what `next` answers: the events behind a mark, which are forgotten there
    /// when it is asked for those behind them. Ends when `stopped` turns true, or `next`
    /// has no more.
    pub async fn carry<E: Display, F: Future<Output = Result<(Mark, Vec<Event>), E>>>(
        self,
        next: impl Fn(Mark) -> F,
        mut stopped: watch::Receiver<bool>,
    ) {
        tokio::select! {
            // Its sender lives as long as the gateway.
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = self.carry_on(next) => {}
        }
    }

    async fn carry_on<E: Display, F: Future<Output = Result<(Mark, Vec<Event>), E>>>(
        &self,
        next: impl Fn(Mark) -> F,
    ) {
        let mut tidied = Instant::now();
        let mut mark = self.mark();
        loop {
            let told = tokio::select! {
                told = next(mark) => Some(told),
                () = tokio::time::sleep_until(tidied + TIDY) => None,
            };
            match told {
                Some(Ok((behind, events))) => {
                    self.keep(behind, &events, &mut tidied).await;
                    mark = behind;
                    if events.iter().map(|event| event.data.len() + 128).sum::<usize>() < MANY {
                        sleep(GATHER).await;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "events cannot be read back now; it is tried again");
                    sleep(PAUSE).await;
                }
                None => {}
            }
            self.tidy_when_due(&mut tidied).await;
        }
    }

    /// Appends, again and again if it fails.
    async fn keep(&self, mark: Mark, events: &[Event], tidied: &mut Instant) {
        let mut has_failed = false;
        while let Err(error) = self.append(mark, events.to_vec()).await {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
            if !has_failed {
                let directory = self.0.options.directory.display();
                tracing::warn!(%error, %directory, "the journal cannot be written; events wait in the spool, it is tried again and again");
            }
            has_failed = true;
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                self.remove(Shared::shed).await;
            }
            self.tidy_when_due(tidied).await;
            sleep(PAUSE).await;
        }
        if has_failed {
            tracing::info!("the journal is written again");
        }
    }

    async fn tidy_when_due(&self, tidied: &mut Instant) {
        if tidied.elapsed() >= TIDY {
            *tidied = Instant::now();
            self.remove(Shared::tidy).await;
        }
    }

    /// Removes files as it is said, off the runtime.
    async fn remove(&self, files: fn(&Shared, SystemTime) -> io::Result<()>) {
        let shared = Arc::clone(&self.0);
        let removed = tokio::task::spawn_blocking(move || files(&shared, SystemTime::now())).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "old files of the journal cannot be removed");
        }
    }
}
