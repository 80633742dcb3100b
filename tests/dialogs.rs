//! The SMTP specification as dialogues: one behaviour a file in `dialogs/`.
//!
//! Each file is run in memory (groups of commands whole, octet by octet, and cut
//! at random places) and over TCP. Its lines:
//!
//! ```text
//! option message 100           a limit, or bare_newline normalize|refuse|lf
//! option protocol lmtp         and tls starttls|implicit, require_tls, require_auth,
//!                              legacy_auth_keyword off
//! option auth plain cram       what is offered; `later` says: only over TLS. `erp` with
//!                              password `secret`, of tenant `shop`, can log in
//! begin data                   greeting, EHLO, MAIL, RCPT, DATA as far as named
//! C: line                      sent with CRLF; lines up to the next S are one group
//! C< "raw\r\noctets" * 3       sent as they are, three times
//! S: 250 2.0.0 OK              exactly this line
//! S* 250                       any reply with this code, however many lines
//! 20x S: …                     twenty times (C: and S: alike)
//! ! spool full                 full, failed or open; `! door refuses` after the dot,
//!                              `! many failures` of logins from elsewhere; `! first
//!                              attempts`: the receivers take, refuse and delay posts in turn
//! ! starttls                   TLS begins; with the names in the client's certificate
//! = accepted 2                 so many messages were kept so far
//! = message "octets"           and these are the octets of the last one
//! = paths <a@b> <c@d>          and these its reverse-path and forward-paths
//! = wishes FULL QQ1            and what RET, ENVID, NOTIFY and ORCPT said: HDRS or FULL and
//!                              the envelope's id, then for each recipient REPORT or SILENT
//!                              and its address
//! = login erp of shop          and who handed it in, or `nobody`
//! = delayed 3                  so many error replies are delayed (in memory only)
//! = told AUTH PLAIN ***        the log is told this, behind what was told before (in memory only)
//! closed                       the gateway has closed the connection
//! ```
//!
//! All replies to a group must be there after the group was fed, which is one
//! write of the driver. Without `closed` the session must be open at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;

use authority::{Authority, HOSTNAME};
use bytes::Bytes;
use postgate::envelope::{Client, Envelope, Fate, Login, Refusal, Replies, Taken, Target, Tls};
use postgate::post::{MessageId, OnFailure, Returns};
use postgate::protocol_log::ProtocolLog;
use postgate::smtp::auth::{Credentials, Mechanisms, Offer};
use postgate::smtp::session::{Answer, CheckState, Demand, Judged, Opening, Question, Session};
use postgate::smtp::words::Terms;
use postgate::smtp::{
    self, BareNewline, Certificates, Door, Limits, Options, Policy, Protocol, Required, Socket, TlsUse,
};
use postgate::spool::spill::MailData;
use postgate::tenant::Tenant;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

const DEADLINE: Duration = Duration::from_secs(20);
/// The example of RFC 2195: what `tim` shows who knows `tanstaaftanstaaf`. It is the
/// first challenge of every world.
const CHALLENGE: &str = "<1896.697170952@postoffice.reston.mci.net>";
const DIGEST: &str = "b913a602c7eda7a495b4e6e7334d3890";
/// What stands in no log: the password of `erp`, and the beginnings of whatever the
/// dialogues say and are asked in base64.
const CANARIES: &[&str] = &["secret", "AGVyc", "c2VjcmV0", "ZXJw", "dGlt", "VXNl", "UGFz", "PDE"];

/// Keeps what it is given; refuses `nobody@…`, and whatever a dialogue says.
#[derive(Default)]
struct World {
    messages: Mutex<Vec<(Envelope, Bytes)>>,
    mood: Mutex<String>,
    mechanisms: Mechanisms,
    challenges: AtomicUsize,
}

impl World {
    fn of(dialog: &Dialog) -> World {
        World { mechanisms: dialog.mechanisms, ..World::default() }
    }

    fn judge(&self, client: &Client, credentials: Credentials) -> Result<Login, Refusal> {
        if self.is("many failures") {
            return Err(Refusal::new(454, (7, 0), "too many failed logins, try again later"));
        }
        let names = client.tls.as_ref().map_or(&[][..], |tls| &tls.names);
        let user = match credentials {
            Credentials::Password { name, password } => {
                (name == "erp" && password.reveal() == "secret").then_some(name)
            }
            Credentials::Digest { name, challenge, digest } => {
                (name == "tim" && challenge == CHALLENGE && digest.reveal() == DIGEST).then_some(name)
            }
            Credentials::Certificate { name: None } => names.first().cloned(),
            Credentials::Certificate { name: Some(name) } => names.contains(&name).then_some(name),
        };
        let login = user.map(|name| Login { name, tenant: Tenant::new("shop") });
        login.ok_or_else(|| Refusal::new(535, (7, 8), "authentication failed"))
    }

