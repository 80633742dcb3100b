//! Postgate: an SMTP gateway that turns mail into durable HTTP posts.
//!
//! # The idea in ten lines
//!
//! 1. Mail comes in over SMTP. The session is a value ([`smtp::session`]): octets
//!    go in, replies come out; a thin driver carries them over sockets.
//! 2. At the door ([`intake`]) a message is **composed** ([`compose`]) into
//!    finished posts, one a recipient, and **committed** to the spool. Only then
//!    does the client read `250`, and every attempt sends the same bytes.
//! 3. The [`spool`] is a narrow trait. Its backends are a log of segments, synced in
//!    groups, of which a view that can be rebuilt is looked into, and a database.
//! 4. A post belongs to a **lane**: queue, window, breaker and idle connections of
//!    one destination. One destination never delays another.
//! 5. One task, the **dispatcher** ([`deliver`]), owns all lanes. It does no I/O; it
//!    asks each lane *what now?* and starts attempts.
//! 6. An **attempt** loads the body, sends, gets an answer. One function judges it
//!    ([`deliver::retry`]): delivered, deferred, held, failed. The spool is told.
//! 7. Everything that was said on a wire is in the [`protocol_log`].
//! 8. Everything that decides is a **rule**: a pure function or value without
//!    socket, disk, clock or dice. Everything that does I/O is thin.
//! 9. Memory does not grow with the backlog: posts that wait are on disk, and of
//!    their index entries only a fixed number is in memory.
//! 10. No globals, no callbacks, no framework: values, channels, and one
//!     composition root ([`app`]).
//!
//! # Floors
//!
//! A module imports only from lower floors, or from its own folder. Islands on
//! one floor do not know each other. `tests/tidy.rs` reads the `use crate::` lines
//! and fails on a wrong arrow.
//!
//! | floor | modules | must not |
//! | --- | --- | --- |
//! | words | [`browser`], [`envelope`], [`masked`], [`network`], [`post`], [`seal`], [`tenant`], [`units`], [`url_pattern`] | know any other module |
//! | rules | [`compose`]; in [`smtp`]: session, command, auth, reply, receive, words; in [`deliver`]: breaker, lane, pace, pauses, profile, retry, ruling, sign, target, terms, turns, window | know sockets, files, clocks, dice, the runtime |
//! | stores | [`clock`], [`first_attempts`], [`metrics`], [`protocol_log`], [`spool`], [`trace`] | know rules |
//! | door | [`intake`] | know sockets |
//! | engines | [`smtp`], [`deliver`], [`fanout`] | know each other |
//! | surface | [`api`], [`panel`] | know a spool's backends |
//! | roof | [`app`], [`cli`], [`config`], [`guide`] | hold logic that a floor below could |
//!
//! News travels up as return values and channel messages, never as calls. The
//! session asks the outside world through [`smtp::session::Demand`] and has its
//! recipients judged through [`smtp::session::Policy`], which the door implements;
//! the door has receivers asked about them through [`intake::Inquire`], which
//! delivery implements.
//! The spool wakes the dispatcher through [`spool::Doorbell`].
//!
//! # Words
//!
//! One thing, one word, in code, configuration, logs and documentation.
//!
//! | word | meaning |
//! | --- | --- |
//! | message | one mail as received: envelope (RFC 5321) and content (RFC 5322) |
//! | client, login | the peer that hands us mail; its authenticated identity |
//! | reverse-path, forward-path | the arguments of MAIL FROM and RCPT TO |
//! | transaction, mail data | MAIL … DATA until accepted or reset; what DATA carried, unstuffed |
//! | reply, response | what SMTP answers; what HTTP answers |
//! | target | where one forward-path leads: a URL or a route |
//! | post | one HTTP request made from a message, kept until it ends |
//! | destination | scheme, host and port that posts go to |
//! | attempt | one try to deliver a post |
//! | verdict | delivered, deferred, held or failed, with a reason |
//! | claim, settle | taking a due post; telling the spool the verdict |
//! | backoff, window, breaker | delays between attempts; attempts at a time; only probing a destination that fails |
//! | terms | how one destination is served: limits, times, trust, credentials |
//! | rate, pause | attempts allowed in a time; an operator's stop of a destination |
//! | order | what is done to posts by hand: hold, release, retry, reroute, delete |
//! | held | said of a post: it waits, without ageing, until it is released |
//! | dead letter | a failed post, kept for a while |
//!
//! Types are nouns, functions verbs, predicates questions. Ids are newtypes,
//! points in time end in `_at`, durations are plain nouns. Errors are one enum a
//! boundary, turned into wire words in one place.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod api;
pub mod app;
pub mod browser;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod deliver;
pub mod envelope;
pub mod event;
pub mod fanout;
pub mod first_attempts;
pub mod guide;
pub mod intake;
pub mod journal;
pub mod masked;
pub mod metrics;
pub mod network;
pub mod panel;
pub mod post;
pub mod protocol_log;
pub mod seal;
pub mod smtp;
pub mod spool;
pub mod subscribers;
pub mod tenant;
pub mod trace;
pub mod units;
pub mod url_pattern;
