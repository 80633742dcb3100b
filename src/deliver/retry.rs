//! What the result of an attempt means: the verdict on the post, and what it
//! teaches about the destination.
//!
//! [`judge`] is total over statuses, troubles and what the operator rules about
//! them; [`decide`] adds the schedule: when the next attempt is, and when there is
//! none. Only trouble on the way to an answer, 429 and 503 are verdicts on the
//! destination; every other answer is one on the post alone, so that a broken path
//! never slows its neighbours.
//!
//! Time and dice are arguments.

mod after;
mod cause;
mod words;

pub use cause::cause;
pub use words::{Span, line};

use super::ruling::{Ruling, Verdicts};
use crate::post::{Post, Timestamp};
use http::StatusCode;
use std::fmt;
use std::time::Duration;

/// When attempts are repeated, and when no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Intervals between attempts; the last one repeats.
    pub retry: Vec<Duration>,
    /// How long after its acceptance a post is given up.
    pub max_age: Duration,
    /// After how many attempts, if after a number.
    pub max_attempts: Option<u32>,
}

impl Default for Schedule {
    fn default() -> Schedule {
        let seconds = [5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600];
        Schedule {
            retry: seconds.map(Duration::from_secs).to_vec(),
            max_age: Duration::from_secs(72 * 3600),
            max_attempts: None,
        }
    }
}

/// How far an interval is stretched or shortened at most.
const JITTER: f64 = 0.1;

/// The last attempt of a post is made this long before its end.
const LAST_CHANCE: Duration = Duration::from_secs(1);

impl Schedule {
    /// The interval after `earlier` failures before this one, spread by `dice`
    /// (0 to 1) over ±10 %.
    pub fn interval(&self, earlier: usize, dice: f64) -> Duration {
        let interval = self.retry.get(earlier).or(self.retry.last()).copied().unwrap_or(LAST_CHANCE);
        interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0))
    }

    /// When `post` is given up, whose age begins at `ages_from`.
    pub fn ends_at(&self, post: &Post, ages_from: Timestamp) -> Timestamp {
        let by_age = ages_from.after(self.max_age);
        post.expires_at.map_or(by_age, |expires_at| expires_at.min(by_age))
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// Its status.
        status: StatusCode,
        /// `Retry-After` as it stood in the response.
        retry_after: Option<String>,
        /// The beginning of its text, as far as somebody asked for it.
        text: String,
        /// Where its redirect leads, and why that was not followed.
        remark: Option<String>,
    },
    /// The relay of reports answered.
    Replied {
        /// Three digits (RFC 5321 section 4.2).
        code: u16,
        /// The reply, its code included.
        text: String,
    },
    /// There was no answer.
    Broken(Trouble),
}

/// Why there was no answer; the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The egress rules forbid the destination; the text names the rule.
    Denied(String),
    /// The name could not be resolved.
    Resolve(String),
    /// The name could not be resolved, which the proxy need not know for other posts.
    Unresolved(String),
    /// No connection.
    Connect(String),
    /// Another attempt found no connection that this one waited for.
    Untried(String),
    /// No trusted TLS session.
    Tls(String),
    /// The proxy on the way did not do its part.
    Proxy(String),
    /// What proves who we are is not for this origin.
    Withheld(String),
    /// The webhook whose batch it is, is not there any more.
    Unsubscribed,
    /// The webhook is disabled or unverified.
    Closed,
    /// The webhook has another URL by now.
    Moved,
    /// What proves who we are could not be had: a token, a profile, a signing key.
    Credentials(String),
    /// The named thing took longer than it may.
    TimedOut(&'static str, Duration),
    /// The connection broke before the response head was complete.
    Broken(String),
    /// What came back is not HTTP.
    Malformed(String),
    /// The post cannot be written as a request.
    Unsendable(String),
    /// The body in the spool is not what was accepted.
    Damaged(String),
    /// The key that its secrets were sealed with is not there.
    Sealed(String),
    /// The body could not be read now.
    Unreadable(String),
    /// The post's time was over before the attempt began.
    Expired,
    /// The attempt ended by a fault of the gateway.
    Crashed,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Resolve(text)
            | Trouble::Denied(text)
            | Trouble::Unresolved(text)
            | Trouble::Connect(text)
            | Trouble::Untried(text)
            | Trouble::Proxy(text)
            | Trouble::Withheld(text)
            | Trouble::Credentials(text)
            | Trouble::Broken(text)
            | Trouble::Sealed(text)
            | Trouble::Unreadable(text) => f.write_str(text),
            Trouble::Tls(text) => write!(f, "TLS: {text}"),
            Trouble::TimedOut(what, after) => {
                write!(f, "timed out {what} after {}", Span(*after))
            }
            Trouble::Malformed(text) => write!(f, "the response is not HTTP: {text}"),
            Trouble::Unsendable(text) => write!(f, "cannot be sent: {text}"),
            Trouble::Damaged(text) => write!(f, "damaged: {text}"),
            Trouble::Unsubscribed => f.write_str("the webhook was deleted"),
            Trouble::Closed => {
                f.write_str("the webhook is disabled or unverified; it waits until it is enabled")
            }
            Trouble::Moved => f.write_str("the webhook has another URL by now"),
            Trouble::Expired => f.write_str("expired before it could be sent"),
            Trouble::Crashed => f.write_str("the attempt ended by an internal fault"),
        }
    }
}

