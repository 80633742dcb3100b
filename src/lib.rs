//! Postgate: an SMTP-native gateway that turns mail into HTTP posts.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod app;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod deliver;
pub mod envelope;
pub mod intake;
pub mod network;
pub mod post;
pub mod protocol_log;
pub mod smtp;
pub mod spool;
pub mod tenant;
