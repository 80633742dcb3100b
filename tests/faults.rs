//! The whole program, with a ledger at both of its ends: nothing that was
//! acknowledged is lost, nothing is sent twice under another key, whatever
//! happens to the process, its receivers and its disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "faults/controls.rs"]
mod controls;
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::collector::{Answer, Collector, Keep, moody};
use support::ledger::drain;
use support::load::Load;
use support::program::{
    CONFIG, Client, Gateway, Reply, eventually, holds_posts, postgate, retrying, send, under,
};
use support::small_disk::SmallDisk;
use support::{DEADLINE, nobody};
use tempfile::TempDir;

#[test]
fn nothing_is_lost_when_it_is_killed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, moody);
    let load = Load::begin(16, receiver.address);
    let mut dice = fastrand::Rng::with_seed(25);
    for _ in 0..25 {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + dice.usize(20..120);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
    }
    let sent = load.end();
    let audit = drain(directory.path(), CONFIG, &sent, &receiver);
    let accepted = sent.iter().filter(|message| message.reply.is_accepted()).count();
    assert!(accepted > 25 * 20 && sent.len() > accepted, "{accepted} of {}", sent.len());
    assert!(audit.wrongs().is_empty(), "{:?} {audit:#?}", audit.wrongs());
    // What was under way to 20 connections, and what had just come back.
    assert!(audit.repeated.len() < 25 * 40, "{} repeats", audit.repeated.len());
}

#[test]
fn a_stop_under_load_loses_and_repeats_nothing() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, |_| Answer::Status(200));
    let load = Load::begin(8, receiver.address);
    for _ in 0..4 {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + 100;
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        let begun = Instant::now();
        assert_eq!(gateway.end("-TERM"), 0);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
    let sent = load.end();
    let audit = drain(directory.path(), CONFIG, &sent, &receiver);
    assert!(audit.wrongs().is_empty(), "{:?} {audit:#?}", audit.wrongs());
    assert!(audit.repeated.is_empty(), "{:?}", audit.repeated);
    let nothing = sent.iter().filter(|message| message.reply == Reply::Nothing).count();
    assert_eq!(nothing, 0, "a message whose last octet was taken is answered");
}

/// Octets that a directory takes on its disk.
fn octets_under(directory: &Path) -> u64 {
    // What is given up may vanish meanwhile.
    let length = |path: PathBuf| path.symlink_metadata().map_or(0, |entry| entry.blocks() * 512);
    under(directory).into_iter().map(length).sum()
}

#[test]
fn a_loop_of_restarts_neither_grows_nor_hammers() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(500));
    let config = retrying(r#"["1h"]"#);
    let mut gateway = Gateway::start(directory.path(), &config);
    let recipients: Vec<_> = (0..20).map(|post| receiver.recipient(&format!("/{post}"))).collect();
    send(gateway.smtp, &recipients, "\r\nx\r\n").id();
    receiver.received(20);
    gateway.end("-KILL");
    receiver.is_alone();
    let cut_short = receiver.count();
    let (mut sizes, mut tried, mut starts_that_tried) = (Vec::new(), cut_short, 0);
    let mut dice = fastrand::Rng::with_seed(16);
    for _ in 0..20 {
        let mut child = Gateway::spawn(&mut postgate(directory.path()), directory.path());
        // The fault: it may not even have begun.
        std::thread::sleep(Duration::from_millis(dice.u64(20..180)));
        child.kill().unwrap();
        child.wait().unwrap();
        receiver.is_alone();
        starts_that_tried += u64::from(receiver.count() > tried);
        tried = receiver.count();
        sizes.push((octets_under(&directory.path().join("postgate-data")), starts_that_tried));
    }
    assert!(receiver.count() <= cut_short + 20, "{} after {cut_short}", receiver.count());
    for (arrival, _) in receiver.arrivals() {
        assert!(arrival.attempt() <= 22, "{arrival:?}");
    }
    // A start that wrote what became of an attempt leaves its segment; of all others there is one.
    let (first, _) = sizes[0];
    assert!(sizes.iter().all(|(size, starts)| *size < first + (1 + starts) * (5 << 20)), "{sizes:?}");
}

