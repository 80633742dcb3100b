//! What the spool in a database promises when that has standbys: acknowledged is what one of
//! them has, whatever becomes of the others.

use super::database::{open, options, says};
use super::*;
use postgate::spool::postgres::{OpenError, Postgres, Risk, check};
use std::future::Future;
use support::postgres::{Database, Server};
use support::within_deadline;

/// How many connections wait for a standby.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// A database on a server of its own: what is set here is so for all of it.
fn alone() -> Option<Database> {
    Some(Database::on(&Arc::new(Server::start()?)))
}

/// Has each commit wait for these standbys.
async fn wait_for(database: &Database, standbys: &str) {
    database.psql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'"));
    database.psql("SELECT pg_reload_conf()");
    says(database, "SHOW synchronous_standby_names", standbys).await;
}

/// Whether somebody has no answer yet.
async fn waits<T>(answer: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::ZERO, answer).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_answered_with_a_warning_is_made_again_and_waits_again() {
    let Some(database) = alone() else { return };
    let spool = open(&database).await;
    wait_for(&database, "nobody").await;
    let mut commit = spool.commit(message(1, &["a"], b"x"));
    says(&database, WAITING, "1").await;
    // From here on it stands in the database, and is answered as a success.
    for _ in 0..2 {
        let cancelled = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let pid = database.psql(cancelled);
        database.psql(&format!("SELECT pg_cancel_backend({pid})"));
        within_deadline("another connection that waits", async {
            while ["", pid.as_str()].contains(&&*database.psql(cancelled)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(database.psql("SELECT count(*) FROM postgate_post"), "1");
        let early = tokio::time::timeout(Duration::ZERO, &mut commit).await;
        assert!(early.is_err(), "answered although nothing is replicated: {early:?}");
    }
    wait_for(&database, "").await;
    assert_eq!(within_deadline("the answer", commit).await, Ok(Committed::Kept));
    assert_eq!(claim_all(&spool, "a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_the_primary_and_what_was_not_is_kept_once() {
    let Some(database) = alone() else { return };
    let standby = database.server.standby();
    let options = || options(database.url_on(&[&database.server, &standby]));
    let refused = check(&options()).await.unwrap_err();
    let asynchronous = |risks: &Vec<Risk>| *risks == [Risk::AsynchronousStandbys];
    assert!(matches!(&refused, OpenError::Risky(risks) if asynchronous(risks)), "{refused}");
    wait_for(&database, "*").await;
    let spool = Postgres::open(options()).await.unwrap();
    assert_eq!(spool.commit(message(1, &["a"], b"x")).await, Ok(Committed::Kept));
    standby.end();
    let mut commit = spool.commit(message(2, &["a", "b"], b"y"));
    says(&database, WAITING, "1").await;
    // Cut: it stands in the database of the primary alone, and the same is asked again.
    let pid = database
        .psql("SELECT pg_terminate_backend(pid), pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    let pid = pid.rsplit('|').next().unwrap();
    says(&database, &format!("{WAITING} AND pid <> {pid}"), "1").await;
    assert_eq!(database.psql("SELECT count(*) FROM postgate_post"), "3");
    assert!(waits(&mut commit).await, "answered although no standby has it");
    database.server.end();
    standby.begin();
    assert_eq!(database.psql_on(&standby, "SELECT count(*) FROM postgate_post"), "1");
    database.psql_on(&standby, "SELECT pg_promote()");
    assert_eq!(within_deadline("the answer of the new primary", commit).await, Ok(Committed::Kept));
    assert_eq!(database.psql_on(&standby, "SELECT count(*) FROM postgate_post"), "3");
    let mut claims = within_deadline("claims", claim_all(&spool, "a")).await;
    claims.extend(claim_all(&spool, "b").await);
    assert_eq!(claims.iter().map(|claim| claim.post.id.message.0).collect::<Vec<_>>(), [1, 2, 2]);
    for (claim, body) in claims.iter().zip(["x", "y", "y"]) {
        assert_eq!(spool.body(claim).await.unwrap(), body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_told_to_nobody() {
    let Some(database) = alone() else { return };
    let spool = Arc::new(open(&database).await);
    let tenant = Tenant::default();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(&*spool, "a").await;
    wait_for(&database, "nobody").await;
    // A delivery is not waited for, but whoever passed what is told of it could not go back.
    let delivered = claims.into_iter().map(|claim| (claim, Settlement::Delivered)).collect();
    within_deadline("a delivery", spool.settle(delivered, vec![event(1, "delivered")])).await.unwrap();
    let listener = Arc::clone(&spool);
    let mut told = tokio::spawn(async move { listener.events(Mark::default()).await });
    says(&database, WAITING, "1").await;
    assert!(waits(&mut told).await, "told although no standby has it");
    // Nor is a key that stands there only because an operator cancelled the wait.
    let keyed = Admission { idempotency_key: Some("k".to_owned()), ..message(2, &["a"], b"x") };
    let mut commit = spool.commit(keyed);
    says(&database, WAITING, "2").await;
    database.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    says(&database, "SELECT count(*) FROM postgate_key", "1").await;
    let mut earlier = spool.earlier(&tenant, "k");
    assert!(waits(&mut earlier).await && waits(&mut commit).await);
    says(&database, &format!("SELECT ({WAITING}) >= 2"), "t").await;
    assert!(waits(&mut earlier).await, "known although no standby has it");
    wait_for(&database, "").await;
    assert_eq!(within_deadline("events", told).await.unwrap().unwrap().1.len(), 1);
    assert_eq!(within_deadline("the commit", commit).await, Ok(Committed::Kept));
    let known = within_deadline("the key", earlier).await.unwrap();
    assert_eq!(known.map(|known| known.message.0), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_given_up_do_not_pile_up_while_no_standby_answers() {
    let Some(database) = alone() else { return };
    let spool = open(&database).await;
    wait_for(&database, "nobody").await;
    let mut commit = spool.commit(message(1, &["a"], b"x"));
    says(&database, WAITING, "1").await;
    let first = database.psql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    // Another one waits for it, and this one is gone.
    says(
        &database,
        &format!(
            "SELECT count(*) FILTER (WHERE pid <> {first}), count(*) \
         FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        ),
        "1|1",
    )
    .await;
    assert!(waits(&mut commit).await, "answered although nothing is replicated");
    wait_for(&database, "").await;
    assert_eq!(within_deadline("the answer", commit).await, Ok(Committed::Kept));
    assert_eq!(database.psql("SELECT count(*) FROM postgate_post"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_was_set_and_not_answered_is_set_once() {
    let Some(database) = alone() else { return };
    let spool = open(&database).await;
    spool.set_note("gone", Some(Bytes::from("x")), None).await.unwrap();
    wait_for(&database, "nobody").await;
    for (key, value, expect, version) in
        [("new", Some("x"), Some(0), 1), ("any", Some("x"), None, 1), ("gone", None, Some(1), 0)]
    {
        let mut set = spool.set_note(key, value.map(Bytes::from), expect);
        assert!(waits(&mut set).await);
        let pids = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        says(&database, WAITING, "1").await;
        let pid = database.psql(pids);
        database.psql(&format!("SELECT pg_terminate_backend({pid})"));
        says(&database, &format!("{WAITING} AND pid <> {pid}"), "1").await;
        assert!(waits(&mut set).await, "answered although nothing is replicated");
        wait_for(&database, "").await;
        assert_eq!(within_deadline("the answer", set).await, Ok(version), "{key}");
        wait_for(&database, "nobody").await;
    }
    assert_eq!(spool.note("new").await.unwrap().unwrap().version, 1);
    assert_eq!(spool.note("gone").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_of_a_line_waits_until_a_standby_knows_that_the_last_one_is_over() {
    let Some(database) = alone() else { return };
    let spool = open(&database).await;
    for id in 1..=2 {
        spool.commit(super::steering::keyed(id, "a", "k")).await.unwrap();
    }
    let claims = claim_all(&spool, "a").await;
    assert_eq!(claims.len(), 1);
    wait_for(&database, "nobody").await;
    let delivered = claims.into_iter().map(|claim| (claim, Settlement::Delivered)).collect();
    let mut settled = spool.settle(delivered, Vec::new());
    assert!(waits(&mut settled).await);
    says(&database, WAITING, "1").await;
    let pid = database.psql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    // Cut: it is over in the database of the primary alone, and another try finds nothing to end.
    database.psql(&format!("SELECT pg_terminate_backend({pid})"));
    says(&database, &format!("{WAITING} AND pid <> {pid}"), "1").await;
    assert!(waits(&mut settled).await, "answered although no standby has it");
    assert_eq!(claim_all(&spool, "a").await, []);
    wait_for(&database, "").await;
    within_deadline("the answer", settled).await.unwrap();
    assert_eq!(within_deadline("the next one", claim_all(&spool, "a")).await.len(), 1);
}
