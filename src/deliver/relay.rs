//! Handing a report to the relay: SMTP as a client (RFC 5321).
//!
//! One connection a report: there are few, and a relay on the next desk costs
//! nothing to reach. What the relay says to the report itself is an answer; what it
//! says before (its greeting, EHLO, TLS, the login) is trouble of the destination,
//! and never ends a report. Every line is in the protocol log, but for what AUTH
//! carries.
//!
//! Credentials are sent under TLS with a verified certificate only (unless the
//! operator says `insecure` of all destinations), or to this machine itself. Without
//! any to protect, TLS that is merely offered need not prove whose it is (RFC 7435):
//! the alternative is clear text.

use super::attempt::unread;
use super::egress::{Connected, Stream};
use super::profile::{Bounce, Security};
use super::retry::Trouble;
use super::shop::Shop;
use super::target;
use super::terms::{Terms, TlsTerms, TlsTrust};
use super::tls::{self, Offer, Tls};
use crate::post::{Destination, Post, Trust};
use crate::protocol_log::Transcript;
use crate::spool::Claim;
use data_encoding::BASE64;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

/// Limit of a reply (RFC 5321 section 4.5.3.2).
const REPLY: Duration = Duration::from_mins(5);
/// Limit of the reply to the end of the data.
const LAST_REPLY: Duration = Duration::from_mins(10);
/// Limit of the farewell, which nobody needs.
const FAREWELL: Duration = Duration::from_secs(2);
/// Octets of a whole reply.
const LONGEST_REPLY: u64 = 64 * 1024;

/// What the relay answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Three digits.
    pub code: u16,
    /// All of it, in one line.
    pub text: String,
}

impl Reply {
    fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

/// What the relay offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extensions {
    starttls: bool,
    eight_bit: bool,
    utf8: bool,
    size: bool,
    /// Mechanisms behind AUTH, in capitals.
    mechanisms: Vec<String>,
}

/// How the relay is spoken to.
#[derive(Clone, Copy)]
struct Way<'a> {
    tls: &'a Tls,
    terms: &'a Arc<TlsTerms>,
    bounce: &'a Bounce,
}

/// A conversation with a relay.
struct Dialogue<'a> {
    stream: BufReader<Box<dyn Stream>>,
    is_secure: bool,
    log: &'a mut Transcript,
}

/// A report on its way.
pub(super) struct Errand<'a> {
    pub claim: &'a Claim,
    pub terms: &'a Terms,
    /// Whether its time is over.
    pub is_over: bool,
}

impl Errand<'_> {
    /// Hands the report to the relay that is configured now. The answer is the
    /// relay's to the report; it is kept when that is positive.
    pub(super) async fn run(
        &self,
        shop: &Shop,
        lane: &Destination,
        log: &mut Transcript,
    ) -> Result<Reply, Trouble> {
        if self.is_over {
            return Err(Trouble::Expired);
        }
        let Some(bounce) = &shop.bounce else {
            return Err(Trouble::Credentials("no relay for reports is configured any more".to_owned()));
        };
        let (host, port) = (bounce.relay.host.clone(), bounce.relay.port);
        let to = Destination { host, port, ..lane.clone() };
        let report = shop.spool.body(self.claim).await.map_err(unread)?;
        // Proxies are for HTTP.
        let terms = Terms { proxy: None, ..self.terms.clone() };
        let connected = shop.connector.connect((&to, Trust::Operator), &terms, terms.connect_timeout).await;
        let (post, attempt) = (&*self.claim.post, self.claim.attempt);
        match &connected {
            Ok(Connected { place, .. }) => {
                let (id, host, peer) = (post.id, &to.host, &place.peer);
                log.note(format_args!("{id} attempt {attempt}: connected to {host} {peer}"));
            }
            Err(_) => log.note(format_args!("{} attempt {attempt}: no connection to {to}", post.id)),
        }
        let way = Way { tls: shop.connector.tls(), terms: &terms.tls, bounce };
        let connected = connected?;
        shop.spool.may_send().map_err(unread)?;
        deliver(connected, way, (post, &report), log).await
    }
}

