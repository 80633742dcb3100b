//! Who the gateway is to a receiver: auth profiles and proxies, as values. Their secrets
//! leave the memory with them.

use crate::post::{Destination, Scheme};
use crate::url_pattern::UrlPattern;
use std::fmt;
use zeroize::{Zeroize as _, Zeroizing};

/// An auth profile, by its name in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// What routes and destinations call it.
    pub name: String,
    /// How it proves who we are.
    pub proof: Proof,
    /// The only origins that it is sent to; empty for any.
    pub origins: Vec<UrlPattern>,
}

impl Profile {
    /// Whether a destination may know who we are.
    pub fn is_for(&self, destination: &Destination) -> bool {
        UrlPattern::any_matches(&self.origins, destination)
    }
}

/// How a request proves who sent it.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// RFC 7617.
    Basic {
        /// Without a colon.
        user: String,
        /// Its password.
        password: String,
    },
    /// RFC 6750.
    Bearer {
        /// As it stands behind `Bearer`.
        token: String,
    },
    /// A header of its own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// RFC 6749 section 4.4: a token for client credentials.
    OAuth2 {
        /// Where tokens are had: the operator's own URL.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// Its secret.
        client_secret: String,
        /// What the token is to be good for, if that is to be said.
        scope: Option<String>,
        /// For whom it is, if that is to be said.
        audience: Option<String>,
        /// Where the credentials stand in the request for a token.
        place: Place,
    },
}

impl Drop for Proof {
    fn drop(&mut self) {
        match self {
            Proof::Basic { password: secret, .. }
            | Proof::Bearer { token: secret }
            | Proof::Header { value: secret, .. }
            | Proof::OAuth2 { client_secret: secret, .. } => secret.zeroize(),
        }
    }
}

/// Where client credentials stand in a request for a token (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In `Authorization`.
    #[default]
    Header,
    /// In the body, for servers that know no better.
    Body,
}

impl fmt::Debug for Profile {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.name)
    }
}

/// How senders hear of posts that were given up (RFC 3464).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// Who takes the reports.
    pub relay: Relay,
    /// Address in their `From`.
    pub from: String,
    /// Name of this gateway, as the reporting MTA and in EHLO.
    pub hostname: String,
}

/// A server that takes mail from us.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    /// When it is encrypted.
    pub security: Security,
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, when it wants to know.
    pub credentials: Option<(String, Zeroizing<String>)>,
}

/// When a connection to a relay is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// With STARTTLS, when the relay offers it: `smtp://`.
    Opportunistic,
    /// With STARTTLS, or nothing is sent: `smtp+starttls://`.
    StartTls,
    /// From the first octet: `smtps://`.
    Implicit,
}

impl fmt::Debug for Relay {
    /// Without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({:?} {}:{})", self.security, self.host, self.port)
    }
}

/// A proxy on the way to a destination.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, when it wants to know.
    pub credentials: Option<(String, Zeroizing<String>)>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// CONNECT (RFC 9110 section 9.3.6).
    Http,
    /// SOCKS5 (RFC 1928, RFC 1929).
    Socks5,
}

impl fmt::Display for Proxy {
    /// As its URL, without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => Scheme::Http.as_str(),
            ProxyKind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}