    fn inquire(&self, question: &Question) -> Result<(), Refusal> {
        match question.recipient.forward_path.starts_with("unknown@") {
            true => Err(Refusal::new(550, (1, 1), "the shop knows nobody of this name")),
            false => Ok(()),
        }
    }

    fn is(&self, mood: &str) -> bool {
        *self.mood.lock().unwrap() == mood
    }

    fn keep(&self, envelope: Envelope, data: Bytes) -> Result<Taken, Refusal> {
        if self.is("door refuses") {
            return Err(Refusal::new(554, (6, 0), "the message is not wanted"));
        }
        let mut messages = self.messages.lock().unwrap();
        let message = MessageId(0x52a0_0000_0000_0001 + messages.len() as u64);
        let turns = [
            Fate::Delivered(200),
            Fate::Refused(Refusal::new(554, (1, 1), "no such order")),
            Fate::Queued,
            Fate::Refused(Refusal::new(451, (4, 1), "the receiver cannot take it now; try again later")),
        ];
        let fates = match (self.is("first attempts"), envelope.replies) {
            (false, _) => Vec::new(),
            (true, Replies::One) => turns[messages.len() % turns.len()..][..1].to_vec(),
            (true, Replies::Each) => turns.into_iter().take(envelope.recipients.len()).collect(),
        };
        messages.push((envelope, data));
        Ok(Taken { fates, ..Taken::queued(message) })
    }
}

impl Policy for World {
    fn sender(&self, _: &Client, _: &str) -> Result<(), Refusal> {
        match self.mood.lock().unwrap().as_str() {
            "spool full" => Err(Refusal::new(452, (3, 1), "the spool is full, try again later")),
            "spool failed" => Err(Refusal::new(451, (3, 0), "the spool cannot be written, try again later")),
            _ => Ok(()),
        }
    }

    fn recipient(&self, _: &Client, opening: Opening<'_>, path: &str) -> Result<Judged, Refusal> {
        if path.is_empty() || path.starts_with("nobody@") {
            return Err(Refusal::new(550, (1, 1), "no such recipient"));
        }
        if path.starts_with("small@") && opening.size.is_some_and(|size| size > 1000) {
            return Err(Refusal::new(552, (3, 4), "message too large"));
        }
        let is_due = path.starts_with("checked@") || path.starts_with("unknown@");
        let check = if is_due { CheckState::Due } else { CheckState::Settled };
        // A recipient that very many routes take.
        let posts = if path.starts_with("many@") { 400 } else { 1 };
        Ok(Judged { target: Target::Route { route: path.to_owned(), detail: None }, posts, check })
    }

    fn mechanisms(&self, client: &Client) -> Mechanisms {
        let is_named = client.tls.as_ref().is_some_and(|tls| !tls.names.is_empty());
        let now = |offer| match offer {
            Offer::AfterTls if client.tls.is_some() => Offer::Now,
            offer => offer,
        };
        Mechanisms {
            password: now(self.mechanisms.password),
            cram_md5: now(self.mechanisms.cram_md5),
            external: if is_named { now(self.mechanisms.external) } else { Offer::No },
        }
    }

    fn challenge(&self) -> String {
        match self.challenges.fetch_add(1, Ordering::Relaxed) {
            0 => CHALLENGE.to_owned(),
            number => format!("<{number}@{HOSTNAME}>"),
        }
    }
}

impl Door for World {
    fn admit(
        &self,
        envelope: Envelope,
        data: MailData,
    ) -> Pin<Box<dyn Future<Output = Result<Taken, Refusal>> + Send + '_>> {
        Box::pin(async move { self.keep(envelope, data.read().unwrap()) })
    }

    fn verify<'a>(
        &'a self,
        client: &'a Client,
        credentials: Credentials,
    ) -> Pin<Box<dyn Future<Output = Result<Login, Refusal>> + Send + 'a>> {
        Box::pin(async move { self.judge(client, credentials) })
    }

    fn check<'a>(
        &'a self,
        question: &'a Question,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async move { self.inquire(question) })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Line(String),
    Code(String),
    Mood(String),
    Accepted(usize),
    Message(Vec<u8>),
    Paths(String),
    Wishes(String),
    Login(String),
    Delayed(u32),
    Told(String),
    /// TLS begins, with these names in the client's certificate.
    StartTls(Vec<String>),
    Closed,
}

