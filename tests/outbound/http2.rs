//! HTTP/2 with receivers that speak it well.

use crate::authority::{Authority, Clients};
use crate::server::{Habits, Server};
use crate::support::{post, within_deadline};
use crate::{Engine, attempt, deferred, failed, loopback, origin, prior, quick};
use bytes::Bytes;
use http::Version;
use postgate::deliver::Options;
use postgate::deliver::lane::{Adaptive, Limits};
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Http2, Terms, TlsTerms, TlsVersion};
use postgate::post::{Destination, Field, Post, Scheme, Trust};
use postgate::spool::Settlement;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A receiver with TLS that speaks these, and terms that trust it.
async fn secured(protocols: &[&str], habits: Habits) -> (Server, Terms, Arc<Destination>) {
    let authority = Authority::new();
    let own = authority.issue("hook", &["hook.localhost"]);
    let tls = Some(Arc::new(authority.server(&own, Clients::Anybody, protocols)));
    let server = Server::start(Habits { tls, ..habits }).await;
    let trusting = TlsTerms { ca: Some(authority.own_pem().into()), ..TlsTerms::default() };
    let to = origin(Scheme::Https, "hook.localhost", server.address);
    (server, Terms { tls: Arc::new(trusting), ..quick() }, to)
}

#[tokio::test]
async fn the_version_is_what_both_sides_speak() {
    for (speaks, wants, version) in [
        (&["h2", "http/1.1"][..], Http2::Auto, Version::HTTP_2),
        (&["http/1.1"], Http2::Auto, Version::HTTP_11),
        (&[], Http2::Auto, Version::HTTP_11),
        (&["h2", "http/1.1"], Http2::Off, Version::HTTP_11),
        (&["h2"], Http2::PriorKnowledge, Version::HTTP_2),
    ] {
        let (server, terms, to) = secured(speaks, Habits::default()).await;
        let settlement = attempt(Terms { http2: wants, ..terms }, &to).await;
        assert_eq!(settlement, Settlement::Delivered, "{speaks:?} {wants:?}");
        assert_eq!(server.seen(1).await[0].version, version, "{speaks:?} {wants:?}");
    }
}

#[tokio::test]
async fn a_connection_of_the_operators_carries_no_post_of_the_wire() {
    for (terms, version) in [(quick(), Version::HTTP_11), (prior(), Version::HTTP_2)] {
        let server = Server::start(Habits { prior: version == Version::HTTP_2, ..Habits::default() }).await;
        let to = origin(Scheme::Http, "127.0.0.1", server.address);
        let engine = Engine::of(Book::new(terms, Vec::new()), Egress { allow: Vec::new(), ..loopback() });
        let send = |number, trust| engine.first_of(Post { trust, ..post(number, &to) });
        for number in [1, 3] {
            assert_eq!(send(number, Trust::Operator).await, Settlement::Delivered);
            let denied = send(number + 1, Trust::Wire).await;
            assert!(failed(&denied).starts_with("egress-denied: 127.0.0.1 is loopback"), "{denied:?}");
        }
        let seen = server.seen(2).await;
        assert!(seen.len() == 2 && seen.iter().all(|seen| seen.version == version));
    }
}

