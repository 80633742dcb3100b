//! The whole program between a client and a receiver: what comes in goes out, once, in
//! time, and every end is an orderly one. What faults do to it is in `faults.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use support::collector::{Answer, Collector, Keep};
use support::program::{CONFIG, Client, Gateway, Reply, eventually, holds_posts, postgate, retrying, send};
use support::tools;
use support::{DEADLINE, under};
use tempfile::TempDir;

/// The dialogues of one post, from the protocol log.
fn log_of(directory: &Path, post: &str) -> String {
    let output = postgate(directory).args(["log", "--post", post]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn posts_wait_for_a_receiver_that_is_away_and_the_log_says_why() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(503));
    let address = receiver.address;
    let gateway = Gateway::start(directory.path(), CONFIG);
    let refused = send(gateway.smtp, &[receiver.recipient("/refused")], "Subject: a\r\n\r\na\r\n");
    receiver.received(3);
    drop(receiver);
    // Nobody there at all.
    let alone = send(gateway.smtp, &[format!("post@http://{address}/alone")], "Subject: b\r\n\r\nb\r\n");
    let log_says = |post: &str, text: &str| {
        let says = || Some(log_of(directory.path(), post)).filter(|log| log.contains(text));
        eventually(&format!("{text:?} in the log of {post}"), DEADLINE, says)
    };
    let log = log_says(alone.id(), "deferred for ");
    assert!(log.contains("no connection to ") && log.to_lowercase().contains("refused"), "{log}");
    let receiver =
        Collector::on(TcpListener::bind(address).unwrap(), Keep::Everything, |_| Answer::Status(200));
    let arrivals = receiver.received(2);
    for (reply, path) in [(&refused, "/refused"), (&alone, "/alone")] {
        let arrival = arrivals.iter().find(|arrival| arrival.path == path).unwrap();
        assert!(arrival.id() == reply.id() && arrival.attempt() > 1, "{arrival:?}");
        let log = log_says(reply.id(), "delivered in ");
        assert!(log.contains("< RCPT TO:<post@http://"), "{log}");
        assert!(log.contains(&format!("attempt {}: ", arrival.attempt())), "{log}");
    }
    let log = log_of(directory.path(), refused.id());
    let reason = log.lines().find(|line| line.contains(" deferred for ")).unwrap();
    assert!(reason.contains("503"), "{reason}");
}

#[test]
fn retries_keep_to_the_schedule() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|arrival| Answer::Status(if arrival.attempt() < 4 { 500 } else { 204 }));
    let gateway = Gateway::start(directory.path(), &retrying(r#"["300ms", "600ms"]"#));
    send(gateway.smtp, &[receiver.recipient("/")], "\r\nx\r\n").id();
    let arrivals = receiver.received(4);
    let mut attempts = 1..;
    for (pair, interval) in arrivals.windows(2).zip([300, 600, 600]) {
        let waited = pair[1].at - pair[0].at;
        // Jitter takes a tenth at most; how late it may be, the machine says.
        assert!(waited >= Duration::from_millis(interval * 9 / 10), "{waited:?} of {interval}");
        assert_eq!(pair[0].attempt(), attempts.next().unwrap());
    }
}

#[test]
fn a_stop_closes_the_listener_at_once_and_finishes_transactions() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.envelope(&[receiver.recipient("/last")]).unwrap();
    let mut idle = Client::connect(gateway.smtp).unwrap();
    gateway.signal("-TERM");
    assert!(idle.reply().unwrap().starts_with("421 4.3.2 "));
    let is_closed = || TcpStream::connect(gateway.smtp).is_err().then_some(());
    eventually("the listener to close", DEADLINE, is_closed);
    client.write(b"Subject: last\r\n\r\nx\r\n.\r\n").unwrap();
    assert!(client.reply().unwrap().starts_with("250 2.0.0 "));
    assert!(client.reply().unwrap().starts_with("421 4.3.2 "));
    client.wait_for_end();
    assert_eq!(gateway.ended(), 0);
    let _again = Gateway::start(directory.path(), CONFIG);
    assert_eq!(receiver.received(1)[0].path, "/last");
}

#[test]
fn an_attempt_that_a_stop_cut_off_is_counted() {
    let directory = TempDir::new().unwrap();
    let receiver =
        Collector::start(
            |arrival| if arrival.attempt() == 1 { Answer::Silence } else { Answer::Status(200) },
        );
    let config = format!("{CONFIG}\n[server]\nshutdown_timeout = \"200ms\"\n");
    let mut gateway = Gateway::start(directory.path(), &config);
    send(gateway.smtp, &[receiver.recipient("/")], "\r\nx\r\n").id();
    receiver.received(1);
    assert_eq!(gateway.end("-TERM"), 0);
    let _again = Gateway::start(directory.path(), &config);
    let arrivals = receiver.received(2);
    assert_eq!((arrivals[1].id(), arrivals[1].attempt()), (arrivals[0].id(), 2));
}

