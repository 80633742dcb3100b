//! One connection: octets between its wire and its session.
//!
//! A round trip is one read and one write. Input goes through one buffer a
//! thread, not one a connection, so an idle connection holds next to no memory;
//! what the session cannot use yet, it keeps itself. How long a client may take
//! to say something is `pace`'s matter; here a reply must be taken in time.

use super::connections::Place;
use super::data::Incoming;
use super::pace::{Of, Pace};
use super::session::{Answer, Demand, Dismissal, Policy, Question, Session};
use super::wire::{Early, Raw, Wire};
use super::words::TlsUse;
use super::{Door, Front};
use crate::envelope::{Client, Login, Refusal};
use crate::masked::Masked;
use crate::protocol_log::Transcript;
use crate::tenant::Tenant;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

/// Most octets of commands read at once: keeps the replies to them below 64 KiB.
const COMMAND_READ: usize = 16 * 1024;
/// Most octets of mail data read at once.
const DATA_READ: usize = 64 * 1024;
/// Octets of replies that do not wait for those to recipients that are checked.
const MANY: usize = 32 * 1024;
/// A session that says nothing for so long hands its lines to the protocol log.
const QUIET: Duration = Duration::from_millis(200);
/// How long a client that is cut off may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// A buffer for replies that has grown beyond this is given back.
const SMALL: usize = 4 * 1024;

thread_local! {
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATA_READ].into_boxed_slice());
}

/// One connection and its session.
pub(super) struct Connection {
    front: Arc<Front>,
    wire: Wire,
    session: Session,
    transcript: Transcript,
    out: Vec<u8>,
    data: Incoming,
    pace: Pace,
    is_quiet: bool,
    _place: Place,
}

/// Why a conversation is over.
enum End {
    /// The session said its last word.
    Closed,
    /// The client is gone, or does not take our replies.
    Lost(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        match error.kind() {
            // Only TLS knows an end that comes too early.
            io::ErrorKind::UnexpectedEof => {
                End::Lost("connection lost: it ended without the end of TLS".to_owned())
            }
            _ => End::Lost(format!("connection lost: {error}")),
        }
    }
}

impl End {
    fn gone() -> End {
        End::Lost("the client closed the connection".to_owned())
    }
}

impl Connection {
    /// A connection that was accepted and counted.
    pub(super) fn new(
        front: Arc<Front>,
        raw: Raw,
        address: Option<IpAddr>,
        transcript: Transcript,
        place: Place,
    ) -> Connection {
        raw.set_nodelay();
        let client = Client {
            address,
            helo: String::new(),
            tls: None,
            login: None,
            tenant: Tenant::default(),
            session: transcript.name().to_owned(),
        };
        let session = Session::new(front.terms(address), client);
        let data = Incoming::new(&front.options.crowd, front.options.spills.clone());
        Connection {
            front,
            wire: Wire::Raw(raw),
            session,
            transcript,
            out: Vec::new(),
            data,
            pace: Pace::begin(Of::Command),
            is_quiet: false,
            _place: place,
        }
    }

    /// Talks until one side ends it.
    pub(super) async fn run(mut self) {
        let end = self.converse().await;
        // Its memory is for others now, and its file is large.
        self.data.forget();
        match end {
            Err(End::Closed) if !self.session.has_quit() => self.linger().await,
            // Whatever happens now, the connection is over.
            Ok(()) | Err(End::Closed) => drop(timeout(LINGER, self.wire.part()).await),
            Err(End::Lost(why)) => self.transcript.note(why),
        }
    }

    async fn converse(&mut self) -> Result<(), End> {
        if self.front.options.tls == TlsUse::Implicit {
            self.secure().await?;
        }
        match self.wire.early().await? {
            Early::Nothing => {}
            Early::Talk => return self.dismiss(Dismissal::EarlyTalker).await,
            Early::End => return Err(End::gone()),
        }
        self.session.greet(&mut self.out);
        self.flush().await?;
        let mut stop = self.front.stop.clone();
        let mut stopped = pin!(async move { super::stopped(&mut stop).await });
        let mut is_stopping = false;
        loop {
            if is_stopping && !self.session.is_in_transaction() {
                return self.dismiss(Dismissal::ShuttingDown).await;
            }
            if let Some(why) = self.pace.impatience(&self.front.options) {
                return self.dismiss(why).await;
            }
            let look = self.pace.next_look(&self.front.options.timeouts);
            let look = if self.is_quiet { look } else { look.min(Instant::now() + QUIET) };
            let demand = tokio::select! {
                biased;
                () = &mut stopped, if !is_stopping => {
                    is_stopping = true;
                    continue;
                }
                demand = timeout_at(look, self.hear()) => demand,
            };
            match demand {
                Ok(demand) => self.satisfy(demand?).await?,
                // Nothing came: time for the log, then for another look at the clock.
                Err(_) => {
                    self.transcript.flush();
                    self.is_quiet = true;
                }
            }
        }
    }

