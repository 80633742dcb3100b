//! The HTTP API: looks at posts and destinations and steers them, health, metrics.
//!
//! One listener. Every call needs a key of some role (`calls`, `caller`). While there
//! are no keys, whoever is on this machine may do everything, so it answers requests for
//! loopback names only (DNS rebinding); nothing changes for a browser that another
//! site sent (`guard`). Attachments are for whoever has an address that was signed.
//! Answers are JSON, errors `application/problem+json` (RFC 9457), times RFC 3339 in
//! UTC.
//!
//! Handlers are thin: they read what was asked, ask the dispatcher ([`Control`])
//! or the spool, and write down what these say. Connections, headers, bodies and
//! the time for all of it are limited.

mod accounting;
mod ask;
mod attachments;
mod caller;
mod calls;
mod choice;
mod commands;
mod conditions;
mod config;
mod desk;
mod destinations;
mod entrance;
mod events;
mod fields;
mod filter;
mod grace;
mod guard;
mod health;
mod history;
mod inject;
mod log_access;
mod mail;
mod openapi;
mod patience;
mod places;
mod posts;
mod presence;
mod problem;
mod protocol_log;
mod publish;
mod ranges;
mod readers;
mod routes;
mod seats;
mod send_test;
pub mod setup;
mod shapes;
mod status;
mod stream;
mod strict;
mod tenants;
mod transcript;
mod upload;
mod webhooks;

pub use ask::state_name;
pub use entrance::{Entrance, Limits};
pub use shapes::exported;
pub use status::Listener;

use crate::compose::LinkKey;
use crate::deliver::control::Control;
use crate::event::Wanted;
use crate::fanout::accounting::accounts::Accounts;
use crate::intake::{Keys, Tenants};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::protocol_log::Level;
use crate::smtp::Certificates;
use crate::spool::Spool;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use caller::Peer;
use desk::Desk;
use http::uri::Scheme;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use patience::Patient;
use places::{Place, Places};
use presence::Presence;
use problem::Problem;
use readers::Readers;
use seats::Seats;
use setup::Setup;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
pub use webhooks::Webhooks;

/// What may change while the API is there.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// Who may call; nobody else, if there are any.
    pub keys: Arc<Keys>,
    /// What each tenant may do.
    pub tenants: Arc<Tenants>,
    /// What takes posts and mail; nothing does without.
    pub entrance: Option<Entrance>,
    /// The routes, key by key, with their secrets hidden.
    pub routes: Vec<serde_json::Value>,
    /// What is shown to clients; with any, there is nothing but TLS.
    pub certificates: Option<Certificates>,
    /// What listeners for mail show.
    pub smtp_certificates: Option<Certificates>,
}

/// What the API needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may change.
    pub current: watch::Receiver<Arc<Current>>,
    /// What this gateway calls itself in the `CDN-Loop` (RFC 8586) of its own
    /// requests, which come from a loop when they come here.
    pub instance: String,
    /// Where events are kept; without, nobody is told of any.
    pub journal: Option<Journal>,
    /// Whether anybody wants them.
    pub wanted: Wanted,
    /// Who writes records of them; without, nobody does.
    pub accounts: Option<Accounts>,
    /// Turns true when soon nothing is taken any more.
    pub leaving: watch::Receiver<bool>,
    /// What proves addresses of attachments; without, there are none.
    pub links: Option<LinkKey>,
    /// How much of a protocol log is kept, and where.
    pub protocol_log: Option<(Level, PathBuf)>,
    /// Who holds the configuration, if anybody does.
    pub setup: Option<Setup>,
    /// Where mail is taken, to be told.
    pub listeners: Vec<Listener>,
    /// Where webhooks are, and what asks their receivers; without, there are none.
    pub webhooks: Option<Webhooks>,
    /// What stands before the API on its address, and asks it as a client does.
    pub front: Option<fn(Router) -> Router>,
    /// Most connections at a time; further ones wait.
    pub connections: usize,
    /// Longest wait for the head of a request, and between two.
    pub head_timeout: Duration,
    /// Longest time from the head of a request to its response.
    pub request_timeout: Duration,
    /// Longest time in which nothing of a response is taken.
    pub unread_timeout: Duration,
}

