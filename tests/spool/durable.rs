//! What steering leaves behind: through ends in order, kills, power cuts, failing
//! and full disks, recycled segments, and from the version before.

use super::steering::{failed, held, id, keyed, linked, one, reroute};
use super::*;
use postgate::event::Mark;
use postgate::post::{Batch, PostId, WebhookId};
use postgate::spool::{Listed, Order, PostState, Query};

const HOUR: Duration = Duration::from_secs(3600);

pub fn open(disk: &SimDisk, options: Options) -> Embedded {
    Embedded::open_on(Arc::new(disk.clone()), options).unwrap()
}

async fn listed(spool: &Embedded) -> BTreeMap<u64, Listed> {
    let page = spool.page(Query::default(), None, 10_000).await.unwrap();
    page.into_iter().map(|listed| (listed.post.id.message.0, listed)).collect()
}

/// The same for URLs of the operator's own.
fn own(mut admission: Admission) -> Admission {
    admission.posts.iter_mut().for_each(|post| post.trust = Trust::Operator);
    admission
}

fn reasons(attempts: &[Attempt]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt.reason.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_attempts_survive_kills() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    for id in 1..=6 {
        spool.commit(own(message(id, &["a"], b"x"))).await.unwrap();
    }
    for _ in 0..2 {
        settle_all(&spool, claim_all(&spool, "a").await, &again(Duration::ZERO)).await;
    }
    let flying = claim_all(&spool, "a").await;
    assert_eq!(flying.len(), 6);
    settle_all(&spool, flying[..2].to_vec(), &failed("404")).await;
    settle_all(&spool, flying[2..4].to_vec(), &held("451")).await;
    // 1 and 2 are dead, 3 and 4 held, 5 and 6 in flight.
    for (id, order) in [(2, Order::Retry), (4, reroute("b")), (5, Order::Hold), (6, reroute("b"))] {
        assert_eq!(spool.order(one(id), order).await, Ok(1));
    }
    let before = listed(&spool).await;
    let mut found = BTreeMap::new();
    for _ in 0..3 {
        disk = disk.after_kill();
        let spool = open(&disk, small(directory.path()));
        found = listed(&spool).await;
        use PostState::{Deferred, Failed, Held, Queued};
        let states: Vec<_> = found.values().map(|listed| listed.state).collect();
        assert_eq!(states, [Failed, Queued, Held, Deferred, Held, Deferred]);
        let hosts: Vec<_> = found.values().map(|listed| listed.post.destination.host.as_str()).collect();
        assert_eq!(hosts, ["a", "a", "a", "b", "a", "b"]);
        for Listed { post, .. } in found.values() {
            assert_eq!(post.trust == Trust::Operator, post.destination.host == "a", "{post:?}");
        }
        for (id, listed) in &found {
            let attempts = spool.attempts(listed.post.id).await.unwrap();
            let last = [Some("404"), Some("404"), Some("451"), Some("451"), None, None];
            let expected: Vec<_> = ["503", "503"].into_iter().chain(last[*id as usize - 1]).collect();
            assert_eq!(reasons(&attempts), expected, "{id}");
            assert_eq!(attempts.last(), listed.last.as_ref());
        }
    }
    for id in 1..=4 {
        assert_eq!((found[&id].due_at, &found[&id].post), (before[&id].due_at, &before[&id].post));
    }
    let spool = open(&disk.after_kill(), small(directory.path()));
    spool.recovered().await;
    let claims = claim_all(&spool, "b").await;
    let found: Vec<_> = claims.iter().map(|claim| (claim.post.path.as_str(), claim.post.trust)).collect();
    assert_eq!(found, [("/elsewhere?x=1", Trust::Wire); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_ways_and_lines_outlive_the_segments_they_stood_in() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    for id in 1..=3 {
        spool.commit(own(keyed(id, "late", "k"))).await.unwrap();
    }
    for _ in 0..60 {
        settle_all(&spool, claim_all(&spool, "late").await, &again(Duration::ZERO)).await;
    }
    assert_eq!(spool.order(one(1), reroute("b")).await, Ok(1));
    assert_eq!(spool.order(one(2), Order::Hold).await, Ok(1));
    let first = segments(&disk)[0].clone();
    let mut next = 10;
    for round in 0..3 {
        let last = segments(&disk).last().unwrap().clone();
        tokio::time::timeout(DEADLINE, async {
            while segments(&disk).contains(&last) {
                next += 1;
                spool.commit(message(next, &["a"], &body(next, 4000))).await.unwrap();
                settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("round {round}: a segment is kept"));
        settle_all(&spool, claim_all(&spool, "b").await, &again(Duration::ZERO)).await;
    }
    assert!(!segments(&disk).contains(&first));
    let check = |spool: Embedded| async move {
        let attempts = spool.attempts(id(1)).await.unwrap();
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1].into_iter().chain(14..=63).collect::<Vec<_>>());
        let found = listed(&spool).await;
        assert_eq!((found[&1].post.path.as_str(), found[&1].ended), ("/elsewhere?x=1", 63));
        let trusts = [1, 2, 3].map(|id| found[&id].post.trust);
        assert_eq!(trusts, [Trust::Wire, Trust::Operator, Trust::Operator]);
        assert_eq!((found[&2].state, found[&3].state), (PostState::Held, PostState::Queued));
        assert!(claim_all(&spool, "late").await.is_empty(), "the line is forgotten");
        spool
    };
    let spool = check(spool).await;
    close(spool);
    let spool = check(open(&disk, small(directory.path()))).await;
    spool.order(one(2), Order::Delete).await.unwrap();
    assert_eq!(claim_all(&spool, "late").await.len(), 1);
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_kept_through_kills() {
    for indexed_in_memory in [usize::MAX, 0] {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { indexed_in_memory, ..small(directory.path()) };
        let mut disk = SimDisk::new(Sync::Honest);
        let spool = open(&disk, options.clone());
        for id in 1..=60 {
            let mut admission = keyed(id, "a", &format!("{}", id % 2));
            admission.blobs[0] = Bytes::from([&b"Subject: x\r\n\r\nx"[..], &body(id, 3000)].concat());
            spool.commit(admission).await.unwrap();
        }
        assert!(segments(&disk).len() > 2, "one segment proves nothing");
        drop(spool);
        let mut seen = Vec::new();
        while seen.len() < 60 {
            disk = disk.after_kill();
            let spool = open(&disk, options.clone());
            for _ in 0..5 {
                // New ones come while the older ones may not have been read.
                let claims = claim_all(&spool, "a").await;
                assert!(claims.len() <= 2);
                seen.extend(claims.iter().map(|claim| claim.post.id.message.0));
                settle_all(&spool, claims, &failed("404")).await;
                spool.recovered().await;
            }
        }
        for rest in [0, 1] {
            let line: Vec<_> = seen.iter().filter(|id| **id % 2 == rest).collect();
            assert!(line.is_sorted() && line.len() == 30, "{line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_wants_any_more_is_forgotten_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    for id in 1..=4 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    let claims = claim_all(&spool, "a").await;
    settle_all(&spool, claims[..1].to_vec(), &held("451")).await;
    settle_all(&spool, claims[1..2].to_vec(), &failed("404")).await;
    settle_all(&spool, claims[2..3].to_vec(), &again(HOUR)).await;
    assert_eq!(spool.forgotten(), 0);
    close(spool);
    let short = Options { retain_held: Duration::ZERO, ..small(directory.path()) };
    let spool = open(&disk, short.clone());
    tokio::time::timeout(DEADLINE, async {
        while spool.forgotten() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a held post is kept for ever");
    assert_eq!(listed(&spool).await.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    close(spool);
    let spool = open(&disk, short);
    assert_eq!(listed(&spool).await.len(), 3, "it is back");
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_posts_and_lean_bodies_are_kept_through_kills_and_forgotten_in_time() {
    for indexed_in_memory in [usize::MAX, 0] {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { indexed_in_memory, ..small(directory.path()) };
        let mut disk = SimDisk::new(Sync::Honest);
        let spool = open(&disk, options.clone());
        // With links, with links and in a line, with links and elsewhere, and without.
        for (id, key) in [(1, None), (2, Some("k")), (3, None), (4, None)] {
            let mut admission = linked(id, "a");
            admission.posts[0].has_links = id < 4;
            admission.posts[0].ordering_key = key.map(str::to_owned);
            spool.commit(admission).await.unwrap();
        }
        spool.commit(linked(5, "lean")).await.unwrap();
        assert_eq!(spool.order(one(3), reroute("b")).await, Ok(1));
        let leaner = Settlement::Leaner { last: Attempt::because("413") };
        settle_all(&spool, claim_all(&spool, "lean").await, &leaner).await;
        let elsewhere = claim_all(&spool, "b").await;
        assert_eq!(spool.order(one(3), reroute("too late")).await, Ok(1));
        settle_all(&spool, elsewhere, &Settlement::Delivered).await;
        settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
        let before = listed(&spool).await;
        for start in 0..3 {
            disk = disk.after_kill();
            let spool = open(&disk, options.clone());
            let found = listed(&spool).await;
            assert_eq!(found, before, "start {start}");
            use PostState::{Deferred, Delivered};
            let states: Vec<_> = found.iter().map(|(id, listed)| (*id, listed.state)).collect();
            assert_eq!(states, [(1, Delivered), (2, Delivered), (3, Delivered), (5, Deferred)]);
            assert_eq!(found[&3].post.destination, lane("b"));
            let claims = claim_all(&spool, "lean").await;
            assert_eq!(spool.body(&claims[0]).await.unwrap(), "Subject");
            assert!(claim_all(&spool, "a").await.is_empty() && claim_all(&spool, "b").await.is_empty());
            assert_eq!(spool.content(id(1)).await.unwrap().body, "x");
        }
        // Times that were set before count.
        let short = Options { retain_delivered: Duration::ZERO, ..options.clone() };
        let spool = open(&disk, short.clone());
        assert_eq!(listed(&spool).await.len(), 4);
        spool.commit(linked(6, "a")).await.unwrap();
        settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
        close(spool);
        let spool = open(&disk, short);
        tokio::time::timeout(DEADLINE, async {
            while listed(&spool).await.contains_key(&6) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a delivered post is kept for ever");
        assert_eq!(spool.forgotten(), 0, "it was delivered");
        close(spool);
    }
}

/// A batch for webhook `wh_1` at host `a`, of which the last event stands there.
fn batch(message: u64, reached: u64) -> Admission {
    let mut admission = super::message(message, &["a"], &[b'x'; 2000]);
    let own = Destination { webhook: Some(WebhookId::new("wh_1")), ..(*lane("a")).clone() };
    admission.posts[0].destination = Arc::new(own);
    admission.posts[0].batch = Some(Batch { events: 7, reached });
    admission
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_a_webhooks_own_and_the_newest_are_listed_when_they_are_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = SimDisk::new(Sync::Honest);
    let of = |webhook: &str| Query { webhook: Some(WebhookId::new(webhook)), ..Query::default() };
    let spool = open(&disk, small(directory.path()));
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    for number in 2..=1100 {
        spool.commit(batch(number, number * 7)).await.unwrap();
    }
    let own = Arc::clone(&batch(2, 0).posts[0].destination);
    let taken = Attempt { status: Some(204), ..Attempt::because("204") };
    for share in [1, 500, 598] {
        let claims = spool.claim(&own, share).await.unwrap().claims;
        settle_all(&spool, claims, &Settlement::Listed { last: taken.clone() }).await;
    }
    assert_eq!(claim_all(&spool, "a").await.len(), 1, "another lane");
    for start in 0..3 {
        disk = disk.after_kill();
        let spool = open(&disk, small(directory.path()));
        let found = spool.page(of("wh_1"), None, 2000).await.unwrap();
        assert_eq!(found.len(), 1000, "start {start}");
        let newest = &found[0];
        assert_eq!((newest.state, newest.ended), (PostState::Delivered, 1));
        assert_eq!(newest.post.batch, Some(Batch { events: 7, reached: 7700 }));
        assert_eq!(newest.last.as_ref().unwrap().status, Some(204));
        let attempts = spool.attempts(newest.post.id).await.unwrap();
        assert_eq!((attempts.len(), attempts[0].number, attempts[0].status), (1, 1, Some(204)));
        assert_eq!(spool.content(newest.post.id).await, Err(SpoolError::Unknown), "its body has gone");
        assert_eq!(spool.page(of("wh_2"), None, 9).await, Ok(Vec::new()));
        assert!(spool.claim(&own, 9).await.unwrap().claims.is_empty());
        // Bodies do not stay for those that are listed.
        spool.commit(message(5000 + start, &["b"], &[b'y'; 2000])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_delivered_posts_are_kept_where_bodies_are() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&SimDisk::new(Sync::Honest), Options { keep_bodies: true, ..small(directory.path()) });
    for id in 1..=2 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
    let states: Vec<_> = listed(&spool).await.into_values().map(|listed| listed.state).collect();
    assert_eq!(states, [PostState::Delivered; 2]);
    close(spool);
}

/// What a steering client knows when it all ends.
#[derive(Default)]
struct Told {
    /// The last order of each post that was answered, and those since that were not.
    orders: BTreeMap<u64, (Option<u8>, Vec<u8>)>,
    /// The versions of the note: the last that was answered, the last that was tried.
    note: (u64, u64),
}

fn order_number(number: u8) -> Order {
    match number {
        0 => Order::Hold,
        1 => Order::Retry,
        2 => Order::Delete,
        _ => reroute("b"),
    }
}

/// Commits and gives orders until the disk is gone.
async fn steer(spool: &Embedded, dice: &mut fastrand::Rng) -> Told {
    let mut told = Told::default();
    for id in 1..=40 {
        if spool.commit(message(id, &["a"], &body(id, 600))).await.is_ok() {
            told.orders.insert(id, (None, Vec::new()));
        }
        let number = dice.u8(..4);
        let known: Vec<_> =
            told.orders.iter().filter(|(_, (last, _))| *last != Some(2)).map(|(id, _)| *id).collect();
        let Some(chosen) = dice.choice(known) else { continue };
        if dice.bool() {
            let claims = spool.claim(&lane("a"), 3).await.unwrap().claims;
            let _ = spool
                .settle(claims.into_iter().map(|claim| (claim, again(Duration::ZERO))).collect(), Vec::new())
                .await;
        }
        let done = spool.order(one(chosen), order_number(number)).await;
        let entry = told.orders.get_mut(&chosen).unwrap();
        match done {
            Ok(_) => *entry = (Some(number), Vec::new()),
            Err(_) => entry.1.push(number),
        }
        told.note.1 += 1;
        if let Ok(version) = spool.set_note("note", Some(Bytes::from(format!("{}", told.note.1))), None).await
        {
            told.note.0 = version;
        }
    }
    told
}

async fn audit_steering(told: &Told, spool: &Embedded) -> Vec<String> {
    let found = listed(spool).await;
    let mut complaints = Vec::new();
    let fits = |order: Option<u8>, listed: Option<&Listed>| match (order, listed) {
        (Some(2), listed) => listed.is_none(),
        (Some(0), Some(listed)) => listed.state == PostState::Held,
        (Some(3), Some(listed)) => listed.post.destination.host == "b",
        (_, listed) => listed.is_some_and(|listed| listed.state != PostState::Held),
    };
    for (id, (last, unanswered)) in &told.orders {
        let listed = found.get(id);
        // A rerouted post stays so, whatever else is ordered.
        if !fits(*last, listed) && !unanswered.iter().any(|order| fits(Some(*order), listed)) {
            complaints.push(format!("{id}: after {last:?} and {unanswered:?} it is {listed:?}"));
        }
    }
    let version = spool.note("note").await.unwrap().map_or(0, |noted| noted.version);
    if version < told.note.0 || version > told.note.1 {
        complaints.push(format!("version {version} of a note, {:?} were answered and tried", told.note));
    }
    complaints
}

async fn steer_through_power_cuts(sync: Sync, seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for seed in seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(sync);
        let spool = open(&disk, small(directory.path()));
        spool.recovered().await;
        disk.fail(Fault::From(disk.calls() + dice.u64(1..300)));
        let told = steer(&spool, &mut dice).await;
        drop(spool);
        let after = disk.after_power_cut(&mut dice);
        match Embedded::open_on(Arc::new(after), small(directory.path())) {
            Ok(spool) => {
                let found = audit_steering(&told, &spool).await;
                complaints.extend(found.into_iter().map(|text| format!("seed {seed}: {text}")));
            }
            Err(error) => complaints.push(format!("seed {seed}: {error}")),
        }
    }
    complaints
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_undoes_no_order_and_no_note() {
    let complaints = steer_through_power_cuts(Sync::Honest, 0..100).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_cut_test_of_orders_notices_a_disk_that_lies() {
    let complaints = steer_through_power_cuts(Sync::Lying, 0..20).await;
    for what in ["after Some", "of a note"] {
        assert!(complaints.iter().any(|text| text.contains(what)), "{complaints:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_call_undoes_no_order_and_no_note() {
    for call in 1..150 {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let directory = tempfile::tempdir().unwrap();
            let disk = SimDisk::new(Sync::Honest);
            let spool = open(&disk, small(directory.path()));
            disk.fail(Fault::Once(disk.calls() + call, kind));
            let told = steer(&spool, &mut fastrand::Rng::with_seed(call)).await;
            let mut complaints = audit_steering(&told, &spool).await;
            disk.mend();
            drop(spool);
            let spool = open(&disk, small(directory.path()));
            complaints.extend(audit_steering(&told, &spool).await);
            assert!(complaints.is_empty(), "call {call}, {kind:?}: {}", complaints.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_notes_and_lets_posts_be_steered() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let options = Options { reserve: Reserve { octets: 1, percent: 0 }, ..small(directory.path()) };
    let spool = open(&disk, options.clone());
    for id in 1..=10 {
        spool.commit(message(id, &["a"], &body(id, 600))).await.unwrap();
    }
    assert_eq!(spool.set_note("n", Some(Bytes::from("old")), None).await, Ok(1));
    wait_for_reserve(&disk).await;
    disk.fill(true);
    assert_eq!(spool.set_note("n", Some(Bytes::from("new")), None).await, Err(SpoolError::Full));
    assert_eq!(spool.note("n").await.unwrap().unwrap().value, "old");
    assert_eq!(spool.order(Query::default(), Order::Hold).await, Ok(10));
    assert_eq!(spool.order(one(3), Order::Delete).await, Ok(1));
    let disk = disk.after_kill();
    let spool = open(&disk, options);
    assert_eq!(spool.note("n").await.unwrap().unwrap().value, "old");
    assert!(listed(&spool).await.values().all(|listed| listed.state == PostState::Held));
    disk.fill(false);
    assert_eq!(spool.set_note("n", Some(Bytes::from("new")), Some(1)).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_notes_are_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = open(&disk, small(directory.path()));
    spool.set_note("n", Some(Bytes::from("x")), None).await.unwrap();
    close(spool);
    disk.damage("notes", |octets| octets[14] ^= 1);
    let spool = open(&disk, small(directory.path()));
    assert_eq!(spool.note("n").await, Ok(None));
    assert!(disk.names().contains(&"damaged-notes".to_owned()));
    assert_eq!(spool.set_note("n", Some(Bytes::from("y")), Some(0)).await, Ok(1));
    close(spool);
    assert_eq!(open(&disk, small(directory.path())).note("n").await.unwrap().unwrap().value, "y");
}

/// A disk with the log that a version with this format left when it was killed.
fn old_log(format: &str) -> SimDisk {
    use postgate::spool::disk::Disk;
    let disk = SimDisk::new(Sync::Honest);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spool").join(format);
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        disk.create(&name, 0).unwrap();
        disk.damage(&name, |file| *file = std::fs::read(entry.path()).unwrap());
    }
    disk
}

fn old_lane(host: &str) -> Arc<Destination> {
    Arc::new(Destination {
        tenant: Tenant::new("t"),
        scheme: Scheme::Https,
        host: host.to_owned(),
        port: 443,
        webhook: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_of_format_1_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = old_log("v1");
    for start in 0..3 {
        let spool = open(&disk, small(directory.path()));
        let page = spool.page(Query::default(), None, 100).await.unwrap();
        let found: Vec<_> = page
            .iter()
            .rev()
            .map(|listed| {
                let host = listed.post.destination.host.as_str();
                (listed.post.id.to_string(), host, listed.state, listed.ended)
            })
            .collect();
        use PostState::{Deferred, Failed, Queued};
        let expected = [
            ("0000000000000001", "waiting", Queued, 0),
            ("0000000000000002", "deferred", Deferred, 2),
            ("0000000000000003", "later", Queued, 0),
            ("0000000000000004", "dead", Failed, 1),
            ("0000000000000005-2", "waiting", Queued, 0),
            ("0000000000000005-3", "deferred", Deferred, 2),
            ("0000000000000006", "deferred", Deferred, 1),
        ];
        let expected: Vec<_> =
            expected.map(|(id, host, state, ended)| (id.to_owned(), host, state, ended)).into();
        assert_eq!(found, expected, "start {start}");
        assert_eq!(spool.damages(), 0);
        for listed in &page {
            let number = listed.post.id.message.0;
            let body = ["", "one", "two", "three", "four", "five", "six"][number as usize];
            assert_eq!(spool.content(listed.post.id).await.unwrap().body, body);
            assert_eq!(listed.post.tags, [format!("tag {number}")]);
            assert_eq!(listed.post.idempotency_key.is_some(), number % 2 == 0);
        }
        assert_eq!(reasons(&spool.attempts(id(6)).await.unwrap()), ["500"]);
        let key = Some("repeated".to_owned());
        let repeat =
            Admission { idempotency_key: key, tenant: Tenant::new("t"), ..message(900, &["a"], b"x") };
        let _ = spool.commit(repeat).await.unwrap();
        spool.order(Query { id: Some(id(900)), ..Query::default() }, Order::Delete).await.unwrap();
        if start == 1 {
            // It goes on, in records of both formats.
            let claims = spool.claim(&old_lane("deferred"), 9).await.unwrap().claims;
            let ages: BTreeMap<PostId, u64> =
                claims.iter().map(|claim| (claim.post.id, claim.ages_from.0)).collect();
            assert_eq!(ages[&id(6)], 1_700_000_000_006);
            assert_eq!(claims.len(), 3);
            assert!(claims.iter().all(|claim| claim.attempt == claim.ended + 1));
            settle_all(&spool, claims, &Settlement::Back).await;
            close(spool);
        } else {
            disk = disk.after_kill();
        }
    }
}

/// What the formats before the fifth held: state, ended attempts, where to, reasons.
fn before_events() -> BTreeMap<String, (PostState, u32, &'static str, Vec<&'static str>)> {
    use PostState::{Deferred, Failed, Held, Queued};
    let rows = [
        ("0000000000000001-2", Deferred, 1, "https://full/1", vec!["503"]),
        ("0000000000000001-3", Queued, 0, "https://full/1", vec![]),
        ("0000000000000002", Deferred, 3, "http://a/2", vec!["503", "503", "503"]),
        ("0000000000000003", Failed, 3, "http://a/3", vec!["503", "503", "404"]),
        ("0000000000000004", Held, 3, "http://a/4", vec!["503", "503", "451"]),
        ("0000000000000005", Queued, 0, "http://a/5", vec!["503", "503", "405"]),
        ("0000000000000006", Deferred, 2, "http://b/elsewhere?x=1", vec!["503", "503"]),
        ("0000000000000007", Queued, 0, "http://line/7", vec![]),
        ("0000000000000008", Queued, 0, "http://line/8", vec![]),
        ("0000000000000009", Deferred, 1, "http://a/9", vec!["503"]),
        ("000000000000000a", Held, 0, "http://c/10", vec![]),
    ];
    rows.into_iter().map(|(id, state, ended, to, why)| (id.to_owned(), (state, ended, to, why))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spools_of_formats_2_to_4_lose_nothing() {
    for format in ["v2", "v3", "v4"] {
        loses_nothing(format).await;
    }
}

async fn loses_nothing(format: &str) {
    let directory = tempfile::tempdir().unwrap();
    let century = 100 * 365 * 24 * HOUR;
    let options = Options { retain_failed: century, retain_held: century, ..small(directory.path()) };
    let mut disk = old_log(format);
    for start in 0..3 {
        let spool = open(&disk, options.clone());
        let page = spool.page(Query::default(), None, 100).await.unwrap();
        let mut expected = before_events();
        for Listed { post, state, ended, .. } in &page {
            let (attempts, content) = (spool.attempts(post.id).await.unwrap(), spool.content(post.id).await);
            let found = (*state, *ended, format!("{}{}", post.destination, post.path), reasons(&attempts));
            let (state, ended, to, why) = expected.remove(&post.id.to_string()).expect("it had ended");
            assert_eq!(found, (state, ended, to.to_owned(), why), "{} at start {start}", post.id);
            let number = post.id.message.0 as usize;
            let body = ["", "one", "two", "three", "four", "five", "six", "x", "x", "nine", "ten"][number];
            assert_eq!(content.unwrap().body, body);
            let is_full = number == 1;
            assert_eq!(post.trust == Trust::Operator, is_full);
            assert_eq!(post.sign_with.as_deref() == Some("main") && post.trace.is_some(), is_full);
            assert_eq!(post.notice.original_recipient.as_deref() == Some("rfc822;x"), is_full);
        }
        assert!(
            expected.is_empty() && spool.damages() == 0,
            "{format}, start {start}: {expected:?} are lost"
        );
        assert_eq!(spool.note("n").await.unwrap().unwrap().value, "note");
        if format == "v4" {
            let (_, events) = spool.events(Mark::default()).await.unwrap();
            let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
            assert_eq!(names, ["post.received", "post.deferred"].repeat(2), "start {start}");
        }
        // The line is kept, and what was done before counts.
        let line = claim_all(&spool, "line").await;
        assert_eq!(line.iter().map(|claim| claim.post.id).collect::<Vec<_>>(), [id(7)]);
        settle_all(&spool, line, &Settlement::Back).await;
        let due: Vec<_> = claim_all(&spool, "a").await;
        let numbers: Vec<_> = due.iter().map(|claim| (claim.post.id.message.0, claim.attempt)).collect();
        assert_eq!(BTreeMap::from_iter(numbers), BTreeMap::from([(2, 4), (5, 4), (9, 2)]));
        settle_all(&spool, due, &Settlement::Back).await;
        if start == 1 {
            close(spool);
        } else {
            disk = disk.after_kill();
        }
    }
}

#[test]
fn a_spool_of_a_later_version_is_refused() {
    let seal = |octets: &mut Vec<u8>, at: usize| {
        octets[at + 5] = 7;
        let meta = u32::from_le_bytes(octets[at + 8..at + 12].try_into().unwrap()) as usize;
        let head = crc32c::crc32c_append(crc32c::crc32c(&octets[8..16]), &octets[at..at + 16]);
        let sum = crc32c::crc32c_append(head, &octets[at + 24..at + 24 + meta]);
        octets[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
    };
    // The first record of a segment, and one within the last.
    for is_first in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(Sync::Honest);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let spool = open(&disk, small(directory.path()));
        for id in 1..=60 {
            runtime.block_on(spool.commit(message(id, &["a"], &body(id, 3000)))).unwrap();
        }
        close(spool);
        let names = segments(&disk);
        let name = if is_first { &names[1] } else { names.last().unwrap() };
        disk.damage(name, |octets| {
            let magic = 0x7067_7231_u32.to_le_bytes();
            let mut records = (64..octets.len()).step_by(8).filter(|at| octets[*at..].starts_with(&magic));
            let at = if is_first { records.next() } else { records.next_back() };
            seal(octets, at.unwrap());
        });
        let before = disk.names();
        let Err(error) = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())) else {
            panic!("opened")
        };
        assert!(error.to_string().contains("format 7, written by a newer version"), "{error}");
        assert_eq!(disk.names(), before, "it was changed all the same");
    }
}
