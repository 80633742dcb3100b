//! The one door: whoever brings mail, it is composed and committed here.
//!
//! At RCPT the door says where a forward-path leads, or refuses it with a
//! sentence that helps: strangers may use routes only, and a URL whose literal
//! address no post may reach is refused at once. At the end of the mail data all
//! posts of a message are composed and committed in one step; only then is there
//! an id to acknowledge. The door knows no sockets and holds no mail.

mod logins;
mod tenants;
mod turns;

pub use logins::{Logins, User, UserSecret};
pub use tenants::{TenantTerms, Tenants};
pub use turns::Turns;

use crate::clock::{self, Ids};
use crate::compose::{self, Composition, Endpoint, HeaderControl, Receipt};
use crate::deliver::target::{Egress, permit_origin};
use crate::envelope::{Client, Envelope, Login, Refusal, Target};
use crate::network::Network;
use crate::post::{MessageId, Trust};
use crate::smtp::auth::Credentials;
use crate::smtp::session::Policy;
use crate::spool::spill::MailData;
use crate::spool::{Committed, Health, Spool, SpoolError};
use bytes::Bytes;
use std::sync::Arc;
use turns::Turn;

/// Messages from this size on are composed where they hold nobody up; every
/// recipient counts, as each may have a document of its own.
const LARGE: usize = 128 * 1024;

/// Who may do what at a door.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Clients in these networks may name URLs themselves, and log in without TLS.
    pub trusted_networks: Vec<Network>,
    /// What URLs may lead to.
    pub egress: Egress,
    /// Who can log in; the same for all doors.
    pub logins: Arc<Logins>,
    /// What each tenant may do; the same for all doors.
    pub tenants: Arc<Tenants>,
    /// Whether anybody may send a password in the clear.
    pub plaintext_auth: Allowance,
    /// Whether CRAM-MD5 is offered, for users whose password can be recovered.
    pub cram_md5: Allowance,
    /// Memory for composing; the same for all doors.
    pub turns: Turns,
}

/// Whether something risky is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowance {
    /// It is not.
    #[default]
    Refused,
    /// The operator said so.
    Allowed,
}

/// A door; see the module.
pub struct Intake {
    options: Options,
    compose: Arc<compose::Options>,
    spool: Arc<dyn Spool>,
    ids: Arc<Ids>,
}

impl Intake {
    /// A door to `spool`; all doors of a spool share `ids`.
    pub fn new(
        options: Options,
        compose: Arc<compose::Options>,
        spool: Arc<dyn Spool>,
        ids: Arc<Ids>,
    ) -> Intake {
        Intake { options, compose, spool, ids }
    }

    /// Composes and commits a message; its id, or that of the earlier message
    /// with the same idempotency key. Nothing is kept of a message that is
    /// refused.
    pub async fn admit(&self, envelope: Envelope, data: MailData) -> Result<MessageId, Refusal> {
        let receipt = Receipt { message: self.ids.next(), received_at: clock::wall() };
        let is_large = data.octets().saturating_mul(envelope.recipients.len()) >= LARGE;
        // Kept until the commit.
        let (composed, mut turn) = match data {
            MailData::Memory(data) if !is_large => {
                (compose::compose(&self.compose, &envelope, receipt, data), Turn::none())
            }
            data => self.compose_large(envelope, receipt, data).await,
        };
        let composition = composed?;
        for remark in &composition.remarks {
            tracing::info!(message = %receipt.message, "{remark}");
        }
        turn.lower(composition.admission.blobs.iter().map(Bytes::len).sum());
        match self.spool.commit(composition.admission).await {
            Ok(Committed::Kept) => Ok(receipt.message),
            Ok(Committed::Repeated(earlier)) => Ok(earlier),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Waits for a turn and composes off the runtime's threads.
    async fn compose_large(
        &self,
        envelope: Envelope,
        receipt: Receipt,
        data: MailData,
    ) -> (Result<Composition, Refusal>, Turn) {
        let turn = self.options.turns.take(self.weight(data.octets(), envelope.recipients.len())).await;
        let options = Arc::clone(&self.compose);
        let compose = move || {
            let unread = |error| {
                tracing::error!(%error, "a temporary file cannot be read back");
                Refusal::new(451, (3, 0), "the message could not be read back; try again later")
            };
            compose::compose(&options, &envelope, receipt, data.read().map_err(unread)?)
        };
        let composed = tokio::task::spawn_blocking(compose).await;
        let died = |_| Err(Refusal::new(451, (3, 0), "the message could not be composed"));
        (composed.unwrap_or_else(died), turn)
    }

    /// What composing takes: the message, what is decoded of it, and for each
    /// recipient a document that says some of it twice or in base64.
    fn weight(&self, octets: usize, recipients: usize) -> usize {
        let whole = octets.saturating_mul(2);
        whole.saturating_add(whole.saturating_mul(recipients).min(self.compose.limits.composed_octets))
    }

    /// Whether the credentials are right, and whose they are.
    pub async fn verify(&self, _client: &Client, _credentials: Credentials) -> Result<Login, Refusal> {
        Err(Refusal::new(535, (7, 8), "authentication failed"))
    }

    fn is_trusted(&self, client: &Client) -> bool {
        // No address: it came over a socket in the file system.
        client.address.is_none_or(|address| {
            self.options.trusted_networks.iter().any(|network| network.contains(address))
        })
    }
}

impl Policy for Intake {
    fn sender(&self, _client: &Client, _reverse_path: &str) -> Result<(), Refusal> {
        match &*self.spool.health().borrow() {
            Health::Open => Ok(()),
            Health::Full => Err(refusal(&SpoolError::Full)),
            Health::Failed(reason) => Err(refusal(&SpoolError::Failed(reason.clone()))),
        }
    }

    fn is_secret(&self, forward_path: &str) -> bool {
        compose::hides_credentials(&self.compose, forward_path)
    }

    fn recipient(&self, client: &Client, forward_path: &str) -> Result<Target, Refusal> {
        let target = compose::target(&self.compose, forward_path)?;
        let refused = |text: &str| Err(Refusal::new(550, (7, 1), text));
        if !matches!(target, Target::Route { .. }) && !self.is_trusted(client) {
            return refused("only trusted networks may name a URL; use a configured route");
        }
        match &target {
            Target::Header { .. } if self.compose.header_control == HeaderControl::Off => {
                refused("headers steer nothing here; use another recipient form")
            }
            Target::Direct { url, .. } => {
                let endpoint: Result<Endpoint, _> = url.parse();
                let origin = endpoint.map(|endpoint| endpoint.destination(&client.tenant, Trust::Wire));
                match origin.map(|origin| permit_origin(&self.options.egress, &origin)) {
                    Ok(Err(denied)) => refused(&denied.to_string()),
                    _ => Ok(target),
                }
            }
            _ => Ok(target),
        }
    }
}

/// What a spool's error means for a client: it is to try again.
fn refusal(error: &SpoolError) -> Refusal {
    match error {
        SpoolError::Full => Refusal::new(452, (3, 1), "insufficient storage; try again later"),
        SpoolError::Closed => Refusal::new(451, (3, 2), "the gateway is stopping; try again later"),
        SpoolError::Failed(_) | SpoolError::Damaged(_) => {
            Refusal::new(451, (3, 0), "the spool cannot write; try again later")
        }
    }
}
