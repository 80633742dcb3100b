//! What can be set, with its defaults: the configuration as values. Who may
//! come in, and how, is in `access`; where mail goes in `route`; how posts go out in
//! `delivery`, as whom in `credentials`; where they are kept in `spool`.
//!
//! The words are those of the file (`config/postgate.toml` shows every key).
//! Only the composition root reads these structs; it hands every module the
//! small option struct that module asks for. A default here is the default
//! everywhere: the reference file is tested to say the same.

mod access;
mod accounting;
mod credentials;
mod delivery;
mod route;
mod spool;
mod webhook;

pub use access::{ApiKey, BareNewline, Listener, Listeners, Tenant, Tls, User, UserSecret};
pub use accounting::{Accounting, Discretion};
pub use credentials::{Auth, Bounce, Proof, SigningKey};
pub use delivery::{BodyMatch, Delivery, Destination, Egress, Terms, merged};
pub use route::{Attachments, Check, Method, Mode, Route};
pub use spool::{Backend, Spool};
pub use webhook::Webhook;

use super::effective::effective;
use super::value::{Rate, Size};
use crate::compose::Templates;
use crate::network::Network;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[[listener]]`, at least one.
    pub listeners: Listeners,
    /// `[tls]`.
    pub tls: Tls,
    /// `[limits]`.
    pub limits: Limits,
    /// `[[tenant]]`, besides the one called `default`.
    pub tenants: Vec<Tenant>,
    /// `[[user]]`.
    pub users: Vec<User>,
    /// `[[route]]`, those of the highest priority and the most specific pattern win.
    pub routes: Vec<Route>,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[[destination]]`, the most specific one wins, key by key.
    pub destinations: Vec<Destination>,
    /// `[[signing_key]]`.
    pub signing_keys: Vec<SigningKey>,
    /// `[[auth]]`.
    pub auths: Vec<Auth>,
    /// `[bounce]`.
    pub bounce: Bounce,
    /// `[egress]`.
    pub egress: Egress,
    /// `[[webhook]]`, besides those that the API makes.
    pub webhooks: Vec<Webhook>,
    /// `[[accounting]]`, or the only one as `[accounting]`.
    pub accounting: Vec<Accounting>,
    /// `[spool]`.
    pub spool: Spool,
    /// `[journal]`.
    pub journal: Journal,
    /// `[retention]`.
    pub retention: Retention,
    /// `[log]`.
    pub log: Log,
    /// `[api]`.
    pub api: Api,
    /// `[[api_key]]`; without any, whoever is on this machine may do everything.
    pub api_keys: Vec<ApiKey>,
    /// What `templates` of `[server]` holds, and what comes along.
    pub templates: Arc<Templates>,
}

impl fmt::Debug for Config {
    /// As it would be written, secrets masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&effective(self))
    }
}

/// `[server]`: the gateway as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name in the greeting; by default the machine's.
    pub hostname: String,
    /// Domains of the quoted, encoded and header recipient forms, lower case.
    pub gateway_domains: Vec<String>,
    /// Where spool and logs are, relative to the working directory.
    pub data_dir: PathBuf,
    /// Where templates are, relative to the configuration file.
    pub templates: PathBuf,
    /// Clients that may post directly to URLs, and log in without TLS.
    pub trusted_networks: Vec<Network>,
    /// Peers that say for whom they connect, on listeners with `proxy_protocol`.
    pub trusted_proxies: Vec<Network>,
    /// How long mail is still taken when a stop was asked for: load balancers are told at once.
    pub shutdown_delay: Duration,
    /// How long a stop may take then, before what is under way is cut off.
    pub shutdown_timeout: Duration,
}

/// Where templates are when nothing else is said.
pub(super) const TEMPLATES: &str = "templates";

