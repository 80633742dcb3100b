//! Distributed traces: what happened to a message, from SMTP to HTTP, as spans
//! of OpenTelemetry.
//!
//! A span is handed over when it has ended, and never waits: when nobody takes
//! spans, or not fast enough, they are dropped and counted. A [`Tracer`] that is
//! off makes none and costs a branch. Who carries spans to a collector takes them
//! from [`Spans`] and writes them with [`encode`] (OTLP 1.x over HTTP, in JSON).
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions where
//! they have one. No attribute holds a secret: URLs go without userinfo and query.

use crate::clock;
use crate::post::Trace;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Spans that wait to be taken before more are dropped.
const WAITING: usize = 4096;

/// Where spans go; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    spans: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

/// Where spans come out.
#[derive(Debug)]
pub struct Spans {
    spans: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
}

/// A stretch of time in which one thing was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Which trace, and its own name in it.
    pub context: Trace,
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// What was done.
    pub name: &'static str,
    /// Which side of a conversation it is.
    pub kind: Kind,
    /// When it began.
    pub started_at: SystemTime,
    /// When it ended.
    pub ended_at: SystemTime,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// What there is to know about it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// Which side of a conversation a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was asked.
    Server,
    /// It asks.
    Client,
}

impl Tracer {
    /// A tracer that makes no spans.
    pub fn off() -> Tracer {
        Tracer(None)
    }

    /// A tracer, and where its spans come out.
    pub fn new() -> (Tracer, Spans) {
        let (spans, taken) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let inner = Inner { spans, dropped: Arc::clone(&dropped) };
        (Tracer(Some(Arc::new(inner))), Spans { spans: taken, dropped })
    }

    /// Begins a span: of the trace of `parent`, or of a new one. Nothing when the
    /// tracer is off.
    pub fn begin(&self, name: &'static str, kind: Kind, parent: Option<Trace>) -> Option<Span> {
        self.0.as_ref()?;
        let started_at = clock::exact();
        let trace = parent.map_or_else(|| fastrand::u128(1..).to_be_bytes(), |parent| parent.trace);
        Some(Span {
            context: Trace { trace, span: fastrand::u64(1..).to_be_bytes() },
            parent: parent.map(|parent| parent.span),
            name,
            kind,
            started_at,
            ended_at: started_at,
            error: None,
            attributes: Vec::new(),
        })
    }

    /// Hands over a span that ends now.
    pub fn end(&self, span: Span) {
        let Some(inner) = &self.0 else { return };
        if inner.spans.try_send(Span { ended_at: clock::exact(), ..span }).is_err() {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Spans {
    /// Waits for spans and takes up to `most`; none when no tracer is left.
    pub async fn take(&mut self, most: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        self.spans.recv_many(&mut spans, most).await;
        spans
    }

    /// Takes up to `most` of those that are there; nothing when there are none.
    pub fn take_now(&mut self, most: usize) -> Option<Vec<Span>> {
        let spans: Vec<Span> = std::iter::from_fn(|| self.spans.try_recv().ok()).take(most).collect();
        (!spans.is_empty()).then_some(spans)
    }

    /// How many were dropped since this was asked last.
    pub fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// The value of a `traceparent` header for what `context` asks for (W3C Trace
/// Context, section 3.2); always sampled.
pub fn traceparent(context: Trace) -> String {
    format!("00-{}-{}-01", HEXLOWER.encode(&context.trace), HEXLOWER.encode(&context.span))
}

/// The context that a `traceparent` header names; nothing when it is not valid.
/// A version above 0 is read as far as version 0 goes.
pub fn parse_traceparent(value: &str) -> Option<Trace> {
    let mut parts = value.trim().split('-');
    let version = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
    let trace: [u8; 16] = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?.try_into().ok()?;
    let span: [u8; 8] = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?.try_into().ok()?;
    let flags = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
    let has_more = parts.next().is_some();
    let is_known = match version.as_slice() {
        [0xff] => false,
        [0] => !has_more,
        version => version.len() == 1,
    };
    let is_whole = is_known && flags.len() == 1 && trace != [0; 16] && span != [0; 8];
    is_whole.then_some(Trace { trace, span })
}

/// Spans as the body of an OTLP request, in JSON; `instance` names this process.
pub fn encode(spans: &[Span], instance: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        ("service.name", json!("postgate")),
        ("service.version", json!(version)),
        ("service.instance.id", json!(instance)),
    ];
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&resource)},
        "scopeSpans": [{
            "scope": {"name": "postgate", "version": version},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

fn span(span: &Span) -> Value {
    // Numbers of 64 bits are texts in OTLP's JSON.
    let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |at| json!(since_epoch(at).as_nanos().to_string());
    let mut object = json!({
        "traceId": HEXLOWER.encode(&span.context.trace),
        "spanId": HEXLOWER.encode(&span.context.span),
        "name": span.name,
        "kind": match span.kind {
            Kind::Server => 2,
            Kind::Client => 3,
        },
        "startTimeUnixNano": nanos(span.started_at),
        "endTimeUnixNano": nanos(span.ended_at),
        "attributes": attributes(&span.attributes),
        "status": match &span.error {
            None => json!({"code": 1}),
            Some(error) => json!({"code": 2, "message": error}),
        },
    });
    if let (Some(parent), Some(object)) = (span.parent, object.as_object_mut()) {
        object.insert("parentSpanId".to_owned(), json!(HEXLOWER.encode(&parent)));
    }
    object
}

fn attributes(attributes: &[(&'static str, Value)]) -> Vec<Value> {
    let value = |value: &Value| match value {
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    attributes.iter().map(|(key, it)| json!({"key": key, "value": value(it)})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn contexts_are_read_and_written() {
        let context = parse_traceparent(PARENT).unwrap();
        assert_eq!(traceparent(context), PARENT);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds";
        assert_eq!(parse_traceparent(later), Some(context));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn spans_of_a_trace_are_told_in_their_order() {
        let (tracer, mut spans) = Tracer::new();
        let root = tracer.begin("receive", Kind::Server, None).unwrap();
        let mut child = tracer.begin("POST", Kind::Client, Some(root.context)).unwrap();
        child.error = Some("503 Service Unavailable".to_owned());
        child.attributes.push(("http.response.status_code", json!(503)));
        tracer.end(child);
        tracer.end(root);
        let taken = spans.take(10).await;
        let told = encode(&taken, "here");
        let told = &told["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(told[0]["traceId"], told[1]["traceId"]);
        assert_eq!(told[0]["parentSpanId"], told[1]["spanId"]);
        assert_eq!(told[1]["parentSpanId"], Value::Null);
        assert_eq!(told[0]["status"], json!({"code": 2, "message": "503 Service Unavailable"}));
        assert_eq!(
            told[0]["attributes"][0],
            json!({"key": "http.response.status_code", "value": {"intValue": "503"}})
        );
        let times: Vec<u128> = ["startTimeUnixNano", "endTimeUnixNano"]
            .map(|key| told[0][key].as_str().unwrap().parse().unwrap())
            .to_vec();
        assert!(times.is_sorted() && times[0] > 1_700_000_000_000_000_000);
    }

    #[test]
    fn spans_that_nobody_takes_are_dropped_and_counted() {
        assert!(Tracer::off().begin("x", Kind::Server, None).is_none());
        let (tracer, spans) = Tracer::new();
        for _ in 0..WAITING + 3 {
            tracer.end(tracer.begin("x", Kind::Server, None).unwrap());
        }
        assert_eq!((spans.dropped(), spans.dropped()), (3, 0));
    }
}