#[test]
fn one_data_directory_is_for_one_process_and_for_nobody_else_to_read() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(503));
    fs::write(directory.path().join("postgate.toml"), CONFIG).unwrap();
    let mut open_to_all = Command::new("sh");
    open_to_all.args(["-c", "umask 000; exec \"$0\"", env!("CARGO_BIN_EXE_postgate")]);
    open_to_all.current_dir(directory.path()).env_remove("POSTGATE_CONFIG").stdin(Stdio::null());
    let gateway = Gateway::listening(Gateway::spawn(&mut open_to_all, directory.path()));
    send(gateway.smtp, &[receiver.recipient("/")], "X-Postgate-Idempotency-Key: k\r\n\r\nx\r\n").id();
    receiver.received(2);
    let second = postgate(directory.path()).output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(69));
    assert!(complaint.contains("in use by another process") && complaint.lines().count() == 1, "{complaint}");
    let found = under(&directory.path().join("postgate-data"));
    assert!(found.iter().any(|path| path.ends_with("lock")), "{found:?}");
    for path in found {
        let entry = path.symlink_metadata().unwrap();
        let expected = if entry.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(entry.mode() & 0o777, expected, "{:03o} {}", entry.mode() & 0o777, path.display());
    }
}

/// The sample that mail clients were told to send, its form data wrapped in the
/// middle of words; `blank` stands between header and body.
fn classic(blank: &str) -> String {
    format!(
        "X-XsHttp-Content-Type: application/x-www-form-urlencoded\r\n{blank}\
         order=17&customer=Shop+Exa\r\nmple&item=tea\r\npot&quantity=2\r\n"
    )
}

const JOINED: &str = "order=17&customer=Shop+Example&item=teapot&quantity=2";

#[test]
fn the_classic_transcript_makes_one_post() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    for (number, blank) in [(1, "\r\n"), (2, "")] {
        let mut client = Client::connect(gateway.smtp).unwrap();
        let path = format!("/webhook.aspx?n={number}");
        for (line, reply) in [
            ("HELO app", "250 "),
            ("MAIL FROM:<me@app.example>", "250 2.1.0 "),
            (&format!("RCPT TO:<{}>", receiver.recipient(&path)), "250 2.1.5 "),
            ("DATA", "354 Send data.  End with CRLF.CRLF"),
            (&format!("{}.", classic(blank)), "250 2.0.0 Message received and queued as "),
            ("QUIT", "221 2.0.0 "),
        ] {
            let said = client.say(line).unwrap();
            assert!(said.starts_with(reply), "{line}: {said}");
        }
        let arrivals = receiver.received(number);
        let arrival = &arrivals[number - 1];
        assert_eq!((arrival.path.as_str(), arrival.attempt()), (path.as_str(), 1));
        assert_eq!(arrival.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(String::from_utf8_lossy(&arrival.body), JOINED);
    }
    assert_eq!(gateway.end("-TERM"), 0);
    assert_eq!((receiver.count(), holds_posts(directory.path())), (2, false));
}

/// Runs a mail client; whether it is installed.
fn try_client(command: &mut Command) -> bool {
    let output = tools::output(command.stdin(Stdio::null()));
    output.is_some_and(|output| {
        assert!(output.status.success(), "{command:?}: {output:?}");
        true
    })
}

const PYTHON: &str = "
import smtplib, sys
host, port, recipient, message = sys.argv[1:]
with smtplib.SMTP(host, int(port)) as server:
    server.sendmail('me@app.example', [recipient], message)
";

#[test]
fn curl_swaks_and_smtplib_each_make_the_same_post() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let gateway = Gateway::start(directory.path(), CONFIG);
    let message = directory.path().join("classic.eml");
    fs::write(&message, classic("\r\n")).unwrap();
    let url = |client: &str| format!("http://{}/{client}?a=1&b=%20", receiver.address);
    let forms = postgate(directory.path()).args(["address", &url("python3")]).output().unwrap();
    let forms = String::from_utf8(forms.stdout).unwrap();
    let labels = forms.lines().find_map(|line| line.strip_prefix("labels ")).unwrap().trim();
    let (host, port) = (gateway.smtp.ip().to_string(), gateway.smtp.port().to_string());
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, &host, &port, labels, &classic("\r\n")]);
    let mut curl = Command::new("curl");
    curl.args(["-sS", &format!("smtp://{}", gateway.smtp), "--mail-from", "me@app.example"]);
    curl.args(["--mail-rcpt", &format!("post@{}", url("curl")), "-T"]).arg(&message);
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &host, "--port", &port, "--from", "me@app.example"]);
    swaks.args(["--to", &format!("post@{}", url("swaks")), "--data"]).arg(format!("@{}", message.display()));
    let mut count = 0;
    for (name, mut command) in [("python3", python), ("curl", curl), ("swaks", swaks)] {
        if !try_client(&mut command) {
            continue;
        }
        count += 1;
        let arrivals = receiver.received(count);
        let arrival = &arrivals[count - 1];
        assert_eq!(arrival.path, format!("/{name}?a=1&b=%20"));
        assert_eq!(String::from_utf8_lossy(&arrival.body), JOINED, "{name}");
    }
}

