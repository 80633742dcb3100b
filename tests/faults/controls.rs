//! What the ledgers must show when something is wrong: a checker that nothing trips
//! proves nothing.

use crate::support::DEADLINE;
use crate::support::api::Scene;
use crate::support::collector::{Answer, Arrival, Collector, Keep, moody};
use crate::support::ledger::{Audit, Sent, drain};
use crate::support::load::Load;
use crate::support::program::{CONFIG, Gateway, Reply, eventually};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// A receiver's ledger.
type Arrivals = Vec<(Arrival, Answer)>;

/// Ledgers in which all is well, of every kind of message.
fn good_ledgers() -> (Vec<Sent>, Arrivals) {
    let said = |text: &str| Reply::Said(text.to_owned());
    let messages = [
        ("/a", 3, said("250 2.0.0 Message received and queued as 52a0000000000001.")),
        ("/b", 1, said("550 5.6.0 no")),
        ("/c", 2, Reply::Nothing),
        ("/d", 2, Reply::Nothing),
        ("/e", 1, Reply::Unsent),
    ];
    let mut sent = Vec::new();
    let mut arrivals = Vec::new();
    for (message, posts, reply) in messages {
        let paths: Vec<_> = (0..posts).map(|post| format!("{message}/{post}")).collect();
        let is_taken = reply.is_accepted() || message == "/c";
        for path in paths.iter().filter(|_| is_taken) {
            for (attempt, answer) in [(1, Answer::Status(503)), (2, Answer::Close), (2, Answer::Status(200))]
            {
                let headers = [("postgate-id", path.clone()), ("postgate-attempt", attempt.to_string())];
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let arrival = Arrival {
                    path: path.clone(),
                    headers,
                    body: Vec::new(),
                    checksum: 7,
                    at: Instant::now(),
                };
                arrivals.push((arrival, answer));
            }
        }
        sent.push(Sent { paths, checksum: 7, reply });
    }
    (sent, arrivals)
}

#[test]
fn the_audit_finds_what_it_looks_for() {
    let wrongs = |change: &dyn Fn(&mut Vec<Sent>, &mut Arrivals)| {
        let (mut sent, mut arrivals) = good_ledgers();
        change(&mut sent, &mut arrivals);
        Audit::of(&sent, &arrivals).wrongs().into_keys().collect::<Vec<_>>()
    };
    let none: Vec<&str> = Vec::new();
    assert_eq!(wrongs(&|_, _| {}), none);
    assert_eq!(wrongs(&|_, arrivals| arrivals.retain(|(arrival, _)| arrival.path != "/a/1")), ["lost"]);
    assert_eq!(wrongs(&|_, arrivals| drop(arrivals.remove(2))), ["lost"], "only refused");
    assert_eq!(wrongs(&|sent, _| sent[0].reply = Reply::Said("451 4.3.0 no".to_owned())), ["phantom"]);
    assert_eq!(wrongs(&|sent, _| sent[0].reply = Reply::Unsent), ["phantom"]);
    assert_eq!(wrongs(&|sent, _| drop(sent.remove(0))), ["phantom"], "from nowhere");
    assert_eq!(wrongs(&|_, arrivals| arrivals.retain(|(arrival, _)| arrival.path != "/c/1")), ["partial"]);
    let id = |to: &'static str| {
        move |_: &mut Vec<Sent>, arrivals: &mut Arrivals| {
            drop(arrivals[1].0.headers.insert("postgate-id".to_owned(), to.to_owned()));
        }
    };
    assert_eq!(wrongs(&id("new")), ["dup_newkey"]);
    let key = |_: &mut Vec<Sent>, arrivals: &mut Arrivals| {
        drop(arrivals[1].0.headers.insert("idempotency-key".to_owned(), "new".to_owned()));
    };
    assert_eq!(wrongs(&key), ["dup_newkey"]);
    let borrowed = |_: &mut Vec<Sent>, arrivals: &mut Arrivals| {
        for (arrival, _) in arrivals.iter_mut().filter(|(arrival, _)| arrival.path == "/a/1") {
            arrival.headers.insert("postgate-id".to_owned(), "/a/0".to_owned());
        }
    };
    assert_eq!(wrongs(&borrowed), ["dup_newkey"]);
    assert_eq!(wrongs(&|_, arrivals| arrivals[1].0.checksum ^= 1), ["corrupt", "dup_body"]);
    assert_eq!(wrongs(&|sent, _| sent[0].checksum ^= 1), ["corrupt"]);
    assert_eq!(wrongs(&|_, arrivals| arrivals.swap(0, 1)), ["falling"]);
    let (sent, mut arrivals) = good_ledgers();
    assert!(Audit::of(&sent, &arrivals).repeated.is_empty());
    arrivals[0].1 = Answer::Status(200);
    assert_eq!(Audit::of(&sent, &arrivals).repeated, ["/a/0"]);
}

