//! Section 2.4: whoever is slow, deaf or numerous.

use crate::authority::{Authority, HOSTNAME};
use crate::content::{memory, processor_time};
use crate::front::{Front, Kept, LONG, Peer, SHORT, within};
use crate::support::DEADLINE;
use crate::support::program::{CONFIG, Gateway, eventually};
use postgate::envelope::Client;
use postgate::smtp::session::Session;
use postgate::smtp::words::Terms;
use postgate::smtp::{BareNewline, Limits, Options, Protocol, Required, TlsUse};
use postgate::tenant::Tenant;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// How long slow clients are borne here; a client that works is quicker, also on
/// a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a slow client says at once; behind it come single octets.
const SLOW: [&str; 4] = ["", "EHLO a\r\n", "EHLO a\r\nSTARTTLS\r\n", "DATA"];

/// Says an octet now and then until it is cut off.
async fn drip(mut client: Peer, start: &str) {
    client.expect("220").await;
    if start == "DATA" {
        client.begin_data().await;
    } else {
        for line in start.split_inclusive('\n') {
            client.send(line).await;
            client.expect("2").await;
        }
    }
    let mut drops = tokio::time::interval(PATIENCE / 10);
    let (mut reader, mut writer) = client.0.into_inner().into_split();
    let dripping = async {
        // Whatever TLS or SMTP begins with.
        for octet in std::iter::once(0x16).chain(std::iter::repeat(b'x')) {
            drops.tick().await;
            let octet = if start.contains("STARTTLS") { octet } else { b'x' };
            if writer.write_all(&[octet]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut end = Vec::new();
    tokio::select! {
        () = dripping => {}
        // A reset is an end as well.
        read = reader.read_to_end(&mut end) => drop(read),
    }
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_keep_nobody_waiting() {
    let mut options = Options {
        tls: TlsUse::StartTls,
        certificates: Some(Authority::new().certificates()),
        ..Options::default()
    };
    options.timeouts.idle = PATIENCE;
    options.timeouts.data_window = PATIENCE;
    options.timeouts.tls_handshake = PATIENCE;
    options.limits.connections_per_address = 1000;
    options.limits.new_per_minute = usize::MAX;
    let front = Front::start(options).await;
    let mut slow = JoinSet::new();
    for number in 0..120 {
        slow.spawn(drip(front.client().await, SLOW[number % SLOW.len()]));
    }
    let (start, mut posted) = (Instant::now(), 0);
    // Each is cut off, and others do their work meanwhile.
    while !slow.is_empty() {
        let mut client = front.guest().await;
        client.post("x").await;
        client.ask("QUIT", "221").await;
        posted += 1;
        while slow.try_join_next().is_some() {}
        assert!(start.elapsed() < DEADLINE, "{} are left", slow.len());
    }
    assert_eq!(front.count(), posted);
    front.stop().await;
}

#[tokio::test]
async fn who_reads_no_replies_is_cut_off() {
    // As it comes, commands that do nothing are soon too many.
    let front = Front::start(Options::default()).await;
    let mut client = front.guest().await;
    client.send(&"NOOP\r\n".repeat(10_000)).await;
    let mut replies = String::new();
    within(client.0.read_to_string(&mut replies)).await.unwrap_or_default();
    assert!(replies.lines().count() <= 101, "{}", replies.len());
    front.stop().await;
    let mut options = Options::default();
    options.timeouts.unread_reply = SHORT;
    options.timeouts.idle = LONG;
    options.limits.junk_commands = usize::MAX;
    let (front, lines) = Front::logged(options);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Peer::new(socket.connect(front.address).await.unwrap());
    client.expect("220").await;
    let noops = "NOOP\r\n".repeat(10_000);
    within(async { while client.0.write_all(noops.as_bytes()).await.is_ok() {} }).await;
    front.stop().await;
    let last = lines.try_iter().last().unwrap();
    assert!(last.ends_with(" * the client does not read its replies\n"), "{last}");
}

/// Whatever is asked, the replies to all that is read at once are no flood.
#[test]
fn no_commands_make_more_replies_than_a_buffer_holds() {
    for line in [
        "NOOP",
        "RSET",
        "HELP",
        "VRFY",
        "x",
        "",
        "EHLO a",
        "RCPT TO:a",
        "RCPT TO:<a@b>",
        "DATA",
        "MAIL FROM:<>",
    ] {
        for begun in ["", "EHLO a\r\n", "EHLO a\r\n MAIL FROM:<a@b>\r\n"] {
            let mut session = Session::new(Arc::new(terms()), client());
            let (door, mut out) = (Kept::default(), Vec::new());
            for line in begun.split_inclusive('\n') {
                session.feed(line.trim_start().as_bytes(), &door, &mut out);
                out.clear();
            }
            let line = format!("{line}\r\n");
            let most = 16 * 1024;
            session.feed(line.repeat(most / line.len()).as_bytes(), &door, &mut out);
            assert!(!out.is_empty() && out.len() <= 64 * 1024, "{line:?}: {} octets", out.len());
        }
    }
}

fn terms() -> Terms {
    Terms {
        hostname: HOSTNAME.to_owned(),
        limits: Limits::default(),
        bare_newline: BareNewline::Normalize,
        protocol: Protocol::Smtp,
        tls: TlsUse::None,
        required: Required::default(),
        legacy_auth_keyword: true,
    }
}

fn client() -> Client {
    Client {
        address: None,
        helo: String::new(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    }
}

#[tokio::test]
async fn the_fifty_first_of_an_address_and_the_three_hundred_first_of_a_minute() {
    let front = Front::start(Options::default()).await;
    let mut guests = Vec::new();
    for _ in 0..50 {
        guests.push(front.guest().await);
    }
    let mut surplus = front.client().await;
    surplus.expect("421 4.7.0 ").await;
    surplus.expect_end().await;
    // The others do not notice.
    guests[49].post("x").await;
    front.stranger().await.expect("220").await;
    for guest in &mut guests {
        guest.ask("QUIT", "221").await;
        guest.expect_end().await;
    }
    // The one that was refused counts as well.
    for _ in 51..300 {
        let mut client = front.guest().await;
        client.ask("QUIT", "221").await;
        client.expect_end().await;
    }
    let mut surplus = front.client().await;
    surplus.expect("421 4.7.0 ").await;
    surplus.expect_end().await;
    front.stranger().await.expect("220").await;
    front.stop().await;
}

/// A client of a gateway, connected and greeted.
trait Idle: Read + Write {}

impl<S: Read + Write> Idle for S {}

fn idle(gateway: &Gateway, tls: Option<&Arc<ClientConfig>>) -> Box<dyn Idle> {
    let stream = TcpStream::connect(gateway.smtp).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream: Box<dyn Idle> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from(HOSTNAME).unwrap();
            Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream))
        }
    };
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "), "{line:?}");
    stream.write_all(b"EHLO idle.example\r\n").unwrap();
    let mut replies = BufReader::new(&mut stream).lines().map(Result::unwrap);
    assert!(replies.any(|line| line.starts_with("250 ")));
    stream
}

/// Memory that each of many connections costs which do nothing.
fn cost_of_an_idle_connection(directive: &str, config: Option<&Arc<ClientConfig>>) -> usize {
    let directory = tempfile::TempDir::new().unwrap();
    let text = CONFIG
        .replace("127.0.0.1:0\"", &format!("127.0.0.1:0\"\n{directive}"))
        .replace("[limits]", "[limits]\nconnections_per_address = 2000");
    let gateway = Gateway::start(directory.path(), &text);
    let process = format!("/proc/{}", gateway.child.id());
    // The first ones pay for what all have in common.
    let mut open: Vec<_> = (0..50).map(|_| idle(&gateway, config)).collect();
    let before = memory(&process, "VmRSS:");
    open.extend((0..COUNT).map(|_| idle(&gateway, config)));
    (memory(&process, "VmRSS:").saturating_sub(before)) / COUNT
}

const COUNT: usize = 300;

#[test]
fn an_idle_connection_costs_little_memory() {
    let plain = cost_of_an_idle_connection("", None);
    assert!(plain <= 32 * 1024, "{plain} octets");
    let authority = Authority::new();
    let (certificate, key) = &authority.files().pairs[0];
    let directive = format!("tls = \"implicit\"\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let config = Arc::new(authority.client(&[]));
    let encrypted = cost_of_an_idle_connection(&directive, Some(&config));
    assert!(encrypted <= 64 * 1024, "{encrypted} octets");
}

#[tokio::test]
async fn a_line_without_end_is_refused_at_the_limit() {
    let front = Front::start(Options::default()).await;
    for start in ["", "EHLO ", "AUTH PLAIN ", "RCPT TO:<"] {
        for length in [1 << 20, 10 << 20] {
            let (mut reader, mut writer) = front.guest().await.0.into_inner().into_split();
            let line = format!("{start}{}", "x".repeat(length));
            let flood = async {
                // It may be cut off in its midst.
                let _ = writer.write_all(line.as_bytes()).await;
                std::future::pending::<()>().await;
            };
            let mut reply = String::new();
            tokio::select! {
                () = flood => {}
                read = within(reader.read_to_string(&mut reply)) => drop(read),
            }
            assert!(reply.starts_with("500 5.5.2 ") && reply.lines().count() == 1, "{reply:?}");
        }
    }
    front.stop().await;
}

#[tokio::test]
async fn recipients_past_the_limit_are_refused_and_then_errors() {
    let mut options = Options::default();
    options.timeouts.error_delay = Duration::ZERO;
    let front = Front::start(options).await;
    let mut client = front.guest().await;
    client.ask("EHLO a", "250").await;
    client.ask("MAIL FROM:<a@b>", "250").await;
    let group: String = (0..3001).map(|number| format!("RCPT TO:<r{number}@b>\r\n")).collect();
    let (mut reader, mut writer) = client.0.into_inner().into_split();
    let mut text = String::new();
    let (_, read) =
        tokio::join!(writer.write_all(group.as_bytes()), within(reader.read_to_string(&mut text)));
    read.unwrap_or_default();
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("250 2.1.5 "), count("452 4.5.3 "), count("421 4.7.0 ")), (1000, 1020, 1), "{text}");
    assert!(text.lines().last().unwrap().starts_with("421 "), "{text}");
    front.stop().await;
}

