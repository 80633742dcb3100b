//! Large messages through the whole program: byte for byte, within the memory and
//! the disk they are given, and without a trace when the process is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use support::DEADLINE;
use support::collector::{Answer, Collector, Keep};
use support::program::{CONFIG, Client, Gateway, Reply, eventually};
use support::small_disk::SmallDisk;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
/// What stays in memory of one message.
const IN_MEMORY: usize = MIB;

/// A gateway's configuration that posts mail raw to a receiver.
fn raw_route(receiver: &Collector, limits: &str) -> String {
    let limits = CONFIG.replace("[limits]", &format!("[limits]\n{limits}"));
    let route = "[[route]]\nrecipient = \"*@raw.example\"\npayload = \"raw\"\nheader_control = true";
    format!("{limits}\n{route}\nurl = \"http://{}/\"\n", receiver.address)
}

fn receiver() -> Collector {
    Collector::on(TcpListener::bind("127.0.0.1:0").unwrap(), Keep::ChecksumsOnly, |_| Answer::Status(200))
}

fn to() -> [String; 1] {
    ["a@raw.example".to_owned()]
}

/// A message of exactly so many octets, with dots and line ends at changing
/// places; `seed` makes it another one.
fn message(octets: usize, seed: u64) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut lines = Vec::new();
    while lines.len() < 100_003 {
        lines.extend(std::iter::repeat_n(b'.', dice.usize(..3)));
        lines.extend((0..dice.usize(..100)).map(|_| dice.u8(b' '..=b'~')));
        lines.extend_from_slice(b"\r\n");
    }
    let mut message = b"Subject: large\r\nX-Postgate-Not-Before: 0s\r\n\r\n".to_vec();
    message.extend(lines.iter().cycle().take(octets - 3 - message.len()));
    message.extend_from_slice(b"x\r\n");
    message
}

/// What the kernel says of the memory of a process, in octets.
fn memory(gateway: &Gateway, what: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Where temporary files are made.
fn temporary(directory: &Path) -> PathBuf {
    directory.join("postgate-data/spool/tmp")
}

/// Open files without a name that are in the spool's directory for them.
fn nameless(gateway: &Gateway) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{}/fd", gateway.child.id())) else { return 0 };
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("spool/tmp/")).count()
}

fn await_nameless(gateway: &Gateway, count: usize) {
    eventually(&format!("{count} temporary files"), DEADLINE, || (nameless(gateway) == count).then_some(()));
}

#[test]
fn every_octet_comes_through_wherever_the_file_begins() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    let sizes = [IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, IN_MEMORY + 2, 2 * IN_MEMORY + 1, 5 * MIB + 7];
    for (number, octets) in sizes.into_iter().enumerate() {
        let message = message(octets, number as u64);
        assert!(client.send(&to(), &message).is_accepted());
        let arrival = receiver.received(number + 1).pop().unwrap();
        assert_eq!(arrival.checksum, crc32c::crc32c(&message), "{octets}");
    }
    assert_eq!(nameless(&gateway), 0);
}

#[test]
fn dots_and_line_ends_survive_every_place_where_a_piece_can_end() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    let tricky = b"\r\n.\r\n..\r\n...x\r\n\r\n";
    for shift in 0..tricky.len() {
        let mut message = b"Subject: x\r\n\r\n".to_vec();
        message.resize(IN_MEMORY - shift, b'x');
        message.extend_from_slice(tricky);
        message.extend_from_slice(b"end\r\n");
        assert!(client.send(&to(), &message).is_accepted());
        let arrival = receiver.received(shift + 1).pop().unwrap();
        assert_eq!(arrival.checksum, crc32c::crc32c(&message), "{shift}");
    }
}

