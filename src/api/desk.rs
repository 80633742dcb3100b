//! What the calls about posts have in common: finding posts and giving orders.

use super::ask::{Action, id, state_name};
use super::caller::Caller;
use super::grace::Grace;
use super::log_access::LogAccess;
use super::problem::{Problem, json};
use super::readers::Readers;
use super::seats::Seats;
use super::send_test::Tests;
use super::shapes::OrderedShape;
use super::{Current, Entrance, Options};
use crate::compose::{BadUrl, Endpoint};
use crate::deliver::control::{Control, Ordered};
use crate::intake::Role;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::post::{Destination, Trust};
use crate::spool::{Listed, Order, PostState, Query, Spool};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use axum::response::Response;
use http::StatusCode;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// What all handlers use.
#[derive(Clone)]
pub(super) struct Desk {
    pub options: Arc<Options>,
    pub control: Control,
    pub spool: Arc<dyn Spool>,
    pub metrics: Arc<Metrics>,
    /// Those who read attachments.
    pub readers: Arc<Readers>,
    /// Those who read the protocol log.
    pub log: Arc<LogAccess>,
    /// Places for those who fetch them.
    pub fetchers: Arc<Semaphore>,
    /// Places for those who have events streamed.
    pub streams: Seats,
    /// What is wanted between two streams.
    pub grace: Arc<Grace>,
    /// Messages that callers have sent to see what happens.
    pub tests: Arc<Tests>,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

impl Desk {
    /// What is in force now.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.options.current.borrow())
    }

    /// Where the events are.
    pub(super) fn journal(&self) -> Result<&Journal, Problem> {
        let journal = self.options.journal.as_ref();
        journal.ok_or_else(|| Problem::not_found("this gateway keeps no events"))
    }

    /// The tenant that a caller is there for, if there are others: where none is configured,
    /// all there is is that of the one without a name.
    pub(super) fn one_of_several<'a>(&self, caller: &'a Caller) -> Option<&'a Tenant> {
        let is_only =
            |tenant: &Tenant| *tenant == Tenant::default() && self.current().tenants.configured().is_empty();
        caller.tenant.as_ref().filter(|tenant| !is_only(tenant))
    }

    /// What takes posts and mail now.
    pub(super) fn entrance(&self) -> Result<Entrance, Problem> {
        let none = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "nothing is taken here");
        self.current().entrance.clone().ok_or_else(none)
    }

    /// The living post of this id, if there is one for this caller.
    pub(super) async fn find(&self, text: &str, caller: &Caller) -> Result<Listed, Problem> {
        let query = Query { id: Some(id(text)?), tenant: caller.tenant.clone(), ..Query::default() };
        let mut found = self.spool.page(query, None, 1).await?;
        self.correct(&mut found).await;
        found
            .pop()
            .ok_or_else(|| Problem::not_found("no such post; it was delivered or deleted, or never was"))
    }

    /// Shows posts as waiting that are claimed, but not begun.
    pub(super) async fn correct(&self, listed: &mut [Listed]) {
        let sending = listed.iter().filter(|listed| listed.state == PostState::Sending);
        let sending: Vec<_> =
            sending.map(|listed| (Arc::clone(&listed.post.destination), listed.post.id)).collect();
        if sending.is_empty() {
            return;
        }
        // Without a dispatcher nothing is begun any more.
        let stocked = self.control.stocked(sending).await.unwrap_or_default();
        for listed in listed.iter_mut().filter(|listed| stocked.contains(&listed.post.id)) {
            listed.state = if listed.ended == 0 { PostState::Queued } else { PostState::Deferred };
        }
    }

    /// Does something to a post that was found; `left` are the fields that it loses.
    pub(super) async fn order_one(
        &self,
        listed: &Listed,
        order: Order,
        left: Vec<String>,
    ) -> Result<Response, Problem> {
        let destination = &listed.post.destination;
        let query = Query {
            id: Some(listed.post.id),
            tenant: Some(destination.tenant.clone()),
            destination: Some(UrlPattern::of(destination)),
            ..Query::default()
        };
        match self.control.order(query, order).await? {
            Ordered { count: 0, .. } => {
                let detail = format!("the post is {}: there is nothing to be done", state_name(listed.state));
                Err(Problem::new(StatusCode::CONFLICT, detail))
            }
            ordered => Ok(json(StatusCode::OK, &OrderedShape::of(&ordered).without(left))),
        }
    }

    /// Whether a tenant may post there.
    pub(super) fn permit(&self, tenant: &Tenant, destination: &Destination) -> Result<(), Problem> {
        let current = self.current();
        let terms = current.tenants.configured().into_iter().find(|terms| terms.tenant == *tenant);
        if terms.is_none_or(|terms| UrlPattern::any_matches(&terms.may_post_to, destination)) {
            return Ok(());
        }
        let detail = format!("tenant {tenant} may not post to {destination} (may_post_to)");
        Err(Problem::bad_field("url", detail))
    }

    /// The same for posts that this caller sends elsewhere. Who is there for all tenants
    /// may save what is stuck.
    pub(super) fn permit_reroute(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        url: &Endpoint,
    ) -> Result<(), Problem> {
        if caller.role == Role::Admin { Ok(()) } else { self.permit(tenant, &url.destination(tenant)) }
    }

    /// Sends the posts of each tenant elsewhere, as that tenant's.
    pub(super) async fn reroute_all(&self, query: Query, url: &Endpoint) -> Result<u64, Problem> {
        let tenants: BTreeSet<_> = match &query.tenant {
            Some(tenant) => [tenant.clone()].into(),
            None => self.spool.counts().await?.into_iter().map(|(lane, _)| lane.tenant.clone()).collect(),
        };
        let mut count = 0;
        for tenant in tenants {
            let order = order_to(url, &tenant);
            let query = Query { tenant: Some(tenant), ..query.clone() };
            count += self.control.order(query, order).await?.count;
        }
        Ok(count)
    }

    /// How many posts an action would concern.
    pub(super) async fn count(&self, query: Query, action: Action) -> Result<u64, Problem> {
        let census = self.spool.census(query).await?;
        Ok(census.into_iter().filter(|(state, _)| concerns(action, *state)).map(|(_, count)| count).sum())
    }
}

/// Whether an action means posts in a state; those under way when their attempt
/// has ended.
fn concerns(action: Action, state: PostState) -> bool {
    match action {
        Action::Delete => true,
        Action::Hold => !matches!(state, PostState::Held | PostState::Failed | PostState::Delivered),
        Action::Release => state == PostState::Held,
        Action::Retry | Action::Reroute => state != PostState::Delivered,
    }
}

/// The order that sends posts of a tenant to a URL. It came over the wire.
pub(super) fn order_to(url: &Endpoint, tenant: &Tenant) -> Order {
    let destination = Arc::new(url.destination(tenant));
    Order::Reroute { destination, trust: Trust::Wire, path: url.path.clone(), sealed: None }
}

/// A URL that posts may be sent to.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, Problem> {
    let endpoint: Endpoint =
        text.parse().map_err(|wrong: BadUrl| Problem::bad_field("url", wrong.to_string()))?;
    match endpoint.authorization {
        None => Ok(endpoint),
        Some(_) => Err(Problem::bad_field(
            "url",
            "credentials are not kept; configure an auth profile for its origin",
        )),
    }
}
