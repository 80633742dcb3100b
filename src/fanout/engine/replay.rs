//! Telling a webhook again what a part of the journal has.
//!
//! A part of the journal is told as a group of its own. What is told again moves no
//! position; whoever asks for it remembers how far that is.

use super::{Engine, Group};
use crate::fanout::batches::Full;
use crate::fanout::group::{Member, Wish, Within};
use crate::journal::Position;
use crate::post::{Destination, Trust, WebhookId};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait at most.
const WAITING: usize = 64;

/// A handle to what tells webhooks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Fanout(mpsc::Sender<Request>);

/// Where it takes what it is asked.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// What was told again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events.
    pub events: u64,
    /// Batches that were made of them, and are on their way.
    pub batches: u64,
}

/// Why nothing was told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReplayed {
    /// There is no such webhook, or it gets no events now.
    Inactive,
    /// As much is being told again as can be.
    Busy,
    /// The gateway is stopping.
    Stopping,
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotReplayed::Inactive => "this webhook gets no events; verify or enable it first",
            NotReplayed::Busy => "too much waits for this webhook, or is being told again; try later",
            NotReplayed::Stopping => "the gateway is stopping; try again later",
        })
    }
}

#[derive(Debug)]
pub(super) struct Request {
    webhook: WebhookId,
    within: Within,
    span: (u64, u64),
    answer: oneshot::Sender<Result<Replayed, NotReplayed>>,
}

impl Fanout {
    /// A handle, and where its requests go.
    pub fn new() -> (Fanout, Requests) {
        let (requests, taken) = mpsc::channel(WAITING);
        (Fanout(requests), Requests(taken))
    }

    /// Tells a webhook once more of what is meant, of the events from one position up to
    /// another and of those that it wants. Resolves when their batches are durable.
    pub async fn replay(
        &self,
        webhook: WebhookId,
        within: Within,
        (from, end): (Position, Position),
    ) -> Result<Replayed, NotReplayed> {
        let (answer, answered) = oneshot::channel();
        // Positions before which is read, and up to which.
        let span = (from.0.saturating_sub(1), end.0.saturating_sub(1));
        let request = Request { webhook, within, span, answer };
        self.0.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotReplayed::Busy,
            mpsc::error::TrySendError::Closed(_) => NotReplayed::Stopping,
        })?;
        answered.await.unwrap_or(Err(NotReplayed::Stopping))
    }
}

impl Requests {
    /// The next one; never when nobody can ask any more.
    pub(super) async fn next(&mut self) -> Request {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// The next one that is there.
    pub(super) fn next_now(&mut self) -> Option<Request> {
        self.0.try_recv().ok()
    }
}

/// What is being told again, and to whom.
pub(super) struct Again {
    pub member: Member,
    pub group: Group,
    /// The last position that it looks at.
    pub end: u64,
    told: Replayed,
    answer: Option<oneshot::Sender<Result<Replayed, NotReplayed>>>,
}

impl Again {
    fn is_over(&self) -> bool {
        self.group.read >= self.end
    }

    /// The last batch, when all has been read.
    pub fn rest(&mut self) -> Option<Full> {
        let closed = if self.is_over() { self.group.close() } else { None };
        closed.map(|closed| Full::of(&self.group, closed))
    }
}

impl Engine {
    /// Begins to tell a webhook again, if it gets events at all.
    pub(super) async fn begin_again(&mut self, request: Request) {
        let Request { webhook, within, span: (read, end), answer } = request;
        let placed = self.options.shelf.in_force();
        let placed = placed.into_iter().find(|it| it.webhook.lane_id() == webhook && it.webhook.is_active());
        let made = placed.and_then(|placed| {
            let (destination, _) = placed.webhook.destination().ok()?;
            let trust = if placed.version.is_some() { Trust::Wire } else { Trust::Operator };
            let destination = Arc::new(Destination { webhook: Some(webhook.clone()), ..destination });
            let wish = Wish::of(&placed.webhook).ok()?.within(within).ok()?;
            Some((Member { id: webhook.clone(), destination, trust }, Arc::new(wish)))
        });
        let Some((member, wish)) = made else {
            // Nobody need wait for the answer.
            let _ = answer.send(Err(NotReplayed::Inactive));
            return;
        };
        if self.piles.get(&webhook).is_some_and(|pile| *pile >= wish.most_waiting()) {
            let _ = answer.send(Err(NotReplayed::Busy));
            return;
        }
        let group = Group::new(wish, vec![member.clone()], read);
        self.again.push(Again { member, group, end, told: Replayed::default(), answer: Some(answer) });
        self.end_again();
    }

    /// What is told again moves no position: its batches say that nothing was reached.
    pub(super) fn limit_again(&mut self, full: &mut [Full]) {
        for full in full.iter_mut().filter(|full| full.wish.is_part()) {
            full.reached = Some(0);
            if let Some(again) =
                self.again.iter_mut().find(|again| Arc::ptr_eq(&again.group.wish, &full.wish))
            {
                let events = full.closed.events.len() as u64;
                again.told.events += events;
                again.told.batches += if full.wish.is_single() { events } else { 1 };
            }
        }
    }

    /// Answers for what has been told again, and is kept.
    pub(super) fn end_again(&mut self) {
        for again in self.again.iter_mut().filter(|again| again.is_over() && again.group.is_empty()) {
            if let Some(answer) = again.answer.take() {
                // Nobody need wait for the answer.
                let _ = answer.send(Ok(again.told));
            }
        }
        self.again.retain(|again| again.answer.is_some());
    }
}