impl Default for Server {
    fn default() -> Server {
        Server {
            hostname: machine_name(),
            gateway_domains: vec!["postgate.local".to_owned()],
            data_dir: PathBuf::from("postgate-data"),
            templates: PathBuf::from(TEMPLATES),
            trusted_networks: loopback(),
            trusted_proxies: Vec::new(),
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

/// The name of the machine, `localhost` when it has none that can be used.
fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if is_hostname(&name) { name } else { "localhost".to_owned() }
}

/// Whether a name can stand in a greeting: letters, digits, dots, hyphens and
/// underscores, or an address literal.
pub(super) fn is_hostname(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = |char: char| match inner {
        Some(_) => char.is_ascii_alphanumeric() || matches!(char, '.' | ':'),
        None => char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_'),
    };
    let name = inner.unwrap_or(name);
    !name.is_empty() && name.len() <= 255 && name.chars().all(fits)
}

/// The networks of the machine itself.
pub fn loopback() -> Vec<Network> {
    vec![Network::v4([127, 0, 0, 0], 8), Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128)]
}

/// `[limits]`: what a client may ask of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message; 0 = no limit.
    pub message_size: Size,
    /// Octets of a message's header section.
    pub header_size: Size,
    /// Fields in a message's header section.
    pub header_fields: u32,
    /// Depth of nested MIME parts; deeper mail is posted raw.
    pub mime_depth: u32,
    /// MIME parts of a message; mail with more is posted raw.
    pub mime_parts: u32,
    /// Recipients of a message.
    pub recipients: u32,
    /// Messages of a connection.
    pub messages: u32,
    /// Connections at a time.
    pub connections: u32,
    /// Connections at a time from one address.
    pub connections_per_address: u32,
    /// New connections from one address.
    pub connection_rate: Rate,
    /// Octets of a command line, its line end included.
    pub command_line: Size,
    /// Octets of a line that belongs to AUTH, its line end included.
    pub auth_line: Size,
    /// Octets of memory for mail data that is received or composed, over all
    /// connections.
    pub data_memory: Size,
    /// Octets of all posts of a message, and so of memory for one; past it the message
    /// is refused.
    pub composed_size: Size,
    /// Errors of a client after which its replies are delayed.
    pub slow_after_errors: u32,
    /// Errors of a client after which it is dropped.
    pub close_after_errors: u32,
    /// Failed logins of a connection after which it is dropped.
    pub failed_logins: u32,
    /// Failed logins from one address, or for one user, after which neither is
    /// listened to for a while.
    pub failed_login_rate: Rate,
    /// Commands without mail after which a client is dropped.
    pub junk_commands: u32,
    /// How long a client may be silent.
    pub idle_timeout: Duration,
    /// The same while more than 80 % of the connections are in use.
    pub busy_idle_timeout: Duration,
    /// How long a client may leave replies unread.
    pub reply_timeout: Duration,
    /// How long a TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long a proxy may take to say for whom it connects.
    pub proxy_timeout: Duration,
    /// Octets a second below which mail data is cut after a minute.
    pub data_rate: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: Size(25 << 20),
            header_size: Size(256 << 10),
            header_fields: 1000,
            mime_depth: 64,
            mime_parts: 1000,
            recipients: 1000,
            messages: 1000,
            connections: 2000,
            connections_per_address: 50,
            connection_rate: Rate { count: 300, per: Duration::from_secs(60) },
            command_line: Size(4096),
            auth_line: Size(12 << 10),
            data_memory: Size(256 << 20),
            composed_size: Size(384 << 20),
            slow_after_errors: 10,
            close_after_errors: 20,
            failed_logins: 3,
            failed_login_rate: Rate { count: 10, per: Duration::from_secs(600) },
            junk_commands: 100,
            idle_timeout: Duration::from_secs(300),
            busy_idle_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
            tls_timeout: Duration::from_secs(30),
            proxy_timeout: Duration::from_secs(10),
            data_rate: 500,
        }
    }
}

/// `[journal]`: how long events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Whether events are kept while nobody has asked for any.
    pub always: bool,
    /// How long.
    pub keep: Duration,
    /// With more octets than this the oldest events end before that.
    pub max_size: Size,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { always: false, keep: Duration::from_hours(7 * 24), max_size: Size(1 << 30) }
    }
}

/// `[retention]`: how long what has ended is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Dead letters.
    pub failed: Duration,
    /// Posts that somebody or a rule holds.
    pub held: Duration,
    /// Delivered posts whose bodies have links to their attachments.
    pub delivered: Duration,
    /// Whether all delivered posts are kept for that time.
    pub keep_bodies: bool,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            failed: Duration::from_hours(14 * 24),
            held: Duration::from_hours(30 * 24),
            delivered: Duration::from_hours(24),
            keep_bodies: false,
        }
    }
}

/// `[log]`: what the gateway writes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Least important message of the operational log.
    pub level: LogLevel,
    /// How its lines are written, to standard error.
    pub format: LogFormat,
    /// How much of the dialogues is kept under `data_dir/log`.
    pub protocol_log: ProtocolLevel,
    /// Daily files of the protocol log that are kept.
    pub keep_days: u32,
    /// Where traces are sent (OpenTelemetry), if anywhere.
    pub otlp: Option<String>,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            level: LogLevel::Info,
            format: LogFormat::Text,
            protocol_log: ProtocolLevel::Full,
            keep_days: 14,
            otlp: None,
        }
    }
}

/// Importance of an operational message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How operational messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much of the dialogues is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolLevel {
    /// Nothing.
    Off,
    /// Dialogues in which something went wrong.
    Errors,
    /// Everything.
    Full,
}

/// `[api]`: where the gateway can be asked and steered over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; `None` is not said: at [`API_ADDRESS`], if that is free.
    pub address: Option<ApiAddress>,
    /// When it is encrypted.
    pub tls: ApiTls,
    /// How receivers reach it, to fetch attachments; without a slash at its end.
    pub public_url: Option<String>,
}

/// `tls` of `[api]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiTls {
    /// Never.
    #[default]
    None,
    /// From the first octet, with the certificates of `[tls]`.
    Implicit,
}

/// `address` of `[api]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiAddress {
    /// Nowhere.
    Off,
    /// There, or the gateway does not start.
    At(SocketAddr),
}

/// Where the API listens when nothing else is said.
pub const API_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8025);
