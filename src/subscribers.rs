//! What delivery must know of webhooks to bring them their batches, and what it learns
//! of how they fared.
//!
//! Who keeps webhooks says it here, whenever one is others; delivery looks at each
//! attempt, so that a new secret, path or header holds from the next one on, and nothing
//! of them stands in the spool. The two know nothing of each other. A webhook that is not
//! here is gone: its batches fail.

use crate::deliver::sign::{SigningKey, Unsigned};
use crate::post::{Destination, Field, Timestamp, Trust, WebhookId};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// A webhook that took nothing for so long is disabled.
pub const PATIENCE: Duration = Duration::from_hours(5 * 24);
/// Between two failures no more than this counts: who was not asked for longer did not fail.
const UNASKED: Duration = Duration::from_hours(24);

/// How the batches of a webhook are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Where its batches go: their lane.
    pub destination: Arc<Destination>,
    /// Who named its URL.
    pub trust: Trust,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<Field>,
    /// The auth profile that proves who sends.
    pub auth: Option<String>,
    /// What signs.
    pub keys: Vec<SigningKey>,
    /// What signs in their place until then: the secret before this one counts as well.
    pub overlap: Option<(Vec<SigningKey>, Timestamp)>,
    /// Requests in a time, and in which.
    pub rate: Option<(u32, Duration)>,
    /// Requests at a time.
    pub max_connections: Option<usize>,
    /// Whether it gets any now.
    pub gate: Gate,
}

/// Whether a webhook gets its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It does.
    Open,
    /// They are held until it does again.
    Closed,
}

impl fmt::Debug for Subscriber {
    /// Without its path, headers and keys, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({} {:?})", self.destination, self.gate)
    }
}

