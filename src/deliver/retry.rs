//! What the result of an attempt means: the verdict on the post, and what it
//! teaches about the destination.
//!
//! [`judge`] is total over statuses and troubles; [`decide`] adds the schedule:
//! when the next attempt is, and when there is none. Only trouble on the way to
//! an answer, 429 and 503 are verdicts on the destination; every other answer is
//! one on the post alone, so that a broken path never slows its neighbours.
//!
//! Time and dice are arguments. `Retry-After` is RFC 9110 section 10.2.3.

use crate::post::{Post, Timestamp};
use http::StatusCode;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

    /// When `post` is given up. One that waits for its time does not age.
    pub fn ends_at(&self, post: &Post) -> Timestamp {
        let begins_at = post.not_before_at.map_or(post.accepted_at, |at| at.max(post.accepted_at));
        let by_age = begins_at.after(self.max_age);
        post.expires_at.map_or(by_age, |expires_at| expires_at.min(by_age))
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// Its status; the rest of the response cannot change what it means.
        status: StatusCode,
        /// `Retry-After` as it stood in the response.
        retry_after: Option<String>,
        /// The beginning of its text, as far as somebody asked for it.
        text: String,
        /// Where its redirect leads, and why that was not followed.
        remark: Option<String>,
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
    /// No connection.
    Connect(String),
    /// No trusted TLS session.
    Tls(String),
    /// The proxy on the way did not do its part; the destination was not asked.
    Proxy(String),
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
            | Trouble::Connect(text)
            | Trouble::Broken(text)
            | Trouble::Proxy(text)
            | Trouble::Unreadable(text) => f.write_str(text),
            Trouble::Tls(text) => write!(f, "TLS: {text}"),
            Trouble::TimedOut(what, after) => {
                write!(f, "timed out {what} after {}", Span(*after))
            }
            Trouble::Malformed(text) => write!(f, "the response is not HTTP: {text}"),
            Trouble::Unsendable(text) => write!(f, "cannot be sent: {text}"),
            Trouble::Damaged(text) => write!(f, "damaged: {text}"),
            Trouble::Expired => f.write_str("expired before it could be sent"),
            Trouble::Crashed => f.write_str("the attempt ended by an internal fault"),
        }
    }
}

/// A duration in the largest unit that tells it exactly, as `5 s` or `1500 ms`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) { write!(f, "{} s", millis / 1000) } else { write!(f, "{millis} ms") }
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
    /// It is given up.
    Failed {
        /// Why, in one line.
        reason: String,
    },
}

/// The three ways an attempt can end for its post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done.
    Deliver,
    /// Later again.
    Defer,
    /// Never again.
    Fail,
}

/// What an outcome means for the post, and whether it speaks of the destination.
/// Knows no schedule; `Retry-After` is not looked at.
pub fn judge(outcome: &Outcome) -> (Fate, Feedback) {
    let trouble = Feedback::Trouble { retry_after: None };
    match outcome {
        Outcome::Answered { status, .. } => match status.as_u16() {
            200..=299 => (Fate::Deliver, Feedback::Taken),
            300..=399 => (Fate::Fail, Feedback::Answered),
            400 | 404..=406 | 409..=411 | 413..=415 | 422 | 431 | 451 => (Fate::Fail, Feedback::Answered),
            429 | 503 => (Fate::Defer, trouble),
            _ => (Fate::Defer, Feedback::Answered),
        },
        Outcome::Broken(why) => match why {
            Trouble::Denied(_) | Trouble::Unsendable(_) | Trouble::Damaged(_) | Trouble::Expired => {
                (Fate::Fail, Feedback::Nothing)
            }
            Trouble::Resolve(_)
            | Trouble::Connect(_)
            | Trouble::Tls(_)
            | Trouble::TimedOut(..)
            | Trouble::Broken(_) => (Fate::Defer, trouble),
            Trouble::Malformed(_) => (Fate::Defer, Feedback::Answered),
            Trouble::Proxy(_) | Trouble::Unreadable(_) | Trouble::Crashed => (Fate::Defer, Feedback::Nothing),
        },
    }
}

