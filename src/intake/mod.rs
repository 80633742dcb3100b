//! The one door: whoever brings mail, it is composed and committed here.
//!
//! At RCPT the door says where a forward-path leads, or refuses it with a
//! sentence that helps: strangers may use routes only, who has logged in may name
//! the URLs that its user and its tenant may post to, and a URL whose literal
//! address no post may reach is refused at once. A URL that stands in the message
//! is judged by the same rules when the message is there. At the end of the mail
//! data all posts of a message are composed and committed in one step; only then
//! is there an id to acknowledge. The door knows no sockets and holds no mail.
//!
//! A client that asks for it hears what became of the first attempts at its posts
//! (`first`); they are committed before, like all others.
//!
//! Routes are the operator's: whoever may mail to one need not be allowed its URL.
//! They say themselves whose mail they take and how much (`entries`), and may have
//! a receiver asked about each recipient (`checks`).

mod checks;
mod direct;
mod entries;
mod failures;
mod first;
mod guard;
mod hashes;
mod keeping;
mod keys;
mod logins;
mod seal;
mod tenants;
mod told;
mod traced;
mod turns;

pub use checks::{Checks, Inquire, Inquiry, Response};
pub use direct::Denied;
pub use guard::customer;
pub use hashes::{HashError, PasswordHash};
pub use keys::{ApiKey, KeyDigest, Keys, Role, Unknown};
pub use logins::{Logins, LoginsError, User, UserSecret};
pub use tenants::{TenantTerms, Tenants};
pub use turns::{Turn, Turns};

use crate::clock::{self, Ids};
use crate::compose::{self, Composition, Endpoint, HeaderControl, Receipt};
use crate::deliver::target::{Egress, permit_origin};
use crate::envelope::{Client, Envelope, Login, Refusal, Source, Taken, Target};
use crate::event::Wanted;
use crate::first_attempts::FirstAttempts;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::post::{Destination, Trust};
use crate::smtp::auth::{Credentials, Mechanisms, Offer, Secret};
use crate::smtp::session::{Judged, Opening, Policy};
use crate::spool::spill::MailData;
use crate::spool::{Committed, Health, Spool, SpoolError};
use crate::trace::Tracer;
use crate::url_pattern::UrlPattern;
use entries::TurnedAway;
use first::Shares;
use keeping::{refusal, repeated};
use std::net::IpAddr;
use std::sync::Arc;
use traced::Traced;

/// Messages from this size on are composed where they hold nobody up; every
/// post counts, as each may have a document of its own.
const LARGE: usize = 128 * 1024;

