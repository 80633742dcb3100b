//! Each call to the system that mail comes to on its way through the spool fails, or is the
//! last one (`security.md` 4.3, F1, F3 and F4 of 4.4): the real program under
//! `strace -e inject`.
//!
//! Calls are counted first, in a run without faults; then one of them fails in each run, or
//! the process is killed as it makes it. Each thread counts by itself: the n-th call of all
//! that make so many. Behind the fault mail is taken again without any help, and behind the
//! next start nothing is lost. `FAULTS=all` has each call fail, for messages of three sizes;
//! otherwise a few of each kind do.

use super::clocks::busy;
use crate::support::DEADLINE;
use crate::support::collector::{Collector, Keep, moody};
use crate::support::ledger::{Audit, drain};
use crate::support::load::{Load, misled};
use crate::support::program::{CONFIG, Gateway, eventually, within};
use crate::support::tools;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// With this error; nothing is done.
    Error(&'static str),
    /// Never: the process is killed as it makes it.
    Kill,
}

use Fault::{Error, Kill};

const EIO: Fault = Error("EIO");
const ENOSPC: Fault = Error("ENOSPC");
const EMFILE: Fault = Error("EMFILE");

/// A kind of calls.
struct Kind {
    /// How it is called here.
    name: &'static str,
    /// As strace names them: architectures differ in that.
    calls: &'static str,
    faults: &'static [Fault],
    /// Files that they are about; of all, where there are none.
    files: &'static [&'static str],
    /// There is something to be read: a process was killed before.
    is_second_life: bool,
}

impl Kind {
    const fn of(name: &'static str, calls: &'static str, faults: &'static [Fault]) -> Kind {
        Kind { name, calls, faults, files: &[], is_second_life: false }
    }
}

/// What spool, journal and keys do. Segments have numbers, and a process begins with the next.
const KINDS: &[Kind] = &[
    Kind::of("write of records", "/^pwritev2?$", &[EIO, ENOSPC, Kill]),
    Kind::of("sync of octets", "fdatasync", &[EIO, ENOSPC, Kill]),
    Kind::of("write of zeros", "pwrite64", &[EIO, ENOSPC, Kill]),
    Kind::of("sync of names", "fsync", &[EIO, Kill]),
    Kind::of("rename", "/^rename", &[EIO, ENOSPC, Kill]),
    Kind { is_second_life: true, ..Kind::of("removal", "/^unlink", &[EIO, Kill]) },
    Kind::of("setting apart", "fallocate", &[EIO, ENOSPC, Kill]),
    Kind { files: LOG, is_second_life: true, ..Kind::of("read", "pread64", &[EIO, Kill]) },
    Kind { files: LOG, is_second_life: true, ..Kind::of("opening", "openat", &[EIO, EMFILE, Kill]) },
];

/// The spool's own: whoever loads the program opens and reads others.
const LOG: &[&str] =
    &["", "/0000000000000001.seg", "/0000000000000002.seg", "/0000000000000003.seg", "/notes"];

/// Sizes of bodies in octets: those of all kinds, and of one.
const MIXED: &[usize] = &[200, 8192, 200, 300 << 10];
const EACH: [&[usize]; 3] = [&[200], &[8192], &[300 << 10]];

/// Calls of a kind that fail in turn, when not all do: the first, and some before the last
/// third. No two runs make equally many.
const FEW: usize = 3;
/// Runs at a time: most of one is waiting for the disk.
const AT_ONCE: usize = 3;

/// One run.
struct Case {
    kind: &'static Kind,
    fault: Fault,
    nth: usize,
    sizes: &'static [usize],
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?}), octets {:?}", self.kind.name, self.nth, self.fault, self.sizes)
    }
}

/// Whether calls can be made to fail here. A machine may forbid that, whoever asks.
pub fn has_strace() -> bool {
    // It traces who started it, as it does below.
    let own = ["-D", "-f", "-o", "/dev/null", "-e", "trace=none", "true"];
    let Some(traced) = tools::output(Command::new("strace").args(own)) else { return false };
    if !traced.status.success() {
        tools::leave_out("strace may not trace");
    }
    traced.status.success()
}

