//! Target: the SMTP session and its mail data receiver.
//!
//! The first octet of an input chooses the terms; 0xff stands for the client
//! reading all replies; the rest is what it sends.

use super::engine::Target;
use bytes::Bytes;
use postgate::envelope::{self, Client, Envelope, Login, Refusal, Taken, Tls};
use postgate::post::MessageId;
use postgate::protocol_log::{Level, Options, ProtocolLog};
use postgate::smtp::auth::{Credentials, Mechanisms, Offer};
use postgate::smtp::session::{Answer, CheckState, Demand, Judged, Opening, Session};
use postgate::smtp::words::Terms;
use postgate::smtp::{BareNewline, Limits, Policy, Protocol, Required, TlsUse};
use postgate::tenant::Tenant;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Stands in an input where the client reads the replies.
const READS: u8 = 0xff;

/// The parts that a control may break.
pub struct SessionTarget {
    /// How a piece reaches the session.
    pub carry: fn(&[u8]) -> &[u8],
    /// What mail data means, see [`Data`].
    pub data: fn(&[u8], BareNewline) -> Option<Data>,
    /// Which words hold credentials.
    pub is_secret: fn(&str) -> bool,
    /// What the log makes of a line that it is told, and of all that was sent.
    pub log: fn(&str, &[u8]) -> String,
}

/// Mail data that has ended: the octets it took, and the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Data {
    pub used: usize,
    pub message: Vec<u8>,
}

impl SessionTarget {
    pub fn new() -> SessionTarget {
        let log = |line: &str, _: &[u8]| line.to_owned();
        SessionTarget { carry: |piece| piece, data, is_secret: |word| word.contains(SECRET), log }
    }
}

/// RFC 5321 section 4.5.2 in the plainest words: lines, one after the other.
pub fn data(raw: &[u8], mode: BareNewline) -> Option<Data> {
    let (mut message, mut used, mut is_behind_crlf) = (Vec::new(), 0, true);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        used += line.len();
        let text = line.strip_suffix(b"\n")?;
        let (text, is_crlf) = text.strip_suffix(b"\r").map_or((text, false), |text| (text, true));
        let is_end = text == b"." && is_behind_crlf && (is_crlf || mode == BareNewline::Lf);
        if is_end {
            return Some(Data { used, message });
        }
        let is_stuffed = if is_behind_crlf { text.starts_with(b".") } else { text.starts_with(b"..") };
        message.extend_from_slice(if is_stuffed { &text[1..] } else { text });
        message.extend_from_slice(b"\r\n");
        is_behind_crlf = is_crlf || mode == BareNewline::Lf;
    }
    None
}

/// No NUL, and CR and LF only together.
fn is_clean(raw: &[u8]) -> bool {
    let whole = [b"\r\n", raw].concat();
    let is_pair = |pair: &[u8]| (pair[0] == b'\r') == (pair[1] == b'\n');
    !whole.contains(&0) && whole.windows(2).all(is_pair) && !whole.ends_with(b"\r")
}

fn terms(choice: u8) -> Terms {
    let bare_newline = match choice & 3 {
        1 => BareNewline::Refuse,
        2 => BareNewline::Lf,
        _ => BareNewline::Normalize,
    };
    let small = Limits {
        message: 200,
        header: 100,
        header_fields: 5,
        command_line: 90,
        auth_line: 120,
        failed_logins: 2,
        recipients: 3,
        messages: 3,
        soft_errors: 3,
        hard_errors: 6,
        junk_commands: 6,
        ..Limits::default()
    };
    let limits = if choice & 4 == 0 { Limits { message: 5000, ..Limits::default() } } else { small };
    let protocol = if choice & 0x80 == 0 { Protocol::Smtp } else { Protocol::Lmtp };
    Terms {
        hostname: "gateway.example".to_owned(),
        limits,
        bare_newline,
        protocol,
        tls: TlsUse::StartTls,
        required: Required::default(),
        legacy_auth_keyword: true,
    }
}

