//! Webhooks that want the same events in the same form: they share each batch, which is
//! composed once however many they are.
//!
//! A rule: events and the time go in, batches that are full come out. Whatever is open is
//! in the journal as well, so it may be dropped at any time: who begins again behind what
//! was told makes the same events into batches.

use super::pattern::Sieve;
use super::settings::{Batch, Filter};
use super::webhook::{Webhook, Wrong};
use super::{Format, Sharing, Style, Told};
use crate::event::EventPattern;
use crate::post::{Destination, Timestamp, Trust, WebhookId};
use crate::tenant::Tenant;
use std::sync::Arc;
use std::time::Duration;

/// What a webhook wants, and how; read once, for each event is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    tenant: Tenant,
    format: Format,
    events: Vec<EventPattern>,
    sieve: Sieve,
    batch: Batch,
    octets: usize,
    wait: Duration,
    within: Option<(Within, Sieve)>,
}

/// A part of the events that a webhook wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Within {
    /// From then on.
    pub since: Timestamp,
    /// Before then.
    pub until: Timestamp,
    /// Of these names; none means all.
    pub events: Vec<EventPattern>,
    /// About this.
    pub filter: Filter,
}

impl Wish {
    /// That of a webhook.
    pub fn of(webhook: &Webhook) -> Result<Wish, Wrong> {
        let settings = &webhook.settings;
        Ok(Wish {
            tenant: webhook.tenant.clone(),
            format: settings.format,
            events: settings.patterns()?,
            sieve: Sieve::of(&settings.filter)?,
            octets: usize::try_from(settings.batch.octets()?).unwrap_or(usize::MAX),
            wait: settings.batch.wait()?,
            batch: settings.batch.clone(),
            within: None,
        })
    }

    /// The same of a part of them.
    pub fn within(self, within: Within) -> Result<Wish, Wrong> {
        let sieve = Sieve::of(&within.filter)?;
        Ok(Wish { within: Some((within, sieve)), ..self })
    }

    /// Whether it is about a part of what a webhook wants.
    pub fn is_part(&self) -> bool {
        self.within.is_some()
    }

    /// Whose events it is about.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// How events are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Octets of a body of several events at most.
    pub fn most_octets(&self) -> usize {
        self.octets
    }

    /// How requests are written by a gateway of this name.
    pub fn style<'a>(&self, hostname: &'a str) -> Style<'a> {
        let sharing = if self.batch.max_events > 1 { Sharing::Batched } else { Sharing::Alone };
        Style { hostname, sharing }
    }

    /// Whether each event has a request of its own: then none waits for others.
    pub fn is_single(&self) -> bool {
        match self.format {
            Format::Single | Format::Form => true,
            _ => self.batch.max_events <= 1,
        }
    }

    /// Batches that may wait for a webhook before it is told no more.
    pub fn most_waiting(&self) -> u64 {
        const OCTETS: usize = 64 << 20;
        let batches = OCTETS / self.octets.max(1);
        if self.is_single() { 2000 } else { batches.clamp(8, 1000) as u64 }
    }

    /// Whether an event is meant.
    pub fn wants(&self, told: &Told) -> bool {
        let event = told.event();
        let is_within = |(within, sieve): &(Within, Sieve)| {
            (within.since..within.until).contains(&event.at)
                && (within.events.is_empty() || within.events.iter().any(|it| it.matches(&event.name)))
                && sieve.lets_through(told)
        };
        event.tenant == self.tenant
            && self.within.as_ref().is_none_or(is_within)
            && self.events.iter().any(|pattern| pattern.matches(&event.name))
            && self.sieve.lets_through(told)
    }
}

/// A webhook of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub id: WebhookId,
    /// Where its batches go.
    pub destination: Arc<Destination>,
    /// Who named its URL.
    pub trust: Trust,
}

