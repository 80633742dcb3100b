//! What a service manager is told (sd_notify(3)), by the whole program, and the units of
//! `config/systemd`, by those who read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::program::{CONFIG, Client, Gateway, eventually, postgate};
use support::tools;
use tempfile::TempDir;

/// A gateway, and what its service manager is told.
struct Supervised {
    told: UnixDatagram,
    gateway: Gateway,
}

impl Supervised {
    /// Starts a gateway that may be silent for so long.
    fn start(directory: &Path, patience: Duration) -> Supervised {
        let path = directory.join("notify");
        let told = UnixDatagram::bind(&path).unwrap();
        Supervised::watch(told, path.to_str().unwrap(), directory, patience)
    }

    fn watch(told: UnixDatagram, name: &str, directory: &Path, patience: Duration) -> Supervised {
        fs::write(directory.join("postgate.toml"), CONFIG).unwrap();
        told.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = postgate(directory);
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", patience.as_micros().to_string());
        let child = Gateway::spawn(&mut command, directory);
        let mut supervised = Supervised { told, gateway: Gateway::at(child, ([0, 0, 0, 0], 0).into()) };
        assert_eq!(supervised.next(), "STATUS=reads what an earlier process left");
        let ready = supervised.next();
        supervised.gateway.smtp = address(&ready);
        supervised
    }

    /// What it is told next.
    fn next(&self) -> String {
        let mut octets = [0; 1000];
        let length = self.told.recv(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    /// What it is told next of anything but being well.
    fn news(&self) -> String {
        let mut news = (0..10_000).map(|_| self.next());
        news.find(|news| news != "WATCHDOG=1").unwrap()
    }

    /// Whether it is told anything within this time.
    fn hears_within(&self, time: Duration) -> bool {
        self.told.set_read_timeout(Some(time)).unwrap();
        let heard = self.told.recv(&mut [0; 1000]);
        self.told.set_read_timeout(Some(DEADLINE)).unwrap();
        !heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn reload(&self, more: &str, directory: &Path) -> String {
        fs::write(directory.join("postgate.toml"), CONFIG.to_owned() + more).unwrap();
        let before = monotonic();
        self.gateway.signal("-HUP");
        let news = self.news();
        let since = news.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&news);
        let (at, status) = since.split_once('\n').unwrap();
        let at = Duration::from_micros(at.parse().unwrap());
        assert!(before <= at && at <= monotonic(), "{before:?} {news}");
        assert_eq!(status, "STATUS=reads its configuration again");
        self.news()
    }
}

/// The machine's monotonic clock, in the microseconds that are told.
fn monotonic() -> Duration {
    let now = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)).unwrap();
    Duration::from_micros(u64::try_from(now.as_micros()).unwrap())
}

