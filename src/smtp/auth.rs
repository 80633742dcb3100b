//! AUTH (RFC 4954): the mechanisms, their exchanges, and what they prove.
//!
//! An exchange ends in [`Credentials`], which the session hands to the driver and
//! the driver to the door; whether they are right is decided there. Nothing of
//! them is ever printed: a secret shows itself as `***`.
//!
//! What is no base64, or not laid out as its mechanism says, is malformed, and
//! the client is told. What is laid out well but can be nobody's credentials (no
//! name, a name with control characters, octets that are not UTF-8) is refused
//! like a wrong password. Base64 may come without its padding or with blanks at
//! its ends. SASLprep (RFC 4013) is not done: names and passwords are compared as
//! they were configured.

use super::command::is_control;
use data_encoding::{BASE64, BASE64_NOPAD};
use std::fmt;
use std::mem;
use zeroize::Zeroizing;

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

impl Mechanisms {
    /// Whether this one may be used.
    pub fn offer(&self, mechanism: Mechanism) -> Offer {
        match mechanism {
            Mechanism::Plain | Mechanism::Login => self.password,
            Mechanism::CramMd5 => self.cram_md5,
            Mechanism::External => self.external,
        }
    }

    /// Whether none may ever be used.
    pub fn is_empty(&self) -> bool {
        *self == Mechanisms::default()
    }
}

impl fmt::Display for Mechanisms {
    /// Those that may be used now, as EHLO lists them; empty when there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = Mechanism::ALL.into_iter().filter(|mechanism| self.offer(*mechanism) == Offer::Now);
        for (place, mechanism) in offered.enumerate() {
            let blank = if place == 0 { "" } else { " " };
            write!(f, "{blank}{}", mechanism.name())?;
        }
        Ok(())
    }
}

/// A way to log in that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password in one line (RFC 4616).
    Plain,
    /// Name and password in two lines, never standardized.
    Login,
    /// A challenge, answered by one who knows the password (RFC 2195).
    CramMd5,
    /// The certificate of the connection (RFC 4422 appendix A).
    External,
}

impl Mechanism {
    /// In the order in which EHLO lists them.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5, Mechanism::External];

    /// The name of the registry, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// The one of this name, in any case.
    pub fn named(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
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

/// Something that no log may show, and no memory keep when it is gone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
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

/// An exchange under way: the server has spoken, the client is to answer.
#[derive(Debug)]
pub struct Exchange(Awaited);

/// What the client's next line is to hold.
#[derive(Debug, Default)]
enum Awaited {
    /// Nothing: the exchange is over.
    #[default]
    Nothing,
    Plain,
    LoginName,
    LoginPassword {
        name: Vec<u8>,
    },
    CramMd5 {
        challenge: String,
    },
    External,
}

/// Where an exchange has got to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The client is to answer this, which is in base64 already.
    Continue(String),
    /// The client has shown all it has.
    Done(Credentials),
    /// The exchange is over, and nobody is logged in.
    Wrong(Flaw),
}

/// Why an exchange led to no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The client gave up, by `*`.
    Cancelled,
    /// Not base64, or not laid out as the mechanism says.
    Malformed,
    /// Nobody can have such credentials.
    Nobody,
}

impl Exchange {
    /// Begins an exchange; `initial` is what stood behind the mechanism's name.
    /// `challenge` is asked for by CRAM-MD5 alone.
    ///
    /// `=` stands for an initial response that is empty (RFC 4954 section 4). That
    /// is a whole answer for EXTERNAL; for PLAIN and LOGIN, where it can mean
    /// nothing, the client is asked as if it had said nothing.
    pub fn begin(
        mechanism: Mechanism,
        initial: Option<&str>,
        challenge: impl FnOnce() -> String,
    ) -> (Exchange, Step) {
        let awaited = match mechanism {
            Mechanism::Plain => Awaited::Plain,
            Mechanism::Login => Awaited::LoginName,
            Mechanism::External => Awaited::External,
            // The server speaks first: there is nothing to answer yet.
            Mechanism::CramMd5 if initial.is_some() => {
                return (Exchange(Awaited::Nothing), Step::Wrong(Flaw::Malformed));
            }
            Mechanism::CramMd5 => Awaited::CramMd5 { challenge: challenge() },
        };
        let mut exchange = Exchange(awaited);
        let step = match initial {
            Some("=") if mechanism == Mechanism::External => exchange.answer(b""),
            None | Some("=") => Step::Continue(exchange.prompt()),
            Some(initial) => exchange.answer(initial.as_bytes()),
        };
        (exchange, step)
    }

