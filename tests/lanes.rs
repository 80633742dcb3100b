//! The dispatcher over many destinations: who is served when there is not room for
//! all, what operators can say, and what a change of the options does to lanes in
//! flight.
//!
//! How one lane behaves in time is a rule and tested as one; here are real sockets,
//! and a clock that stands still where nobody is contacted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::clock;
use postgate::deliver::control::{Control, State, Status, Which};
use postgate::deliver::lane::{Adaptive, Limits};
use postgate::deliver::pace::Rate;
use postgate::deliver::retry::Schedule;
use postgate::deliver::ruling::{On, Ruling, Verdicts};
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Overrides, Terms};
use postgate::deliver::{self, Options};
use postgate::first_attempts::{FirstAttempt, OnFailure};
use postgate::post::{Blob, Destination, Post, Scheme, Trust};
use postgate::protocol_log::ProtocolLog;
use postgate::spool::{Order, Query, Settlement, Spool};
use postgate::tenant::Tenant;
use postgate::url_pattern::UrlPattern;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::memory::MemorySpool;
use support::receiver::{Act, Receiver, Request, answer, answer_with};
use support::{admission, destination, in_seconds, nobody, post, within_deadline};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A running engine on a spool of its own.
struct Engine {
    spool: Arc<MemorySpool>,
    options: watch::Sender<Arc<Options>>,
    control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn options(terms: Terms) -> Options {
    let egress = Egress { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Egress::default() };
    Options { book: Book::new(terms, Vec::new()), egress, ..Options::default() }
}

/// Terms under which nothing is repeated within a test, unless it is asked for.
fn patient() -> Terms {
    let schedule = Schedule { retry: vec![Duration::from_secs(3600)], ..Schedule::default() };
    Terms { schedule, ..Terms::default() }
}

fn with(limits: Limits) -> Terms {
    Terms { limits, ..patient() }
}

fn connections(max_connections: usize) -> Limits {
    Limits { max_connections, adaptive: Adaptive::Off, ..Terms::default().limits }
}

fn hourly(count: u32) -> Terms {
    Terms { rates: Arc::new([Rate { count, per: Duration::from_secs(3600) }]), ..patient() }
}

impl Engine {
    fn start(spool: Arc<MemorySpool>, options: Options) -> Engine {
        let (stop, stopped) = watch::channel(false);
        let (log, _) = ProtocolLog::channel();
        let (control, requests) = Control::new();
        let (options, changing) = watch::channel(Arc::new(options));
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let task = tokio::spawn(deliver::run(shared, changing, requests, log, stopped));
        Engine { spool, options, control, stop, task }
    }

    async fn send(&self, numbers: std::ops::Range<u64>, to: &Arc<Destination>) {
        for number in numbers {
            self.commit(post(number, to)).await;
        }
    }

    async fn commit(&self, post: Post) {
        self.spool.commit(admission(post, b"body")).await.unwrap();
    }

    async fn status(&self, of: &Arc<Destination>) -> Status {
        let all = self.control.destinations(all()).await.unwrap();
        all.into_iter().find(|status| status.destination == *of).expect("the destination is not listed")
    }

