//! Routes at work: several endpoints for one recipient, whose mail is taken and how
//! much, and recipients that a receiver is asked about. The whole program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::program::{CONFIG, Client, Gateway, Reply, eventually};
use support::receiver::{Act, Receiver, Request, answer, raw};
use support::{DEADLINE, nobody};
use tempfile::TempDir;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nhello\r\n";

fn path(request: &Request) -> &str {
    request.head.split(' ').nth(1).unwrap()
}

/// A route `<name>@hooks.example` to these paths of the receiver.
fn route(name: &str, receiver: SocketAddr, paths: &[&str], settings: &str) -> String {
    let urls: Vec<_> = paths.iter().map(|path| format!("\"http://{receiver}{path}\"")).collect();
    let urls = urls.join(", ");
    format!(
        "\n[[route]]\nrecipient = \"{name}@hooks.example\"\nurl = [{urls}]\npayload = \"raw\"\n{settings}\n"
    )
}

fn send(smtp: SocketAddr, names: &[&str]) -> String {
    let recipients: Vec<_> = names.iter().map(|name| format!("{name}@hooks.example")).collect();
    match Client::connect(smtp).unwrap().send(&recipients, MESSAGE) {
        Reply::Said(line) => line,
        other => panic!("{other:?}"),
    }
}

/// The id of a message in a reply.
fn id(reply: &str) -> &str {
    let is_id = |word: &&str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    reply.split([' ', '.', '-']).find(is_id).unwrap_or_else(|| panic!("no id: {reply}"))
}

