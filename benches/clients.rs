//! The SMTP clients of `benches/run` that smtp-source is not: encrypted ones,
//! idle ones, slow ones.
//!
//! - `clients load ADDRESS plain|tls CONNECTIONS MESSAGES OCTETS` sends on kept
//!   connections, each begun anew after [`KEPT`] messages, over TLS with the
//!   session resumed. It prints the seconds from the first greeting to the last
//!   `250`, and how many of the handshakes were resumed.
//! - `clients idle ADDRESS plain|tls COUNT` opens connections, says EHLO on each
//!   and prints `ready`.
//! - `clients slow ADDRESS plain COUNT` opens connections that send an octet a
//!   second, half of them of a command, half of mail data, and prints `ready`.
//! - `clients latency ADDRESS plain MESSAGES OCTETS` sends one message after the
//!   other and prints the median and the 99th percentile of the microseconds from
//!   the final dot to `250`.
//! - `clients post ADDRESS URL CONNECTIONS POSTS OCTETS EACH` hands in posts for the
//!   URL over HTTP on kept connections, in lists of so many or, if that is 1, alone, and
//!   prints the seconds from the first request to the last `202`.
//!
//! Idle and slow ones stay until standard input ends. Any certificate will do.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages of a connection before it is begun anew.
const KEPT: usize = 100;
const RECIPIENT: &str = "bench@hooks.example";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.as_slice() {
            ["load", address, tls, connections, messages, octets] => {
                let way = Way::new(address, tls)?;
                load(way, connections.parse()?, messages.parse()?, octets.parse()?).await
            }
            ["idle", address, tls, count] => idle(Way::new(address, tls)?, count.parse()?).await,
            ["slow", address, tls, count] => slow(Way::new(address, tls)?, count.parse()?).await,
            ["latency", address, tls, messages, octets] => {
                latency(Way::new(address, tls)?, messages.parse()?, octets.parse()?).await
            }
            ["post", address, url, connections, posts, octets, each] => {
                let (count, each) = (posts.parse()?, each.parse()?);
                post(address.parse()?, connections.parse()?, count, request(url, octets.parse()?, each)).await
            }
            _ => Err("see the beginning of benches/clients.rs".into()),
        }
    })
}

/// How the gateway is reached.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Way {
    fn new(address: &str, tls: &str) -> Outcome<Way> {
        let tls = match tls {
            "plain" => None,
            "tls" => Some(TlsConnector::from(Arc::new(config()?))),
            _ => return Err(format!("{tls}: plain or tls").into()),
        };
        Ok(Way { address: address.parse()?, tls })
    }

    /// A connection that was greeted, and whether its TLS session was resumed.
    async fn connect(&self) -> Outcome<(Session, bool)> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (stream, is_resumed): (Box<dyn Stream>, bool) = match &self.tls {
            None => (Box::new(stream), false),
            Some(tls) => {
                let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
                let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                (Box::new(stream), is_resumed)
            }
        };
        let mut session = Session { stream, heard: Vec::new() };
        session.expect("220").await?;
        session.ask("EHLO bench.example\r\n", "250").await?;
        Ok((session, is_resumed))
    }
}

fn config() -> Outcome<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Anybody(provider));
    let mut config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(4096);
    Ok(config)
}

/// Trusts every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Session {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

impl Session {
    /// Reads one reply, which must have this code.
    async fn expect(&mut self, code: &str) -> Outcome<()> {
        self.heard.clear();
        while !is_whole(&self.heard) {
            if self.stream.read_buf(&mut self.heard).await? == 0 {
                return Err("the gateway closed the connection".into());
            }
        }
        let reply = String::from_utf8_lossy(&self.heard);
        if reply.starts_with(code) { Ok(()) } else { Err(format!("expected {code}: {reply}").into()) }
    }

    async fn ask(&mut self, line: &str, code: &str) -> Outcome<()> {
        self.stream.write_all(line.as_bytes()).await?;
        // Encrypted streams keep what was written until then.
        self.stream.flush().await?;
        self.expect(code).await
    }

    async fn begin(&mut self) -> Outcome<()> {
        self.ask("MAIL FROM:<bench@client.example>\r\n", "250").await?;
        self.ask(&format!("RCPT TO:<{RECIPIENT}>\r\n"), "250").await?;
        self.ask("DATA\r\n", "354").await
    }

    async fn send(&mut self, message: &str) -> Outcome<()> {
        self.begin().await?;
        self.ask(message, "250").await
    }
}

