//! Both ends of `benches/run` where one program must know both: it sends mail to
//! the gateway and is the receiver of all posts made of it.
//!
//! `courier ADDRESS COUNT LANES RATE RECIPIENTS OCTETS` sends `COUNT` posts to
//! `LANES` destinations in turn, each an address of 127.0.0.0/8 of its own, in
//! messages of `RECIPIENTS` recipients, `RATE` posts a second (0: as fast as it
//! goes). It prints the seconds from the first message to the last post's arrival; the
//! 50th and the 99th percentile of the milliseconds from a message's data to the arrival
//! of a post of it; how many lanes had their first post after 99 % of all had arrived:
//! those were starved; and both percentiles of the milliseconds from the final dot to the
//! `250`, and from that to the arrival, 0 where the post was there before it.
//!
//! One thread, so that the gateway has the rest of the machine.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::error::Error;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Connections that mail is sent on.
const CLIENTS: usize = 16;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, count, lanes, rate, recipients, octets] = arguments.as_slice() else {
        return Err("courier ADDRESS COUNT LANES RATE RECIPIENTS OCTETS".into());
    };
    let load = Load {
        address: (*address).to_owned(),
        count: count.parse()?,
        lanes: lanes.parse()?,
        rate: rate.parse()?,
        recipients: recipients.parse()?,
        octets: octets.parse()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, carry(load))
}

/// What is sent.
struct Load {
    address: String,
    count: usize,
    lanes: usize,
    rate: u64,
    recipients: usize,
    octets: usize,
}

/// What has been sent and what has arrived.
struct Ledger {
    sent: Vec<Option<Instant>>,
    taken: Vec<Option<Instant>>,
    arrived: Vec<Option<Instant>>,
    missing: usize,
    done: Rc<Notify>,
}

async fn carry(load: Load) -> Outcome<()> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    let done = Rc::new(Notify::new());
    let ledger = Rc::new(RefCell::new(Ledger {
        sent: vec![None; load.count],
        taken: vec![None; load.count],
        arrived: vec![None; load.count],
        missing: load.count,
        done: Rc::clone(&done),
    }));
    tokio::task::spawn_local(receive(listener, Rc::clone(&ledger)));
    let (load, next) = (Rc::new(load), Rc::new(RefCell::new(0)));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = send(Rc::clone(&load), port, begun, Rc::clone(&next), Rc::clone(&ledger));
        clients.spawn_local(client);
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    if load.count > 0 {
        done.notified().await;
    }
    tell(&load, begun, &ledger.borrow());
    Ok(())
}

async fn receive(listener: TcpListener, ledger: Rc<RefCell<Ledger>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let ledger = Rc::clone(&ledger);
        let service = service_fn(move |request| answer(request, Rc::clone(&ledger)));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(async { drop(connection.await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    ledger: Rc<RefCell<Ledger>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let number: Option<usize> = request.uri().path().trim_start_matches('/').parse().ok();
    let mut body = request.into_body();
    while body.frame().await.transpose()?.is_some() {}
    let mut ledger = ledger.borrow_mut();
    if let Some(arrived) = number.and_then(|number| ledger.arrived.get_mut(number))
        && arrived.replace(Instant::now()).is_none()
    {
        ledger.missing -= 1;
        if ledger.missing == 0 {
            ledger.done.notify_one();
        }
    }
    Ok(Response::default())
}

/// One connection that sends until there is nothing left.
async fn send(
    load: Rc<Load>,
    port: u16,
    begun: Instant,
    next: Rc<RefCell<usize>>,
    ledger: Rc<RefCell<Ledger>>,
) -> Outcome<()> {
    let stream = TcpStream::connect(load.address.as_str()).await?;
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    say(&mut read, &mut write, "").await?;
    say(&mut read, &mut write, "HELO courier\r\n").await?;
    let body = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(load.octets));
    loop {
        let first = *next.borrow();
        let last = (first + load.recipients).min(load.count);
        *next.borrow_mut() = last;
        if first == last {
            return Ok(());
        }
        if let Some(after) = (first as u64 * 1_000_000).checked_div(load.rate) {
            let at = begun + Duration::from_micros(after);
            tokio::time::sleep_until(at.into()).await;
        }
        say(&mut read, &mut write, "MAIL FROM:<>\r\n").await?;
        for number in first..last {
            let lane = u32::try_from(number % load.lanes)?;
            let host = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + lane);
            say(&mut read, &mut write, &format!("RCPT TO:<post@http://{host}:{port}/{number}>\r\n")).await?;
        }
        say(&mut read, &mut write, "DATA\r\n").await?;
        let sent = Instant::now();
        say(&mut read, &mut write, &body).await?;
        let taken = Instant::now();
        let mut ledger = ledger.borrow_mut();
        ledger.sent.iter_mut().take(last).skip(first).for_each(|at| *at = Some(sent));
        ledger.taken.iter_mut().take(last).skip(first).for_each(|at| *at = Some(taken));
    }
}

/// Says something, if anything, and waits for a reply that is not a refusal.
async fn say(read: &mut BufReader<OwnedReadHalf>, write: &mut OwnedWriteHalf, line: &str) -> Outcome<()> {
    write.write_all(line.as_bytes()).await?;
    let mut reply = String::new();
    read.read_line(&mut reply).await?;
    if !reply.starts_with(['2', '3']) {
        return Err(format!("{:?} was answered {reply:?}", line.get(..60).unwrap_or(line)).into());
    }
    Ok(())
}

fn tell(load: &Load, begun: Instant, ledger: &Ledger) {
    let mut times: Vec<Instant> = ledger.arrived.iter().flatten().copied().collect();
    times.sort_unstable();
    let seconds = times.last().map_or(0.0, |last| last.duration_since(begun).as_secs_f64());
    // The first post of a lane that comes after nearly all others have all of theirs.
    let late = times.get(times.len() * 99 / 100);
    let first_of = |lane: usize| ledger.arrived.iter().skip(lane).step_by(load.lanes).flatten().min();
    let starved = (0..load.lanes).filter(|lane| first_of(*lane) > late).count();
    let whole = waits(&ledger.sent, &ledger.arrived);
    let (taking, sending) = (waits(&ledger.sent, &ledger.taken), waits(&ledger.taken, &ledger.arrived));
    println!("{seconds} {whole} {starved} {taking} {sending}");
}

/// The 50th and the 99th percentile of the milliseconds from one moment to another.
fn waits(from: &[Option<Instant>], to: &[Option<Instant>]) -> String {
    let pairs = from.iter().zip(to);
    let waits = pairs.filter_map(|(from, to)| Some(to.as_ref()?.saturating_duration_since((*from)?)));
    let mut waits: Vec<Duration> = waits.collect();
    waits.sort_unstable();
    let share = |percent: usize| waits.get(waits.len() * percent / 100).map_or(0.0, Duration::as_secs_f64);
    format!("{} {}", share(50) * 1e3, share(99) * 1e3)
}
