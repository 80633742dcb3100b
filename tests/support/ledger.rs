//! The two ledgers and what they must say together: what clients know of the
//! messages they sent, and what a receiver knows of the requests it read.
//!
//! A pair is one message for one recipient; every recipient has a path of its
//! own, so the path names the pair and its message.

use super::DEADLINE;
use super::collector::{Answer, Arrival, Collector};
use super::program::{Gateway, Reply, holds_posts, within};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One message in its client's ledger.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The paths of its recipients.
    pub paths: Vec<String>,
    /// CRC32C of what the receiver is to read.
    pub checksum: u32,
    pub reply: Reply,
}

/// What is wrong, each with the paths concerned; all must be empty, but for the
/// last two, whose limits depend on the faults.
#[derive(Debug, Default)]
pub struct Audit {
    /// Acknowledged, and not delivered.
    pub lost: Vec<String>,
    /// Refused or never handed over, and sent.
    pub phantom: Vec<String>,
    /// A message without a reply that was sent to some of its recipients only.
    pub partial: Vec<String>,
    /// Sent again under another id or key, or under that of another post.
    pub dup_newkey: Vec<String>,
    /// Sent again with another body.
    pub dup_body: Vec<String>,
    /// Sent again with a lower attempt: after a kill it may be the same.
    pub falling: Vec<String>,
    /// Not what the client sent.
    pub corrupt: Vec<String>,
    /// Sent again although it had been answered 2xx.
    pub repeated: Vec<String>,
}

impl Audit {
    /// Joins the ledgers.
    pub fn of(sent: &[Sent], arrivals: &[(Arrival, Answer)]) -> Audit {
        let mut audit = Audit::default();
        let mut requests: BTreeMap<&str, Vec<&(Arrival, Answer)>> = BTreeMap::new();
        for arrival in arrivals {
            requests.entry(&arrival.0.path).or_default().push(arrival);
        }
        let mut owners = BTreeMap::new();
        for (path, requests) in &requests {
            audit.repeats(path, requests);
            if *owners.entry(requests[0].0.id()).or_insert(path) != path {
                audit.dup_newkey.push((*path).to_owned());
            }
        }
        for message in sent {
            audit.message(message, &requests);
        }
        let known: BTreeSet<_> = sent.iter().flat_map(|message| &message.paths).map(String::as_str).collect();
        let unknown = requests.keys().filter(|path| !known.contains(*path));
        audit.phantom.extend(unknown.map(|path| (*path).to_owned()));
        audit
    }

    fn message(&mut self, message: &Sent, requests: &BTreeMap<&str, Vec<&(Arrival, Answer)>>) {
        let of = |path: &String| requests.get(path.as_str()).map_or(&[][..], Vec::as_slice);
        let is_delivered = |path: &&String| of(path).iter().any(|(_, answer)| *answer == Answer::Status(200));
        let (delivered, missing): (Vec<_>, Vec<_>) = message.paths.iter().partition(is_delivered);
        match &message.reply {
            reply if reply.is_accepted() => self.lost.extend(missing.into_iter().cloned()),
            Reply::Nothing if delivered.is_empty() => {
                let seen = message.paths.iter().filter(|path| !of(path).is_empty());
                self.partial.extend(seen.cloned());
            }
            Reply::Nothing => self.partial.extend(missing.into_iter().cloned()),
            Reply::Said(_) | Reply::Unsent => {
                let seen = message.paths.iter().filter(|path| !of(path).is_empty());
                self.phantom.extend(seen.cloned());
            }
        }
        let is_corrupt =
            |path: &&String| of(path).iter().any(|(arrival, _)| arrival.checksum != message.checksum);
        self.corrupt.extend(message.paths.iter().filter(is_corrupt).cloned());
    }

    /// What all requests of one pair must have in common.
    fn repeats(&mut self, path: &str, requests: &[&(Arrival, Answer)]) {
        let key =
            |arrival: &Arrival| (arrival.id().to_owned(), arrival.headers.get("idempotency-key").cloned());
        for (earlier, later) in requests.iter().zip(&requests[1..]) {
            let ((earlier, answer), (later, _)) = (earlier, later);
            if key(earlier) != key(later) {
                self.dup_newkey.push(path.to_owned());
            }
            if earlier.checksum != later.checksum {
                self.dup_body.push(path.to_owned());
            }
            if later.attempt() < earlier.attempt() {
                self.falling.push(path.to_owned());
            }
            if *answer == Answer::Status(200) {
                self.repeated.push(path.to_owned());
            }
        }
    }

    /// How many wrongs of each kind there are, repeats left out.
    pub fn wrongs(&self) -> BTreeMap<&'static str, usize> {
        let all = [
            ("lost", &self.lost),
            ("phantom", &self.phantom),
            ("partial", &self.partial),
            ("dup_newkey", &self.dup_newkey),
            ("dup_body", &self.dup_body),
            ("falling", &self.falling),
            ("corrupt", &self.corrupt),
        ];
        all.into_iter()
            .filter(|(_, paths)| !paths.is_empty())
            .map(|(name, paths)| (name, paths.len()))
            .collect()
    }

    /// Whether every acknowledged message has arrived, and every other one whole
    /// or not at all.
    pub fn is_settled(&self) -> bool {
        self.lost.is_empty() && self.partial.is_empty()
    }
}

/// Starts of the gateway in which what it holds must be sent.
const STARTS: usize = 100;

/// Runs the gateway until nothing is left to be sent; what the ledgers say.
pub fn drain(directory: &Path, config: &str, sent: &[Sent], receiver: &Collector) -> Audit {
    drain_while(|| holds_posts(directory), (directory, config), sent, receiver)
}

/// The same with a spool elsewhere, of which it is asked whether it holds posts to be sent.
pub fn drain_while(
    holds_posts: impl Fn() -> bool,
    (directory, config): (&Path, &str),
    sent: &[Sent],
    receiver: &Collector,
) -> Audit {
    for _ in 0..STARTS {
        let mut gateway = Gateway::start(directory, config);
        let settled =
            within(2 * DEADLINE, || Audit::of(sent, &receiver.arrivals()).is_settled().then_some(()));
        assert_eq!(gateway.end("-TERM"), 0);
        if settled.is_none() || !holds_posts() {
            return Audit::of(sent, &receiver.arrivals());
        }
    }
    panic!("posts are left that {STARTS} starts did not send");
}
