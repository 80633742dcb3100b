//! The delivery engine against a scripted receiver and a spool in memory.
//!
//! Schedules are checked on what the spool is told, not by waiting for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::deliver::control::Control;
use postgate::deliver::lane::Limits;
use postgate::deliver::retry::Schedule;
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Terms};
use postgate::deliver::{self, Options};
use postgate::post::{Destination, Field, Post, PostId, Scheme, Timestamp, Trust};
use postgate::protocol_log::ProtocolLog;
use postgate::spool::{Settlement, Spool, SpoolError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::memory::MemorySpool;
use support::receiver::{Act, Receiver, answer, answer_with, raw};
use support::{admission, destination, post, within_deadline};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// A running engine on a spool of its own.
struct Engine {
    spool: Arc<MemorySpool>,
    _options: watch::Sender<Arc<Options>>,
    _control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    lines: std::sync::mpsc::Receiver<String>,
}

/// Options with a first retry at once, so that a test sees it.
fn quick() -> Terms {
    Terms { schedule: retrying(&[20]), ..Terms::default() }
}

fn retrying(millis: &[u64]) -> Schedule {
    let retry = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
    Schedule { retry, ..Schedule::default() }
}

/// One connection at a time, so that order shows.
fn single(delivery: Terms) -> Terms {
    Terms { limits: Limits { max_connections: 1, ..delivery.limits }, ..delivery }
}

fn loopback() -> Egress {
    Egress { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Egress::default() }
}

impl Engine {
    fn start(delivery: Terms) -> Engine {
        Engine::on(
            MemorySpool::new(),
            Options { book: Book::new(delivery, Vec::new()), egress: loopback(), ..Options::default() },
        )
    }

    fn on(spool: Arc<MemorySpool>, options: Options) -> Engine {
        let (stop, stopped) = watch::channel(false);
        let (log, lines) = ProtocolLog::channel();
        let (control, requests) = Control::new();
        let (options, changing) = watch::channel(Arc::new(options));
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let task = tokio::spawn(deliver::run(shared, changing, requests, log, stopped));
        Engine { spool, _options: options, _control: control, stop, task, lines }
    }

    async fn send(&self, post: Post) -> PostId {
        commit(&self.spool, post).await
    }

    async fn settled(&self, id: PostId, count: usize) -> Vec<Settlement> {
        self.spool.settled(id, count).await
    }

    /// Ends the engine and returns the protocol log.
    async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        within_deadline("the engine's end", self.task).await.unwrap();
        self.lines.try_iter().collect()
    }
}

async fn commit(spool: &MemorySpool, post: Post) -> PostId {
    let id = post.id;
    spool.commit(admission(post, b"body")).await.unwrap();
    id
}

/// The delay and reason of a deferral.
fn deferral(settlement: &Settlement) -> (Duration, &str) {
    match settlement {
        Settlement::Again { after, last } => (*after, &last.reason),
        other => panic!("not deferred: {other:?}"),
    }
}

