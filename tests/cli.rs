//! The program from outside: its help, its exit codes, and every command
//! against the others, over real sockets on free ports.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn postgate(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postgate"));
    command.current_dir(directory).env_remove("POSTGATE_CONFIG").stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(&postgate(directory).args(arguments).output().unwrap())
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Runs `postgate send` with a message on standard input.
fn send(directory: &Path, server: &str, recipients: &[&str], message: &str) -> (i32, String, String) {
    let mut command = postgate(directory);
    command.args(["send", "--server", server]);
    for recipient in recipients {
        command.args(["--to", recipient]);
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

/// A command that goes on; ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The test may have ended before the last line.
            output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Running { child, lines }
    }

    /// Waits for a line that holds `text` and answers with it.
    fn line(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    /// Sends a signal and waits for the end; answers with the exit code.
    fn end(&mut self, signal: &str) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code().unwrap_or(-1),
                None if Instant::now() > deadline => panic!("does not end after {signal}"),
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway with its address.
fn serve(directory: &TempDir) -> (Running, String) {
    serve_with(directory, "")
}

/// The same with more configuration; its operational log goes to `stderr`.
fn serve_with(directory: &TempDir, more: &str) -> (Running, String) {
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"127.0.0.1:0\"\n\n\
                  [egress]\nallow = [\"127.0.0.0/8\"]\n";
    fs::write(directory.path().join("postgate.toml"), format!("{config}\n{more}")).unwrap();
    let log = fs::File::create(directory.path().join("stderr")).unwrap();
    let running = Running::start(postgate(directory.path()).stderr(log));
    let line = running.line("listens on ");
    let address = line.split(' ').nth(4).unwrap().to_owned();
    (running, address)
}

/// A receiver with its URL.
fn sink(directory: &TempDir, arguments: &[&str]) -> (Running, String) {
    let mut command = postgate(directory.path());
    let running = Running::start(command.args(["sink", "--listen", "127.0.0.1:0"]).args(arguments));
    let url = running.line("receiving at ").rsplit(' ').next().unwrap().to_owned();
    (running, url)
}

#[test]
fn help_names_every_command_and_wrong_arguments_are_64() {
    let directory = TempDir::new().unwrap();
    let (code, help, _) = run(directory.path(), &["--help"]);
    assert_eq!(code, 0);
    for command in [
        "serve", "demo", "sink", "send", "sendmail", "check", "address", "log", "password", "template", "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in {help}");
        let (code, own, _) = run(directory.path(), &[command, "--help"]);
        assert!(code == 0 && own.contains("Usage: postgate "), "{own}");
    }
    for wrong in
        [&["--nonsense"][..], &["nonsense"], &["send"], &["sink", "--status", "99"], &["log", "--post", "x"]]
    {
        let (code, _, error) = run(directory.path(), wrong);
        assert!(code == 64 && !error.is_empty(), "{wrong:?}: {code} {error}");
    }
}

#[test]
fn check_looks_where_serve_looks_and_says_everything() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    assert!(run(path, &["check"]).1.contains("built-in"));
    fs::write(path.join("postgate.toml"), "[log]\nlevel = \"warn\"\n").unwrap();
    assert_eq!(run(path, &["check"]).1, "postgate.toml: good\n");
    let (code, effective, _) = run(path, &["check", "--effective"]);
    assert!(code == 0 && effective.contains("level = \"warn\"") && effective.contains("retry = ["));
    fs::write(path.join("bad.toml"), "[log]\nlevl = 1\n\n[accounting]\nfields = [\n  \"rcptt\",\n]\n")
        .unwrap();
    let complaints = "bad.toml:2:1: log.levl: unknown key; did you mean level?\n\
                      bad.toml:4:1: accounting.path: missing; add path = \"log/acct-%Y-%m-%d.ndjson\"\n\
                      bad.toml:6:3: accounting.fields: \"rcptt\" is no column; did you mean rcpt?\n";
    assert_eq!(run(path, &["check", "--config", "bad.toml"]), (78, String::new(), complaints.to_owned()));
    assert_eq!(run(path, &["serve", "--config", "bad.toml"]).0, 78);
    assert_eq!(run(path, &["--config", "nowhere.toml"]).0, 78);
    let by_environment = postgate(path).env("POSTGATE_CONFIG", "bad.toml").arg("check").output().unwrap();
    assert_eq!(said(&by_environment).2, complaints);
}

