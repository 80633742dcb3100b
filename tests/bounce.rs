//! Reports to senders of posts that were given up: the whole program, a receiver
//! that refuses, and a relay that is scripted line by line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;
mod support;

use authority::Authority;
use mail_parser::MimeHeaders as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};
use support::DEADLINE;
use support::collector::{Answer, Collector, Keep};
use support::program::{CONFIG, Client, Gateway, eventually};
use tempfile::TempDir;

type Script = dyn Fn(usize, &str) -> Option<String> + Send + Sync;

/// A relay that takes everything but where its script has another answer: it is
/// asked with the number of the connection and the line, `.` for the end of data.
struct Relay {
    address: SocketAddr,
    /// What each connection was told.
    heard: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Relay {
    fn start(script: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let (all, script): (_, Arc<Script>) = (Arc::clone(&heard), Arc::new(script));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                all.lock().unwrap().push(Vec::new());
                let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                std::thread::spawn(move || converse(number, stream, &all, &*script));
            }
        });
        Relay { address, heard }
    }

    /// Waits until so many connections have said QUIT, and answers with all.
    fn ended(&self, count: usize) -> Vec<Vec<String>> {
        let heard = || self.heard.lock().unwrap().clone();
        let has_quit = |lines: &&Vec<String>| lines.last().is_some_and(|line| line == "QUIT");
        eventually(&format!("{count} reports"), DEADLINE, || {
            (heard().iter().filter(has_quit).count() >= count).then_some(())
        });
        heard()
    }
}

fn converse(number: usize, mut stream: TcpStream, all: &Mutex<Vec<Vec<String>>>, script: &Script) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut reply = "220 relay.example ESMTP".to_owned();
    let mut is_data = false;
    loop {
        if !is_data || reply.starts_with("354") {
            let Ok(()) = stream.write_all(format!("{reply}\r\n").as_bytes()) else { return };
        }
        is_data = is_data || reply.starts_with("354");
        let mut line = String::new();
        let Ok(1..) = input.read_line(&mut line) else { return };
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        all.lock().unwrap()[number].push(line.clone());
        is_data = is_data && line != ".";
        let usual = match line.split(' ').next().unwrap() {
            _ if is_data => "",
            "EHLO" => "250-relay.example\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n250 SIZE 1000000",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 OK",
        };
        let asked = if is_data { None } else { script(number, &line) };
        reply = asked.unwrap_or_else(|| usual.to_owned());
    }
}

struct World {
    gateway: Gateway,
    receiver: Collector,
    relay: Relay,
    directory: TempDir,
}

/// A gateway that reports through a relay, with more keys for all destinations.
fn reporting(directory: &TempDir, relay: &str, delivery: &str) -> Gateway {
    let config = CONFIG.replace("[delivery]", &format!("[delivery]\n{delivery}"));
    let more = format!("[server]\nhostname = \"gateway.example\"\n[bounce]\nrelay = \"{relay}\"\n");
    secretly(directory, &format!("{config}\n{more}"))
}

/// A gateway whose configuration holds a password.
fn secretly(directory: &TempDir, config: &str) -> Gateway {
    let mut secret = std::fs::File::options();
    secret.write(true).create(true).mode(0o600);
    secret.open(directory.path().join("postgate.toml")).unwrap();
    Gateway::start(directory.path(), config)
}