    /// Waits until a destination does as it should.
    async fn until(&self, what: &str, of: &Arc<Destination>, is_so: impl Fn(&Status) -> bool) -> Status {
        within_deadline(what, async {
            loop {
                let status = self.status(of).await;
                if is_so(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    async fn stop(self) -> Arc<MemorySpool> {
        self.stop.send(true).unwrap();
        within_deadline("the engine's end", self.task).await.unwrap();
        self.spool
    }
}

fn all() -> Which {
    Which { origins: "*".parse().unwrap(), tenant: None }
}

fn only(to: &Arc<Destination>) -> Which {
    Which { origins: to.to_string().parse().unwrap(), tenant: None }
}

#[tokio::test]
async fn a_route_and_a_direct_form_to_one_origin_are_one_lane() {
    let (receiver, gate) = Receiver::gated().await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(Terms { limits: connections(2), ..hourly(10) }));
    for number in 0..20 {
        let trust = if number % 2 == 0 { Trust::Operator } else { Trust::Wire };
        engine.commit(Post { trust, ..post(number, &to) }).await;
    }
    assert_eq!(receiver.received(2).await.len(), 2);
    let status = engine.until("busy", &to, |status| status.in_flight == 2).await;
    assert_eq!((status.connections, receiver.connections()), (2, 2));
    gate.add_permits(20);
    engine.spool.delivered(10).await;
    let status = engine.until("throttled", &to, |status| status.in_flight == 0).await;
    assert!(matches!(status.state, State::Throttled { .. }), "{status:?}");
    assert_eq!((status.rates[0].1, status.counts.waiting), (10, 10));
    assert_eq!(engine.control.destinations(all()).await.unwrap().len(), 1);
    assert_eq!(receiver.requests().len(), 10);
}

#[tokio::test]
async fn a_lane_of_both_kinds_of_urls_does_not_connect_for_each_post() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(with(connections(8))));
    for number in 0..400_u64 {
        // In no order that the connections could fall in with.
        let trust = if number.count_ones() % 2 == 0 { Trust::Operator } else { Trust::Wire };
        engine.commit(Post { trust, ..post(number, &to) }).await;
    }
    engine.spool.delivered(400).await;
    assert!(receiver.connections() < 100, "{}", receiver.connections());
}

#[tokio::test]
async fn there_are_never_more_connections_than_allowed_and_no_lane_starves() {
    let mut receivers = Vec::new();
    for _ in 0..12 {
        receivers.push(Receiver::start(|_| answer(200)).await);
    }
    let engine =
        Engine::start(MemorySpool::new(), Options { total_connections: 3, ..options(with(connections(20))) });
    for (number, receiver) in receivers.iter().enumerate() {
        let number = number as u64 * 1000;
        engine.send(number..number + 40, &destination(receiver.address)).await;
    }
    let open = |receivers: &[Receiver]| receivers.iter().map(Receiver::open).sum::<usize>();
    let mut most = 0;
    within_deadline("all posts", async {
        while engine.spool.attempts() < 12 * 40 {
            most = most.max(open(&receivers));
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(most <= 3, "{most} connections at once");
    // In turns of 16 posts: three connections each, not one a post.
    for receiver in &receivers {
        assert!((1..=12).contains(&receiver.connections()), "{}", receiver.connections());
    }
}

#[tokio::test]
async fn lanes_that_hang_keep_their_share_and_no_more() {
    let hole = Receiver::start(|_| vec![Act::Hang]).await;
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine =
        Engine::start(MemorySpool::new(), Options { total_connections: 4, ..options(with(connections(20))) });
    engine.send(0..2, &destination(hole.address)).await;
    hole.received(2).await;
    engine.send(1000..1100, &destination(receiver.address)).await;
    engine.send(2..50, &destination(hole.address)).await;
    engine.spool.delivered(100).await;
    assert!(hole.requests().len() <= 4);
}

/// Destinations that answer nothing get what is claimed at once in a turn, too: as many as may
/// wait for workers in all lanes, before the others have had theirs.
#[tokio::test]
async fn posts_that_wait_for_destinations_that_hang_keep_nobody_waiting() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let script = move |_: &Request| [vec![Act::Wait(Arc::clone(&held))], answer(200)].concat();
    let receiver = Receiver::on(TcpListener::bind("0.0.0.0:0").await.unwrap(), script);
    let hole = Receiver::on(TcpListener::bind("0.0.0.0:0").await.unwrap(), |_| vec![Act::Hang]);
    let one_of = |receiver: &Receiver, number: u64| {
        let host = [127, 1, (number / 250) as u8, (number % 250) as u8 + 1];
        destination(SocketAddr::from((host, receiver.address.port())))
    };
    let engine = Engine::start(
        MemorySpool::new(),
        Options { total_connections: 320, ..options(with(connections(1))) },
    );
    // They have the places when the others come, whose turns begin where they end.
    for number in 0..320 {
        engine.send(number..number + 1, &one_of(&receiver, number)).await;
    }
    receiver.received(320).await;
    for number in 0..300 {
        engine.send(1000 + number * 16..1000 + (number + 1) * 16, &one_of(&hole, number)).await;
    }
    gate.add_permits(10_000);
    hole.received(4096 / 15).await;
    for number in 320..360 {
        engine.send(9000 + number * 16..9000 + (number + 1) * 16, &one_of(&receiver, number)).await;
    }
    engine.spool.delivered(320 + 40 * 16).await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_and_the_one_idle_longest_goes_first() {
    let (old, young) = (Receiver::start(|_| answer(200)).await, Receiver::start(|_| answer(200)).await);
    let third = Receiver::start(|_| answer(200)).await;
    let options = Options { total_connections: 2, ..options(patient()) };
    let engine = Engine::start(MemorySpool::new(), options);
    for (number, receiver) in [&old, &young, &third].into_iter().enumerate() {
        engine.send(number as u64..number as u64 + 1, &destination(receiver.address)).await;
        engine.spool.delivered(number + 1).await;
    }
    old.ended(1).await;
    assert_eq!((young.open(), third.open()), (1, 1));
}

#[tokio::test]
async fn a_pause_lets_attempts_end_and_none_begin_also_after_a_restart() {
    let (receiver, gate) = Receiver::gated().await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(with(connections(2))));
    engine.send(0..5, &to).await;
    receiver.received(2).await;
    assert_eq!(engine.control.pause(only(&to), "maintenance".to_owned()).await, Ok(1));
    gate.add_permits(100);
    engine.spool.delivered(2).await;
    let status = engine.until("nothing is under way", &to, |status| status.in_flight == 0).await;
    assert!(matches!(&status.state, State::Paused { reason, .. } if reason == "maintenance"), "{status:?}");
    assert_eq!((status.counts.waiting, receiver.requests().len()), (3, 2));

    let engine = Engine::start(engine.stop().await, options(patient()));
    let status = engine.status(&to).await;
    assert!(matches!(&status.state, State::Paused { reason, .. } if reason == "maintenance"), "{status:?}");
    assert_eq!(engine.control.flush(all()).await.unwrap().count, 0, "a flush ends no pause");
    let other = Which { origins: "http://other.example".parse().unwrap(), tenant: None };
    assert_eq!(engine.control.resume(other).await, Ok(0));
    assert_eq!(receiver.requests().len(), 2);
    assert_eq!(engine.control.resume(all()).await, Ok(1), "the pause of one is among all");
    engine.spool.delivered(5).await;
    let engine = Engine::start(engine.stop().await, options(patient()));
    engine.send(10..11, &to).await;
    engine.spool.delivered(6).await;
}

#[tokio::test]
async fn a_backoff_by_order_outlasts_what_is_under_way_and_ends_by_order() {
    let (receiver, gate) = Receiver::gated().await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(with(Limits { breaker: 0, ..connections(2) })));
    assert_eq!(engine.control.back_off(only(&to), String::new()).await, Ok(0), "nobody knows it yet");
    engine.send(0..9, &to).await;
    receiver.received(2).await;
    assert_eq!(engine.control.back_off(only(&to), "too slow".to_owned()).await, Ok(1));
    assert_eq!(engine.control.back_off(all(), String::new()).await, Ok(0), "it is in one");
    gate.add_permits(100);
    let is_away = |status: &Status| {
        let reason = match &status.state {
            State::Backoff { reason, .. } => reason,
            _ => "",
        };
        status.in_flight == 0 && reason == "by order: too slow"
    };
    let status = engine.until("what is under way to end", &to, is_away).await;
    // What a worker had begun before it heard of it is under way as well.
    let begun = receiver.requests().len() as u64;
    assert!(begun <= 4 && status.counts.waiting == 9 - begun, "{begun}: {status:?}");
    let engine = Engine::start(engine.stop().await, options(with(connections(2))));
    engine.until("it to be known again", &to, is_away).await;
    assert_eq!(receiver.requests().len() as u64, begun);
    assert_eq!(engine.control.recover(all()).await, Ok(1));
    assert_eq!(engine.control.recover(all()).await, Ok(0));
    engine.spool.delivered(9).await;
}

#[tokio::test]
async fn a_backoff_by_order_means_who_has_nothing_due_and_outlasts_restarts_and_probes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = destination(listener.local_addr().unwrap());
    drop(listener);
    let never = with(Limits { breaker: 0, ..connections(1) });
    let engine = Engine::start(MemorySpool::new(), options(never.clone()));
    engine.send(0..1, &to).await;
    engine.until("an attempt to fail", &to, |status| status.last_error.is_some()).await;
    assert_eq!(engine.control.order(Query::default(), Order::Hold).await.unwrap().count, 1);
    let engine = Engine::start(engine.stop().await, options(never.clone()));
    assert_eq!(engine.control.back_off(only(&to), String::new()).await, Ok(1), "its post is held");
    let next_probe = |status: &Status| match &status.state {
        State::Backoff { next_probe, .. } => *next_probe,
        other => panic!("{other:?}"),
    };
    let before = next_probe(&engine.status(&to).await);
    let engine = Engine::start(engine.stop().await, options(never.clone()));
    let after = next_probe(&engine.status(&to).await);
    assert!(after <= before && before - after < Duration::from_secs(10), "{before:?} {after:?}");
    assert_eq!(engine.control.recover(all()).await, Ok(1));

    let soon = Schedule { retry: vec![Duration::from_millis(20)], ..Schedule::default() };
    let engine = Engine::start(engine.stop().await, options(Terms { schedule: soon, ..never.clone() }));
    assert_eq!(engine.control.order(Query::default(), Order::Release).await.unwrap().count, 1);
    assert_eq!(engine.control.back_off(all(), String::new()).await, Ok(1));
    let is_away =
        |status: &Status| matches!(&status.state, State::Backoff { reason, .. } if reason != "by order");
    engine.until("a probe to fail", &to, is_away).await;
    let engine = Engine::start(engine.stop().await, options(never));
    engine.until("it to be known again", &to, is_away).await;
}

#[tokio::test]
async fn a_retry_tells_of_paused_posts_that_it_means() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    engine.commit(Post { has_links: true, ..post(0, &to) }).await;
    engine.spool.delivered(1).await;
    engine.control.pause(only(&to), "maintenance".to_owned()).await.unwrap();
    engine.send(1..2, &to).await;
    let ordered = engine.control.order(Query::default(), Order::Retry).await.unwrap();
    assert_eq!((ordered.count, ordered.paused), (1, vec![(only(&to).origins, 1)]));
}

#[tokio::test]
async fn a_pause_of_a_pattern_holds_for_destinations_that_come_later_and_for_one_tenant() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let shop = Arc::new(Destination { tenant: Tenant::new("shop"), ..(*to).clone() });
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    let which = Which { origins: "*".parse().unwrap(), tenant: Some(Tenant::new("shop")) };
    assert_eq!(engine.control.pause(which, "unpaid".to_owned()).await, Ok(0));
    engine.send(0..1, &shop).await;
    engine.send(1..2, &to).await;
    engine.spool.delivered(1).await;
    assert!(matches!(engine.status(&shop).await.state, State::Paused { .. }));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_flush_tries_at_once_and_forgets_the_backoff() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let to = destination(address);
    let engine = Engine::start(MemorySpool::new(), options(with(Limits { breaker: 3, ..connections(5) })));
    engine.send(0..10, &to).await;
    let in_backoff = |status: &Status| matches!(status.state, State::Backoff { .. }) && status.in_flight == 0;
    let status = engine.until("backoff", &to, in_backoff).await;
    let State::Backoff { next_probe, reason } = &status.state else { panic!("{status:?}") };
    assert!((3200..=4000).contains(&next_probe.as_secs()), "{next_probe:?}");
    assert_eq!((reason.as_str(), status.window), ("connection refused", 1));
    assert!(status.last_error.is_some_and(|(_, text)| text == "connection refused"));

