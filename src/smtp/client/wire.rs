//! A connection to an SMTP server, over TCP or a unix socket.
//!
//! [`connect`] is the one place that knows how a server is written: `HOST:PORT`
//! or `unix:/path`. No TLS: who needs it is not on the gateway's machine and
//! has an SMTP client of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
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
    if let Some(path) = server.strip_prefix(UNIX) {
        return UnixStream::connect(path).map(Wire::Unix);
    }
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Wire::Tcp(stream));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
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
