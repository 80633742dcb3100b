//! Who may come in, and how: listeners, TLS, tenants, users, keys of the API.
//!
//! A user's secret is here as a value, wherever it was read from; it never
//! shows itself.

use crate::config::secret::Secret;
use crate::config::value::Rate;
use crate::intake::{KeyDigest, Role};
use crate::network::Network;
use crate::smtp::{Address, Protocol, TlsUse};
use crate::url_pattern::UrlPattern;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The listeners, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners(pub Vec<Listener>);

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners(vec![Listener::default()])
    }
}

/// `[[listener]]`: one door for mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// What is spoken.
    pub protocol: Protocol,
    /// When it is encrypted.
    pub tls: TlsUse,
    /// Whether nothing is taken before TLS.
    pub require_tls: bool,
    /// Whether nothing is taken before a login.
    pub require_auth: bool,
    /// Whether `trusted_proxies` say by the PROXY protocol for whom they connect.
    pub proxy_protocol: bool,
    /// Whether CRAM-MD5 is offered.
    pub cram_md5: bool,
    /// Whether anybody may send a password in the clear.
    pub allow_plaintext_auth: bool,
    /// Whether EHLO says `AUTH=` as well, for old clients.
    pub legacy_auth_keyword: bool,
    /// What a lone LF means in mail data.
    pub bare_newline: BareNewline,
    /// Clients for whom LF ends lines, with [`BareNewline::Lf`].
    pub lf_networks: Vec<Network>,
    /// Whether headers in the message steer posts of the direct forms.
    pub header_control: bool,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))),
            protocol: Protocol::Smtp,
            tls: TlsUse::None,
            require_tls: false,
            require_auth: false,
            proxy_protocol: false,
            cram_md5: false,
            allow_plaintext_auth: false,
            legacy_auth_keyword: true,
            bare_newline: BareNewline::Normalize,
            lf_networks: Vec::new(),
            header_control: true,
        }
    }
}

/// What a lone LF means in mail data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// It becomes CRLF and is content.
    Normalize,
    /// It refuses the message.
    Refuse,
    /// It ends lines, for named networks.
    Lf,
}

/// `[tls]`: the certificates of all listeners.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificate chains in PEM; the first is the default, the others are for
    /// clients that ask for one of their names.
    pub certificate: Vec<PathBuf>,
    /// Their keys, in the same order.
    pub key: Vec<PathBuf>,
    /// Whether a certificate for tests is made at every start.
    pub self_signed: bool,
    /// Certificates in PEM whose holders vouch for those of clients.
    pub client_ca: Option<PathBuf>,
}

/// `[[tenant]]`: what the mail of some users has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// What users call it.
    pub name: String,
    /// Posts of a day (UTC); 0 = no limit.
    pub daily_limit: u32,
    /// Posts in a time; nothing = no limit.
    pub rate: Option<Rate>,
    /// The only URLs that its users may name; none named means any.
    pub may_post_to: Vec<UrlPattern>,
    /// Whether headers in its messages steer posts of the direct forms.
    pub header_control: bool,
}

/// `[[user]]`: an application with credentials of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What it logs in as.
    pub name: String,
    /// How it proves who it is.
    pub secret: UserSecret,
    /// Its tenant's name.
    pub tenant: String,
    /// The only URLs that it may name; none named means any.
    pub may_post_to: Vec<UrlPattern>,
    /// The only networks that it may log in from; none named means any.
    pub networks: Vec<Network>,
}

/// How a user proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSecret {
    /// `password`.
    Password(Secret),
    /// `password_hash`.
    Hash(Secret),
    /// Neither: by a certificate alone.
    Certificate,
}

/// `[[api_key]]`: somebody who may ask and steer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What the log calls it.
    pub name: String,
    /// What it is known by.
    pub digest: KeyDigest,
    /// `digest`, as it stands there.
    pub written: Secret,
    /// What it allows.
    pub role: Role,
    /// Its tenant's name; that of an admin's key counts for nothing.
    pub tenant: String,
}
