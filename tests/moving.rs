//! Posts move from the embedded spool to a database and back: all of them, as they were, once;
//! and whenever that is interrupted it goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use postgate::clock;
use postgate::event::{Event, EventId, Mark};
use postgate::post::{Admission, Blob, Fingerprint, MessageId, Post, PostId, Sealed, Timestamp, Trust};
use postgate::spool::embedded::{self, Embedded};
use postgate::spool::inspect::Inspection;
use postgate::spool::moving::{Move, MoveError, Places, Way};
use postgate::spool::postgres::{self, Postgres, Risk};
use postgate::spool::{
    Attempt, Census, Content, Counts, Earlier, Listed, Noted, Order, Query, Settlement, Spool, SpoolError,
};
use postgate::tenant::Tenant;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::postgres::{Database, database};
use support::program::{CONFIG, Gateway, postgate};
use support::{admission, destination, in_seconds, post, tools};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

fn lane(port: u16) -> Arc<postgate::post::Destination> {
    destination(([127, 0, 0, 1], port).into())
}

fn in_directory(directory: &Path) -> embedded::Options {
    embedded::Options::at(directory.join("postgate-data/spool"))
}

fn in_database(database: &Database) -> postgres::Options {
    let (node, lease) = ("a".to_owned(), Duration::from_secs(2));
    postgres::Options {
        node,
        lease,
        accepted_risks: vec![Risk::Fsync],
        ..postgres::Options::at(database.url())
    }
}

fn id(message: u64, number: u16) -> PostId {
    PostId { message: MessageId(message), number }
}

fn attempt(reason: &str) -> Attempt {
    let (status, excerpt) = (Some(503), "busy".to_owned());
    Attempt { started_at: clock::wall(), status, excerpt, ..Attempt::because(reason) }
}

fn event(number: u64) -> Event {
    Event {
        id: EventId::new(Timestamp(number), 7),
        name: "post.received".parse().unwrap(),
        at: Timestamp(number),
        tenant: Tenant::default(),
        data: Bytes::from(format!("{{\"number\":{number}}}")),
    }
}

/// A message of several posts, which share its blobs.
fn of_several(message: u64, ports: &[u16]) -> Admission {
    let own = |(number, port): (usize, &u16)| Post {
        id: id(message, u16::try_from(number).unwrap() + 1),
        body: Blob { number: 1, start: 2, length: 3 },
        ..post(message, &lane(*port))
    };
    let posts = ports.iter().enumerate().map(own).collect();
    let blobs = vec![Bytes::from("Subject: x\r\n\r\nmail"), Bytes::from("a body")];
    Admission { posts, blobs, ..admission(post(message, &lane(1)), b"void") }
}

async fn commit(spool: &dyn Spool, message: u64, port: u16, change: impl FnOnce(&mut Post)) {
    let mut own = post(message, &lane(port));
    change(&mut own);
    spool.commit(admission(own, format!("body {message}").as_bytes())).await.unwrap();
}

/// Claims what is due on a lane, and settles it.
async fn settle(spool: &dyn Spool, port: u16, settlement: &Settlement) {
    let lane = lane(port);
    let claims = spool.claim(&lane, 100).await.unwrap().claims;
    assert!(!claims.is_empty(), "{port}");
    for claim in claims {
        spool.settle(vec![(claim, settlement.clone())], Vec::new()).await.unwrap();
    }
}