/// The verdict on `post` after an attempt, of which `ended` came before it.
pub fn decide(
    schedule: &Schedule,
    post: &Post,
    ended: u32,
    outcome: &Outcome,
    now: Timestamp,
    dice: f64,
) -> (Verdict, Feedback) {
    let (fate, mut feedback) = judge(outcome);
    let mut wait = schedule.interval(ended as usize, dice);
    if let (Feedback::Trouble { retry_after }, Outcome::Answered { retry_after: Some(text), .. }) =
        (&mut feedback, outcome)
    {
        *retry_after = parse_retry_after(text, now).map(|after| after.min(schedule.max_age));
        wait = retry_after.unwrap_or(wait);
    }
    let verdict = match fate {
        Fate::Deliver => Verdict::Delivered,
        Fate::Fail => Verdict::Failed { reason: reason(outcome) },
        Fate::Defer => defer(schedule, post, ended, wait, reason(outcome), now),
    };
    (verdict, feedback)
}

fn defer(
    schedule: &Schedule,
    post: &Post,
    ended: u32,
    wait: Duration,
    reason: String,
    now: Timestamp,
) -> Verdict {
    let attempts = ended.saturating_add(1);
    if schedule.max_attempts.is_some_and(|max| attempts >= max) {
        return Verdict::Failed { reason: format!("given up after {attempts} attempts: {reason}") };
    }
    let left = schedule.ends_at(post).since(now).saturating_sub(LAST_CHANCE);
    if left.is_zero() {
        return Verdict::Failed { reason: format!("expired: {reason}") };
    }
    Verdict::Deferred { after: wait.min(left), reason }
}

fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { status, remark: None, .. } => status.to_string(),
        Outcome::Answered { status, remark: Some(remark), .. } => format!("{status} to {remark}"),
        Outcome::Broken(trouble) => trouble.to_string(),
    }
}

