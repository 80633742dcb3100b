//! Tests of `retry` and `ruling`: tables of what results mean.

use super::retry::{
    Fate, Feedback, Judged, Measure, Outcome, Schedule, Standing, Trouble, Verdict, decide, judge, reason,
};
use super::ruling::{On, Ruling, Verdicts};
use crate::post::{Post, Timestamp};
use http::StatusCode;
use regex::Regex;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_769_860_800_000);
const DAY: u64 = 24 * 3600;

fn post() -> Post {
    let text = r#"{"id":{"message":1,"number":0},"accepted_at":1769860800000,"destination":{"tenant":"default",
        "scheme":"Http","host":"a.example","port":80},"method":"POST","path":"/","headers":[],
        "body":{"number":0,"start":0,"length":0},"sender":"","recipient":"","priority":0,"tags":[],"trust":"Wire","has_links":false}"#;
    serde_json::from_str(text).unwrap()
}

fn answered(status: u16, retry_after: Option<&str>) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    Outcome::Answered {
        status,
        retry_after: retry_after.map(str::to_owned),
        text: String::new(),
        remark: None,
    }
}

fn fresh(schedule: &Schedule) -> Standing {
    Standing { ended: 0, ends_at: schedule.ends_at(&post(), NOW), now: NOW, has_lean_body: false }
}

/// Every kind of trouble: its fate, its culprit, its words.
fn troubles() -> Vec<(Trouble, Fate, bool, &'static str)> {
    let text = || "x".to_owned();
    let second = Duration::from_secs(1);
    vec![
        (Trouble::Denied(text()), Fate::Fail, false, "x"),
        (Trouble::Resolve(text()), Fate::Defer, true, "x"),
        (Trouble::Unresolved(text()), Fate::Defer, false, "x"),
        (Trouble::Connect(text()), Fate::Defer, true, "x"),
        (Trouble::Tls(text()), Fate::Defer, true, "TLS: x"),
        (Trouble::Proxy(text()), Fate::Defer, false, "x"),
        (Trouble::Credentials(text()), Fate::Defer, false, "x"),
        (Trouble::Withheld(text()), Fate::Fail, false, "x"),
        (Trouble::Unsubscribed, Fate::Fail, false, "the webhook was deleted"),
        (
            Trouble::Closed,
            Fate::Hold,
            false,
            "the webhook is disabled or unverified; it waits until it is enabled",
        ),
        (Trouble::Moved, Fate::Defer, false, "the webhook has another URL by now"),
        (Trouble::TimedOut("connecting", second), Fate::Defer, true, "timed out connecting after 1 s"),
        (Trouble::Broken(text()), Fate::Defer, true, "x"),
        (Trouble::Malformed(text()), Fate::Defer, false, "the response is not HTTP: x"),
        (Trouble::Unsendable(text()), Fate::Fail, false, "cannot be sent: x"),
        (Trouble::Damaged(text()), Fate::Fail, false, "damaged: x"),
        (Trouble::Sealed(text()), Fate::Hold, false, "x"),
        (Trouble::Unreadable(text()), Fate::Defer, false, "x"),
        (Trouble::Expired, Fate::Fail, false, "expired before it could be sent"),
        (Trouble::Crashed, Fate::Defer, false, "the attempt ended by an internal fault"),
    ]
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
        let (fate, feedback, measure) = judge(&answered(status, None), None);
        assert_eq!(fate, expected, "{status}");
        let blamed = matches!(feedback, Feedback::Trouble { .. });
        assert_eq!(blamed, [429, 503].contains(&status), "{status}");
        assert_eq!(feedback == Feedback::Taken, fate == Fate::Deliver, "{status}");
        assert_eq!(measure == Measure::Announce, [401, 403, 407].contains(&status), "{status}");
    }
}

