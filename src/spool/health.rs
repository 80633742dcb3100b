//! Whether a spool can do what it is asked, and why it could not.

use std::fmt;

/// Whether a spool takes new posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Open,
    /// Its disk is too full; settling still works.
    Full,
    /// It cannot write at all; the reason is for the operator.
    Failed(String),
}

impl Health {
    /// Why nothing is taken now, if nothing is.
    pub(super) fn refusal(&self) -> Option<SpoolError> {
        match self {
            Health::Open => None,
            Health::Full => Some(SpoolError::Full),
            Health::Failed(reason) => Some(SpoolError::Failed(reason.clone())),
        }
    }
}

/// Why a spool could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolError {
    /// No room for new posts.
    Full,
    /// Writing or reading failed; the reason is for the operator.
    Failed(String),
    /// What was read is not what was written; says where.
    Damaged(String),
    /// A fact is no longer what the caller believes.
    Changed,
    /// No such post lives.
    Unknown,
    /// There is no key to seal a secret with, or it was sealed with another.
    Sealed,
    /// The spool has been closed.
    Closed,
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full => f.write_str("the spool's disk is full"),
            SpoolError::Failed(reason) => write!(f, "spool failure: {reason}"),
            SpoolError::Damaged(place) => write!(f, "damaged spool record: {place}"),
            SpoolError::Changed => f.write_str("it was changed meanwhile; look again"),
            SpoolError::Unknown => f.write_str("no such post"),
            SpoolError::Sealed => f.write_str(
                "the key that secrets are sealed with is missing or another: data_dir/webhook-key",
            ),
            SpoolError::Closed => f.write_str("the spool is closed"),
        }
    }
}

impl std::error::Error for SpoolError {}