struct Dialog {
    limits: Limits,
    bare_newline: BareNewline,
    protocol: Protocol,
    tls: TlsUse,
    required: Required,
    legacy_auth_keyword: bool,
    mechanisms: Mechanisms,
    steps: Vec<Step>,
}

fn parse(text: &str) -> Dialog {
    let mut dialog = Dialog {
        limits: Limits::default(),
        bare_newline: BareNewline::Normalize,
        protocol: Protocol::Smtp,
        tls: TlsUse::None,
        required: Required::default(),
        legacy_auth_keyword: true,
        mechanisms: Mechanisms::default(),
        steps: Vec::new(),
    };
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (times, line) = match line.split_once("x ") {
            Some((times, rest)) if times.parse::<usize>().is_ok() => (times.parse().unwrap(), rest),
            _ => (1, line),
        };
        for _ in 0..times {
            dialog.read_line(line);
        }
    }
    dialog
}

impl Dialog {
    fn read_line(&mut self, line: &str) {
        if let Some(line) = line.strip_prefix("C: ") {
            self.steps.push(Step::Send(format!("{line}\r\n").into_bytes()));
        } else if line == "C:" {
            self.steps.push(Step::Send(b"\r\n".to_vec()));
        } else if let Some(raw) = line.strip_prefix("C< ") {
            self.steps.push(Step::Send(octets(raw)));
        } else if let Some(line) = line.strip_prefix("S: ") {
            self.steps.push(Step::Line(line.to_owned()));
        } else if let Some(code) = line.strip_prefix("S* ") {
            self.steps.push(Step::Code(code.to_owned()));
        } else if let Some(names) = line.strip_prefix("! starttls") {
            self.steps.push(Step::StartTls(names.split_whitespace().map(str::to_owned).collect()));
        } else if let Some(mood) = line.strip_prefix("! ") {
            self.steps.push(Step::Mood(mood.to_owned()));
        } else if line == "closed" {
            self.steps.push(Step::Closed);
        } else {
            let (word, rest) = line.split_once(' ').expect(line);
            let (what, value) = rest.split_once(' ').unwrap_or((rest, ""));
            match (word, what) {
                ("begin", _) => self.begin(what),
                ("option", _) => self.option(what, value),
                ("=", "accepted") => self.steps.push(Step::Accepted(value.parse().unwrap())),
                ("=", "message") => self.steps.push(Step::Message(octets(value))),
                ("=", "paths") => self.steps.push(Step::Paths(value.to_owned())),
                ("=", "wishes") => self.steps.push(Step::Wishes(value.to_owned())),
                ("=", "login") => self.steps.push(Step::Login(value.to_owned())),
                ("=", "told") => self.steps.push(Step::Told(value.to_owned())),
                ("=", "delayed") => self.steps.push(Step::Delayed(value.parse().unwrap())),
                _ => panic!("not understood: {line}"),
            }
        }
    }

    fn begin(&mut self, state: &str) {
        self.steps.push(Step::Code("220".to_owned()));
        let rows = [
            ("hello", "EHLO client.example", "250"),
            ("mail", "MAIL FROM:<a@client.example>", "250"),
            ("rcpt", "RCPT TO:<b@gateway.example>", "250"),
            ("data", "DATA", "354"),
        ];
        let last = rows.iter().position(|(name, _, _)| *name == state).expect(state);
        for (_, line, code) in &rows[..=last] {
            self.steps.push(Step::Send(format!("{line}\r\n").into_bytes()));
            self.steps.push(Step::Code((*code).to_owned()));
        }
    }

