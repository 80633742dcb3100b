//! An HTTP/1.1 receiver for trying and for measuring.
//!
//! It takes whatever comes, answers as it is told and hands each request to its
//! owner, or only counts them. It is no part of the gateway: nothing is kept.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How requests are answered.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    /// Status of the responses.
    pub status: StatusCode,
    /// Wait before each response.
    pub delay: Duration,
    /// Share of the requests answered 503 instead, from 0 to 1.
    pub fail_rate: f64,
}

/// One request that came in whole.
#[derive(Debug)]
pub(super) struct Arrival {
    head: http::request::Parts,
    /// Its body.
    pub body: Bytes,
    /// What it was answered.
    pub status: StatusCode,
}

impl Arrival {
    /// The request as text, control characters escaped, line ends kept.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {} {:?}\n", self.head.method, self.head.uri, self.head.version);
        for (name, value) in &self.head.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.body));
        let keep = |char: char| match char {
            '\n' | '\t' => char.to_string(),
            '\r' => String::new(),
            char if char.is_control() => char.escape_default().to_string(),
            char => char.to_string(),
        };
        text.chars().map(keep).collect::<String>().trim_end().to_owned()
    }
}

/// A receiver; its clones count together.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    behaviour: Behaviour,
    count: Arc<AtomicU64>,
    arrivals: Option<mpsc::Sender<Arrival>>,
}

impl Receiver {
    /// One that only counts.
    pub(super) fn counting(behaviour: Behaviour) -> Receiver {
        Receiver { behaviour, count: Arc::default(), arrivals: None }
    }

    /// One that hands over every request, and waits while nobody takes them.
    pub(super) fn telling(behaviour: Behaviour) -> (Receiver, mpsc::Receiver<Arrival>) {
        let (sender, arrivals) = mpsc::channel(64);
        (Receiver { arrivals: Some(sender), ..Receiver::counting(behaviour) }, arrivals)
    }

    /// How many requests came in whole.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Serves connections until dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(self.clone().converse(stream))),
                // Out of descriptors: others have to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn converse(self, stream: TcpStream) {
        // Without it responses wait for acknowledgements; slower, not wrong.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| self.answer(request));
        // A connection that breaks concerns only its client.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, mut body) = request.into_parts();
        let fails = self.behaviour.fail_rate > 0.0 && fastrand::f64() < self.behaviour.fail_rate;
        let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { self.behaviour.status };
        match &self.arrivals {
            None => while body.frame().await.transpose()?.is_some() {},
            Some(arrivals) => {
                let body = body.collect().await?.to_bytes();
                // The owner may have seen enough; the client is answered anyway.
                let _ = arrivals.send(Arrival { head, body, status }).await;
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.behaviour.delay.is_zero() {
            tokio::time::sleep(self.behaviour.delay).await;
        }
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::SERVER, http::HeaderValue::from_static("postgate-sink"));
        Ok(response)
    }
}
