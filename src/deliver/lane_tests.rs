//! What lanes want, as tables and as runs of a destination in thought: no clock
//! passes but the one that the tests move.

use super::*;
use std::collections::BinaryHeap;

const LIMITS: Limits = Limits { max_connections: 20, max_streams: 128, breaker: 10, adaptive: Adaptive::On };
const TROUBLE: Feedback = Feedback::Trouble { retry_after: None };
const SECOND: Duration = Duration::from_secs(1);

fn catch(begun: usize, next: Option<Duration>) -> Catch {
    Catch { begun, next, ..Catch::default() }
}

/// Sends as much as the lane wants; no post's time is over, charges are durable at once.
fn send(lane: &mut Lane, now: Instant) -> usize {
    if let Plan::Look(_) = lane.plan(now) {
        lane.looked_at = now;
    }
    if let Plan::Charge(attempts) = lane.plan(now) {
        lane.credit().end_charge(attempts);
    }
    match lane.plan(now) {
        Plan::Send(n) => {
            lane.begin_claim();
            lane.end_claim(catch(n, Some(Duration::ZERO)), now);
            n
        }
        _ => 0,
    }
}

fn end(lane: &mut Lane, feedback: Feedback, now: Instant) -> Change {
    lane.end_attempt(Ended { feedback, took: None, is_over: false }, &Schedule::default(), now, 0.5)
}

fn busy(now: Instant) -> Lane {
    let mut lane = Lane::new(LIMITS, &[], now);
    lane.expect(now);
    lane
}

/// A lane that has just had its tenth trouble in a row.
fn broken(now: Instant) -> Lane {
    let mut lane = busy(now);
    for number in 1..=10 {
        if lane.in_flight == 0 {
            assert!(send(&mut lane, now) > 0);
        }
        let change = end(&mut lane, TROUBLE, now);
        assert_eq!(change == Change::IsAway, number == 10);
    }
    lane
}

#[test]
fn a_lane_waits_for_its_next_post_and_for_room() {
    let now = Instant::now();
    let mut lane = Lane::new(LIMITS, &[], now);
    assert_eq!((lane.plan(now), lane.is_spent(now)), (Plan::Idle, true));
    let later = now + 5 * SECOND;
    lane.expect(later);
    lane.expect(later + SECOND);
    assert_eq!(lane.plan(now), Plan::WaitUntil(later));
    assert_eq!(lane.plan(later), Plan::Send(5));
    lane.begin_claim();
    assert_eq!(lane.plan(later), Plan::Idle, "one claim at a time");
    lane.expect(later);
    assert_eq!(lane.plan(later), Plan::Idle, "one claim at a time");
    lane.end_claim(catch(5, None), later);
    assert_eq!(lane.plan(later), Plan::Idle, "the window is full");
    end(&mut lane, Feedback::Answered, later);
    assert_eq!(lane.plan(later), Plan::Send(1), "a post that rang during the claim is not forgotten");
}

#[test]
fn an_empty_claim_does_not_make_the_loop_spin() {
    let now = Instant::now();
    let mut lane = busy(now);
    lane.begin_claim();
    lane.end_claim(catch(0, Some(Duration::ZERO)), now);
    assert_eq!(lane.plan(now), Plan::WaitUntil(now + EMPTY_CLAIM));
}

#[test]
fn an_open_breaker_lets_one_probe_through_on_the_intervals() {
    let start = Instant::now();
    let mut lane = broken(start);
    let mut now = start;
    for interval in [5, 30, 120] {
        let probe_at = now + Duration::from_secs(interval);
        assert_eq!(lane.plan(now), Plan::WaitUntil(probe_at));
        assert_eq!(lane.condition(now), Condition::Backoff(probe_at));
        now = probe_at;
        lane.looked_at = now;
        assert_eq!(send(&mut lane, now), 1);
        assert_eq!(lane.plan(now), Plan::Idle, "one probe at a time");
        assert_eq!(end(&mut lane, TROUBLE, now), Change::None);
    }
}