/// Where mail is taken, as a gateway that is ready says.
fn address(ready: &str) -> SocketAddr {
    let listening = ready.strip_prefix("READY=1\nSTATUS=takes mail on ").expect(ready);
    listening.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn it_is_told_of_start_reload_and_stop_when_they_are() {
    let directory = TempDir::new().unwrap();
    let mut supervised = Supervised::start(directory.path(), DEADLINE);
    // Not before it listens.
    assert!(Client::connect(supervised.gateway.smtp).is_some());
    let ready = supervised.reload("[[tenant]]\nname = \"shop\"\n", directory.path());
    assert_eq!(address(&ready), supervised.gateway.smtp);
    assert!(!ready.contains("bad"), "{ready}");
    let ready = supervised.reload("[nonsense]\n", directory.path());
    assert_eq!(address(&ready), supervised.gateway.smtp);
    assert!(ready.ends_with("was bad, the log says why"), "{ready}");
    supervised.gateway.signal("-TERM");
    assert_eq!(supervised.news(), "STOPPING=1\nSTATUS=finishes what is under way");
    assert_eq!(supervised.gateway.ended(), 0);
}

#[test]
fn it_is_told_that_all_is_well_in_time_and_only_while_it_is() {
    let directory = TempDir::new().unwrap();
    // Half of it is what a busy machine may be late.
    let supervised = Supervised::start(directory.path(), Duration::from_secs(4));
    let mut heard = Instant::now();
    for _ in 0..3 {
        assert_eq!(supervised.next(), "WATCHDOG=1");
        assert!(heard.elapsed() < Duration::from_secs(4), "{:?}", heard.elapsed());
        heard = Instant::now();
    }
    supervised.gateway.signal("-STOP");
    let stat = format!("/proc/{}/stat", supervised.gateway.child.id());
    let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ").then_some(());
    eventually("the gateway to stand still", DEADLINE, is_stopped);
    supervised.told.set_nonblocking(true).unwrap();
    while supervised.told.recv(&mut [0; 1000]).is_ok() {}
    supervised.told.set_nonblocking(false).unwrap();
    assert!(!supervised.hears_within(Duration::from_secs(4)));
    supervised.gateway.signal("-CONT");
    assert_eq!(supervised.next(), "WATCHDOG=1");
}

#[test]
fn it_may_have_a_name_in_no_directory_or_be_away() {
    let directory = TempDir::new().unwrap();
    let name = format!("postgate-test-{}", std::process::id());
    let told = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
    let supervised = Supervised::watch(told, &format!("@{name}"), directory.path(), DEADLINE);
    assert_eq!(supervised.next(), "WATCHDOG=1");
    drop(supervised);
    let away = directory.path().join("away");
    let child = Gateway::spawn(postgate(directory.path()).env("NOTIFY_SOCKET", &away), directory.path());
    let mut gateway = Gateway::listening(child);
    assert!(Client::connect(gateway.smtp).is_some());
    assert_eq!(gateway.end("-TERM"), 0);
    let log = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(log.contains("cannot tell the service manager anything: NOTIFY_SOCKET "), "{log}");
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd")
}

/// The value of a line of a unit.
fn value(unit: &str, key: &str) -> String {
    let text = fs::read_to_string(units().join(unit)).unwrap();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("{unit} has no {key}")).to_owned()
}

#[test]
fn a_gateway_with_the_socket_unit_refuses_nobody_while_it_is_started_anew() {
    let directory = TempDir::new().unwrap();
    let name = value("postgate.socket", "FileDescriptorName");
    let config = CONFIG.replace("127.0.0.1:0", &format!("systemd:{name}"));
    fs::write(directory.path().join("postgate.toml"), config).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    for _ in 0..3 {
        // Nobody serves it at this moment.
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" 3<&0 0</dev/null"]);
        command.arg(env!("CARGO_BIN_EXE_postgate")).env("LISTEN_FDNAMES", &name);
        let passed = Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
        let command = command.current_dir(directory.path()).env_remove("POSTGATE_CONFIG").stdin(passed);
        let mut gateway = Gateway::at(Gateway::spawn(command, directory.path()), address);
        let mut greeting = String::new();
        BufReader::new(client).read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("220 "), "{greeting:?}");
        assert_eq!(gateway.end("-TERM"), 0);
    }
}

/// What `systemd-analyze` says of files; nothing where there is none.
fn analyzed(arguments: &[&str], files: &[PathBuf]) -> Option<Output> {
    tools::output(Command::new("systemd-analyze").args(arguments).args(files))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_that_is_exposed() {
    let directory = TempDir::new().unwrap();
    // Where the unit's own program would be, there may be none.
    let here = format!("ExecStart={}", env!("CARGO_BIN_EXE_postgate"));
    let written = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(units().join(name)).unwrap();
        assert!(text.contains(from), "{from}");
        let path = directory.path().join(name);
        fs::write(&path, text.replace("ExecStart=postgate", &here).replace(from, to)).unwrap();
        path
    };
    let verify = ["verify", "--man=no"];
    let both = || [written("postgate.service", "", ""), written("postgate.socket", "", "")];
    let Some(verified) = analyzed(&verify, &both()) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let bad = written("postgate.service", "Type=notify", "Tpye=notify");
    assert!(!analyzed(&verify, &[bad]).unwrap().stderr.is_empty(), "the checker is blind");
    let exposure = ["security", "--offline=true", "--threshold=20"];
    let exposed = analyzed(&exposure, &[written("postgate.service", "", "")]).unwrap();
    assert!(exposed.status.success(), "{exposed:?}");
    let bad = written("postgate.service", "SystemCallFilter", "#SystemCallFilter");
    assert!(!analyzed(&exposure, &[bad]).unwrap().status.success(), "the checker is blind");
}
