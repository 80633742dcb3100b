//! What the engine keeps in the spool besides posts: pauses and used rates.
//!
//! One task writes, one fact after another, so that the newest stays. Rates are
//! written at most once a second while something of them was used, and at the stop;
//! after a crash the last second of them is forgotten. They are kept with points of
//! the wall clock, for a restart takes time.

use super::dispatch::{Dispatcher, SPOOL_PAUSE};
use super::pace::Used;
use super::pauses::Pauses;
use crate::clock;
use crate::post::{Destination, Timestamp};
use crate::spool::{Spool, SpoolError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const RATES: &str = "rates";
const PAUSES: &str = "pauses";

/// Shortest time between two writes of the rates.
const SAVE: Duration = Duration::from_secs(1);

/// One fact to be written, and who waits for that.
struct Job {
    key: &'static str,
    value: Option<Bytes>,
    done: oneshot::Sender<Result<(), SpoolError>>,
}

/// Where facts are handed in.
pub(super) struct Notary {
    jobs: mpsc::UnboundedSender<Job>,
    /// Lanes with used rates.
    rated: HashSet<Arc<Destination>>,
    save_at: Option<Instant>,
    saving: Option<oneshot::Receiver<Result<(), SpoolError>>>,
}

/// Where they are taken.
pub(super) struct Jobs(mpsc::UnboundedReceiver<Job>);

/// What one destination used of its rates.
#[derive(Serialize, Deserialize)]
struct Kept {
    destination: Destination,
    used: Vec<KeptRate>,
}

#[derive(Serialize, Deserialize)]
struct KeptRate {
    per: Duration,
    attempts: Vec<(Timestamp, u32)>,
}

impl Notary {
    pub(super) fn new() -> (Notary, Jobs) {
        let (jobs, taken) = mpsc::unbounded_channel();
        (Notary { jobs, rated: HashSet::new(), save_at: None, saving: None }, Jobs(taken))
    }

    /// When the rates are to be saved, if they are.
    pub(super) fn save_at(&self) -> Option<Instant> {
        self.save_at
    }

    /// Notes that a lane used its rates.
    pub(super) fn use_rates(&mut self, lane: &Arc<Destination>, now: Instant) {
        if !self.rated.contains(lane) {
            self.rated.insert(Arc::clone(lane));
        }
        self.save_at.get_or_insert(now + SAVE);
    }

    /// Hands in a fact; what is returned tells when it is durable.
    fn write(&self, key: &'static str, value: Option<Vec<u8>>) -> oneshot::Receiver<Result<(), SpoolError>> {
        let (done, written) = oneshot::channel();
        // A writer that is gone drops `done`: that is the answer.
        let _ = self.jobs.send(Job { key, value: value.map(Bytes::from), done });
        written
    }

    /// Hands in the pauses.
    pub(super) fn write_pauses(&self, pauses: &Pauses) -> oneshot::Receiver<Result<(), SpoolError>> {
        self.write(PAUSES, pauses.write())
    }
}

impl Jobs {
    /// Writes until the notary is gone.
    pub(super) async fn write(mut self, spool: Arc<dyn Spool>) {
        while let Some(Job { key, value, done }) = self.0.recv().await {
            let written = spool.set_note(key, value, None).await;
            if let Err(error) = &written {
                tracing::error!("cannot keep the {key} of destinations: {error}");
            }
            let _ = done.send(written.map(drop));
        }
    }
}

impl Dispatcher {
    /// Takes in what was kept, before anything is claimed.
    pub(super) async fn recall(&mut self) {
        if let Some(text) = self.fact(PAUSES).await {
            match Pauses::read(&text) {
                Ok(pauses) => self.pauses = pauses,
                Err(error) => tracing::error!("the pauses of destinations cannot be read: {error}"),
            }
        }
        if let Some(octets) = self.fact(RATES).await {
            match postcard::from_bytes::<Vec<Kept>>(&octets) {
                Ok(kept) => self.restore(kept),
                Err(error) => tracing::error!("the used rates of destinations cannot be read: {error}"),
            }
        }
    }

    async fn fact(&self, key: &str) -> Option<Bytes> {
        loop {
            match self.shop.spool.note(key).await {
                Ok(noted) => return noted.map(|noted| noted.value),
                Err(SpoolError::Closed) => return None,
                Err(error @ SpoolError::Damaged(_)) => {
                    tracing::error!("the {key} of destinations are lost: {error}");
                    return None;
                }
                Err(error) => tracing::error!("cannot read the {key} of destinations: {error}"),
            }
            tokio::time::sleep(SPOOL_PAUSE).await;
        }
    }

    fn restore(&mut self, kept: Vec<Kept>) {
        let (now, wall) = (Instant::now(), clock::wall());
        for Kept { destination, used } in kept {
            let lane = Arc::new(destination);
            let age = |(at, attempts): (Timestamp, u32)| (wall.since(at), attempts);
            let used = used.into_iter().map(|KeptRate { per, attempts }| Used {
                per,
                attempts: attempts.into_iter().map(age).collect(),
            });
            let used: Vec<_> = used.collect();
            self.berth(&lane).lane.restore(&used, now.into_std());
            // Known from now on, and looked at once, so that it is forgotten in time.
            self.berth(&lane).lane.expect(now.into_std());
            self.notary.rated.insert(lane);
        }
    }

    /// Writes down what is used of all rates, unless that is still being done.
    pub(super) fn save_rates(&mut self, now: Instant) {
        if self.notary.save_at.is_none() {
            return;
        }
        let is_saving = |saving: &mut oneshot::Receiver<_>| {
            matches!(saving.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        };
        if !self.is_stopping && self.notary.saving.as_mut().is_some_and(is_saving) {
            self.notary.save_at = Some(now + SAVE);
            return;
        }
        self.notary.save_at = None;
        let wall = clock::wall();
        let at = |age: Duration| Timestamp(wall.0.saturating_sub(age.as_millis() as u64));
        let mut kept = Vec::new();
        self.notary.rated.retain(|lane| {
            let used = self.lanes.get(lane).map(|berth| berth.lane.used(now.into_std())).unwrap_or_default();
            let used = used.into_iter().map(|used| KeptRate {
                per: used.per,
                attempts: used.attempts.into_iter().map(|(age, attempts)| (at(age), attempts)).collect(),
            });
            let used: Vec<_> = used.collect();
            let is_used = !used.is_empty();
            if is_used {
                kept.push(Kept { destination: Destination::clone(lane), used });
            }
            is_used
        });
        let value = if kept.is_empty() { None } else { postcard::to_stdvec(&kept).ok() };
        self.notary.saving = Some(self.notary.write(RATES, value));
    }
}
