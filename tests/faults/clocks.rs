//! A clock that jumps (`security.md` 4.4, F7): retries keep to their schedule, nothing ends
//! before its time, nothing waits for ever. The real program, to which `libfaketime` tells
//! another time of day; the monotonic clock is the machine's.

use crate::support::DEADLINE;
use crate::support::collector::{Answer, Collector};
use crate::support::program::{Client, Gateway, eventually, postgate, retrying, send};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Where the clock jumps to, in the words of libfaketime: never further back than mail may
/// be old, as what comes then is by that much older than it is.
const JUMPS: [&str; 5] = ["+1h", "-1h", "+1d", "-1d", "+0"];
/// Between attempts.
const RETRY: Duration = Duration::from_millis(400);

/// Where the library is; none, when that is not a failure.
#[allow(clippy::print_stderr)]
fn library() -> Option<PathBuf> {
    let found =
        Command::new("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1"]).output().unwrap();
    let path = String::from_utf8(found.stdout).unwrap().lines().next().map(PathBuf::from);
    assert!(path.is_some() || std::env::var_os("CI").is_none(), "libfaketime is missing");
    if path.is_none() {
        eprintln!("left out: libfaketime is missing");
    }
    path
}

/// Has the clock jump, now and for who is started later.
fn jump(directory: &Path, to: &str) {
    // In one: it is read all the time.
    fs::write(directory.join("clock.new"), format!("{to}\n")).unwrap();
    fs::rename(directory.join("clock.new"), directory.join("clock")).unwrap();
}

fn start(directory: &Path, library: &Path) -> Gateway {
    let config = retrying("[\"400ms\"]").replace("[delivery]", "[delivery]\nbreaker = 0\nmax_age = \"3d\"");
    fs::write(directory.join("postgate.toml"), config).unwrap();
    let mut command = postgate(directory);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", directory.join("clock"));
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Gateway::listening(Gateway::spawn(&mut command, directory))
}

/// A receiver that refuses until it is told otherwise.
pub fn busy() -> (Collector, Arc<AtomicBool>) {
    let is_busy = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&is_busy);
    let answer = move |_: &_| Answer::Status(if asked.load(Ordering::SeqCst) { 503 } else { 200 });
    (Collector::start(answer), is_busy)
}

#[test]
fn retries_keep_to_their_schedule_and_nothing_expires_when_the_clock_jumps() {
    let Some(library) = library() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    jump(path, "+0");
    let (receiver, is_busy) = busy();
    let mut gateway = start(path, &library);
    let mut client = Client::connect(gateway.smtp).unwrap();
    let mut posts = 0;
    let mut hand_in = |client: &mut Client| {
        for _ in 0..3 {
            let reply = client.send(&[receiver.recipient(&format!("/{posts}"))], b"\r\nx\r\n");
            assert!(reply.is_accepted(), "{reply:?}");
            posts += 1;
        }
        posts
    };
    let attempts = || {
        let mut attempts: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (arrival, _) in receiver.arrivals() {
            attempts.entry(arrival.path.clone()).or_default().push(arrival.at);
        }
        attempts
    };
    for to in JUMPS {
        hand_in(&mut client);
        jump(path, to);
        let handed_in = hand_in(&mut client);
        let before = attempts();
        // Each is tried again, the new ones too: nobody waits for an hour.
        let goes_on = || {
            let now = attempts();
            let more = |path: &String| now[path].len() >= before.get(path).map_or(0, Vec::len) + 2;
            (now.len() == handed_in && now.keys().all(more)).then_some(())
        };
        eventually(&format!("attempts behind {to}"), DEADLINE, goes_on);
    }
    is_busy.store(false, Ordering::SeqCst);
    let delivered =
        || receiver.arrivals().iter().filter(|(_, answer)| *answer == Answer::Status(200)).count();
    eventually("all posts", DEADLINE, || (delivered() == posts).then_some(()));
    assert_eq!(gateway.end("-TERM"), 0);
    assert_eq!((delivered(), attempts().len()), (posts, posts));
    for (path, times) in attempts() {
        for pair in times.windows(2) {
            let waited = pair[1] - pair[0];
            assert!(waited >= RETRY * 8 / 10, "{path} was tried again behind {waited:?}");
        }
    }
}

/// A clock that is behind at the start, as on a machine that has none of its own until the
/// network is there: what was accepted before is not put off until then.
#[test]
fn what_waits_goes_on_when_the_clock_was_set_back_between_two_starts() {
    let Some(library) = library() else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for (number, to) in ["-1h", "-1d", "@1970-01-01 00:00:10"].into_iter().enumerate() {
        let (receiver, is_busy) = busy();
        jump(path, "+0");
        let mut gateway = start(path, &library);
        let tried = receiver.recipient(&format!("/{number}/tried"));
        assert!(send(gateway.smtp, &[tried], "\r\nx\r\n").is_accepted());
        receiver.received(2);
        assert_eq!(gateway.end(if number == 0 { "-TERM" } else { "-KILL" }), -i32::from(number > 0));
        is_busy.store(false, Ordering::SeqCst);
        let before = receiver.count();
        jump(path, to);
        let mut gateway = start(path, &library);
        let new = receiver.recipient(&format!("/{number}/new"));
        assert!(send(gateway.smtp, &[new], "\r\nx\r\n").is_accepted());
        let paths = receiver.received(before + 2);
        let mut paths: Vec<_> = paths[before..].iter().map(|arrival| arrival.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, [format!("/{number}/new"), format!("/{number}/tried")], "{to}");
        assert_eq!(gateway.end("-TERM"), 0);
    }
}
