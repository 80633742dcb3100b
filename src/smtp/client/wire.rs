//! A connection to an SMTP server, over TCP or a unix socket.
//!
//! [`connect`] is the one place that knows how a server is written: `HOST:PORT`
//! or `unix:/path`. No TLS: who needs it is not on the gateway's machine and
//! has an SMTP client of its own.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What a server on a unix socket begins with.
pub const UNIX: &str = "unix:";

/// An open connection.
#[derive(Debug)]
pub enum Wire {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

/// Connects to `server`, trying every address of its name in turn.
pub fn connect(server: &str) -> io::Result<Wire> {
    connect_within(server, CONNECT)
}

/// The same, where each address has so much time, and none more than `connect` gives it.
pub(super) fn connect_within(server: &str, wait: Duration) -> io::Result<Wire> {
    let wait = wait.min(CONNECT);
    if wait.is_zero() {
        return Err(too_long());
    }
    if let Some(path) = server.strip_prefix(UNIX) {
        return connect_unix(path, wait).map(Wire::Unix);
    }
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Wire::Tcp(stream));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Connects to a socket in the file system, which may have no room for another connection:
/// the system waits for that as long as for a write.
fn connect_unix(path: &str, wait: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(wait))?;
    socket.connect(&SockAddr::unix(path)?).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => too_long(),
        _ => error,
    })?;
    socket.set_write_timeout(None)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// What is said of a wait that is over.
pub(super) fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

impl Wire {
    /// How long a read and a write may take each.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Wire::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    /// A second end for another thread.
    pub fn try_clone(&self) -> io::Result<Wire> {
        match self {
            Wire::Tcp(stream) => stream.try_clone().map(Wire::Tcp),
            Wire::Unix(stream) => stream.try_clone().map(Wire::Unix),
        }
    }

    /// Says that nothing more will be written.
    pub fn finish(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buffer),
            Wire::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.write(octets),
            Wire::Unix(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_takes_no_more_connections_holds_nobody_up() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("full.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(1).unwrap();
        let server = format!("{UNIX}{}", path.display());
        let mut open = Vec::new();
        let refused = loop {
            assert!(open.len() < 10, "nothing is full");
            match connect_within(&server, Duration::from_millis(50)) {
                Ok(wire) => open.push(wire),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        let late = connect_within(&server, Duration::ZERO).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(!open.is_empty());
    }
}