#[test]
fn every_form_that_address_prints_leads_to_its_url() {
    let directory = TempDir::new().unwrap();
    let (_gateway, smtp) = serve(&directory);
    let (receiver, url) = sink(&directory, &[]);
    let target = format!("{url}in/%20?a=1&b=@");
    let (code, forms, _) = run(directory.path(), &["address", &target]);
    assert_eq!((code, forms.lines().count()), (0, 7), "{forms}");
    for form in forms.lines() {
        let (name, recipient) = form.split_once(' ').unwrap();
        let recipient = recipient.trim();
        let (recipient, header) = recipient.split_once(" and ").unwrap_or((recipient, "X-Form: none"));
        let message = format!("{header}\nSubject: {name}\n\nhello\n");
        let (code, dialogue, error) = send(directory.path(), &smtp, &[recipient], &message);
        assert_eq!(code, 0, "{form}: {dialogue}{error}");
        receiver.line("POST /in/%20?a=1&b=@ HTTP/1.1");
        receiver.line(&format!("\"subject\":\"{name}\""));
    }
    let (code, _, error) = run(directory.path(), &["address", "ftp://shop.example/"]);
    assert!(code == 65 && error.contains("http"), "{error}");
}

#[test]
fn the_readme_says_what_the_program_does() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let directory = TempDir::new().unwrap();
    let config = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    fs::write(directory.path().join("readme.toml"), config).unwrap();
    let checked = run(directory.path(), &["check", "--config", "readme.toml"]);
    assert_eq!(checked, (0, "readme.toml: good\n".to_owned(), String::new()));
    let (_, forms, _) = run(directory.path(), &["address", "https://shop.example/hook"]);
    for form in ["labels", "encoded", "escaped", "literal"] {
        let line = forms.lines().find(|line| line.starts_with(form)).unwrap();
        let example = line.split(' ').next_back().unwrap();
        assert!(readme.contains(&format!("| {form} | `{example}`")), "{line}");
    }
    for command in [
        "serve", "demo", "sink", "send", "sendmail", "check", "address", "log", "password", "template", "man",
    ] {
        assert!(readme.contains(&format!("`postgate {command}")), "{command}");
    }
}

#[test]
fn send_shows_the_dialogue_and_its_exit_code_says_how_it_went() {
    let directory = TempDir::new().unwrap();
    let (_gateway, smtp) = serve(&directory);
    let path = directory.path();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let to: &str = &format!("post@http://{nobody}/");
    let (code, dialogue, error) = send(path, &smtp, &[to, to], ".dot\n");
    assert_eq!(code, 0, "{error}");
    for line in [
        "C: MAIL FROM:<>",
        "S: 354 Send data.  End with CRLF.CRLF",
        "S: 250 2.0.0 Message received and queued as ",
    ] {
        assert!(dialogue.contains(line), "{dialogue}");
    }
    let (code, _, error) = send(path, &smtp, &["undefined"], "x\n");
    assert!(code == 65 && error.starts_with("refused: 550 5.1.3 "), "{error}");
    assert_eq!(send(path, &nobody, &[to], "x\n").0, 69);
    assert_eq!(run(path, &["send", "--to", to, "--server", &smtp, "nowhere.eml"]).0, 66);
    assert_eq!(run(path, &["send", "--to", "a\r\nDATA", "--server", &smtp]).0, 64);
}

#[test]
fn a_refusal_for_now_is_75() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let busy = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"421-4.3.2 busy\r\n421 4.3.2 come back\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Until the client leaves.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let directory = TempDir::new().unwrap();
    let (code, dialogue, error) = send(directory.path(), &address, &["a@b"], "x\n");
    assert_eq!((code, error.as_str()), (75, "refused: 421 4.3.2 come back\n"), "{dialogue}");
    busy.join().unwrap();
}