    fn option(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("bare_newline", "normalize") => self.bare_newline = BareNewline::Normalize,
            ("bare_newline", "refuse") => self.bare_newline = BareNewline::Refuse,
            ("bare_newline", "lf") => self.bare_newline = BareNewline::Lf,
            ("protocol", "lmtp") => self.protocol = Protocol::Lmtp,
            ("tls", "starttls") => self.tls = TlsUse::StartTls,
            ("tls", "implicit") => self.tls = TlsUse::Implicit,
            ("require_tls", _) => self.required.tls = true,
            ("require_auth", _) => self.required.login = true,
            ("legacy_auth_keyword", "off") => self.legacy_auth_keyword = false,
            ("auth", words) => {
                let offer = if words.contains("later") { Offer::AfterTls } else { Offer::Now };
                let offered = |word| if words.contains(word) { offer } else { Offer::No };
                self.mechanisms = Mechanisms {
                    password: offered("plain"),
                    cram_md5: offered("cram"),
                    external: offered("external"),
                };
            }
            (limit, value) => self.limit(limit, value),
        }
    }

    fn limit(&mut self, name: &str, value: &str) {
        let limits = &mut self.limits;
        let limit = match name {
            "message" => &mut limits.message,
            "header" => &mut limits.header,
            "header_fields" => &mut limits.header_fields,
            "command_line" => &mut limits.command_line,
            "auth_line" => &mut limits.auth_line,
            "failed_logins" => &mut limits.failed_logins,
            "recipients" => &mut limits.recipients,
            "messages" => &mut limits.messages,
            "soft_errors" => &mut limits.soft_errors,
            "hard_errors" => &mut limits.hard_errors,
            "junk_commands" => &mut limits.junk_commands,
            "data_memory" => &mut limits.data_memory,
            _ => panic!("no such limit: {name}"),
        };
        *limit = value.parse().unwrap();
    }

    /// Itself over TLS from the first octet, unless it is about TLS.
    fn encrypted(mut self) -> Option<Dialog> {
        let speaks_of_tls =
            |step: &Step| matches!(step, Step::Send(octets) if octets.starts_with(b"STARTTLS"));
        let is_plain = self.tls == TlsUse::None && !self.steps.iter().any(speaks_of_tls);
        self.tls = TlsUse::Implicit;
        is_plain.then_some(self)
    }

    /// Steps in rounds: what is sent at once, then what must be there.
    fn rounds(&self) -> Vec<(Vec<u8>, Vec<Step>)> {
        let mut rounds = vec![(Vec::new(), Vec::new())];
        for step in &self.steps {
            let (sent, expected) = rounds.last_mut().unwrap();
            match step {
                Step::Send(octets) if expected.is_empty() => sent.extend_from_slice(octets),
                Step::Send(octets) => rounds.push((octets.clone(), Vec::new())),
                other => expected.push(other.clone()),
            }
        }
        rounds
    }
}

/// `"raw\r\n" * 3`
fn octets(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('"').expect(text);
    let (inner, times) = match inner.rsplit_once("\" * ") {
        Some((inner, times)) => (inner, times.parse().unwrap()),
        None => (inner.strip_suffix('"').expect(text), 1),
    };
    let mut octets = Vec::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            octets.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        octets.push(match chars.next().expect(text) {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).expect(text)
            }
            other => u8::try_from(other).expect(text),
        });
    }
    octets.repeat(times)
}

/// The replies that came and have not been checked; and what else is known, as
/// far as it can be.
struct Seen<'a> {
    lines: Vec<String>,
    world: &'a World,
    is_closed: bool,
    delayed: Option<u32>,
    told: Option<&'a mut Vec<String>>,
}

