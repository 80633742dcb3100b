//! Who goes first, and how many at a time.

use super::*;
use crate::support::DEADLINE;
use postgate::first_attempts::OnFailure;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_waited_before_the_start_goes_first_by_priority() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let spool = MemorySpool::new();
    for (number, priority) in [(1, 9), (2, 5), (3, 0), (4, 5)] {
        commit(&spool, Post { priority, ..post(number, &destination(receiver.address)) }).await;
    }
    let engine = Engine::on(
        spool,
        Options { book: Book::new(single(quick()), Vec::new()), egress: loopback(), ..Options::default() },
    );
    engine.spool.delivered(4).await;
    let order: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.header("Postgate-Id").unwrap()[15..].to_owned())
        .collect();
    assert_eq!(order, ["3", "2", "4", "1"]);
}

#[tokio::test]
async fn the_window_opens_to_the_cap_for_a_receiver_that_answers() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    let (begin, mut sent) = (Instant::now(), 0_usize);
    // Each post under way has a connection of its own. How soon there are 20 depends on the
    // machine: it is busy with others.
    while receiver.connections() < 20 || sent < 500 {
        assert!(begin.elapsed() < DEADLINE, "{} at once after {sent} posts", receiver.connections());
        for number in sent..sent + 100 {
            engine.send(post(number as u64, &destination(receiver.address))).await;
        }
        sent += 100;
        receiver.received(sent - 20).await;
    }
    engine.spool.delivered(sent).await;
    assert_eq!(receiver.connections(), 20);
}

#[tokio::test]
async fn a_stranger_sees_a_modest_window_first() {
    let receiver = Receiver::start(|_| vec![Act::Hang]).await;
    let engine = Engine::start(Terms { response_timeout: Duration::from_millis(300), ..quick() });
    for number in 0..50 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    let first = receiver.received(5).await;
    assert_eq!(first.len(), 5);
}

#[tokio::test]
async fn retry_after_holds_the_whole_destination() {
    let receiver = Receiver::start(|request| match request.index {
        0 => answer_with(503, "Retry-After: 1\r\n"),
        _ => answer(200),
    })
    .await;
    let engine = Engine::start(single(quick()));
    let first = engine.send(post(1, &destination(receiver.address))).await;
    let begin = Instant::now();
    let settlements = engine.settled(first, 1).await;
    assert_eq!(deferral(&settlements[0]), (Duration::from_secs(1), "503 Service Unavailable"));
    let second = engine.send(post(2, &destination(receiver.address))).await;
    engine.settled(second, 1).await;
    assert!(begin.elapsed() >= Duration::from_millis(950), "{:?}", begin.elapsed());
    engine.spool.delivered(2).await;
    let log = engine.stop().await;
    assert!(log.contains("0000000000000001 deferred for 1 s: 503 Service Unavailable\n"), "{log}");
}

#[tokio::test]
async fn what_is_in_stock_for_a_fast_destination_is_not_sent_when_it_is_in_trouble() {
    let script = |request: &Request| match request.index {
        8 => answer_with(503, "Retry-After: 3600\r\n"),
        _ => answer(200),
    };
    let receiver = Receiver::start(script).await;
    let engine = Engine::start(single(quick()));
    for number in 0..40 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(8).await;
    let log = engine.stop().await;
    assert_eq!(receiver.requests().len(), 9, "{log}");
    assert!(log.contains("deferred for 3600 s: 503"), "{log}");
}

#[tokio::test]
async fn a_stock_goes_back_untried_at_the_end() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let script = move |request: &Request| {
        let wait = (request.index == 8).then(|| Act::Wait(Arc::clone(&held)));
        wait.into_iter().chain(answer(200)).collect()
    };
    let receiver = Receiver::start(script).await;
    let options =
        || Options { book: Book::new(single(quick()), Vec::new()), egress: loopback(), ..Options::default() };
    let (begin, to) = (options(), destination(receiver.address));
    let mut stopping = begin.first_attempts.hear(post(99, &to).id, &to, OnFailure::Trouble);
    let engine = Engine::on(MemorySpool::new(), begin);
    for number in 0..40 {
        engine.send(post(number, &to)).await;
    }
    receiver.received(9).await;
    engine.stop.send(true).unwrap();
    // The engine tells that it begins nothing more.
    within_deadline("the stop", stopping.until(tokio::time::Instant::now() + HOUR)).await;
    gate.add_permits(1);
    within_deadline("the engine's end", engine.task).await.unwrap();
    assert_eq!(receiver.requests().len(), 9);
    let again = Engine::on(engine.spool, options());
    again.spool.delivered(40).await;
    let requests = receiver.requests();
    let is_first = |request: &Request| request.header("Postgate-Attempt") == Some("1");
    assert!(requests.len() == 40 && requests.iter().all(is_first), "{}", requests.len());
}

#[tokio::test]
async fn after_ten_troubles_one_probe_at_a_time_until_it_is_back() {
    let address = dead_end().await;
    let delivery = Terms { schedule: retrying(&[400]), ..Terms::default() };
    let engine = Engine::start(delivery);
    for number in 0..40 {
        engine.send(post(number, &destination(address))).await;
    }
    engine.spool.attempted(10).await;
    let opened = Instant::now();
    engine.spool.attempted(16).await;
    let first = &engine.spool.settlements(post(0, &destination(address)).id)[0];
    assert_eq!(deferral(first).1, "connection refused");
    // Those under way when the breaker opened, then one probe an interval.
    let most = 14 + 1 + opened.elapsed().as_millis() as usize / 360;
    let tried = engine.spool.attempts();
    assert!(tried <= most, "{tried} attempts after {:?}", opened.elapsed());

    let receiver = Receiver::on(TcpListener::bind(address).await.unwrap(), |_| answer(200));
    engine.spool.delivered(40).await;
    assert_eq!(receiver.requests().len(), 40);
}

#[tokio::test]
async fn a_dead_destination_delays_no_other() {
    let hole = Receiver::start(|_| vec![Act::Hang]).await;
    let receiver = Receiver::start(|_| answer(200)).await;
    let engine = Engine::start(quick());
    for number in 0..300 {
        engine.send(post(number, &destination(hole.address))).await;
    }
    hole.received(5).await;
    let begin = Instant::now();
    for number in 1000..1100 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(100).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_post_refused_for_itself_slows_no_neighbour() {
    let receiver = Receiver::start(|request| answer(if request.index < 30 { 500 } else { 200 })).await;
    let engine = Engine::start(Terms { schedule: retrying(&[60_000]), ..Terms::default() });
    for number in 0..130 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    engine.spool.delivered(100).await;
}

#[tokio::test]
async fn stop_lets_attempts_finish_and_begins_none() {
    let (receiver, gate) = Receiver::gated().await;
    let engine = Engine::start(single(quick()));
    for number in 1..=3 {
        engine.send(post(number, &destination(receiver.address))).await;
    }
    receiver.received(1).await;
    engine.stop.send(true).unwrap();
    gate.add_permits(3);
    within_deadline("the engine's end", engine.task).await.unwrap();
    let ids: Vec<_> = (1..=3).map(|number| post(number, &destination(receiver.address)).id).collect();
    assert_eq!(engine.spool.settlements(ids[0]), [Settlement::Delivered]);
    assert_eq!(receiver.requests().len(), 1);
    assert!(engine.spool.settlements(ids[1]).is_empty());
}
