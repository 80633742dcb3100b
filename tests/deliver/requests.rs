//! What goes out, and what becomes of it.

use super::*;

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
async fn untrusted_urls_stay_outside_unless_allowed() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let port = receiver.address.port();
    let named = |host: &str| {
        Arc::new(Destination { host: host.to_owned(), ..(*destination(receiver.address)).clone() })
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
        let id = engine.send(Post { trust, ..post(1, &named(host)) }).await;
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
