//! The spool: one conformance suite for every backend, and for the embedded one
//! everything a disk can do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

#[path = "spool/postgres.rs"]
mod database;
#[path = "spool/durable.rs"]
mod durable;
#[path = "spool/events.rs"]
mod events;
#[path = "spool/model.rs"]
mod model;
#[path = "spool/sealing.rs"]
mod sealed;
#[path = "spool/space.rs"]
mod space;
#[path = "spool/standby.rs"]
mod standby;
#[path = "spool/steering.rs"]
mod steering;

use bytes::Bytes;
use events::*;
use postgate::event::Mark;
use postgate::post::{
    Admission, Blob, Destination, Field, Fingerprint, MessageId, Post, PostId, Scheme, Timestamp, Trust,
};
use postgate::spool::disk::Reserve;
use postgate::spool::embedded::{Embedded, OpenError, Options};
use postgate::spool::{Attempt, Claim, Committed, Earlier, Health, Settlement, Spool, SpoolError};
use postgate::tenant::Tenant;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use steering::*;
use support::DEADLINE;
use support::sim_disk::{Fault, SimDisk, Sync};

fn lane(host: &str) -> Arc<Destination> {
    let destination = Destination {
        tenant: Tenant::default(),
        scheme: Scheme::Http,
        host: host.to_owned(),
        port: 80,
        webhook: None,
    };
    Arc::new(destination)
}

/// A message with one post a host, whose body is `body`.
fn message(id: u64, hosts: &[&str], body: &[u8]) -> Admission {
    let raw = Bytes::from([b"Subject: x\r\n\r\n", body].concat());
    let post = |(at, host): (usize, &&str)| Post {
        id: PostId { message: MessageId(id), number: if hosts.len() == 1 { 0 } else { at as u16 + 1 } },
        accepted_at: Timestamp(1),
        destination: lane(host),
        method: "POST".to_owned(),
        path: format!("/{id}"),
        headers: vec![Field { name: "Content-Type".to_owned(), value: b"text/plain".to_vec() }],
        body: Blob { number: 0, start: 14, length: body.len() as u32 },
        idempotency_key: None,
        sender: String::new(),
        recipient: "post@x".to_owned(),
        not_before_at: None,
        expires_at: None,
        priority: 5,
        tags: Vec::new(),
        xs_message_id: None,
        xs_mailing_id: None,
        ordering_key: None,
        sign_with: None,
        auth: None,
        trace: None,
        notice: postgate::post::Notice::default(),
        trust: Trust::Wire,
        has_links: false,
        lean_body: None,
        batch: None,
        sealed: postgate::post::Sealed::default(),
    };
    Admission {
        message: MessageId(id),
        tenant: Tenant::default(),
        idempotency_key: None,
        fingerprint: None,
        posts: hosts.iter().enumerate().map(post).collect(),
        blobs: vec![raw],
        events: Vec::new(),
        has_secrets: false,
    }
}

/// What a message asked for that says so with this number.
fn asked(number: u8) -> Option<Fingerprint> {
    Some(Fingerprint([number; Fingerprint::LENGTH]))
}

/// The answer when the key of this message, of so many posts, comes again.
fn repeated(message: u64, posts: u16, fingerprint: Option<Fingerprint>) -> Committed {
    Committed::Repeated(Earlier { message: MessageId(message), posts, fingerprint })
}

fn again(after: Duration) -> Settlement {
    Settlement::Again { after, last: Attempt::because("503") }
}

async fn claim_all(spool: &dyn Spool, host: &str) -> Vec<Claim> {
    spool.claim(&lane(host), 10_000).await.unwrap().claims
}

async fn settle_all(spool: &dyn Spool, claims: Vec<Claim>, settlement: &Settlement) {
    let done = claims.into_iter().map(|claim| (claim, settlement.clone())).collect();
    spool.settle(done, Vec::new()).await.unwrap();
}

/// Runs the rules of the contract on every backend; `cataloged` is the embedded
/// one with a backlog of more than its memory takes, `sealing` what keeps secrets from it.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod memory_backend {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&*crate::support::memory::MemorySpool::new()).await;
            })*
        }
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let spool = Embedded::open(options(directory.path())).unwrap();
                spool.recovered().await;
                super::$name(&spool).await;
                tokio::task::spawn_blocking(move || spool.close()).await.unwrap().unwrap();
            })*
            use super::*;
        }
        mod sealing {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let opened = super::sealed::sealing(directory.path(), Some(1));
                opened.1.recovered().await;
                super::$name(&opened.0).await;
                super::sealed::closed(opened).await;
            })*
        }
        mod cataloged {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let spool = Embedded::open(on_disk(directory.path())).unwrap();
                spool.recovered().await;
                super::$name(&spool).await;
                tokio::task::spawn_blocking(move || spool.close()).await.unwrap().unwrap();
            })*
            use super::*;
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(database) = crate::support::postgres::database() else { return };
                let spool = crate::database::open(&database).await;
                super::$name(&spool).await;
            })*
        }
    };
}

