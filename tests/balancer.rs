//! Two gateways behind HAProxy, as `config/haproxy` says: nobody is refused when one of them is
//! stopped, and each knows its clients.
//!
//! HAProxy is Debian's; where it is missing the test is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;
mod support;

use authority::{Authority, HOSTNAME};
use data_encoding::HEXLOWER;
use rustix::io::{FdFlags, fcntl_setfd};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use support::DEADLINE;
use support::collector::{Answer, Collector};
use support::program::{Client, Gateway, eventually};
use support::tools::{is_there, output};
use tempfile::TempDir;

const KEY: &str = "pgk_behind-a-balancer";

/// A file of the example in which each of these texts, which it must have, is another.
fn example(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/haproxy").join(name);
    let text = fs::read_to_string(path).unwrap();
    changes.iter().fold(text, |text, (there, here)| {
        assert!(text.contains(there), "{name}: {there}");
        text.replace(there, here)
    })
}

/// A gateway of the example, and where its API is.
fn gateway(directory: &Path, authority: &Authority) -> (Gateway, SocketAddr) {
    let files = authority.write("gateway", &authority.issue(HOSTNAME, &[HOSTNAME]));
    let digest = HEXLOWER.encode(&Sha256::digest(KEY));
    let config = example(
        "postgate.toml",
        &[
            ("10.1.0.5", "127.0.0.1"),
            ("0.0.0.0:2525", "127.0.0.1:0"),
            ("0.0.0.0:8025", "127.0.0.1:0"),
            ("\"fullchain.pem\"", &format!("{:?}", files.0)),
            ("\"key.pem\"", &format!("{:?}", files.1)),
            ("debef7c6fe21890a45dfbccfadc260c468ec9c42511dec508c090a37ac1bb75a", &digest),
        ],
    );
    let here = "[egress]\nallow = [\"127.0.0.0/8\"]\n[limits]\nconnection_rate = \"1000000/m\"\n";
    let gateway = Gateway::start(directory, &format!("{config}\n{here}"));
    let line = gateway.line("API at https://");
    let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
    (gateway, api)
}

