//! What happens between accepting a connection and its session: who it is from,
//! and whether there is room for it.
//!
//! A connection counts from the moment it is accepted. A proxy's counts among all
//! at once, and for its client's address as soon as that is known. Whoever is too
//! much is told so and cut off, without a task where that can be: under implicit
//! TLS without a word, for a handshake would cost us more than the client.

use super::Front;
use super::connection::{Connection, note_replies};
use super::connections::{Crowded, Place};
use super::proxy::{self, Source};
use super::reply::Reply;
use super::socket::Peer;
use super::wire::Raw;
use super::words::TlsUse;
use crate::protocol_log::Transcript;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Counts a connection and begins its task, which keeps `alive` until its end.
pub(super) fn open(front: &Arc<Front>, raw: Raw, peer: Peer, alive: mpsc::Sender<()>) {
    let options = &front.options;
    let is_proxy = |address: &IpAddr| options.trusted_proxies.iter().any(|proxy| proxy.contains(*address));
    let proxy = peer.address().filter(is_proxy);
    let client = if proxy.is_some() { None } else { peer.address() };
    if peer.address().is_none() && !options.trusted_proxies.is_empty() {
        // Whom it speaks for must not be trusted like a program of this machine.
        let why = "a proxy over a unix socket has no address by which it could be trusted";
        return refuse(&mut front.log.transcript('S'), &peer, why);
    }
    match options.crowd.enter(client, &options.limits, Instant::now()) {
        Ok(place) => {
            options.metrics.smtp_connections.inc();
            let here = options.metrics.clients.enter();
            let front = Arc::clone(front);
            tokio::spawn(async move {
                match proxy {
                    None => admit(front, raw, &peer, place).await,
                    Some(proxy) => admit_proxied(front, raw, &peer, proxy, place).await,
                }
                drop((here, alive));
            });
        }
        Err(crowded) => {
            let mut transcript = front.log.transcript('S');
            transcript.note(format_args!("connected from {peer}"));
            turn_away(front, raw, &mut transcript, crowded);
        }
    }
}

async fn admit(front: Arc<Front>, raw: Raw, peer: &Peer, place: Place) {
    let mut transcript = front.log.transcript('S');
    transcript.note(format_args!("connected from {peer}"));
    Connection::new(front, raw, peer.address(), transcript, place).run().await;
}

/// The proxy's header comes first, also before TLS.
async fn admit_proxied(front: Arc<Front>, mut raw: Raw, peer: &Peer, proxy: IpAddr, mut place: Place) {
    let mut transcript = front.log.transcript('S');
    let header = front.opening(front.options.timeouts.proxy_header, Box::pin(proxy::read(&mut raw))).await;
    let address = match header {
        Ok(Ok(Source::Client(client))) => {
            transcript.note(format_args!("connected from {client} via {peer}"));
            client.ip()
        }
        Ok(Ok(Source::Itself)) => {
            transcript.note(format_args!("connected from {peer}, a proxy for itself"));
            proxy
        }
        Ok(Err(why)) => return refuse(&mut transcript, peer, &format!("no PROXY header: {why}")),
        Err(why) => return refuse(&mut transcript, peer, &format!("no PROXY header: {why}")),
    };
    match place.assign(address, &front.options.limits, Instant::now()) {
        Ok(()) => Connection::new(front, raw, Some(address), transcript, place).run().await,
        Err(crowded) => turn_away(&front, raw, &mut transcript, crowded),
    }
}

fn refuse(transcript: &mut Transcript, peer: &Peer, why: &str) {
    transcript.trouble();
    transcript.note(format_args!("connected from {peer}"));
    transcript.note(why);
}

/// Says why and hangs up, without waiting.
fn turn_away(front: &Front, raw: Raw, transcript: &mut Transcript, crowded: Crowded) {
    let (status, text) = match crowded {
        Crowded::InAll => ((3, 2), "too many connections"),
        Crowded::ByAddress => ((7, 0), "too many connections from your address"),
        Crowded::ByRate => ((7, 0), "too many new connections from your address"),
    };
    if front.options.tls == TlsUse::Implicit {
        transcript.trouble();
        transcript.note(text);
        return;
    }
    let mut out = Vec::new();
    Reply::new(421, status, format_args!("{} {text}", front.options.hostname)).write(&mut out);
    note_replies(transcript, &String::from_utf8_lossy(&out));
    // A line fits into the buffer of a fresh socket.
    let _ = raw.write_at_once(&out);
}
