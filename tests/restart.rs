//! What a destination is owed outlives a process that is killed: its rates, its
//! rest, the order of its posts. The whole program, ended by SIGKILL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::DEADLINE;
use support::collector::{Answer, Collector};
use support::program::{CONFIG, Client, Gateway, eventually};
use tempfile::TempDir;

/// A gateway whose API is asked, on a directory that outlives it.
struct Life {
    gateway: Gateway,
    api: SocketAddr,
}

impl Life {
    fn begin(directory: &Path, more: &str) -> Life {
        let config = CONFIG.replace("\"off\"", "\"127.0.0.1:0\"");
        let gateway = Gateway::start(directory, &format!("{config}{more}"));
        let line = gateway.line("API at ");
        let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
        Life { gateway, api }
    }

    /// Hands in so many messages, of which each names its number in its path.
    fn send(&self, numbers: std::ops::Range<usize>, headers: &str, receiver: &Collector) {
        let mut client = Client::connect(self.gateway.smtp).unwrap();
        for number in numbers {
            let recipient = receiver.recipient(&format!("/{number}"));
            let message = format!("{headers}Subject: x\r\n\r\nx\r\n");
            assert!(client.send(&[recipient], message.as_bytes()).is_accepted());
        }
    }

    /// The only destination there is, as the API tells it.
    fn destination(&self) -> Value {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("GET /api/v1/destinations HTTP/1.1\r\nHost: {}\r\n", self.api);
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let all: Value = serde_json::from_str(body).unwrap();
        all["destinations"][0].clone()
    }

    /// Waits until the destination is in this state.
    fn until(&self, state: &str) -> Value {
        eventually(state, DEADLINE, || Some(self.destination()).filter(|one| one["state"] == state))
    }

    fn kill(mut self) {
        assert_eq!(self.gateway.end("-KILL"), -1);
    }
}

/// Numbers in the paths of all requests, in the order in which they came.
fn numbers(receiver: &Collector) -> Vec<usize> {
    receiver.arrivals().iter().map(|(arrival, _)| arrival.path[1..].parse().unwrap()).collect()
}

#[test]
fn a_rate_of_an_hour_is_kept_to_however_often_the_gateway_is_killed() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let rate = "rate = [\"20/h\"]\nmax_connections = 2\n";
    let life = Life::begin(directory.path(), rate);
    life.send(0..60, "", &receiver);
    receiver.received(7);
    life.kill();
    for least in [10, 13] {
        let life = Life::begin(directory.path(), rate);
        receiver.received(least);
        life.kill();
    }
    let mut life = Life::begin(directory.path(), rate);
    life.until("throttled");
    let (before, seen) = (receiver.count(), numbers(&receiver));
    assert!(before <= 20, "{before} attempts: {seen:?}");
    // Not more is given up for a kill than what was about to be sent.
    assert!(before >= 20 - 3 * 2, "{before} attempts: {seen:?}");
    assert_eq!(life.gateway.end("-TERM"), 0);
    let life = Life::begin(directory.path(), rate);
    assert_eq!(life.until("throttled")["rates"][0]["used"], 20);
    assert_eq!(receiver.count(), before);
}

#[test]
fn what_was_charged_and_not_used_is_given_back_by_a_stop() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let rate = "rate = [\"64000/h\"]\n";
    let mut life = Life::begin(directory.path(), rate);
    life.send(0..3, "", &receiver);
    receiver.received(3);
    assert_eq!(life.gateway.end("-TERM"), 0);
    let life = Life::begin(directory.path(), rate);
    life.send(3..4, "", &receiver);
    receiver.received(4);
    assert_eq!(life.destination()["rates"][0]["used"], 4);
    life.kill();
    let life = Life::begin(directory.path(), rate);
    let used = life.destination()["rates"][0]["used"].as_u64().unwrap();
    assert!((4..=4 + 1000).contains(&used), "{used}");
}

/// Answers the first request with a wait of an hour.
fn busy_for_an_hour(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let Ok(1..) = stream.read(&mut head) else { continue };
            counted.fetch_add(1, Ordering::SeqCst);
            let answer =
                "HTTP/1.1 429 x\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    count
}

/// Waits until a note in the spool of a gateway holds this text.
fn noted(directory: &Path, text: &str) {
    let notes = directory.join("postgate-data/spool/log/notes");
    eventually(&format!("{text:?} in the notes"), DEADLINE, || {
        let octets = std::fs::read(&notes).unwrap_or_default();
        octets.windows(text.len()).any(|octets| octets == text.as_bytes()).then_some(())
    });
}

