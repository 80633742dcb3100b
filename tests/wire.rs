//! TLS under the SMTP front: certificates, handshakes, and what must not get through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;
#[path = "support/front.rs"]
mod front;

use authority::{Authority, connect, pem, write_key};
use front::{Front, LONG, PASSWORD, Peer, SHORT, until, within};
use postgate::smtp::{Certificates, Options, TlsFiles, TlsUse};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

const ANY: &[&rustls::SupportedProtocolVersion] = rustls::ALL_VERSIONS;

fn options(certificates: Certificates, tls: TlsUse) -> Options {
    Options { tls, certificates: Some(certificates), ..Options::default() }
}

fn config(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(authority.client(&[]))
}

/// A client under implicit TLS.
async fn encrypted(front: &Front, config: &Arc<ClientConfig>, name: &str) -> Peer<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(front.address).await.unwrap();
    Peer::new(connect(config, name, stream).await.unwrap())
}

/// A client that was greeted under implicit TLS.
async fn guest(front: &Front, authority: &Authority) -> Peer<TlsStream<TcpStream>> {
    let mut client = encrypted(front, &config(authority), "gateway.example").await;
    client.expect("220").await;
    client
}

/// Begins TLS in the middle of a conversation.
async fn start_tls(mut client: Peer, config: &Arc<ClientConfig>) -> Peer<TlsStream<TcpStream>> {
    client.ask("STARTTLS", "220 2.0.0 ").await;
    Peer::new(connect(config, "gateway.example", client.0.into_inner()).await.unwrap())
}

#[tokio::test]
async fn both_versions_are_spoken_from_the_first_octet() {
    let authority = Authority::new();
    let options = options(authority.certificates(), TlsUse::Implicit);
    let (front, lines) = Front::logged(options);
    for (version, note) in [
        (&TLS12, "* TLSv1.2 with TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 for gateway.example\n"),
        (&TLS13, "* TLSv1.3 with TLS13_AES_256_GCM_SHA384 for gateway.example\n"),
    ] {
        let config = Arc::new(authority.client_of(&[version], None));
        let mut client = encrypted(&front, &config, "gateway.example").await;
        client.expect("220").await;
        let offers = client.ask("EHLO a", "250-").await;
        assert!(!offers.contains("STARTTLS") && offers.contains("AUTH PLAIN LOGIN"), "{offers}");
        client.post("Subject: x\r\n\r\nx").await;
        client.ask("QUIT", "221").await;
        // The end is said: an end without it would be an error here.
        assert_eq!(client.0.read(&mut [0]).await.unwrap(), 0);
        until(&lines, note).await;
        let tls = front.kept.client().tls.unwrap();
        assert!(note.contains(tls.version) && tls.names.is_empty());
    }
    front.stop().await;
}

#[tokio::test]
async fn starttls_forgets_what_was_said_before_it() {
    let authority = Authority::new();
    let front = Front::start(options(authority.certificates(), TlsUse::StartTls)).await;
    let mut client = front.guest().await;
    let offers = client.ask("EHLO before", "250-").await;
    assert!(offers.contains("STARTTLS") && !offers.contains("AUTH"), "{offers}");
    client.ask("MAIL FROM:<a@b>", "250").await;
    client.ask("RSET", "250").await;
    let mut client = start_tls(client, &config(&authority)).await;
    client.ask("MAIL FROM:<a@b>", "503").await;
    client.ask("DATA", "503").await;
    let offers = client.ask("EHLO after", "250-").await;
    assert!(!offers.contains("STARTTLS") && offers.contains("AUTH"), "{offers}");
    client.ask("STARTTLS", "503").await;
    client.post("x").await;
    assert_eq!(front.kept.client().helo, "a");
    front.stop().await;
}