fn failure(settlement: &Settlement) -> &str {
    match settlement {
        Settlement::Failed { last } => &last.reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// An address at which nothing listens.
async fn dead_end() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_post_can_name_its_own_user_agent() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    let mut post = post(1, &destination(receiver.address));
    post.headers.push(Field { name: "User-Agent".to_owned(), value: b"shop/2".to_vec() });
    let id = engine.send(post).await;
    assert_eq!(engine.settled(id, 1).await, [Settlement::Delivered]);
    let head = &receiver.requests()[0].head;
    assert!(head.contains("User-Agent: shop/2\r\n") && !head.contains("Postgate/"), "{head}");
}

#[tokio::test]
async fn a_post_arrives_as_the_request_it_is_and_the_log_tells_it() {
    let receiver = Receiver::start(|request| {
        answer_with(if request.index == 0 { 500 } else { 200 }, "Set-Cookie: canary\r\n")
    })
    .await;
    let engine = Engine::start(quick());
    let mut post = post(0x52a0_0000_0000_0002, &destination(receiver.address));
    post.path = "/a%20b/?x={y}&api_key=canary".to_owned();
    for (name, value) in [("X-Twice", "1"), ("X-Twice", "2"), ("Authorization", "canary"), ("Host", "evil")] {
        post.headers.push(Field { name: name.to_owned(), value: value.as_bytes().to_vec() });
    }
    let id = engine.send(post).await;
    assert_eq!(engine.settled(id, 2).await[1], Settlement::Delivered);
    let request = &receiver.requests()[0];
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "POST /a%20b/?x={{y}}&api_key=canary HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n\
         Content-Length: 4\r\nUser-Agent: Postgate/{version}\r\nPostgate-Id: 52a0000000000002\r\n\
         Postgate-Attempt: 1\r\nIdempotency-Key: 52a0000000000002\r\nCdn-Loop: postgate\r\nX-Twice: 1\r\n\
         X-Twice: 2\r\nAuthorization: canary\r\nAccept-Encoding: identity\r\n\r\n",
        receiver.address
    );
    assert_eq!(request.head, expected);
    assert_eq!(request.body, b"body");
    let log = engine.stop().await;
    let port = receiver.address.port();
    for line in [
        format!("* 52a0000000000002 attempt 1: connected to 127.0.0.1 [127.0.0.1]:{port}\n"),
        "> POST /a%20b/?x={y}&api_key=*** HTTP/1.1\n".to_owned(),
        "> Authorization: ***\n".to_owned(),
        "> Content-Type: text/plain\n".to_owned(),
        "> (body, 4 bytes)\n".to_owned(),
        "< HTTP/1.1 500 Internal Server Error\n".to_owned(),
        "< Set-Cookie: ***\n".to_owned(),
        "< HTTP/1.1 200 OK\n".to_owned(),
        "* 52a0000000000002 delivered in ".to_owned(),
    ] {
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert_eq!(log.matches("> Content-Type").count(), 1, "only of what was not taken\n{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_post_without_a_body_still_says_its_length() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    for (number, method) in [(1, "POST"), (2, "GET"), (3, "DELETE")] {
        let post = Post { method: method.to_owned(), ..post(number, &destination(receiver.address)) };
        engine.spool.commit(admission(post, b"")).await.unwrap();
    }
    for request in receiver.received(3).await {
        assert_eq!(request.header("Content-Length"), Some("0"), "{}", request.head);
    }
}

#[tokio::test]
async fn attempts_share_the_key_and_count_on() {
    let receiver = Receiver::start(|request| answer(if request.index < 2 { 500 } else { 204 })).await;
    let engine = Engine::start(quick());
    let mut post = post(1, &destination(receiver.address));
    post.idempotency_key = Some("order-17".to_owned());
    let id = engine.send(post).await;
    let settlements = engine.settled(id, 3).await;
    let (after, reason) = deferral(&settlements[0]);
    assert_eq!(reason, "500 Internal Server Error");
    assert!((18..=22).contains(&after.as_millis()), "{after:?}");
    assert_eq!(settlements[2], Settlement::Delivered);
    for (index, request) in receiver.requests().iter().enumerate() {
        assert_eq!(request.header("Postgate-Attempt"), Some((index + 1).to_string().as_str()));
        assert_eq!(request.header("Idempotency-Key"), Some("order-17"));
        assert_eq!(request.header("Postgate-Id"), Some("0000000000000001"));
    }
}

#[tokio::test]
async fn posts_of_one_message_have_keys_of_their_own() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    let mut first = post(1, &destination(receiver.address));
    first.idempotency_key = Some("order-17".to_owned());
    first.id.number = 1;
    let mut both = admission(first, b"");
    let mut second = both.posts[0].clone();
    second.id.number = 2;
    both.posts.push(second);
    engine.spool.commit(both).await.unwrap();
    let requests = receiver.received(2).await;
    let mut keys: Vec<_> =
        requests.iter().map(|request| request.header("Idempotency-Key").unwrap()).collect();
    keys.sort();
    assert_eq!(keys, ["order-17-1", "order-17-2"]);
}

