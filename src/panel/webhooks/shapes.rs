//! Webhooks, their batches and what tests of them came to, as the API answers them.

use super::super::shapes::{Attempt, Post};
use super::super::words;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `GET /webhooks`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Webhooks {
    pub webhooks: Vec<Webhook>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Webhook {
    pub id: String,
    pub tenant: String,
    /// `***` stands for what may be a secret.
    pub url: String,
    pub events: Vec<String>,
    pub description: String,
    pub format: String,
    pub batch: Batch,
    /// Names alone are told.
    pub headers: BTreeMap<String, Option<String>>,
    pub auth: Option<String>,
    pub rate: Option<String>,
    pub max_connections: Option<u32>,
    pub filter: Filter,
    pub signature_header: Option<String>,
    /// It stands in the configuration.
    pub fixed: bool,
    pub created_at: Option<String>,
    pub status: String,
    pub disabled_at: Option<String>,
    pub disabled_reason: Option<String>,
    pub verified_at: Option<String>,
    pub verified_by: Option<String>,
    pub last_success_at: Option<String>,
    pub last_failure_at: Option<String>,
    pub lost_events: u64,
    pub old_secret_until: Option<String>,
    pub verification: Option<Verification>,
    /// Once, when it was made.
    pub secret: Option<String>,
}

impl Webhook {
    /// Where its pages are.
    pub(super) fn path(&self) -> String {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-';
        match self.id.bytes().all(is_plain) {
            true => format!("/webhooks/{}", self.id),
            false => format!("/webhooks/{}", words::piece(&self.id)),
        }
    }

    /// Its own call.
    pub(super) fn call(&self) -> String {
        format!("/api/v1{}", self.path())
    }

    /// What its events have to be about.
    pub(super) fn filters(&self) -> Vec<(&'static str, String)> {
        let Filter { tag, destination, recipient } = &self.filter;
        let all = [("Tags", tag), ("Destinations", destination), ("Recipients", recipient)];
        let all = all.map(|(name, patterns)| (name, patterns.lines().replace('\n', ", ")));
        all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    /// Whether its host may have a TXT record.
    pub(super) fn has_record(&self) -> bool {
        self.verification.as_ref().is_some_and(|proof| proof.dns.is_some())
    }

    /// What it is called: as its owner does, or else by its URL.
    pub(super) fn name(&self) -> &str {
        if self.description.is_empty() { &self.url } else { &self.description }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Batch {
    pub max_events: u32,
    pub max_bytes: String,
    pub max_wait: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    pub tag: Patterns,
    pub destination: Patterns,
    pub recipient: Patterns,
}

/// One pattern or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Patterns {
    One(String),
    Any(Vec<String>),
}

impl Default for Patterns {
    fn default() -> Patterns {
        Patterns::Any(Vec::new())
    }
}

impl Patterns {
    /// As they are written in one field, a line each.
    pub(super) fn lines(&self) -> String {
        match self {
            Patterns::One(one) => one.clone(),
            Patterns::Any(any) => any.join("\n"),
        }
    }
}

/// What its receiver can show that wants events.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verification {
    pub file: Proof,
    pub dns: Option<Record>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Proof {
    pub content: String,
    pub urls: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub name: String,
    pub text: String,
}

/// `GET …/batches`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Batches {
    pub batches: Vec<Sent>,
    pub next: Option<String>,
}

/// A batch that was sent, or is to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    pub batch_id: String,
    pub created_at: String,
    pub state: String,
    pub events: u64,
    pub attempts: u64,
    pub response_code: Option<u16>,
    pub failure_code: Option<String>,
    pub next_attempt_at: Option<String>,
}

impl Sent {
    /// What came of the last attempt, in a few words.
    pub(super) fn answer(&self) -> String {
        match (self.response_code, &self.failure_code) {
            (Some(status), _) => format!("HTTP {status}"),
            (None, Some(why)) => why.clone(),
            (None, None) => "–".to_owned(),
        }
    }
}

/// `GET …/batches/{batch}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Whole {
    #[serde(flatten)]
    pub batch: Sent,
    pub attempt_list: Vec<Attempt>,
    pub post: Post,
    pub body: Option<String>,
    pub body_base64: Option<String>,
}

/// What a test came to; the request is there where one was sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tested {
    /// Where several were tested.
    pub id: String,
    pub delivered: bool,
    pub status: Option<u16>,
    pub error: Option<String>,
    /// In seconds.
    pub duration: Option<f64>,
    pub request: Option<Request>,
    pub headers: Option<BTreeMap<String, String>>,
    pub body: Option<String>,
}

impl Tested {
    /// What came of it, in a few words.
    pub(super) fn outcome(&self) -> String {
        match (self.status, &self.error) {
            (Some(status), _) => format!("HTTP {status}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "no answer".to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    pub method: String,
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// `POST /webhooks/check`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Checked {
    pub webhooks: Vec<Tested>,
}

/// `POST …/replay`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counted {
    pub count: u64,
    pub exact: bool,
}

/// `GET …/replays`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replays {
    pub replays: Vec<Replay>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replay {
    pub created_at: String,
    pub since: Option<String>,
    pub until: Option<String>,
    pub state: String,
    pub looked_at: u64,
    pub to_look_at: u64,
    pub sent: u64,
    pub missed: u64,
}

/// `GET /events/types`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::panel) struct Kinds {
    pub types: Vec<Kind>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::panel) struct Kind {
    pub r#type: String,
    pub description: String,
}

/// `GET /tenants`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::panel) struct Tenants {
    pub tenants: Vec<Tenant>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::panel) struct Tenant {
    pub name: String,
}