/// Whether a server answers, under TLS, what was said in the clear behind STARTTLS.
/// The injected command is cut off at every place in turn.
async fn takes_injected_commands(address: std::net::SocketAddr, config: &Arc<ClientConfig>) -> bool {
    let said = "STARTTLS\r\nEHLO injected\r\n";
    for cut in ["STARTTLS\r\n".len(), "STARTTLS\r\nE".len(), 4, said.len()] {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Peer::new(stream);
        client.expect("220").await;
        client.ask("EHLO a", "250").await;
        client.send(&said[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&said[cut..]).await;
        if !client.reply().await.starts_with("220") {
            continue;
        }
        let Ok(tls) = connect(config, "gateway.example", client.0.into_inner()).await else { continue };
        let mut client = Peer::new(tls);
        if client.0.write_all(b"NOOP\r\n").await.is_err() {
            continue;
        }
        let first = client.reply().await;
        if first.contains("injected") {
            return true;
        }
    }
    false
}

/// A server with the flaw: what it has read beyond STARTTLS is still there under TLS.
async fn flawed(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 flawed\r\n").await.unwrap();
        let mut line = String::new();
        while !line.starts_with("STARTTLS") {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            stream
                .write_all(if line.starts_with("E") { b"250 hello\r\n" } else { b"220 go\r\n" })
                .await
                .unwrap();
        }
        let left = stream.buffer().to_vec();
        let Ok(tls) = acceptor.accept(stream.into_inner()).await else { continue };
        let mut tls = BufReader::new(tls);
        for line in String::from_utf8(left).unwrap().lines() {
            tls.write_all(format!("250 {line}\r\n").as_bytes()).await.unwrap();
        }
        tls.flush().await.unwrap();
        // Until the client has gone.
        let _ = tls.read_line(&mut line).await;
    }
}

#[tokio::test]
async fn nothing_said_in_the_clear_is_taken_for_said_under_tls() {
    let authority = Authority::new();
    let client = config(&authority);
    let issued = authority.issue("gateway", &["gateway.example"]);
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(ANY)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![issued.certificate],
                rustls::pki_types::PrivateKeyDer::Pkcs8(issued.key.into()),
            )
            .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = listener.local_addr().unwrap();
    let flawed = tokio::spawn(flawed(listener, tokio_rustls::TlsAcceptor::from(Arc::new(server))));
    assert!(takes_injected_commands(control, &client).await, "the test does not see the flaw");
    flawed.abort();
    let front = Front::start(options(authority.certificates(), TlsUse::StartTls)).await;
    assert!(!takes_injected_commands(front.address, &client).await);
    let mut rash = front.guest().await;
    rash.send("STARTTLS\r\nEHLO injected\r\n").await;
    rash.expect("554 5.5.0 ").await;
    rash.expect_end().await;
    front.stop().await;
}

#[tokio::test]
async fn handshakes_that_fail_say_why_in_the_log() {
    let authority = Authority::new();
    let (front, lines) = Front::logged(options(authority.certificates(), TlsUse::StartTls));
    let mut client = front.guest().await;
    client.ask("STARTTLS", "220").await;
    client.send("EHLO in the clear\r\n").await;
    let mut rest = Vec::new();
    within(client.0.read_to_end(&mut rest)).await.unwrap_or_default();
    assert!(!rest.windows(3).any(|octets| octets == b"250"), "{rest:?}");
    until(&lines, "* TLS handshake failed: what came is not TLS").await;
    let mut client = front.guest().await;
    client.ask("STARTTLS", "220").await;
    drop(client);
    until(&lines, "* TLS handshake failed: the client closed the connection in its midst\n").await;
    let mut client = front.guest().await;
    client.ask("STARTTLS", "220").await;
    let stranger = config(&Authority::new());
    connect(&stranger, "gateway.example", client.0.into_inner()).await.unwrap_err();
    until(&lines, "* TLS handshake failed: the client does not trust our certificate (").await;
    front.stop().await;
}

/// A ClientHello of an old version, with the cipher suites of its time.
fn old_hello(version: u8) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend([7; 32]);
    // No session; AES, 3DES and RC4; no compression.
    body.extend([0, 0, 6, 0, 0x2f, 0, 0x0a, 0, 0x05, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[1, 0, 0, length][..], &body].concat();
    [&[0x16, 3, 1, 0, length + 4][..], &hello].concat()
}

#[tokio::test]
async fn versions_of_the_last_century_are_refused() {
    let authority = Authority::new();
    let (front, lines) = Front::logged(options(authority.certificates(), TlsUse::Implicit));
    for version in [0, 1, 2] {
        let mut client = TcpStream::connect(front.address).await.unwrap();
        client.write_all(&old_hello(version)).await.unwrap();
        let mut answer = Vec::new();
        within(client.read_to_end(&mut answer)).await.unwrap();
        // A fatal alert: handshake_failure, as they offer no signatures either.
        assert_eq!((answer[0], &answer[5..]), (0x15, &[2, 40][..]), "{answer:?}");
        until(&lines, "* TLS handshake failed: the client is too old: TLS 1.2 and 1.3 are spoken here\n")
            .await;
    }
    front.stop().await;
}