    /// Does what the session demands until it wants to read on.
    async fn satisfy(&mut self, mut demand: Demand) -> Result<(), End> {
        loop {
            self.note_commands();
            match demand {
                Demand::Read => {
                    self.data.keep_up(&mut self.session, &self.front.options.limits).await;
                    return self.flush().await;
                }
                Demand::Close => {
                    self.flush().await?;
                    return Err(End::Closed);
                }
                Demand::StartTls => {
                    self.flush().await?;
                    return self.secure().await;
                }
                Demand::Verify(credentials) => {
                    let door = Arc::clone(&self.front.door);
                    let verified = door.verify(self.session.client(), credentials).await;
                    let answer = self.note_login(verified);
                    demand = self.session.resolve(answer, &*door, &mut self.out);
                    self.pace.restart();
                }
                Demand::Check(question) => {
                    let door = Arc::clone(&self.front.door);
                    let Some(verdict) = self.check(&*door, &question).await? else {
                        self.dismiss(Dismissal::ShuttingDown).await?;
                        return Err(End::Closed);
                    };
                    demand = self.session.resolve(Answer::Checked(verdict), &*door, &mut self.out);
                    self.pace.restart();
                }
                Demand::Admit(envelope, rest) => {
                    let door = Arc::clone(&self.front.door);
                    let admitted = match self.data.finish(rest, &self.front.options.limits).await {
                        Ok(data) => door.admit(*envelope, data).await,
                        Err(refusal) => Err(refusal),
                    };
                    let answer = admitted.map_or_else(Answer::Refused, Answer::Accepted);
                    self.data.forget();
                    demand = self.session.resolve(answer, &*door, &mut self.out);
                    self.pace.restart();
                }
            }
        }
    }

    /// Has a recipient checked, which may take long: nobody waits for that when the
    /// gateway stops, and nothing is said then, or when the client has gone.
    async fn check(
        &mut self,
        door: &dyn Door,
        question: &Question,
    ) -> Result<Option<Result<(), Refusal>>, End> {
        // A group that has no end is read on meanwhile.
        self.data.keep_up(&mut self.session, &self.front.options.limits).await;
        if self.out.len() > MANY {
            self.flush().await?;
        }
        let mut stop = self.front.stop.clone();
        tokio::select! {
            biased;
            verdict = door.check(question) => Ok(Some(verdict)),
            () = super::stopped(&mut stop) => Ok(None),
            end = poll_fn(|context| INPUT.with_borrow_mut(|input| self.poll_gone(input, context))) => {
                self.transcript.trouble();
                Err(end)
            }
        }
    }