#[test]
fn a_closed_lane_looks_for_posts_whose_time_is_over() {
    let start = Instant::now();
    let mut closed = [broken(start), busy(start), busy(start), busy(start)];
    closed[1].pause();
    send(&mut closed[2], start);
    end(&mut closed[2], Feedback::Trouble { retry_after: Some(3600 * SECOND) }, start);
    closed[3].change(LIMITS, &[Rate { count: 1, per: 3600 * SECOND }], start);
    send(&mut closed[3], start);
    for (number, lane) in closed.iter_mut().enumerate() {
        if number == 0 {
            lane.breaker = Breaker::new(1);
            let schedule = Schedule { retry: vec![3600 * SECOND], ..Schedule::default() };
            lane.breaker.trouble(&schedule, start, 0.5);
        }
        let look_at = start + LOOK;
        assert_eq!(lane.plan(start), Plan::WaitUntil(look_at), "{number}");
        assert_eq!(lane.plan(look_at), Plan::Look(LOOKED_AT), "{number}");
        lane.begin_claim();
        let in_flight = lane.in_flight;
        lane.end_claim(Catch { over: 3, back: 13, ..Catch::default() }, look_at);
        assert_eq!(lane.in_flight, in_flight + 3, "they end as attempts do");
        assert_eq!(lane.plan(look_at), Plan::Look(LOOKED_AT), "more may be over: {number}");
        lane.begin_claim();
        lane.end_claim(Catch { back: 16, ..Catch::default() }, look_at);
        assert_eq!(lane.plan(look_at), Plan::WaitUntil(look_at + LOOK), "{number}");
        (0..3).for_each(|_| lane.give_up());
    }
    assert_eq!(closed[3].usage(start + LOOK)[0].1, 1, "no attempt was made");
}

#[test]
fn the_first_answer_lets_the_backlog_out_one_by_one() {
    let start = Instant::now();
    for (feedback, allowed) in [(Feedback::Taken, 2), (Feedback::Answered, 1)] {
        let mut lane = broken(start);
        let now = start + 5 * SECOND;
        assert_eq!(send(&mut lane, now), 1);
        assert_eq!(end(&mut lane, feedback, now), Change::IsBack);
        assert_eq!(lane.condition(now), Condition::Recovering);
        assert!(matches!(lane.plan(now), Plan::Send(n) if n <= allowed), "{:?}", lane.plan(now));
    }
}

#[test]
fn stragglers_do_not_lengthen_the_wait_and_an_answer_breaks_the_row() {
    let now = Instant::now();
    let mut lane = broken(now);
    lane.in_flight = 2;
    end(&mut lane, TROUBLE, now);
    end(&mut lane, TROUBLE, now);
    assert_eq!(lane.plan(now), Plan::WaitUntil(now + 5 * SECOND));
    let mut lane = busy(now);
    for _ in 0..5 {
        for _ in 0..9 {
            end(&mut lane, TROUBLE, now);
        }
        end(&mut lane, Feedback::Answered, now);
    }
    assert_eq!(lane.plan(now), Plan::Send(1));
}

#[test]
fn troubles_are_counted_across_moments_without_posts() {
    let now = Instant::now();
    let mut lane = busy(now);
    for _ in 0..10 {
        assert!(matches!(lane.plan(now), Plan::Send(_)));
        lane.begin_claim();
        lane.end_claim(catch(1, None), now);
        end(&mut lane, TROUBLE, now);
        assert!(!lane.is_spent(now));
        lane.expect(now);
    }
    assert_eq!(lane.plan(now), Plan::WaitUntil(now + 5 * SECOND));
    lane.due_at = None;
    assert!(lane.is_spent(now + MEMORY));
}

#[test]
fn a_refusal_is_remembered_until_the_spool_has_said_when_its_post_is_due() {
    for feedback in [Feedback::Answered, Feedback::Nothing, Feedback::Taken] {
        let now = Instant::now();
        let mut lane = Lane::new(LIMITS, &[], now);
        lane.begin_claim();
        lane.end_claim(catch(1, None), now);
        end(&mut lane, feedback, now);
        assert_eq!([now, now + MEMORY].map(|at| lane.is_spent(at)), [feedback == Feedback::Taken, true]);
    }
}

