//! The ledgers of a soak in one: what clients, receivers and the webhook know of each post,
//! in a record of a few octets, as there may be millions of posts.
//!
//! A post is known by its number, which is the path of its URL; numbers of one message
//! follow each other. What is to become of a post is told by its number as well.

use super::support::DEADLINE;
use super::support::collector::{Answer, Arrival};
use super::support::program::Reply;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Between attempts; what is sent to those who never take anything fails behind the third.
pub const SCHEDULE: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];
/// Attempts at a post that nobody takes.
const ATTEMPTS: u16 = SCHEDULE.len() as u16 + 1;
/// Ways to take nothing; a destination each.
pub const REFUSALS: [Answer; 9] = [
    Answer::Status(503),
    Answer::Reset(9),
    Answer::Garbage,
    Answer::Endless(500),
    Answer::Reset(30),
    Answer::Close,
    Answer::Status(404),
    Answer::Silence,
    Answer::Trickle,
];
/// Ways to be in a mood; one of them takes the post nevertheless.
const MOODS: [Answer; 11] = [
    Answer::Status(503),
    Answer::Reset(9),
    Answer::Garbage,
    Answer::Endless(500),
    Answer::Status(500),
    Answer::Reset(30),
    Answer::Close,
    Answer::Endless(200),
    Answer::Silence,
    Answer::Status(502),
    Answer::Trickle,
];

/// Whom a post is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// A receiver that takes it, at once or when its mood is over.
    Taken,
    /// One that asks to be left alone for a second, and then takes it.
    Throttled,
    /// One that never takes anything, in this of [`REFUSALS`].
    Refused(usize),
}

/// The course of a post: of two thousand ten meet receivers that never take anything, two
/// one that is throttled.
pub fn course(number: usize) -> Course {
    match (number % 200, number % 1000) {
        (199, _) => Course::Refused(number / 200 % REFUSALS.len()),
        (_, 500) => Course::Throttled,
        _ => Course::Taken,
    }
}

/// What a receiver answers to a request: about one in twenty goes wrong.
pub fn answer(arrival: &Arrival) -> Answer {
    // What has no number is noted.
    number(&arrival.path).map_or(Answer::Status(200), |number| planned(number, arrival.attempt()))
}

/// What the attempt at a post is answered.
fn planned(number: usize, attempt: u32) -> Answer {
    let mood = MOODS[number / 32 % MOODS.len()];
    match course(number) {
        Course::Refused(kind) => REFUSALS[kind],
        Course::Throttled if attempt == 1 => Answer::Busy(1),
        Course::Taken
            if number % 32 == 7 && (attempt == 1 || attempt == 2 && (number / 32).is_multiple_of(4)) =>
        {
            mood
        }
        Course::Taken | Course::Throttled => Answer::Status(200),
    }
}

fn is_taken(answer: Answer) -> bool {
    matches!(answer, Answer::Status(200..300) | Answer::Endless(200..300))
}

/// What its client knows of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Unsent,
    Accepted,
    Refused,
    /// There was no reply.
    Unknown,
}

/// What the gateway said of a post in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    None,
    Delivered,
    Failed,
}

/// All that is known of a post.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// The number of the first post of its message.
    message: u32,
    /// CRC32C of what the receiver is to read.
    checksum: u32,
    fate: Fate,
    end: End,
    /// The attempt that was the last, as the gateway says.
    end_attempt: u16,
    /// CRC32C of the id of the event that said so.
    event: u32,
    /// Requests that were read to their end.
    arrivals: u16,
    /// The highest attempt among them, and when it came, in milliseconds.
    attempt: u16,
    at: u32,
    /// Id of its message at the gateway, its own number there, CRC32C of id and key.
    id: u64,
    part: u16,
    key: u32,
    /// Whether a receiver took it.
    is_taken: bool,
}

/// What is wrong, by the names of the invariants; and how often a post came again although
/// it had been taken, which a gateway that heard too late may do.
pub type Counts = BTreeMap<&'static str, u64>;

/// All names of [`Counts`].
pub const NAMES: [&str; 12] = [
    "lost",
    "phantom",
    "partial",
    "dup_newkey",
    "dup_body",
    "falling",
    "early",
    "corrupt",
    "after_terminal",
    "stuck",
    "disagree",
    "repeats",
];

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// What is found wrong when it comes, and the first posts of which something is.
    counts: Counts,
    examples: Vec<(usize, &'static str)>,
    /// Batches of events that came.
    batches: BTreeSet<String>,
    progress: Progress,
}

