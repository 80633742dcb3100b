//! Which events a call is about: whose, of which names, and about what.
//!
//! What an event is about stands in its data, which is read only where that is asked.

use super::caller::Caller;
use super::problem::Problem;
use crate::event::{Event, EventPattern};
use crate::fanout::webhook::{Filter, Patterns};
use crate::fanout::{Sieve, Told};
use crate::tenant::Tenant;
use std::sync::Arc;

/// Most names in a query: each is compared with every event that is looked at.
pub(super) const NAMES: usize = 100;

/// Patterns of names with commas between, as a regular expression.
pub(super) const PATTERNS: &str =
    r"^ *(\*|([A-Za-z0-9_-]+\.)+([A-Za-z0-9_-]+|\*))( *, *(\*|([A-Za-z0-9_-]+\.)+([A-Za-z0-9_-]+|\*)))* *$";

/// What events are about, as it stands in a query.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub tag: Option<String>,
    pub destination: Option<String>,
    pub recipient: Option<String>,
}

impl About {
    fn sieve(self) -> Result<Option<Sieve>, Problem> {
        if [&self.tag, &self.destination, &self.recipient].into_iter().all(Option::is_none) {
            return Ok(None);
        }
        let pattern = |text: Option<String>| text.map(Patterns::One).unwrap_or_default();
        // As a webhook's filter has it; each field is looked at alone, to be named.
        let fields = [
            ("tag", Filter { tag: pattern(self.tag.clone()), ..Filter::default() }),
            ("destination", Filter { destination: pattern(self.destination.clone()), ..Filter::default() }),
            ("recipient", Filter { recipient: pattern(self.recipient.clone()), ..Filter::default() }),
        ];
        for (name, filter) in fields {
            filter.check().map_err(|wrong| Problem::bad_field(name, wrong.text))?;
        }
        let (tag, destination) = (pattern(self.tag), pattern(self.destination));
        let filter = Filter { tag, destination, recipient: pattern(self.recipient) };
        Sieve::of(&filter).map(Some).map_err(|wrong| Problem::bad_field(wrong.field, wrong.text))
    }
}

/// Which events are wanted: those of a tenant, of some names, about something.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub tenant: Option<Tenant>,
    pub patterns: Vec<EventPattern>,
    pub sieve: Option<Sieve>,
}

impl Choice {
    /// What a caller may see of the names in `text`: patterns with commas between; all
    /// when there is none.
    pub(super) fn of(caller: &Caller, text: Option<&str>, about: About) -> Result<Choice, Problem> {
        let pattern = |text: &str| {
            let expected = |bad| format!("write names such as post.delivered, post.* or *; {bad}");
            text.trim().parse().map_err(|bad| Problem::bad_field("type", expected(bad)))
        };
        if text.is_some_and(|text| text.matches(',').count() >= NAMES) {
            return Err(Problem::bad_field("type", format!("write no more than {NAMES} names")));
        }
        let patterns = text.map(|text| text.split(',').map(pattern).collect()).transpose()?;
        let (tenant, patterns) = (caller.tenant.clone(), patterns.unwrap_or_default());
        Ok(Choice { tenant, patterns, sieve: about.sieve()? })
    }

    /// An event as it is told, if it is one of those.
    pub(super) fn told(&self, event: &Arc<Event>) -> Option<Told> {
        let is_own = self.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant);
        let is_named = || self.patterns.is_empty() || self.patterns.iter().any(|it| it.matches(&event.name));
        let told = (is_own && is_named()).then(|| Told::of(Arc::clone(event)));
        told.filter(|told| self.sieve.as_ref().is_none_or(|sieve| sieve.lets_through(told)))
    }
}