    let _receiver = Receiver::on(TcpListener::bind(address).await.unwrap(), |_| answer(200));
    let deferred = engine.spool.attempts() as u64;
    assert_eq!(engine.control.flush(only(&to)).await.unwrap().count, deferred);
    engine.spool.delivered(10).await;
}

/// Which kept them by origin and by who named the URL.
#[tokio::test]
async fn notes_of_a_version_before_hold() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let now = clock::wall();
    let used = |trust: Trust, attempts: u32| {
        let named = ("default", Scheme::Http, "127.0.0.1", receiver.address.port(), trust);
        (named, vec![(Duration::from_secs(3600), vec![(now, attempts)])])
    };
    let rates = postcard::to_stdvec(&vec![used(Trust::Operator, 2), used(Trust::Wire, 1)]).unwrap();
    let spool = MemorySpool::new();
    spool.set_note("rates", Some(rates.into()), None).await.unwrap();
    let engine = Engine::start(Arc::clone(&spool), options(hourly(5)));
    engine.send(0..4, &to).await;
    engine.spool.delivered(2).await;
    let throttled =
        |status: &Status| matches!(status.state, State::Throttled { .. }) && status.in_flight == 0;
    let status = engine.until("throttled", &to, throttled).await;
    assert_eq!(status.rates[0].1, 5, "of both together");
    let spool = engine.stop().await;
    let origin = serde_json::json!({
        "tenant": "default", "scheme": "Http", "host": "127.0.0.1", "port": to.port, "trust": "Wire",
    });
    let until = now.after(Duration::from_secs(3000));
    let grudge =
        serde_json::json!([{ "destination": origin, "until": until, "is_away": false, "reason": null }]);
    spool.set_note("grudges", Some(grudge.to_string().into()), None).await.unwrap();
    let engine = Engine::start(spool, options(patient()));
    let status = engine.status(&to).await;
    assert!(matches!(status.state, State::Deferring { .. }), "{status:?}");
    assert_eq!(receiver.requests().len(), 2);
}

