//! A clock that jumps (`security.md` 4.4, F7): retries keep to their schedule, nothing ends
//! before its time, nothing waits for ever. The real program, to which `libfaketime` tells
//! another time of day, as its own log shows behind each jump; the monotonic clock is the
//! machine's.

use crate::support::DEADLINE;
use crate::support::api::api_of;
use crate::support::collector::{Answer, Collector};
use crate::support::program::{Client, Gateway, eventually, postgate, retrying, send};
use crate::support::tools::leave_out;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the clock jumps to, in hours from the time that it is: also further back than mail
/// may be old.
const JUMPS: [i64; 6] = [1, -1, 24, -24, -30 * 24, 0];
/// How far from there the clock may be seen.
const NEAR: i64 = 60;
/// How long dead letters are kept, in hours.
const KEPT: i64 = 14 * 24;
/// Between attempts.
const RETRY: Duration = Duration::from_millis(400);

/// A machine whose clock is set by hand, and the directory of a gateway.
struct Machine {
    library: PathBuf,
    directory: TempDir,
}

impl Machine {
    /// One whose clock is right; none where that cannot be and is not a failure.
    fn new() -> Option<Machine> {
        let list = ["-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1"];
        let found = String::from_utf8(Command::new("sh").args(list).output().unwrap().stdout).unwrap();
        let Some(library) = found.lines().next().map(PathBuf::from) else {
            leave_out("libfaketime is missing");
            return None;
        };
        let machine = Machine { library, directory: TempDir::new().unwrap() };
        machine.set_clock(0);
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the clock jump, for who is started later.
    fn set_clock(&self, hours: i64) {
        // In one: it is read all the time.
        fs::write(self.path("clock.new"), format!("{hours:+}h\n")).unwrap();
        fs::rename(self.path("clock.new"), self.path("clock")).unwrap();
    }

    fn start(&self) -> Gateway {
        let config =
            retrying("[\"400ms\"]").replace("[delivery]", "[delivery]\nbreaker = 0\nmax_age = \"3d\"");
        let config = config.replace("\"off\"", "\"127.0.0.1:0\"");
        let config = format!("{config}\n[[accounting]]\npath = \"given-up.ndjson\"\ntypes = [\"b\"]\n");
        fs::write(self.path("postgate.toml"), config).unwrap();
        let mut command = postgate(self.directory.path());
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.path("clock"));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Gateway::listening(Gateway::spawn(&mut command, self.directory.path()))
    }

    /// The control: what is said to the gateway now stands in its log at the time that it is told.
    fn shows(&self, gateway: &Gateway, hours: i64) {
        let mark = format!("NOOP clock-{}", fastrand::u64(..));
        let expected = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let mut client = Client::connect(gateway.smtp).unwrap();
        client.say(&mark).unwrap();
        client.say("QUIT").unwrap();
        let logged = || {
            let files = fs::read_dir(self.path("postgate-data/log")).unwrap();
            let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
            let line = texts.collect::<String>().lines().find(|line| line.contains(&mark))?.to_owned();
            Some(line.split(' ').next().unwrap().to_owned())
        };
        is_about(&eventually("the log", DEADLINE, logged), expected);
    }

    /// Has the clock jump under a gateway.
    fn jump(&self, gateway: &Gateway, hours: i64) {
        self.set_clock(hours);
        self.shows(gateway, hours);
    }

    /// What a gateway tells of a post, while it is not being sent: a time so many hours from now.
    fn tells(&self, api: SocketAddr, path: &str, (field, hours): (&str, i64)) {
        let mut list = postgate(self.directory.path());
        list.args(["queue", "list", "--json"]).env("POSTGATE_API", format!("http://{api}"));
        let told = || {
            let told: Value = serde_json::from_slice(&list.output().unwrap().stdout).unwrap();
            let is_meant = |post: &&Value| post["url"].as_str().unwrap().ends_with(path);
            let post = told["posts"].as_array().unwrap().iter().find(is_meant)?.clone();
            post[field].as_str().map(str::to_owned)
        };
        let told = eventually(&format!("{field} of {path}"), DEADLINE, told);
        is_about(&told, jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours));
    }

    /// What accounting says of those that were given up.
    fn given_up(&self) -> String {
        fs::read_to_string(self.path("postgate-data/given-up.ndjson")).unwrap_or_default()
    }
}

/// The year 1970, in hours from now.
fn never() -> i64 {
    jiff::Timestamp::now().as_second() / -3600
}