/// Each endpoint has its own post: one that is down holds up no other, and loses
/// nothing when the gateway dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_leaves_the_others_alone() {
    let is_alive = Arc::new(AtomicBool::new(false));
    let alive = Arc::clone(&is_alive);
    let receiver = Receiver::start(move |request| match path(request) {
        "/dead" if !alive.load(Ordering::Relaxed) => answer(503),
        _ => answer(200),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let config = CONFIG.to_owned()
        + &route("fan", receiver.address, &["/one", "/dead"], "")
        + &route("Fan", receiver.address, &["/other"], "headers = { X-Source = \"mail\" }\nmethod = \"put\"")
        + &route("fan", receiver.address, &["/never"], "priority = -1")
        + &route("*", receiver.address, &["/never"], "");
    let mut gateway = Gateway::start(directory.path(), &config);
    let reply = send(gateway.smtp, &["fan"]);
    let message = id(&reply).to_owned();
    assert_eq!(reply, format!("250 2.0.0 Message received and queued as {message}."));
    let seen = |at: &str| {
        let requests = receiver.requests();
        let mut found = requests.iter().filter(|request| path(request) == at);
        found.next_back().cloned()
    };
    let arrived = |at: &str| eventually(at, DEADLINE, || seen(at));
    let (one, other) = (arrived("/one"), arrived("/other"));
    assert_eq!(one.header("Postgate-Id"), Some(&*format!("{message}-1")));
    assert_eq!(other.header("Postgate-Id"), Some(&*format!("{message}-3")));
    assert!(one.head.starts_with("POST ") && other.head.starts_with("PUT "), "{}", other.head);
    assert_eq!((one.header("X-Source"), other.header("X-Source")), (None, Some("mail")));
    let second = |request: Request| (request.header("Postgate-Attempt") != Some("1")).then_some(());
    eventually("another attempt", DEADLINE, || second(arrived("/dead")));
    assert_eq!(gateway.end("-KILL"), -1);
    is_alive.store(true, Ordering::Relaxed);
    let before = receiver.requests().len();
    let _gateway = Gateway::start(directory.path(), &config);
    let late = eventually("the post that waited", DEADLINE, || {
        receiver.requests()[before..].iter().find(|request| path(request) == "/dead").cloned()
    });
    assert_eq!(late.header("Postgate-Id"), Some(&*format!("{message}-2")));
    assert!(seen("/never").is_none());
}

/// A gateway that speaks LMTP, too; where it does.
fn with_lmtp(directory: &Path, routes: &str) -> (Gateway, SocketAddr) {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\n";
    let gateway = Gateway::start(directory, &format!("{CONFIG}\n{routes}\n{listener}"));
    let line = gateway.line("listens on ");
    let lmtp = line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    (gateway, lmtp)
}

fn deliver(lmtp: SocketAddr, names: &[&str], message: &[u8]) -> Vec<String> {
    let recipients: Vec<_> = names.iter().map(|name| format!("{name}@hooks.example")).collect();
    let mut client = Client::connect_lmtp(lmtp);
    client.envelope(&recipients).unwrap();
    client.write(message).unwrap();
    client.write(b".\r\n").unwrap();
    recipients.iter().map(|_| client.reply().unwrap()).collect()
}

/// LMTP has a reply for each recipient, whatever the number of its posts, and a
/// message that is too large for one of them is the others' all the same.
#[tokio::test(flavor = "multi_thread")]
async fn replies_are_for_recipients() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let directory = TempDir::new().unwrap();
    let routes = route("fan", receiver.address, &["/1", "/2"], "")
        + &route("one", receiver.address, &["/3"], "")
        + &route("small", receiver.address, &["/4"], "message_size = \"1KiB\"")
        + &route("tiny", receiver.address, &["/5"], "message_size = \"16B\"");
    let (gateway, lmtp) = with_lmtp(directory.path(), &routes);
    let replies = deliver(lmtp, &["fan", "tiny", "one", "small"], MESSAGE);
    let id = id(&replies[0]).to_owned();
    let queued = |number| format!("250 2.0.0 Message received and queued as {id}-{number}.");
    let tiny = "552 5.3.4 message too large; this recipient takes at most 16 octets";
    assert_eq!(replies, [queued(1), tiny.to_owned(), queued(3), queued(4)]);
    let requests = receiver.received(4).await;
    let mut paths: Vec<_> = requests.iter().map(path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/1", "/2", "/3", "/4"]);
    assert_eq!(deliver(lmtp, &["tiny"], MESSAGE), [tiny]);
    // Each hears what is true of itself, also when nobody takes it.
    let large = [MESSAGE, &b"x\r\n".repeat(500)].concat();
    let small = tiny.replace("16", "1024");
    assert_eq!(deliver(lmtp, &["small", "tiny", "small"], &large), [&small, tiny, &small]);
    // One reply for all: nobody gets it.
    assert_eq!(send(gateway.smtp, &["one", "tiny"]), tiny);
    let mut client = Client::connect(gateway.smtp).unwrap();
    for (line, expected) in [
        ("EHLO a", "250 "),
        ("MAIL FROM:<a@b> SIZE=17", "250 "),
        ("RCPT TO:<tiny@hooks.example>", tiny),
        ("RCPT TO:<small@hooks.example>", "250 "),
        ("RSET", "250 "),
        ("MAIL FROM:<a@b> SIZE=16", "250 "),
        ("RCPT TO:<tiny@hooks.example>", "250 "),
    ] {
        let said = client.say(line).unwrap();
        assert!(said.starts_with(expected), "{line}: {said}");
    }
    assert_eq!(receiver.requests().len(), 4);
}

/// Who waits for first attempts hears of all posts of a recipient, or of the first
/// that failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_for_all_endpoints() {
    let refused = "HTTP/1.1 422 No\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nunknown order";
    let receiver = Receiver::start(|request| match path(request) {
        "/no" => vec![raw(refused)],
        "/busy" => answer(503),
        _ => answer(202),
    })
    .await;
    let directory = TempDir::new().unwrap();
    let sync = "mode = \"sync\"\nsync_timeout = \"5m\"";
    let routes = route("good", receiver.address, &["/a", "/b"], sync)
        + &route("bad", receiver.address, &["/a", "/no", "/b"], sync)
        + &route("slow", receiver.address, &["/a", "/busy"], sync)
        + &route("mixed", receiver.address, &["/no"], sync)
        + &route("mixed", receiver.address, &["/late"], "");
    let (gateway, lmtp) = with_lmtp(directory.path(), &routes);
    let good = send(gateway.smtp, &["good"]);
    assert_eq!(good, format!("250 2.0.0 Delivered as {} (202)", id(&good)));
    assert_eq!(send(gateway.smtp, &["bad"]), "554 5.6.0 unknown order");
    assert_eq!(send(gateway.smtp, &["mixed"]), "554 5.6.0 unknown order");
    // One reply for two recipients refuses neither.
    let both = send(gateway.smtp, &["good", "bad"]);
    assert_eq!(both, format!("250 2.0.0 Message received and queued as {}.", id(&both)));
    let replies = deliver(lmtp, &["good", "bad", "good"], MESSAGE);
    let id = id(&replies[0]).to_owned();
    let delivered = |number| format!("250 2.0.0 Delivered as {id}-{number} (202)");
    assert_eq!(replies, [delivered(1), "554 5.6.0 unknown order".to_owned(), delivered(6)]);
    // At last, as the destination is left alone then.
    let slow = send(gateway.smtp, &["slow"]);
    assert!(slow.starts_with("250 2.0.0 Message received and queued as "), "{slow}");
}

