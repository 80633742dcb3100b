//! What only the spool in a database has: other connections, a server that goes away, a second
//! process, tables of other versions.

use super::steering::{linked, one, reroute};
use super::*;
use postgate::event::Event;
use postgate::spool::postgres::{OpenError, Options, Postgres, Risk, check};
use postgate::spool::{Health, Order, PostState, Query};
use support::postgres::{Database, Way, database};
use support::within_deadline;

/// For a server that asks for no durability, and processes that are waited for not long.
pub fn options(url: String) -> Options {
    let lease = Duration::from_secs(2);
    Options { node: "a".to_owned(), lease, accepted_risks: vec![Risk::Fsync], ..Options::at(url) }
}

pub async fn open(database: &Database) -> Postgres {
    Postgres::open(options(database.url())).await.unwrap()
}

/// Has another process of the same gateway open what this one has.
async fn restarted(spool: Postgres, database: &Database) -> Postgres {
    spool.close().await;
    open(database).await
}

/// Waits until a statement says this.
pub async fn says(database: &Database, statement: &str, expected: &str) {
    within_deadline(&format!("{statement}: {expected}"), async {
        while database.psql(statement) != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_lose_nothing_and_double_nothing() {
    let Some(database) = database() else { return };
    let spool = Arc::new(open(&database).await);
    let count = 300;
    let mut commits = tokio::task::JoinSet::new();
    let (sent, mut so_far) = tokio::sync::watch::channel(0);
    for id in 1..=count {
        let spool = Arc::clone(&spool);
        let told = Admission { events: vec![event(id, "received")], ..message(id, &["a"], b"x") };
        commits.spawn(async move { assert_eq!(spool.commit(told).await, Ok(Committed::Kept)) });
    }
    let breaking = async {
        let statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'postgate' AND datname = current_database()";
        let mut broken = 0;
        // Some work is done in between: otherwise none ever would be.
        for enough in (0..count).step_by(10) {
            so_far.wait_for(|sent| *sent >= enough).await.unwrap();
            broken += database.psql(statement).parse::<u32>().unwrap();
        }
        broken
    };
    let sending = async {
        let mut delivered = BTreeSet::new();
        while delivered.len() < count as usize {
            for claim in claim_all(&*spool, "a").await {
                let id = claim.post.id.message.0;
                assert!(delivered.insert(id), "{id} was settled, and is back");
                settle_all(&*spool, vec![claim], &again(Duration::from_secs(3600))).await;
                sent.send_replace(delivered.len() as u64);
            }
        }
    };
    let (broken, ()) = within_deadline("all", async { tokio::join!(breaking, sending) }).await;
    assert!(broken > 20, "only {broken} connections were broken");
    commits.join_all().await;
    assert_eq!(database.psql("SELECT count(*), count(DISTINCT id) FROM postgate_post"), "300|300");
    let mut told = next(&*spool, &mut Mark::default(), count as usize).await;
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_when_a_process_died_is_sent_again_as_it_was_ordered() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    for id in 1..=4 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    assert_eq!(claim_all(&spool, "a").await.len(), 4);
    assert_eq!(spool.order(one(2), Order::Hold).await, Ok(1));
    assert_eq!(spool.order(one(3), reroute("b")).await, Ok(1));
    assert_eq!(spool.order(one(4), Order::Delete).await, Ok(1));
    let old = claim_all(&spool, "a").await;
    assert!(old.is_empty());
    // Without a farewell.
    drop(spool);
    let spool = open(&database).await;
    let claims = claim_all(&spool, "a").await;
    assert_eq!(
        claims.iter().map(|claim| (claim.post.id.message.0, claim.attempt)).collect::<Vec<_>>(),
        [(1, 1)]
    );
    assert_eq!(claim_all(&spool, "b").await[0].post.path, "/elsewhere?x=1");
    let held = Query { state: Some(PostState::Held), ..Query::default() };
    assert_eq!(spool.page(held, None, 9).await.unwrap()[0].post.id, steering::id(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_several_posts_is_kept_once_and_as_long_as_one_of_them() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    spool.commit(message(1, &["a", "b", "c"], b"hello")).await.unwrap();
    let contents = "SELECT count(*), coalesce(sum(living), 0) FROM postgate_content";
    assert_eq!(database.psql(contents), "1|3");
    settle_all(&spool, claim_all(&spool, "a").await, &Settlement::Delivered).await;
    assert_eq!(database.psql(contents), "1|2");
    // Once more, by whoever was not sure: what is over does not begin again.
    assert_eq!(spool.commit(message(1, &["a", "b", "c"], b"hello")).await, Ok(Committed::Kept));
    assert_eq!(claim_all(&spool, "a").await.len(), 0);
    assert_eq!(database.psql(contents), "1|2");
    let claims = claim_all(&spool, "b").await;
    assert_eq!(spool.body(&claims[0]).await.unwrap(), "hello");
    let listed = Settlement::Listed { last: Attempt::because("200") };
    settle_all(&spool, claims, &listed).await;
    assert_eq!(database.psql(contents), "1|1");
    let mut last = claim_all(&spool, "c").await;
    assert_eq!(spool.body(&last[0]).await.unwrap(), "hello");
    settle_all(&spool, vec![last.remove(0)], &Settlement::Delivered).await;
    assert_eq!(database.psql(contents), "0|0");
    let left = spool.page(Query::default(), None, 9).await.unwrap();
    assert_eq!(left.iter().map(|listed| listed.state).collect::<Vec<_>>(), [PostState::Delivered]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_committed_is_not_sent() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    spool.commit(linked(1, "a")).await.unwrap();
    spool.commit(message(2, &["a"], b"x")).await.unwrap();
    let claims = claim_all(&spool, "a").await;
    let last = "octet_length(content) - 1";
    database.psql(&format!(
        "UPDATE postgate_post SET content = set_byte(content, {last}, get_byte(content, {last}) # 1) \
         WHERE id = '\\x00000000000000010000'"
    ));
    assert!(matches!(spool.body(&claims[0]).await, Err(SpoolError::Damaged(_))));
    assert!(matches!(spool.content(claims[0].post.id).await, Err(SpoolError::Damaged(_))));
    assert_eq!(spool.body(&claims[1]).await.unwrap(), "x");
    // Nor is a post that cannot be read: it is set aside.
    settle_all(&spool, claims, &again(Duration::ZERO)).await;
    database.psql("UPDATE postgate_post SET head = '\\x02' WHERE id = '\\x00000000000000010000'");
    assert_eq!(claim_all(&spool, "a").await.len(), 1);
    assert_eq!(spool.damages(), 1);
    let states = spool.census(Query::default()).await.unwrap();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [(PostState::Sending, 1), (PostState::Failed, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_forgotten_in_time() {
    let Some(database) = database() else { return };
    let keyed = |id| Admission { idempotency_key: Some("k".to_owned()), ..message(id, &["a"], b"x") };
    let spool = open(&database).await;
    for id in 2..=4 {
        spool.commit(message(id, &["b"], b"x")).await.unwrap();
    }
    let endings = [steering::failed("404"), steering::held("451"), again(Duration::ZERO)];
    for (claim, ending) in claim_all(&spool, "b").await.into_iter().zip(endings) {
        settle_all(&spool, vec![claim], &ending).await;
    }
    spool.commit(keyed(1)).await.unwrap();
    assert_eq!(spool.commit(keyed(7)).await, Ok(repeated(1, 1, None)));
    database.psql("UPDATE postgate_key SET noted_at = noted_at - 24 * 3600 * 1000");
    assert_eq!(spool.earlier(&Tenant::default(), "k").await, Ok(None));
    assert_eq!(spool.commit(keyed(8)).await, Ok(Committed::Kept));
    database.psql("UPDATE postgate_post SET due_at = due_at - 15 * 24 * 3600 * 1000::int8");
    // A round begins with the process.
    let spool = restarted(spool, &database).await;
    says(&database, "SELECT count(*) FROM postgate_post", "4").await;
    database.psql("UPDATE postgate_post SET due_at = due_at - 15 * 24 * 3600 * 1000::int8");
    let spool = restarted(spool, &database).await;
    says(&database, "SELECT count(*) FROM postgate_post", "3").await;
    let left = spool.census(Query::default()).await.unwrap();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [(PostState::Queued, 2), (PostState::Deferred, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_later_version_are_refused_and_left_as_they_are() {
    let Some(database) = database() else { return };
    open(&database).await.close().await;
    database.psql("INSERT INTO postgate_schema (version) VALUES (99)");
    let refused = Postgres::open(options(database.url())).await.err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    assert!(refused.to_string().contains("version 99"), "{refused}");
    database.psql("DELETE FROM postgate_schema WHERE version = 99");
    drop(open(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_database_cannot_be_opened_names_no_password() {
    let none = ["postgres://user:kAnArY@", "postgres//user:kAnArY@h/x?y=1", "kAnArY"];
    for url in none.into_iter().chain(["postgres://user:kAnArY@127.0.0.1:99999/x"]) {
        let refused = Postgres::open(Options::at(url.to_owned())).await.err().unwrap();
        assert!(!refused.to_string().contains("kAnArY"), "{refused}");
        assert!(matches!(refused, OpenError::Url(_)), "{refused}");
    }
    let (_bound, nobody) = support::nobody();
    let url = format!("postgres://user:kAnArY@{nobody}/x");
    let refused = check(&Options::at(url)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Away(_)), "{refused}");
    assert!(!refused.to_string().contains("kAnArY"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_holds_a_secret() {
    let Some(database) = database() else { return };
    let behind = Arc::new(open(&database).await);
    let spool = sealed::in_front_of(behind, Some(1));
    spool.commit(sealed::secretive(1)).await.unwrap();
    let claim = claim_all(&spool, "a").await.remove(0);
    assert_eq!(spool.unsealed(&claim.post).unwrap().path, "/in?token=kAnArY-1&n=7");
    assert_eq!(spool.body(&claim).await.unwrap(), "hello, I am kAnArY-2");
    settle_all(&spool, vec![claim], &again(Duration::ZERO)).await;
    let canary = "6b416e417259";
    for table in ["postgate_post", "postgate_content"] {
        let rows = database.psql(&format!("SELECT t FROM {table} t"));
        assert!(!rows.is_empty() && !rows.contains(canary) && !rows.contains("kAnArY"), "{table}");
    }
    // The same look finds what is not sealed.
    spool.commit(message(2, &["a"], b"kAnArY")).await.unwrap();
    assert!(database.psql("SELECT t FROM postgate_post t").contains(canary));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_while_the_first_one_lives() {
    let Some(database) = database() else { return };
    let first = open(&database).await;
    let second = || Postgres::open(Options { node: "b".to_owned(), ..options(database.url()) });
    let refused = second().await.err().unwrap();
    assert!(matches!(&refused, OpenError::InUse { node, .. } if node == "a"), "{refused}");
    assert!(refused.to_string().contains("the gateway \"a\""), "{refused}");
    first.commit(message(1, &["a"], b"x")).await.unwrap();
    assert_eq!(claim_all(&first, "a").await[0].attempt, 1);
    // After a farewell, at once: what was cut off by it counts.
    first.close().await;
    let second = within_deadline("the second", second()).await.unwrap();
    assert_eq!(claim_all(&second, "a").await[0].attempt, 2);
    assert_eq!(first.claim(&lane("a"), 1).await.err(), Some(SpoolError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_overtaken_takes_and_sends_nothing_more() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    for id in [1, 2] {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    let claim = spool.claim(&lane("a"), 1).await.unwrap().claims.remove(0);
    assert_eq!(spool.body(&claim).await.unwrap(), "x");
    // As the next one does when this one has been silent.
    database.psql("UPDATE postgate_node SET id = 'b', incarnation = gen_random_uuid()");
    let mut health = spool.health();
    within_deadline("news of it", health.wait_for(|health| *health != Health::Open)).await.unwrap();
    let is_told = |error: SpoolError| assert!(error.to_string().contains("another gateway"), "{error}");
    is_told(spool.may_send().unwrap_err());
    is_told(spool.body(&claim).await.unwrap_err());
    is_told(spool.claim(&lane("a"), 1).await.unwrap_err());
    is_told(spool.commit(message(3, &["a"], b"x")).await.unwrap_err());
    assert_eq!(
        database.psql("SELECT count(*), count(*) FILTER (WHERE is_claimed) FROM postgate_post"),
        "2|1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_beats_are_not_answered_sends_nothing_until_they_are() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claim = claim_all(&spool, "a").await.remove(0);
    let (other, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    other.batch_execute("BEGIN; SELECT FROM postgate_node FOR UPDATE").await.unwrap();
    within_deadline("no more bodies", async {
        let patient = Duration::from_secs(2);
        while let Ok(body) = tokio::time::timeout(patient, spool.body(&claim)).await {
            assert_eq!(body.unwrap(), "x");
        }
    })
    .await;
    spool.may_send().unwrap_err();
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(within_deadline("a body", spool.body(&claim)).await.unwrap(), "x");
    spool.may_send().unwrap();
    settle_all(&spool, vec![claim], &Settlement::Delivered).await;
    assert_eq!(database.psql("SELECT count(*) FROM postgate_post"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_loses_what_it_acknowledges_is_refused_unless_that_is_meant() {
    let Some(database) = database() else { return };
    let plain = || Options { accepted_risks: Vec::new(), ..options(database.url()) };
    for refused in [Postgres::open(plain()).await.err().unwrap(), check(&plain()).await.unwrap_err()] {
        assert!(matches!(&refused, OpenError::Risky(risks) if *risks == [Risk::Fsync]), "{refused}");
        assert!(refused.to_string().contains("accept_risks = [\"fsync\"]"), "{refused}");
    }
    assert_eq!(database.psql("SELECT to_regclass('postgate_post')"), "");
    check(&options(database.url())).await.unwrap();
    assert_eq!(database.psql("SELECT to_regclass('postgate_post')"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_warns_of_its_collations_is_as_good_as_another() {
    let Some(database) = database() else { return };
    database.psql("UPDATE pg_database SET datcollversion = 'x' WHERE datname = current_database()");
    let spool = open(&database).await;
    assert_eq!(spool.commit(message(1, &["a"], b"x")).await, Ok(Committed::Kept));
    assert_eq!(claim_all(&spool, "a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_holds_nothing_up_for_good() {
    let Some(database) = database() else { return };
    let way = Way::to(&database.server).await;
    let options = || options(database.url_behind(&way));
    let spool = Postgres::open(options()).await.unwrap();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claim = claim_all(&spool, "a").await.remove(0);
    assert_eq!(spool.body(&claim).await.unwrap(), "x");
    way.fall_silent();
    // Until the hold is over nothing says so; then the other host has to be found.
    within_deadline("a body", async {
        while tokio::time::timeout(options().lease, spool.body(&claim)).await.is_ok() {}
        while !matches!(spool.body(&claim).await, Ok(body) if body == "x") {}
    })
    .await;
    spool.close().await;
    let spool = within_deadline("another one", Postgres::open(options())).await.unwrap();
    assert_eq!(claim_all(&spool, "a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_database_that_was_restored_are_told_once_and_in_order() {
    let Some(database) = database() else { return };
    let told = |id| vec![event(id, "received")];
    let number = |event: &Event| event.at.0;
    let spool = open(&database).await;
    spool.publish(told(1)).await.unwrap();
    let (mark, events) = within_deadline("one", spool.events(Mark::default())).await.unwrap();
    assert_eq!(events.len(), 1);
    for id in [2, 3] {
        spool.publish(told(id)).await.unwrap();
    }
    spool.close().await;
    // As on a server that has counted fewer transactions.
    database.psql("UPDATE postgate_event SET written = written + 1000000");
    let (passed, place) = mark.place;
    let mark = Mark { place: (passed + 1_000_000, place), ..mark };
    let spool = open(&database).await;
    spool.publish(told(4)).await.unwrap();
    let next = within_deadline("the others", async {
        let (mut mark, mut all) = (mark, Vec::new());
        while all.len() < 3 {
            let (next, events) = spool.events(mark).await.unwrap();
            (mark, all) = (next, [all, events].concat());
        }
        all
    });
    // What was passed may have been restored, too.
    let next: Vec<_> = next.await.iter().map(number).filter(|number| *number != 1).collect();
    assert_eq!(next, [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_overtaken_and_does_not_know_it_yet_passes_and_sets_nothing() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    for id in [1, 2] {
        spool.publish(vec![event(id, "received")]).await.unwrap();
    }
    spool.set_note("k", Some(Bytes::from("theirs")), None).await.unwrap();
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let (mark, _) = within_deadline("events", spool.events(Mark::default())).await.unwrap();
    database.psql("UPDATE postgate_node SET id = 'b', incarnation = gen_random_uuid()");
    let is_told = |error: SpoolError| assert!(error.to_string().contains("another gateway"), "{error}");
    is_told(spool.set_note("k", Some(Bytes::from("mine")), None).await.unwrap_err());
    is_told(spool.set_note("k", None, None).await.unwrap_err());
    is_told(within_deadline("a refusal", spool.events(mark)).await.unwrap_err());
    is_told(spool.order(one(1), Order::Delete).await.unwrap_err());
    is_told(spool.publish(vec![event(3, "received")]).await.unwrap_err());
    assert_eq!(database.psql("SELECT count(*) FROM postgate_event"), "2");
    assert_eq!(database.psql("SELECT version, value FROM postgate_note"), "1|\\x746865697273");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_crash_of_the_database_forgot_is_not_given_out_again() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    let in_line = |id| {
        let mut message = message(id, &["a"], b"x");
        message.posts[0].ordering_key = Some("l".to_owned());
        message
    };
    for id in [1, 2] {
        spool.commit(in_line(id)).await.unwrap();
    }
    let forgotten =
        || database.psql("UPDATE postgate_post SET is_claimed = false, fence = fence - 1 WHERE is_claimed");
    let claims = claim_all(&spool, "a").await;
    assert_eq!(claims.len(), 1);
    forgotten();
    assert_eq!(claim_all(&spool, "a").await, []);
    // Nor when the verdict comes before anybody asks.
    forgotten();
    let settled = claims.clone();
    settle_all(&spool, settled, &again(Duration::ZERO)).await;
    let once_more = claim_all(&spool, "a").await;
    assert_eq!((once_more[0].post.id, once_more[0].attempt), (claims[0].post.id, 2));
    settle_all(&spool, claims, &steering::failed("404")).await;
    let states = spool.census(Query::default()).await.unwrap();
    assert_eq!(states.get(&PostState::Failed), None, "an old fence");
    settle_all(&spool, once_more, &Settlement::Delivered).await;
    assert_eq!(claim_all(&spool, "a").await[0].post.id, steering::id(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_read_keeps_no_verdict_from_being_noted() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    for id in 1..=4 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    let claims = claim_all(&spool, "a").await;
    database.psql("UPDATE postgate_post SET chronicle = '\\x02', orders = '\\x02'");
    let kept = Settlement::Listed { last: Attempt::because("200") };
    let endings = [again(Duration::ZERO), steering::failed("404"), steering::held("451"), kept];
    spool.settle(claims.into_iter().zip(endings).collect(), Vec::new()).await.unwrap();
    let states = spool.census(Query::default()).await.unwrap();
    let expected = [PostState::Deferred, PostState::Held, PostState::Failed, PostState::Delivered];
    assert_eq!(states.into_iter().collect::<Vec<_>>(), expected.map(|state| (state, 1)));
    assert_eq!(spool.attempts(steering::id(2)).await.unwrap().pop().unwrap().reason, "404");
    assert_eq!(spool.damages(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_whose_connection_breaks_is_set_all_the_same() {
    let Some(database) = database() else { return };
    let spool = Arc::new(open(&database).await);
    spool.set_note("k", Some(Bytes::from("1")), None).await.unwrap();
    let (other, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    other.batch_execute("BEGIN; SELECT FROM postgate_note FOR UPDATE").await.unwrap();
    let setting = Arc::clone(&spool);
    let set = tokio::spawn(async move { setting.set_note("k", Some(Bytes::from("2")), Some(1)).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
         AND datname = current_database()";
    says(&database, waiting, "1").await;
    database.psql(&waiting.replace("count(*)", "pg_terminate_backend(pid)"));
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(within_deadline("the note", set).await.unwrap(), Ok(2));
    assert_eq!(spool.note("k").await.unwrap().unwrap().value, "2");
}

/// How many rows of posts are read from a process's start to its end, where a few are read as many
/// are: by an index.
async fn rows_read(database: &Database, work: impl AsyncFnOnce(&Postgres)) -> u64 {
    database.psql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database()); END $$",
    );
    let read = || {
        let read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) + (SELECT sum(idx_tup_read) \
             FROM pg_stat_user_indexes WHERE relname = 'postgate_post') \
             FROM pg_stat_user_tables WHERE relname = 'postgate_post'";
        database.psql(read).parse::<u64>().unwrap()
    };
    let before = read();
    let spool = open(database).await;
    work(&spool).await;
    spool.close().await;
    drop(spool);
    // What a connection has counted is told when it ends.
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postgate' \
         AND datname = current_database()";
    says(database, gone, "0").await;
    read() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_and_looked_for_is_not_looked_through() {
    let Some(database) = database() else { return };
    open(&database).await.close().await;
    let count = 2000;
    let fill = async |spool: &Postgres| {
        for id in 1..=count {
            let hosts = if id == 7 { ["b"] } else { ["a"] };
            spool.commit(message(id, &hosts, b"x")).await.unwrap();
        }
        let failing = claim_all(spool, "b").await;
        settle_all(spool, failing, &steering::failed("404")).await;
    };
    rows_read(&database, fill).await;
    database.psql("ANALYZE");
    let idle = rows_read(&database, async |_| {}).await;
    let counting = async |spool: &Postgres| {
        for _ in 0..10 {
            let counts = spool.counts().await.unwrap();
            let counts: BTreeMap<_, _> =
                counts.into_iter().map(|(lane, counts)| (lane.host.clone(), counts)).collect();
            assert_eq!((counts["a"].waiting, counts["b"].failed), (count - 1, 1));
        }
    };
    let read = rows_read(&database, counting).await;
    assert!(read < idle + 500, "{read} rows were read to count, {idle} for nothing");
    let looking = async |spool: &Postgres| {
        let failed = Query { state: Some(PostState::Failed), ..Query::default() };
        for _ in 0..10 {
            assert_eq!(spool.page(failed.clone(), None, 9).await.unwrap()[0].post.id, steering::id(7));
        }
    };
    let read = rows_read(&database, looking).await;
    assert!(read < idle + 500, "{read} rows were read to find one, {idle} for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_is_not_looked_through_for_each_of_its_posts() {
    let Some(database) = database() else { return };
    open(&database).await.close().await;
    let count = 400;
    let read = rows_read(&database, async |spool| {
        for id in 1..=count {
            let mut message = message(id, &["a"], b"x");
            message.posts[0].ordering_key = Some("l".to_owned());
            spool.commit(message).await.unwrap();
        }
        for id in 1..=count {
            let claims = claim_all(spool, "a").await;
            assert_eq!(claims.iter().map(|claim| claim.post.id).collect::<Vec<_>>(), [steering::id(id)]);
            settle_all(spool, claims, &Settlement::Delivered).await;
        }
    })
    .await;
    assert!(read < count * 100, "{read} rows were read for {count} posts");
}

/// Each change of a count is told in a row of its own, and most lanes end with as many as they began.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_counts_is_added_up_where_all_was_delivered_too() {
    let Some(database) = database() else { return };
    let spool = open(&database).await;
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let settled = claim_all(&spool, "a").await;
    let delivered = settled.into_iter().map(|claim| (claim, Settlement::Delivered)).collect();
    spool.settle(delivered, Vec::new()).await.unwrap();
    spool.commit(message(2, &["b"], b"x")).await.unwrap();
    let lane = "(SELECT lane FROM postgate_tally WHERE lane NOT IN (SELECT lane FROM postgate_post) LIMIT 1)";
    database.psql(&format!(
        "INSERT INTO postgate_tally SELECT {lane}, change, 0, 0, 0 FROM generate_series(1, 1500), \
         unnest(ARRAY[1, -1]) AS change"
    ));
    for _ in 0..2 {
        let counts = spool.counts().await.unwrap();
        let counts: Vec<_> = counts.iter().map(|(lane, counts)| (&*lane.host, counts.waiting)).collect();
        assert_eq!(counts, [("b", 1)]);
    }
    assert_eq!(database.psql("SELECT count(*) FROM postgate_tally"), "1");
}