/// Events that make one batch, or one each; with their positions.
#[derive(Debug)]
pub struct Closed {
    /// The oldest first.
    pub events: Vec<(u64, Arc<Told>)>,
    /// Everything up to here has been looked at.
    pub reached: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Group {
    /// What its members want.
    pub wish: Arc<Wish>,
    /// Who they are.
    pub members: Vec<Member>,
    /// Position of the last event that was looked at.
    pub read: u64,
    open: Vec<(u64, Arc<Told>)>,
    octets: usize,
    opened_at: Option<Timestamp>,
    /// What was told, until a batch that was closed is kept.
    told: Option<u64>,
    /// Its members are not told of what is behind the first and not behind the second.
    gap: Option<(u64, u64)>,
}

impl Group {
    /// A group that goes on behind this position.
    pub fn new(wish: Arc<Wish>, members: Vec<Member>, read: u64) -> Group {
        Group { wish, members, read, open: Vec::new(), octets: 0, opened_at: None, told: None, gap: None }
    }

    /// The same for members that are not told of what is behind the first position and
    /// not behind the second.
    pub fn without(self, gap: Option<(u64, u64)>) -> Group {
        Group { gap, ..self }
    }

    /// What it is still to leave out.
    pub fn gap(&self) -> Option<(u64, u64)> {
        self.gap.filter(|(_, end)| self.read < *end)
    }

    /// Position behind which nothing is told, if there is one.
    pub fn ends(&self) -> Option<u64> {
        self.gap.filter(|(_, end)| *end == u64::MAX).map(|(start, _)| start)
    }

    /// Looks at an event, and adds the batches that are full by it.
    pub fn take(&mut self, position: u64, told: &Arc<Told>, now: Timestamp, full: &mut Vec<Closed>) {
        let is_left_out = self.gap.is_some_and(|(start, end)| start < position && position <= end);
        if !is_left_out && self.wish.wants(told) {
            let octets = told.json().len() + 1;
            if !self.wish.is_single() && self.octets + octets + 1 > self.wish.octets {
                full.extend(self.close());
            }
            self.open.push((position, Arc::clone(told)));
            self.octets += octets;
            // What waited in the journal has waited.
            self.opened_at = self.opened_at.or(Some(told.event().at.min(now)));
        }
        self.read = position;
        let is_full =
            self.open.len() >= self.wish.batch.max_events as usize || self.octets >= self.wish.octets;
        if is_full {
            full.extend(self.close());
        }
    }

    /// Ends the batch that is open, if there is one.
    pub fn close(&mut self) -> Option<Closed> {
        self.told = (!self.open.is_empty()).then(|| self.told()).or(self.told);
        (self.octets, self.opened_at) = (0, None);
        let events = std::mem::take(&mut self.open);
        (!events.is_empty()).then_some(Closed { events, reached: self.read })
    }

    /// When the batch that is open has waited long enough.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.opened_at.map(|at| at.after(self.wait()))
    }