/// Seconds or an HTTP date as the time from `now`; nothing when it is neither,
/// or not in the future: then the own schedule holds.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than any cap.
        let seconds = text.parse().unwrap_or(u64::from(u32::MAX));
        return Some(Duration::from_secs(seconds)).filter(|after| !after.is_zero());
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    let since_epoch = at.duration_since(UNIX_EPOCH).ok()?;
    let after = since_epoch.checked_sub(Duration::from_millis(now.0))?;
    Some(after).filter(|after| !after.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_769_860_800_000);

    fn post() -> Post {
        let text = r#"{"id":{"message":1,"number":0},"accepted_at":1769860800000,"destination":{"tenant":"default",
            "scheme":"Http","host":"a.example","port":80,"trust":"Wire"},"method":"POST","path":"/","headers":[],
            "body":{"number":0,"start":0,"length":0},"sender":"","recipient":"","priority":0,"tags":[]}"#;
        serde_json::from_str(text).unwrap()
    }

    fn answered(status: u16, retry_after: Option<&str>) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        let retry_after = retry_after.map(str::to_owned);
        Outcome::Answered { status, retry_after, text: String::new(), remark: None }
    }

    #[test]
    fn every_status_has_the_fate_of_the_table() {
        let failed = [400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451];
        for status in 100..=599 {
            let expected = match status {
                200..=299 => Fate::Deliver,
                300..=399 => Fate::Fail,
                _ if failed.contains(&status) => Fate::Fail,
                _ => Fate::Defer,
            };
            let (fate, feedback) = judge(&answered(status, None));
            assert_eq!(fate, expected, "{status}");
            let blamed = matches!(feedback, Feedback::Trouble { .. });
            assert_eq!(blamed, [429, 503].contains(&status), "{status}");
            assert_eq!(feedback == Feedback::Taken, fate == Fate::Deliver, "{status}");
        }
    }

    #[test]
    fn every_trouble_has_its_fate_and_its_culprit() {
        let text = || "x".to_owned();
        let second = Duration::from_secs(1);
        for (trouble, fate, blamed, reason) in [
            (Trouble::Denied(text()), Fate::Fail, false, "x"),
            (Trouble::Resolve(text()), Fate::Defer, true, "x"),
            (Trouble::Connect(text()), Fate::Defer, true, "x"),
            (Trouble::Tls(text()), Fate::Defer, true, "TLS: x"),
            (Trouble::Proxy(text()), Fate::Defer, false, "x"),
            (Trouble::TimedOut("connecting", second), Fate::Defer, true, "timed out connecting after 1 s"),
            (Trouble::Broken(text()), Fate::Defer, true, "x"),
            (Trouble::Malformed(text()), Fate::Defer, false, "the response is not HTTP: x"),
            (Trouble::Unsendable(text()), Fate::Fail, false, "cannot be sent: x"),
            (Trouble::Damaged(text()), Fate::Fail, false, "damaged: x"),
            (Trouble::Unreadable(text()), Fate::Defer, false, "x"),
            (Trouble::Expired, Fate::Fail, false, "expired before it could be sent"),
            (Trouble::Crashed, Fate::Defer, false, "the attempt ended by an internal fault"),
        ] {
            let outcome = Outcome::Broken(trouble);
            let (judged, feedback) = judge(&outcome);
            assert_eq!((judged, matches!(feedback, Feedback::Trouble { .. })), (fate, blamed), "{outcome:?}");
            assert_eq!(super::reason(&outcome), reason);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_trusted_beyond_max_age() {
        let cap = Schedule::default().max_age.as_secs();
        for (text, expected) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sat, 31 Jan 2026 12:02:00 GMT", Some(120)),
            ("Sat, 31 Jan 2026 11:59:00 GMT", None),
            ("1000000000000", Some(cap)),
            ("99999999999999999999999999", Some(cap)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(cap)),
            ("0", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            for status in [429, 503] {
                let outcome = answered(status, Some(text));
                let (verdict, feedback) = decide(&Schedule::default(), &post(), 0, &outcome, NOW, 0.5);
                let retry_after = expected.map(Duration::from_secs);
                assert_eq!(feedback, Feedback::Trouble { retry_after }, "{text:?}");
                let Verdict::Deferred { after, .. } = verdict else { panic!("{text:?}: {verdict:?}") };
                assert_eq!(after.as_secs(), expected.unwrap_or(5).min(cap - 1), "{text:?}");
            }
        }
        let (verdict, feedback) =
            decide(&Schedule::default(), &post(), 0, &answered(500, Some("60")), NOW, 0.5);
        assert_eq!(feedback, Feedback::Answered);
        let reason = "500 Internal Server Error".to_owned();
        assert_eq!(verdict, Verdict::Deferred { after: Duration::from_secs(5), reason });
    }

    #[test]
    fn intervals_follow_the_schedule_with_a_tenth_of_jitter() {
        let schedule = Schedule::default();
        let seconds = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800, 28_800];
        for (earlier, seconds) in seconds.into_iter().enumerate() {
            for (dice, tenths) in [(0.0, 9), (0.5, 10), (1.0, 11), (7.0, 11)] {
                let millis = schedule.interval(earlier, dice).as_secs_f64() * 1000.0;
                assert!((millis - f64::from(seconds * tenths * 100)).abs() < 1.0, "{earlier} {dice}");
            }
        }
    }

    #[test]
    fn posts_end_by_age_by_their_own_date_and_by_number() {
        let schedule = Schedule { max_attempts: Some(3), ..Schedule::default() };
        let decide =
            |post: &Post, ended, now| decide(&schedule, post, ended, &answered(500, None), now, 0.5).0;
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        let error = "500 Internal Server Error";
        assert!(matches!(decide(&post(), 1, NOW), Verdict::Deferred { .. }));
        assert_eq!(decide(&post(), 2, NOW), failed(&format!("given up after 3 attempts: {error}")));
        let old = NOW.after(schedule.max_age);
        assert_eq!(decide(&post(), 0, old), failed(&format!("expired: {error}")));
        let late = Post { not_before_at: Some(old), ..post() };
        assert!(schedule.ends_at(&late) > old, "it has its time from when it may be sent");
        let short = Post { expires_at: Some(NOW.after(Duration::from_secs(4))), ..post() };
        let Verdict::Deferred { after, .. } = decide(&short, 0, NOW) else { panic!("one more chance") };
        assert_eq!(after, Duration::from_secs(3), "the last attempt is made before the end");
        let last = NOW.after(Duration::from_secs(3));
        assert_eq!(decide(&short, 1, last), failed(&format!("expired: {error}")));
    }
}