#[tokio::test]
async fn who_does_not_want_to_speak_smtp_is_refused() {
    let authority = Authority::new();
    let (front, lines) = Front::logged(options(authority.certificates(), TlsUse::Implicit));
    for (offered, is_taken) in [(vec!["smtp"], true), (vec!["h2", "http/1.1"], false), (vec!["esmtp"], true)]
    {
        let mut config = authority.client(&[]);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(front.address).await.unwrap();
        let connected = connect(&Arc::new(config), "gateway.example", stream).await;
        assert_eq!(connected.is_ok(), is_taken, "{offered:?}");
    }
    until(&lines, "* TLS handshake failed: the client wants to speak something else than SMTP\n").await;
    front.stop().await;
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let authority = Authority::new();
    let issue = |names: &[&str]| authority.issue("x", names);
    let issued = [
        issue(&["first.example"]),
        issue(&["*.wild.example"]),
        issue(&["mail.wild.example", "Other.Example"]),
    ];
    let pairs =
        issued.iter().enumerate().map(|(number, issued)| authority.write(&number.to_string(), issued));
    let files = TlsFiles { pairs: pairs.collect(), ..TlsFiles::default() };
    let front = Front::start(options(Certificates::load(&files).unwrap(), TlsUse::Implicit)).await;
    for (name, number) in [
        ("first.example", 0),
        ("a.wild.example", 1),
        ("MAIL.wild.example", 2),
        ("other.example", 2),
        ("wild.example", 0),
        ("a.b.wild.example", 0),
        ("unknown.example", 0),
        ("127.0.0.1", 0),
    ] {
        let mut config = authority.client(&[]);
        config.dangerous().set_certificate_verifier(Arc::new(AnyName));
        let client = encrypted(&front, &Arc::new(config), name).await;
        let shown = client.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone();
        let found = issued.iter().position(|issued| issued.certificate == shown);
        assert_eq!(found, Some(number), "{name}");
    }
    front.stop().await;
}

/// Takes any certificate.
#[derive(Debug)]
struct AnyName;

impl rustls::client::danger::ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_certificate_made_by_ourselves_is_for_the_host_and_loopback() {
    let files = TlsFiles { self_signed: Some("gateway.example".to_owned()), ..TlsFiles::default() };
    let certificates = Certificates::load(&files).unwrap();
    let front = Front::start(options(certificates.clone(), TlsUse::Implicit)).await;
    let authority = Authority::new();
    let mut blind = authority.client(&[]);
    blind.dangerous().set_certificate_verifier(Arc::new(AnyName));
    let blind = Arc::new(blind);
    let shown = |client: &Peer<TlsStream<TcpStream>>| {
        client.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let own = shown(&encrypted(&front, &blind, "gateway.example").await);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(ANY)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for name in ["gateway.example", "localhost", "127.0.0.1", "::1"] {
        encrypted(&front, &Arc::new(trusting.clone()), name).await.expect("220").await;
    }
    certificates.reload().unwrap();
    assert_eq!(shown(&encrypted(&front, &blind, "localhost").await), own);
    front.stop().await;
}

#[tokio::test]
async fn sessions_are_resumed_and_early_data_is_not_taken() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let (front, lines) = Front::logged(options(authority.certificates(), TlsUse::Implicit));
        let mut config = authority.client_of(&[version], None);
        config.enable_early_data = true;
        let config = Arc::new(config);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = encrypted(&front, &config, "gateway.example").await;
            client.expect("220").await;
            client.ask("NOOP", "250").await;
            let session = client.0.get_ref().get_ref().1;
            assert_eq!(session.handshake_kind(), Some(expected));
            assert!(!session.is_early_data_accepted());
        }
        until(&lines, " for gateway.example, resumed\n").await;
        front.stop().await;
    }
}