/// What an attempt taught about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It took a post.
    Taken,
    /// It answered, but did not take this post.
    Answered,
    /// It is in trouble, and may have said for how long.
    Trouble {
        /// The whole destination is left alone for so long.
        retry_after: Option<Duration>,
    },
    /// It was not asked.
    Nothing,
}

/// What becomes of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver took it.
    Delivered,
    /// It is tried again.
    Deferred {
        /// Time until then.
        after: Duration,
        /// Why, in one line.
        reason: String,
    },
    /// It is tried again at once, with its lean body.
    Leaner {
        /// Why, in one line.
        reason: String,
    },
    /// It waits, without ageing, until it is released.
    Held {
        /// Why, in one line.
        reason: String,
    },
    /// It is given up.
    Failed {
        /// Why, in one line.
        reason: String,
    },
}

/// What the operator is owed about the destination besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nothing.
    Nothing,
    /// The reason is announced once: a secret is probably to be mended.
    Announce,
    /// The destination is paused.
    Pause,
}

/// All that an attempt led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// For its post.
    pub verdict: Verdict,
    /// What the outcome alone means for its post, whatever the schedule says.
    pub fate: Fate,
    /// For its destination.
    pub feedback: Feedback,
    /// For the operator.
    pub measure: Measure,
}

/// Where a post stands when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Attempts that ended before this one.
    pub ended: u32,
    /// When it is given up.
    pub ends_at: Timestamp,
    /// The time now.
    pub now: Timestamp,
    /// Whether it has a lean body that was not sent yet.
    pub has_lean_body: bool,
}

/// The five ways an attempt can end for its post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done.
    Deliver,
    /// Later again.
    Defer,
    /// Again at once, with the lean body.
    Slim,
    /// Not before it is released.
    Hold,
    /// Never again.
    Fail,
}

/// What an outcome usually means for the post, and whether it speaks of the
/// destination. Knows no schedule; `Retry-After` is not looked at.
fn usual(outcome: &Outcome) -> (Fate, Feedback) {
    let trouble = Feedback::Trouble { retry_after: None };
    match outcome {
        Outcome::Answered { status, .. } => match status.as_u16() {
            200..=299 => (Fate::Deliver, Feedback::Taken),
            300..=399 => (Fate::Fail, Feedback::Answered),
            400 | 404..=406 | 409..=411 | 413..=415 | 422 | 431 | 451 => (Fate::Fail, Feedback::Answered),
            429 | 503 => (Fate::Defer, trouble),
            _ => (Fate::Defer, Feedback::Answered),
        },
        Outcome::Replied { code, .. } => match code {
            200..=299 => (Fate::Deliver, Feedback::Taken),
            500.. => (Fate::Fail, Feedback::Answered),
            // It closes the connection (RFC 5321 section 3.8).
            421 => (Fate::Defer, trouble),
            _ => (Fate::Defer, Feedback::Answered),
        },
        Outcome::Broken(why) => match why {
            Trouble::Denied(_)
            | Trouble::Withheld(_)
            | Trouble::Unsendable(_)
            | Trouble::Damaged(_)
            | Trouble::Unsubscribed
            | Trouble::Expired => (Fate::Fail, Feedback::Nothing),
            Trouble::Closed | Trouble::Sealed(_) => (Fate::Hold, Feedback::Nothing),
            Trouble::Resolve(_)
            | Trouble::Connect(_)
            | Trouble::Tls(_)
            | Trouble::TimedOut(..)
            | Trouble::Broken(_) => (Fate::Defer, trouble),
            Trouble::Malformed(_) => (Fate::Defer, Feedback::Answered),
            Trouble::Untried(_)
            | Trouble::Unresolved(_)
            | Trouble::Moved
            | Trouble::Proxy(_)
            | Trouble::Credentials(_)
            | Trouble::Unreadable(_)
            | Trouble::Crashed => (Fate::Defer, Feedback::Nothing),
        },
    }
}