    /// Whether it has, or was opened later than now: then the clock was set back, and it
    /// is not known how long it has waited.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.opened_at.is_some_and(|at| at > now || at.after(self.wait()) <= now)
    }

    fn wait(&self) -> Duration {
        if self.wish.is_single() { Duration::ZERO } else { self.wish.wait }
    }

    /// Octets that are open.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Position of the first event that is.
    pub fn opened(&self) -> Option<u64> {
        self.open.first().map(|(position, _)| *position)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What is open, as a batch of its own.
    pub fn rest(&self) -> Option<Closed> {
        (!self.is_empty()).then(|| Closed { events: self.open.clone(), reached: self.read })
    }

    /// Takes in the members of a group that wants the same and has read as far.
    pub fn adopt(&mut self, other: Group) {
        self.members.extend(other.members);
        self.told = self.told.into_iter().chain(other.told).min();
    }

    /// Everything that was closed is kept.
    pub fn keep(&mut self) {
        self.told = None;
    }

    /// Everything up to here has been told, or need not be.
    pub fn told(&self) -> u64 {
        let open = self.open.first().map(|(position, _)| position - 1);
        self.told.or(open).unwrap_or(self.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventId};
    use crate::fanout::webhook::Settings;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn group(settings: Value) -> Group {
        let mut all = json!({ "url": "https://r.example/in", "events": ["*"] });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(all).unwrap();
        let webhook =
            Webhook::new(("wh_1".to_owned(), Tenant::default()), Timestamp(0), settings, String::new());
        Group::new(Arc::new(Wish::of(&webhook).unwrap()), Vec::new(), 0)
    }

    fn told(name: &str, octets: usize) -> Arc<Told> {
        let data = Bytes::from(format!("{{\"x\":\"{}\"}}", "y".repeat(octets)));
        let (id, at) = (EventId::new(Timestamp(1000), 0), Timestamp(1000));
        Arc::new(Told::of(Event { id, name: name.parse().unwrap(), at, tenant: Tenant::default(), data }))
    }

    #[test]
    fn a_batch_is_full_by_count_octets_or_time_whichever_is_first() {
        // Bounds; events by their octets; sizes of batches that are full; those left open;
        // when that is due.
        type Row = (Value, &'static [usize], &'static [usize], usize, Option<u64>);
        let rows: [Row; 7] = [
            (
                json!({ "format": "json", "batch": { "max_events": 2 } }),
                &[1, 1, 1, 1, 1],
                &[2, 2],
                1,
                Some(2000),
            ),
            (json!({ "format": "json", "batch": { "max_wait": "5s" } }), &[1], &[], 1, Some(6000)),
            (
                json!({ "format": "json", "batch": { "max_bytes": "1KiB" } }),
                &[300, 300, 300, 300],
                &[2],
                2,
                Some(2000),
            ),
            (
                json!({ "format": "ndjson", "batch": { "max_bytes": "1KiB" } }),
                &[10, 5000, 10],
                &[1, 1],
                1,
                Some(2000),
            ),
            (json!({}), &[1, 1, 1], &[], 3, Some(1000)),
            (json!({ "format": "cloudevents", "batch": { "max_events": 1 } }), &[1, 1], &[1, 1], 0, None),
            (json!({ "format": "json", "events": ["post.failed"] }), &[1, 1], &[], 0, None),
        ];
        for (settings, events, sizes, left, due) in rows {
            let (mut group, mut full) = (group(settings.clone()), Vec::new());
            for (index, octets) in events.iter().enumerate() {
                group.take(index as u64 + 1, &told("post.delivered", *octets), Timestamp(9000), &mut full);
            }
            let found: Vec<_> = full.iter().map(|closed| closed.events.len()).collect();
            assert_eq!(found, sizes, "{settings}");
            assert_eq!((group.open.len(), group.due_at().map(|at| at.0)), (left, due), "{settings}");
            assert_eq!(group.read, events.len() as u64);
            // It was opened at 1000; before that the clock was set back since.
            let is_due = [999, 1000, due.unwrap_or(1001) - 1, due.unwrap_or(1001)];
            let is_due = is_due.map(|now| group.is_due(Timestamp(now)));
            let has_waited = due.is_some();
            let is_single = due == Some(1000);
            assert_eq!(is_due, [has_waited, is_single, is_single, has_waited], "{settings}");
            group.keep();
            assert_eq!(group.told(), (events.len() - left) as u64, "{settings}");
            let last = group.close().map(|closed| (closed.events.len(), closed.reached));
            assert_eq!(last, (left > 0).then_some((left, events.len() as u64)));
            assert_eq!(group.told(), (events.len() - left) as u64, "it is not kept yet");
            group.keep();
            assert!(group.is_empty() && group.told() == group.read);
        }
    }

    #[test]
    fn an_event_that_does_not_fit_is_the_first_of_the_next_batch() {
        let mut group = group(json!({ "format": "json", "batch": { "max_bytes": "1KiB" } }));
        let mut full = Vec::new();
        for position in 1..=2 {
            group.take(position, &told("post.delivered", 600), Timestamp(0), &mut full);
        }
        group.keep();
        let reached: Vec<_> = full.iter().map(|closed| (closed.events.len(), closed.reached)).collect();
        assert_eq!((reached, group.told()), (vec![(1, 1)], 1));
    }
}
