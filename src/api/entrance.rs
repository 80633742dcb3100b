//! What takes posts and mail over HTTP, as it is in force at the moment: another
//! configuration brings another one.

use super::problem::Problem;
use crate::envelope::{Client, Refusal};
use crate::intake::Intake;
use crate::metrics::{InjectionResult, Metrics};
use crate::protocol_log::ProtocolLog;
use crate::spool::spill::SpillDirectory;
use axum::response::Response;
use http::StatusCode;
use std::fmt;
use std::sync::Arc;

/// See the module; clones are the same.
#[derive(Clone)]
pub struct Entrance {
    /// The door.
    pub intake: Arc<Intake>,
    /// How much it takes.
    pub limits: Limits,
    /// Where large requests wait for their end.
    pub spills: Arc<SpillDirectory>,
    /// Where it is written down what came in.
    pub log: ProtocolLog,
}

/// How much is taken at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a message, or of the body of a post.
    pub message: usize,
    /// Recipients of a message.
    pub recipients: usize,
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entrance({:?})", self.limits)
    }
}

impl Entrance {
    /// Whether anything of this client is taken now under its idempotency key, if it names
    /// one; to be asked before its body is read.
    pub(super) async fn open(&self, client: &Client, key: Option<&str>) -> Result<(), Problem> {
        let opened = self.intake.open(client, key).await;
        opened.map_err(|refusal| self.refused(client, 1, &refusal))
    }

    /// A refusal of so many posts.
    pub(super) fn refused(&self, client: &Client, posts: usize, refusal: &Refusal) -> Problem {
        Problem::refused(refusal, self.intake.wait(client, posts))
    }
}

/// Carries on although its client may leave: what was handed in whole is kept or
/// refused, whoever listens. What was not comes to an end with its connection.
pub(super) async fn to_its_end(
    metrics: Arc<Metrics>,
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let counted = async move {
        let answer = work.await;
        metrics.injection(match &answer {
            Ok(response) if response.status() == StatusCode::OK => InjectionResult::Repeated,
            Ok(_) => InjectionResult::Accepted,
            Err(_) => InjectionResult::Refused,
        });
        answer
    };
    let died = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it could not be taken");
    tokio::spawn(counted).await.map_err(|_| died())?
}
