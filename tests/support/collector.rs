//! An HTTP receiver that is quick, and remembers of each request what a ledger
//! needs. Threads instead of tasks: it shares nothing with the program it
//! watches but the wire.

use super::program::eventually;
use rustix::net::sockopt::set_socket_linger;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request that was read to its end.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Request line's target.
    pub path: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// CRC32C of the body.
    pub checksum: u32,
    /// When it was complete.
    pub at: Instant,
}

impl Arrival {
    /// The post's id.
    pub fn id(&self) -> &str {
        &self.headers["postgate-id"]
    }

    /// The number of the attempt.
    pub fn attempt(&self) -> u32 {
        self.headers["postgate-attempt"].parse().unwrap()
    }
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// That status; the text repeats path and credentials of the request.
    Echo(u16),
    /// Nothing: the connection is closed.
    Close,
    /// Nothing for as long as the receiver lives.
    Silence,
    /// 429, and so many seconds to wait.
    Busy(u32),
    /// So many octets of a good response, then a reset.
    Reset(usize),
    /// What is no HTTP.
    Garbage,
    /// A response of which an octet comes at a time.
    Trickle,
    /// That status, and a body that does not end.
    Endless(u16),
}

type Script = dyn Fn(&Arrival) -> Answer + Send + Sync;
/// What is done to a request before it is noted; false: it never is.
type Spoiler = dyn Fn(&mut Arrival) -> bool + Send + Sync;

/// Whether bodies are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Everything,
    ChecksumsOnly,
    /// Nor is anything else; the script may.
    Nothing,
}

struct Shared {
    arrivals: Mutex<Vec<(Arrival, Answer)>>,
    script: Box<Script>,
    spoiler: Box<Spoiler>,
    keep: Keep,
    open: AtomicUsize,
    connections: AtomicUsize,
    is_over: AtomicBool,
    /// Those that are open, by their numbers.
    streams: Mutex<BTreeMap<usize, TcpStream>>,
}

/// A running receiver; dropping it ends it and its connections.
pub struct Collector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Collector {
    /// Answers on a free port.
    pub fn start(script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Collector {
        Collector::on(TcpListener::bind("127.0.0.1:0").unwrap(), Keep::Everything, script)
    }

    /// Answers on this socket.
    pub fn on(
        listener: TcpListener,
        keep: Keep,
        script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static,
    ) -> Collector {
        Collector::spoilt(listener, keep, script, |_| true)
    }

    /// The same with a ledger that something is done to: what it says is not what came.
    pub fn spoilt(
        listener: TcpListener,
        keep: Keep,
        script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static,
        spoiler: impl Fn(&mut Arrival) -> bool + Send + Sync + 'static,
    ) -> Collector {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            arrivals: Mutex::default(),
            script: Box::new(script),
            spoiler: Box::new(spoiler),
            keep,
            open: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                own.open.fetch_add(1, Ordering::SeqCst);
                let number = own.connections.fetch_add(1, Ordering::SeqCst);
                own.streams.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let own = Arc::clone(&own);
                std::thread::spawn(move || {
                    // A peer that was killed ends its connection anywhere.
                    let _ = own.serve(stream);
                    own.streams.lock().unwrap().remove(&number);
                    own.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Collector { address, shared }
    }

    /// A recipient that leads to `path` here.
    pub fn recipient(&self, path: &str) -> String {
        format!("post@http://{}{path}", self.address)
    }

    /// What came so far, in the order of completion, and what was answered.
    pub fn arrivals(&self) -> Vec<(Arrival, Answer)> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.shared.arrivals.lock().unwrap().len()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests came, and answers with all.
    pub fn received(&self, count: usize) -> Vec<Arrival> {
        eventually(&format!("{count} requests"), super::DEADLINE, || (self.count() >= count).then_some(()));
        self.arrivals().into_iter().map(|(arrival, _)| arrival).collect()
    }

    /// Waits until everything that was sent has been read and every connection
    /// was ended by the other side.
    pub fn is_alone(&self) {
        let alone = || (self.shared.open.load(Ordering::SeqCst) == 0).then_some(());
        eventually("the end of all connections", super::DEADLINE, alone);
        self.shared.streams.lock().unwrap().clear();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then gives the port back.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        for stream in std::mem::take(&mut *self.shared.streams.lock().unwrap()).into_values() {
            // Most have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        while let Some(arrival) = read(&mut input)? {
            let answer = (self.script)(&arrival);
            let mut kept = arrival;
            let is_noted = (self.spoiler)(&mut kept) && self.keep != Keep::Nothing;
            if self.keep != Keep::Everything {
                kept.body = Vec::new();
            }
            if is_noted {
                self.arrivals.lock().unwrap().push((kept.clone(), answer));
            }
            let empty =
                |status: u16, more: &str| format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{more}\r\n");
            match answer {
                Answer::Status(status) => stream.write_all(empty(status, "").as_bytes())?,
                Answer::Busy(seconds) => {
                    stream.write_all(empty(429, &format!("Retry-After: {seconds}\r\n")).as_bytes())?;
                }
                Answer::Echo(status) => {
                    let (path, proof) = (&kept.path, kept.headers.get("authorization"));
                    let text = format!("who says {path} is no {}", proof.map_or("", String::as_str));
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", text.len());
                    stream.write_all(format!("{head}{text}").as_bytes())?;
                }
                Answer::Close => return stream.shutdown(Shutdown::Both),
                Answer::Silence => {
                    input.read_to_end(&mut Vec::new())?;
                }
                Answer::Reset(octets) => {
                    stream.write_all(&empty(200, "").as_bytes()[..octets])?;
                    return Ok(set_socket_linger(&stream, Some(Duration::ZERO))?);
                }
                Answer::Garbage => {
                    stream.write_all(b"\x16\x03HTTP/9 no\r\nContent-Length: -1\r\n\r\n")?;
                    return stream.shutdown(Shutdown::Both);
                }
                Answer::Trickle => {
                    for octet in empty(200, &"X-Slow: yes\r\n".repeat(100)).as_bytes() {
                        std::thread::sleep(Duration::from_millis(100));
                        stream.write_all(&[*octet])?;
                    }
                }
                Answer::Endless(status) => {
                    stream.write_all(
                        format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", u64::MAX).as_bytes(),
                    )?;
                    loop {
                        stream.write_all(&[b'x'; 16 << 10])?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The next request; `None` at the end of the connection.
fn read(input: &mut impl BufRead) -> std::io::Result<Option<Arrival>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(Arrival { path, headers, checksum: crc32c::crc32c(&body), body, at: Instant::now() }))
}

/// Takes most posts, refuses some for now, and hangs up on some.
pub fn moody(arrival: &Arrival) -> Answer {
    // Not random: by what was sent, and otherwise for each attempt.
    match (arrival.checksum as usize + arrival.attempt() as usize) % 23 {
        0 => Answer::Status(503),
        1 => Answer::Close,
        _ => Answer::Status(200),
    }
}
