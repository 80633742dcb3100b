//! `postgate sink`: a receiver that prints what comes in.

use super::receiver::{Arrival, Behaviour, Receiver};
use super::{Failure, UNAVAILABLE, block_on, say};
use crate::config;
use http::StatusCode;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Receive posts and print them, for trying and for load tests
///
/// Runs until interrupted, then prints how many requests came in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate sink
  postgate sink --status 503            see how posts are retried
  postgate sink --quiet --fail-rate 0.1 --delay 20ms")]
pub(super) struct Arguments {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Status of the responses
    #[arg(long, default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Wait before each response, such as 20ms
    #[arg(long, default_value = "0s", value_parser = delay)]
    delay: Duration,
    /// Share of the requests that are answered 503 instead, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    fail_rate: f64,
    /// Print only how many requests came in, each second
    #[arg(long)]
    quiet: bool,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let is_final = |status: &StatusCode| status.as_u16() >= 200;
    let wrong = || "a status is a number from 200 to 599".to_owned();
    text.parse().ok().filter(is_final).filter(|status| status.as_u16() < 600).ok_or_else(wrong)
}

fn delay(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "write a duration such as 20ms or 5s".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    block_on(async move {
        let cannot = |error| {
            let remedy = "choose another address with --listen";
            Failure::new(
                UNAVAILABLE,
                format_args!("cannot listen on {}: {error}; {remedy}", arguments.listen),
            )
        };
        let listener = TcpListener::bind(arguments.listen).await.map_err(cannot)?;
        say(format_args!("receiving at http://{}/", listener.local_addr()?))?;
        let behaviour =
            Behaviour { status: arguments.status, delay: arguments.delay, fail_rate: arguments.fail_rate };
        let (receiver, arrivals) = if arguments.quiet {
            (Receiver::counting(behaviour), None)
        } else {
            let (receiver, arrivals) = Receiver::telling(behaviour);
            (receiver, Some(arrivals))
        };
        tokio::spawn(receiver.clone().serve(listener));
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tell(arrivals) => result?,
            result = count(&receiver, arguments.quiet.then_some(Duration::from_secs(1))) => result?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        say(format_args!("{} requests in all", receiver.count()))?;
        Ok(())
    })
}

/// Prints requests as they come; waits for ever when none are told.
async fn tell(arrivals: Option<mpsc::Receiver<Arrival>>) -> Result<(), Failure> {
    let Some(mut arrivals) = arrivals else { return std::future::pending().await };
    while let Some(arrival) = arrivals.recv().await {
        say(format_args!("\n{}\n\n-> {}", arrival.text(), arrival.status))?;
    }
    Ok(())
}

/// Prints each interval how many requests came in since the last line, if any.
async fn count(receiver: &Receiver, interval: Option<Duration>) -> Result<(), Failure> {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut before = 0;
    loop {
        tokio::time::sleep(interval).await;
        let now = receiver.count();
        if now != before {
            say(format_args!("{} requests, {now} in all", now - before))?;
        }
        before = now;
    }
}
