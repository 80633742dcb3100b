//! Many clients that send without pause, to whichever gateway is there, and
//! keep a ledger of it.

use super::ledger::Sent;
use super::program::{Client, Reply};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Octets of a line of text.
const LINE: usize = 72;
/// Octets of the bodies: most small, some medium, a few large.
const SIZES: &[usize] = &[200, 200, 8192, 200, 300 << 10, 72, 8192, 144];
/// Of so many messages of a client one must be refused.
const WRONG: usize = 19;

/// Text of which every body is a piece; some lines begin with a dot.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = fastrand::Rng::with_seed(7);
    let line = |_| {
        let first = if dice.u8(..) < 64 { b'.' } else { b'-' };
        let letters = (0..LINE - 3).map(|_| dice.alphanumeric() as u8);
        std::iter::once(first).chain(letters).chain(*b"\r\n").collect::<Vec<_>>()
    };
    (0..6000).flat_map(line).collect()
});

/// So many lines of text, from somewhere in it.
pub fn lines(count: usize, dice: &mut fastrand::Rng) -> &'static [u8] {
    let start = dice.usize(..TEXT.len() / LINE - count);
    &TEXT[start * LINE..(start + count) * LINE]
}

struct Shared {
    /// The gateway that is there, or was there last.
    smtp: Mutex<Option<SocketAddr>>,
    receiver: SocketAddr,
    sizes: &'static [usize],
    ledger: Mutex<Vec<Sent>>,
    accepted: AtomicUsize,
    is_over: AtomicBool,
}

/// Clients at work; dropping it ends them.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to send posts to `receiver` as soon as there is a gateway.
    pub fn begin(clients: usize, receiver: SocketAddr) -> Load {
        Load::of(SIZES, clients, receiver)
    }

    /// The same with bodies of these sizes, in octets.
    pub fn of(sizes: &'static [usize], clients: usize, receiver: SocketAddr) -> Load {
        let shared = Arc::new(Shared {
            smtp: Mutex::default(),
            receiver,
            sizes,
            ledger: Mutex::default(),
            accepted: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let client = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(number))
        };
        Load { clients: (0..clients).map(client).collect(), shared }
    }

    /// Says where the gateway is now.
    pub fn turn_to(&self, smtp: SocketAddr) {
        *self.shared.smtp.lock().unwrap() = Some(smtp);
    }

    /// How many messages were acknowledged so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Ends the clients; what they sent.
    pub fn end(mut self) -> Vec<Sent> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        std::mem::take(&mut *self.shared.ledger.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn work(&self, client: usize) {
        let mut dice = fastrand::Rng::with_seed(client as u64);
        let mut number = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let smtp = *self.smtp.lock().unwrap();
            let Some(mut session) = smtp.and_then(Client::connect) else {
                // The gateway is being started again.
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            while !self.is_over.load(Ordering::SeqCst) {
                number += 1;
                let sent = self.send(&mut session, client, number, &mut dice);
                let is_over = !matches!(&sent.reply, Reply::Said(line) if !line.starts_with("421 "));
                self.ledger.lock().unwrap().push(sent);
                if is_over {
                    break;
                }
            }
        }
    }

    fn send(&self, session: &mut Client, client: usize, number: usize, dice: &mut fastrand::Rng) -> Sent {
        let posts = if number.is_multiple_of(7) { 3 } else { 1 };
        let paths: Vec<_> = (0..posts).map(|post| format!("/{client}/{number}/{post}")).collect();
        let recipients: Vec<_> =
            paths.iter().map(|path| format!("post@http://{}{path}", self.receiver)).collect();
        let text = lines(self.sizes[(client + number) % self.sizes.len()] / LINE, dice);
        let body = [format!("{client} {number} ").as_bytes(), text, b"end"].concat();
        let wrong = if number.is_multiple_of(WRONG) { "X-Postgate-Priority: 10\r\n" } else { "" };
        let head = format!("X-XsHttp-Content-Type: application/octet-stream\r\n{wrong}\r\n");
        let message = [head.as_bytes(), &body, b"\r\n"].concat();
        let reply = if number.is_multiple_of(31) {
            leave_halfway(session, &recipients, &message)
        } else {
            session.send(&recipients, &message)
        };
        if reply.is_accepted() {
            self.accepted.fetch_add(1, Ordering::SeqCst);
        }
        Sent { paths, checksum: crc32c::crc32c(&body), reply }
    }
}

/// Whether a message is one that must be refused.
fn is_wrong(message: &Sent) -> bool {
    message.paths[0].split('/').nth(2).unwrap().parse::<usize>().unwrap().is_multiple_of(WRONG)
}

/// Refusals that are not what clients must be told of a fault: to come again, with an
/// enhanced status (RFC 3463), and never for good.
pub fn misled(sent: &[Sent]) -> Vec<String> {
    let is_for_now = |line: &str| line.starts_with('4') && line.get(4..6) == Some("4.");
    let is_fine = |message: &&Sent, line: &str| {
        line.starts_with("250 ") || is_for_now(line) || is_wrong(message) && line.starts_with("550 5.6.0 ")
    };
    let said = sent.iter().filter_map(|message| match &message.reply {
        Reply::Said(line) if !is_fine(&message, line) => Some(line.clone()),
        _ => None,
    });
    said.collect()
}

/// The connection ends in the middle of the mail data.
pub fn leave_halfway(session: &mut Client, recipients: &[String], message: &[u8]) -> Reply {
    if session.envelope(recipients).is_ok() {
        // Whether it gets through or not, the dot never follows.
        let _ = session.write(&message[..message.len() / 2]);
    }
    Reply::Unsent
}