fn client() -> Client {
    Client {
        address: Some("192.0.2.7".parse().unwrap()),
        helo: String::new(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0000".to_owned(),
    }
}

/// What no log may show, wherever a client puts it.
const SECRET: &str = "s3cret";

/// Takes most of it.
struct World {
    refuses_senders: bool,
    is_secret: fn(&str) -> bool,
}

impl Policy for World {
    fn sender(&self, _: &Client, _: &str) -> Result<(), Refusal> {
        let full = Refusal::new(452, (3, 1), "the spool is full, try again later");
        if self.refuses_senders { Err(full) } else { Ok(()) }
    }

    fn recipient(&self, _: &Client, _: Opening<'_>, path: &str) -> Result<Judged, Refusal> {
        match path.as_bytes().first() {
            None | Some(b'n') => {
                Err(Refusal::new(550, (1, 1), format!("no such recipient: {path}\r\n250 OK")))
            }
            Some(b'q') => Err(Refusal::new(421, (3, 0), "come back later")),
            Some(first) => {
                let check = if *first == b'c' { CheckState::Due } else { CheckState::Settled };
                let posts = if *first == b'm' { 300 } else { 1 };
                let target = envelope::Target::Route { route: path.to_owned(), detail: None };
                Ok(Judged { target, posts, check })
            }
        }
    }

    fn is_secret(&self, path: &str) -> bool {
        (self.is_secret)(path)
    }

    fn mechanisms(&self, client: &Client) -> Mechanisms {
        let external = if client.tls.is_some() { Offer::Now } else { Offer::AfterTls };
        Mechanisms { password: Offer::Now, cram_md5: Offer::Now, external }
    }

    fn challenge(&self) -> String {
        "<1@gateway.example>".to_owned()
    }
}

/// Whoever has a short password may come in.
fn judge(credentials: Credentials) -> Result<Login, Refusal> {
    let (name, is_right) = match credentials {
        Credentials::Password { name, password } => (name, password.reveal().len() < 5),
        Credentials::Digest { name, .. } => (name, true),
        Credentials::Certificate { name } => (name.unwrap_or_default(), true),
    };
    assert!(!name.contains(char::is_control), "a name with controls: {name:?}");
    let login = Login { name, tenant: Tenant::new("shop") };
    if is_right { Ok(login) } else { Err(Refusal::new(535, (7, 8), "authentication failed")) }
}

/// Everything that came of a conversation.
#[derive(Default, Debug, PartialEq, Eq)]
struct Run {
    /// What the client read, each time it did.
    replies: Vec<String>,
    told: Vec<String>,
    messages: Vec<(Envelope, Bytes)>,
    delayed: u32,
    is_closed: bool,
}

impl Run {
    /// What kind of conversation it was: replies without their texts.
    fn hash(&self, state: &mut DefaultHasher) {
        let mut last = "";
        for line in self.replies.iter().flat_map(|replies| replies.lines()) {
            let code = line.get(..10).unwrap_or(line);
            if code != last {
                code.hash(state);
            }
            last = code;
        }
        (self.messages.len().min(3), self.is_closed).hash(state);
    }
}

/// When the client reads the replies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Where the input says so.
    AsWritten,
    /// After every piece, which is what a slow network makes of it.
    Always,
}

/// How the input is cut into pieces.
enum Cut {
    Octets,
    Whole,
    Random(fastrand::Rng),
}

struct Conversation<'t> {
    target: &'t SessionTarget,
    terms: Arc<Terms>,
    session: Session,
    world: World,
    out: Vec<u8>,
    run: Run,
    /// Mail data so far, when it came octet by octet.
    raw: Option<Vec<u8>>,
    refuses_every_other: bool,
    sent: usize,
    /// TLS begins when the client has read that it may.
    is_securing: bool,
    /// Who has logged in.
    login: Option<String>,
    /// What was sent since the log was told something.
    recent: Vec<u8>,
    /// The client was asked for what AUTH carries.
    is_asked: bool,
}

