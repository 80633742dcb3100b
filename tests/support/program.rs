//! The real program as a child process, and SMTP clients that talk to it.

use super::DEADLINE;
use postgate::spool::Spool as _;
use postgate::spool::embedded::{Embedded, Options};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What every test's configuration begins with: a free port, the way to
/// receivers on loopback, retries in no time.
pub const CONFIG: &str = r#"
[[listener]]
address = "127.0.0.1:0"

[api]
address = "off"

[egress]
allow = ["127.0.0.0/8"]

[limits]
connection_rate = "1000000/m"

[delivery]
retry = ["20ms", "50ms", "100ms"]
"#;

/// Waits until `condition` answers.
pub fn eventually<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    let answer = within(limit, condition);
    answer.unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"))
}

/// Waits until `condition` answers, for so long.
pub fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = condition();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        // Not for anything: only to leave the processor to what is waited for.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `postgate` in a directory, without a configuration from outside.
pub fn postgate(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postgate"));
    command.current_dir(directory).env_remove("POSTGATE_CONFIG").stdin(Stdio::null());
    command
}

/// A running gateway; ends with the test.
pub struct Gateway {
    pub child: Child,
    lines: Receiver<String>,
    /// Where it listens.
    pub smtp: SocketAddr,
}

impl Gateway {
    /// Starts in `directory` with [`CONFIG`] and these changes to it; its
    /// operational log is added to the file `stderr`.
    pub fn start(directory: &Path, config: &str) -> Gateway {
        fs::write(directory.join("postgate.toml"), config).unwrap();
        Gateway::listening(Gateway::spawn(&mut postgate(directory), directory))
    }

    /// Starts a process without waiting for anything.
    pub fn spawn(command: &mut Command, directory: &Path) -> Child {
        let log = fs::File::options().create(true).append(true).open(directory.join("stderr")).unwrap();
        command.stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    }

    /// Waits until the process listens.
    pub fn listening(child: Child) -> Gateway {
        Gateway::if_it_starts(child).unwrap_or_else(|code| panic!("it ended with {code}"))
    }

    /// The same of a process that may end instead; the error is its exit code.
    pub fn if_it_starts(mut child: Child) -> Result<Gateway, i32> {
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The test may have ended before the last line.
            output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut gateway = Gateway { child, lines, smtp: ([0, 0, 0, 0], 0).into() };
        let Some(line) = gateway.line_or_end("listens on ") else { return Err(gateway.ended()) };
        gateway.smtp = line.split(' ').nth(4).unwrap().parse().unwrap();
        Ok(gateway)
    }

    /// A process that listens, or will listen, at an address that is known.
    pub fn at(child: Child, smtp: SocketAddr) -> Gateway {
        Gateway { child, lines: channel().1, smtp }
    }

    /// Waits for a line of its output that holds `text`.
    pub fn line(&self, text: &str) -> String {
        self.line_or_end(text).unwrap_or_else(|| panic!("no line with {text:?}"))
    }

    fn line_or_end(&self, text: &str) -> Option<String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text:?}"),
            }
        }
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end; the exit code, or -1 of a process that was killed.
    pub fn ended(&mut self) -> i32 {
        let status = eventually("the end of the gateway", DEADLINE, || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| -i32::from(status.signal().is_some()))
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.ended()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of a message, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The last line of the final reply, of any code.
    Said(String),
    /// The connection ended before the message was handed over whole.
    Unsent,
    /// The connection ended between the last octet of the message and a reply.
    Nothing,
}

impl Reply {
    /// Whether the message was acknowledged.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Reply::Said(line) if line.starts_with("250 "))
    }

    /// The id that was given to the message.
    pub fn id(&self) -> &str {
        match self {
            Reply::Said(line) if line.starts_with("250 ") => {
                line.rsplit_once(' ').unwrap().1.trim_end_matches('.')
            }
            other => panic!("not accepted: {other:?}"),
        }
    }
}

/// An SMTP session.
pub struct Client {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Client {
    /// Connects and says EHLO; `None` when there is nobody, or nobody any more.
    pub fn connect(smtp: SocketAddr) -> Option<Client> {
        Client::greet(smtp, "EHLO")
    }

