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

#[path = "fuzz/engine.rs"]
mod engine;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/session.rs"]
mod session;

use engine::{fuzz, must_be_found};
use postgate::smtp::BareNewline;
use session::SessionTarget;

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