impl<'t> Conversation<'t> {
    fn begin(target: &'t SessionTarget, choice: u8) -> Conversation<'t> {
        let terms = Arc::new(terms(choice));
        let mut session = Session::new(Arc::clone(&terms), client());
        let mut out = Vec::new();
        session.greet(&mut out);
        out.clear();
        let world = World { refuses_senders: choice & 0x40 != 0, is_secret: target.is_secret };
        let (run, refuses_every_other) = (Run::default(), choice & 8 != 0);
        Conversation {
            target,
            terms,
            session,
            world,
            out,
            run,
            raw: None,
            refuses_every_other,
            sent: 0,
            is_securing: false,
            login: None,
            recent: Vec::new(),
            is_asked: false,
        }
    }

    /// Holds the whole conversation.
    fn hold(mut self, input: &[u8], reading: Reading, mut cut: Cut) -> Run {
        for round in input.split(|byte| *byte == READS) {
            let mut rest = round;
            while !rest.is_empty() {
                let length = match &mut cut {
                    Cut::Octets => 1,
                    Cut::Whole => rest.len(),
                    Cut::Random(dice) => dice.usize(1..30).min(rest.len()),
                };
                let (piece, behind) = rest.split_at(length);
                rest = behind;
                let was_receiving = self.session.is_receiving();
                let before = self.run.messages.len();
                self.feed(piece);
                if let Cut::Octets = cut {
                    self.watch_data(piece, was_receiving, before);
                }
                if reading == Reading::Always {
                    self.read();
                }
            }
            self.read();
        }
        if let Some(raw) = self.raw.take().filter(|_| !self.run.is_closed) {
            let end = (self.target.data)(&raw, self.terms.bare_newline);
            assert!(end.is_none(), "mail data goes on behind its end");
        }
        self.run
    }

    fn feed(&mut self, piece: &[u8]) {
        let (was_closed, octets) = (self.run.is_closed, self.out.len());
        self.sent += piece.len();
        self.recent.extend_from_slice(piece);
        let demand = self.session.feed((self.target.carry)(piece), &self.world, &mut self.out);
        // A buffer begins with some room and doubles.
        let most = (2 * self.terms.limits.message).max(512);
        assert!(self.session.held() <= most, "more is held than a message may have");
        if was_closed {
            assert!(matches!(demand, Demand::Close), "a session that ended goes on");
            assert_eq!(self.out.len(), octets, "a session that ended still talks");
            return;
        }
        self.answer(demand);
        assert!(
            !self.run.is_closed || !self.session.is_in_transaction(),
            "a transaction outlives its session"
        );
    }

    /// Only octet by octet it is known where mail data begins and ends.
    fn watch_data(&mut self, piece: &[u8], was_receiving: bool, before: usize) {
        if let (true, Some(raw)) = (was_receiving, &mut self.raw) {
            raw.extend_from_slice(piece);
        }
        match (was_receiving, self.session.is_receiving()) {
            (true, false) => self.check_data(before),
            (false, true) => self.raw = Some(Vec::new()),
            _ => {}
        }
    }

    /// Does what the driver would.
    fn answer(&mut self, mut demand: Demand) {
        loop {
            match demand {
                Demand::Read => return,
                Demand::Close => {
                    self.run.is_closed = true;
                    return;
                }
                Demand::StartTls => {
                    self.is_securing = true;
                    return;
                }
                Demand::Verify(credentials) => {
                    let answer = match judge(credentials) {
                        Ok(login) => {
                            self.login = Some(login.name.clone());
                            Answer::Verified(login)
                        }
                        Err(refusal) => Answer::Denied(refusal),
                    };
                    demand = self.session.resolve(answer, &self.world, &mut self.out);
                }
                Demand::Check(question) => {
                    assert_eq!(question.client.login, self.login, "a recipient of somebody else");
                    let path = question.recipient.forward_path;
                    let refusal = || Refusal::new(550, (1, 1), format!("nobody: {path}\r\n250 OK"));
                    let verdict = if path.len().is_multiple_of(2) { Ok(()) } else { Err(refusal()) };
                    demand = self.session.resolve(Answer::Checked(verdict), &self.world, &mut self.out);
                }
                Demand::Admit(envelope, data) => {
                    self.check_paths(&envelope);
                    assert_eq!(envelope.client.login, self.login, "mail of somebody else");
                    self.run.messages.push((*envelope, data));
                    let count = self.run.messages.len();
                    let answer = if self.refuses_every_other && count.is_multiple_of(2) {
                        Answer::Refused(Refusal::new(554, (6, 0), "not wanted\r\n250 2.0.0 forged"))
                    } else {
                        Answer::Accepted(Taken::queued(MessageId(count as u64)))
                    };
                    demand = self.session.resolve(answer, &self.world, &mut self.out);
                }
            }
        }
    }

    /// The client reads what was said.
    fn read(&mut self) {
        let text = String::from_utf8(std::mem::take(&mut self.out)).expect("replies are UTF-8");
        check_replies(&text, &self.terms.limits);
        assert!(text.len() <= 1000 + 40 * self.sent, "{} octets of replies to {}", text.len(), self.sent);
        let shown = self.session.discreet(&text);
        assert!(!shown.contains(SECRET), "a secret reply is shown: {shown}");
        let is_prompt = |line: &str| line.starts_with("334 ") && !matches!(line, "334 " | "334 ***");
        assert!(!shown.split("\r\n").any(is_prompt), "what AUTH asks is shown: {shown}");
        self.listen(&text);
        self.run.delayed += self.session.penalty();
        self.run.replies.push(text);
        if std::mem::take(&mut self.is_securing) && !self.run.is_closed {
            self.session.secured(Tls { version: "TLSv1.3", names: Vec::new() });
            self.login = None;
            assert!(!self.session.is_in_transaction(), "a transaction outlives the beginning of TLS");
        }
    }

    /// What the log is told, which is nothing secret.
    fn listen(&mut self, replies: &str) {
        let mut told = Vec::new();
        let log = |line: &str| (self.target.log)(line, &self.recent);
        self.session.tell(|line| told.push(log(line)));
        self.recent.clear();
        assert!(!told.iter().any(|line| line.contains(SECRET)), "a secret is told: {told:?}");
        let is_hidden = |line: &String| {
            ["***", "*", "(a line that is too long)", "(TLS handshake)"].contains(&line.as_str())
        };
        let answer = told.first().filter(|_| self.is_asked);
        assert!(answer.is_none_or(is_hidden), "an answer to AUTH is told: {told:?}");
        assert!(told.iter().all(|line| !shows_credentials(line)), "credentials are told: {told:?}");
        self.run.told.extend(told);
        if let Some(last) = replies.lines().last() {
            self.is_asked = last.starts_with("334 ");
        }
    }

    /// Whoever is in an envelope was answered 250, behind the last MAIL that was.
    fn check_paths(&self, envelope: &Envelope) {
        let said: String = self.run.replies.concat() + std::str::from_utf8(&self.out).unwrap();
        let lines: Vec<_> = said.lines().collect();
        let path = |line: &str, what: &str| Some(line.strip_prefix(what)?.strip_suffix("> OK")?.to_owned());
        let sender =
            lines.iter().rposition(|line| line.starts_with("250 2.1.0 sender <")).expect("no sender");
        assert_eq!(path(lines[sender], "250 2.1.0 sender <").as_ref(), Some(&envelope.reverse_path));
        let taken: Vec<_> =
            lines[sender..].iter().filter_map(|line| path(line, "250 2.1.5 recipient <")).collect();
        let paths: Vec<_> = envelope.recipients.iter().map(|one| one.forward_path.clone()).collect();
        assert!(!paths.is_empty() && paths == taken, "{paths:?} admitted, {taken:?} answered 250");
        let last = lines.last().unwrap_or(&"");
        assert_eq!(*last, "354 Send data.  End with CRLF.CRLF", "mail data that nobody asked for");
    }

    /// What was admitted, and what was not, by the plain reading of its data.
    fn check_data(&mut self, before: usize) {
        let raw = self.raw.take().unwrap_or_default();
        // It spoke before it had read the 354.
        if self.run.is_closed && raw.len() == 1 {
            return;
        }
        let mode = self.terms.bare_newline;
        let data = (self.target.data)(&raw, mode).expect("mail data ends before its end");
        assert_eq!(data.used, raw.len(), "mail data goes on behind its end");
        let limits = &self.terms.limits;
        let is_small = data.message.len() <= limits.message;
        let is_fit = is_small && (mode != BareNewline::Refuse || is_clean(&raw));
        let lines = data.message.split(|byte| *byte == b'\n').count();
        let has_small_header = data.message.len() <= limits.header && lines <= limits.header_fields;
        match self.run.messages.get(before) {
            Some((_, found)) => {
                assert!(is_fit, "a message that must be refused is admitted");
                assert_eq!(found.escape_ascii().to_string(), data.message.escape_ascii().to_string());
            }
            None => assert!(!is_fit || !has_small_header, "a message is refused for nothing"),
        }
    }
}

/// Whether a line that is no other command has AUTH in it, with more behind the
/// mechanism than it may show.
fn shows_credentials(line: &str) -> bool {
    const OTHERS: &str = "EHLO HELO LHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS EXPN TURN ETRN ATRN \
        SEND SOML SAML BDAT PROXY";
    let line = line.to_ascii_uppercase();
    let is_other = !line.contains(char::is_control) && OTHERS.split(' ').any(|verb| line.starts_with(verb));
    let behind = line.split_once("AUTH").filter(|_| !is_other).map(|(_, behind)| behind);
    behind.is_some_and(|behind| behind.split_whitespace().nth(1).is_some_and(|word| word != "***"))
}

fn check_replies(text: &str, limits: &Limits) {
    assert!(text.is_empty() || text.ends_with("\r\n"), "half a reply");
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= limits.command_line + 400, "a long reply: {line:?}");
        assert!(!line.contains(char::is_control), "controls in a reply: {line:?}");
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        assert!(code.is_some_and(|code| (200..600).contains(&code)), "no code: {line:?}");
        assert!(matches!(line.as_bytes().get(3), Some(b' ' | b'-')), "no reply: {line:?}");
    }
    for pair in text.lines().collect::<Vec<_>>().windows(2) {
        let goes_on = pair[0].as_bytes()[3] == b'-';
        assert!(!goes_on || pair[0][..3] == pair[1][..3], "another code in {pair:?}");
    }
    assert!(text.lines().last().is_none_or(|line| line.as_bytes()[3] != b'-'), "an endless reply");
}