impl Inner {
    fn wrong(&mut self, number: Option<usize>, names: Vec<&'static str>) {
        names.iter().for_each(|name| *self.counts.entry(name).or_default() += 1);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(names.into_iter().take(room).map(|name| (number.unwrap_or(usize::MAX), name)));
    }
}

/// Posts that are named when something is wrong with them.
const EXAMPLES: usize = 10;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Posts that were to be sent.
    pub sent: u64,
    /// Posts whose messages were acknowledged.
    pub accepted: u64,
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Posts of which the gateway said that they are over.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Requests of posts that came whole.
    pub requests: u64,
    /// Those that were not answered in order.
    pub hostile: u64,
}

/// The ledger.
pub struct Book {
    inner: Mutex<Inner>,
    news: Condvar,
    begun: Instant,
    /// Posts that may be under way.
    room: u64,
}

impl Book {
    /// An empty one; clients wait while so many posts are under way.
    pub fn new(room: u64) -> Book {
        Book { inner: Mutex::default(), news: Condvar::new(), begun: Instant::now(), room }
    }

    /// Gives numbers to the posts of a message, the first of which is answered: before it is
    /// sent. `None` when there are to be no more than `most`, or nothing moves.
    pub fn begin(&self, posts: usize, checksum: u32, most: usize) -> Option<usize> {
        let inner = self.inner.lock().unwrap();
        let is_crowded =
            |inner: &mut Inner| inner.progress.accepted.saturating_sub(inner.progress.ended) >= self.room;
        let (mut inner, wait) = self.news.wait_timeout_while(inner, DEADLINE, is_crowded).unwrap();
        let first = inner.entries.len();
        if wait.timed_out() || first >= most {
            return None;
        }
        let entry = Entry { message: first as u32, checksum, ..Entry::default() };
        inner.entries.extend(std::iter::repeat_n(entry, posts));
        inner.progress.sent += posts as u64;
        Some(first)
    }

    /// Notes the reply to the message that begins with this post.
    pub fn replied(&self, first: usize, reply: &Reply) {
        let fate = match reply {
            reply if reply.is_accepted() => Fate::Accepted,
            Reply::Said(_) => Fate::Refused,
            Reply::Unsent => Fate::Unsent,
            Reply::Nothing => Fate::Unknown,
        };
        let mut inner = self.inner.lock().unwrap();
        let Inner { entries, progress, .. } = &mut *inner;
        let is_of_it = |entry: &&mut Entry| entry.message as usize == first;
        for entry in entries[first..].iter_mut().take_while(is_of_it) {
            entry.fate = fate;
            progress.accepted += u64::from(fate == Fate::Accepted);
        }
        progress.messages += u64::from(fate == Fate::Accepted);
    }

    /// Notes a request, and what it is answered.
    pub fn arrived(&self, arrival: &Arrival, answer: Answer) {
        let at = u32::try_from(arrival.at.duration_since(self.begun).as_millis()).unwrap();
        let number = number(&arrival.path);
        let (id, attempt) = (arrival.id(), arrival.attempt() as u16);
        let key = crc32c::crc32c(format!("{id} {:?}", arrival.headers.get("idempotency-key")).as_bytes());
        let (message, part) = id.split_once('-').unwrap_or((id, "0"));
        let (message, part) = (u64::from_str_radix(message, 16).unwrap(), part.parse().unwrap());
        let mut inner = self.inner.lock().unwrap();
        inner.progress.requests += 1;
        inner.progress.hostile += u64::from(answer != Answer::Status(200));
        let Some(entry) = number.and_then(|number| inner.entries.get_mut(number)) else {
            return inner.wrong(number, vec!["phantom"]);
        };
        let mut wrongs = Vec::new();
        let mut wrong = |name| wrongs.push(name);
        if arrival.checksum != entry.checksum {
            wrong(if entry.arrivals == 0 { "corrupt" } else { "dup_body" });
        }
        if entry.arrivals == 0 {
            (entry.id, entry.part, entry.key) = (message, part, key);
        } else {
            let waited = Duration::from_millis(u64::from(at.saturating_sub(entry.at)));
            let interval = SCHEDULE[usize::from(entry.attempt).clamp(1, SCHEDULE.len()) - 1];
            if entry.key != key {
                wrong("dup_newkey");
            }
            if attempt < entry.attempt {
                wrong("falling");
            }
            // Jitter takes a tenth at most, and both times are those of milliseconds.
            if attempt == entry.attempt + 1 && waited < interval * 4 / 5 {
                wrong("early");
            }
            if entry.is_taken {
                wrong("repeats");
            }
        }
        entry.arrivals = entry.arrivals.saturating_add(1);
        (entry.attempt, entry.at) = (entry.attempt.max(attempt), at);
        entry.is_taken |= is_taken(answer);
        inner.wrong(number, wrongs);
    }

