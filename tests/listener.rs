//! The SMTP front over real sockets: who may come, how long they may take, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/front.rs"]
mod front;

use front::{DEADLINE, Front, LONG, Peer, SHORT, socket, within};
use postgate::protocol_log::ProtocolLog;
use postgate::smtp::Options;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test]
async fn a_client_that_speaks_first_is_cut_off() {
    let listener = socket();
    let address = listener.network_address().unwrap();
    let mut client = Peer::new(TcpStream::connect(address).await.unwrap());
    client.send("EHLO a\r\nMAIL FROM:<a@b>\r\n").await;
    let front = Front::start_on(listener, Options::default(), ProtocolLog::off());
    client.expect("554 5.5.0 ").await;
    client.expect_end().await;
    front.stop().await;
}

#[tokio::test]
async fn connections_in_all() {
    let mut options = Options::default();
    options.limits.connections = 2;
    let front = Front::start(options).await;
    let first = front.guest().await;
    let mut second = front.guest().await;
    let mut third = front.client().await;
    third.expect("421 4.3.2 ").await;
    third.expect_end().await;
    second.ask("NOOP", "250").await;
    drop(first);
    within(async { while !front.client().await.reply().await.starts_with("220") {} }).await;
    drop(second);
    front.stop().await;
}

#[tokio::test]
async fn connections_of_one_address() {
    let mut options = Options::default();
    options.limits.connections_per_address = 2;
    let listener = socket();
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(listener, options, log);
    let guests = [front.guest().await, front.guest().await];
    front.client().await.expect("421 4.7.0 ").await;
    front.stranger().await.expect("220").await;
    drop(guests);
    front.stop().await;
    let text: String = lines.try_iter().collect();
    assert!(text.contains(" > 421 4.7.0 localhost too many connections from your address\n"), "{text}");
}

#[tokio::test]
async fn new_connections_of_one_address_within_a_minute() {
    let mut options = Options::default();
    options.limits.new_per_minute = 3;
    let front = Front::start(options).await;
    for _ in 0..3 {
        drop(front.guest().await);
    }
    front.client().await.expect("421 4.7.0 ").await;
    front.stranger().await.expect("220").await;
    front.stop().await;
}

#[tokio::test]
async fn an_idle_client_is_sent_away() {
    let mut options = Options::default();
    options.timeouts.idle = SHORT;
    let front = Front::start(options).await;
    let mut client = front.guest().await;
    client.expect("421 4.4.2 ").await;
    client.expect_end().await;
    front.stop().await;
}

