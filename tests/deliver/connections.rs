//! Connections: kept, stale, broken off, and cut.

use super::*;

#[tokio::test]
async fn connections_are_kept_counted_and_capped() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    for number in 0..200 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(200).await;
    assert!(receiver.connections() <= 20, "{} connections", receiver.connections());
    let log = engine.stop().await;
    assert!(log.contains("attempt 1: reusing connection to 127.0.0.1 [127.0.0.1]:"), "{log}");

    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(single(Terms { max_posts_per_connection: 2, ..quick() }));
    for number in 0..6 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(6).await;
    let on: Vec<_> = receiver.requests().iter().map(|request| request.connection).collect();
    assert_eq!(on, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_keep_alive() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(Terms { keep_alive: Duration::from_millis(30), ..quick() });
    let id = engine.send(post(1, &destination(receiver.address))).await;
    engine.settled(id, 1).await;
    receiver.ended(1).await;
    let id = engine.send(post(2, &destination(receiver.address))).await;
    engine.settled(id, 1).await;
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_stale_connection_costs_no_attempt() {
    let receiver = Receiver::start(|request| match request.index {
        0 => answer(200).into_iter().chain([Act::ResetOnNext]).collect(),
        _ => answer(200),
    })
    .await;
    let engine = Engine::start(single(quick()));
    let first = engine.send(post(1, &destination(receiver.address))).await;
    engine.settled(first, 1).await;
    let second = engine.send(post(2, &destination(receiver.address))).await;
    assert_eq!(engine.settled(second, 1).await, [Settlement::Delivered]);
    let requests = receiver.requests();
    assert_eq!((requests.len(), requests[1].connection), (2, 1));
    assert_eq!(requests[1].header("Postgate-Attempt"), Some("1"));
    let log = engine.stop().await;
    assert!(log.contains("connection was closed meanwhile"), "{log}");
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_not_tried_twice() {
    let receiver = Receiver::start(|request| match request.index {
        0 => vec![Act::Reset],
        _ => answer(200),
    })
    .await;
    let engine = Engine::start(quick());
    let id = engine.send(post(1, &destination(receiver.address))).await;
    let settlements = engine.settled(id, 2).await;
    assert_eq!(deferral(&settlements[0]).1, "connection reset before the response");
    assert_eq!(receiver.requests()[1].header("Postgate-Attempt"), Some("2"));
}

#[tokio::test]
async fn broken_responses_have_the_outcome_of_what_arrived() {
    let long = "x".repeat(70_000);
    for (acts, delivered, reason) in [
        (vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Act::Reset], true, ""),
        (vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Act::Hang], true, ""),
        (vec![raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Act::Hang], true, ""),
        (vec![raw("HTTP/1.1 200 OK\r\n\r\nuntil the end"), Act::Close], true, ""),
        (vec![raw("HTTP/1.1 200 OK\r\n\r\n"), Act::Flood(vec![b'x'; 8192])], true, ""),
        (
            vec![raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{long}")), Act::Hang],
            true,
            "",
        ),
        (vec![raw("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], true, ""),
        (vec![raw("HTTP/1.1 200 OK\r\n"), Act::Close], false, "connection closed before the response"),
        (vec![Act::Close], false, "connection closed before the response"),
        (vec![raw("SSH-2.0-x\r\n\r\n"), Act::Hang], false, "the response is not HTTP: "),
        (
            vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")],
            false,
            "the response is not",
        ),
        (vec![Act::Flood(b"HTTP/1.1 200 OK\r\nX: y\r\n".to_vec())], false, "the response is not HTTP: "),
        (
            vec![raw("HTTP/1.1 200 "), Act::Hang],
            false,
            "timed out waiting for the response head after 300 ms",
        ),
    ] {
        let script = acts.clone();
        let receiver = Receiver::start(move |_| script.clone()).await;
        let delivery = Terms {
            response_timeout: Duration::from_millis(300),
            total_timeout: Duration::from_millis(600),
            ..Terms::default()
        };
        let engine = Engine::start(delivery);
        let id = engine.send(post(1, &destination(receiver.address))).await;
        let settlement = &engine.settled(id, 1).await[0];
        if delivered {
            assert_eq!(settlement, &Settlement::Delivered, "{acts:?}");
        } else {
            assert!(deferral(settlement).1.starts_with(reason), "{acts:?}: {settlement:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_response_is_cut_long_before_the_timeout() {
    let receiver =
        Receiver::start(|_| vec![raw("HTTP/1.1 200 OK\r\n\r\n"), Act::Flood(vec![b'x'; 8192])]).await;
    let engine = Engine::start(Terms { total_timeout: Duration::from_secs(3600), ..quick() });
    let id = engine.send(post(1, &destination(receiver.address))).await;
    assert_eq!(engine.settled(id, 1).await, [Settlement::Delivered]);
    receiver.ended(1).await;
}

#[tokio::test]
async fn a_connection_with_unread_octets_is_not_used_again() {
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(2);
    for acts in [
        vec![raw(&two)],
        vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")],
        vec![raw("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")],
        vec![raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000)))],
    ] {
        let script = acts.clone();
        let receiver = Receiver::start(move |_| script.clone()).await;
        let engine = Engine::start(single(quick()));
        for number in 1..=2 {
            engine.send(post(number, &destination(receiver.address))).await;
        }
        engine.spool.delivered(2).await;
        let on: Vec<_> = receiver.requests().iter().map(|request| request.connection).collect();
        assert_eq!(on, [0, 1], "{acts:?}");
    }
}

/// An engine that has ended has handed over all that was said, also on connections
/// that were kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_the_last_words() {
    let receiver = Receiver::start(|_| answer(200)).await;
    for number in 1..=500 {
        let engine = Engine::start(quick());
        let id = engine.send(post(number, &destination(receiver.address))).await;
        engine.settled(id, 1).await;
        let log = engine.stop().await;
        assert!(log.contains("> POST /"), "engine {number}: {log}");
    }
}