#[test]
fn serve_stops_in_order_and_does_not_start_twice() {
    let directory = TempDir::new().unwrap();
    let (mut gateway, smtp) = serve(&directory);
    let path = directory.path();
    let (code, _, error) = run(path, &["serve"]);
    assert!(code == 69 && error.contains("in use"), "same spool: {code} {error}");
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("postgate.toml"), format!("[[listener]]\naddress = \"{smtp}\"\n")).unwrap();
    let (code, _, error) = run(other.path(), &["serve"]);
    assert!(code == 69 && error.contains(&smtp), "same address: {code} {error}");
    // The address of an API that was asked for must be free, too.
    let taken = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"{smtp}\"\n");
    fs::write(other.path().join("postgate.toml"), taken).unwrap();
    let (code, _, error) = run(other.path(), &["serve"]);
    assert!(code == 69 && error.contains(&format!("[api] cannot listen on {smtp}")), "{code} {error}");
    assert!(!other.path().join("postgate-data").exists());
    assert_eq!(gateway.end("-TERM"), 0);
    assert_eq!(send(path, &smtp, &["post@http://127.0.0.1:9/"], "x\n").0, 69);
    let (mut again, _) = serve(&directory);
    assert_eq!(again.end("-INT"), 0);
}

/// A session in the middle of its transaction.
fn begin_transaction(smtp: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(smtp).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    for (command, code) in [("", "220 "), ("HELO a\r\n", "250 "), ("MAIL FROM:<>\r\n", "250 ")] {
        stream.write_all(command.as_bytes()).unwrap();
        let reply = replies.next().unwrap().unwrap();
        assert!(reply.starts_with(code), "{reply}");
    }
    stream
}

#[test]
fn a_stop_waits_for_a_transaction_until_the_time_is_up() {
    let directory = TempDir::new().unwrap();
    let (mut gateway, smtp) = serve_with(&directory, "[server]\nshutdown_timeout = \"300ms\"");
    let _transaction = begin_transaction(&smtp);
    let begun = Instant::now();
    assert_eq!(gateway.end("-TERM"), 0);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = TempDir::new().unwrap();
    let (mut gateway, smtp) = serve_with(&directory, "[log]\nformat = \"json\"");
    let _transaction = begin_transaction(&smtp);
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let log = || fs::read_to_string(directory.path().join("stderr")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !log().contains("a second signal") {
        assert!(Instant::now() < deadline, "{}", log());
    }
    let line: serde_json::Value = serde_json::from_str(log().lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(gateway.end("-TERM"), 70);
}

#[test]
fn what_was_accepted_arrives_after_a_kill() {
    let directory = TempDir::new().unwrap();
    let (receiver, url) = sink(&directory, &[]);
    let recipient = format!("post@{url}after-the-kill");
    let later = "X-Postgate-Not-Before: 1s\n\nhello\n";
    let (mut gateway, smtp) = serve(&directory);
    assert_eq!(send(directory.path(), &smtp, &[&recipient], later).0, 0);
    gateway.end("-KILL");
    let _again = serve(&directory);
    receiver.line("POST /after-the-kill HTTP/1.1");
}

#[test]
fn the_line_that_serve_prints_works() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (receiver, url) = sink(&directory, &[]);
    let (gateway, _) = serve(&directory);
    let line = gateway.line("curl").replace("http://127.0.0.1:8080/", &url);
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    receiver.line("POST /hello HTTP/1.1");
}

#[test]
fn the_lines_of_the_manual_hand_in_over_http() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (receiver, url) = sink(&directory, &[]);
    let (gateway, _) = serve(&directory);
    let api = gateway.line("API at ");
    let api = api.trim_end_matches('/').rsplit(' ').next().unwrap();
    let manual = include_str!("../README.md");
    let section = manual.split("### Handing in over HTTP").nth(1).unwrap();
    let lines: Vec<_> = section.split("```sh\n").skip(1).take(2).collect();
    for line in lines {
        let line = line.split("```").next().unwrap();
        let line = line.replace("http://127.0.0.1:8080/", &url).replace("http://127.0.0.1:8025", api);
        let said = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).starts_with("{\"id\":"), "{line}: {said:?}");
        receiver.line("POST /hello HTTP/1.1");
    }
}