conformance!(
    a_post_is_claimed_by_one_and_delivered_once,
    all_posts_of_a_message_are_kept,
    a_deferred_post_comes_back_with_the_next_attempt_number,
    a_post_that_was_not_tried_keeps_its_attempt_number,
    an_old_fence_changes_nothing_but_delivery,
    posts_come_by_priority_then_age,
    a_lane_tells_when_its_next_post_is_due,
    lanes_end_with_their_posts,
    a_dead_letter_is_not_claimed,
    a_repeated_commit_makes_no_second_post,
    an_idempotency_key_makes_one_message,
    the_doorbell_names_the_lane,
    dropping_a_commit_does_not_undo_it,
    a_held_post_waits_until_it_is_released_and_does_not_age,
    what_was_never_tried_comes_back_as_it_was,
    those_whose_time_is_over_are_found_however_many_wait,
    every_attempt_can_be_read_back,
    orders_mean_those_in_the_right_state,
    a_retried_post_is_due_at_once_and_rings,
    a_dead_letter_begins_anew,
    an_order_waits_for_an_attempt_under_way,
    a_deleted_post_is_over_also_while_it_is_sent,
    a_rerouted_post_goes_elsewhere,
    pages_list_the_newest_first,
    counts_are_those_of_each_lane,
    the_message_of_a_post_can_be_read,
    notes_are_compared_and_set,
    posts_of_a_line_go_one_by_one,
    a_rerouted_post_changes_its_line,
    a_delivered_post_with_links_can_be_looked_at_and_nothing_else,
    a_lean_body_is_sent_from_the_moment_it_is_wanted,
    of_two_verdicts_on_an_attempt_the_first_stands,
    what_was_refused_to_its_sender_leaves_nothing,
    events_come_once_and_in_order,
    what_changes_nothing_tells_nothing,
);

fn options(directory: &Path) -> Options {
    Options {
        segment: 1 << 20,
        reserve: Reserve { octets: 0, percent: 0 },
        ..Options::at(directory.join("spool"))
    }
}

/// Nothing is indexed in memory.
fn on_disk(directory: &Path) -> Options {
    Options { indexed_in_memory: 0, ..options(directory) }
}

async fn a_post_is_claimed_by_one_and_delivered_once(spool: &dyn Spool) {
    assert_eq!(spool.commit(message(1, &["a"], b"hello")).await, Ok(Committed::Kept));
    let claims = claim_all(spool, "a").await;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].attempt, claims[0].ended), (1, 0));
    assert_eq!(&*claims[0].post, &message(1, &["a"], b"hello").posts[0]);
    assert_eq!(spool.body(&claims[0]).await.unwrap(), "hello");
    assert!(claim_all(spool, "a").await.is_empty());
    settle_all(spool, claims, &Settlement::Delivered).await;
    assert!(claim_all(spool, "a").await.is_empty());
}

async fn all_posts_of_a_message_are_kept(spool: &dyn Spool) {
    spool.commit(message(1, &["a", "b", "a"], b"x")).await.unwrap();
    let mut ids: Vec<_> = claim_all(spool, "a").await.iter().map(|claim| claim.post.id.to_string()).collect();
    ids.extend(claim_all(spool, "b").await.iter().map(|claim| claim.post.id.to_string()));
    assert_eq!(ids, ["0000000000000001-1", "0000000000000001-3", "0000000000000001-2"]);
}

async fn a_deferred_post_comes_back_with_the_next_attempt_number(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    for attempt in 1..5 {
        let claims = claim_all(spool, "a").await;
        assert_eq!((claims[0].attempt, claims[0].ended), (attempt, attempt - 1));
        assert_eq!(spool.body(&claims[0]).await.unwrap(), "x");
        settle_all(spool, claims, &again(Duration::ZERO)).await;
    }
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &again(Duration::from_secs(60))).await;
    assert!(claim_all(spool, "a").await.is_empty());
}

async fn a_post_that_was_not_tried_keeps_its_attempt_number(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    for (attempt, settlement) in [
        (1, Settlement::Back),
        (1, again(Duration::ZERO)),
        (2, Settlement::Back),
        (2, Settlement::Back),
        (2, again(Duration::ZERO)),
    ] {
        let claims = claim_all(spool, "a").await;
        assert_eq!((claims[0].attempt, claims[0].ended), (attempt, attempt - 1));
        settle_all(spool, claims, &settlement).await;
    }
    let claims = claim_all(spool, "a").await;
    assert_eq!(claims[0].attempt, 3);
}

async fn an_old_fence_changes_nothing_but_delivery(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let old = claim_all(spool, "a").await;
    settle_all(spool, old.clone(), &again(Duration::ZERO)).await;
    let new = claim_all(spool, "a").await;
    settle_all(spool, old.clone(), &Settlement::Failed { last: Attempt::because("late") }).await;
    assert_eq!(spool.body(&new[0]).await.unwrap(), "x");
    settle_all(spool, new, &again(Duration::ZERO)).await;
    settle_all(spool, old, &Settlement::Delivered).await;
    assert!(claim_all(spool, "a").await.is_empty());
}

async fn posts_come_by_priority_then_age(spool: &dyn Spool) {
    for (id, priority) in [(1, 9), (2, 5), (3, 0), (4, 5)] {
        let mut admission = message(id, &["a"], b"x");
        admission.posts[0].priority = priority;
        spool.commit(admission).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        let claimed = spool.claim(&lane("a"), 1).await.unwrap();
        order.extend(claimed.claims.iter().map(|claim| claim.post.id.message.0));
    }
    assert_eq!(order, [3, 2, 4, 1]);
}