/// Who may do what at a door.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which way is in; whoever comes over the API has proved there what it may do.
    pub source: Source,
    /// The gateway's name, for the challenges of CRAM-MD5.
    pub hostname: String,
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
    /// Where delivery tells of first attempts; the same for all doors.
    pub first_attempts: FirstAttempts,
    /// Who asks about recipients, and what was answered; the same for all doors.
    pub checks: Checks,
    /// Where spans of messages go; the same for all doors.
    pub tracer: Tracer,
    /// Whether anybody wants events; the same for all doors.
    pub wanted: Wanted,
    /// Where it is counted; the same for all doors.
    pub metrics: Arc<Metrics>,
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
    /// The same for tenants whose messages steer nothing.
    plain: Arc<compose::Options>,
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
        let plain = match compose.header_control {
            HeaderControl::Off => Arc::clone(&compose),
            HeaderControl::On => {
                Arc::new(compose::Options { header_control: HeaderControl::Off, ..(*compose).clone() })
            }
        };
        Intake { options, compose, plain, spool, ids }
    }

    /// Composes and commits a message; its id, or that of the earlier message
    /// with the same idempotency key, and what became of its posts as far as the
    /// client waits for that. Nothing is kept of a message that is refused.
    pub async fn admit(&self, envelope: Envelope, data: MailData) -> Result<Taken, Refusal> {
        let (tracer, source) = (&self.options.tracer, self.options.source);
        let mut traced = Traced::begin(tracer, source, &envelope.client, envelope.recipients.len());
        let answer = self.take(envelope, data, &mut traced).await;
        traced.end(answer.as_ref());
        answer
    }

    async fn take(
        &self,
        mut envelope: Envelope,
        data: MailData,
        traced: &mut Traced<'_>,
    ) -> Result<Taken, Refusal> {
        let receipt = Receipt { message: self.ids.next(), received_at: clock::wall() };
        let options = Arc::clone(self.compose_options(&envelope.client));
        let turned_away = TurnedAway::from(&mut envelope, &options, data.octets())?;
        if envelope.recipients.is_empty() {
            let mut taken = Taken::queued(receipt.message);
            turned_away.join(0, &mut taken);
            return Ok(taken);
        }
        let client = envelope.client.clone();
        let (replies, others) = (envelope.replies, envelope.recipients.len());
        let is_large = data.octets().saturating_mul(posts(&envelope)) >= LARGE;
        // Kept until the commit.
        let (composed, mut turn) = match data {
            MailData::Memory(data) if !is_large => {
                (compose::compose(&options, &envelope, receipt, data), Turn::none())
            }
            data => self.compose_large(options, envelope, receipt, data).await,
        };
        let composition = composed?;
        for remark in &composition.remarks {
            tracing::info!(message = %receipt.message, "{remark}");
        }
        // Also what was permitted at RCPT: other rules may be in force by now.
        for post in composition.admission.posts.iter().filter(|post| post.trust == Trust::Wire) {
            self.permit(&client, &post.destination)?;
        }
        turn.lower(composition.admission.all_octets());
        let Composition { mut admission, recipients, reported, waits, remarks } = composition;
        let units = admission.posts.len() + admission.events.len();
        told::reported(&self.options, reported, &mut admission);
        traced.mark(&mut admission);
        let shares = Shares::new(replies, recipients);
        let waits = self.listen(&admission, &shares, waits);
        let (message, posts) = (admission.message, admission.posts.len());
        let mut taken = match self.commit(&client, units, &remarks, admission).await? {
            Committed::Kept if !waits.is_empty() => {
                drop(turn);
                Taken { posts, ..self.answer(message, &shares, waits).await }
            }
            Committed::Kept => Taken { posts, ..Taken::queued(message) },
            Committed::Repeated(earlier) => repeated(earlier),
        };
        taken.numbers = shares.numbers();
        turned_away.join(others, &mut taken);
        Ok(taken)
    }

    /// Waits for a turn and composes off the runtime's threads.
    async fn compose_large(
        &self,
        options: Arc<compose::Options>,
        envelope: Envelope,
        receipt: Receipt,
        data: MailData,
    ) -> (Result<Composition, Refusal>, Turn) {
        let turn = self.options.turns.take(self.weight(data.octets(), posts(&envelope))).await;
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
    /// post a document that says some of it twice or in base64.
    fn weight(&self, octets: usize, posts: usize) -> usize {
        let whole = octets.saturating_mul(2);
        whole.saturating_add(whole.saturating_mul(posts).min(self.compose.limits.composed_octets))
    }

    /// Whether the credentials are right, and whose they are.
    pub async fn verify(&self, client: &Client, credentials: Credentials) -> Result<Login, Refusal> {
        let (logins, address) = (&self.options.logins, client.address);
        let offered = self.mechanisms(client);
        match (credentials, &client.tls) {
            (Credentials::Password { name, password }, _) if offered.password == Offer::Now => {
                logins.by_password(address, &name, password).await
            }
            (Credentials::Digest { name, challenge, digest }, _) if offered.cram_md5 == Offer::Now => {
                logins.by_digest(address, &name, &challenge, &digest)
            }
            (Credentials::Certificate { name }, Some(tls)) => {
                logins.by_certificate(address, tls, name.as_deref())
            }
            _ => Err(Refusal::new(504, (5, 4), "this client cannot log in this way")),
        }
    }

    /// Whether a password is right that somebody at this address has shown us elsewhere than
    /// in a session; failures count as there.
    pub async fn log_in(
        &self,
        address: Option<IpAddr>,
        name: &str,
        password: Secret,
    ) -> Result<Login, Refusal> {
        self.options.logins.by_password(address, name, password).await
    }

    /// Whether this user may log in from there, whatever it shows; the error is where it may
    /// instead. Nothing is counted, so ask only who has shown the right password.
    pub fn welcome(&self, address: Option<IpAddr>, name: &str) -> Result<(), Vec<Network>> {
        match self.options.logins.user(name) {
            Some(user) if !user.is_welcome_from(address) => Err(user.networks.clone()),
            _ => Ok(()),
        }
    }

    /// What composing this client's messages goes by.
    fn compose_options(&self, client: &Client) -> &Arc<compose::Options> {
        match self.options.tenants.terms(&client.tenant) {
            Some(TenantTerms { header_control: HeaderControl::Off, .. }) => &self.plain,
            _ => &self.compose,
        }
    }

    /// Whether the client may name URLs at all.
    fn permit_any(&self, client: &Client) -> Result<(), Refusal> {
        if self.options.source == Source::Api || client.login.is_some() || self.is_trusted(client) {
            return Ok(());
        }
        let text = "only clients that have logged in or are in a trusted network may name a URL; use a route";
        Err(Refusal::new(550, (7, 1), text))
    }

    /// Whether the client may name URLs of this origin.
    fn permit(&self, client: &Client, destination: &Destination) -> Result<(), Refusal> {
        self.permit_any(client)?;
        let allows = |list: &[UrlPattern]| list.is_empty() || list.iter().any(|it| it.matches(destination));
        let refused = |text: String| Err(Refusal::new(550, (7, 1), text));
        let login = client.login.as_deref().filter(|_| self.options.source == Source::Smtp);
        let user = login.map(|name| self.options.logins.user(name));
        let user_may = match user {
            None => true,
            // It has been removed since it logged in.
            Some(None) => false,
            Some(Some(user)) => allows(&user.may_post_to),
        };
        let tenant = self.options.tenants.terms(&client.tenant);
        if !user_may || !tenant.is_none_or(|terms| allows(&terms.may_post_to)) {
            return refused(format!("you may not post to {destination}; ask the operator of this gateway"));
        }
        permit_origin(&self.options.egress, destination, Trust::Wire)
            .or_else(|denied| refused(denied.to_string()))
    }

    fn is_trusted(&self, client: &Client) -> bool {
        // No address: it came over a socket in the file system.
        client.address.is_none_or(|address| {
            self.options.trusted_networks.iter().any(|network| network.contains(address))
        })
    }
}

