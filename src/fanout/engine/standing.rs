//! How far webhooks have been told, and how they fared, beyond a restart.
//!
//! What was told last stands in the batches themselves. This note is older than they are
//! by a few seconds at most: it says how far those have come that wanted nothing, and is
//! where the batches since are looked up from.

use super::backlog::{Backlog, Overrun};
use super::{Engine, Options, PAUSE};
use crate::clock;
use crate::fanout::group::Group;
use crate::journal::{Journal, Position};
use crate::post::{MessageId, PostId, Timestamp, WebhookId};
use crate::spool::{Query, Spool, SpoolError};
use crate::subscribers::Fare;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Its key among the notes of the spool, and its name among those who follow the journal.
const KEY: &str = "fanout";
/// Batches are looked up from so long before it was written.
const MARGIN: Duration = Duration::from_secs(60);
/// Posts that are looked at at a time.
const PAGE: usize = 500;

/// How a webhook stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Standing {
    /// Position up to which it has been told; nothing when it is owed nothing, or is in a
    /// group, which knows.
    pub reached: Option<u64>,
    /// How it fared, as it is noted.
    pub fare: Fare,
    /// Number of the last of its turns that was told.
    #[serde(skip_serializing_if = "is_default")]
    pub turned: u64,
    /// For how long it has been closed, as far as the gateway was there.
    #[serde(skip_serializing_if = "is_default")]
    pub closed_for: Duration,
    /// What waits for it.
    #[serde(skip_serializing_if = "is_default")]
    pub backlog: Backlog,
    /// What was told of the events that it lost.
    #[serde(skip_serializing_if = "is_default")]
    pub overrun: Overrun,
}

/// All of them are noted every few seconds: what says nothing is left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Standing {
    /// Whether it is in no group, and is still to be told of something up to there.
    pub fn is_before(&self, position: u64) -> bool {
        self.reached.is_some_and(|reached| reached < position)
    }
}

/// What is noted of all.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    at: Timestamp,
    webhooks: BTreeMap<WebhookId, Standing>,
}

/// Holds what was still to be told when an earlier process ended, before anything of the
/// journal is removed; and notes where those begin that stand in the configuration for the
/// first time, before anything happens.
pub async fn prepare(options: &Options) {
    let spool = &options.spool.0;
    let Ok(note) = read(&**spool).await else { return };
    // The time of one that is there stays: batches since are still to be looked up.
    let mut note = note.unwrap_or_else(|| Note { at: clock::wall(), ..Note::default() });
    let reached = Some(options.journal.last().0);
    let fixed = options.shelf.in_force().into_iter().filter(|placed| placed.version.is_none());
    let active: Vec<_> = fixed.filter(|placed| placed.webhook.is_active()).collect();
    let known = note.webhooks.len();
    for placed in active {
        let standing = Standing { reached, ..Standing::default() };
        note.webhooks.entry(placed.webhook.lane_id()).or_insert(standing);
    }
    keep(&options.journal, note.webhooks.values().filter_map(|standing| standing.reached).min());
    if note.webhooks.len() > known {
        let text = serde_json::to_vec(&note).unwrap_or_default();
        if let Err(error) = spool.set_note(KEY, Some(Bytes::from(text)), None).await {
            tracing::warn!(%error, "where webhooks begin cannot be noted");
        }
    }
}

async fn read(spool: &dyn Spool) -> Result<Option<Note>, SpoolError> {
    let Some(noted) = spool.note(KEY).await? else { return Ok(None) };
    match serde_json::from_slice(&noted.value) {
        Ok(note) => Ok(Some(note)),
        Err(error) => {
            tracing::error!(
                "how far webhooks have been told cannot be read: {error}; they are told again what the journal has since they were made"
            );
            Ok(None)
        }
    }
}