#[test]
fn a_hold_stops_the_lane_and_is_remembered_without_posts() {
    let now = Instant::now();
    let mut lane = busy(now);
    send(&mut lane, now);
    let hold = Feedback::Trouble { retry_after: Some(60 * SECOND) };
    end(&mut lane, hold, now);
    end(&mut lane, Feedback::Taken, now);
    let over = now + 60 * SECOND;
    assert_eq!(lane.plan(now), Plan::WaitUntil(over), "a late success does not lift it");
    assert_eq!(lane.condition(now), Condition::Held(over));
    lane.in_flight = 0;
    lane.due_at = None;
    assert!(!lane.is_spent(now) && lane.is_spent(over));
    lane.expect(now);
    lane.flush(now);
    assert!(matches!(lane.plan(now), Plan::Send(_)), "a flush does");
}

#[test]
fn a_pause_ends_nothing_that_is_under_way_and_lets_nothing_begin() {
    let now = Instant::now();
    let mut lane = busy(now);
    assert_eq!(send(&mut lane, now), 5);
    lane.pause();
    end(&mut lane, Feedback::Taken, now);
    lane.flush(now);
    assert_eq!(lane.plan(now), Plan::WaitUntil(now + LOOK));
    assert_eq!((lane.condition(now), lane.may_begin(now)), (Condition::Paused, 0));
    lane.resume();
    assert!(matches!(lane.plan(now), Plan::Send(_)));
}

#[test]
fn streams_are_counted_where_connections_are_not() {
    let now = Instant::now();
    let mut lane = Lane::new(Limits { adaptive: Adaptive::Off, ..LIMITS }, &[], now);
    assert_eq!(lane.window(), 20);
    lane.ride(Carrier::Streams);
    assert_eq!(lane.window(), 128);
    lane.change(Limits { max_streams: 7, adaptive: Adaptive::Off, ..LIMITS }, &[], now);
    assert_eq!(lane.window(), 7);
}

#[test]
fn a_used_rate_is_remembered_when_there_are_no_posts_and_when_it_changes() {
    let now = Instant::now();
    let hour = |count| Rate { count, per: 3600 * SECOND };
    let mut lane = Lane::new(LIMITS, &[hour(5)], now);
    lane.expect(now);
    assert_eq!(send(&mut lane, now), 5);
    for _ in 0..5 {
        end(&mut lane, Feedback::Taken, now);
    }
    assert!(matches!(lane.condition(now), Condition::Throttled(_)));
    lane.due_at = None;
    assert!(!lane.is_spent(now + 3600 * SECOND) && lane.is_spent(now + 3700 * SECOND));
    lane.expect(now);
    lane.change(LIMITS, &[hour(8)], now);
    assert_eq!(lane.plan(now), Plan::Charge(3));
}

/// A destination in thought: it serves `at_once` attempts, each for `took`, others
/// wait; and it is away for a while.
struct Server {
    took: Duration,
    at_once: Option<usize>,
    away: Option<(Duration, Duration)>,
}

/// What a run came to: attempts by the second, the widest window of each second, and
/// how many were answered.
struct Run {
    began: Vec<usize>,
    widest: Vec<usize>,
    taken: usize,
    most_in_flight: usize,
}

fn run(mut lane: Lane, server: &Server, length: Duration) -> Run {
    let start = Instant::now();
    let seconds = length.as_secs() as usize + 1;
    let mut run = Run { began: vec![0; seconds], widest: vec![0; seconds], taken: 0, most_in_flight: 0 };
    let mut ends: BinaryHeap<std::cmp::Reverse<(Instant, Instant, bool)>> = BinaryHeap::new();
    let mut free_at: Vec<Instant> = vec![start; server.at_once.unwrap_or(0)];
    let schedule = Schedule::default();
    let mut now = start;
    lane.expect(now);
    while now < start + length {
        let second = (now - start).as_secs() as usize;
        let is_away = server.away.is_some_and(|(from, to)| now >= start + from && now < start + to);
        for _ in 0..send(&mut lane, now) {
            run.began[second] += 1;
            if is_away {
                ends.push(std::cmp::Reverse((now + Duration::from_millis(1), now, false)));
                continue;
            }
            let done = match free_at.iter_mut().min() {
                Some(free_at) => {
                    *free_at = now.max(*free_at) + server.took;
                    *free_at
                }
                None => now + server.took,
            };
            ends.push(std::cmp::Reverse((done, now, true)));
        }
        run.widest[second] = run.widest[second].max(lane.window());
        run.most_in_flight = run.most_in_flight.max(lane.in_flight);
        let timer = if let Plan::WaitUntil(at) = lane.plan(now) { Some(at) } else { None };
        now = ends.peek().map(|end| end.0.0).into_iter().chain(timer).min().expect("the lane hangs");
        while let Some(std::cmp::Reverse((at, began, is_taken))) = ends.peek().copied()
            && at <= now
        {
            ends.pop();
            run.taken += usize::from(is_taken);
            let took = is_taken.then(|| at - began);
            let feedback = if is_taken { Feedback::Taken } else { TROUBLE };
            lane.end_attempt(Ended { feedback, took, is_over: false }, &schedule, now, 0.5);
        }
    }
    run
}

