//! Damage to every kind of file of the data directory (`security.md` 4.4, F6): an octet that
//! changes, an end that is missing, a file that is gone. The gateway starts, delivers what was
//! not hit and takes mail; what was hit is named, as far as anybody can know of it.
//!
//! Nobody can know of what stood at the end of the last segment, or in files that may be
//! missing: a process that was killed leaves the same.

use super::calls::at_once;
use super::clocks::busy;
use crate::support::DEADLINE;
use crate::support::collector::{Arrival, Collector};
use crate::support::program::{Client, Gateway, eventually, retrying, within};
use crate::support::under;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// One octet of it changes.
    Flip,
    /// Its second half is missing.
    Cut,
    /// It is gone.
    Loss,
}

use Harm::{Cut, Flip, Loss};

/// A file below the data directory by the beginning and the end of its path, what is done to
/// it, which posts are hit, and what is said of that.
type Row = (&'static str, &'static str, Harm, &'static [usize], &'static [&'static str]);

const HEAD: &str = "X-XsHttp-Content-Type: application/octet-stream\r\n";
const NONE: &[usize] = &[];
const CATALOG: &str = "spool/catalog";
const FIRST: &str = "spool/log/0000000000000001";
const SECOND: &str = "spool/log/0000000000000002";
const OCTETS: &str = "damaged octets in the spool";
const MISSING: &str = "posts are missing whose messages are gone from the spool";

/// Posts 0, 1 and 2 stand in the first segment, 3, 4 and 5 in the second; each was tried
/// while either was written. Number 1 and 4 are hit in the middle.
const ROWS: &[Row] = &[
    (FIRST, ".seg", Flip, &[1], &[OCTETS, "0000000000000001.seg", MISSING]),
    (FIRST, ".seg", Cut, &[1, 2], &[OCTETS, "0000000000000001.seg", MISSING]),
    (FIRST, ".seg", Loss, &[0, 1, 2], &[MISSING]),
    (SECOND, ".seg", Flip, &[4], &[OCTETS, "0000000000000002.seg", MISSING]),
    (SECOND, ".seg", Cut, &[4, 5], &[]),
    (SECOND, ".seg", Loss, &[3, 4, 5], &[]),
    ("spool/log/notes", "", Flip, NONE, &["the spool's notes are damaged", "damaged-notes"]),
    ("spool/log/notes", "", Cut, NONE, &["the spool's notes are damaged", "damaged-notes"]),
    ("spool/log/notes", "", Loss, NONE, &[]),
    ("spool/lock", "", Loss, NONE, &[]),
    (CATALOG, "", Cut, NONE, &[]),
    ("journal/", ".journal", Flip, NONE, &["damaged octets in the journal"]),
    ("journal/", ".journal", Cut, NONE, &[]),
    ("journal/", ".journal", Loss, NONE, &[]),
    ("log/protocol", ".log", Flip, NONE, &[]),
    ("log/protocol", ".log", Cut, NONE, &[]),
    ("log/protocol", ".log", Loss, NONE, &[]),
    ("accounting/", ".json", Flip, NONE, &["this bookmark of accounting is damaged"]),
    ("accounting/", ".json", Cut, NONE, &["this bookmark of accounting is damaged"]),
    ("accounting/", ".json", Loss, NONE, &[]),
    ("acct", ".ndjson", Flip, NONE, &[]),
    ("acct", ".ndjson", Cut, NONE, &[]),
    ("acct", ".ndjson", Loss, NONE, &[]),
    ("webhook-key", "", Flip, NONE, &["webhook-key is another key"]),
    ("webhook-key", "", Cut, NONE, &["webhook-key is not a key"]),
    ("webhook-key", "", Loss, NONE, &["webhook-key cannot be read"]),
    ("attachment-key", "", Flip, NONE, &[]),
    ("attachment-key", "", Cut, NONE, &["attachment-key is not a key"]),
    ("attachment-key", "", Loss, NONE, &[]),
    ("instance", "", Flip, NONE, &[]),
    ("instance", "", Cut, NONE, &[]),
    ("instance", "", Loss, NONE, &[]),
];

fn start(directory: &Path) -> Gateway {
    let config = retrying("[\"200ms\"]").replace("[delivery]", "[delivery]\nbreaker = 0");
    let config = format!("{config}\n[journal]\nalways = true\n[[accounting]]\npath = \"acct.ndjson\"\n");
    Gateway::start(directory, &config)
}

/// What stands in the body of post number n.
fn mark(number: usize) -> String {
    format!("m4rk-{number}-")
}

/// What a process left that was killed, and one before it: six posts, each tried more than once.
fn left_behind(receiver: &Collector) -> TempDir {
    let directory = TempDir::new().unwrap();
    for life in 0..2 {
        let mut gateway = start(directory.path());
        let mut client = Client::connect(gateway.smtp).unwrap();
        for number in 3 * life..3 * life + 3 {
            let recipient = receiver.recipient(&format!("/{number}"));
            let message = format!("{HEAD}\r\n{}{}\r\n", mark(number), "x".repeat(3000));
            assert!(client.send(&[recipient], message.as_bytes()).is_accepted());
        }
        let before = receiver.count();
        let tried = |number: usize| {
            let path = format!("/{number}");
            receiver.arrivals()[before..].iter().filter(|(arrival, _)| arrival.path == path).count()
        };
        let all = || (0..3 * life + 3).all(|number| tried(number) > 1).then_some(());
        eventually("all posts to be tried", DEADLINE, all);
        let records = || within_file(&data(directory.path()).join("acct.ndjson"), b"\n").then_some(());
        eventually("a record", DEADLINE, records);
        gateway.end("-KILL");
        receiver.is_alone();
    }
    // It is large, and comes back.
    let _ = fs::remove_file(data(directory.path()).join("spool/log/reserve"));
    directory
}

fn data(directory: &Path) -> PathBuf {
    directory.join("postgate-data")
}

fn within_file(path: &Path, what: &[u8]) -> bool {
    fs::read(path).is_ok_and(|octets| octets.windows(what.len()).any(|octets| octets == what))
}

/// The files that a row means.
fn meant(directory: &Path, (beginning, end, ..): &Row) -> Vec<PathBuf> {
    let data = data(directory);
    let is_meant = |path: &PathBuf| {
        let name = path.strip_prefix(&data).unwrap().to_str().unwrap();
        path.is_file() && name.starts_with(beginning) && name.ends_with(end)
    };
    under(&data).into_iter().filter(is_meant).collect()
}

fn harm(path: &Path, harm: Harm, hit: &[usize]) {
    let mut octets = fs::read(path).unwrap();
    // Of a segment the first post that is to be hit.
    let marked = hit.first().map(|number| mark(*number).into_bytes());
    let marked = marked.and_then(|mark| octets.windows(mark.len()).position(|octets| octets == mark));
    let place = marked.unwrap_or(octets.len() / 2);
    match harm {
        Flip => octets[place] ^= 0x80,
        Cut => octets.truncate(place),
        Loss => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, octets).unwrap();
}

/// What is wrong behind such a harm to a copy of what was left behind.
fn endure(from: &Path, receiver: &Collector, row: &Row) -> Vec<String> {
    let (beginning, _, kind, hit, said) = *row;
    let directory = TempDir::new().unwrap();
    let copied = Command::new("cp").arg("-a").arg(data(from)).arg(directory.path()).status().unwrap();
    assert!(copied.success());
    if beginning == CATALOG {
        // It is made anew at each start.
        fs::create_dir_all(data(directory.path()).join(beginning)).unwrap();
        fs::write(data(directory.path()).join(beginning).join("0000000000000000"), "rubbish").unwrap();
    }
    let files = meant(directory.path(), row);
    files.iter().for_each(|path| harm(path, kind, hit));
    let before = receiver.count();
    let mut gateway = start(directory.path());
    let reply = Client::connect(gateway.smtp).unwrap().send(&[receiver.recipient("/new")], b"\r\nx\r\n");
    let spared = (0..6).filter(|number| !hit.contains(number)).map(|number| format!("/{number}"));
    let spared: BTreeSet<_> = spared.chain(["/new".to_owned()]).collect();
    let delivered = || {
        let arrivals = receiver.arrivals().split_off(before).into_iter();
        arrivals.map(|(arrival, _)| (arrival.path.clone(), arrival)).collect::<BTreeMap<_, _>>()
    };
    let stderr = || fs::read_to_string(directory.path().join("stderr")).unwrap();
    let is_over = || {
        let is_said = said.iter().all(|text| stderr().contains(text));
        (is_said && spared.iter().all(|path| delivered().contains_key(path))).then_some(())
    };
    let mut wrongs = Vec::new();
    wrongs.extend(files.is_empty().then(|| "there is no such file".to_owned()));
    wrongs.extend((!reply.is_accepted()).then(|| format!("no mail is taken: {reply:?}")));
    wrongs.extend(within(DEADLINE, is_over).is_none().then(|| format!("not all of {said:?}: {}", stderr())));
    let code = gateway.end("-TERM");
    wrongs.extend((code != 0).then(|| format!("it ended with {code}")));
    receiver.is_alone();
    let delivered = delivered();
    let paths: BTreeSet<_> = delivered.keys().cloned().collect();
    wrongs.extend((paths != spared).then(|| format!("{paths:?} were delivered and not {spared:?}")));
    let is_whole = |(path, arrival): (&String, &Arrival)| {
        path == "/new" || arrival.body.starts_with(mark(path[1..].parse().unwrap()).as_bytes())
    };
    wrongs.extend((!delivered.iter().all(is_whole)).then(|| "a body is another".to_owned()));
    wrongs.into_iter().map(|wrong| format!("{kind:?} of {beginning}: {wrong}")).collect()
}

#[test]
fn damage_to_any_file_costs_what_was_hit_and_is_named() {
    // Each copy of what was left behind sends the same posts to the same receiver.
    let parts = ROWS.chunks(ROWS.len().div_ceil(3)).collect();
    let wrongs = at_once(parts, |rows: &[Row]| {
        let (receiver, is_busy) = busy();
        let from = left_behind(&receiver);
        is_busy.store(false, Ordering::SeqCst);
        rows.iter().flat_map(|row| endure(from.path(), &receiver, row)).collect::<Vec<_>>()
    });
    let wrongs = wrongs.concat();
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}