    /// Takes the client's answer, a line without its line end. Whatever comes
    /// once the exchange is over is malformed: no challenge is used twice.
    pub fn answer(&mut self, line: &[u8]) -> Step {
        let line = line.trim_ascii();
        if line == b"*" {
            return Step::Wrong(Flaw::Cancelled);
        }
        let Some(answer) = decode(line) else { return Step::Wrong(Flaw::Malformed) };
        let shown = match mem::take(&mut self.0) {
            Awaited::LoginName => {
                self.0 = Awaited::LoginPassword { name: answer };
                return Step::Continue(self.prompt());
            }
            Awaited::LoginPassword { name } => password(&name, &answer),
            Awaited::Nothing => Err(Flaw::Malformed),
            Awaited::Plain => plain(&answer),
            Awaited::CramMd5 { challenge } => digest(challenge, &answer),
            // An empty answer: whoever the certificate names.
            Awaited::External if answer.is_empty() => Ok(Credentials::Certificate { name: None }),
            Awaited::External => name_of(&answer).map(|name| Credentials::Certificate { name: Some(name) }),
        };
        shown.map_or_else(Step::Wrong, Step::Done)
    }

    fn prompt(&self) -> String {
        let text = match &self.0 {
            Awaited::Nothing | Awaited::Plain | Awaited::External => "",
            Awaited::LoginName => "Username:",
            Awaited::LoginPassword { .. } => "Password:",
            Awaited::CramMd5 { challenge } => challenge,
        };
        BASE64.encode(text.as_bytes())
    }
}

fn decode(line: &[u8]) -> Option<Vec<u8>> {
    // Some clients leave the padding away; RFC 4954 wants it.
    let unpadded = line.strip_suffix(b"==").or_else(|| line.strip_suffix(b"=")).unwrap_or(line);
    BASE64_NOPAD.decode(unpadded).ok()
}

fn plain(answer: &[u8]) -> Result<Credentials, Flaw> {
    let mut parts = answer.split(|byte| *byte == 0);
    let (Some(acting_for), Some(name), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::Malformed);
    };
    // Nobody acts for anybody else here.
    if !acting_for.is_empty() && acting_for != name {
        return Err(Flaw::Nobody);
    }
    password(name, secret)
}

fn password(name: &[u8], password: &[u8]) -> Result<Credentials, Flaw> {
    let name = name_of(name)?;
    let password = std::str::from_utf8(password).map_err(|_| Flaw::Nobody)?;
    if password.is_empty() {
        return Err(Flaw::Nobody);
    }
    Ok(Credentials::Password { name, password: Secret::new(password) })
}

/// A name, a blank, and the digest in hexadecimal; the name may hold blanks.
fn digest(challenge: String, answer: &[u8]) -> Result<Credentials, Flaw> {
    let blank = answer.iter().rposition(|byte| *byte == b' ').ok_or(Flaw::Malformed)?;
    let (name, digest) = answer.split_at_checked(blank).ok_or(Flaw::Malformed)?;
    let name = name_of(name)?;
    let digest = std::str::from_utf8(digest).map_err(|_| Flaw::Nobody)?.trim_start();
    if digest.len() != 32 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Flaw::Nobody);
    }
    Ok(Credentials::Digest { name, challenge, digest: Secret::new(digest.to_ascii_lowercase()) })
}

/// A name that can stand in a log and in a configuration.
fn name_of(octets: &[u8]) -> Result<String, Flaw> {
    let name = std::str::from_utf8(octets).map_err(|_| Flaw::Nobody)?;
    if name.is_empty() || name.chars().any(is_control) {
        return Err(Flaw::Nobody);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