#[tokio::test]
async fn a_post_arrives_as_the_request_it_is_and_the_log_tells_it() {
    let (server, terms, to) = secured(&["h2"], Habits::default()).await;
    let engine = Engine::start(terms);
    let mut post = post(0x52a0_0000_0000_0002, &to);
    post.path = "/a%20b/?x=1&api_key=canary".to_owned();
    for (name, value) in [("X-Twice", "1"), ("X-Twice", "2"), ("Authorization", "canary")] {
        post.headers.push(Field { name: name.to_owned(), value: value.as_bytes().to_vec() });
    }
    let id = engine.send(post, b"the body").await;
    assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered]);
    let seen = &server.seen(1).await[0];
    let port = server.address.port();
    assert_eq!(seen.head.uri.to_string(), format!("https://hook.localhost:{port}/a%20b/?x=1&api_key=canary"));
    assert_eq!((seen.head.method.as_str(), &seen.body[..]), ("POST", &b"the body"[..]));
    let headers = &seen.head.headers;
    assert_eq!(headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
    for (name, value) in [("postgate-attempt", "1"), ("content-length", "8"), ("authorization", "canary")] {
        assert_eq!(headers[name], value);
    }
    assert!(!headers.contains_key("host"), "{headers:?}");
    let log = engine.stop().await;
    for line in [
        format!("attempt 1: connected to hook.localhost [127.0.0.1]:{port}, TLSv1.3, HTTP/2\n"),
        "> POST /a%20b/?x=1&api_key=*** HTTP/2\n".to_owned(),
        "> (body, 8 bytes)\n".to_owned(),
        "< HTTP/2 200\n".to_owned(),
    ] {
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert!(!log.contains("canary"), "{log}");
}

/// As many streams as there are posts.
fn wide(terms: Terms, streams: usize) -> Terms {
    let limits =
        Limits { max_connections: streams, max_streams: streams, adaptive: Adaptive::Off, ..terms.limits };
    Terms { limits, ..terms }
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let habits = Habits { gate: Some(Arc::clone(&gate)), ..Habits::default() };
    let (server, terms, to) = secured(&["h2", "http/1.1"], habits).await;
    let engine = Engine::start(wide(terms, 50));
    for number in 0..50 {
        engine.send(post(number, &to), b"body").await;
    }
    server.seen(50).await;
    assert_eq!(server.connections(), 1);
    gate.add_permits(50);
    engine.spool.delivered(50).await;
    let log = engine.stop().await;
    assert_eq!(log.matches("connected to hook.localhost").count(), 1, "{log}");
}

#[tokio::test]
async fn a_receiver_without_http2_gets_connections_side_by_side() {
    let gate = Arc::new(Semaphore::new(0));
    let habits = Habits { gate: Some(Arc::clone(&gate)), ..Habits::default() };
    let (server, terms, to) = secured(&["http/1.1"], habits).await;
    let engine = Engine::start(wide(terms, 10));
    for number in 0..10 {
        engine.send(post(number, &to), b"body").await;
    }
    server.seen(10).await;
    assert_eq!(server.connections(), 10);
    gate.add_permits(10);
    engine.spool.delivered(10).await;
}

#[tokio::test]
async fn as_many_streams_run_as_the_receiver_takes() {
    for streams in [1, 3] {
        let habits = Habits { prior: true, streams: Some(streams), ..Habits::default() };
        let server = Server::start(habits).await;
        let engine = Engine::start(wide(prior(), 40));
        let to = origin(Scheme::Http, "127.0.0.1", server.address);
        for number in 0..100 {
            engine.send(post(number, &to), b"body").await;
        }
        engine.spool.delivered(100).await;
        assert_eq!((server.connections(), engine.spool.attempts()), (1, 100), "{streams} streams");
    }
}

#[tokio::test]
async fn a_connection_has_as_many_posts_as_it_may() {
    let server = Server::start(Habits { prior: true, ..Habits::default() }).await;
    let engine = Engine::start(Terms { max_posts_per_connection: 4, ..wide(prior(), 8) });
    let to = origin(Scheme::Http, "127.0.0.1", server.address);
    for number in 0..20 {
        engine.send(post(number, &to), b"body").await;
    }
    engine.spool.delivered(20).await;
    let seen = server.seen(20).await;
    for connection in 0..server.connections() {
        let posts = seen.iter().filter(|seen| seen.connection == connection).count();
        assert!(posts <= 4, "{posts} posts on connection {connection}");
    }
}

#[tokio::test]
async fn of_a_long_response_the_status_counts() {
    let body = Bytes::from(vec![b'x'; 10 * 1024 * 1024]);
    let server = Server::start(Habits { prior: true, body, ..Habits::default() }).await;
    let engine = Engine::start(prior());
    let to = origin(Scheme::Http, "127.0.0.1", server.address);
    for number in 0..20 {
        assert_eq!(engine.first(number, &to).await, Settlement::Delivered);
    }
    assert_eq!(server.connections(), 1, "a stream was reset, not the connection");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let server = Server::start(Habits { prior: true, ..Habits::default() }).await;
    let engine = Engine::start(prior());
    let to = origin(Scheme::Http, "127.0.0.1", server.address);
    let body: Vec<u8> = (0..5_000_000u32).map(|number| number.to_le_bytes()[0]).collect();
    let id = engine.send(post(1, &to), &body).await;
    assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered]);
    assert_eq!(server.seen(1).await[0].body, body);
}