/// `security.md` R6.
#[test]
fn r6_the_size_limit_holds_whatever_the_client_says_and_discarding_is_free() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, "message_size = \"3MiB\""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    let (limit, past) = (message(3 * MIB, 1), message(3 * MIB + 1, 2));
    let said = |reply: Reply| if let Reply::Said(line) = reply { line } else { panic!("{reply:?}") };
    assert!(said(client.send(&to(), &limit)).starts_with("250 2.0.0 "));
    assert!(said(client.send(&to(), &past)).starts_with("552 5.3.4 "));
    // It lies low, and says the truth.
    assert!(client.say("MAIL FROM:<a@app.example> SIZE=10").unwrap().starts_with("250 "));
    assert!(client.say("RCPT TO:<a@raw.example>").unwrap().starts_with("250 "));
    assert!(client.say("DATA").unwrap().starts_with("354 "));
    let line = [&b"MAIL FROM:<smuggled@app.example>"[..], &[b'x'; 990], b"\r\n"].concat();
    let many = line.repeat(3 * MIB / line.len());
    client.write(&many).unwrap();
    await_nameless(&gateway, 1);
    let before = memory(&gateway, "VmRSS:");
    client.write(&many).unwrap();
    await_nameless(&gateway, 0);
    (0..5).for_each(|_| client.write(&many).unwrap());
    let reply = client.say("\r\n.").unwrap();
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    assert!(memory(&gateway, "VmRSS:") < before + 4 * MIB);
    // It lies high, and says the truth.
    let high = format!("MAIL FROM:<a@app.example> SIZE={}", 3 * MIB + 1);
    assert!(client.say(&high).unwrap().starts_with("552 5.3.4 "));
    let truth = format!("MAIL FROM:<a@app.example> SIZE={}", 3 * MIB);
    assert!(client.say(&truth).unwrap().starts_with("250 "));
    client.say("RSET").unwrap();
    assert!(client.send(&to(), &limit).is_accepted());
    let checksums: Vec<_> = receiver.received(2).iter().map(|arrival| arrival.checksum).collect();
    assert_eq!(checksums, [crc32c::crc32c(&limit); 2]);
}

/// `security.md` R7: form-encoded and JSON bodies are one line.
#[test]
fn r7_a_line_of_25_mb_takes_no_memory_while_it_comes() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    for beginning in ["", "Subject: x\r\n\r\n"] {
        let mut client = Client::connect(gateway.smtp).unwrap();
        client.envelope(&to()).unwrap();
        client.write(beginning.as_bytes()).unwrap();
        client.write(&vec![b'{'; 2 * MIB]).unwrap();
        await_nameless(&gateway, 1);
        let before = memory(&gateway, "VmHWM:");
        (0..23).for_each(|_| client.write(&vec![b'{'; MIB - 1]).unwrap());
        let grown = memory(&gateway, "VmHWM:").saturating_sub(before);
        assert!(grown < 4 * MIB, "{beginning:?}: {} KiB", grown / 1024);
        assert!(client.say("\r\n.").unwrap().starts_with("250 "));
    }
    assert_eq!(receiver.received(2).len(), 2);
}

#[test]
fn large_messages_at_once_take_turns_within_a_small_budget() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let mut gateway = Gateway::start(directory.path(), &raw_route(&receiver, "data_memory = \"32MiB\""));
    let before = memory(&gateway, "VmHWM:");
    let messages: Vec<_> = (0..4).map(|seed| message(25 * MIB, seed)).collect();
    // Due in an hour: sending holds bodies, and has a bound of its own.
    let later = |message: &[u8]| {
        let at = message.windows(4).position(|octets| octets == b": 0s").unwrap();
        [&message[..at], b": 1h", &message[at + 4..]].concat()
    };
    thread::scope(|scope| {
        for message in &messages {
            scope.spawn(|| {
                let mut client = Client::connect(gateway.smtp).unwrap();
                assert!(client.send(&to(), &later(message)).is_accepted());
            });
        }
    });
    // One goes alone, and is there twice for a moment: read, and going to the disk.
    let grown = memory(&gateway, "VmHWM:").saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    thread::scope(|scope| {
        for message in &messages {
            scope.spawn(|| {
                let mut client = Client::connect(gateway.smtp).unwrap();
                assert!(client.send(&to(), message).is_accepted());
            });
        }
    });
    let mut arrived: Vec<_> = receiver.received(4).iter().map(|arrival| arrival.checksum).collect();
    let mut sent: Vec<_> = messages.iter().map(|message| crc32c::crc32c(message)).collect();
    arrived.sort_unstable();
    sent.sort_unstable();
    assert_eq!(arrived, sent);
    assert_eq!(gateway.end("-TERM"), 0);
}

#[test]
fn slow_uploads_hold_next_to_no_memory_and_are_all_taken() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    // A quarter of it is for what is being received.
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, "data_memory = \"8MiB\""));
    let before = memory(&gateway, "VmRSS:");
    let upload = [&[b'x'; 1022][..], b"\r\n"].concat().repeat(1536);
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(gateway.smtp).unwrap()).collect();
    for client in &mut clients {
        client.envelope(&to()).unwrap();
        client.write(&upload).unwrap();
    }
    await_nameless(&gateway, 40);
    let grown = memory(&gateway, "VmRSS:").saturating_sub(before);
    assert!(grown < 30 * MIB, "{} MiB", grown / MIB);
    for client in &mut clients {
        assert!(client.say("\r\n.").unwrap().starts_with("250 "));
    }
    assert_eq!(receiver.received(40).len(), 40);
}

