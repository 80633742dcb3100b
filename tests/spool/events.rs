//! Events: with what caused them, once in a life and at least once over crashes, and
//! never without their cause.

use super::durable::open;
use super::steering::{failed, one};
use super::*;
use postgate::event::{Event, EventId, Wanted};
use postgate::post::PostId;
use postgate::spool::{Order, PostState, Query};

/// An event that says `what` of post `id`.
pub fn event(id: u64, what: &str) -> Event {
    Event {
        id: EventId::new(Timestamp(id), fastrand::u128(..)),
        name: format!("post.{what}").parse().unwrap(),
        at: Timestamp(id),
        tenant: Tenant::default(),
        // Longer than a sector with its record, so that it can be torn from others.
        data: Bytes::from(format!("{{\"id\":\"{id:0>400}\"}}")),
    }
}

fn told(id: u64, hosts: &[&str]) -> Admission {
    Admission { events: vec![event(id, "received")], ..message(id, hosts, b"x") }
}

/// What the next events say: each the number of its post and what became of it.
pub async fn next(spool: &dyn Spool, after: &mut Mark, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let events = tokio::time::timeout(DEADLINE, spool.events(*after)).await.unwrap().unwrap();
        assert!(events.0.place > after.place && !events.1.is_empty());
        *after = events.0;
        found.extend(events.1.iter().map(said));
    }
    found
}

/// What an event says; what a spool tells of itself is known by its reason.
fn said(event: &Event) -> String {
    let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
    match data["postId"].as_str() {
        Some(id) => {
            let reason = data["reason"].as_str().unwrap();
            format!("{} {reason}", id.parse::<PostId>().unwrap().message.0)
        }
        None => format!("{} {}", event.at.0, &event.name.as_str()[5..]),
    }
}

async fn settle_one(spool: &dyn Spool, claim: &Claim, settlement: Settlement, what: &str) {
    let events = vec![event(claim.post.id.message.0, what)];
    spool.settle(vec![(claim.clone(), settlement)], events).await.unwrap();
}

pub async fn events_come_once_and_in_order(spool: &dyn Spool) {
    let mut mark = Mark::default();
    let mut asked = Box::pin(spool.events(mark));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut asked).await.is_err(), "out of nothing");
    drop(asked);
    for id in 1..=3 {
        spool.commit(told(id, &["a"])).await.unwrap();
    }
    spool.publish(vec![event(7, "published"), event(8, "published")]).await.unwrap();
    let expected = ["1 received", "2 received", "3 received", "7 published", "8 published"];
    assert_eq!(next(spool, &mut mark, 5).await, expected);
    let claims = claim_all(spool, "a").await;
    settle_one(spool, &claims[0], again(Duration::ZERO), "deferred").await;
    assert_eq!(next(spool, &mut mark, 1).await, ["1 deferred"]);
    settle_one(spool, &claims[1], failed("404"), "failed").await;
    settle_one(spool, &claims[2], Settlement::Delivered, "delivered").await;
    assert_eq!(next(spool, &mut mark, 2).await, ["2 failed", "3 delivered"]);
    // Several at once have their events at once.
    let mut claims = claim_all(spool, "a").await;
    spool.commit(told(4, &["a"])).await.unwrap();
    claims.extend(claim_all(spool, "a").await);
    let done = [again(Duration::ZERO), Settlement::Delivered];
    let events = vec![event(1, "deferred"), event(4, "delivered")];
    spool.settle(claims.into_iter().zip(done).collect(), events).await.unwrap();
    assert_eq!(next(spool, &mut mark, 3).await, ["4 received", "1 deferred", "4 delivered"]);
    spool.publish(Vec::new()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), spool.events(mark)).await.is_err(), "once");
}

