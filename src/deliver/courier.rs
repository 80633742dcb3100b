//! How a request gets to its destination and an answer back: the connection it
//! goes over, the cases in which it goes once more, and redirects.
//!
//! A request is repeated within one attempt only when the receiver did nothing
//! with it: a kept connection was being closed as it was written, or the receiver
//! says so (HTTP/2). Everything else is for the schedule.

use super::attempt::unread;
use super::connection::{Failure, Link, Patience, Readers, Response};
use super::dialogue;
use super::redirect::{self, Hop, SecretBody, Stop, Trail};
use super::retry::Trouble;
use super::road::Road;
use super::shop::Shop;
use super::terms::Terms;
use crate::event::posts::{Reuse, Way};
use crate::masked::Masked;
use crate::post::{Destination, PostId, Trust};
use crate::protocol_log::Transcript;
use bytes::Bytes;
use http::{Request, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often a request is sent at most in one attempt to one place.
const TRIES: u32 = 3;

/// The request of one attempt.
pub(super) struct Errand<'a> {
    /// Whose it is, who named its URL, and which attempt it is.
    pub post: PostId,
    pub trust: Trust,
    pub attempt: u32,
    pub request: &'a Request<Bytes>,
    /// The terms of its destination.
    pub terms: &'a Terms,
    /// The end of the attempt.
    pub deadline: Instant,
}

/// A worker's way to its destination, and its connection.
#[derive(Default)]
pub(super) struct Courier {
    road: Option<Arc<Road>>,
    link: Option<Link>,
    /// How long the last answer of the destination itself took.
    took: Option<Duration>,
    /// Whether a redirect led to another origin, which had the last word.
    is_elsewhere: bool,
}

impl Courier {
    /// Takes a request to `lane` and brings the answer, of the last hop where
    /// redirects are followed.
    pub(super) async fn carry(
        &mut self,
        shop: &Shop,
        lane: &Arc<Destination>,
        errand: &Errand<'_>,
        log: &mut Transcript,
    ) -> Result<Response, Trouble> {
        self.is_elsewhere = false;
        let request = errand.request;
        let mut response = self.bring(shop, lane, errand, request, log).await?;
        if !response.status.is_redirection() {
            return Ok(response);
        }
        let (destination, trust) = (Destination::clone(lane), errand.trust);
        let start = Hop { destination, trust, path: request.uri().to_string() };
        let mut trail = Trail::new(start, errand.terms.follow_redirects);
        loop {
            let hop = match trail.next(response.status, &response.headers) {
                Ok(Some(hop)) => hop,
                Ok(None) => return Ok(response),
                Err(remark) => {
                    response.remark = Some(remark);
                    return Ok(response);
                }
            };
            let place = format!("{}{}", hop.destination, hop.path);
            log.note(format_args!(
                "{} attempt {}: redirected to {}",
                errand.post,
                errand.attempt,
                Masked(&place)
            ));
            let readdressed = readdress(errand, lane, &hop);
            let request = match readdressed {
                Ok(request) => request,
                Err(stop) => {
                    response.remark = Some(format!("{} ({stop})", Masked(&place)));
                    return Ok(response);
                }
            };
            self.is_elsewhere = !is_home(&hop, errand, lane);
            response = if !self.is_elsewhere {
                self.bring(shop, lane, errand, &request, log).await?
            } else {
                detour(shop, hop, errand, &request, log).await?
            };
        }
    }