impl Engine {
    /// Takes in how far webhooks had been told, and how they fared.
    pub(super) async fn recall(&mut self) -> Result<(), SpoolError> {
        loop {
            match self.try_recall().await {
                Ok(()) => {
                    self.is_recalled = true;
                    return Ok(());
                }
                Err(SpoolError::Closed) => return Err(SpoolError::Closed),
                Err(error) => tracing::warn!(%error, "how far webhooks have been told is not known yet"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_recall(&mut self) -> Result<(), SpoolError> {
        let spool = self.options.spool.clone().0;
        let Some(mut note) = read(&*spool).await? else { return Ok(()) };
        let last = self.options.journal.last().0;
        clamp(&mut note, last);
        let least = MessageId(
            MessageId::at(note.at).0.saturating_sub(MessageId::at(Timestamp(MARGIN.as_millis() as u64)).0),
        );
        let mut before = Some(PostId { message: MessageId(u64::MAX), number: u16::MAX });
        while let Some(id) = before.filter(|id| id.message >= least) {
            let page = spool.search(Query::default(), Some(id), PAGE).await?;
            for listed in page.posts.iter().filter(|listed| listed.post.id.message >= least) {
                let (Some(batch), Some(id)) = (listed.post.batch, &listed.post.destination.webhook) else {
                    continue;
                };
                // What was told again says of no position; one that the journal does not have is
                // of another. One that was made since has its batches alone to say it.
                if (1..=last).contains(&batch.reached) {
                    let standing = note.webhooks.entry(id.clone()).or_default();
                    standing.reached = standing.reached.max(Some(batch.reached));
                }
            }
            before = page.next;
        }
        for placed in self.options.shelf.in_force().iter().filter(|placed| placed.version.is_none()) {
            // The turns of those of the configuration are of this process, whatever the time.
            note.webhooks.entry(placed.webhook.lane_id()).or_default().turned = 0;
        }
        for (id, standing) in &note.webhooks {
            self.options.subscribers.note(id, |fare| fare.clone_from(&standing.fare));
        }
        self.standing = note.webhooks;
        Ok(())
    }

    /// Notes how far all have been told, if that is new, and if it can be now.
    pub(super) async fn note_standing(&mut self) {
        if let Err(error) = self.try_note().await {
            tracing::warn!(%error, "how far webhooks have been told cannot be noted now");
        }
    }

    /// The same; on return it is durable.
    pub(super) async fn try_note(&mut self) -> Result<(), SpoolError> {
        if !self.is_recalled {
            return Ok(());
        }
        let mut webhooks = self.standing.clone();
        for group in &self.groups {
            for member in &group.members {
                webhooks.entry(member.id.clone()).or_default().reached = Some(group.told());
            }
        }
        for (id, standing) in &mut webhooks {
            standing.fare = self.options.subscribers.fare(id);
        }
        let news = serde_json::to_vec(&webhooks).unwrap_or_default();
        if news == self.noted.0 {
            return Ok(());
        }
        let note = serde_json::to_vec(&Note { at: clock::wall(), webhooks }).unwrap_or_default();
        self.options.spool.0.set_note(KEY, Some(Bytes::from(note)), None).await?;
        self.noted = (news, Instant::now());
        Ok(())
    }

    /// Holds the events that somebody is still to be told of.
    pub(super) fn hold(&self) {
        let groups = self.groups.iter().map(Group::told);
        let others = self.standing.values().filter_map(|standing| standing.reached);
        let again = self.again.iter().map(|again| again.group.read);
        keep(&self.options.journal, groups.chain(others).chain(again).min());
    }
}

/// A journal may have been lost: who is told of what comes begins where this one ends.
fn clamp(note: &mut Note, last: u64) {
    for (id, standing) in &mut note.webhooks {
        if let Some(reached) = standing.reached.filter(|reached| *reached > last) {
            tracing::error!(
                "webhook {id} was told up to event {reached} of the journal, which has {last}: what was between is lost"
            );
            standing.reached = Some(last);
        }
    }
}

/// Has what is behind this position kept.
fn keep(journal: &Journal, position: Option<u64>) {
    match position {
        Some(position) => journal.hold(KEY, Position(position)),
        None => journal.let_go(KEY),
    }
}