/// Posts in every state, with all that can be known of one; more than go in one piece.
async fn fill(spool: &dyn Spool) {
    for message in 1..=600 {
        commit(spool, message, 100, |post| post.priority = (message % 10) as u8).await;
    }
    let again = |after| Settlement::Again { after, last: attempt("503 later") };
    commit(spool, 1001, 1, |post| post.tags = vec!["tag".to_owned()]).await;
    for after in [Duration::ZERO, Duration::ZERO, HOUR] {
        settle(spool, 1, &again(after)).await;
    }
    commit(spool, 1002, 2, |_| {}).await;
    settle(spool, 2, &Settlement::Failed { last: attempt("404 gone") }).await;
    commit(spool, 1003, 3, |_| {}).await;
    settle(spool, 3, &Settlement::Held { last: attempt("451 held") }).await;
    commit(spool, 1004, 4, |_| {}).await;
    settle(spool, 4, &Settlement::Listed { last: attempt("200 listed") }).await;
    commit(spool, 1005, 5, |post| post.has_links = true).await;
    settle(spool, 5, &Settlement::Delivered).await;
    commit(spool, 1006, 6, |post| post.lean_body = Some(Blob { number: 0, start: 1, length: 2 })).await;
    settle(spool, 6, &Settlement::Leaner { last: attempt("413 too large") }).await;
    // Dead, and begun anew elsewhere.
    commit(spool, 1007, 7, |post| post.expires_at = Some(Timestamp(5))).await;
    settle(spool, 7, &Settlement::Failed { last: attempt("gone") }).await;
    let (path, sealed) = ("/elsewhere?token=***".to_owned(), Some(Bytes::from("sealed")));
    let order = Order::Reroute { destination: lane(8), trust: Trust::Operator, path, sealed };
    let one = Query { id: Some(id(1007, 0)), ..Query::default() };
    assert_eq!(spool.order(one, order).await, Ok(1));
    for message in 1010..1015 {
        commit(spool, message, 10, |post| post.ordering_key = Some("line".to_owned())).await;
    }
    settle(spool, 10, &again(HOUR)).await;
    let sealed = Sealed { fields: Some(Bytes::from("fields")), path: Some(Bytes::from("path")) };
    commit(spool, 1016, 12, |post| post.sealed = sealed).await;
    commit(spool, 1020, 11, |post| {
        (post.not_before_at, post.expires_at) = (Some(in_seconds(3600)), Some(in_seconds(7200)));
    })
    .await;
    spool.commit(of_several(1030, &[20, 21, 22])).await.unwrap();
    settle(spool, 21, &Settlement::Delivered).await;
    settle(spool, 22, &again(HOUR)).await;
    for (message, ports) in [(1040, &[30, 31][..]), (1041, &[32])] {
        let keyed = Admission {
            idempotency_key: Some(format!("key {message}")),
            fingerprint: Some(Fingerprint([7; Fingerprint::LENGTH])),
            events: vec![event(message), event(message + 1)],
            ..of_several(message, ports)
        };
        spool.commit(keyed).await.unwrap();
    }
    settle(spool, 32, &Settlement::Delivered).await;
    for value in ["one", "two", "three"] {
        spool.set_note("pause/a", Some(Bytes::from(value)), None).await.unwrap();
    }
    spool.set_note("rate/b", Some(Bytes::new()), None).await.unwrap();
    spool.set_note("gone", Some(Bytes::from("x")), None).await.unwrap();
    spool.set_note("gone", None, None).await.unwrap();
}

/// Which post is due, which attempt that is, how many ended, from when on it ages, its body.
type Due = (PostId, u32, u32, Timestamp, Bytes);

/// All that a spool shows.
#[derive(Debug, PartialEq)]
struct Shown {
    listed: Vec<Listed>,
    attempts: BTreeMap<PostId, Vec<Attempt>>,
    /// What is sent, and the message.
    contents: BTreeMap<PostId, Result<(Bytes, Bytes), SpoolError>>,
    census: Census,
    counts: BTreeMap<u16, Counts>,
    notes: Vec<(String, Noted)>,
    earlier: Vec<Option<Earlier>>,
    /// What is due, in the order in which it is claimed.
    claims: BTreeMap<u16, Vec<Due>>,
}

