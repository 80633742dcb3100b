//! Throttles: how many attempts a destination may get in a time.
//!
//! Several stack, and all hold at once. A rate is a promise about every stretch of
//! time of that length, not about the average.

use std::time::Duration;

/// So many attempts in a time, such as 6000 in 15 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub count: u32,
    /// In which time, not zero.
    pub per: Duration,
}
