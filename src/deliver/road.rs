//! The way to one destination, as the workers of its lane share it.
//!
//! Whether HTTP/2 is spoken shows when somebody has connected. Until then one
//! worker connects and the others wait; then they ride on the same connection
//! (HTTP/2), or connect side by side (HTTP/1.1). When the first one fails, none of
//! those who waited tries the same in vain: their posts go back, for it was one
//! trouble and no more.
//!
//! A road is known as long as a worker is on it. It belongs to the terms, the egress
//! rules and whoever named the URLs it was made for: others are another road, so no
//! connection outlives its permission or is used by those who have none.

use super::connection::Link;
use super::egress::Connector;
use super::http1::Http1;
use super::http2::Trunk;
use super::retry::Trouble;
use super::terms::{Http2, Terms};
use crate::post::{Destination, Scheme, Trust};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Where a road leads, and who named the URLs of those on it.
type Goal = (Arc<Destination>, Trust);

/// The roads that are in use.
#[derive(Default)]
pub(super) struct Roads(Mutex<HashMap<Goal, Weak<Road>>>);

/// See the module.
pub(super) struct Road {
    pub destination: Arc<Destination>,
    pub trust: Trust,
    terms: Terms,
    permit: Permit,
    knowledge: Mutex<Knowledge>,
}

/// The egress rules that a connection was opened under, by their identity.
#[derive(Clone, Default)]
pub(super) struct Permit(Arc<()>);

enum Knowledge {
    Nothing,
    /// Somebody is connecting.
    Asked(watch::Receiver<Option<Answer>>),
    One,
    Two(Arc<Trunk>),
    /// The receiver wants HTTP/1.1 though it offers HTTP/2.
    OneOnly,
}

/// What the first connection showed.
type Answer = Result<(), Trouble>;

/// What a worker without a connection does.
enum Turn {
    Ride(Arc<Trunk>),
    Wait(watch::Receiver<Option<Answer>>),
    /// Connects, and tells the others.
    Ask(watch::Sender<Option<Answer>>),
    /// Connects for itself.
    Connect,
}

impl Roads {
    /// The road to a destination on these terms.
    pub(super) fn road(
        &self,
        (to, trust): (&Arc<Destination>, Trust),
        terms: &Terms,
        permit: &Permit,
    ) -> Arc<Road> {
        let mut roads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let to = (Arc::clone(to), trust);
        let known = roads.get(&to).and_then(Weak::upgrade);
        if let Some(road) = known.filter(|road| road.fits(terms, permit)) {
            return road;
        }
        // Roads that nobody is on any more go when their places are needed.
        if roads.len() == roads.capacity() {
            roads.retain(|_, road| road.strong_count() > 0);
        }
        let road = Arc::new(Road::new(to.clone(), terms.clone(), permit.clone()));
        roads.insert(to, Arc::downgrade(&road));
        road
    }
}

impl Road {
    /// A road that nobody else is on.
    pub(super) fn new((destination, trust): Goal, terms: Terms, permit: Permit) -> Road {
        Road { destination, trust, terms, permit, knowledge: Mutex::new(Knowledge::Nothing) }
    }

    /// Whether its connections are what these terms and rules ask for.
    pub(super) fn fits(&self, terms: &Terms, permit: &Permit) -> bool {
        let same_tls = Arc::ptr_eq(&self.terms.tls, &terms.tls) || self.terms.tls == terms.tls;
        let same_terms = same_tls && self.terms.http2 == terms.http2 && self.terms.proxy == terms.proxy;
        same_terms && Arc::ptr_eq(&self.permit.0, &permit.0)
    }

    /// A connection to begin requests on, had within `limit`.
    pub(super) async fn link(
        &self,
        connector: &Connector,
        most: u32,
        limit: Duration,
    ) -> Result<Link, Trouble> {
        loop {
            match self.turn(most) {
                Turn::Ride(trunk) => return Ok(Link::Two(trunk)),
                Turn::Connect => return self.connect(connector, limit).await,
                Turn::Wait(mut told) => {
                    // Otherwise it is known now; or whoever asked is gone, and
                    // somebody else must.
                    if let Ok(Some(Err(trouble))) = told.wait_for(Option::is_some).await.as_deref() {
                        return Err(Trouble::Untried(trouble.to_string()));
                    }
                }
                Turn::Ask(tell) => {
                    let connected = self.connect(connector, limit).await;
                    if connected.is_err() {
                        *self.knowledge() = Knowledge::Nothing;
                    }
                    let answer = connected.as_ref().map(|_| ()).map_err(Clone::clone);
                    tell.send_replace(Some(answer));
                    return connected;
                }
            }
        }
    }

    /// Notes that the receiver asked for HTTP/1.1 (RFC 9113 section 7).
    pub(super) fn forgo_http2(&self) {
        *self.knowledge() = Knowledge::OneOnly;
    }

    fn turn(&self, most: u32) -> Turn {
        let is_plain = self.destination.scheme != Scheme::Https;
        let is_one = match self.terms.http2 {
            Http2::Off => true,
            Http2::Auto => is_plain,
            Http2::PriorKnowledge => false,
        };
        if is_one {
            return Turn::Connect;
        }
        let mut knowledge = self.knowledge();
        match &*knowledge {
            Knowledge::One | Knowledge::OneOnly => return Turn::Connect,
            Knowledge::Two(trunk) if trunk.is_open(most) => return Turn::Ride(Arc::clone(trunk)),
            // Closed without an answer: whoever asked was cut off.
            Knowledge::Asked(told) if told.has_changed().is_ok() => return Turn::Wait(told.clone()),
            _ => {}
        }
        let (tell, told) = watch::channel(None);
        *knowledge = Knowledge::Asked(told);
        Turn::Ask(tell)
    }

    async fn connect(&self, connector: &Connector, limit: Duration) -> Result<Link, Trouble> {
        let wants_one = matches!(*self.knowledge(), Knowledge::OneOnly);
        let to = (&*self.destination, self.trust);
        let connected = if wants_one {
            let terms = Terms { http2: Http2::Off, ..self.terms.clone() };
            connector.connect(to, &terms, limit).await?
        } else {
            connector.connect(to, &self.terms, limit).await?
        };
        if !connected.is_http2 {
            if !wants_one {
                *self.knowledge() = Knowledge::One;
            }
            return Ok(Link::One(Http1::open(connected)));
        }
        let trunk = Trunk::open(connected, self.terms.response_timeout).await?;
        *self.knowledge() = Knowledge::Two(Arc::clone(&trunk));
        Ok(Link::Two(trunk))
    }

    fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