impl Seen<'_> {
    fn next_line(&mut self) -> Result<String, String> {
        if self.lines.is_empty() { Err("no reply".to_owned()) } else { Ok(self.lines.remove(0)) }
    }

    fn check(&mut self, step: &Step) -> Result<(), String> {
        let found = match step {
            Step::Line(expected) => match self.next_line()? {
                line if line == *expected => return Ok(()),
                line => line,
            },
            Step::Code(code) => loop {
                let line = self.next_line()?;
                if !line.starts_with(&format!("{code}-")) {
                    break if line.starts_with(&format!("{code} ")) { return Ok(()) } else { line };
                }
            },
            Step::Accepted(count) => match self.world.messages.lock().unwrap().len() {
                found if found == *count => return Ok(()),
                found => format!("{found} messages"),
            },
            Step::Message(octets) => match self.world.messages.lock().unwrap().last() {
                Some((_, data)) if data[..] == octets[..] => return Ok(()),
                found => format!("{found:?}"),
            },
            Step::Paths(paths) => match self.world.messages.lock().unwrap().last() {
                Some((envelope, _)) if paths_of(envelope) == *paths => return Ok(()),
                found => format!("{found:?}"),
            },
            Step::Wishes(wishes) => match self.world.messages.lock().unwrap().last() {
                Some((envelope, _)) if wishes_of(envelope) == *wishes => return Ok(()),
                found => format!("{found:?}"),
            },
            Step::Login(login) => match self.world.messages.lock().unwrap().last() {
                Some((envelope, _)) if login_of(envelope) == *login => return Ok(()),
                found => format!("{found:?}"),
            },
            Step::Told(line) => match &mut self.told {
                None => return Ok(()),
                Some(told) => match told.iter().position(|found| found == line) {
                    Some(place) => {
                        told.drain(..=place);
                        return Ok(());
                    }
                    None => format!("{told:?}"),
                },
            },
            // Done by whoever holds the connection.
            Step::StartTls(_) => return Ok(()),
            Step::Delayed(count) if self.delayed.is_none_or(|found| found == *count) => return Ok(()),
            Step::Closed if self.is_closed => return Ok(()),
            Step::Mood(mood) => {
                mood.clone_into(&mut self.world.mood.lock().unwrap());
                return Ok(());
            }
            _ => format!("delayed {:?}, closed {}", self.delayed, self.is_closed),
        };
        Err(format!("expected {step:?}, found {found}"))
    }
}

fn paths_of(envelope: &Envelope) -> String {
    let recipients = envelope.recipients.iter().map(|recipient| format!(" <{}>", recipient.forward_path));
    format!("<{}>{}", envelope.reverse_path, recipients.collect::<String>())
}

fn wishes_of(envelope: &Envelope) -> String {
    let returns = if envelope.returns == Returns::Full { "FULL" } else { "HDRS" };
    let mut wishes = vec![returns, envelope.envelope_id.as_deref().unwrap_or("-")];
    for recipient in &envelope.recipients {
        let is_silent = recipient.on_failure == OnFailure::Silent;
        wishes.push(if is_silent { "SILENT" } else { "REPORT" });
        wishes.push(recipient.original.as_deref().unwrap_or("-"));
    }
    wishes.join(" ")
}

fn login_of(envelope: &Envelope) -> String {
    let client = &envelope.client;
    client.login.as_ref().map_or("nobody".to_owned(), |name| format!("{name} of {}", client.tenant))
}

fn session(dialog: &Dialog, address: Option<&str>) -> Session {
    let terms = Terms {
        hostname: HOSTNAME.to_owned(),
        limits: dialog.limits.clone(),
        bare_newline: dialog.bare_newline,
        protocol: dialog.protocol,
        tls: dialog.tls,
        required: dialog.required,
        legacy_auth_keyword: dialog.legacy_auth_keyword,
    };
    let client = Client {
        address: address.map(|address| address.parse().unwrap()),
        helo: String::new(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0000".to_owned(),
    };
    Session::new(Arc::new(terms), client)
}

fn tls(names: &[String]) -> Tls {
    Tls { version: "TLSv1.3", names: names.to_vec() }
}

/// A session in memory, and what it was made to do.
struct Rehearsal<'a> {
    session: Session,
    world: &'a World,
    out: Vec<u8>,
    told: Vec<String>,
    is_closed: bool,
    is_securing: bool,
}

impl Rehearsal<'_> {
    fn feed(&mut self, piece: &[u8]) {
        let mut demand = self.session.feed(piece, self.world, &mut self.out);
        loop {
            let told = &mut self.told;
            self.session.tell(|line| told.push(line.to_owned()));
            let answer = match demand {
                Demand::Admit(envelope, data) => match self.world.keep(*envelope, data) {
                    Ok(taken) => Answer::Accepted(taken),
                    Err(refusal) => Answer::Refused(refusal),
                },
                Demand::Verify(credentials) => match self.world.judge(self.session.client(), credentials) {
                    Ok(login) => Answer::Verified(login),
                    Err(refusal) => Answer::Denied(refusal),
                },
                Demand::Check(question) => Answer::Checked(self.world.inquire(&question)),
                Demand::Read => return self.is_securing = false,
                Demand::StartTls => return self.is_securing = true,
                Demand::Close => return self.is_closed = true,
            };
            demand = self.session.resolve(answer, self.world, &mut self.out);
        }
    }

    fn secure(&mut self, names: &[String]) -> Result<(), String> {
        if !self.is_securing {
            return Err("TLS was not to begin".to_owned());
        }
        self.session.secured(tls(names));
        Ok(())
    }
}