#[test]
fn a_full_disk_refuses_mail_delivers_what_is_there_and_recovers() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("postgate-data");
    fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, 200 << 20, 0) else { return };
    let receiver = Collector::start(|_| Answer::Status(200));
    let config = CONFIG.replace("[limits]", "[limits]\nmessage_size = \"1MiB\"");
    let mut gateway = Gateway::start(directory.path(), &config);
    let later = "X-Postgate-Not-Before: 2s\r\n\r\nx\r\n";
    let recipients: Vec<_> = (0..20).map(|post| receiver.recipient(&format!("/{post}"))).collect();
    send(gateway.smtp, &recipients, later).id();
    let mut begun = Client::connect(gateway.smtp).unwrap();
    begun.envelope(&[receiver.recipient("/begun")]).unwrap();
    disk.fill();
    let mail = |client: &mut Client| client.say("MAIL FROM:<a@app.example>").unwrap();
    let is_refused = |gateway: &Gateway| {
        let reply = || Some(mail(&mut Client::connect(gateway.smtp)?));
        eventually("a refusal", DEADLINE, || reply().filter(|reply| reply.starts_with("452 4.3.1 ")));
    };
    is_refused(&gateway);
    begun.write(b"\r\nx\r\n.\r\n").unwrap();
    assert!(begun.reply().unwrap().starts_with("452 4.3.1 "));
    receiver.received(20);
    assert!(mail(&mut begun).starts_with("452 4.3.1 "), "it is still full");
    // It starts on a full disk as well, again and again, and has noted there
    // what was delivered.
    for signal in ["-TERM", "-KILL", "-KILL"] {
        gateway.end(signal);
        gateway = Gateway::start(directory.path(), &config);
        is_refused(&gateway);
    }
    disk.relieve();
    let accepted =
        || Some(mail(&mut Client::connect(gateway.smtp)?)).filter(|reply| reply.starts_with("250 "));
    eventually("mail to be taken again", DEADLINE, accepted);
    send(gateway.smtp, &[receiver.recipient("/after")], "\r\nx\r\n").id();
    let arrivals = receiver.received(21);
    assert_eq!((arrivals[20].path.as_str(), arrivals.len()), ("/after", 21));
    assert_eq!(gateway.end("-TERM"), 0);
    assert!(!holds_posts(directory.path()));
}

#[test]
fn mail_flows_whatever_becomes_of_the_logs() {
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let broken: [(&str, &dyn Fn() -> Stdio); 2] = [("full", &full), ("gone", &gone)];
    for (how, output) in broken {
        let directory = TempDir::new().unwrap();
        let receiver = Collector::start(|_| Answer::Status(200));
        let days = directory.path().join("postgate-data/log");
        fs::create_dir_all(&days).unwrap();
        Command::new("chmod").arg("700").arg(days.parent().unwrap()).status().unwrap();
        // Today's, and tomorrow's if it is near.
        for hours in [0, 12] {
            let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            let name = format!("protocol-{}.log", &day.to_string()[..10]);
            // The second is the first again before noon.
            let _ = std::os::unix::fs::symlink("/dev/full", days.join(name));
        }
        // Nobody can say which port it is: it is one that is kept for it.
        let (_bound, free) = nobody();
        let config = CONFIG.replace("127.0.0.1:0", &free.to_string());
        fs::write(directory.path().join("postgate.toml"), format!("{config}\n[log]\nlevel = \"trace\"\n"))
            .unwrap();
        let mut command = postgate(directory.path());
        let child = command.stdout(output()).stderr(output()).spawn().unwrap();
        let mut gateway = Gateway::at(child, free);
        let mut client = eventually("a greeting", DEADLINE, || Client::connect(free));
        // The repair of the body is worth a line of the operational log.
        let message = "X-XsHttp-Content-Type: application/json\r\n\r\n{\"a\":\r\n \"b\r\nc\"}\r\n";
        for number in 1..4 {
            let reply = client.send(&[receiver.recipient("/")], message.as_bytes());
            assert!(reply.is_accepted(), "{how}: {reply:?}");
            assert_eq!(
                receiver.received(number)[number - 1].headers["postgate-repaired"],
                "line-cuts",
                "{how}"
            );
        }
        assert!(client.say("QUIT").is_some());
        assert_eq!(gateway.end("-TERM"), 0, "{how}");
        assert!(!holds_posts(directory.path()));
    }
}
