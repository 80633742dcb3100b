//! An HTTP receiver that does what a script says, byte by byte.
//!
//! The script is a function from a request to the acts that answer it, so a test
//! can misbehave in any phase. Requests are recorded whole, with the number of
//! the connection they came on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many came before it on all connections.
    pub index: usize,
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Request line and headers as they were written.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Write these octets.
    Write(Vec<u8>),
    /// Write these octets again and again.
    Flood(Vec<u8>),
    /// Wait for a permit of the gate.
    Wait(Arc<Semaphore>),
    /// Do nothing for ever.
    Hang,
    /// End the connection in order.
    Close,
    /// End it with a reset.
    Reset,
    /// Wait until the next request begins, then reset the connection unread.
    ResetOnNext,
}

/// A response with an empty body.
pub fn answer(status: u16) -> Vec<Act> {
    answer_with(status, "")
}

/// A response with more header lines, each ending in CRLF.
pub fn answer_with(status: u16, headers: &str) -> Vec<Act> {
    vec![raw(&format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{headers}\r\n"))]
}

/// These octets.
pub fn raw(text: &str) -> Act {
    Act::Write(text.as_bytes().to_vec())
}

type Script = dyn Fn(&Request) -> Vec<Act> + Send + Sync;

/// A running receiver.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    count: watch::Receiver<usize>,
    connections: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
}

impl Receiver {
    /// Listens on a free port and acts as the script says.
    pub async fn start(script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on(listener, script)
    }

    /// One whose every answer, 200, takes a permit of the gate.
    pub async fn gated() -> (Receiver, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&gate);
        let script = move |_: &Request| [vec![Act::Wait(Arc::clone(&held))], answer(200)].concat();
        (Receiver::start(script).await, gate)
    }

    /// Serves on a socket that listens already.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
    ) -> Receiver {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counter, count) = watch::channel(0);
        let (accepted, connections) = watch::channel(0);
        let (ends, ended) = watch::channel(0);
        let script: Arc<Script> = Arc::new(script);
        let (recorded, counter) = (Arc::clone(&requests), Arc::new(counter));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                accepted.send_replace(connection + 1);
                let (script, recorded) = (Arc::clone(&script), Arc::clone(&recorded));
                let (counter, ends) = (Arc::clone(&counter), ends.clone());
                tokio::spawn(async move {
                    serve(socket, connection, script, recorded, counter).await;
                    ends.send_modify(|ended| *ended += 1);
                });
            }
        });
        Receiver { address, requests, count, connections, ended }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until `count` requests came, and returns all.
    pub async fn received(&self, count: usize) -> Vec<Request> {
        let mut counter = self.count.clone();
        let enough = counter.wait_for(|seen| *seen >= count);
        super::within_deadline(&format!("{count} requests"), enough).await.unwrap();
        self.requests()
    }

    /// Waits until `count` connections were ended by the other side.
    pub async fn ended(&self, count: usize) {
        let mut ended = self.ended.clone();
        let enough = ended.wait_for(|ended| *ended >= count);
        super::within_deadline(&format!("{count} ended connections"), enough).await.unwrap();
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        let ended = *self.ended.borrow();
        self.connections() - ended
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    script: Arc<Script>,
    recorded: Arc<Mutex<Vec<Request>>>,
    counter: Arc<watch::Sender<usize>>,
) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut socket, &mut buffer).await {
        let request = {
            let mut recorded = recorded.lock().unwrap();
            let request = Request { index: recorded.len(), connection, head, body };
            recorded.push(request.clone());
            request
        };
        counter.send_modify(|count| *count += 1);
        for act in script(&request) {
            if !perform(&mut socket, act).await {
                return;
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(|text| text.parse().unwrap())
            });
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Some((head, body));
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether the connection goes on.
async fn perform(socket: &mut TcpStream, act: Act) -> bool {
    match act {
        Act::Write(octets) => socket.write_all(&octets).await.is_ok(),
        Act::Flood(octets) => {
            while socket.write_all(&octets).await.is_ok() {}
            false
        }
        Act::Wait(gate) => {
            gate.acquire().await.unwrap().forget();
            true
        }
        Act::Hang => std::future::pending().await,
        Act::Close => {
            let _ = socket.shutdown().await;
            false
        }
        Act::Reset => {
            socket.set_zero_linger().unwrap();
            false
        }
        Act::ResetOnNext => {
            let _ = socket.readable().await;
            socket.set_zero_linger().unwrap();
            false
        }
    }
}