async fn a_lane_tells_when_its_next_post_is_due(spool: &dyn Spool) {
    assert_eq!(spool.claim(&lane("a"), 1).await.unwrap().next, None);
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    spool.commit(message(2, &["a"], b"x")).await.unwrap();
    let claimed = spool.claim(&lane("a"), 1).await.unwrap();
    assert_eq!(claimed.next, Some(Duration::ZERO));
    settle_all(spool, claimed.claims, &again(Duration::from_secs(600))).await;
    let claimed = spool.claim(&lane("a"), 1).await.unwrap();
    let next = claimed.next.unwrap();
    assert!(next > Duration::from_secs(590) && next <= Duration::from_secs(600), "{next:?}");
    assert_eq!(spool.lanes().await.unwrap().len(), 1);
}

async fn lanes_end_with_their_posts(spool: &dyn Spool) {
    spool.commit(message(1, &["a", "b"], b"x")).await.unwrap();
    assert_eq!(spool.lanes().await.unwrap().len(), 2);
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &Settlement::Delivered).await;
    let lanes: Vec<_> = spool.lanes().await.unwrap().into_iter().map(|(lane, _)| lane.host.clone()).collect();
    assert_eq!(lanes, ["b"]);
}

async fn a_dead_letter_is_not_claimed(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &Settlement::Failed { last: Attempt::because("404") }).await;
    let claimed = spool.claim(&lane("a"), 1).await.unwrap();
    assert!(claimed.claims.is_empty() && claimed.next.is_none());
    assert!(spool.lanes().await.unwrap().is_empty());
}

async fn a_repeated_commit_makes_no_second_post(spool: &dyn Spool) {
    for _ in 0..2 {
        assert_eq!(spool.commit(message(7, &["a"], b"x")).await, Ok(Committed::Kept));
    }
    assert_eq!(claim_all(spool, "a").await.len(), 1);
}

async fn an_idempotency_key_makes_one_message(spool: &dyn Spool) {
    let keyed = |id, key: &str, tenant: &str| Admission {
        idempotency_key: Some(key.to_owned()),
        tenant: Tenant::new(tenant),
        fingerprint: asked(id as u8),
        ..message(id, &["a"], b"x")
    };
    let (one, two) = tokio::join!(spool.commit(keyed(1, "k", "t")), spool.commit(keyed(2, "k", "t")));
    let kept = if one == Ok(Committed::Kept) { 1 } else { 2 };
    let mut answers = [one.unwrap(), two.unwrap()];
    answers.sort_by_key(|answer| *answer != Committed::Kept);
    let earlier = repeated(kept, 1, asked(kept as u8));
    assert_eq!(answers, [Committed::Kept, earlier]);
    assert_eq!(spool.commit(keyed(3, "k", "t")).await, Ok(earlier));
    assert_eq!(spool.commit(keyed(4, "k", "other")).await, Ok(Committed::Kept));
    assert_eq!(spool.commit(keyed(5, "other", "t")).await, Ok(Committed::Kept));
    // One without posts has a key as well.
    let empty = |id| Admission { posts: Vec::new(), blobs: Vec::new(), ..keyed(id, "none", "t") };
    assert_eq!(spool.commit(empty(6)).await, Ok(Committed::Kept));
    for repeat in [empty(7), keyed(8, "none", "t")] {
        assert_eq!(spool.commit(repeat).await, Ok(repeated(6, 0, asked(6))));
    }
    assert_eq!(claim_all(spool, "a").await.len(), 3);
}

async fn the_doorbell_names_the_lane(spool: &dyn Spool) {
    let doorbell = spool.doorbell();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let rung = tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
    assert_eq!(rung, [(lane("a"), Duration::ZERO)]);
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &again(Duration::from_secs(60))).await;
    let rung = tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
    assert_eq!(rung[0].0, lane("a"));
    assert!(rung[0].1 > Duration::from_secs(50));
}

async fn dropping_a_commit_does_not_undo_it(spool: &dyn Spool) {
    let doorbell = spool.doorbell();
    drop(spool.commit(message(1, &["a"], b"x")));
    tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
    assert_eq!(claim_all(spool, "a").await.len(), 1);
}

fn close(spool: Embedded) {
    spool.close().unwrap();
}

/// Claims everything of lane `a` after recovery, with the bodies.
async fn contents(spool: &Embedded) -> BTreeMap<u64, (u32, Bytes)> {
    spool.recovered().await;
    let mut found = BTreeMap::new();
    for claim in claim_all(spool, "a").await {
        if let Ok(body) = spool.body(&claim).await {
            found.insert(claim.post.id.message.0, (claim.attempt, body));
        }
    }
    found
}