#[tokio::test]
async fn failures_for_good_are_not_repeated() {
    let receiver = Receiver::start(|request| match request.index {
        0 => answer(404),
        _ => answer_with(302, "Location: http://127.0.0.1:1/\r\n"),
    })
    .await;
    let engine = Engine::start(single(quick()));
    for (number, reason) in [(1, "404 Not Found"), (2, "302 Found to http://127.0.0.1:1/ (not followed)")] {
        let id = engine.send(post(number, &destination(receiver.address))).await;
        assert_eq!(failure(&engine.settled(id, 1).await[0]), reason);
    }
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn posts_end_by_attempts_by_age_and_by_damage() {
    let receiver = Receiver::start(|_| answer(500)).await;
    let schedule = Schedule { max_attempts: Some(2), ..retrying(&[20]) };
    let engine = Engine::start(Terms { schedule, ..Terms::default() });
    let to = destination(receiver.address);
    let id = engine.send(post(1, &to)).await;
    let settlements = engine.settled(id, 2).await;
    assert_eq!(failure(&settlements[1]), "given up after 2 attempts: 500 Internal Server Error");
    let old = Post { accepted_at: Timestamp(0), ..post(2, &to) };
    let id = engine.send(old).await;
    assert_eq!(failure(&engine.settled(id, 1).await[0]), "expired before it could be sent");
    let short = Post { expires_at: Some(Timestamp(1)), ..post(3, &to) };
    let id = engine.send(short).await;
    assert_eq!(failure(&engine.settled(id, 1).await[0]), "expired before it could be sent");
    let id = post(4, &to).id;
    engine.spool.damage(id);
    engine.send(post(4, &to)).await;
    assert_eq!(failure(&engine.settled(id, 1).await[0]), "damaged: body of 0000000000000004");
    assert_eq!(receiver.requests().len(), 2, "only the first post was sent");
}

#[tokio::test]
async fn what_waited_before_the_start_goes_first_by_priority() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let spool = MemorySpool::new();
    for (number, priority) in [(1, 9), (2, 5), (3, 0), (4, 5)] {
        commit(&spool, Post { priority, ..post(number, &destination(receiver.address)) }).await;
    }
    let engine = Engine::on(
        spool,
        Options { book: Book::new(single(quick()), Vec::new()), egress: loopback(), ..Options::default() },
    );
    engine.spool.delivered(4).await;
    let order: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.header("Postgate-Id").unwrap()[15..].to_owned())
        .collect();
    assert_eq!(order, ["3", "2", "4", "1"]);
}

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
async fn the_window_opens_to_the_cap_for_a_receiver_that_answers() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let receiver = Receiver::start(move |request| {
        let wait = (request.index >= 400).then(|| Act::Wait(Arc::clone(&held)));
        wait.into_iter().chain(answer(200)).collect()
    })
    .await;
    let engine = Engine::start(quick());
    for number in 0..500 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    let requests = receiver.received(420).await;
    assert_eq!(requests.len(), 420, "20 at once");
    gate.add_permits(100);
    engine.spool.delivered(500).await;
    assert_eq!(receiver.connections(), 20);
}

