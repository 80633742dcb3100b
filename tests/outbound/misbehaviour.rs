//! HTTP/2 receivers that go away, refuse, reset, flood, starve or hang.

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Wire, frame,
};
use crate::support::{post, within_deadline};
use crate::{Engine, attempt, deferred, origin, prior};
use postgate::deliver::lane::Limits;
use postgate::deliver::terms::Terms;
use postgate::post::Scheme;
use postgate::spool::Settlement;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is said of a stream: kind of the frame, its stream, its payload.
type Answer = fn(u32) -> (u8, u32, Vec<u8>);

/// A GOAWAY with this last stream and code.
fn goaway(last: u32, code: u32) -> Vec<u8> {
    [last.to_be_bytes(), code.to_be_bytes()].concat()
}

#[tokio::test]
async fn what_the_receiver_did_not_look_at_is_sent_again_at_once() {
    let cases: [(&str, Answer); 4] = [
        ("above the last stream", |_| (GOAWAY, 0, goaway(0, 0))),
        ("above the last stream, in trouble", |_| (GOAWAY, 0, goaway(0, 11))),
        ("refused", |stream| (RST_STREAM, stream, 7u32.to_be_bytes().to_vec())),
        ("first a warning, then the last stream", |_| (GOAWAY, 0, goaway(0, 0))),
    ];
    for (case, act) in cases {
        let warns = case.starts_with("first");
        let receiver = Frames::start(move |connection, mut wire: Wire| async move {
            wire.begin(&[]).await;
            if connection == 0 {
                let stream = wire.request().await.unwrap();
                if warns {
                    wire.write(GOAWAY, 0, 0, &goaway(0x7fff_ffff, 0)).await;
                }
                let (kind, on, payload) = act(stream);
                wire.write(kind, 0, on, &payload).await;
            }
            wire.answer_all().await;
        })
        .await;
        let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
        assert_eq!(attempt(prior(), &to).await, Settlement::Delivered, "{case}");
        assert_eq!(receiver.connections(), if case == "refused" { 1 } else { 2 }, "{case}");
    }
}

#[tokio::test]
async fn what_ends_otherwise_is_unknown_and_tried_again_later() {
    let cases: [(Answer, &str); 4] = [
        (|stream| (GOAWAY, 0, goaway(stream, 0)), "connection closed before the response"),
        (|stream| (GOAWAY, 0, goaway(stream, 2)), "the receiver closed the connection: INTERNAL_ERROR"),
        (
            |stream| (RST_STREAM, stream, 2u32.to_be_bytes().to_vec()),
            "the receiver reset the stream: INTERNAL_ERROR",
        ),
        (|stream| (RST_STREAM, stream, 8u32.to_be_bytes().to_vec()), "the receiver reset the stream: CANCEL"),
    ];
    for (act, reason) in cases {
        let receiver = Frames::start(move |connection, mut wire: Wire| async move {
            wire.begin(&[]).await;
            if connection == 0 {
                let stream = wire.request().await.unwrap();
                let (kind, on, payload) = act(stream);
                wire.write(kind, 0, on, &payload).await;
                if kind == GOAWAY {
                    return;
                }
            }
            wire.answer_all().await;
        })
        .await;
        let engine = Engine::start(prior());
        let id = engine.send(post(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)), b"body").await;
        let settlements = engine.spool.settled(id, 2).await;
        assert_eq!(deferred(&settlements[0]), reason);
        assert_eq!(settlements[1], Settlement::Delivered, "{reason}");
    }
}

#[tokio::test]
async fn a_receiver_that_always_refuses_is_not_asked_for_ever() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let receiver = Frames::start(move |_, mut wire: Wire| {
        let count = Arc::clone(&count);
        async move {
            wire.begin(&[]).await;
            while let Some(stream) = wire.request().await {
                count.fetch_add(1, Ordering::Relaxed);
                wire.write(RST_STREAM, 0, stream, &7u32.to_be_bytes()).await;
            }
        }
    })
    .await;
    let terms = Terms { schedule: Terms::default().schedule, ..prior() };
    let settlement = attempt(terms, &origin(Scheme::Http, "127.0.0.1", receiver.address)).await;
    assert_eq!(deferred(&settlement), "the receiver reset the stream: REFUSED_STREAM");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn streams_before_the_last_one_are_still_answered() {
    let receiver = Frames::start(|connection, mut wire: Wire| async move {
        wire.begin(&[]).await;
        if connection > 0 {
            return wire.answer_all().await;
        }
        let mut streams = Vec::new();
        while streams.len() < 5 {
            streams.extend(wire.request().await);
        }
        streams.sort();
        wire.write(GOAWAY, 0, 0, &goaway(streams[2], 0)).await;
        for stream in &streams[..3] {
            wire.answer(*stream).await;
        }
        assert!(wire.request().await.is_none(), "a request on a connection that was given up");
    })
    .await;
    let engine = Engine::start(prior());
    let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(engine.send(post(number, &to), b"body").await);
    }
    for id in ids {
        assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered]);
    }
    receiver.ended(1).await;
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn floods_end_the_connection() {
    const MOST: usize = 64 * 1024 * 1024;
    let headers = frame(HEADERS, 0, 1, &[0x88]);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    let floods: [(&str, Vec<u8>, Vec<u8>); 6] = [
        ("settings", vec![], settings),
        ("acknowledgements", vec![], frame(SETTINGS, ACK, 0, &[])),
        ("pings", vec![], frame(PING, 0, 0, &[0; 8])),
        ("resets", frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(RST_STREAM, 0, 1, &[0; 4])),
        ("empty data", frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(DATA, 0, 1, &[])),
        ("continuations", headers, frame(CONTINUATION, 0, 1, &[0x0f, 0, 1, b'x', 0])),
    ];
    for (name, first, flood) in floods {
        let taken = Arc::new(Mutex::new(None));
        let told = Arc::clone(&taken);
        let flood = flood.repeat(1000);
        let receiver = Frames::start(move |_, mut wire: Wire| {
            let (told, first, flood) = (Arc::clone(&told), first.clone(), flood.clone());
            async move {
                wire.begin(&[]).await;
                if wire.request().await.is_some() {
                    let octets = [first, flood].concat();
                    let taken = wire.flood(&octets, MOST).await;
                    told.lock().unwrap().get_or_insert(taken);
                }
            }
        })
        .await;
        let engine = Engine::start(prior());
        engine.first(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)).await;
        receiver.ended(1).await;
        let taken = taken.lock().unwrap().unwrap();
        // What fits into the buffers of the machine may still be written.
        assert!(taken < MOST / 2, "{name}: {taken} octets were taken");
    }
}

