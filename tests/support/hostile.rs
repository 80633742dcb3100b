//! A receiver that misbehaves in whatever phase a test wants it to, and a gateway
//! that has to live with it.
//!
//! What it does is data: a list of [`Act`]s a connection, so a table of tests can
//! hold it. It keeps every octet it heard. Threads instead of tasks: it shares
//! nothing with the program it watches but the wire.
#![allow(dead_code)]

use super::DEADLINE;
use super::program::{Client, Gateway, Reply, eventually, postgate};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One thing a receiver does on a connection. Behind the last one it closes the
/// connection in order, when it has read what there is.
#[derive(Clone, Debug)]
pub enum Act {
    /// Becomes TLS.
    Encrypt(Arc<ServerConfig>),
    /// Reads a request to its end; the end of the connection when there is none.
    Request,
    /// Reads so many octets.
    Read(usize),
    /// Writes these octets.
    Write(Vec<u8>),
    /// Writes these octets one at a time, at this pace.
    Trickle(Vec<u8>, Duration),
    /// Writes these octets again and again: so many, or until nobody takes more.
    Flood(Vec<u8>, usize),
    /// Neither reads nor writes from here on.
    Hang,
    /// Is busy for so long.
    Work(Duration),
    /// Waits until the other side has sent more, which it does not read.
    Unread,
    /// Ends the connection when the other side has sent more by now.
    Silent,
    /// Ends the connection in order, whatever was not read.
    Close,
    /// Ends it with a reset.
    Reset,
}

/// These octets.
pub fn write(text: &str) -> Act {
    Act::Write(text.as_bytes().to_vec())
}

/// An empty response with these header lines, each of which ends in CRLF.
pub fn response(status: &str, headers: &str) -> Act {
    write(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n"))
}

/// What is right: reads requests and answers them, for so many requests.
pub fn honest(requests: usize) -> Vec<Act> {
    [Act::Request, response("200 OK", "")].into_iter().cycle().take(2 * requests).collect()
}

/// What came and went on one connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// All octets that were read, decrypted.
    pub octets: Vec<u8>,
    /// How many octets the other side took.
    pub written: usize,
    /// Why it ended, if it has.
    pub ended: Option<String>,
}

impl Heard {
    /// The requests on it, as far as they came.
    pub fn requests(&self) -> Vec<Request> {
        let (mut rest, mut requests) = (&self.octets[..], Vec::new());
        while let Some(length) = request_length(rest) {
            let end = head_length(rest).unwrap();
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            requests.push(Request { head, body: rest[end..length].to_vec() });
            rest = &rest[length..];
        }
        requests
    }
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Request line and header, as they were written.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The values of all headers of a name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The only value of a header.
    pub fn only(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.head);
        all[0]
    }
}