#[test]
fn strangers_are_told_that_they_are() {
    let directory = TempDir::new().unwrap();
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let routes = route("shop", nowhere, &["/"], "allow_from = [\"*@example.com\", \"127.0.0.0/8\"]")
        + &route("away", nowhere, &["/"], "allow_from = \"192.0.2.0/24\"")
        + &route("reports", nowhere, &["/"], "allow_from = [\"<>\"]");
    let gateway = Gateway::start(directory.path(), &(CONFIG.to_owned() + &routes));
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.say("EHLO a").unwrap();
    let (sender, network) = (
        "550 5.7.1 this recipient does not take mail from this sender",
        "550 5.7.1 this recipient does not take mail from this client",
    );
    for (from, to, expected) in [
        ("a@example.com", "shop", "250 "),
        ("A@EXAMPLE.COM", "shop", "250 "),
        ("a@example.org", "shop", sender),
        ("", "shop", sender),
        ("a@example.com", "away", network),
        ("a@example.com", "reports", sender),
        ("", "reports", "250 "),
    ] {
        assert!(client.say(&format!("MAIL FROM:<{from}>")).unwrap().starts_with("250 "));
        let said = client.say(&format!("RCPT TO:<{to}@hooks.example>")).unwrap();
        assert!(said.starts_with(expected), "{from} {to}: {said}");
        client.say("RSET").unwrap();
    }
}

/// Judges by the recipient in the question.
fn judge(request: &Request) -> Vec<Act> {
    let text = |status: u16, text: &str| {
        let length = text.len();
        vec![raw(&format!(
            "HTTP/1.1 {status} x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
        ))]
    };
    let body = String::from_utf8_lossy(&request.body).into_owned();
    match () {
        () if body.contains("left") => text(404, "she has left the company\r\n250 OK"),
        () if body.contains("ill") => answer(500),
        () if body.contains("slow") => vec![Act::Hang],
        () => answer(204),
    }
}

fn say(client: &mut Client, name: &str) -> String {
    client.say(&format!("RCPT TO:<{name}@hooks.example>")).unwrap()
}