#[test]
fn five_recipients_are_five_posts_or_none() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let mut recipients: Vec<_> = (0..4).map(|post| receiver.recipient(&format!("/none/{post}"))).collect();
    recipients.push("post@postgate.local".to_owned());
    for header in ["", "X-Postgate-Url: ftp://shop.example/\r\n", "X-Postgate-Url: http://[::1/\r\n"] {
        let reply = send(gateway.smtp, &recipients, &format!("{header}Subject: five\r\n\r\nx\r\n"));
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with("550 5.6.0 ")), "{header}: {reply:?}");
    }
    let header = format!("X-Postgate-Url: http://{}/all/4\r\n", receiver.address);
    let recipients: Vec<_> =
        recipients.iter().map(|recipient| recipient.replace("/none/", "/all/")).collect();
    let reply = send(gateway.smtp, &recipients, &format!("{header}Subject: five\r\n\r\nx\r\n"));
    let mut paths: Vec<_> = receiver.received(5).into_iter().map(|arrival| arrival.path).collect();
    paths.sort();
    assert_eq!(paths, ["/all/0", "/all/1", "/all/2", "/all/3", "/all/4"], "{reply:?}");
    assert_eq!(gateway.end("-TERM"), 0);
    assert_eq!((receiver.count(), holds_posts(directory.path())), (5, false));
}

#[test]
fn an_idempotency_key_makes_one_post_also_across_a_kill() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let recipients = [receiver.recipient("/")];
    let message = |key: &str| format!("X-Postgate-Idempotency-Key: {key}\r\n\r\nx\r\n");
    let first = send(gateway.smtp, &recipients, &message("order-17"));
    assert_eq!(receiver.received(1)[0].headers["idempotency-key"], "order-17");
    assert_eq!(send(gateway.smtp, &recipients, &message("order-17")).id(), first.id());
    gateway.end("-KILL");
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    assert_eq!(send(gateway.smtp, &recipients, &message("order-17")).id(), first.id());
    let other = send(gateway.smtp, &recipients, &message("order-18"));
    assert_ne!(other.id(), first.id());
    let is_other = || receiver.arrivals().iter().any(|(arrival, _)| arrival.id() == other.id()).then_some(());
    eventually("the other order", DEADLINE, is_other);
    assert_eq!(gateway.end("-TERM"), 0);
    let repeats = receiver.arrivals().iter().filter(|(arrival, _)| arrival.id() == first.id()).count();
    // The kill may have come before the first delivery was on the disk.
    assert!(repeats <= 2 && !holds_posts(directory.path()), "{repeats}");
}

#[test]
fn a_post_is_not_sent_before_its_time() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let begun = Instant::now();
    let soon = "X-Postgate-Not-Before: 1500ms\r\n\r\nx\r\n";
    send(gateway.smtp, &[receiver.recipient("/soon")], soon).id();
    let year = 366 * 24 * 60 * 60;
    let next_year = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + year;
    let next_year = jiff::Timestamp::from_second(next_year.try_into().unwrap()).unwrap();
    let late = format!("X-Postgate-Not-Before: {next_year}\r\nX-Postgate-Expires: 9000d\r\n\r\nx\r\n");
    send(gateway.smtp, &[receiver.recipient("/late")], &late).id();
    send(gateway.smtp, &[receiver.recipient("/now")], "\r\nx\r\n").id();
    assert_eq!(receiver.received(1)[0].path, "/now");
    gateway.end("-KILL");
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let find = || receiver.arrivals().into_iter().find(|(arrival, _)| arrival.path == "/soon");
    let (soon, _) = eventually("the first one's time", DEADLINE, find);
    assert!(soon.at - begun >= Duration::from_millis(1500), "{:?}", soon.at - begun);
    assert!(receiver.arrivals().iter().all(|(arrival, _)| arrival.path != "/late"));
    assert_eq!(gateway.end("-TERM"), 0);
    assert!(holds_posts(directory.path()));
}