#[test]
fn nothing_is_left_of_an_upload_that_was_killed() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let mut gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.envelope(&to()).unwrap();
    client.write(&vec![b'x'; 3 * MIB]).unwrap();
    await_nameless(&gateway, 1);
    assert_eq!(gateway.end("-KILL"), -1);
    assert_eq!(fs::read_dir(temporary(directory.path())).unwrap().count(), 0);
    // What a file system without nameless files would have left.
    fs::write(temporary(directory.path()).join("0123456789abcdef"), "left over").unwrap();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    assert_eq!(fs::read_dir(temporary(directory.path())).unwrap().count(), 0);
    let message = message(3 * MIB, 1);
    assert!(Client::connect(gateway.smtp).unwrap().send(&to(), &message).is_accepted());
    assert_eq!(receiver.received(1)[0].checksum, crc32c::crc32c(&message));
}

#[test]
fn without_temporary_files_large_mail_is_refused_for_now_and_small_mail_taken() {
    let directory = TempDir::new().unwrap();
    let receiver = receiver();
    let gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    let (place, away) = (temporary(directory.path()), directory.path().join("away"));
    fs::rename(&place, &away).unwrap();
    let mut client = Client::connect(gateway.smtp).unwrap();
    let refused = client.send(&to(), &message(3 * MIB, 1));
    assert!(matches!(&refused, Reply::Said(line) if line.starts_with("452 4.3.1 ")), "{refused:?}");
    assert!(client.send(&to(), &message(IN_MEMORY, 2)).is_accepted());
    fs::rename(&away, &place).unwrap();
    assert!(client.send(&to(), &message(3 * MIB, 3)).is_accepted());
    assert_eq!(receiver.received(2).len(), 2);
}

/// `security.md` R10.
#[test]
fn r10_an_upload_that_meets_the_reserve_is_refused_at_its_end_and_gives_its_room_back() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("postgate-data");
    fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, 200 << 20, 0) else { return };
    let receiver = receiver();
    // Kept free: one and a half messages, 60 MiB. The spool takes 68 MiB.
    let mut gateway = Gateway::start(directory.path(), &raw_route(&receiver, "message_size = \"40MiB\""));
    eventually("the spool's reserve", DEADLINE, || data.join("spool/log/reserve").exists().then_some(()));
    disk.leave(70 << 20);
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.envelope(&to()).unwrap();
    let lines = [&[b'x'; 1022][..], b"\r\n"].concat().repeat(1024);
    (0..15).for_each(|_| client.write(&lines).unwrap());
    await_nameless(&gateway, 0);
    assert!(client.say("\r\n.").unwrap().starts_with("452 4.3.1 "));
    // What room there is, is looked at now and then.
    let sent = || Client::connect(gateway.smtp).unwrap().send(&to(), &message(3 * MIB, 1)).is_accepted();
    eventually("room for a message", DEADLINE, || sent().then_some(()));
    assert_eq!(receiver.received(1).len(), 1);
    disk.relieve();
    assert_eq!(gateway.end("-TERM"), 0);
}

/// `security.md` R10.
#[test]
fn r10_without_inodes_mail_is_refused_delivered_and_taken_again() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("postgate-data");
    fs::create_dir(&data).unwrap();
    let Some(_disk) = SmallDisk::mount(&data, 400 << 20, 400) else { return };
    let receiver = receiver();
    let mut gateway = Gateway::start(directory.path(), &raw_route(&receiver, ""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    let due = String::from_utf8(message(1000, 1)).unwrap().replacen(": 0s", ": 1s", 1);
    assert!(client.send(&to(), due.as_bytes()).is_accepted());
    let files = data.join("files");
    fs::create_dir(&files).unwrap();
    let made = (0..400).take_while(|number| fs::write(files.join(number.to_string()), "").is_ok()).count();
    assert!(made > 300, "{made}");
    // In a session of its own: errors slow a client down.
    let mail = || Client::connect(gateway.smtp).unwrap().say("MAIL FROM:<a@app.example>").unwrap();
    eventually("a refusal", DEADLINE, || mail().starts_with("452 4.3.1 ").then_some(()));
    assert_eq!(receiver.received(1).len(), 1);
    fs::remove_dir_all(&files).unwrap();
    eventually("mail to be taken again", DEADLINE, || mail().starts_with("250 ").then_some(()));
    assert_eq!(gateway.end("-TERM"), 0);
}
