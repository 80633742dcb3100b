//! A soak: posts without pause, one in twenty of which meets a receiver that resets, hangs,
//! trickles, talks garbage, never ends or asks to be left alone, and some never another. Of
//! each it is known in the end what its client, its receivers and the gateway's events say
//! of it; memory, descriptors and disk are watched meanwhile.
//!
//! ```sh
//! SOAK=1000000 cargo test --release --test soak -- --nocapture
//! ```
//!
//! That many posts, or for so many minutes (`SOAK=60m`), and a line every five seconds;
//! without `SOAK` a few thousand, among the other tests. At the end it prints how memory grew
//! of late, descriptors and which of them are more, disk, and the count of what is wrong of each
//! kind. It fails when there is anything, when descriptors or spool are not back where they were,
//! or when memory for certain grew by more than a hundredth in an hour, where there was a quarter
//! of one to look at: how much that is, can be told the better the longer it goes on. A
//! million takes some 2 GB below `$TMPDIR`, most of it protocol log, and 100 MB of memory for
//! what is known of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// The figures are what it is for.
#![allow(clippy::print_stderr)]

mod support;

#[path = "soak/book.rs"]
mod book;
#[path = "soak/watch.rs"]
mod watch;

use book::{Book, Counts, Course, NAMES, Progress, REFUSALS, SCHEDULE, course};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::api::{Scene, said};
use support::collector::{Answer, Arrival, Collector, Keep};
use support::load::{leave_halfway, lines};
use support::program::{Client, Reply, postgate, within};
use tempfile::TempDir;
use watch::{Sample, grown, growth, metric, metrics};

/// Posts of the soak that is one of the ordinary tests.
const FEW: usize = 4000;
/// Posts that may be under way, and clients that send them.
const ROOM: u64 = 10_000;
const CLIENTS: u64 = 16;
/// Lines of the bodies: some 200 octets, 4 KiB, and 64 KiB.
const SIZES: [usize; 16] = [2, 3, 4, 2, 1, 57, 3, 2, 3, 57, 2, 4, 1, 2, 3, 910];
/// A segment of the spool, in MiB.
const SEGMENT: f64 = 64.0;
/// Descriptors that come and go with files of the spool and the logs.
const FILES: u64 = 6;
/// Least time for memory to be judged by, in seconds.
const QUARTER: f64 = 900.0;

/// What clients need to know.
struct World {
    book: Arc<Book>,
    smtp: SocketAddr,
    /// The receivers that take posts at last, that are throttled, and that never take any.
    receivers: [SocketAddr; 2 + REFUSALS.len()],
    /// When there is to be no more.
    until: Option<Instant>,
}

impl World {
    /// Sends messages until there are `most` posts, it is late, or nothing goes on any more.
    fn work(&self, client: u64, most: usize) {
        let mut dice = fastrand::Rng::with_seed(client);
        while let Some(mut session) = Client::connect(self.smtp) {
            loop {
                let Some(reply) = self.send(&mut session, most, &mut dice) else { return };
                if !matches!(&reply, Reply::Said(line) if !line.starts_with("421 ")) {
                    break;
                }
            }
        }
    }

    fn send(&self, session: &mut Client, most: usize, dice: &mut fastrand::Rng) -> Option<Reply> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        let posts = if dice.u8(..7) == 0 { 3 } else { 1 };
        let text = lines(SIZES[dice.usize(..SIZES.len())], dice);
        let body = [format!("{:016x} ", dice.u64(..)).as_bytes(), text, b"end"].concat();
        let first = self.book.begin(posts, crc32c::crc32c(&body), most)?;
        let recipient = |number| format!("post@http://{}/{number}", self.receiver(course(number)));
        let recipients: Vec<_> = (first..first + posts).map(recipient).collect();
        let wrong = if dice.u8(..50) == 0 { "X-Postgate-Priority: 10\r\n" } else { "" };
        let head = format!("X-XsHttp-Content-Type: application/octet-stream\r\n{wrong}\r\n");
        let message = [head.as_bytes(), &body, b"\r\n"].concat();
        let reply = match dice.u8(..50) {
            0 => leave_halfway(session, &recipients, &message),
            _ => session.send(&recipients, &message),
        };
        self.book.replied(first, &reply);
        Some(reply)
    }

    fn receiver(&self, course: Course) -> SocketAddr {
        match course {
            Course::Taken => self.receivers[0],
            Course::Throttled => self.receivers[1],
            Course::Refused(kind) => self.receivers[2 + kind],
        }
    }
}