async fn shown(spool: &dyn Spool) -> Shown {
    let listed = spool.page(Query::default(), None, 10_000).await.unwrap();
    let (mut attempts, mut contents, mut claims) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for Listed { post, .. } in &listed {
        attempts.insert(post.id, spool.attempts(post.id).await.unwrap());
        let content = spool.content(post.id).await;
        contents.insert(post.id, content.map(|Content { body, message, .. }| (body, message)));
    }
    for (lane, _) in spool.lanes().await.unwrap() {
        let claimed = spool.claim(&lane, 1000).await.unwrap().claims;
        let mut due = Vec::new();
        for claim in &claimed {
            let body = spool.body(claim).await.unwrap();
            due.push((claim.post.id, claim.attempt, claim.ended, claim.ages_from, body));
        }
        claims.insert(lane.port, due);
        let back = claimed.into_iter().map(|claim| (claim, Settlement::Back)).collect();
        spool.settle(back, Vec::new()).await.unwrap();
    }
    let mut earlier = Vec::new();
    for key in ["key 1040", "key 1041", "none"] {
        earlier.push(spool.earlier(&Tenant::default(), key).await.unwrap());
    }
    // Which is the oldest is told roughly.
    let counts = spool.counts().await.unwrap().into_iter();
    let counts = counts.map(|(lane, counts)| (lane.port, Counts { oldest_at: None, ..counts }));
    Shown {
        attempts,
        contents,
        claims,
        earlier,
        listed,
        census: spool.census(Query::default()).await.unwrap(),
        counts: counts.filter(|(_, counts)| *counts != Counts::default()).collect(),
        notes: spool.notes("").await.unwrap(),
    }
}

/// Whether all is as it was; what is not is told piece by piece.
fn assert_same(after: &Shown, before: &Shown, what: &str) {
    for (after, before) in after.listed.iter().zip(&before.listed) {
        assert_eq!(after, before, "{what}");
    }
    for (id, attempts) in &before.attempts {
        assert_eq!(after.attempts.get(id), Some(attempts), "{what}: {id}");
    }
    for (id, content) in &before.contents {
        assert_eq!(after.contents.get(id), Some(content), "{what}: {id}");
    }
    for (port, claims) in &before.claims {
        assert_eq!(after.claims.get(port), Some(claims), "{what}: {port}");
    }
    assert_eq!((&after.census, &after.counts), (&before.census, &before.counts), "{what}");
    assert_eq!((&after.notes, &after.earlier), (&before.notes, &before.earlier), "{what}");
    assert_eq!(after, before, "{what}");
}

async fn shown_in_directory(directory: &Path) -> Shown {
    let spool = Embedded::open(in_directory(directory)).unwrap();
    spool.recovered().await;
    let shown = shown(&spool).await;
    spool.close().unwrap();
    shown
}

async fn shown_in_database(database: &Database) -> Shown {
    let spool = Postgres::open(in_database(database)).await.unwrap();
    let shown = shown(&spool).await;
    spool.close().await;
    shown
}

async fn filled(directory: &Path) {
    let spool = Embedded::open(in_directory(directory)).unwrap();
    fill(&spool).await;
    spool.close().unwrap();
}

fn places(directory: &Path, database: &Database) -> Places {
    Places { directory: in_directory(directory), database: in_database(database) }
}