#[tokio::test]
async fn who_waits_for_a_connection_that_fails_goes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            silent.push(socket);
            count.send_replace(silent.len());
        }
    });
    let connect_timeout = Duration::from_millis(300);
    let schedule = Terms::default().schedule;
    let engine = Engine::start(Terms { connect_timeout, schedule, ..wide(quick(), 5) });
    let to = origin(Scheme::Https, "127.0.0.1", address);
    let began = Instant::now();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(engine.send(post(number, &to), b"body").await);
    }
    let mut firsts = Vec::new();
    for id in ids {
        firsts.push(engine.spool.settled(id, 1).await.remove(0));
    }
    assert!(began.elapsed() < 3 * connect_timeout, "one after another: {:?}", began.elapsed());
    assert!(*counted.borrow() <= 2, "one connection asks for all, and then another");
    firsts.retain(|first| *first != Settlement::Back);
    assert_eq!(firsts.len(), 1, "one trouble is one: {firsts:?}");
    assert_eq!(deferred(&firsts[0]), "timed out connecting after 300 ms");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let server = Server::start(Habits { prior: true, ..Habits::default() }).await;
    let engine = Engine::start(Terms { keep_alive: Duration::from_millis(200), ..prior() });
    let to = origin(Scheme::Http, "127.0.0.1", server.address);
    assert_eq!(engine.first(1, &to).await, Settlement::Delivered);
    assert_eq!(engine.first(2, &to).await, Settlement::Delivered);
    assert_eq!(server.connections(), 1);
    within_deadline("another connection", async {
        for number in 3.. {
            tokio::time::sleep(Duration::from_millis(250)).await;
            assert_eq!(engine.first(number, &to).await, Settlement::Delivered);
            if server.connections() > 1 {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_path_that_looks_like_a_host_is_a_path() {
    let server = Server::start(Habits { prior: true, ..Habits::default() }).await;
    let to = origin(Scheme::Http, "127.0.0.1", server.address);
    let post = Post { path: "//evil.example/x".to_owned(), ..post(1, &to) };
    let engine = Engine::start(prior());
    let id = engine.send(post, b"").await;
    assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered]);
    let uri = &server.seen(1).await[0].head.uri;
    assert_eq!(
        (uri.authority().unwrap().port_u16(), uri.path()),
        (Some(server.address.port()), "//evil.example/x")
    );
}

/// Sends posts, all of them taken, until what was changed shows.
async fn settles(engine: &Engine, to: &Arc<Destination>, shows: impl Fn() -> bool) {
    within_deadline("a change of the options", async {
        while !shows() {
            let number = fastrand::u64(2000..);
            assert_eq!(engine.first(number, to).await, Settlement::Delivered);
        }
    })
    .await;
}

#[tokio::test]
async fn no_connection_outlives_its_permission() {
    for prior_knowledge in [false, true] {
        let server = Server::start(Habits { prior: prior_knowledge, ..Habits::default() }).await;
        let terms = if prior_knowledge { prior() } else { quick() };
        let engine = Engine::start(terms.clone());
        let to = origin(Scheme::Http, "127.0.0.1", server.address);
        for number in 0..2 {
            assert_eq!(engine.first(number, &to).await, Settlement::Delivered);
        }
        assert_eq!(server.connections(), 1);
        let change = |egress: Egress, terms: &Terms| {
            let book = Book::new(terms.clone(), Vec::new());
            engine.options.send_replace(Arc::new(Options { book, egress, ..Options::default() }));
        };
        let wider = Egress { deny: vec!["192.0.2.0/24".parse().unwrap()], ..loopback() };
        change(wider.clone(), &terms);
        settles(&engine, &to, || server.connections() == 2).await;
        let tls = Arc::new(TlsTerms { least: TlsVersion::Tls13, ..TlsTerms::default() });
        change(wider, &Terms { tls, ..terms.clone() });
        settles(&engine, &to, || server.connections() == 3).await;
        change(Egress { allow: Vec::new(), ..loopback() }, &terms);
        within_deadline("a denial", async {
            for number in 1000.. {
                if let Settlement::Failed { last } = engine.first(number, &to).await {
                    assert!(last.reason.starts_with("egress-denied"), "{last:?}");
                    return;
                }
            }
        })
        .await;
        assert!(failed(&engine.first(999, &to).await).starts_with("egress-denied"));
        assert_eq!(server.connections(), 3);
    }
}
