//! What the log's writer can be asked to do.

use super::catalog::Place;
use super::record::Accepted;
use super::{Committed, Settlement, SpoolError};
use crate::post::{Admission, PostId};
use bytes::Bytes;
use tokio::sync::oneshot;

/// The fence of a claim.
pub(super) type Fence = u64;
/// Answers a settlement.
pub(super) type SettleAck = oneshot::Sender<Result<(), SpoolError>>;

/// Answers a close; not async, because closing blocks anyway.
pub(super) type CloseAck = std::sync::mpsc::Sender<Result<(), SpoolError>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Commit {
        admission: Admission,
        ack: oneshot::Sender<Result<Committed, SpoolError>>,
    },
    Settle {
        done: Vec<(PostId, Fence, Settlement)>,
        ack: SettleAck,
    },
    /// Ended posts wait in `Shared::riding`.
    Ride,
    /// Copies a record's living posts to the end of the log.
    Move {
        moved: Moved,
        ack: oneshot::Sender<()>,
    },
    /// A spare segment is ready under its name.
    Spare {
        length: u64,
    },
    /// Dead letters whose time is over.
    Forget(Vec<PostId>),
    Close {
        ack: CloseAck,
    },
}

/// A record that is to be copied forward.
pub(super) struct Moved {
    pub accepted: Accepted<'static>,
    pub blobs: Vec<Bytes>,
    pub from: Place,
}
