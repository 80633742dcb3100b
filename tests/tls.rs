//! Posts over TLS to a receiver that the machine's trust store vouches for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use support::DEADLINE;
use support::program::{CONFIG, Gateway, postgate, send};

/// A receiver with a certificate for `localhost`; its port, the certificate as
/// PEM, and the requests it gets.
fn receiver() -> (u16, String, Receiver<String>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        for body in [b"one", b"two"] {
            let mut request = Vec::new();
            while !request.ends_with(body) {
                let mut octet = [0];
                stream.read_exact(&mut octet).unwrap();
                request.push(octet[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            sender.send(String::from_utf8(request).unwrap()).unwrap();
        }
    });
    let octets = data_encoding::BASE64.encode(made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{octets}\n-----END CERTIFICATE-----\n");
    (port, pem, requests)
}

#[test]
fn posts_share_a_connection_with_a_certificate_that_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (port, certificate, requests) = receiver();
    fs::write(directory.path().join("trusted.pem"), certificate).unwrap();
    let config = CONFIG.replace("\"127.0.0.0/8\"", "\"127.0.0.0/8\", \"::1/128\"");
    fs::write(directory.path().join("postgate.toml"), config).unwrap();
    let mut command = postgate(directory.path());
    command.env("SSL_CERT_FILE", directory.path().join("trusted.pem"));
    let mut gateway = Gateway::listening(Gateway::spawn(&mut command, directory.path()));
    for body in ["one", "two"] {
        let recipient = format!("post@https://localhost:{port}/hook");
        let message = format!("X-XsHttp-Content-Type: text/plain\r\n\r\n{body}\r\n");
        assert!(send(gateway.smtp, &[recipient], &message).is_accepted());
        let request = requests.recv_timeout(DEADLINE).unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("Host: localhost:{port}\r\n")), "{request}");
    }
    assert_eq!(gateway.end("-TERM"), 0);
    let log: String = fs::read_dir(directory.path().join("postgate-data/log"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(log.contains(&format!("connected to localhost [127.0.0.1]:{port}, TLSv1.3\n")), "{log}");
    assert!(log.contains("reusing connection to localhost"), "{log}");
}