fn head_length(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The length of the request that is first in these octets, when it is whole.
fn request_length(octets: &[u8]) -> Option<usize> {
    let end = head_length(octets)?;
    let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let whole = end + length.unwrap_or(0);
    (octets.len() >= whole).then_some(whole)
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    news: Condvar,
    is_over: Mutex<bool>,
    over: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running receiver; dropping it ends it and its connections.
pub struct Hostile {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// What keeps its backlog full, when it is deaf.
    _crowd: Vec<TcpStream>,
}

impl Hostile {
    /// Does this on every connection.
    pub fn start(script: Vec<Act>) -> Hostile {
        Hostile::scripts(vec![script])
    }

    /// Does this on the first connection, that on the second, and the last on all
    /// further ones.
    pub fn scripts(scripts: Vec<Vec<Act>>) -> Hostile {
        Hostile::on(TcpListener::bind("127.0.0.1:0").unwrap(), scripts)
    }

    /// The same on a socket that listens already.
    pub fn on(listener: TcpListener, scripts: Vec<Vec<Act>>) -> Hostile {
        let address = listener.local_addr().unwrap();
        // What is not read must not all fit into buffers.
        set_socket_recv_buffer_size(&listener, 64 << 10).unwrap();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                if *own.is_over.lock().unwrap() {
                    return;
                }
                own.streams.lock().unwrap().push(stream.try_clone().unwrap());
                own.heard.lock().unwrap().push(Heard::default());
                own.news.notify_all();
                let script = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
                let connection =
                    Connection { shared: Arc::clone(&own), number, stream: Stream::Plain(stream) };
                std::thread::spawn(move || connection.perform(script));
            }
        });
        Hostile { address, shared, _crowd: Vec::new() }
    }

    /// Listens, and never accepts: its backlog is full before it is asked.
    pub fn deaf() -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut crowd = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            crowd.push(stream);
        }
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            let _listening = listener;
            own.wait_for_the_end();
        });
        Hostile { address, shared, _crowd: crowd }
    }

    /// A recipient that leads here.
    pub fn recipient(&self) -> String {
        format!("post@http://{}/hook", self.address)
    }

    /// The same over TLS.
    pub fn recipient_over_tls(&self) -> String {
        format!("post@https://{}/hook", self.address)
    }

    /// What came so far, a connection each.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The whole requests so far, with the number of their connection.
    pub fn requests(&self) -> Vec<(usize, Request)> {
        let on = |(number, heard): (usize, Heard)| {
            heard.requests().into_iter().map(move |request| (number, request)).collect::<Vec<_>>()
        };
        self.heard().into_iter().enumerate().flat_map(on).collect()
    }

    /// Waits until what was heard is as it should be, and returns it.
    pub fn until(&self, what: &str, is_so: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let heard = self.shared.heard.lock().unwrap();
        let (heard, end) =
            self.shared.news.wait_timeout_while(heard, DEADLINE, |heard| !is_so(heard)).unwrap();
        assert!(!end.timed_out(), "waited {DEADLINE:?} in vain: {what}: {heard:?}");
        heard.clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        *self.shared.is_over.lock().unwrap() = true;
        self.shared.over.notify_all();
        // Wakes the acceptor, which then gives the port back.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            // Most have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn wait_for_the_end(&self) {
        let is_over = self.is_over.lock().unwrap();
        drop(self.over.wait_while(is_over, |is_over| !*is_over).unwrap());
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(octets),
            Stream::Tls(stream) => {
                let written = stream.write(octets)?;
                stream.flush()?;
                Ok(written)
            }
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    number: usize,
    stream: Stream,
}

impl Connection {
    fn perform(mut self, script: Vec<Act>) {
        self.stream.socket().set_nodelay(true).unwrap();
        let mut result = Ok(());
        for act in script {
            result = self.act(act);
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            let _ = self.stream.socket().shutdown(Shutdown::Write);
            result = self.read_until(|_| false);
        }
        let why = result.map_or_else(|why| why.to_string(), |()| "closed".to_owned());
        self.note(|heard| heard.ended = Some(why));
    }

