//! The history of what is counted, for charts: recorded step by step, kept in a note of
//! the spool once a minute and at the stop.
//!
//! A crash costs the last minute of a chart and no more; nothing else depends on it.

use super::options::Common;
use crate::metrics::Metrics;
use crate::spool::{Spool, SpoolError};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The note.
const KEY: &str = "history";

/// Time between two writings of it, at least. Steps last ten seconds, and they begin a
/// little late at times: so it is the sixth one that is a minute away.
const PAUSE: Duration = Duration::from_secs(55);

/// Brings back what an earlier process kept, and records from now on until `stopped`
/// turns true: before anything is counted.
pub(super) async fn begin(common: &Common, stopped: &watch::Receiver<bool>, parts: &mut JoinSet<()>) {
    recall(&common.metrics, &*common.spool).await;
    parts.spawn(carry(Arc::clone(&common.metrics), common.shared_spool(), stopped.clone()));
}

async fn recall(metrics: &Metrics, spool: &dyn Spool) {
    let read = match spool.note(KEY).await {
        Ok(Some(noted)) => metrics.recall_past(&noted.value),
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = read {
        tracing::warn!("the history for charts cannot be read and begins anew: {error}");
    }
    metrics.record();
}

/// What comes after the stop is for [`keep`].
async fn carry(metrics: Arc<Metrics>, spool: Arc<dyn Spool>, mut stopped: watch::Receiver<bool>) {
    let mut keep_at = Instant::now();
    let mut has_failed = false;
    loop {
        tokio::select! {
            () = sleep(metrics.rest_of_step()) => {}
            // A stop whose sender is gone is one as well.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        metrics.record();
        if Instant::now() < keep_at {
            continue;
        }
        keep_at = Instant::now() + PAUSE;
        let kept = write(&metrics, &*spool).await;
        // Said once, and not every minute of a full disk.
        if let (Err(error), false) = (&kept, has_failed) {
            tracing::warn!("cannot keep the history for charts; a restart loses what is new of it: {error}");
        }
        has_failed = kept.is_err();
    }
}

/// Keeps all that was counted: when nothing is any more.
pub(super) async fn keep(metrics: &Metrics, spool: &dyn Spool) {
    if let Err(error) = write(metrics, spool).await {
        tracing::warn!("cannot keep the history for charts: {error}");
    }
}

async fn write(metrics: &Metrics, spool: &dyn Spool) -> Result<(), SpoolError> {
    spool.set_note(KEY, Some(Bytes::from(metrics.write_past())), None).await.map(drop)
}
