//! Carries spans to a collector of traces: OTLP over HTTP, in JSON
//! (OpenTelemetry Protocol 1.x, section "OTLP/HTTP").
//!
//! What a collector does not take after a few tries is dropped and counted: traces
//! never hold up mail, and never fill the memory.

use super::Options;
use super::ask::{LIMIT, ask};
use super::credentials::Ways;
use super::egress::Connector;
use crate::compose::Endpoint;
use crate::tenant::Tenant;
use crate::trace::{self, Span, Spans};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Where a collector takes traces, below the URL that is configured.
const PATH: &str = "/v1/traces";
/// Spans of one request.
const BATCH: usize = 512;
/// How long spans wait for company.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pauses before the same spans are sent again.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];
/// How long what is left may take when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Carries spans to the collector at `endpoint`, the operator's own URL, until
/// `stop` turns true; then what is left, as far as that goes quickly.
pub async fn carry(
    mut spans: Spans,
    endpoint: Endpoint,
    options: watch::Receiver<Arc<Options>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut collector = Collector { endpoint, options, connector: None, is_down: false };
    loop {
        let batch = tokio::select! {
            batch = spans.take(BATCH) => batch,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        if batch.is_empty() {
            // Nobody can hand over spans any more; a part does not end by itself.
            let _ = stop.wait_for(|stop| *stop).await;
            return;
        }
        let sending = collector.send_patiently(&batch, spans.dropped());
        tokio::select! {
            () = sending => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        // Where there were so many there are more.
        let company = if batch.len() < BATCH { PATIENCE } else { Duration::ZERO };
        tokio::select! {
            () = sleep(company) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let left = async {
        while let Some(batch) = spans.take_now(BATCH) {
            if collector.send(&batch).await.is_err() {
                return;
            }
        }
    };
    // What is not carried by then is lost, as traces may be.
    let _ = timeout(FAREWELL, left).await;
}

struct Collector {
    endpoint: Endpoint,
    options: watch::Receiver<Arc<Options>>,
    /// Made for the options beside it; its TLS sessions are resumed.
    connector: Option<(Weak<Options>, Connector)>,
    is_down: bool,
}

impl Collector {
    /// Sends again what was not taken, and says once when it gives up.
    async fn send_patiently(&mut self, batch: &[Span], dropped: u64) {
        if dropped > 0 {
            tracing::warn!("{dropped} spans were dropped: more than the collector takes");
        }
        let mut sent = self.send(batch).await;
        for pause in AGAIN {
            if sent.is_ok() {
                break;
            }
            sleep(pause).await;
            sent = self.send(batch).await;
        }
        match sent {
            Ok(()) => self.is_down = false,
            Err(reason) if !self.is_down => {
                self.is_down = true;
                tracing::warn!(
                    "the collector {} takes no traces, which are dropped: {reason}",
                    self.endpoint
                );
            }
            Err(_) => {}
        }
    }

    async fn send(&mut self, batch: &[Span]) -> Result<(), String> {
        let options = Arc::clone(&self.options.borrow());
        let destination = self.endpoint.destination(&Tenant::default());
        let body = trace::encode(batch, &options.instance).to_string();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        let path = self.endpoint.path.trim_end_matches('/');
        let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
        *request.uri_mut() = path.parse().map_err(|_| "its path is not valid in HTTP".to_owned())?;
        let headers = request.headers_mut();
        let host = HeaderValue::try_from(destination.authority()).map_err(|error| error.to_string())?;
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.endpoint.authorization {
            let value = HeaderValue::try_from(authorization).map_err(|error| error.to_string())?;
            headers.insert(AUTHORIZATION, value);
        }
        let made = self.connector.take().filter(|(made_for, _)| made_for.as_ptr() == Arc::as_ptr(&options));
        let (_, connector) = self.connector.insert(made.unwrap_or_else(|| {
            let connector = Connector::new(options.egress.clone(), Arc::clone(&options.metrics));
            (Arc::downgrade(&options), connector)
        }));
        let ways = Ways { connector, book: &options.book };
        let status = ask(&destination, request, LIMIT, ways).await?.status();
        if status.is_success() { Ok(()) } else { Err(status.to_string()) }
    }
}
