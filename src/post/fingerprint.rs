//! What a request asked for, in few octets: of two under one idempotency key it says
//! whether they are the same. How it is made is not known here.

use serde::{Deserialize, Serialize};

/// The first half of a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; Fingerprint::LENGTH]);

impl Fingerprint {
    /// Octets of one.
    pub const LENGTH: usize = 16;
}