/// Runs a dialogue against the session alone; `cut` says how long the next piece is.
fn run_in_memory(dialog: &Dialog, mut cut: impl FnMut() -> usize) -> Result<(), String> {
    let world = World::of(dialog);
    let session = session(dialog, Some("127.0.0.1"));
    let (out, told) = (Vec::new(), Vec::new());
    let mut run = Rehearsal { session, world: &world, out, told, is_closed: false, is_securing: false };
    if dialog.tls == TlsUse::Implicit {
        run.session.secured(tls(&[]));
    }
    run.session.greet(&mut run.out);
    let (mut delayed, mut unchecked) = (0, Vec::new());
    for (sent, expected) in dialog.rounds() {
        let mut rest = &sent[..];
        while !rest.is_empty() && !run.is_closed {
            let (piece, behind) = rest.split_at(cut().clamp(1, rest.len()));
            rest = behind;
            run.feed(piece);
        }
        delayed += run.session.penalty();
        let text = String::from_utf8(std::mem::take(&mut run.out)).unwrap();
        assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
        let lines = text.split_terminator("\r\n").map(str::to_owned).collect();
        refuse_canaries(&run.told)?;
        unchecked.append(&mut run.told);
        let (delayed, told, is_closed) = (Some(delayed), Some(&mut unchecked), run.is_closed);
        let mut seen = Seen { lines, world: &world, is_closed, delayed, told };
        for step in &expected {
            if let Step::StartTls(names) = step {
                run.secure(names)?;
            }
            seen.check(step)?;
        }
        if !seen.lines.is_empty() {
            return Err(format!("replies nobody expected: {:?}", seen.lines));
        }
    }
    let ends_closed = dialog.steps.iter().any(|step| matches!(step, Step::Closed));
    if run.is_closed == ends_closed { Ok(()) } else { Err(format!("closed at the end: {}", run.is_closed)) }
}

fn refuse_canaries(told: &[String]) -> Result<(), String> {
    let shows = |line: &&String| CANARIES.iter().any(|canary| line.contains(canary));
    told.iter().find(shows).map_or(Ok(()), |line| Err(format!("the log shows a secret: {line}")))
}

/// Runs a dialogue over TCP, a group in one write.
async fn run_over_tcp(dialog: &Dialog) -> Result<(), String> {
    static KEYS: LazyLock<(Authority, Certificates)> = LazyLock::new(|| {
        let authority = Authority::new();
        let certificates = Certificates::load(&authority.files()).unwrap();
        (authority, certificates)
    });
    let (authority, certificates) = &*KEYS;
    let listener = Socket::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.network_address().unwrap();
    let world = Arc::new(World::of(dialog));
    let mut options = Options {
        hostname: HOSTNAME.to_owned(),
        limits: dialog.limits.clone(),
        protocol: dialog.protocol,
        tls: dialog.tls,
        certificates: Some(certificates.clone()),
        required: dialog.required,
        legacy_auth_keyword: dialog.legacy_auth_keyword,
        ..Options::default()
    };
    options.timeouts.error_delay = Duration::ZERO;
    match dialog.bare_newline {
        BareNewline::Lf => options.lf_networks.push("127.0.0.0/8".parse().unwrap()),
        other => options.bare_newline = other,
    }
    let (stop, stopped) = watch::channel(false);
    let door: Arc<dyn Door> = Arc::clone(&world) as Arc<dyn Door>;
    let (log, logged) = ProtocolLog::channel();
    let serving = tokio::spawn(smtp::serve(listener, Arc::new(options), door, log, stopped));
    let mut stream: Stream = BufReader::new(Box::new(TcpStream::connect(address).await.unwrap()));
    if dialog.tls == TlsUse::Implicit {
        stream = encrypt(stream, authority, &[]).await?;
    }
    for (sent, expected) in dialog.rounds() {
        stream.write_all(&sent).await.map_err(|error| error.to_string())?;
        let mut seen = Seen { lines: Vec::new(), world: &world, is_closed: false, delayed: None, told: None };
        for step in &expected {
            match step {
                Step::Line(_) => seen.lines.push(read_line(&mut stream).await?),
                Step::Code(code) => loop {
                    let line = read_line(&mut stream).await?;
                    let is_last = !line.starts_with(&format!("{code}-"));
                    seen.lines.push(line);
                    if is_last {
                        break;
                    }
                },
                Step::StartTls(names) => stream = encrypt(stream, authority, names).await?,
                Step::Closed => seen.is_closed = read_line(&mut stream).await? == "closed",
                _ => {}
            }
            seen.check(step)?;
        }
    }
    let ends_closed = dialog.steps.iter().any(|step| matches!(step, Step::Closed));
    if !ends_closed {
        stream.shutdown().await.map_err(|error| error.to_string())?;
        let rest = read_line(&mut stream).await?;
        // Whoever said goodbye within TLS need not be answered.
        if rest != "closed" && rest != "gone" {
            return Err(format!("a reply nobody expected: {rest}"));
        }
    }
    drop(stream);
    stop.send(true).unwrap();
    tokio::time::timeout(DEADLINE, serving).await.expect("the sessions do not end").unwrap();
    refuse_canaries(&logged.try_iter().collect::<Vec<_>>())
}

