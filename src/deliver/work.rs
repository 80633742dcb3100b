//! What the dispatcher has others do, and what that led to: it asks the spool nothing
//! itself, and starts no worker.

use super::attempt;
use super::berth::Berth;
use super::caught::caught;
use super::lanes::LaneId;
use super::notes::Charge;
use super::order::{Order, Report};
use super::steering::BackOff;
use crate::post::Destination;
use crate::spool::{Claimed, Spool, SpoolError};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// Time until a spool that failed is asked again.
pub(super) const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// What a task of the dispatcher led to.
pub(super) enum Done {
    /// The spool's answer to a claim of a lane.
    Claimed(LaneId, Purpose, Result<Claimed, SpoolError>),
    /// What was new was written down, these charges among it.
    Saved(Vec<Charge>),
    /// State changes were announced.
    Announced,
    /// An order was carried out, for which the stocks of these lanes went back.
    Ordered(Vec<LaneId>),
    /// One for a single post, for which these lanes claimed nothing.
    OrderedOne(Vec<LaneId>),
    /// These were done, and those go on.
    Several(Vec<Done>, JoinSet<Done>),
    /// A backoff is wanted, of these lanes with posts too.
    BackedOff(BackOff, Vec<Arc<Destination>>),
    /// Nothing to be done.
    Nothing,
}

/// Why posts are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be sent.
    Send,
    /// To be given up: their time is over.
    Look,
}

/// Work of the dispatcher that may take a while.
pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A claim of so many posts of a lane.
pub(super) fn claim(
    spool: Arc<dyn Spool>,
    berth: &Berth,
    most: usize,
    purpose: Purpose,
) -> impl Future<Output = Done> + Send + use<> {
    let (lane, name, max_age) = (berth.id, Arc::clone(&berth.name), berth.terms.schedule.max_age);
    async move {
        let claimed = caught(async {
            match purpose {
                Purpose::Send => spool.claim(&name, most).await,
                Purpose::Look => spool.claim_expired(&name, max_age, most).await,
            }
        });
        let claimed = claimed.await;
        Done::Claimed(lane, purpose, claimed)
    }
}

/// Lets workers begin, and does what needs no waiting. Each work is a task of its own
/// when it does.
pub(super) async fn do_at_once(works: Vec<Work>, hired: Vec<Order>) -> Done {
    for order in hired {
        tokio::spawn(attempt::work(order));
    }
    let mut works = works;
    poll_fn(move |context| {
        let (mut done, mut late) = (Vec::with_capacity(works.len()), JoinSet::new());
        for mut work in std::mem::take(&mut works) {
            match work.as_mut().poll(context) {
                Poll::Ready(answer) => done.push(answer),
                Poll::Pending => drop(late.spawn(work)),
            }
        }
        Poll::Ready(Done::Several(done, late))
    })
    .await
}

/// Reports what was late, each as soon as it is done.
pub(super) async fn bring(mut late: JoinSet<Done>, reports: mpsc::UnboundedSender<Report>) -> Done {
    while let Some(done) = late.join_next().await {
        // Without a dispatcher nobody waits for it.
        let _ = reports.send(Report::Late(done.unwrap_or_else(lost)));
    }
    Done::Nothing
}

/// What a task led to that did not end in order.
pub(super) fn lost(error: JoinError) -> Done {
    tracing::error!("a task of the dispatcher failed: {error}");
    Done::Nothing
}