/// The audit of a run over two kills, with a receiver whose ledger something is done to.
fn audited(spoiler: impl Fn(&mut Arrival) -> bool + Send + Sync + 'static) -> Vec<&'static str> {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::spoilt(socket, Keep::ChecksumsOnly, moody, spoiler);
    let load = Load::of(&[200, 8192], 8, receiver.address);
    for enough in [60, 120] {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        gateway.end("-KILL");
        receiver.is_alone();
    }
    let sent = load.end();
    // Until nothing is left to be sent, whatever the receiver says has come.
    drain(directory.path(), CONFIG, &[], &receiver);
    Audit::of(&sent, &receiver.arrivals()).wrongs().into_keys().collect()
}

#[test]
fn a_run_that_is_as_it_says_trips_nothing() {
    assert_eq!(audited(|_| true), Vec::<&str>::new());
}

/// Control (b).
#[test]
fn a_random_key_for_each_attempt_is_found() {
    let renamed = |arrival: &mut Arrival| {
        let random = format!("{:016x}", fastrand::u64(..));
        arrival.headers.insert("postgate-id".to_owned(), random);
        true
    };
    assert_eq!(audited(renamed), ["dup_newkey"]);
}

/// Control (c).
#[test]
fn one_request_in_a_thousand_that_never_came_is_found() {
    let (count, gone) = (AtomicUsize::new(0), Mutex::new(String::new()));
    let comes = move |arrival: &mut Arrival| {
        let mut gone = gone.lock().unwrap();
        if count.fetch_add(1, Ordering::SeqCst) % 1000 == 10 {
            gone.clone_from(&arrival.path);
        }
        // It may be sent once more.
        *gone != arrival.path
    };
    assert_eq!(audited(comes), ["lost"]);
}

/// Control (d).
#[test]
fn one_octet_that_changes_on_the_way_is_found() {
    let flipped = |arrival: &mut Arrival| {
        let last = arrival.body.last_mut().unwrap();
        *last ^= 1;
        arrival.checksum = crc32c::crc32c(&arrival.body);
        true
    };
    assert_eq!(audited(flipped), ["corrupt"]);
}

/// Control (e): a receiver has read a post and says nothing yet. That it is done is on the
/// disk, by an order of the API; then comes the kill.
#[test]
fn a_post_that_is_noted_as_done_before_the_response_is_found_to_be_lost() {
    for is_noted in [false, true] {
        let count = AtomicUsize::new(0);
        let receiver = Collector::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Silence,
            _ => Answer::Status(200),
        });
        let mut scene = Scene::before(receiver, TempDir::new().unwrap(), |_| String::new());
        let id = scene.send("/a", "");
        scene.receiver.received(1);
        if is_noted {
            assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).status, 200);
        }
        assert_eq!(scene.gateway.end("-KILL"), -1);
        scene.again();
        // Posts come in the order of their age.
        let next = scene.send("/b", "");
        scene.ends(&next);
        if !is_noted {
            scene.ends(&id);
        }
        let reply = |id: &str| Reply::Said(format!("250 2.0.0 Message received and queued as {id}."));
        let arrivals = scene.receiver.arrivals();
        let sent = |path: &str, id| {
            // What it says inside is no question here.
            let (arrival, _) = arrivals.iter().find(|(arrival, _)| arrival.path == path).unwrap();
            Sent { paths: vec![path.to_owned()], checksum: arrival.checksum, reply: reply(id) }
        };
        let audit = Audit::of(&[sent("/a", &id), sent("/b", &next)], &arrivals);
        let found: Vec<_> = audit.wrongs().into_keys().collect();
        assert_eq!(found, if is_noted { vec!["lost"] } else { Vec::new() });
    }
}
