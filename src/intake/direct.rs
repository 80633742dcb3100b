//! Posts that are handed in as such, without mail.
//!
//! The same door: health of the spool, tenants' limits, URLs that may be named and the
//! egress rules hold as for the posts of a message, and all are committed in one step.

use super::traced::Traced;
use super::{Committed, Intake, Turn, repeated};
use crate::clock;
use crate::compose::{self, Direct, Fault, Receipt};
use crate::envelope::{Client, Refusal, Taken};
use std::sync::Arc;
use std::time::Duration;

/// Why nothing is kept of posts that were handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// What is wrong with them, at least one thing.
    Faults(Vec<Fault>),
    /// The door takes none, or not so many now.
    Refusal(Refusal),
}

impl Intake {
    /// Composes and commits posts; `key` makes a repeat of all of them a no-op. All are
    /// kept or none is. What has a turn keeps it until then, and holds nobody up.
    pub async fn post(
        &self,
        client: &Client,
        asked: Vec<Direct>,
        key: Option<String>,
        turn: Turn,
    ) -> Result<Taken, Denied> {
        let (tracer, source) = (&self.options.tracer, self.options.source);
        let mut traced = Traced::begin(tracer, source, client, asked.len());
        let answer = self.take_direct(client, (asked, key), &turn, &mut traced).await;
        drop(turn);
        match &answer {
            Err(Denied::Faults(faults)) => {
                let told = faults.first().map(|fault| format!("{}: {}", fault.field, fault.reason));
                traced.end(Err(&Refusal::new(550, (6, 0), told.unwrap_or_default())));
            }
            Err(Denied::Refusal(refusal)) => traced.end(Err(refusal)),
            Ok(taken) => traced.end(Ok(taken)),
        }
        answer
    }

    async fn take_direct(
        &self,
        client: &Client,
        (asked, key): (Vec<Direct>, Option<String>),
        turn: &Turn,
        traced: &mut Traced<'_>,
    ) -> Result<Taken, Denied> {
        let receipt = Receipt { message: self.ids.next(), received_at: clock::wall() };
        let (options, tenant) = (Arc::clone(&self.compose), client.tenant.clone());
        let compose = move || compose::direct(&options, (&tenant, key), receipt, asked);
        let composed = match turn.is_none() {
            true => compose(),
            false => {
                let died = |_| Denied::Refusal(Refusal::new(451, (3, 0), "the posts could not be composed"));
                tokio::task::spawn_blocking(compose).await.map_err(died)?
            }
        };
        let mut admission = composed.map_err(Denied::Faults)?;
        let mut faults = Vec::new();
        for (at, post) in admission.posts.iter().enumerate() {
            if let Err(refusal) = self.permit(client, &post.destination) {
                faults.push(Fault { at, field: "url".to_owned(), reason: refusal.text });
            }
        }
        if !faults.is_empty() {
            return Err(Denied::Faults(faults));
        }
        traced.mark(&mut admission);
        let (message, posts) = (admission.message, admission.posts.len());
        let committed = self.commit(client, posts, &[], admission).await.map_err(Denied::Refusal)?;
        Ok(match committed {
            Committed::Kept => Taken { posts, ..Taken::queued(message) },
            Committed::Repeated(earlier) => repeated(earlier),
        })
    }

    /// Waits until so many octets of memory may be used, as long as the turn is kept.
    pub async fn turn(&self, octets: usize) -> Turn {
        self.options.turns.take(octets).await
    }

    /// How long until a tenant's limits let so many posts of this client pass.
    pub fn wait(&self, client: &Client, posts: usize) -> Duration {
        self.options.tenants.wait(&client.tenant, posts)
    }
}
