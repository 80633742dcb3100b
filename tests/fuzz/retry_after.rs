//! Target: `Retry-After`, as a receiver may write it.

use super::engine::Target;
use http::StatusCode;
use postgate::deliver::retry::{Feedback, Judged, Outcome, Schedule, Standing, Verdict, decide};
use postgate::deliver::ruling::Verdicts;
use postgate::post::Timestamp;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_769_860_800_000);

/// The longest that a receiver can ask for.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `Retry-After`; `reading` is what a control breaks.
pub struct RetryAfterTarget {
    /// The plain reading: seconds, and no more than these.
    pub reading: fn(&str, u64) -> Option<u64>,
}

/// Digits are seconds, nothing else is.
pub fn seconds(text: &str, most: u64) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.bytes().fold(0_u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(most)))
}

/// A date as today's senders write it (RFC 9110 section 5.6.7), and the time
/// until then, if there is any, by another reader than the gateway's.
fn date(text: &str) -> Option<Option<Duration>> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    if at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string() != text {
        return None;
    }
    let until = at.timestamp().as_millisecond() - i64::try_from(NOW.0).unwrap();
    Some(u64::try_from(until).ok().filter(|until| *until > 0).map(Duration::from_millis))
}

impl Target for RetryAfterTarget {
    const NAME: &'static str = "retry-after";
    const LONGEST: usize = 2000;

    fn seeds(&self) -> Vec<Vec<u8>> {
        let rows = [
            "120",
            "0",
            "-1",
            "1e3",
            "99999999999999999999",
            " 7 ",
            "1000000000000",
            "",
            "Sat, 31 Jan 2026 12:02:00 GMT",
            "Saturday, 31-Jan-26 12:02:00 GMT",
            "Sat Jan 31 12:02:00 2026",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "soon",
        ];
        rows.map(|row| row.as_bytes().to_vec()).to_vec()
    }

    fn dictionary(&self) -> &[&[u8]] {
        &[
            b"GMT",
            b" ",
            b"Sat, ",
            b"31 Feb 2026",
            b"24:60:61",
            b"9999",
            b"-",
            b"+",
            b"\xd9\xa1",
            b"0000000000",
            b"\0",
        ]
    }

    fn check(&self, input: &[u8]) -> u64 {
        let text = String::from_utf8_lossy(input).into_owned();
        let schedule = Schedule::default();
        let most = DAY.as_secs();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let outcome =
            Outcome::Answered { status, retry_after: Some(text.clone()), text: String::new(), remark: None };
        let standing =
            Standing { ended: 0, ends_at: NOW.after(schedule.max_age), now: NOW, has_lean_body: false };
        let Judged { verdict, feedback, .. } =
            decide(&schedule, &Verdicts::default(), standing, &outcome, 0.5);
        let Feedback::Trouble { retry_after } = feedback else { panic!("503 is no trouble: {feedback:?}") };
        let Verdict::Deferred { after, .. } = verdict else { panic!("503 is final: {verdict:?}") };
        assert!(after < schedule.max_age, "put off beyond its end: {after:?}");
        assert!(retry_after.is_none_or(|after| !after.is_zero() && after <= DAY));
        assert!(retry_after.is_some() || after == schedule.interval(0, 0.5), "neither schedule nor header");
        let plain = (self.reading)(text.trim(), most).map(Duration::from_secs);
        match plain {
            Some(plain) => assert_eq!(retry_after, Some(plain).filter(|after| !after.is_zero()), "{text:?}"),
            None => {
                let looks_like_a_date = text.is_ascii() && text.matches(':').count() >= 2;
                assert!(retry_after.is_none() || looks_like_a_date, "{text:?} is neither number nor date");
                if let Some(until) = date(text.trim()) {
                    let expected = until.map(|until| until.min(DAY));
                    assert_eq!(retry_after, expected, "{text:?} by another reader of dates");
                }
            }
        }
        retry_after.map_or(0, |after| u64::from(after.as_secs().checked_ilog2().unwrap_or(0) + 1))
    }
}