/// Whether the last line has no hyphen behind its code.
fn is_whole(reply: &[u8]) -> bool {
    let Some(lines) = reply.strip_suffix(b"\r\n") else { return false };
    lines.split(|byte| *byte == b'\n').next_back().and_then(|line| line.get(3)) == Some(&b' ')
}

fn message(octets: usize) -> String {
    let line = "A line of seventy-eight characters, which is what mail programs make of text.\r\n";
    let body: String = line.chars().cycle().take(octets.next_multiple_of(line.len())).collect();
    format!("From: bench@client.example\r\nSubject: bench\r\n\r\n{body}.\r\n")
}

async fn load(way: Way, connections: usize, messages: usize, octets: usize) -> Outcome<()> {
    let message: Arc<str> = message(octets).into();
    // What is measured is kept connections: the first handshakes come before.
    let mut begun = Vec::new();
    for _ in 0..connections {
        begun.push(way.connect().await?.0);
    }
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for session in begun {
        let (way, message) = (way.clone(), Arc::clone(&message));
        tasks.spawn(send_share(way, session, message, messages / connections));
    }
    let (mut resumed, mut fresh) = (0, 0);
    while let Some(ended) = tasks.join_next().await {
        let (of_resumed, of_fresh) = ended??;
        resumed += of_resumed;
        fresh += of_fresh;
    }
    println!("{} {resumed}/{}", since.elapsed().as_secs_f64(), resumed + fresh);
    Ok(())
}

/// Sends one connection's share; how many handshakes on the way were resumed, and
/// how many were not.
async fn send_share(
    way: Way,
    mut session: Session,
    message: Arc<str>,
    share: usize,
) -> Outcome<(usize, usize)> {
    let (mut resumed, mut fresh) = (0, 0);
    for number in 0..share {
        if number > 0 && number % KEPT == 0 {
            session.ask("QUIT\r\n", "221").await?;
            let (next, is_resumed) = way.connect().await?;
            session = next;
            if is_resumed { resumed += 1 } else { fresh += 1 }
        }
        session.send(&message).await?;
    }
    session.ask("QUIT\r\n", "221").await?;
    Ok((resumed, fresh))
}

async fn idle(way: Way, count: usize) -> Outcome<()> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(way.connect().await?.0);
    }
    println!("ready");
    until_told().await
}

async fn slow(way: Way, count: usize) -> Outcome<()> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (mut session, _) = way.connect().await?;
        if number % 2 == 0 {
            session.begin().await?;
        }
        tasks.spawn(async move {
            // Cut off or not: that is the gateway's choice.
            while session.stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    println!("ready");
    until_told().await
}

/// Standard input ends when whoever measures is done.
async fn until_told() -> Outcome<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn latency(way: Way, messages: usize, octets: usize) -> Outcome<()> {
    let message = message(octets);
    let (mut session, _) = way.connect().await?;
    let mut times = Vec::new();
    for _ in 0..messages {
        session.begin().await?;
        let since = Instant::now();
        session.ask(&message, "250").await?;
        times.push(since.elapsed().as_micros());
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{} {}", at(50), at(99));
    Ok(())
}

/// A request that hands in so many posts, and their number.
fn request(url: &str, octets: usize, each: usize) -> (String, usize) {
    let line = "A line of seventy-eight characters, which is what mail programs make of text. ";
    let body: String = line.chars().cycle().take(octets).collect();
    let one = format!("{{\"url\":\"{url}\",\"body\":\"{body}\"}}");
    let body = if each == 1 { one } else { format!("[{}]", vec![one; each].join(",")) };
    let head = "POST /api/v1/posts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
    (format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()), each)
}

async fn post(
    address: SocketAddr,
    connections: usize,
    posts: usize,
    (request, each): (String, usize),
) -> Outcome<()> {
    let request: Arc<str> = request.into();
    let mut begun = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        begun.push(stream);
    }
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for mut stream in begun {
        let request = Arc::clone(&request);
        tasks.spawn(async move {
            for _ in 0..posts / connections / each {
                stream.write_all(request.as_bytes()).await?;
                accepted(&mut stream).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    println!("{}", since.elapsed().as_secs_f64());
    Ok(())
}

/// Reads one response, which must be a `202`.
async fn accepted(stream: &mut TcpStream) -> Outcome<()> {
    let mut heard = Vec::new();
    loop {
        if stream.read_buf(&mut heard).await? == 0 {
            return Err("the gateway closed the connection".into());
        }
        let text = std::str::from_utf8(&heard)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 202 ") {
            return Err(format!("expected 202: {text}").into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.ok_or("no length")?.parse()? {
            return Ok(());
        }
    }
}