#[tokio::test]
async fn a_thousand_messages_of_a_connection_and_one_more() {
    let front = Front::start(Options::default()).await;
    let mut client = front.guest().await;
    client.ask("EHLO a", "250").await;
    let group = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA";
    for _ in 0..1000 {
        client.ask(group, "250").await;
        client.expect("250").await;
        client.expect("354").await;
        client.ask("x\r\n.", "250 2.0.0 ").await;
    }
    client.ask("MAIL FROM:<a@b>", "421 4.7.0 ").await;
    client.expect_end().await;
    assert_eq!(front.count(), 1000);
    front.stop().await;
}

#[test]
fn without_descriptors_accepting_rests_and_goes_on() {
    let directory = tempfile::TempDir::new().unwrap();
    fs::write(directory.path().join("postgate.toml"), CONFIG).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40 && exec \"$0\"", env!("CARGO_BIN_EXE_postgate")])
        .current_dir(directory.path())
        .env_remove("POSTGATE_CONFIG");
    let mut gateway = Gateway::listening(Gateway::spawn(&mut command, directory.path()));
    let connect = || TcpStream::connect(gateway.smtp).unwrap();
    let open: Vec<_> = (0..45).map(|_| connect()).collect();
    let rests = || {
        let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
        said.matches("accepting connections rests").count()
    };
    eventually("accepting to rest", DEADLINE, || (rests() > 0).then_some(()));
    let process = format!("/proc/{}", gateway.child.id());
    let (start, before) = (Instant::now(), processor_time(&process));
    let already = rests();
    eventually("it to rest again", DEADLINE, || (rests() >= already + 10).then_some(()));
    let (busy, passed) = (processor_time(&process) - before, start.elapsed());
    assert!(passed > Duration::from_millis(500) && busy < passed / 4, "{busy:?} of {passed:?}");
    drop(open);
    let mut late = BufReader::new(connect());
    late.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    let mut line = String::new();
    late.read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "), "{line:?}");
    drop(late);
    assert_eq!(gateway.end("-TERM"), 0);
}