/// A connection, encrypted or not.
type Stream = BufReader<Box<dyn Duplex>>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

async fn encrypt(stream: Stream, authority: &Authority, names: &[String]) -> Result<Stream, String> {
    if !stream.buffer().is_empty() {
        return Err(format!("in the clear: {:?}", stream.buffer()));
    }
    let connector = TlsConnector::from(Arc::new(authority.client(names)));
    let name = HOSTNAME.try_into().unwrap();
    let stream = connector.connect(name, stream.into_inner()).await.map_err(|error| error.to_string())?;
    Ok(BufReader::new(Box::new(stream)))
}

/// A line, or `closed`, or `gone` when the end of TLS was not said.
async fn read_line(stream: &mut Stream) -> Result<String, String> {
    let mut line = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_line(&mut line)).await;
    match read.map_err(|_| "no reply in time".to_owned())? {
        Ok(0) => Ok("closed".to_owned()),
        Ok(_) => line.strip_suffix("\r\n").map(str::to_owned).ok_or(format!("no line: {line:?}")),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok("gone".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn dialogs() -> Vec<(String, Dialog)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 60, "only {} dialogues", files.len());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), parse(&std::fs::read_to_string(path).unwrap()))).collect()
}

fn assert_no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn in_memory_whole() {
    let complain = |(name, dialog): (String, Dialog)| {
        run_in_memory(&dialog, || usize::MAX).err().map(|complaint| format!("{name}: {complaint}"))
    };
    assert_no_complaints(&dialogs().into_iter().filter_map(complain).collect::<Vec<_>>());
}

#[test]
fn in_memory_octet_by_octet() {
    let complain = |(name, dialog): (String, Dialog)| {
        run_in_memory(&dialog, || 1).err().map(|complaint| format!("{name}: {complaint}"))
    };
    assert_no_complaints(&dialogs().into_iter().filter_map(complain).collect::<Vec<_>>());
}

#[test]
fn in_memory_cut_at_random() {
    let mut complaints = Vec::new();
    for (name, dialog) in dialogs() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            if let Err(complaint) = run_in_memory(&dialog, || random.usize(1..24)) {
                complaints.push(format!("{name}, seed {seed}: {complaint}"));
            }
        }
    }
    assert_no_complaints(&complaints);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp() {
    assert_no_complaints(&complaints_over_tcp(dialogs()).await);
}

/// Every dialogue that is not about TLS is the same within it.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let encrypted = dialogs().into_iter().filter_map(|(name, dialog)| Some((name, dialog.encrypted()?)));
    let encrypted: Vec<_> = encrypted.collect();
    assert!(encrypted.len() >= 120, "only {} dialogues", encrypted.len());
    assert_no_complaints(&complaints_over_tcp(encrypted).await);
}

async fn complaints_over_tcp(dialogs: Vec<(String, Dialog)>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, dialog) in dialogs {
        if let Err(complaint) = run_over_tcp(&dialog).await {
            complaints.push(format!("{name}: {complaint}"));
        }
    }
    complaints
}