#[tokio::test]
async fn names_in_a_client_certificate_count_when_it_is_vouched_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = authority.files();
    let (front, lines) = Front::logged(options(Certificates::load(&files).unwrap(), TlsUse::StartTls));
    let known = authority.issue("erp", &["host.example", "erp@shop.example"]);
    let unknown = stranger.issue("erp", &["host.example"]);
    for (own, names) in [
        (Some(&known), vec!["host.example", "erp@shop.example", "erp"]),
        (Some(&unknown), vec![]),
        (None, vec![]),
    ] {
        let config = Arc::new(authority.client_of(ANY, own));
        // Also when the session is resumed.
        for _ in 0..2 {
            let mut client = start_tls(front.guest().await, &config).await;
            client.ask("EHLO a", "250").await;
            let code = if names.is_empty() { "504" } else { "235" };
            client.ask("AUTH EXTERNAL =", code).await;
            client.post("x").await;
            let client = front.kept.client();
            assert_eq!(client.tls.unwrap().names, names);
            assert_eq!(client.login.as_deref(), names.first().copied());
        }
    }
    front.stop().await;
    let text: String = lines.try_iter().collect();
    for note in ["the client is host.example, erp@shop.example, erp\n", "certificate counts for nothing: "] {
        assert!(text.contains(note), "{text}");
    }
}