fn body(id: u64, octets: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(id);
    (0..octets).map(|_| dice.u8(..)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_survive_an_orderly_and_a_disorderly_end() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Embedded::open(options(directory.path())).unwrap();
    for id in 1..=3 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    let claims = claim_all(&spool, "a").await;
    settle_all(&spool, vec![claims[0].clone()], &Settlement::Delivered).await;
    settle_all(&spool, vec![claims[1].clone()], &again(Duration::ZERO)).await;
    close(spool);
    let spool = Embedded::open(options(directory.path())).unwrap();
    assert_eq!(spool.newest(), MessageId(3));
    let found = contents(&spool).await;
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(found[&2], (2, Bytes::from(body(2, 3000))));
    assert_eq!(found[&3].0, 2, "an attempt was under way when it was closed");
    drop(spool);
    let spool = Embedded::open(options(directory.path())).unwrap();
    let found = contents(&spool).await;
    assert_eq!((found[&2].0, found[&3].0), (2, 2), "nothing was noted of the attempts that were cut short");
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let keyed = |id, key: &str, hosts: &[&str]| Admission {
        idempotency_key: Some(key.to_owned()),
        fingerprint: asked(id as u8),
        ..message(id, hosts, b"x")
    };
    let spool = Embedded::open(options(directory.path())).unwrap();
    spool.commit(keyed(1, "k", &["a", "a"])).await.unwrap();
    let told = vec![event(2, "told")];
    spool.commit(Admission { events: told, ..keyed(2, "none", &[]) }).await.unwrap();
    let claims = claim_all(&spool, "a").await;
    settle_all(&spool, claims, &Settlement::Delivered).await;
    close(spool);
    let spool = Embedded::open(options(directory.path())).unwrap();
    assert_eq!(spool.commit(keyed(3, "k", &["a"])).await, Ok(repeated(1, 2, asked(1))));
    assert_eq!(spool.commit(keyed(4, "none", &["a"])).await, Ok(repeated(2, 0, asked(2))));
    assert_eq!(next(&spool, &mut Mark::default(), 1).await, ["2 told"]);
    close(spool);
}

#[test]
fn a_second_process_is_refused_and_nobody_else_can_look() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let spool = Embedded::open(options(directory.path())).unwrap();
    assert!(matches!(Embedded::open(options(directory.path())), Err(OpenError::InUse(_))));
    close(spool);
    let mut looked_at = 0;
    for entry in walk(&path) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert!(mode & 0o077 == 0, "{} has mode {mode:o}", entry.display());
        looked_at += 1;
    }
    assert!(looked_at > 3);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let Err(OpenError::Io(_, error)) = Embedded::open(options(directory.path())) else { panic!("opened") };
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            found.extend(walk(&entry.unwrap().path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_of_rubbish_is_replaced_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Embedded::open(on_disk(directory.path())).unwrap();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(&spool, "a").await;
    settle_all(&spool, claims, &again(Duration::ZERO)).await;
    close(spool);
    for file in walk(&directory.path().join("spool/catalog")).iter().filter(|path| path.is_file()) {
        std::fs::write(file, [0x5a; 4000]).unwrap();
    }
    let spool = Embedded::open(on_disk(directory.path())).unwrap();
    assert_eq!(contents(&spool).await[&1], (2, Bytes::from("x")));
    close(spool);
    std::fs::remove_dir_all(directory.path().join("spool/catalog")).unwrap();
    std::fs::write(directory.path().join("spool/catalog"), "not even a directory").unwrap();
    let spool = Embedded::open(on_disk(directory.path())).unwrap();
    assert_eq!(contents(&spool).await.len(), 1);
    close(spool);
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn small(directory: &Path) -> Options {
    Options { segment: 64 << 10, ..options(directory) }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_used_again_and_stragglers_move_on() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    let mut straggler = message(1, &["late"], b"straggler");
    (straggler.idempotency_key, straggler.fingerprint) = (Some("k".to_owned()), asked(1));
    spool.commit(straggler).await.unwrap();
    let claims = claim_all(&spool, "late").await;
    settle_all(&spool, claims, &again(Duration::ZERO)).await;
    let mut id = 1;
    let first = segments(&disk)[0].clone();
    tokio::time::timeout(DEADLINE, async {
        while segments(&disk).contains(&first) {
            id += 1;
            spool.commit(message(id, &["a"], &body(id, 4000))).await.unwrap();
            let claims = claim_all(&spool, "a").await;
            settle_all(&spool, claims, &Settlement::Delivered).await;
        }
    })
    .await
    .expect("the first segment is given up although a post in it lives");
    assert!(segments(&disk).len() < 30, "{:?}", segments(&disk));
    close(spool);
    let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
    spool.recovered().await;
    let claims = claim_all(&spool, "late").await;
    assert_eq!((claims.len(), claims[0].attempt), (1, 2));
    assert_eq!(spool.body(&claims[0]).await.unwrap(), "straggler");
    let repeat = Admission { idempotency_key: Some("k".to_owned()), ..message(id + 1, &["a"], b"x") };
    assert_eq!(spool.commit(repeat).await, Ok(repeated(1, 1, asked(1))));
    assert!(claim_all(&spool, "a").await.is_empty(), "a delivered post came back");
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_a_segment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    spool.commit(message(1, &["a"], &body(1, 300_000))).await.unwrap();
    spool.commit(message(2, &["a"], &body(2, 300))).await.unwrap();
    close(spool);
    let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
    let found = contents(&spool).await;
    assert_eq!((&found[&1].1[..], &found[&2].1[..]), (&body(1, 300_000)[..], &body(2, 300)[..]));
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_costs_what_was_hit_and_is_announced() {
    for seed in 0..40 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(Sync::Honest);
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        for id in 1..=60 {
            spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
        }
        close(spool);
        let names = segments(&disk);
        let name = names[dice.usize(..names.len())].clone();
        disk.damage(&name, |octets| {
            let at = dice.usize(64..octets.len() / 2);
            octets[at..at + 16].copy_from_slice(&[0xff; 16]);
        });
        let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
        let found = contents(&spool).await;
        assert!(found.len() >= 58, "seed {seed}: {} of 60 left", found.len());
        assert!(found.len() == 60 || spool.damages() > 0, "seed {seed}: a silent loss");
        for (id, (_, octets)) in &found {
            assert_eq!(octets, &body(*id, 3000), "seed {seed}: a wrong body");
        }
        drop(spool);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_post_whose_message_is_gone_is_counted() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
    let open = || Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    let spool = open();
    for id in 1..=3 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    close(spool);
    let spool = open();
    spool.recovered().await;
    let claims = claim_all(&spool, "a").await;
    assert_eq!(claims.len(), 3);
    settle_all(&spool, claims, &again(Duration::ZERO)).await;
    close(spool);
    disk.remove_file(&segments(&disk)[0]);
    let spool = open();
    spool.recovered().await;
    assert_eq!(spool.damages(), 3);
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_segment_header_or_file_costs_no_other_post() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    for id in 1..=60 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    close(spool);
    let names = segments(&disk);
    assert!(names.len() >= 4, "{names:?}");
    disk.damage(&names[1], |octets| octets[..64].fill(0));
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    assert_eq!(contents(&spool).await.len(), 60);
    close(spool);
    disk.remove_file(&names[2]);
    let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
    let left = contents(&spool).await.len();
    assert!((25..60).contains(&left), "{left}");
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_holds_is_no_record_where_a_header_and_the_record_behind_it_are_lost() {
    // Whoever sends it may know the format, and guess the segment's number: not its salt.
    let foreign = {
        let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        spool.commit(message(777, &["forged"], b"x")).await.unwrap();
        close(spool);
        let mut octets = Vec::new();
        disk.damage(&segments(&disk)[0], |segment| octets.extend_from_slice(&segment[64..1024]));
        octets
    };
    // At a multiple of eight octets, wherever it begins.
    let mut letter = Vec::new();
    for shift in 0..8 {
        letter.resize(letter.len().next_multiple_of(8) + shift, 0);
        letter.extend_from_slice(&foreign);
    }
    let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    spool.commit(message(1, &["a"], &letter)).await.unwrap();
    for id in 2..=60 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    close(spool);
    disk.damage(&segments(&disk)[0], |octets| octets[..100].fill(0));
    let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
    assert_eq!(contents(&spool).await.len(), 59);
    assert!(claim_all(&spool, "forged").await.is_empty());
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_post_is_read_puts_it_off() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    for id in 1..=2 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    close(spool);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    spool.recovered().await;
    disk.fail(Fault::Mine);
    assert_eq!(claim_all(&spool, "a").await.len(), 1);
    let mut late = Vec::new();
    support::within_deadline("the other post", async {
        while late.is_empty() {
            late = claim_all(&spool, "a").await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(late[0].attempt, 2);
}

#[tokio::test]
async fn a_disk_without_room_refuses_from_the_first_post_on() {
    let directory = tempfile::tempdir().unwrap();
    let reserve = Reserve { octets: u64::MAX, percent: 0 };
    let disk = Arc::new(SimDisk::new(Sync::Honest));
    let spool = Embedded::open_on(disk, Options { reserve, ..small(directory.path()) }).unwrap();
    assert_eq!(*spool.health().borrow(), Health::Full);
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_posts_settles_others_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    let mut health = spool.health();
    wait_for_reserve(&disk).await;
    for id in 1..=10 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    disk.fill(true);
    let mut id = 10;
    while spool.commit(message(id + 1, &["a"], &body(id, 3000))).await.is_ok() {
        id += 1;
        assert!(id < 1000, "the full disk was never noticed");
    }
    health.wait_for(|health| *health == Health::Full).await.unwrap();
    assert_eq!(spool.commit(message(5000, &["a"], b"x")).await, Err(SpoolError::Full));
    let claims = claim_all(&spool, "a").await;
    assert_eq!(claims.len() as u64, id);
    for claim in claims {
        settle_all(&spool, vec![claim], &again(Duration::ZERO)).await;
    }
    disk.fill(false);
    health.wait_for(|health| *health == Health::Open).await.unwrap();
    assert_eq!(spool.commit(message(6000, &["a"], b"x")).await, Ok(Committed::Kept));
    assert_eq!(contents(&spool).await.len() as u64, id + 1);
    close(spool);
}

async fn wait_for_reserve(disk: &SimDisk) {
    tokio::time::timeout(DEADLINE, async {
        while !disk.names().iter().any(|name| name == "reserve") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("no reserve is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { reserve: Reserve { octets: 1, percent: 0 }, ..small(directory.path()) };
    let mut disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
    for id in 1..=10 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    wait_for_reserve(&disk).await;
    disk.fill(true);
    close(spool);
    let mut attempts = 0;
    for start in 1..=10 {
        let spool = Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
        assert_eq!(*spool.health().borrow(), Health::Full, "start {start}");
        assert_eq!(spool.commit(message(100 + start, &["a"], b"x")).await, Err(SpoolError::Full));
        spool.recovered().await;
        let claims = claim_all(&spool, "a").await;
        assert_eq!(claims.len() as u64, 11 - start, "start {start}: a delivered post is back, or one lost");
        let last = claims.iter().find(|claim| claim.post.id.message == MessageId(10)).unwrap().clone();
        assert!(last.attempt > attempts, "start {start}: attempt {} was made before", last.attempt);
        attempts = last.attempt;
        let first = claims.into_iter().find(|claim| claim.post.id.message == MessageId(start)).unwrap();
        assert_eq!(spool.body(&first).await.unwrap(), body(start, 3000));
        settle_all(&spool, vec![first], &Settlement::Delivered).await;
        if start % 4 < 2 && start < 10 {
            settle_all(&spool, vec![last], &again(Duration::ZERO)).await;
        }
        if start % 4 == 1 {
            disk = disk.after_kill();
        } else {
            close(spool);
        }
    }
    let spool = Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
    assert!(contents(&spool).await.is_empty());
    disk.fill(false);
    spool.health().wait_for(|health| *health == Health::Open).await.unwrap();
    assert_eq!(spool.commit(message(200, &["a"], b"x")).await, Ok(Committed::Kept));
    wait_for_reserve(&disk).await;
    close(spool);
    let spool = Embedded::open_on(Arc::new(disk), options.clone()).unwrap();
    assert_eq!(contents(&spool).await.keys().copied().collect::<Vec<_>>(), [200]);
    close(spool);
}

/// What a client of a spool knows when it all ends.
#[derive(Default, Debug)]
struct Ledger {
    kept: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
}

/// Commits and settles until the messages are through; the disk may fail meanwhile.
async fn work(spool: &Embedded, ids: std::ops::Range<u64>, seed: u64) -> Ledger {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut ledger = Ledger::default();
    let mut id = ids.start;
    while id < ids.end {
        let batch: Vec<u64> = (0..dice.u64(1..6))
            .map(|_| {
                id += 1;
                id
            })
            .collect();
        let commits: Vec<_> =
            batch.iter().map(|id| spool.commit(message(*id, &["a", "a"], &body(*id, 600)))).collect();
        for (id, commit) in batch.iter().zip(commits) {
            match commit.await {
                Ok(_) => ledger.kept.insert(*id),
                Err(_) => ledger.refused.insert(*id),
            };
        }
        let claimed = spool.claim(&lane("a"), dice.usize(1..8)).await;
        for claim in claimed.map(|claimed| claimed.claims).unwrap_or_default() {
            let id = claim.post.id.message.0;
            if dice.bool() {
                let _ = spool.settle(vec![(claim, again(Duration::ZERO))], Vec::new()).await;
            } else {
                let _ = spool.settle(vec![(claim, Settlement::Delivered)], Vec::new()).await;
                ledger.delivered.insert(id);
            }
        }
    }
    ledger
}

/// Compares a ledger with what a reopened spool holds; the complaints.
async fn audit(ledger: &Ledger, spool: &Embedded) -> Vec<String> {
    spool.recovered().await;
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    let mut complaints = Vec::new();
    let mut claims = claim_all(spool, "a").await;
    // What could not be read for a moment is due a little later.
    while let Some(next) = spool.claim(&lane("a"), 0).await.unwrap().next {
        assert!(next < DEADLINE);
        tokio::time::sleep(next).await;
        claims.extend(claim_all(spool, "a").await);
    }
    for claim in claims {
        let id = claim.post.id.message.0;
        *found.entry(id).or_default() += 1;
        match spool.body(&claim).await {
            Ok(octets) if octets == body(id, 600) => {}
            other => complaints.push(format!("{id}: wrong body {other:?}")),
        }
    }
    let untouched = ledger.kept.difference(&ledger.delivered);
    for id in untouched {
        if found.get(id) != Some(&2) {
            complaints.push(format!("{id}: {:?} of 2 posts left, lost", found.get(id)));
        }
    }
    complaints.extend(
        ledger
            .refused
            .iter()
            .filter(|id| found.contains_key(id))
            .map(|id| format!("{id}: refused but there")),
    );
    complaints
}

async fn power_cuts(sync: Sync, seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for seed in seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(sync);
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        disk.fail(Fault::From(disk.calls() + dice.u64(1..120)));
        let mut ledger = work(&spool, 0..40, seed).await;
        // Without power nobody heard a refusal either.
        ledger.refused.clear();
        drop(spool);
        let after = disk.after_power_cut(&mut dice);
        match Embedded::open_on(Arc::new(after), small(directory.path())) {
            Ok(spool) => complaints
                .extend(audit(&ledger, &spool).await.into_iter().map(|text| format!("seed {seed}: {text}"))),
            Err(error) => complaints.push(format!("seed {seed}: {error}")),
        }
    }
    complaints
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing() {
    let complaints = power_cuts(Sync::Honest, 0..200).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_cut_test_notices_a_disk_that_lies() {
    let complaints = power_cuts(Sync::Lying, 0..20).await;
    assert!(complaints.iter().any(|text| text.contains("lost")), "{complaints:?}");
}

/// A full disk at the next start, with nothing on it that was kept for that.
fn fill_up(disk: &SimDisk) {
    disk.remove_file("reserve");
    disk.remove_file("spare");
    disk.fill(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_behind_a_start_on_a_full_disk_loses_nothing() {
    let mut complaints = Vec::new();
    let mut went_on = 0;
    for seed in 0..100 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut disk = SimDisk::new(Sync::Honest);
        let mut ledger = Ledger::default();
        for start in 0..4 {
            let before = segments(&disk);
            let spool = match Embedded::open_on(Arc::new(disk.clone()), small(directory.path())) {
                Ok(spool) => spool,
                Err(error) => panic!("seed {seed}, start {start}: {error}"),
            };
            went_on += u64::from(start > 0 && segments(&disk) == before);
            disk.fill(false);
            spool.recovered().await;
            disk.fail(Fault::From(disk.calls() + dice.u64(1..80)));
            let done = work(&spool, start * 100..start * 100 + 30, seed + start).await;
            ledger.kept.extend(done.kept);
            ledger.delivered.extend(done.delivered);
            drop(spool);
            disk = disk.after_power_cut(&mut dice);
            fill_up(&disk);
        }
        disk.fill(false);
        let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
        complaints
            .extend(audit(&ledger, &spool).await.into_iter().map(|text| format!("seed {seed}: {text}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(went_on > 200, "only {went_on} of 300 starts went on in an old segment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_call_of_a_start_on_a_full_disk_loses_nothing() {
    for call in 1..40 {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let directory = tempfile::tempdir().unwrap();
            let disk = SimDisk::new(Sync::Honest);
            let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
            let mut ledger = work(&spool, 0..10, call).await;
            let disk = disk.after_kill();
            fill_up(&disk);
            disk.fail(Fault::Once(disk.calls() + call, kind));
            if let Ok(spool) = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())) {
                disk.fill(false);
                let done = work(&spool, 100..110, call).await;
                ledger.kept.extend(done.kept);
                ledger.refused.extend(done.refused);
                ledger.delivered.extend(done.delivered);
            }
            let disk = disk.after_kill();
            fill_up(&disk);
            let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
            let complaints = audit(&ledger, &spool).await;
            assert!(complaints.is_empty(), "call {call}, {kind:?}: {}", complaints.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_on_a_full_disk_count_no_attempts() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let mut attempts = vec![claim_all(&spool, "a").await[0].attempt];
    for _ in 0..5 {
        disk = disk.after_kill();
        fill_up(&disk);
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        spool.recovered().await;
        attempts.push(claim_all(&spool, "a").await[0].attempt);
    }
    assert_eq!(attempts, [1; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_failed_is_not_written_again_for_want_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let options = Options { reserve: Reserve { octets: 1, percent: 0 }, ..small(directory.path()) };
    let spool = Embedded::open_on(Arc::new(disk.clone()), options).unwrap();
    spool.recovered().await;
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    wait_for_reserve(&disk).await;
    fill_up(&disk);
    let mut health = spool.health();
    health.wait_for(|health| *health == Health::Full).await.unwrap();
    let claims = claim_all(&spool, "a").await;
    let settle = || spool.settle(vec![(claims[0].clone(), again(Duration::ZERO))], Vec::new());
    disk.fail(Fault::Once(disk.calls() + 1, ErrorKind::Other));
    assert!(matches!(settle().await, Err(SpoolError::Failed(_))));
    assert_eq!(settle().await, Err(SpoolError::Full));
    disk.fill(false);
    health.wait_for(|health| *health == Health::Open).await.unwrap();
    assert_eq!(settle().await, Ok(()));
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_room_deliveries_make_some() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    for id in 1..=40 {
        spool.commit(message(id, &["a"], &body(id, 3000))).await.unwrap();
    }
    close(spool);
    fill_up(&disk);
    let names = segments(&disk);
    let last = names.last().unwrap();
    // Cut where its records end: there is no room behind them.
    disk.damage(last, |octets| {
        let end = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        octets.truncate(end.next_multiple_of(8));
    });
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    let mut health = spool.health();
    assert_eq!(segments(&disk), names);
    spool.recovered().await;
    let claims = claim_all(&spool, "a").await;
    assert_eq!(claims.len(), 40);
    let (deferred, delivered): (Vec<_>, Vec<_>) =
        claims.into_iter().partition(|claim| claim.post.id.message == MessageId(40));
    for _ in 0..3 {
        let settled = spool.settle(
            deferred.iter().map(|claim| (claim.clone(), again(Duration::ZERO))).collect(),
            Vec::new(),
        );
        assert_eq!(settled.await, Err(SpoolError::Full));
    }
    // The verdict that could not be written stands: a repeat is not noted beside it.
    let other = Settlement::Failed { last: Attempt::because("404") };
    assert_eq!(spool.settle(vec![(deferred[0].clone(), other)], Vec::new()).await, Err(SpoolError::Full));
    settle_all(&spool, delivered, &Settlement::Delivered).await;
    tokio::time::timeout(DEADLINE, async {
        while segments(&disk).len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("segments in which nothing lives are kept on a full disk");
    disk.fill(false);
    health.wait_for(|health| *health == Health::Open).await.unwrap();
    wait_for_reserve(&disk).await;
    let due = tokio::time::timeout(DEADLINE, async {
        loop {
            let claims = claim_all(&spool, "a").await;
            if !claims.is_empty() {
                return claims;
            }
            tokio::task::yield_now().await;
        }
    });
    let due = due.await.expect("a verdict was forgotten");
    assert_eq!((due.len(), due[0].post.id.message, due[0].ended), (1, MessageId(40), 1));
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_call_loses_nothing_and_brings_back_nothing_refused() {
    let mut refusals = 0;
    for call in 1..100 {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let directory = tempfile::tempdir().unwrap();
            let disk = SimDisk::new(Sync::Honest);
            let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
            disk.fail(Fault::Once(disk.calls() + call, kind));
            let ledger = work(&spool, 0..30, call).await;
            refusals += ledger.refused.len();
            disk.mend();
            drop(spool);
            let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
            let complaints = audit(&ledger, &spool).await;
            assert!(complaints.is_empty(), "call {call}, {kind:?}: {}", complaints.join("\n"));
        }
    }
    assert!(refusals > 50, "only {refusals} refusals: the faults hit nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_error_at_start_deletes_no_segment() {
    let mut lost = Vec::new();
    for call in 1..40 {
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(Sync::Honest);
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        for id in 1..=60 {
            spool.commit(message(id, &["a"], &body(id, 4000))).await.unwrap();
        }
        close(spool);
        let before = segments(&disk).len();
        disk.fail(Fault::Once(disk.calls() + call, ErrorKind::Other));
        let Ok(spool) = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())) else { continue };
        spool.recovered().await;
        // The keeper makes a round before it ends.
        let _ = spool.close();
        disk.mend();
        let after = segments(&disk).len();
        let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
        spool.recovered().await;
        let left = claim_all(&spool, "a").await.len();
        if left != 60 {
            lost.push(format!("call {call}: {left} of 60 posts left; segments {before} -> {after}"));
        }
        drop(spool);
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_post_that_was_delivered_stays_away() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    spool.commit(message(1, &["late"], b"straggler")).await.unwrap();
    spool.commit(message(2, &["stuck"], b"stuckbody")).await.unwrap();
    for host in ["late", "stuck"] {
        let claims = claim_all(&spool, host).await;
        settle_all(&spool, claims, &again(Duration::ZERO)).await;
    }
    let first = segments(&disk)[0].clone();
    disk.damage(&first, |octets| {
        let at = octets.windows(9).position(|w| w == b"stuckbody").unwrap();
        octets[at] ^= 1;
    });
    for id in 3..300 {
        spool.commit(message(id, &["a"], &body(id, 4000))).await.unwrap();
        let claims = claim_all(&spool, "a").await;
        settle_all(&spool, claims, &Settlement::Delivered).await;
    }
    let calls = disk.calls();
    tokio::time::timeout(DEADLINE, async {
        // The keeper reads the oldest segment again and again.
        while disk.calls() < calls + 50 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    let claims = claim_all(&spool, "late").await;
    assert_eq!(claims.len(), 1);
    settle_all(&spool, claims, &Settlement::Delivered).await;
    close(spool);
    let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
    spool.recovered().await;
    assert_eq!(claim_all(&spool, "late").await.len(), 0, "delivered, but back");
}

#[tokio::test(flavor = "multi_thread")]
async fn close_says_ok_only_when_verdicts_are_written() {
    let mut bad = Vec::new();
    for call in 1..12 {
        let directory = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(Sync::Honest);
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        spool.recovered().await;
        spool.commit(message(1, &["a"], b"x")).await.unwrap();
        let claims = claim_all(&spool, "a").await;
        disk.fail(Fault::Once(disk.calls() + call, ErrorKind::Other));
        settle_all(&spool, claims, &Settlement::Delivered).await;
        let closed = spool.close();
        disk.mend();
        drop(spool);
        let spool = Embedded::open_on(Arc::new(disk), small(directory.path())).unwrap();
        spool.recovered().await;
        let left = claim_all(&spool, "a").await.len();
        if closed.is_ok() && left > 0 {
            bad.push(format!("call {call}: closed in order, delivered post is back"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_full_of_record_heads_delays_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(Sync::Honest);
    let spool = Embedded::open_on(Arc::new(disk.clone()), options(directory.path())).unwrap();
    // Magic, kind and version, meta length, total length, checksum, 0.
    let words = [0x7067_7231, 0x0000_0101, 500_000, 510_000, 0, 0];
    let head: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let shifted = |shift: usize| [vec![b' '; shift], head.repeat(80_000 / 24)].concat();
    let body: Vec<u8> = (0..8).flat_map(shifted).collect();
    spool.commit(message(1, &["a"], &body)).await.unwrap();
    spool.commit(message(2, &["a"], b"behind it")).await.unwrap();
    close(spool);
    let name = segments(&disk)[0].clone();
    disk.damage(&name, |octets| octets[64 + 16] ^= 1);
    let calls = disk.calls();
    let spool = Embedded::open_on(Arc::new(disk.clone()), options(directory.path())).unwrap();
    let found = contents(&spool).await;
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [2]);
    let calls = disk.calls() - calls;
    assert!(calls < 200, "{calls} calls: each of the heads was believed until it was read");
    close(spool);
}
