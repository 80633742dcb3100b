//! Exchanges of AUTH, good and bad, line by line.

use super::Mechanism::{CramMd5, External, Login, Plain};
use super::*;

const CHALLENGE: &str = "<1896.697170952@postoffice.reston.mci.net>";

/// Answers are given in clear here, `\u{0}` for NUL, and coded on the way.
fn run(mechanism: Mechanism, initial: Option<&str>, answers: &[&str]) -> Step {
    let initial =
        initial.map(|text| if text == "=" { text.to_owned() } else { BASE64.encode(text.as_bytes()) });
    let (mut exchange, mut step) = Exchange::begin(mechanism, initial.as_deref(), || CHALLENGE.to_owned());
    for answer in answers {
        assert!(matches!(step, Step::Continue(_)), "{mechanism:?} {initial:?} {answers:?}: {step:?}");
        step = exchange.answer(BASE64.encode(answer.as_bytes()).as_bytes());
    }
    step
}

fn known(name: &str, password: &str) -> Step {
    Step::Done(Credentials::Password { name: name.to_owned(), password: Secret::new(password) })
}

#[test]
fn exchanges_lead_to_credentials() {
    let rows = [
        (Plain, Some("\0erp\0secret"), &[][..], known("erp", "secret")),
        (Plain, Some("erp\0erp\0secret"), &[], known("erp", "secret")),
        (Plain, None, &["\0erp\0 p\u{fc} "], known("erp", " p\u{fc} ")),
        (Plain, Some("="), &["\0erp\0secret"], known("erp", "secret")),
        (Login, None, &["erp", "secret"], known("erp", "secret")),
        (Login, Some("erp"), &["secret"], known("erp", "secret")),
        (Login, Some("="), &["erp", "secret"], known("erp", "secret")),
        (External, Some("="), &[], Step::Done(Credentials::Certificate { name: None })),
        (External, None, &[""], Step::Done(Credentials::Certificate { name: None })),
        (External, None, &["erp"], Step::Done(Credentials::Certificate { name: Some("erp".to_owned()) })),
        (External, Some("erp"), &[], Step::Done(Credentials::Certificate { name: Some("erp".to_owned()) })),
    ];
    for (mechanism, initial, answers, expected) in rows {
        assert_eq!(run(mechanism, initial, answers), expected, "{mechanism:?} {initial:?} {answers:?}");
    }
}

#[test]
fn the_example_of_rfc_2195() {
    let digest = "b913a602c7eda7a495b4e6e7334d3890";
    for shown in [digest.to_owned(), digest.to_uppercase()] {
        let expected = Credentials::Digest {
            name: "tim b".to_owned(),
            challenge: CHALLENGE.to_owned(),
            digest: Secret::new(digest),
        };
        let answer = format!("tim b {shown}");
        assert_eq!(run(CramMd5, None, &[&answer]), Step::Done(expected));
    }
    let (_, step) = Exchange::begin(CramMd5, None, || CHALLENGE.to_owned());
    let coded = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
    assert_eq!(step, Step::Continue(coded.to_owned()));
}

#[test]
fn what_leads_nowhere() {
    let rows = [
        (Plain, "erp secret", Flaw::Malformed),
        (Plain, "erp\0secret", Flaw::Malformed),
        (Plain, "\0erp\0secret\0", Flaw::Malformed),
        (Plain, "\0\0secret", Flaw::Nobody),
        (Plain, "\0erp\0", Flaw::Nobody),
        (Plain, "root\0erp\0secret", Flaw::Nobody),
        (Plain, "\0e\rp\0secret", Flaw::Nobody),
        (Plain, "\0e\u{202e}rp\0secret", Flaw::Nobody),
        (CramMd5, "erp", Flaw::Malformed),
        (CramMd5, "erp b913a602c7eda7a495b4e6e7334d389", Flaw::Nobody),
        (CramMd5, "erp b913a602c7eda7a495b4e6e7334d38901", Flaw::Nobody),
        (CramMd5, "erp b913a602c7eda7a495b4e6e7334d389g", Flaw::Nobody),
        (CramMd5, " b913a602c7eda7a495b4e6e7334d3890", Flaw::Nobody),
        (External, "e\nrp", Flaw::Nobody),
    ];
    for (mechanism, answer, flaw) in rows {
        assert_eq!(run(mechanism, None, &[answer]), Step::Wrong(flaw), "{mechanism:?} {answer:?}");
    }
    assert_eq!(run(Login, None, &["", "secret"]), Step::Wrong(Flaw::Nobody));
    assert_eq!(run(CramMd5, Some("="), &[]), Step::Wrong(Flaw::Malformed));
}

#[test]
fn base64_as_programs_write_it() {
    let rows: [(&[u8], Step); 7] = [
        (b"AGVycABzZWNyZXQ=", known("erp", "secret")),
        (b"AGVycABzZWNyZXQ", known("erp", "secret")),
        (b" AGVycABzZWNyZXQ= ", known("erp", "secret")),
        (b"AGVycAD/", Step::Wrong(Flaw::Nobody)),
        (b"AGVycABzZWNyZXQ===", Step::Wrong(Flaw::Malformed)),
        (b"AGVyc ABzZWNyZXQ=", Step::Wrong(Flaw::Malformed)),
        (b"*", Step::Wrong(Flaw::Cancelled)),
    ];
    for (line, expected) in rows {
        let (mut exchange, _) = Exchange::begin(Plain, None, String::new);
        assert_eq!(exchange.answer(line), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn what_is_offered_now_is_listed() {
    let (now, later) = (Offer::Now, Offer::AfterTls);
    let rows = [
        (Offer::No, Offer::No, Offer::No, ""),
        (now, Offer::No, Offer::No, "PLAIN LOGIN"),
        (now, now, now, "PLAIN LOGIN CRAM-MD5 EXTERNAL"),
        (later, now, Offer::No, "CRAM-MD5"),
        (later, later, now, "EXTERNAL"),
    ];
    for (password, cram_md5, external, listed) in rows {
        assert_eq!(Mechanisms { password, cram_md5, external }.to_string(), listed);
    }
}
