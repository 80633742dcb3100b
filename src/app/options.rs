//! The configuration in the words of each part.
//!
//! One function a part; nothing is decided here.

use super::access::Access;
use super::store::{self, Store};
use super::{StartError, listening, routes};
use crate::api::{self, setup::Setup};
use crate::clock::Ids;
use crate::compose::{self, HeaderControl, LinkKey, Links};
use crate::config::{self, Config, Listener, ProtocolLevel, Size};
use crate::deliver::target::Egress;
use crate::envelope::Source;
use crate::event::{Want, Wanted};
use crate::fanout::accounting::accounts::Accounts;
use crate::first_attempts::FirstAttempts;
use crate::intake::{self, Allowance};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::panel;
use crate::protocol_log;
use crate::seal::SealKey;
use crate::smtp;
use crate::spool::Spool;
use crate::spool::embedded::{self, OpenError};
use crate::spool::sealing::Sealing;
use crate::spool::spill::SpillDirectory;
use crate::subscribers::Subscribers;
use crate::tenant::Tenant;
use crate::trace::Tracer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Octets as the machine counts them.
pub(super) fn octets(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// A count as the machine counts.
pub(super) fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What connections have in common, whatever listener they came to and whatever
/// changes.
pub(super) struct Common {
    /// Where the gateway can be reached over the network.
    pub addresses: Vec<SocketAddr>,
    /// The same, and where its API is: nothing is posted there.
    pub own: Vec<SocketAddr>,
    /// Where the API is answered, if it is.
    pub api: Option<SocketAddr>,
    /// What signs addresses of attachments.
    pub link_key: Option<LinkKey>,
    /// What the gateway calls itself where loops are looked for.
    pub instance: String,
    /// Where posts are kept, and nothing that is secret.
    pub spool: Arc<dyn Spool>,
    /// The same from behind, to be closed.
    pub store: Store,
    /// What seals secrets, if it is there.
    pub seal_key: Option<Arc<SealKey>>,
    /// Where ids come from.
    pub ids: Arc<Ids>,
    /// Counts them.
    pub crowd: smtp::Crowd,
    /// Where their large messages go.
    pub spills: Arc<SpillDirectory>,
    /// Memory for composing.
    pub turns: intake::Turns,
    /// Who asks about recipients, and what was answered.
    pub checks: intake::Checks,
    /// What delivery must know of webhooks.
    pub subscribers: Subscribers,
    /// Where webhooks are, and what asks their receivers; there after the start.
    pub webhooks: Option<api::Webhooks>,
    /// Where delivery tells the doors of first attempts.
    pub first_attempts: FirstAttempts,
    /// Where spans go.
    pub tracer: Tracer,
    /// Whether anybody wants events.
    pub wanted: Wanted,
    /// As long as they are wanted in any case.
    pub _always: Option<Want>,
    /// Where they are kept.
    pub journal: Journal,
    /// Who writes records of them.
    pub accounts: Accounts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether a stop was asked for.
    pub leaving: watch::Sender<bool>,
}

/// The part of `data_memory` for what is still being received; the rest is for
/// composing, which holds whole messages.
fn receiving_memory(config: &Config) -> usize {
    octets(config.limits.data_memory) / 4
}

impl Common {
    /// The spool as all parts see it.
    pub(super) fn shared_spool(&self) -> Arc<dyn Spool> {
        Arc::clone(&self.spool)
    }

    /// Notes the limits in force for those who look at what is counted.
    pub(super) fn allow(&self, config: &Config) {
        self.metrics.clients.allow(count(config.limits.connections));
    }
}

/// An open spool, and the key to what is sealed in it.
type Opened = (Store, Option<Arc<SealKey>>);

/// What all connections share; large messages go to temporary files in the spool.
pub(super) fn common(
    config: &Config,
    ((store, seal_key), journal, wanted): (Opened, Journal, Wanted),
    sockets: &[smtp::Socket],
    api: Option<SocketAddr>,
) -> Result<Common, StartError> {
    let embedded::Options { directory, reserve, .. } = store::embedded(config, wanted.clone());
    let refused = |error| StartError::Spool(OpenError::Io(config.server.data_dir.clone(), error));
    let spills = Arc::new(SpillDirectory::at(&directory.join("tmp"), reserve).map_err(refused)?);
    let turns = intake::Turns::of(octets(config.limits.data_memory) - receiving_memory(config));
    let addresses: Vec<_> = sockets.iter().filter_map(smtp::Socket::network_address).collect();
    let own = addresses.iter().copied().chain(api).collect();
    let ids = Arc::new(Ids::above(store.newest()));
    let sealing = Sealing::new(store.spool(), seal_key.clone());
    let instance = super::instance::name(&config.server.data_dir);
    let metrics = Arc::<Metrics>::default();
    metrics.clients.allow(count(config.limits.connections));
    Ok(Common {
        addresses,
        own,
        api,
        link_key: super::links::key(&config.server.data_dir)?,
        instance,
        spool: Arc::new(sealing),
        store,
        seal_key,
        ids,
        crowd: smtp::Crowd::default(),
        spills,
        turns,
        tracer: Tracer::off(),
        accounts: Accounts::new(journal.clone(), wanted.clone(), config.server.data_dir.join("accounting")),
        journal,
        _always: config.journal.always.then(|| wanted.want()),
        wanted,
        metrics,
        leaving: watch::Sender::new(false),
        first_attempts: FirstAttempts::default(),
        checks: intake::Checks::default(),
        webhooks: None,
        subscribers: Subscribers::default(),
    })
}

/// For the API.
pub(super) fn api(
    config: &Config,
    common: &Common,
    sockets: &[smtp::Socket],
    current: watch::Receiver<Arc<api::Current>>,
    setup: Setup,
) -> api::Options {
    let options = api::Options::of(common.instance.clone());
    let log = protocol_log(config);
    api::Options {
        links: common.link_key.clone(),
        journal: Some(common.journal.clone()),
        webhooks: common.webhooks.clone(),
        accounts: Some(common.accounts.clone()),
        protocol_log: (log.level != protocol_log::Level::Off).then_some((log.level, log.directory)),
        setup: Some(setup),
        listeners: listening::told(sockets, &config.listeners.0),
        front: Some(panel::front),
        current,
        wanted: common.wanted.clone(),
        leaving: common.leaving.subscribe(),
        ..options
    }
}

/// For the keys of the API.
pub(super) fn api_keys(config: &Config) -> Vec<intake::ApiKey> {
    let key = |key: &config::ApiKey| intake::ApiKey {
        name: key.name.as_str().into(),
        digest: key.digest,
        role: key.role,
        tenant: (key.role != intake::Role::Admin).then(|| Tenant::new(&key.tenant)),
    };
    config.api_keys.iter().map(key).collect()
}

/// For one listener.
pub(super) fn smtp(config: &Config, listener: &Listener, access: &Access, common: &Common) -> smtp::Options {
    let limits = &config.limits;
    smtp::Options {
        hostname: config.server.hostname.clone(),
        limits: smtp::Limits {
            message: octets(limits.message_size),
            header: octets(limits.header_size),
            header_fields: count(limits.header_fields),
            command_line: octets(limits.command_line),
            auth_line: octets(limits.auth_line),
            failed_logins: count(limits.failed_logins),
            recipients: count(limits.recipients),
            messages: count(limits.messages),
            soft_errors: count(limits.slow_after_errors),
            hard_errors: count(limits.close_after_errors),
            junk_commands: count(limits.junk_commands),
            connections: count(limits.connections),
            connections_per_address: count(limits.connections_per_address),
            new_per_minute: count(limits.connection_rate.count),
            data_memory: receiving_memory(config),
        },
        timeouts: smtp::Timeouts {
            idle: limits.idle_timeout,
            idle_under_pressure: limits.busy_idle_timeout,
            data_rate: u64::from(limits.data_rate),
            unread_reply: limits.reply_timeout,
            tls_handshake: limits.tls_timeout,
            proxy_header: limits.proxy_timeout,
            ..smtp::Timeouts::default()
        },
        protocol: listener.protocol,
        tls: listener.tls,
        certificates: access.certificates.clone(),
        required: smtp::Required { tls: listener.require_tls, login: listener.require_auth },
        legacy_auth_keyword: listener.legacy_auth_keyword,
        bare_newline: match listener.bare_newline {
            config::BareNewline::Refuse => smtp::BareNewline::Refuse,
            // LF ends lines for the named networks only.
            config::BareNewline::Normalize | config::BareNewline::Lf => smtp::BareNewline::Normalize,
        },
        lf_networks: listener.lf_networks.clone(),
        trusted_proxies: match listener.proxy_protocol {
            true => config.server.trusted_proxies.clone(),
            false => Vec::new(),
        },
        crowd: common.crowd.clone(),
        metrics: Arc::clone(&common.metrics),
        spills: Some(Arc::clone(&common.spills)),
    }
}

/// For the door of one listener.
pub(super) fn intake(
    config: &Config,
    listener: &Listener,
    access: &Access,
    common: &Common,
) -> intake::Options {
    intake::Options {
        source: Source::Smtp,
        hostname: config.server.hostname.clone(),
        trusted_networks: config.server.trusted_networks.clone(),
        egress: egress(config, &common.own),
        logins: Arc::clone(&access.logins),
        tenants: Arc::clone(&access.tenants),
        plaintext_auth: allowance(listener.allow_plaintext_auth),
        cram_md5: allowance(listener.cram_md5),
        turns: common.turns.clone(),
        first_attempts: common.first_attempts.clone(),
        checks: common.checks.clone(),
        tracer: common.tracer.clone(),
        wanted: common.wanted.clone(),
        metrics: Arc::clone(&common.metrics),
    }
}

fn allowance(is_allowed: bool) -> Allowance {
    if is_allowed { Allowance::Allowed } else { Allowance::Refused }
}

/// For the users.
pub(super) fn users(config: &Config) -> Vec<intake::User> {
    let user = |user: &config::User| intake::User {
        name: user.name.clone(),
        secret: match &user.secret {
            config::UserSecret::Password(secret) => intake::UserSecret::Password(secret.value.clone()),
            config::UserSecret::Hash(secret) => intake::UserSecret::Hash(secret.value.clone()),
            config::UserSecret::Certificate => intake::UserSecret::Certificate,
        },
        tenant: Tenant::new(&user.tenant),
        may_post_to: user.may_post_to.clone(),
        networks: user.networks.clone(),
    };
    config.users.iter().map(user).collect()
}

/// For the tenants.
pub(super) fn tenants(config: &Config) -> Vec<intake::TenantTerms> {
    let terms = |tenant: &config::Tenant| intake::TenantTerms {
        tenant: Tenant::new(&tenant.name),
        daily_limit: (tenant.daily_limit > 0).then_some(tenant.daily_limit.into()),
        rate: tenant.rate.map(|rate| (rate.count, rate.per)),
        may_post_to: tenant.may_post_to.clone(),
        header_control: header_control(tenant.header_control),
    };
    config.tenants.iter().map(terms).collect()
}

/// For the certificates, if there are any.
pub(super) fn tls_files(config: &Config) -> Option<smtp::TlsFiles> {
    let tls = &config.tls;
    let pairs: Vec<_> = tls.certificate.iter().cloned().zip(tls.key.iter().cloned()).collect();
    let self_signed = tls.self_signed.then(|| config.server.hostname.clone());
    let has_any = !pairs.is_empty() || self_signed.is_some();
    has_any.then(|| smtp::TlsFiles { pairs, self_signed, client_ca: tls.client_ca.clone() })
}

/// Whether headers steer.
pub(super) fn header_control(is_on: bool) -> HeaderControl {
    if is_on { HeaderControl::On } else { HeaderControl::Off }
}

/// For composing what one listener takes; the error names a route that is not one.
pub(super) fn compose(
    config: &Config,
    listener: &Listener,
    links: Option<Links>,
) -> Result<compose::Options, String> {
    let limits = compose::Limits {
        header_octets: octets(config.limits.header_size),
        header_fields: count(config.limits.header_fields),
        mime_depth: count(config.limits.mime_depth),
        mime_parts: count(config.limits.mime_parts),
        composed_octets: octets(config.limits.composed_size),
    };
    let routes = config.routes.iter().map(routes::routes).collect::<Result<Vec<_>, _>>()?.concat();
    let gateway_domains = config.server.gateway_domains.clone();
    let header_control = header_control(listener.header_control);
    let signing_keys = config.signing_keys.iter().map(|key| key.name.clone()).collect();
    let profiles = config.auths.iter().map(|auth| auth.name.clone()).collect();
    let templates = Arc::clone(&config.templates);
    Ok(compose::Options {
        gateway_domains,
        routes,
        header_control,
        templates,
        limits,
        signing_keys,
        profiles,
        links: links.map(Arc::new),
    })
}

/// Where posts may go; `own` are the gateway's listeners.
pub(super) fn egress(config: &Config, own: &[SocketAddr]) -> Egress {
    let ports = &config.egress.allow_ports;
    Egress {
        allow: config.egress.allow.clone(),
        deny: config.egress.deny.clone(),
        allow_ports: (!ports.is_empty()).then(|| ports.clone()),
        own: own.to_vec(),
    }
}

/// For the journal.
pub(super) fn journal(config: &Config) -> journal::Options {
    journal::Options {
        keep: config.journal.keep,
        max_octets: config.journal.max_size.0,
        ..journal::Options::at(config.server.data_dir.join("journal"))
    }
}

/// For the protocol log.
pub(super) fn protocol_log(config: &Config) -> protocol_log::Options {
    protocol_log::Options {
        directory: config.server.data_dir.join("log"),
        level: match config.log.protocol_log {
            ProtocolLevel::Off => protocol_log::Level::Off,
            ProtocolLevel::Errors => protocol_log::Level::Errors,
            ProtocolLevel::Full => protocol_log::Level::Full,
        },
        keep_days: config.log.keep_days,
    }
}
