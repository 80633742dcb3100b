//! Who can log in, and how it is found out.

use crate::network::Network;
use crate::smtp::auth::Secret;
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;

/// A user of the gateway: an application with credentials of its own.
#[derive(Clone, Debug)]
pub struct User {
    /// What it logs in as.
    pub name: String,
    /// How it proves who it is.
    pub secret: UserSecret,
    /// Whose mail it hands in.
    pub tenant: Tenant,
    /// The only URLs that it may name; empty is any.
    pub may_post_to: Vec<UrlPattern>,
    /// The only networks that it may log in from; empty is any.
    pub networks: Vec<Network>,
}

/// How a user proves who it is.
#[derive(Clone, Debug)]
pub enum UserSecret {
    /// The password itself: the only kind that CRAM-MD5 can use.
    Password(Secret),
    /// A hash of it in PHC or modular crypt format: argon2id or bcrypt.
    Hash(Secret),
    /// A client certificate alone.
    Certificate,
}

/// All users.
#[derive(Debug, Default)]
pub struct Logins;
