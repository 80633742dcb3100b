//! Carries spans to a collector of traces: OTLP over HTTP, in JSON
//! (OpenTelemetry Protocol 1.x, section "OTLP/HTTP"). The batches go over one
//! connection, as long as the collector keeps it.
//!
//! What a collector does not take after a few tries is dropped and counted: traces
//! never hold up mail, and never fill the memory.

use super::Options;
use super::ask::LIMIT;
use super::connection::{Failure, Link, Patience, Readers, Response};
use super::egress::Connector;
use super::retry::Trouble;
use super::terms::Terms;
use crate::compose::Endpoint;
use crate::post::{Destination, Trust};
use crate::tenant::Tenant;
use crate::trace::{self, Span, Spans};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use serde_json::Value;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

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
    let mut collector = Collector { endpoint, options, line: None, is_down: false };
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
    line: Option<Line>,
    is_down: bool,
}

/// How the collector is reached.
struct Line {
    /// The options that it was made for.
    made_for: Weak<Options>,
    connector: Connector,
    /// The connection of the last batch.
    link: Option<Link>,
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
        let request = request(&self.endpoint, &destination, trace::encode(batch, &options.instance))?;
        let made = self.line.take().filter(|line| line.made_for.as_ptr() == Arc::as_ptr(&options));
        let line = self.line.insert(made.unwrap_or_else(|| Line::new(&options)));
        let status = line.send(&destination, &request, &options).await.map_err(|why| why.to_string())?;
        if status.is_success() { Ok(()) } else { Err(status.to_string()) }
    }
}

impl Line {
    fn new(options: &Arc<Options>) -> Line {
        let connector = Connector::new(options.egress.clone(), Arc::clone(&options.metrics));
        Line { made_for: Arc::downgrade(options), connector, link: None }
    }

    /// Sends over the connection that is there, or over a fresh one.
    async fn send(
        &mut self,
        to: &Destination,
        request: &Request<Bytes>,
        options: &Options,
    ) -> Result<StatusCode, Trouble> {
        let deadline = Instant::now() + LIMIT;
        let patience = Patience { response: LIMIT, deadline, total: LIMIT, readers: Readers::People };
        if let Some(mut link) = self.link.take().filter(|link| link.is_reusable(0))
            && link.begin(0)
        {
            match link.send(request, patience).await {
                Err(failure) if failure.is_untaken => {}
                result => return self.keep(link, result),
            }
        }
        // It may need a certificate authority or a proxy of its own.
        let terms = Terms::clone(&options.book.terms(to));
        let mut link =
            self.connector.detour(to.clone(), Trust::Operator, terms).link(&self.connector, 0, LIMIT).await?;
        if !link.begin(0) {
            return Err(Trouble::Broken("connection closed before the request".to_owned()));
        }
        let result = link.send(request, patience).await;
        self.keep(link, result)
    }

    fn keep(&mut self, link: Link, result: Result<Response, Failure>) -> Result<StatusCode, Trouble> {
        let response = result.map_err(|failure| failure.trouble)?;
        self.link = Some(link);
        Ok(response.status)
    }
}

fn request(endpoint: &Endpoint, to: &Destination, spans: Value) -> Result<Request<Bytes>, String> {
    let path = endpoint.path.trim_end_matches('/');
    let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
    let body = Bytes::from(spans.to_string());
    let mut request = Request::post(path)
        .header(HOST, to.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len());
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(body).map_err(|error| error.to_string())
}