#[test]
fn a_destination_that_asked_for_a_rest_has_it_after_a_kill() {
    let directory = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let requests = busy_for_an_hour(listener);
    let one = "max_connections = 1\n";
    let life = Life::begin(directory.path(), one);
    let mut client = Client::connect(life.gateway.smtp).unwrap();
    for number in 0..3 {
        let recipient = format!("post@{origin}/{number}");
        assert!(client.send(&[recipient], b"Subject: x\r\n\r\nx\r\n").is_accepted());
    }
    drop(client);
    life.until("deferring");
    noted(directory.path(), &origin["http://".len()..origin.rfind(':').unwrap()]);
    life.kill();
    let life = Life::begin(directory.path(), one);
    let told = life.until("deferring");
    let wait = told["wait"].as_f64().unwrap();
    assert!((3500.0..=3600.0).contains(&wait), "{told}");
    assert!(told["reason"].as_str().unwrap().starts_with("429 "), "{told}");
    assert!(told["until"].as_str().unwrap().ends_with('Z'), "{told}");
    let output = support::program::postgate(directory.path())
        .args(["destination", "list", "--api", &format!("http://{}", life.api)])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let until = told["until"].as_str().unwrap();
    assert!(text.contains(" deferring ") && text.contains(&until[..16]) && text.contains("429"), "{text}");
    let other = Client::connect(life.gateway.smtp).unwrap().send(&[format!("post@{origin}/9")], b"\r\nx\r\n");
    assert!(other.is_accepted());
    eventually("the new post", DEADLINE, || (life.destination()["queued"] == 4).then_some(()));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[test]
fn a_dead_destination_is_probed_by_one_post_after_a_kill() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let config = "retry = [\"1h\"]\nbreaker = 3\n";
    let begin = |directory: &Path| {
        let config = format!("{}{config}", CONFIG.replace("retry = [\"20ms\", \"50ms\", \"100ms\"]\n", ""));
        let config = config.replace("\"off\"", "\"127.0.0.1:0\"");
        let gateway = Gateway::start(directory, &config);
        let line = gateway.line("API at ");
        let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
        Life { gateway, api }
    };
    let life = begin(directory.path());
    let mut client = Client::connect(life.gateway.smtp).unwrap();
    for number in 0..20 {
        let recipient = format!("post@http://{address}/{number}");
        assert!(client.send(&[recipient], b"Subject: x\r\n\r\nx\r\n").is_accepted());
    }
    drop(client);
    life.until("backoff");
    noted(directory.path(), "refused");
    life.kill();
    let receiver =
        Collector::on(TcpListener::bind(address).unwrap(), support::collector::Keep::Everything, |_| {
            Answer::Silence
        });
    let life = begin(directory.path());
    receiver.received(1);
    let told = life.until("backoff");
    assert_eq!((&told["in_flight"], &told["concurrency_limit"]), (&1.into(), &1.into()), "{told}");
    assert!(told["reason"].as_str().unwrap().contains("refused"), "{told}");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn the_order_of_posts_goes_back_by_none_but_the_last_when_it_is_killed() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let key = "X-Postgate-Ordering-Key: k\r\n";
    let (lives, posts) = (12, 50);
    let mut dice = fastrand::Rng::with_seed(7);
    for life in 0..lives {
        let begun = Life::begin(directory.path(), "");
        let recipients: Vec<_> = (life * posts..(life + 1) * posts)
            .map(|number| receiver.recipient(&format!("/{number}")))
            .collect();
        let message = format!("{key}Subject: x\r\n\r\nx\r\n");
        let mut client = Client::connect(begun.gateway.smtp).unwrap();
        assert!(client.send(&recipients, message.as_bytes()).is_accepted());
        receiver.received(life * posts + dice.usize(5..posts));
        begun.kill();
        receiver.is_alone();
    }
    let _life = Life::begin(directory.path(), "");
    let last = lives * posts - 1;
    eventually("the last post", 2 * DEADLINE, || numbers(&receiver).contains(&last).then_some(()));
    let mut greatest = None;
    for number in numbers(&receiver) {
        let is_next = number == greatest.map_or(0, |greatest| greatest + 1);
        assert!(is_next || Some(number) == greatest, "{number} after {greatest:?}");
        greatest = Some(number);
    }
}