/// Strange lines as the protocol log has them.
fn check_log(told: &[String]) {
    if told.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let options = Options { directory: directory.path().to_owned(), level: Level::Full, keep_days: 1 };
    let log = ProtocolLog::open(options).unwrap();
    let mut transcript = log.transcript('S');
    told.iter().for_each(|line| transcript.received(line));
    drop(transcript);
    log.close();
    let files = fs::read_dir(directory.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let text = String::from_utf8(files.collect::<Vec<_>>().concat()).expect("the log is UTF-8");
    assert_eq!(text.lines().count(), told.len(), "a line forges another: {text:?}");
    let turns = |char| char != '\n' && char::is_control(char) || ('\u{2028}'..='\u{202e}').contains(&char);
    assert!(!text.contains(turns), "controls in the log: {text:?}");
}

impl Target for SessionTarget {
    const NAME: &'static str = "session";
    const LONGEST: usize = 5000;

    fn seeds(&self) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
        let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let dialogs = files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "smtp"));
        dialogs.map(|file| client_side(&fs::read_to_string(file).unwrap())).collect()
    }

    fn dictionary(&self) -> &[&[u8]] {
        &[
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"\xff",
            b"\r\n.\r\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\n.\n",
            b"\r.\r",
            b"\r\n..\r\n",
            b"..",
            b".\r\n",
            b"\r\n.\r",
            b"EHLO a\r\n\xff",
            b"HELO\r\n",
            b"LHLO a\r\n\xff",
            b"MAIL FROM:<a@b>\r\n",
            b"MAIL FROM:<> SIZE=100 BODY=8BITMIME SMTPUTF8\r\n",
            b"RCPT TO:<b@c>\r\n",
            b"RCPT TO:<s3cret@c>\r\n",
            b"s3cret",
            b"ORCPT=rfc822;s3+63ret",
            b"RCPT TO:<nobody@c>\r\n",
            b"RCPT TO:<quit@c>\r\n",
            b"DATA\r\n\xff",
            b"DATA\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"QUIT\r\n",
            b"VRFY x\r\n",
            b"HELP\r\n",
            b"STARTTLS\r\n\xff",
            b"AUTH PLAIN AGEAYg==\r\n\xff",
            b"AUTH PLAIN\r\n\xff",
            b"AUTH LOGIN\r\n\xff",
            b"AUTH LOGIN YQ==\r\n\xff",
            b"AUTH CRAM-MD5\r\n\xff",
            b"AUTH EXTERNAL =\r\n\xff",
            b"YQ==\r\n\xff",
            b"AGEAdG9vIGxvbmc=\r\n\xff",
            b"*\r\n\xff",
            b"AUTH=<>",
            b"BDAT 9 LAST\r\n",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"Subject: x\r\n\r\nbody\r\n.\r\n\xff",
            b" SMTPUTF8",
            b"\xc3\xbc",
            b"\xe2\x80\xae",
            b"\xc0\xaf",
            b"NOTIFY=NEVER",
            b"ORCPT=rfc822;x",
            b"<@a,@b:c@d>",
            b">",
        ]
    }

    fn check(&self, input: &[u8]) -> u64 {
        let (choice, input) = input.split_first().unwrap_or((&0, b""));
        let dice = fastrand::Rng::with_seed(u64::from(crc32c::crc32c(input)));
        let begin = || Conversation::begin(self, *choice);
        let octets = begin().hold(input, Reading::AsWritten, Cut::Octets);
        let whole = begin().hold(input, Reading::AsWritten, Cut::Whole);
        let pieces = begin().hold(input, Reading::AsWritten, Cut::Random(dice));
        let slow = begin().hold(input, Reading::Always, Cut::Octets);
        assert!(octets == whole, "octet by octet: {octets:?}\nwhole: {whole:?}");
        assert!(octets == pieces, "octet by octet: {octets:?}\nin pieces: {pieces:?}");
        check_log(&whole.told);
        let mut kind = DefaultHasher::new();
        octets.hash(&mut kind);
        slow.hash(&mut kind);
        kind.finish()
    }
}

