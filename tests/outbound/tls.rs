//! TLS: every wrong kind of certificate by its name, and what the terms change.

use crate::authority::{Authority, Clients, Issued};
use crate::server::{Habits, Server};
use crate::support::receiver::Act;
use crate::{Engine, attempt, deferred, origin, quick};
use postgate::deliver::terms::{ClientKey, Http2, Terms, TlsTerms, TlsTrust, TlsVersion};
use postgate::deliver::tls::check;
use postgate::post::Scheme;
use postgate::spool::Settlement;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::{HandshakeKind, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HOST: &str = "hook.localhost";

fn trusting(authority: &Authority) -> TlsTerms {
    TlsTerms { ca: Some(authority.own_pem().into()), ..TlsTerms::default() }
}

fn with_certificate(terms: TlsTerms, own: &Issued) -> TlsTerms {
    let (certificate, key) = own.pems();
    TlsTerms { client: Some((certificate.into(), ClientKey(key.into()))), ..terms }
}

/// How a first attempt ends with a receiver that shows this.
async fn meet(config: ServerConfig, tls: &TlsTerms, http2: Http2) -> Settlement {
    let server = Server::start(Habits { tls: Some(Arc::new(config)), ..Habits::default() }).await;
    let terms = Terms { tls: Arc::new(tls.clone()), http2, ..quick() };
    attempt(terms, &origin(Scheme::Https, HOST, server.address)).await
}

#[tokio::test]
async fn every_wrong_certificate_is_refused_by_its_name() {
    let authority = Authority::new();
    let other = Authority::new();
    let issue = |names: &[&str], change: &dyn Fn(&mut CertificateParams)| {
        authority.issue_with("hook", names, |params| change(params))
    };
    let revoked = issue(&[HOST], &|params| params.serial_number = Some(4711.into()));
    let listing = TlsTerms {
        ca: Some(format!("{}{}", authority.own_pem(), authority.revocation_list(4711)).into()),
        ..TlsTerms::default()
    };
    let expired = issue(&[HOST], &|params| params.not_after = date_time_ymd(2024, 3, 1));
    let early = issue(&[HOST], &|params| params.not_before = date_time_ymd(2090, 3, 1));
    let renamed = issue(&["shop.example", "www.shop.example"], &|_| {});
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let usual = trusting(&authority);
    let unknown = "TLS: the certificate is not trusted: unknown issuer";
    for (own, terms, reason) in [
        (&expired, &usual, "TLS: the certificate has expired on 2024-03-01"),
        (&early, &usual, "TLS: the certificate is not valid yet, only from 2090-03-01"),
        (&renamed, &usual, "TLS: the certificate is for another name: shop.example, www.shop.example"),
        (&issue(&[], &|_| {}), &usual, "TLS: the certificate is for another name: it has none"),
        (&issue(&[HOST], &for_clients), &usual, "TLS: the certificate is not for servers"),
        (&other.issue("hook", &[HOST]), &usual, unknown),
        (&issue(&[HOST], &|_| {}), &TlsTerms::default(), unknown),
        (&Authority::self_signed(&[HOST]), &usual, unknown),
        (&revoked, &listing, "TLS: the certificate was revoked"),
    ] {
        let server = authority.server(own, Clients::Anybody, &["h2", "http/1.1"]);
        assert_eq!(deferred(&meet(server, terms, Http2::Auto).await), reason);
        let server = authority.server(own, Clients::Anybody, &[]);
        let insecure = TlsTerms { trust: TlsTrust::Anyone, ..terms.clone() };
        assert_eq!(meet(server, &insecure, Http2::Auto).await, Settlement::Delivered, "insecure: {reason}");
    }
    let good = issue(&[HOST], &|params| params.serial_number = Some(4712.into()));
    for terms in [&usual, &listing] {
        let server = authority.server(&good, Clients::Anybody, &[]);
        assert_eq!(meet(server, terms, Http2::Auto).await, Settlement::Delivered);
    }
}

#[tokio::test]
async fn a_literal_address_is_a_name_too() {
    let authority = Authority::new();
    for (name, is_fine) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let own = authority.issue("hook", &[name]);
        let tls = Some(Arc::new(authority.server(&own, Clients::Anybody, &[])));
        let server = Server::start(Habits { tls, ..Habits::default() }).await;
        let terms = Terms { tls: Arc::new(trusting(&authority)), ..quick() };
        let settlement = attempt(terms, &origin(Scheme::Https, "127.0.0.1", server.address)).await;
        assert_eq!(settlement == Settlement::Delivered, is_fine, "{settlement:?}");
    }
}