    /// Notes a batch of events.
    pub fn informed(&self, arrival: &Arrival) {
        self.inner.lock().unwrap().batches.insert(arrival.id().to_owned());
        for line in arrival.body.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            self.told(&serde_json::from_slice(line).unwrap());
        }
    }

    /// Notes an event that says that a post is over; it may come more than once.
    pub fn told(&self, event: &Value) {
        let data = &event["data"];
        let end = match event["type"].as_str() {
            Some("post.delivered") => End::Delivered,
            Some("post.failed") => End::Failed,
            _ => return,
        };
        let attempt = data["attempt"].as_u64().or(data["attempts"].as_u64()).unwrap() as u16;
        let id = crc32c::crc32c(event["id"].as_str().unwrap().as_bytes());
        let number = data["url"].as_str().and_then(|url| number(&url[url.rfind('/')?..]));
        let mut inner = self.inner.lock().unwrap();
        match number.and_then(|number| inner.entries.get_mut(number)) {
            None => inner.wrong(number, vec!["phantom"]),
            Some(entry) if entry.end == End::None => {
                (entry.end, entry.end_attempt, entry.event) = (end, attempt, id);
                inner.progress.ended += 1;
                inner.progress.failed += u64::from(end == End::Failed);
                self.news.notify_all();
            }
            Some(entry) if entry.event != id => inner.wrong(number, vec!["disagree"]),
            Some(_) => {}
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.inner.lock().unwrap().progress
    }

    /// How many batches of events came, and the first posts of which something was wrong when
    /// it came.
    pub fn batches(&self) -> (u64, Vec<(usize, &'static str)>) {
        let inner = self.inner.lock().unwrap();
        (inner.batches.len() as u64, inner.examples.clone())
    }

    /// What is wrong when so many posts still wait at the gateway; all names are there.
    pub fn counts(&self, queued: u64) -> Counts {
        let inner = self.inner.lock().unwrap();
        let mut counts: Counts = NAMES.into_iter().map(|name| (name, 0)).collect();
        inner.counts.iter().for_each(|(name, count)| *counts.get_mut(name).unwrap() += count);
        let mut wrong = |name: &'static str| *counts.get_mut(name).unwrap() += 1;
        let (mut names, mut unended) = (BTreeSet::new(), 0);
        for message in inner.entries.chunk_by(|one, other| one.message == other.message) {
            let first = message[0].message as usize;
            let seen = message.iter().filter(|entry| entry.arrivals > 0).count();
            if message[0].fate == Fate::Unknown && ![0, message.len()].contains(&seen) {
                wrong("partial");
            }
            for (number, entry) in (first..).zip(message) {
                entry.wrongs(course(number)).into_iter().for_each(&mut wrong);
                unended += u64::from(entry.is_unended());
                // Two posts of one id.
                if entry.arrivals > 0 && !names.insert((entry.id, entry.part)) {
                    wrong("dup_newkey");
                }
            }
        }
        let stuck = unended.min(queued);
        counts.insert("stuck", stuck);
        *counts.entry("lost").or_default() += unended - stuck;
        counts
    }
}

impl Entry {
    /// Whether the gateway owes a word on it.
    fn is_unended(&self) -> bool {
        self.end == End::None
            && (self.fate == Fate::Accepted || self.fate == Fate::Unknown && self.arrivals > 0)
    }

    /// What is wrong with it besides that it waits.
    fn wrongs(&self, course: Course) -> Vec<&'static str> {
        let mut wrongs = Vec::new();
        let is_refused = matches!(self.fate, Fate::Refused | Fate::Unsent);
        if is_refused && (self.arrivals > 0 || self.end != End::None) {
            wrongs.push("phantom");
        }
        if self.end != End::None && self.attempt > self.end_attempt {
            wrongs.push("after_terminal");
        }
        let attempts = match course {
            Course::Refused(kind) if REFUSALS[kind] == Answer::Status(404) => 1,
            _ => ATTEMPTS,
        };
        match (course, self.end) {
            (_, End::None) => {}
            // It was given up, or is said to be where it is not.
            (Course::Taken | Course::Throttled, End::Failed) => wrongs.push("lost"),
            (_, End::Delivered) if !self.is_taken => wrongs.push("lost"),
            // It failed before its time, or behind it.
            (Course::Refused(_), End::Failed) if self.end_attempt != attempts => wrongs.push("disagree"),
            _ => {}
        }
        wrongs
    }
}

fn number(path: &str) -> Option<usize> {
    path.strip_prefix('/')?.parse().ok()
}
