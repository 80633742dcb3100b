//! What is kept, and whom it is charged to.
//!
//! A tenant pays a unit for each post, and for each event that it publishes: by mail or
//! over HTTP, they take the same room. What is told of posts is free. Nothing is paid for
//! what is not kept, and so for repeats, also of who has nothing left; an idempotency key that comes with something
//! else is refused, or a client would believe that to be kept.

use super::{Intake, told};
use crate::envelope::{Client, Refusal, Taken};
use crate::event::Event;
use crate::post::{Admission, Fingerprint};
use crate::smtp::session::Policy as _;
use crate::spool::{Committed, Earlier, Health, SpoolError};

impl Intake {
    /// Commits what the tenant has so many units for. A client that does not wait for the
    /// answer has paid: it may be kept.
    pub(super) async fn commit(
        &self,
        client: &Client,
        units: usize,
        remarks: &[String],
        mut admission: Admission,
    ) -> Result<Committed, Refusal> {
        told::received(&self.options, client, remarks, &mut admission);
        let (posts, octets, asked) = (admission.posts.len(), admission.octets(), admission.fingerprint);
        let tenants = &self.options.tenants;
        if let Err(refusal) = tenants.take(&client.tenant, units) {
            let earlier = self.earlier(client, admission.idempotency_key.as_deref()).await;
            return again(earlier.ok_or(refusal)?, asked);
        }
        let committed = self.keep(admission).await;
        if matches!(committed, Ok(Committed::Kept)) {
            self.options.metrics.accept(posts, octets);
        } else {
            tenants.give_back(&client.tenant, units);
        }
        match committed.map_err(|error| refusal(&error))? {
            Committed::Repeated(earlier) => again(earlier, asked),
            committed => Ok(committed),
        }
    }

    /// Whether anything of this client is taken now; of one that has nothing left, what
    /// comes again under its idempotency key.
    pub async fn open(&self, client: &Client, key: Option<&str>) -> Result<(), Refusal> {
        let answer = self.sender(client, "");
        let is_open = *self.spool.health().borrow() == Health::Open;
        let is_repeat = answer.is_err() && is_open && self.earlier(client, key).await.is_some();
        if is_repeat { Ok(()) } else { answer }
    }

    /// What the client's key stands for, where that can be told.
    async fn earlier(&self, client: &Client, key: Option<&str>) -> Option<Earlier> {
        self.spool.earlier(&client.tenant, key?).await.ok().flatten()
    }

    /// Keeps posts, and events on their own. These need no place among posts, unless it
    /// is to be known whether they come again; the mail that they came in is over.
    async fn keep(&self, mut admission: Admission) -> Result<Committed, SpoolError> {
        if !admission.posts.is_empty() {
            return self.spool.commit(admission).await;
        }
        if admission.idempotency_key.is_none() {
            return self.spool.publish(admission.events).await.map(|()| Committed::Kept);
        }
        admission.blobs.clear();
        self.spool.commit(admission).await
    }

    /// Publishes all that an application tells, or nothing of it.
    pub async fn publish(&self, client: &Client, events: Vec<Event>) -> Result<(), Refusal> {
        let (tenants, units) = (&self.options.tenants, events.len());
        tenants.take(&client.tenant, units)?;
        self.spool.publish(events).await.map_err(|error| {
            tenants.give_back(&client.tenant, units);
            refusal(&error)
        })
    }
}

/// What is answered in the place of an earlier message.
pub(super) fn repeated(earlier: Earlier) -> Taken {
    let posts = usize::from(earlier.posts);
    Taken { is_repeated: true, posts, ..Taken::queued(earlier.message) }
}

/// What comes again, unless it asks for something else.
fn again(earlier: Earlier, asked: Option<Fingerprint>) -> Result<Committed, Refusal> {
    if is_another(earlier.fingerprint, asked) { Err(reused()) } else { Ok(Committed::Repeated(earlier)) }
}

/// Whether something else was asked; where one is not known, nobody can say so.
fn is_another(one: Option<Fingerprint>, other: Option<Fingerprint>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// What is said of a key that comes with something else within its time.
fn reused() -> Refusal {
    let text = "this idempotency key was that of another request; repeat that one, or take a new key";
    Refusal::new(554, (5, 0), text)
}

/// What a spool's error means for a client: it is to try again.
pub(super) fn refusal(error: &SpoolError) -> Refusal {
    match error {
        SpoolError::Full => Refusal::new(452, (3, 1), "insufficient storage; try again later"),
        SpoolError::Closed => Refusal::new(451, (3, 2), "the gateway is stopping; try again later"),
        SpoolError::Sealed => {
            let text = "the key that secrets are sealed with is missing; send none, or try again later";
            Refusal::new(451, (3, 0), text)
        }
        SpoolError::Failed(_) | SpoolError::Damaged(_) | SpoolError::Changed | SpoolError::Unknown => {
            Refusal::new(451, (3, 0), "the spool cannot write; try again later")
        }
    }
}
