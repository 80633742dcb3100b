//! Synchronous routes: the reply to the end of the data is what came of the first
//! attempt. The whole program, with a receiver that does as it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::api::Scene;
use support::program::{CONFIG, Client, Gateway, Reply, eventually};
use support::receiver::{Act, Receiver, Request, answer, raw};
use support::{DEADLINE, nobody};
use tempfile::TempDir;

/// Longer than any test.
const PATIENCE: &str = "sync_timeout = \"5m\"";

/// A route `<name>@sync.example` to `/<name>` of the receiver.
fn route(name: &str, receiver: SocketAddr, settings: &str) -> String {
    let patience = if settings.contains("sync_timeout") { "" } else { PATIENCE };
    format!(
        "[[route]]\nrecipient = \"{name}@sync.example\"\nurl = \"http://{receiver}/{name}\"\n\
         payload = \"body\"\nmode = \"sync\"\n{patience}\n{settings}\n"
    )
}

/// A response of a type, with a text.
fn with_text(status: u16, content_type: &str, text: &str) -> Vec<Act> {
    let length = text.len();
    vec![raw(&format!(
        "HTTP/1.1 {status} No\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{text}"
    ))]
}

/// Does what the path says.
fn act(request: &Request) -> Vec<Act> {
    let path = request.head.split(' ').nth(1).unwrap();
    match path {
        "/no" => with_text(422, "text/plain; charset=utf-8", "unknown order\r\nsee the manual"),
        "/page" => with_text(404, "text/html", "<html>no</html>"),
        "/forged" => with_text(410, "text/plain", "\r\n gone\u{1b}[2J\u{fc}\r\n250 2.0.0 yes"),
        "/later" => answer(if request.header("Postgate-Attempt") == Some("1") { 500 } else { 200 }),
        "/never" => vec![Act::Hang],
        _ => answer(202),
    }
}

struct World {
    gateway: Gateway,
    receiver: Receiver,
    directory: TempDir,
}

async fn world(routes: &[(&str, &str)], more: &str) -> World {
    let receiver = Receiver::start(act).await;
    let directory = TempDir::new().unwrap();
    let routes: String =
        routes.iter().map(|(name, settings)| route(name, receiver.address, settings)).collect();
    let gateway = Gateway::start(directory.path(), &format!("{CONFIG}\n{routes}\n{more}"));
    World { gateway, receiver, directory }
}

impl World {
    /// The reply to a message for these recipients.
    fn send(&self, names: &[&str], header: &str) -> String {
        let recipients: Vec<_> = names.iter().map(|name| format!("{name}@sync.example")).collect();
        let message = format!("{header}Content-Type: text/plain\r\n\r\nx\r\n");
        match Client::connect(self.gateway.smtp).unwrap().send(&recipients, message.as_bytes()) {
            Reply::Said(line) => line,
            other => panic!("{other:?}"),
        }
    }

    /// Ends the gateway and answers with its protocol log.
    fn end(mut self) -> String {
        assert_eq!(self.gateway.end("-TERM"), 0);
        log(self.directory.path())
    }
}

