//! Telling replays: slice by slice, each noted when its batches are durable. The journal
//! holds what is still to be told, from the moment a replay begins and after a restart, as
//! far as it has room: what it lets go is missed, and counted.

use super::{KEYS, Replay, Replays, State};
use crate::fanout::engine::{Fanout, NotReplayed};
use crate::fanout::shelf::{Shelf, ShelfError};
use crate::journal::Position;
use crate::post::WebhookId;
use crate::spool::SpoolError;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Events of the journal in a slice.
const SLICE: u64 = 5000;
/// Until it is tried again what could not be done.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells all replays, those of an earlier process as well, until `stop` turns true. Each is
/// told by itself: a webhook that takes nothing delays no other.
pub async fn run(replays: Replays, (fanout, shelf): (Fanout, Arc<Shelf>), mut stop: watch::Receiver<bool>) {
    let mut news = replays.news.subscribe();
    let (mut known, mut tasks) = (HashSet::new(), JoinSet::new());
    if let Err(error) = replays.forget_orphans(&shelf).await {
        tracing::warn!(%error, "replays of webhooks that are gone are not forgotten yet");
    }
    loop {
        match replays.running().await {
            Ok(running) => {
                known.retain(|id| running.iter().any(|replay| replay.id == *id));
                for replay in running.into_iter().filter(|replay| known.insert(replay.id.clone())) {
                    replays.hold(&replay);
                    tasks.spawn(replays.clone().tell((fanout.clone(), Arc::clone(&shelf)), replay));
                }
                // Those of an earlier process hold their own now.
                replays.journal.let_go(KEYS);
            }
            Err(SpoolError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "which events are to be sent again is not known yet");
                news.mark_changed();
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::select! {
            Ok(()) = news.changed() => {}
            Some(_) = tasks.join_next() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Replays {
    async fn running(&self) -> Result<Vec<Replay>, SpoolError> {
        let notes = self.spool.notes(KEYS).await?;
        let all = notes.iter().filter_map(|(_, noted)| Replay::read(&noted.value));
        Ok(all.filter(|replay| replay.state == State::Running).collect())
    }

    /// Tells one to its end.
    async fn tell(self, (fanout, shelf): (Fanout, Arc<Shelf>), mut replay: Replay) {
        let mut is_noted = true;
        while !is_noted || replay.state == State::Running {
            // What was told and is not noted is not made again because noting fails.
            let tried = match is_noted {
                true => self.slice(&fanout, &shelf, &replay).await,
                false => self.note_known(&replay).await.map(|()| replay.clone()),
            };
            match tried {
                Ok(next) => (replay, is_noted) = (next, !is_noted),
                Err(Stuck::Over) => break,
                Err(Stuck::Now) => tokio::time::sleep(PAUSE).await,
            }
            self.hold(&replay);
        }
        self.journal.let_go(&replay.key());
    }

    /// Has kept what one is still to tell.
    pub(super) fn hold(&self, replay: &Replay) {
        let (_, at, _) = replay.span;
        self.journal.hold_within(&replay.key(), Position(at.0.saturating_sub(1)));
    }

    /// Tells the next slice; answers how far it is then.
    async fn slice(&self, fanout: &Fanout, shelf: &Shelf, replay: &Replay) -> Result<Replay, Stuck> {
        let (from, at, end) = replay.span;
        let next = Position(at.0.saturating_add(SLICE).min(end.0));
        let within = replay.meant.within().map_err(|_| Stuck::Over)?;
        let told = match fanout.replay(WebhookId::new(&replay.webhook), within, (at, next)).await {
            Ok(told) => told,
            Err(NotReplayed::Stopping) => return Err(Stuck::Over),
            Err(NotReplayed::Busy | NotReplayed::Inactive) => return self.is_stuck(shelf, replay).await,
        };
        let state = if next >= end { State::Done } else { State::Running };
        let missed = self.journal.first().0.min(next.0).saturating_sub(at.0);
        let (sent, missed) = (replay.sent + told.events, replay.missed + missed);
        Ok(Replay { span: (from, next, end), state, sent, missed, ..replay.clone() })
    }

    /// For how long its webhook takes none. It may be disabled for now; when it is gone,
    /// so are its replays: whoever deleted it may not have come to that.
    async fn is_stuck(&self, shelf: &Shelf, replay: &Replay) -> Result<Replay, Stuck> {
        if shelf.one(&replay.webhook, None).await == Err(ShelfError::Unknown) {
            self.forget(&replay.webhook).await?;
        }
        let is_known = self.spool.note(&replay.key()).await?.is_some();
        Err(if is_known { Stuck::Now } else { Stuck::Over })
    }

    /// Forgets those whose webhook is gone: whoever deleted it may not have come to that.
    async fn forget_orphans(&self, shelf: &Shelf) -> Result<(), SpoolError> {
        let notes = self.spool.notes(KEYS).await?;
        let webhooks = notes.iter().filter_map(|(key, _)| key.strip_prefix(KEYS)?.split('/').next());
        for webhook in webhooks.collect::<HashSet<_>>() {
            if shelf.one(webhook, None).await == Err(ShelfError::Unknown) {
                self.forget(webhook).await?;
            }
        }
        Ok(())
    }

    /// Notes how far one is, unless it was forgotten meanwhile.
    async fn note_known(&self, replay: &Replay) -> Result<(), Stuck> {
        let Some(noted) = self.spool.note(&replay.key()).await? else { return Err(Stuck::Over) };
        let value = serde_json::to_vec(replay).unwrap_or_default();
        self.spool.set_note(&replay.key(), Some(Bytes::from(value)), Some(noted.version)).await?;
        Ok(())
    }

    /// Forgets those of a webhook that is gone.
    pub async fn forget(&self, webhook: &str) -> Result<(), SpoolError> {
        for (key, _) in self.spool.notes(&format!("{KEYS}{webhook}/")).await? {
            self.spool.set_note(&key, None, None).await?;
            self.journal.let_go(&key);
        }
        Ok(())
    }
}

/// Why a slice was not told.
enum Stuck {
    /// It never will be here.
    Over,
    /// It may be later.
    Now,
}

impl From<SpoolError> for Stuck {
    fn from(error: SpoolError) -> Stuck {
        if error == SpoolError::Closed { Stuck::Over } else { Stuck::Now }
    }
}