async fn deliver(
    connected: Connected,
    way: Way<'_>,
    (post, report): (&Post, &[u8]),
    log: &mut Transcript,
) -> Result<Reply, Trouble> {
    let bounce = way.bounce;
    let mut dialogue = Dialogue { stream: BufReader::new(connected.stream), is_secure: false, log };
    let relay = &bounce.relay;
    if relay.security == Security::Implicit {
        dialogue = dialogue.secure(way).await?;
    }
    dialogue.expect("the greeting").await?;
    let mut offered = dialogue.hello(&bounce.hostname).await?;
    match relay.security {
        Security::StartTls | Security::Opportunistic if offered.starttls => {
            dialogue.say("STARTTLS", "STARTTLS").await?;
            dialogue.expect("STARTTLS").await?;
            if !dialogue.stream.buffer().is_empty() {
                return Err(Trouble::Tls("the relay spoke on in the clear behind STARTTLS".to_owned()));
            }
            dialogue = dialogue.secure(way).await?;
            offered = dialogue.hello(&bounce.hostname).await?;
        }
        Security::StartTls => return Err(Trouble::Tls("the relay offers no STARTTLS".to_owned())),
        Security::Opportunistic | Security::Implicit => {}
    }
    if let Some((name, password)) = &relay.credentials {
        if !dialogue.is_secure && !is_local(&relay.host) {
            let text = "the relay offers no TLS, and no password is sent in the clear";
            return Err(Trouble::Tls(text.to_owned()));
        }
        dialogue.log_in(name, password, &offered).await?;
    }
    let reply = dialogue.transaction(&offered, post, report).await?;
    dialogue.farewell().await;
    Ok(reply)
}

impl<'a> Dialogue<'a> {
    /// Begins TLS; whose it is matters when it was asked for or guards a password.
    async fn secure(self, way: Way<'_>) -> Result<Dialogue<'a>, Trouble> {
        let relay = &way.bounce.relay;
        let is_optional = relay.security == Security::Opportunistic && relay.credentials.is_none();
        let terms = match is_optional {
            true => Arc::new(TlsTerms { trust: TlsTrust::Anyone, ..TlsTerms::clone(way.terms) }),
            false => Arc::clone(way.terms),
        };
        let begin = way.tls.connect(&terms, Offer::Nothing, self.stream.into_inner(), &relay.host);
        let stream = timeout(REPLY, begin).await.unwrap_or(Err(Trouble::TimedOut("TLS", REPLY)))?;
        self.log.note("TLS begins");
        let stream: Box<dyn Stream> = Box::new(stream);
        Ok(Dialogue { stream: BufReader::new(stream), is_secure: true, log: self.log })
    }

    /// EHLO, or HELO for relays that know no better.
    async fn hello(&mut self, hostname: &str) -> Result<Extensions, Trouble> {
        let reply = self.command(&format!("EHLO {hostname}")).await?;
        if reply.is_positive() {
            return Ok(extensions(&reply.text));
        }
        let reply = self.command(&format!("HELO {hostname}")).await?;
        if reply.is_positive() { Ok(Extensions::default()) } else { Err(refused("HELO", &reply)) }
    }

    /// AUTH PLAIN, or LOGIN where there is nothing else (RFC 4954).
    async fn log_in(&mut self, name: &str, password: &str, offered: &Extensions) -> Result<(), Trouble> {
        let offers = |mechanism: &str| offered.mechanisms.iter().any(|offered| offered == mechanism);
        if offers("PLAIN") || !offers("LOGIN") {
            let initial = BASE64.encode(format!("\0{name}\0{password}").as_bytes());
            self.say(&format!("AUTH PLAIN {initial}"), "AUTH PLAIN ***").await?;
        } else {
            self.say("AUTH LOGIN", "AUTH LOGIN").await?;
            for answer in [name, password] {
                self.expect("AUTH").await?;
                self.say(&BASE64.encode(answer.as_bytes()), "***").await?;
            }
        }
        self.expect("the login").await.map(drop)
    }

    /// MAIL, RCPT, DATA. The first negative reply is the answer.
    async fn transaction(
        &mut self,
        offered: &Extensions,
        post: &Post,
        report: &[u8],
    ) -> Result<Reply, Trouble> {
        let to = &post.recipient;
        let is_wide = !to.is_ascii();
        if is_wide && !offered.utf8 || to.chars().any(char::is_control) {
            let text = "553 5.6.7 the relay takes no such address".to_owned();
            return Ok(Reply { code: 553, text });
        }
        let mut mail = format!("MAIL FROM:<{}>", post.sender);
        if offered.size {
            mail.push_str(&format!(" SIZE={}", report.len()));
        }
        if offered.eight_bit && !report.is_ascii() {
            mail.push_str(" BODY=8BITMIME");
        }
        if is_wide {
            mail.push_str(" SMTPUTF8");
        }
        for command in [&mail, &format!("RCPT TO:<{to}>"), "DATA"] {
            let reply = self.command(command).await?;
            let is_expected = if command == "DATA" { reply.code == 354 } else { reply.is_positive() };
            if !is_expected {
                return Ok(reply);
            }
        }
        self.log.sent(format_args!("(message data, {} bytes)", report.len()));
        self.write(&stuffed(report)).await?;
        self.reply(LAST_REPLY).await
    }

    async fn farewell(&mut self) {
        // The report has its answer.
        let _ = timeout(FAREWELL, self.command("QUIT")).await;
    }

    async fn command(&mut self, line: &str) -> Result<Reply, Trouble> {
        self.say(line, line).await?;
        self.reply(REPLY).await
    }

    /// Sends a line, which the log shows as `shown`.
    async fn say(&mut self, line: &str, shown: &str) -> Result<(), Trouble> {
        self.log.sent(shown);
        self.write(format!("{line}\r\n").as_bytes()).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        match timeout(REPLY, write).await {
            Ok(written) => written.map_err(|error| broken(&error)),
            Err(_) => Err(Trouble::TimedOut("writing to the relay", REPLY)),
        }
    }

    /// A reply that must be positive for anything to go on.
    async fn expect(&mut self, to: &str) -> Result<Reply, Trouble> {
        let reply = self.reply(REPLY).await?;
        if reply.is_positive() { Ok(reply) } else { Err(refused(to, &reply)) }
    }

    async fn reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        match timeout(limit, self.read()).await {
            Ok(reply) => reply,
            Err(_) => Err(Trouble::TimedOut("waiting for the relay's reply", limit)),
        }
    }