    fn act(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Encrypt(config) => {
                let session = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(session, self.stream.socket().try_clone()?);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                self.stream = Stream::Tls(Box::new(stream));
                Ok(())
            }
            Act::Request => {
                let earlier: usize =
                    self.heard().requests().iter().map(|one| one.head.len() + one.body.len()).sum();
                self.read_until(move |octets| request_length(&octets[earlier..]).is_some())
            }
            Act::Read(count) => {
                let earlier = self.heard().octets.len();
                self.read_until(move |octets| octets.len() >= earlier + count)
            }
            Act::Write(octets) => self.write(&octets),
            Act::Trickle(octets, pace) => octets.iter().try_for_each(|octet| {
                std::thread::sleep(pace);
                self.write(&[*octet])
            }),
            Act::Flood(piece, most) => {
                let mut left = most;
                while left > 0 {
                    self.write(&piece[..piece.len().min(left)])?;
                    left = left.saturating_sub(piece.len());
                }
                Ok(())
            }
            Act::Hang => {
                self.shared.wait_for_the_end();
                Err(io::Error::other("the test is over"))
            }
            Act::Work(time) => {
                std::thread::sleep(time);
                Ok(())
            }
            Act::Unread => self.stream.socket().peek(&mut [0]).map(drop),
            Act::Silent => {
                self.stream.socket().set_nonblocking(true)?;
                let sent = self.stream.socket().peek(&mut [0]);
                self.stream.socket().set_nonblocking(false)?;
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    _ => Err(io::Error::other("the other side did not wait")),
                }
            }
            Act::Close => {
                let _ = self.stream.socket().shutdown(Shutdown::Both);
                Err(io::Error::other("closed by itself"))
            }
            Act::Reset => {
                set_socket_linger(self.stream.socket(), Some(Duration::ZERO)).unwrap();
                // The other handle would keep the connection.
                let own = self.stream.socket().peer_addr()?;
                let other = |stream: &TcpStream| stream.peer_addr().is_ok_and(|peer| peer == own);
                self.shared.streams.lock().unwrap().retain(|stream| !other(stream));
                Err(io::Error::other("reset by itself"))
            }
        }
    }

    fn heard(&self) -> Heard {
        self.shared.heard.lock().unwrap()[self.number].clone()
    }

    fn note(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.shared.heard.lock().unwrap()[self.number]);
        self.shared.news.notify_all();
    }

    /// Reads until it is enough, or until the other side ends.
    fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut octets = self.heard().octets;
        while !is_enough(&octets) {
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => {
                    octets.extend_from_slice(&buffer[..length]);
                    self.note(|heard| heard.octets.extend_from_slice(&buffer[..length]));
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let written = self.stream.write(octets)?;
            octets = &octets[written..];
            self.note(|heard| heard.written += written);
        }
        Ok(())
    }
}

/// A gateway with its directory, and what its protocol log says of posts.
pub struct Sender {
    pub gateway: Gateway,
    pub directory: TempDir,
}

impl Sender {
    /// A gateway with this configuration.
    pub fn start(config: &str) -> Sender {
        Sender::with(config, |_| {})
    }

    /// The same, with a change of the command that starts it.
    pub fn with(config: &str, change: impl FnOnce(&mut Command)) -> Sender {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("postgate.toml"), config).unwrap();
        let mut command = postgate(directory.path());
        change(&mut command);
        let gateway = Gateway::listening(Gateway::spawn(&mut command, directory.path()));
        Sender { gateway, directory }
    }

    /// Hands in a message for one recipient; the reply.
    pub fn send(&self, recipient: &str, message: &str) -> Reply {
        Client::connect(self.gateway.smtp).unwrap().send(&[recipient.to_owned()], message.as_bytes())
    }

    /// Hands in a small message; the id of its post.
    pub fn post(&self, recipient: &str) -> String {
        self.send(recipient, "X-XsHttp-Content-Type: text/plain\r\n\r\nhello\r\n").id().to_owned()
    }

    /// Waits for the verdict on the `count`th attempt of a post: what the log says of
    /// it, such as `failed: 404 Not Found`.
    pub fn verdict(&self, post: &str, count: usize) -> String {
        eventually(&format!("verdict {count} on {post}"), DEADLINE, || {
            self.verdicts(post).get(count - 1).cloned()
        })
    }

    /// The verdicts on a post so far.
    pub fn verdicts(&self, post: &str) -> Vec<String> {
        let begins = [" delivered ", " deferred ", " failed: ", " held"];
        let log = self.log();
        let said =
            log.lines().filter_map(|line| line.split_once(&format!(" * {post}")).map(|(_, said)| said));
        said.filter(|said| begins.iter().any(|begin| said.starts_with(begin)))
            .map(|said| said.trim_start().to_owned())
            .collect()
    }

    /// The protocol log.
    pub fn log(&self) -> String {
        let Ok(files) = fs::read_dir(self.directory.path().join("postgate-data/log")) else {
            return String::new();
        };
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// What it said of itself.
    pub fn stderr(&self) -> String {
        read(&self.directory.path().join("stderr"))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// How long something takes.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = what();
    (value, begin.elapsed())
}
