//! A door that can be exchanged while clients stand in it.
//!
//! Every command is answered by the door in force at that moment, also on
//! connections that were there before; a message that is being kept is kept by
//! the door it was handed to.

use crate::envelope::{Client, Envelope, Login, Refusal, Taken};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::smtp;
use crate::smtp::auth::{Credentials, Mechanisms};
use crate::smtp::session::{Judged, Opening, Policy, Question};
use crate::spool::spill::MailData;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// The door of one listener.
pub(super) struct Door {
    intake: RwLock<Arc<Intake>>,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door that is `intake` for now.
    pub(super) fn new(intake: Intake, metrics: Arc<Metrics>) -> Door {
        Door { intake: RwLock::new(Arc::new(intake)), metrics }
    }

    /// Makes `intake` the door from now on.
    pub(super) fn exchange(&self, intake: Intake) {
        *self.intake.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(intake);
    }

    fn current(&self) -> Arc<Intake> {
        Arc::clone(&self.intake.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Policy for Door {
    fn sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal> {
        let judged = self.current().sender(client, reverse_path);
        judged.inspect_err(|_| {
            self.metrics.smtp_refusals.inc();
        })
    }

    fn recipient(
        &self,
        client: &Client,
        opening: Opening<'_>,
        forward_path: &str,
    ) -> Result<Judged, Refusal> {
        let judged = self.current().recipient(client, opening, forward_path);
        judged.inspect_err(|_| {
            self.metrics.smtp_refusals.inc();
        })
    }

    fn is_secret(&self, forward_path: &str) -> bool {
        self.current().is_secret(forward_path)
    }

    fn mechanisms(&self, client: &Client) -> Mechanisms {
        self.current().mechanisms(client)
    }

    fn challenge(&self) -> String {
        self.current().challenge()
    }
}

impl smtp::Door for Door {
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<Taken, Refusal>> + Send + '_>> {
        let intake = self.current();
        Box::pin(async move {
            let admitted = intake.admit(envelope, data).await;
            let is_taken = admitted.as_ref().is_ok_and(|taken| taken.refusal().is_none());
            let counter = if is_taken { &self.metrics.smtp_messages } else { &self.metrics.smtp_refusals };
            counter.inc();
            admitted
        })
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        let intake = self.current();
        Box::pin(async move { intake.verify(client, credentials).await })
    }

    fn check<'a>(
        &'a self,
        question: &'a Question,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        let intake = self.current();
        Box::pin(async move {
            let checked = intake.check(question).await;
            checked.inspect_err(|_| {
                self.metrics.smtp_refusals.inc();
            })
        })
    }
}