/// A time that is told is this one, but for what the telling took.
fn is_about(told: &str, expected: jiff::Timestamp) {
    let told = told.parse::<jiff::Timestamp>().unwrap();
    assert!((told.as_second() - expected.as_second()).abs() < NEAR, "{told} and not {expected}");
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
    let Some(machine) = Machine::new() else { return };
    let (receiver, is_busy) = busy();
    let mut gateway = machine.start();
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
    for hours in JUMPS {
        hand_in(&mut client);
        machine.jump(&gateway, hours);
        let handed_in = hand_in(&mut client);
        let before = attempts();
        // Each is tried again, the new ones too: nobody waits for an hour.
        let goes_on = || {
            let now = attempts();
            let more = |path: &String| now[path].len() >= before.get(path).map_or(0, Vec::len) + 2;
            (now.len() == handed_in && now.keys().all(more)).then_some(())
        };
        eventually(&format!("attempts behind {hours} hours"), DEADLINE, goes_on);
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

/// A time that is asked for is a time of day, also where the clock was set since the gateway
/// began, as on a machine that hears late what time it is.
#[test]
fn times_that_mail_asks_for_are_kept_to_when_the_clock_was_set_before_it_came() {
    let Some(machine) = Machine::new() else { return };
    let (receiver, is_busy) = busy();
    let mut gateway = machine.start();
    let attempts = |name: &str| {
        let arrivals = receiver.arrivals().into_iter().filter(|(arrival, _)| arrival.path == name);
        arrivals.map(|(arrival, _)| arrival.at).collect::<Vec<_>>()
    };
    for hours in [1, -1] {
        machine.jump(&gateway, hours);
        let begun = Instant::now();
        let name = |what: &str| format!("/{what}/{hours}");
        for (what, header) in [("waits", "Not-Before: 1s"), ("ends", "Expires: 2s"), ("lives", "Expires: 9m")]
        {
            let message = format!("X-Postgate-{header}\r\n\r\nx\r\n");
            assert!(send(gateway.smtp, &[receiver.recipient(&name(what))], &message).is_accepted());
        }
        let ends = || machine.given_up().contains(&name("ends")).then_some(());
        eventually(&format!("an end behind {hours} hours"), DEADLINE, ends);
        let is_tried = |what: &&str| attempts(&name(what)).len() > 2;
        let are_tried = || ["waits", "lives"].iter().all(is_tried).then_some(());
        eventually(&format!("attempts behind {hours} hours"), DEADLINE, are_tried);
        let waited = attempts(&name("waits"))[0] - begun;
        // Both clocks are read in milliseconds.
        assert!(waited > Duration::from_millis(990), "{waited:?}");
        assert!(!attempts(&name("ends")).is_empty(), "it ended before its time");
    }
    is_busy.store(false, Ordering::SeqCst);
    let are_delivered = || {
        let arrivals = receiver.arrivals();
        let delivered = arrivals.iter().filter(|(_, answer)| *answer == Answer::Status(200)).count();
        (delivered == 4).then_some(())
    };
    eventually("what waits and what lives", DEADLINE, are_delivered);
    assert_eq!((gateway.end("-TERM"), machine.given_up().lines().count()), (0, 2));
}

/// A clock that is behind at the start, as on a machine that has none of its own until the
/// network is there: what was accepted before is not put off until then.
#[test]
fn what_waits_goes_on_when_the_clock_was_set_back_between_two_starts() {
    let Some(machine) = Machine::new() else { return };
    for (number, hours) in [-1, -24, never()].into_iter().enumerate() {
        let (receiver, is_busy) = busy();
        machine.set_clock(0);
        let mut gateway = machine.start();
        let tried = receiver.recipient(&format!("/{number}/tried"));
        assert!(send(gateway.smtp, &[tried], "\r\nx\r\n").is_accepted());
        receiver.received(2);
        assert_eq!(gateway.end(if number == 0 { "-TERM" } else { "-KILL" }), -i32::from(number > 0));
        is_busy.store(false, Ordering::SeqCst);
        let before = receiver.count();
        machine.set_clock(hours);
        let mut gateway = machine.start();
        machine.shows(&gateway, hours);
        let new = receiver.recipient(&format!("/{number}/new"));
        assert!(send(gateway.smtp, &[new], "\r\nx\r\n").is_accepted());
        let paths = receiver.received(before + 2);
        let mut paths: Vec<_> = paths[before..].iter().map(|arrival| arrival.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, [format!("/{number}/new"), format!("/{number}/tried")], "{hours}");
        assert_eq!(gateway.end("-TERM"), 0);
    }
}

/// A clock that is set while the gateway runs: what is told of posts, and what the next
/// process finds in the log, are times of day.
#[test]
fn what_waits_and_what_failed_keep_their_times_when_the_clock_was_set_after_the_start() {
    let Some(machine) = Machine::new() else { return };
    for (number, hours) in [2, never()].into_iter().enumerate() {
        let (receiver, is_busy) = busy();
        machine.set_clock(hours);
        let mut gateway = machine.start();
        let api = api_of(&gateway);
        let name = |what: &str| format!("/{number}/{what}");
        let hand_in = |what: &str, headers: &str| {
            let message = format!("{headers}\r\nx\r\n");
            assert!(send(gateway.smtp, &[receiver.recipient(&name(what))], &message).is_accepted());
        };
        let tried = || receiver.arrivals().iter().filter(|(post, _)| post.path == name("waits")).count();
        hand_in("waits", "");
        receiver.received(1);
        machine.jump(&gateway, 0);
        hand_in("fails", "X-Postgate-Expires: 1s\r\n");
        eventually("the end", DEADLINE, || machine.given_up().contains(&name("fails")).then_some(()));
        // The first of two more is in the log.
        let before = tried();
        eventually("more attempts", DEADLINE, || (tried() > before + 1).then_some(()));
        machine.tells(api, &name("waits"), ("next_attempt_at", 0));
        machine.tells(api, &name("fails"), ("kept_until", KEPT));
        assert_eq!(gateway.end("-KILL"), -1);
        let before = tried();
        let mut gateway = machine.start();
        let api = api_of(&gateway);
        eventually("another attempt", DEADLINE, || (tried() > before).then_some(()));
        machine.tells(api, &name("waits"), ("next_attempt_at", 0));
        // Also those of the clocks before.
        for number in 0..=number {
            machine.tells(api, &format!("/{number}/fails"), ("kept_until", KEPT));
        }
        is_busy.store(false, Ordering::SeqCst);
        let is_delivered = || receiver.arrivals().iter().any(|(_, answer)| *answer == Answer::Status(200));
        eventually("the delivery", DEADLINE, || is_delivered().then_some(()));
        assert_eq!(gateway.end("-TERM"), 0);
    }
}
