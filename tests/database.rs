//! The whole program with its spool in a database, and a ledger at both of its ends: what was
//! acknowledged is delivered, whoever of the two dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use support::collector::{Answer, Collector, Keep};
use support::ledger::{Audit, Sent, drain_while};
use support::load::{Load, misled};
use support::postgres::{Database, Server, database};
use support::program::{CONFIG, Gateway, eventually, holds_posts, postgate, retrying, send};
use support::{DEADLINE, nobody};
use tempfile::TempDir;

/// What a gateway is told of the database.
fn config(database: &Database) -> String {
    let url = database.url();
    format!("{CONFIG}\n[spool]\nbackend = \"postgres\"\nurl = \"{url}\"\naccept_risks = [\"fsync\"]\n")
}

/// Runs a command in a directory with this configuration.
fn run(directory: &Path, config: &str, arguments: &[&str]) -> (i32, String) {
    let file = directory.join("postgate.toml");
    fs::write(&file, config).unwrap();
    // Its URL may hold a password.
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    let Output { status, stdout, stderr } = postgate(directory).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// Waits until so many more messages were accepted.
fn wait_for(load: &Load, more: usize) {
    let enough = load.accepted() + more;
    eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
}

fn drained(database: &Database, directory: &Path, sent: &[Sent], receiver: &Collector) -> Audit {
    let is_left = || database.psql("SELECT count(*) FROM postgate_post WHERE phase = 0") != "0";
    drain_while(is_left, (directory, &config(database)), sent, receiver)
}

fn receiver() -> Collector {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    Collector::on(socket, Keep::ChecksumsOnly, |_| Answer::Status(200))
}

#[test]
fn nothing_is_lost_when_the_gateway_is_killed() {
    let Some(database) = database() else { return };
    let (directory, receiver) = (TempDir::new().unwrap(), receiver());
    let load = Load::begin(8, receiver.address);
    for _ in 0..3 {
        let mut gateway = Gateway::start(directory.path(), &config(&database));
        load.turn_to(gateway.smtp);
        wait_for(&load, 50);
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
    }
    let sent = load.end();
    let audit = drained(&database, directory.path(), &sent, &receiver);
    assert!(audit.wrongs().is_empty(), "{:?} {audit:#?}", audit.wrongs());
    assert_eq!(misled(&sent), Vec::<String>::new());
    // What was under way, and the news of deliveries that had not been written.
    assert!(audit.repeated.len() < 3 * 100, "{:?}", audit.repeated);
}

#[test]
fn nothing_is_lost_when_the_database_dies_and_comes_back() {
    let Some(server) = Server::start() else { return };
    let database = Database::on(&server.into());
    let (directory, receiver) = (TempDir::new().unwrap(), receiver());
    let load = Load::begin(8, receiver.address);
    let mut gateway = Gateway::start(directory.path(), &config(&database));
    load.turn_to(gateway.smtp);
    for _ in 0..3 {
        wait_for(&load, 50);
        database.server.end();
        database.server.begin();
    }
    wait_for(&load, 50);
    let sent = load.end();
    assert_eq!(gateway.end("-TERM"), 0);
    let audit = drained(&database, directory.path(), &sent, &receiver);
    assert!(audit.wrongs().is_empty(), "{:?} {audit:#?}", audit.wrongs());
    assert_eq!(misled(&sent), Vec::<String>::new());
}

#[test]
fn a_second_gateway_on_a_database_is_refused_and_told_which_one_has_it() {
    let Some(database) = database() else { return };
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = format!("{}node = \"one\"\n", config(&database));
    let mut first = Gateway::start(one.path(), &config);
    let (code, said) = run(other.path(), &config, &["serve"]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("the gateway \"one\" (version "), "{said}");
    assert_eq!(first.end("-TERM"), 0);
    // It said farewell: nobody waits for it.
    assert_eq!(database.psql("SELECT count(*) FROM postgate_node"), "0");
    assert_eq!(Gateway::start(other.path(), &config).end("-TERM"), 0);
}

#[test]
fn a_database_that_is_not_safe_is_refused_and_check_tells() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let good = config(&database);
    let bad = good.replace("[\"fsync\"]", "[]");
    for arguments in [&["serve"][..], &["check", "--spool"]] {
        let (code, said) = run(directory.path(), &bad, arguments);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("fsync is off") && said.contains("accept_risks = [\"fsync\"]"), "{said}");
    }
    let (code, said) = run(directory.path(), &good, &["check", "--spool"]);
    assert!(code == 0 && said.contains("spool: a database of PostgreSQL "), "{code} {said}");
    let (_bound, nobody) = nobody();
    let away = good.replace(&database.url(), &format!("postgres://user:kAnArY@{nobody}/x"));
    let (code, said) = run(directory.path(), &away, &["check", "--spool"]);
    assert!(code == 69 && !said.contains("kAnArY"), "{code} {said}");
}

#[test]
fn posts_of_the_embedded_spool_are_not_forgotten() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let receiver =
        Collector::start(|arrival| Answer::Status(if arrival.path == "/gone" { 404 } else { 500 }));
    let mut gateway = Gateway::start(directory.path(), &retrying(r#"["1h"]"#));
    for path in ["/busy", "/gone"] {
        assert!(send(gateway.smtp, &[receiver.recipient(path)], "\r\nx\r\n").is_accepted());
    }
    receiver.received(2);
    assert_eq!(gateway.end("-TERM"), 0);
    let (code, said) = run(directory.path(), &config(&database), &["serve"]);
    assert_eq!(code, 78, "{said}");
    let told = "postgate-data/spool holds posts that are still to be sent: 1; `postgate spool migrate`";
    assert!(said.contains(told), "{said}");
    assert!(holds_posts(directory.path()));
    fs::remove_dir_all(directory.path().join("postgate-data/spool")).unwrap();
    assert_eq!(Gateway::start(directory.path(), &config(&database)).end("-TERM"), 0);
}

#[test]
fn failed_posts_that_stay_in_the_embedded_spool_are_told_of() {
    let Some(database) = database() else { return };
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(404));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    assert!(send(gateway.smtp, &[receiver.recipient("/gone")], "\r\nx\r\n").is_accepted());
    receiver.received(1);
    assert_eq!(gateway.end("-TERM"), 0);
    let said = || fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(!said().contains("posts that failed are left"), "{}", said());
    assert_eq!(Gateway::start(directory.path(), &config(&database)).end("-TERM"), 0);
    let told = |text: &str| text.contains("posts that failed are left") && text.contains("posts=1");
    assert!(said().lines().any(told), "{}", said());
}
