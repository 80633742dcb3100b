//! The guide, for those who run the gateway and those who post through it.
//!
//! Its pages are transcripts: `tests/guide.rs` follows each with the real program, and
//! fails where anything else is printed or received than a page shows.

#[doc = include_str!("guide/api.md")]
pub mod api {}

#[doc = include_str!("guide/moving.md")]
pub mod moving {}

#[doc = include_str!("guide/operations.md")]
pub mod operations {}