    /// Whether the connection may be used again.
    pub(super) fn keeps_link(&self, terms: &Terms) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_reusable(terms.max_posts_per_connection))
    }

    /// Begins an attempt: nothing is known of it.
    pub(super) fn begin(&mut self) {
        (self.took, self.is_elsewhere) = (None, false);
    }

    /// Whether the outcome is that of another origin, to which a redirect led.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// How long the answer took, from the request on.
    pub(super) fn took(&self) -> Option<Duration> {
        self.took
    }

    /// What is spoken on the connection.
    pub(super) fn version(&self) -> Option<Version> {
        self.link.as_ref().map(Link::version)
    }

    /// The connection, as it is told of what was sent over it.
    pub(super) fn way(&self) -> Option<Way> {
        let link = self.link.as_ref()?;
        let peer = link.place().peer.strip_prefix('[').and_then(|peer| peer.split_once(']'));
        Some(Way {
            address: peer.and_then(|(address, _)| address.parse().ok()),
            version: if link.version() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
            reuse: if link.posts() > 1 { Reuse::Reused } else { Reuse::Fresh },
        })
    }

    /// Waits until the connection is of no use any more.
    pub(super) async fn closed(&mut self) {
        if let Some(link) = &mut self.link {
            link.closed().await;
        }
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self) {
        self.link = None;
    }

    async fn bring(
        &mut self,
        shop: &Shop,
        lane: &Arc<Destination>,
        errand: &Errand<'_>,
        request: &Request<Bytes>,
        log: &mut Transcript,
    ) -> Result<Response, Trouble> {
        let road = self.road(shop, (lane, errand.trust), errand.terms);
        let mut tries = 1;
        loop {
            let has_answered = self.took.is_some();
            let link = match self.link(shop, &road, errand, log).await {
                // It was tried: the destination has had a request of this attempt.
                Err(Trouble::Untried(why)) if has_answered => return Err(Trouble::Connect(why)),
                link => link?,
            };
            if let Err(error) = shop.spool.may_send() {
                self.link = None;
                return Err(unread(error));
            }
            let begun = Instant::now();
            let answer = exchange(link, &road.destination, errand, request, log).await;
            self.took = answer.is_ok().then(|| begun.elapsed());
            match answer {
                Err(failure) if failure.is_untaken && tries < TRIES => {
                    tries += 1;
                    match self.version() {
                        Some(Version::HTTP_2) => log.note(format_args!("{}, once more", failure.trouble)),
                        _ => log.note("connection was closed meanwhile, once more on a fresh one"),
                    }
                    if failure.wants_http1 {
                        road.forgo_http2();
                    }
                    self.link = None;
                }
                result => return result.map_err(|failure| failure.trouble),
            }
        }
    }

    /// The road of now; a connection on another one is given up.
    fn road(&mut self, shop: &Shop, (lane, trust): (&Arc<Destination>, Trust), terms: &Terms) -> Arc<Road> {
        match &self.road {
            Some(road) if road.trust == trust && shop.connector.allows(road, terms) => Arc::clone(road),
            _ => {
                self.link = None;
                let road = shop.connector.road((lane, trust), terms);
                self.road = Some(Arc::clone(&road));
                road
            }
        }
    }

    /// A connection on which a request has begun.
    async fn link(
        &mut self,
        shop: &Shop,
        road: &Road,
        errand: &Errand<'_>,
        log: &mut Transcript,
    ) -> Result<&mut Link, Trouble> {
        let most = errand.terms.max_posts_per_connection;
        let mut has_begun = self.link.as_mut().is_some_and(|link| link.begin(most));
        if has_begun {
            shop.metrics.connections_reused.inc();
        }
        while !has_begun {
            self.link = None;
            let mut link = connect(shop, road, errand, log).await?;
            has_begun = link.begin(most);
            self.link = Some(link);
        }
        self.link.as_mut().ok_or(Trouble::Crashed)
    }
}

async fn connect(
    shop: &Shop,
    road: &Road,
    errand: &Errand<'_>,
    log: &mut Transcript,
) -> Result<Link, Trouble> {
    let Errand { terms, deadline, .. } = errand;
    let limit = terms.connect_timeout.min(deadline.saturating_duration_since(Instant::now()));
    let link = road.link(&shop.connector, terms.max_posts_per_connection, limit);
    let link = timeout_at(*deadline, link).await;
    let link = link.unwrap_or(Err(Trouble::TimedOut("connecting", terms.total_timeout)));
    if link.is_err() {
        let Errand { post, attempt, .. } = errand;
        log.note(format_args!("{post} attempt {attempt}: no connection to {}", road.destination));
    }
    link
}

/// Follows a redirect to another origin, on a connection that is not kept and on
/// the terms that are said for that origin.
async fn detour(
    shop: &Shop,
    hop: Hop,
    errand: &Errand<'_>,
    request: &Request<Bytes>,
    log: &mut Transcript,
) -> Result<Response, Trouble> {
    let terms = shop.book.terms(&hop.destination);
    let road = shop.connector.detour(hop.destination, hop.trust, Terms::clone(&terms));
    let mut link = connect(shop, &road, errand, log).await?;
    if !link.begin(0) {
        return Err(Trouble::Broken("connection closed before the request".to_owned()));
    }
    shop.spool.may_send().map_err(unread)?;
    let response = exchange(&mut link, &road.destination, errand, request, log).await;
    response.map_err(|failure| failure.trouble)
}

async fn exchange(
    link: &mut Link,
    to: &Destination,
    errand: &Errand<'_>,
    request: &Request<Bytes>,
    log: &mut Transcript,
) -> Result<Response, Failure> {
    let Errand { post, attempt, terms, deadline, .. } = errand;
    if log.is_on() {
        dialogue::note_connection(log, *post, *attempt, to, link);
        dialogue::note_request(log, request, link.version());
    }
    let readers = if terms.verdicts.body_matches.is_empty() { Readers::People } else { Readers::Patterns };
    let (response, total) = (terms.response_timeout, terms.total_timeout);
    let result = link.send(request, Patience { response, deadline: *deadline, total, readers }).await;
    if log.is_on() {
        if !result.as_ref().is_ok_and(|response| response.status.is_success()) {
            dialogue::note_request_headers(log, request.headers());
        }
        if let Ok(response) = &result {
            dialogue::note_response(log, response);
        }
    }
    result
}

/// Whether a hop leads where its errand may use the connections of its lane.
fn is_home(hop: &Hop, errand: &Errand<'_>, lane: &Destination) -> bool {
    hop.destination == *lane && hop.trust == errand.trust
}

/// The request of an errand for a hop.
fn readdress(errand: &Errand<'_>, lane: &Destination, hop: &Hop) -> Result<Request<Bytes>, Stop> {
    let mut request = errand.request.clone();
    *request.uri_mut() = if is_home(hop, errand, lane) {
        redirect::target(hop)?
    } else {
        if request.extensions().get::<SecretBody>().is_some() {
            return Err(Stop::Secret);
        }
        redirect::readdress(request.headers_mut(), hop)?
    };
    Ok(request)
}
