//! A connection that ends at a point in time, clear or within TLS.

use super::SendError;
use super::wire::{Wire, too_long};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection of which no read and no write waits beyond a point in time.
#[derive(Debug)]
pub(super) struct Limited {
    wire: Wire,
    /// Longest wait for each, and the end of all.
    each: Duration,
    until: Option<Instant>,
}

impl Limited {
    /// Without an end, as long as no single wait takes longer than `each`.
    pub(super) fn new(wire: Wire, each: Duration, until: Option<Instant>) -> Limited {
        Limited { wire, each, until }
    }

    /// From now on no wait takes longer than this.
    pub(super) fn shorten(&mut self, each: Duration) {
        self.each = self.each.min(each);
    }

    fn prepare(&self) -> io::Result<()> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        match left.map_or(self.each, |left| left.min(self.each)) {
            Duration::ZERO => Err(too_long()),
            wait => self.wire.set_timeout(wait),
        }
    }
}

/// The system says of a wait that is over that it would have to wait.
fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => too_long(),
        _ => error,
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.prepare()?;
        self.wire.read(buffer).map_err(told)
    }
}

impl Write for Limited {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.prepare()?;
        self.wire.write(octets).map_err(told)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

/// What is spoken over.
#[derive(Debug)]
pub(super) enum Stream {
    /// Readable for whoever is between.
    Clear(Limited),
    /// Within TLS.
    Tls(Box<StreamOwned<ClientConnection, Limited>>),
    /// A handshake broke it.
    Broken,
}

impl Stream {
    /// From now on no wait takes longer than this.
    pub(super) fn shorten(&mut self, each: Duration) {
        match self {
            Stream::Clear(limited) => limited.shorten(each),
            Stream::Tls(stream) => stream.sock.shorten(each),
            Stream::Broken => {}
        }
    }

    /// Goes on within TLS, with a server that this configuration believes under any name;
    /// says which version it is.
    pub(super) fn secure(&mut self, believed: &Arc<ClientConfig>) -> Result<&'static str, SendError> {
        let unable = |error: rustls::Error| SendError::Unavailable(format!("TLS: {error}"));
        let Stream::Clear(mut limited) = std::mem::replace(self, Stream::Broken) else {
            return Err(SendError::Unavailable("TLS within TLS".to_owned()));
        };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::clone(believed), name).map_err(unable)?;
        while connection.is_handshaking() {
            let done = connection.complete_io(&mut limited);
            done.map_err(|error| SendError::Unavailable(format!("TLS: {error}")))?;
        }
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        *self = Stream::Tls(Box::new(StreamOwned::new(connection, limited)));
        Ok(version)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(limited) => limited.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
            Stream::Broken => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(limited) => limited.write(octets),
            Stream::Tls(stream) => stream.write(octets),
            Stream::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Clear(limited) => limited.flush(),
            Stream::Tls(stream) => stream.flush(),
            Stream::Broken => Ok(()),
        }
    }
}