#[tokio::test]
async fn a_stranger_sees_a_modest_window_first() {
    let receiver = Receiver::start(|_| vec![Act::Hang]).await;
    let engine = Engine::start(Terms { response_timeout: Duration::from_millis(300), ..quick() });
    for number in 0..50 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    let first = receiver.received(5).await;
    assert_eq!(first.len(), 5);
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

#[tokio::test]
async fn retry_after_holds_the_whole_destination() {
    let receiver = Receiver::start(|request| match request.index {
        0 => answer_with(503, "Retry-After: 1\r\n"),
        _ => answer(200),
    })
    .await;
    let engine = Engine::start(single(quick()));
    let first = engine.send(post(1, &destination(receiver.address))).await;
    let begin = Instant::now();
    let settlements = engine.settled(first, 1).await;
    assert_eq!(deferral(&settlements[0]), (Duration::from_secs(1), "503 Service Unavailable"));
    let second = engine.send(post(2, &destination(receiver.address))).await;
    engine.settled(second, 1).await;
    assert!(begin.elapsed() >= Duration::from_millis(950), "{:?}", begin.elapsed());
    engine.spool.delivered(2).await;
    let log = engine.stop().await;
    assert!(log.contains("0000000000000001 deferred for 1 s: 503 Service Unavailable\n"), "{log}");
}

#[tokio::test]
async fn after_ten_troubles_one_probe_at_a_time_until_it_is_back() {
    let address = dead_end().await;
    let delivery = Terms { schedule: retrying(&[400]), ..Terms::default() };
    let engine = Engine::start(delivery);
    for number in 0..40 {
        engine.send(post(number, &destination(address))).await;
    }
    engine.spool.attempted(10).await;
    let opened = Instant::now();
    engine.spool.attempted(16).await;
    let first = &engine.spool.settlements(post(0, &destination(address)).id)[0];
    assert_eq!(deferral(first).1, "connection refused");
    // Those under way when the breaker opened, then one probe an interval.
    let most = 14 + 1 + opened.elapsed().as_millis() as usize / 360;
    let tried = engine.spool.attempts();
    assert!(tried <= most, "{tried} attempts after {:?}", opened.elapsed());

    let receiver = Receiver::on(TcpListener::bind(address).await.unwrap(), |_| answer(200));
    engine.spool.delivered(40).await;
    assert_eq!(receiver.requests().len(), 40);
}

#[tokio::test]
async fn a_dead_destination_delays_no_other() {
    let hole = Receiver::start(|_| vec![Act::Hang]).await;
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    for number in 0..300 {
        engine.send(post(number, &destination(hole.address))).await;
    }
    hole.received(5).await;
    let begin = Instant::now();
    for number in 1000..1100 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(100).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_post_refused_for_itself_slows_no_neighbour() {
    let receiver = Receiver::start(|request| answer(if request.index < 30 { 500 } else { 200 })).await;
    let engine = Engine::start(Terms { schedule: retrying(&[60_000]), ..Terms::default() });
    for number in 0..130 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(100).await;
}

#[tokio::test]
async fn untrusted_urls_stay_outside_unless_allowed() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let port = receiver.address.port();
    let named = |host: &str, trust| {
        Arc::new(Destination { host: host.to_owned(), trust, ..(*destination(receiver.address)).clone() })
    };
    let own = Egress { own: vec![receiver.address], ..loopback() };
    let here = format!("egress-denied: 127.0.0.1:{port} is this gateway itself");
    let loopback_denied = "egress-denied: 127.0.0.1 is loopback; allow it with [egress] allow";
    for (egress, host, trust, denied) in [
        (Egress::default(), "127.0.0.1", Trust::Wire, Some(loopback_denied)),
        (Egress::default(), "localhost", Trust::Wire, Some(loopback_denied)),
        (Egress::default(), "[::ffff:127.0.0.1]", Trust::Wire, Some("egress-denied: ::ffff:127.0.0.1 is an")),
        (loopback(), "127.0.0.1", Trust::Wire, None),
        (Egress::default(), "127.0.0.1", Trust::Operator, None),
        (Egress::default(), "localhost", Trust::Operator, None),
        (own.clone(), "127.0.0.1", Trust::Wire, Some(here.as_str())),
        (own, "localhost", Trust::Operator, Some(here.as_str())),
    ] {
        let before = receiver.connections();
        let engine = Engine::on(
            MemorySpool::new(),
            Options { book: Book::new(quick(), Vec::new()), egress, ..Options::default() },
        );
        let id = engine.send(post(1, &named(host, trust))).await;
        let settlement = &engine.settled(id, 1).await[0];
        match denied {
            None => assert_eq!(settlement, &Settlement::Delivered, "{host} {trust:?}"),
            Some(rule) => {
                assert!(failure(settlement).starts_with(rule), "{host}: {settlement:?}");
                assert_eq!(receiver.connections(), before, "no connection to {host}");
            }
        }
        engine.stop().await;
    }
}

#[tokio::test]
async fn names_that_do_not_exist_are_tried_again() {
    let engine = Engine::start(quick());
    let to =
        Destination { host: "gone.invalid".to_owned(), port: 80, ..(*destination(dead_end().await)).clone() };
    let id = engine.send(post(1, &Arc::new(to))).await;
    let reason = engine.settled(id, 1).await;
    let (_, reason) = deferral(&reason[0]);
    assert!(reason.contains("gone.invalid") || reason.contains("name"), "{reason}");
}

#[tokio::test]
async fn https_to_something_else_says_so() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(Terms { connect_timeout: Duration::from_millis(300), ..quick() });
    let to = Destination { scheme: Scheme::Https, ..(*destination(receiver.address)).clone() };
    let id = engine.send(post(1, &Arc::new(to))).await;
    let reason = engine.settled(id, 1).await;
    assert_eq!(deferral(&reason[0]).1, "timed out connecting after 300 ms");
}