#[tokio::test]
async fn a_response_head_without_end_is_no_answer() {
    let receiver = Frames::start(|_, mut wire: Wire| async move {
        wire.begin(&[]).await;
        if let Some(stream) = wire.request().await {
            // A literal field of 16 KiB, again and again.
            let mut field = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x7f];
            field.resize(field.len() + 16_384 - 10, b'v');
            wire.write(HEADERS, 0, stream, &[0x88]).await;
            while wire.write(CONTINUATION, 0, stream, &field).await {}
        }
    })
    .await;
    let settlement = attempt(prior(), &origin(Scheme::Http, "127.0.0.1", receiver.address)).await;
    assert!(deferred(&settlement).starts_with("the connection broke HTTP/2"), "{settlement:?}");
    receiver.ended(1).await;
}

#[tokio::test]
async fn a_receiver_without_a_window_is_cut_at_the_end_of_the_attempt() {
    let receiver = Frames::start(|_, mut wire: Wire| async move {
        // INITIAL_WINDOW_SIZE 0.
        wire.begin(&[0, 4, 0, 0, 0, 0]).await;
        while wire.request().await.is_some() {}
    })
    .await;
    let total_timeout = Duration::from_millis(300);
    let terms = Terms { total_timeout, response_timeout: Duration::from_millis(100), ..prior() };
    let began = Instant::now();
    let engine = Engine::start(terms);
    // More than goes out before the settings are known.
    let body = vec![b'x'; 200_000];
    let id = engine.send(post(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)), &body).await;
    let settlements = engine.spool.settled(id, 1).await;
    assert_eq!(deferred(&settlements[0]), "timed out sending the request after 300 ms");
    assert!(began.elapsed() >= total_timeout);
}

#[tokio::test]
async fn a_connection_that_hangs_is_replaced() {
    let receiver = Frames::start(|connection, mut wire: Wire| async move {
        wire.begin(&[]).await;
        match connection {
            0 => while wire.read().await.is_some() {},
            _ => wire.answer_all().await,
        }
    })
    .await;
    let engine = Engine::start(Terms { response_timeout: Duration::from_millis(1200), ..prior() });
    let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
    let id = engine.send(post(1, &to), b"body").await;
    let settlements = engine.spool.settled(id, 2).await;
    assert_eq!(deferred(&settlements[0]), "timed out waiting for the answer to a PING after 300 ms");
    assert_eq!(settlements[1], Settlement::Delivered);
    receiver.ended(1).await;
}

#[tokio::test]
async fn a_stream_that_hangs_does_not_end_the_connection() {
    let receiver = Frames::start(|_, mut wire: Wire| async move {
        wire.begin(&[]).await;
        while let Some(stream) = wire.request().await {
            if stream > 1 {
                wire.answer(stream).await;
            }
        }
    })
    .await;
    let engine = Engine::start(Terms { response_timeout: Duration::from_millis(300), ..prior() });
    let id = engine.send(post(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)), b"body").await;
    let settlements = engine.spool.settled(id, 2).await;
    assert_eq!(deferred(&settlements[0]), "timed out waiting for the response head after 300 ms");
    assert_eq!(settlements[1], Settlement::Delivered);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_up_costs_no_attempt_when_it_says_what_it_took() {
    for says_so in [true, false] {
        let receiver = Frames::start(move |_, mut wire: Wire| async move {
            wire.begin(&[]).await;
            let Some(stream) = wire.request().await else { return };
            wire.answer(stream).await;
            wire.request().await;
            if says_so {
                wire.write(GOAWAY, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat()).await;
            }
        })
        .await;
        let engine =
            Engine::start(Terms { limits: Limits { max_connections: 1, ..prior().limits }, ..prior() });
        let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
        for number in 1..=3 {
            let settlement = within_deadline("an attempt", engine.first(number, &to)).await;
            if says_so || number == 1 {
                assert_eq!(settlement, Settlement::Delivered, "{number}");
            } else {
                assert_eq!(deferred(&settlement), "connection closed before the response");
                break;
            }
        }
    }
}