#[tokio::test]
async fn a_command_in_drops_is_no_activity() {
    let mut options = Options::default();
    options.timeouts.idle = SHORT;
    let front = Front::start(options).await;
    let (reader, mut writer) = within(TcpStream::connect(front.address)).await.unwrap().into_split();
    let mut reader = BufReader::new(reader);
    let mut reply = String::new();
    reader.read_line(&mut reply).await.unwrap();
    let mut drops = tokio::time::interval(SHORT / 10);
    let dripping = async {
        loop {
            drops.tick().await;
            if writer.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    reply.clear();
    tokio::select! {
        () = dripping => {}
        read = within(reader.read_line(&mut reply)) => assert!(read.unwrap() > 0),
    }
    assert!(reply.starts_with("421 4.4.2 "), "{reply:?}");
    front.stop().await;
}

#[tokio::test]
async fn a_crowd_shortens_patience() {
    let mut options = Options::default();
    options.limits.connections = 5;
    options.timeouts.idle = LONG;
    options.timeouts.idle_under_pressure = SHORT;
    let front = Front::start(options).await;
    let mut guests = Vec::new();
    for _ in 0..4 {
        guests.push(front.guest().await);
    }
    // Four of five are not more than 80 %: nobody is sent away.
    let reply = tokio::time::timeout(SHORT * 3, guests[0].reply()).await;
    assert!(reply.is_err(), "{reply:?}");
    guests.push(front.guest().await);
    // Whoever is looked at first makes room for the others.
    let mut replies = tokio::task::JoinSet::new();
    for mut guest in guests {
        replies.spawn(async move { guest.reply().await });
    }
    let first = within(replies.join_next()).await.unwrap().unwrap();
    assert!(first.starts_with("421 4.4.2 "), "{first:?}");
    replies.shutdown().await;
    front.stop().await;
}

#[tokio::test]
async fn slow_mail_data_is_cut() {
    let mut options = Options::default();
    options.timeouts.data_window = SHORT;
    options.timeouts.idle = LONG;
    let front = Front::start(options).await;
    let mut client = front.guest().await;
    client.begin_data().await;
    client.send("Subject: x\r\n").await;
    client.expect("421 4.4.2 ").await;
    client.expect_end().await;
    let mut client = front.guest().await;
    client.begin_data().await;
    // More than 500 B/s in the first windows, and the end in one of them.
    client.send(&"x".repeat(100_000)).await;
    client.ask("\r\n.", "250").await;
    assert_eq!(front.count(), 1);
    front.stop().await;
}

#[tokio::test]
async fn replies_that_are_not_read_end_the_session() {
    let mut options = Options::default();
    options.timeouts.unread_reply = SHORT;
    options.limits.recipients = usize::MAX;
    let front = Front::start(options).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Peer::new(socket.connect(front.address).await.unwrap());
    client.expect("220").await;
    client.ask("EHLO a", "250-").await;
    client.ask("MAIL FROM:<a@b>", "250").await;
    let line = format!("RCPT TO:<{}@b>\r\n", "x".repeat(4000));
    let flood = async { while client.0.write_all(line.as_bytes()).await.is_ok() {} };
    within(flood).await;
    front.stop().await;
}

#[tokio::test]
async fn errors_slow_a_client_down() {
    let mut options = Options::default();
    options.limits.soft_errors = 1;
    options.timeouts.error_delay = SHORT;
    let front = Front::start(options).await;
    let mut client = front.guest().await;
    let start = std::time::Instant::now();
    client.ask("FOO", "500").await;
    assert!(start.elapsed() >= SHORT);
    front.stop().await;
}

#[tokio::test]
async fn recipients_are_within_the_budget_as_well() {
    let mut options = Options::default();
    options.limits.data_memory = 300_000;
    let front = Front::start(options).await;
    let mut greedy = front.guest().await;
    greedy.ask("HELO a", "250").await;
    let long = format!("RCPT TO:<{}@hooks.example>", "x".repeat(4000));
    for _ in 0..2 {
        greedy.ask("MAIL FROM:<>", "250").await;
        let mut taken = 0;
        let refusal = within(async {
            loop {
                greedy.send(&format!("{long}\r\n")).await;
                let reply = greedy.reply().await;
                if !reply.starts_with("250 ") {
                    break reply;
                }
                taken += 1;
            }
        });
        assert!(refusal.await.starts_with("452 4.3.1 "));
        assert!((30..60).contains(&taken), "{taken}");
        greedy.ask("RCPT TO:<a@hooks.example>", "452 4.3.1").await;
        greedy.ask("DATA", "452 4.3.1").await;
        greedy.ask("RSET", "250").await;
    }
    // As many as there is room for are taken, and leave nothing behind.
    for _ in 0..3 {
        greedy.ask("MAIL FROM:<>", "250").await;
        for _ in 0..30 {
            greedy.ask(&long, "250").await;
        }
        greedy.ask("DATA", "354").await;
        greedy.ask(".", "250").await;
    }
    front.stop().await;
}

#[tokio::test]
async fn memory_for_mail_data_has_one_budget() {
    let mut options = Options::default();
    options.limits.data_memory = 300_000;
    let front = Front::start(options).await;
    let mut greedy = front.guest().await;
    greedy.begin_data().await;
    greedy.send(&"x".repeat(150_000)).await;
    let mut other = front.guest().await;
    // Until the greedy one's data was read, there is room for the other's.
    within(async {
        loop {
            other.begin_data().await;
            other.send(&"y".repeat(100_000)).await;
            other.send("\r\n.\r\n").await;
            let reply = other.reply().await;
            if reply.starts_with("452 4.3.1 ") {
                break;
            }
            assert!(reply.starts_with("250 "), "{reply:?}");
        }
    })
    .await;
    greedy.ask("\r\n.", "250").await;
    other.begin_data().await;
    other.send(&"y".repeat(100_000)).await;
    other.ask("\r\n.", "250").await;
    front.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_session_only() {
    let mut options = Options::default();
    options.limits.connections = 2;
    let front = Front::start(options).await;
    let mut bystander = front.guest().await;
    let mut client = front.guest().await;
    client.ask("EHLO a", "250-").await;
    client.ask("MAIL FROM:<a@b>", "250").await;
    client.send("RCPT TO:<panic@b>\r\n").await;
    client.expect_end().await;
    bystander.ask("NOOP", "250").await;
    drop(front.guest().await);
    front.stop().await;
}

#[tokio::test]
async fn a_stop_lets_transactions_finish() {
    let front = Front::start(Options::default()).await;
    let (mut idle, mut busy) = (front.guest().await, front.guest().await);
    busy.ask("EHLO a", "250-").await;
    busy.ask("MAIL FROM:<a@b>", "250").await;
    front.stop.send(true).unwrap();
    let told = idle.expect("421 4.3.2 ").await;
    assert!(told.ends_with("shutting down\r\n"), "{told:?}");
    idle.expect_end().await;
    within(async { while TcpStream::connect(front.address).await.is_ok() {} }).await;
    assert!(!front.serving.is_finished());
    busy.ask("RCPT TO:<c@d>", "250").await;
    busy.ask("DATA", "354").await;
    busy.send("x\r\n.\r\n").await;
    busy.expect("250 2.0.0 ").await;
    busy.expect("421 4.3.2 ").await;
    busy.expect_end().await;
    assert_eq!(front.count(), 1);
    within(front.serving).await.unwrap();
}

/// Neither a client nor the gateway waits for a check that does not end.
#[tokio::test]
async fn a_check_without_an_answer_holds_nobody() {
    let mut options = Options::default();
    (options.limits.connections, options.limits.new_per_minute) = (1, usize::MAX);
    let front = Front::start(options).await;
    let begin = async || {
        let mut client = front.client().await;
        while !client.reply().await.starts_with("220") {
            client = front.client().await;
        }
        client.ask("EHLO a", "250-").await;
        client.ask("MAIL FROM:<a@b>", "250").await;
        client
    };
    for behind in ["", "RCPT TO:<c@d>\r\nDATA\r\n"] {
        let mut client = within(begin()).await;
        client.send(&format!("RCPT TO:<silent@b>\r\n{behind}")).await;
    }
    let mut client = within(begin()).await;
    client.send("RCPT TO:<silent@b>\r\n").await;
    front.stop.send(true).unwrap();
    client.expect("421 4.3.2 ").await;
    client.expect_end().await;
    within(front.serving).await.unwrap();
}

#[tokio::test]
async fn a_session_cut_at_any_octet_keeps_whole_messages_only() {
    let stages = [
        ("EHLO a\r\n", "250"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "354"),
        ("x\r\n..\r\n.\r\n", "250"),
    ];
    let length: usize = stages.iter().map(|(text, _)| text.len()).sum();
    let mut options = Options::default();
    options.limits.new_per_minute = usize::MAX;
    let front = Front::start(options).await;
    for cut in 0..=length {
        let mut client = front.guest().await;
        let mut left = cut;
        for (text, code) in stages {
            let piece = &text[..left.min(text.len())];
            left -= piece.len();
            client.send(piece).await;
            // The end of the mail data is left unanswered.
            if left == 0 {
                break;
            }
            while !client.reply().await.starts_with(code) {}
        }
        if cut % 2 == 0 && cut < length {
            // Reset instead of a proper end.
            client.0.get_ref().set_zero_linger().unwrap();
        }
    }
    let kept = Arc::clone(&front.kept);
    front.stop().await;
    assert_eq!(kept.messages(), [&b"x\r\n.\r\n"[..]]);
}

#[tokio::test]
async fn the_protocol_log_shows_the_dialogue() {
    let listener = socket();
    let (log, lines) = ProtocolLog::channel();
    let options = Options { hostname: "gateway.example".to_owned(), ..Options::default() };
    let front = Front::start_on(listener, options, log);
    let mut client = front.guest().await;
    let port = client.0.get_ref().local_addr().unwrap().port();
    client.begin_data().await;
    client.send("Subject: x\r\n\r\n..dot\r\n.\r\n").await;
    client.expect("250").await;
    client.0.write_all(b"NOOP \x1b[2J\xff\r\n").await.unwrap();
    client.expect("501").await;
    client.ask("QUIT", "221").await;
    front.stop().await;
    let text: String = lines.try_iter().collect();
    let without_stamp = |line: &str| {
        let (stamp, rest) = line.split_once(' ').unwrap();
        assert_eq!(stamp.len(), "2026-01-31T12:00:00.123Z".len());
        let (name, rest) = rest.split_once(' ').unwrap();
        assert!(name.starts_with('S') && name.len() == 5, "{name}");
        rest.to_owned()
    };
    let found: Vec<_> = text.lines().map(without_stamp).collect();
    let expected = format!(
        "* connected from 127.0.0.1:{port}
> 220 gateway.example Postgate ESMTP service ready
< EHLO a
> 250-gateway.example Hello [127.0.0.1]
> 250-PIPELINING
> 250-SIZE 26214400
> 250-8BITMIME
> 250-SMTPUTF8
> 250-ENHANCEDSTATUSCODES
> 250-DSN
> 250 LIMITS RCPTMAX=1000 MAILMAX=1000
< MAIL FROM:<a@b>
> 250 2.1.0 sender <a@b> OK
< RCPT TO:<c@d>
> 250 2.1.5 recipient <c@d> OK
< DATA
> 354 Send data.  End with CRLF.CRLF
< (message data, 20 bytes)
> 250 2.0.0 Message received and queued as 0000000000000001.
< NOOP \\u{{1b}}[2J\u{fffd}
> 501 5.5.2 control characters or broken UTF-8 in the command
< QUIT
> 221 2.0.0 gateway.example closing connection"
    );
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_protocol_log_shows_no_secrets() {
    let listener = socket();
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(listener, Options::default(), log);
    let mut client = front.guest().await;
    client.ask("HELO a", "250").await;
    client.ask("AUTH PLAIN AHVzZXIAc2VzYW1l", "502").await;
    client.ask("RCPT TO:<coded@sesame.early.example>", "503").await;
    client.ask("MAIL FROM:<>", "250").await;
    for broken in
        ["<coded@sesame.u.gw.example> X=Y", "<coded@sesame.u.gw.example", "coded@sesame.u.gw.example>"]
    {
        client.ask(&format!("rcpt to : {broken}"), "5").await;
    }
    client
        .ask("RCPT TO:<post@https://user:sesame@h/x>", "250 2.1.5 recipient <post@https://user:sesame@h/x>")
        .await;
    client.ask("RCPT TO:<post@https://user:sesame@h/x", "501").await;
    client
        .ask("RCPT TO:<coded@sesame.u.gw.example>", "250 2.1.5 recipient <coded@sesame.u.gw.example>")
        .await;
    for (line, code) in [
        ("RCPT TO:<coded@sesame.u.gw.example", "501"),
        ("RCPT TO:coded@sesame.u.gw.example", "250"),
        ("RCPT TO:<@relay.example:coded@sesame.u.gw.example>", "250"),
        ("RCPT TO:<a@b> ORCPT=rfc822;coded+40sesame.u.gw.example", "250"),
        ("RCPT TO:<coded@sesame.u.gw.example> NOTIFY=MAYBE", "501"),
        (
            "RCPT TO:<post@https://h/x?token=sesame> ORCPT=rfc822;post@https://h/x?token+3Dsesame",
            "250 2.1.5 recipient <post@https://h/x?token=sesame>",
        ),
        ("VRFY coded@sesame.u.gw.example", "252"),
        ("coded@sesame.u.gw.example", "500"),
    ] {
        client.ask(line, code).await;
    }
    client.ask("X-XsHttp-Authorization: Bearer sesame", "500").await;
    client.ask("QUIT", "221").await;
    front.stop().await;
    let text: String = lines.try_iter().collect();
    assert!(!text.contains("sesame") && !text.contains("c2VzYW1l"), "{text}");
    for shown in [
        "< AUTH PLAIN ***",
        "recipient <post@https://***@h/x> OK",
        "< RCPT TO:<***>",
        "recipient <***> OK",
        "< RCPT TO:<***\n",
        "< RCPT TO:***\n",
        "< RCPT TO:<@relay.example:***>\n",
        "< RCPT TO:<a@b> ORCPT=rfc822;***\n",
        "< RCPT TO:<post@https://h/x?token=***> ORCPT=rfc822;***\n",
        "< VRFY ***\n",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test]
async fn what_a_quiet_session_said_is_in_the_log() {
    let listener = socket();
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(listener, Options::default(), log);
    let client = front.guest().await;
    let line = tokio::task::spawn_blocking(move || lines.recv_timeout(DEADLINE)).await.unwrap();
    assert!(line.unwrap().contains("> 220 "));
    drop(client);
    front.stop().await;
}

/// Runs itself again with few descriptors, because the limit is the process's.
#[test]
fn accepting_goes_on_after_descriptors_ran_out() {
    let program = std::env::current_exe().unwrap();
    let run = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --ignored --exact with_few_descriptors"])
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by accepting_goes_on_after_descriptors_ran_out"]
async fn with_few_descriptors() {
    let front = Front::start(Options::default()).await;
    let before = front.guest().await;
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    files.pop();
    // The client's socket takes the last descriptor.
    let mut client = front.client().await;
    let greeting = tokio::time::timeout(SHORT, client.0.read_u8()).await;
    assert!(greeting.is_err(), "there was a descriptor left");
    drop(files);
    client.expect("220").await;
    drop(before);
    front.stop().await;
}