impl Options {
    /// The usual limits.
    pub fn of(instance: String) -> Options {
        Options {
            // Who holds the other end may be gone: then nothing changes any more.
            current: watch::channel(Arc::default()).1,
            instance,
            journal: None,
            wanted: Wanted::default(),
            accounts: None,
            leaving: watch::channel(false).1,
            links: None,
            protocol_log: None,
            setup: None,
            listeners: Vec::new(),
            webhooks: None,
            front: None,
            connections: 100,
            head_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            unread_timeout: Duration::from_secs(30),
        }
    }
}

/// Most octets of a request's body.
const BODY: usize = 64 * 1024;

/// Most octets that a connection holds of what a client sends.
const BUFFER: usize = 64 * 1024;

/// Time until connections are taken again after the system refused one.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers requests until `stop` turns true and those under way are answered.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    control: Control,
    spool: Arc<dyn Spool>,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let options = Arc::new(options);
    let places = Places::new(options.connections);
    let readers = Arc::new(Readers::new());
    let fetchers = Arc::new(Semaphore::new(attachments::most(options.connections)));
    let (streams, tests, log) = (Seats::default(), Arc::default(), Arc::default());
    let (own, end, grace) = (Arc::clone(&options), stop.clone(), Arc::default());
    let router = router(Desk {
        options: own,
        control,
        spool,
        metrics,
        readers,
        log,
        fetchers,
        streams,
        grace,
        tests,
        stop: end,
    });
    let router = match options.front {
        Some(front) => front(router),
        None => router,
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
            // A stop whose sender is gone is one as well.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            // It has too many.
            Ok((_, _, None)) => {}
            Ok((stream, peer, Some(place))) => {
                let talk = converse((stream, peer), router.clone(), Arc::clone(&options), stop.clone());
                connections.spawn(async move {
                    talk.await;
                    drop(place);
                });
            }
            // Out of descriptors: others have to end first.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Places,
) -> std::io::Result<(TcpStream, Peer, Option<Place>)> {
    let permit = places.next().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer.ip()), places.give(permit, peer.ip())))
}

/// Serves one connection; on a stop it ends with the request under way.
async fn converse(
    (stream, peer): (TcpStream, Peer),
    router: Router,
    options: Arc<Options>,
    mut stop: watch::Receiver<bool>,
) {
    // Without it small responses wait for acknowledgements; slower, not wrong.
    let _ = stream.set_nodelay(true);
    let presence = Presence::of(&stream);
    let stream = Patient::new(stream, options.unread_timeout);
    let certificates = options.current.borrow().certificates.clone();
    let Some(certificates) = certificates else {
        return answer((stream, Scheme::HTTP), (peer, presence), router, &options, stop).await;
    };
    let handshake = TlsAcceptor::from(certificates.http()).accept(stream);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(options.head_timeout, handshake) => shaken,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    // One that fails concerns only its client, who is told by TLS itself.
    if let Ok(Ok(stream)) = shaken {
        answer((stream, Scheme::HTTPS), (peer, presence), router, &options, stop).await;
    }
}

/// Answers the requests of one connection.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    (stream, scheme): (S, Scheme),
    (peer, presence): (Peer, Presence),
    router: Router,
    options: &Options,
    mut stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(presence.clone());
        request.extensions_mut().insert(scheme.clone());
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.head_timeout)
            .max_buf_size(BUFFER)
            // Who has said all may close its half, and what it has handed in counts.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // A connection that breaks concerns only its client.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn router(desk: Desk) -> Router {
    Router::new()
        .merge(calls::router(&desk))
        .fallback(async || Problem::not_found("there is nothing here; the API is below /api/v1"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Arc::clone(&desk.options), guard::check))
        .with_state(desk)
}
