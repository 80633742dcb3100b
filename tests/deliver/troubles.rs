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