/// A rest of a second is none of a day for a clock that was set back by one since.
#[tokio::test]
async fn a_rest_is_no_longer_than_it_was_when_it_was_noted() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let noted_at = clock::wall().after(Duration::from_secs(24 * 3600));
    let until = noted_at.after(Duration::from_secs(1));
    let grudge = serde_json::json!([{
        "destination": *to, "until": until, "is_away": false, "reason": null, "noted_at": noted_at,
    }]);
    let spool = MemorySpool::new();
    spool.set_note("grudges", Some(grudge.to_string().into()), None).await.unwrap();
    let engine = Engine::start(spool, options(patient()));
    engine.send(0..1, &to).await;
    let status = engine.status(&to).await;
    assert!(matches!(status.state, State::Deferring { .. }), "{status:?}");
    engine.spool.delivered(1).await;
}

#[tokio::test]
async fn a_used_rate_survives_the_end_of_the_engine_and_a_change() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(hourly(3)));
    engine.send(0..9, &to).await;
    engine.spool.delivered(3).await;
    let throttled =
        |status: &Status| matches!(status.state, State::Throttled { .. }) && status.in_flight == 0;
    let status = engine.until("throttled", &to, throttled).await;
    assert_eq!(status.rates[0].1, 3);

    let engine = Engine::start(engine.stop().await, options(hourly(5)));
    engine.spool.delivered(5).await;
    let status = engine.until("throttled", &to, throttled).await;
    assert_eq!((status.rates[0].1, receiver.requests().len()), (5, 5), "{status:?}");

    engine.options.send(Arc::new(options(hourly(6)))).unwrap();
    engine.spool.delivered(6).await;
    let status = engine.until("throttled", &to, throttled).await;
    assert_eq!((status.rates[0].1, receiver.requests().len()), (6, 6), "{status:?}");
}

