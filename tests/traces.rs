//! Traces of the whole program: one from SMTP to HTTP, over a failure and a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::trace::parse_traceparent;
use serde_json::Value;
use std::collections::HashMap;
use support::DEADLINE;
use support::collector::{Answer, Collector};
use support::program::{CONFIG, Gateway, eventually, send};

/// Spans by name, as a collector was told of them; each with its attributes as texts.
fn spans(collector: &Collector) -> Vec<(String, Value, HashMap<String, String>)> {
    let bodies = collector.arrivals().into_iter().map(|(arrival, _)| arrival.body);
    let mut spans = Vec::new();
    for body in bodies {
        let told: Value = serde_json::from_slice(&body).unwrap();
        for span in told["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap() {
            let attributes = span["attributes"].as_array().unwrap().iter().map(|attribute| {
                let value = attribute["value"].as_object().unwrap().values().next().unwrap();
                (attribute["key"].as_str().unwrap().to_owned(), value.as_str().unwrap_or_default().to_owned())
            });
            spans.push((span["name"].as_str().unwrap().to_owned(), span.clone(), attributes.collect()));
        }
    }
    spans
}

#[test]
fn one_trace_leads_from_smtp_to_every_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Collector::start(|arrival| match arrival.attempt() {
        1 => Answer::Status(503),
        _ => Answer::Status(200),
    });
    let collector = Collector::start(|_| Answer::Status(200));
    let otlp = format!("{CONFIG}[log]\notlp = \"http://{}\"\n", collector.address);
    let gateway = Gateway::start(directory.path(), &otlp);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let message = format!("X-XsHttp-Traceparent: {parent}\r\nSubject: x\r\n\r\nhello\r\n");
    let recipient = receiver.recipient("/hook?token=s3cret");
    assert!(send(gateway.smtp, &[recipient], &message).is_accepted());
    let arrivals = receiver.received(2);
    let told = eventually("three spans", DEADLINE, || Some(spans(&collector)).filter(|told| told.len() >= 3));
    let of = |name: &str| told.iter().filter(|(span, ..)| span == name).collect::<Vec<_>>();
    let (received, attempts) = (of("receive"), of("POST"));
    assert_eq!((received.len(), attempts.len()), (1, 2));
    let (_, root, _) = received[0];
    assert_eq!(root["parentSpanId"], "00f067aa0ba902b7", "the sender's own trace goes on");
    for ((arrival, (_, span, attributes)), status) in arrivals.iter().zip(&attempts).zip(["503", "200"]) {
        let context = parse_traceparent(arrival.headers["traceparent"].as_str()).unwrap();
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["traceId"], hex(&context.trace).as_str());
        assert_eq!(span["spanId"], hex(&context.span).as_str(), "the receiver's part belongs to the attempt");
        assert_eq!(span["parentSpanId"], root["spanId"]);
        assert_eq!(attributes["http.response.status_code"], status);
        assert!(!span.to_string().contains("s3cret"), "{span}");
    }
    assert_ne!(attempts[0].1["spanId"], attempts[1].1["spanId"]);
    assert_eq!(attempts[0].1["status"]["code"], 2);
    for _ in 0..2 {
        let before = collector.count();
        assert!(send(gateway.smtp, &[receiver.recipient("/")], &message).is_accepted());
        collector.received(before + 1);
    }
    assert_eq!(collector.connections(), 1, "all on the same connection");
}

#[test]
fn without_a_collector_nothing_is_traced_and_a_senders_own_header_goes_through() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let gateway = Gateway::start(directory.path(), CONFIG);
    let recipient = receiver.recipient("/");
    assert!(
        send(gateway.smtp, std::slice::from_ref(&recipient), "Subject: x\r\n\r\nhello\r\n").is_accepted()
    );
    let message = "X-XsHttp-Traceparent: mine\r\nSubject: x\r\n\r\nhello\r\n";
    assert!(send(gateway.smtp, &[recipient], message).is_accepted());
    let arrivals = receiver.received(2);
    let mut headers: Vec<_> =
        arrivals.iter().map(|arrival| arrival.headers.get("traceparent").cloned()).collect();
    headers.sort();
    assert_eq!(headers, [None, Some("mine".to_owned())]);
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let config = format!("{CONFIG}[log]\notlp = \"http://127.0.0.1:1\"\n");
    let mut gateway = Gateway::start(directory.path(), &config);
    for _ in 0..20 {
        assert!(send(gateway.smtp, &[receiver.recipient("/")], "Subject: x\r\n\r\nhello\r\n").is_accepted());
    }
    receiver.received(20);
    assert_eq!(gateway.end("-TERM"), 0);
}