fn log(directory: &TempDir) -> String {
    let files = std::fs::read_dir(directory.path().join("postgate-data/log")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

impl World {
    /// A gateway that reports through the relay; posts to `/no…` are refused.
    fn start(
        credentials: &str,
        script: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static,
    ) -> World {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let refuse = |arrival: &support::collector::Arrival| match arrival.path.starts_with("/no") {
            true => Answer::Status(404),
            false => Answer::Status(200),
        };
        let receiver = Collector::on(socket, Keep::Everything, refuse);
        let relay = Relay::start(script);
        let directory = TempDir::new().unwrap();
        let url = format!("smtp://{credentials}{}", relay.address);
        let gateway = reporting(&directory, &url, "");
        World { gateway, receiver, relay, directory }
    }

    /// Hands in a message with these arguments of MAIL and RCPT; its reply.
    fn send(&self, mail: &str, path: &str, rcpt: &str, message: &str) -> String {
        let mut client = Client::connect(self.gateway.smtp).unwrap();
        assert!(client.say(&format!("MAIL FROM:{mail}")).unwrap().starts_with("250 "));
        let recipient = self.receiver.recipient(path);
        assert!(client.say(&format!("RCPT TO:<{recipient}>{rcpt}")).unwrap().starts_with("250 "));
        assert!(client.say("DATA").unwrap().starts_with("354 "));
        client.write(format!("{message}\r\n.\r\n").as_bytes()).unwrap();
        client.reply().unwrap()
    }

    fn log(&self) -> String {
        log(&self.directory)
    }
}

#[test]
fn the_sender_gets_a_report() {
    let mut world = World::start("", |_, _| None);
    let message = "Subject: Order 17\r\nX-XsHttp-Authorization: Bearer canary\r\n\r\n.hidden\r\n";
    let reply = world.send(
        "<a@app.example> RET=HDRS ENVID=E17",
        "/no?api_key=canary",
        " ORCPT=rfc822;x+2By@z",
        message,
    );
    assert!(reply.starts_with("250 2.0.0 Message received and queued as "), "{reply}");
    let lines = world.relay.ended(1).remove(0);
    assert_eq!(lines[0], "EHLO gateway.example");
    assert!(lines[1].starts_with("MAIL FROM:<> SIZE="), "{}", lines[1]);
    assert_eq!(lines[2..4], ["RCPT TO:<a@app.example>", "DATA"]);
    let report = lines.join("\n");
    for line in [
        "From: Mail Delivery System <MAILER-DAEMON@gateway.example>",
        "To: <a@app.example>",
        "Auto-Submitted: auto-replied",
        "Reporting-MTA: dns; gateway.example",
        "Original-Envelope-Id: E17",
        "Original-Recipient: rfc822; x+y@z",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: http; 404 Not Found",
        "Subject: Order 17",
    ] {
        assert!(report.contains(&format!("\n{line}\n")), "{line}\n{report}");
    }
    assert!(!report.contains("canary"), "{report}");
    assert_eq!(world.gateway.end("-TERM"), 0);
    let log = world.log();
    for line in ["> MAIL FROM:<>", "< 250 OK", "delivered in"] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("canary"), "{log}");
    // A start later there is nothing left to report.
    world.gateway = Gateway::listening(Gateway::spawn(
        &mut support::program::postgate(world.directory.path()),
        world.directory.path(),
    ));
    world.send("<b@app.example>", "/no", "", "x");
    assert!(world.relay.ended(2)[1].contains(&"RCPT TO:<b@app.example>".to_owned()));
}

/// Nobody is told who did not ask, or must not be: RFC 3461, RFC 3834, RFC 5321.
#[test]
fn who_is_not_to_hear_does_not() {
    let world = World::start("", |_, _| None);
    for (mail, rcpt, message) in [
        ("<>", "", "x"),
        ("<never@app.example>", " NOTIFY=NEVER", "x"),
        ("<success@app.example>", " NOTIFY=SUCCESS,DELAY", "x"),
        ("<robot@app.example>", "", "Auto-Submitted: auto-generated\r\n\r\nx"),
        ("<report@app.example>", "", "Content-Type: multipart/report; boundary=b\r\n\r\n--b--"),
        ("<waits@app.example>", "", "X-Postgate-Mode: sync\r\n\r\nx"),
    ] {
        world.send(mail, "/no", rcpt, message);
    }
    world.receiver.received(6);
    world.send("<last@app.example>", "/no", " NOTIFY=FAILURE", "x");
    let heard = world.relay.ended(1);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0][2], "RCPT TO:<last@app.example>");
}

/// What the relay does not take now, it gets again; what it never takes is a dead
/// letter, and nobody is told of that.
#[test]
fn a_relay_is_a_receiver_like_others() {
    let world = World::start("erp:sesame@", |number, line| match (number, line) {
        (0, "EHLO gateway.example") => Some("421 not now".to_owned()),
        (0, "HELO gateway.example") => Some("421 not now".to_owned()),
        (1, ".") => Some("451 4.3.0 later".to_owned()),
        (2, line) if line.starts_with("RCPT") => {
            Some("550-5.1.1 nobody\r\n550 5.1.1 of that name".to_owned())
        }
        (3, _) => panic!("once more"),
        _ => None,
    });
    world.send("<a@app.example>", "/no", "", "x");
    let heard = world.relay.ended(2);
    assert_eq!(heard[1][1], "AUTH PLAIN AGVycABzZXNhbWU=");
    assert_eq!(heard.len(), 3, "{heard:?}");
    let failed = "failed: 550-5.1.1 nobody -5.1.1 of that name";
    let is_told = || world.log().contains("failed: 550").then_some(());
    eventually(failed, DEADLINE, is_told);
    let log = world.log();
    assert!(log.contains("deferred") && log.contains("> AUTH PLAIN ***") && !log.contains("AGVycA"), "{log}");
}