    /// The same for LMTP.
    pub fn connect_lmtp(lmtp: SocketAddr) -> Client {
        Client::greet(lmtp, "LHLO").unwrap()
    }

    fn greet(smtp: SocketAddr, hello: &str) -> Option<Client> {
        let stream = TcpStream::connect(smtp).ok()?;
        // A dead gateway's port may be given to us, and we to ourselves.
        if stream.local_addr().ok()? == smtp {
            return None;
        }
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let replies = BufReader::new(stream.try_clone().unwrap());
        let mut client = Client { stream, replies };
        // A connection that was made while the gateway was killed may be one
        // that nobody will ever speak on.
        client.stream.set_read_timeout(Some(DEADLINE / 4)).unwrap();
        client.replies.fill_buf().ok()?;
        client.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        client.reply()?.starts_with("220 ").then_some(())?;
        client.say(&format!("{hello} app.example"))?.starts_with("250 ").then_some(client)
    }

    /// Sends a line and waits for the last line of its reply; `None` when the
    /// connection has ended.
    pub fn say(&mut self, line: &str) -> Option<String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Writes octets as they are.
    pub fn write(&mut self, octets: &[u8]) -> Option<()> {
        self.stream.write_all(octets).ok()
    }

    /// The last line of the next reply.
    pub fn reply(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            match self.replies.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if !line.ends_with("\r\n") => return None,
                Ok(_) if line.as_bytes()[3] == b' ' => return Some(line.trim_end().to_owned()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no reply within {DEADLINE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends a message whose last line has its end. A refusal on the way is the
    /// answer.
    pub fn send(&mut self, recipients: &[String], message: &[u8]) -> Reply {
        match self.envelope(recipients) {
            Ok(()) => {}
            Err(reply) => return reply,
        }
        let mut wire = Vec::with_capacity(message.len() + 100);
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        // The last octet is one of the dot's line: without it nothing was sent.
        if self.write(&wire).is_none() {
            return Reply::Unsent;
        }
        self.reply().map_or(Reply::Nothing, Reply::Said)
    }

    /// Everything up to the 354.
    pub fn envelope(&mut self, recipients: &[String]) -> Result<(), Reply> {
        let mut group = "MAIL FROM:<app@app.example>\r\n".to_owned();
        for recipient in recipients {
            group.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        self.write(group.as_bytes()).ok_or(Reply::Unsent)?;
        let mut refusal = None;
        for _ in 0..=recipients.len() {
            let reply = self.reply().ok_or(Reply::Unsent)?;
            refusal = refusal.or_else(|| (!reply.starts_with("250 ")).then_some(reply));
        }
        if let Some(refusal) = refusal {
            self.say("RSET").ok_or(Reply::Unsent)?;
            return Err(Reply::Said(refusal));
        }
        let data = self.say("DATA").ok_or(Reply::Unsent)?;
        if data.starts_with("354 ") { Ok(()) } else { Err(Reply::Said(data)) }
    }

    /// Waits until the other side ends the connection.
    pub fn wait_for_end(mut self) {
        // A reset is an end as well.
        let _ = self.replies.read_to_end(&mut Vec::new());
    }
}

/// Sends one message in a session of its own.
pub fn send(smtp: SocketAddr, recipients: &[String], message: &str) -> Reply {
    Client::connect(smtp).unwrap().send(recipients, message.as_bytes())
}

/// Whether the spool of a gateway that has ended holds posts that are to be sent.
pub fn holds_posts(directory: &Path) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spool = Embedded::open(Options::at(directory.join("postgate-data/spool"))).unwrap();
    let lanes = runtime.block_on(async {
        spool.recovered().await;
        spool.lanes().await.unwrap()
    });
    spool.close().unwrap();
    !lanes.is_empty()
}

/// [`CONFIG`] with another retry schedule.
pub fn retrying(intervals: &str) -> String {
    CONFIG.replace(r#"["20ms", "50ms", "100ms"]"#, intervals)
}
