//! Who the gateway is to receivers: signing keys, auth profiles, and the relay that
//! takes its reports.
//!
//! Secrets are here as values, wherever they were read from; they never show
//! themselves.

use super::super::secret::Secret;
use super::super::server::Named;
use crate::deliver::profile::{Place, Relay};
use crate::deliver::sign::{self, Scheme};
use crate::url_pattern::UrlPattern;
use std::sync::Arc;

/// `[[signing_key]]`: what requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// What routes and destinations call it.
    pub name: String,
    /// How it signs.
    pub scheme: Scheme,
    /// The first signs, further ones too while they are exchanged.
    pub secrets: Vec<Secret>,
    /// Name of the header (`hmac-hex`).
    pub header: Option<String>,
    /// What stands before the signature in it (`hmac-hex`).
    pub prefix: Option<String>,
    /// What a receiver finds the public key by (`http-signature`, `postal`).
    pub key_id: Option<String>,
    /// Where a receiver finds the certificate (`sns`).
    pub certificate_url: Option<String>,
    /// `1` or `2` (`sns`).
    pub signature_version: Option<String>,
    /// Name of the parameter (`secret-parameter`).
    pub parameter: Option<String>,
    /// The only origins whose posts are signed; empty for any.
    pub origins: Vec<UrlPattern>,
    /// The key itself.
    pub key: Arc<sign::SigningKey>,
}

/// `[[auth]]`: how requests prove who sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// What routes and destinations call it.
    pub name: String,
    /// How.
    pub proof: Proof,
    /// The only origins that it is sent to; empty for any.
    pub origins: Vec<UrlPattern>,
}

/// `type` of an auth profile, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `basic`.
    Basic {
        /// Without a colon.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// `bearer`.
    Bearer {
        /// As it stands behind `Bearer`.
        token: Secret,
    },
    /// `header`.
    Header {
        /// Its name.
        header: String,
        /// Its value.
        value: Secret,
    },
    /// `oauth2`.
    OAuth2 {
        /// Where tokens are had.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// What the token is to be good for.
        scope: Option<String>,
        /// For whom it is.
        audience: Option<String>,
        /// Where the credentials stand in the request for a token.
        credentials: Place,
    },
}

/// `[bounce]`: how senders hear of posts that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounce {
    /// Who takes the reports; without one there are none.
    pub relay: Option<Named<Relay>>,
    /// Their `From`; by default `MAILER-DAEMON` at the hostname.
    pub from: Option<String>,
}