#[tokio::test]
async fn stop_lets_attempts_finish_and_begins_none() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let receiver =
        Receiver::start(move |_| [Act::Wait(Arc::clone(&held))].into_iter().chain(answer(200)).collect())
            .await;
    let engine = Engine::start(single(quick()));
    for number in 1..=3 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    receiver.received(1).await;
    engine.stop.send(true).unwrap();
    gate.add_permits(3);
    within_deadline("the engine's end", engine.task).await.unwrap();
    let ids: Vec<_> = (1..=3).map(|number| post(number, &destination(receiver.address)).id).collect();
    assert_eq!(engine.spool.settlements(ids[0]), [Settlement::Delivered]);
    assert_eq!(receiver.requests().len(), 1);
    assert!(engine.spool.settlements(ids[1]).is_empty());
}

#[tokio::test]
async fn a_spool_that_fails_for_a_while_is_asked_again() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let spool = MemorySpool::new();
    let id = commit(&spool, post(1, &destination(receiver.address))).await;
    spool.break_with(Some(SpoolError::Failed("disk".to_owned())));
    let engine = Engine::on(
        spool,
        Options { book: Book::new(quick(), Vec::new()), egress: loopback(), ..Options::default() },
    );
    tokio::task::yield_now().await;
    engine.spool.break_with(None);
    assert_eq!(engine.settled(id, 1).await, [Settlement::Delivered]);
}

#[tokio::test]
async fn an_attempt_that_panics_ends_alone() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    let to = destination(receiver.address);
    engine.spool.mine(post(1, &to).id);
    let id = engine.send(post(1, &to)).await;
    let other = engine.send(post(2, &to)).await;
    let settlements = engine.settled(id, 2).await;
    assert_eq!(deferral(&settlements[0]).1, "the attempt ended by an internal fault");
    assert_eq!(settlements[1], Settlement::Delivered);
    assert_eq!(engine.settled(other, 1).await, [Settlement::Delivered]);
    engine.stop().await;
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused_by_name() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            assert!(acceptor.accept(socket).await.is_err(), "the client went on");
        }
    });
    let engine = Engine::start(quick());
    let to = Destination { scheme: Scheme::Https, ..(*destination(address)).clone() };
    let id = engine.send(post(1, &Arc::new(to))).await;
    let settlements = engine.settled(id, 1).await;
    assert_eq!(deferral(&settlements[0]).1, "TLS: the certificate is not trusted: unknown issuer");
}
