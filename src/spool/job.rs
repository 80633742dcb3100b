//! What the log's writer can be asked to do.

use super::catalog::{Place, Spot};
use super::moving::cargo::Cargo;
use super::obituary::Obituary;
use super::record::Accepted;
use super::state::{Life, State};
use super::{Committed, Order, Settlement, SpoolError};
use crate::event::Event;
use crate::post::{Admission, Destination, Post, PostId};
use bytes::Bytes;
use std::sync::Arc;
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
        done: Vec<Ended>,
        events: Vec<Event>,
        ack: SettleAck,
    },
    Publish {
        events: Vec<Event>,
        ack: SettleAck,
    },
    /// Does something to these posts, of whose ends this is told; answers how many it
    /// meant.
    Order {
        ids: Vec<PostId>,
        order: Order,
        told: Vec<Obituary>,
        ack: oneshot::Sender<Result<u64, SpoolError>>,
    },
    /// Ended posts wait in `Shared::riding`.
    Ride,
    /// Copies a record's living posts to the end of the log.
    Move {
        moved: Moved,
        ack: oneshot::Sender<()>,
    },
    /// Takes in messages of another spool.
    Adopt {
        cargos: Vec<Cargo>,
        ack: SettleAck,
    },
    /// A spare segment is ready under its name.
    Spare {
        length: u64,
    },
    /// Posts that are kept and whose time is over, and what is told of them.
    Forget(Vec<PostId>, Vec<Obituary>),
    Close {
        ack: CloseAck,
    },
}

/// How the attempt of a claimed post ended.
pub(super) struct Ended {
    pub id: PostId,
    pub fence: Fence,
    pub settlement: Settlement,
    pub shelf: Shelf,
}

/// What is done with a post that was delivered.
pub(super) enum Shelf {
    /// It leaves nothing behind.
    None,
    /// It is kept for a while, as it was sent.
    Kept(Arc<Post>),
    /// It is listed for a while, without its body.
    Listed(Arc<Post>),
}

/// A record that is to be copied forward.
pub(super) struct Moved {
    pub accepted: Accepted<'static>,
    pub blobs: Vec<Bytes>,
    pub from: Place,
    /// Where the chronicles of its posts stood.
    pub histories: Vec<Spot>,
}

/// What is to be written of a post.
pub(super) enum News {
    /// It is over.
    Ended,
    /// It is in another state, and may go elsewhere.
    Stands(State, Option<Arc<Destination>>),
    /// More has happened to it, and this is told of it.
    Lives(Box<Life>, Vec<Event>),
    /// It is over, and this is left of it.
    Remains(Box<Life>, Arc<Post>),
}
