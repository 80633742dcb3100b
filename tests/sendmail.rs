//! `postgate sendmail` as programs call it: through a link called `sendmail`,
//! with a message on standard input, against the gateway and against servers
//! that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use support::collector::{Answer, Collector};
use support::program::{CONFIG, Gateway, postgate};
use tempfile::TempDir;

/// A directory with a link called `sendmail`.
struct Sendmail {
    directory: TempDir,
    server: String,
}

/// Exit code, standard output, standard error.
type Outcome = (i32, String, String);

impl Sendmail {
    fn with(server: &str) -> Sendmail {
        let directory = TempDir::new().unwrap();
        symlink(env!("CARGO_BIN_EXE_postgate"), directory.path().join("sendmail")).unwrap();
        Sendmail { directory, server: server.to_owned() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.directory.path().join("sendmail"));
        command.args(arguments).current_dir(self.directory.path());
        command.env_remove("POSTGATE_CONFIG").env("POSTGATE_SERVER", &self.server);
        command
    }

    fn run(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        pipe(&mut self.command(arguments), input.as_ref())
    }

    /// Runs it and expects it to succeed without a word.
    fn silently(&self, arguments: &[&str], input: impl AsRef<[u8]>) {
        assert_eq!(self.run(arguments, input), (0, String::new(), String::new()), "{arguments:?}");
    }
}

fn pipe(command: &mut Command, input: &[u8]) -> Outcome {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // It may have decided before the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A gateway, `sendmail` for it, and a receiver.
fn gateway() -> (Gateway, Sendmail, Collector) {
    let receiver = Collector::start(|_| Answer::Status(200));
    let sendmail = Sendmail::with("");
    let gateway = Gateway::start(sendmail.directory.path(), CONFIG);
    let server = gateway.smtp.to_string();
    (gateway, Sendmail { server, ..sendmail }, receiver)
}

/// To a line that begins so, this is answered.
type Answers<'a> = &'a [(&'static str, &'static str)];

/// An SMTP server that writes down what it hears.
struct Recorder {
    address: String,
    thread: JoinHandle<String>,
}

impl Recorder {
    /// Answers one connection, with `250 ok` to what is not named.
    fn start(answers: Answers) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = answers.to_vec();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            converse(stream.try_clone().unwrap(), stream, &answers)
        });
        Recorder { address, thread }
    }

    /// What it heard behind EHLO and before QUIT.
    fn heard(self) -> String {
        let heard = self.thread.join().unwrap();
        let heard = heard.strip_prefix("EHLO localhost\r\n").unwrap_or(&heard);
        heard.strip_suffix("QUIT\r\n").unwrap_or(heard).to_owned()
    }
}

fn converse(input: impl Read, mut output: impl Write, answers: Answers) -> String {
    let mut input = BufReader::new(input);
    let mut heard = Vec::new();
    let mut is_data = false;
    let answer = |line: &[u8]| {
        let found = answers.iter().find(|(word, _)| line.starts_with(word.as_bytes()));
        found.map_or("250 ok", |(_, answer)| *answer)
    };
    let mut reply = match answers.iter().find(|(word, _)| *word == "greeting") {
        Some((_, greeting)) => *greeting,
        None => "220 ready",
    };
    loop {
        if !reply.is_empty() && output.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
            break;
        }
        if reply.starts_with("421") {
            break;
        }
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            break;
        }
        reply = match line.as_slice() {
            b".\r\n" if is_data => answer(&line),
            _ if is_data => "",
            b"DATA\r\n" if answer(&line) == "250 ok" => "354 go on",
            line => answer(line),
        };
        is_data = reply.starts_with("354") || reply.is_empty();
        heard.extend(line);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// Offers everything.
const OFFERS: (&str, &str) = ("EHLO", "250-here\r\n250-SIZE 2000000\r\n250-8BITMIME\r\n250 SMTPUTF8");

const RAW: &str = "X-Postgate-Payload: raw\n";