impl Policy for Intake {
    fn sender(&self, client: &Client, _reverse_path: &str) -> Result<(), Refusal> {
        match &*self.spool.health().borrow() {
            Health::Open => self.options.tenants.check(&client.tenant),
            Health::Full => Err(refusal(&SpoolError::Full)),
            Health::Failed(reason) => Err(refusal(&SpoolError::Failed(reason.clone()))),
        }
    }

    fn mechanisms(&self, client: &Client) -> Mechanisms {
        let options = &self.options;
        let is_private =
            client.tls.is_some() || self.is_trusted(client) || options.plaintext_auth == Allowance::Allowed;
        let password = match options.logins.know_passwords() {
            true if is_private => Offer::Now,
            true => Offer::AfterTls,
            false => Offer::No,
        };
        let has_digests = options.cram_md5 == Allowance::Allowed && options.logins.know_plain_passwords();
        let names = client.tls.as_ref().map(|tls| tls.names.as_slice()).unwrap_or_default();
        let when = |is_there| if is_there { Offer::Now } else { Offer::No };
        let (cram_md5, external) = (when(has_digests), when(options.logins.know_any_of(names)));
        Mechanisms { password, cram_md5, external }
    }

    fn challenge(&self) -> String {
        self.options.logins.challenge(&self.options.hostname)
    }

    fn is_secret(&self, forward_path: &str) -> bool {
        compose::hides_credentials(&self.compose, forward_path)
    }

    fn recipient(
        &self,
        client: &Client,
        opening: Opening<'_>,
        forward_path: &str,
    ) -> Result<Judged, Refusal> {
        let compose = self.compose_options(client);
        let target = compose::target(compose, forward_path)?;
        let refused = |text: &str| Err(Refusal::new(550, (7, 1), text));
        if let Target::Route { .. } = target {
            return self.judge_routed(client, opening, target);
        }
        self.permit_any(client)?;
        match &target {
            Target::Header { .. } if compose.header_control == HeaderControl::Off => {
                refused("headers steer nothing here; use another recipient form")
            }
            Target::Direct { url, .. } => {
                // What is no URL was refused above.
                let endpoint: Result<Endpoint, _> = url.parse();
                let origin = endpoint.map(|endpoint| endpoint.destination(&client.tenant));
                origin.map_or(Ok(()), |origin| self.permit(client, &origin)).map(|()| target.into())
            }
            _ => Ok(target.into()),
        }
    }
}

/// How many posts a message makes, as far as that was known at RCPT.
fn posts(envelope: &Envelope) -> usize {
    envelope.recipients.iter().map(|recipient| recipient.posts).sum()
}
