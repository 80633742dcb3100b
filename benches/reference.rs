//! The bare programs that `benches/run` measures the gateway beside.
//!
//! - `reference sink [PORT [MILLISECONDS [plain|tls|h2]]]` is a hyper server that
//!   answers 200 to whatever is posted, so many milliseconds later. It prints its
//!   address and another, always HTTP/1.1 in the clear, on which `GET /wait/N` is
//!   answered with the number of posts when there are N, and `GET /octets` with the
//!   length of the last one. Over TLS it shows a certificate that nobody vouches for;
//!   `h2` is HTTP/2 with prior knowledge.
//! - `reference post URL COUNT OCTETS CONNECTIONS` posts on keep-alive connections, with
//!   headers as the gateway sends them: what the sink does for both is the same.
//! - `reference append DIRECTORY COUNT OCTETS GROUP` writes records into a
//!   file that is already written over, one write and one `fdatasync` a group.
//! - `reference write DIRECTORY COUNT OCTETS` writes as many files, one after the
//!   other, and syncs each.
//!
//! All but the first print how many seconds the work took. Each is one thread: what
//! is left of the machine belongs to the program they are measured with.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Headers of a post besides those of HTTP itself.
const HEADERS: [(&str, &str); 7] = [
    ("Content-Type", "application/json"),
    ("User-Agent", "Postgate/0.1.0"),
    ("Postgate-Id", "1a1ff6880571ac42"),
    ("Postgate-Attempt", "1"),
    ("Idempotency-Key", "1a1ff6880571ac42"),
    ("CDN-Loop", "postgate; id=8591dc677db878e9"),
    ("Accept-Encoding", "identity"),
];

/// What a sink was sent.
#[derive(Default)]
struct Posts {
    count: Cell<u64>,
    /// Octets of the last one.
    octets: Cell<usize>,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.as_slice() {
        ["sink"] => LocalSet::new().block_on(&runtime, sink(0, Duration::ZERO, "plain")),
        ["sink", port, delay, spoken] => {
            let delay = Duration::from_millis(delay.parse()?);
            LocalSet::new().block_on(&runtime, sink(port.parse()?, delay, spoken))
        }
        ["post", url, count, octets, connections] => {
            let work = post(url.parse()?, count.parse()?, octets.parse()?, connections.parse()?);
            tell(LocalSet::new().block_on(&runtime, work)?)
        }
        ["append", directory, count, octets, group] => {
            tell(append(Path::new(directory), count.parse()?, octets.parse()?, group.parse()?)?)
        }
        ["write", directory, count, octets] => {
            tell(write(Path::new(directory), count.parse()?, octets.parse()?)?)
        }
        _ => {
            Err("reference sink | post URL COUNT OCTETS CONNECTIONS | append DIRECTORY COUNT OCTETS GROUP | \
                 write DIRECTORY COUNT OCTETS"
                .into())
        }
    }
}

fn tell(time: Duration) -> Outcome<()> {
    println!("{}", time.as_secs_f64());
    Ok(())
}

/// How a sink is spoken to.
#[derive(Clone)]
enum Spoken {
    Plain,
    Tls(TlsAcceptor),
    Http2,
}

async fn sink(port: u16, delay: Duration, spoken: &str) -> Outcome<()> {
    let (scheme, spoken) = match spoken {
        "tls" => ("https", Spoken::Tls(acceptor()?)),
        "h2" => ("http", Spoken::Http2),
        _ => ("http", Spoken::Plain),
    };
    // All addresses of this machine: each is a destination of its own.
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    println!("{scheme}://127.0.0.1:{}/ http://{}/", listener.local_addr()?.port(), control.local_addr()?);
    let posts = Rc::new(Posts::default());
    tokio::task::spawn_local(listen(control, Spoken::Plain, Duration::ZERO, Rc::clone(&posts)));
    listen(listener, spoken, delay, posts).await
}

async fn listen(listener: TcpListener, spoken: Spoken, delay: Duration, posts: Rc<Posts>) -> Outcome<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks concerns its client alone.
        let (spoken, posts) = (spoken.clone(), Rc::clone(&posts));
        tokio::task::spawn_local(async move { drop(serve(stream, spoken, delay, posts).await) });
    }
}

async fn serve(stream: TcpStream, spoken: Spoken, delay: Duration, posts: Rc<Posts>) -> Outcome<()> {
    let service = service_fn(move |request| answer(request, delay, Rc::clone(&posts)));
    let plain = hyper::server::conn::http1::Builder::new;
    match spoken {
        Spoken::Plain => plain().serve_connection(TokioIo::new(stream), service).await?,
        Spoken::Tls(acceptor) => {
            let stream = TokioIo::new(acceptor.accept(stream).await?);
            plain().serve_connection(stream, service).await?;
        }
        Spoken::Http2 => {
            let builder = hyper::server::conn::http2::Builder::new(Local);
            builder.serve_connection(TokioIo::new(stream), service).await?;
        }
    }
    Ok(())
}

/// Runs what hyper has to run on this thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, work: F) {
        tokio::task::spawn_local(work);
    }
}

fn acceptor() -> Outcome<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    posts: Rc<Posts>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == Method::POST {
        let (mut body, mut octets) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await.transpose()? {
            octets += frame.data_ref().map_or(0, Bytes::len);
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        posts.count.set(posts.count.get() + 1);
        posts.octets.set(octets);
        return Ok(Response::default());
    }
    if request.uri().path() == "/octets" {
        return Ok(Response::new(Full::from(posts.octets.get().to_string())));
    }
    let awaited: u64 = request.uri().path().trim_start_matches("/wait/").parse().unwrap_or_default();
    while posts.count.get() < awaited {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Response::new(Full::from(posts.count.get().to_string())))
}

async fn post(url: Uri, count: usize, octets: usize, connections: usize) -> Outcome<Duration> {
    let authority = url.authority().ok_or("a URL with a host")?.clone();
    let body = Bytes::from(vec![b'x'; octets]);
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let (authority, body) = (authority.clone(), body.clone());
        tasks.spawn_local(async move {
            for _ in 0..count / connections {
                let mut request = Request::post("/").header(header::HOST, authority.as_str());
                for (name, value) in HEADERS {
                    request = request.header(name, value);
                }
                let response = requests.send_request(request.body(Full::new(body.clone()))?).await?;
                if !response.status().is_success() {
                    return Err(format!("answered {}", response.status()).into());
                }
                response.into_body().collect().await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(begun.elapsed())
}

fn append(directory: &Path, count: usize, octets: usize, group: usize) -> Outcome<Duration> {
    let path = directory.join("appended");
    let file = File::create_new(&path)?;
    let records = vec![b'x'; octets * group];
    let offsets = (0..count / group).map(|number| (number * records.len()) as u64);
    for offset in offsets.clone() {
        file.write_all_at(&vec![0; records.len()], offset)?;
    }
    file.sync_all()?;
    let begun = Instant::now();
    for offset in offsets {
        file.write_all_at(&records, offset)?;
        file.sync_data()?;
    }
    let time = begun.elapsed();
    std::fs::remove_file(path)?;
    Ok(time)
}

fn write(directory: &Path, count: usize, octets: usize) -> Outcome<Duration> {
    let content = vec![b'x'; octets];
    let path = |number: usize| directory.join(format!("written-{number}"));
    let begun = Instant::now();
    for number in 0..count {
        let file = File::create_new(path(number))?;
        file.write_all_at(&content, 0)?;
        file.sync_data()?;
    }
    let time = begun.elapsed();
    for number in 0..count {
        std::fs::remove_file(path(number))?;
    }
    Ok(time)
}
