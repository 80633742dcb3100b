//! The wire towards destinations: HTTP/2, TLS, proxies and redirects, against
//! receivers that do it right and such that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

#[path = "support/authority.rs"]
mod authority;
#[path = "outbound/frames.rs"]
mod frames;
#[path = "outbound/http1.rs"]
mod http1;
#[path = "outbound/http2.rs"]
mod http2;
#[path = "outbound/misbehaviour.rs"]
mod misbehaviour;
#[path = "outbound/proxies.rs"]
mod proxies;
#[path = "outbound/redirects.rs"]
mod redirects;
#[path = "outbound/server.rs"]
mod server;
#[path = "outbound/tls.rs"]
mod tls;

use postgate::deliver::control::Control;
use postgate::deliver::retry::Schedule;
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Http2, Terms};
use postgate::deliver::{self, Options};
use postgate::post::{Destination, Post, PostId, Scheme};
use postgate::protocol_log::ProtocolLog;
use postgate::spool::{Settlement, Spool};
use postgate::tenant::Tenant;
use postgate::url_pattern::UrlPattern;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::memory::MemorySpool;
use support::{admission, post, within_deadline};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running engine on a spool of its own.
pub struct Engine {
    spool: Arc<MemorySpool>,
    options: watch::Sender<Arc<Options>>,
    _control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    lines: std::sync::mpsc::Receiver<String>,
}

/// Terms with a retry soon, so that a test sees it, and a window that nothing shuts.
pub fn quick() -> Terms {
    let usual = Terms::default();
    let schedule = Schedule { retry: vec![Duration::from_millis(20)], ..usual.schedule.clone() };
    let limits = deliver::lane::Limits { breaker: 0, ..usual.limits };
    Terms { schedule, limits, ..usual }
}

/// The same for HTTP/2 without TLS.
pub fn prior() -> Terms {
    Terms { http2: Http2::PriorKnowledge, ..quick() }
}

/// An egress that lets untrusted URLs reach this machine.
pub fn loopback() -> Egress {
    let networks = ["127.0.0.0/8", "::1/128"];
    Egress { allow: networks.map(|network| network.parse().unwrap()).to_vec(), ..Egress::default() }
}

/// An origin on this machine, by any name of its own.
pub fn origin(scheme: Scheme, host: &str, address: SocketAddr) -> Arc<Destination> {
    let (host, port) = (host.to_owned(), address.port());
    Arc::new(Destination { tenant: Tenant::default(), scheme, host, port, webhook: None })
}

impl Engine {
    /// One that serves all destinations on these terms.
    pub fn start(terms: Terms) -> Engine {
        Engine::of(Book::new(terms, Vec::new()), loopback())
    }

    /// One with these terms and egress rules.
    pub fn of(book: Book, egress: Egress) -> Engine {
        let (stop, stopped) = watch::channel(false);
        let (log, lines) = ProtocolLog::channel();
        let (control, requests) = Control::new();
        let options = Options { book, egress, ..Options::default() };
        let (options, changing) = watch::channel(Arc::new(options));
        let spool = MemorySpool::new();
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let task = tokio::spawn(deliver::run(shared, changing, requests, log, stopped));
        Engine { spool, options, _control: control, stop, task, lines }
    }

    /// Commits a post with this body.
    pub async fn send(&self, post: Post, body: &[u8]) -> PostId {
        let id = post.id;
        self.spool.commit(admission(post, body)).await.unwrap();
        id
    }

    /// How the first attempt of a post ended that is sent there now.
    pub async fn first(&self, number: u64, to: &Arc<Destination>) -> Settlement {
        self.first_of(post(number, to)).await
    }

    /// How the first attempt of this post ended.
    pub async fn first_of(&self, post: Post) -> Settlement {
        let id = self.send(post, b"body").await;
        self.spool.settled(id, 1).await.remove(0)
    }

    /// Ends the engine and returns the protocol log.
    pub async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        within_deadline("the engine's end", self.task).await.unwrap();
        drop(self.options);
        self.lines.try_iter().collect()
    }
}

/// How the first attempt ends of a post that is sent on these terms.
pub async fn attempt(terms: Terms, to: &Arc<Destination>) -> Settlement {
    Engine::start(terms).first(1, to).await
}

/// The reason of an attempt that will be repeated.
pub fn deferred(settlement: &Settlement) -> &str {
    match settlement {
        Settlement::Again { last, .. } => &last.reason,
        other => panic!("not deferred: {other:?}"),
    }
}

/// The reason of an attempt that was the last one.
pub fn failed(settlement: &Settlement) -> &str {
    match settlement {
        Settlement::Failed { last } => &last.reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// The pattern of one origin.
pub fn pattern(origin: &Destination) -> UrlPattern {
    origin.to_string().parse().unwrap()
}
