//! A webhook: who wants which events, where, how, and what happened to it.
//!
//! Secrets are shown by no `Debug`; whoever writes an answer leaves them out.

use super::settings::wrong;
pub use super::settings::{Batch, Filter, Patterns, Settings, Wrong};
use crate::deliver::sign::Unsigned;
use crate::journal::Position;
use crate::post::{Destination, Timestamp};
use crate::tenant::Tenant;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a secret that was replaced still signs.
pub const OVERLAP: Duration = Duration::from_hours(24);

/// How a webhook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its receiver has not shown that it wants events: it gets none.
    Unverified,
    /// It gets events.
    Active,
    /// It gets events, and its receiver did not take the last.
    Failing,
    /// It gets none: by request, or because its receiver took nothing for days.
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
    pub old_secret: Option<(Zeroizing<String>, Timestamp)>,
    /// When its receiver last took a request.
    pub last_success_at: Option<Timestamp>,
    /// When it last did not.
    pub last_failure_at: Option<Timestamp>,
    /// Since when it gets events, when that is known.
    #[serde(default)]
    pub active_since: Option<Timestamp>,
    /// When it was disabled because its receiver took nothing for too long, and since
    /// when that had been: its events are held.
    #[serde(default)]
    pub given_up: Option<GivenUp>,
    /// The last event before those that it is owed since it last came to get any.
    #[serde(default)]
    pub began: Option<Position>,
    /// When it last ceased to be owed events: those before are still to be told.
    #[serde(default)]
    pub ceased: Option<Ceased>,
    /// How often its receiver ceased to get requests.
    #[serde(default)]
    pub closings: u64,
    /// How it changed of late, the oldest first: kept in one with each change, so that
    /// none goes untold.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// Events that were let go because too much waited for it; others know.
    #[serde(skip)]
    pub lost: u64,
}

/// A change of how a webhook stands, which is told as an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Grows from one to the next of a webhook.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// `webhook.verified` and the like.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A webhook ceased to be owed what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceased {
    /// When.
    pub at: Timestamp,
    /// The last event that it was owed.
    pub position: Position,
}

/// A webhook was disabled because its receiver took nothing for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// When it was disabled.
    pub at: Timestamp,
    /// Since when its receiver had taken nothing.
    pub since: Timestamp,
    /// Why.
    #[serde(default)]
    pub why: String,
}

impl fmt::Debug for Webhook {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.id)
    }
}

impl Webhook {
    /// A new one of a tenant, of which nothing is known yet.
    pub fn new(
        (id, tenant): (String, Tenant),
        created_at: Timestamp,
        settings: Settings,
        token: String,
    ) -> Webhook {
        Webhook {
            id,
            tenant,
            created_at,
            settings,
            token,
            verified: None,
            old_secret: None,
            last_success_at: None,
            last_failure_at: None,
            active_since: None,
            given_up: None,
            began: None,
            ceased: None,
            closings: 0,
            turns: Vec::new(),
            lost: 0,
        }
    }

    /// One of which nothing can be read but that it is there: it gets nothing, and is owed
    /// everything.
    pub fn sealed(id: &str, now: Timestamp) -> Webhook {
        let url = "https://sealed.invalid/".to_owned();
        let settings = Settings { url, enabled: false, ..Settings::default() };
        let given_up = Some(GivenUp { at: now, since: now, why: String::new() });
        let webhook = Webhook::new((id.to_owned(), Tenant::default()), now, settings, String::new());
        Webhook { given_up, ..webhook }
    }

    /// Whether it can be known which events it wants.
    pub fn is_readable(&self) -> bool {
        !self.settings.events.is_empty()
    }

    /// The same webhook after this one, from now on, in what its owner does not say.
    pub fn after(self, before: &Webhook) -> Webhook {
        let Webhook { active_since, began, ceased, closings, .. } = *before;
        let turns = before.turns.clone();
        Webhook { active_since, began, ceased, closings, turns, ..self }
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        match (self.settings.enabled, &self.verified) {
            (false, _) => Status::Disabled,
            (true, None) => Status::Unverified,
            (true, Some(_)) if self.last_failure_at > self.last_success_at => Status::Failing,
            (true, Some(_)) => Status::Active,
        }
    }

    /// Whether it gets events.
    pub fn is_active(&self) -> bool {
        self.settings.enabled && self.verified.is_some()
    }

    /// Whether it gets events, or is to get those of now when it is enabled again.
    pub fn is_owed(&self) -> bool {
        self.is_active() || self.given_up.is_some()
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
        let secrets: Vec<_> = self.settings.secret.iter().chain(old).map(|secret| secret.as_str()).collect();
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
