//! Too few descriptors and no more threads (`security.md` 4.4, F14): new work is put off,
//! what was promised is kept, and nobody has to help when there are some again.

use super::calls::has_strace;
use crate::support::DEADLINE;
use crate::support::collector::{Answer, Collector, Keep};
use crate::support::ledger::{Audit, Sent};
use crate::support::load::{Load, misled};
use crate::support::program::{CONFIG, Client, Gateway, eventually, holds_posts, postgate};
use crate::support::tools::leave_out;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A load on a gateway that has too little of something meanwhile.
struct Trial {
    directory: TempDir,
    receiver: Collector,
    gateway: Gateway,
    load: Load,
}

impl Trial {
    fn begin(clients: usize, start: impl FnOnce(&TempDir) -> Child) -> Trial {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("postgate.toml"), CONFIG).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Collector::on(socket, Keep::ChecksumsOnly, |_| Answer::Status(200));
        let gateway = Gateway::listening(start(&directory));
        let load = Load::begin(clients, receiver.address);
        load.turn_to(gateway.smtp);
        Trial { directory, receiver, gateway, load }
    }

    fn accepts(&self, more: usize) {
        let enough = self.load.accepted() + more;
        eventually("mail to be accepted", DEADLINE, || (self.load.accepted() >= enough).then_some(()));
    }

    /// It has all that it needs by now: the same process delivers everything, and takes more.
    fn end(mut self, others: Vec<Sent>) {
        self.accepts(20);
        let sent = [self.load.end(), others].concat();
        let audit = || Audit::of(&sent, &self.receiver.arrivals());
        eventually("all posts", DEADLINE, || audit().is_settled().then_some(()));
        assert!(audit().wrongs().is_empty() && audit().repeated.is_empty(), "{:#?}", audit());
        assert_eq!(misled(&sent), Vec::<String>::new());
        let said = fs::read_to_string(self.directory.path().join("stderr")).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(self.gateway.end("-TERM"), 0, "{said}");
        assert!(!holds_posts(self.directory.path()));
    }
}

#[test]
fn with_few_descriptors_mail_is_put_off_and_nothing_is_lost() {
    let trial = Trial::begin(4, |directory| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 64 && exec \"$0\"", env!("CARGO_BIN_EXE_postgate")]);
        command.current_dir(directory.path()).env_remove("POSTGATE_CONFIG").stdin(Stdio::null());
        Gateway::spawn(&mut command, directory.path())
    });
    trial.accepts(20);
    // As many as it can take, and more.
    let idle: Vec<_> = (0..80).map(|_| TcpStream::connect(trial.gateway.smtp).unwrap()).collect();
    let process = format!("/proc/{}/fd", trial.gateway.child.id());
    let stderr = trial.directory.path().join("stderr");
    let rests = || fs::read_to_string(&stderr).unwrap().contains("accepting connections rests");
    eventually("no descriptor to be left", DEADLINE, || rests().then_some(()));
    assert!(fs::read_dir(process).unwrap().count() >= 60);
    drop(idle);
    trial.end(Vec::new());
}

/// Keeps a process from making threads; dropping it ends that.
struct NoThreads(Child);

impl NoThreads {
    /// Nothing where a machine lets nobody trace what runs already.
    fn of(gateway: &Gateway, trace: &Path) -> Option<NoThreads> {
        let pid = gateway.child.id().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "signal=none", "-e", "trace=/^clone"]);
        strace.args(["--inject=/^clone:error=EAGAIN", "-p", &pid, "-o"]).arg(trace);
        let mut child = strace.spawn().unwrap();
        let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let is_traced = || !status().contains("TracerPid:\t0\n");
        let has_begun = || is_traced().then_some(true).or_else(|| child.try_wait().unwrap().map(|_| false));
        eventually("strace to be there", DEADLINE, has_begun).then_some(NoThreads(child))
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        // It lets go of the process when it is asked to end.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[test]
fn without_more_threads_mail_is_put_off_and_nothing_is_lost() {
    if !has_strace() {
        return;
    }
    let trial =
        Trial::begin(4, |directory| Gateway::spawn(&mut postgate(directory.path()), directory.path()));
    trial.accepts(20);
    let trace = trial.directory.path().join("trace");
    let Some(no_threads) = NoThreads::of(&trial.gateway, &trace) else {
        return leave_out("strace may not trace what runs already");
    };
    // Each is written to a file beside the others, and read again.
    let body = "0123456789\r\n".repeat(300_000) + "end";
    let head = "X-XsHttp-Content-Type: application/octet-stream\r\n\r\n";
    let (message, checksum) = (format!("{head}{body}\r\n"), crc32c::crc32c(body.as_bytes()));
    let send = |number: usize| {
        let path = format!("/large/{number}/0");
        let mut client = Client::connect(trial.gateway.smtp).unwrap();
        let reply = client.send(&[trial.receiver.recipient(&path)], message.as_bytes());
        Sent { paths: vec![path], checksum, reply }
    };
    let large: Vec<_> = std::thread::scope(|scope| {
        let sent: Vec<_> = (1..9).map(|number| scope.spawn(move || send(number))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    let refused = || fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
    eventually("a thread to be refused", DEADLINE, || refused().then_some(()));
    trial.accepts(20);
    drop(no_threads);
    trial.end(large);
}