/// What an outcome means: `ruled` is what the operator says about it, which
/// changes what becomes of the post, never what it says of the destination.
pub fn judge(outcome: &Outcome, ruled: Option<Ruling>) -> (Fate, Feedback, Measure) {
    let (usual, feedback) = usual(outcome);
    let (fate, measure) = match ruled {
        None => (usual, Measure::Nothing),
        Some(Ruling::Retry) => (Fate::Defer, Measure::Nothing),
        Some(Ruling::Fail) => (Fate::Fail, Measure::Nothing),
        Some(Ruling::Hold) => (Fate::Hold, Measure::Nothing),
        Some(Ruling::Pause) => (Fate::Defer, Measure::Pause),
        Some(Ruling::Done) => (Fate::Deliver, Measure::Nothing),
        Some(Ruling::RetryWithUrls) => (Fate::Slim, Measure::Nothing),
    };
    let feedback = match (feedback, fate) {
        (Feedback::Answered | Feedback::Taken, Fate::Deliver) => Feedback::Taken,
        (Feedback::Taken, _) => Feedback::Answered,
        (feedback, _) => feedback,
    };
    let measure = match (outcome, fate, measure) {
        (Outcome::Answered { status, .. }, Fate::Defer, Measure::Nothing)
            if matches!(status.as_u16(), 401 | 403 | 407) =>
        {
            Measure::Announce
        }
        _ => measure,
    };
    (fate, feedback, measure)
}

/// What becomes of a post after an attempt.
pub fn decide(
    schedule: &Schedule,
    verdicts: &Verdicts,
    standing: Standing,
    outcome: &Outcome,
    dice: f64,
) -> Judged {
    let holds = |ruling: Ruling| ruling != Ruling::RetryWithUrls || standing.has_lean_body;
    let ruled = verdicts.rulings(outcome).find(|(ruling, _)| holds(*ruling));
    let (fate, mut feedback, measure) = judge(outcome, ruled.map(|(ruling, _)| ruling));
    let mut wait = schedule.interval(standing.ended as usize, dice);
    if let (Feedback::Trouble { retry_after }, Outcome::Answered { retry_after: Some(text), .. }) =
        (&mut feedback, outcome)
    {
        let cap = schedule.max_age.min(after::LONGEST);
        *retry_after = after::parse(text, standing.now).map(|after| after.min(cap));
        wait = retry_after.unwrap_or(wait);
    }
    let reason = || match ruled {
        Some((ruling, place)) => format!("{} ({place}: {ruling})", reason(outcome)),
        None => reason(outcome),
    };
    let verdict = match fate {
        Fate::Deliver => Verdict::Delivered,
        Fate::Fail => Verdict::Failed { reason: reason() },
        Fate::Hold => Verdict::Held { reason: reason() },
        Fate::Defer => defer(schedule, standing, wait, reason()),
        Fate::Slim => match defer(schedule, standing, Duration::ZERO, reason()) {
            Verdict::Deferred { reason, .. } => Verdict::Leaner { reason },
            over => over,
        },
    };
    Judged { verdict, fate, feedback, measure }
}

fn defer(schedule: &Schedule, standing: Standing, wait: Duration, reason: String) -> Verdict {
    let attempts = standing.ended.saturating_add(1);
    if schedule.max_attempts.is_some_and(|max| attempts >= max) {
        return Verdict::Failed { reason: format!("given up after {attempts} attempts: {reason}") };
    }
    let left = standing.ends_at.since(standing.now).saturating_sub(LAST_CHANCE);
    if left.is_zero() {
        return Verdict::Failed { reason: format!("expired: {reason}") };
    }
    Verdict::Deferred { after: wait.min(left), reason }
}

/// Status line or trouble, in one line.
pub fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { status, remark: None, .. } => status.to_string(),
        Outcome::Answered { status, remark: Some(remark), .. } => format!("{status} to {remark}"),
        Outcome::Replied { text, .. } => text.replace('\n', " "),
        Outcome::Broken(trouble) => trouble.to_string(),
    }
}