#[test]
fn sink_answers_as_it_is_told_and_counts() {
    let directory = TempDir::new().unwrap();
    for (arguments, status) in [
        (&["--status", "410"][..], "410"),
        (&["--fail-rate", "1"], "503"),
        (&["--quiet", "--delay", "1ms"], "200"),
    ] {
        let (mut receiver, url) = sink(&directory, arguments);
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let mut stream = std::net::TcpStream::connect(&authority).unwrap();
        stream
            .write_all(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert_eq!(receiver.end("-TERM"), 0);
        receiver.line("1 requests in all");
    }
}

#[test]
fn log_answers_for_a_session_a_post_and_a_destination() {
    let directory = TempDir::new().unwrap();
    let (receiver, url) = sink(&directory, &[]);
    let (mut gateway, smtp) = serve(&directory);
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let (_, dialogue, _) = send(directory.path(), &smtp, &[&format!("post@{url}{name}")], "hello\n");
        let id = dialogue.split_once("queued as ").unwrap().1.split_once('.').unwrap().0;
        ids.push(id.to_owned());
        receiver.line(&format!("POST /{name} "));
    }
    assert_eq!(gateway.end("-TERM"), 0);
    let log = |arguments: &[&str]| run(directory.path(), &[&["log"][..], arguments].concat()).1;
    let post = log(&["--post", &ids[1]]);
    for part in ["* connected from ", "< RCPT TO:<post@", "> POST /two HTTP/1.1", "delivered in "] {
        assert!(post.contains(part), "{part} in {post}");
    }
    assert!(!post.contains("/one") && !post.contains(&ids[0]), "{post}");
    let session = post.lines().next().unwrap().split(' ').nth(1).unwrap();
    let lines = log(&["--session", session]);
    assert!(lines.lines().count() > 5 && lines.lines().all(|line| line.contains(session)), "{lines}");
    let destination = log(&["--destination", &url]);
    assert_eq!((destination.matches("> POST ").count(), destination.matches("EHLO").count()), (2, 0));
    assert_eq!(log(&["--destination", "http://127.0.0.1:9/"]), "");
    let (all, http) = (log(&[]), destination.lines().count());
    assert_eq!(all.lines().count(), http + 2 * lines.lines().count(), "{all}");
}

#[test]
fn log_follows_into_the_next_day() {
    let directory = TempDir::new().unwrap();
    let days = directory.path().join("postgate-data/log");
    fs::create_dir_all(&days).unwrap();
    let line = |day: &str, text: &str| format!("2026-01-{day}T12:00:00.000Z S0001 < {text}\n");
    let mut first = fs::File::create(days.join("protocol-2026-01-30.log")).unwrap();
    first.write_all(line("30", "one").as_bytes()).unwrap();
    let mut follower =
        Running::start(postgate(directory.path()).args(["log", "--follow", "--session", "S0001"]));
    follower.line("< one");
    first.write_all(line("30", "two").as_bytes()).unwrap();
    fs::write(days.join("protocol-2026-01-31.log"), line("31", "three")).unwrap();
    follower.line("< two");
    follower.line("< three");
    follower.end("-TERM");
    let nowhere = TempDir::new().unwrap();
    assert_eq!(run(nowhere.path(), &["log"]).0, 66);
}

#[test]
fn demo_shows_both_dialogues_and_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let demo = |columns: &str| {
        let output = postgate(directory.path())
            .arg("demo")
            .env("COLUMNS", columns)
            .env("TMPDIR", directory.path())
            .output();
        said(&output.unwrap())
    };
    let (code, wide, error) = demo("120");
    assert_eq!(code, 0, "{wide}{error}");
    assert!(wide.contains("SMTP: the mail comes in") && wide.contains("| HTTP: the post goes out"), "{wide}");
    assert!(wide.contains("order=17&customer=Shop+Example&item=teapot&quantity=2"), "{wide}");
    assert!(wide.lines().all(|line| line.chars().count() <= 120), "{wide}");
    let (code, narrow, _) = demo("80");
    let at = |text: &str| narrow.lines().position(|line| line == text).unwrap();
    assert!(code == 0 && at("SMTP: the mail comes in") < at("HTTP: the post goes out"), "{narrow}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
