//! A receiver that does it right: hyper's server, over TCP or TLS.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{HandshakeKind, ServerConfig};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub version: Version,
    pub head: Arc<http::request::Parts>,
    pub body: Bytes,
}

/// What a receiver does beside answering.
#[derive(Clone, Default)]
pub struct Habits {
    pub tls: Option<Arc<ServerConfig>>,
    /// Speaks HTTP/2 without TLS.
    pub prior: bool,
    /// Streams at a time.
    pub streams: Option<u32>,
    /// Each answer takes a permit.
    pub gate: Option<Arc<Semaphore>>,
    /// Body of its answers, all of them 200.
    pub body: Bytes,
}

/// A running one.
pub struct Server {
    pub address: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
    connections: watch::Receiver<usize>,
    kinds: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl Server {
    pub async fn start(habits: Habits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, seen) = watch::channel(Vec::new());
        let (accepted, connections) = watch::channel(0);
        let kinds = Arc::new(Mutex::new(Vec::new()));
        let (record, shaken) = (Arc::new(record), Arc::clone(&kinds));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                accepted.send_replace(connection + 1);
                let (habits, record, shaken) = (habits.clone(), Arc::clone(&record), Arc::clone(&shaken));
                tokio::spawn(async move {
                    let Some(tls) = habits.tls.clone() else {
                        return serve(socket, habits.prior, connection, habits, record).await;
                    };
                    let Ok(stream) = TlsAcceptor::from(tls).accept(socket).await else { return };
                    shaken.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
                    let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, is_two, connection, habits, record).await;
                });
            }
        });
        Server { address, seen, connections, kinds }
    }

    /// Waits for so many requests, and returns all.
    pub async fn seen(&self, count: usize) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        let enough = seen.wait_for(|seen| seen.len() >= count);
        crate::within_deadline(&format!("{count} requests"), enough).await.unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// How the TLS sessions began.
    pub fn kinds(&self) -> Vec<HandshakeKind> {
        self.kinds.lock().unwrap().clone()
    }
}

async fn serve<S>(
    stream: S,
    is_two: bool,
    connection: usize,
    habits: Habits,
    record: Arc<watch::Sender<Vec<Seen>>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = habits.streams;
    let service = service_fn(move |request: Request<Incoming>| {
        let (record, habits) = (Arc::clone(&record), habits.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let seen = Seen { connection, version: head.version, head: Arc::new(head), body };
            record.send_modify(|all| all.push(seen));
            if let Some(gate) = &habits.gate {
                gate.acquire().await.unwrap().forget();
            }
            Ok::<_, Infallible>(Response::new(Full::new(habits.body.clone())))
        }
    });
    let stream = TokioIo::new(stream);
    // How it ends is the client's matter.
    let _ = match is_two {
        true => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(streams).serve_connection(stream, service).await
        }
        false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
    };
}