#[test]
fn healthy_receivers_get_all_that_they_can_take() {
    for (took, least) in [
        // 20 connections / 50 ms = 400 a second, 10 % off at most.
        (Duration::from_millis(50), 400 * 30 * 9 / 10),
        (Duration::from_millis(2), 10_000 * 30 * 9 / 10),
        (Duration::from_millis(400), 50 * 30 * 9 / 10),
    ] {
        let run = run(busy(Instant::now()), &Server { took, at_once: None, away: None }, 30 * SECOND);
        assert!(run.taken >= least, "{took:?}: {} of {least}", run.taken);
        assert_eq!(run.widest[29], 20, "{took:?}");
    }
}

#[test]
fn a_receiver_that_queues_gets_fewer_at_a_time_and_as_much_in_all() {
    // It works on 4 at a time: more only wait in it.
    let server = Server { took: Duration::from_millis(50), at_once: Some(4), away: None };
    let mut lane = busy(Instant::now());
    lane.change(Limits { max_connections: 100, ..LIMITS }, &[], Instant::now());
    let run = run(lane, &server, 60 * SECOND);
    let widest = *run.widest[30..60].iter().max().unwrap();
    assert!((5..=30).contains(&widest), "{widest} under way");
    assert!(run.taken >= 4 * 20 * 60 * 95 / 100, "{}", run.taken);
}

#[test]
fn a_receiver_that_comes_back_is_drained_at_a_controlled_rate() {
    let away = Some((10 * SECOND, 70 * SECOND));
    let server = Server { took: Duration::from_millis(50), at_once: None, away };
    let run = run(busy(Instant::now()), &server, 300 * SECOND);
    let probes: usize = run.began[11..70].iter().sum();
    assert!((2..=3).contains(&probes), "{probes} probes in a minute: after 5 s, 30 s");
    let back = (70..300).find(|second| run.began[*second] > 1).unwrap();
    assert!((150..=170).contains(&back), "back after the third interval: {back}");
    assert!(run.widest[back] < 20, "not all at once: {}", run.widest[back]);
    assert!(run.began[back] < 250, "{} in the first second", run.began[back]);
    assert_eq!(run.widest[back + 5], 20, "but soon");
}

#[test]
fn rates_hold_in_every_stretch_and_are_used_up() {
    let per_second = Rate { count: 100, per: SECOND };
    let per_minute = Rate { count: 1500, per: 60 * SECOND };
    let lane = |rates: &[Rate]| {
        let mut lane = busy(Instant::now());
        lane.change(LIMITS, rates, Instant::now());
        lane
    };
    let server = Server { took: Duration::from_millis(1), at_once: None, away: None };
    let one = run(lane(&[per_second]), &server, 20 * SECOND);
    assert!((1950..=2000).contains(&one.taken), "{}", one.taken);
    let both = run(lane(&[per_second, per_minute]), &server, 120 * SECOND);
    assert!((2950..=3000).contains(&both.taken), "{}", both.taken);
    assert!(both.began.iter().take(15).all(|began| (90..=110).contains(began)), "{:?}", both.began);
    assert_eq!(both.began[17..59].iter().sum::<usize>(), 0);
}

#[test]
fn ten_thousand_posts_due_in_one_second_stay_within_window_and_rate() {
    let now = Instant::now();
    let mut lane = broken(now);
    lane.change(LIMITS, &[Rate { count: 50, per: SECOND }], now);
    let server = Server { took: Duration::from_millis(5), at_once: None, away: None };
    let run = run(lane, &server, 30 * SECOND);
    assert!(run.most_in_flight <= 20);
    assert!(run.began.iter().all(|began| *began <= 51), "{:?}", run.began);
    assert!(run.taken >= 50 * 22, "{}", run.taken);
}