#[tokio::test]
async fn a_wrong_dialogue_fails() {
    let wrong = [
        "S: 220 gateway.example Postgate ESMTP service ready!",
        "S* 221",
        "S* 220\nS* 250",
        "S* 220\nC: NOOP\nS: 250 2.0.0 Ok",
        "S* 220\nC: NOOP\nC: NOOP\nS* 250",
        "S* 220\nclosed",
        "S* 220\nC: QUIT\nS* 221",
        "begin data\nC: .\nS* 250\n= accepted 2",
        "begin data\nC: x\nC: .\nS* 250\n= message \"x\"",
        "begin data\nC: .\nS* 250\n= paths <a@client.example>",
        "begin data\nC: .\nS* 250\n= login erp of shop",
        "begin data\nC: .\nS* 250\n= wishes FULL - REPORT -",
    ];
    let needs_no_wait = |text: &str| !text.ends_with("221") && !text.ends_with("closed");
    for text in wrong {
        let dialog = parse(text);
        assert!(run_in_memory(&dialog, || usize::MAX).is_err(), "in memory: {text}");
        if needs_no_wait(text) && text != "S* 220\nS* 250" {
            assert!(run_over_tcp(&dialog).await.is_err(), "over TCP: {text}");
        }
    }
    for text in [
        "option auth plain\nbegin hello\nC: AUTH PLAIN\nS: 334 \n= told AUTH",
        "begin hello\nC: NOOP\nS* 250\n! starttls",
        "option tls starttls\nbegin hello\nC: STARTTLS\nS* 220\n! starttls\nC: MAIL FROM:<a@b>\nS* 250",
        "option failed_logins 1\noption auth plain\nbegin hello\nC: AUTH PLAIN eABhAGI=\nS* 535",
        "begin hello\nC: what the canaries sing: c2VjcmV0\nS* 500",
    ] {
        assert!(run_in_memory(&parse(text), || usize::MAX).is_err(), "in memory: {text}");
    }
    assert_eq!(run_in_memory(&parse("S* 220\nC: QUIT\nS* 221\nclosed"), || 1), Ok(()));
}

#[test]
fn hello_names_the_address_as_a_literal() {
    let rows = [(None, "Hello"), (Some("192.0.2.1"), "Hello [192.0.2.1]"), (Some("::1"), "Hello [IPv6:::1]")];
    for (address, expected) in rows {
        let mut out = Vec::new();
        session(&parse(""), address).feed(b"HELO a\r\n", &World::default(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("250 gateway.example {expected}\r\n"));
    }
}

#[test]
fn the_envelope_knows_the_client() {
    let mut session = session(&parse(""), Some("192.0.2.1"));
    let (world, mut out) = (World::default(), Vec::new());
    session.feed(b"EHLO app.example\r\n", &world, &mut out);
    out.clear();
    session.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", &world, &mut out);
    out.clear();
    let Demand::Admit(envelope, data) = session.feed(b"x\r\n.\r\n", &world, &mut out) else {
        panic!("no message")
    };
    assert_eq!((envelope.client.helo.as_str(), &data[..]), ("app.example", &b"x\r\n"[..]));
    assert_eq!(envelope.client.address, Some("192.0.2.1".parse().unwrap()));
}

/// What was answered before a login may leave while it is looked at.
#[test]
fn a_driver_may_write_before_it_resolves() {
    let dialog = parse("option auth plain");
    let (world, mut out) = (World::of(&dialog), Vec::new());
    let mut session = session(&dialog, None);
    session.feed(b"EHLO app.example\r\n", &world, &mut out);
    out.clear();
    let group = b"NOOP\r\nAUTH PLAIN AGVycABzZWNyZXQ=\r\nNOOP\r\n";
    let Demand::Verify(credentials) = session.feed(group, &world, &mut out) else { panic!("no login") };
    assert_eq!(std::mem::take(&mut out), b"250 2.0.0 OK\r\n");
    let login = world.judge(session.client(), credentials).unwrap();
    let demand = session.resolve(Answer::Verified(login), &world, &mut out);
    assert!(matches!(demand, Demand::Close), "{demand:?}");
    let reply = String::from_utf8(out).unwrap();
    assert_eq!(reply, "554 5.5.0 synchronization error: wait for the reply to this command\r\n");
}

/// A driver that feeds clear text where TLS was to begin gets no reply to it.
#[test]
fn nothing_is_answered_between_starttls_and_tls() {
    let dialog = parse("option tls starttls");
    let (world, mut out) = (World::of(&dialog), Vec::new());
    let mut session = session(&dialog, None);
    assert!(matches!(session.feed(b"STARTTLS\r\n", &world, &mut out), Demand::StartTls));
    out.clear();
    assert!(matches!(session.feed(b"EHLO injected\r\n", &world, &mut out), Demand::Close));
    assert_eq!(out, b"");
}
