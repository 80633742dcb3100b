//! The bare programs that `benches/run` measures the gateway beside.
//!
//! - `reference sink` is a hyper server that answers 200 to whatever is posted.
//!   It prints its address; `GET /wait/N` is answered with the number of posts
//!   when there are N.
//! - `reference post URL COUNT OCTETS CONNECTIONS` posts on keep-alive connections.
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
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.as_slice() {
        ["sink"] => LocalSet::new().block_on(&runtime, sink()),
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

async fn sink() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    let posts = Rc::new(Cell::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let posts = Rc::clone(&posts);
        let service = service_fn(move |request| answer(request, Rc::clone(&posts)));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks concerns its client alone.
        tokio::task::spawn_local(async { drop(connection.await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    posts: Rc<Cell<u64>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == Method::POST {
        let mut body = request.into_body();
        while body.frame().await.transpose()?.is_some() {}
        posts.set(posts.get() + 1);
        return Ok(Response::default());
    }
    let awaited: u64 = request.uri().path().trim_start_matches("/wait/").parse().unwrap_or_default();
    while posts.get() < awaited {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Response::new(Full::from(posts.get().to_string())))
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
                let request = Request::post("/").header(header::HOST, authority.as_str());
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
