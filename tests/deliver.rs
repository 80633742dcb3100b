//! The delivery engine against a scripted receiver and a spool in memory.
//!
//! Schedules are checked on what the spool is told, not by waiting for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "deliver/connections.rs"]
mod connections;
#[path = "deliver/lanes.rs"]
mod lanes;
#[path = "deliver/requests.rs"]
mod requests;
mod support;
#[path = "deliver/troubles.rs"]
mod troubles;

use postgate::deliver::control::Control;
use postgate::deliver::lane::{Adaptive, Limits};
use postgate::deliver::retry::Schedule;
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Terms};
use postgate::deliver::{self, Options};
use postgate::post::{Destination, Field, Post, PostId, Scheme, Timestamp, Trust};
use postgate::protocol_log::ProtocolLog;
use postgate::spool::{Settlement, Spool, SpoolError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::memory::{MemorySpool, Pause};
use support::receiver::{Act, Receiver, Request, answer, answer_with, raw};
use support::{admission, destination, post, within_deadline};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// A running engine on a spool of its own.
struct Engine {
    spool: Arc<MemorySpool>,
    _options: watch::Sender<Arc<Options>>,
    _control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    lines: std::sync::mpsc::Receiver<String>,
}

/// Options with a first retry at once, so that a test sees it.
fn quick() -> Terms {
    Terms { schedule: retrying(&[20]), ..Terms::default() }
}

fn retrying(millis: &[u64]) -> Schedule {
    let retry = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
    Schedule { retry, ..Schedule::default() }
}

/// One connection at a time, so that order shows.
fn single(delivery: Terms) -> Terms {
    Terms { limits: Limits { max_connections: 1, ..delivery.limits }, ..delivery }
}

fn loopback() -> Egress {
    Egress { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Egress::default() }
}

impl Engine {
    fn start(delivery: Terms) -> Engine {
        Engine::on(
            MemorySpool::new(),
            Options { book: Book::new(delivery, Vec::new()), egress: loopback(), ..Options::default() },
        )
    }

    fn on(spool: Arc<MemorySpool>, options: Options) -> Engine {
        let (stop, stopped) = watch::channel(false);
        let (log, lines) = ProtocolLog::channel();
        let (control, requests) = Control::new();
        let (options, changing) = watch::channel(Arc::new(options));
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let task = tokio::spawn(deliver::run(shared, changing, requests, log, stopped));
        Engine { spool, _options: options, _control: control, stop, task, lines }
    }

    async fn send(&self, post: Post) -> PostId {
        commit(&self.spool, post).await
    }

    async fn settled(&self, id: PostId, count: usize) -> Vec<Settlement> {
        self.spool.settled(id, count).await
    }

    /// Ends the engine and returns the protocol log.
    async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        within_deadline("the engine's end", self.task).await.unwrap();
        self.lines.try_iter().collect()
    }
}

async fn commit(spool: &MemorySpool, post: Post) -> PostId {
    let id = post.id;
    spool.commit(admission(post, b"body")).await.unwrap();
    id
}

/// The delay and reason of a deferral.
fn deferral(settlement: &Settlement) -> (Duration, &str) {
    match settlement {
        Settlement::Again { after, last } => (*after, &last.reason),
        other => panic!("not deferred: {other:?}"),
    }
}

fn failure(settlement: &Settlement) -> &str {
    match settlement {
        Settlement::Failed { last } => &last.reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// An address at which nothing listens.
async fn dead_end() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