/// LOGIN is for relays that have nothing else; and what was asked for is not done without.
#[test]
fn relays_are_spoken_to_as_they_can_and_we_must() {
    let world = World::start("erp:sesame@", |_, line| {
        Some(match line {
            "EHLO gateway.example" => "250-relay.example\r\n250 AUTH LOGIN".to_owned(),
            "AUTH LOGIN" => "334 VXNlcm5hbWU6".to_owned(),
            "ZXJw" => "334 UGFzc3dvcmQ6".to_owned(),
            "c2VzYW1l" => "235 welcome".to_owned(),
            _ => return None,
        })
    });
    world.send("<a@app.example>", "/no", "", "x");
    assert_eq!(world.relay.ended(1)[0][1..4], ["AUTH LOGIN", "ZXJw", "c2VzYW1l"]);
    assert!(!world.log().contains("c2VzYW1l"), "{}", world.log());

    let relay = Relay::start(|_, _| None);
    let directory = TempDir::new().unwrap();
    let url = format!("smtp+starttls://{}", relay.address);
    let gateway = reporting(&directory, &url, "");
    let world = World { gateway, receiver: world.receiver, relay, directory };
    world.send("<a@app.example>", "/no", "", "x");
    let told = || world.log().contains("the relay offers no STARTTLS").then_some(());
    eventually("the missing STARTTLS", DEADLINE, told);
    let heard = world.relay.heard.lock().unwrap().concat();
    assert!(heard.iter().all(|line| line.starts_with("EHLO ")), "{heard:?}");
}

/// A second gateway as the relay: TLS from the beginning or by STARTTLS, a login, and
/// a report that is one by RFC 3464.
#[test]
fn reports_go_out_encrypted_to_a_relay_that_is_known() {
    let authority = Authority::new();
    let (certificate, key) = authority.write("relay", &authority.issue("relay", &["127.0.0.1"]));
    for (listener, scheme) in [
        ("tls = \"implicit\"", "smtps"),
        ("tls = \"starttls\"", "smtp+starttls"),
        ("tls = \"starttls\"", "smtp"),
    ] {
        let taker = Collector::start(|_| Answer::Status(200));
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\nrequire_tls = true\nrequire_auth = true\n\
             [api]\naddress = \"off\"\n[egress]\nallow = [\"127.0.0.0/8\"]\n\
             [tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             [[user]]\nname = \"erp\"\npassword = \"sesame\"\n\
             [[route]]\nrecipient = \"*@app.example\"\nurl = \"http://{}/\"\npayload = \"raw\"\n",
            taker.address
        );
        let place = TempDir::new().unwrap();
        let relay = secretly(&place, &config);
        let receiver = Collector::start(|_| Answer::Status(404));
        let url = format!("{scheme}://erp:sesame@{}", relay.smtp);
        for (ca, is_known) in [(String::new(), false), (format!("ca = {:?}", authority.own_file()), true)] {
            let directory = TempDir::new().unwrap();
            let gateway = reporting(&directory, &url, &ca);
            let mut client = Client::connect(gateway.smtp).unwrap();
            assert!(
                client.send(&[receiver.recipient("/no")], b"Subject: Order 17\r\n\r\nx\r\n").is_accepted()
            );
            if is_known {
                is_report(&taker.received(1)[0].body);
                eventually("its end", DEADLINE, || log(&directory).contains("delivered in").then_some(()));
                assert!(log(&directory).contains("TLS begins"), "{scheme}: {}", log(&directory));
            } else {
                let refusal = "TLS: the certificate is not trusted: unknown issuer";
                eventually(refusal, DEADLINE, || log(&directory).contains(refusal).then_some(()));
                assert!(!log(&directory).contains("> AUTH"), "{scheme}: {}", log(&directory));
            }
        }
    }
}

/// Whether a message is a report of one failed recipient (RFC 3462, RFC 3464).
fn is_report(message: &[u8]) {
    let message = mail_parser::MessageParser::default().parse(message).unwrap();
    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let kinds: Vec<_> = message.parts[1..]
        .iter()
        .map(|part| part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap())))
        .collect();
    let expected = ["text/plain", "message/delivery-status", "text/rfc822-headers"];
    assert_eq!(kinds, expected.map(|kind| Some(kind.to_owned())));
    let status = String::from_utf8(message.parts[2].contents().to_vec()).unwrap().replace('\r', "");
    let groups: Vec<_> = status.trim().split("\n\n").collect();
    assert_eq!(groups.len(), 2, "{status}");
    assert!(groups[0].contains("Reporting-MTA: dns; gateway.example"), "{status}");
    for line in
        ["Final-Recipient: ", "Action: failed", "Status: 5.1.1", "Diagnostic-Code: http; 404 Not Found"]
    {
        assert!(groups[1].contains(line), "{line}: {status}");
    }
}
