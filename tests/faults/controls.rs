//! What the ledgers must show when something is wrong: a checker that nothing trips
//! proves nothing.

use crate::support::collector::{Answer, Arrival};
use crate::support::ledger::{Audit, Sent};
use crate::support::program::Reply;
use std::time::Instant;

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