/// A client within a transaction, and the gateway with a route for everybody that is
/// checked.
fn checked(directory: &Path, check: &str) -> (Gateway, Client) {
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    // Credentials in a file that others can read are refused.
    let path = directory.join("postgate.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let gateway = Gateway::start(directory, &(CONFIG.to_owned() + &route("*", nowhere, &["/"], check)));
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.say("EHLO app.example").unwrap();
    client.say("MAIL FROM:<a@example.com> SIZE=1000").unwrap();
    (gateway, client)
}

const DEFERRED: &str = "451 4.4.1 the recipient cannot be checked now; try again later";

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_asked_about() {
    let receiver = Receiver::start(judge).await;
    let directory = TempDir::new().unwrap();
    let check =
        format!("check_url = \"http://u:p@{}/check?k=1\"\ncheck_timeout = \"300ms\"", receiver.address);
    let (gateway, mut client) = checked(directory.path(), &check);
    let taken = "250 2.1.5 recipient <anna@hooks.example> OK";
    for (name, expected) in [
        ("anna", taken),
        ("left", "550 5.1.1 she has left the company"),
        ("ill", DEFERRED),
        ("slow", DEFERRED),
    ] {
        assert_eq!(say(&mut client, name), expected);
    }
    let question = &receiver.requests()[0];
    assert!(question.head.starts_with("POST /check?k=1 HTTP/1.1\r\n"), "{}", question.head);
    assert_eq!(question.header("Authorization"), Some("Basic dTpw"));
    assert_eq!(question.header("Content-Type"), Some("application/json"));
    let expected = "{\"to\":\"anna@hooks.example\",\"from\":\"a@example.com\",\"size\":1000,\
                    \"remote_ip\":\"127.0.0.1\",\"helo_domain\":\"app.example\",\
                    \"spf\":{\"result\":\"none\",\"domain\":\"example.com\"}}";
    assert_eq!(String::from_utf8_lossy(&question.body), expected);
    // What is known is not asked again, by whomever.
    let before = receiver.requests().len();
    let group = "RCPT TO:<anna@hooks.example>\r\n".repeat(100);
    client.write(group.as_bytes()).unwrap();
    for _ in 0..100 {
        assert_eq!(client.reply().unwrap(), taken);
    }
    let mut other = Client::connect(gateway.smtp).unwrap();
    other.say("EHLO app.example").unwrap();
    other.say("MAIL FROM:<a@example.com> SIZE=1000").unwrap();
    assert_eq!(say(&mut other, "ANNA"), "250 2.1.5 recipient <ANNA@hooks.example> OK");
    assert_eq!(say(&mut other, "left"), "550 5.1.1 she has left the company");
    assert_eq!(receiver.requests().len(), before);
    // Credentials of the URL are in no log.
    let log = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(
        log.contains("was asked about a recipient") && !log.contains("u:p") && !log.contains("k=1"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_told_as_the_route_says() {
    let (_bound, down) = nobody();
    let receiver = Receiver::start(judge).await;
    let directory = TempDir::new().unwrap();
    let url = |address| format!("check_url = \"http://{address}/\"\ncheck_format = \"form\"\n");
    let (gateway, mut client) = checked(directory.path(), &url(down));
    assert_eq!(say(&mut client, "anna"), DEFERRED);
    // Another configuration counts for the next recipient of a transaction, and
    // knows other answers.
    let change = |check: &str| {
        let stderr = directory.path().join("stderr");
        let in_force =
            || fs::read_to_string(&stderr).unwrap().matches("the new configuration is in force").count();
        let before = in_force();
        let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let config = CONFIG.to_owned() + &route("*", nowhere, &["/"], check);
        fs::write(directory.path().join("postgate.toml"), config).unwrap();
        gateway.signal("-HUP");
        eventually("the change", DEADLINE, || (in_force() > before).then_some(()));
    };
    change(&(url(down) + "check_fallback = \"accept\""));
    assert_eq!(say(&mut client, "anna"), "250 2.1.5 recipient <anna@hooks.example> OK");
    change(&url(receiver.address));
    assert_eq!(say(&mut client, "left"), "550 5.1.1 she has left the company");
    let question = String::from_utf8_lossy(&receiver.requests()[0].body).into_owned();
    assert!(question.starts_with("to=left%40hooks.example&from=a%40example.com&size=1000&"), "{question}");
    change("");
    assert_eq!(say(&mut client, "left"), "250 2.1.5 recipient <left@hooks.example> OK");
}

/// A client that says much in one group is answered before all of it is checked.
#[tokio::test(flavor = "multi_thread")]
async fn replies_do_not_pile_up_behind_checks() {
    let receiver = Receiver::start(judge).await;
    let directory = TempDir::new().unwrap();
    let check = format!("check_url = \"http://{}/\"\ncheck_timeout = \"60s\"", receiver.address);
    let (_gateway, mut client) = checked(directory.path(), &check);
    let names: Vec<_> = (0..500).map(|number| format!("anna+{number:055}@hooks.example")).collect();
    let group: String = names.iter().map(|name| format!("RCPT TO:<{name}>\r\n")).collect();
    client.write((group + "RCPT TO:<slow@hooks.example>\r\n").as_bytes()).unwrap();
    for name in &names[..300] {
        assert_eq!(client.reply().unwrap(), format!("250 2.1.5 recipient <{name}> OK"));
    }
}

/// A client that waits for a check holds up nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_check_is_one_clients_matter() {
    let receiver = Receiver::start(judge).await;
    let directory = TempDir::new().unwrap();
    let check = format!("check_url = \"http://{}/\"\ncheck_timeout = \"60s\"", receiver.address);
    let (gateway, mut client) = checked(directory.path(), &check);
    client.write(b"RCPT TO:<slow@hooks.example>\r\n").unwrap();
    receiver.received(1).await;
    assert!(send(gateway.smtp, &["anna"]).starts_with("250 "));
}