#[tokio::test]
async fn logins_are_noted_and_their_secrets_are_not() {
    let authority = Authority::new();
    let mut options = options(authority.certificates(), TlsUse::Implicit);
    options.timeouts.error_delay = Duration::ZERO;
    let (front, lines) = Front::logged(options);
    let mut client = guest(&front, &authority).await;
    client.ask("EHLO a", "250").await;
    let plain = |password: &str| data_encoding::BASE64.encode(format!("\0erp\0{password}").as_bytes());
    client.ask(&format!("AUTH PLAIN {}", plain("wrong")), "535 5.7.8 ").await;
    client.ask(&format!("AUTH PLAIN {}", plain(PASSWORD)), "235 2.7.0 ").await;
    client.post("x").await;
    assert_eq!(front.kept.client().login.as_deref(), Some("erp"));
    front.stop().await;
    let text: String = lines.try_iter().collect();
    assert!(text.contains(" * login failed\n") && text.contains(" * logged in as erp\n"), "{text}");
    for secret in [plain("wrong"), plain(PASSWORD), "wrong".to_owned(), PASSWORD.to_owned()] {
        assert!(!text.contains(&secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn an_end_of_tls_in_mail_data_stores_nothing() {
    let authority = Authority::new();
    let (front, lines) = Front::logged(options(authority.certificates(), TlsUse::Implicit));
    // An end, and the rest in the clear.
    let mut client = guest(&front, &authority).await;
    client.begin_data().await;
    client.send("Subject: x\r\n").await;
    let (stream, session) = client.0.get_mut().get_mut();
    session.send_close_notify();
    let mut end = Vec::new();
    session.write_tls(&mut end).unwrap();
    stream.write_all(&end).await.unwrap();
    stream.write_all(b"\r\n.\r\n").await.unwrap();
    until(&lines, "* the client closed the connection\n").await;
    // A record that is cut off before its end.
    let mut client = guest(&front, &authority).await;
    client.begin_data().await;
    let (stream, session) = client.0.get_mut().get_mut();
    session.writer().write_all(b"Subject: x\r\n\r\n.\r\n").unwrap();
    let mut record = Vec::new();
    session.write_tls(&mut record).unwrap();
    stream.write_all(&record[..record.len() - 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    until(&lines, "* connection lost: it ended without the end of TLS\n").await;
    // A record that is not what the client sent.
    let mut client = guest(&front, &authority).await;
    client.begin_data().await;
    let (stream, session) = client.0.get_mut().get_mut();
    session.writer().write_all(b"Subject: x\r\n\r\n.\r\n").unwrap();
    record.clear();
    session.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    stream.write_all(&record).await.unwrap();
    until(&lines, "* connection lost: ").await;
    assert_eq!(front.count(), 0);
    front.stop().await;
}

#[tokio::test]
async fn a_client_that_speaks_first_under_tls_is_cut_off() {
    let authority = Authority::new();
    let front = Front::start(options(authority.certificates(), TlsUse::Implicit)).await;
    let mut raw = TcpStream::connect(front.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("gateway.example").unwrap();
    let mut session = rustls::ClientConnection::new(config(&authority), name).unwrap();
    // By hand, so that the command leaves together with the end of the handshake.
    while session.is_handshaking() {
        let mut octets = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut octets).unwrap();
        }
        raw.write_all(&octets).await.unwrap();
        let mut answer = vec![0; 16 * 1024];
        let read = within(raw.read(&mut answer)).await.unwrap();
        session.read_tls(&mut &answer[..read]).unwrap();
        session.process_new_packets().unwrap();
    }
    session.writer().write_all(b"EHLO early\r\n").unwrap();
    let mut octets = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut octets).unwrap();
    }
    raw.write_all(&octets).await.unwrap();
    let mut answer = Vec::new();
    within(raw.read_to_end(&mut answer)).await.unwrap();
    let mut left = &answer[..];
    while !left.is_empty() {
        session.read_tls(&mut left).unwrap();
        session.process_new_packets().unwrap();
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut session.reader(), &mut text).unwrap();
    assert!(text.starts_with("554 5.5.0 ") && text.lines().count() == 1, "{text:?}");
    front.stop().await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_off_and_counts() {
    let authority = Authority::new();
    let mut options = options(authority.certificates(), TlsUse::Implicit);
    options.timeouts.tls_handshake = SHORT;
    options.limits.connections = 1;
    let (front, lines) = Front::logged(options);
    let mut stalled = TcpStream::connect(front.address).await.unwrap();
    stalled.write_all(&old_hello(3)[..20]).await.unwrap();
    // The first octet of each kind of talk is not enough to lose the place.
    let mut other = TcpStream::connect(front.address).await.unwrap();
    assert_eq!(within(other.read(&mut [0])).await.unwrap_or_default(), 0);
    until(&lines, "* too many connections\n").await;
    assert_eq!(within(stalled.read(&mut [0])).await.unwrap_or_default(), 0);
    until(&lines, "* TLS handshake failed: it takes too long\n").await;
    drop(guest(&front, &authority).await);
    front.stop().await;
}

#[tokio::test]
async fn a_crowd_shortens_patience_with_handshakes() {
    let authority = Authority::new();
    let mut options = options(authority.certificates(), TlsUse::Implicit);
    options.timeouts.tls_handshake = LONG;
    options.timeouts.idle_under_pressure = SHORT;
    options.limits.connections = 5;
    let front = Front::start(options).await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(TcpStream::connect(front.address).await.unwrap());
    }
    let patient = tokio::time::timeout(SHORT * 3, stalled[0].read(&mut [0])).await;
    assert!(patient.is_err(), "four of five are no crowd");
    stalled.push(TcpStream::connect(front.address).await.unwrap());
    let mut ends = tokio::task::JoinSet::new();
    for mut stream in stalled {
        ends.spawn(async move { stream.read(&mut [0]).await });
    }
    within(ends.join_next()).await;
    front.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let authority = Authority::new();
    let front = Front::start(options(authority.certificates(), TlsUse::Implicit)).await;
    let mut idle = guest(&front, &authority).await;
    let stalled = TcpStream::connect(front.address).await.unwrap();
    front.stop().await;
    idle.expect("421 4.3.2 ").await;
    drop(stalled);
}

#[tokio::test]
async fn replies_that_are_not_read_end_the_session() {
    let authority = Authority::new();
    let mut options = options(authority.certificates(), TlsUse::Implicit);
    options.timeouts.unread_reply = SHORT;
    options.limits.recipients = usize::MAX;
    let (front, lines) = Front::logged(options);
    let mut client = guest(&front, &authority).await;
    client.ask("EHLO a", "250-").await;
    client.ask("MAIL FROM:<a@b>", "250").await;
    let line = format!("RCPT TO:<{}@b>\r\n", "x".repeat(4000));
    within(async { while client.0.write_all(line.as_bytes()).await.is_ok() {} }).await;
    let mut text = String::new();
    within(async {
        while !text.contains("* the client does not read its replies\n") {
            text = lines.try_iter().last().unwrap_or(text.clone());
            tokio::task::yield_now().await;
        }
    })
    .await;
    front.stop().await;
}

#[tokio::test]
async fn new_certificates_are_noticed_and_bad_ones_change_nothing() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&said);
    let subscriber = tracing_subscriber::fmt().with_writer(move || Said(Arc::clone(&writer))).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let authority = Authority::new();
    let certificates = authority.certificates();
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(certificates.clone().watch(Duration::from_millis(10), stopped));
    let front = Front::start(options(certificates.clone(), TlsUse::Implicit)).await;
    let config = config(&authority);
    let shown = async || {
        let client = encrypted(&front, &config, "gateway.example").await;
        client.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let mut open = guest(&front, &authority).await;
    let first = shown().await;
    // Half of a pair.
    let second = authority.issue("gateway", &["gateway.example"]);
    fs::write(authority.path("gateway.pem"), pem("CERTIFICATE", &second.certificate)).unwrap();
    assert!(certificates.reload().unwrap_err().to_string().contains("the key does not match"));
    within(async {
        while !String::from_utf8_lossy(&said.lock().unwrap()).contains("the key does not match") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(shown().await, first);
    // The other half.
    write_key(&authority.path("gateway.key"), &pem("PRIVATE KEY", &second.key));
    within(async { while shown().await != second.certificate {} }).await;
    fs::remove_file(authority.path("gateway.pem")).unwrap();
    assert!(certificates.reload().is_err());
    assert_eq!(shown().await, second.certificate);
    open.post("x").await;
    stop.send(true).unwrap();
    within(watching).await.unwrap();
    front.stop().await;
    let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    assert_eq!(said.matches("the key does not match").count(), 1, "{said}");
    assert!(said.contains("WARN") && said.contains("are in force"), "{said}");
}

/// What was said to the operator.
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_cause() {
    let authority = Authority::new();
    let issued = authority.issue("x", &["x.example"]);
    let other = authority.issue("y", &["y.example"]);
    let (certificate, key) = authority.write("good", &issued);
    let file = |name: &str, text: &str| {
        write_key(&authority.path(name), text);
        authority.path(name)
    };
    let exposed = file("exposed.key", &pem("PRIVATE KEY", &issued.key));
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    let shared = file("shared.key", &pem("PRIVATE KEY", &issued.key));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    let error = |certificate: &std::path::Path, key: &std::path::Path| {
        let files = TlsFiles { pairs: vec![(certificate.to_owned(), key.to_owned())], ..TlsFiles::default() };
        Certificates::load(&files).unwrap_err().to_string()
    };
    let load = |files: &TlsFiles| Certificates::load(files).map(drop).map_err(|error| error.to_string());
    let good = TlsFiles { pairs: vec![(certificate.clone(), shared)], ..TlsFiles::default() };
    assert_eq!(load(&good), Ok(()));
    for (key, cause) in [
        (authority.path("missing.key"), "No such file"),
        (exposed, "everybody can read this key (mode 0644)"),
        (file("empty.key", ""), "there is no \"BEGIN PRIVATE KEY\""),
        (
            file("certificate.key", &pem("CERTIFICATE", &issued.certificate)),
            "there is no \"BEGIN PRIVATE KEY\"",
        ),
        (file("encrypted.key", &pem("ENCRYPTED PRIVATE KEY", &issued.key)), "the key is encrypted"),
        (file("garbage.key", &pem("PRIVATE KEY", b"garbage")), "the key cannot be used"),
        (
            file("torn.key", "-----BEGIN PRIVATE KEY-----\nMIGH"),
            "this is not PEM, or a part of it is missing",
        ),
        (file("other.key", &pem("PRIVATE KEY", &other.key)), "the key does not match the certificate in "),
    ] {
        let error = error(&certificate, &key);
        assert!(error.starts_with(key.to_str().unwrap()) && error.contains(cause), "{error}");
    }
    for (certificate, cause) in [
        (authority.path("missing.pem"), "No such file"),
        (file("empty.pem", ""), "there is no \"BEGIN CERTIFICATE\""),
        (file("garbage.pem", &pem("CERTIFICATE", b"garbage")), "the certificate cannot be used"),
    ] {
        let error = error(&certificate, &key);
        assert!(error.starts_with(certificate.to_str().unwrap()) && error.contains(cause), "{error}");
    }
    let bad_authority = TlsFiles { client_ca: Some(file("none.pem", "")), ..good };
    assert!(load(&bad_authority).unwrap_err().contains("none.pem: there is no \"BEGIN CERTIFICATE\""));
    assert!(load(&TlsFiles::default()).unwrap_err().contains("there is no certificate"));
}

#[test]
fn a_certificate_that_has_expired_is_used_and_said() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&said);
    let subscriber = tracing_subscriber::fmt().with_writer(move || Said(Arc::clone(&writer))).finish();
    let authority = Authority::new();
    let issued = authority.issue_with("x", &["x.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let files = TlsFiles { pairs: vec![authority.write("old", &issued)], ..TlsFiles::default() };
    tracing::subscriber::with_default(subscriber, || Certificates::load(&files).map(drop)).unwrap();
    let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    assert!(said.contains("old.pem: the certificate has expired on Jan  1"), "{said}");
}