#[test]
fn every_trouble_has_its_fate_and_its_culprit() {
    for (trouble, fate, blamed, words) in troubles() {
        let outcome = Outcome::Broken(trouble);
        let (judged, feedback, measure) = judge(&outcome, None);
        assert_eq!((judged, matches!(feedback, Feedback::Trouble { .. })), (fate, blamed), "{outcome:?}");
        assert_eq!(measure, Measure::Nothing);
        assert_eq!(reason(&outcome), words);
    }
}

#[test]
fn rulings_change_what_becomes_of_a_post_and_nothing_else() {
    let outcomes = (100..=599).map(|status| answered(status, None));
    for outcome in outcomes.chain(troubles().into_iter().map(|(trouble, ..)| Outcome::Broken(trouble))) {
        let (_, usual, _) = judge(&outcome, None);
        for (ruling, expected) in [
            (Ruling::Retry, Fate::Defer),
            (Ruling::Fail, Fate::Fail),
            (Ruling::Hold, Fate::Hold),
            (Ruling::Pause, Fate::Defer),
            (Ruling::Done, Fate::Deliver),
        ] {
            let (fate, feedback, measure) = judge(&outcome, Some(ruling));
            assert_eq!(fate, expected, "{outcome:?} {ruling}");
            assert_eq!(measure == Measure::Pause, ruling == Ruling::Pause);
            let expected = match usual {
                Feedback::Taken | Feedback::Answered if ruling == Ruling::Done => Feedback::Taken,
                Feedback::Taken => Feedback::Answered,
                usual => usual,
            };
            assert_eq!(feedback, expected, "{outcome:?} {ruling}");
        }
    }
}

#[test]
fn texts_stand_before_statuses_and_statuses_before_classes() {
    let verdicts = Verdicts {
        on: vec![
            (On::Class(4), Ruling::Retry),
            (On::Status(404), Ruling::Hold),
            (On::Status(404), Ruling::Fail),
            (On::Class(2), Ruling::Pause),
            (On::Connect, Ruling::Fail),
            (On::Dns, Ruling::Hold),
            (On::Tls, Ruling::Pause),
            (On::Timeout, Ruling::Retry),
        ],
        body_matches: vec![
            (Regex::new("(?i)over quota").unwrap(), Ruling::Hold),
            (Regex::new("quota|duplicate").unwrap(), Ruling::Done),
        ],
    };
    let said = |status: u16, text: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        let text = text.to_owned();
        verdicts.rulings(&Outcome::Answered { status, retry_after: None, text, remark: None }).next()
    };
    for (status, text, expected) in [
        (404, "", Some((Ruling::Hold, "on"))),
        (410, "", Some((Ruling::Retry, "on"))),
        (204, "", Some((Ruling::Pause, "on"))),
        (500, "", None),
        (404, "Over Quota", Some((Ruling::Hold, "body_matches"))),
        (404, "a duplicate", Some((Ruling::Done, "body_matches"))),
        (500, "quota", Some((Ruling::Done, "body_matches"))),
        (200, "over quota", Some((Ruling::Hold, "body_matches"))),
    ] {
        assert_eq!(said(status, text), expected, "{status} {text:?}");
    }
    for (trouble, ..) in troubles() {
        let expected = match &trouble {
            Trouble::Connect(_) | Trouble::Broken(_) => Some((Ruling::Fail, "on")),
            Trouble::Resolve(_) | Trouble::Unresolved(_) => Some((Ruling::Hold, "on")),
            Trouble::Tls(_) => Some((Ruling::Pause, "on")),
            Trouble::TimedOut(..) => Some((Ruling::Retry, "on")),
            _ => None,
        };
        let outcome = Outcome::Broken(trouble);
        assert_eq!(verdicts.rulings(&outcome).next(), expected, "{outcome:?}");
    }
}