pub async fn what_changes_nothing_tells_nothing(spool: &dyn Spool) {
    let mut mark = Mark::default();
    let keyed = |id| Admission { idempotency_key: Some("k".to_owned()), ..told(id, &["a"]) };
    assert_eq!(spool.commit(keyed(1)).await, Ok(Committed::Kept));
    assert_eq!(spool.commit(keyed(2)).await, Ok(super::repeated(1, 1, None)));
    assert_eq!(spool.commit(keyed(1)).await, Ok(Committed::Kept));
    let old = claim_all(spool, "a").await.remove(0);
    settle_one(spool, &old, Settlement::Back, "deferred").await;
    let claim = claim_all(spool, "a").await.remove(0);
    settle_one(spool, &old, again(Duration::ZERO), "stale").await;
    spool.order(one(1), Order::Delete).await.unwrap();
    settle_one(spool, &claim, failed("404"), "late").await;
    spool.publish(vec![event(9, "published")]).await.unwrap();
    assert_eq!(next(spool, &mut mark, 3).await, ["1 received", "1 deferred", "9 published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_passed_comes_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    for id in 1..=9 {
        spool.commit(told(id, &["a"])).await.unwrap();
    }
    let (mut mark, mut one_by_one) = (Mark::default(), Vec::new());
    one_by_one.extend(next(&spool, &mut mark, 9).await);
    let middle = mark;
    for claim in claim_all(&spool, "a").await {
        settle_one(&spool, &claim, again(Duration::ZERO), "deferred").await;
    }
    let rest = next(&spool, &mut mark, 9).await;
    assert_eq!(rest.len(), 9);
    for start in 0..4 {
        if start == 2 {
            close(open(&disk, small(directory.path())));
        } else {
            disk = disk.after_kill();
        }
        let spool = open(&disk, small(directory.path()));
        let mut all = Mark::default();
        assert_eq!(next(&spool, &mut all, 18).await, [one_by_one.clone(), rest.clone()].concat());
        assert_eq!(all, mark, "places do not change");
        let mut behind = middle;
        assert_eq!(next(&open(&disk.after_kill(), small(directory.path())), &mut behind, 9).await, rest);
        // A mark of another log means nothing.
        let mut other = Mark { log: mark.log ^ 1, ..mark };
        let again = open(&disk.after_kill(), small(directory.path()));
        let (first, events) = again.events(other).await.unwrap();
        assert_eq!((first.log, events[0].at.0), (mark.log, 1));
        other = mark;
        again.publish(vec![event(start, "published")]).await.unwrap();
        assert_eq!(next(&again, &mut other, 1).await, [format!("{start} published")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_with_events_that_were_not_passed_stay() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    let large =
        |id| Admission { events: vec![event(id, "received")], ..message(id, &["a"], &body(id, 5000)) };
    for id in 1..=200 {
        spool.commit(large(id)).await.unwrap();
        settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
    }
    let many = segments(&disk).len();
    assert!(many >= 15, "{many}");
    let mut mark = Mark::default();
    let found = next(&spool, &mut mark, 200).await;
    assert_eq!(found, (1..=200).map(|id| format!("{id} received")).collect::<Vec<_>>());
    // They are given up when the next events are asked for, and others keep nothing.
    let mut asked = Box::pin(spool.events(mark));
    let few = async {
        while segments(&disk).len() > 4 {
            let _ = tokio::time::timeout(Duration::from_millis(20), &mut asked).await;
        }
    };
    tokio::time::timeout(DEADLINE, few).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_memory_takes_are_read_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, options(directory.path()));
    let count = 300;
    for id in 0..count {
        let data = Bytes::from(format!("\"{}\"", "x".repeat(30_000)));
        spool.publish(vec![Event { data, ..event(id, "published") }]).await.unwrap();
    }
    let mut mark = Mark::default();
    let found = next(&spool, &mut mark, count as usize).await;
    assert_eq!(found, (0..count).map(|id| format!("{id} published")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_of_an_earlier_process_come_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, options(directory.path()));
    for id in 1..=300 {
        spool.publish(vec![event(id, "published")]).await.unwrap();
    }
    let spool = open(&disk.after_kill(), options(directory.path()));
    let mut mark = Mark::default();
    let mut portions = Vec::new();
    while portions.iter().sum::<usize>() < 300 {
        portions.push(next(&spool, &mut mark, 1).await.len());
    }
    assert!(portions.len() <= 3, "{portions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_read_for_long_keep_no_others_back() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, options(directory.path()));
    for id in 1..=3 {
        spool.publish(vec![event(id, "published")]).await.unwrap();
    }
    let disk = disk.after_kill();
    let spool = open(&disk, options(directory.path()));
    spool.recovered().await;
    disk.rot(&segments(&disk)[0]);
    spool.publish(vec![event(4, "published")]).await.unwrap();
    let (mut failures, mut mark) = (0, Mark::default());
    let found = loop {
        match tokio::time::timeout(DEADLINE, spool.events(mark)).await.unwrap() {
            Ok((behind, events)) => {
                mark = behind;
                break events;
            }
            Err(error) => {
                assert!(matches!(error, SpoolError::Failed(_)), "{error}");
                failures += 1;
            }
        }
    };
    assert!((2..100).contains(&failures), "{failures}");
    assert_eq!(found.iter().map(|event| event.at.0).collect::<Vec<_>>(), [4]);
    assert_eq!(spool.damages(), 3);
    // The place is passed for good.
    spool.publish(vec![event(5, "published")]).await.unwrap();
    assert_eq!(next(&spool, &mut mark, 1).await, ["5 published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_while_much_that_ended_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, options(directory.path()));
    for id in 1..=400 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    let claims = spool.claim(&lane("a"), 20).await.unwrap().claims;
    disk.fail(Fault::From(disk.calls() + 1));
    for claim in claims {
        let data = Bytes::from(format!("\"{}\"", "x".repeat(1 << 20)));
        let told = Event { data, ..event(claim.post.id.message.0, "delivered") };
        spool.settle(vec![(claim, Settlement::Delivered)], vec![told]).await.unwrap();
    }
    let claim_until = async |is_empty: bool| loop {
        let claimed = spool.claim(&lane("a"), 1).await.unwrap();
        assert!(claimed.next.is_some(), "nobody would ask again");
        if claimed.claims.is_empty() == is_empty {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    tokio::time::timeout(DEADLINE, claim_until(true)).await.expect("it goes on and on");
    disk.mend();
    tokio::time::timeout(DEADLINE, claim_until(false)).await.expect("it does not go on");
    let expected: Vec<_> = (1..=20).map(|id| format!("{id} delivered")).collect();
    assert_eq!(next(&spool, &mut Mark::default(), 20).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_too_long_is_told_of_when_it_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let wanted = Wanted::default();
    let _want = wanted.want();
    let spool = open(&disk, small(directory.path()));
    for id in 1..=3 {
        spool.commit(told(id, &["a"])).await.unwrap();
    }
    assert_eq!(spool.order(one(1), Order::Hold).await, Ok(1));
    let disk = disk.after_kill();
    let options = Options { retain_held: Duration::ZERO, wanted, ..small(directory.path()) };
    let spool = open(&disk, options);
    let mut mark = Mark::default();
    let expected = ["1 received", "2 received", "3 received", "1 expired"];
    assert_eq!(next(&spool, &mut mark, 4).await, expected);
    // Durably: it is gone, and it is told of.
    let spool = open(&disk.after_kill(), small(directory.path()));
    assert!(spool.page(one(1), None, 1).await.unwrap().is_empty());
    assert_eq!(next(&spool, &mut Mark::default(), 4).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_verdicts_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    spool.commit(told(1, &["a"])).await.unwrap();
    let claim = claim_all(&spool, "a").await.remove(0);
    disk.fail(Fault::Once(disk.calls() + 1, ErrorKind::Other));
    let verdict = || spool.settle(vec![(claim.clone(), failed("404"))], vec![event(1, "failed")]);
    assert!(verdict().await.is_err());
    while verdict().await.is_err() {}
    disk.fail(Fault::Once(disk.calls() + 1, ErrorKind::Other));
    assert!(spool.publish(vec![event(2, "refused")]).await.is_err());
    while spool.publish(vec![event(3, "published")]).await.is_err() {}
    let mut mark = Mark::default();
    assert_eq!(next(&spool, &mut mark, 3).await, ["1 received", "1 failed", "3 published"]);
    let spool = open(&disk.after_kill(), small(directory.path()));
    let mut mark = Mark::default();
    assert_eq!(next(&spool, &mut mark, 3).await, ["1 received", "1 failed", "3 published"]);
}

/// Commits, defers, gives up, delivers and deletes until the power is gone; all with events.
async fn work(spool: &Embedded, dice: &mut fastrand::Rng) {
    for id in 1..=40 {
        let mut commits: Vec<_> = (0..dice.u64(1..4)).map(|at| id * 10 + at).collect();
        commits.retain(|_| dice.u8(..4) > 0);
        let commits: Vec<_> = commits.iter().map(|id| spool.commit(told(*id, &["a"]))).collect();
        for commit in commits {
            let _ = commit.await;
        }
        let claimed = spool.claim(&lane("a"), dice.usize(1..6)).await;
        let (mut verdicts, mut ended, mut endings) = (Vec::new(), Vec::new(), Vec::new());
        for claim in claimed.map(|claimed| claimed.claims).unwrap_or_default() {
            let id = claim.post.id.message.0;
            let (settlement, what) = match dice.u8(..4) {
                0 => (again(Duration::ZERO), "deferred"),
                1 => (failed("404"), "failed"),
                _ => {
                    // What only ends does so with others.
                    ended.push((claim, Settlement::Delivered));
                    endings.push(event(id, "delivered"));
                    continue;
                }
            };
            verdicts.push(spool.settle(vec![(claim, settlement)], vec![event(id, what)]));
        }
        verdicts.push(spool.settle(ended, endings));
        for verdict in verdicts {
            let _ = verdict.await;
        }
        if dice.u8(..4) == 0 {
            let state = Some(PostState::Deferred);
            let order = if dice.bool() { Order::Delete } else { Order::HandBack };
            let _ = spool.order(Query { state, ..Query::default() }, order).await;
        }
    }
}

/// Whether each durable change has its events, and each event its change.
async fn audit(spool: &Embedded) -> Vec<String> {
    spool.recovered().await;
    let mut counts: BTreeMap<u64, BTreeMap<String, usize>> = BTreeMap::new();
    let mut mark = Mark::default();
    // The last one is known: what is found before it is all.
    spool.publish(vec![event(0, "last")]).await.unwrap();
    while !counts.contains_key(&0) {
        for said in next(spool, &mut mark, 1).await {
            let (id, what) = said.split_once(' ').unwrap();
            *counts.entry(id.parse().unwrap()).or_default().entry(what.to_owned()).or_default() += 1;
        }
    }
    counts.remove(&0);
    let mut complaints = Vec::new();
    let mut living: BTreeMap<u64, (PostState, u32)> = BTreeMap::new();
    for listed in spool.page(Query::default(), None, 10_000).await.unwrap() {
        living.insert(listed.post.id.message.0, (listed.state, listed.ended));
        if !counts.contains_key(&listed.post.id.message.0) {
            complaints.push(format!("{}: lives, and nothing was told", listed.post.id));
        }
    }
    for (id, told) in counts {
        let of = |what: &str| told.get(what).copied().unwrap_or(0);
        let (deferred, failed, delivered) = (of("deferred"), of("failed"), of("delivered"));
        let deleted = of("deleted") + of("handed-back");
        let is_right = of("received") == 1
            && match living.get(&id) {
                Some((PostState::Failed, ended)) => {
                    failed == 1 && delivered + deleted == 0 && deferred + 1 == *ended as usize
                }
                Some((_, ended)) => failed + delivered + deleted == 0 && deferred == *ended as usize,
                None => failed == 0 && delivered + deleted == 1,
            };
        if !is_right {
            complaints.push(format!("{id}: {:?} after {told:?}", living.get(&id)));
        }
    }
    complaints
}

async fn power_cuts(sync: Sync, seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for seed in seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(sync);
        let wanted = Wanted::default();
        let _want = wanted.want();
        let spool = open(&disk, Options { wanted, ..small(directory.path()) });
        disk.fail(Fault::From(disk.calls() + dice.u64(1..200)));
        work(&spool, &mut dice).await;
        drop(spool);
        let spool = open(&disk.after_power_cut(&mut dice), small(directory.path()));
        complaints.extend(audit(&spool).await.into_iter().map(|text| format!("seed {seed}: {text}")));
    }
    complaints
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_leaves_no_change_without_its_event_and_no_event_without_its_change() {
    let complaints = power_cuts(Sync::Honest, 0..150).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