#[tokio::test]
async fn other_limits_hold_at_once_for_a_lane_in_flight() {
    let (receiver, gate) = Receiver::gated().await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(with(connections(2))));
    engine.send(0..50, &to).await;
    receiver.received(2).await;
    let change = Overrides { max_connections: Some(7), ..Overrides::default() };
    let book = Book::new(with(connections(2)), vec![(to.to_string().parse().unwrap(), change)]);
    engine.options.send(Arc::new(Options { book, ..options(patient()) })).unwrap();
    assert_eq!(receiver.received(7).await.len(), 7, "five more began");
    gate.add_permits(100);
    engine.spool.delivered(50).await;
    // The two from before the change were not used again, and no post went twice.
    let requests = receiver.requests();
    assert!(requests.iter().filter(|request| request.connection < 2).count() == 2);
    assert_eq!(requests.len(), 50);
}

#[tokio::test]
async fn no_idle_connection_outlives_the_rules_it_was_opened_under() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    engine.send(0..1, &to).await;
    engine.spool.delivered(1).await;
    engine.options.send(Arc::new(options(patient()))).unwrap();
    engine.send(1..2, &to).await;
    engine.spool.delivered(2).await;
    assert_eq!(receiver.connections(), 1, "what did not change goes on");
    engine.options.send(Arc::new(Options { egress: Egress::default(), ..options(patient()) })).unwrap();
    receiver.ended(1).await;
    let refused = post(2, &to);
    let id = refused.id;
    engine.commit(refused).await;
    let settlement = engine.spool.settled(id, 1).await.remove(0);
    assert!(matches!(&settlement, Settlement::Failed { last } if last.reason.contains("egress-denied")));
}