/// The gateway under strace, which writes down these calls, and has what `inject` says
/// happen. It is no child of strace's, but the other way round: killed as ever.
fn traced(directory: &Path, kind: &Kind, inject: Option<String>) -> Child {
    fs::write(directory.join("postgate.toml"), CONFIG).unwrap();
    let mut command = Command::new("strace");
    command.current_dir(directory).env_remove("POSTGATE_CONFIG");
    command.args(["-D", "-f", "-qq", "-e", "signal=none", "-o"]).arg(trace(directory));
    // Other calls take no time then; but of signals strace 6.1 sends only the first.
    let is_signal = inject.as_ref().is_some_and(|what| what.starts_with("signal="));
    command.args((!is_signal).then_some("--seccomp-bpf"));
    command.arg("-e").arg(format!("trace={}", kind.calls));
    command.args(inject.map(|what| format!("--inject={}:{what}", kind.calls)));
    for file in kind.files {
        // As the program says it, and as the system does.
        let file = Path::new("postgate-data/spool/log").join(file.trim_start_matches('/'));
        let file = file.to_str().unwrap().trim_end_matches('/').to_owned();
        command.args(["-P", &file]).arg("-P").arg(directory.join(&file));
    }
    command.arg(env!("CARGO_BIN_EXE_postgate"));
    Gateway::spawn(&mut command, directory)
}

fn trace(directory: &Path) -> std::path::PathBuf {
    directory.join("trace")
}

/// How often a thread made such a call, the busiest one.
fn count(kind: &'static Kind) -> usize {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, moody);
    let load = Load::of(MIXED, 4, receiver.address);
    live_before(&directory, kind, &load);
    let mut gateway = Gateway::listening(traced(directory.path(), kind, None));
    load.turn_to(gateway.smtp);
    let enough = load.accepted() + 30;
    eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
    gateway.end("-KILL");
    drop(load);
    let trace = fs::read_to_string(trace(directory.path())).unwrap();
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for line in trace.lines().filter(|line| !line.contains(" resumed>")) {
        *calls.entry(line.split(' ').next().unwrap()).or_default() += 1;
    }
    calls.into_values().max().unwrap_or_default()
}

/// A process that is killed under load, where one has to have been.
fn live_before(directory: &TempDir, kind: &Kind, load: &Load) {
    if kind.is_second_life {
        let mut gateway = Gateway::start(directory.path(), CONFIG);
        load.turn_to(gateway.smtp);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= 10).then_some(()));
        gateway.end("-KILL");
    }
}

/// Which of so many calls fail.
fn chosen(count: usize, most: usize) -> Vec<usize> {
    let few = most.min(count);
    let mut chosen: Vec<_> = (0..few).map(|at| 1 + at * (count - 1) / (few - 1).max(1)).collect();
    chosen.dedup();
    chosen
}

/// Whether the fault has come about, and what is wrong then.
fn endure(case: &Case) -> (bool, Vec<String>) {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, moody);
    let load = Load::of(case.sizes, 4, receiver.address);
    live_before(&directory, case.kind, &load);
    let inject = match case.fault {
        Error(error) => format!("error={error}:when={}", case.nth),
        Kill => format!("signal=KILL:when={}", case.nth),
    };
    let has_failed = || fs::read_to_string(trace(path)).is_ok_and(|calls| calls.contains("(INJECTED)"));
    let said = || fs::read_to_string(path.join("stderr")).unwrap_or_default();
    let mut wrongs = Vec::new();
    let has_struck = match Gateway::if_it_starts(traced(path, case.kind, Some(inject))) {
        Err(-1) if case.fault == Kill => true,
        // It could not start, and has said why.
        Err(code) => {
            wrongs.extend((code != 74 || said().is_empty()).then(|| format!("its start ended with {code}")));
            has_failed()
        }
        Ok(mut gateway) => {
            load.turn_to(gateway.smtp);
            let mut has_ended = || gateway.child.try_wait().unwrap().is_some();
            let struck = within(DEADLINE, || (has_ended() || has_failed()).then_some(()));
            if case.fault == Kill {
                gateway.child.kill().unwrap();
                gateway.ended();
            } else {
                let enough = load.accepted() + 5;
                let goes_on = within(DEADLINE, || (load.accepted() >= enough).then_some(()));
                wrongs.extend(goes_on.is_none().then(|| "no mail is taken again".to_owned()));
                let code = gateway.end("-TERM");
                // The call of another thread may have been one of the last.
                wrongs.extend((code != 0 && code != 74).then(|| format!("it ended with {code}")));
            }
            struck.is_some()
        }
    };
    let sent = load.end();
    let audit = drain(path, CONFIG, &sent, &receiver);
    wrongs.extend(audit.wrongs().into_iter().map(|(what, count)| format!("{count} {what}: {audit:?}")));
    wrongs.extend(misled(&sent).into_iter().map(|line| format!("a client was told: {line}")));
    wrongs.extend(said().contains("panicked").then(|| "something panicked".to_owned()));
    if !wrongs.is_empty() {
        wrongs.push(said());
    }
    (has_struck, wrongs)
}