/// The gateway, its receivers, and who is told of events.
struct Soak {
    world: Arc<World>,
    scene: Scene,
    _receivers: Vec<Collector>,
    begun: Instant,
    /// Time between samples.
    tick: Duration,
    samples: Vec<Sample>,
}

/// What came of a soak.
struct Report {
    counts: Counts,
    progress: Progress,
    /// When the first posts were over, and when all were.
    base: Sample,
    end: Sample,
    /// In between.
    samples: Vec<Sample>,
}

fn collector(script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Collector {
    Collector::on(TcpListener::bind("127.0.0.1:0").unwrap(), Keep::Nothing, script)
}

fn config(receivers: &[SocketAddr], events: SocketAddr) -> String {
    let [first, second] = SCHEDULE.map(|interval| format!("\"{}ms\"", interval.as_millis()));
    let patient = |address: &SocketAddr, more: &str| {
        format!("[[destination]]\nmatch = \"http://{address}\"\nmax_attempts = 0\n{more}\n")
    };
    [
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"127.0.0.1:0\"\n",
        "[egress]\nallow = [\"127.0.0.0/8\"]\n[limits]\nconnection_rate = \"1000000/m\"\n",
        "[retention]\nfailed = \"1s\"\ndelivered = \"1s\"\n",
        &format!("[delivery]\nretry = [{first}, {second}]\nmax_attempts = {}\n", SCHEDULE.len() + 1),
        "breaker = 0\nadaptive_concurrency = false\nresponse_timeout = \"1s\"\nkeep_alive = \"1s\"\n",
        &patient(&receivers[0], "max_connections = 100\nbreaker = 10"),
        &patient(&receivers[1], ""),
        &patient(&events, ""),
        // A thousand batches of a webhook stay in the spool, and journals of any size on the
        // disk: what is to be flat must have its full measure soon.
        "[journal]\nmax_size = \"64MiB\"\n",
        &format!("[[webhook]]\nurl = \"http://{events}/events\"\nformat = \"ndjson\"\n"),
        "events = [\"post.delivered\", \"post.failed\"]\nbatch = { max_events = 20 }\n",
    ]
    .concat()
}

impl Soak {
    /// Looks so often, and sends for so long at most.
    fn start(tick: Duration, time: Duration) -> Soak {
        let book = Arc::new(Book::new(ROOM));
        let receiver = |_| {
            let book = Arc::clone(&book);
            collector(move |arrival| {
                let answer = book::answer(arrival);
                book.arrived(arrival, answer);
                answer
            })
        };
        let mut collectors: Vec<_> = (0..2 + REFUSALS.len()).map(receiver).collect();
        let receivers: Vec<_> = collectors.iter().map(|collector| collector.address).collect();
        let own = Arc::clone(&book);
        let events = collector(move |arrival| {
            own.informed(arrival);
            Answer::Status(200)
        });
        let config = config(&receivers, events.address);
        collectors.push(events);
        let scene = Scene::of(TempDir::new().unwrap(), &config, collectors.remove(0));
        let (begun, receivers) = (Instant::now(), receivers.try_into().unwrap());
        let world = World { book, smtp: scene.gateway.smtp, receivers, until: begun.checked_add(time) };
        Soak { world: Arc::new(world), scene, _receivers: collectors, begun, tick, samples: Vec::new() }
    }

    fn look(&mut self) -> Sample {
        let (sample, done) = (Sample::of(&self.scene, self.begun), self.world.book.progress());
        eprintln!(
            "{sample}  accepted {:8}  over {:8}  hostile {:7}",
            done.accepted, done.ended, done.hostile
        );
        self.samples.push(sample.clone());
        sample
    }

    /// Sends until there are so many posts, and waits until all are over and nothing is left
    /// to do, or nothing goes on any more; how it is then. The spool is to have shrunk so far.
    fn run(&mut self, most: usize, spool: f64) -> Sample {
        let client = |client| {
            let world = Arc::clone(&self.world);
            thread::spawn(move || world.work(client, most))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let are_done = || clients.iter().all(|client| client.is_finished()).then_some(());
        while within(self.tick, are_done).is_none() {
            self.look();
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        let mut before = None;
        let progress = |soak: &Soak| soak.world.book.progress();
        while before != Some(progress(self)) && progress(self).ended < progress(self).accepted {
            before = Some(progress(self));
            within(DEADLINE, || (progress(self).ended >= progress(self).accepted).then_some(()));
        }
        let is_quiet = || {
            let now = Sample::of(&self.scene, self.begun);
            (now.queued == 0 && now.connections == 0 && now.spool <= spool).then_some(())
        };
        // Else the report says what is left.
        let _ = within(6 * DEADLINE, is_quiet);
        self.look()
    }

    /// Ends the gateway; what came of it.
    fn report(mut self, base: Sample, end: Sample) -> Report {
        let (book, text) = (&self.world.book, metrics(&self.scene));
        let (progress, mut counts) = (book.progress(), book.counts(end.queued));
        let (batches, examples) = book.batches();
        examples.iter().for_each(|(number, name)| eprintln!("post {number}: {name}"));
        for (name, expected) in [
            ("postgate_smtp_messages_total", progress.messages),
            ("postgate_posts_accepted_total", progress.accepted),
            ("postgate_posts_failed_total", progress.failed),
            // Batches are posts of the gateway's own, which it did not accept from anybody.
            ("postgate_posts_delivered_total", progress.ended - progress.failed + batches),
        ] {
            let counted = metric(&text, name);
            if counted != expected {
                eprintln!("{name} is {counted}, and should be {expected}");
            }
            *counts.get_mut("disagree").unwrap() += counted.abs_diff(expected);
        }
        assert_eq!(self.scene.gateway.end("-TERM"), 0);
        let mut check = postgate(self.scene.directory.path());
        let (code, found, error) = said(&check.args(["spool", "check", "--json"]).output().unwrap());
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(code, 0, "{found} {error}");
        Report { counts, progress, base, end, samples: self.samples }
    }
}

impl Report {
    /// What is not as it must be.
    fn broken(&self) -> Vec<String> {
        let Report { counts, base, end, samples, .. } = self;
        let wrong = counts.iter().filter(|(name, count)| **name != "repeats" && **count > 0);
        let mut broken: Vec<_> = wrong.map(|(name, count)| format!("{name}: {count}")).collect();
        if end.open() > base.open() + FILES {
            broken.push(format!("descriptors: {} after {}: {}", end.open(), base.open(), grown(base, end)));
        }
        if end.spool > base.spool + SEGMENT {
            broken.push(format!("spool: {} MiB after {}", end.spool, base.spool));
        }
        let (growth, error) = growth(samples);
        if end.at - samples[0].at >= QUARTER && growth - 2.0 * error > 1.0 {
            broken.push(format!("memory: {growth:.2} % in an hour, give or take {error:.2}"));
        }
        broken
    }

    fn print(&self) {
        let Report { counts, progress, base, end, samples } = self;
        let Progress { accepted, messages, ended, failed, requests, hostile, .. } = progress;
        let share = *hostile as f64 / *requests as f64 * 100.0;
        let (growth, error) = growth(samples);
        let row = |name: &str, of: &dyn Fn(&Sample) -> f64| {
            let most = samples.iter().map(of).fold(0.0, f64::max);
            eprintln!("{name:12} {:10.1} {most:10.1} {:10.1}", of(base), of(end));
        };
        eprintln!("\n{accepted} posts of {messages} messages accepted in {:.0} s", end.at);
        eprintln!("{} delivered, {failed} failed; {hostile} of {requests} requests met", ended - failed);
        eprintln!(
            "a hostile receiver ({share:.1} %)\n\n{:12} {:>10} {:>10} {:>10}",
            "", "base", "most", "end"
        );
        row("memory MiB", &|sample| sample.memory);
        row("descriptors", &|sample| sample.open() as f64);
        row("threads", &|sample| sample.threads as f64);
        row("spool MiB", &|sample| sample.spool);
        row("journal MiB", &|sample| sample.journal);
        row("log MiB", &|sample| sample.log);
        eprintln!("\nmore descriptors than at base: {}", grown(base, end));
        eprintln!("memory in the last third: {growth:+.1} %/h, give or take {error:.1} (at most 1)\n");
        counts.iter().for_each(|(name, count)| eprintln!("{name:14} {count:8}"));
    }
}

/// How many posts, and for how long: one of both is said.
fn extent(asked: &str) -> (usize, Duration) {
    let minutes = asked.strip_suffix('m').map(|minutes| minutes.parse::<u64>());
    match (minutes, asked.parse()) {
        (Some(Ok(minutes)), _) => (usize::MAX, Duration::from_secs(60 * minutes)),
        (_, Ok(posts)) => (posts, Duration::MAX),
        _ => panic!("SOAK is {asked}: write a number of posts, such as 1000000, or of minutes, such as 60m"),
    }
}

#[test]
fn a_soak_leaves_nothing_behind_and_nothing_open() {
    let asked = std::env::var("SOAK").ok();
    let (posts, time) = asked.as_deref().map_or((FEW, Duration::MAX), extent);
    let mut soak = Soak::start(Duration::from_millis(if asked.is_some() { 5000 } else { 500 }), time);
    // A gateway that has worked is what later ones are compared with.
    let first = (posts / 10).clamp(500, 100_000);
    let base = soak.run(first, f64::MAX);
    soak.samples.clear();
    let end = soak.run(posts, base.spool + SEGMENT);
    let report = soak.report(base, end);
    report.print();
    let Progress { sent, accepted, hostile, requests, failed, .. } = report.progress;
    assert!(accepted > sent / 10 * 9 && hostile > requests / 30 && failed > accepted / 500);
    assert_eq!(report.broken(), Vec::<String>::new());
}

/// What happens to a book.
#[derive(Clone)]
enum Fact {
    /// A message of so many posts.
    Sent(usize, Reply),
    Came(Arrival, Answer),
    Told(Value),
}

/// A request of this post, which its message shares with so many before it.
fn request(begun: Instant, (number, part): (usize, usize), attempt: u32) -> Arrival {
    let headers = [
        ("postgate-id", format!("{:016x}-{part}", number - part)),
        ("postgate-attempt", attempt.to_string()),
        ("idempotency-key", format!("key {number}")),
    ];
    Arrival {
        path: format!("/{number}"),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        body: Vec::new(),
        checksum: 7,
        at: begun + Duration::from_secs(u64::from(attempt)),
    }
}

fn event(kind: &str, number: usize, attempts: u32) -> Value {
    json!({
        "id": format!("evt_{kind}{number}"),
        "type": format!("post.{kind}"),
        "data": { "url": format!("http://127.0.0.1:9/{number}"), "attempts": attempts },
    })
}

/// What happens when all is well, to messages of every kind: post 0 is taken at last, 199
/// never, 1 is refused, 4 never handed over; nobody knows of 2 and 3 whether they were.
fn good_facts(begun: Instant) -> Vec<Fact> {
    let said = |text: &str| Reply::Said(text.to_owned());
    let accepted = || said("250 2.0.0 Message received and queued as 52a0000000000001.");
    let mut facts = vec![
        Fact::Sent(1, accepted()),
        Fact::Sent(1, said("550 5.6.0 no")),
        Fact::Sent(2, Reply::Nothing),
        Fact::Sent(1, Reply::Unsent),
        Fact::Sent(194, Reply::Unsent),
        Fact::Sent(1, accepted()),
    ];
    for place in [(0, 0), (2, 0), (3, 1)] {
        let came = [(1, Answer::Status(503)), (2, Answer::Status(200))];
        facts.extend(came.map(|(attempt, answer)| Fact::Came(request(begun, place, attempt), answer)));
        facts.push(Fact::Told(event("delivered", place.0, 2)));
    }
    let came = |attempt| Fact::Came(request(begun, (199, 0), attempt), Answer::Status(503));
    facts.extend([1, 2, 3].map(came));
    facts.push(Fact::Told(event("failed", 199, 3)));
    facts
}

#[test]
fn the_soak_finds_what_it_looks_for() {
    let begun = Instant::now();
    let counts = |facts: Vec<Fact>, queued| {
        let book = Book::new(ROOM);
        for fact in facts {
            match fact {
                Fact::Sent(posts, reply) => book.replied(book.begin(posts, 7, usize::MAX).unwrap(), &reply),
                Fact::Came(arrival, answer) => book.arrived(&arrival, answer),
                Fact::Told(event) => book.told(&event),
            }
        }
        book.counts(queued)
    };
    let mut found = BTreeSet::new();
    let mut wrongs = |change: &dyn Fn(&mut Vec<Fact>), queued| {
        let mut facts = good_facts(begun);
        change(&mut facts);
        let counts = counts(facts, queued);
        let wrongs: Vec<_> =
            counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect();
        found.extend(wrongs.clone());
        wrongs
    };
    // Facts 6 to 8 are of post 0, 12 to 14 of post 3, 15 to 18 of post 199.
    let arrival = |at: usize, change: &'static dyn Fn(&mut Arrival)| {
        move |facts: &mut Vec<Fact>| match &mut facts[at] {
            Fact::Came(arrival, _) => change(arrival),
            _ => panic!("no arrival"),
        }
    };
    let header = |at: usize, name: &'static str, value: &'static str| {
        move |facts: &mut Vec<Fact>| match &mut facts[at] {
            Fact::Came(arrival, _) => drop(arrival.headers.insert(name.to_owned(), value.to_owned())),
            _ => panic!("no arrival"),
        }
    };
    let none: Vec<&str> = Vec::new();
    assert_eq!(wrongs(&|_| {}, 0), none);
    assert_eq!(wrongs(&|facts| drop(facts.remove(8)), 0), ["lost"]);
    assert_eq!(wrongs(&|facts| drop(facts.remove(8)), 1), ["stuck"]);
    assert_eq!(wrongs(&|facts| facts[8] = Fact::Told(event("failed", 0, 2)), 0), ["lost"], "given up");
    assert_eq!(wrongs(&|facts| drop(facts.remove(7)), 0), ["lost"], "only refused");
    assert_eq!(wrongs(&|facts| facts[0] = Fact::Sent(1, Reply::Unsent), 0), ["phantom"]);
    assert_eq!(wrongs(&arrival(7, &|arrival| arrival.path = "/9999".to_owned()), 0), ["lost", "phantom"]);
    assert_eq!(wrongs(&|facts| facts.push(Fact::Told(event("failed", 9999, 1))), 0), ["phantom"]);
    assert_eq!(wrongs(&|facts| drop(facts.drain(12..15)), 0), ["partial"]);
    assert_eq!(wrongs(&header(7, "postgate-id", "0000000000000099"), 0), ["dup_newkey"]);
    assert_eq!(wrongs(&header(7, "idempotency-key", "new"), 0), ["dup_newkey"]);
    let borrowed = |facts: &mut Vec<Fact>| {
        [6, 7].into_iter().for_each(|at| header(at, "postgate-id", "0000000000000002-1")(facts));
    };
    assert_eq!(wrongs(&borrowed, 0), ["dup_newkey"], "of another");
    assert_eq!(wrongs(&arrival(6, &|arrival| arrival.checksum ^= 1), 0), ["corrupt"]);
    assert_eq!(wrongs(&arrival(7, &|arrival| arrival.checksum ^= 1), 0), ["dup_body"]);
    assert_eq!(wrongs(&header(15, "postgate-attempt", "3"), 0), ["falling"]);
    assert_eq!(wrongs(&arrival(7, &|arrival| arrival.at -= Duration::from_millis(900)), 0), ["early"]);
    let again = |attempt| {
        move |facts: &mut Vec<Fact>| {
            facts.push(Fact::Came(request(begun, (0, 0), attempt), Answer::Status(200)))
        }
    };
    assert_eq!(wrongs(&again(2), 0), ["repeats"]);
    assert_eq!(wrongs(&again(3), 0), ["after_terminal", "repeats"]);
    assert_eq!(wrongs(&|facts| facts.push(Fact::Told(event("failed", 0, 2))), 0), ["disagree"]);
    assert_eq!(wrongs(&|facts| facts[18] = Fact::Told(event("failed", 199, 4)), 0), ["disagree"]);
    assert_eq!(found, NAMES.into_iter().collect());
}

#[test]
fn a_soak_is_judged_by_what_was_measured() {
    let sample = |minutes: u32, memory: f64| Sample {
        at: f64::from(minutes * 60),
        memory,
        descriptors: [("socket".to_owned(), 30), ("/spool/log/*.seg".to_owned(), 10)].into(),
        spool: 128.0,
        ..Sample::default()
    };
    // Half a hundredth in an hour.
    let samples: Vec<_> =
        (0..=200).map(|minutes| sample(minutes, 100.0 + f64::from(minutes) / 120.0)).collect();
    let report = |change: &dyn Fn(&mut Report)| {
        let mut report = Report {
            counts: NAMES.into_iter().map(|name| (name, 0)).collect(),
            progress: Progress::default(),
            base: samples[0].clone(),
            end: samples[200].clone(),
            samples: samples.clone(),
        };
        change(&mut report);
        report.broken()
    };
    let none: Vec<String> = Vec::new();
    let (rate, error) = growth(&samples);
    assert!((rate - 0.5).abs() < 0.01 && error < 1e-6, "{rate} {error}");
    let swinging = |swing: f64| {
        let swung = samples.iter().zip([1.0, 0.0, -1.0].iter().cycle());
        let swung = swung.map(|(one, sign)| Sample { memory: one.memory + sign * swing, ..one.clone() });
        growth(&swung.collect::<Vec<_>>()).1
    };
    assert!(swinging(2.0) > 0.1 && swinging(4.0) > 1.9 * swinging(2.0), "{}", swinging(2.0));
    assert_eq!(report(&|_| {}), none);
    for name in NAMES.into_iter().filter(|name| *name != "repeats") {
        assert_eq!(report(&|report| report.counts.extend([(name, 2)])), [format!("{name}: 2")]);
    }
    assert_eq!(report(&|report| report.counts.extend([("repeats", 2)])), none);
    let open = |report: &mut Report, more| *report.end.descriptors.get_mut("socket").unwrap() += more;
    assert_eq!(report(&|report| open(report, FILES)), none);
    let told = ["descriptors: 47 after 40: 37 socket after 30"];
    assert_eq!(report(&|report| open(report, FILES + 1)), told);
    assert_eq!(report(&|report| report.end.spool += SEGMENT), none);
    assert_eq!(report(&|report| report.end.spool += SEGMENT + 1.0).len(), 1);
    let grow = |report: &mut Report| {
        report.samples.iter_mut().for_each(|sample| sample.memory += sample.at / 3600.0);
    };
    assert_eq!(report(&grow).len(), 1);
    for (minutes, found) in [(14, 0), (15, 1)] {
        let briefly = |report: &mut Report| {
            grow(report);
            report.samples.truncate(minutes + 1);
            report.end = report.samples[minutes].clone();
        };
        assert_eq!(report(&briefly).len(), found, "{minutes}");
    }
    let once = |report: &mut Report| report.samples[150..160].iter_mut().for_each(|one| one.memory += 50.0);
    assert_eq!(report(&once), none, "a moment of much work");
    let doubtful = |report: &mut Report| {
        grow(report);
        let swung = report.samples.iter_mut().zip([8.0, 0.0, -8.0].iter().cycle());
        swung.for_each(|(one, swing)| one.memory += swing);
    };
    assert_eq!(report(&doubtful), none, "nobody can know");
    for (opened, named) in [
        ("/data/spool/log/000000000000001a.seg", "/data/spool/log/*.seg"),
        ("/data/spool/lock", "/data/spool/lock"),
        ("socket:[4711]", "socket"),
        ("anon_inode:[eventpoll]", "anon_inode:[eventpoll]"),
    ] {
        assert_eq!(watch::kind(opened.as_ref()), named);
    }
}