#[tokio::test]
async fn a_result_that_is_ruled_to_pause_pauses_its_destination_alone() {
    let broken = Receiver::start(|_| answer(404)).await;
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(broken.address);
    let on = vec![(On::Status(404), Ruling::Pause)];
    let verdicts = Arc::new(Verdicts { on, ..Verdicts::default() });
    let engine = Engine::start(MemorySpool::new(), options(Terms { verdicts, ..with(connections(1)) }));
    engine.send(0..5, &to).await;
    engine.send(10..15, &destination(receiver.address)).await;
    engine.spool.delivered(5).await;
    let paused = |status: &Status| matches!(status.state, State::Paused { .. }) && status.in_flight == 0;
    let status = engine.until("paused", &to, paused).await;
    let State::Paused { reason, .. } = &status.state else { panic!("{status:?}") };
    assert!(reason.starts_with("404 Not Found"), "{reason}");
    assert_eq!((status.counts.waiting, broken.requests().len()), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_paused_destination_gives_posts_up_near_their_time_and_contacts_nobody() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    assert_eq!(engine.control.pause(all(), "away".to_owned()).await, Ok(0));
    let begin = tokio::time::Instant::now();
    let expiring = |number, seconds| Post { expires_at: Some(in_seconds(seconds)), ..post(number, &to) };
    for number in 0..40 {
        engine.commit(expiring(number, 3600)).await;
    }
    engine.commit(expiring(100, 7200)).await;
    engine.commit(post(101, &to)).await;
    let given_up = async {
        for number in 0..40 {
            let id = post(number, &to).id;
            while !engine.spool.settlements(id).iter().any(|end| matches!(end, Settlement::Failed { .. })) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(4000), given_up).await.expect("they are still kept");
    let after = begin.elapsed().as_secs();
    assert!((3600..=3600 + 310).contains(&after), "after {after} s");
    let status = engine.status(&to).await;
    assert_eq!((status.counts.waiting, status.counts.failed), (2, 40));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_a_long_backlog_those_whose_time_is_over_are_given_up_near_it() {
    const BACKLOG: u64 = 3000;
    let receiver = Receiver::start(|_| vec![Act::Reset]).await;
    let to = destination(receiver.address);
    // One trouble closes it; then one probe after another goes out.
    let schedule = Schedule { retry: vec![Duration::from_secs(100)], ..Schedule::default() };
    let limits = Limits { breaker: 1, ..connections(1) };
    let engine = Engine::start(MemorySpool::new(), options(Terms { schedule, ..with(limits) }));
    engine.send(0..BACKLOG, &to).await;
    let begin = tokio::time::Instant::now();
    engine.commit(Post { expires_at: Some(in_seconds(3600)), ..post(BACKLOG, &to) }).await;
    let given_up = async {
        while engine.spool.settlements(post(BACKLOG, &to).id).is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4500), given_up).await.expect("it is still kept");
    let after = begin.elapsed().as_secs();
    assert!((3600..=3600 + 310).contains(&after), "after {after} s");
    let settlements = engine.spool.settlements(post(BACKLOG, &to).id);
    assert!(matches!(settlements[..], [Settlement::Failed { .. }]), "{settlements:?}");
    assert!(receiver.requests().len() < 50, "probes, and no more");
}

/// Its lean body would go out at once, if its lane had not closed.
#[tokio::test]
async fn who_waits_for_a_lean_body_is_told_when_it_is_not_sent_soon() {
    let receiver = Receiver::start(|_| answer_with(503, "Retry-After: 3600\r\n")).await;
    let to = destination(receiver.address);
    let on = vec![(On::Status(503), Ruling::RetryWithUrls)];
    let verdicts = Arc::new(Verdicts { on, ..Verdicts::default() });
    let options = options(Terms { verdicts, ..patient() });
    let first_attempts = options.first_attempts.clone();
    let engine = Engine::start(MemorySpool::new(), options);
    let lean_body = Some(Blob { number: 0, start: 0, length: 2 });
    let post = Post { lean_body, ..post(1, &to) };
    let mut hearing = first_attempts.hear(post.id, &to, OnFailure::Trouble);
    engine.commit(post).await;
    let heard = within_deadline("news", hearing.until(tokio::time::Instant::now() + DAY)).await;
    assert_eq!((heard, receiver.requests().len()), (Some(FirstAttempt::Trouble), 1));
}

#[tokio::test]
async fn an_order_means_what_is_being_claimed() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    let gate = Arc::new(Semaphore::new(0));
    engine.spool.delay_claims(&gate);
    engine.send(0..1, &to).await;
    engine.until("claimed", &to, |status| status.counts.sending == 1).await;
    let ordered = engine.control.order(Query::default(), Order::Hold).await.unwrap();
    assert_eq!(ordered.count, 1);
    gate.add_permits(100);
    engine.until("held", &to, |status| status.counts.held == 1).await;
    assert_eq!(receiver.connections(), 0);
    engine.control.order(Query::default(), Order::Release).await.unwrap();
    engine.spool.delivered(1).await;
}

/// A post is not sent between the arrival of an order that holds it and the time when
/// the spool has done so.
#[tokio::test]
async fn nothing_is_claimed_while_an_order_for_one_post_is_carried_out() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let (_nobody, address) = nobody();
    let (to, other) = (destination(receiver.address), destination(address));
    let engine = Engine::start(MemorySpool::new(), options(patient()));
    let gate = Arc::new(Semaphore::new(0));
    engine.spool.delay_orders(&gate);
    engine.send(0..1, &to).await;
    engine.spool.delivered(1).await;
    let which = Query {
        id: Some(post(1, &to).id),
        tenant: Some(to.tenant.clone()),
        destination: Some(UrlPattern::of(&to)),
        ..Query::default()
    };
    let control = engine.control.clone();
    let ordered = tokio::spawn(async move { control.order(which, Order::Hold).await });
    within_deadline("the order", engine.spool.ordered(1)).await;
    engine.send(1..2, &to).await;
    engine.send(2..3, &other).await;
    let is_tried = |status: &Status| status.counts.waiting == 1 && status.last.is_some();
    engine.until("tried elsewhere", &other, is_tried).await;
    assert_eq!(engine.status(&to).await.counts.waiting, 1);
    gate.add_permits(1);
    assert_eq!(ordered.await.unwrap().unwrap().count, 1);
    engine.until("held", &to, |status| status.counts.held == 1).await;
    assert_eq!(receiver.requests().len(), 1);
    engine.send(3..4, &to).await;
    engine.spool.delivered(2).await;
}

