//! What goes wrong around an attempt.

use super::*;

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
async fn nothing_is_sent_once_another_process_may_have_the_post() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let spool = MemorySpool::new();
    let id = commit(&spool, post(1, &destination(receiver.address))).await;
    spool.overtake(SpoolError::Failed("overtaken".to_owned()));
    let terms = Terms { schedule: retrying(&[3_600_000]), ..quick() };
    let book = Book::new(terms, Vec::new());
    let engine = Engine::on(spool, Options { book, egress: loopback(), ..Options::default() });
    assert_eq!(deferral(&engine.settled(id, 1).await[0]).1, "spool failure: overtaken");
    engine.stop().await;
    assert_eq!((receiver.connections(), receiver.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_connection_that_failed_is_one_trouble_however_many_waited_for_it() {
    let spool = MemorySpool::new();
    let to = Destination { scheme: Scheme::Https, ..(*destination(dead_end().await)).clone() };
    let to = Arc::new(to);
    for number in 0..10 {
        commit(&spool, post(number, &to)).await;
    }
    let limits = Limits { breaker: 2, max_connections: 10, adaptive: Adaptive::Off, ..quick().limits };
    let terms = Terms { limits, schedule: retrying(&[3_600_000]), ..quick() };
    let book = Book::new(terms, Vec::new());
    let engine = Engine::on(spool, Options { book, egress: loopback(), ..Options::default() });
    engine.spool.attempted(10).await;
    let spool = Arc::clone(&engine.spool);
    engine.stop().await;
    let settlements = (0..10).flat_map(|number| spool.settlements(post(number, &to).id));
    let (tried, back): (Vec<_>, Vec<_>) = settlements.partition(|one| *one != Settlement::Back);
    assert!(tried.iter().all(|one| deferral(one).1 == "connection refused"), "{tried:?}");
    assert!((1..=2).contains(&tried.len()), "two troubles close the lane: {tried:?}");
    assert!(back.len() >= 9, "the others were not tried");
}

#[tokio::test]
async fn a_claim_that_panics_is_made_again() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    let to = destination(receiver.address);
    for (number, pause) in [(1, Pause::None), (2, Pause::One)] {
        engine.spool.mine_claim(pause);
        let id = engine.send(post(number, &to)).await;
        assert_eq!(engine.settled(id, 1).await, [Settlement::Delivered]);
    }
    engine.stop().await;
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