    /// Reads the lines of one reply (RFC 5321 section 4.2.1).
    async fn read(&mut self) -> Result<Reply, Trouble> {
        let mut text = String::new();
        let mut left = LONGEST_REPLY;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.stream).take(left).read_until(b'\n', &mut line).await;
            let read = read.map_err(|error| broken(&error))?;
            left = left.saturating_sub(read as u64);
            let Some(line) = line.strip_suffix(b"\n") else {
                let text = if left == 0 { "its reply is too long" } else { "it closed the connection" };
                return Err(Trouble::Broken(format!("the relay: {text}")));
            };
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            self.log.received(&line);
            let code = line.get(..3).and_then(|digits| digits.parse().ok());
            let Some(code @ 200..600) = code else {
                return Err(Trouble::Broken(format!("the relay does not speak SMTP: {line}")));
            };
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            text.push_str(if text.is_empty() { &line } else { line.get(3..).unwrap_or_default() });
            if is_last {
                return Ok(Reply { code, text });
            }
            text.push('\n');
        }
    }
}

/// Whether nobody can listen on the way to it.
fn is_local(host: &str) -> bool {
    host == "localhost" || target::literal(host).is_some_and(|address| address.is_loopback())
}

/// What the reply to EHLO says (RFC 5321 section 4.1.1.1).
fn extensions(reply: &str) -> Extensions {
    let mut offered = Extensions::default();
    for line in reply.lines().skip(1) {
        let line = line.trim_start_matches(['-', ' ']).to_ascii_uppercase();
        let mut words = line.split(' ');
        match words.next() {
            Some("STARTTLS") => offered.starttls = true,
            Some("8BITMIME") => offered.eight_bit = true,
            Some("SMTPUTF8") => offered.utf8 = true,
            Some("SIZE") => offered.size = true,
            Some("AUTH") => offered.mechanisms = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    offered
}

/// The data with its dots doubled and its end (RFC 5321 section 4.5.2).
fn stuffed(report: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(report.len() + report.len() / 64 + 5);
    for line in report.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.ends_with(b"\r\n") && !wire.is_empty() {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn refused(what: &str, reply: &Reply) -> Trouble {
    Trouble::Connect(format!("the relay refused {what}: {}", reply.text.replace('\n', " ")))
}

fn broken(error: &io::Error) -> Trouble {
    match tls::fault(error) {
        Some(fault) => Trouble::Tls(fault),
        None => Trouble::Broken(format!("connection to the relay failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_offers_is_read_from_its_reply() {
        let reply = "250-relay.example greets you\n-SIZE 1000\n-auth LOGIN plain\n-8BITMIME\n SMTPUTF8";
        let mechanisms = vec!["LOGIN".to_owned(), "PLAIN".to_owned()];
        let offered = Extensions { starttls: false, eight_bit: true, utf8: true, size: true, mechanisms };
        assert_eq!(extensions(reply), offered);
        assert_eq!(extensions("250 STARTTLS"), Extensions::default());
    }

    #[test]
    fn nothing_within_a_report_ends_it() {
        for (report, wire) in
            [("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"), (".a", "..a\r\n.\r\n"), ("", ".\r\n")]
        {
            assert_eq!(String::from_utf8(stuffed(report.as_bytes())).unwrap(), wire);
        }
    }

    #[test]
    fn a_session_that_the_relay_ends_is_explained() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let why = broken(&io::Error::new(io::ErrorKind::InvalidData, alert)).to_string();
        assert!(why.ends_with("it wants a client certificate; set client_cert and client_key"), "{why}");
    }

    #[test]
    fn passwords_go_in_the_clear_to_this_machine_only() {
        for (host, expected) in
            [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("10.0.0.1", false)]
        {
            assert_eq!(is_local(host), expected, "{host}");
        }
    }
}
