//! Who reads attachments, and what of them is held until it has been sent.
//!
//! An attachment is decoded from its whole message: few are at a time, and one that was
//! begun counts until it has ended, whether or not its client still waits. What is being
//! sent takes room until the last octet has left, however slowly it is read.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Most attachments that are read at a time; others wait.
const MOST: usize = 4;

/// Room for what is being sent, in units; all of it is enough for any attachment.
const ROOM: u32 = 1024;

/// Octets of a unit.
const UNIT: usize = 64 * 1024;

/// Octets of a piece that is copied rather than holding the whole.
const SMALL: usize = 1 << 20;

/// See the module.
pub(super) struct Readers {
    turns: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// What was read; it is one of the few until this is gone.
pub(super) struct Reading<T> {
    /// What it came to.
    pub result: T,
    _turn: OwnedSemaphorePermit,
}

impl Readers {
    /// Nobody reads yet.
    pub(super) fn new() -> Readers {
        Readers { turns: Arc::new(Semaphore::new(MOST)), room: Arc::new(Semaphore::new(ROOM as usize)) }
    }

    /// Reads when it is its turn; nothing comes of a panic. Who has gone before has
    /// nothing read; what was begun keeps its turn to its end.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl Future<Output = T> + Send + 'static,
    ) -> Option<Reading<T>> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let reading = async move { Reading { result: read.await, _turn: turn } };
        tokio::spawn(reading).await.ok()
    }

    /// A piece of something of `whole` octets, to be sent when there is room for what
    /// it holds: all of that, or itself alone when it is small.
    pub(super) async fn hold(&self, piece: Bytes, whole: usize) -> Result<Bytes, AcquireError> {
        let (octets, held) = match piece.len() {
            small @ ..=SMALL => (Bytes::copy_from_slice(&piece), small),
            _ => (piece, whole),
        };
        let units = u32::try_from(held.div_ceil(UNIT)).unwrap_or(ROOM).min(ROOM);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await?;
        Ok(Bytes::from_owner(Held { octets, _room: room }))
    }
}

/// Octets and the room that they take.
struct Held {
    octets: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use tokio::sync::{mpsc, watch};

    /// Whether it waits for something after one look.
    fn waits<T>(future: impl Future<Output = T>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn who_hangs_up_does_not_make_room_for_another_before_the_end() {
        let readers = Arc::new(Readers::new());
        let (begun, mut beginnings) = mpsc::unbounded_channel();
        let (open, gate) = watch::channel(false);
        let read = || {
            let (begun, mut gate) = (begun.clone(), gate.clone());
            async move {
                begun.send(()).unwrap();
                gate.wait_for(|is_open| *is_open).await.unwrap();
            }
        };
        for _ in 0..MOST {
            let (reader, read) = (Arc::clone(&readers), read());
            let asking = tokio::spawn(async move { reader.read(read).await.map(drop) });
            beginnings.recv().await.unwrap();
            asking.abort();
            assert!(asking.await.unwrap_err().is_cancelled());
        }
        assert!(waits(readers.read(read())), "a fifth is read beside four that nobody waits for");
        open.send_replace(true);
        let one = readers.read(async { 7 }).await.unwrap();
        assert_eq!(one.result, 7);
        let died: Option<Reading<()>> = readers.read(async { panic!("a damaged mail") }).await;
        assert!(died.is_none());
        for _ in 0..2 * MOST {
            assert!(readers.read(read()).await.is_some());
        }
    }

    #[tokio::test]
    async fn what_is_sent_takes_room_until_it_has_left() {
        let readers = Readers::new();
        let whole = ROOM as usize * UNIT;
        let message = Bytes::from(vec![7; 2 * SMALL]);
        let small = readers.hold(message.slice(..SMALL), whole).await.unwrap();
        assert!(small == message.slice(..SMALL) && small.as_ptr() != message.as_ptr(), "a copy");
        assert!(waits(readers.hold(message.clone(), whole)), "a copy takes room as well");
        drop(small);
        let large = readers.hold(message.slice(..=SMALL), 10 * whole).await.unwrap();
        assert_eq!(large.as_ptr(), message.as_ptr());
        let rest = large.slice(9..10);
        drop(large);
        assert!(waits(readers.hold(message.slice(..1), whole)), "a piece holds the whole");
        drop(rest);
        let done = pin!(readers.hold(message, whole)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(done, Poll::Ready(Ok(_))));
    }
}