/// Others keep what they have in stock. A lane has one only while it is answered fast: on
/// a busy machine that may take a few tries.
#[tokio::test]
async fn an_order_for_one_post_concerns_its_lane_alone() {
    within_deadline("a stock", async { while !keeps_the_stock_of_others().await {} }).await;
}

/// Whether there was one.
async fn keeps_the_stock_of_others() -> bool {
    let (gate, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let script = |gate: &Arc<Semaphore>| {
        let gate = Arc::clone(gate);
        move |request: &Request| {
            let wait = (request.index == 8).then(|| Act::Wait(Arc::clone(&gate)));
            wait.into_iter().chain(answer(200)).collect()
        }
    };
    let (one, two) = (Receiver::start(script(&gate)).await, Receiver::start(script(&held)).await);
    let (to, other) = (destination(one.address), destination(two.address));
    let engine = Engine::start(MemorySpool::new(), options(with(connections(1))));
    engine.send(0..40, &to).await;
    engine.send(40..80, &other).await;
    one.received(9).await;
    two.received(9).await;
    let which = Query {
        id: Some(post(39, &to).id),
        tenant: Some(to.tenant.clone()),
        destination: Some(UrlPattern::of(&to)),
        ..Query::default()
    };
    // Who looks can tell those in stock from the two that are sent, once none is on its way.
    let all = engine.spool.page(Query::default(), None, 99).await.unwrap();
    let all: Vec<_> =
        all.iter().map(|listed| (Arc::clone(&listed.post.destination), listed.post.id)).collect();
    within_deadline("all claims in stock", async {
        let claimed = || engine.spool.claimed(&to) + engine.spool.claimed(&other);
        while engine.control.stocked(all.clone()).await.unwrap().len() + 2 != claimed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stocked = engine.spool.claimed(&other);
    assert_eq!(engine.control.order(which, Order::Hold).await.unwrap().count, 1);
    assert_eq!((engine.spool.claimed(&to), engine.spool.claimed(&other)), (1, stocked));
    gate.add_permits(1);
    held.add_permits(1);
    engine.spool.delivered(79).await;
    stocked > 1
}

#[tokio::test]
async fn an_order_means_what_is_in_stock() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let script = move |request: &Request| {
        let wait = (request.index == 8).then(|| Act::Wait(Arc::clone(&held)));
        wait.into_iter().chain(answer(200)).collect()
    };
    let receiver = Receiver::start(script).await;
    let to = destination(receiver.address);
    let engine = Engine::start(MemorySpool::new(), options(with(connections(1))));
    engine.send(0..40, &to).await;
    receiver.received(9).await;
    let status = engine.status(&to).await;
    assert_eq!((status.counts.waiting, status.counts.sending), (31, 1));
    let ordered = engine.control.order(Query::default(), Order::Hold).await.unwrap();
    assert_eq!(ordered.count, 32);
    let status = engine.status(&to).await;
    assert_eq!((status.counts.held, status.counts.sending), (31, 1));
    gate.add_permits(1);
    engine.spool.delivered(9).await;
    let ordered = engine.control.order(Query::default(), Order::Release).await.unwrap();
    assert_eq!((ordered.count, receiver.requests().len()), (31, 9));
    engine.spool.delivered(40).await;
}