fn cases() -> Vec<Case> {
    let is_all = std::env::var("FAULTS").is_ok_and(|which| which == "all");
    let (most, sizes) = if is_all { (usize::MAX, &EACH[..]) } else { (FEW, &[MIXED][..]) };
    let counts = at_once(KINDS.iter().collect(), |kind| (kind, count(kind)));
    let mut cases = Vec::new();
    for (kind, count) in counts {
        assert!(count > 0, "{}: there is none", kind.name);
        let count = if is_all { count } else { count - count / 3 };
        for fault in kind.faults {
            for nth in chosen(count, most) {
                let case = |sizes: &&'static [usize]| Case { kind, fault: *fault, nth, sizes };
                cases.extend(sizes.iter().map(case));
            }
        }
    }
    cases
}

/// Does this with all of them, a few at a time; an answer for each.
pub fn at_once<T: Send, U: Send>(all: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let (waiting, done) = (Mutex::new(all.into_iter()), Mutex::new(Vec::new()));
    let next = || waiting.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = next() {
                    let answer = work(one);
                    done.lock().unwrap().push(answer);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

#[test]
fn nothing_is_lost_whichever_call_fails_or_is_the_last() {
    if !has_strace() {
        return;
    }
    let endured = at_once(cases(), |case| {
        // The run of another one goes on.
        let died = |_| (true, vec!["the test itself died of it".to_owned()]);
        let (has_struck, wrongs) = std::panic::catch_unwind(|| endure(&case)).unwrap_or_else(died);
        (case, has_struck, wrongs)
    });
    let wrongs = endured.iter().flat_map(|(case, _, wrongs)| wrongs.iter().map(move |wrong| (case, wrong)));
    let wrongs: Vec<_> = wrongs.map(|(case, wrong)| format!("{case}: {wrong}")).collect();
    assert!(wrongs.is_empty(), "{} of {}:\n{}", wrongs.len(), endured.len(), wrongs.join("\n"));
    for kind in KINDS {
        for fault in kind.faults {
            let is_it = |case: &Case| case.kind.name == kind.name && case.fault == *fault;
            let runs = endured.iter().filter(|(case, ..)| is_it(case));
            let struck = runs.filter(|(_, has_struck, _)| *has_struck).count();
            assert!(struck > 0, "no {} met {fault:?}", kind.name);
        }
    }
    let missed = endured.iter().filter(|(_, has_struck, _)| !has_struck);
    let missed: Vec<_> = missed.map(|(case, ..)| case.to_string()).collect();
    let all = endured.len();
    assert!(missed.len() * 5 < all, "{} of {all} did not come about: {missed:#?}", missed.len());
}

/// The control: a disk that swallows what is written, and says that all is well.
#[test]
fn what_a_disk_swallows_is_found_to_be_lost() {
    if !has_strace() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (receiver, is_busy) = busy();
    let load = Load::of(&[200], 2, receiver.address);
    // What is written begins and ends at multiples of eight octets.
    let swallow = Some("retval=8:when=20+".to_owned());
    let mut gateway = Gateway::listening(traced(directory.path(), &KINDS[0], swallow));
    load.turn_to(gateway.smtp);
    eventually("mail to be accepted", DEADLINE, || (load.accepted() >= 40).then_some(()));
    gateway.end("-KILL");
    let sent = load.end();
    is_busy.store(false, Ordering::SeqCst);
    // Nothing is waited for but that nothing is left.
    drain(directory.path(), CONFIG, &[], &receiver);
    let audit = Audit::of(&sent, &receiver.arrivals());
    assert!(!audit.lost.is_empty() && receiver.count() > 0, "{:?} of {}", audit.wrongs(), sent.len());
}
