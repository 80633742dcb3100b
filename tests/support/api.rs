//! A gateway whose API is asked, and receivers that refuse by path.

use super::DEADLINE;
use super::collector::{Answer, Arrival, Collector};
use super::program::{Client, Gateway, eventually, postgate};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use tempfile::TempDir;

/// No attempt is repeated by itself, and nothing but posts is judged.
const CONFIG: &str = r#"
[server]
hostname = "gateway.example"

[[listener]]
address = "127.0.0.1:0"

[api]
address = "127.0.0.1:0"

[egress]
allow = ["127.0.0.0/8"]

[delivery]
retry = ["1h"]
breaker = 0
"#;

/// A response as it came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A gateway with an API and a receiver that answers 500 below `/busy` and `/echo`, 404 below
/// `/gone` and `/refuse`, the status that a path begins with, and 200 elsewhere.
pub struct Scene {
    pub directory: TempDir,
    pub gateway: Gateway,
    pub api: SocketAddr,
    pub receiver: Collector,
}

fn by_path(arrival: &Arrival) -> Answer {
    match arrival.path.split(['/', '?']).nth(1) {
        Some("busy") => Answer::Status(500),
        Some("gone") => Answer::Status(404),
        Some("echo") => Answer::Echo(500),
        Some("refuse") => Answer::Echo(404),
        Some("silent") => Answer::Silence,
        Some(status) if status.parse::<u16>().is_ok() => Answer::Status(status.parse().unwrap()),
        _ => Answer::Status(200),
    }
}

impl Scene {
    /// Starts everything, with more configuration.
    pub fn start(more: &str) -> Scene {
        Scene::start_in(TempDir::new().unwrap(), |_| more.to_owned())
    }

    /// The same where there may be something, with configuration for a receiver at this
    /// address.
    pub fn start_in(directory: TempDir, more: impl FnOnce(SocketAddr) -> String) -> Scene {
        Scene::before(Collector::start(by_path), directory, more)
    }

    /// The same before another receiver.
    pub fn before(receiver: Collector, directory: TempDir, more: impl FnOnce(SocketAddr) -> String) -> Scene {
        let more = more(receiver.address);
        Scene::of(directory, &format!("{CONFIG}{more}"), receiver)
    }

    /// A gateway of this configuration, which has an API, beside this receiver.
    pub fn of(directory: TempDir, config: &str, receiver: Collector) -> Scene {
        let gateway = Gateway::start(directory.path(), config);
        let api = api_of(&gateway);
        Scene { directory, gateway, api, receiver }
    }

    /// Starts the gateway again, where it was.
    pub fn again(&mut self) {
        let config = std::fs::read_to_string(self.directory.path().join("postgate.toml")).unwrap();
        self.gateway = Gateway::start(self.directory.path(), &config);
        self.api = api_of(&self.gateway);
    }

    /// Sends a message with these header lines to a path of the receiver; its id.
    pub fn send(&self, path: &str, headers: &str) -> String {
        let message = format!("{headers}Subject: x\r\n\r\nhello\r\n");
        let mut client = Client::connect(self.gateway.smtp).unwrap();
        let reply = client.send(&[self.receiver.recipient(path)], message.as_bytes());
        reply.id().to_owned()
    }

    /// Sends a message, and waits until its post stands so.
    pub fn post(&self, path: &str, headers: &str, state: &str) -> String {
        let id = self.send(path, headers);
        self.stands(&id, state);
        id
    }

    /// Waits until a post stands so.
    pub fn stands(&self, id: &str, state: &str) {
        let looked = || (self.get(&format!("/api/v1/posts/{id}")).json()["state"] == state).then_some(());
        eventually(&format!("{id} to be {state}"), DEADLINE, looked);
    }

    /// Waits until there is no such post any more.
    pub fn ends(&self, id: &str) {
        let looked = || (self.get(&format!("/api/v1/posts/{id}")).status == 404).then_some(());
        eventually(&format!("the end of {id}"), DEADLINE, looked);
    }

    /// The receiver's origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.receiver.address)
    }

    /// The receiver's origin as a piece of a path.
    pub fn origin_piece(&self) -> String {
        self.origin().replace(':', "%3A").replace('/', "%2F")
    }

    /// A request as any program sends it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Response {
        let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
        let body = body.unwrap_or_default();
        let (host, length) = (self.api, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{kind}");
        self.raw(&format!("{head}Connection: close\r\n\r\n{body}"))
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, None)
    }

    pub fn post_to(&self, path: &str, body: &str) -> Response {
        self.ask("POST", path, (!body.is_empty()).then_some(body))
    }

    /// Octets as they are, and what comes back until the end.
    pub fn raw(&self, request: &str) -> Response {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may have been answered before it was read.
        let _ = stream.write_all(request.as_bytes());
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|octets| octets == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(&all)));
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: all[end + 4..].to_vec() }
    }

    /// Runs `postgate` with these arguments against the API.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        said(&self.command(arguments).output().unwrap())
    }

    /// A command that asks the gateway.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = postgate(self.directory.path());
        command.args(arguments).env("POSTGATE_API", format!("http://{}", self.api));
        command
    }
}

/// Where it says that its API is.
pub fn api_of(gateway: &Gateway) -> SocketAddr {
    let line = gateway.line("API at ");
    line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap()
}

/// Exit code, standard output, standard error.
pub fn said(output: &Output) -> (i32, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
