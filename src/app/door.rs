//! A door that can be exchanged while clients stand in it.
//!
//! Every command is answered by the door in force at that moment, also on
//! connections that were there before; a message that is being kept is kept by
//! the door it was handed to.

use crate::envelope::{Client, Envelope, Login, Refusal, Taken, Target};
use crate::intake::Intake;
use crate::smtp;
use crate::smtp::auth::{Credentials, Mechanisms};
use crate::smtp::session::Policy;
use crate::spool::spill::MailData;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// The door of one listener.
pub(super) struct Door(RwLock<Arc<Intake>>);

impl Door {
    /// A door that is `intake` for now.
    pub(super) fn new(intake: Intake) -> Door {
        Door(RwLock::new(Arc::new(intake)))
    }

    /// Makes `intake` the door from now on.
    pub(super) fn exchange(&self, intake: Intake) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(intake);
    }

    fn current(&self) -> Arc<Intake> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Policy for Door {
    fn sender(&self, client: &Client, reverse_path: &str) -> Result<(), Refusal> {
        self.current().sender(client, reverse_path)
    }

    fn recipient(&self, client: &Client, forward_path: &str) -> Result<Target, Refusal> {
        self.current().recipient(client, forward_path)
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
        Box::pin(async move { intake.admit(envelope, data).await })
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        let intake = self.current();
        Box::pin(async move { intake.verify(client, credentials).await })
    }
}
