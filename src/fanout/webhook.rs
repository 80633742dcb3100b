//! A webhook: who wants which events, where, how, and what happened to it.
//!
//! Secrets are shown by no `Debug`; whoever writes an answer leaves them out.

use super::Told;
use super::settings::wrong;
pub use super::settings::{Batch, Filter, Patterns, Settings, Wrong};
use crate::deliver::sign::Unsigned;
use crate::post::{Destination, Timestamp};
use crate::tenant::Tenant;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How long a secret that was replaced still signs.
pub const OVERLAP: Duration = Duration::from_hours(24);

/// How a webhook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its receiver has not shown that it wants events: it gets none.
    Unverified,
    /// It gets events.
    Active,
    /// It gets events, and its receiver did not take the last.
    Failing,
    /// It gets none, by request.
    Disabled,
}

/// A webhook with what happened to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// `wh_…`.
    pub id: String,
    /// Whose events.
    pub tenant: Tenant,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its owner says.
    pub settings: Settings,
    /// What a receiver shows to prove that it wants events.
    pub token: String,
    /// When it did, and in which way.
    pub verified: Option<(Timestamp, String)>,
    /// The secret before this one, and until when it signs.
    pub old_secret: Option<(String, Timestamp)>,
    /// When its receiver last took a request.
    pub last_success_at: Option<Timestamp>,
    /// When it last did not.
    pub last_failure_at: Option<Timestamp>,
}

impl fmt::Debug for Webhook {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.id)
    }
}

impl Webhook {
    /// How it stands.
    pub fn status(&self) -> Status {
        match (self.settings.enabled, &self.verified) {
            (false, _) => Status::Disabled,
            (true, None) => Status::Unverified,
            (true, Some(_)) if self.last_failure_at > self.last_success_at => Status::Failing,
            (true, Some(_)) => Status::Active,
        }
    }

    /// Whether an event is meant for it, were it active.
    pub fn wants(&self, told: &Told) -> bool {
        let event = told.event();
        let patterns = self.settings.patterns().unwrap_or_default();
        event.tenant == self.tenant
            && patterns.iter().any(|pattern| pattern.matches(&event.name))
            && self.settings.filter.lets_through(told)
    }

    /// Where its requests go.
    pub fn destination(&self) -> Result<(Destination, String), Wrong> {
        let endpoint = self.settings.endpoint()?;
        Ok((endpoint.destination(&self.tenant), endpoint.path))
    }

    /// Adds the signatures of all secrets that are valid at the time of the request.
    pub fn sign(&self, headers: &mut HeaderMap, unsigned: Unsent<'_>) -> Result<(), Wrong> {
        let Unsent { id, at, nonce, method, target, body } = unsigned;
        let old = self.old_secret.as_ref().filter(|(_, until)| at < *until).map(|(secret, _)| secret);
        let secrets: Vec<_> = self.settings.secret.iter().chain(old).map(String::as_str).collect();
        for (name, value) in [("webhook-id", id.to_owned()), ("webhook-timestamp", (at.0 / 1000).to_string())]
        {
            // Ids and numbers can stand in a header.
            let value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
            headers.insert(HeaderName::from_static(name), value);
        }
        if secrets.is_empty() {
            return Ok(());
        }
        for key in self.settings.keys(&secrets)? {
            let request = Unsigned { id, at, nonce, method, target, headers, body };
            let signature = key.sign(&request).or_else(|text| wrong("secret", text))?;
            for (name, value) in signature {
                headers.insert(name, value);
            }
        }
        Ok(())
    }
}

/// A request before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsent<'a> {
    /// The same on every retry; without a dot.
    pub id: &'a str,
    /// When it is sent.
    pub at: Timestamp,
    /// Not used before.
    pub nonce: [u8; 16],
    /// In capitals.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// What is sent.
    pub body: &'a [u8],
}
