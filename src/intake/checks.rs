//! Recipients that a receiver is asked about, and what it answered.
//!
//! An answer counts for as long as its route says, a negative one for a minute at
//! most, and only for the same question: a receiver may have judged by the sender, the
//! client or the size. That there was none counts for a moment, and for all that its
//! URL would be asked; from then on one question at a time finds out whether it is back,
//! and nobody waits for that: a dead receiver holds up one recipient for its whole
//! timeout, and no more. All who ask the same wait for one question. Answers are in
//! memory alone, and bounded: the oldest goes first.
//!
//! Who carries the question is not known here: delivery does, through [`Inquire`].

use crate::compose::{Answer, Check, Endpoint, Facts};
use crate::envelope::Refusal;
use crate::metrics::{CheckResult, Metrics};
use crate::tenant::Tenant;
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Answers that are remembered.
const ROOM: usize = 10_000;
/// Longest time that a negative answer counts.
const LONGEST_NO: Duration = Duration::from_secs(60);
/// How long it counts that there was no answer.
const TROUBLE: Duration = Duration::from_secs(5);
/// How long nobody waits for a URL that gave no answer.
const SILENCE: Duration = Duration::from_secs(60);

/// A question to a receiver of the operator's, sent by POST.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// Where to.
    pub url: Endpoint,
    /// Time for all of it.
    pub timeout: Duration,
    /// Type of the body.
    pub content_type: &'static str,
    /// The question.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status of the response.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its body, or the beginning of it.
    pub body: Bytes,
}

/// Whoever carries questions to receivers.
pub trait Inquire: Send + Sync {
    /// Asks once; the error says why there is no answer, without secrets.
    fn inquire(
        &self,
        inquiry: Inquiry,
    ) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>>;
}

/// All checks of a gateway; clones are the same.
#[derive(Clone, Default)]
pub struct Checks {
    known: Arc<Mutex<Known>>,
    messenger: Option<Arc<dyn Inquire>>,
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checks")
    }
}

/// Which URL is asked what, the recipient in lower case: a digest, because ten thousand
/// questions may be many octets.
type Subject = [u8; 32];

fn subject(url: &str, question: &[u8]) -> Subject {
    let mut context = Context::new(&SHA256);
    // No URL holds a line end.
    [url.as_bytes(), b"\n", question].iter().for_each(|piece| context.update(piece));
    let mut subject = [0; 32];
    subject.copy_from_slice(context.finish().as_ref());
    subject
}

#[derive(Default)]
struct Known {
    answers: HashMap<Subject, Arc<Kept>>,
    /// Oldest first.
    order: VecDeque<Subject>,
    /// URLs that gave no answer last.
    silent: HashMap<String, Silence>,
}

/// Since when a URL gives no answer, and until when it is not asked again.
struct Silence {
    since: Instant,
    until: Instant,
}

impl Silence {
    fn begin() -> Silence {
        let since = Instant::now();
        Silence { since, until: since + TROUBLE }
    }
}

/// Whether a URL can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// It can.
    Heard,
    /// There is nothing to be heard.
    Lost,
    /// The same, and it is time to ask whether it is back.
    Doubtful,
}

/// The answer about one subject. Whoever holds the lock may ask for one.
type Kept = tokio::sync::Mutex<Option<(Instant, Answer)>>;

impl Checks {
    /// Checks whose questions this one carries.
    pub fn by(messenger: Arc<dyn Inquire>) -> Checks {
        Checks { known: Arc::default(), messenger: Some(messenger) }
    }

    /// Whether a recipient is taken; asks when it is not known.
    pub(super) async fn check(
        &self,
        check: &Check,
        facts: Facts<'_>,
        metrics: &Metrics,
    ) -> Result<(), Refusal> {
        let url = check.url.to_string();
        let to = facts.to.to_ascii_lowercase();
        let (_, question) = check.question(Facts { to: &to, ..facts });
        let place = self.kept(subject(&url, &question));
        let mut kept = place.lock().await;
        if let Some((at, answer)) = &*kept
            && at.elapsed() < life(answer, check)
        {
            metrics.check(CheckResult::Known);
            return answer.judge(check.fallback);
        }
        let (content_type, body) = check.question(facts);
        let inquiry = Inquiry { url: check.url.clone(), timeout: check.timeout, content_type, body };
        let voice = self.voice(&url, check.timeout);
        if voice != Voice::Heard {
            drop(kept);
            if voice == Voice::Doubtful {
                let (checks, place) = (self.clone(), Arc::clone(&place));
                tokio::spawn(async move {
                    let answer = checks.ask(inquiry).await;
                    *place.lock().await = Some((Instant::now(), answer));
                });
            }
            metrics.check(CheckResult::Known);
            return Answer::Trouble(String::new()).judge(check.fallback);
        }
        let answer = self.ask(inquiry).await;
        metrics.check(match &answer {
            Answer::Accepted => CheckResult::Accepted,
            Answer::Rejected(_) => CheckResult::Rejected,
            Answer::Trouble(_) => CheckResult::Trouble,
        });
        let judged = answer.judge(check.fallback);
        *kept = Some((Instant::now(), answer));
        judged
    }

    async fn ask(&self, inquiry: Inquiry) -> Answer {
        let Some(messenger) = &self.messenger else {
            return Answer::Trouble("there is nobody who could ask".to_owned());
        };
        let url = inquiry.url.to_string();
        // Paths and queries may hold secrets.
        let origin = inquiry.url.destination(&Tenant::default());
        let response = messenger.inquire(inquiry).await;
        let silent = &mut self.known().silent;
        match &response {
            Ok(_) => silent.remove(&url),
            Err(_) => silent.insert(url, Silence::begin()),
        };
        let answer = match response {
            Ok(Response { status, content_type, body }) => {
                Answer::read(status, content_type.as_deref(), &body)
            }
            Err(reason) => Answer::Trouble(reason),
        };
        if let Answer::Trouble(reason) = &answer {
            tracing::warn!("{origin} was asked about a recipient: {reason}");
        }
        answer
    }

    /// Whether a URL can be asked. When it is time to find out, only one is told so:
    /// the others not before the answer is there, or `timeout` is over.
    fn voice(&self, url: &str, timeout: Duration) -> Voice {
        let now = Instant::now();
        let mut known = self.known();
        known.silent.retain(|_, silence| now < silence.until || now < silence.since + SILENCE);
        match known.silent.get_mut(url) {
            None => Voice::Heard,
            Some(silence) if now < silence.until => Voice::Lost,
            Some(silence) => {
                silence.until = now + timeout;
                Voice::Doubtful
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of an answer, which may be empty.
    fn kept(&self, subject: Subject) -> Arc<Kept> {
        let mut known = self.known();
        if let Some(kept) = known.answers.get(&subject) {
            return Arc::clone(kept);
        }
        if known.order.len() >= ROOM
            && let Some(oldest) = known.order.pop_front()
        {
            known.answers.remove(&oldest);
        }
        let kept = Arc::new(Kept::default());
        known.order.push_back(subject);
        known.answers.insert(subject, Arc::clone(&kept));
        kept
    }
}

/// How long an answer counts.
fn life(answer: &Answer, check: &Check) -> Duration {
    match answer {
        Answer::Accepted => check.cache,
        Answer::Rejected(_) => check.cache.min(LONGEST_NO),
        Answer::Trouble(_) => TROUBLE,
    }
}

#[cfg(test)]
mod tests;
