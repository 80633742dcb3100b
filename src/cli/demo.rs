//! `postgate demo`: the point of the product in a second.
//!
//! A gateway and a receiver on free ports in one process, a mail sent through
//! real SMTP, and what both sides said. Nothing is left behind. It fails, with
//! the reason, whenever the post is not exactly what the mail asked for.

use super::receiver::{Arrival, Behaviour, Receiver};
use super::{Failure, SOFTWARE, block_on, columns, say};
use crate::app::Gateway;
use crate::config::{self, ApiAddress, Config};
use crate::protocol_log::dialogues::Line;
use crate::smtp::Address;
use crate::smtp::client::{self, Mail, SendError};
use http::StatusCode;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// See a mail become a post
///
/// Starts a gateway and a receiver on free ports, sends a mail through SMTP and
/// prints both dialogues and the request that arrived. Exit code 0 if it was
/// the right one.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// How long the post may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A form, wrapped in the middle of a value as mail programs do.
const MAIL: &str = "\
X-XsHttp-Content-Type: application/x-www-form-urlencoded
X-XsHttp-X-Source: demo
Subject: order 17

order=17&customer=Shop+Example&item=teap
ot&quantity=2
";

/// The body that must arrive.
const BODY: &[u8] = b"order=17&customer=Shop+Example&item=teapot&quantity=2";

pub(super) fn run(_: Arguments) -> Result<(), Failure> {
    block_on(async {
        let started = Instant::now();
        let directory = Scratch::create()?;
        let (receiver, arrivals) = receive().await?;
        let config = Config { ..demonstration(&directory.0) };
        let gateway = Gateway::start(config).await?;
        let smtp = gateway.addresses().first().copied().unwrap_or(receiver);
        say(format_args!("gateway at smtp://{smtp}, receiver at http://{receiver}/"))?;
        let arrival = converse(smtp, receiver, arrivals).await?;
        gateway.stop().await?;
        let log = fs::read_to_string(newest_log(&directory.0.join("log"))?)?;
        report(&log, &arrival)?;
        if arrival.body != BODY {
            return Err(Failure::new(SOFTWARE, "the post is not what the mail asked for"));
        }
        say(format_args!(
            "\nOne mail in, one post out, kept on disk in between: {} ms for everything.\n\
             Next: `postgate sink` in one terminal, `postgate` in another.",
            started.elapsed().as_millis()
        ))?;
        Ok(())
    })
}

/// Starts the receiver; answers with its address and what arrives.
async fn receive() -> Result<(SocketAddr, mpsc::Receiver<Arrival>), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let behaviour = Behaviour { status: StatusCode::OK, delay: Duration::ZERO, fail_rate: 0.0 };
    let (receiver, arrivals) = Receiver::telling(behaviour);
    tokio::spawn(receiver.serve(listener));
    Ok((address, arrivals))
}

/// The built-in configuration on a free port, with its data elsewhere.
fn demonstration(directory: &Path) -> Config {
    let mut config = config::without_file();
    config.server.hostname = "gateway.example".to_owned();
    config.server.data_dir = directory.to_owned();
    config.api.address = Some(ApiAddress::Off);
    for listener in &mut config.listeners.0 {
        listener.address = Address::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    }
    config
}

/// Sends the mail and waits for the post.
async fn converse(
    smtp: SocketAddr,
    receiver: SocketAddr,
    mut arrivals: mpsc::Receiver<Arrival>,
) -> Result<Arrival, Failure> {
    let mail = Mail {
        sender: "shop@app.example".to_owned(),
        recipients: vec![format!("post@http://{receiver}/webhook.aspx")],
        data: MAIL.as_bytes().to_vec(),
    };
    let send = move || client::send(&smtp.to_string(), &mail, &mut |_, _| {});
    let sent = tokio::task::spawn_blocking(send).await;
    match sent.map_err(|error| Failure::new(SOFTWARE, error))? {
        Ok(_) => {}
        Err(SendError::Refused(reply)) => {
            return Err(Failure::new(SOFTWARE, format_args!("the gateway refused the mail: {reply}")));
        }
        Err(SendError::Unavailable(reason)) => {
            return Err(Failure::new(SOFTWARE, format_args!("no SMTP dialogue: {reason}")));
        }
    }
    match tokio::time::timeout(PATIENCE, arrivals.recv()).await {
        Ok(Some(arrival)) => Ok(arrival),
        _ => Err(Failure::new(SOFTWARE, format_args!("no post arrived within {} s", PATIENCE.as_secs()))),
    }
}

/// Prints both dialogues and the request.
fn report(log: &str, arrival: &Arrival) -> Result<(), Failure> {
    let lines: Vec<_> = log.lines().filter_map(Line::parse).collect();
    let dialogue = |is_smtp: bool| {
        let shown = |line: &Line<'_>| {
            // The day is today's: the time is enough.
            let time = line.stamp.split_once('T').map_or(line.stamp, |(_, time)| time.trim_end_matches('Z'));
            format!("{time} {} {}", line.mark, line.text)
        };
        lines.iter().filter(|line| line.is_smtp() == is_smtp).map(shown).collect::<Vec<_>>()
    };
    let (smtp, http) = (dialogue(true), dialogue(false));
    if smtp.is_empty() || http.is_empty() {
        return Err(Failure::new(SOFTWARE, "the protocol log lacks a dialogue"));
    }
    let heads = ("SMTP: the mail comes in", "HTTP: the post goes out");
    say(format_args!("\n{}", columns::lay_out(columns::width(), (heads.0, &smtp), (heads.1, &http))))?;
    say(format_args!("\nThe mail\n--------\n{}", MAIL.trim_end()))?;
    Ok(say(format_args!("\nThe request that arrived\n------------------------\n{}", arrival.text()))?)
}

/// The newest file of the protocol log.
fn newest_log(directory: &Path) -> io::Result<PathBuf> {
    let entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    entries.max().ok_or_else(|| io::Error::other("the protocol log is empty"))
}

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("postgate-demo-{:016x}", fastrand::u64(..)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the machine's temporary rubbish.
        let _ = fs::remove_dir_all(&self.0);
    }
}