/// HAProxy before two gateways; ends with the test.
struct Balancer {
    child: Child,
    log: PathBuf,
    /// Where it takes mail.
    smtp: SocketAddr,
    /// Where it takes requests.
    http: SocketAddr,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Balancer {
    fn start(directory: &Path, authority: &Authority, gateways: &[&(Gateway, SocketAddr); 2]) -> Balancer {
        let (certificate, key) = authority.issue(HOSTNAME, &[HOSTNAME]).pems();
        fs::write(authority.path("site.pem"), certificate + &key).unwrap();
        fs::write(authority.path("gateways.pem"), authority.own_pem()).unwrap();
        // Its own address differs from those of its clients.
        let sockets = [(); 2].map(|()| TcpListener::bind("[::1]:0").unwrap());
        sockets.iter().for_each(|socket| fcntl_setfd(socket, FdFlags::empty()).unwrap());
        let bound = sockets.each_ref().map(|socket| format!("bind fd@{}", socket.as_raw_fd()));
        let config = example(
            "haproxy.cfg",
            &[
                ("bind :25\n", &format!("{}\n", bound[0])),
                ("bind :443 ", &format!("{} ", bound[1])),
                ("/etc/haproxy/", &format!("{}/", authority.directory.path().display())),
                ("10.1.0.1:2525", &gateways[0].0.smtp.to_string()),
                ("10.1.0.2:2525", &gateways[1].0.smtp.to_string()),
                ("10.1.0.1:8025", &gateways[0].1.to_string()),
                ("10.1.0.2:8025", &gateways[1].1.to_string()),
            ],
        );
        let (file, log) = (directory.join("haproxy.cfg"), directory.join("haproxy.log"));
        fs::write(&file, config).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        let told = File::create(&log).unwrap();
        let child = haproxy.stdout(told.try_clone().unwrap()).stderr(told).spawn().unwrap();
        let [smtp, http] = sockets.map(|socket| socket.local_addr().unwrap());
        Balancer { child, log, smtp, http }
    }

    /// Waits until it says something of a server.
    fn says(&self, what: &str) {
        eventually(what, DEADLINE, || fs::read_to_string(&self.log).unwrap().contains(what).then_some(()));
    }
}

/// The status of an answer over HTTPS, and what else curl is told to print.
fn ask(authority: &Authority, address: SocketAddr, path: &str, more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(more).arg("--cacert");
    curl.arg(authority.own_file()).arg("--connect-to").arg(format!("::{address}"));
    let told = output(curl.arg(format!("https://{HOSTNAME}{path}"))).unwrap();
    String::from_utf8(told.stdout).unwrap()
}

/// What a gateway wrote into its protocol log.
fn protocol_log(directory: &Path) -> String {
    let logs = support::under(&directory.join("postgate-data/log")).into_iter().filter(|path| path.is_file());
    logs.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// A message whose subject says which one it is, in a session of its own or in this one.
fn send(client: Option<Client>, balancer: &Balancer, receiver: &Collector, subject: &str) {
    let mut client = client.or_else(|| Client::connect(balancer.smtp)).expect("a greeting");
    let message = format!("Subject: {subject}\r\n\r\nx\r\n");
    let reply = client.send(&[receiver.recipient("/")], message.as_bytes());
    assert!(reply.is_accepted(), "{subject}: {reply:?}");
    let farewell = client.say("QUIT");
    assert!(farewell.as_ref().is_some_and(|reply| reply.starts_with("221 ")), "{subject}: {farewell:?}");
}

fn has_tools() -> bool {
    let has_haproxy = output(Command::new("haproxy").arg("-v")).is_some();
    has_haproxy && is_there("curl")
}

#[test]
fn nobody_is_refused_when_a_gateway_is_stopped() {
    if !has_tools() {
        return;
    }
    let (authority, receiver) = (Authority::new(), Collector::start(|_| Answer::Status(200)));
    let directories = [(); 2].map(|()| TempDir::new().unwrap());
    let [mut one, two] = directories.each_ref().map(|directory| gateway(directory.path(), &authority));
    let balancer = Balancer::start(directories[0].path(), &authority, &[&one, &two]);
    let readiness = |api| ask(&authority, api, "/readyz", &[]);
    // Whoever came before goes on as if nothing were.
    let early: Vec<_> = (0..4).map(|_| Client::connect(balancer.smtp).expect("a greeting")).collect();
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let sent = std::thread::scope(|scope| {
        let (is_over, balancer, receiver) = (&is_over, &balancer, &receiver);
        let work = |client| {
            move || {
                let mut sent = 0;
                while !is_over.load(Ordering::SeqCst) && begun.elapsed() < 2 * DEADLINE {
                    send(None, balancer, receiver, &format!("{client}/{sent}"));
                    sent += 1;
                }
                sent
            }
        };
        let clients = [0, 1].map(|client| scope.spawn(work(client)));
        assert_eq!(readiness(one.1), "200");
        one.0.signal("-TERM");
        eventually("it is not ready", DEADLINE, || (readiness(one.1) == "503").then_some(()));
        // Who does not ask is served all the same.
        balancer.says("Server http/one is DOWN");
        let late = early.len();
        early.into_iter().enumerate().for_each(|(number, client)| {
            send(Some(client), balancer, receiver, &format!("early/{number}"));
        });
        let bearer = format!("Authorization: Bearer {KEY}");
        assert_eq!(ask(&authority, balancer.http, "/api/v1/status", &["-H", &bearer]), "200");
        assert_eq!(one.0.ended(), 0);
        send(None, balancer, receiver, "late");
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>() + late + 1
    });
    assert_eq!(receiver.received(sent).len(), sent);
    for directory in &directories {
        let log = protocol_log(directory.path());
        let told = log.contains("connected from [::1]:") && !log.contains("connected from 127.0.0.1");
        assert!(told, "{log}");
    }
}
