//! All webhooks as they are now, in memory: who keeps them says it here before whoever
//! changed one is answered, so that from the answer on events are wanted, and delivery
//! knows the webhook.

use super::shelf::Placed;
use super::webhook::{Ceased, Turn, Webhook};
use crate::event::{Want, Wanted};
use crate::journal::Position;
use crate::post::{Timestamp, Trust};
use crate::subscribers::Subscribers;
use crate::tenant::Tenant;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Turns of a webhook that are kept: it is told of them within moments.
const TURNS: usize = 8;

/// See the module.
pub(super) struct Live {
    pub subscribers: Subscribers,
    wanted: Wanted,
    all: Mutex<All>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct All {
    placed: BTreeMap<String, Placed>,
    /// Those of the API that were deleted: who changed one just before may say so later.
    gone: HashSet<String>,
    /// Octets of those that are sealed.
    octets: HashMap<String, usize>,
    /// Held as long as there is one that gets events, or is to get them later.
    want: Option<Want>,
}

impl Live {
    pub fn new(subscribers: Subscribers, wanted: Wanted) -> Live {
        Live { subscribers, wanted, all: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Tells when one is others than it was.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Placed> {
        self.lock().placed.values().cloned().collect()
    }

    /// How many of a tenant were made through the API.
    pub fn count(&self, tenant: &Tenant) -> usize {
        let all = self.lock();
        let is_meant = |placed: &&Placed| placed.version.is_some() && placed.webhook.tenant == *tenant;
        all.placed.values().filter(is_meant).count()
    }

    /// One takes so many octets, sealed.
    pub fn weigh(&self, id: &str, octets: usize) {
        let mut all = self.lock();
        if !all.gone.contains(id) {
            all.octets.insert(id.to_owned(), octets);
        }
    }

    /// Octets that all but this one take.
    pub fn octets_beside(&self, id: &str) -> usize {
        let all = self.lock();
        all.octets.iter().filter(|(other, _)| *other != id).map(|(_, octets)| octets).sum()
    }

    /// Whether anybody wants events.
    pub fn is_wanted(&self) -> bool {
        self.wanted.is_wanted()
    }

    /// One is so, unless a later change is known.
    pub fn put(&self, placed: &Placed) {
        let mut all = self.lock();
        let known = all.placed.get(&placed.webhook.id);
        let is_gone = all.gone.contains(&placed.webhook.id);
        if is_gone || known.is_some_and(|known| known.version > placed.version) {
            return;
        }
        self.tell_delivery(placed);
        all.placed.insert(placed.webhook.id.clone(), placed.clone());
        self.want(&mut all);
    }

    /// One is gone.
    pub fn remove(&self, id: &str) {
        let mut all = self.lock();
        all.octets.remove(id);
        if let Some(placed) = all.placed.remove(id) {
            // One of the configuration may come back with another reload.
            if placed.version.is_some() {
                all.gone.insert(placed.webhook.id.clone());
            }
            let id = placed.webhook.lane_id();
            self.subscribers.put(&id, None);
            self.subscribers.forget(&id);
        }
        self.want(&mut all);
    }

    fn tell_delivery(&self, placed: &Placed) {
        // What stands in the configuration is the operator's own.
        let trust = if placed.version.is_some() { Trust::Wire } else { Trust::Operator };
        match placed.webhook.subscriber(trust) {
            Ok(subscriber) => self.subscribers.put(&placed.webhook.lane_id(), Some(subscriber)),
            Err(wrong) => {
                let (id, field) = (&placed.webhook.id, wrong.field);
                tracing::error!("webhook {id} cannot be served: {field}: {}", wrong.text);
            }
        }
    }

    fn want(&self, all: &mut All) {
        let is_wanted = all.placed.values().any(|placed| placed.webhook.is_owed());
        match (is_wanted, &all.want) {
            (true, None) => all.want = Some(self.wanted.want()),
            (false, Some(_)) => all.want = None,
            _ => {}
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What changes about a webhook by the way when it is changed, with the last event of the
/// journal: which events it is owed, how often it was closed, that it was given up, and
/// what is told of it.
pub(super) fn follow(before: Option<&Webhook>, after: &mut Webhook, (now, last): (Timestamp, Position)) {
    if after.settings.enabled {
        after.given_up = None;
    }
    match (before.map(Webhook::is_owed), after.is_owed()) {
        (None | Some(false), true) => (after.active_since, after.began) = (Some(now), Some(last)),
        (None | Some(true), false) => after.ceased = Some(Ceased { at: now, position: last }),
        _ => {}
    }
    after.closings += u64::from(before.is_some_and(Webhook::is_active) && !after.is_active());
    for (name, reason) in before.map_or_else(Vec::new, |before| news(before, after)) {
        let number = after.turns.last().map_or(now.0, |turn| now.0.max(turn.number + 1));
        after.turns.push(Turn { number, at: now, name: name.to_owned(), reason });
    }
    after.turns.drain(..after.turns.len().saturating_sub(TURNS));
}

/// What is told of a change, and why it came to that.
fn news(before: &Webhook, after: &Webhook) -> Vec<(&'static str, String)> {
    let (mut news, by_request) = (Vec::new(), || "by request".to_owned());
    if let (None, Some((_, way))) = (&before.verified, &after.verified) {
        news.push(("webhook.verified", way.clone()));
    }
    match (before.settings.enabled, after.settings.enabled) {
        (false, true) => news.push(("webhook.enabled", by_request())),
        (true, false) => {
            let why = after.given_up.as_ref().map_or_else(by_request, |given_up| given_up.why.clone());
            news.push(("webhook.disabled", why));
        }
        _ => {}
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::webhook::{GivenUp, Settings};
    use crate::tenant::Tenant;

    #[test]
    fn what_a_webhook_is_owed_begins_and_ends_where_it_was_changed() {
        // Before: enabled, verified, given up; after; then from where it is owed events, up
        // to where, and how often it was closed.
        type Stand = (bool, bool, bool);
        // And what is told.
        type Row = (Option<Stand>, Stand, Option<u64>, Option<u64>, u64, &'static [&'static str]);
        const ACTIVE: Stand = (true, true, false);
        const LOST: Stand = (false, true, true);
        let rows: [Row; 11] = [
            (None, ACTIVE, Some(9), None, 0, &[]),
            (None, (true, false, false), None, Some(9), 0, &[]),
            (Some(ACTIVE), ACTIVE, None, None, 0, &[]),
            (Some(ACTIVE), (false, true, false), None, Some(9), 1, &["disabled by request"]),
            (Some(ACTIVE), (true, false, false), None, Some(9), 1, &[]),
            (Some(ACTIVE), LOST, None, None, 1, &["disabled 5 days"]),
            (Some(LOST), ACTIVE, None, None, 0, &["enabled by request"]),
            (Some(LOST), (true, true, true), None, None, 0, &["enabled by request"]),
            (Some(LOST), (true, false, true), None, Some(9), 0, &["enabled by request"]),
            (Some((true, false, false)), ACTIVE, Some(9), None, 0, &["verified skip"]),
            (Some((false, false, false)), (true, false, false), None, None, 0, &["enabled by request"]),
        ];
        let stand = |(enabled, is_verified, is_lost): Stand| {
            let settings = Settings { enabled, ..Settings::default() };
            let made = webhook(settings);
            let verified = is_verified.then(|| (Timestamp(0), "skip".to_owned()));
            let why = "5 days".to_owned();
            let given_up = is_lost.then_some(GivenUp { at: Timestamp(5), since: Timestamp(1), why });
            Webhook { verified, given_up, ..made }
        };
        for (before, after, began, ceased, closings, told) in rows {
            let (known, mut webhook) = (before.map(stand), stand(after));
            follow(known.as_ref(), &mut webhook, (Timestamp(7), Position(9)));
            let found = (webhook.began, webhook.ceased.map(|it| it.position), webhook.closings);
            assert_eq!(found, (began.map(Position), ceased.map(Position), closings), "{before:?} {after:?}");
            assert!(!webhook.settings.enabled || webhook.given_up.is_none());
            let turns = webhook.turns.iter().map(|turn| format!("{} {}", turn.name, turn.reason));
            let expected: Vec<_> = told.iter().map(|told| format!("webhook.{told}")).collect();
            assert_eq!(turns.collect::<Vec<_>>(), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn turns_are_numbered_and_the_last_ones_are_kept() {
        let mut known = webhook(Settings::default());
        for turn in 0..20 {
            let settings = Settings { enabled: !known.settings.enabled, ..Settings::default() };
            let mut next = Webhook { settings, ..known.clone() };
            // The clock stands still, and is set back.
            follow(Some(&known), &mut next, (Timestamp(100 - turn), Position(0)));
            known = next;
        }
        let numbers: Vec<_> = known.turns.iter().map(|turn| turn.number).collect();
        assert_eq!(numbers, Vec::from_iter(112..120));
    }

    fn webhook(settings: Settings) -> Webhook {
        Webhook::new(("wh_1".to_owned(), Tenant::default()), Timestamp(0), settings, String::new())
    }

    #[test]
    fn who_was_deleted_does_not_come_back_with_an_earlier_change() {
        // Whether it was made through the API; whether it is there in the end.
        for (version, is_there) in [(Some(1), false), (None, true)] {
            let live = Live::new(Subscribers::default(), Wanted::default());
            let placed = Placed { webhook: webhook(Settings::default()), version };
            live.put(&placed);
            live.remove("wh_1");
            live.put(&Placed { version: version.map(|version| version + 1), ..placed });
            assert_eq!(!live.all().is_empty(), is_there, "{version:?}");
        }
    }
}
