//! Section 2.3, logins: over the wire, at the door that is really used.

use crate::front::{Peer, socket, within};
use crate::support::memory::MemorySpool;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use postgate::clock::Ids;
use postgate::compose;
use postgate::intake::{self, Allowance, Intake, Logins, User, UserSecret};
use postgate::post::MessageId;
use postgate::protocol_log::ProtocolLog;
use postgate::smtp::auth::Secret;
use postgate::smtp::{self, Door, Options};
use postgate::tenant::Tenant;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DELAY: Duration = Duration::from_millis(30);
const DENIED: &str = "535 5.7.8 authentication failed\r\n";

/// A front before an intake that knows `erp` with the password `right`.
struct Guarded {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    lines: Receiver<String>,
}

impl Guarded {
    fn start(options: intake::Options) -> Guarded {
        let erp = User {
            name: "erp".to_owned(),
            secret: UserSecret::Password(Secret::new("right")),
            tenant: Tenant::new("shop"),
            may_post_to: Vec::new(),
            networks: Vec::new(),
        };
        let logins = Arc::new(Logins::new(vec![erp]).unwrap());
        let options = intake::Options { hostname: "gateway.example".to_owned(), logins, ..options };
        let compose = Arc::new(compose::Options::default());
        let ids = Arc::new(Ids::above(MessageId(0)));
        let door: Arc<dyn Door> = Arc::new(Intake::new(options, compose, MemorySpool::new(), ids));
        let socket = socket();
        let address = socket.network_address().unwrap();
        let mut options = Options::default();
        options.timeouts.error_delay = DELAY;
        let (stop, stopped) = watch::channel(false);
        let (log, lines) = ProtocolLog::channel();
        let serving = tokio::spawn(smtp::serve(socket, Arc::new(options), door, log, stopped));
        Guarded { address, stop, serving, lines }
    }

    async fn guest(&self) -> Peer {
        let mut client = Peer::new(TcpStream::connect(self.address).await.unwrap());
        client.expect("220").await;
        client.ask("EHLO a", "250").await;
        client
    }

    /// Ends it; what the protocol log has.
    async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        within(self.serving).await.unwrap();
        self.lines.try_iter().collect()
    }
}

/// Whoever is on this machine may log in in the clear.
fn trusting() -> intake::Options {
    let trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
    intake::Options { trusted_networks, cram_md5: Allowance::Allowed, ..intake::Options::default() }
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}").as_bytes()))
}

#[tokio::test]
async fn three_failures_end_a_connection_and_ten_lock_an_address() {
    let guarded = Guarded::start(trusting());
    let start = Instant::now();
    for (name, password) in [("erp", "wrong"), ("nobody", "right"), ("erp", "Right")] {
        let mut client = guarded.guest().await;
        // An unknown user is told the same.
        assert_eq!(client.ask(&plain(name, password), "535").await, DENIED);
        assert_eq!(client.ask(&plain("ghost", "x"), "535").await, DENIED);
        client.ask(&plain("erp", "wrong again"), "421 4.7.0 ").await;
        client.expect_end().await;
    }
    assert!(start.elapsed() >= 9 * DELAY, "{:?}", start.elapsed());
    let mut client = guarded.guest().await;
    client.ask(&plain("another", "x"), "535").await;
    client.ask(&plain("erp", "right"), "454 4.7.0 ").await;
    client.ask(&plain("erp", "wrong"), "421 4.7.0 ").await;
    client.expect_end().await;
    let log = guarded.stop().await;
    assert_eq!(log.matches("< AUTH PLAIN ***\n").count(), 12, "{log}");
    assert!(!log.contains("logged in"), "{log}");
    for secret in
        ["right", "wrong", "ghost", &BASE64.encode(b"\0erp\0right"), &BASE64.encode(b"\0erp\0wrong")]
    {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// Asks for a challenge.
async fn challenge(client: &mut Peer) -> Vec<u8> {
    let reply = client.ask("AUTH CRAM-MD5", "334 ").await;
    BASE64.decode(reply[4..].trim_end().as_bytes()).unwrap()
}

/// What `erp` answers to a challenge.
fn answer(challenge: &[u8]) -> String {
    let mut hmac = Hmac::<Md5>::new_from_slice(b"right").unwrap();
    hmac.update(challenge);
    let digest = HEXLOWER.encode(&hmac.finalize().into_bytes());
    BASE64.encode(format!("erp {digest}").as_bytes())
}

#[tokio::test]
async fn a_challenge_is_for_one_answer_on_its_own_connection() {
    let guarded = Guarded::start(trusting());
    let (mut one, mut other) = (guarded.guest().await, guarded.guest().await);
    let (first, second) = (challenge(&mut one).await, challenge(&mut other).await);
    assert_ne!(first, second);
    // Right, but of another connection's challenge.
    assert_eq!(other.ask(&answer(&first), "535").await, DENIED);
    one.ask("*", "501").await;
    let third = challenge(&mut one).await;
    assert_ne!(first, third);
    // The challenge before this one was given up.
    assert_eq!(one.ask(&answer(&first), "535").await, DENIED);
    let fourth = challenge(&mut one).await;
    one.ask(&answer(&fourth), "235 ").await;
    // What was right once is not again.
    challenge(&mut other).await;
    assert_eq!(other.ask(&answer(&fourth), "535").await, DENIED);
    let log = guarded.stop().await;
    for secret in [first, second, third, fourth] {
        assert!(!log.contains(&BASE64.encode(&secret)) && !log.contains(&answer(&secret)), "{log}");
    }
}

#[tokio::test]
async fn in_the_clear_nothing_is_offered_and_nothing_looked_at() {
    let guarded = Guarded::start(intake::Options::default());
    let mut client = guarded.guest().await;
    let offers = client.ask("EHLO a", "250").await;
    assert!(!offers.contains("AUTH"), "{offers}");
    client.ask(&plain("erp", "right"), "538 5.7.11 ").await;
    client.ask("AUTH LOGIN ZXJw", "538 5.7.11 ").await;
    // It must be asked for by name, even where passwords would do.
    client.ask("AUTH CRAM-MD5", "504 5.5.4 ").await;
    client.ask("MAIL FROM:<erp@b> AUTH=<erp@b>", "250").await;
    client.ask("RCPT TO:<post@https://hook.example/>", "550 5.7.1 ").await;
    drop(client);
    let log = guarded.stop().await;
    assert!(log.contains("< AUTH PLAIN ***\n") && log.contains("< AUTH LOGIN ***\n"), "{log}");
    assert!(!log.contains(&BASE64.encode(b"\0erp\0right")) && !log.contains("ZXJw"), "{log}");
    let trusted = intake::Options { cram_md5: Allowance::Refused, ..trusting() };
    let guarded = Guarded::start(trusted);
    let offers = guarded.guest().await.ask("EHLO a", "250").await;
    assert!(offers.contains("250-AUTH PLAIN LOGIN\r\n"), "{offers}");
    guarded.stop().await;
}