    /// Resolves when the client has gone; what it says until then is for later.
    fn poll_gone(&mut self, input: &mut [u8], context: &mut Context<'_>) -> Poll<End> {
        loop {
            let room = COMMAND_READ.saturating_sub(self.session.kept());
            let mut buffer = ReadBuf::new(input.get_mut(..room).unwrap_or_default());
            // With so much to say it is not taken for gone.
            if room == 0 {
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(End::gone()),
                Ok(()) => self.session.keep(buffer.filled()),
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }

    /// Begins TLS.
    async fn secure(&mut self) -> Result<(), End> {
        let options = Arc::clone(&self.front.options);
        let Some(certificates) = options.certificates.clone() else {
            return Err(self.insecure("there is no certificate"));
        };
        let handshake = Box::pin(std::mem::take(&mut self.wire).encrypt(certificates));
        let secured = match self.front.opening(options.timeouts.tls_handshake, handshake).await {
            Ok(Ok(secured)) => secured,
            Ok(Err(why)) => return Err(self.insecure(&why)),
            Err(why) => return Err(self.insecure(why)),
        };
        self.wire = secured.wire;
        self.transcript.note(secured.note);
        self.session.secured(secured.tls);
        self.pace.restart();
        Ok(())
    }

    fn insecure(&mut self, why: &str) -> End {
        self.transcript.trouble();
        End::Lost(format!("TLS handshake failed: {why}"))
    }

    /// Not the name that failed: people put their passwords there.
    fn note_login(&mut self, verified: Result<Login, Refusal>) -> Answer {
        match verified {
            Ok(login) => {
                self.transcript.note(format_args!("logged in as {}", login.name));
                Answer::Verified(login)
            }
            Err(refusal) => {
                self.transcript.trouble();
                self.transcript.note("login failed");
                Answer::Denied(refusal)
            }
        }
    }

    /// Reads once and feeds the session.
    async fn hear(&mut self) -> Result<Demand, End> {
        poll_fn(|context| INPUT.with_borrow_mut(|input| self.poll_hear(input, context))).await
    }

    fn poll_hear(&mut self, input: &mut [u8], context: &mut Context<'_>) -> Poll<Result<Demand, End>> {
        let most = if self.session.is_receiving() { DATA_READ } else { COMMAND_READ };
        let mut buffer = ReadBuf::new(input.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer))?;
        let input = buffer.filled();
        if input.is_empty() {
            if self.session.is_in_transaction() {
                self.transcript.trouble();
            }
            return Poll::Ready(Err(End::gone()));
        }
        if self.session.is_receiving() {
            self.pace.count(input.len());
        }
        let policy: &dyn Policy = &*self.front.door;
        Poll::Ready(Ok(self.session.feed(input, policy, &mut self.out)))
    }

    /// Puts what was understood into the log, and starts the clock anew when it
    /// was anything whole.
    fn note_commands(&mut self) {
        let transcript = &mut self.transcript;
        let has_heard = self.session.tell(|line| transcript.received(Masked(line)));
        self.is_quiet &= !has_heard;
        let of = if self.session.is_receiving() { Of::Data } else { Of::Command };
        match has_heard {
            true => self.pace = Pace::begin(of),
            false => self.pace.turn_to(of),
        }
        if of == Of::Command && !self.session.is_in_transaction() {
            // A message that was refused at its end holds nothing any more.
            self.data.forget();
        }
    }

    /// Writes the replies, late when there were too many errors.
    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let times = &self.front.options.timeouts;
        let penalty = self.session.penalty();
        if penalty > 0 {
            tokio::time::sleep(times.error_delay * penalty).await;
        }
        note_replies(&mut self.transcript, &self.session.discreet(&String::from_utf8_lossy(&self.out)));
        let write = async {
            self.wire.write_all(&self.out).await?;
            // TLS may still hold what was written.
            self.wire.flush().await
        };
        match timeout(times.unread_reply, write).await {
            Ok(written) => written?,
            Err(_) => return Err(End::Lost("the client does not read its replies".to_owned())),
        }
        self.out.clear();
        self.out.shrink_to(SMALL);
        Ok(())
    }

    async fn dismiss(&mut self, why: Dismissal) -> Result<(), End> {
        self.session.dismiss(why, &mut self.out);
        self.transcript.trouble();
        self.flush().await?;
        // Idle clients send nothing that could drown the reply.
        if matches!(why, Dismissal::EarlyTalker | Dismissal::SlowData) { Err(End::Closed) } else { Ok(()) }
    }

    /// Lets the client read the last reply: closing a socket with unread input
    /// resets the connection, and a reset can overtake the reply.
    async fn linger(&mut self) {
        let drain = async {
            self.wire.shutdown().await?;
            let mut sink = [0; 512];
            while self.wire.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever happens now, the connection is over.
        let _ = timeout(LINGER, drain).await;
    }
}

/// Puts replies into the log, and marks it when one is negative.
pub(super) fn note_replies(transcript: &mut Transcript, out: &str) {
    if !transcript.is_on() {
        return;
    }
    for line in out.lines() {
        if line.starts_with(['4', '5']) {
            transcript.trouble();
        }
        transcript.sent(Masked(line));
    }
}