#[test]
fn a_ruling_is_named_in_the_reason_and_max_age_holds() {
    let schedule = Schedule::default();
    let decide = |ruling, ended_at: Option<Timestamp>| {
        let verdicts = Verdicts { on: vec![(On::Status(404), ruling)], ..Verdicts::default() };
        let standing = Standing { now: ended_at.unwrap_or(NOW), ..fresh(&schedule) };
        decide(&schedule, &verdicts, standing, &answered(404, None), 0.5)
    };
    let after = Duration::from_secs(5);
    for (ruling, verdict) in [
        (Ruling::Retry, Verdict::Deferred { after, reason: "404 Not Found (on: retry)".to_owned() }),
        (Ruling::Pause, Verdict::Deferred { after, reason: "404 Not Found (on: pause)".to_owned() }),
        (Ruling::Hold, Verdict::Held { reason: "404 Not Found (on: hold)".to_owned() }),
        (Ruling::Fail, Verdict::Failed { reason: "404 Not Found (on: fail)".to_owned() }),
        (Ruling::Done, Verdict::Delivered),
        (Ruling::RetryWithUrls, Verdict::Failed { reason: "404 Not Found".to_owned() }),
    ] {
        assert_eq!(decide(ruling, None).verdict, verdict);
    }
    let reason = "expired: 404 Not Found (on: retry)".to_owned();
    let end = NOW.after(schedule.max_age);
    assert_eq!(decide(Ruling::Retry, Some(end)).verdict, Verdict::Failed { reason });
}

/// What has addresses already, or no attachments, is judged as if nothing were said.
#[test]
fn a_lean_body_is_sent_at_once_and_counts() {
    let verdicts = Verdicts { on: vec![(On::Class(4), Ruling::RetryWithUrls)], ..Verdicts::default() };
    let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
    let leaner = Verdict::Leaner { reason: "413 Payload Too Large (on: retry-with-urls)".to_owned() };
    let given_up = "given up after 2 attempts: 413 Payload Too Large (on: retry-with-urls)";
    for (has_lean_body, ended, status, verdict) in [
        (true, 0, 413, leaner),
        (true, 1, 413, failed(given_up)),
        (false, 0, 413, failed("413 Payload Too Large")),
        (true, 0, 200, Verdict::Delivered),
    ] {
        let schedule = Schedule { max_attempts: Some(2), ..Schedule::default() };
        let standing = Standing { has_lean_body, ended, ..fresh(&schedule) };
        let judged = decide(&schedule, &verdicts, standing, &answered(status, None), 0.5);
        assert_eq!(judged.verdict, verdict, "{has_lean_body} {ended} {status}");
        let feedback = if status == 200 { Feedback::Taken } else { Feedback::Answered };
        assert_eq!((judged.feedback, judged.measure), (feedback, Measure::Nothing));
    }
}

