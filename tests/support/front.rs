//! A running SMTP front whose door keeps everything, and clients of it.
#![allow(dead_code)]

use bytes::Bytes;
use postgate::envelope::{Client, Envelope, Login, Refusal, Taken, Target};
use postgate::post::MessageId;
use postgate::protocol_log::ProtocolLog;
use postgate::smtp::auth::{Credentials, Mechanisms, Offer};
use postgate::smtp::session::{CheckState, Judged, Opening, Question};
use postgate::smtp::{self, Address, Door, Options, Policy, Socket};
use postgate::spool::spill::MailData;
use postgate::tenant::Tenant;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const DEADLINE: Duration = Duration::from_secs(20);
/// Short enough to wait for.
pub const SHORT: Duration = Duration::from_millis(300);
/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(3600);
/// The password of everybody.
pub const PASSWORD: &str = "sesame";

/// Keeps every message; panics for `panic@…`, and never learns whether `silent@…` is taken. Under TLS it lets people log in with
/// [`PASSWORD`], and the names of certificates.
#[derive(Default)]
pub struct Kept(Mutex<Vec<(Envelope, Bytes)>>);

impl Kept {
    pub fn messages(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().iter().map(|(_, data)| data.clone()).collect()
    }

    /// The forward-paths of the last message.
    pub fn recipients(&self) -> Vec<String> {
        let kept = self.0.lock().unwrap();
        kept.last().unwrap().0.recipients.iter().map(|one| one.forward_path.clone()).collect()
    }

    /// The client that handed in the last message.
    pub fn client(&self) -> Client {
        self.0.lock().unwrap().last().unwrap().0.client.clone()
    }
}

impl Policy for Kept {
    fn sender(&self, _: &Client, _: &str) -> Result<(), Refusal> {
        Ok(())
    }

    fn recipient(&self, _: &Client, _: Opening<'_>, path: &str) -> Result<Judged, Refusal> {
        assert!(!path.starts_with("panic@"), "a panic on purpose");
        let check = if path.starts_with("silent@") { CheckState::Due } else { CheckState::Settled };
        let target = Target::Route { route: path.to_owned(), detail: None };
        Ok(Judged { target, posts: 1, check })
    }

    fn is_secret(&self, path: &str) -> bool {
        path.starts_with("coded@")
    }

    fn mechanisms(&self, client: &Client) -> Mechanisms {
        let names = client.tls.as_ref().map(|tls| tls.names.as_slice());
        let offer = |is_there: bool| if is_there { Offer::Now } else { Offer::No };
        Mechanisms {
            password: offer(names.is_some()),
            external: offer(names.is_some_and(|names| !names.is_empty())),
            cram_md5: Offer::No,
        }
    }
}

impl Door for Kept {
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<Taken, Refusal>> + Send + '_>> {
        Box::pin(async move {
            let mut kept = self.0.lock().unwrap();
            kept.push((envelope, data.read().unwrap()));
            Ok(Taken::queued(MessageId(kept.len() as u64)))
        })
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        let name = match credentials {
            Credentials::Password { name, password } if password.reveal() == PASSWORD => Some(name),
            Credentials::Certificate { .. } => client.tls.as_ref().and_then(|tls| tls.names.first().cloned()),
            _ => None,
        };
        let login = name.map(|name| Login { name, tenant: Tenant::default() });
        let refusal = Refusal::new(535, (7, 8), "authentication failed");
        Box::pin(async { login.ok_or(refusal) })
    }

    fn check<'a>(
        &'a self,
        _: &'a Question,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(std::future::pending())
    }
}

/// A running front.
pub struct Front {
    /// Where it listens; nowhere in particular when that is no address of TCP.
    pub address: SocketAddr,
    pub kept: Arc<Kept>,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
}

/// A socket on a free port.
pub fn socket() -> Socket {
    Socket::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap()
}

impl Front {
    pub async fn start(options: Options) -> Front {
        Front::start_on(socket(), options, ProtocolLog::off())
    }

    /// One whose protocol log goes to the receiver.
    pub fn logged(options: Options) -> (Front, Receiver<String>) {
        let (log, lines) = ProtocolLog::channel();
        (Front::start_on(socket(), options, log), lines)
    }

    pub fn start_on(socket: Socket, options: Options, log: ProtocolLog) -> Front {
        let address = match socket.address() {
            Address::Tcp(address) => *address,
            _ => SocketAddr::from(([0; 4], 0)),
        };
        let kept = Arc::new(Kept::default());
        let (stop, stopped) = watch::channel(false);
        let door: Arc<dyn Door> = Arc::clone(&kept) as Arc<dyn Door>;
        let serving = tokio::spawn(smtp::serve(socket, Arc::new(options), door, log, stopped));
        Front { address, kept, stop, serving }
    }

    pub async fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client that was greeted.
    pub async fn guest(&self) -> Peer {
        let mut client = self.client().await;
        client.expect("220").await;
        client
    }

    /// A client from 127.0.0.2.
    pub async fn stranger(&self) -> Peer {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        Peer::new(socket.connect(self.address).await.unwrap())
    }

    pub fn count(&self) -> usize {
        self.kept.messages().len()
    }

    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        within(self.serving).await.unwrap();
    }
}

/// A client over any stream.
pub struct Peer<S = TcpStream>(pub BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Peer<S> {
        Peer(BufReader::new(stream))
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads a whole reply; empty when the connection is closed or reset.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let read = within(self.0.read_line(&mut reply)).await;
            if read.is_err() || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    pub async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(start), "expected {start}, found {reply:?}");
        reply
    }

    pub async fn expect_end(&mut self) {
        assert_eq!(self.reply().await, "");
    }

    pub async fn ask(&mut self, line: &str, start: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.expect(start).await
    }

    pub async fn begin_data(&mut self) {
        self.ask("EHLO a", "250-").await;
        self.ask("MAIL FROM:<a@b>", "250").await;
        self.ask("RCPT TO:<c@d>", "250").await;
        self.ask("DATA", "354").await;
    }

    pub async fn post(&mut self, message: &str) {
        self.begin_data().await;
        self.ask(&format!("{message}\r\n."), "250 2.0.0").await;
    }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes too long")
}

/// What a log has said until something stands in it.
pub async fn until(lines: &Receiver<String>, wanted: &str) -> String {
    let mut text = String::new();
    let start = Instant::now();
    loop {
        text.extend(lines.try_iter());
        if text.contains(wanted) {
            return text;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {wanted:?}: {text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