#[tokio::test]
async fn receivers_may_want_to_know_who_we_are() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue("hook", &[HOST]);
    let known = with_certificate(trusting(&authority), &authority.issue("us", &["us.example"]));
    let stranger = with_certificate(trusting(&authority), &other.issue("us", &["us.example"]));
    let refused = "TLS: the receiver refused the handshake: it ";
    let wanted = "wants a client certificate; set client_cert and client_key";
    for protocols in [&["h2"][..], &["http/1.1"]] {
        for (terms, reason) in [
            (&known, None),
            (&trusting(&authority), Some(wanted)),
            (&stranger, Some("does not accept our client certificate")),
        ] {
            let server = authority.server(&own, Clients::Own, protocols);
            let settlement = meet(server, terms, Http2::Auto).await;
            match reason {
                None => assert_eq!(settlement, Settlement::Delivered, "{protocols:?}"),
                Some(reason) => {
                    let text = deferred(&settlement);
                    assert!(text.starts_with(&format!("{refused}{reason}")), "{protocols:?} {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn old_versions_are_not_spoken() {
    let authority = Authority::new();
    let own = authority.issue("hook", &[HOST]);
    let old = |own: &Issued| {
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.key.clone().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.certificate.clone()], key)
            .unwrap()
    };
    assert_eq!(meet(old(&own), &trusting(&authority), Http2::Auto).await, Settlement::Delivered);
    let newest = TlsTerms { least: TlsVersion::Tls13, ..trusting(&authority) };
    let settlement = meet(old(&own), &newest, Http2::Auto).await;
    let reason = "TLS: the receiver refused the handshake: it speaks another version of TLS";
    assert_eq!(deferred(&settlement), reason);
}

#[tokio::test]
async fn what_is_no_tls_at_all_is_told_apart() {
    for (acts, reason) in [
        (
            vec![Act::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
            "TLS: what came back is not TLS; is it http:// there?",
        ),
        (vec![Act::Close], "TLS: the connection was closed in the handshake"),
        (vec![Act::Reset], "TLS: the connection was reset in the handshake"),
        (vec![Act::Hang], "timed out connecting after 500 ms"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            match acts.into_iter().next() {
                Some(Act::Write(octets)) => {
                    let _ = socket.write_all(&octets).await;
                    let _ = socket.read(&mut [0; 4096]).await;
                }
                Some(Act::Reset) => socket.set_zero_linger().unwrap(),
                Some(Act::Hang) => std::future::pending().await,
                _ => {}
            }
        });
        // Who is to be heard has time enough on a busy machine too.
        let connect_timeout = if reason.starts_with("timed out") { 500 } else { 20_000 };
        let terms = Terms { connect_timeout: Duration::from_millis(connect_timeout), ..quick() };
        let settlement = attempt(terms, &origin(Scheme::Https, HOST, address)).await;
        assert_eq!(deferred(&settlement), reason);
    }
}

/// What a receiver speaks that was taken for another kind is told, with what to change.
#[tokio::test]
async fn who_speaks_something_else_is_named() {
    let authority = Authority::new();
    let own = authority.issue("hook", &[HOST]);
    let secure = || Some(Arc::new(authority.server(&own, Clients::Anybody, &[])));
    let tls = "the receiver speaks TLS; is it https:// there?";
    let no_http2 = "the receiver does not speak HTTP/2; set http2 = \"auto\" or \"off\"";
    // Some are gone before what they say is read.
    let closed = "the receiver closed the connection unanswered; unless it speaks HTTP/2, \
                  set http2 = \"auto\" or \"off\"";
    for (tls, http2, reasons) in [
        (secure(), Http2::Auto, &[tls][..]),
        (secure(), Http2::PriorKnowledge, &[tls, closed]),
        (None, Http2::PriorKnowledge, &[closed]),
    ] {
        let server = Server::start(Habits { tls, ..Habits::default() }).await;
        let terms = Terms { http2, ..quick() };
        let settlement = attempt(terms, &origin(Scheme::Http, HOST, server.address)).await;
        assert!(reasons.contains(&deferred(&settlement)), "{http2:?}: {settlement:?}");
    }
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = old.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = old.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let terms = Terms { http2: Http2::PriorKnowledge, ..quick() };
    let settlement = attempt(terms, &origin(Scheme::Http, HOST, address)).await;
    assert_eq!(deferred(&settlement), no_http2);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new();
    let own = authority.issue("hook", &[HOST]);
    let tls = Some(Arc::new(authority.server(&own, Clients::Anybody, &["http/1.1"])));
    let server = Server::start(Habits { tls, ..Habits::default() }).await;
    let terms = Terms { tls: Arc::new(trusting(&authority)), max_posts_per_connection: 1, ..quick() };
    let engine = Engine::start(terms);
    let to = origin(Scheme::Https, HOST, server.address);
    for number in 0..3 {
        assert_eq!(engine.first(number, &to).await, Settlement::Delivered);
    }
    assert_eq!(server.kinds(), [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
    // Other options begin with no session, and no key, of those before.
    engine.options.send_modify(|options| *options = Arc::new((**options).clone()));
    let is_anew = || server.kinds().last() == Some(&HandshakeKind::Full);
    for number in 3..100 {
        if !is_anew() {
            assert_eq!(engine.first(number, &to).await, Settlement::Delivered);
        }
    }
    assert!(is_anew());
}

#[test]
fn terms_that_cannot_work_are_found_at_the_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("us", &["us.example"]).pems();
    let (_, other_key) = authority.issue("us", &["us.example"]).pems();
    let client = |certificate: &str, key: &str| TlsTerms {
        client: Some((certificate.to_owned().into(), ClientKey(key.to_owned().into()))),
        ..TlsTerms::default()
    };
    let ca = |text: &str| TlsTerms { ca: Some(text.to_owned().into()), ..TlsTerms::default() };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (terms, complaint) in [
        (TlsTerms::default(), None),
        (trusting(&authority), None),
        (client(&certificate, &key), None),
        (ca("nothing"), Some("ca holds no certificate in PEM")),
        (ca(broken), Some("ca holds a certificate that is not valid")),
        (ca("-----BEGIN CERTIFICATE-----\n!!\n"), Some("ca is not PEM")),
        (client(&certificate, &other_key), Some("client_key is not the key of client_cert")),
        (client(&certificate, &certificate), Some("client_key holds no private key")),
        (client(&key, &key), Some("client_cert holds no certificate in PEM")),
        (client(broken, &key), Some("client_cert and client_key cannot be used")),
    ] {
        let checked = check(&terms);
        match complaint {
            None => assert_eq!(checked, Ok(())),
            Some(complaint) => {
                let text = checked.unwrap_err();
                assert!(text.starts_with(complaint), "{complaint}: {text}");
                assert!(!text.contains("PRIVATE KEY"), "{text}");
            }
        }
    }
}
