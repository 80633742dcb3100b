//! What a message tells: the events that it reports, and the one that it publishes.

use super::super::body::{self, Body};
use super::super::plan::{Matter, Plan};
use super::super::report;
use super::{Rendered, Renderer, too_large};
use crate::envelope::Refusal;
use crate::event;
use crate::post::PostId;
use crate::tenant::Tenant;
use bytes::Bytes;

impl Renderer<'_> {
    /// Whether the message holds what a plan's post is about.
    pub fn has_matter_of(&self, plan: &Plan) -> bool {
        plan.matter != Matter::Events || !self.events.is_empty()
    }

    /// What it holds as payload `body` of JSON; nothing when it cannot be read.
    pub fn data(&mut self) -> Option<Bytes> {
        let parts = self.parts.as_deref().ok()?;
        let Body { octets, is_repaired, .. } = body::body(parts, Some("application/json"));
        let octets = Bytes::from(octets.into_owned());
        if is_repaired {
            self.remark("cuts of overlong lines undone".to_owned());
        }
        Some(octets)
    }

    /// Octets that may be added to the message beyond what its posts have added.
    pub fn left(&self) -> usize {
        self.limits.composed_octets.saturating_sub(self.composed)
    }

    /// What the message reports, for others than the receivers of its posts.
    pub fn reported(&self, about: (PostId, &Tenant)) -> Vec<event::Event> {
        report::told(&self.events, about, self.received_at)
    }

    /// What the message reports, as events.
    pub(super) fn events(&mut self, id: PostId, wanted: Option<&str>) -> Result<Rendered, Refusal> {
        let limit = self.left();
        let about = (id, &self.envelope.client.tenant);
        let octets = report::document(&self.events, about, self.received_at, limit).ok_or_else(too_large)?;
        let marks = vec![
            ("Postgate-Event", report::names(&self.events).into()),
            ("Postgate-Events", self.events.len().to_string().into()),
        ];
        Ok(Rendered::new(self.store(octets)?, wanted.unwrap_or("application/json"), marks))
    }
}