/// Every word before the one that holds is about the attachments that a post has not.
#[test]
fn where_there_is_no_lean_body_the_next_word_holds() {
    let text = |pattern, ruling| (Regex::new(pattern).unwrap(), ruling);
    let rows = [
        (vec![], vec![(On::Status(413), Ruling::RetryWithUrls), (On::Class(4), Ruling::Hold)], "on: hold"),
        (vec![], vec![(On::Status(413), Ruling::RetryWithUrls), (On::Status(413), Ruling::Hold)], "on: hold"),
        (vec![text("large", Ruling::RetryWithUrls)], vec![(On::Class(4), Ruling::Hold)], "on: hold"),
        (
            vec![text("large", Ruling::RetryWithUrls), text("too", Ruling::Hold)],
            vec![(On::Status(413), Ruling::Fail)],
            "body_matches: hold",
        ),
    ];
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let outcome = Outcome::Answered { status, retry_after: None, text: "too large".to_owned(), remark: None };
    let schedule = Schedule::default();
    for (body_matches, on, place) in rows {
        let verdicts = Verdicts { on, body_matches };
        for has_lean_body in [false, true] {
            let standing = Standing { has_lean_body, ..fresh(&schedule) };
            let judged = decide(&schedule, &verdicts, standing, &outcome, 0.5);
            let reason = format!("413 Payload Too Large ({place})");
            let is_leaner = matches!(judged.verdict, Verdict::Leaner { .. });
            assert_eq!(is_leaner, has_lean_body, "{verdicts:?}");
            assert!(is_leaner || judged.verdict == Verdict::Held { reason }, "{:?}", judged.verdict);
        }
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_and_trusted_for_a_day_at_most() {
    for (text, expected) in [
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("86400", Some(DAY)),
        ("86401", Some(DAY)),
        ("Sat, 31 Jan 2026 12:02:00 GMT", Some(120)),
        ("Sat, 31 Jan 2026 11:59:00 GMT", None),
        ("1000000000000", Some(DAY)),
        ("99999999999999999999999999", Some(DAY)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(DAY)),
        ("0", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        for (status, max_age) in [(429, 3 * DAY), (503, 3 * DAY), (503, 3600)] {
            let schedule = Schedule { max_age: Duration::from_secs(max_age), ..Schedule::default() };
            let outcome = answered(status, Some(text));
            let judged = decide(&schedule, &Verdicts::default(), fresh(&schedule), &outcome, 0.5);
            let retry_after = expected.map(|seconds| Duration::from_secs(seconds.min(max_age)));
            assert_eq!(judged.feedback, Feedback::Trouble { retry_after }, "{text:?}");
            let Verdict::Deferred { after, .. } = judged.verdict else { panic!("{text:?}: {judged:?}") };
            assert_eq!(after.as_secs(), expected.unwrap_or(5).min(max_age - 1), "{text:?}");
        }
    }
    let schedule = Schedule::default();
    for status in [500, 502, 404, 301, 401] {
        let outcome = answered(status, Some("60"));
        let verdicts = Verdicts { on: vec![(On::Status(status), Ruling::Retry)], ..Verdicts::default() };
        let Judged { verdict, feedback, .. } = decide(&schedule, &verdicts, fresh(&schedule), &outcome, 0.5);
        assert_eq!(feedback, Feedback::Answered, "{status}");
        assert!(matches!(verdict, Verdict::Deferred { after, .. } if after.as_secs() == 5), "{status}");
    }
}

#[test]
fn a_destination_that_asks_for_time_gets_it_whatever_becomes_of_the_post() {
    let schedule = Schedule::default();
    let held = Feedback::Trouble { retry_after: Some(Duration::from_secs(60)) };
    for ruling in [Ruling::Fail, Ruling::Hold, Ruling::Done, Ruling::Pause] {
        let verdicts = Verdicts { on: vec![(On::Class(5), ruling)], ..Verdicts::default() };
        let judged = decide(&schedule, &verdicts, fresh(&schedule), &answered(503, Some("60")), 0.5);
        assert_eq!(judged.feedback, held, "{ruling}");
    }
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
    let decide = |post: &Post, ended, now| {
        let standing =
            Standing { ended, ends_at: schedule.ends_at(post, post.accepted_at), now, ..fresh(&schedule) };
        decide(&schedule, &Verdicts::default(), standing, &answered(500, None), 0.5).verdict
    };
    let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
    let error = "500 Internal Server Error";
    assert!(matches!(decide(&post(), 1, NOW), Verdict::Deferred { .. }));
    assert_eq!(decide(&post(), 2, NOW), failed(&format!("given up after 3 attempts: {error}")));
    let old = NOW.after(schedule.max_age);
    assert_eq!(decide(&post(), 0, old), failed(&format!("expired: {error}")));
    let late = Duration::from_secs(60);
    assert_eq!(schedule.ends_at(&post(), NOW.after(late)), old.after(late), "its age begins later");
    let short = Post { expires_at: Some(NOW.after(Duration::from_secs(4))), ..post() };
    let Verdict::Deferred { after, .. } = decide(&short, 0, NOW) else { panic!("one more chance") };
    assert_eq!(after, Duration::from_secs(3), "the last attempt is made before the end");
    let last = NOW.after(Duration::from_secs(3));
    assert_eq!(decide(&short, 1, last), failed(&format!("expired: {error}")));
}