/// What the client of a dialogue sends, as an input.
fn client_side(dialog: &str) -> Vec<u8> {
    let mut input = vec![b'0'];
    let mut is_reading = true;
    for line in dialog.lines() {
        let (times, line) = match line.split_once("x ") {
            Some((times, rest)) if times.parse::<usize>().is_ok() => (times.parse().unwrap(), rest),
            _ => (1, line),
        };
        let sent = match line.split_at_checked(3) {
            Some(("C: ", text)) => format!("{text}\r\n").into_bytes(),
            Some(("C< ", raw)) => octets(raw),
            Some(("beg", _)) => {
                let all = b"EHLO a\r\n\xffMAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\n\xff";
                let end = if line.ends_with("hello") { 9 } else { all.len() };
                all[..if line.ends_with("mail") { 26 } else { end }].to_vec()
            }
            Some(("opt", _)) => {
                let bits = [("refuse", 1), ("lf", 2), ("normalize", 0), ("lmtp", 0x80)];
                let bit = bits.iter().find(|(name, _)| line.ends_with(name)).map(|(_, bit)| *bit);
                let is_limit = line.ends_with(|char: char| char.is_ascii_digit());
                input[0] |= bit.unwrap_or(if is_limit { 4 } else { 0 });
                continue;
            }
            _ => {
                if !is_reading && line.starts_with('S') {
                    input.push(READS);
                    is_reading = true;
                }
                continue;
            }
        };
        is_reading = false;
        input.extend(sent.repeat(times));
    }
    input
}

/// `"raw\r\n" * 3` of a dialogue; repeats are cut to what fits an input.
fn octets(raw: &str) -> Vec<u8> {
    let (text, times) =
        raw.rsplit_once(" * ").map_or((raw, 1), |(text, times)| (text, times.parse().unwrap()));
    let text = text.trim_matches('"').replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
    text.replace("\\t", "\t").into_bytes().repeat(std::cmp::min(times, 100))
}
