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
mod tests {
    use super::*;
    use crate::compose::{CheckFallback, CheckFormat};
    use crate::envelope::Client;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Says what the local part asks for, after a second.
    #[derive(Default)]
    struct Oracle(AtomicUsize);

    impl Inquire for Oracle {
        fn inquire(
            &self,
            inquiry: Inquiry,
        ) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let text = String::from_utf8_lossy(&inquiry.body).into_owned();
                let status = match () {
                    () if text.contains("yes") => 200,
                    () if text.contains("no") => 404,
                    () => return Err("it is dead".to_owned()),
                };
                Ok(Response { status, content_type: None, body: Bytes::new() })
            })
        }
    }

    struct World {
        oracle: Arc<Oracle>,
        checks: Checks,
        check: Check,
        client: Client,
        metrics: Metrics,
    }

    fn world() -> World {
        let oracle = Arc::new(Oracle::default());
        let check = Check {
            url: "http://127.0.0.1/check".parse().unwrap(),
            format: CheckFormat::Json,
            timeout: Duration::from_secs(5),
            fallback: CheckFallback::Defer,
            cache: Duration::from_secs(300),
        };
        let client = Client {
            address: None,
            helo: String::new(),
            tls: None,
            login: None,
            tenant: Tenant::default(),
            session: "S0001".to_owned(),
        };
        let checks = Checks::by(Arc::clone(&oracle) as Arc<dyn Inquire>);
        World { oracle, checks, check, client, metrics: Metrics::default() }
    }

    impl World {
        async fn code(&self, to: &str) -> u16 {
            self.code_from("", to).await
        }

        async fn code_from(&self, from: &str, to: &str) -> u16 {
            let facts = Facts { to, from, size: None, client: &self.client };
            let checked = self.checks.check(&self.check, facts, &self.metrics).await;
            checked.map_or_else(|refusal| refusal.code, |()| 250)
        }

        fn asked(&self) -> usize {
            self.oracle.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_count_for_their_time() {
        // Nobody waits for one that gave no answer just now.
        for (to, code, life) in [("yes@h", 250, 300), ("no@h", 550, 60), ("dead@h", 451, 60)] {
            let world = world();
            let begun = Instant::now();
            assert_eq!((world.code(to).await, world.asked()), (code, 1), "{to}");
            let known = Instant::now();
            assert!(known > begun);
            tokio::time::sleep(Duration::from_secs(life) - Duration::from_millis(1)).await;
            assert_eq!((world.code(&to.to_uppercase()).await, world.asked()), (code, 1), "{to}");
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!((world.code(to).await, world.asked()), (code, 2), "{to}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_about_one_sender_is_none_about_another() {
        let world = world();
        for (from, code, asked) in [("no@h", 550, 1), ("yes@h", 250, 2), ("no@h", 550, 2), ("yes@h", 250, 2)]
        {
            assert_eq!((world.code_from(from, "a@h").await, world.asked()), (code, asked), "{from}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_receiver_is_not_asked_about_every_recipient() {
        let world = world();
        for number in 0..100 {
            assert_eq!((world.code(&format!("{number}@h")).await, world.asked()), (451, 1));
        }
    }

    /// One question at a time finds out whether it is back; nobody waits for it.
    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_back_is_heard() {
        let world = world();
        assert_eq!((world.code("dead@h").await, world.asked()), (451, 1));
        tokio::time::sleep(TROUBLE).await;
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(world.code("yes@h").await, 451);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((world.code("yes@h").await, world.asked()), (250, 2));
        assert_eq!((world.code("no@h").await, world.asked()), (550, 3));
        // Long after a silence it is asked like any other.
        assert_eq!((world.code("dead@h").await, world.asked()), (451, 4));
        tokio::time::sleep(SILENCE).await;
        assert_eq!((world.code("no@i").await, world.asked()), (550, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_at_once_asks_once() {
        let world = Arc::new(world());
        let begun = Instant::now();
        let ask = |_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.code("yes@h").await })
        };
        for asked in (0..100).map(ask).collect::<Vec<_>>() {
            assert_eq!(asked.await.unwrap(), 250);
        }
        assert_eq!((world.asked(), begun.elapsed()), (1, Duration::from_secs(1)));
        let text = world.metrics.text(&crate::metrics::Scene::default());
        assert!(text.contains("postgate_recipient_checks_total{result=\"accepted\"} 1"), "{text}");
        assert!(text.contains("postgate_recipient_checks_total{result=\"known\"} 99"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let world = world();
        for number in 0..ROOM + 100 {
            world.checks.kept(subject("", number.to_string().as_bytes()));
        }
        let known = world.checks.known.lock().unwrap();
        assert_eq!((known.answers.len(), known.order.len()), (ROOM, ROOM));
        assert!(!known.answers.contains_key(&subject("", b"99")));
        assert!(known.answers.contains_key(&subject("", b"100")));
    }
}
