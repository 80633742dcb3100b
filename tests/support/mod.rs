//! What several tests need: a spool in memory, a scripted receiver, the program
//! as a child process, and the ledgers of both its ends.
//!
//! Each test file uses a part of it.
#![allow(dead_code)]

pub mod api;
pub mod collector;
pub mod hostile;
pub mod ledger;
pub mod load;
pub mod memory;
pub mod name_server;
pub mod postgres;
pub mod program;
pub mod proofs;
pub mod receiver;
pub mod sim_disk;
pub mod small_disk;
pub mod tools;

use bytes::Bytes;
use postgate::clock;
use postgate::post::{
    Admission, Blob, Destination, Field, MessageId, Notice, Post, PostId, Scheme, Sealed, Timestamp, Trust,
};
use postgate::tenant::Tenant;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;

/// Longest time a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition that must come true.
pub async fn within_deadline<T>(what: &str, condition: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, condition).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} in vain: {what}"),
    }
}

/// An address where nobody listens, and nobody else will while the socket is bound, but
/// for who asks for that very address.
pub fn nobody() -> (TcpSocket, SocketAddr) {
    let bound = TcpSocket::new_v4().unwrap();
    bound.set_reuseaddr(true).unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    (bound, address)
}

/// Everything in and below a directory, itself included.
pub fn under(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    // What is given up may vanish meanwhile.
    for path in fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(under(&path)) } else { found.push(path) }
    }
    found
}

/// Octets that a directory takes on its disk.
pub fn octets_under(directory: &Path) -> u64 {
    let length = |path: PathBuf| path.symlink_metadata().map_or(0, |entry| entry.blocks() * 512);
    under(directory).into_iter().map(length).sum()
}

/// The origin of a receiver, as untrusted URLs name it.
pub fn destination(address: SocketAddr) -> Arc<Destination> {
    Arc::new(Destination {
        tenant: Tenant::default(),
        scheme: Scheme::Http,
        host: match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        },
        port: address.port(),
        webhook: None,
    })
}

/// A post to `/hook`, of which tests change what they are about.
pub fn post(number: u64, destination: &Arc<Destination>) -> Post {
    Post {
        id: PostId { message: MessageId(number), number: 0 },
        accepted_at: clock::wall(),
        destination: Arc::clone(destination),
        method: "POST".to_owned(),
        path: "/hook".to_owned(),
        headers: vec![Field { name: "Content-Type".to_owned(), value: b"text/plain".to_vec() }],
        body: Blob { number: 0, start: 0, length: 4 },
        idempotency_key: None,
        sender: "a@app.example".to_owned(),
        recipient: "post@hook.example".to_owned(),
        not_before_at: None,
        expires_at: None,
        priority: 5,
        tags: Vec::new(),
        xs_message_id: None,
        xs_mailing_id: None,
        ordering_key: None,
        sign_with: None,
        auth: None,
        trace: None,
        notice: Notice::default(),
        trust: Trust::Wire,
        has_links: false,
        lean_body: None,
        batch: None,
        sealed: Sealed::default(),
    }
}

/// A message of one post whose body is `body`.
pub fn admission(mut post: Post, body: &[u8]) -> Admission {
    let length = u32::try_from(body.len()).unwrap();
    post.body = Blob { number: 0, start: 0, length };
    Admission {
        message: post.id.message,
        tenant: Tenant::default(),
        idempotency_key: None,
        fingerprint: None,
        blobs: vec![Bytes::copy_from_slice(body)],
        posts: vec![post],
        events: Vec::new(),
        has_secrets: false,
    }
}

/// The wall clock `seconds` from now.
pub fn in_seconds(seconds: u64) -> Timestamp {
    clock::wall().after(Duration::from_secs(seconds))
}
