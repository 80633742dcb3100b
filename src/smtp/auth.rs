//! AUTH (RFC 4954): the mechanisms, their exchanges, and what they prove.
//!
//! An exchange ends in [`Credentials`], which the session hands to the driver and
//! the driver to the door; whether they are right is decided there. Nothing of
//! them is ever printed: a secret shows itself as `***`.

use std::fmt;

/// Which mechanisms a client may use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN (RFC 4616) and LOGIN.
    pub password: Offer,
    /// CRAM-MD5 (RFC 2195).
    pub cram_md5: Offer,
    /// EXTERNAL (RFC 4422 appendix A): the client's certificate.
    pub external: Offer,
}

/// Whether something may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// Not at all.
    #[default]
    No,
    /// Once the connection is encrypted.
    AfterTls,
    /// Now.
    Now,
}

/// Something that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// What it is.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a client shows to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// PLAIN and LOGIN.
    Password {
        /// The authentication identity.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// CRAM-MD5: HMAC-MD5 of the challenge, keyed with the password.
    Digest {
        /// The user.
        name: String,
        /// The challenge as it was sent, before base64.
        challenge: String,
        /// The digest, 32 hexadecimal digits in lower case.
        digest: Secret,
    },
    /// EXTERNAL: one of the names in the client's certificate.
    Certificate {
        /// The authorization identity, when the client named one.
        name: Option<String>,
    },
}
