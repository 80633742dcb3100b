//! Fuzz targets as plain tests: random octets against whatever reads them, and
//! properties that hold for all octets.
//!
//! ```text
//! cargo test --test fuzz                                   five seconds a target
//! FUZZ_SECONDS=3600 cargo nextest run --test fuzz session  one target for an hour
//! FUZZ_SEED=17 FUZZ_SECONDS=60 cargo nextest run …         the same inputs again
//! ```
//!
//! A failing input is made small and kept in `target/fuzz/<target>/`; the panic
//! names the file. Copy it to `tests/fuzz/<target>/`: what lies there is run
//! first, every time. Every property has a control: a part is broken on purpose,
//! and that must be found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "fuzz/composer.rs"]
mod composer;
#[path = "fuzz/engine.rs"]
mod engine;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/retry_after.rs"]
mod retry_after;
#[path = "fuzz/session.rs"]
mod session;
#[path = "fuzz/spool.rs"]
mod spool;
mod support;
#[path = "fuzz/url.rs"]
mod url;

use composer::ComposerTarget;
use engine::{fuzz, must_be_found};
use postgate::compose::{Composition, Endpoint};
use postgate::post::Post;
use postgate::smtp::BareNewline;
use retry_after::RetryAfterTarget;
use session::SessionTarget;
use spool::SpoolTarget;
use url::UrlTarget;

#[test]
fn session() {
    fuzz(SessionTarget::new());
}

#[test]
fn session_control_of_a_lost_octet() {
    fn lossy(piece: &[u8]) -> &[u8] {
        if piece.len() > 1 { piece.strip_suffix(b"\r").unwrap_or(piece) } else { piece }
    }
    must_be_found(SessionTarget { carry: lossy, ..SessionTarget::new() }, "octet by octet");
}

#[test]
fn session_control_of_another_end_of_data() {
    let lax = |raw: &[u8], _: BareNewline| session::data(raw, BareNewline::Lf);
    must_be_found(SessionTarget { data: lax, ..SessionTarget::new() }, "mail data");
}

#[test]
fn session_control_of_secrets_nobody_knows() {
    must_be_found(SessionTarget { is_secret: |_| false, ..SessionTarget::new() }, "a secret");
}

#[test]
fn session_control_of_a_log_that_shows_answers() {
    let raw = |line: &str, sent: &[u8]| match line {
        "***" => String::from_utf8_lossy(sent).into_owned(),
        line => line.to_owned(),
    };
    must_be_found(SessionTarget { log: raw, ..SessionTarget::new() }, "an answer to AUTH is told");
}

#[test]
fn composer() {
    fuzz(ComposerTarget::new(|_| {}));
}

#[test]
fn composer_control_of_a_dropped_octet() {
    let drop_octet = |composition: &mut Composition| {
        let raw = |post: &&mut Post| post.recipient == "raw@hooks.example";
        for post in composition.admission.posts.iter_mut().filter(raw) {
            post.body.length = post.body.length.saturating_sub(1);
        }
    };
    must_be_found(ComposerTarget::new(drop_octet), "the raw payload is not the message");
}

#[test]
fn composer_control_of_a_lost_post() {
    let lose = |composition: &mut Composition| {
        composition.admission.posts.pop();
    };
    must_be_found(ComposerTarget::new(lose), "not one post a route of a recipient");
}

#[test]
fn retry_after() {
    fuzz(RetryAfterTarget { reading: retry_after::seconds });
}

#[test]
fn retry_after_control_of_another_reading() {
    let lax = |text: &str, most: u64| retry_after::seconds(text, most / 2);
    must_be_found(RetryAfterTarget { reading: lax }, "left == right");
}

#[test]
fn url() {
    fuzz(UrlTarget::new());
}

#[test]
fn url_control_of_an_open_network() {
    must_be_found(UrlTarget { permit: |_, _, _| Ok(()), ..UrlTarget::new() }, "is permitted");
}

#[test]
fn url_control_of_a_host_taken_as_written() {
    let lax = |text: &str| {
        let mut url: Endpoint = text.parse().ok()?;
        let authority = text.split("://").nth(1)?.split(['/', '?']).next()?;
        url.host = authority.rsplit('@').next()?.split(':').next()?.to_ascii_lowercase();
        url.host.is_ascii().then_some(url)
    };
    must_be_found(UrlTarget { read: lax, ..UrlTarget::new() }, "");
}

#[test]
fn spool() {
    fuzz(SpoolTarget::new(|_, _, body| body));
}

#[test]
fn spool_control_of_a_reader_without_checksum() {
    must_be_found(SpoolTarget::new(spool::unchecked), "has a wrong body");
}

#[test]
fn spool_control_of_a_lost_post() {
    let lossy: spool::Reading = |_, kept, body| body.filter(|_| kept.octets.len() != 14);
    must_be_found(SpoolTarget::new(lossy), "is lost");
}