#[test]
fn a_message_is_posted_as_it_was_piped() {
    let (_gateway, sendmail, receiver) = gateway();
    let message = format!("{RAW}Subject: one\n\n.dots\n..\r\n.\nfr\u{fc}h\n");
    // A comma belongs to the URL, whatever else stands in the argument.
    let both = format!("{}, {}", receiver.recipient("/one?a=1,2"), receiver.recipient("/two"));
    sendmail.silently(&["-i", "-f", "app@shop.example", &both], &message);
    let mut arrivals = receiver.received(2);
    arrivals.sort_by_key(|arrival| arrival.path.clone());
    assert_eq!((arrivals[0].path.as_str(), arrivals[1].path.as_str()), ("/one?a=1,2", "/two"));
    let whole = "Subject: one\r\n\r\n.dots\r\n..\r\n.\r\nfr\u{fc}h\r\n";
    for arrival in arrivals {
        assert!(String::from_utf8(arrival.body).unwrap().ends_with(whole));
    }
}

#[test]
fn recipients_in_the_header_are_read_and_bcc_is_seen_by_nobody() {
    let (_gateway, sendmail, receiver) = gateway();
    let at = |path: &str| receiver.recipient(path);
    let message = format!(
        "{RAW}To: {}, \"A, B\" <{}>\nBCC: Group:\n {};\nCc: {} (again)\nSubject: s\n\nBcc: text\n",
        at("/to,1"),
        at("/name"),
        at("/bcc"),
        at("/name"),
    );
    sendmail.silently(&["-t", &at("/argument")], &message);
    let arrivals = receiver.received(4);
    let mut paths: Vec<_> = arrivals.iter().map(|arrival| arrival.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/argument", "/bcc", "/name", "/to,1"]);
    for arrival in &arrivals {
        let body = String::from_utf8(arrival.body.clone()).unwrap();
        assert!(!body.contains("/bcc") && body.ends_with("Subject: s\r\n\r\nBcc: text\r\n"), "{body}");
    }
}

#[test]
fn what_goes_over_the_wire() {
    let envelope = "MAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = rustix::process::getuid().is_root().then_some("root");
    let table: &[(&[&str], &str, String)] = &[
        (&["-fa@b", "c@d"], "x\n.\ny\n", format!("{envelope}x\r\n.\r\n")),
        (&["-fa@b", "-oi", "c@d"], "x", format!("{envelope}x\r\n.\r\n")),
        (&["-fa@b", "c@d"], "From x@y Sat Jan  3 01:05:34 2026\nA:\n", format!("{}A:\r\n.\r\n", envelope.replace('3', "4"))),
        (&["-f", "", "c@d"], "", "MAIL FROM:<> SIZE=0\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\n".to_owned()),
        (
            &["-i", "-f<>", "Name <c@d>, e@f", "c@d"],
            ".\n\u{fc}\n",
            "MAIL FROM:<> SIZE=7 BODY=8BITMIME\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n..\r\n\u{fc}\r\n.\r\n".to_owned(),
        ),
        (
            &["-fa@b", "--", "\u{fc}@d"],
            "x\n",
            "MAIL FROM:<a@b> SIZE=3 SMTPUTF8\r\nRCPT TO:<\u{fc}@d>\r\nDATA\r\nx\r\n.\r\n".to_owned(),
        ),
        (
            &["-f", "app", "root"],
            "x\n",
            format!("MAIL FROM:<app@{host}> SIZE=3\r\nRCPT TO:<root@{host}>\r\nDATA\r\nx\r\n.\r\n"),
        ),
        (
            &["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "c@d"],
            "x\n",
            format!("MAIL FROM:<{}@{host}> SIZE=3\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n", user.unwrap_or("?")),
        ),
    ];
    for (arguments, input, heard) in table {
        // Which account runs the tests is known of root only.
        if heard.contains("<?@") {
            continue;
        }
        let recorder = Recorder::start(&[OFFERS]);
        Sendmail::with(&recorder.address).silently(arguments, input);
        assert_eq!(recorder.heard(), *heard, "{arguments:?}");
    }
}

#[test]
fn nothing_is_declared_that_is_not_offered() {
    let recorder = Recorder::start(&[]);
    Sendmail::with(&recorder.address).silently(&["-f\u{e4}@b", "c@d"], "\u{fc}");
    assert_eq!(recorder.heard(), "MAIL FROM:<\u{e4}@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\u{fc}\r\n.\r\n");
}

#[test]
fn exit_codes_say_what_to_do() {
    // Answers, exit code, a part of what is said, whether the message was sent.
    let table: &[(Answers, i32, &str, bool)] = &[
        (
            &[("RCPT TO:<a@b>", "550 5.1.1 no a"), ("RCPT TO:<e@f>", "452 4.5.3 no e")],
            67,
            "<a@b>: 550 5.1.1 no a\n<e@f>: 452 ",
            false,
        ),
        (&[("RCPT TO:<e@f>", "452 4.5.3 later")], 75, "<e@f>: 452 4.5.3 later", false),
        (&[("RCPT TO:<c@d>", "550 5.7.1 not you")], 77, "<c@d>: 550 5.7.1 not you", false),
        (&[("RCPT TO:<c@d>", "421 4.3.2 bye")], 75, "421 4.3.2 bye", false),
        (&[("MAIL", "452 4.3.1 full")], 75, "452 4.3.1 full", false),
        (&[("MAIL", "553 5.1.7 bad")], 65, "553 5.1.7 bad", false),
        (&[("MAIL", "530 5.7.0 log in")], 77, "530 5.7.0 log in", false),
        (&[("DATA", "554 5.5.1 no")], 65, "554 5.5.1 no", false),
        (&[(".", "554 5.6.0 bad")], 65, "554 5.6.0 bad", true),
        (&[(".", "451 4.3.0 broken")], 75, "451 4.3.0 broken", true),
        (&[(".", "421 4.3.0 bye")], 75, "421 4.3.0 bye", true),
        (&[("greeting", "421 4.3.2 busy")], 75, "421 4.3.2 busy", false),
        (&[("greeting", "554 5.3.2 never")], 69, "554 5.3.2 never", false),
        (&[("greeting", "HTTP/1.1 400 what")], 75, "not an SMTP reply", false),
        (&[("EHLO", "250 SIZE 2")], 0, "", true),
        (&[("EHLO", "250-here\r\n250 SIZE 2")], 65, "larger than the 2 octets", false),
    ];
    for (answers, code, text, is_sent) in table {
        let recorder = Recorder::start(answers);
        let (exit, output, error) = Sendmail::with(&recorder.address).run(&["a@b", "c@d", "e@f"], "hello\n");
        assert_eq!((exit, output.as_str()), (*code, ""), "{answers:?}: {error}");
        assert!(error.contains(text) && (*code == 0) == error.is_empty(), "{answers:?}: {error}");
        assert_eq!(recorder.heard().contains("hello"), *is_sent, "{answers:?}");
    }
}

#[test]
fn wrong_calls_are_64_and_say_so() {
    let sendmail = Sendmail::with("127.0.0.1:1");
    for (arguments, input, code, text) in [
        (&[][..], "x\n", 64, "sendmail: recipient names must be specified"),
        (&["-t"], "Subject: x\n\nTo: a@b\n", 64, "no recipient addresses"),
        (&["-t"], "", 64, "no recipient addresses"),
        (&["-y", "a@b"], "", 64, "unknown option -y"),
        (&["-bd"], "", 64, "postgate serve"),
        (&["-q", "a@b"], "", 64, "recipients"),
        (&["-bp"], "", 69, "queue"),
        (&["a\u{1b}@b"], "", 65, "control characters"),
        (&["-fa@b> X=<", "a@b"], "", 65, "no sender"),
        (&["--config", "nowhere.toml", "a@b"], "", 78, "nowhere.toml"),
        (&["a@b"], "x\n", 75, "127.0.0.1:1: "),
    ] {
        let (exit, output, error) = sendmail.run(arguments, input);
        assert_eq!((exit, output.as_str()), (code, ""), "{arguments:?}: {error}");
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
    for arguments in [&["-bi"][..], &["-q"], &["-q30m"], &["-I"]] {
        sendmail.silently(arguments, "");
    }
    let (code, help, _) = sendmail.run(&["--help"], "");
    assert!(code == 0 && help.contains("Usage: postgate sendmail "), "{help}");
    symlink(env!("CARGO_BIN_EXE_postgate"), sendmail.directory.path().join("newaliases")).unwrap();
    let newaliases = pipe(&mut Command::new(sendmail.directory.path().join("newaliases")), b"");
    assert_eq!(newaliases, (0, String::new(), String::new()));
}

#[test]
fn a_refused_recipient_leaves_no_post_of_the_others() {
    let (_gateway, sendmail, receiver) = gateway();
    let good = receiver.recipient("/good");
    let (code, _, error) = sendmail.run(&[&good, "nobody@nowhere.example", "post@https"], "x\n");
    assert_eq!(code, 67, "{error}");
    let named: Vec<_> = error.lines().skip(1).collect();
    assert!(named[0].starts_with("<nobody@nowhere.example>: 550 5.1.1 "), "{error}");
    assert!(named[1].starts_with("<post@https>: 550 5.1.3 "), "{error}");
    assert_eq!(named.len(), 2);
    // Had there been another post it would be in front of this one.
    sendmail.silently(&[&receiver.recipient("/after")], "x\n");
    assert_eq!(receiver.received(1)[0].path, "/after");
}

#[test]
fn smtp_is_carried_between_standard_input_and_output() {
    let (_gateway, sendmail, receiver) = gateway();
    let mut child = sendmail.command(&["-bs"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut commands = child.stdin.take().unwrap();
    let mut replies = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let to = receiver.recipient("/bs");
    for (command, code) in [
        ("", "220 "),
        ("HELO app\r\n", "250 "),
        ("MAIL FROM:<>\r\n", "250 "),
        (&format!("RCPT TO:<{to}>\r\n"), "250 "),
        ("DATA\r\n", "354 "),
        ("hello\r\n.\r\n", "250 2.0.0 Message received and queued as "),
    ] {
        commands.write_all(command.as_bytes()).unwrap();
        let reply = replies.next().unwrap();
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    // Without a QUIT the end of the input is the end.
    drop(commands);
    assert_eq!(replies.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(receiver.received(1)[0].path, "/bs");
    assert_eq!(Sendmail::with("127.0.0.1:1").run(&["-bs"], "").0, 75);
}

#[test]
fn a_large_message_costs_no_memory_and_one_too_large_is_not_sent() {
    let (_gateway, sendmail, receiver) = gateway();
    // One line, as JSON is.
    let text = vec![b'x'; (25 << 20) - 1000];
    let message = [b"X-XsHttp-Content-Type: text/plain\n\n", text.as_slice()].concat();
    let recipient = receiver.recipient("/large");
    let limited = |memory: &str, input: &[u8]| {
        let mut command = Command::new("sh");
        let script = format!("ulimit -d {memory}; exec \"$0\" \"$@\"");
        let program = sendmail.directory.path().join("sendmail");
        command.args(["-c", &script]).arg(program).args(["-i", &recipient]);
        // The allocator sets room apart of which it uses little, and a limit counts all.
        command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        pipe(command.env("POSTGATE_SERVER", &sendmail.server), input)
    };
    assert_eq!(limited("16384", &message), (0, String::new(), String::new()));
    assert_eq!(receiver.received(1)[0].body, text);
    let (code, _, error) = limited("16384", &[message.as_slice(), &text].concat());
    assert!(code == 65 && error.contains("26214400 octets"), "{code} {error}");
}

#[test]
fn nothing_is_said_before_the_input_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let sendmail = Sendmail::with(&listener.local_addr().unwrap().to_string());
    let mut child = sendmail.command(&["-fa@b", "c@d"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: some of it has been read when this is done.
    input.write_all(&b"first\n".repeat(100_000)).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    input.write_all(b"last\n").unwrap();
    drop(input);
    listener.set_nonblocking(false).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let heard = converse(stream.try_clone().unwrap(), stream, &[]);
    assert!(heard.ends_with("first\r\nlast\r\n.\r\nQUIT\r\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_read_is_not_sent() {
    let sendmail = Sendmail::with("127.0.0.1:1");
    let output = sendmail.command(&["a@b"]).stdin(fs::File::open("/").unwrap()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{error}");
    assert!(error.starts_with("sendmail: the message cannot be read: "), "{error}");
}

#[test]
fn the_gateway_is_found_in_the_configuration() {
    let (gateway, sendmail, receiver) = gateway();
    let directory = sendmail.directory.path();
    let port = gateway.smtp.port();
    // The listener of the running gateway is not what its file says: port 0.
    let config = format!(
        "[server]\nhostname = \"gateway.example\"\n[[listener]]\naddress = \"0.0.0.0:1\"\nprotocol = \"lmtp\"\n\
         [[listener]]\naddress = \"0.0.0.0:{port}\"\n[[user]]\npassword = {{ env = \"NOT_SET\" }}\n"
    );
    fs::write(directory.join("there.toml"), config).unwrap();
    let message = format!("{RAW}\n");
    let to = |path: &str| receiver.recipient(path);
    let pipe = |arguments: &[&str], variable: &str, value: &str| {
        let mut command = postgate(directory);
        pipe(
            command.arg("sendmail").args(arguments).env_remove("POSTGATE_SERVER").env(variable, value),
            message.as_bytes(),
        )
    };
    let good = (0, String::new(), String::new());
    assert_eq!(pipe(&["--config", "there.toml", &to("/named")], "X", ""), good);
    assert_eq!(pipe(&[&to("/variable")], "POSTGATE_CONFIG", "there.toml"), good);
    assert_eq!(pipe(&["--server", &sendmail.server, &to("/option")], "POSTGATE_SERVER", "127.0.0.1:1"), good);
    let (code, _, error) = pipe(&["--config", "there.toml", "root"], "X", "");
    assert!(code == 67 && error.contains("<root@gateway.example>: 550 "), "{error}");
    fs::rename(directory.join("there.toml"), directory.join("postgate.toml")).unwrap();
    assert_eq!(pipe(&[&to("/lies-about")], "X", ""), good);
    let mut paths: Vec<_> = receiver.received(4).into_iter().map(|arrival| arrival.path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/lies-about", "/named", "/option", "/variable"]);
}

#[test]
fn a_unix_socket_is_an_address() {
    let sendmail = Sendmail::with("unix:smtp");
    let listener = UnixListener::bind(sendmail.directory.path().join("smtp")).unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        converse(stream.try_clone().unwrap(), stream, &[])
    });
    sendmail.silently(&["-fa@b", "c@d"], "x");
    let heard = server.join().unwrap();
    assert!(heard.contains("RCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"), "{heard}");
}

#[test]
fn the_dialogue_is_shown_when_it_is_asked_for() {
    let recorder = Recorder::start(&[(".", "250 queued")]);
    let (code, output, _) = Sendmail::with(&recorder.address).run(&["-v", "-fa@b", "c@d"], "x\n");
    assert_eq!(code, 0);
    assert!(
        output.contains("C: MAIL FROM:<a@b>\nS: 250 ok\n") && output.contains("S: 250 queued\n"),
        "{output}"
    );
}

#[test]
fn php_mail_comes_through() {
    if Command::new("php").arg("--version").output().is_err() {
        return;
    }
    let (_gateway, sendmail, receiver) = gateway();
    let path = format!("sendmail_path={} -t -i", sendmail.directory.path().join("sendmail").display());
    let script = format!(
        "exit(mail('{}', 'from php', \"one\\n.\\ntwo\\n\", \
         \"Bcc: {}\\r\\nX-Postgate-Payload: raw\", '-fapp@shop.example') ? 0 : 1);",
        receiver.recipient("/to"),
        receiver.recipient("/bcc"),
    );
    let php = Command::new("php")
        .args(["-d", &path, "-r", &script])
        .env("POSTGATE_SERVER", &sendmail.server)
        .output()
        .unwrap();
    assert!(php.status.success() && php.stderr.is_empty(), "{php:?}");
    for arrival in receiver.received(2) {
        let body = String::from_utf8(arrival.body).unwrap();
        assert!(body.contains("Subject: from php\r\n") && !body.contains("Bcc"), "{body}");
        assert!(body.contains("\r\n\r\none\r\n.\r\ntwo\r\n"), "{body}");
    }
}