/// Moves all, and answers the events that were handed over.
async fn moved(directory: &Path, database: &Database, way: Way) -> Result<Vec<Event>, MoveError> {
    let told = Mutex::new(Vec::new());
    let keep = async |_, events: Vec<Event>| {
        told.lock().unwrap().extend(events);
        Ok(())
    };
    let moving = Move::begin(places(directory, database), way).await?;
    moving.finish((Mark::default(), keep), |_, _| {}).await?;
    Ok(told.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_is_as_it_was() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    let before = shown_in_directory(path).await;
    assert!(before.listed.len() > 610 && before.earlier[1].is_some(), "{before:#?}");
    let told = moved(path, &database, Way::ToDatabase).await.unwrap();
    assert_eq!(told, [event(1040), event(1041), event(1041), event(1042)]);
    assert!(!path.join("postgate-data/spool/log").exists());
    // Of those with one ordering key the first alone is found by claims.
    assert_eq!(database.psql("SELECT count(*) FROM postgate_post WHERE is_behind"), "4");
    let there = shown_in_database(&database).await;
    assert_same(&there, &before, "there");
    // Nothing was left to be told twice.
    assert_eq!(moved(path, &database, Way::ToDirectory).await.unwrap(), []);
    assert_same(&shown_in_directory(path).await, &before, "back");
    assert_eq!(database.psql("SELECT count(*) FROM postgate_post"), "0");
    // And what is there goes on: there and back once more.
    moved(path, &database, Way::ToDatabase).await.unwrap();
    assert_same(&shown_in_database(&database).await, &before, "there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_are_moved_only_where_none_are() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let refused = moved(path, &database, Way::ToDatabase).await;
    assert!(matches!(refused, Err(MoveError::Nothing(_))), "{refused:?}");
    filled(path).await;
    let spool = Postgres::open(in_database(&database)).await.unwrap();
    let refused = moved(path, &database, Way::ToDatabase).await;
    assert!(
        matches!(refused, Err(MoveError::Database(postgres::OpenError::InUse { .. }))),
        "a gateway works on it: {refused:?}"
    );
    commit(&spool, 1, 1, |_| {}).await;
    spool.close().await;
    for way in [Way::ToDatabase, Way::ToDirectory] {
        let refused = moved(path, &database, way).await;
        assert!(matches!(refused, Err(MoveError::Occupied(_))), "{refused:?}");
    }
    let spool = Embedded::open(in_directory(path)).unwrap();
    let refused = moved(path, &database, Way::ToDatabase).await;
    assert!(
        matches!(refused, Err(MoveError::Directory(embedded::OpenError::InUse(_)))),
        "a gateway works on it: {refused:?}"
    );
    // Nothing came of all that.
    assert_eq!(spool.census(Query::default()).await.unwrap().values().sum::<u64>(), 618);
    spool.close().unwrap();
    assert_eq!(shown_in_database(&database).await.listed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_damaged_stays_where_it_is() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    let log = path.join("postgate-data/spool/log");
    let segments =
        support::under(&log).into_iter().filter(|path| path.extension().is_some_and(|it| it == "seg"));
    let first = segments.min().unwrap();
    let mut octets = fs::read(&first).unwrap();
    // In the head of a record in the middle.
    let middle = octets.windows(8).skip(9000).position(|octets| octets == b"/hook\x01\x0cC").unwrap();
    octets[9000 + middle] ^= 1;
    fs::write(&first, octets).unwrap();
    let before = shown_in_directory(path).await;
    let refused = moved(path, &database, Way::ToDatabase).await;
    assert!(matches!(refused, Err(MoveError::Damaged(..))), "{refused:?}");
    assert_eq!(shown_in_directory(path).await, before);
    assert_eq!(shown_in_database(&database).await.listed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_are_damaged_keep_the_spool_where_it_is_and_are_not_thrown_away() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    let notes = path.join("postgate-data/spool/log/notes");
    let mut octets = fs::read(&notes).unwrap();
    octets[20] ^= 1;
    fs::write(&notes, &octets).unwrap();
    let refused = moved(path, &database, Way::ToDatabase).await;
    assert!(matches!(refused, Err(MoveError::Damaged(..))), "{refused:?}");
    assert_eq!(fs::read(&notes).unwrap(), octets);
    // A gateway sets them aside, and goes on without them.
    let before = shown_in_directory(path).await;
    moved(path, &database, Way::ToDatabase).await.unwrap();
    assert_same(&shown_in_database(&database).await, &before, "there");
    assert_eq!(fs::read(path.join("postgate-data/spool/damaged-notes")).unwrap(), octets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_calls_the_move_off() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    moved(path, &database, Way::ToDatabase).await.unwrap();
    let newest = "id = (SELECT id FROM postgate_post ORDER BY id DESC LIMIT 1)";
    for change in ["head = 'x'", "chronicle = 'x'"] {
        let kept = database.psql(&format!("SELECT count(*) FROM postgate_post WHERE NOT {newest}"));
        database.psql(&format!("UPDATE postgate_post SET {change} WHERE {newest}"));
        let refused = moved(path, &database, Way::ToDirectory).await;
        assert!(matches!(refused, Err(MoveError::Unreadable(_))), "{change}: {refused:?}");
        assert!(!path.join("postgate-data/spool/log").exists());
        // A gateway works there as before, and the next move begins anew.
        Postgres::open(in_database(&database)).await.unwrap().close().await;
        database.psql(&format!("DELETE FROM postgate_post WHERE {newest}"));
        moved(path, &database, Way::ToDirectory).await.unwrap();
        let there = shown_in_directory(path).await;
        assert_eq!(there.listed.len().to_string(), kept);
        moved(path, &database, Way::ToDatabase).await.unwrap();
        assert_same(&shown_in_database(&database).await, &there, change);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_knows_nothing_of_the_move_is_not_emptied() {
    let (Some(database), Some(other)) = (database(), database()) else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    moved(path, &database, Way::ToDatabase).await.unwrap();
    drop(Move::begin(places(path, &database), Way::ToDirectory).await.unwrap());
    // As if it had been killed when all had arrived.
    let marker = path.join("postgate-data/spool/moving");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("to-directory", "arrived")).unwrap();
    let spool = Postgres::open(in_database(&other)).await.unwrap();
    commit(&spool, 1, 1, |_| {}).await;
    spool.close().await;
    let refused = moved(path, &other, Way::ToDirectory).await;
    assert!(matches!(refused, Err(MoveError::Occupied(_))), "{refused:?}");
    assert_eq!(shown_in_database(&other).await.listed.len(), 1);
}

#[test]
fn a_move_is_made_by_whose_the_spool_is() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let spool = directory.path().join("postgate-data/spool");
    fs::create_dir_all(spool.join("log")).unwrap();
    if chown(&spool, Some(1), None).is_err() {
        return tools::leave_out("only root may give a directory away");
    }
    let (code, text) = run(directory.path(), &database, "postgres", &["spool", "migrate"]);
    assert!(code == 78 && text.contains("belongs to user 1"), "{code} {text}");
}

/// The configuration of a gateway with this backend.
fn config(database: &Database, backend: &str) -> String {
    let url = database.url();
    format!("{CONFIG}\n[spool]\nbackend = \"{backend}\"\nurl = \"{url}\"\naccept_risks = [\"fsync\"]\n")
}

/// Runs a command with the configuration of this backend: its exit code, and what it said.
fn run(directory: &Path, database: &Database, backend: &str, arguments: &[&str]) -> (i32, String) {
    fs::write(directory.join("postgate.toml"), config(database, backend)).unwrap();
    said(postgate(directory).args(arguments))
}

/// How a gateway that must not start ends, and what it says.
fn refused(directory: &Path, database: &Database, backend: &str) -> (i32, String) {
    fs::write(directory.join("postgate.toml"), config(database, backend)).unwrap();
    fs::write(directory.join("stderr"), "").unwrap();
    let started = Gateway::if_it_starts(Gateway::spawn(postgate(directory).arg("serve"), directory));
    let code = started.map(|_| panic!("{backend}: it has started")).unwrap_err();
    (code, fs::read_to_string(directory.join("stderr")).unwrap())
}

fn said(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // A process that was killed has no code.
    (output.status.code().unwrap_or(-1), text)
}

/// `spool migrate`, killed as one of its threads makes its n-th call of these; whether it was.
fn killed(directory: &Path, (calls, nth): (&str, usize), database: &Database, backend: &str) -> bool {
    fs::write(directory.join("postgate.toml"), config(database, backend)).unwrap();
    let mut strace = Command::new("strace");
    strace.current_dir(directory).env_remove("POSTGATE_CONFIG");
    strace.args(["-D", "-f", "-qq", "-e", "signal=none", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.arg(format!("--inject={calls}:signal=KILL:when={nth}"));
    let (code, text) = said(strace.arg(env!("CARGO_BIN_EXE_postgate")).args(["spool", "migrate"]));
    assert!([0, -1].contains(&code), "{calls} {nth}: {code} {text}");
    // Nobody has to wait until it is sure that it is dead.
    database.psql("DELETE FROM postgate_node");
    code == -1
}

/// What a move does that lasts, or that others see, and which of it is the last that is done.
const CALLS: [(&str, &[usize]); 5] = [
    ("fdatasync", &[1, 3, 4, 5]),
    ("fsync", &[1, 2, 4]),
    ("/^rename", &[1, 2, 3]),
    ("/^(unlink|rmdir)", &[1, 2, 5]),
    ("/^(send|writev)", &[1, 3, 5, 7, 9, 11, 13, 16, 19, 22, 24, 26, 27, 28, 29, 30, 32]),
];

/// How many posts are in the place that they are moved to.
fn arrived(directory: &Path, database: &Database, backend: &str) -> u64 {
    if backend == "postgres" {
        return database.psql("SELECT count(*) FROM postgate_post").parse().unwrap();
    }
    let directory = in_directory(directory).directory;
    if !directory.join("log").exists() {
        return 0;
    }
    let findings = Inspection::of(&directory).unwrap().read(|_| Ok::<_, embedded::OpenError>(()));
    findings.unwrap().posts.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_goes_on() {
    let Some(database) = database() else { return };
    let traced = ["-D", "-f", "-o", "/dev/null", "-e", "trace=none", "true"];
    if !tools::output(Command::new("strace").args(traced)).is_some_and(|output| output.status.success()) {
        return tools::leave_out("strace may not trace");
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    let before = shown_in_directory(path).await;
    assert_eq!(shown_in_database(&database).await.listed, []);
    let (mut kills, mut halves) = (0, BTreeMap::<_, u32>::new());
    let points = CALLS.iter().flat_map(|(calls, all)| all.iter().map(move |nth| (*calls, *nth)));
    for (calls, nth) in points {
        for backend in ["postgres", "embedded"] {
            kills += u32::from(killed(path, (calls, nth), &database, backend));
            let arrived = arrived(path, &database, backend);
            *halves.entry(backend).or_default() += u32::from(arrived > 0 && arrived < 618);
            let (code, text) = run(path, &database, backend, &["spool", "migrate"]);
            // It may have been killed when all was done.
            assert!(code == 0 || code == 66 || code == 78, "{calls} {nth}: {code} {text}");
        }
        let after = shown_in_directory(path).await;
        assert_same(&after, &before, &format!("{calls} {nth}"));
    }
    assert!(
        kills > 20 && halves.values().all(|halves| *halves > 0),
        "{kills} kills, in the middle {halves:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gateway_starts_while_a_move_is_half_done() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    filled(path).await;
    for (way, backend, other) in
        [(Way::ToDatabase, "postgres", "embedded"), (Way::ToDirectory, "embedded", "postgres")]
    {
        let moving = Move::begin(places(path, &database), way).await.unwrap();
        for backend in ["embedded", "postgres"] {
            let (code, text) = refused(path, &database, backend);
            assert!(code == 69 && text.contains("in use by another process"), "{backend}: {code} {text}");
        }
        let elsewhere = TempDir::new().unwrap();
        let (code, text) = refused(elsewhere.path(), &database, "postgres");
        assert!(code == 69 && text.contains("works on the database"), "{code} {text}");
        drop(moving);
        database.psql("DELETE FROM postgate_node");
        for (place, backend) in [(path, "embedded"), (path, "postgres"), (elsewhere.path(), "postgres")] {
            let (code, text) = refused(place, &database, backend);
            let is_told = text.contains("`postgate spool migrate` goes on");
            assert!(code == 78 && is_told, "{backend}: {code} {text}");
        }
        let (code, text) = run(path, &database, other, &["spool", "migrate"]);
        assert!(code == 78 && text.contains("in the other direction"), "{code} {text}");
        let (code, text) = run(elsewhere.path(), &database, backend, &["spool", "migrate"]);
        assert!([66, 78].contains(&code), "{code} {text}");
        let (code, text) = run(path, &database, backend, &["spool", "migrate"]);
        assert!(code == 0 && text.contains("618 posts ("), "{code} {text}");
        let gateway = Gateway::listening(Gateway::spawn(postgate(path).arg("serve"), path));
        assert_eq!({ gateway }.end("-TERM"), 0);
    }
}