fn log(directory: &Path) -> String {
    let files = std::fs::read_dir(directory.join("postgate-data/log")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

/// The id in a reply, which is elsewhere in each.
fn id(reply: &str) -> &str {
    let is_id = |word: &&str| word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    reply.split([' ', '.', '-']).find(is_id).unwrap_or_else(|| panic!("no id: {reply}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_hears_what_the_receiver_said() {
    let routes = ["yes", "no", "page", "forged", "later"].map(|name| (name, ""));
    let world = world(&routes, "").await;
    let taken = world.send(&["yes"], "");
    assert_eq!(taken, format!("250 2.0.0 Delivered as {} (202)", id(&taken)));
    assert_eq!(world.receiver.requests()[0].header("Postgate-Id"), Some(id(&taken)));
    assert_eq!(world.send(&["no"], ""), "554 5.6.0 unknown order");
    assert_eq!(world.send(&["page"], ""), "554 5.1.1 404 Not Found");
    assert_eq!(world.send(&["forged"], ""), "554 5.1.1 gone?[2J?");
    let queued = world.send(&["later"], "");
    assert_eq!(queued, format!("250 2.0.0 Message received and queued as {}.", id(&queued)));
    let requests = world.receiver.received(6).await;
    assert_eq!(requests[5].header("Postgate-Attempt"), Some("2"), "what was queued is sent again");
    let refused = world.send(&["yes"], "X-Postgate-Mode: async\r\n");
    assert!(refused.starts_with("250 2.0.0 Delivered as"), "controls of strangers count: {refused}");
    world.end();
}

/// `X-Postgate-Mode` steers the forms that hold a URL.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_ask_for_it() {
    let world = world(&[], "").await;
    let recipient = format!("post@http://{}/yes", world.receiver.address);
    let send = |header: &str| {
        let message = format!("{header}Content-Type: text/csv\r\n\r\nx\r\n");
        Client::connect(world.gateway.smtp)
            .unwrap()
            .send(std::slice::from_ref(&recipient), message.as_bytes())
    };
    let Reply::Said(sync) = send("X-Postgate-Mode: sync\r\n") else { panic!() };
    assert_eq!(sync, format!("250 2.0.0 Delivered as {} (202)", id(&sync)));
    let Reply::Said(plain) = send("") else { panic!() };
    assert!(plain.contains("queued as"), "{plain}");
    world.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_not_waited_for() {
    let world = world(&[("never", "sync_timeout = \"200ms\"")], "").await;
    let reply = world.send(&["never"], "");
    assert_eq!(reply, format!("250 2.0.0 Message received and queued as {}.", id(&reply)));
    assert_eq!(world.receiver.requests().len(), 1, "the attempt goes on");
}

/// One reply for several recipients says what holds for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn one_reply_speaks_for_all_recipients() {
    let world = world(&["yes", "also", "no", "page"].map(|name| (name, "")), "").await;
    let reply = world.send(&["yes", "also"], "");
    assert_eq!(reply, format!("250 2.0.0 Delivered as {} (202)", id(&reply)));
    let reply = world.send(&["yes", "no"], "");
    assert_eq!(reply, format!("250 2.0.0 Message received and queued as {}.", id(&reply)));
    assert_eq!(world.send(&["no", "page", "no"], ""), "554 5.6.0 unknown order (all 3 recipients)");
    // All attempts are made at the same time: the second does not wait for the first.
    assert_eq!(world.receiver.received(7).await.len(), 7);
    world.end();
}

/// Who was told in the reply that all failed gets no report, and no post is left; who
/// was told that some are queued gets a report for each that failed.
#[test]
fn what_the_reply_has_told_is_not_told_again() {
    let (_bound, nobody) = nobody();
    let scene = Scene::start(&format!("[bounce]\nrelay = \"smtp://{nobody}\"\n"));
    let send = |paths: &[&str]| {
        let recipients: Vec<_> = paths.iter().map(|path| scene.receiver.recipient(path)).collect();
        let message = "X-Postgate-Mode: sync\r\n\r\nx\r\n";
        Client::connect(scene.gateway.smtp).unwrap().send(&recipients, message.as_bytes())
    };
    let Reply::Said(reply) = send(&["/gone/1", "/gone/2"]) else { panic!() };
    assert_eq!(reply, "554 5.1.1 404 Not Found (all 2 recipients)");
    assert!(send(&["/", "/gone/3"]).is_accepted());
    // The report goes to nobody's port, and stays.
    let left = || scene.get("/api/v1/posts").json()["posts"].as_array().unwrap().clone();
    eventually("a dead letter and its report", DEADLINE, || {
        let is_failed = |post: &Value| post["state"] == "failed";
        (left().iter().any(is_failed) && left().len() >= 2).then_some(())
    });
    assert_eq!(left().len(), 2, "{:?}", left());
}

/// LMTP answers for each recipient.
#[tokio::test(flavor = "multi_thread")]
async fn lmtp_tells_each_fate() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\n";
    let mut world = world(&["yes", "no", "later"].map(|name| (name, "")), listener).await;
    let line = world.gateway.line("listens on ");
    let lmtp: SocketAddr = line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    world.gateway.smtp = lmtp;
    let names = ["later", "no", "yes"].map(|name| format!("{name}@sync.example"));
    let mut client = Client::connect_lmtp(lmtp);
    client.envelope(&names).unwrap();
    client.write(b"Content-Type: text/plain\r\n\r\nx\r\n.\r\n").unwrap();
    let replies: Vec<_> = names.iter().map(|_| client.reply().unwrap()).collect();
    let id = id(&replies[0]).to_owned();
    assert_eq!(
        replies,
        [
            format!("250 2.0.0 Message received and queued as {id}-1."),
            "554 5.6.0 unknown order".to_owned(),
            format!("250 2.0.0 Delivered as {id}-3 (202)"),
        ]
    );
}

/// A destination that is left alone answers at once.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_destination_that_is_left_alone() {
    let (_bound, down) = nobody();
    let receiver = Receiver::start(act).await;
    let directory = TempDir::new().unwrap();
    let config = CONFIG.replace("retry = [", "breaker = 1\nretry = [\"5m\", ");
    let config = format!("{config}\n{}\n{}", route("down", down, ""), route("yes", receiver.address, ""));
    let gateway = Gateway::start(directory.path(), &config);
    let world = World { gateway, receiver, directory };
    let begin = Instant::now();
    for _ in 0..3 {
        let reply = world.send(&["down"], "");
        assert_eq!(reply, format!("250 2.0.0 Message received and queued as {}.", id(&reply)));
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let log = world.end();
    assert_eq!(log.matches("no connection to").count(), 1, "only the first was tried\n{log}");
}

/// What is refused leaves nothing behind, whatever its fate would have been.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_is_handed_back_is_not_sent_again() {
    let refuse = "sync_fallback = \"refuse\"";
    let world =
        world(&[("later", refuse), ("never", &format!("{refuse}\nsync_timeout = \"200ms\""))], "").await;
    for recipient in ["later", "never"] {
        let reply = world.send(&[recipient], "");
        assert_eq!(reply, "451 4.4.1 the receiver cannot take it now; try again later");
    }
    // Its idempotency key would make the next one a repetition.
    let keyed = world.send(&["later"], "X-Postgate-Idempotency-Key: 1\r\n");
    assert!(keyed.starts_with("451 "), "a stranger's key does not count: {keyed}");
    assert_eq!(world.receiver.requests().len(), 3);
}

/// A stop does not wait for those who wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_wait() {
    let (receiver, gate) = Receiver::gated().await;
    let directory = TempDir::new().unwrap();
    let config = CONFIG.replace("[delivery]", "[delivery]\nmax_connections = 1");
    let config = format!("{config}\n{}", route("slow", receiver.address, ""));
    let gateway = Gateway::start(directory.path(), &config);
    let mut world = World { gateway, receiver, directory };
    let smtp = world.gateway.smtp;
    let recipient = ["slow@sync.example".to_owned()];
    let message = b"Content-Type: text/plain\r\n\r\nx\r\n";
    let first = tokio::task::spawn_blocking({
        let recipient = recipient.clone();
        move || Client::connect(smtp).unwrap().send(&recipient, message)
    });
    world.receiver.received(1).await;
    let mut second = Client::connect(smtp).unwrap();
    second.envelope(&recipient).unwrap();
    world.gateway.signal("-TERM");
    second.write(&[&message[..], b".\r\n"].concat()).unwrap();
    gate.add_permits(1);
    let replies = [first.await.unwrap(), Reply::Said(second.reply().unwrap())];
    let said =
        |text: &str| replies.iter().any(|reply| matches!(reply, Reply::Said(line) if line.contains(text)));
    assert!(said("Delivered as") && said("queued as"), "{replies:?}");
    assert_eq!(world.gateway.ended(), 0);
}
