//! Whether a client is still there while it is told something without end.
//!
//! A client may close its half behind a request and still be answered, so the end of
//! what it says is no end of the connection. For a stream it is: nobody who listens
//! closes, and the place is somebody else's. The socket is watched through a second
//! descriptor, which reads nothing.

use socket2::SockRef;
use std::future::pending;
use std::io;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The client of a connection.
#[derive(Clone)]
pub(super) struct Presence(Option<Arc<TcpStream>>);

impl Presence {
    /// That of a connection; out of descriptors it is never seen to leave.
    pub(super) fn of(stream: &TcpStream) -> Presence {
        let second = SockRef::from(stream).try_clone().map(std::net::TcpStream::from);
        Presence(second.and_then(TcpStream::from_std).map(Arc::new).ok())
    }

    /// Waits until it has left.
    pub(super) async fn ended(&self) {
        let Some(stream) = &self.0 else { return pending().await };
        while let Ok(ready) = stream.ready(Interest::READABLE).await
            && !ready.is_read_closed()
        {
            // Something lies there unread, and is nobody's here: wait for the next.
            let unread = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = stream.try_io(Interest::READABLE, unread);
        }
    }
}