impl Subscriber {
    /// The headers that tell which batch a request is, and prove who sent it. The error
    /// is a fault of a key.
    pub fn sign(&self, request: &Unsigned<'_>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let at = (request.at.0 / 1000).to_string();
        for (name, value) in [("webhook-id", request.id), ("webhook-timestamp", &at)] {
            let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let overlap = self.overlap.as_ref().filter(|(_, until)| request.at < *until);
        for key in overlap.map_or(&self.keys, |(keys, _)| keys) {
            for (name, value) in key.sign(request)? {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

/// How a webhook fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fare {
    /// When its receiver last took a request.
    pub last_success_at: Option<Timestamp>,
    /// When it last did not.
    pub last_failure_at: Option<Timestamp>,
    /// Since when it has taken none.
    pub failing_since: Option<Timestamp>,
    /// Its receiver said that it is gone for good (410).
    pub is_gone: bool,
    /// When the oldest batch was accepted that it has refused since it last took one.
    pub failing_from: Option<Timestamp>,
    /// Batches from then on are owed to it because it was closed; nothing when none are.
    pub closed_since: Option<Timestamp>,
    /// How many of its closings are known.
    pub closings: u64,
    /// When it last took what was sent to test it.
    pub test_success_at: Option<Timestamp>,
    /// When it last did not take that, which is no reason to disable it.
    pub test_failure_at: Option<Timestamp>,
    /// For how long it has taken none, up to the last time that it did not.
    pub failed_for: Duration,
    /// Since then, as far as somebody was there to see it.
    pub waited: Duration,
    /// Events that were let go because too much waited for it.
    pub lost: u64,
}

impl Fare {
    /// Its receiver took a request.
    pub fn taken(&mut self, at: Timestamp) {
        self.last_success_at = Some(at);
        self.begin_anew();
    }

    /// It did not take one.
    pub fn refused(&mut self, at: Timestamp) {
        self.last_failure_at = Some(at);
        self.failing_since = self.failing_since.or(Some(at));
        self.failed_for += std::mem::take(&mut self.waited).min(UNASKED);
    }

    /// So much time has passed: by a clock that does not jump, and runs with the gateway.
    pub fn passed(&mut self, time: Duration) {
        if self.failing_since.is_some() {
            self.waited += time;
        }
    }

    /// What it did not take was a batch that was accepted at this time.
    pub fn owed(&mut self, accepted_at: Timestamp) {
        self.failing_from = Some(self.failing_from.map_or(accepted_at, |from| from.min(accepted_at)));
    }

    /// It has been closed so many times, now since this time: what it then refused or was
    /// held is owed to it.
    pub fn closed(&mut self, closings: u64, since: Timestamp) {
        let all = [self.closed_since, self.failing_from, Some(since)];
        (self.closings, self.closed_since) = (closings, all.into_iter().flatten().min());
    }

    /// What it refused before counts no more.
    pub fn begin_anew(&mut self) {
        (self.failing_since, self.failing_from, self.is_gone) = (None, None, false);
        (self.failed_for, self.waited) = (Duration::ZERO, Duration::ZERO);
    }

    /// Why it is to be disabled, if it is: it failed, and failed again a long time after,
    /// and took nothing between; or it is gone.
    pub fn verdict(&self) -> Option<&'static str> {
        match self.failed_for >= PATIENCE {
            _ if self.is_gone => Some("its receiver answered 410 Gone"),
            true => Some("it took nothing for 5 days, however often it was tried"),
            false => None,
        }
    }
}

/// All webhooks; clones are the same. See the module.
#[derive(Clone, Debug, Default)]
pub struct Subscribers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    all: RwLock<HashMap<WebhookId, Arc<Subscriber>>>,
    fares: Mutex<HashMap<WebhookId, Fare>>,
    changes: watch::Sender<u64>,
}

impl Subscribers {
    /// The webhook of this id, unless it is gone.
    pub fn find(&self, id: &WebhookId) -> Option<Arc<Subscriber>> {
        self.0.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// One is so from now on, or gone.
    pub fn put(&self, id: &WebhookId, subscriber: Option<Subscriber>) {
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.get(id).map(|known| &**known) != subscriber.as_ref();
        match subscriber {
            Some(subscriber) => drop(all.insert(id.clone(), Arc::new(subscriber))),
            None => drop(all.remove(id)),
        }
        drop(all);
        if is_new {
            self.0.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Tells when one is others than it was, or gone.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// How one fared.
    pub fn fare(&self, id: &WebhookId) -> Fare {
        self.fares().get(id).cloned().unwrap_or_default()
    }

    /// What happened to one.
    pub fn note(&self, id: &WebhookId, change: impl FnOnce(&mut Fare)) {
        change(self.fares().entry(id.clone()).or_default());
    }

    /// So much time has passed for all.
    pub fn pass(&self, time: Duration) {
        self.fares().values_mut().for_each(|fare| fare.passed(time));
    }

    /// Events that were let go because too much waited for those who wanted them.
    pub fn lost(&self) -> u64 {
        self.fares().values().map(|fare| fare.lost).sum()
    }

    /// Forgets how it fared.
    pub fn forget(&self, id: &WebhookId) {
        self.fares().remove(id);
    }

    fn fares(&self) -> MutexGuard<'_, HashMap<WebhookId, Fare>> {
        self.0.fares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_given_up_after_five_days_without_one_success() {
        let day = |days: u64| Timestamp(1_000_000 + days * 86_400_000);
        // What happened on which days by the clock of the machine, and how many of them
        // somebody saw pass before: taken or refused; whether it is given up then.
        type Row = (&'static [(char, u64, u64)], bool);
        let rows: [Row; 10] = [
            (&[], false),
            (&[('-', 0, 0)], false),
            (&[('-', 0, 0), ('-', 1, 1), ('-', 2, 1), ('-', 3, 1), ('-', 4, 1)], false),
            (&[('-', 0, 0), ('-', 1, 1), ('-', 2, 1), ('-', 3, 1), ('-', 4, 1), ('-', 5, 1)], true),
            (&[('+', 0, 0), ('-', 1, 1), ('-', 2, 1), ('-', 3, 1), ('-', 4, 1), ('-', 5, 1)], false),
            (&[('-', 0, 0), ('-', 1, 1), ('+', 4, 3), ('-', 5, 1), ('-', 6, 1), ('-', 7, 1)], false),
            // The clock was set ahead, or the gateway was down.
            (&[('-', 0, 0), ('-', 100, 0)], false),
            // It was set back.
            (&[('-', 9, 0), ('-', 8, 1), ('-', 7, 1), ('-', 6, 1), ('-', 5, 1), ('-', 4, 1)], true),
            // Nobody asked it for a long time.
            (&[('-', 0, 0), ('-', 9, 9)], false),
            (&[('-', 0, 9), ('-', 1, 1), ('-', 2, 1), ('-', 3, 1), ('-', 4, 1)], false),
        ];
        for (history, is_over) in rows {
            let mut fare = Fare::default();
            for (what, at, passed) in history {
                fare.passed(Duration::from_hours(24 * passed));
                if *what == '+' { fare.taken(day(*at)) } else { fare.refused(day(*at)) }
            }
            assert_eq!(fare.verdict().is_some(), is_over, "{history:?}");
        }
        let mut gone = Fare { is_gone: true, ..Fare::default() };
        assert!(gone.verdict().is_some());
        gone.taken(day(0));
        assert_eq!(gone.verdict(), None);
    }
}
